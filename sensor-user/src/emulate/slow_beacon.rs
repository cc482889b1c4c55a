//! A sign of life of four bytes, at long and more or less regular intervals.

use std::net::Ipv4Addr;

use super::encode::hex;
use super::tape::{Answer, Tape};
use crate::emulate::message::rtype;

const ZONE: &str = "metrics-relay.example";
const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

fn beacon(tape: &mut Tape, every: f64, jitter: f64, for_seconds: f64) {
    let id = hex(&tape.random.bytes(3));
    let mut elapsed = 0.0;
    while elapsed < for_seconds {
        let name = format!("{}.{id}.{ZONE}", hex(&tape.random.bytes(4)));
        tape.moves(name, rtype::A, &Answer::a(Ipv4Addr::LOCALHOST, 5), 4);
        tape.pause(every, jitter);
        elapsed += every;
    }
}

pub(super) fn each_minute(tape: &mut Tape) {
    beacon(tape, MINUTE, 0.0, 4.0 * HOUR);
}

pub(super) fn each_minute_20(tape: &mut Tape) {
    beacon(tape, MINUTE, 0.2, 4.0 * HOUR);
}

pub(super) fn each_minute_50(tape: &mut Tape) {
    beacon(tape, MINUTE, 0.5, 4.0 * HOUR);
}

pub(super) fn each_ten_minutes(tape: &mut Tape) {
    beacon(tape, 10.0 * MINUTE, 0.0, 24.0 * HOUR);
}

pub(super) fn each_ten_minutes_20(tape: &mut Tape) {
    beacon(tape, 10.0 * MINUTE, 0.2, 24.0 * HOUR);
}

pub(super) fn each_ten_minutes_50(tape: &mut Tape) {
    beacon(tape, 10.0 * MINUTE, 0.5, 24.0 * HOUR);
}

pub(super) fn each_hour(tape: &mut Tape) {
    beacon(tape, HOUR, 0.0, 48.0 * HOUR);
}

pub(super) fn each_hour_20(tape: &mut Tape) {
    beacon(tape, HOUR, 0.2, 48.0 * HOUR);
}

pub(super) fn each_hour_50(tape: &mut Tape) {
    beacon(tape, HOUR, 0.5, 48.0 * HOUR);
}
