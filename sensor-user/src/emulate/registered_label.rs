//! Data in the registered label itself: a domain per query, under many suffixes, so that no zone ever sees two.

use super::encode::{BASE36, number};
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const SUFFIXES: [&str; 8] = ["com", "net", "org", "info", "biz", "top", "xyz", "co.uk"];

pub(super) fn session(tape: &mut Tape) {
    for _ in 0..200 {
        let label = number(BASE36, &tape.random.bytes(14));
        let suffix = tape.random.pick(&SUFFIXES);
        tape.moves(format!("{label}.{suffix}"), rtype::A, &Answer::nxdomain(), 14);
        tape.pause(2.0, 0.5);
    }
}
