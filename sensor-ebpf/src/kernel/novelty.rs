//! The novelty filter's tables, and what a hook asks of it.

use sensor_ebpf::abi::{NoveltySet, control, counter, flag};
use sensor_ebpf::describe::{Description, WORDS, forget, zero};
use sensor_ebpf::frame::Frame;
use sensor_ebpf::novelty::{self, ANSWER_NS, Asked, Part, RESPONSE_NS, Room, Speaker};

use aya_ebpf::maps::Array;

use super::maps::{self, Counters, NOVELTY_NAMES, NOVELTY_REPEATS, option, volatile};

/// What is noted of a message until its record is written, in memory (see `novelty::Room`).
#[repr(C)]
pub(crate) struct Noted {
    room: Room,
    lookup: u64,
    query: u64,
    /// Of an answer whose name was not answered before.
    answer: u64,
    now: u64,
}

/// Whether a message stays here; its counter then. A response to such a query that passes is marked.
#[inline(always)]
pub(crate) fn keeps_back(
    counters: *mut Counters,
    frame: &mut Frame,
    what: &mut Description,
    speaker: &Speaker,
    message: &[u64; WORDS],
    noted: &mut Noted,
    now: u64,
) -> Option<u32> {
    zero(&mut noted.query);
    zero(&mut noted.answer);
    noted.now = now;
    let (part, exact) = novelty::part(frame, what);
    match part {
        Part::Query if exact => {
            noted.lookup = novelty::lookup_key(frame, speaker, what.name_hash, maps::hash_key);
            forget();
            noted.query = novelty::query_key(frame, noted.lookup, message, maps::hash_key);
            forget();
            let set = set(&NOVELTY_NAMES, noted.lookup)?;
            let asked = Asked {
                lookup: volatile(&noted.lookup),
                query: volatile(&noted.query),
                now_ns: now,
                lookup_ns: option!(lookup_ns),
                sample: option!(novelty_sample),
            };
            let repeat = novelty::query(set, &asked, &mut noted.room);
            evicted(counters, noted);
            if !repeat {
                frame.tcp_seq = volatile(&noted.room.kept) as u32;
                return None;
            }
            let key = novelty::repeat_key(what, message, maps::hash_key);
            let repeats = self::set(&NOVELTY_REPEATS, key)?;
            novelty::note(repeats, key, volatile(&noted.now), RESPONSE_NS, &mut noted.room);
            evicted(counters, noted);
            Some(counter::REPEAT_QUERY)
        }
        Part::Response => {
            let key = novelty::repeat_key(what, message, maps::hash_key);
            if novelty::is_known(set(&NOVELTY_REPEATS, key)?, key, now, RESPONSE_NS) {
                forget();
                what.flags |= flag::TO_REPEAT;
                if exact {
                    let key =
                        novelty::response_key(frame, speaker.hook, what.name_hash, message, maps::hash_key);
                    let set = set(&NOVELTY_REPEATS, key)?;
                    let said =
                        novelty::met(set, key, volatile(&noted.now), option!(lookup_ns), &mut noted.room);
                    evicted(counters, noted);
                    if said {
                        return Some(counter::REPEAT_RESPONSE);
                    }
                }
            }
            if !exact || maps::control() & control::KNOWN_ANSWERS == 0 {
                return None;
            }
            forget();
            noted.answer = novelty::answer_key(what, maps::hash_key);
            forget();
            let key = volatile(&noted.answer);
            let set = set(&NOVELTY_REPEATS, key)?;
            let known = novelty::met(set, key, volatile(&noted.now), ANSWER_NS, &mut noted.room);
            evicted(counters, noted);
            known.then_some(counter::KNOWN_ANSWER)
        }
        _ => None,
    }
}

/// The message's record was lost, so that nothing was said.
#[inline(always)]
pub(crate) fn unsaid(noted: &Noted) {
    if volatile(&noted.query) != 0
        && let Some(set) = set(&NOVELTY_NAMES, volatile(&noted.lookup))
    {
        novelty::unsaid(set, volatile(&noted.query));
    }
    let answer = volatile(&noted.answer);
    if answer != 0
        && let Some(set) = set(&NOVELTY_REPEATS, answer)
    {
        novelty::unsaid(set, answer);
    }
}

#[inline(always)]
fn set(map: &'static Array<NoveltySet>, key: u64) -> Option<&'static mut NoveltySet> {
    let set = map.get_ptr_mut(novelty::set_of(key, option!(novelty_sets)))?;
    // SAFETY: a live map value of words that are read and written by volatile accesses; what CPUs mix up costs a repeat
    // that passes.
    Some(unsafe { &mut *set })
}

#[inline(always)]
fn evicted(counters: *mut Counters, noted: &Noted) {
    if volatile(&noted.room.evicted) != 0 {
        maps::count_in::<true>(counters, counter::NOVELTY_EVICTED);
    }
}
