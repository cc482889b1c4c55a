//! A file sent out in names, in many an alphabet and at many a rate.

use std::net::Ipv4Addr;

use super::encode::{BASE36, BASE58, base32, base64url, bits, hex, labels, number};
use super::tape::{Answer, Tape};
use super::words;
use crate::emulate::Random;
use crate::emulate::message::rtype;

const ZONE: &str = "sync-archive.example";
pub(super) const DAY: f64 = 86_400.0;

fn answer() -> Answer {
    Answer::a(Ipv4Addr::new(198, 51, 100, 7), 60)
}

/// 6 kB, two queries a second.
fn fast(tape: &mut Tape, encode: fn(&[u8]) -> String) {
    for _ in 0..200 {
        let bytes = tape.random.bytes(30);
        tape.moves(format!("{}.{ZONE}", labels(&encode(&bytes), 63)), rtype::A, &answer(), 30);
        tape.pause(0.5, 0.4);
    }
}

pub(super) fn in_hex(tape: &mut Tape) {
    fast(tape, hex);
}

pub(super) fn in_base32(tape: &mut Tape) {
    fast(tape, base32);
}

pub(super) fn in_base58(tape: &mut Tape) {
    fast(tape, |bytes| number(BASE58, bytes));
}

pub(super) fn in_base64url(tape: &mut Tape) {
    fast(tape, base64url);
}

pub(super) fn in_base36(tape: &mut Tape) {
    fast(tape, |bytes| number(BASE36, bytes));
}

/// Sixteen letters of its own.
pub(super) fn in_letters(tape: &mut Tape) {
    fast(tape, |bytes| bits("etaoinshrdlucmfw", bytes));
}

pub(super) fn in_syllables(tape: &mut Tape) {
    fast(tape, syllables);
}

/// Syllables that can be said aloud: a consonant and a vowel for six bits.
fn syllables(bytes: &[u8]) -> String {
    let syllable = |value: u8| {
        let (consonants, vowels) = (b"bdfghklmnprstvzj", b"aeio");
        [consonants[usize::from(value >> 2)], vowels[usize::from(value & 3)]].map(char::from)
    };
    bits(ALPHABET64, bytes).bytes().flat_map(|letter| syllable(value64(letter))).collect()
}

/// 64 characters in the order of their codes, so that a value is found again.
const ALPHABET64: &str = "0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmno";

fn value64(letter: u8) -> u8 {
    letter - b'0'
}

/// Words of a book of 256, four to a name.
pub(super) fn in_words(tape: &mut Tape) {
    fast(tape, |bytes| {
        let book = words::all();
        let words: Vec<_> = bytes.iter().take(6).map(|byte| book[usize::from(*byte)]).collect();
        words.join("-")
    });
}

/// So many payload bytes a day, fifteen in a query, at any time of the day.
fn a_day(tape: &mut Tape, bytes: u32, encode: fn(&[u8]) -> String) {
    within(tape, bytes, DAY, encode);
}

/// As `a_day`, in so many seconds.
pub(super) fn within(tape: &mut Tape, bytes: u32, seconds: f64, encode: fn(&[u8]) -> String) {
    const PIECE: usize = 15;
    let every = seconds * PIECE as f64 / f64::from(bytes);
    tape.pause(every, 0.5);
    while tape.now < seconds {
        let piece = tape.random.bytes(PIECE);
        tape.moves(format!("{}.{ZONE}", encode(&piece)), rtype::A, &answer(), PIECE);
        tape.pause(every, 0.5);
    }
}

pub(super) fn base32_a_day<const BYTES: u32>(tape: &mut Tape) {
    a_day(tape, BYTES, base32);
}

pub(super) fn hex_a_day<const BYTES: u32>(tape: &mut Tape) {
    a_day(tape, BYTES, hex);
}

pub(super) fn base58_a_day<const BYTES: u32>(tape: &mut Tape) {
    a_day(tape, BYTES, |bytes| number(BASE58, bytes));
}

pub(super) fn base64url_a_day<const BYTES: u32>(tape: &mut Tape) {
    a_day(tape, BYTES, base64url);
}

pub(super) fn base36_a_day<const BYTES: u32>(tape: &mut Tape) {
    a_day(tape, BYTES, |bytes| number(BASE36, bytes));
}

pub(super) fn syllables_a_day<const BYTES: u32>(tape: &mut Tape) {
    a_day(tape, BYTES, syllables);
}

/// Nothing longer than nine characters, nothing that looks encoded: what a person typed, and numbers.
pub(super) fn short_pieces(tape: &mut Tape) {
    const TEXT: &str =
        "root admin backup hunter2 summer25 vpn-gate db-main payroll q3 ledger berlin oslo pin code key";
    let texts: Vec<_> = TEXT.split_ascii_whitespace().collect();
    for _ in 0..400 {
        let random: &mut Random = &mut tape.random;
        let piece = match random.below(3) {
            0 => format!("{}{}", random.pick(&texts), random.below(10)),
            1 => random.text("0123456789", 6 + random.clone().below(4)),
            _ => format!("{}-{}", random.text("0123456789", 3), random.text("0123456789", 4)),
        };
        let piece: String = piece.chars().take(9).collect();
        let bytes = piece.len();
        tape.moves(format!("{piece}.{ZONE}"), rtype::A, &answer(), bytes);
        tape.pause(5.0, 0.5);
    }
}

/// Piece by piece over twenty zones.
pub(super) fn over_zones(tape: &mut Tape) {
    let zones: Vec<_> = (0..20).map(|_| format!("{}.example", words::registered(&mut tape.random))).collect();
    for piece in 0..400 {
        let name = format!("{}.{}", hex(&tape.random.bytes(20)), zones[piece % zones.len()]);
        tape.moves(name, rtype::A, &answer(), 20);
        tape.pause(1.0, 0.5);
    }
}

/// Piece by piece from twenty clients.
pub(super) fn over_clients(tape: &mut Tape) {
    for piece in 0..400 {
        tape.be(piece % 20);
        let name = format!("{}.{ZONE}", hex(&tape.random.bytes(20)));
        tape.moves(name, rtype::A, &answer(), 20);
        tape.pause(1.0, 0.5);
    }
}
