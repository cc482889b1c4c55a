//! What the history tells people: about a name (`earthdog pdns`) and about clients' habits (`earthdog baseline`).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::days::{self, DAYS};
use super::history::{self, History};
use super::passive::{AskedBy, ZoneDay};
use super::record::{Answers, ClientRecord, TYPE_CLASSES, class_of};
use crate::dns::{Canonical, canonical};
use crate::escape::escape;
use crate::finding;
use crate::zone::{Class, Zone};

/// Version of the answers to `pdns` and `baseline`.
pub const VERSION: u32 = 1;
/// Names shown below a zone, and zones and clients listed.
pub(super) const LISTED_MAX: usize = 64;
/// Names below a zone that are told; an export has more use for them than people have.
pub(super) const NAMES_MAX: usize = 4096;
/// Clients listed.
const CLIENTS_MAX: usize = 4096;

/// The answer to `pdns`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pdns {
    /// 0: of a sensor that told no version.
    #[serde(default)]
    pub v: u32,
    pub name: String,
    /// The zone that the name is charged to; empty for an address.
    pub zone: String,
    /// If it was asked about an address: `names` are then those that were answered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
    /// Since when there is anything, RFC 3339; absent before the first look-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_seen: Option<Seen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_seen: Option<Seen>,
    /// Names below the one asked for, seen last first, at most `NAMES_MAX`; and how many there are.
    pub names: Vec<Seen>,
    pub names_total: u64,
    /// Who asked for the zone, at most `LISTED_MAX`; and how many did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked_by: Vec<AskedBy>,
    #[serde(default)]
    pub asked_by_total: u64,
    /// Of the zone, up to its last look-up, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<ZoneDay>,
}

/// A zone or a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub name: String,
    /// RFC 3339.
    pub first_seen: String,
    pub last_seen: String,
    /// Zones only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookups: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u32>,
    /// Of the last 32 days up to the last look-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_days: Option<u32>,
    /// NOERROR, NXDOMAIN, SERVFAIL, other.
    pub rcodes: [u32; 4],
    /// Seconds: least, most, and the last ones, newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<(u32, u32, Vec<u32>)>,
    pub addresses: Vec<std::net::IpAddr>,
    pub addresses_replaced: u32,
}

/// The answer to `baseline`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// As of `Pdns`.
    #[serde(default)]
    pub v: u32,
    /// Busiest first.
    pub clients: Vec<ClientHabits>,
    pub total: u64,
}

/// A client's habits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientHabits {
    /// 16 hexadecimal digits.
    pub id: String,
    pub client: String,
    pub first_seen: String,
    pub last_seen: String,
    /// Days with look-ups of the 13 before today; the means below are over these.
    pub days: u32,
    pub lookups_a_day: u64,
    pub zones_a_day: u64,
    /// 0 to 1, of all 14 days' answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nxdomain_share: Option<f64>,
    /// Look-ups of all 14 days by class of their type, 0 to 1, in the order of `TYPE_CLASSES`.
    pub types: Vec<f64>,
    pub lookups_today: u64,
    pub zones_today: u64,
    /// With most new information first; only where one client was asked for. At most `LISTED_MAX`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<ZoneHabits>,
}

/// What a client asks under a zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneHabits {
    pub zone: String,
    pub first_seen: String,
    pub last_seen: String,
    pub lookups: u64,
    /// New information in names by day, bytes; today first.
    pub new_bytes: [u64; DAYS],
}

impl History {
    /// What is known about a name in presentation form, and below it; or about an address.
    pub fn pdns(&self, name: &str) -> Pdns {
        if let Ok(address) = name.parse() {
            return self.of_address(address);
        }
        let asked = Canonical::from_text(name);
        let zone = Zone::of(&asked);
        let wire = asked.suffix(zone.labels);
        let record = self.zone(self.zone_key(wire, zone.class));
        let (asked_by, asked_by_total) = self.asked_by(wire, zone.class);
        let zone_seen = record.map(|record| Seen {
            lookups: Some(record.lookups),
            clients: Some(record.clients.count()),
            active_days: Some(record.days.count()),
            ..seen(wire, (record.first_ns, record.last_ns), &record.answers)
        });
        let mut below: Vec<_> = self
            .names
            .iter()
            .filter(|record| {
                let shorter = record.name.len().checked_sub(asked.wire().len());
                shorter.is_some_and(|at| at > 0 && is_below(&record.name, at, asked.wire()))
            })
            .collect();
        below.sort_by_key(|record| (std::cmp::Reverse(record.last_ns), record.name.clone()));
        let since_ns = self.meta().since_ns;
        Pdns {
            v: VERSION,
            name: asked.to_string(),
            address: None,
            asked_by,
            asked_by_total,
            days: record.map(|record| self.days_of(wire, zone.class, record.last_ns)).unwrap_or_default(),
            zone: canonical::text(wire),
            since: (since_ns > 0).then(|| finding::time(since_ns)),
            zone_seen,
            name_seen: self
                .names
                .find(self.name_key(asked.wire()))
                .map(|record| seen(&record.name, (record.first_ns, record.last_ns), &record.answers)),
            names_total: below.len() as u64,
            names: below
                .iter()
                .take(NAMES_MAX)
                .map(|record| seen(&record.name, (record.first_ns, record.last_ns), &record.answers))
                .collect(),
        }
    }

    /// The habits of all clients, or of those that `which` is the id or a part of the description of.
    pub fn baselines(&self, which: Option<&str>, now_ns: u64) -> Baselines {
        let mut clients: Vec<_> =
            self.clients.iter().filter(|record| which.is_none_or(|which| is_like(record, which))).collect();
        let weight = |record: &ClientRecord| -> u64 {
            record.days.until(days::day(now_ns)).iter().map(|day| u64::from(day.lookups)).sum()
        };
        clients.sort_by_key(|record| (std::cmp::Reverse(weight(record)), record.client));
        let in_full = which.is_some() && clients.len() <= 4;
        Baselines {
            v: VERSION,
            total: clients.len() as u64,
            clients: clients
                .iter()
                .take(CLIENTS_MAX)
                .map(|record| {
                    let zones = if in_full { self.zone_habits(record.client, now_ns) } else { Vec::new() };
                    ClientHabits { zones, ..habits(record, now_ns) }
                })
                .collect(),
        }
    }

    /// Forgets the habits of all clients, or of those whose id, program, address or description `which` is; how many
    /// there were.
    pub fn reset_baselines(&mut self, which: Option<&str>) -> usize {
        self.reset(|record| which.is_none_or(|which| is_named(record, which)))
    }

    fn zone_habits(&self, client: u64, now_ns: u64) -> Vec<ZoneHabits> {
        let mut zones: Vec<_> = self
            .pairs
            .iter()
            .filter(|pair| pair.client == client)
            .map(|pair| {
                let history::Baseline { first_seen_ns, last_seen_ns, lookups, new_bytes } =
                    history::baseline(pair, now_ns);
                let none = class_of(pair.class) == Some(Class::None);
                ZoneHabits {
                    zone: if none { "(no zone)".to_owned() } else { canonical::text(&pair.zone) },
                    first_seen: finding::time(first_seen_ns),
                    last_seen: finding::time(last_seen_ns),
                    lookups,
                    new_bytes,
                }
            })
            .collect();
        zones.sort_by_key(|habit| {
            (std::cmp::Reverse((habit.new_bytes.iter().sum::<u64>(), habit.lookups)), habit.zone.clone())
        });
        zones.truncate(LISTED_MAX);
        zones
    }
}

impl Pdns {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let since =
            self.since.as_ref().map_or_else(|| "(nothing is remembered yet)".to_owned(), |at| short(at));
        match &self.zone_seen {
            Some(zone) => zone.text("zone", &mut out),
            None if self.address.is_some() => {
                let count = self.names_total;
                let address = escape(&self.name);
                let _ = writeln!(out, "{address}: {count} names were answered with it since {since}");
            }
            None => {
                let _ = writeln!(out, "{}: never seen here since {since}", escape(&self.zone));
            }
        }
        match &self.name_seen {
            Some(name) => name.text("name", &mut out),
            None if self.name != self.zone && self.zone_seen.is_some() => {
                let _ = writeln!(out, "{}: no answer with data is remembered", escape(&self.name));
            }
            None => {}
        }
        for name in self.names.iter().take(LISTED_MAX) {
            let addresses: Vec<_> = name.addresses.iter().map(ToString::to_string).collect();
            let (first, last) = (short(&name.first_seen), short(&name.last_seen));
            let _ = writeln!(out, "  {first}  {last}  {}  {}", escape(&name.name), addresses.join(" "));
        }
        if self.names_total > LISTED_MAX as u64 {
            let _ = writeln!(out, "  {LISTED_MAX} of {} names: those seen last", self.names_total);
        }
        out
    }
}

impl Seen {
    fn text(&self, what: &str, out: &mut String) {
        let _ = writeln!(out, "{} ({what})", escape(&self.name));
        let _ = writeln!(out, "  seen       {} until {}", short(&self.first_seen), short(&self.last_seen));
        if let (Some(lookups), Some(clients), Some(days)) = (self.lookups, self.clients, self.active_days) {
            let _ = writeln!(
                out,
                "  asked      {lookups} look-ups by {clients} clients, on {days} of the last 32 days up to then"
            );
        }
        let [fine, nxdomain, servfail, other] = self.rcodes;
        let _ = writeln!(
            out,
            "  answered   NOERROR {fine}, NXDOMAIN {nxdomain}, SERVFAIL {servfail}, other {other}"
        );
        if let Some((least, most, last)) = &self.ttl {
            let last: Vec<_> = last.iter().map(u32::to_string).collect();
            let _ = writeln!(out, "  ttl        {least} to {most} s, last {}", last.join(" "));
        }
        if !self.addresses.is_empty() {
            let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
            let before = match self.addresses_replaced {
                0 => String::new(),
                count => format!(", {count} before them"),
            };
            let _ = writeln!(out, "  addresses  {}{before}", addresses.join(" "));
        }
    }
}

impl Baselines {
    /// For people.
    pub fn text(&self) -> String {
        if self.clients.is_empty() {
            return "no such client is remembered\n".to_owned();
        }
        let mut out =
            String::from("CLIENT ID         DAYS  LOOK-UPS/DAY  ZONES/DAY  NXDOMAIN  TODAY  CLIENT\n");
        for client in &self.clients {
            let nxdomain = client.nxdomain_share.map_or_else(|| "-".to_owned(), percent);
            let _ = writeln!(
                out,
                "{:<16}  {:>4}  {:>12}  {:>9}  {:>8}  {:>5}  {}",
                escape(&client.id),
                client.days,
                client.lookups_a_day,
                client.zones_a_day,
                nxdomain,
                client.lookups_today,
                escape(&client.client)
            );
            if client.zones.is_empty() {
                continue;
            }
            let types: Vec<_> = TYPE_CLASSES
                .iter()
                .zip(&client.types)
                .map(|(name, share)| format!("{name} {}", percent(*share)))
                .collect();
            let (first, last) = (short(&client.first_seen), short(&client.last_seen));
            let _ = writeln!(out, "  seen   {first} until {last}\n  types  {}", types.join(", "));
            let _ = writeln!(out, "  new bytes by day, today first; look-ups; zone");
            for zone in &client.zones {
                let bytes: Vec<_> = zone.new_bytes.iter().map(u64::to_string).collect();
                let _ = writeln!(out, "  {}  {}  {}", bytes.join(" "), zone.lookups, escape(&zone.zone));
            }
        }
        if self.total > self.clients.len() as u64 {
            let _ = writeln!(out, "{} of {} clients: the busiest", self.clients.len(), self.total);
        }
        out
    }
}

pub(super) fn seen(name: &[u8], (first_ns, last_ns): (u64, u64), answers: &Answers) -> Seen {
    Seen {
        name: canonical::text(name),
        first_seen: finding::time(first_ns),
        last_seen: finding::time(last_ns),
        lookups: None,
        clients: None,
        active_days: None,
        rcodes: answers.rcodes,
        ttl: answers.ttl.map(|ttl| (ttl.least, ttl.most, ttl.last.to_vec())),
        addresses: answers.addresses.clone(),
        addresses_replaced: answers.addresses_replaced,
    }
}

fn habits(record: &ClientRecord, now_ns: u64) -> ClientHabits {
    let figures = record.days.until(days::day(now_ns));
    let before = record.days.before(days::day(now_ns));
    let days = before.iter().filter(|day| day.lookups > 0).count() as u64;
    let mean = |sum: u64| sum.checked_div(days).unwrap_or(0);
    let sum =
        |of: fn(&super::record::ClientDay) -> u32| figures.iter().map(|day| u64::from(of(day))).sum::<u64>();
    let (lookups, responses) = (sum(|day| day.lookups), sum(|day| day.responses));
    let share = |count: u64, of: u64| count as f64 / of.max(1) as f64;
    ClientHabits {
        id: format!("{:016x}", record.client),
        client: record.label.clone(),
        first_seen: finding::time(record.first_ns),
        last_seen: finding::time(record.last_ns),
        days: days as u32,
        lookups_a_day: mean(before.iter().map(|day| u64::from(day.lookups)).sum()),
        zones_a_day: mean(before.iter().map(|day| u64::from(day.zones)).sum()),
        nxdomain_share: (responses > 0).then(|| share(sum(|day| day.nxdomain), responses)),
        types: (0..TYPE_CLASSES.len())
            .map(|class| share(figures.iter().map(|day| u64::from(day.types[class])).sum(), lookups))
            .collect(),
        lookups_today: u64::from(figures[0].lookups),
        zones_today: u64::from(figures[0].zones),
        zones: Vec::new(),
    }
}

/// By its id, its program or address, or its whole description.
fn is_named(record: &ClientRecord, which: &str) -> bool {
    let program = record.label.split_once(" (uid ").map_or(&record.label[..], |(program, _)| program);
    format!("{:016x}", record.client) == which || program == which || record.label == which
}

/// As `is_named`, or by a part of its description.
fn is_like(record: &ClientRecord, which: &str) -> bool {
    is_named(record, which) || (!which.is_empty() && record.label.contains(which))
}

/// Whether the bytes from `at` on are `parent`, and `at` is where a label begins.
pub(super) fn is_below(name: &[u8], at: usize, parent: &[u8]) -> bool {
    let mut begins = 0;
    while begins < at {
        begins += 1 + usize::from(name[begins]);
    }
    begins == at && &name[at..] == parent
}

/// `0.25` is 25 %.
fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// A time to the second.
pub(super) fn short(time: &str) -> String {
    let (head, _) = time.split_once('.').unwrap_or((time, ""));
    format!("{}Z", escape(head).replacen('T', " ", 1).trim_end_matches('Z'))
}

#[cfg(test)]
mod tests;
