//! OzymanDNS: SSH over base 32 labels upwards and TXT downwards; sequence and chance, then `id-`, then the direction.

use super::encode::{base32, base64url, labels};
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "sshdns.remote-desk.example";

/// A shell over it: keys pressed, screens back.
pub(super) fn session(tape: &mut Tape) {
    let id = tape.random.below(65_536);
    for sequence in 0..200 {
        let (up, down) = if sequence < 12 { (110, 150) } else { (36, 60 + tape.random.below(90)) };
        let data = tape.random.bytes(up);
        let name = format!(
            "{}.{sequence}-{}.id-{id}.up.{ZONE}",
            labels(&base32(&data), 60),
            tape.random.below(65_536)
        );
        tape.moves(name, rtype::TXT, &Answer::txt("0", 0), up);
        tape.pause(0.1, 0.5);
        let screen = base64url(&tape.random.bytes(down));
        let name = format!("{sequence}-{}.id-{id}.down.{ZONE}", tape.random.below(65_536));
        tape.moves(name, rtype::TXT, &Answer::txt(screen, 0), down);
        tape.pause(0.8, 0.7);
    }
}
