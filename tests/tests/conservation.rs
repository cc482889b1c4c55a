//! Nothing is lost without being counted, and nothing on the host is harmed: exact counts with a stopped reader, no
//! packet lost while hooks come and go, programs behind ours still run, nothing stays after kill -9.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, LINK, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Counters, Finished, Sensor, conserved};
use earthdog_tests::{attached, host, require, serial, traffic};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
/// Rings so small that a burst overflows them at once.
const SMALL_RINGS: &str = "[live]\nalert_ring_kib = 64\nbulk_ring_kib = 64\n";
const BURST: u64 = 20_000;
/// 816 bytes each: more than the small ring holds.
const STARTS: u64 = 200;

#[test]
fn with_the_reader_stopped_every_packet_is_delivered_or_counted_as_lost() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let config = config_in(&client, SMALL_RINGS);
    let mut sensor = require!(Sensor::start(&client, &["-c", &config]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    let starts = format!("i=0; while [ $i -lt {STARTS} ]; do /bin/true; i=$((i + 1)); done\n");
    std::fs::write(client.file("/run/starts.sh"), starts).unwrap();

    let before = sensor.settled(Deadline::secs(20));
    sensor.process().signal("STOP");
    queries(&client, BURST, 0);
    // Process starts go through the small ring; these overflow it too.
    client.run("sh /run/starts.sh");
    sensor.process().signal("CONT");
    let after = sensor.settled(Deadline::secs(20));
    assert!(after["exec_seen"] - before["exec_seen"] >= STARTS, "{after:#?}");
    assert!(after["exec_lost"] > 0, "{after:#?}");

    // The sink never answers: each query is one packet at the client's egress, and nothing else is on port 53.
    assert_eq!(after["seen"] - before["seen"], BURST, "{after:#?}");
    let lost = after["lost_bulk_ring_full"] - before["lost_bulk_ring_full"];
    assert!(lost > 0 && lost < BURST, "{lost} of {BURST} lost: the rings did not overflow\n{after:#?}");
    assert_eq!(after["delivered"] - before["delivered"] + lost, BURST, "{after:#?}");
    all_conserved(&after);

    // Nothing is wedged: the next ones all arrive.
    queries(&client, 100, 1000);
    let later = sensor.settled(Deadline::secs(20));
    assert_eq!(later["delivered"] - after["delivered"], 100, "{later:#?}");
    assert_eq!(later["lost_bulk_ring_full"], after["lost_bulk_ring_full"]);
    all_conserved(&later);
    sensor.stop();
}

#[test]
fn a_stopped_reader_slows_nobody_down() {
    const ROUNDS: usize = 7;
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let config = config_in(&client, SMALL_RINGS);
    let mut sensor = require!(Sensor::start(&client, &["-c", &config]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    let (mut reading, mut stopped) = (Vec::new(), Vec::new());
    queries(&client, BURST, 0);
    for _ in 0..ROUNDS {
        reading.push(BURST as f64 / queries(&client, BURST, 0));
        sensor.process().signal("STOP");
        stopped.push(BURST as f64 / queries(&client, BURST, 0));
        sensor.process().signal("CONT");
    }
    // Of each the best: what else runs on the machine only takes, by half in some rounds, and the kernel's programs would
    // take in all of them.
    let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    let ratio = best(&stopped) / best(&reading);
    eprintln!(
        "queries/s: reading {:.0}, reader stopped {:.0}, ratio {ratio:.2}",
        best(&reading),
        best(&stopped)
    );
    assert!(ratio >= 0.9, "reading {reading:?}, stopped {stopped:?}");
    all_conserved(&sensor.settled(Deadline::secs(20)));
    sensor.stop();
}

/// In the default modes, on port 53 and beside it.
#[test]
fn attaching_and_detaching_under_traffic_loses_no_packet() {
    const PACKETS: u64 = 8_000;
    const GAP_US: u64 = 500;
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let echoes = [53, 7000].map(|port| {
        let address = format!("{SERVER_V4}:{port}");
        let echo = traffic::ready(TRAFFIC, &server, &["echo", &address]);
        let mut command = client.command(TRAFFIC);
        command.args(["ping", &address, &PACKETS.to_string(), &GAP_US.to_string()]);
        (echo, Process::spawn(command))
    });
    let mut rounds = 0;
    let mut echoes = echoes;
    while echoes.iter_mut().all(|(_, ping)| ping.ended().is_none()) {
        let sensor = require!(Sensor::start(&client, &[]));
        assert_ne!(attached::to(&client, TRAFFIC), Vec::<String>::new());
        sensor.stop();
        rounds += 1;
    }
    for (_echo, ping) in echoes {
        let done = Finished::of(ping);
        assert_eq!(done.stdout, format!("sent {PACKETS} received {PACKETS} missing []"), "{}", done.stderr);
    }
    eprintln!("attached and detached {rounds} times");
    assert!(rounds >= 2, "the traffic was over after {rounds} rounds");
    nothing_attached(&client);
}

/// The second sensor attaches in front of the first on every hook both use; the first still sees everything. On the
/// interface the first one's XDP program is left alone.
#[test]
fn programs_behind_ours_still_run() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let first = require!(Sensor::start(&client, &[]));
    let hooks_of_one = attached::to(&client, TRAFFIC);
    let config = config_in(&client, "[live]\ncontrol_socket = \"/run/second.sock\"\n");
    let mut second =
        require!(Sensor::start(&client, &["-c", &config])).answering_at(&client, "/run/second.sock");
    let hooks_of_two = attached::to(&client, TRAFFIC);
    eprintln!("one sensor {hooks_of_one:?}, two {hooks_of_two:?}");
    if hooks_of_one.iter().any(|hook| hook.starts_with("xdp")) {
        assert!(hooks_of_two.iter().any(|hook| hook.starts_with("tcx_ingress")), "{hooks_of_two:?}");
        let said = second.process().transcript();
        assert!(said.to_lowercase().contains("already"), "it does not say that XDP is taken:\n{said}");
    }

    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let before = [&first, &second].map(|sensor| sensor.settled(Deadline::secs(10)));
    let mut command = client.command(TRAFFIC);
    command.args(["lookup", &format!("{SERVER_V4}:53"), "500", "0"]);
    assert_eq!(Finished::of(Process::spawn(command)).stdout, "sent 500 received 500");
    let after = [&first, &second].map(|sensor| sensor.settled(Deadline::secs(10)));
    for (before, after) in before.iter().zip(&after) {
        // A query is seen leaving; its response on the wire and at the socket.
        assert_eq!(after["seen"] - before["seen"], 1500, "{after:#?}");
        assert_eq!(after["delivered"] - before["delivered"], 1500, "{after:#?}");
        all_conserved(after);
    }
    second.stop();
    assert_eq!(attached::to(&client, TRAFFIC), hooks_of_one);
    first.stop();
    nothing_attached(&client);
}

#[test]
fn kill_9_leaves_nothing_attached() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let mut sensor = require!(Sensor::start(&client, &[]));
    assert_ne!(attached::to(&client, TRAFFIC), Vec::<String>::new());
    sensor.process().signal("KILL");
    sensor.process().wait(Deadline::secs(10));
    nothing_attached(&client);
    // The socket file is still there; the next start takes its place.
    let sensor = require!(Sensor::start(&client, &[]));
    sensor.status();
    sensor.stop();
    nothing_attached(&client);
}

/// Packets, and process starts, which have no reason to be skipped for: see `abi::counter`.
#[track_caller]
fn all_conserved(counters: &Counters) {
    conserved(counters);
    assert_eq!(counters["exec_seen"], counters["exec_delivered"] + counters["exec_lost"], "{counters:#?}");
}

/// The kernel lets go of a dead process's links after its last descriptor, not at once.
#[track_caller]
fn nothing_attached(host: &Host) {
    let gone = Deadline::secs(10).poll(|| attached::to(host, TRAFFIC).is_empty().then_some(()));
    assert!(gone.is_some(), "left behind on {LINK}: {:?}", attached::to(host, TRAFFIC));
}

/// Sends so many queries from a host and gives the seconds it took.
fn queries(client: &Host, count: u64, gap_us: u64) -> f64 {
    let mut command = client.command(TRAFFIC);
    command.args(["query", &format!("{SERVER_V4}:53"), &count.to_string(), &gap_us.to_string(), "80"]);
    let done = Finished::of(Process::spawn(command));
    let words: Vec<&str> = done.stdout.split(' ').collect();
    assert_eq!(words[..2], ["sent", &count.to_string()], "{}{}", done.stdout, done.stderr);
    words[3].parse().unwrap()
}

/// Writes a configuration into the host's own /run and gives its path there.
fn config_in(host: &Host, text: &str) -> String {
    std::fs::write(host.file("/run/earthdog.toml"), text).unwrap();
    "/run/earthdog.toml".to_owned()
}
