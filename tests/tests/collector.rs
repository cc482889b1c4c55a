//! Records over HTTP: whatever goes wrong at the collector, on the disk or with the sensor.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use earthdog::config::{Config, OcsfVersion};
use earthdog::sink::{About, Sinks};
use earthdog_tests::collector::{Collector, Mode};
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::outputs::of_process;
use earthdog_tests::process::{Process, Stream};
use earthdog_tests::require;
use earthdog_tests::sinks::{
    HERE, certificates, count, delivered, hostile, lost, numbered, parsed, sinks, status,
};
use serde_json::Value;

/// A sink of a collector, with its spool in a folder.
fn http(collector: &Collector, spool: &Path, more: &str) -> Sinks {
    let url = collector.url("/in?key=secret");
    sinks(&format!(
        "[[sink]]\ntype = \"http\"\nto = \"{url}\"\ntimeout_s = 1\nbatch = 16\nspool = \"{}\"\n{more}",
        spool.display()
    ))
}

#[test]
fn a_collector_gets_every_record_whatever_goes_wrong_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let one = of_process(b"x").findings.remove(0);
    for mode in [
        Mode::Status(500),
        Mode::Status(429),
        Mode::Status(302),
        Mode::Silent,
        Mode::Resets,
        Mode::HangsUp,
        Mode::Babbles,
    ] {
        let collector = Collector::start(mode);
        let spool = dir.path().join(format!("{mode:?}"));
        let mut sinks = http(&collector, &spool, &format!("token_file = \"{}\"\n", token.display()));
        let begun = now();
        (0..40).for_each(|number| sinks.finding(&numbered(&one, number)));
        assert!(begun.elapsed() < Duration::from_millis(500), "{mode:?}: the pipeline waited");
        let failing =
            Deadline::secs(10).poll(|| Some(status(&sinks)).filter(|s| count(s, "failed_attempts") > 0));
        let failing = failing.unwrap_or_else(|| panic!("{mode:?}: {:#}", status(&sinks)));
        assert_eq!(count(&failing, "delivered"), 0, "{mode:?}: {failing:#}");
        assert!(!failing["to"].as_str().unwrap().contains("secret"), "{failing:#}");
        assert!(sinks.news()[0].contains("is tried again"));
        collector.mode(Mode::Takes);
        let done = delivered(&sinks, 40);
        assert_eq!((lost(&done), done["error"].is_null()), (0, true), "{mode:?}: {done:#}");
        assert!(sinks.news()[0].contains("takes records again"));
        let ids: Vec<_> = parsed(&collector.lines())
            .iter()
            .map(|record| record["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids, (0..40).map(|number| format!("finding-{number}")).collect::<Vec<_>>(), "{mode:?}");
        let heads = collector.heads();
        for says in ["POST /in?key=secret HTTP/1.1", "Authorization: Bearer s3cret", "application/x-ndjson"] {
            assert!(heads[0].contains(says), "{heads:?}");
        }
        assert!(sinks.finish().is_empty());
    }
}

#[test]
fn a_collector_over_tls_is_trusted_by_its_authority_and_its_name() {
    let of = |names: &str| {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path(), names)?;
        let at = |name: &str| dir.path().join(name);
        let collector = Collector::tls(Mode::Takes, &at("server.pem"), &at("server.key")).unwrap();
        let to = format!("https://localhost:{}/", collector.address.port());
        let (ca, spool) = (at("ca.pem").display().to_string(), at("spool").display().to_string());
        let text = format!("type = \"http\"\nto = \"{to}\"\nca = \"{ca}\"\nspool = \"{spool}\"\n");
        Ok::<_, String>((sinks(&format!("[[sink]]\n{text}")), collector, dir))
    };
    let findings = hostile();
    let (mut good, collector, _dir) = require!(of(HERE));
    for (number, finding) in findings.iter().enumerate() {
        good.finding(finding);
        delivered(&good, number + 1);
    }
    assert_eq!(parsed(&collector.lines()).len(), findings.len());
    assert!(good.finish().is_empty());
    let (mut wrong, collector, _dir) = require!(of("DNS:elsewhere.example"));
    wrong.finding(&findings[0]);
    let refused = Deadline::secs(10).poll(|| Some(status(&wrong)).filter(|s| s["error"].is_string()));
    let refused = refused.unwrap_or_else(|| panic!("{:#}", status(&wrong)));
    assert!(refused["error"].as_str().unwrap().contains("not valid for name"), "{refused:#}");
    assert_eq!((count(&refused["spool"], "records"), collector.requests()), (1, 0), "{refused:#}");
    wrong.finish();
}

#[test]
fn what_a_collector_will_never_take_is_counted_and_the_rest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let one = of_process(b"x").findings.remove(0);
    for (mode, refused) in [(Mode::OneByOne, 0), (Mode::Dislikes("finding-7\""), 1)] {
        let collector = Collector::start(mode);
        let mut sinks = http(&collector, &dir.path().join(format!("{refused}")), "");
        (0..20).for_each(|number| sinks.finding(&numbered(&one, number)));
        let done = delivered(&sinks, 20 - refused);
        assert_eq!(lost(&done), refused as u64, "{done:#}");
        assert_eq!(done["lost"].get("refused").is_some(), refused > 0, "{done:#}");
        assert_eq!(collector.distinct(), 20 - refused);
        assert!(sinks.finish().is_empty());
    }
}

#[test]
fn what_waits_at_a_dead_collector_goes_after_a_restart_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let one = of_process(b"x").findings.remove(0);
    let collector = Collector::start(Mode::Takes);
    let address = collector.address;
    let mut first = http(&collector, dir.path(), "");
    first.finding(&numbered(&one, 0));
    delivered(&first, 1);
    drop(collector);
    (1..30).for_each(|number| first.finding(&numbered(&one, number)));
    let begun = now();
    let says = first.finish();
    assert!(says[0].contains("29 records wait in its spool"), "{says:?}");
    assert!(begun.elapsed() < Duration::from_secs(6));
    drop(first);

    let collector = Collector::at(address, Mode::Takes).unwrap();
    let mut second = http(&collector, dir.path(), "");
    second.finding(&numbered(&one, 30));
    delivered(&second, 30);
    let ids: Vec<_> =
        parsed(&collector.lines()).iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (1..=30).map(|number| format!("finding-{number}")).collect::<Vec<_>>());
    assert!(second.finish().is_empty());
}

/// A hundred kills at any moment: what the spool had taken in is delivered, if need be twice.
#[test]
fn nothing_taken_in_is_lost_to_a_kill() {
    const ROUNDS: usize = 100;
    const A_ROUND: usize = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(Mode::Takes);
    let mut wanted = BTreeSet::new();
    for round in 0..ROUNDS {
        // The receiver is down in one round of three, too.
        collector.mode(if round % 3 == 0 { Mode::Status(503) } else { Mode::Takes });
        let first = round * A_ROUND;
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool-feeder"));
        command.arg(collector.url("/")).arg(dir.path()).arg(first.to_string());
        let mut feeder = Process::spawn(command);
        // Other moments each time, after the first record.
        let least = 1 + round % 17;
        let said = feeder.wait_for("count of what was taken in", Deadline::secs(30), |lines| {
            Some(lines.iter().filter(|(from, _)| *from == Stream::Out).count())
                .filter(|count| *count >= least)
        });
        assert!(said >= least);
        feeder.signal("KILL");
        feeder.wait(Deadline::secs(10));
        let said = feeder.lines(Stream::Out);
        // The last line may be cut.
        let taken_in: usize = said.iter().rev().find_map(|line| line.parse().ok()).unwrap();
        wanted.extend((first..first + taken_in).map(|number| format!("finding-{number}")));
    }
    collector.mode(Mode::Takes);
    let mut last = http(&collector, dir.path(), "");
    let empty = Deadline::secs(60).poll(|| Some(status(&last)).filter(|s| s["spool"]["records"] == 0));
    let status = empty.unwrap_or_else(|| panic!("never empty: {:#}", status(&last)));
    let records = parsed(&collector.lines());
    let got: BTreeSet<_> = records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<_> = wanted.difference(&got).collect();
    println!(
        "{ROUNDS} kills: {} records taken in, {} delivered of which {} more than once; {status}",
        wanted.len(),
        records.len(),
        records.len() - got.len()
    );
    assert!(missing.is_empty() && wanted.len() > ROUNDS * 8, "{} missing: {missing:?}", missing.len());
    last.finish();
}

#[test]
fn a_full_spool_keeps_findings_and_counts_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(Mode::Status(503));
    let mut sinks = http(
        &collector,
        dir.path(),
        "spool_max_mib = 1\ntakes = [\"findings\", \"messages\"]\nqueue = 100000\n",
    );
    let one = of_process(b"x");
    for message in one.messages.iter().cycle().take(2400) {
        sinks.message(message.clone());
    }
    let taken = Deadline::secs(20).poll(|| Some(status(&sinks)).filter(|s| s["lost"]["spool_full"].is_u64()));
    taken.unwrap_or_else(|| panic!("{:#}", status(&sinks)));
    (0..200).for_each(|number| sinks.finding(&numbered(&one.findings[0], number)));
    // Everything is accounted for.
    let settled =
        |s: &Value| count(s, "delivered") + lost(s) + count(&s["spool"], "records") == count(s, "taken");
    let full = Deadline::secs(20).poll(|| Some(status(&sinks)).filter(settled));
    let full = full.unwrap_or_else(|| panic!("{:#}", status(&sinks)));
    assert!(count(&full["spool"], "bytes") <= 1 << 20, "{full:#}");
    assert!(full["lost"]["spool_full"].as_u64() > Some(0), "{full:#}");
    collector.mode(Mode::Takes);
    let empty = Deadline::secs(20).poll(|| Some(status(&sinks)).filter(|s| s["spool"]["records"] == 0));
    assert!(empty.is_some(), "{:#}", status(&sinks));
    let records = parsed(&collector.lines());
    let findings: BTreeSet<_> = records
        .iter()
        .filter_map(|record| record["id"].as_str().filter(|id| id.starts_with("finding-")))
        .collect();
    assert_eq!(findings.len(), 200, "no finding made way for a message");
    let last = records.iter().rposition(|record| record["id"].is_string() && record["rule"].is_string());
    assert!(last.unwrap() < 200 + 16, "findings go before messages, but for the batch that was on its way");
    assert!(sinks.finish().is_empty());
}

#[test]
fn a_file_of_authorities_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let about = About { hostname: None, ocsf: OcsfVersion::V1_1 };
    let none = dir.path().join("none.pem");
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    for (path, says) in [(&none, "No such file"), (&empty, "holds no certificate")] {
        let text =
            format!("[[sink]]\ntype = \"http\"\nto = \"https://x.example/\"\nca = \"{}\"\n", path.display());
        let error = Sinks::start(&Config::parse(&text, "x").unwrap(), &about).unwrap_err();
        assert!(error.contains("sink.ca") && error.contains(says), "{error}");
    }
}
