//! What a name costs to say: a static character model of host names, sharpened by what one key has already said.
//!
//! Every cost is a code length, in [`UNIT`]ths of a bit. A sender who wants to say one of M things needs, on average, at
//! least log2(M) bits under any code, ours included, so a cost summed over a window bounds what names can have carried.

pub mod history;

pub use history::{History, Said};

use crate::dns::labels;

/// Gets each character of a name that nothing said before foretold.
pub trait Novel {
    /// A symbol (1 to 26 letters, 27 to 36 digits, 37 hyphen, 38 underscore, 39 anything else) behind another, 0 at the
    /// start of a label, whether it is part of the only number since a hyphen or the start, and what it costs by the
    /// static model.
    fn character(&mut self, before: u8, symbol: u8, in_number: bool, cost: u32);

    /// The label is over, of which the characters since the last call were.
    fn end_of_label(&mut self);
}

/// Numbers since a hyphen or the start of a label.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers(u8);

impl Numbers {
    fn take(&mut self, before: u8, symbol: u8) {
        if symbol == HYPHEN {
            self.0 = 0;
        } else if is_digit(symbol) && !is_digit(before) {
            self.0 += 1;
        }
    }

    fn is_one(self) -> bool {
        self.0 == 1
    }
}

/// Of a symbol.
fn is_digit(symbol: u8) -> bool {
    (27..=36).contains(&symbol)
}

/// For who does not want to know.
#[derive(Clone, Copy, Debug)]
pub struct Unheard;

impl Novel for Unheard {
    fn character(&mut self, _before: u8, _symbol: u8, _in_number: bool, _cost: u32) {}

    fn end_of_label(&mut self) {}
}

/// Costs are counted in sixteenths of a bit.
pub const UNIT: u32 = 16;

/// Symbols of the static model: label boundary, letters, digits, hyphen, underscore, anything else.
const SYMBOLS: usize = 40;
const BOUNDARY: u8 = 0;
const HYPHEN: u8 = 37;
const OTHER: u8 = 39;
/// The byte behind `OTHER` is one of 256 - 38.
const OTHER_BYTE_COST: u32 = 124;
/// After a label: one more, or the end.
const MORE_LABELS_COST: u32 = UNIT;

/// Table of `cargo xtask model`: after an 8-byte head, the cost of each symbol after each pair of symbols.
const TABLE: &[u8; 8 + SYMBOLS * SYMBOLS * SYMBOLS] = include_bytes!("model/static.bin");
const _: () = assert!(TABLE[0] == b'E' && TABLE[1] == b'D' && TABLE[2] == b'M' && TABLE[3] == 1);
const _: () = assert!(TABLE[4] as usize == SYMBOLS);

/// Cost of a sub-name (wire-form labels) to someone who knows host names in general and nothing of this key.
pub fn static_cost(sub: &[u8]) -> u32 {
    labels(sub).map(|label| label_cost_in_name(label, label_cost(label))).sum()
}

/// As [`static_cost`]; all of it is `novel`.
pub fn static_cost_of(sub: &[u8], novel: &mut impl Novel) -> u32 {
    let mut cost = 0;
    for label in labels(sub) {
        if is_underscored(label) {
            cost += UNDERSCORED_COST + MORE_LABELS_COST;
            continue;
        }
        let mut context = Context::default();
        let mut numbers = Numbers::default();
        for &byte in label {
            let symbol = symbol(byte);
            let one = context.cost(symbol) + escape_cost(symbol);
            let before = context.last;
            numbers.take(before, symbol);
            novel.character(before, symbol, numbers.is_one(), one);
            cost += one;
            context.add(symbol);
        }
        novel.end_of_label();
        cost += context.cost(BOUNDARY) + MORE_LABELS_COST;
    }
    cost
}

/// What a label adds to [`static_cost`] of its name, where its characters cost `spelled`.
pub fn label_cost_in_name(label: &[u8], spelled: u32) -> u32 {
    MORE_LABELS_COST + if is_underscored(label) { UNDERSCORED_COST } else { spelled }
}

/// Underscored labels that protocols fix (RFC 8552 and the IANA registry it made, MS-ADTS for Active Directory, RFC 6763
/// for service discovery, RFC 8145 for trust anchors apart): to a reader of DNS they are words.
const UNDERSCORED: [&[u8]; 40] = [
    b"_",
    b"_tcp",
    b"_udp",
    b"_tls",
    b"_sctp",
    b"_ldap",
    b"_ldaps",
    b"_kerberos",
    b"_kerberos-master",
    b"_kpasswd",
    b"_gc",
    b"_msdcs",
    b"_sites",
    b"_autodiscover",
    b"_dmarc",
    b"_domainkey",
    b"_spf",
    b"_acme-challenge",
    b"_mta-sts",
    b"_smtp",
    b"_sip",
    b"_sips",
    b"_sipfederationtls",
    b"_xmpp-client",
    b"_xmpp-server",
    b"_dns-sd",
    b"_services",
    b"_http",
    b"_https",
    b"_ipp",
    b"_ntp",
    b"_imap",
    b"_imaps",
    b"_submission",
    b"_dns",
    b"_443",
    b"_25",
    b"_vlmcs",
    b"_minecraft",
    b"_report",
];
/// Which of them, and that it is one.
const UNDERSCORED_COST: u32 = 8 * UNIT;

fn is_underscored(label: &[u8]) -> bool {
    label.first() == Some(&b'_') && UNDERSCORED.contains(&label)
}

/// Cost of a sub-name to someone who knows nothing but which of a few alphabets it is written in: what payload costs at
/// least, however unlike a host name it looks.
pub fn alphabet_cost(sub: &[u8]) -> u32 {
    labels(sub).map(label_alphabet_cost).sum()
}

/// [`alphabet_cost`], and what the characters could say if each were one of 38 (or of 256, in labels with any that is no
/// host name character in lower case) by free choice.
pub fn alphabet_and_raw_cost(sub: &[u8]) -> (u32, u32) {
    labels(sub).fold((0, 0), |(least, most), label| {
        let each = alphabet(label);
        let count = label.len() as u32;
        let free = each.max(HOST_BYTE_COST);
        (least + LABEL_COST + count * each, most + 6 * UNIT + count * free)
    })
}

/// As [`alphabet_cost`], of one label.
pub fn label_alphabet_cost(label: &[u8]) -> u32 {
    LABEL_COST + label.len() as u32 * alphabet(label)
}

/// Cost of one label to someone who knows host names in general.
pub fn label_cost(label: &[u8]) -> u32 {
    let mut cost = 0;
    let mut context = Context::default();
    for &byte in label {
        let symbol = symbol(byte);
        cost += context.cost(symbol) + escape_cost(symbol);
        context.add(symbol);
    }
    cost + context.cost(BOUNDARY)
}

/// Cost of one label whose characters are drawn at random, to someone who knows its length and alphabet.
pub fn label_cost_at_random(label: &[u8]) -> u32 {
    label.len() as u32 * alphabet(label)
}

/// Cost of each character by the smallest alphabet that holds them all.
fn alphabet(label: &[u8]) -> u32 {
    let used = label.iter().fold(0, |used, byte| used | ALPHABETS[usize::from(*byte)]);
    match used {
        0 | 1 => 54, // ten digits
        2 | 3 => 64, // hexadecimal
        4 | 6 => 80, // base32
        5..16 => HOST_BYTE_COST,
        _ => BYTE_COST,
    }
}

/// One of 38 host name characters, and any byte.
const HOST_BYTE_COST: u32 = 84;
const BYTE_COST: u32 = 8 * UNIT;

/// Which alphabets hold a byte, by what must be added to base32's digits.
static ALPHABETS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'2'..=b'7' => 0,
            b'0'..=b'9' => 1,
            b'a'..=b'f' => 2,
            b'g'..=b'z' => 4,
            b'-' | b'_' => 8,
            _ => 16,
        };
        byte += 1;
    }
    table
};

/// A length of 1 to 63, and one of five alphabets.
const LABEL_COST: u32 = 6 * UNIT + 38;

/// log2 of a count, in units, rounded up; 0 for 0 and 1.
pub const fn log2_units(count: usize) -> u32 {
    let count = if count == 0 { 1 } else { count };
    let whole = count.ilog2();
    // The eight bits behind the highest one, rounded up, decide on the sixteenths.
    let below = count - (1 << whole);
    let part = match whole.checked_sub(8) {
        None | Some(0) => below << (8 - whole),
        Some(rest) => (below >> rest) + (below << (usize::BITS - rest) != 0) as usize,
    };
    whole * UNIT + LOG2[if part > 256 { 256 } else { part }] as u32
}

/// Sixteenths of a bit of log2(1 + i / 256), rounded up.
static LOG2: [u8; 257] = {
    // The largest i for each number of sixteenths: 256 * (2^(k/16) - 1), rounded down.
    const UP_TO: [usize; 17] = [0, 11, 23, 35, 48, 61, 75, 90, 106, 122, 138, 156, 174, 193, 213, 234, 256];
    let mut table = [0; 257];
    let (mut i, mut sixteenths) = (0, 0);
    while i <= 256 {
        if i > UP_TO[sixteenths as usize] {
            sixteenths += 1;
        }
        table[i] = sixteenths;
        i += 1;
    }
    table
};

/// [`TABLE`] without its head, filled up to what sixteen bits reach: so no look-up has to be checked.
static COSTS: [u8; 1 << 16] = {
    let mut costs = [0; 1 << 16];
    let mut at = 8;
    while at < TABLE.len() {
        costs[at - 8] = TABLE[at];
        at += 1;
    }
    costs
};

/// The two symbols before, as the static model has them.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    /// Where the costs of what may follow begin.
    row: u16,
    last: u8,
}

impl Context {
    fn cost(self, symbol: u8) -> u32 {
        u32::from(COSTS[usize::from(self.row + u16::from(symbol))])
    }

    fn add(&mut self, symbol: u8) {
        const ROW: u16 = SYMBOLS as u16;
        self.row = u16::from(self.last) * (ROW * ROW) + u16::from(symbol) * ROW;
        self.last = symbol;
    }
}

fn escape_cost(symbol: u8) -> u32 {
    if symbol == OTHER { OTHER_BYTE_COST } else { 0 }
}

/// Symbol of a lower-cased byte; must be what `cargo xtask model` uses.
fn symbol(byte: u8) -> u8 {
    SYMBOL[usize::from(byte)]
}

static SYMBOL: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            lower @ b'a'..=b'z' => lower - b'a' + 1,
            digit @ b'0'..=b'9' => digit - b'0' + 27,
            b'-' => HYPHEN,
            b'_' => 38,
            _ => OTHER,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
