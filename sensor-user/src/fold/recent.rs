//! Set-associative table of what was last seen: no insert ever costs more than looking at one set.

/// Slots in a set; as many values of one hash can be told apart.
const WAYS: usize = 8;

#[derive(Debug)]
pub(super) struct Recent<T> {
    slots: Vec<Slot<T>>,
    /// How long a slot has its use.
    keep_ns: u64,
    /// Slots that went before that.
    pub(super) evicted: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slot<T> {
    /// 0 is an empty slot.
    hash: u64,
    pub(super) time_ns: u64,
    pub(super) value: T,
}

impl<T: Clone + Default> Recent<T> {
    pub(super) fn new(size: usize, keep_ns: u64) -> Self {
        Self { slots: vec![Slot::default(); Self::slots(size)], keep_ns, evicted: 0 }
    }

    fn slots(size: usize) -> usize {
        size.div_ceil(WAYS).next_power_of_two() * WAYS
    }

    /// Bytes of a table of this size.
    pub(super) fn bytes(size: usize) -> usize {
        Self::slots(size) * size_of::<Slot<T>>()
    }

    /// What is there under a hash, with its place.
    pub(super) fn all(&self, hash: u64) -> impl Iterator<Item = (usize, &Slot<T>)> {
        let (hash, at) = self.place(hash);
        self.slots[at..at + WAYS]
            .iter()
            .enumerate()
            .filter(move |(_, slot)| slot.hash == hash)
            .map(move |(way, slot)| (at + way, slot))
    }

    /// The slot at a place that `all` gave; nothing may have been put in between.
    pub(super) fn at(&mut self, place: usize) -> &mut Slot<T> {
        &mut self.slots[place]
    }

    /// Notes a value in the place of the one that is the `same`, or of the oldest of its set.
    pub(super) fn put(&mut self, hash: u64, now_ns: u64, value: T, same: impl Fn(&T) -> bool) -> usize {
        let (hash, at) = self.place(hash);
        let set = &self.slots[at..at + WAYS];
        let old = set.iter().position(|slot| slot.hash == hash && same(&slot.value));
        let way = old.unwrap_or_else(|| {
            (0..WAYS).min_by_key(|way| if set[*way].hash == 0 { 0 } else { set[*way].time_ns }).unwrap_or(0)
        });
        let slot = &mut self.slots[at + way];
        let in_use = slot.hash != 0 && now_ns.saturating_sub(slot.time_ns) <= self.keep_ns;
        self.evicted += u64::from(old.is_none() && in_use);
        *slot = Slot { hash, time_ns: now_ns, value };
        at + way
    }

    fn place(&self, hash: u64) -> (u64, usize) {
        let sets = self.slots.len() / WAYS;
        (hash.max(1), (hash >> 32) as usize % sets * WAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_is_counted_while_it_has_its_use() {
        let mut recent = Recent::<u32>::new(1, 100);
        for value in 0..8 {
            recent.put(7, 1 + u64::from(value), value, |other| *other == value);
        }
        assert_eq!((recent.all(7).count(), recent.evicted), (8, 0));
        recent.put(7, 50, 3, |other| *other == 3);
        assert_eq!((recent.all(7).count(), recent.evicted), (8, 0), "the same");
        recent.put(8, 60, 9, |other| *other == 9);
        assert_eq!((recent.all(7).count(), recent.evicted), (7, 1));
        assert!(recent.all(7).all(|(_, slot)| slot.value != 0), "the oldest went");
        recent.put(9, 500, 9, |other| *other == 9);
        assert_eq!(recent.evicted, 1, "no use any more");
    }
}
