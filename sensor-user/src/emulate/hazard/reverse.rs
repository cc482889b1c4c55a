//! Addresses asked for by name, by programs that read logs.

use std::net::Ipv4Addr;

use crate::emulate::background::public;
use crate::emulate::message::{Name, rtype};
use crate::emulate::{Answer, Tape, words};

const HOUR: f64 = 3600.0;

fn named(tape: &mut Tape) -> Answer {
    if tape.random.chance(0.4) {
        return Answer::nxdomain();
    }
    let host = format!(
        "{}-{}.{}.example",
        words::word(&mut tape.random),
        tape.random.below(255),
        words::word(&mut tape.random)
    );
    Answer::of(rtype::PTR, 3600, Name::from(host).as_bytes())
}

/// Each hour the day's visitors: 500 addresses within three minutes, some of them regulars and one network in front.
pub(super) fn visitors(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 80);
    let regulars: Vec<_> = (0..100).map(|_| public(&mut tape.random)).collect();
    for hour in 0..6 {
        tape.now = f64::from(hour) * HOUR;
        for _ in 0..500 {
            let [a, b, c, d] = match tape.random.below(5) {
                0 => regulars[tape.random.below(regulars.len())].octets(),
                1 => [66, 249, 64 + tape.random.below(8) as u8, tape.random.byte()],
                _ => public(&mut tape.random).octets(),
            };
            let answer = named(tape);
            tape.lookup(format!("{d}.{c}.{b}.{a}.in-addr.arpa"), rtype::PTR, &answer);
            tape.now += tape.random.pause(0.35);
        }
    }
}

/// The same over IPv6: hosts of a hundred networks, and a network of its own whose hosts change their addresses for
/// privacy (RFC 8981).
pub(super) fn nibbles(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 81);
    let networks: Vec<_> = (0..100).map(|_| [&[0x2a, 0x02][..], &tape.random.bytes(6)].concat()).collect();
    let own = vec![0x20, 0x01, 0x0d, 0xb8, 0x00, 0x10, 0x00, 0x01];
    for hour in 0..6 {
        tape.now = f64::from(hour) * HOUR;
        for _ in 0..120 {
            let network =
                if tape.random.chance(0.3) { &own } else { &networks[tape.random.below(networks.len())] };
            let address = [&network[..], &tape.random.bytes(8)].concat();
            let digits = address.iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let digits: Vec<_> = digits.map(|digit| format!("{digit:x}")).collect();
            let answer = named(tape);
            tape.lookup(format!("{}.ip6.arpa", digits.join(".")), rtype::PTR, &answer);
            tape.now += tape.random.pause(1.0);
        }
    }
}

/// Unicast service discovery in reverse zones (RFC 6763 section 11): what every Apple device asks when it joins.
pub(super) fn browse_domains(tape: &mut Tape) {
    for client in 0..40 {
        tape.be(client);
        tape.now = tape.random.between(0.0, HOUR);
        for _ in 0..6 {
            for kind in ["b", "db", "r", "dr", "lb"] {
                let name = format!("{kind}._dns-sd._udp.0.{}.20.10.in-addr.arpa", client / 20);
                tape.lookup(name, rtype::PTR, &Answer::nxdomain());
                tape.now += tape.random.between(0.001, 0.05);
            }
            tape.now += tape.random.pause(1800.0);
        }
    }
}
