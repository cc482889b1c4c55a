//! dnstt: packets of a reliable protocol (KCP) in base 32, TXT; a poll is client id and random padding.

use super::encode::{base32, labels};
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "t.relay-node.example";
/// Length bytes from here on say how much padding follows.
const PADDING: u8 = 224;

/// A page fetched, then polls ever slower, up to one in ten seconds; another page.
pub(super) fn session(tape: &mut Tape) {
    let client = tape.random.bytes(8);
    for _ in 0..3 {
        for _ in 0..30 {
            send(tape, &client, 110, 700);
            tape.pause(0.03, 0.5);
        }
        let mut delay = 0.5;
        for _ in 0..40 {
            send(tape, &client, 0, 0);
            tape.pause(delay, 0.05);
            delay = (delay * 2.0_f64).min(10.0);
        }
    }
}

/// Three bytes of padding with a packet, eight with a poll; KCP's header is 24 bytes, of which few change.
fn send(tape: &mut Tape, client: &[u8], up: usize, down: usize) {
    let padding = if up == 0 { 8 } else { 3 };
    let mut bytes = client.to_vec();
    bytes.push(PADDING + padding);
    bytes.extend(tape.random.bytes(usize::from(padding)));
    if up > 0 {
        bytes.push(up as u8);
        bytes.extend(tape.random.bytes(up));
    }
    let mut answer = Vec::new();
    if down > 0 {
        answer.extend((down as u16).to_be_bytes());
        answer.extend(tape.random.bytes(down));
    }
    let name = format!("{}.{ZONE}", labels(&base32(&bytes), 63));
    tape.moves(name, rtype::TXT, &Answer::txt(answer, 60), up + down);
}
