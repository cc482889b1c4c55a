//! Set-associative table of what was last seen: no insert ever costs more than looking at one set.

/// Slots in a set; as many values of one hash can be told apart.
const WAYS: usize = 8;

#[derive(Debug)]
pub(super) struct Recent<T> {
    sets: Vec<Set>,
    /// `WAYS` to a set.
    values: Vec<T>,
    /// How long a slot has its use.
    keep_ns: u64,
    /// Slots that went before that.
    pub(super) evicted: u64,
}

/// What a search looks at, apart from the values: a set is two cache lines instead of one and more to each slot.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set {
    /// 0 is an empty slot.
    hashes: [u64; WAYS],
    times_ns: [u64; WAYS],
}

/// A value and when it was put there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a, T> {
    pub(super) time_ns: u64,
    pub(super) value: &'a T,
}

impl Set {
    /// The slots that a hash is in, one bit each: compared all at once, since most sets hold it nowhere.
    #[inline]
    fn with(&self, hash: u64) -> u32 {
        self.hashes.iter().enumerate().fold(0, |found, (way, own)| found | u32::from(*own == hash) << way)
    }
}

/// Numbers of the bits that are set, lowest first.
#[inline]
fn ways(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let way = (bits != 0).then(|| bits.trailing_zeros() as usize % WAYS)?;
        bits &= bits - 1;
        Some(way)
    })
}

impl<T: Clone + Default> Recent<T> {
    pub(super) fn new(size: usize, keep_ns: u64) -> Self {
        let sets = Self::sets(size);
        Self {
            sets: vec![Set::default(); sets],
            values: vec![T::default(); sets * WAYS],
            keep_ns,
            evicted: 0,
        }
    }

    fn sets(size: usize) -> usize {
        size.div_ceil(WAYS).next_power_of_two()
    }

    /// Bytes of a table of this size.
    pub(super) fn bytes(size: usize) -> usize {
        Self::sets(size) * (size_of::<Set>() + WAYS * size_of::<T>())
    }

    /// What is there under a hash, with its place.
    pub(super) fn all(&self, hash: u64) -> impl Iterator<Item = (usize, Slot<'_, T>)> {
        let (hash, at) = self.place(hash);
        let set = &self.sets[at];
        let values = &self.values[at * WAYS..];
        ways(set.with(hash))
            .map(move |way| (at * WAYS + way, Slot { time_ns: set.times_ns[way], value: &values[way] }))
    }

    /// The value at a place that `all` gave; nothing may have been put in between.
    pub(super) fn at(&mut self, place: usize) -> &mut T {
        &mut self.values[place]
    }

    /// Notes a value in the place of the one that is the `same`, or of the oldest of its set.
    pub(super) fn put(&mut self, hash: u64, now_ns: u64, value: T, same: impl Fn(&T) -> bool) {
        let (hash, at) = self.place(hash);
        let set = &mut self.sets[at];
        let values = &mut self.values[at * WAYS..(at + 1) * WAYS];
        let old = ways(set.with(hash)).find(|way| same(&values[*way]));
        let way = old.unwrap_or_else(|| {
            let age = |way: &usize| if set.hashes[*way] == 0 { 0 } else { set.times_ns[*way] };
            (0..WAYS).min_by_key(age).unwrap_or(0)
        });
        let in_use = set.hashes[way] != 0 && now_ns.saturating_sub(set.times_ns[way]) <= self.keep_ns;
        self.evicted += u64::from(old.is_none() && in_use);
        (set.hashes[way], set.times_ns[way], values[way]) = (hash, now_ns, value);
    }

    /// The hash as it is kept, and the number of its set.
    fn place(&self, hash: u64) -> (u64, usize) {
        (hash.max(1), (hash >> 32) as usize & (self.sets.len() - 1))
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
        assert!(recent.all(7).all(|(_, slot)| *slot.value != 0), "the oldest went");
        recent.put(9, 500, 9, |other| *other == 9);
        assert_eq!(recent.evicted, 1, "no use any more");
    }
}
