//! kill -9 of the whole sensor at any moment, under load: the store opens, the spool goes on, and what was taken in is
//! there.
//!
//! Short in the test run; `cargo test --release -p earthdog-tests --test kills -- --ignored --nocapture` kills a hundred
//! times.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use earthdog_tests::collector::{Collector, Mode};
use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::SERVER_V4;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::sinks::{parsed, sinks, status};
use earthdog_tests::{host, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/earthdog.toml";
const SPOOL: &str = "/run/spool";
const ZONE: &str = "leak.example";
/// Look-ups.
const PER_SECOND: u64 = 50;

#[test]
fn whatever_moment_it_is_killed_at_nothing_taken_in_is_lost() {
    kill(12);
}

#[test]
#[ignore = "takes minutes: a hundred kills"]
fn a_hundred_kills_lose_nothing_that_was_taken_in() {
    kill(100);
}

fn kill(rounds: u64) {
    let _alone = serial::lock();
    require!(binary());
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    // Nobody listens there: everything stays in the spool.
    let sink = format!("[[sink]]\ntype = \"http\"\nto = \"http://127.0.0.1:9/\"\nspool = \"{SPOOL}\"\n");
    std::fs::write(client.file(CONFIG), sink).unwrap();
    // It ends by itself after two minutes.
    let leaks = || {
        let mut command = client.command(TRAFFIC);
        let gap_us = (1_000_000 / PER_SECOND).to_string();
        command.args(["leak", &format!("{SERVER_V4}:53"), "100000", &gap_us]);
        Process::spawn(command)
    };
    let mut leak = leaks();
    let remembered = || {
        let mut command = client.command(binary().unwrap());
        command.args(["pdns", ZONE, "--output", "json", "-c", CONFIG]);
        let told = Finished::of(Process::spawn(command));
        let told: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{}", told.stderr));
        told["zone_seen"]["lookups"].as_u64().unwrap_or(0)
    };

    let (mut taken_in, mut kept) = (0, 0);
    for round in 0..rounds {
        let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
        let spool = |sensor: &Sensor| sensor.status()["sinks"][0]["spool"].clone();
        let there = spool(&sensor)["records"].as_u64().unwrap();
        assert!(there >= taken_in, "round {round}: {there} of {taken_in} records are in the spool");
        let status = sensor.status();
        assert_eq!(status["store"]["error"], Value::Null, "round {round}: {:#}", status["store"]);
        let some = Deadline::secs(20).poll(|| {
            if leak.ended().is_some() {
                leak = leaks();
            }
            (spool(&sensor)["taken_in"].as_u64() > Some(0)).then_some(())
        });
        assert!(some.is_some(), "round {round}: no finding: {:#}", sensor.status());
        // Another moment each time, over more than a second: the store is written once in one.
        let _ = Deadline::after(Duration::from_millis(round * 97 % 1300)).poll(|| None::<()>);
        let before = remembered();
        // None is delivered.
        taken_in = spool(&sensor)["records"].as_u64().unwrap();
        sensor.process().signal("KILL");
        sensor.process().wait(Deadline::secs(10));
        let after = remembered();
        // A second, and what the tick after it was late by.
        assert!(
            after + 2 * PER_SECOND >= before,
            "round {round}: {after} of {before} look-ups are remembered"
        );
        assert!(after >= kept, "round {round} took what was remembered: {after} of {kept}");
        kept = after;
    }
    let damaged = client.run("find /var/lib/earthdog -name *damaged*");
    assert_eq!(damaged, "", "a store was set aside");

    let collector = Collector::start(Mode::Takes);
    let (url, spool) = (collector.url("/"), client.file(SPOOL));
    let mut last = sinks(&format!(
        "[[sink]]\ntype = \"http\"\nto = \"{url}\"\ntimeout_s = 1\nspool = \"{}\"\n",
        spool.display()
    ));
    let empty = Deadline::secs(60).poll(|| Some(status(&last)).filter(|s| s["spool"]["records"] == 0));
    empty.unwrap_or_else(|| panic!("never empty: {:#}", status(&last)));
    last.finish();
    let records = parsed(&collector.lines());
    println!(
        "{rounds} kills: {taken_in} records taken in, {} delivered, {kept} look-ups remembered",
        records.len()
    );
    assert!(kept >= rounds * PER_SECOND / 5, "{kept} look-ups remembered");
    assert!(records.len() as u64 >= taken_in && taken_in >= rounds, "{} of {taken_in}", records.len());
    assert!(records.iter().all(|record| record["zone"] == ZONE && record["schema"].is_u64()));
}
