//! What `earthdog top` costs, on its terminal and in the sensor that it asks, with a table that is full and moves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::host::{self, LINK, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Sensor, binary};
use earthdog_tests::size::cpu_seconds;
use earthdog_tests::{peer, require, serial, traffic};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
/// Rows of the table are the product; `top` is told 256 of them.
const CLIENTS: u64 = 20;
const ZONES: u64 = 20;
/// Between two look-ups; every row moves every 400 of them.
const GAP_US: u64 = 2000;
/// Each of two measurements.
const WINDOW: Duration = Duration::from_secs(20);
/// Of one core, in percent.
const BOUND: f64 = 2.0;

/// Percent of one core that each of these takes over a window.
fn shares<const N: usize>(pids: [u32; N]) -> [f64; N] {
    let (began, before) = (now(), pids.map(|pid| cpu_seconds(pid).unwrap()));
    let end = Deadline::secs(WINDOW.as_secs());
    while !end.passed() {
        thread::park_timeout(end.left());
    }
    let (took, after) = (began.elapsed().as_secs_f64(), pids.map(|pid| cpu_seconds(pid).unwrap()));
    std::array::from_fn(|index| (after[index] - before[index]) / took * 100.0)
}

/// A finished build is bound; of one for debugging the figures are printed.
#[test]
fn top_takes_less_than_two_percent_of_a_core() {
    let _alone = serial::lock();
    let tmux = require!(peer::find("tmux"));
    let binary = require!(binary());
    let is_release = binary.iter().any(|folder| folder == "release" || folder == "static");
    let (client, server) = require!(host::pair());
    server.run("mkdir /sys/fs/cgroup/empty");
    for number in 0..CLIENTS {
        client.ip(&format!("addr add 10.77.0.{}/24 dev {LINK}", 100 + number));
    }
    let mut sensor = require!(Sensor::start(
        &server,
        &["--role", "gateway", "--interface", LINK, "--cgroup", "/sys/fs/cgroup/empty"],
    ));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    // Longer than both windows and what is around them.
    let rounds = (3 * WINDOW.as_secs() * 1_000_000 / GAP_US / (CLIENTS * ZONES)).to_string();
    let mut sender = client.command(TRAFFIC);
    let (clients, zones, gap) = (CLIENTS.to_string(), ZONES.to_string(), GAP_US.to_string());
    sender.args(["spread", &format!("{SERVER_V4}:53"), "10.77.0.100", &clients, &zones, &rounds, &gap]);
    let mut sender = Process::spawn(sender);
    let full = Deadline::secs(10).poll(|| (sensor.status()["zones"] == ZONES).then_some(()));
    assert!(full.is_some(), "{}", sensor.status());
    let sensor_pid = sensor.process().pid();
    let [alone] = shares([sensor_pid]);

    let socket = format!("earthdog-{}-cost", std::process::id());
    let terminal = |arguments: &[&str]| {
        let mut command: Command = server.command(&tmux);
        let output = command.args(["-f", "/dev/null", "-L", &socket]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    let program = binary.to_str().unwrap();
    terminal(&["new-session", "-d", "-x", "200", "-y", "50", "env", "TERM=screen-256color", program, "top"]);
    let screen = || terminal(&["capture-pane", "-p"]);
    let rows = format!("rows 256 of {}", CLIENTS * ZONES);
    let shown = Deadline::secs(10).poll(|| screen().contains(&rows).then_some(()));
    assert!(shown.is_some(), "{rows} is not shown:\n{}", screen());
    let pid: u32 = terminal(&["display-message", "-p", "#{pane_pid}"]).parse().unwrap();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(name.trim(), "earthdog", "what is measured is `top` itself");
    let before = screen();
    let [top, beside] = shares([pid, sensor_pid]);
    let after = screen();
    assert!(before != after && after.contains(&rows), "it goes on showing what is new:\n{after}");
    terminal(&["send-keys", "q"]);
    assert!(sender.ended().is_none(), "there was traffic to the end");

    println!(
        "top of {} rows, {} look-ups/s, {} s: {top:.2} % of one core (bound {BOUND} %, {}); \
         the sensor {alone:.2} % without it, {beside:.2} % with it",
        CLIENTS * ZONES,
        1_000_000 / GAP_US,
        WINDOW.as_secs(),
        if is_release { "asserted" } else { "a build for debugging: printed alone" }
    );
    assert!(!is_release || top < BOUND, "{top:.2} % of one core");
    sensor.stop();
}
