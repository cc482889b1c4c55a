//! One look-up out of many packets: duplicate legs, retries, A/AAAA/HTTPS twins, a resolver's own upstream query.
//!
//! Two small tables of what was just seen. *Legs* know each message by its ends, id and name: a message seen at several
//! hooks (sender's socket, wire, receiver's socket) counts once, and a response finds the client that asked. *Names* know
//! who asked for a name first: whoever asks for the same name right after passes the look-up on, and is not charged.

use std::hash::BuildHasher;
use std::net::SocketAddr;

use crate::event::Transport;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Two records of one message (same ends, id and name) within this time are one, seen at two hooks; milliseconds.
    pub duplicate_ms: u64,
    /// A name asked again by the same client, or by another one after it, within this time is the same look-up;
    /// milliseconds.
    pub lookup_ms: u64,
    /// Recent queries remembered; the oldest goes first.
    pub max_recent: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { duplicate_ms: 2000, lookup_ms: 2000, max_recent: 16384 }
    }
}

impl Settings {
    /// Bytes of both tables.
    pub fn worst_case_bytes(&self) -> usize {
        let slots = self.max_recent.div_ceil(WAYS).next_power_of_two() * WAYS;
        slots * (size_of::<(u64, u64, LegSeen)>() + size_of::<(u64, u64, u64)>())
    }
}

/// How long a response may take to be matched to its query.
const RESPONSE_NS: u64 = 30_000_000_000;

/// A query or response as both ends know it.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub transport: Transport,
    pub id: u16,
    /// Keyed hash of the lower-cased name.
    pub name: u64,
    pub qtype: u16,
}

/// What a query is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The first of its look-up.
    First,
    /// The same message at another hook; the key of who is known to have asked.
    Duplicate(u64),
    /// Retry or twin (another type) by the same asker.
    Twin,
    /// Another asker's look-up, passed on.
    Forwarded,
}

/// Who a response belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The asker's key as given with the query.
    Query(u64),
    /// The same response at another hook; the key of who asked, if its query was seen.
    Duplicate(Option<u64>),
    /// No query was seen; `true` if the name has just been asked all the same.
    Unknown(bool),
}

#[derive(Debug)]
pub struct Fold<S> {
    duplicate_ns: u64,
    lookup_ns: u64,
    seed: S,
    legs: Recent<LegSeen>,
    names: Recent<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct LegSeen {
    asker: u64,
    /// Its query was seen, not only a response.
    asked: bool,
    answered_ns: u64,
}

/// Who is known to have asked for a name that only responses have shown: nobody who could be charged in another's place.
const NOBODY: u64 = 0;

impl<S: BuildHasher> Fold<S> {
    pub fn new(settings: &Settings, seed: S) -> Self {
        Self {
            duplicate_ns: settings.duplicate_ms * 1_000_000,
            lookup_ns: settings.lookup_ms * 1_000_000,
            seed,
            legs: Recent::new(settings.max_recent),
            names: Recent::new(settings.max_recent),
        }
    }

    /// Takes a query by `asker` (a client's key).
    pub fn query(&mut self, leg: &Leg, asker: u64, now_ns: u64) -> Seen {
        let (leg_hash, name_hash) = self.hashes(leg);
        if let Some((time_ns, seen)) = self.legs.find(leg_hash)
            && seen.asked
            && now_ns.abs_diff(*time_ns) <= self.duplicate_ns
        {
            return Seen::Duplicate(seen.asker);
        }
        self.legs.put(leg_hash, now_ns, LegSeen { asker, asked: true, answered_ns: 0 });
        let lookup_ns = self.lookup_ns;
        match self.names.find(name_hash) {
            Some((time_ns, first)) if *first != NOBODY && now_ns.abs_diff(*time_ns) <= lookup_ns => {
                if *first == asker { Seen::Twin } else { Seen::Forwarded }
            }
            _ => {
                self.names.put(name_hash, now_ns, asker);
                Seen::First
            }
        }
    }

    /// Takes a response. One without a query is remembered as such only: anybody can send it, and it must not stand for
    /// the query that may yet come.
    pub fn response(&mut self, leg: &Leg, now_ns: u64) -> Answers {
        let (leg_hash, name_hash) = self.hashes(leg);
        let duplicate_ns = self.duplicate_ns;
        if let Some((time_ns, seen)) = self.legs.find(leg_hash)
            && now_ns.abs_diff(*time_ns) <= RESPONSE_NS
        {
            if seen.answered_ns != 0 && now_ns.abs_diff(seen.answered_ns) <= duplicate_ns {
                return Answers::Duplicate(seen.asked.then_some(seen.asker));
            }
            seen.answered_ns = now_ns;
            if seen.asked {
                return Answers::Query(seen.asker);
            }
        } else {
            self.legs.put(leg_hash, now_ns, LegSeen { asker: NOBODY, asked: false, answered_ns: now_ns });
        }
        let recent =
            self.names.find(name_hash).is_some_and(|(time_ns, _)| now_ns.abs_diff(*time_ns) <= RESPONSE_NS);
        if !recent {
            self.names.put(name_hash, now_ns, NOBODY);
        }
        Answers::Unknown(recent)
    }

    /// Messages forgotten before their time was over.
    pub fn evicted(&self) -> u64 {
        self.legs.evicted + self.names.evicted
    }

    fn hashes(&self, leg: &Leg) -> (u64, u64) {
        let ends = (leg.client, leg.server, leg.transport, leg.id, leg.qtype);
        (self.seed.hash_one((leg.name, ends)), leg.name)
    }
}

/// Set-associative table of what was last seen: no insert ever costs more than looking at one set.
#[derive(Debug)]
struct Recent<T> {
    slots: Vec<(u64, u64, T)>,
    evicted: u64,
}

const WAYS: usize = 4;

impl<T: Clone + Default> Recent<T> {
    fn new(size: usize) -> Self {
        let sets = size.div_ceil(WAYS).next_power_of_two();
        Self { slots: vec![(0, 0, T::default()); sets * WAYS], evicted: 0 }
    }

    fn set(&mut self, hash: u64) -> &mut [(u64, u64, T)] {
        let sets = self.slots.len() / WAYS;
        let at = (hash >> 32) as usize % sets * WAYS;
        &mut self.slots[at..at + WAYS]
    }

    /// Time and value of a hash.
    fn find(&mut self, hash: u64) -> Option<(&mut u64, &mut T)> {
        self.set(hash)
            .iter_mut()
            .find(|slot| slot.0 == hash && hash != 0)
            .map(|(_, time, value)| (time, value))
    }

    /// Notes a hash in the place of its older self, or of the oldest of its set.
    fn put(&mut self, hash: u64, now_ns: u64, value: T) {
        let set = self.set(hash);
        let at = set.iter().position(|slot| slot.0 == hash).unwrap_or_else(|| {
            (0..WAYS).min_by_key(|at| if set[*at].0 == 0 { 0 } else { set[*at].1 }).unwrap_or(0)
        });
        let early = set[at].0 != 0 && set[at].0 != hash && now_ns.saturating_sub(set[at].1) <= RESPONSE_NS;
        set[at] = (hash, now_ns, value);
        self.evicted += u64::from(early);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn fold() -> Fold<foldhash::fast::FixedState> {
        Fold::new(&Settings::default(), foldhash::fast::FixedState::with_seed(1))
    }

    fn leg(client: &str, server: &str, id: u16, name: &[u8], qtype: u16) -> Leg {
        let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
        let name = foldhash::fast::FixedState::with_seed(9).hash_one(name);
        Leg { client, server, transport: Transport::Udp, id, name, qtype }
    }

    #[test]
    fn one_message_at_three_hooks_is_one() {
        let mut fold = fold();
        let query = leg("10.0.0.2:4000", "10.0.0.1:53", 7, b"\x01a\x04test", 16);
        assert_eq!(fold.query(&query, 1, 1000 * MS), Seen::First);
        assert_eq!(fold.query(&query, 2, 1001 * MS), Seen::Duplicate(1));
        assert_eq!(fold.query(&query, 2, 1002 * MS), Seen::Duplicate(1));
        assert_eq!(fold.response(&query, 1010 * MS), Answers::Query(1));
        assert_eq!(fold.response(&query, 1011 * MS), Answers::Duplicate(Some(1)));
    }

    #[test]
    fn retries_and_twins_are_one_lookup() {
        let mut fold = fold();
        let at = |id, qtype| leg("10.0.0.2:4000", "10.0.0.1:53", id, b"\x01a\x04test", qtype);
        assert_eq!(fold.query(&at(1, 1), 1, 1000 * MS), Seen::First);
        assert_eq!(fold.query(&at(2, 28), 1, 1000 * MS), Seen::Twin);
        assert_eq!(fold.query(&at(3, 1), 1, 2500 * MS), Seen::Twin);
        assert_eq!(fold.query(&at(4, 1), 1, 9000 * MS), Seen::First);
    }

    #[test]
    fn a_resolver_passes_on_and_is_not_charged() {
        let mut fold = fold();
        let app = leg("127.0.0.1:4000", "127.0.0.53:53", 1, b"\x01a\x04test", 1);
        let upstream = leg("10.0.0.2:5000", "10.0.0.1:53", 9, b"\x01a\x04test", 1);
        assert_eq!(fold.query(&app, 1, 1000 * MS), Seen::First);
        assert_eq!(fold.query(&upstream, 2, 1003 * MS), Seen::Forwarded);
        assert_eq!(fold.response(&upstream, 1020 * MS), Answers::Query(2));
        assert_eq!(fold.response(&app, 1021 * MS), Answers::Query(1));
    }

    #[test]
    fn a_response_alone_speaks_for_its_query() {
        let mut fold = fold();
        let one = leg("10.0.0.2:4000", "10.0.0.1:53", 7, b"\x01a\x04test", 16);
        assert_eq!(fold.response(&one, 1000 * MS), Answers::Unknown(false));
        assert_eq!(fold.response(&one, 1001 * MS), Answers::Duplicate(None));
    }

    #[test]
    fn a_response_ahead_of_its_query_takes_nothing_from_it() {
        let mut fold = fold();
        let one = leg("10.0.0.2:4000", "10.0.0.1:53", 7, b"\x01a\x04test", 16);
        assert_eq!(fold.response(&one, 1000 * MS), Answers::Unknown(false));
        assert_eq!(fold.query(&one, 3, 1001 * MS), Seen::First);
        assert_eq!(fold.response(&one, 1002 * MS), Answers::Query(3));
        let other = Leg { id: 8, name: one.name + 1, ..one };
        assert_eq!(fold.response(&other, 1000 * MS), Answers::Unknown(false));
        assert_eq!(fold.query(&Leg { id: 9, ..other }, 3, 1001 * MS), Seen::First);
    }

    #[test]
    fn room_is_bounded() {
        let mut fold = Fold::new(
            &Settings { max_recent: 64, ..Settings::default() },
            foldhash::fast::FixedState::with_seed(1),
        );
        for id in 0..1000 {
            fold.query(&leg("10.0.0.2:4000", "10.0.0.1:53", id, b"\x01a", 1), 1, 1000 * MS);
        }
        assert_eq!(fold.legs.slots.len(), 64);
        assert!(fold.evicted() >= 900);
    }
}
