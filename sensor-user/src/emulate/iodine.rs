//! iodine: a handshake in names, then packets in NULL or TXT; or, where the server can be reached, datagrams that are no
//! DNS at all.

use std::net::Ipv4Addr;

use super::encode::{BASE32, base64url, bits};
use super::tape::{Answer, Tape};
use crate::emulate::message::{Name, rtype};

const ZONE: &str = "t.field-office.example";
/// First bytes of a datagram in raw mode; command and user follow in one byte.
const RAW: [u8; 3] = [0x10, 0xd1, 0x9e];
const LOGIN: u8 = 0x10;
const DATA: u8 = 0x20;
const PING: u8 = 0x30;

pub(super) fn null(tape: &mut Tape) {
    handshake(tape, rtype::NULL);
    packets(tape, rtype::NULL, 900);
}

pub(super) fn texts(tape: &mut Tape) {
    handshake(tape, rtype::TXT);
    packets(tape, rtype::TXT, 180);
}

/// After the login by names everything else is raw: a ping every few seconds, packets in between.
pub(super) fn raw(tape: &mut Tape) {
    tape.server = Ipv4Addr::new(203, 0, 113, 53);
    handshake(tape, rtype::NULL);
    let port = 40_000 + tape.random.below(20_000) as u16;
    let frame = |command: u8, body: &[u8]| [&RAW, &[command][..], body].concat();
    let digest = tape.random.bytes(16);
    let reply = frame(LOGIN, &tape.random.bytes(16));
    tape.moves_raw(&frame(LOGIN, &digest), Some(&reply), port, 16);
    for round in 0..120 {
        tape.moves_raw(&frame(PING, &[]), Some(&frame(PING, &[])), port, 0);
        tape.pause(4.0, 0.1);
        if round % 10 == 5 {
            for _ in 0..20 {
                let (up, down) =
                    (frame(DATA, &tape.random.bytes(120)), frame(DATA, &tape.random.bytes(1100)));
                tape.moves_raw(&up, Some(&down), port, 1220);
                tape.pause(0.03, 0.5);
            }
        }
    }
}

fn answer(qtype: u16, data: Vec<u8>) -> Answer {
    if qtype == rtype::TXT {
        Answer::txt(format!("t{}", base64url(&data)), 0)
    } else {
        Answer::of(qtype, 0, data)
    }
}

/// Version, login, address, codecs up and down, options, fragment size.
fn handshake(tape: &mut Tape, qtype: u16) {
    for (command, up, down) in [
        ("v", 6, 9),
        ("l", 19, 40),
        ("i", 2, 5),
        ("z", 40, 40),
        ("z", 40, 40),
        ("s", 2, 6),
        ("y", 3, 48),
        ("o", 2, 8),
    ] {
        step(tape, qtype, command, up, down);
    }
    for size in [768, 384, 576, 672] {
        step(tape, qtype, "r", 5, if qtype == rtype::NULL { size } else { size / 4 });
    }
    step(tape, qtype, "n", 4, 2);
}

fn step(tape: &mut Tape, qtype: u16, command: &str, up: usize, down: usize) {
    let (query, reply) = (tape.random.bytes(up), tape.random.bytes(down));
    let text = format!("{command}{}", bits(BASE32, &query));
    let name = text.as_bytes().chunks(57).fold(Name::new(), Name::label);
    tape.moves(name.raw(Name::from(ZONE).as_bytes()), qtype, &answer(qtype, reply), up + down);
    tape.pause(0.04, 0.4);
}

/// Pages fetched, with pings between them.
fn packets(tape: &mut Tape, qtype: u16, down: usize) {
    // Base 128: letters, digits and 0xbc to 0xfd.
    let alphabet: Vec<u8> =
        (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9').chain(0xbc..=0xfd).take(128).collect();
    for round in 0..400 {
        let busy = round % 40 < 20;
        let (up, down) = if busy { (100, down) } else { (4, 2) };
        let mut text: Vec<u8> = if busy { b"0abcd".to_vec() } else { b"p".to_vec() };
        let characters = if busy { up * 8 / 7 } else { up * 8 / 5 };
        text.extend((0..characters).map(|_| {
            let among = if busy { alphabet.len() } else { 26 };
            alphabet[tape.random.below(among)]
        }));
        let name = text.chunks(57).fold(Name::new(), Name::label).raw(Name::from(ZONE).as_bytes());
        let reply = tape.random.bytes(down);
        tape.moves(name, qtype, &answer(qtype, reply), up + down);
        if busy { tape.pause(0.04, 0.5) } else { tape.pause(4.0, 0.1) }
    }
}
