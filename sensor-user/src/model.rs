//! What a name costs to say: a static character model of host names, sharpened by what one key has already said.
//!
//! Every cost is a code length, in [`UNIT`]ths of a bit. A sender who wants to say one of M things needs, on average, at
//! least log2(M) bits under any code, ours included, so a cost summed over a window bounds what names can have carried.

pub mod history;

pub use history::History;

use crate::dns::labels;

/// Costs are counted in sixteenths of a bit.
pub const UNIT: u32 = 16;

/// Symbols of the static model: label boundary, letters, digits, hyphen, underscore, anything else.
const SYMBOLS: usize = 40;
const BOUNDARY: u8 = 0;
const OTHER: u8 = 39;
/// The byte behind `OTHER` is one of 256 - 38.
const OTHER_BYTE_COST: u32 = 124;
/// After a label: one more, or the end.
const MORE_LABELS_COST: u32 = UNIT;

/// Table of `cargo xtask model`: after an 8-byte head, the cost of each symbol after each pair of symbols.
static TABLE: &[u8; 8 + SYMBOLS * SYMBOLS * SYMBOLS] = include_bytes!("model/static.bin");
const _: () = assert!(TABLE[0] == b'E' && TABLE[1] == b'D' && TABLE[2] == b'M' && TABLE[3] == 1);
const _: () = assert!(TABLE[4] as usize == SYMBOLS);

/// Cost of a sub-name (wire-form labels) to someone who knows host names in general and nothing of this key.
pub fn static_cost(sub: &[u8]) -> u32 {
    static_cost_up_to(sub, u32::MAX)
}

/// As [`static_cost`], or some cost over `most` as soon as it is clear that it is more.
pub fn static_cost_up_to(sub: &[u8], most: u32) -> u32 {
    let mut cost = 0;
    for label in labels(sub) {
        if cost > most {
            break;
        }
        cost += label_cost(label) + MORE_LABELS_COST;
    }
    cost
}

/// Cost of a sub-name to someone who knows nothing but which of a few alphabets it is written in: what payload costs at
/// least, however unlike a host name it looks.
pub fn alphabet_cost(sub: &[u8]) -> u32 {
    labels(sub).map(|label| LABEL_COST + label.len() as u32 * alphabet(label)).sum()
}

/// Cost of one label to someone who knows host names in general.
pub fn label_cost(label: &[u8]) -> u32 {
    let mut cost = 0;
    let mut context = [BOUNDARY; 2];
    for &byte in label {
        let symbol = symbol(byte);
        cost += table(context, symbol) + escape_cost(symbol);
        context = [context[1], symbol];
    }
    cost + table(context, BOUNDARY)
}

/// Cost of one label whose characters are drawn at random, to someone who knows its length and alphabet.
pub fn label_cost_at_random(label: &[u8]) -> u32 {
    label.len() as u32 * alphabet(label)
}

/// Cost of each character by the smallest alphabet that holds them all.
fn alphabet(label: &[u8]) -> u32 {
    let mut used = 0u8;
    for &byte in label {
        used |= match byte {
            b'2'..=b'7' => 0,
            b'0'..=b'9' => 1,
            b'a'..=b'f' => 2,
            b'g'..=b'z' => 4,
            b'-' | b'_' => 8,
            _ => 16,
        };
    }
    match used {
        0 | 1 => 54, // ten digits
        2 | 3 => 64, // hexadecimal
        4 | 6 => 80, // base32
        5..16 => 84, // 38 host name characters
        _ => 128,
    }
}

/// A length of 1 to 63, and one of five alphabets.
const LABEL_COST: u32 = 6 * UNIT + 38;

/// log2 of a count, in units, rounded up; 0 for 0 and 1.
#[expect(clippy::cast_sign_loss, reason = "the logarithm of one or more is not negative")]
pub fn log2_units(count: usize) -> u32 {
    ((count.max(1) as f64).log2() * f64::from(UNIT)).ceil() as u32
}

fn table(context: [u8; 2], symbol: u8) -> u32 {
    let index = (usize::from(context[0]) * SYMBOLS + usize::from(context[1])) * SYMBOLS + usize::from(symbol);
    u32::from(TABLE[8 + index])
}

fn escape_cost(symbol: u8) -> u32 {
    if symbol == OTHER { OTHER_BYTE_COST } else { 0 }
}

/// Symbol of a lower-cased byte; must be what `cargo xtask model` uses.
fn symbol(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => byte - b'a' + 1,
        b'0'..=b'9' => byte - b'0' + 27,
        b'-' => 37,
        b'_' => 38,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests;
