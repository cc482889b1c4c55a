//! Whether a hash has been seen of late, in fixed room: two Bloom filters, of which the older is forgotten in turn.
//!
//! A hash that was not seen may be taken for one that was (one in twenty at worst), never the other way round within one
//! turn: who counts new ones counts too few, not too many.

/// The first few hashes are kept as they are, since most of what is remembered by key sees no more.
#[derive(Clone, Debug)]
pub struct Seen<const WORDS: usize> {
    few: [u64; FEW],
    /// In `few`, or in the filter's newer half.
    count: u16,
    filter: Option<Box<Filter<WORDS>>>,
}

#[derive(Clone, Debug)]
struct Filter<const WORDS: usize> {
    now: [u64; WORDS],
    before: [u64; WORDS],
}

const FEW: usize = 4;
/// Bits of the filter to one hash kept.
const BITS_EACH: usize = 8;
/// Bits set for a hash: of 8 bits each, four of them err least but for five and six.
const PROBES: u32 = 4;

impl<const WORDS: usize> Default for Seen<WORDS> {
    fn default() -> Self {
        const { assert!(WORDS.is_power_of_two() && WORDS <= 2048, "12 and more bits of a hash to each probe") }
        Self { few: [0; FEW], count: 0, filter: None }
    }
}

impl<const WORDS: usize> Seen<WORDS> {
    /// Hashes after which the older half is forgotten.
    pub const TURN: usize = WORDS * 64 / BITS_EACH;
    /// Bytes beyond `size_of::<Self>()` at most.
    pub const HEAP: usize = size_of::<Filter<WORDS>>();

    /// Whether a hash is new; it is known from here on.
    pub fn is_new(&mut self, hash: u64) -> bool {
        let count = usize::from(self.count);
        let filter = match &mut self.filter {
            Some(filter) => filter,
            None if self.few[..count].contains(&hash) => return false,
            None if count < FEW => {
                self.few[count] = hash;
                self.count += 1;
                return true;
            }
            none => none.insert(Box::new(Filter::of(&self.few))),
        };
        let (in_now, in_before) = filter.add(hash);
        if !in_now {
            self.count += 1;
            if usize::from(self.count) >= Self::TURN {
                filter.before = std::mem::replace(&mut filter.now, [0; WORDS]);
                self.count = 0;
            }
        }
        !in_now && !in_before
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<const WORDS: usize> Filter<WORDS> {
    fn of(few: &[u64]) -> Self {
        let mut filter = Self { now: [0; WORDS], before: [0; WORDS] };
        for hash in few {
            filter.add(*hash);
        }
        filter
    }

    /// Notes a hash; whether either half had it.
    fn add(&mut self, hash: u64) -> (bool, bool) {
        let (mut in_now, mut in_before) = (true, true);
        // The hash is keyed and good in all its bits; two of its halves make as many probes as one likes (Kirsch and
        // Mitzenmacher 2006).
        let (first, step) = (hash as u32, (hash >> 32) as u32 | 1);
        for probe in 0..PROBES {
            let bit = first.wrapping_add(step.wrapping_mul(probe)) as usize % (WORDS * 64);
            let mask = 1 << (bit % 64);
            in_now &= self.now[bit / 64] & mask != 0;
            in_before &= self.before[bit / 64] & mask != 0;
            self.now[bit / 64] |= mask;
        }
        (in_now, in_before)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn what_was_seen_is_known_and_what_was_not_is_mostly_new() {
        let state = foldhash::quality::FixedState::with_seed(1);
        let mut seen = Seen::<64>::default();
        let mut taken_for_seen = 0;
        for n in 0..20_000_u64 {
            taken_for_seen += u32::from(!seen.is_new(state.hash_one(n)));
            assert!(!seen.is_new(state.hash_one(n)), "{n} just now");
            let recent = n.saturating_sub(Seen::<64>::TURN as u64 / 2 - 1);
            assert!(!seen.is_new(state.hash_one(recent)), "{recent} a while before {n}");
        }
        eprintln!("{taken_for_seen} of 20000");
        assert!(taken_for_seen <= 1000, "{taken_for_seen}");
        seen.clear();
        assert!(seen.is_new(state.hash_one(19_999_u64)));
    }
}
