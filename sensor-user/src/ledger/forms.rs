//! Names whose information is bounded by their form: reversed addresses, and numbers in a known pattern.

use crate::model::{self, UNIT};
use crate::zone::Class;

/// Reversed IPv4 address in a name, as DNSBL and PTR queries have it.
const ADDRESS4_COST: u32 = 32 * UNIT;
/// The same of IPv6: 32 nibbles.
const ADDRESS6_COST: u32 = 128 * UNIT;

/// What the reversed address at the front of a sub-name costs, 0 if there is none, and the labels behind it: they say
/// what they say, whatever stands before them.
pub(super) fn split_address(class: Class, sub: &[u8]) -> (u32, &[u8]) {
    let nibbles =
        || sub.chunks(2).take_while(|c| c[0] == 1 && c.get(1).is_some_and(u8::is_ascii_hexdigit)).count();
    let (cost, length) = match class {
        Class::Reverse4 if sub.get(1..).is_some_and(is_octet) => (8 * UNIT, sub.len()),
        Class::Reverse6 if nibbles() * 2 == sub.len() => (4 * UNIT * nibbles() as u32, sub.len()),
        Class::Registered => match address4_len(sub) {
            Some(length) => (ADDRESS4_COST, length),
            None if nibbles() >= 32 => (ADDRESS6_COST, 64),
            None => (0, 0),
        },
        Class::Reverse4 | Class::Reverse6 | Class::None => (0, 0),
    };
    let (address, rest) = sub.split_at(length);
    if length == 0 {
        return (0, rest);
    }
    (cost.min(model::static_cost(address)), rest)
}

fn is_octet(label: &[u8]) -> bool {
    (1..=3).contains(&label.len())
        && label.iter().all(u8::is_ascii_digit)
        && label.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0')) < 256
}

/// Bytes of the four octets at the front of a sub-name.
fn address4_len(sub: &[u8]) -> Option<usize> {
    let mut rest = sub;
    for _ in 0..4 {
        let (&length, tail) = rest.split_first()?;
        let (label, tail) = tail.split_at_checked(usize::from(length))?;
        if !is_octet(label) {
            return None;
        }
        rest = tail;
    }
    Some(sub.len() - rest.len())
}

/// Patterns remembered per key; the one unused for longest goes first.
const PATTERNS: usize = 8;
/// Digits of all numbers in one name: more than nine could not be told from an encoding in decimal.
const MAX_DIGITS: usize = 9;
/// Digits up to which numbers count hosts; longer ones can say anything.
const SHORT_DIGITS: u32 = 5;

/// Sub-names as they are without their numbers, and the number that each was last said with.
///
/// `client17` after `client16` says only that it is one more; any other says at most its digits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patterns {
    /// Newest first; fingerprint (0 is empty), last number, and how many steps of one in a row.
    slots: [(u32, u32, u8); PATTERNS],
}

impl Patterns {
    /// Cost of a sub-name if it is one of a known pattern, and whether its numbers are short; learns it.
    pub(super) fn number(&mut self, sub: &[u8]) -> Option<(u32, bool)> {
        let (print, number, digits) = pattern(sub)?;
        let Some(at) = self.slots.iter().position(|slot| slot.0 == print) else {
            self.slots.rotate_right(1);
            self.slots[0] = (print, number, 0);
            return None;
        };
        let (_, last, steps) = self.slots[at];
        let away = number.abs_diff(last);
        let next = number == last.wrapping_add(1);
        // That the pattern goes on is all but certain once it has done so a few times; a step not far away costs twice
        // its logarithm (Elias gamma and a sign), any other the digits.
        let goes_on = [2 * UNIT, UNIT, UNIT / 2, UNIT / 4][usize::from(steps.min(3))];
        let jumps = UNIT * 2 + (2 * model::log2_units(away as usize + 1) + UNIT).min(digits * 54);
        self.slots[..=at].rotate_right(1);
        self.slots[0] =
            (print, number, if next { steps.saturating_add(1).min(3) } else { steps.saturating_sub(2) });
        Some((model::log2_units(PATTERNS) + if next { goes_on } else { jumps }, digits <= SHORT_DIGITS))
    }
}

/// Fingerprint of a sub-name without its digits, their number as one, and how many there are; `None` without digits or
/// with too many of them.
fn pattern(sub: &[u8]) -> Option<(u32, u32, u32)> {
    let (mut print, mut number, mut digits) = (0x811c_9dc5_u32, 0u32, 0);
    let mut in_number = false;
    for label in crate::dns::labels(sub) {
        for &byte in label {
            if byte.is_ascii_digit() {
                digits += 1;
                if digits > MAX_DIGITS {
                    return None;
                }
                number = number * 10 + u32::from(byte - b'0');
                if in_number {
                    continue;
                }
            }
            in_number = byte.is_ascii_digit();
            let kept = if in_number { b'#' } else { byte };
            print = (print ^ u32::from(kept)).wrapping_mul(0x0100_0193);
        }
        in_number = false;
        print = (print ^ u32::from(b'.')).wrapping_mul(0x0100_0193);
    }
    (digits > 0).then_some((print | 1, number, digits as u32))
}
