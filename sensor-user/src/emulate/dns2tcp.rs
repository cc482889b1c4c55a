//! dns2tcp: base 64 names with session, sequence and acknowledgement before the data, TXT; it polls while it is idle.

use super::encode::{base64url, labels};
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "d.partner-portal.example";

pub(super) fn session(tape: &mut Tape) {
    let session = tape.random.bytes(2);
    for command in ["auth", "auth", "resource", "connect"] {
        let name =
            format!("{}.={command}.{ZONE}", base64url(&[&session, &tape.random.bytes(22)[..]].concat()));
        tape.moves(name, rtype::TXT, &Answer::txt("AAAAAAAAAAA", 3), 22);
        tape.pause(0.05, 0.3);
    }
    let mut sequence = 0_u16;
    for round in 0..600 {
        // An SSH login, then a command now and then.
        let busy = round < 40 || round % 100 > 80;
        let (up, down) = if busy { (48, 120) } else { (0, 0) };
        sequence += 1;
        let header = [&session[..], &sequence.to_be_bytes(), &[0, 1, 3]].concat();
        let query = [&header[..], &tape.random.bytes(up)].concat();
        let reply = [&header[..], &tape.random.bytes(down)].concat();
        tape.moves(
            format!("{}.{ZONE}", labels(&base64url(&query), 63)),
            rtype::TXT,
            &Answer::txt(base64url(&reply), 3),
            up + down,
        );
        if busy { tape.pause(0.08, 0.5) } else { tape.pause(0.5, 0.1) }
    }
}
