//! The first question of a message: bounded label walk, keyed hashes of the name and of its zone.
//!
//! The message lies in 8-byte words, as in a ring record; hashing reads eight bytes at once from any of them. On a
//! big-endian host the words would have to be swapped; none is supported.

use crate::abi::FlowKey;
use crate::describe::{forget, hidden};
use crate::limits::{MAX_LABEL, MAX_LABELS, MAX_NAME, MAX_NAME_WORDS};
use crate::novelty::KEY_WORDS as NOVELTY_KEY_WORDS;

/// Bytes of a DNS header (RFC 1035 section 4.1.1); the question follows.
pub const HEADER: usize = 12;

/// A walked question. Offsets count from the first byte of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Wire form with the root label, 1 to 255.
    pub name_len: u16,
    /// Root not counted.
    pub labels: u8,
    pub qtype: u16,
    pub qclass: u16,
    /// Where the last two labels begin (three under a two-part public suffix; fewer if there are no more).
    pub zone_start: u16,
}

impl Question {
    /// No question, or one that cannot be walked.
    pub const NONE: Self = Self { name_len: 0, labels: 0, qtype: 0, qclass: 0, zone_start: 0 };

    /// Offsets where the name's root label is and where its zone begins. Clamped to what `walk` writes, since the
    /// verifier sees numbers from memory as any number.
    #[inline(always)]
    pub const fn name_end_and_zone_start(&self) -> (usize, usize) {
        const LAST: usize = HEADER + MAX_NAME - 1;
        let end = (HEADER + self.name_len as usize).saturating_sub(1);
        let start = self.zone_start as usize;
        (if end > LAST { LAST } else { end }, if start > LAST { LAST } else { start })
    }
}

/// Byte `at` of the message; 0 outside.
#[inline(always)]
pub fn byte<const W: usize>(message: &[u64; W], at: usize) -> u8 {
    if at >= W * 8 {
        return 0;
    }
    // SAFETY: `at` is below the array's size in bytes, checked in the line above; u8 has no alignment.
    #[allow(unsafe_code)]
    unsafe {
        *message.as_ptr().cast::<u8>().add(at)
    }
}

/// Walks the first question of a message of `len` valid bytes into `out`, which is `Question::NONE` before.
///
/// It stays so where there is no question, a compression pointer or a reserved label type in it, a name over 255 bytes, or where
/// the message ends before QCLASS does.
#[inline(always)]
pub fn walk<const W: usize>(message: &[u64; W], len: usize, out: &mut Question) {
    if byte(message, 4) == 0 && byte(message, 5) == 0 {
        return;
    }
    let mut at = HEADER;
    let mut labels = 0u32;
    // Starts of the last three labels, latest first.
    let (mut last, mut second, mut third) = (HEADER, HEADER, HEADER);
    // That the name ends inside the message is looked at once, behind it: what lies there in the meantime are bytes of an
    // older message, and none of them can bring the end nearer.
    loop {
        if at >= HEADER + MAX_NAME || labels as usize > MAX_LABELS {
            return;
        }
        // Hidden, or the compiler adds one to it as to a byte, and the verifier takes that for nothing.
        let label = hidden(usize::from(byte(message, at)));
        if label == 0 {
            break;
        }
        if label > MAX_LABEL {
            return;
        }
        third = second;
        second = last;
        last = at;
        labels += 1;
        at += label + 1;
    }
    if at + 5 > len {
        return;
    }
    out.zone_start = match labels {
        0 => at,
        1 => last,
        _ => second,
    } as u16;
    if labels > 2 && is_two_part_suffix(message, last, second) {
        out.zone_start = third as u16;
    }
    out.labels = labels as u8;
    out.qtype = u16::from_be_bytes([byte(message, at + 1), byte(message, at + 2)]);
    out.qclass = u16::from_be_bytes([byte(message, at + 3), byte(message, at + 4)]);
    out.name_len = (at + 1 - HEADER) as u16;
}

/// Whether the last two labels look like `co.uk`: a country code under which the registry registers at the third
/// level by one of the usual second-level labels. User space regroups by the Public Suffix List; this only keeps such
/// zones apart in the flow map.
#[inline(always)]
fn is_two_part_suffix<const W: usize>(message: &[u64; W], last: usize, second: usize) -> bool {
    if byte(message, last) != 2 {
        return false;
    }
    let letter = |at: usize| u32::from(byte(message, second + at) | 0x20);
    let letters = match byte(message, second) {
        2 => letter(1) | letter(2) << 8,
        3 => letter(1) | letter(2) << 8 | letter(3) << 16,
        _ => return false,
    };
    matches!(letters, AC | CO | GO | NE | OR | COM | EDU | GOB | GOV | NET | NOM | ORG)
}

// Integers, not byte strings: comparing those would call a loop over bytes.
const AC: u32 = letters(*b"ac\0\0");
const CO: u32 = letters(*b"co\0\0");
const GO: u32 = letters(*b"go\0\0");
const NE: u32 = letters(*b"ne\0\0");
const OR: u32 = letters(*b"or\0\0");
const COM: u32 = letters(*b"com\0");
const EDU: u32 = letters(*b"edu\0");
const GOB: u32 = letters(*b"gob\0");
const GOV: u32 = letters(*b"gov\0");
const NET: u32 = letters(*b"net\0");
const NOM: u32 = letters(*b"nom\0");
const ORG: u32 = letters(*b"org\0");

const fn letters(label: [u8; 4]) -> u32 {
    u32::from_le_bytes(label)
}

/// Words of a hash key: two for the length, one for each word of a name, those of [`FlowKey`], and those of
/// [`crate::novelty`].
pub const KEY_WORDS: usize = NOVELTY_KEY + NOVELTY_KEY_WORDS;
/// Where those of the novelty filter begin.
pub(crate) const NOVELTY_KEY: usize = NAME_KEY_WORDS + 2 * PAIR_WORDS;
const NAME_KEY_WORDS: usize = 2 + MAX_NAME_WORDS;
/// Two addresses, and one word for side and transport.
const PAIR_WORDS: usize = 5;

/// Keyed hash of `len` message bytes from `start`, ASCII letters lower-cased. Length bytes are below `A`, so they stay.
///
/// NH of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, CRYPTO 1999, section 4): the sum of products of the two
/// halves of each word, each plus its own secret. For names of one length, two that somebody chose without knowing the
/// key meet with a probability of 2^-32 at most. Multiply-and-shift is as fast and
/// has pairs that meet under every key: a flipped top bit passes any odd multiplier unchanged. There is no chain from
/// word to word either, so the multiplications overlap.
///
/// `key` gives one of [`KEY_WORDS`] secret words.
#[inline(always)]
pub fn hash<const W: usize>(
    message: &[u64; W],
    start: usize,
    len: usize,
    key: impl Fn(usize) -> [u32; 2],
) -> u64 {
    // Hidden, so that its bound stays in the code: not all verifiers follow how a name's start was clamped.
    hash_of::<W, true>(message, hidden(start) & START_MASK, len, key)
}

/// [`hash`] from [`HEADER`], where names begin.
#[inline(always)]
pub fn hash_name<const W: usize>(message: &[u64; W], len: usize, key: impl Fn(usize) -> [u32; 2]) -> u64 {
    hash_of::<W, true>(message, HEADER, len, key)
}

/// [`hash`] of the bytes as they are, at most [`MAX_NAME`].
#[inline(always)]
pub(crate) fn hash_exact<const W: usize>(
    message: &[u64; W],
    start: usize,
    len: usize,
    key: impl Fn(usize) -> [u32; 2],
) -> u64 {
    hash_of::<W, false>(message, start, len, key)
}

#[inline(always)]
fn hash_of<const W: usize, const FOLD: bool>(
    message: &[u64; W],
    start: usize,
    len: usize,
    key: impl Fn(usize) -> [u32; 2],
) -> u64 {
    /// Words to a step: one look tells whether there is any capital letter.
    const BLOCK: usize = 4;
    // Hidden, so that the bounds below stay in the code: verifiers before 6.8 learn nothing from a comparison of two
    // registers.
    let whole = hidden(len / 8);
    let mut sum = joined(key(0));
    let mut done = 0;
    // Told apart, since most names are shorter.
    while whole >= BLOCK && done < MAX_NAME_WORDS - BLOCK && done + BLOCK <= whole {
        let mut capitals = 0;
        if FOLD {
            for index in done..done + BLOCK {
                capitals |= may_be_capital(word(message, start, index));
            }
        }
        // Read again below: what the compiler would keep for that, it had to put aside, for want of registers.
        forget();
        if capitals & CAPITALS == 0 {
            for index in done..done + BLOCK {
                sum = sum.wrapping_add(product(halves_at(message, start, index), key(2 + index)));
            }
        } else {
            for index in done..done + BLOCK {
                let word = lower(word(message, start, index));
                sum = sum.wrapping_add(product(halves(word), key(2 + index)));
            }
        }
        done += BLOCK;
    }
    // Whole words first: a branch on the last, partial one inside the loop would double the verifier's paths each round.
    while done < MAX_NAME_WORDS - 1 && done < whole {
        sum = sum.wrapping_add(product(halves(folded::<FOLD>(word(message, start, done))), key(2 + done)));
        done += 1;
    }
    let tail = (len % 8) as u32;
    if tail != 0 && done < MAX_NAME_WORDS {
        let last = word(message, start, done) & u64::MAX >> (64 - tail * 8);
        sum = sum.wrapping_add(product(halves(folded::<FOLD>(last)), key(2 + done)));
    }
    // The length apart, since a shorter name reads like a longer one that ends in zeroes; then a bijection, which
    // spreads the sum over all bits.
    spread(sum.wrapping_add((len as u64).wrapping_mul(joined(key(1)) | 1)))
}

/// A bijection: what differs anywhere differs in all bits.
#[inline(always)]
pub(crate) const fn spread(mut sum: u64) -> u64 {
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    sum ^ (sum >> 29)
}

/// Writes the key of the flow between two hosts: the same sum of products under two sets of secrets, so that pairs of
/// addresses, which anybody may choose, meet with a probability of 2^-62.
#[inline(always)]
pub fn flow_key(
    client: &[u8; 16],
    server: &[u8; 16],
    side_and_transport: u64,
    zone_hash: u64,
    key: impl Fn(usize) -> [u32; 2],
    out: &mut FlowKey,
) {
    let [client, server] = [address(client), address(server)];
    let words = [client[0], client[1], server[0], server[1], side_and_transport];
    let (mut pair, mut zone) = (0u64, zone_hash);
    for (index, word) in words.into_iter().enumerate() {
        pair = pair.wrapping_add(product(halves(word), key(NAME_KEY_WORDS + index)));
        zone = zone.wrapping_add(product(halves(word), key(NAME_KEY_WORDS + PAIR_WORDS + index)));
    }
    (out.pair, out.zone) = (pair, zone);
}

/// The two words of an address.
#[inline(always)]
#[allow(unsafe_code, clippy::cast_ptr_alignment)] // read as one may that is not aligned
pub const fn address(bytes: &[u8; 16]) -> [u64; 2] {
    let at = bytes.as_ptr().cast::<u64>();
    // SAFETY: sixteen bytes. For BPF as in `word`.
    unsafe {
        if cfg!(target_arch = "bpf") {
            [at.read(), at.add(1).read()]
        } else {
            [at.read_unaligned(), at.add(1).read_unaligned()]
        }
    }
}

/// A name begins below byte 267.
const START_MASK: usize = 511;

/// Words that a message at least has here, so that a word of a name may be read from wherever one may begin.
pub(crate) const MIN_WORDS: usize = (START_MASK + MAX_NAME_WORDS * 8) / 8 + 1;

/// Eight bytes of the message, `index` words behind `start`.
#[inline(always)]
#[allow(unsafe_code)]
fn word<const W: usize>(message: &[u64; W], start: usize, index: usize) -> u64 {
    const { assert!(W >= MIN_WORDS) };
    debug_assert!(start <= START_MASK && index < MAX_NAME_WORDS);
    // SAFETY: at most START_MASK + 8 * MAX_NAME_WORDS bytes from the beginning, which the first line says there are.
    unsafe {
        let at = message.as_ptr().byte_add(start).add(index);
        // For BPF an unaligned read would become eight loads; the verifier allows the misaligned one where the CPU does.
        if cfg!(target_arch = "bpf") { at.read() } else { at.read_unaligned() }
    }
}

/// `word` in two loads, which saves taking it apart.
#[inline(always)]
#[allow(unsafe_code)]
fn halves_at<const W: usize>(message: &[u64; W], start: usize, index: usize) -> [u32; 2] {
    if !cfg!(target_arch = "bpf") {
        return halves(word(message, start, index));
    }
    // SAFETY: as for `word`.
    unsafe {
        let at = message.as_ptr().byte_add(start).add(index).cast::<u32>();
        [at.read(), at.add(1).read()]
    }
}

/// The lower half of a word and the upper one.
#[inline(always)]
pub const fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

#[inline(always)]
const fn joined([low, high]: [u32; 2]) -> u64 {
    (high as u64) << 32 | low as u64
}

/// Bit 6 of each byte.
const CAPITALS: u64 = 0x4040_4040_4040_4040;

/// `CAPITALS` of those bytes that `lower` has to look at: from `@` to `_` they have bit 6 and not bit 5.
#[inline(always)]
const fn may_be_capital(word: u64) -> u64 {
    word & !(word << 1)
}

/// `lower`, which is rarely needed; of a `FOLD`ed hash.
#[inline(always)]
const fn folded<const FOLD: bool>(word: u64) -> u64 {
    if !FOLD || may_be_capital(word) & CAPITALS == 0 { word } else { lower(word) }
}

/// The secret words of a seed (splitmix64; Steele, Lea, Flood, OOPSLA 2014), for tests and for replays that have to
/// repeat. The loader of a live sensor takes random words.
pub const fn key_of_seed(seed: u64) -> [u64; KEY_WORDS] {
    let mut key = [0; KEY_WORDS];
    let mut state = seed;
    let mut index = 0;
    while index < KEY_WORDS {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        key[index] = word ^ (word >> 31);
        index += 1;
    }
    key
}

#[inline(always)]
pub(crate) const fn product(word: [u32; 2], key: [u32; 2]) -> u64 {
    (word[0].wrapping_add(key[0]) as u64).wrapping_mul(word[1].wrapping_add(key[1]) as u64)
}

/// ASCII `A` to `Z` to lower case, in eight bytes at once.
#[inline(always)]
pub const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let seven_bits = word & (0x7f * ONES);
    let above_z = seven_bits + (0x7f - b'Z' as u64) * ONES;
    let from_a = seven_bits + (0x80 - b'A' as u64) * ONES;
    let upper = !word & (from_a ^ above_z) & (0x80 * ONES);
    word | (upper >> 2)
}
