//! What one key has already said: after each three characters, and each two, the one that followed last.
//!
//! A name that repeats, numbers or varies what came before is cheap at all places where the next character is the
//! expected one. How far to trust an expectation is learned too, so that random names, whose expectations fail, lose
//! next to nothing by it.

use super::{
    BOUNDARY, Context, MORE_LABELS_COST, Novel, Numbers, SYMBOLS, UNDERSCORED_COST, UNIT, Unheard,
    escape_cost, is_digit, is_underscored, label_alphabet_cost, labels, log2_units, symbol,
};

/// End of the name, told apart from the end of a label by the history only.
const END: u8 = SYMBOLS as u8;

/// Contexts kept: 1 KiB.
const SLOTS: usize = 512;
const _: () = assert!(SLOTS.is_power_of_two());

/// Levels of trust in an expectation: how often in a row it held.
const LEVELS: usize = 4;
/// Hits and misses before anything is known of a level, for two characters and for three.
const PRIOR: [[[u16; 2]; LEVELS]; 2] = [[[1, 2], [1, 1], [2, 1], [4, 1]], [[1, 1], [2, 1], [4, 1], [8, 1]]];
/// At this many hits and misses both are halved, so that trust follows what is said now.
const FORGET: u16 = 256;

/// Whole labels kept: a name that combines known labels says only which.
const LABELS: usize = 32;
/// Marks a label that was said again since room was last needed.
const SPARED: u32 = 1;

/// Bounded at `size_of::<History>()`, about 1.3 KiB.
#[derive(Clone, Debug)]
pub struct History {
    slots: [Slot; SLOTS],
    /// Hits and misses by length of the context and level.
    trust: [[Trust; LEVELS]; 2],
    /// Fingerprints of labels, a ring that spares those said again; 0 is empty.
    labels: [u32; LABELS],
    next_label: u8,
    known_labels: u8,
    /// Labels that were known, and that were not.
    label_trust: Trust,
    /// Places of a digit that held another digit, and that held something else.
    digit_trust: Trust,
}

/// Empty (0), or 8 bits that check the context, 6 of the symbol expected (plus one, so that no slot is 0 by chance), 2 of
/// the level.
#[derive(Clone, Copy, Debug, Default)]
struct Slot(u16);

/// What a name said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// In units.
    pub cost: u32,
    /// Labels never said before, their characters, and what these cost by their alphabet.
    pub new_labels: u8,
    pub new_len: u8,
    pub new_cost: u32,
    /// One of the labels is an underscored one that a protocol fixes, or looks like one.
    pub is_underscored: bool,
}

impl Default for History {
    fn default() -> Self {
        Self {
            slots: [Slot(0); SLOTS],
            trust: PRIOR.map(|levels| levels.map(Trust::new)),
            labels: [0; LABELS],
            next_label: 0,
            known_labels: 0,
            label_trust: Trust::new([1, 1]),
            digit_trust: Trust::new([1, 1]),
        }
    }
}

impl History {
    /// Cost of a new sub-name (wire-form labels), which becomes part of the history; `novel` gets what it did not foresee.
    ///
    /// Labels are taken from the right, since the labels nearest to the zone vary least.
    pub fn learn(&mut self, sub: &[u8], novel: &mut impl Novel) -> Said {
        let mut ends = [0u8; 127];
        let mut count = 0;
        let mut at = 0;
        for (end, label) in ends.iter_mut().zip(labels(sub)) {
            at += 1 + label.len() as u8;
            *end = at;
            count += 1;
        }
        let mut said = Said::default();
        // The last three symbols; what follows is foretold by them.
        let mut context = Triple::default();
        for index in (0..count).rev() {
            let start = if index == 0 { 0 } else { ends[index - 1] };
            let label = &sub[usize::from(start) + 1..usize::from(ends[index])];
            let end = if index == 0 { END } else { BOUNDARY };
            let fixed = is_underscored(label);
            said.is_underscored |= label[0] == b'_';
            let known = self.knows(label) || fixed;
            // A known label is learnt again, but nothing in it is new.
            let spelled = if known {
                self.spell(&mut context, label, end, &mut Unheard)
            } else {
                self.spell(&mut context, label, end, novel)
            };
            let spelled = if fixed { spelled.min(UNDERSCORED_COST + MORE_LABELS_COST) } else { spelled };
            said.cost += self.name_label(known, spelled);
            if !known {
                said.new_labels += 1;
                said.new_len += label.len() as u8;
                said.new_cost += label_alphabet_cost(label);
            }
            // The static model starts each label afresh; the history goes on knowing which label this follows.
            context.add(BOUNDARY);
            context.add(BOUNDARY);
        }
        said
    }

    /// Cost of a label character by character.
    fn spell(&mut self, context: &mut Triple, label: &[u8], end: u8, novel: &mut impl Novel) -> u32 {
        let mut cost = 0;
        let mut numbers = Numbers::default();
        for &byte in label {
            let symbol = symbol(byte);
            let before = context.plain.last;
            numbers.take(before, symbol);
            let fallback = context.plain.cost(symbol);
            let (coded, hit) = self.code(*context, symbol, fallback);
            let escape = escape_cost(symbol);
            cost += coded + escape;
            if !hit {
                novel.character(before, symbol, numbers.is_one(), fallback + escape);
            }
            context.add(symbol);
        }
        novel.end_of_label();
        let fallback = context.plain.cost(BOUNDARY) + MORE_LABELS_COST;
        cost + self.code(*context, end, fallback).0
    }

    /// Whether a label was said before; it is remembered if not. One that was is spared when room is needed.
    fn knows(&mut self, label: &[u8]) -> bool {
        let print = (print(label) | 2) & !SPARED;
        if let Some(slot) = self.labels.iter_mut().find(|slot| **slot & !SPARED == print) {
            *slot |= SPARED;
            return true;
        }
        let mut at = usize::from(self.next_label);
        while self.labels[at] & SPARED != 0 {
            self.labels[at] &= !SPARED;
            at = (at + 1) % LABELS;
        }
        self.labels[at] = print;
        self.next_label = ((at + 1) % LABELS) as u8;
        self.known_labels = (self.known_labels + 1).min(LABELS as u8);
        false
    }

    /// Cost of a label that is `spelled` by its characters, if one that is known may also be named as such.
    fn name_label(&mut self, known: bool, spelled: u32) -> u32 {
        let trust = self.label_trust;
        self.label_trust.count(known);
        if known {
            let which = log2_units(usize::from(self.known_labels));
            spelled.min(trust.cost(true) + which + MORE_LABELS_COST)
        } else {
            spelled + trust.cost(false)
        }
    }

    /// The longer context decides if it has been seen, else the shorter, else the static model; both learn. Beside the
    /// cost, whether it was what the history expected.
    fn code(&mut self, context: Triple, symbol: u8, fallback: u32) -> (u32, bool) {
        let short = self.expect(0, context.bits & 0xfff, symbol, fallback);
        let long = self.expect(1, 1 << 18 | context.bits, symbol, fallback);
        long.or(short).unwrap_or((fallback, false))
    }

    /// Cost of `symbol` by the slot of a context, which then learns it; `None` where the context is new.
    fn expect(&mut self, length: usize, context: u32, symbol: u8, fallback: u32) -> Option<(u32, bool)> {
        let hash = context.wrapping_mul(0x9e37_79b1);
        let slot = &mut self.slots[(hash >> 23) as usize % SLOTS];
        let check = (hash >> 15 & 0xff) as u16;
        if slot.0 == 0 || slot.check() != check {
            *slot = if slot.0 == 0 || slot.level() == 0 {
                Slot::new(check, symbol, 0)
            } else {
                Slot::new(slot.check(), slot.symbol(), slot.level() - 1)
            };
            return None;
        }
        let level = slot.level();
        let trust = &mut self.trust[length][level];
        let expected = slot.symbol();
        let hit = expected == symbol;
        let mut cost = trust.cost(hit);
        if !hit {
            // Where another digit stood, a number goes on: any of nine others.
            if is_digit(expected) {
                let digit = is_digit(symbol);
                cost += self.digit_trust.cost(digit) + if digit { NINE_COST } else { fallback };
                self.digit_trust.count(digit);
            } else {
                cost += fallback;
            }
        }
        trust.count(hit);
        *slot = match (hit, level) {
            (true, _) => Slot::new(check, symbol, (level + 1).min(LEVELS - 1)),
            (false, 0) => Slot::new(check, symbol, 0),
            (false, _) => Slot::new(check, slot.symbol(), level - 1),
        };
        Some((cost, hit))
    }
}

/// The last three symbols, and the last two as the static model has them.
#[derive(Clone, Copy, Debug, Default)]
struct Triple {
    /// Six bits each, the last one lowest.
    bits: u32,
    plain: Context,
}

impl Triple {
    fn add(&mut self, symbol: u8) {
        self.bits = (self.bits << 6 | u32::from(symbol)) & 0x3_ffff;
        self.plain.add(symbol);
    }
}

impl Slot {
    fn new(check: u16, symbol: u8, level: usize) -> Self {
        Self(check << 8 | (u16::from(symbol) + 1) << 2 | level as u16)
    }

    fn check(self) -> u16 {
        self.0 >> 8
    }

    fn symbol(self) -> u8 {
        (self.0 >> 2 & 0x3f) as u8 - 1
    }

    fn level(self) -> usize {
        usize::from(self.0 & 3)
    }
}

/// log2(9).
const NINE_COST: u32 = 51;

/// How often something happened and did not, and what either costs to say.
#[derive(Clone, Copy, Debug)]
struct Trust {
    counts: [u16; 2],
    costs: [u8; 2],
}

impl Trust {
    fn new([yes, no]: [u16; 2]) -> Self {
        Self { counts: [yes, no], costs: [odds_cost(yes, no), odds_cost(no, yes)] }
    }

    fn cost(self, did: bool) -> u32 {
        u32::from(self.costs[usize::from(!did)])
    }

    /// Costs follow at once while little is known, then every eighth time: the division is what takes time here.
    fn count(&mut self, did: bool) {
        self.counts[usize::from(!did)] += 1;
        let sum = self.counts[0] + self.counts[1];
        if sum >= FORGET {
            self.counts = self.counts.map(|n| n.div_ceil(2));
        }
        if sum < 16 || sum.is_multiple_of(8) {
            *self = Self::new(self.counts);
        }
    }
}

/// Fingerprint of a label, eight characters at a time.
fn print(label: &[u8]) -> u32 {
    let (words, rest) = label.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mixed = |hash: u64, word: &[u8; 8]| {
        let hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ hash >> 32
    };
    (mixed(words.iter().fold(label.len() as u64, mixed), &last) >> 16) as u32
}

/// Cost in units of what happened `yes` times out of `yes + no`: -log2, from a table in sixty-fourths.
fn odds_cost(yes: u16, no: u16) -> u8 {
    let sixty_fourths = (u32::from(yes) * 64 * RECIPROCALS[usize::from(yes + no)]) >> 24;
    ODDS[sixty_fourths.clamp(1, 63) as usize]
}

/// 2^24 divided by so many, rounded up: a product of up to 2^14 is as exact as the division.
static RECIPROCALS: [u32; FORGET as usize + 1] = {
    let mut table = [0; FORGET as usize + 1];
    let mut n = 1;
    while n < table.len() {
        table[n] = (1_u32 << 24).div_ceil(n as u32);
        n += 1;
    }
    table
};

/// Sixteenths of a bit of -log2(i / 64), rounded up.
static ODDS: [u8; 64] = [
    96, 96, 80, 71, 64, 59, 55, 52, 48, 46, 43, 41, 39, 37, 36, 34, 32, 31, 30, 29, 27, 26, 25, 24, 23, 22,
    21, 20, 20, 19, 18, 17, 16, 16, 15, 14, 14, 13, 13, 12, 11, 11, 10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 4,
    4, 4, 3, 3, 2, 2, 2, 1, 1,
];

const _: () = assert!(UNIT == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reciprocals_divide_exactly() {
        for sum in 1..=FORGET {
            for yes in 0..=sum {
                let exact = usize::from((yes * 64 / sum).clamp(1, 63));
                assert_eq!(odds_cost(yes, sum - yes), ODDS[exact], "{yes} of {sum}");
            }
        }
    }
}
