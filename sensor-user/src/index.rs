//! Where in a list the value of a key is.
//!
//! The list holds the keys, so this holds slots alone, five bytes each: what a flood makes it look at stays in the cache,
//! where a map with keys of its own would not.

use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

#[derive(Debug, Default)]
pub struct Index {
    seed: RandomState,
    table: HashTable<u32>,
    /// The slot that was found or noted last.
    last: Option<u32>,
}

impl Index {
    /// Bytes for each of a full list, as a table of slots and control bytes is filled to between 7 and 14 of 16.
    pub const BYTES: usize = 5 * 16 / 7;

    /// The slot of a key; `at` gives the key at a slot.
    pub fn find<'a, K: Hash + Eq + 'a>(&self, key: &K, at: impl Fn(usize) -> &'a K) -> Option<usize> {
        self.table.find(self.seed.hash_one(key), |slot| at(*slot as usize) == key).map(|slot| *slot as usize)
    }

    /// `find` where a key is asked for several times in a row, as a message asks for its client's: without a hash then. Of
    /// lists that never become shorter.
    #[inline]
    pub fn find_again<'a, K: Hash + Eq + 'a>(
        &mut self,
        key: &K,
        at: impl Fn(usize) -> &'a K,
    ) -> Option<usize> {
        let last = self.last.map(|slot| slot as usize).filter(|slot| at(*slot) == key);
        let found = last.or_else(|| self.find(key, at))?;
        self.last = Some(found as u32);
        Some(found)
    }

    /// Notes the slot of a key that is not here; `at` must know it already.
    pub fn insert<'a, K: Hash + 'a>(&mut self, key: &K, slot: usize, at: impl Fn(usize) -> &'a K) {
        let Self { seed, table, last } = self;
        *last = Some(slot as u32);
        table.insert_unique(seed.hash_one(key), slot as u32, |slot| seed.hash_one(at(*slot as usize)));
    }

    /// Forgets a slot by the key that is there.
    pub fn remove<K: Hash>(&mut self, key: &K, slot: usize) {
        self.last = None;
        if let Ok(found) = self.table.find_entry(self.seed.hash_one(key), |at| *at as usize == slot) {
            found.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_by_the_key_that_is_there() {
        let mut index = Index::default();
        let mut keys: Vec<u64> = Vec::new();
        for key in 0..1000 {
            keys.push(key);
            index.insert(&key, keys.len() - 1, |slot| &keys[slot]);
        }
        for slot in (0..1000).step_by(3) {
            index.remove(&keys[slot], slot);
            keys[slot] += 5000;
            index.insert(&keys[slot], slot, |slot| &keys[slot]);
        }
        for (slot, key) in keys.iter().enumerate() {
            assert_eq!(index.find(key, |slot| &keys[slot]), Some(slot));
            for _ in 0..2 {
                assert_eq!(index.find_again(key, |slot| &keys[slot]), Some(slot));
            }
        }
        let (at, gone) = (keys[7], keys[8]);
        assert_eq!(index.find_again(&gone, |slot| &keys[slot]), Some(8));
        index.remove(&gone, 8);
        assert_eq!(
            index.find_again(&gone, |slot| &keys[slot]),
            None,
            "it was the last, and is not there any more"
        );
        index.insert(&gone, 8, |slot| &keys[slot]);
        assert_eq!(index.find_again(&at, |slot| &keys[slot]), Some(7));
        assert_eq!(index.find(&3, |slot| &keys[slot]), None);
        assert_eq!(index.table.len(), 1000);
        let each = index.table.allocation_size() / keys.len();
        assert!(each <= Index::BYTES, "{each}");
    }
}
