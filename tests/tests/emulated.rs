//! Emulated tools and honest traffic through the binary: what is found and how soon, what is left alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fmt::Debug;

use earthdog::source::{Format, fuzz};
use earthdog_tests::capture::Capture as _;
use earthdog_tests::emulate::{self, Pace};
use earthdog_tests::hazard;
use earthdog_tests::replayed::Sensor;
use earthdog_tests::sensor::binary;

/// Honest traffic of which too much is said, and what; a line goes as soon as that is over.
const NOT_QUIET: &[(&str, hazard::Falls)] = &[];

const SEED: u64 = 1;

#[test]
fn tools_are_found_as_expected() {
    let sensor = Sensor::new(&binary().unwrap()).unwrap();
    let mut is = Vec::new();
    let mut labelled = BTreeSet::new();
    for tool in emulate::ALL {
        let made = tool.make(SEED, Pace::default());
        let records = sensor.findings_of(&made.pcap()).unwrap();
        for label in records.iter().filter_map(|record| record.tool.as_deref()) {
            let same = |text: &str| text.to_lowercase().replace(' ', "");
            assert!(same(tool.name).starts_with(&same(label)), "{} is called {label}", tool.name);
            labelled.insert(tool.name);
        }
        let judged = tool.judge(&made.moved, &records);
        is.push((tool.name, judged.falls, format!("{judged:?}")));
    }
    as_listed(&is, emulate::NOT_YET);
    // Sliver has no form of its own; the rest of the table is no tool's.
    for tool in ["iodine", "dns2tcp", "dnscat2", "dnstt", "cobalt", "ozyman", "dns exfil"] {
        assert!(labelled.iter().any(|name| name.starts_with(tool)), "{tool}: {labelled:?}");
    }
}

#[test]
fn honest_traffic_is_left_alone() {
    let sensor = Sensor::new(&binary().unwrap()).unwrap();
    let mut is = Vec::new();
    for hazard in hazard::ALL {
        let made = hazard.make(SEED);
        let records = sensor.findings_of(&made.pcap()).unwrap();
        let judged = hazard::Judged::of(&made, &records);
        let loudest = records.iter().max_by_key(|record| record.severity);
        let says = loudest.map(|record| format!("{} of {:?}", record.rule, record.zone));
        is.push((hazard.name, judged.falls, format!("{judged:?} {says:?}")));
    }
    as_listed(&is, NOT_QUIET);
}

#[test]
fn the_sensor_reads_every_packet() {
    for tool in emulate::ALL {
        let made = tool.make(SEED, Pace::default());
        let tally = fuzz::one(Format::Pcap, &made.pcap());
        assert_eq!(tally.records, made.datagrams.len() as u64, "{}: {tally:?}", tool.name);
        assert_eq!(tally.events, tally.records, "{}: {tally:?}", tool.name);
    }
}

/// Fails with the lines that a list lacks or has too many.
fn as_listed<F: Copy + PartialEq + Debug>(is: &[(&str, Option<F>, String)], listed: &[(&str, F)]) {
    let listed_as = |name: &str| listed.iter().find(|(of, _)| *of == name).map(|(_, falls)| *falls);
    let mut wrong: Vec<_> = is
        .iter()
        .filter(|(name, falls, _)| *falls != listed_as(name))
        .map(|(name, falls, why)| match (falls, listed_as(name)) {
            (Some(falls), None) => format!("add (\"{name}\", {falls:?}): {why}"),
            (Some(falls), Some(_)) => format!("change (\"{name}\", {falls:?}): {why}"),
            (None, _) => format!("remove (\"{name}\"): {why}"),
        })
        .collect();
    let unknown = listed.iter().filter(|(name, _)| is.iter().all(|(of, ..)| of != name));
    wrong.extend(unknown.map(|(name, _)| format!("remove (\"{name}\"): there is none")));
    assert!(wrong.is_empty(), "the list is not true any more:\n{}", wrong.join("\n"));
}
