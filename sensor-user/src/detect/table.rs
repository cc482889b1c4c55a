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
    /// Where the search for one to forget goes on.
    cursor: usize,
    pub evicted: u64,
}

/// Keys compared for one eviction.
const EVICTION_SAMPLE: usize = 16;

impl<K: Copy + Eq + Hash, V: Remembered> Table<K, V> {
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), index: HashMap::default(), slots: Vec::new(), cursor: 0, evicted: 0 }
    }

    /// Bytes of `max` keys, what the values keep elsewhere not counted.
    pub const fn bytes(max: usize) -> usize {
        max * (size_of::<(K, V)>() + 2 * size_of::<(K, u32)>())
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn find(&mut self, key: K) -> Option<&mut V> {
        let slot = *self.index.get(&key)?;
        self.slots.get_mut(slot as usize).map(|(_, value)| value)
    }

    /// What is remembered of a key, made if it is new.
    pub fn open(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let slot = if let Some(slot) = self.index.get(&key) {
            *slot as usize
        } else {
            let slot = if self.slots.len() < self.max {
                self.slots.push((key, make()));
                self.slots.len() - 1
            } else {
                let slot = self.least();
                self.index.remove(&self.slots[slot].0);
                self.evicted += 1;
                self.slots[slot] = (key, make());
                slot
            };
            self.index.insert(key, slot as u32);
            slot
        };
        &mut self.slots[slot].1
    }

    fn least(&mut self) -> usize {
        let count = self.slots.len();
        let from = self.cursor;
        self.cursor = (self.cursor + EVICTION_SAMPLE) % count;
        (0..EVICTION_SAMPLE.min(count))
            .map(|step| (from + step) % count)
            .min_by_key(|slot| self.slots[*slot].1.worth())
            .unwrap_or(0)
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
