//! What one key has already said: after each three characters, and each two, the one that followed last.
//!
//! A name that repeats, numbers or varies what came before is cheap at all places where the next character is the
//! expected one. How far to trust an expectation is learned too, so that random names, whose expectations fail, lose
//! next to nothing by it.

use super::{BOUNDARY, MORE_LABELS_COST, SYMBOLS, UNIT, escape_cost, labels, log2_units, symbol, table};

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
const LABELS: usize = 64;

/// Bounded at `size_of::<History>()`, about 1.3 KiB.
#[derive(Clone, Debug)]
pub struct History {
    slots: [Slot; SLOTS],
    /// Hits and misses by length of the context and level.
    trust: [[Trust; LEVELS]; 2],
    /// Fingerprints of labels, a ring; 0 is empty.
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
    /// Cost of a new sub-name (wire-form labels), which becomes part of the history.
    ///
    /// Labels are taken from the right, since the labels nearest to the zone vary least.
    pub fn learn(&mut self, sub: &[u8]) -> u32 {
        let mut ends = [0u8; 127];
        let mut count = 0;
        let mut at = 0;
        for (end, label) in ends.iter_mut().zip(labels(sub)) {
            at += 1 + label.len() as u8;
            *end = at;
            count += 1;
        }
        let mut cost = 0;
        let mut context = [BOUNDARY; 3];
        for index in (0..count).rev() {
            let start = if index == 0 { 0 } else { ends[index - 1] };
            let label = &sub[usize::from(start) + 1..usize::from(ends[index])];
            let end = if index == 0 { END } else { BOUNDARY };
            let spelled = self.spell(&mut context, label, end);
            cost += self.known_label(label, spelled);
            // The static model starts each label afresh; the history goes on knowing which label this follows.
            context = [context[2], BOUNDARY, BOUNDARY];
        }
        cost
    }

    /// Cost of a label character by character.
    fn spell(&mut self, context: &mut [u8; 3], label: &[u8], end: u8) -> u32 {
        let mut cost = 0;
        for &byte in label {
            let symbol = symbol(byte);
            let fallback = table([context[1], context[2]], symbol);
            cost += self.code(*context, symbol, fallback) + escape_cost(symbol);
            *context = [context[1], context[2], symbol];
        }
        let fallback = table([context[1], context[2]], BOUNDARY) + MORE_LABELS_COST;
        cost + self.code(*context, end, fallback)
    }

    /// Cost of a label that is `spelled` by its characters, if it may also be named as one of those known.
    fn known_label(&mut self, label: &[u8], spelled: u32) -> u32 {
        let print =
            label.iter().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)) | 1;
        let known = self.labels.contains(&print);
        let trust = self.label_trust;
        let cost = if known {
            let which = log2_units(usize::from(self.known_labels));
            spelled.min(trust.cost(true) + which + MORE_LABELS_COST)
        } else {
            self.labels[usize::from(self.next_label)] = print;
            self.next_label = (self.next_label + 1) % LABELS as u8;
            self.known_labels = (self.known_labels + 1).min(LABELS as u8);
            spelled + trust.cost(false)
        };
        self.label_trust.count(known);
        cost
    }

    /// The longer context decides if it has been seen, else the shorter, else the static model; both learn.
    fn code(&mut self, context: [u8; 3], symbol: u8, fallback: u32) -> u32 {
        let [a, b, c] = context.map(u32::from);
        let short = self.expect(0, b << 6 | c, symbol, fallback);
        let long = self.expect(1, 1 << 18 | a << 12 | b << 6 | c, symbol, fallback);
        long.or(short).unwrap_or(fallback)
    }

    /// Cost of `symbol` by the slot of a context, which then learns it; `None` where the context is new.
    fn expect(&mut self, length: usize, context: u32, symbol: u8, fallback: u32) -> Option<u32> {
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
        Some(cost)
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

fn is_digit(symbol: u8) -> bool {
    (27..=36).contains(&symbol)
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

/// Cost in units of what happened `yes` times out of `yes + no`: -log2, from a table in sixty-fourths.
fn odds_cost(yes: u16, no: u16) -> u8 {
    ODDS[usize::from((yes * 64 / (yes + no)).clamp(1, 63))]
}

/// Sixteenths of a bit of -log2(i / 64), rounded up.
static ODDS: [u8; 64] = [
    96, 96, 80, 71, 64, 59, 55, 52, 48, 46, 43, 41, 39, 37, 36, 34, 32, 31, 30, 29, 27, 26, 25, 24, 23, 22,
    21, 20, 20, 19, 18, 17, 16, 16, 15, 14, 14, 13, 13, 12, 11, 11, 10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 4,
    4, 4, 3, 3, 2, 2, 2, 1, 1,
];

const _: () = assert!(UNIT == 16);
