//! Names whose information is bounded by their form: addresses, numbers in a known pattern, what is said twice, and plain
//! words.

use crate::dns::labels;
use crate::model::{self, UNIT};
use crate::zone::Class;

/// Reversed IPv4 address in a name, as DNSBL and PTR queries have it.
pub(super) const ADDRESS4_COST: u32 = 32 * UNIT;
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

/// Whether a label holds an IPv4 address, its numbers parted by hyphens, as hosts are named after it: `ip-10-40-3-7`.
pub(super) fn holds_address(sub: &[u8]) -> bool {
    labels(sub).any(|label| {
        let mut in_a_row = 0;
        label.split(|byte| *byte == b'-').any(|part| {
            in_a_row = if is_octet(part) { in_a_row + 1 } else { 0 };
            in_a_row == 4
        })
    })
}

/// Most characters and labels of a plain name, dots included.
const PLAIN_LEN: usize = 64;
const PLAIN_LABELS: usize = 6;
/// Most characters of a word, or of two or three with hyphens.
const PLAIN_LABEL_LEN: usize = 24;
/// Digits of a label; `word.len()` at least, as numbers alone could be an encoding.
const PLAIN_DIGITS: usize = 4;
/// Characters of a label from which on its letters tell anything.
const TELLING: usize = 5;

/// Whether a name is short and of labels that somebody may have thought of, likelier than drawn at random.
pub(super) fn is_plain(sub: &[u8]) -> bool {
    sub.len() <= PLAIN_LEN && labels(sub).count() <= PLAIN_LABELS && labels(sub).all(is_plain_label)
}

/// Words with hyphens, and a number of up to four digits before or behind them.
fn is_plain_label(label: &[u8]) -> bool {
    let start = label.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = label[start..].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let word = &label[start..label.len() - end];
    let digits = label.len() - word.len();
    word.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-')
        && label.len() <= PLAIN_LABEL_LEN
        && digits <= PLAIN_DIGITS
        && digits <= word.len().max(2)
        && (word.len() < TELLING || model::label_cost(word) <= model::label_cost_at_random(word))
}

/// Whether a name has the form of what browsers ask for to find out whether somebody answers for names that are not there:
/// one label of seven to fifteen letters.
pub(super) fn is_probe(sub: &[u8]) -> bool {
    matches!(sub.split_first(), Some((7..=15, label)) if label.len() == usize::from(sub[0])
        && label.iter().all(u8::is_ascii_lowercase))
}

/// Characters that must be there before for a piece to be said twice, and what it costs to say where, and how many.
const TWICE: usize = 8;
const AGAIN_COST: u32 = 14 * UNIT;
/// Bytes below which nothing is looked for: there is no room for it twice.
const TWICE_FROM: usize = 3 * TWICE;

/// A sub-name without the pieces of its labels that were in it before (some look-up services give a hash in parts, then
/// whole), and what it costs to say them again.
pub(super) fn once<'a>(sub: &'a [u8], room: &'a mut [u8; 255]) -> (&'a [u8], u32) {
    if sub.len() < TWICE_FROM || sub.len() > room.len() {
        return (sub, 0);
    }
    let mut places = Places::default();
    let (mut kept, mut cost, mut start) = (0, 0, 0);
    while start < sub.len() {
        let end = (start + 1 + usize::from(sub[start])).min(sub.len());
        let head = kept;
        kept += 1;
        let mut at = start + 1;
        while at < end {
            if at + TWICE <= end
                && let Some(before) = places.find_or_note(sub, at)
            {
                let same = sub[at..end].iter().zip(&sub[before..at]).take_while(|(a, b)| a == b).count();
                cost += AGAIN_COST;
                at += same.max(1);
                continue;
            }
            room[kept] = sub[at];
            kept += 1;
            at += 1;
        }
        if kept == head + 1 {
            kept = head; // nothing of the label is new
        } else {
            room[head] = (kept - head - 1) as u8;
        }
        start = end;
    }
    if cost == 0 { (sub, 0) } else { (&room[..kept], cost) }
}

/// Where eight characters stood first, by their hash; 0 is nowhere, as the first byte of a name is a length.
struct Places([u8; 512]);

impl Default for Places {
    fn default() -> Self {
        Self([0; 512])
    }
}

impl Places {
    /// Where what stands at `at` stood before; if nowhere, it is noted.
    fn find_or_note(&mut self, sub: &[u8], at: usize) -> Option<usize> {
        let word = &sub[at..at + TWICE];
        let number = u64::from_le_bytes(word.try_into().unwrap_or_default());
        let home = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize;
        for step in 0..8 {
            let slot = &mut self.0[(home + step) % 512];
            match usize::from(*slot) {
                0 => {
                    *slot = at as u8;
                    return None;
                }
                before if sub[before..before + TWICE] == *word => return Some(before),
                _ => {}
            }
        }
        None
    }
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
    let digits_of = |label: &[u8]| label.iter().filter(|byte| byte.is_ascii_digit()).count();
    let digits = labels(sub).map(digits_of).sum::<usize>();
    if !(1..=MAX_DIGITS).contains(&digits) {
        return None;
    }
    let (mut print, mut number) = (0x811c_9dc5_u32, 0u32);
    let mut in_number = false;
    for label in labels(sub) {
        for &byte in label {
            if byte.is_ascii_digit() {
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
    Some((print | 1, number, digits as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Canonical;

    fn wire(name: &str) -> Vec<u8> {
        Canonical::from_text(name).wire().to_vec()
    }

    #[test]
    fn addresses_in_host_names_are_told_from_numbers() {
        for (name, holds) in [
            ("ip-10-40-3-7.eu-west-1.compute", true),
            ("192-168-1-10.0f3a", true),
            ("host-203-0-113-9-static", true),
            ("1-2-3", false),
            ("a-1-2-300-4", false),
            ("client17", false),
            ("10.40.3.7", false),
        ] {
            assert_eq!(holds_address(&wire(name)), holds, "{name}");
        }
    }

    #[test]
    fn what_is_said_twice_is_said_once() {
        let mut room = [0; 255];
        let hash = "0123456789abcdef0123456789abcdef";
        let of = |name: &str, room: &mut [u8; 255]| {
            let wire = wire(name);
            let (rest, cost) = once(&wire, room);
            (rest.to_vec(), cost / AGAIN_COST)
        };
        // The same hash in parts and whole: only what is new stays.
        let (rest, times) = of("nnqr244rp2p08ss7958r.244rp2p08ss7958r3r2p3p1qspro.i", &mut room);
        assert_eq!((rest, times), (wire("nnqr244rp2p08ss7958r.3r2p3p1qspro.i"), 1));
        let (rest, times) = of(&format!("{hash}.{hash}"), &mut room);
        assert!(rest.len() < 20 && times >= 1, "{rest:?} {times}");
        for name in ["short.short", "kubernetes-dashboard-metrics-scraper.monitoring", "www"] {
            assert_eq!(of(name, &mut room), (wire(name), 0), "{name}");
        }
    }

    #[test]
    fn words_are_plain_and_encodings_are_not() {
        for name in ["www", "garden-crest", "drive1638", "oak205", "thedealerbuild", "mycarbon.example.dbl"] {
            assert!(is_plain(&wire(name)), "{name}");
        }
        for name in
            ["483920", "0f3a99b1", "a1b2c3d4", "nnqr244rp2p08", "zmkasiijgqgvmk", "a_b", &"ab-".repeat(12)]
        {
            assert!(!is_plain(&wire(name)), "{name}");
        }
        assert!(
            is_probe(&wire("zmkasiijgqgvmk")) && !is_probe(&wire("short")) && !is_probe(&wire("ab.cdefghi"))
        );
    }
}
