//! The sensor's size and how soon it sees: measured from outside, not taken from what it says.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::thread::available_parallelism;
use std::time::Duration;

use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::host::SERVER_V4;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor};
use earthdog_tests::size::Size;
use earthdog_tests::{host, require, serial};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const LIMIT_BYTES: u64 = 40 << 20;
const FIRST_EVENT: Duration = Duration::from_secs(2);

#[test]
fn an_idle_sensor_takes_at_most_40_mb_on_two_cpus() {
    if cfg!(debug_assertions) && std::env::var_os("SENSOR_BIN").is_none() {
        eprintln!(
            "skipped: a debug build's code is thrice as large (set SENSOR_BIN=target/release/earthdog)"
        );
        return;
    }
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let mut sensor = require!(Sensor::start(&client, &[]));
    let pids = sensor.pids();
    assert_eq!(pids.len(), 2, "one attaches, one reads packets");
    let own = Size::of(pids[0]).unwrap().resident;
    let Size { resident, maps, .. } = Size::of_all(&pids).unwrap();
    eprintln!(
        "resident {} KiB where packets are read, and {} KiB more where it attaches",
        own >> 10,
        (resident - own) >> 10
    );
    let cpus = available_parallelism().unwrap();
    eprintln!("resident {} KiB, maps {} KiB, {cpus} CPUs", resident >> 10, maps >> 10);
    assert!(maps > 0, "no maps seen in /proc/PID/fdinfo of {pids:?}");
    assert!(resident > own, "no private pages seen in /proc/{}/smaps_rollup", pids[1]);
    if cpus.get() <= 2 {
        assert!(resident + maps <= LIMIT_BYTES, "{resident} + {maps} bytes");
    } else {
        eprintln!("skipped: the bound is for two CPUs, here are {cpus}");
    }
    let said = sensor.process().wait_for_text("memory", Deadline::secs(5));
    assert!(said.contains("CPU"), "the formula for other CPU counts is missing: {said}");
    sensor.stop();
}

/// The best of three: what other work on the machine adds is not the sensor's.
#[test]
fn the_first_event_comes_within_two_seconds_of_the_start() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let began = now();
        let sensor = require!(Sensor::start(&client, &[]));
        let ready = began.elapsed();
        let mut command = client.command(TRAFFIC);
        command.args(["query", &format!("{SERVER_V4}:53"), "1", "0", "80"]);
        Finished::of(Process::spawn(command));
        let seen =
            Deadline::secs(10).poll(|| sensor.status()["messages"].as_u64().filter(|count| *count > 0));
        let took = began.elapsed();
        assert!(seen.is_some(), "no message seen");
        eprintln!("watching after {ready:?}, first message after {took:?}");
        best = best.min(took);
        sensor.stop();
    }
    assert!(best < FIRST_EVENT, "{best:?}");
}
