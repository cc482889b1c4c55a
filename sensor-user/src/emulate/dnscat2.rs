//! dnscat2: packets in hexadecimal labels; TXT, CNAME and MX in turn by chance, one each second.

use std::net::Ipv4Addr;

use super::encode::{hex, labels};
use super::tape::{Answer, Tape};
use crate::emulate::message::{Name, rtype};

/// Where its names go: below a zone, or below nothing, straight to the server.
#[derive(Clone, Copy)]
enum To {
    Zone,
    Server,
}

pub(super) fn encrypted(tape: &mut Tape) {
    session(tape, To::Zone, true);
}

pub(super) fn plain(tape: &mut Tape) {
    session(tape, To::Zone, false);
}

pub(super) fn direct(tape: &mut Tape) {
    tape.server = Ipv4Addr::new(203, 0, 113, 66);
    session(tape, To::Server, true);
}

/// A handshake, five minutes of idling, the output of a command, and idling again.
fn session(tape: &mut Tape, to: To, encrypted: bool) {
    let id = tape.random.bytes(2);
    if encrypted {
        // Two negotiation packets with a public key of 64 bytes each.
        for _ in 0..2 {
            packet(tape, to, &id, 64 + 4, 64 + 4);
        }
    }
    // A signature of six bytes, a nonce of two; sequence and acknowledgement in every message.
    let overhead = if encrypted { 8 + 4 } else { 4 };
    for _ in 0..300 {
        packet(tape, to, &id, overhead, overhead);
        tape.pause(1.0, 0.02);
    }
    for _ in 0..20 {
        packet(tape, to, &id, overhead + 90, overhead);
        tape.pause(0.05, 0.4);
    }
    for _ in 0..100 {
        packet(tape, to, &id, overhead, overhead);
        tape.pause(1.0, 0.02);
    }
}

/// Packet id, type and session id before the rest.
fn packet(tape: &mut Tape, to: To, id: &[u8], up: usize, down: usize) {
    let mut make = |bytes| [&tape.random.bytes(2)[..], &[1], id, &tape.random.bytes(bytes)].concat();
    let (query, answer) = (make(up), make(down));
    let name = |bytes: &[u8]| {
        let text = labels(&hex(bytes), 60);
        match to {
            To::Zone => format!("{text}.node-status.example"),
            To::Server => format!("dnscat.{text}"),
        }
    };
    let qtype = [rtype::TXT, rtype::CNAME, rtype::MX][tape.random.below(3)];
    let target = Name::from(name(&answer));
    let answer = match qtype {
        rtype::TXT => Answer::txt(hex(&answer), 60),
        rtype::MX => Answer::of(rtype::MX, 60, [&[0, 10], target.as_bytes()].concat()),
        _ => Answer::of(rtype::CNAME, 60, target.as_bytes()),
    };
    tape.moves(name(&query), qtype, &answer, up + down);
}
