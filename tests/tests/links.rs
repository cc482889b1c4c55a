//! Interfaces that come, go and change under a running sensor: what passes afterwards is seen and has its sender, nothing
//! is counted twice, and what did not change is left alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{self, CLIENT_V4, Host, LINK, SERVER_V4};
use earthdog_tests::sensor::{Finished, Sensor, conserved};
use earthdog_tests::{attached, require, serial, traffic};
use rstest::rstest;
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const PINNED: &str = "[live]\npin = true\npin_path = \"/run/bpf/earthdog\"\n";
const ROUND: u64 = 100;

fn configured(host: &Host, text: &str) -> String {
    host.run("mkdir -p /run/bpf");
    host.run("mount -t bpf bpf /run/bpf");
    std::fs::write(host.file("/run/earthdog.toml"), text).unwrap();
    "/run/earthdog.toml".to_owned()
}

/// A second cable between two hosts, or the first one anew.
fn cable(client: &Host, server: &Host, name: &str, addresses: [&str; 2]) {
    client.link(name, server, name);
    for (host, address) in [(client, addresses[0]), (server, addresses[1])] {
        host.ip(&format!("addr add {address}/24 dev {name}"));
        host.ip(&format!("link set {name} up"));
    }
}

/// Look-ups to the end, all of them answered.
fn look_up(client: &Host, server: &str) {
    let mut command = client.command(TRAFFIC);
    command.args(["lookup", &format!("{server}:53"), &ROUND.to_string(), "500"]);
    let done = Finished::of(earthdog_tests::process::Process::spawn(command));
    assert_eq!(done.stdout, format!("sent {ROUND} received {ROUND}"), "{}", done.stderr);
}

/// One round is seen at the socket both ways and on the wire once, each look-up is one, and each has its sender.
fn a_round_is_seen(sensor: &Sensor, client: &Host, server: &str) {
    // Rounds ask for the same names: after the first round each is the twin of one before.
    let count = |names: &[&str]| -> u64 {
        let folded = sensor.status()["folded"].clone();
        names.iter().map(|name| folded[*name].as_u64().unwrap()).sum()
    };
    let named = || sensor.status()["attributions"]["exact"].as_u64().unwrap_or(0);
    let [before, asked, answered] = [seen(sensor), count(&["first", "twin"]), count(&["answer"])];
    let owned = named();
    look_up(client, server);
    let counters = sensor.settled(Deadline::secs(20));
    conserved(&counters);
    assert_eq!(counters["seen"] - before, 3 * ROUND, "{:#}", sensor.status());
    let status = sensor.status();
    assert_eq!(count(&["first", "twin"]) - asked, ROUND, "{status:#}");
    assert_eq!(count(&["answer"]) - answered, ROUND, "{status:#}");
    assert_eq!(status["folded"]["unsolicited"], 0, "{status:#}");
    assert_eq!(named() - owned, ROUND, "each query has its sender: {status:#}");
}

fn seen(sensor: &Sensor) -> u64 {
    sensor.settled(Deadline::secs(20))["seen"]
}

/// Waits until a kind of change was counted so often.
fn changed(sensor: &Sensor, kind: &str, count: u64) -> Value {
    let told = Deadline::secs(5).poll(|| {
        let status = sensor.status();
        (status["links"]["changes"][kind].as_u64() == Some(count)).then_some(status)
    });
    told.unwrap_or_else(|| panic!("{kind} is not {count}: {:#}", sensor.status()))
}

fn hooks(status: &Value) -> Vec<String> {
    let hooks = status["hooks"].as_array().unwrap().iter();
    let named = hooks.map(|hook| hook["hook"].as_str().unwrap().to_owned());
    named.filter(|hook| hook.starts_with("xdp") || hook.starts_with("tcx")).collect()
}

fn on(name: &str) -> Vec<String> {
    vec![format!("xdp (native) {name}"), format!("tcx egress {name}")]
}

#[rstest]
#[case::for_this_run("")]
#[case::pinned(PINNED)]
fn a_veth_that_is_made_anew_is_watched_again(#[case] text: &str) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let config = configured(&client, text);
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let sensor = require!(Sensor::start(&client, &["-c", &config, "--interface", LINK]));
    a_round_is_seen(&sensor, &client, SERVER_V4);
    for again in 1..=3 {
        client.ip(&format!("link del {LINK}"));
        let status = changed(&sensor, "gone", again);
        assert_eq!((hooks(&status), &status["links"]["waiting"][0]), (vec![], &LINK.into()), "{status:#}");
        cable(&client, &server, LINK, [CLIENT_V4, SERVER_V4]);
        let status = changed(&sensor, "came", again);
        assert_eq!(hooks(&status), on(LINK), "{status:#}");
        a_round_is_seen(&sensor, &client, SERVER_V4);
    }
    sensor.stop();
    if text.is_empty() {
        assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
    }
}

#[test]
fn a_renamed_interface_stays_watched_until_another_bears_its_name() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let sensor = require!(Sensor::start(&client, &["--interface", LINK]));
    client.ip(&format!("link set {LINK} name other0"));
    let status = changed(&sensor, "renamed", 1);
    assert_eq!(hooks(&status), on("other0"), "{status:#}");
    a_round_is_seen(&sensor, &client, SERVER_V4);
    client.ip(&format!("link add {LINK} type veth peer name far0"));
    let status = changed(&sensor, "gone", 1);
    assert_eq!(hooks(&status), on(LINK), "{status:#}");
    sensor.stop();
}

#[test]
fn an_interface_in_another_namespace_is_let_go() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let sensor = require!(Sensor::start(&client, &["--interface", LINK]));
    client.ip(&format!("link set {LINK} netns {} name moved0", server.pid()));
    let status = changed(&sensor, "gone", 1);
    assert_eq!(hooks(&status), Vec::<String>::new(), "{status:#}");
    let links = server.ip("-d link show moved0");
    assert!(!links.contains("prog/xdp"), "{links}");
    sensor.stop();
}

#[test]
fn another_mtu_leaves_the_hooks_alone() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let sensor = require!(Sensor::start(&client, &["--interface", LINK]));
    for (count, mtu) in [(1, 9000), (2, 1280)] {
        client.ip(&format!("link set {LINK} mtu {mtu}"));
        let status = changed(&sensor, "mtu", count);
        assert_eq!((hooks(&status), &status["links"]["watched"][0]["mtu"]), (on(LINK), &mtu.into()));
        a_round_is_seen(&sensor, &client, SERVER_V4);
    }
    sensor.stop();
}

#[rstest]
#[case("bond miimon 10")]
#[case("bridge forward_delay 0")]
fn an_enslaved_interface_stays_watched(#[case] kind: &str) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let sensor = require!(Sensor::start(&client, &["--interface", LINK]));
    if !client.try_run(&format!("ip link add over0 type {kind}")).status.success() {
        return eprintln!("skipped: this kernel makes no `{kind}`");
    }
    client.ip(&format!("link set {LINK} down"));
    client.ip(&format!("link set {LINK} master over0"));
    let status = changed(&sensor, "master", 1);
    assert_eq!(hooks(&status), on(LINK), "{status:#}");
    // Packets of the one above pass the watched one: once.
    client.ip(&format!("addr flush dev {LINK}"));
    client.ip(&format!("addr add {CLIENT_V4}/24 dev over0"));
    client.ip(&format!("link set {LINK} up"));
    client.ip("link set over0 up");
    let up = Deadline::secs(10).poll(|| client.ip("link show over0").contains("state UP").then_some(()));
    assert!(up.is_some(), "{}", client.ip("addr"));
    a_round_is_seen(&sensor, &client, SERVER_V4);
    sensor.stop();
}

#[test]
fn the_default_route_is_followed_from_one_cable_to_another() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    cable(&client, &server, "lan1", ["10.78.0.2", "10.78.0.1"]);
    client.run("ip -6 route del default");
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let sensor = require!(Sensor::start(&client, &[]));
    assert_eq!(hooks(&sensor.status()), on(LINK));
    client.ip("route replace default via 10.78.0.1 dev lan1");
    let status = changed(&sensor, "gone", 1);
    assert_eq!(hooks(&status), on("lan1"), "{status:#}");
    a_round_is_seen(&sensor, &client, "10.78.0.1");
    // Without any, what was watched is watched on.
    client.ip("route del default");
    a_round_is_seen(&sensor, &client, "10.78.0.1");
    assert_eq!(hooks(&sensor.status()), on("lan1"));
    sensor.stop();
}

#[test]
fn an_interface_may_come_later_where_that_is_asked_for() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let refused = Finished::of({
        let mut command = client.command(earthdog_tests::sensor::binary().unwrap());
        command.args(["run", "--interface", "late0"]);
        earthdog_tests::process::Process::spawn(command)
    });
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("live.wait_for_interfaces"), "{refused:?}");
    let config = configured(&client, "[live]\nwait_for_interfaces = true\n");
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let sensor = require!(Sensor::start(&client, &["-c", &config, "--interface", "late0"]));
    assert_eq!(hooks(&sensor.status()), Vec::<String>::new());
    cable(&client, &server, "late0", ["10.78.0.2", "10.78.0.1"]);
    let status = changed(&sensor, "came", 1);
    assert_eq!(hooks(&status), on("late0"), "{status:#}");
    a_round_is_seen(&sensor, &client, "10.78.0.1");
    sensor.stop();
}

/// Others' interfaces, and the watched one's own changes, by the hundred.
#[test]
fn a_storm_of_changes_costs_a_few_looks() {
    const PAIRS: u64 = 500;
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let sensor = require!(Sensor::start(&client, &["--interface", LINK]));
    let looks = |status: &Value| status["links"]["looks"].as_u64().unwrap();
    let mut storm = String::new();
    for number in 0..PAIRS {
        let _ = writeln!(storm, "link add s{number} type veth peer name t{number}");
        let _ = writeln!(storm, "link set {LINK} mtu {}", 1400 + number % 100);
        let _ = writeln!(storm, "link del s{number}");
    }
    std::fs::write(client.file("/run/storm"), storm).unwrap();
    let before = sensor.status();
    let began = earthdog_tests::deadline::now();
    client.ip("-batch /run/storm");
    let took = began.elapsed().as_secs_f64();
    let after = sensor.status();
    let [notices, dropped] = ["notices", "notices_dropped"].map(|key| after["links"][key].as_u64().unwrap());
    let count = looks(&after) - looks(&before);
    eprintln!(
        "{PAIRS} pairs made and taken away in {took:.1} s: {notices} notices, {dropped} overflows, {count} looks"
    );
    assert!(count as f64 <= 2.0 + took / 0.2, "{count} looks in {took} s: {after:#}");
    assert!(notices + dropped > 0 && count > 0, "{after:#}");
    assert_eq!(hooks(&after), on(LINK), "{after:#}");
    a_round_is_seen(&sensor, &client, SERVER_V4);
    sensor.stop();
}
