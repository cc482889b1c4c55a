//! Scanners that ask their maker about files by hash. The forms are those of three makers, as published where people
//! wondered about them; the zones are invented. An update makes hosts ask for a minute or two, then some tens an hour
//! are left, many for files that others have too.

use crate::emulate::encode::base32;
use crate::emulate::message::rtype;
use crate::emulate::{Answer, Tape};

const HOUR: f64 = 3600.0;
const HOSTS: usize = 8;
const HOURS: f64 = 4.0;

/// 26 characters for a hash, an address of the loopback network for an answer.
pub(super) fn hashes(tape: &mut Tape) {
    scanners(
        tape,
        30.0,
        |hash| format!("{}.avqs.scan-labs.example", base32(hash)),
        |verdict| (rtype::A, Answer::a([127, 0, [4, 0, 16][verdict], 8 * verdict as u8], 3600)),
    );
}

/// Two labels of a longer code, letters that say what it is, a short text for an answer.
pub(super) fn codes(tape: &mut Tape) {
    let name = |hash: &[u8]| {
        let code = base32(&[hash, &hash[..12], &[1, 2, 1, 2]].concat());
        format!("{}.{}.a.j.e9.example", &code[..code.len() - 12], &code[code.len() - 12..])
    };
    scanners(tape, 20.0, name, |verdict| {
        (rtype::TXT, Answer::txt(["a=1 t=86400", "a=2", "a=9"][verdict], 3600))
    });
}

/// A version digit, up to four labels of hexadecimal digits of which the letters are shifted, the platform.
pub(super) fn shifted_digits(tape: &mut Tape) {
    let name = |hash: &[u8]| {
        let digits: String = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect();
        format!("3.1o19sr00s2s17s4{}.{}.{}.i.01.win.xl-scan.example", &digits[..20], &digits[4..32], &digits)
    };
    scanners(tape, 12.0, name, |verdict| {
        (rtype::TXT, Answer::txt(["w t i 0", "w u 1", "b 2"][verdict], 600))
    });
    // Each also reports how it is, in one of few names.
    for host in 0..HOSTS {
        tape.be(host);
        tape.now = tape.random.between(0.0, 60.0);
        while tape.now < HOURS * HOUR {
            let counts = format!("0.0.3.0.0.0.0.0.0.{}.0.0.0.0.1.01.00", tape.random.below(4));
            tape.lookup(
                format!("{counts}.f.01.win.xl-scan.example"),
                rtype::A,
                &Answer::a([127, 0, 0, 1], 60),
            );
            tape.now += tape.random.between(280.0, 320.0);
        }
    }
}

/// A hexadecimal digit whose letters are thirteen further on.
fn digit(value: u8) -> char {
    char::from(if value < 10 { b'0' + value } else { b'n' + value - 10 })
}

/// `an_hour` look-ups by each host, and sixty after an update.
fn scanners(tape: &mut Tape, an_hour: f64, name: fn(&[u8]) -> String, answer: fn(usize) -> (u16, Answer)) {
    // Files that came with the update or with a program that everybody has.
    let common: Vec<_> = (0..120).map(|_| tape.random.bytes(16)).collect();
    for host in 0..HOSTS {
        tape.be(host);
        let own: Vec<_> = (0..30).map(|_| tape.random.bytes(16)).collect();
        let update = tape.random.between(0.2, 3.0) * HOUR;
        let mut times: Vec<_> = (0..60).map(|_| update + tape.random.between(0.0, 110.0)).collect();
        let mut at = tape.random.pause(HOUR / an_hour);
        while at < HOURS * HOUR {
            times.push(at);
            at += tape.random.pause(HOUR / an_hour);
        }
        for at in times {
            tape.now = at;
            let file = match tape.random.below(10) {
                0..5 => common[tape.random.below(common.len())].clone(),
                5..7 => own[tape.random.below(own.len())].clone(),
                _ => tape.random.bytes(16),
            };
            let (qtype, answer) = answer(usize::from(file[0]) % 3);
            tape.lookup(name(&file), qtype, &answer);
        }
    }
}
