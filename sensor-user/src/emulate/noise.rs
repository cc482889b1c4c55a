//! Attacks that are no leaks: looking around, floods, amplification.

use std::net::Ipv4Addr;

use super::tape::{Answer, Tape};
use super::words;
use crate::emulate::message::{Name, rtype, txt};

/// Every address of four networks, one after the other.
pub(super) fn reverse_sweep(tape: &mut Tape) {
    for network in 0..4 {
        for host in 1..255 {
            let answer = if tape.random.chance(0.2) {
                Answer::of(rtype::PTR, 3600, Name::from(format!("host{host}.lab.example")).as_bytes())
            } else {
                Answer::nxdomain()
            };
            tape.moves(format!("{host}.{network}.168.192.in-addr.arpa"), rtype::PTR, &answer, 0);
            tape.pause(0.05, 0.5);
        }
    }
}

/// Which names of a long list a zone has.
pub(super) fn enumeration(tape: &mut Tape) {
    let names = words::all();
    let tails = ["", "1", "2", "-dev", "-test", "-old", "-vpn", "01"];
    for tail in tails {
        for name in names {
            let address = [203, 0, 113, tape.random.byte()];
            let answer = if tape.random.chance(0.02) { Answer::a(address, 300) } else { Answer::nxdomain() };
            tape.moves(format!("{name}{tail}.target-company.example"), rtype::A, &answer, 0);
            tape.pause(0.02, 0.5);
        }
    }
}

/// Random names of a victim's zone, so that no cache helps its servers; many stay without an answer.
pub(super) fn random_names(tape: &mut Tape) {
    for _ in 0..3000 {
        tape.be(tape.random.clone().below(30));
        let length = 6 + tape.random.below(7);
        let label = tape.random.text("abcdefghijklmnopqrstuvwxyz", length);
        let answer = if tape.random.chance(0.7) { Answer::silent() } else { Answer::failed(2) };
        tape.moves(format!("{label}.victim-shop.example"), rtype::A, &answer, 0);
        tape.pause(0.02, 0.5);
    }
}

/// Large answers to addresses that never asked: the server is an open resolver, the clients are the victims.
pub(super) fn amplification(tape: &mut Tape) {
    tape.server = Ipv4Addr::new(10, 20, 0, 9);
    let record = txt(&tape.random.bytes(1000));
    let answer = Answer::of(rtype::TXT, 3600, record).and(rtype::A, 3600, [198, 51, 100, 3]);
    for _ in 0..3000 {
        tape.client = Ipv4Addr::new(203, 0, 113, 10 + tape.random.below(3) as u8);
        tape.moves("all-records.example", rtype::ANY, &answer, 0);
        tape.pause(0.02, 0.5);
    }
}
