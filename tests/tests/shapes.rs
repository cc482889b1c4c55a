//! What programs read of the sensor is told in sensor-user/docs/json.md: each path, its type and what it means.
//! `EARTHDOG_BLESS=1 cargo test -p earthdog-tests --test shapes` makes the tables anew; meanings are written by hand.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::shape::{self, Shape};
use earthdog_tests::{host, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/earthdog.toml";
const SETTINGS: &str = "\
    [output]\nmessages = \"/run/messages.json\"\n\
    [live]\nwait_for_interfaces = true\n\
    [metrics]\nlisten = \"/run/metrics.sock\"\n\
    [[suppress]]\nname = \"known\"\nowner = \"ann\"\nreason = \"a test\"\nexpires = \"2099-01-01\"\nzone = \"other.example\"\n\
    [[sink]]\ntype = \"file\"\nto = \"/run/findings.json\"\nformat = \"json\"\n\
    [[sink]]\ntype = \"http\"\nto = \"http://127.0.0.1:9/\"\nspool = \"/run/spool\"\n";

/// What was seen, by section.
#[derive(Default)]
struct Seen(Vec<(&'static str, Shape)>);

impl Seen {
    /// Lines of JSON, or one value over several lines.
    fn add(&mut self, section: &'static str, text: &str) {
        let values: Vec<Value> = serde_json::Deserializer::from_str(text)
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{section}: {error}: {text}"));
        assert!(!values.is_empty(), "{section} printed nothing");
        if !self.0.iter().any(|(known, _)| *known == section) {
            self.0.push((section, Shape::default()));
        }
        let (_, shape) = self.0.iter_mut().find(|(known, _)| *known == section).unwrap();
        for value in &values {
            shape.add(value);
        }
    }

    fn hold_against_the_document(&self) {
        let untold = shape::untold(self.0.iter().map(|(section, shape)| (*section, shape)));
        assert!(untold.is_empty(), "{}", untold.join("\n"));
    }
}

fn ask(client: &Host, words: &[&str]) -> String {
    let mut command = client.command(binary().unwrap());
    command.args(words).args(["-c", CONFIG]);
    let finished = Finished::of(Process::spawn(command));
    assert_eq!(finished.code(), Some(0), "{words:?}: {}", finished.stderr);
    finished.stdout
}

#[test]
fn what_is_printed_for_programs_is_what_the_document_tells() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    std::fs::write(client.file(CONFIG), SETTINGS).unwrap();
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let dns = format!("{SERVER_V4}:53");
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &dns]);
    traffic::run(TRAFFIC, &client, &["leak", &dns, "40", "1000"]);
    let found = sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
    sensor.process().signal("HUP");
    sensor.process().wait_for_text("configuration read again", Deadline::secs(10));
    // Run times are counted for a second now and then, and the store is written every second.
    let told = Deadline::secs(20).poll(|| {
        let status = sensor.status();
        let is_written = status["store"]["batches_written"].as_u64() > Some(0);
        (is_written && !status["cost"]["kernel"]["programs"].as_array().unwrap().is_empty()).then_some(())
    });
    assert!(told.is_some(), "{:#}", sensor.status());

    let mut seen = Seen::default();
    let id = found["id"].as_str().unwrap();
    for (section, words) in [
        ("`earthdog status --json`", &["status", "--json"][..]),
        ("`earthdog flows --json`", &["flows", "--json"]),
        ("`earthdog doctor --json`", &["doctor", "--json"]),
        ("`earthdog alerts --json`", &["alerts", "--json"]),
        ("`earthdog explain --json`", &["explain", id, "--json"]),
        ("`earthdog coverage --json`", &["coverage", "--json"]),
        ("`earthdog pdns --output json`", &["pdns", "leak.example", "--output", "json"]),
        ("`earthdog pdns --output json`", &["pdns", SERVER_V4, "--output", "json"]),
        ("`earthdog baseline show --output json`", &["baseline", "show", "--output", "json"]),
    ] {
        seen.add(section, &ask(&client, words));
    }
    seen.add("`earthdog rules --json`", &earthdog_tests::sensor::run(&["rules", "--json"]).unwrap().stdout);
    seen.add("`top` at the control socket", &sensor.ask("top").unwrap().to_string());
    let findings = sensor.stop();
    let lines: Vec<_> = findings.iter().map(Value::to_string).collect();
    seen.add("Findings", &lines.join("\n"));
    seen.add("Messages", &std::fs::read_to_string(client.file("/run/messages.json")).unwrap());
    seen.hold_against_the_document();
}
