//! Bounded state by key, for detectors: the least worthy of a few makes room for a new key.

use std::hash::Hash;

use foldhash::HashMap;

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
    index: HashMap<K, u32>,
    slots: Vec<(K, V)>,
    worths: Worths<(u64, u64)>,
    pub evicted: u64,
}

impl<K: Copy + Eq + Hash, V: Remembered> Table<K, V> {
    pub fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            index: HashMap::default(),
            slots: Vec::new(),
            worths: Worths::default(),
            evicted: 0,
        }
    }

    /// Bytes of `max` keys, what the values keep elsewhere not counted.
    pub const fn bytes(max: usize) -> usize {
        max * (size_of::<(K, V)>() + 2 * size_of::<(K, u32)>()) + Worths::<(u64, u64)>::bytes(max)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn find(&mut self, key: K) -> Option<&mut V> {
        let slot = *self.index.get(&key)? as usize;
        self.worths.touch(slot);
        self.slots.get_mut(slot).map(|(_, value)| value)
    }

    /// What is remembered of a key, made if it is new.
    pub fn open(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let slot = if let Some(slot) = self.index.get(&key) {
            *slot as usize
        } else {
            let slot = if self.slots.len() < self.max {
                self.slots.push((key, make()));
                self.worths.push();
                self.slots.len() - 1
            } else {
                let Self { slots, worths, .. } = self;
                let slot = worths.least(|slot| slots[slot].1.worth(), |worth| worth);
                self.index.remove(&self.slots[slot].0);
                self.evicted += 1;
                self.slots[slot] = (key, make());
                slot
            };
            self.index.insert(key, slot as u32);
            slot
        };
        self.worths.touch(slot);
        &mut self.slots[slot].1
    }
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
    pub fn touch(&mut self, slot: usize) {
        if let Some(bits) = self.touched.get_mut(slot / 64) {
            *bits |= 1 << (slot % 64);
        }
    }

    /// Of the next few slots the one of least `rank`, by what `worth` says of those that were touched; the first of
    /// equals.
    pub fn least<R: Ord>(&mut self, worth: impl Fn(usize) -> W, rank: impl Fn(W) -> R) -> usize {
        let count = self.known.len();
        let from = self.cursor;
        let wrapped = |slot: usize| if slot < count { slot } else { slot - count };
        let sample = EVICTION_SAMPLE.min(count);
        self.cursor = if sample < EVICTION_SAMPLE {
            (from + EVICTION_SAMPLE) % count.max(1)
        } else {
            wrapped(from + EVICTION_SAMPLE)
        };
        let ranked = (from..from + sample).map(wrapped).map(|slot| {
            let (word, bit) = (slot / 64, 1 << (slot % 64));
            if self.touched[word] & bit != 0 {
                self.touched[word] &= !bit;
                self.known[slot] = worth(slot);
            }
            (rank(self.known[slot]), slot)
        });
        // By the rank alone, so that the slot next in turn goes, not the lowest.
        ranked.reduce(|least, next| if next.0 < least.0 { next } else { least }).map_or(0, |(_, slot)| slot)
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
}
