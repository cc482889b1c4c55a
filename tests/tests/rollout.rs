//! Staged rollout: which hosts attach anything, and what a reload that lets one in or takes it out does.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{self, Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::{require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/earthdog.toml";
const MACHINE_ID: &str = "/etc/machine-id";

fn configure(client: &Host, percent: f64, others: &str) {
    let text = format!("[rollout]\npercent = {percent}\nothers = \"{others}\"\n");
    std::fs::write(client.file(CONFIG), text).unwrap();
}

fn ask(client: &Host, words: &[&str]) -> Finished {
    let mut command = client.command(binary().unwrap());
    command.args(words).args(["-c", CONFIG]);
    Finished::of(Process::spawn(command))
}

fn doctor(client: &Host) -> Value {
    serde_json::from_str(&ask(client, &["doctor", "--json"]).stdout).unwrap()
}

/// A pair of hosts, of which the client has a machine id of its own; returns its place too.
fn placed() -> Result<(Host, Host, f64), String> {
    if !Path::new(MACHINE_ID).exists() {
        return Err(format!("there is no {MACHINE_ID} to put another over"));
    }
    let (client, server) = host::pair()?;
    std::fs::write(client.file("/run/machine-id"), "00112233445566778899aabbccddeeff\n").unwrap();
    client.run(&format!("mount --bind /run/machine-id {MACHINE_ID}"));
    configure(&client, 0.0, "idle");
    let place = doctor(&client)["rollout"]["place"].as_f64().unwrap();
    assert!((1.0..99.0).contains(&place), "a place that others can be on both sides of: {place}");
    Ok((client, server, place))
}

fn leak(client: &Host, server: &Host) {
    let _sink = traffic::ready(TRAFFIC, server, &["sink", &format!("{SERVER_V4}:53")]);
    traffic::run(TRAFFIC, client, &["leak", &format!("{SERVER_V4}:53"), "40", "1000"]);
}

#[test]
fn a_host_waits_for_its_turn_with_nothing_attached_and_goes_off_its_hooks_when_it_is_taken_out() {
    let _alone = serial::lock();
    let (client, server, place) = require!(placed());
    configure(&client, place - 0.5, "idle");
    let report = doctor(&client);
    assert_eq!(report["rollout"]["takes_part"], false, "{report:#}");
    let text = ask(&client, &["doctor"]).stdout;
    assert!(text.contains(&format!("Rollout: this host is at {place:.2} of 100")), "{text}");

    let mut sensor = require!(Sensor::spawn(&client, &["-c", CONFIG]));
    sensor.process().wait_for_text("nothing is attached; SIGHUP", Deadline::secs(10));
    let link = client.ip(&format!("-details link show {}", host::LINK));
    assert!(!link.contains("xdp"), "{link}");
    assert_eq!(ask(&client, &["status"]).code(), Some(1), "there is nothing to ask yet");

    std::fs::write(client.file(CONFIG), "[rollout]\npercent = 200\n").unwrap();
    sensor.process().signal("HUP");
    let refused = sensor.process().wait_for_text("configuration refused", Deadline::secs(10));
    assert!(refused.contains("rollout.percent"), "{refused}");

    configure(&client, place + 0.5, "idle");
    sensor.process().signal("HUP");
    sensor.process().wait_for_text("it takes part", Deadline::secs(10));
    sensor.process().wait_for_text("watching with", Deadline::secs(30));
    leak(&client, &server);
    sensor.wait_for_finding("alert", Deadline::secs(10), |finding| finding["zone"] == "leak.example");
    assert!(!sensor.status()["hooks"].as_array().unwrap().is_empty());

    configure(&client, 0.0, "idle");
    sensor.process().signal("HUP");
    sensor.process().wait_for_text("off all hooks", Deadline::secs(10));
    let status = sensor.status();
    assert_eq!(status["hooks"], serde_json::json!([]), "{status:#}");
    let why = status["limits"]["detached"]["why"].as_str().unwrap();
    assert!(why.contains("rollout.percent is 0"), "{why}");
    sensor.stop();
}

#[test]
fn a_host_that_is_told_to_observe_alerts_once_it_takes_part() {
    let _alone = serial::lock();
    let (client, server, place) = require!(placed());
    configure(&client, place - 0.5, "observe");
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    leak(&client, &server);
    let made = Deadline::secs(10).poll(|| (sensor.status()["suppressed"].as_u64() >= Some(1)).then_some(()));
    assert!(made.is_some() && sensor.findings().is_empty(), "{:#}", sensor.status());
    let text = ask(&client, &["status"]).stdout;
    assert!(text.contains("this host takes no part") && text.contains("OBSERVING"), "{text}");

    configure(&client, 100.0, "observe");
    sensor.process().signal("HUP");
    sensor.wait_for_finding("alert", Deadline::secs(10), |finding| finding["zone"] == "leak.example");
    sensor.stop();
}

/// A sensor that keeps its hooks for the next one, and a next one that is to have none.
#[test]
fn a_host_that_is_out_takes_off_what_was_pinned() {
    let _alone = serial::lock();
    let (client, _server, _) = require!(placed());
    std::fs::create_dir(client.file("/run/bpf")).unwrap();
    client.run("mount -t bpf bpf /run/bpf");
    let pinned = |percent: u32| {
        let text =
            format!("[rollout]\npercent = {percent}\n[live]\npin = true\npin_path = \"/run/bpf/earthdog\"\n");
        std::fs::write(client.file(CONFIG), text).unwrap();
    };
    pinned(100);
    require!(Sensor::start(&client, &["-c", CONFIG])).stop();
    pinned(0);
    let mut sensor = require!(Sensor::spawn(&client, &["-c", CONFIG]));
    sensor.process().wait_for_text("rollout: removed", Deadline::secs(10));
    sensor.process().wait_for_text("nothing is attached", Deadline::secs(10));
    let link = client.ip(&format!("-details link show {}", host::LINK));
    assert!(!link.contains("xdp"), "{link}");
    assert_eq!(client.run("find /run/bpf -path */earthdog/*"), "", "nothing is pinned");
    sensor.process().signal("TERM");
    assert_eq!(sensor.process().wait(Deadline::secs(10)).code(), Some(0));
}

#[test]
fn who_waits_ends_with_a_signal_and_with_its_time() {
    let (client, _server, _) = require!(placed());
    for (arguments, signal) in [(&["-c", CONFIG][..], true), (&["-c", CONFIG, "--duration", "1"][..], false)]
    {
        let mut sensor = require!(Sensor::spawn(&client, arguments));
        sensor.process().wait_for_text("nothing is attached", Deadline::secs(10));
        if signal {
            sensor.process().signal("TERM");
        }
        assert_eq!(sensor.process().wait(Deadline::secs(10)).code(), Some(0));
    }
}
