//! Findings into an HTTP sink with a spool, as fast as it takes them, until it is killed: `spool-feeder URL SPOOL FIRST`.
//! Says on stdout how many of them, from `FIRST` on, are in the spool.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use earthdog::config::{Config, OcsfVersion};
use earthdog::sink::{About, Sinks};
use earthdog_tests::deadline::Deadline;
use earthdog_tests::outputs;

/// Taken in by the spool between two looks at how many those are.
const STEP: u64 = 8;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [url, spool, first] = &words[..] else {
        eprintln!("usage: spool-feeder URL SPOOL FIRST");
        return ExitCode::FAILURE;
    };
    let text = format!(
        "[[sink]]\ntype = \"http\"\nto = \"{url}\"\nspool = \"{spool}\"\nbatch = 64\ntimeout_s = 2\n"
    );
    match feed(&text, first) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spool-feeder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn feed(config: &str, first: &str) -> Result<(), String> {
    let config = Config::parse(config, "argument").map_err(|error| error.message)?;
    let about = About { hostname: None, ocsf: OcsfVersion::V1_1 };
    let (sinks, news) = Sinks::start(&config, &about)?;
    // A record that the kill before cut in two was not said to be taken in.
    for line in news {
        eprintln!("spool-feeder: {line}");
    }
    let mut finding = outputs::of_process(b"x").findings.remove(0);
    let first: u64 = first.parse().map_err(|error| format!("FIRST: {error}"))?;
    let mut number = first;
    loop {
        for _ in 0..STEP {
            finding.id = format!("finding-{number}");
            sinks.finding(&finding);
            number += 1;
        }
        let taken_in =
            || sinks.status()[0]["spool"]["taken_in"].as_u64().filter(|count| *count >= number - first);
        let count =
            Deadline::after(Duration::from_secs(20)).poll(taken_in).ok_or("the spool takes nothing")?;
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{count}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
}
