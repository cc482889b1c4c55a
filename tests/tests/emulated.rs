//! Emulated tools and honest traffic through the binary: what is found and how soon, what is left alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::emulate::{self, Falls, Pace};
use earthdog_tests::replayed::Sensor;
use earthdog_tests::sensor::binary;

/// Not yet found as it should be, and what falls short. A line goes as soon as the detectors are that far: the test fails
/// where it is not true any more.
const NOT_YET: &[(&str, Falls)] = &[
    ("txt commands, fixed names", Falls::Missed),
    ("txt download, numbered names", Falls::Late),
    ("data in the registered label", Falls::Missed),
    ("code book, hosts of a tenant", Falls::Late),
    ("code book, tenants", Falls::Missed),
    ("edns padding", Falls::Missed),
    ("edns cookie", Falls::Missed),
    ("edns unknown option", Falls::Missed),
    ("bytes behind the message", Falls::Missed),
    ("base 32, 4 kB a day", Falls::Missed),
    ("base 32, 1 kB a day", Falls::Missed),
    ("base 32, 256 B a day", Falls::Missed),
    ("hex, 4 kB a day", Falls::Missed),
    ("hex, 1 kB a day", Falls::Missed),
    ("hex, 256 B a day", Falls::Missed),
    ("over 20 zones", Falls::Late),
    ("over 20 clients", Falls::Late),
    ("download in AAAA", Falls::Missed),
    ("download in A", Falls::Missed),
    ("download in TTLs", Falls::Missed),
    ("beacon, 1 min", Falls::Missed),
    ("beacon, 1 min, 20 %", Falls::Missed),
    ("beacon, 1 min, 50 %", Falls::Missed),
    ("beacon, 10 min", Falls::Missed),
    ("beacon, 10 min, 20 %", Falls::Missed),
    ("beacon, 10 min, 50 %", Falls::Missed),
    ("beacon, 60 min", Falls::Missed),
    ("beacon, 60 min, 20 %", Falls::Missed),
    ("beacon, 60 min, 50 %", Falls::Missed),
    ("dga, letters", Falls::Missed),
    ("dga, hashes", Falls::Missed),
    ("dga, letters and digits", Falls::Missed),
    ("dga, six letters", Falls::Missed),
    ("dga, syllables", Falls::Missed),
    ("dga, dictionary", Falls::Missed),
    ("reverse sweep", Falls::Missed),
    ("subdomain enumeration", Falls::Overrated),
    ("random-subdomain flood", Falls::Overrated),
    ("amplification", Falls::Missed),
    ("fast flux", Falls::Missed),
    ("rebinding", Falls::Missed),
    ("dns calculation", Falls::Missed),
];

const SEED: u64 = 1;

#[test]
fn tools_are_found_as_expected() {
    let sensor = Sensor::new(&binary().unwrap()).unwrap();
    let mut wrong = Vec::new();
    for tool in emulate::ALL {
        let made = tool.make(SEED, Pace::default());
        let judged = tool.judge(&made.moved, &sensor.findings_of(&made.pcap()).unwrap());
        let listed = NOT_YET.iter().find(|(name, _)| *name == tool.name).map(|(_, falls)| *falls);
        if judged.falls == listed {
            continue;
        }
        let line = match judged.falls {
            Some(falls) => format!("add    (\"{}\", Falls::{falls:?}),", tool.name),
            None => format!("remove (\"{}\", …),", tool.name),
        };
        let listed = listed.map(|listed| format!(" (now {listed:?})")).unwrap_or_default();
        let first = judged.first.map(|first| format!("{first:?}")).unwrap_or_default();
        wrong.push(format!("{line}{listed}  {first} {:?} others {:?}", judged.own, judged.others));
    }
    assert!(wrong.is_empty(), "NOT_YET is not true:\n{}", wrong.join("\n"));
    let unknown: Vec<_> =
        NOT_YET.iter().filter(|(name, _)| emulate::ALL.iter().all(|tool| tool.name != *name)).collect();
    assert!(unknown.is_empty(), "no such tool: {unknown:?}");
}
