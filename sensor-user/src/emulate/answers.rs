//! Data that comes down in what looks like ordinary answers.

use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "img-thumbs.example";

/// Fourteen bytes in each of eight addresses; the first two say which it is.
pub(super) fn aaaa(tape: &mut Tape) {
    addresses(tape, rtype::AAAA, 8, 14);
}

/// Three bytes in each of twelve addresses.
pub(super) fn a(tape: &mut Tape) {
    addresses(tape, rtype::A, 12, 3);
}

fn addresses(tape: &mut Tape, qtype: u16, count: usize, bytes: usize) {
    for page in 0..150 {
        let mut answer = Answer::default();
        for index in 0..count as u8 {
            let start: &[u8] = if qtype == rtype::A { &[(index + 1) << 4] } else { &[0x20, index + 1] };
            answer = answer.and(qtype, 60, [start, &tape.random.bytes(bytes)].concat());
        }
        tape.moves(format!("p{page}.{ZONE}"), qtype, &answer, count * bytes);
        tape.pause(0.5, 0.4);
    }
}

/// Two bytes in the time to live of an address that stays the same.
pub(super) fn ttl(tape: &mut Tape) {
    for _ in 0..360 {
        let ttl = 1 + tape.random.below(65_536) as u32;
        // Nobody keeps it: each query has a label of its own from a short list.
        let name = format!("e{}.{ZONE}", tape.random.below(12));
        tape.moves(name, rtype::A, &Answer::a([198, 51, 100, 9], ttl), 2);
        tape.pause(10.0, 0.3);
    }
}
