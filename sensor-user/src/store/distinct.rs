//! How many distinct clients: exactly while there are few, then by HyperLogLog (Flajolet et al., 2007).

use serde::{Deserialize, Serialize};

/// Counted exactly up to here.
const FEW: usize = 8;
/// Registers of the sketch, a power of two: a standard error of 1.04/√128 = 9 %.
const REGISTERS: usize = 128;
const INDEX_BITS: u32 = REGISTERS.trailing_zeros();

/// Bytes on the heap at most.
pub const HEAP_MAX: usize = REGISTERS;

/// A set that only knows its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distinct {
    Few(Vec<u64>),
    Many(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Distinct {
    /// Adds a member by a number that stands for it; whether the set may have grown.
    pub fn insert(&mut self, member: u64) -> bool {
        match self {
            Self::Few(few) if few.contains(&member) => false,
            Self::Few(few) if few.len() < FEW => {
                few.push(member);
                true
            }
            Self::Few(few) => {
                let mut registers = vec![0; REGISTERS].into_boxed_slice();
                for known in few.iter().chain([&member]) {
                    raise(&mut registers, *known);
                }
                *self = Self::Many(registers);
                true
            }
            Self::Many(registers) => raise(registers, member),
        }
    }

    pub fn count(&self) -> u32 {
        match self {
            Self::Few(few) => few.len() as u32,
            Self::Many(registers) => estimate(registers).max(FEW as u32 + 1),
        }
    }

    /// Whether the count is exact.
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::Few(_))
    }
}

fn raise(registers: &mut [u8], member: u64) -> bool {
    let hash = mix(member);
    let rank = (hash << INDEX_BITS | 1 << (INDEX_BITS - 1)).leading_zeros() as u8 + 1;
    // A record from a damaged file may have fewer registers.
    let Some(register) = registers.get_mut((hash >> (64 - INDEX_BITS)) as usize) else { return false };
    let higher = rank > *register;
    *register = rank.max(*register);
    higher
}

#[expect(clippy::cast_sign_loss, reason = "a count")]
fn estimate(registers: &[u8]) -> u32 {
    let count = registers.len() as f64;
    let sum: f64 = registers.iter().map(|rank| (-f64::from((*rank).min(64))).exp2()).sum();
    let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
    let empty: f64 = registers.iter().map(|rank| f64::from(u8::from(*rank == 0))).sum();
    // Small sets by the share of empty registers (linear counting), as the paper has it.
    let estimate = if raw <= 2.5 * count && empty > 0.0 { count * (count / empty).ln() } else { raw };
    estimate.round() as u32
}

/// Clients are told apart by FNV, whose high bits are poor: the finalizer of SplitMix64.
fn mix(member: u64) -> u64 {
    let mut hash = member.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(members: impl Iterator<Item = u64>) -> u32 {
        let mut set = Distinct::default();
        members.for_each(|member| {
            set.insert(member);
        });
        set.count()
    }

    #[test]
    fn few_are_counted_exactly() {
        for size in 0..=FEW as u64 {
            assert_eq!(u64::from(count((0..size).chain(0..size))), size);
        }
        let mut set = Distinct::default();
        assert!(set.insert(1) && !set.insert(1) && set.is_exact());
    }

    #[test]
    fn one_more_is_seen_as_more() {
        assert!(count(0..=FEW as u64) > FEW as u32);
        assert!(!Distinct::Many(Box::new([])).insert(1), "a damaged record breaks nothing");
        assert_eq!(Distinct::Many(Box::new([])).count(), FEW as u32 + 1);
    }

    /// Over 200 sets of each size: the error's root mean square is that of the paper, and it leans to no side.
    #[test]
    fn many_are_counted_within_the_error() {
        for size in [20_u64, 100, 1000, 20_000] {
            let errors: Vec<f64> = (0..200_u64)
                .map(|set| {
                    let members =
                        (0..size).map(|n| (set << 32).wrapping_add(n.wrapping_mul(0x100_0000_01b3)));
                    f64::from(count(members)) / size as f64 - 1.0
                })
                .collect();
            let mean = errors.iter().sum::<f64>() / 200.0;
            let rms = (errors.iter().map(|error| error * error).sum::<f64>() / 200.0).sqrt();
            assert!(rms < 0.092 * 1.2 && mean.abs() < 0.03, "{size}: mean {mean:.3}, rms {rms:.3}");
        }
    }
}
