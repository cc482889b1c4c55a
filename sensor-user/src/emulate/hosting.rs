//! Answers that give a zone away: addresses that keep changing, or that point inside.

use super::background::public;
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

/// Five addresses of networks all over the world, others each time; kept for a minute.
pub(super) fn fast_flux(tape: &mut Tape) {
    for _ in 0..240 {
        let mut answer = Answer::default();
        for _ in 0..5 {
            answer = answer.and(rtype::A, 60, public(&mut tape.random).octets());
        }
        tape.moves("cheap-watches.example", rtype::A, &answer, 0);
        tape.pause(90.0, 0.3);
    }
}

/// A name of a page that is outside at first and then in the local network.
pub(super) fn rebinding(tape: &mut Tape) {
    for visit in 0..6 {
        let name = format!("s-{visit}.game-portal.example");
        let outside = public(&mut tape.random);
        tape.moves(name.as_str(), rtype::A, &Answer::a(outside, 1), 0);
        tape.pause(3.0, 0.3);
        let inside = [[192, 168, 1, 1], [127, 0, 0, 1], [10, 20, 0, 1]][visit % 3];
        for _ in 0..3 {
            tape.moves(name.as_str(), rtype::A, &Answer::a(inside, 1), 0);
            tape.pause(5.0, 0.3);
        }
        tape.pause(300.0, 0.5);
    }
}

/// Port and address of the master are computed from the octets of an answer, which changes each hour and which nobody
/// ever connects to.
pub(super) fn calculation(tape: &mut Tape) {
    for _ in 0..48 {
        let address = public(&mut tape.random);
        for name in ["ns-time", "cal"] {
            tape.moves(format!("{name}.orchard-news.example"), rtype::A, &Answer::a(address, 30), 4);
            tape.pause(2.0, 0.3);
        }
        tape.pause(1800.0, 0.1);
    }
}
