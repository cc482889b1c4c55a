//! Exceptions under a running sensor: what they cover alerts nobody, and is measured, counted, kept and told all the same.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::iodine::Iodine;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary, in_state};
use earthdog_tests::{host, require, serial, traffic};
use rstest::rstest;
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/earthdog.toml";

fn exception(scope: &str, expires: &str) -> String {
    format!(
        "[[suppress]]\nname = \"known\"\nowner = \"ann\"\nreason = \"a load test\"\nexpires = \"{expires}\"\n{scope}\n\
         [[sink]]\ntype = \"file\"\nto = \"/run/findings.json\"\nformat = \"json\"\n"
    )
}

fn leak(client: &Host, count: u32) {
    traffic::run(TRAFFIC, client, &["leak", &format!("{SERVER_V4}:53"), &count.to_string(), "1000"]);
}

fn ask(client: &Host, words: &[&str]) -> Finished {
    let mut command = client.command(binary().unwrap());
    command.args(words).args(["-c", CONFIG]);
    Finished::of(Process::spawn(command))
}

/// Waits until the exception was met so often.
fn met(sensor: &Sensor, hits: u64) -> Value {
    let met = Deadline::secs(10).poll(|| {
        let status = sensor.status();
        (status["exceptions"][0]["hits"] == hits).then_some(status)
    });
    met.unwrap_or_else(|| panic!("{:#}", sensor.status()))
}

#[test]
fn what_is_excepted_alerts_nobody() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    std::fs::write(client.file(CONFIG), exception("exe = \"/tmp/x\"\nzone = \"leak.example\"", "2999-01-01"))
        .unwrap();
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    // Of another program: nothing is excepted.
    std::fs::write(
        client.file(CONFIG),
        exception(&format!("exe = \"{TRAFFIC}\"\nzone = \"leak.example\""), "2999-01-01"),
    )
    .unwrap();
    sensor.process().signal("HUP");
    sensor.process().wait_for_text("suppress.known.exe: ", Deadline::secs(10));
    leak(&client, 40);
    let status = met(&sensor, 1);
    assert_eq!((&status["suppressed"], sensor.findings().len()), (&1.into(), 0), "{status:#}");
    assert_eq!(status["sinks"][0]["delivered"], 0, "{status:#}");
    let sum: u64 =
        status["findings"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(sum, 1, "it is made and counted: {status:#}");

    let alerts = ask(&client, &["alerts"]);
    assert_eq!((alerts.stdout.as_str(), alerts.code()), ("no findings", Some(0)));
    assert!(alerts.stderr.contains("1 more under exceptions: see alerts --suppressed"), "{}", alerts.stderr);
    let kept = ask(&client, &["alerts", "--suppressed", "--json"]).stdout;
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let [finding] = &kept["findings"].as_array().unwrap()[..] else { panic!("{kept:#}") };
    assert_eq!((&finding["exception"]["owner"], &finding["zone"]), (&"ann".into(), &"leak.example".into()));
    assert!(finding["bytes_up"]["low"].as_u64().unwrap() > 400, "the ledger measures it: {finding:#}");
    let id = finding["id"].as_str().unwrap();
    let explained = ask(&client, &["explain", id]).stdout;
    assert!(explained.contains("exception   known of ann, until 2999-01-01: a load test"), "{explained}");
    for (command, says) in [
        ("status", "exception  known of ann, until 2999-01-01: a load test"),
        ("coverage", "Exception known of ann,"),
    ] {
        let text = ask(&client, &[command]).stdout;
        assert!(text.contains(says) && text.contains("1 finding"), "{text}");
    }

    let findings = sensor.stop();
    assert_eq!(findings, Vec::<Value>::new());
    // The next run knows of it, by the store.
    let again = require!(Sensor::start(&client, &["-c", CONFIG]));
    let status = met(&again, 1);
    assert!(status["exceptions"][0]["last_hit"].is_string(), "{status:#}");
    again.stop();
}

/// A real tunnel in a zone that is excepted: in TXT records it alerts nobody, in NULL records it does.
#[rstest]
#[case::txt("TXT", true)]
#[case::null("NULL", false)]
fn null_is_never_excepted(#[case] qtype: &str, #[case] suppressed: bool) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let iodine = require!(Iodine::find());
    std::fs::write(client.file(CONFIG), exception("zone = \"tunnel.example\"", "never")).unwrap();
    let sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _tunnel_end = iodine.listen(&server);
    let tunnel = iodine.connect(&client, &["-r", "-T", qtype], SERVER_V4);
    if suppressed {
        met(&sensor, 1);
        tunnel.wait_for_text("Connection setup complete", Deadline::secs(40));
        assert_eq!(sensor.stop(), Vec::<Value>::new());
        return;
    }
    let told = sensor.wait_for_finding("NULL", Deadline::secs(30), |finding| finding["state"] == "create");
    let exception = &told["exception"];
    assert_eq!((&exception["name"], &exception["suppressed"]), (&"known".into(), &false.into()), "{told:#}");
    assert!(exception["why"].as_str().unwrap().contains("it rests on NULL"), "{exception:#}");
    let uncovered = sensor.status()["exceptions"][0]["uncovered"].as_u64();
    assert_eq!(uncovered, Some(1));
    let sent = std::fs::read_to_string(client.file("/run/findings.json")).unwrap();
    assert!(sent.contains("it rests on NULL"), "{sent}");
    sensor.stop();
}

#[test]
fn an_exception_that_ends_is_told_and_what_it_covered_alerts() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(15);
    std::fs::write(client.file(CONFIG), exception("zone = \"leak.example\"", &format!("{soon:.0}"))).unwrap();
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    leak(&client, 40);
    met(&sensor, 1);
    assert_eq!(sensor.findings().len(), 0);
    let told = sensor.wait_for_finding("alert", Deadline::secs(30), |finding| finding["state"] == "create");
    assert_eq!((&told["zone"], &told["exception"]), (&"leak.example".into(), &Value::Null), "{told:#}");
    sensor.process().wait_for_text("warning: exception known of ann ended (", Deadline::secs(5));
    let status = sensor.status();
    assert!(status["exceptions"][0]["is_over"] == true && status["suppressed"] == 0, "{status:#}");
    assert!(status["warnings"].to_string().contains("alerts again"), "{status:#}");
    let findings = sensor.stop();
    assert_eq!((in_state(&findings, "create").len(), in_state(&findings, "close").len()), (1, 1));
}
