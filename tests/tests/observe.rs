//! A sensor that only observes: findings are made and kept and alert nobody, and what would have alerted is summed up.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::{host, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/earthdog.toml";
const SINK: &str = "[[sink]]\ntype = \"file\"\nto = \"/run/findings.json\"\nformat = \"json\"\n";

fn configure(client: &Host, observe: bool, more: &str) {
    let text = format!("[output]\nobserve = {observe}\n{SINK}{more}");
    std::fs::write(client.file(CONFIG), text).unwrap();
}

fn ask(client: &Host, words: &[&str]) -> Finished {
    let mut command = client.command(binary().unwrap());
    command.args(words).args(["-c", CONFIG]);
    Finished::of(Process::spawn(command))
}

/// One finding was made; returns the status.
fn observed(client: &Host, sensor: &Sensor) -> Value {
    traffic::run(TRAFFIC, client, &["leak", &format!("{SERVER_V4}:53"), "40", "1000"]);
    let found = Deadline::secs(10).poll(|| Some(sensor.status()).filter(|status| status["suppressed"] == 1));
    found.unwrap_or_else(|| panic!("{:#}", sensor.status()))
}

#[test]
fn what_is_observed_alerts_nobody_and_its_summary_becomes_exceptions() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    configure(&client, true, "");
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    sensor.process().wait_for_text("observing: findings alert nobody", Deadline::secs(5));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    let status = observed(&client, &sensor);
    assert_eq!((sensor.findings().len(), &status["sinks"][0]["delivered"]), (0, &0.into()), "{status:#}");
    assert!(ask(&client, &["status"]).stdout.contains("OBSERVING  findings alert nobody"));
    assert_eq!(ask(&client, &["alerts"]).stdout, "no findings");

    let summary = ask(&client, &["alerts", "--burn-in"]).stdout;
    assert!(summary.starts_with("# 1 findings would have alerted:"), "{summary}");
    assert!(summary.contains("leak.example") && summary.contains(TRAFFIC), "{summary}");
    configure(&client, false, &summary);
    let unfilled = ask(&client, &["config", "check"]);
    assert!(
        unfilled.code() == Some(2) && unfilled.stderr.contains("suppress.expires"),
        "{}",
        unfilled.stderr
    );
    let filled = summary
        .replace("owner = \"\"", "owner = \"ann\"")
        .replace("reason = \"\"", "reason = \"a load test\"")
        .replace("expires = \"\"", "expires = \"never\"");
    configure(&client, false, &filled);
    sensor.process().signal("HUP");
    sensor.process().wait_for_text("output.observe: true → false", Deadline::secs(10));
    let hits = Deadline::secs(5).poll(|| (sensor.status()["exceptions"][0]["hits"] == 1).then_some(()));
    assert!(hits.is_some(), "{:#}", sensor.status());
    assert_eq!(sensor.stop(), Vec::<Value>::new(), "the exception covers what was observed");
}

#[test]
fn what_is_open_alerts_once_nothing_is_only_observed_any_more() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    configure(&client, true, "");
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    observed(&client, &sensor);
    configure(&client, false, "");
    sensor.process().signal("HUP");
    let told = sensor.wait_for_finding("alert", Deadline::secs(10), |finding| finding["state"] == "create");
    assert_eq!((&told["zone"], &told["exception"]), (&"leak.example".into(), &Value::Null), "{told:#}");
    sensor.stop();
}
