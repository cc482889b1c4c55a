//! Whether what is new in a key's names is written in an encoding, and in which.
//!
//! Only characters that the key's history did not foresee count: what stays the same from name to name says nothing. Each
//! adds the logarithm of how much likelier it is in random text over an alphabet than in host names, so that ten random
//! characters are a hint and forty are certain, whatever the alphabet.

use crate::model::{Novel, UNIT, log2_units};

const BIT: i32 = UNIT.cast_signed();
/// Symbols of the static model.
const SYMBOLS: usize = 40;

/// What can be recognised, as findings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    Base32,
    Base32Hex,
    Base36,
    Base58,
    Base64Url,
    Binary,
    /// No alphabet of the others fits best: its characters only keep to frequencies of their own.
    Custom,
}

impl Encoding {
    const ALL: [Self; KINDS] = [
        Self::Hex,
        Self::Base32,
        Self::Base32Hex,
        Self::Base36,
        Self::Base58,
        Self::Base64Url,
        Self::Binary,
        Self::Custom,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base32 => "base32",
            Self::Base32Hex => "base32hex",
            Self::Base36 => "base36",
            Self::Base58 => "base58",
            Self::Base64Url => "base64url",
            Self::Binary => "binary",
            Self::Custom => "custom",
        }
    }
}

const KINDS: usize = 8;

/// Evidence from which on an encoding is clear, bits: one key in 2^64 with host names of the static model's kind would
/// come so far by chance.
const CLEAR_BITS: i32 = 64;
/// Evidence is kept between these, so that neither a long honest past nor a long tunnel outweighs what is said now.
const LEAST: i16 = -16 * BIT as i16;
const MOST: i16 = 256 * BIT as i16;
/// What a character costs that an alphabet does not hold: encodings come with a letter or two of their own.
const OUTSIDE_COST: i16 = 14 * BIT as i16;
/// A digit after a digit, a hyphen or nothing costs no more than this in a host name, less than one of ten; one after a
/// letter no more than the second. Numbers are usual, whatever the static model's names say of them.
const DIGIT_COST: i32 = 52;
const FIRST_DIGIT_COST: i32 = 72;
/// Frequencies of its own are claimed only where they explain this much more than any alphabet.
const CUSTOM_AHEAD: i32 = 24 * BIT;

/// Fixed in size, streaming.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    evidence: [i16; KINDS],
    /// How often each symbol came, for the frequencies of a custom alphabet.
    counts: [u8; SYMBOLS],
    total: u16,
    /// Characters of new names: their number, sum and sum of squares.
    names: u32,
    sum: u32,
    squares: u64,
    /// The length that most names have, if one has most, and how many more than others they are.
    usual_len: u8,
    usual_lead: u16,
    usual: u32,
    /// Names whose first label counts one up from the name before.
    counted: u32,
    last_number: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            evidence: [0; KINDS],
            counts: [1; SYMBOLS],
            total: SYMBOLS as u16,
            names: 0,
            sum: 0,
            squares: 0,
            usual_len: 0,
            usual_lead: 0,
            usual: 0,
            counted: 0,
            last_number: u32::MAX,
        }
    }
}

/// An alphabet and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recognised {
    pub encoding: Encoding,
    /// 1.0 is clear; as a likelihood ratio, 2 to the power of 64 times this.
    pub strength: f64,
}

impl Shape {
    /// Takes the lengths and the counter of a new sub-name (wire-form labels of `len` characters).
    pub fn name(&mut self, sub: &[u8], len: usize) {
        let len = len.min(255) as u32;
        if self.names < u32::MAX / 2 {
            self.names += 1;
            self.sum = self.sum.saturating_add(len);
            self.squares += u64::from(len * len);
        }
        let near = u32::from(self.usual_len).abs_diff(len) * 20 <= len;
        if near {
            self.usual_lead = self.usual_lead.saturating_add(1);
            self.usual = self.usual.saturating_add(1);
        } else if self.usual_lead == 0 {
            (self.usual_len, self.usual_lead, self.usual) = (len as u8, 1, 1);
        } else {
            self.usual_lead -= 1;
        }
        let number = first_number(sub);
        if let Some(number) = number {
            self.counted += u32::from(self.last_number.checked_add(1) == Some(number));
        }
        self.last_number = number.unwrap_or(u32::MAX);
    }

    /// The best alphabet and its evidence.
    pub fn recognised(&self) -> Recognised {
        let (mut encoding, mut most) = (Encoding::Custom, 0);
        for (kind, evidence) in Encoding::ALL.into_iter().zip(self.evidence.map(i32::from)) {
            let evidence = evidence - if kind == Encoding::Custom { CUSTOM_AHEAD } else { 0 };
            if evidence > most {
                (encoding, most) = (kind, evidence);
            }
        }
        Recognised { encoding, strength: f64::from(most) / f64::from(CLEAR_BITS * BIT) }
    }

    /// Whether some encoding is clear.
    pub fn is_clear(&self) -> bool {
        self.recognised().strength >= 1.0
    }

    /// Mean length of new sub-names, dots excluded, and its variance.
    pub fn length(&self) -> (f64, f64) {
        let count = f64::from(self.names.max(1));
        let mean = f64::from(self.sum) / count;
        (mean, (self.squares as f64 / count - mean * mean).max(0.0))
    }

    /// Share of new sub-names within 5 % of the length that most have, since it last changed; 0 to 1.
    pub fn fixed_share(&self) -> f64 {
        (f64::from(self.usual) / f64::from(self.names.max(1))).min(1.0)
    }

    /// Share of new sub-names whose first label is a number one above that of the name before; 0 to 1.
    pub fn counted_share(&self) -> f64 {
        f64::from(self.counted) / f64::from(self.names.max(1))
    }
}

/// Takes what is new in a name, and adds it to a shape label by label.
#[derive(Debug)]
pub struct Listener<'a> {
    shape: &'a mut Shape,
    /// Of the label so far: for a character of at most 379 units sixteen bits hold 63 of them beside the most.
    label: [i16; KINDS],
    /// What its characters cost by the key's own frequencies.
    own: i16,
}

impl Shape {
    pub fn listen(&mut self) -> Listener<'_> {
        Listener { shape: self, label: [0; KINDS], own: 0 }
    }
}

impl Novel for Listener<'_> {
    fn character(&mut self, before: u8, symbol: u8, in_number: bool, cost: u32) {
        let digit = |s: u8| (27..=36).contains(&s);
        let honest = cost.cast_signed();
        let honest = match digit(symbol) && in_number {
            true if digit(before) || before == 0 || before == 37 => honest.min(DIGIT_COST),
            true => honest.min(FIRST_DIGIT_COST),
            false => honest,
        };
        let shape = &mut *self.shape;
        let at = usize::from(symbol).min(SYMBOLS - 1);
        let own = LOG2[usize::from(shape.total)] - LOG2[usize::from(shape.counts[at])];
        let escape = if at == SYMBOLS - 1 { 8 * BIT } else { 0 };
        self.own = self.own.saturating_add(i16::from(own) + escape as i16);
        // Eight of sixteen bits are one register.
        for (evidence, cost) in self.label.iter_mut().zip(&COSTS[at]) {
            *evidence = evidence.saturating_add(honest as i16 - cost);
        }
        shape.counts[at] += 1;
        shape.total += 1;
        if shape.counts[at] == u8::MAX {
            shape.counts = shape.counts.map(|n| n.div_ceil(2));
            shape.total = shape.counts.iter().map(|n| u16::from(*n)).sum();
        }
    }

    fn end_of_label(&mut self) {
        let mut evidence = self.shape.evidence;
        for (evidence, label) in evidence.iter_mut().zip(self.label) {
            *evidence = evidence.saturating_add(label);
        }
        let custom = &mut evidence[Encoding::Custom as usize];
        *custom = custom.saturating_sub(self.own);
        // What one alphabet is ahead of another stays when all have come as far as they go.
        let over = (evidence.iter().fold(0, |most, evidence| most.max(*evidence)) - MOST).max(0);
        self.shape.evidence = evidence.map(|evidence| evidence.saturating_sub(over).max(LEAST));
        (self.label, self.own) = ([0; KINDS], 0);
    }
}

/// The first label, if it is a number of up to nine digits.
fn first_number(sub: &[u8]) -> Option<u32> {
    let (&length, rest) = sub.split_first()?;
    let label = rest.get(..usize::from(length)).filter(|label| (1..=9).contains(&label.len()))?;
    label.iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

/// [`log2_units`] of what all symbols' counts together can be.
static LOG2: [u8; SYMBOLS * u8::MAX as usize + 1] = {
    let mut table = [0; SYMBOLS * u8::MAX as usize + 1];
    let mut count = 0;
    while count < table.len() {
        table[count] = log2_units(count) as u8;
        count += 1;
    }
    table
};

/// Cost of each symbol, after lower-casing, in random text of each encoding but the custom one, which is left at nothing
/// here.
static COSTS: [[i16; KINDS]; SYMBOLS] = costs();

const fn costs() -> [[i16; KINDS]; SYMBOLS] {
    let mut table = [[0; KINDS]; SYMBOLS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let letter = if symbol >= 1 && symbol <= 26 { b'a' + symbol as u8 - 1 } else { 0 };
        let digit = if symbol >= 27 && symbol <= 36 { b'0' + symbol as u8 - 27 } else { 0 };
        let some = letter != 0 || digit != 0;
        let row = &mut table[symbol];
        row[Encoding::Hex as usize] =
            if digit != 0 || (letter != 0 && letter <= b'f') { 64 } else { OUTSIDE_COST };
        row[Encoding::Base32 as usize] =
            if letter != 0 || (digit >= b'2' && digit <= b'7') { 80 } else { OUTSIDE_COST };
        row[Encoding::Base32Hex as usize] =
            if digit != 0 || (letter != 0 && letter <= b'v') { 80 } else { OUTSIDE_COST };
        row[Encoding::Base36 as usize] = if some { 83 } else { OUTSIDE_COST };
        // Two of 58 or 64 characters for most letters, one for i, l and o in base58, and for digits.
        row[Encoding::Base58 as usize] = match (letter, digit) {
            (b'i' | b'l' | b'o', _) | (_, b'1'..=b'9') => 94,
            (b'a'..=b'z', _) => 78,
            _ => OUTSIDE_COST,
        };
        row[Encoding::Base64Url as usize] = match (letter, digit) {
            (b'a'..=b'z', _) => 80,
            (_, b'0'..=b'9') => 96,
            _ if symbol == 37 || symbol == 38 => 96,
            _ => OUTSIDE_COST,
        };
        row[Encoding::Binary as usize] = 8 * BIT as i16;
        symbol += 1;
    }
    table
}

#[cfg(test)]
mod tests;
