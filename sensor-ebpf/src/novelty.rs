//! The novelty filter: what says nothing that was not just said stays in the kernel, counted.
//!
//! It keeps back what user space would fold into a look-up that it knows: a query that its sender has sent before within
//! one look-up (`pipeline.lookup_ms` from the first query for that name on), equal in every byte but the message id, and
//! the response to it, if the last one to a repeat said the same to the byte. One response that says something else
//! passes, marked `flag::TO_REPEAT`. So every look-up begins with a query that passes, and its time, its sender and all
//! that is new about it are known: detectors see with the filter what they see without it.
//!
//! Long names, types whose answers are payload, errors, fragments, messages over `MAX_MESSAGE` bytes and TCP are never
//! kept back. Hashes are keyed (`question::hash`), so nobody can aim at another's fingerprint; a new name that is taken
//! for one just said needs two of 64 bits that meet. What a set has no room for is forgotten and passes when it comes
//! again: a flood of names costs the filter its effect and nothing else.
//!
//! The tables are arrays of sets, since an insert into an LRU map costs ten times as much as all of this.

use crate::abi::{NOVELTY_PLACES, NoveltySet, flag, kind};
use crate::describe::{Description, forget, hidden, qtype_class, zero};
use crate::frame::Frame;
use crate::limits::MAX_NAME;
use crate::question::{self, NOVELTY_KEY, halves, product, spread};

/// Secret words of its hashes, behind those of names and flows.
pub(crate) const KEY_WORDS: usize = 14;

/// Bytes of a message that is looked at: what one hash takes, and the id before it.
pub const MAX_MESSAGE: usize = 2 + MAX_NAME;

/// Repeats in a look-up that pass: what a tunnel sends a second time is told at once, as without the filter.
const FREE: u32 = 2;

/// For how long a response is waited for, nanoseconds.
pub const RESPONSE_NS: u64 = 10_000_000_000;

/// Where a message was seen, and who sent it: zeroes where that is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speaker {
    /// View, interface and network namespace ([`hook`]).
    pub hook: u64,
    /// Thread group id, start and the two words of its name.
    pub process: [u64; 4],
}

/// `abi::view`, the interface's index and the socket's network namespace as one word.
#[inline(always)]
pub const fn hook(view: u8, ifindex: u32, netns: u32) -> u64 {
    (netns as u64) << 32 ^ (ifindex as u64) << 8 ^ view as u64
}

/// For how long a name counts as answered, nanoseconds.
pub const ANSWER_NS: u64 = 60_000_000_000;

/// What a message is to the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Query,
    Response,
    /// Always passes.
    Other,
}

/// Which part of it a message is; `exact` if it may be kept back at all.
#[inline(always)]
pub fn part(frame: &Frame, what: &Description) -> (Part, bool) {
    const NEVER: u16 = flag::ALERT | flag::FRAGMENT | flag::GSO | flag::BAD_QUESTION;
    if what.kind != kind::MESSAGE || what.question.name_len == 0 {
        return (Part::Other, false);
    }
    let exact = what.flags & NEVER == 0
        && frame.cap_len == frame.true_len
        && frame.true_len as usize <= MAX_MESSAGE
        && qtype_class(what.question.qtype) <= 1
        && what.rcode == 0;
    match (what.flags & flag::RESPONSE != 0, what.flags & flag::TO_SERVER != 0) {
        (false, true) => (Part::Query, exact),
        (true, false) => (Part::Response, exact),
        _ => (Part::Other, false),
    }
}

/// Fingerprint of a sender's look-up of a name.
#[inline(always)]
pub fn lookup_key(
    frame: &Frame,
    speaker: &Speaker,
    name_hash: u64,
    key: impl Fn(usize) -> [u32; 2] + Copy,
) -> u64 {
    let [low, high] = question::address(&frame.src);
    let [tgid, start, comm, rest] = speaker.process;
    mix::<0, 7>([low, high, speaker.hook, tgid, start, comm, rest], name_hash, key)
}

/// Fingerprint of one query of that look-up: all its bytes behind the id, and whom it asks.
#[inline(always)]
pub fn query_key<const W: usize>(
    frame: &Frame,
    lookup_key: u64,
    message: &[u64; W],
    key: impl Fn(usize) -> [u32; 2] + Copy,
) -> u64 {
    mix::<7, 2>(question::address(&frame.dst), lookup_key.wrapping_add(digest(frame, message, key)), key)
}

/// Fingerprint of a query that was kept back, by which its response is known wherever it is seen: addresses and ports
/// may be others behind NAT.
#[inline(always)]
pub fn repeat_key<const W: usize>(
    what: &Description,
    message: &[u64; W],
    key: impl Fn(usize) -> [u32; 2] + Copy,
) -> u64 {
    let id = u64::from(question::byte(message, 0)) << 8 | u64::from(question::byte(message, 1));
    mix::<9, 1>([id << 16 | u64::from(what.question.qtype)], what.name_hash, key)
}

/// Fingerprint of what a response says to its receiver.
#[inline(always)]
pub fn response_key<const W: usize>(
    frame: &Frame,
    hook: u64,
    name_hash: u64,
    message: &[u64; W],
    key: impl Fn(usize) -> [u32; 2] + Copy,
) -> u64 {
    let [low, high] = question::address(&frame.dst);
    mix::<10, 3>([low, high, hook], name_hash.wrapping_add(digest(frame, message, key)), key)
}

/// Fingerprint of a name that was answered, whoever asked.
#[inline(always)]
pub fn answer_key(what: &Description, key: impl Fn(usize) -> [u32; 2] + Copy) -> u64 {
    mix::<13, 1>([u64::from(what.question.qtype)], what.name_hash, key)
}

/// Number of the set that a fingerprint chooses among `sets`.
#[inline(always)]
pub const fn set_of(key: u64, sets: u32) -> u32 {
    (((key >> 32) * sets as u64) >> 32) as u32
}

/// A query and the look-up it would be part of.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// See [`lookup_key`]; it chooses the set.
    pub lookup: u64,
    /// See [`query_key`].
    pub query: u64,
    pub now_ns: u64,
    /// How long a look-up lasts.
    pub lookup_ns: u64,
    /// See `Options::novelty_sample`.
    pub sample: u64,
}

/// Whether a query is a repeat to keep back. If not, it is noted, and `room.kept` tells how many were kept back before.
#[inline(always)]
pub fn query(set: &mut NoveltySet, asked: &Asked, room: &mut Room) -> bool {
    zero(&mut room.evicted);
    zero(&mut room.kept);
    let Asked { lookup, query, now_ns, lookup_ns, .. } = *asked;
    find(set, lookup, room);
    let mut since = if room.place < NOVELTY_PLACES as u64 { load(&set.times_ns[at(room)]) } else { 0 };
    if since == 0 || now_ns.abs_diff(since) > lookup_ns {
        put(set, lookup, now_ns, now_ns, lookup_ns, room);
        since = now_ns;
    }
    forget();
    find(set, query, room);
    if room.place < NOVELTY_PLACES as u64 {
        let repeats = load(&set.repeats[at(room)]);
        let again = load(&set.times_ns[at(room)]) == since;
        forget();
        if again && repeats < FREE {
            store(&mut set.repeats[at(room)], repeats + 1);
            return false;
        }
        let kept = repeats.saturating_sub(FREE);
        if again && (asked.sample == 0 || u64::from(kept) + 1 < asked.sample) && kept < u32::MAX / 2 {
            store(&mut set.repeats[at(room)], repeats + 1);
            return true;
        }
        room.kept = u64::from(kept);
        store(&mut set.repeats[at(room)], if again { FREE } else { 0 });
        store(&mut set.times_ns[at(room)], since);
        return false;
    }
    put(set, query, since, now_ns, lookup_ns, room);
    let place = at(room);
    store(&mut set.repeats[place], 0);
    false
}

/// Takes back that a message was noted: its record was lost, so the next one has to pass.
#[inline(always)]
pub fn unsaid(set: &mut NoveltySet, key: u64) {
    for place in 0..NOVELTY_PLACES {
        if load(&set.keys[place]) == key {
            store(&mut set.times_ns[place], 0);
        }
    }
}

/// Whether what a fingerprint stands for was met within `keep_ns`; if not, it is noted.
#[inline(always)]
pub fn met(set: &mut NoveltySet, key: u64, now_ns: u64, keep_ns: u64, room: &mut Room) -> bool {
    room.evicted = 0;
    let known = is_known(set, key, now_ns, keep_ns);
    forget();
    if !known {
        put(set, key, now_ns, now_ns, keep_ns, room);
    }
    known
}

/// Notes a fingerprint.
#[inline(always)]
pub fn note(set: &mut NoveltySet, key: u64, now_ns: u64, keep_ns: u64, room: &mut Room) {
    room.evicted = 0;
    put(set, key, now_ns, now_ns, keep_ns, room);
}

/// Whether what a fingerprint stands for was met within `keep_ns`.
#[inline(always)]
pub fn is_known(set: &NoveltySet, key: u64, now_ns: u64, keep_ns: u64) -> bool {
    let time_ns = time_of(set, key);
    time_ns != 0 && now_ns.abs_diff(time_ns) <= keep_ns
}

/// Room for a search through a set, in memory: of numbers in registers the verifier would follow each value.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Room {
    /// Number of the place found, `NOVELTY_PLACES` for none.
    place: u64,
    oldest_ns: u64,
    /// Fingerprints that went before their time.
    pub evicted: u64,
    /// See [`query`].
    pub kept: u64,
}

/// The place found, bounded where the verifier sees it.
#[inline(always)]
fn at(room: &Room) -> usize {
    hidden(load(&room.place) as usize) & (NOVELTY_PLACES - 1)
}

/// Looks for a fingerprint.
#[inline(always)]
fn find(set: &NoveltySet, key: u64, room: &mut Room) {
    room.place = NOVELTY_PLACES as u64;
    for place in 0..NOVELTY_PLACES {
        if load(&set.keys[place]) == key {
            room.place = place as u64;
            break;
        }
    }
    forget();
}

/// When a fingerprint was met, 0 if it is not there.
#[inline(always)]
fn time_of(set: &NoveltySet, key: u64) -> u64 {
    for place in 0..NOVELTY_PLACES {
        if load(&set.keys[place]) == key {
            return load(&set.times_ns[place]);
        }
    }
    0
}

/// Notes a fingerprint in its own place, or in that of the one met longest ago. Another CPU may do the same at once:
/// then one of them is forgotten, and what it stands for passes again.
#[inline(always)]
fn put(set: &mut NoveltySet, key: u64, time_ns: u64, now_ns: u64, keep_ns: u64, room: &mut Room) {
    (room.place, room.oldest_ns) = (0, u64::MAX);
    for place in 0..NOVELTY_PLACES {
        forget();
        if load(&set.keys[place]) == key {
            (room.place, room.oldest_ns) = (place as u64, 0);
            break;
        }
        let time_ns = load(&set.times_ns[place]);
        if time_ns < room.oldest_ns {
            (room.place, room.oldest_ns) = (place as u64, time_ns);
        }
    }
    forget();
    let place = at(room);
    if room.oldest_ns != 0 && now_ns.abs_diff(room.oldest_ns) <= keep_ns {
        room.evicted += 1;
    }
    store(&mut set.keys[place], 0);
    store(&mut set.times_ns[place], if time_ns == 0 { 1 } else { time_ns });
    store(&mut set.keys[place], key);
}

/// All bytes of a message behind its id.
#[inline(always)]
fn digest<const W: usize>(frame: &Frame, message: &[u64; W], key: impl Fn(usize) -> [u32; 2] + Copy) -> u64 {
    let len = hidden((frame.true_len as usize).saturating_sub(2));
    question::hash_exact(message, 2, if len > MAX_NAME { MAX_NAME } else { len }, key)
}

/// Keyed hash of a few words, never 0; `AT` tells kinds of fingerprints apart.
#[inline(always)]
fn mix<const AT: usize, const N: usize>(words: [u64; N], start: u64, key: impl Fn(usize) -> [u32; 2]) -> u64 {
    const { assert!(AT + N <= KEY_WORDS) };
    let mut sum = start;
    for (index, word) in words.into_iter().enumerate() {
        sum = sum.wrapping_add(product(halves(word), key(NOVELTY_KEY + AT + index)));
    }
    spread(sum) | 1
}

/// A field that another CPU may write.
#[inline(always)]
fn load<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid for reads.
    #[allow(unsafe_code)]
    unsafe {
        core::ptr::from_ref(field).read_volatile()
    }
}

/// See `load`.
#[inline(always)]
fn store<T: Copy>(field: &mut T, value: T) {
    // SAFETY: a reference is valid for writes.
    #[allow(unsafe_code)]
    unsafe {
        core::ptr::from_mut(field).write_volatile(value);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    const EMPTY: NoveltySet =
        NoveltySet { keys: [0; NOVELTY_PLACES], times_ns: [0; NOVELTY_PLACES], repeats: [0; NOVELTY_PLACES] };
    const LOOKUP: u64 = 2_000;

    /// Whether it is kept back, and how many were before it.
    fn ask(set: &mut NoveltySet, query: u64, now_ns: u64, sample: u64) -> (bool, u64) {
        let mut room = Room::default();
        let asked = Asked { lookup: 7, query, now_ns, lookup_ns: LOOKUP, sample };
        (super::query(set, &asked, &mut room), room.kept)
    }

    /// A look-up in which the next repeat is kept back.
    fn begun() -> NoveltySet {
        let mut set = EMPTY;
        for n in 0..=FREE {
            assert!(!ask(&mut set, 1, 9_990 + u64::from(n), 0).0);
        }
        set
    }

    #[test]
    fn a_look_up_ends_where_folding_ends_it() {
        let mut set = EMPTY;
        let mut kept = |what, now_ns| ask(&mut set, what, now_ns, 0);
        assert_eq!([kept(1, 10_000), kept(1, 10_001), kept(1, 10_002)], [(false, 0); 3], "the first ones");
        assert_eq!(kept(1, 11_000), (true, 0), "again");
        assert_eq!([11_500, 11_501, 11_502].map(|at| kept(3, at).0), [false; 3], "another type");
        assert_eq!(kept(3, 12_000), (true, 0), "in the same look-up");
        assert_eq!(kept(3, 12_001), (false, 1), "the look-up is over, whoever began it");
        assert_eq!(kept(1, 12_002), (false, 1), "and this has not been asked in the new one");
        assert_eq!([12_003, 12_004].map(|at| kept(1, at).0), [false; 2]);
        assert_eq!(kept(1, 11_990), (true, 0), "time may go back a little");
    }

    #[test]
    fn one_of_a_sample_passes_and_tells_how_many_did_not() {
        let mut set = EMPTY;
        let passed: Vec<_> = (0..20)
            .map(|n| (n, ask(&mut set, 1, 10_000 + n, 8)))
            .filter(|(_, (kept, _))| !kept)
            .map(|(n, (_, before))| (n, before))
            .collect();
        assert_eq!(passed, [(0, 0), (1, 0), (2, 0), (10, 7), (18, 7)]);
    }

    #[test]
    fn what_was_lost_passes_again() {
        let mut set = begun();
        assert!(ask(&mut set, 1, 10_000, 0).0);
        unsaid(&mut set, 1);
        assert_eq!(ask(&mut set, 1, 10_001, 0), (false, 1));
    }

    #[test]
    fn a_full_set_forgets_the_oldest_counts_it_and_takes_nothing_new_for_old() {
        let (mut set, mut room) = (EMPTY, Room::default());
        for key in 1..=1000u64 {
            let known = met(&mut set, key * 2 + 1, 10_000 + key, LOOKUP, &mut room);
            assert!(!known, "{key}");
            assert_eq!(room.evicted, u64::from(key > NOVELTY_PLACES as u64), "{key}");
        }
        assert!(is_known(&set, 2001, 11_001, LOOKUP) && !is_known(&set, 3, 11_001, LOOKUP));
        assert!(!met(&mut set, 5, 20_000, LOOKUP, &mut room));
        assert_eq!(room.evicted, 0, "their time was over");
    }
}
