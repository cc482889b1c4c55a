//! Which names a key has asked before: fingerprints in a small set-associative table.

/// Fingerprints in one set, newest first.
const WAYS: usize = 16;
/// Fingerprints a table begins with; it grows fourfold when a set is full.
const START: usize = WAYS;
/// Fingerprints kept in place before that.
const FEW: usize = 4;

/// Marks a fingerprint whose name was asked again.
const AGAIN: u32 = 1;

/// What a name is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    New,
    /// The second time that it is asked.
    Again,
    Known,
}

/// Names asked before, by 30-bit fingerprint; at most `MAX`, 4 bytes each. A name older than that many others counts as
/// new again.
#[derive(Clone, Debug)]
pub struct Known<const MAX: usize> {
    /// The first ones, newest first, before there are slots: most keys never know more.
    few: [u32; FEW],
    slots: Box<[u32]>,
    taken: u32,
}

impl<const MAX: usize> Default for Known<MAX> {
    fn default() -> Self {
        Self { few: [0; FEW], slots: Box::default(), taken: 0 }
    }
}

impl<const MAX: usize> Known<MAX> {
    /// Bytes beyond `size_of::<Self>()` at most.
    pub const HEAP: usize = {
        assert!(MAX.is_multiple_of(WAYS) && MAX >= START);
        MAX * size_of::<u32>()
    };

    /// Names in the table.
    pub fn len(&self) -> usize {
        self.taken as usize
    }

    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Whether a name was noted.
    pub fn has(&mut self, hash: u64) -> bool {
        let print = fingerprint(hash);
        self.set(print).iter().any(|p| *p & !AGAIN == print)
    }

    /// Notes a name by its hash; whether it was there. One of the older half of its set goes if the set is full.
    pub fn insert(&mut self, hash: u64) -> bool {
        self.ask(hash, false) != Asked::New
    }

    /// As [`Self::insert`]; that a known one is asked `again` is kept.
    pub fn ask(&mut self, hash: u64, again: bool) -> Asked {
        let print = fingerprint(hash);
        let set = self.set(print);
        if let Some(at) = set.iter().position(|p| *p & !AGAIN == print) {
            let known = set[at];
            set.copy_within(..at, 1);
            set[0] = known | u32::from(again);
            let first = again && known & AGAIN == 0;
            return if first { Asked::Again } else { Asked::Known };
        }
        while self.slots.len() < MAX && self.set(print).last() != Some(&0) {
            self.grow();
        }
        self.put(print);
        Asked::New
    }

    fn put(&mut self, print: u32) {
        let set = self.set(print);
        let full = set.last() != Some(&0);
        // Any of the older half goes: who goes round a list that is a little too long for the table finds most of it
        // there, where the oldest is just what is asked next.
        let half = set.len() / 2;
        let out = if full { half + (print >> 20) as usize % half } else { set.len() - 1 };
        set.copy_within(..out, 1);
        set[0] = print;
        self.taken += u32::from(!full);
    }

    fn set(&mut self, print: u32) -> &mut [u32] {
        if self.slots.is_empty() {
            return &mut self.few;
        }
        let sets = self.slots.len() / WAYS;
        let at = (print >> 2) as usize % sets * WAYS;
        &mut self.slots[at..at + WAYS]
    }

    fn grow(&mut self) {
        let old = std::mem::take(self);
        self.slots = vec![0; (old.slots.len() * 4).clamp(START, MAX)].into();
        self.taken = 0;
        // Newest first within a set, so the other way round keeps the order.
        for print in old.slots.iter().rev().chain(old.few.iter().rev()).copied().filter(|p| *p != 0) {
            self.put(print);
        }
    }
}

/// Never 0, which is an empty slot.
fn fingerprint(hash: u64) -> u32 {
    ((hash >> 32) as u32 | 2) & !AGAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_name_is_new_once() {
        let mut known = Known::<320>::default();
        for round in 0..3 {
            for n in 0..60 {
                assert_eq!(known.insert(hash(n)), round > 0, "{round} {n}");
            }
        }
        assert_eq!(known.len(), 60);
    }

    /// No name that fits is ever forgotten, however the hashes fall.
    #[test]
    fn polled_names_are_new_once() {
        for seed in 1..200u64 {
            let mut state = seed;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
            };
            for count in [6, 24, 60, 90] {
                let hashes: Vec<u64> = (0..count).map(|_| random()).collect();
                let mut known = Known::<320>::default();
                for round in 0..4 {
                    for hash in &hashes {
                        assert_eq!(known.insert(*hash), round > 0, "{seed} {count} {round}");
                    }
                }
                assert_eq!(known.len(), count);
            }
        }
    }

    /// A list somewhat longer than the table, gone through again and again.
    #[test]
    fn most_of_a_list_that_is_too_long_is_known() {
        let mut known = Known::<240>::default();
        let mut new = 0;
        for round in 0..10 {
            new += (0..280).filter(|n| !known.insert(hash(*n)) && round > 0).count();
        }
        assert!(new < 9 * 280 / 2, "{new}");
    }

    #[test]
    fn room_is_bounded_and_the_newest_stay() {
        let mut known = Known::<320>::default();
        for n in 0..100_000 {
            known.insert(hash(n));
        }
        assert!(known.slots.len() <= 320 && known.len() <= 320);
        assert!(known.insert(hash(99_999)));
    }
}
