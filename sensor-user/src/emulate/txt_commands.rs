//! Commands that come down in TXT records of names that never change, and programs fetched from numbered ones.

use super::encode::base64url;
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "status-feed.example";

/// Every half minute whether there is something to do, for three hours; one in ten times there is.
pub(super) fn polling(tape: &mut Tape) {
    for round in 0..360 {
        let name = ["cmd", "cfg"][usize::from(round % 12 == 11)];
        let bytes = if round % 10 == 7 { 120 } else { 6 };
        let text = base64url(&tape.random.bytes(bytes));
        tape.moves(format!("{name}.{ZONE}"), rtype::TXT, &Answer::txt(text, 1), bytes);
        tape.pause(30.0, 0.2);
    }
}

/// A program of 40 kB, piece by piece.
pub(super) fn staging(tape: &mut Tape) {
    for piece in 0..220 {
        let text = base64url(&tape.random.bytes(186));
        tape.moves(format!("{piece}.pkg.{ZONE}"), rtype::TXT, &Answer::txt(text, 300), 186);
        tape.pause(0.15, 0.4);
    }
}
