//! One key's account: what its names and answers can have carried, in a window and in all.

use super::Key;
use super::known::Known;
use crate::model::{self, History, UNIT};
use crate::zone::Class;

/// Parts of a window: the sum covers between nine and ten of them.
const BUCKETS: usize = 10;
/// First names kept to show.
pub const SAMPLES: usize = 3;
/// Longest of one: a name's labels (RFC 1035 section 2.3.4).
const SAMPLE_LEN: usize = 254;
/// Names remembered as known, and hashes of payload-bearing answers.
const KNOWN_NAMES: usize = 320;
const KNOWN_PAYLOADS: usize = 32;
/// New names after which a key is worth a history of its own; most (client, zone) pairs see one or two names ever.
const HISTORY_FROM: u64 = 3;
/// Reversed IPv4 address in a name, as DNSBL and PTR queries have it.
const ADDRESS4_COST: u32 = 32 * UNIT;
/// The same of IPv6: 32 nibbles.
const ADDRESS6_COST: u32 = 128 * UNIT;

/// At most 4 KiB: names 1.3 KiB, history 1.3 KiB, samples 0.8 KiB, the rest in place.
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
    /// Key of the resolver that passes its look-ups on; 0 if none is known to.
    pub via: u64,
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
    /// Cost of new names, but for the reversed addresses in them.
    pub new_units: u64,
    /// Cost of the reversed addresses in new names.
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

/// An entry's window in parts, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    bucket: u64,
    buckets: [Bucket; BUCKETS],
}

const _: () = assert!(
    // Zone and sub-name together are one name, so that samples are longest where there is no zone.
    size_of::<Entry>()
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
            via: 0,
            bucket_ns,
            bucket: now_ns / bucket_ns,
            buckets: [Bucket::default(); BUCKETS],
            known: Known::default(),
            payloads: Known::default(),
            history: None,
        }
    }

    /// Takes a query at `now_ns`; returns whether its sub-name was new. One that is `claimed` by another key's open
    /// finding counts in all, but not in the window.
    pub fn query(&mut self, name: Name<'_>, charge: Charge, claimed: bool, now_ns: u64) -> bool {
        self.advance(now_ns);
        self.queries += 1;
        let bucket = &mut self.buckets[0];
        bucket.queries = bucket.queries.saturating_add(u32::from(!claimed));
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
        if self.samples.len() < SAMPLES {
            self.samples.push(name.sub.into());
        }
        let (most, rest) = split_address(self.class, name.sub);
        let said = self.said(told(self.class, name.sub));
        let (address, said) = if rest.is_empty() { (said.min(most), 0) } else { (most, said) };
        let low = u64::from((address + said).min(model::alphabet_cost(name.sub)));
        self.totals.up_low += low;
        self.totals.up_high += (u64::from(raw_cost(name.sub))).max(low);
        let bucket = &mut self.buckets[0];
        if !claimed {
            bucket.new_names = bucket.new_names.saturating_add(1);
            bucket.new_units = bucket.new_units.saturating_add(said);
            bucket.address_units = bucket.address_units.saturating_add(address);
        }
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

    /// The window part by part, to be claimed from another entry.
    pub fn parts(&mut self, now_ns: u64) -> Parts {
        self.roll(now_ns);
        Parts { bucket: self.bucket, buckets: self.buckets }
    }

    /// Takes out of the window what another key's finding speaks for.
    pub fn claim(&mut self, parts: &Parts, now_ns: u64) {
        self.roll(now_ns);
        for (back, theirs) in parts.buckets.iter().enumerate() {
            let at = (self.bucket + back as u64).checked_sub(parts.bucket);
            let Some(own) = at.and_then(|at| self.buckets.get_mut(at as usize)) else { continue };
            *own = Bucket {
                new_units: own.new_units.saturating_sub(theirs.new_units),
                address_units: own.address_units.saturating_sub(theirs.address_units),
                new_names: own.new_names.saturating_sub(theirs.new_names),
                queries: own.queries.saturating_sub(theirs.queries),
            };
        }
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
        let (samples, class) = (&self.samples, self.class);
        let history = self.history.get_or_insert_with(|| {
            let mut history = Box::<History>::default();
            for sample in &samples[..samples.len() - 1] {
                history.learn(told(class, sample));
            }
            history
        });
        history.learn(sub)
    }
}

/// What the history learns of a sub-name: the labels behind an address, or the address if there are none.
fn told(class: Class, sub: &[u8]) -> &[u8] {
    let (_, rest) = split_address(class, sub);
    if rest.is_empty() { sub } else { rest }
}

/// What the reversed address at the front of a sub-name costs, 0 if there is none, and the labels behind it: they say
/// what they say, whatever stands before them.
fn split_address(class: Class, sub: &[u8]) -> (u32, &[u8]) {
    let nibbles =
        || sub.chunks(2).take_while(|c| c[0] == 1 && c.get(1).is_some_and(u8::is_ascii_hexdigit)).count();
    let (cost, length) = match class {
        Class::Reverse4 if sub.get(1..).is_some_and(is_octet) => (8 * UNIT, sub.len()),
        Class::Reverse6 if nibbles() * 2 == sub.len() => (4 * UNIT * nibbles() as u32, sub.len()),
        Class::Registered => match address4_len(sub) {
            Some(length) => (ADDRESS4_COST, length),
            None if nibbles() >= 32 => (ADDRESS6_COST, 64),
            None => (0, 0),
        },
        Class::Reverse4 | Class::Reverse6 | Class::None => (0, 0),
    };
    let (address, rest) = sub.split_at(length);
    (cost.min(model::static_cost(address)), rest)
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

/// Bytes of the four octets at the front of a sub-name.
fn address4_len(sub: &[u8]) -> Option<usize> {
    let mut rest = sub;
    for _ in 0..4 {
        let (&length, tail) = rest.split_first()?;
        let (label, tail) = tail.split_at_checked(usize::from(length))?;
        if !is_octet(label) {
            return None;
        }
        rest = tail;
    }
    Some(sub.len() - rest.len())
}

#[cfg(test)]
mod tests;
