//! Programs that look for their master under generated names: hundreds that nobody has registered, then one that is.

use super::background::public;
use super::encode::{BASE36, LETTERS, hex};
use super::tape::{Answer, Tape};
use super::words;
use crate::emulate::Random;
use crate::emulate::message::rtype;

/// Eight to fifteen letters under five suffixes, two a second.
pub(super) fn letters(tape: &mut Tape) {
    search(tape, 0.5, |random| {
        let length = 8 + random.below(8);
        format!("{}.{}", random.text(LETTERS, length), random.pick(&["com", "net", "org", "info", "biz"]))
    });
}

/// A hash in hexadecimal.
pub(super) fn hashes(tape: &mut Tape) {
    search(tape, 2.0, |random| format!("{}.{}", hex(&random.bytes(16)), random.pick(&["top", "xyz"])));
}

pub(super) fn letters_and_digits(tape: &mut Tape) {
    search(tape, 1.0, |random| format!("{}.{}", random.text(BASE36, 16), random.pick(&["ru", "su", "com"])));
}

/// Six letters: as short as many honest names.
pub(super) fn short(tape: &mut Tape) {
    search(tape, 1.5, |random| format!("{}.{}", random.text(LETTERS, 6), random.pick(&["com", "info"])));
}

/// Consonant and vowel in turn.
pub(super) fn syllables(tape: &mut Tape) {
    search(tape, 1.0, |random| {
        let label: String =
            (0..5).map(|_| random.text("bcdfghklmnprstvwxz", 1) + &random.text("aeiouy", 1)).collect();
        format!("{label}.{}", random.pick(&["com", "eu", "info"]))
    });
}

/// Two or three words: no letter of it is odd.
pub(super) fn dictionary(tape: &mut Tape) {
    search(tape, 1.0, |random| {
        let count = 2 + random.below(2);
        let label: String = (0..count).map(|_| words::word(random)).collect();
        format!("{label}.{}", random.pick(&["net", "ru", "com"]))
    });
}

fn search(tape: &mut Tape, every: f64, name: fn(&mut Random) -> String) {
    for _ in 0..150 {
        let name = name(&mut tape.random);
        tape.moves(name, rtype::A, &Answer::nxdomain(), 0);
        tape.pause(every, 0.5);
    }
    let (name, address) = (name(&mut tape.random), public(&mut tape.random));
    tape.moves(name, rtype::A, &Answer::a(address, 300), 0);
}
