//! With `live.pin` a sensor that ends leaves its hooks and counters behind, and the next one goes on with them: no packet is
//! unseen, whatever ended the first.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{self, Host, LINK, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Counters, Finished, Sensor, binary, conserved};
use earthdog_tests::{attached, require, serial, traffic};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "[live]\npin = true\npin_path = \"/run/bpf/earthdog\"\n";

/// A host whose bpffs is its own.
fn prepared(host: &Host, config: &str) -> String {
    host.run("mkdir -p /run/bpf");
    host.run("mount -t bpf bpf /run/bpf");
    configure(host, config)
}

fn configure(host: &Host, config: &str) -> String {
    std::fs::write(host.file("/run/earthdog.toml"), config).unwrap();
    "/run/earthdog.toml".to_owned()
}

/// Until nothing more is seen.
fn quiet(sensor: &Sensor) -> Counters {
    let mut last = Counters::new();
    let settled = Deadline::secs(20).poll(|| {
        let now = sensor.counters();
        let same = now == last;
        last = now;
        same.then_some(())
    });
    assert!(settled.is_some(), "{last:#?}");
    last
}

#[test]
fn a_restart_under_traffic_leaves_no_packet_unseen() {
    const PACKETS: u64 = 16_000;
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let config = prepared(&client, CONFIG);
    let arguments = ["-c", &config, "--interface", LINK];
    let _echo = traffic::ready(TRAFFIC, &server, &["echo", &format!("{SERVER_V4}:53")]);
    let mut sensor = require!(Sensor::start(&client, &arguments));
    let mut command = client.command(TRAFFIC);
    command.args(["ping", &format!("{SERVER_V4}:53"), &PACKETS.to_string(), "500"]);
    let mut ping = Process::spawn(command);
    let (mut restarts, mut killed) = (0, 0);
    let mut seen = 0;
    while ping.ended().is_none() {
        let counters = sensor.counters();
        assert!(counters["seen"] >= seen, "counters go on: {seen}, {counters:#?}");
        seen = counters["seen"];
        if restarts % 2 == 0 {
            sensor.stop();
        } else {
            sensor.process().signal("KILL");
            sensor.process().wait(Deadline::secs(5));
            killed += 1;
        }
        assert_ne!(attached::to(&client, TRAFFIC), Vec::<String>::new(), "the programs go on");
        sensor = require!(Sensor::start(&client, &arguments));
        restarts += 1;
    }
    let done = Finished::of(ping);
    assert_eq!(done.stdout, format!("sent {PACKETS} received {PACKETS} missing []"), "{}", done.stderr);
    let counters = quiet(&sensor);
    conserved(&counters);
    // A query and its echo at the socket each, and the echo on the wire too.
    assert_eq!(counters["seen"], 3 * PACKETS, "{restarts} restarts, {killed} of them by kill\n{counters:#?}");
    eprintln!("{restarts} restarts, {killed} by kill -9, {} packets seen", counters["seen"]);
    assert!(restarts >= 3 && killed >= 1, "{restarts} restarts, {killed} kills");
    sensor.stop();
    let kept = client.run(&format!("{} doctor --clean --keep-pins -c {config}", binary().unwrap().display()));
    assert_eq!(kept, "nothing was left behind\n", "the unit calls this between two runs");
    let cleaned = client.run(&format!("{} doctor --clean -c {config}", binary().unwrap().display()));
    assert!(cleaned.contains("removed pins /run/bpf/earthdog/layout-"), "{cleaned}");
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
    assert_eq!(client.run("ls /run/bpf/earthdog"), "");
}

#[test]
fn another_layout_starts_anew_and_says_so() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let config = prepared(&client, CONFIG);
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    traffic::run(TRAFFIC, &client, &["query", &format!("{SERVER_V4}:53"), "100", "100", "0"]);
    assert_eq!(quiet(&sensor)["seen"], 100);
    sensor.stop();
    let config = configure(&client, &format!("{CONFIG}flow_entries = 4096\n"));
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    let status = sensor.status();
    assert_eq!(status["counters"]["seen"], 0, "{status:#}");
    let says = status["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|warning| warning.as_str().unwrap().contains("counters and flows start anew"));
    assert!(says, "{status:#}");
    assert_eq!(client.run("ls /run/bpf/earthdog").lines().count(), 1, "the old one is gone");
    sensor.stop();
    client.run(&format!("{} doctor --clean -c {config}", binary().unwrap().display()));
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
}

#[test]
fn without_a_bpffs_it_watches_all_the_same() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let config = configure(&client, CONFIG);
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    let status = sensor.status();
    let says = status["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|warning| warning.as_str().unwrap().contains("nothing is kept over a restart"));
    assert!(says, "{status:#}");
    sensor.stop();
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
}
