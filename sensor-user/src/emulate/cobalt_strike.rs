//! Cobalt Strike's DNS beacon: look-ups of its id, answered with 0.0.0.0 while there is nothing to do; a task comes down
//! in addresses or texts below `cdn.` or `api.`, its output goes up in hexadecimal labels below `post.`.

use std::net::Ipv4Addr;

use super::encode::{base64url, hex};
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "c2-updates.example";
/// Hexadecimal characters of a label, and labels of a query, that the default profile sends.
const LABEL: usize = 56;
const LABELS: usize = 3;

/// Answers in A records: four bytes each.
pub(super) fn addresses(tape: &mut Tape) {
    session(tape, rtype::A);
}

/// Answers in TXT records.
pub(super) fn texts(tape: &mut Tape) {
    session(tape, rtype::TXT);
}

/// An hour of checking in each minute; three tasks.
fn session(tape: &mut Tape, download: u16) {
    let id = hex(&tape.random.bytes(4));
    for minute in 0..60 {
        let task = matches!(minute, 3 | 12 | 40);
        // The last byte says that a task waits and how it is to be fetched.
        let says =
            if task { Ipv4Addr::new(0, 0, 0, if download == rtype::A { 241 } else { 243 }) } else { IDLE };
        tape.moves(format!("{id}.{ZONE}"), rtype::A, &Answer::a(says, 1), 0);
        let checked_in = tape.now;
        if task {
            tape.now += 0.1;
            fetch(tape, &id, download, 64 + minute * 4);
            tape.now += 2.0;
            post(tape, &id, 900);
        }
        tape.now = tape.now.max(checked_in);
        tape.pause(60.0 - (tape.now - checked_in).min(50.0), 0.1);
    }
}

const IDLE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// Its length first, then piece by piece; the counter is the first digit of the number that changes with each task.
fn fetch(tape: &mut Tape, id: &str, download: u16, bytes: usize) {
    let nonce = hex(&tape.random.bytes(4));
    let (prefix, piece) = if download == rtype::A { ("cdn", 4) } else { ("api", 180) };
    let length = Answer::a(Ipv4Addr::from(bytes as u32), 1);
    tape.moves(format!("{prefix}.0{}.{id}.{ZONE}", &nonce[1..]), rtype::A, &length, 0);
    for count in 1..=bytes.div_ceil(piece) {
        tape.pause(0.08, 0.3);
        let data = tape.random.bytes(piece);
        let answer = if download == rtype::A {
            Answer::of(rtype::A, 1, data)
        } else {
            Answer::txt(base64url(&data), 1)
        };
        tape.moves(format!("{prefix}.{count:x}{}.{id}.{ZONE}", &nonce[1..]), download, &answer, piece);
    }
}

/// How much there will be, then the bytes; the digit before a name's hexadecimal labels says how many they are.
fn post(tape: &mut Tape, id: &str, bytes: usize) {
    let nonce = hex(&tape.random.bytes(4));
    let idle = Answer::a(IDLE, 1);
    tape.moves(format!("post.1{bytes:x}.0{}.{id}.{ZONE}", &nonce[1..]), rtype::A, &idle, 2);
    let output = tape.random.bytes(bytes);
    for (index, piece) in output.chunks(LABEL * LABELS / 2).enumerate() {
        tape.pause(0.08, 0.3);
        let labels = piece.chunks(LABEL / 2).map(hex).collect::<Vec<_>>();
        let name =
            format!("post.{}{}.{:x}{}.{id}.{ZONE}", labels.len(), labels.join("."), index + 1, &nonce[1..]);
        tape.moves(name, rtype::A, &idle, piece.len());
    }
}
