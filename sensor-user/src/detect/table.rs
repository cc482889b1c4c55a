//! Bounded state by key, for detectors: the least worthy of a few makes room for a new key.

use std::hash::Hash;

use crate::index::Index;

/// What a detector remembers of one key.
pub trait Remembered {
    /// More is worth more; the least is forgotten first. State that means much must be worth more than what a flood of new
    /// keys brings; of equals, the one touched longest ago should be least.
    fn worth(&self) -> (u64, u64);
}

/// At most `max` keys.
#[derive(Debug)]
pub struct Table<K, V> {
    max: usize,
    index: Index,
    slots: Vec<(K, V)>,
    worths: Worths<(u64, u64)>,
    pub evicted: u64,
}

impl<K: Copy + Eq + Hash, V: Remembered> Table<K, V> {
    pub fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            index: Index::default(),
            slots: room(max),
            worths: Worths::default(),
            evicted: 0,
        }
    }

    /// Bytes of `max` keys, what the values keep elsewhere not counted.
    pub const fn bytes(max: usize) -> usize {
        max * (size_of::<(K, V)>() + Index::BYTES) + Worths::<(u64, u64)>::bytes(max)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[inline]
    pub fn find(&mut self, key: K) -> Option<&mut V> {
        let slot = self.index.find_again(&key, |slot| &self.slots[slot].0)?;
        self.worths.touch(slot);
        self.slots.get_mut(slot).map(|(_, value)| value)
    }

    /// What is remembered of a key, made if it is new.
    #[inline]
    pub fn open(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let known = self.index.find_again(&key, |slot| &self.slots[slot].0);
        let slot = known.unwrap_or_else(|| self.add(key, make()));
        self.worths.touch(slot);
        &mut self.slots[slot].1
    }

    /// Where a new key is. Apart, so that what is done for each message stays short.
    #[inline(never)]
    fn add(&mut self, key: K, value: V) -> usize {
        let slot = if self.slots.len() < self.max {
            self.slots.push((key, value));
            self.worths.push();
            self.slots.len() - 1
        } else {
            let Self { slots, worths, .. } = self;
            let slot = worths.least(|slot| slots[slot].1.worth(), |worth| worth);
            self.index.remove(&self.slots[slot].0, slot);
            self.evicted += 1;
            self.slots[slot] = (key, value);
            slot
        };
        self.index.insert(&key, slot, |slot| &self.slots[slot].0);
        slot
    }
}

/// A list that will not have to move as it grows, if there is room: what is not used yet takes addresses, no memory.
pub fn room<T>(max: usize) -> Vec<T> {
    let mut list = Vec::new();
    let _ = list.try_reserve_exact(max);
    list
}

/// What the values of a list are worth, side by side: to look for the least, a list of large values need not be fetched
/// but for those that were touched since the last look.
#[derive(Debug, Default)]
pub struct Worths<W> {
    /// By slot; void where it was touched.
    known: Vec<W>,
    /// One bit for each slot.
    touched: Vec<u64>,
    /// Where the search for one to forget goes on.
    cursor: usize,
    /// What is worth no more than this goes at once: about what the last ones that went were worth.
    low: u64,
}

/// Keys compared for one eviction: enough that one of worth is hardly ever the least of them.
const EVICTION_SAMPLE: usize = 16;

impl<W: Copy + Default> Worths<W> {
    /// Bytes for a list of `max`.
    pub const fn bytes(max: usize) -> usize {
        max * size_of::<W>() + max.div_ceil(64) * size_of::<u64>()
    }

    /// The list has grown by one.
    pub fn push(&mut self) {
        self.known.push(W::default());
        if self.touched.len() * 64 < self.known.len() {
            self.touched.push(0);
        }
        self.touch(self.known.len() - 1);
    }

    /// A slot's worth may be another from here on.
    #[inline]
    pub fn touch(&mut self, slot: usize) {
        if let Some(bits) = self.touched.get_mut(slot / 64) {
            *bits |= 1 << (slot % 64);
        }
    }

    /// Of the next few slots the one of least `rank`, by what `worth` says of those that were touched; the first of
    /// equals. One whose first rank is no more than that of those which went before goes at once: in a flood the next.
    pub fn least<R: Ord>(&mut self, worth: impl Fn(usize) -> W, rank: impl Fn(W) -> (u64, R)) -> usize {
        let count = self.known.len();
        let mut least = None;
        for _ in 0..EVICTION_SAMPLE.min(count) {
            let slot = self.cursor;
            self.cursor = if slot + 1 < count { slot + 1 } else { 0 };
            let (word, bit) = (slot / 64, 1 << (slot % 64));
            if self.touched[word] & bit != 0 {
                self.touched[word] &= !bit;
                self.known[slot] = worth(slot);
            }
            let ranked = rank(self.known[slot]);
            if ranked.0 <= self.low {
                self.low = ranked.0;
                return slot;
            }
            // By the rank alone, so that the slot next in turn goes, not the lowest.
            if least.as_ref().is_none_or(|(least, _)| ranked < *least) {
                least = Some((ranked, slot));
            }
        }
        let Some(((first, _), slot)) = least else { return 0 };
        // In small steps, so that a few heavy ones side by side do not make heavy ones go elsewhere.
        self.low = first.min(self.low + self.low / 8 + 1);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Worth(u64);

    impl Remembered for Worth {
        fn worth(&self) -> (u64, u64) {
            (self.0, 0)
        }
    }

    #[test]
    fn a_flood_of_new_keys_displaces_only_each_other() {
        let mut table = Table::new(100);
        for key in 0..10_u64 {
            table.open(key, || Worth(5));
        }
        for key in 10..10_000 {
            table.open(key, || Worth(0));
        }
        assert_eq!((table.len(), table.evicted), (100, 9900));
        assert!((0..10).all(|key| table.find(key).is_some_and(|worth| worth.0 == 5)));
        assert!(table.find(9_999).is_some() && table.find(10).is_none());
    }

    #[test]
    fn what_is_worth_more_than_a_flood_outlasts_it() {
        let mut table = Table::new(256);
        for key in 0..10_u64 {
            table.open(key, || Worth(500 + key));
        }
        for key in 10..100_000_u64 {
            table.open(key, || Worth(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56));
        }
        assert!((0..10).all(|key| table.find(key).is_some()));
    }
}
