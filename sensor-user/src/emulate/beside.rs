//! One name that never changes; the data is beside the question.

use super::background::public;
use super::tape::{Answer, Extra, Tape};
use crate::emulate::message::rtype;

const NAME: &str = "www.weather-widget.example";
/// RFC 7830.
const PADDING: u16 = 12;
/// RFC 7873.
const COOKIE: u16 = 10;
/// For local use (RFC 6891).
const LOCAL: u16 = 65_001;

pub(super) fn padding(tape: &mut Tape) {
    session(tape, 128, |bytes| Extra { options: vec![(PADDING, bytes)], ..Extra::default() });
}

/// The client's eight bytes and the most of a server's.
pub(super) fn cookies(tape: &mut Tape) {
    session(tape, 40, |bytes| Extra { options: vec![(COOKIE, bytes)], ..Extra::default() });
}

pub(super) fn unknown_option(tape: &mut Tape) {
    session(tape, 100, |bytes| Extra { options: vec![(LOCAL, bytes)], ..Extra::default() });
}

/// Behind the message.
pub(super) fn tail(tape: &mut Tape) {
    session(tape, 64, |bytes| Extra { tail: bytes, ..Extra::default() });
}

fn session(tape: &mut Tape, bytes: usize, carry: fn(Vec<u8>) -> Extra) {
    let answer = Answer::a(public(&mut tape.random), 5);
    for _ in 0..120 {
        let extra = carry(tape.random.bytes(bytes));
        tape.moves_beside(NAME, rtype::A, &answer, &extra, bytes);
        tape.pause(5.0, 0.3);
    }
}
