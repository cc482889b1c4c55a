//! Sliver's DNS implant: protobuf messages in base 58, or in base 32 where a resolver changes letter case, in labels of 63;
//! answers in A (a checksum) and TXT records.

use super::encode::{BASE58, base32, base64url, labels, number};
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "implant.cloud-sync.example";

pub(super) fn in_base58(tape: &mut Tape) {
    session(tape, |bytes| number(BASE58, bytes));
}

pub(super) fn in_base32(tape: &mut Tape) {
    session(tape, base32);
}

/// Key exchange, ten minutes of polling, a file of 2 kB.
fn session(tape: &mut Tape, encode: fn(&[u8]) -> String) {
    let id = tape.random.next() as u32 & 0x00ff_ffff;
    up(tape, encode, 0, id, 240);
    for _ in 0..300 {
        poll(tape, encode, id, 16);
        tape.pause(2.0, 0.2);
    }
    up(tape, encode, 4, id, 2000);
    for _ in 0..20 {
        poll(tape, encode, id, 150);
        tape.pause(0.5, 0.2);
    }
}

/// Fields as (number, value): type, id, start, stop, size and the bytes.
fn message(kind: u32, id: u32, span: (u32, u32, u32), data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, value) in [(1, kind), (2, id), (3, span.0), (4, span.1), (5, span.2)] {
        if value > 0 {
            out.push(field << 3);
            varint(&mut out, value);
        }
    }
    out.push(6 << 3 | 2);
    varint(&mut out, data.len() as u32);
    out.extend(data);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u32) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn name(encode: fn(&[u8]) -> String, message: &[u8]) -> String {
    format!("{}.{ZONE}", labels(&encode(message), 63))
}

fn up(tape: &mut Tape, encode: fn(&[u8]) -> String, kind: u32, id: u32, bytes: usize) {
    let data = tape.random.bytes(bytes);
    let mut start = 0;
    for piece in data.chunks(100) {
        let stop = start + piece.len() as u32;
        let name = name(encode, &message(kind, id, (start, stop, bytes as u32), piece));
        let checksum = tape.random.bytes(4);
        tape.moves(name, rtype::A, &Answer::of(rtype::A, 1, checksum), piece.len());
        start = stop;
        tape.pause(0.06, 0.3);
    }
}

/// Eight bytes of chance keep caches out.
fn poll(tape: &mut Tape, encode: fn(&[u8]) -> String, id: u32, bytes: usize) {
    let (nonce, data) = (tape.random.bytes(8), tape.random.bytes(bytes));
    let name = name(encode, &message(2, id, (0, 0, 0), &nonce));
    tape.moves(name, rtype::TXT, &Answer::txt(base64url(&data), 1), bytes);
}
