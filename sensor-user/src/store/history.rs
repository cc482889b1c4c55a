//! What the sensor remembers of other days, as the pipeline asks it: pure, bounded, and a function of what it was told.
//!
//! The rim makes one from the file, hands it to `Pipeline::remember` and takes `changes` out of it once a second. Without
//! a store there is none, so that a replay's verdicts depend on its capture alone.
//!
//! Zones are named by the pipeline's key of them, clients by `attribute::Client::stable_hash`. The look-up at hand is
//! part of the history already when a detector asks: a zone that was never seen before has just been seen first.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::quality::FixedState;
use serde::{Deserialize, Serialize};

use super::days::{self, DAY_NS, DAYS, Days};
use super::record::{
    ADDRESSES, Answer, Answers, CLIENT_HEAP_MAX, ClientDay, ClientRecord, LABEL_MAX, NAME_HEAP_MAX,
    NameRecord, PAIR_HEAP_MAX, PairRecord, ZONE_HEAP_MAX, ZoneRecord, class_number, class_of, type_class,
};
use super::table::{Changes, Record, Table};
use crate::attribute::{Client, Identity};
use crate::dns::{Message, Section, rtype};
use crate::model::UNIT;
use crate::zone::Class;

/// A client or a zone is new for a day: a finding comes hours after the first look-up where a leak is slow.
const NEW_NS: u64 = DAY_NS;
/// New names recorded under one zone and day: a tunnel's names never come back, and would only push out others.
const NAMES_A_DAY: u32 = 64;
/// Records encoded for one second's write: what a flood changes beyond it is written in the next.
pub const CHANGES_MAX: usize = 8192;
/// Of one record, key and value, with their places.
pub const CHANGE_BYTES_MAX: usize = 1024;

/// Kinds of records in the file that the history holds.
pub const KINDS: [&str; 4] = ["zones", "names", "pairs", "clients"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Records of each of `KINDS`; what was seen least recently goes first.
    pub max: [usize; KINDS.len()],
    /// Bytes that the records of each may take in the file.
    pub max_bytes: [u64; KINDS.len()],
    /// Days after which a record that was not seen again is forgotten.
    pub retention_days: [u64; KINDS.len()],
    /// Days of watching before the history counts.
    pub burn_in_days: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max: [32_768, 16_384, 32_768, 2048],
            max_bytes: [u64::MAX; KINDS.len()],
            retention_days: [365, 90, 30, 30],
            burn_in_days: 7,
        }
    }
}

impl Settings {
    /// Bytes in memory once every table is full of the longest names.
    pub const fn worst_case_bytes(&self) -> usize {
        Table::<u64, ZoneRecord>::worst_case_bytes(self.max[0], ZONE_HEAP_MAX, 256)
            + Table::<u64, NameRecord>::worst_case_bytes(self.max[1], NAME_HEAP_MAX, 255)
            + Table::<(u64, u64), PairRecord>::worst_case_bytes(self.max[2], PAIR_HEAP_MAX, 264)
            + Table::<u64, ClientRecord>::worst_case_bytes(self.max[3], CLIENT_HEAP_MAX, 8)
    }
}

/// What is told of a query that was charged.
#[derive(Debug)]
pub struct Asked<'a> {
    pub client: &'a Client,
    /// The pipeline's key of the zone, and what it is made of.
    pub zone: u64,
    pub wire: &'a [u8],
    pub class: Class,
    pub qtype: u16,
    /// It began a look-up; else only its new information counts.
    pub lookup: bool,
    /// Of several clients that stand for one query (process, address), the closest to who asked: the zone counts by it.
    pub closest: bool,
    /// New information in its name, in model units.
    pub new_units: u64,
    pub now_ns: u64,
}

/// What is told of an answer.
#[derive(Debug)]
pub struct Answered<'a> {
    /// Who gets it, by `Client::stable_hash`.
    pub clients: [Option<u64>; 2],
    pub zone: u64,
    /// The pipeline's key of the name, and its wire form in lower case.
    pub name: (u64, &'a [u8]),
    pub message: &'a Message<'a>,
    pub now_ns: u64,
}

/// A client's habits under one zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Unix time, nanoseconds.
    pub first_seen_ns: u64,
    pub last_seen_ns: u64,
    pub lookups: u64,
    /// New information in names by day, bytes; today first.
    pub new_bytes: [u64; DAYS],
}

/// What the file keeps beside the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// When the first look-up was recorded; 0 before. Unix time, nanoseconds.
    pub since_ns: u64,
    /// Days with look-ups, and the newest of them.
    pub active_days: u32,
    pub newest_day: u32,
    /// When the latest forgotten zone was seen last, one that had been seen over more than an hour; 0 if there is none.
    pub forgotten_ns: u64,
}

/// All that the file has to take over at once.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// In the order of `KINDS`.
    pub tables: [Changes; KINDS.len()],
    pub meta: Meta,
}

/// Figures of one kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindFigures {
    pub records: u64,
    /// In the file.
    pub bytes: u64,
    /// When the oldest was seen first; Unix time, nanoseconds.
    pub oldest_ns: Option<u64>,
    pub evicted: u64,
    pub expired: u64,
}

/// What the file holds, with each record's bytes there.
#[derive(Debug, Default)]
pub struct Loaded {
    pub zones: Vec<(ZoneRecord, usize)>,
    pub names: Vec<(NameRecord, usize)>,
    pub pairs: Vec<(PairRecord, usize)>,
    pub clients: Vec<(ClientRecord, usize)>,
    pub meta: Meta,
}

#[derive(Debug)]
pub struct History {
    seed: FixedState,
    settings: Settings,
    pub(super) zones: Table<u64, ZoneRecord>,
    pub(super) names: Table<u64, NameRecord>,
    pub(super) pairs: Table<(u64, u64), PairRecord>,
    pub(super) clients: Table<u64, ClientRecord>,
    meta: Meta,
    written: Meta,
    /// Names that were not recorded since their zone had its share for the day.
    pub names_left_out: u64,
}

impl History {
    /// An empty one; `seed` is the pipeline's.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let [zones, names, pairs, clients] = settings.max;
        let [zone_bytes, name_bytes, pair_bytes, client_bytes] = settings.max_bytes;
        Self {
            seed: FixedState::with_seed(seed),
            settings,
            zones: Table::new(zones, zone_bytes),
            names: Table::new(names, name_bytes),
            pairs: Table::new(pairs, pair_bytes),
            clients: Table::new(clients, client_bytes),
            meta: Meta::default(),
            written: Meta::default(),
            names_left_out: 0,
        }
    }

    /// One that knows what the file holds; times that lie ahead of `now_ns` count as now.
    pub fn restore(settings: Settings, seed: u64, loaded: Loaded, now_ns: u64) -> Self {
        let mut history = Self::new(settings, seed);
        let today = days::day(now_ns);
        let Loaded { mut zones, mut names, mut pairs, mut clients, meta } = loaded;
        zones.sort_by_key(|(record, _)| record.last_ns);
        names.sort_by_key(|(record, _)| record.last_ns);
        pairs.sort_by_key(|(record, _)| record.last_ns);
        clients.sort_by_key(|(record, _)| record.last_ns);
        for (mut record, bytes) in zones {
            let Some(class) = class_of(record.class) else { continue };
            not_after(&mut record.first_ns, &mut record.last_ns, now_ns);
            record.days.not_after(today);
            history.zones.restore(history.zone_key(&record.zone, class), record, bytes);
        }
        for (mut record, bytes) in names {
            not_after(&mut record.first_ns, &mut record.last_ns, now_ns);
            history.names.restore(history.name_key(&record.name), record, bytes);
        }
        for (mut record, bytes) in pairs {
            let Some(class) = class_of(record.class) else { continue };
            not_after(&mut record.first_ns, &mut record.last_ns, now_ns);
            record.new_bits.not_after(today);
            record.day = record.day.min(today);
            history.pairs.restore((record.client, history.zone_key(&record.zone, class)), record, bytes);
        }
        for (mut record, bytes) in clients {
            not_after(&mut record.first_ns, &mut record.last_ns, now_ns);
            record.days.not_after(today);
            history.clients.restore(record.client, record, bytes);
        }
        history.meta = Meta { newest_day: meta.newest_day.min(today), ..meta };
        not_after(&mut history.meta.since_ns, &mut history.meta.forgotten_ns, now_ns);
        history.written = meta;
        history.zones.forgotten_ns = history.meta.forgotten_ns;
        history.expire(now_ns);
        history
    }

    /// When a zone was seen here first; `None` if it was not, as far as the history reaches back.
    pub fn zone_first_seen(&self, zone: u64) -> Option<u64> {
        Some(self.zones.find(zone)?.first_ns)
    }

    /// Clients that ever asked for names under a zone: exact up to eight, then within 9 % (one standard error).
    pub fn prevalence(&self, zone: u64) -> u32 {
        self.zones.find(zone).map_or(0, |record| record.clients.count())
    }

    /// All that is known of a zone: answers and their TTLs, days on which it was asked.
    pub fn zone(&self, zone: u64) -> Option<&ZoneRecord> {
        self.zones.find(zone)
    }

    /// Whether a zone was first seen here within the last day.
    pub fn is_new(&self, zone: u64, now_ns: u64) -> bool {
        self.zone_first_seen(zone).is_none_or(|first_ns| now_ns.saturating_sub(first_ns) < NEW_NS)
    }

    /// Whether a client asked for names under a zone first within the last day.
    pub fn is_new_for(&self, client: u64, zone: u64, now_ns: u64) -> bool {
        self.pairs.find((client, zone)).is_none_or(|pair| now_ns.saturating_sub(pair.first_ns) < NEW_NS)
    }

    /// Whether the history counts: it was learnt on so many days, and reaches back as far without a gap.
    pub fn burn_in_over(&self, now_ns: u64) -> bool {
        let days = self.settings.burn_in_days;
        u64::from(self.meta.active_days) >= days
            && (self.meta.since_ns > 0 || days == 0)
            && now_ns.saturating_sub(self.reaches_back_to(now_ns)) >= days.saturating_mul(DAY_NS)
    }

    /// Since when no zone was forgotten that had been seen over more than an hour: what is called new was not seen since
    /// then. Unix time, nanoseconds.
    pub fn reaches_back_to(&self, now_ns: u64) -> u64 {
        let kept_ns = now_ns.saturating_sub(self.settings.retention_days[0].saturating_mul(DAY_NS));
        self.meta.since_ns.max(self.zones.forgotten_ns).max(kept_ns)
    }

    /// A client's habits under a zone.
    pub fn baseline(&self, client: u64, zone: u64, now_ns: u64) -> Option<Baseline> {
        Some(baseline(self.pairs.find((client, zone))?, now_ns))
    }

    /// A client's habits over all zones, by day, today first.
    pub fn client_days(&self, client: u64, now_ns: u64) -> Option<[ClientDay; DAYS]> {
        Some(self.clients.find(client)?.days.until(days::day(now_ns)))
    }

    /// Takes a query.
    pub fn asked(&mut self, asked: &Asked<'_>) {
        let Asked { client, zone, wire, qtype, now_ns, .. } = *asked;
        let class = class_number(asked.class);
        let day = days::day(now_ns);
        let who = client.stable_hash;
        let new_bits = u32::try_from(asked.new_units / u64::from(UNIT)).unwrap_or(u32::MAX);
        if !asked.lookup {
            if new_bits > 0 {
                self.pairs.change_if_known((who, zone), |pair| add_bits(&mut pair.new_bits, day, new_bits));
            }
            return;
        }
        self.note_day(day, now_ns);
        if asked.closest {
            let make = || ZoneRecord {
                zone: wire.into(),
                class,
                first_ns: now_ns,
                last_ns: now_ns,
                lookups: 0,
                clients: super::distinct::Distinct::default(),
                days: days::ActiveDays::default(),
                answers: Answers::default(),
                names_on: (0, 0),
            };
            self.zones.change(zone, make, |record| {
                record.last_ns = record.last_ns.max(now_ns);
                record.lookups += 1;
                record.clients.insert(who);
                record.days.note(day);
            });
        }
        let mut first_today = false;
        let make = || PairRecord {
            client: who,
            zone: wire.into(),
            class,
            first_ns: now_ns,
            last_ns: now_ns,
            lookups: 0,
            day: 0,
            new_bits: Days::default(),
        };
        self.pairs.change((who, zone), make, |pair| {
            pair.last_ns = pair.last_ns.max(now_ns);
            pair.lookups += 1;
            first_today = pair.day < day;
            pair.day = pair.day.max(day);
            add_bits(&mut pair.new_bits, day, new_bits);
        });
        let make = || ClientRecord {
            client: who,
            label: label(&client.identity),
            first_ns: now_ns,
            last_ns: now_ns,
            days: Days::default(),
        };
        self.clients.change(who, make, |record| {
            record.last_ns = record.last_ns.max(now_ns);
            let today = record.days.on(day);
            today.lookups = today.lookups.saturating_add(1);
            today.zones = today.zones.saturating_add(u32::from(first_today));
            let count = &mut today.types[type_class(qtype)];
            *count = count.saturating_add(1);
        });
    }

    /// Takes an answer to a query that was taken.
    pub fn answered(&mut self, answered: &Answered<'_>) {
        let Answered { message, now_ns, zone, .. } = *answered;
        let day = days::day(now_ns);
        let rcode = message.rcode();
        let (mut addresses, mut count, mut ttl) = ([IpAddr::from([0; 4]); ADDRESSES], 0, None::<u32>);
        for record in message.records().take_while(|record| record.section == Section::Answer) {
            ttl = Some(ttl.map_or(record.ttl, |least| least.min(record.ttl)));
            if let Some(address) = address(record.rtype, record.rdata)
                && count < ADDRESSES
            {
                addresses[count] = address;
                count += 1;
            }
        }
        let answer = Answer { rcode, ttl, addresses: &addresses[..count] };
        let (hash, name) = answered.name;
        let names = ttl.is_some() && rcode == 0;
        let mut record_name = names && self.names.find(hash).is_some();
        let new_name = names && !record_name;
        let mut left_out = false;
        let known = self.zones.change_if_known(zone, |record| {
            record.answers.note(&answer);
            if new_name {
                let (on, so_far) = record.names_on;
                let so_far = if on == day { so_far } else { 0 };
                record_name = so_far < NAMES_A_DAY;
                left_out = !record_name;
                record.names_on = (day, so_far + u32::from(record_name));
            }
        });
        self.names_left_out += u64::from(left_out);
        if known && record_name {
            let make = || NameRecord {
                name: name.into(),
                first_ns: now_ns,
                last_ns: now_ns,
                answers: Answers::default(),
            };
            self.names.change(hash, make, |record| {
                record.last_ns = record.last_ns.max(now_ns);
                record.answers.note(&answer);
            });
        }
        for client in answered.clients.into_iter().flatten() {
            self.clients.change_if_known(client, |record| {
                let today = record.days.on(day);
                today.responses = today.responses.saturating_add(1);
                today.nxdomain = today.nxdomain.saturating_add(u32::from(rcode == 3));
            });
        }
    }

    /// Forgets what is past its time.
    pub fn expire(&mut self, now_ns: u64) {
        let [zones, names, pairs, clients] =
            self.settings.retention_days.map(|days| now_ns.saturating_sub(days.saturating_mul(DAY_NS)));
        self.zones.expire(zones);
        self.names.expire(names);
        self.pairs.expire(pairs);
        self.clients.expire(clients);
    }

    /// Forgets clients and their habits under all zones, so that both are learnt anew; how many clients there were.
    pub fn reset(&mut self, wanted: impl Fn(&ClientRecord) -> bool) -> usize {
        let mut gone = Vec::new();
        let count = self.clients.remove_if(|record| {
            let chosen = wanted(record);
            if chosen {
                gone.push(record.client);
            }
            chosen
        });
        gone.sort_unstable();
        self.pairs.remove_if(|pair| gone.binary_search(&pair.client).is_ok());
        count
    }

    /// What the file does not have yet; `None` if that is nothing.
    pub fn changes(&mut self) -> Option<Delta> {
        let mut room = CHANGES_MAX;
        let tables = [
            self.zones.changes(&mut room),
            self.names.changes(&mut room),
            self.pairs.changes(&mut room),
            self.clients.changes(&mut room),
        ];
        self.meta.forgotten_ns = self.zones.forgotten_ns;
        let meta = self.meta;
        let nothing = meta == self.written && tables.iter().all(|changes| *changes == Changes::default());
        self.written = meta;
        (!nothing).then_some(Delta { tables, meta })
    }

    /// The file lost what it was given: all of it comes with the next changes.
    pub fn write_anew(&mut self) {
        self.zones.write_anew();
        self.names.write_anew();
        self.pairs.write_anew();
        self.clients.write_anew();
        self.written = Meta::default();
    }

    /// Figures of each kind, in the order of `KINDS`.
    pub fn kinds(&self) -> [KindFigures; KINDS.len()] {
        [figures(&self.zones), figures(&self.names), figures(&self.pairs), figures(&self.clients)]
    }

    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// As the pipeline makes it.
    pub(super) fn zone_key(&self, zone: &[u8], class: Class) -> u64 {
        self.seed.hash_one((zone, class))
    }

    pub(super) fn name_key(&self, name: &[u8]) -> u64 {
        self.seed.hash_one(name)
    }

    fn note_day(&mut self, day: u32, now_ns: u64) {
        if self.meta.since_ns == 0 {
            self.meta.since_ns = now_ns;
        }
        if day > self.meta.newest_day {
            self.meta.newest_day = day;
            self.meta.active_days = self.meta.active_days.saturating_add(1);
        }
    }
}

fn figures<K: Copy + Eq + std::hash::Hash, V: Record>(table: &Table<K, V>) -> KindFigures {
    KindFigures {
        records: table.len() as u64,
        bytes: table.bytes(),
        oldest_ns: table.iter().map(|record| record.span_ns().0).min(),
        evicted: table.evicted.iter().sum(),
        expired: table.expired,
    }
}

pub(super) fn baseline(pair: &PairRecord, now_ns: u64) -> Baseline {
    Baseline {
        first_seen_ns: pair.first_ns,
        last_seen_ns: pair.last_ns,
        lookups: pair.lookups,
        new_bytes: pair.new_bits.until(days::day(now_ns)).map(|bits| u64::from(bits).div_ceil(8)),
    }
}

fn add_bits(days: &mut Days<u32>, day: u32, bits: u32) {
    let today = days.on(day);
    *today = today.saturating_add(bits);
}

fn not_after(first_ns: &mut u64, last_ns: &mut u64, now_ns: u64) {
    *first_ns = (*first_ns).min(now_ns);
    *last_ns = (*last_ns).min(now_ns);
}

fn address(kind: u16, rdata: &[u8]) -> Option<IpAddr> {
    match kind {
        rtype::A => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
        rtype::AAAA => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A client in a few words: program, script, user and place, or the address.
fn label(identity: &Identity) -> String {
    use crate::attribute::clients::text;
    let mut label = match identity {
        Identity::Address(ip) => ip.to_string(),
        Identity::Process { program, script, uid, place, .. } => {
            let script = script.as_ref().map(|script| format!(" {}", text(script))).unwrap_or_default();
            let place = if place.is_empty() { String::new() } else { format!(", {place}") };
            format!("{}{script} (uid {uid}{place})", text(program))
        }
    };
    let end = (0..=LABEL_MAX.min(label.len())).rev().find(|end| label.is_char_boundary(*end));
    label.truncate(end.unwrap_or(0));
    label
}

#[cfg(test)]
mod tests;
