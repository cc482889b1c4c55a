//! One key's account: what its names and answers can have carried, in a window and in all.

use super::Key;
use super::known::Known;
use crate::model::{self, History, UNIT};
use crate::zone::Class;

/// Parts of a window: the sum covers between nine and ten of them.
const BUCKETS: usize = 10;
/// First names kept to show.
const SAMPLES: usize = 3;
/// Bytes kept of one.
const SAMPLE_LEN: usize = 96;
/// Names remembered as known, and hashes of payload-bearing answers.
const KNOWN_NAMES: usize = 384;
const KNOWN_PAYLOADS: usize = 32;
/// New names after which a key is worth a history of its own; most (client, zone) pairs see one or two names ever.
const HISTORY_FROM: u64 = 3;
/// Reversed IPv4 address in a name, as DNSBL and PTR queries have it.
const ADDRESS4_COST: u32 = 32 * UNIT;

/// At most 4 KiB: names 1.5 KiB, history 1.3 KiB, samples 0.3 KiB, the rest in place.
#[derive(Debug)]
pub struct Entry {
    pub key: Key,
    pub class: Class,
    /// Wire form; empty for names without a zone.
    pub zone: Box<[u8]>,
    pub first_ns: u64,
    pub last_ns: u64,
    pub queries: u64,
    pub responses: u64,
    pub totals: Totals,
    /// Sum of lengths, dots excluded, of distinct lower-cased sub-names.
    pub name_bytes: u64,
    pub new_names: u64,
    /// First sub-names, wire form.
    pub samples: Vec<Box<[u8]>>,
    /// A finding is open on it.
    pub reported: bool,
    bucket_ns: u64,
    /// Number of the newest bucket since time 0.
    bucket: u64,
    buckets: [Bucket; BUCKETS],
    known: Known<KNOWN_NAMES>,
    payloads: Known<KNOWN_PAYLOADS>,
    history: Option<Box<History>>,
}

/// Sums since the first query, in model units.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub up_low: u64,
    pub up_high: u64,
    pub down_low: u64,
    pub down_high: u64,
}

/// Sums over the window, in model units.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// Cost of new names.
    pub new_units: u64,
    /// Cost of new names that are reversed addresses; not in `new_units`.
    pub address_units: u64,
    pub new_names: u64,
    pub queries: u64,
}

/// As [`Window`], of one part of it.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    new_units: u32,
    address_units: u32,
    new_names: u32,
    queries: u32,
}

const _: () = assert!(
    size_of::<Entry>()
        + 255
        + Known::<KNOWN_NAMES>::HEAP
        + Known::<KNOWN_PAYLOADS>::HEAP
        + size_of::<History>()
        + SAMPLES * (SAMPLE_LEN + size_of::<Box<[u8]>>())
        + size_of::<(Key, u32)>() * 2
        <= super::ENTRY_MAX
);

/// A sub-name and what rides along with it.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Lower-cased wire form of the labels below the zone.
    pub sub: &'a [u8],
    /// Keyed hash of the whole name.
    pub hash: u64,
    /// Letters in upper case, and letters at all: 0 bits of case if there are none of the first.
    pub upper: u8,
    pub letters: u8,
    /// EDNS option data, trailing bytes: raw bytes that no resolver has to pass on.
    pub extra_bytes: usize,
}

/// How a query counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The first time this look-up is seen.
    Full,
    /// Retry or A/AAAA/HTTPS twin: part of a look-up already charged.
    Twin,
    /// Another client asked the same name just before: it is charged for it.
    Forwarded,
}

impl Entry {
    pub(super) fn new(key: Key, class: Class, zone: &[u8], now_ns: u64, window_s: u64) -> Self {
        let bucket_ns = (window_s.max(1) * 1_000_000_000 / BUCKETS as u64).max(1);
        Self {
            key,
            class,
            zone: zone.into(),
            first_ns: now_ns,
            last_ns: now_ns,
            queries: 0,
            responses: 0,
            totals: Totals::default(),
            name_bytes: 0,
            new_names: 0,
            samples: Vec::new(),
            reported: false,
            bucket_ns,
            bucket: now_ns / bucket_ns,
            buckets: [Bucket::default(); BUCKETS],
            known: Known::default(),
            payloads: Known::default(),
            history: None,
        }
    }

    /// Takes a query at `now_ns`; returns whether its sub-name was new.
    pub fn query(&mut self, name: Name<'_>, charge: Charge, now_ns: u64) -> bool {
        self.advance(now_ns);
        self.queries += 1;
        let bucket = &mut self.buckets[0];
        bucket.queries = bucket.queries.saturating_add(1);
        // Id, type, case and options can carry something in every query, also in a repeated one.
        let beside = ID_BITS + QTYPE_BITS + case_bits(name) + name.extra_bytes as u64 * 8;
        self.totals.up_high += beside * u64::from(UNIT);
        let new = !name.sub.is_empty() && !self.known.insert(name.hash);
        let length = sub_len(name.sub);
        if !new {
            if charge == Charge::Full {
                // Which of the names it knows a client repeats: at most log2 of how many.
                let cost = u64::from(model::log2_units(self.known.len()));
                self.totals.up_low += cost;
                self.totals.up_high += cost;
            }
            return false;
        }
        self.name_bytes += length as u64;
        if charge != Charge::Full {
            return true;
        }
        self.new_names += 1;
        self.buckets[0].new_names = self.buckets[0].new_names.saturating_add(1);
        if self.samples.len() < SAMPLES {
            self.samples.push(name.sub[..name.sub.len().min(SAMPLE_LEN)].into());
        }
        let said = self.said(name.sub);
        let address = self.address_cost(name.sub);
        let cost = address.map_or(said, |most| said.min(most));
        let low = u64::from(cost.min(model::alphabet_cost(name.sub)));
        self.totals.up_low += low;
        self.totals.up_high += (u64::from(raw_cost(name.sub))).max(low);
        let bucket = &mut self.buckets[0];
        let sum = if address.is_some() { &mut bucket.address_units } else { &mut bucket.new_units };
        *sum = sum.saturating_add(cost);
        true
    }

    /// Takes a response: payload-bearing rdata as (hash, bytes it can have carried at least and at most, in units).
    pub fn response(&mut self, payload: Option<(u64, u64, u64)>, now_ns: u64) {
        self.advance(now_ns);
        self.responses += 1;
        let Some((hash, low, high)) = payload else { return };
        self.totals.down_high += high;
        if !self.payloads.insert(hash) {
            self.totals.down_low += low;
        }
    }

    /// What the window that ends now holds.
    pub fn window(&mut self, now_ns: u64) -> Window {
        self.roll(now_ns);
        self.buckets.iter().fold(Window::default(), |sum, b| Window {
            new_units: sum.new_units + u64::from(b.new_units),
            address_units: sum.address_units + u64::from(b.address_units),
            new_names: sum.new_names + u64::from(b.new_names),
            queries: sum.queries + u64::from(b.queries),
        })
    }

    fn advance(&mut self, now_ns: u64) {
        self.roll(now_ns);
        self.first_ns = self.first_ns.min(now_ns);
        self.last_ns = self.last_ns.max(now_ns);
    }

    /// Time that goes back a little (several rings) stays in the newest bucket; further than a window (an older capture
    /// after a newer one) it starts afresh.
    fn roll(&mut self, now_ns: u64) {
        let bucket = now_ns / self.bucket_ns;
        if bucket + BUCKETS as u64 <= self.bucket {
            self.bucket = bucket;
            self.buckets.fill(Bucket::default());
            return;
        }
        let steps = bucket.saturating_sub(self.bucket);
        if steps == 0 {
            return;
        }
        self.bucket = bucket;
        let steps = steps.min(BUCKETS as u64) as usize;
        self.buckets.rotate_right(steps);
        self.buckets[..steps].fill(Bucket::default());
    }

    fn said(&mut self, sub: &[u8]) -> u32 {
        if self.new_names < HISTORY_FROM {
            return model::static_cost(sub);
        }
        let samples = &self.samples;
        let history = self.history.get_or_insert_with(|| {
            let mut history = Box::<History>::default();
            for sample in &samples[..samples.len() - 1] {
                history.learn(sample);
            }
            history
        });
        history.learn(sub)
    }

    /// What a name made of a reversed address can say at most: the address, and what stands beside it.
    fn address_cost(&self, sub: &[u8]) -> Option<u32> {
        match self.class {
            Class::Reverse4 => is_octet(sub.get(1..)?).then_some(8 * UNIT),
            Class::Reverse6 => {
                let nibbles = sub.chunks(2).take_while(|c| c[0] == 1 && c[1].is_ascii_hexdigit()).count();
                (nibbles * 2 == sub.len()).then_some(4 * UNIT * nibbles as u32)
            }
            Class::Registered => {
                let mut rest = sub;
                for _ in 0..4 {
                    let (&length, tail) = rest.split_first()?;
                    let (label, tail) = tail.split_at_checked(usize::from(length))?;
                    if !is_octet(label) {
                        return nibble_address(sub);
                    }
                    rest = tail;
                }
                Some(ADDRESS4_COST + model::static_cost(rest))
            }
            Class::None => None,
        }
    }
}

/// A DNS message id.
const ID_BITS: u64 = 16;
/// A query type.
const QTYPE_BITS: u64 = 16;

/// One bit for each letter where any is in upper case.
fn case_bits(name: Name<'_>) -> u64 {
    if name.upper == 0 { 0 } else { u64::from(name.letters) }
}

/// Characters without the lengths, dots or root.
fn sub_len(sub: &[u8]) -> usize {
    let mut rest = sub;
    let mut total = 0;
    while let Some((&length, tail)) = rest.split_first() {
        total += usize::from(length).min(tail.len());
        rest = &tail[usize::from(length).min(tail.len())..];
    }
    total
}

/// What the characters could say if each were one of 38 (or of 256, if any is no host name character) by free choice.
fn raw_cost(sub: &[u8]) -> u32 {
    let host = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut rest = sub;
    let mut cost = 0;
    while let Some((&length, tail)) = rest.split_first() {
        let (label, tail) = tail.split_at(usize::from(length).min(tail.len()));
        cost += 6 * UNIT + label.len() as u32 * if label.iter().all(host) { 84 } else { 8 * UNIT };
        rest = tail;
    }
    cost
}

fn is_octet(label: &[u8]) -> bool {
    (1..=3).contains(&label.len())
        && label.iter().all(u8::is_ascii_digit)
        && label.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0')) < 256
}

/// 32 labels of one nibble each, then the list's own labels.
fn nibble_address(sub: &[u8]) -> Option<u32> {
    let (address, rest) = sub.split_at_checked(64)?;
    address
        .chunks(2)
        .all(|c| c[0] == 1 && c[1].is_ascii_hexdigit())
        .then(|| 128 * UNIT + model::static_cost(rest))
}

#[cfg(test)]
mod tests;
