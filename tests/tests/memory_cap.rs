//! `limits.memory_mib` under floods: resident memory and the kernel's maps together never go further than a tenth over it,
//! the tunnel beside the flood is found, and what made way is counted.
//!
//! Past the real hooks, from a generator on a veth pair. Short in the test run; `cargo test --release -p earthdog-tests --test
//! memory_cap -- --ignored --nocapture` has ten million names, ten million clients and a million flows.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::host::{self, Host, LINK, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary, conserved, in_state};
use earthdog_tests::size::Size;
use earthdog_tests::{require, serial, traffic};
use rstest::rstest;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const GENERATOR: &str = env!("CARGO_BIN_EXE_generator");
/// So little that tables have to be smaller for it; a build for debugging has more code.
const CAPS_MIB: [u64; 2] = [88, 64];
/// What may be over it, of it.
const OVER: f64 = 1.10;
/// Of one run of the generator, seconds.
const LEG: f64 = 2.0;
/// However slow the machine is.
const PATIENCE: Duration = Duration::from_mins(5);
/// Packets a second, so that most are read: what is lost fills no table. The second for a finished build.
const RATES: [u64; 2] = [10_000, 150_000];
/// Of the kernel's flow map, by default.
const FLOWS: u64 = 16_384;

#[rstest]
#[case::names("new")]
#[case::clients("clients")]
#[case::flows("flows")]
#[case::all_at_once("flood")]
fn a_flood_stays_within_the_memory_limit(#[case] kind: &str) {
    flood(kind, 60_000);
}

#[rstest]
#[ignore = "takes minutes: ten million look-ups"]
#[case::names("new", 10_000_000)]
#[ignore = "takes minutes: ten million look-ups"]
#[case::clients("clients", 10_000_000)]
#[ignore = "takes minutes: ten million look-ups"]
#[case::flows("flows", 1_000_000)]
#[ignore = "takes minutes: ten million look-ups"]
#[case::all_at_once("flood", 10_000_000)]
fn millions_stay_within_the_memory_limit(#[case] kind: &str, #[case] count: u64) {
    flood(kind, count);
}

/// Until so many messages of a flood were read.
fn flood(kind: &str, count: u64) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let finished = usize::from(require!(binary()).iter().any(|folder| folder == "release"));
    let (cap, rate) = (CAPS_MIB[finished], RATES[finished]);
    // The limits of CPU off: they would have less read, and memory is what is asked for.
    let limits = format!("[limits]\ncpu_share = 0\ngateway_cpu_share = 0\nmemory_mib = {cap}\n");
    fs::write(server.file("/run/earthdog.toml"), limits).unwrap();
    let arguments = ["-c", "/run/earthdog.toml", "--role", "gateway", "--interface", LINK];
    let sensor = require!(Sensor::start(&server, &arguments));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let pids = sensor.pids();
    let idle = Size::of_all(&pids).unwrap();
    let began = now();
    let (mut sent, mut leak) = (0, None);
    loop {
        let read = sensor.status()["messages"].as_u64().unwrap();
        if read >= count && leak.is_some() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{read} of {count} were read, of {sent} sent");
        // From when tables are full.
        if read >= count / 4 && leak.is_none() {
            let mut command = client.command(TRAFFIC);
            command.args(["leak", &format!("{SERVER_V4}:53"), "100", "10000"]);
            leak = Some(Process::spawn(command));
        }
        sent += send(&client, &server, [kind, &rate.to_string()], sent);
    }
    assert_eq!(Finished::of(leak.unwrap()).stdout, "sent 100", "the tunnel beside the flood");
    let counters = sensor.settled(Deadline::secs(60));
    conserved(&counters);
    let status = sensor.status();
    // What attaches does not grow with the flood: as it is now.
    let (reads, both) = (Size::of(pids[0]).unwrap(), Size::of_all(&pids).unwrap());
    let (most, maps) = (high_water(pids[0]) + both.resident - reads.resident, both.maps);
    let evictions: BTreeMap<String, u64> = serde_json::from_value(status["evictions"].clone()).unwrap();
    eprintln!(
        "{kind}: {sent} sent in {:.0} s, {} read; idle {:.1} MiB, at most {:.1} MiB resident and {:.1} MiB of maps, of {cap} MiB; tables \
         at {:.0} % of their sizes; flows that made way {}, others {evictions:?}",
        began.elapsed().as_secs_f64(),
        status["messages"],
        mib(idle.resident + idle.maps),
        mib(most),
        mib(maps),
        status["limits"]["tables_share"].as_f64().unwrap() * 100.0,
        counters["flow_evicted"]
    );
    let findings = sensor.stop();
    let created = in_state(&findings, "create");
    assert!(created.iter().any(|finding| finding["zone"] == "leak.example"), "no tunnel: {findings:#?}");
    assert!((most + maps) as f64 <= (cap << 20) as f64 * OVER, "{most} + {maps} bytes of {cap} MiB");
    assert!(evictions.values().sum::<u64>() > count / 4, "what made way is counted: {evictions:?}");
    // Each packet is a flow: all but those that the map holds made way, or found no place.
    if kind == "flows" {
        assert!(
            counters["flow_evicted"] + counters["flow_full"] + FLOWS >= sent,
            "{sent} sent: {counters:#?}"
        );
    }
}

/// A leg of the flood, whose names, clients and flows begin at this number.
fn send(client: &Host, server: &Host, [kind, rate]: [&str; 2], from: u64) -> u64 {
    let mac = server.run(&format!("cat /sys/class/net/{LINK}/address"));
    let mut command = client.command(GENERATOR);
    command.args([LINK, mac.trim(), kind, &LEG.to_string(), rate, "1", &from.to_string()]);
    let done = Finished::of(Process::spawn(command));
    let count = done.stdout.strip_prefix("sent ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("{}{}", done.stdout, done.stderr))
}

/// `VmHWM`, bytes: the most that was ever resident, the start included.
fn high_water(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
