//! A bounded table of records that knows which of them the file does not have yet.
//!
//! Two lists by time of use: records that were seen within one hour only, and lasting ones. The first list makes room
//! for new records while it holds more than its share, so that a flood of names that never come back pushes out itself.

use std::hash::Hash;

use foldhash::HashMap;
use serde::Serialize;

/// A record seen over a longer span than this is a lasting one.
const LASTING_NS: u64 = 3_600_000_000_000;
/// One in so many records may be a brief one while the table is full of lasting ones.
const BRIEF_SHARE: usize = 8;
/// No slot.
const NONE: u32 = u32::MAX;

/// What a table holds.
pub trait Record: Serialize {
    /// What the record is filed under.
    fn disk_key(&self) -> Vec<u8>;
    /// Unix time of first and last use, nanoseconds.
    fn span_ns(&self) -> (u64, u64);
}

/// What the file has to take over, in this order: first the removals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub removed: Vec<Vec<u8>>,
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    /// Everything that the file has goes first: what was removed is not known any more.
    pub anew: bool,
}

#[derive(Debug)]
pub struct Table<K, V> {
    max: usize,
    max_bytes: u64,
    index: HashMap<K, u32>,
    slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    /// Brief, lasting.
    lists: [List; 2],
    /// Slots to write, each at most once.
    queue: Vec<u32>,
    removed: Vec<Vec<u8>>,
    anew: bool,
    /// Bytes of keys and values in the file, once what is queued is written.
    bytes: u64,
    /// Brief and lasting records that made room for others.
    pub evicted: [u64; 2],
    /// When the latest of the evicted lasting ones was seen last; 0 if there were none.
    pub forgotten_ns: u64,
    /// Records whose time was over.
    pub expired: u64,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: Option<V>,
    before: u32,
    after: u32,
    list: u8,
    queued: bool,
    /// Bytes in the file; 0 if it is not there.
    stored: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    /// Used last, and used first.
    head: u32,
    tail: u32,
    len: usize,
}

impl<K: Copy + Eq + Hash, V: Record> Table<K, V> {
    /// At most `max` records, which take at most `max_bytes` in the file.
    pub fn new(max: usize, max_bytes: u64) -> Self {
        Self {
            max: max.max(1),
            max_bytes,
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            lists: [List { head: NONE, tail: NONE, len: 0 }; 2],
            queue: Vec::new(),
            removed: Vec::new(),
            anew: false,
            bytes: 0,
            evicted: [0; 2],
            forgotten_ns: 0,
            expired: 0,
        }
    }

    /// Bytes of `max` records, beside what each value holds on the heap, and of the queue and the index.
    pub const fn worst_case_bytes(max: usize, heap: usize, key: usize) -> usize {
        let index = 2 * (size_of::<(K, u32)>() + 1);
        let removed = size_of::<Vec<u8>>() + key;
        max * (size_of::<Slot<K, V>>() + heap + index + 2 * size_of::<u32>() + removed)
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn find(&self, key: K) -> Option<&V> {
        self.slots[*self.index.get(&key)? as usize].value.as_ref()
    }

    /// All records, in no order of meaning but the same for the same history.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// The record of a key, made if it is new, to be changed: it will be written and is now the one used last.
    pub fn change(&mut self, key: K, make: impl FnOnce() -> V, change: impl FnOnce(&mut V)) {
        let at = match self.index.get(&key) {
            Some(at) => *at,
            None => self.insert(key, make()),
        };
        self.amend(at, change);
    }

    /// As `change`, for a record that is there already; whether it is.
    pub fn change_if_known(&mut self, key: K, change: impl FnOnce(&mut V)) -> bool {
        let Some(at) = self.index.get(&key).copied() else { return false };
        self.amend(at, change);
        true
    }

    /// Takes over what the file holds. To be called in the order of the times of use; what finds no room stays out, and
    /// goes from the file.
    pub fn restore(&mut self, key: K, value: V, bytes: usize) {
        if self.index.contains_key(&key) {
            return;
        }
        let at = self.insert(key, value);
        let slot = &mut self.slots[at as usize];
        slot.stored = bytes as u32;
        self.bytes += bytes as u64;
        self.file_under_span(at);
        self.keep_to_bytes();
    }

    /// Forgets those that `wanted` takes.
    pub fn remove_if(&mut self, mut wanted: impl FnMut(&V) -> bool) -> usize {
        let chosen: Vec<u32> = (0..self.slots.len() as u32)
            .filter(|at| self.slots[*at as usize].value.as_ref().is_some_and(&mut wanted))
            .collect();
        for at in &chosen {
            self.remove(*at);
        }
        chosen.len()
    }

    /// Forgets what was last seen before `before_ns`.
    pub fn expire(&mut self, before_ns: u64) {
        for list in 0..2 {
            while let Some(last_ns) = self.last_ns(self.lists[list].tail)
                && last_ns < before_ns
            {
                self.remove(self.lists[list].tail);
                self.expired += 1;
            }
        }
    }

    /// What changed since the last call, at most `room` records; what is left comes with the next.
    pub fn changes(&mut self, room: &mut usize) -> Changes {
        let anew = self.anew;
        let count = self.queue.len().min(*room);
        *room -= count;
        let rest = self.queue.split_off(count);
        let mut put = Vec::with_capacity(count);
        for at in std::mem::replace(&mut self.queue, rest) {
            let slot = &mut self.slots[at as usize];
            slot.queued = false;
            let Some(value) = &slot.value else { continue };
            // Nothing in a record cannot be encoded; one that could not would stay as the file has it.
            let Ok(bytes) = postcard::to_allocvec(value) else { continue };
            let key = value.disk_key();
            self.bytes -= u64::from(slot.stored);
            slot.stored = (key.len() + bytes.len()) as u32;
            self.bytes += u64::from(slot.stored);
            put.push((at, key, bytes));
        }
        self.keep_to_bytes();
        if self.anew && !anew {
            // So many had to go that all begins anew, what was taken out of the queue with it: at once, since the file
            // would be empty until the next call.
            *room += count;
            return self.changes(room);
        }
        // Some may have had to go at once; the removals come before what is put.
        put.retain(|(at, ..)| self.slots[*at as usize].stored > 0);
        let put = put.into_iter().map(|(_, key, bytes)| (key, bytes)).collect();
        Changes { removed: std::mem::take(&mut self.removed), put, anew: std::mem::take(&mut self.anew) }
    }

    /// The file lost what it was given: all of it has to be written again.
    pub fn write_anew(&mut self) {
        self.anew = true;
        self.removed.clear();
        self.bytes = 0;
        for at in 0..self.slots.len() as u32 {
            self.slots[at as usize].stored = 0;
            if self.slots[at as usize].value.is_some() {
                self.enqueue(at);
            }
        }
    }

    fn amend(&mut self, at: u32, change: impl FnOnce(&mut V)) {
        if let Some(value) = &mut self.slots[at as usize].value {
            change(value);
        }
        self.enqueue(at);
        self.unlink(at);
        self.file_under_span(at);
    }

    fn insert(&mut self, key: K, value: V) -> u32 {
        if self.index.len() >= self.max {
            self.evict();
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                key,
                value: None,
                before: NONE,
                after: NONE,
                list: 0,
                queued: false,
                stored: 0,
            });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[at as usize];
        (slot.key, slot.value, slot.stored) = (key, Some(value), 0);
        self.index.insert(key, at);
        self.link(at, 0);
        at
    }

    fn evict(&mut self) {
        let [brief, lasting] = self.lists;
        let from = usize::from(brief.len * BRIEF_SHARE <= self.max && lasting.len > 0);
        let at = self.lists[from].tail;
        if from == 1 {
            self.forgotten_ns = self.forgotten_ns.max(self.last_ns(at).unwrap_or(0));
        }
        self.evicted[from] += 1;
        self.remove(at);
    }

    fn keep_to_bytes(&mut self) {
        while self.bytes > self.max_bytes && !self.index.is_empty() {
            self.evict();
        }
    }

    fn remove(&mut self, at: u32) {
        if at == NONE {
            return;
        }
        self.unlink(at);
        let slot = &mut self.slots[at as usize];
        let value = slot.value.take();
        self.index.remove(&slot.key);
        self.bytes -= u64::from(slot.stored);
        if std::mem::take(&mut slot.stored) > 0 && !self.anew {
            if self.removed.len() < self.max {
                self.removed.extend(value.map(|value| value.disk_key()));
            } else {
                // The file takes nothing; once it does, it begins anew.
                self.write_anew();
            }
        }
        self.free.push(at);
    }

    fn enqueue(&mut self, at: u32) {
        if !std::mem::replace(&mut self.slots[at as usize].queued, true) {
            self.queue.push(at);
        }
    }

    fn last_ns(&self, at: u32) -> Option<u64> {
        Some(self.slots.get(at as usize)?.value.as_ref()?.span_ns().1)
    }

    fn file_under_span(&mut self, at: u32) {
        let span = self.slots[at as usize].value.as_ref().map_or((0, 0), Record::span_ns);
        self.unlink(at);
        self.link(at, u8::from(span.1.saturating_sub(span.0) >= LASTING_NS));
    }

    fn link(&mut self, at: u32, list: u8) {
        let head = std::mem::replace(&mut self.lists[usize::from(list)].head, at);
        let slot = &mut self.slots[at as usize];
        (slot.list, slot.before, slot.after) = (list, NONE, head);
        match self.slots.get_mut(head as usize) {
            Some(next) => next.before = at,
            None => self.lists[usize::from(list)].tail = at,
        }
        self.lists[usize::from(list)].len += 1;
    }

    fn unlink(&mut self, at: u32) {
        let Slot { before, after, list, .. } = self.slots[at as usize];
        let list = usize::from(list);
        // Not linked: neither a neighbour nor the only one of its list.
        if before == NONE && self.lists[list].head != at {
            return;
        }
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.after = after,
            None => self.lists[list].head = after,
        }
        match self.slots.get_mut(after as usize) {
            Some(slot) => slot.before = before,
            None => self.lists[list].tail = before,
        }
        self.lists[list].len -= 1;
        let slot = &mut self.slots[at as usize];
        (slot.before, slot.after) = (NONE, NONE);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq, Serialize)]
    struct Seen {
        key: u64,
        first_ns: u64,
        last_ns: u64,
    }

    impl Record for Seen {
        fn disk_key(&self) -> Vec<u8> {
            self.key.to_be_bytes().to_vec()
        }
        fn span_ns(&self) -> (u64, u64) {
            (self.first_ns, self.last_ns)
        }
    }

    fn see(table: &mut Table<u64, Seen>, key: u64, now_ns: u64) {
        table.change(key, || Seen { key, first_ns: now_ns, last_ns: now_ns }, |seen| seen.last_ns = now_ns);
    }

    /// The file, as the changes make it.
    fn apply(file: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Changes) {
        if changes.anew {
            file.clear();
        }
        for key in changes.removed {
            file.remove(&key);
        }
        file.extend(changes.put);
    }

    fn assert_same(table: &Table<u64, Seen>, file: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let want: BTreeMap<Vec<u8>, Vec<u8>> =
            table.iter().map(|seen| (seen.disk_key(), postcard::to_allocvec(seen).unwrap())).collect();
        assert_eq!(&want, file);
        let bytes: usize = file.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(table.bytes(), bytes as u64);
    }

    #[test]
    fn the_least_recently_seen_goes_first_and_is_counted() {
        let mut table = Table::new(8, u64::MAX);
        for key in 0..8 {
            see(&mut table, key, key);
        }
        see(&mut table, 0, 100);
        see(&mut table, 8, 101);
        assert!(table.find(1).is_none() && table.find(0).is_some() && table.find(8).is_some());
        assert_eq!((table.len(), table.evicted), (8, [1, 0]));
    }

    #[test]
    fn a_file_that_begins_anew_is_not_left_empty() {
        let mut table = Table::new(6, 126);
        let mut file = BTreeMap::new();
        for key in 1..17 {
            see(&mut table, key, key * LASTING_NS / 8);
            if key == 6 {
                apply(&mut file, table.changes(&mut 6));
            }
        }
        let mut room = usize::MAX;
        apply(&mut file, table.changes(&mut room));
        assert_same(&table, &file);
        assert_eq!(usize::MAX - room, file.len(), "what was taken twice counts once");
    }

    #[test]
    fn a_flood_of_new_keys_leaves_the_lasting_ones() {
        let mut table = Table::new(64, u64::MAX);
        for key in 0..40 {
            see(&mut table, key, 0);
            see(&mut table, key, LASTING_NS);
        }
        for key in 1000..100_000 {
            see(&mut table, key, LASTING_NS + key);
        }
        assert!((0..40).all(|key| table.find(key).is_some()));
        assert_eq!((table.len(), table.forgotten_ns), (64, 0));
        // But lasting ones make room for lasting ones.
        for key in 200_000..200_064 {
            see(&mut table, key, 0);
            see(&mut table, key, 2 * LASTING_NS);
        }
        assert!((0..40).all(|key| table.find(key).is_none()));
        assert!(table.forgotten_ns >= LASTING_NS);
        assert!(table.evicted[1] >= 40 && table.len() == 64);
    }

    #[test]
    fn what_is_over_goes() {
        let mut table = Table::new(64, u64::MAX);
        for key in 0..10 {
            see(&mut table, key, key);
        }
        table.expire(4);
        assert_eq!((table.len(), table.expired, table.evicted), (6, 4, [0, 0]));
        assert_eq!(table.remove_if(|seen| seen.key == 7), 1);
        assert!(table.find(7).is_none());
    }

    proptest::proptest! {
        /// Whatever happens, and whenever the changes are taken, the file ends up as the table.
        #[test]
        fn the_changes_make_the_file_equal(
            steps in proptest::collection::vec((0_u8..12, 0_u64..40, 1_usize..20), 1..400),
            max in 1_usize..20,
            max_bytes in 100_u64..2000,
        ) {
            let mut table = Table::<u64, Seen>::new(max, max_bytes);
            let mut file = BTreeMap::new();
            let mut now_ns = 0;
            for (what, key, room) in steps {
                now_ns += LASTING_NS / 8;
                match what {
                    0 => apply(&mut file, table.changes(&mut room.clone())),
                    1 => table.expire(now_ns.saturating_sub(LASTING_NS)),
                    2 if key == 0 => table.write_anew(),
                    3 => { table.remove_if(|seen: &Seen| seen.key == key); }
                    _ => see(&mut table, key, now_ns),
                }
                proptest::prop_assert!(table.len() <= max);
                let lists = table.lists[0].len + table.lists[1].len;
                proptest::prop_assert_eq!(lists, table.len());
            }
            apply(&mut file, table.changes(&mut usize::MAX.clone()));
            assert_same(&table, &file);
            proptest::prop_assert!(table.bytes() <= max_bytes);
            let mut again = Table::new(max, max_bytes);
            for value in file.values() {
                let (key, first_ns, last_ns) = postcard::from_bytes(value).unwrap();
                again.restore(key, Seen { key, first_ns, last_ns }, 8 + value.len());
            }
            proptest::prop_assert_eq!(again.len(), table.len());
            proptest::prop_assert_eq!(again.changes(&mut usize::MAX.clone()), Changes::default());
        }
    }

    #[test]
    fn a_file_that_takes_nothing_costs_no_more_than_the_table() {
        let mut table = Table::new(16, u64::MAX);
        for key in 0..16 {
            see(&mut table, key, key);
        }
        let mut file = BTreeMap::new();
        apply(&mut file, table.changes(&mut 100));
        for key in 16..100_000 {
            see(&mut table, key, key);
            if key == 20 {
                apply(&mut file, table.changes(&mut 100));
            }
        }
        assert!(table.removed.len() <= 16 && table.queue.len() <= 16);
        apply(&mut file, table.changes(&mut 100));
        assert_same(&table, &file);
    }
}
