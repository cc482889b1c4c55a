//! FrameworkPOS: card data, masked with one byte and in hexadecimal, one query a card; a heartbeat with the machine's
//! address and name; an alert with the process that had a card in its memory.

use super::encode::hex;
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "ntp-pool-status.example";

/// A till on a quiet morning: a card every twenty seconds or so.
pub(super) fn session(tape: &mut Tape) {
    let id = tape.random.text("0123456789abcdef", 6);
    let answer = Answer::nxdomain();
    for card in 0..120 {
        if card % 20 == 0 {
            let name = format!("{id}.beacon.{}.{}.{ZONE}", masked("10.20.1.17"), masked("TILL-04"));
            tape.moves(name, rtype::A, &answer, 17);
        }
        if card % 10 == 0 {
            tape.moves(format!("{id}.alert.{}.{ZONE}", masked("pos.exe")), rtype::A, &answer, 7);
        }
        let number = format!("4{}", tape.random.text("0123456789", 15));
        let rest = format!("2812201{}", tape.random.text("0123456789", 13));
        tape.moves(format!("{id}.{}.{}.{ZONE}", masked(&number), masked(&rest)), rtype::A, &answer, 36);
        tape.pause(20.0, 0.8);
    }
}

fn masked(text: &str) -> String {
    hex(&text.bytes().map(|byte| byte ^ 0xaa).collect::<Vec<_>>())
}
