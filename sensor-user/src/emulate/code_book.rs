//! A byte is one of 256 names that anybody could have given: nothing is long, odd or new for long.

use super::background::public;
use super::tape::{Answer, Tape};
use super::words;
use crate::emulate::message::rtype;

/// Hosts of one customer of a content network.
pub(super) fn hosts(tape: &mut Tape) {
    session(tape, |word| format!("{word}.d1k9tq7w2m.cloudfront.net"));
}

/// Customers of a content network: each name is a zone of its own.
pub(super) fn tenants(tape: &mut Tape) {
    session(tape, |word| format!("{word}-assets.netlify.app"));
}

fn session(tape: &mut Tape, name: fn(&str) -> String) {
    let book = words::all();
    let address = public(&mut tape.random);
    for _ in 0..600 {
        let word = book[tape.random.below(book.len())];
        tape.moves(name(word), rtype::A, &Answer::a(address, 60), 1);
        tape.pause(2.0, 0.5);
    }
}
