//! What each hook sees, counted: every way of attaching, both address families, TCP, gateway and host; and what the
//! sensor says of it over its control socket.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{CLIENT_V4, CLIENT_V6, Host, LINK, SERVER_V4, SERVER_V6};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary, in_state};
use earthdog_tests::{attached, host, peer, require, serial, traffic};
use rstest::rstest;
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const QUERIES: u64 = 300;

/// A gateway sees what passes: each query arriving and, where the mode has an egress hook, each response leaving. Its
/// host view is turned away to an empty cgroup, so that the wire view is all there is.
#[rstest]
#[case::auto("auto", "xdp")]
#[case::native("native", "xdp")]
#[case::generic("generic", "xdp")]
#[case::tcx("tcx", "tcx_ingress")]
fn every_mode_sees_every_query(#[case] mode: &str, #[case] hook: &str) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    server.run("mkdir /sys/fs/cgroup/empty");
    let sensor = require!(Sensor::start(
        &server,
        &["--role", "gateway", "--interface", LINK, "--xdp-mode", mode, "--cgroup", "/sys/fs/cgroup/empty"],
    ));
    let hooks = attached::to(&server, TRAFFIC);
    assert!(hooks.iter().any(|there| there.starts_with(hook)), "{hooks:?}");
    let egress = u64::from(hooks.iter().any(|there| there.starts_with("tcx_egress")));
    let _dns = [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")]
        .map(|address| traffic::ready(TRAFFIC, &server, &["dns", &format!("{address}:53")]));

    for (address, family) in [(SERVER_V4.to_owned(), "IPv4"), (format!("[{SERVER_V6}]"), "IPv6")] {
        let before = sensor.settled(Deadline::secs(10));
        queries(&client, &address, QUERIES);
        let after = sensor.settled(Deadline::secs(10));
        assert_eq!(after["seen"] - before["seen"], QUERIES * (1 + egress), "{family}: {after:#?}");
        assert_eq!(after["delivered"] - before["delivered"], QUERIES * (1 + egress), "{family}: {after:#?}");
    }
    let flows = flows(&server);
    for ip in [CLIENT_V4, CLIENT_V6] {
        let flow = flow_of(&flows, ip, "wire");
        assert_eq!(flow["queries"], QUERIES, "{flow:#}");
        assert_eq!(flow["responses"], QUERIES * egress, "{flow:#}");
        assert_eq!(flow["zone"], "flood.example", "{flow:#}");
    }
    let messages = sensor.status()["messages"].as_u64().unwrap();
    assert_eq!(messages, 2 * QUERIES * (1 + egress));
    sensor.stop();
    assert_eq!(attached::to(&server, TRAFFIC), Vec::<String>::new());
}

/// Query and response once each at the socket; the flow names the process.
#[test]
fn the_host_view_counts_each_query_once_and_names_the_process() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let sensor = require!(Sensor::start(&client, &["--xdp-mode", "off"]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let pid = queries(&client, SERVER_V4, QUERIES);
    let counters = sensor.settled(Deadline::secs(10));
    assert_eq!(counters["seen"], 2 * QUERIES, "{counters:#?}");
    let flows = flows(&client);
    let flow = flow_of(&flows, CLIENT_V4, "host");
    assert_eq!((&flow["queries"], &flow["responses"]), (&QUERIES.into(), &QUERIES.into()), "{flow:#}");
    assert_eq!(flow["pid"], pid, "{flow:#}");
    assert_eq!(flow["rcode"], serde_json::json!([QUERIES, 0, 0, 0]), "{flow:#}");
    let source = &sensor.status()["owner_source"];
    assert_eq!(source["source"], "current_task", "{source:#}");
    assert_eq!(source["rejected"].as_array().unwrap().len(), 3, "{source:#}");
    sensor.stop();
}

/// Where there is no cgroup2 the device's egress is the host view. Who asked is known by fentry and kprobes only; without
/// them nobody is named, and the sensor says so.
#[test]
fn without_cgroup2_the_device_shows_both_directions_once() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    client.run("umount /sys/fs/cgroup");
    let sensor = require!(Sensor::start(&client, &[]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let pid = queries(&client, SERVER_V4, QUERIES);
    let counters = sensor.settled(Deadline::secs(10));
    assert_eq!(counters["seen"], 2 * QUERIES, "{counters:#?}");
    let flows = flows(&client);
    let of_queries: Vec<_> = flows.iter().filter(|flow| flow["queries"] == QUERIES).collect();
    assert_eq!(of_queries.len(), 1, "{flows:#?}");
    let status = sensor.status();
    let named = if status["owner_source"]["source"].is_null() { Value::Null } else { pid.into() };
    assert_eq!(of_queries[0]["pid"], named, "{flows:#?}");
    assert_eq!(
        (&status["messages"], &status["lookups"]),
        (&(2 * QUERIES).into(), &QUERIES.into()),
        "{status:#}"
    );
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("no cgroup2 mount"), "{warnings}");
    assert_eq!(named.is_null(), warnings.contains("queries without their process"), "{warnings}");
    sensor.stop();
}

/// A message in one segment, two in one, one in two and one in many: all are put together.
#[test]
fn messages_over_tcp_are_put_together_from_segments() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let sensor = require!(Sensor::start(&client, &["--xdp-mode", "off"]));
    let _echo = traffic::ready(TRAFFIC, &server, &["tcp-echo", &format!("{SERVER_V4}:53")]);
    let mut command = client.command(TRAFFIC);
    command.args(["tcp-shapes", &format!("{SERVER_V4}:53")]);
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.stdout, "sent 5", "{}", done.stderr);
    let counters = sensor.settled(Deadline::secs(10));
    let status = sensor.status();
    // The echo sends each of them back from port 53.
    assert_eq!(status["messages"], 10, "{status:#}");
    let skipped: u64 =
        counters.iter().filter(|(name, _)| name.starts_with("skip_")).map(|(_, count)| count).sum();
    assert_eq!(counters["skip_tcp_ack"], skipped, "{counters:#?}");
    assert_eq!(
        counters["seen"] + counters["extra_records"],
        counters["delivered"] + skipped,
        "{counters:#?}"
    );
    sensor.stop();
}

/// A UDP GSO burst is one packet at the hook and up to 128 messages on the wire (`UDP_MAX_SEGMENTS`): each is seen,
/// and the finding is the sender's.
#[test]
fn a_gso_burst_is_as_many_messages_as_datagrams() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let sensor = require!(Sensor::start(&client, &["--xdp-mode", "off"]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    let pid = traffic::run(TRAFFIC, &client, &["gso", &format!("{SERVER_V4}:53"), "128"]);
    let counters = sensor.settled(Deadline::secs(10));
    assert_eq!((counters["seen"], counters["extra_records"]), (1, 127), "{counters:#?}");
    assert_eq!((counters["delivered"], counters["chunks_cut"]), (128, 0), "{counters:#?}");
    assert_eq!(sensor.status()["messages"], 128);
    let finding =
        sensor.wait_for_finding("leak.example", Deadline::secs(10), |finding| finding["state"] == "create");
    assert_eq!(
        (&finding["client"]["pid"], &finding["client"]["grade"]),
        (&pid.into(), &"exact".into()),
        "{finding:#}"
    );
    sensor.stop();
}

/// On a gateway the client is an address: the process runs elsewhere.
#[test]
fn a_gateway_names_the_forwarded_client_by_its_address() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    server.run("mkdir /sys/fs/cgroup/empty");
    let sensor = require!(Sensor::start(
        &server,
        &["--role", "gateway", "--interface", LINK, "--cgroup", "/sys/fs/cgroup/empty"],
    ));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "200", "5000"]);
    let finding =
        sensor.wait_for_finding("leak.example", Deadline::secs(30), |finding| finding["state"] == "create");
    assert_eq!(finding["zone"], "leak.example", "{finding:#}");
    assert_eq!(finding["client"]["kind"], "address", "{finding:#}");
    assert_eq!(finding["client"]["ip"], CLIENT_V4, "{finding:#}");
    assert_eq!(finding["view"], "wire", "{finding:#}");
    assert!(finding["client"]["pid"].is_null(), "{finding:#}");
    assert_eq!(in_state(&sensor.stop(), "create").len(), 1);
}

/// One process per query, each gone before anyone could look: one client, named by its executable.
#[test]
fn a_process_per_query_is_one_client() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let dig = require!(peer::find("dig"));
    let sensor = require!(Sensor::start(&client, &[]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let names: Vec<String> = (0..60).map(earthdog_tests::capture::leaking_name).collect();
    let script = format!("for name; do \"$0\" @{SERVER_V4} +tries=1 +time=2 $name > /dev/null; done");
    let mut command = client.command("sh");
    command.args(["-c", &script]).arg(dig).args(names);
    let loop_ = Finished::of(Process::spawn(command));
    assert!(loop_.status.success(), "{}", loop_.stderr);
    let finding =
        sensor.wait_for_finding("leak.example", Deadline::secs(30), |finding| finding["state"] == "create");
    assert_eq!(finding["client"]["kind"], "process", "{finding:#}");
    assert!(finding["client"]["exe"].as_str().unwrap().ends_with("/dig"), "{finding:#}");
    let findings = sensor.stop();
    let created = in_state(&findings, "create");
    assert_eq!(created.len(), 1, "{created:#?}");
    let last = findings.last().unwrap();
    assert!(last["client"]["pids"].as_array().unwrap().len() > 1, "{last:#}");
}

/// What it saw, and what that cost its process and the kernel.
#[test]
fn status_tells_the_cost() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let sensor = require!(Sensor::start(&client, &[]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let address = format!("{SERVER_V4}:53");
    // The kernel counts for the second after the start; so many look-ups last beyond it.
    let mut command = client.command(TRAFFIC);
    command.args(["lookup", &address, "300", "10000"]);
    let asked = Finished::of(Process::spawn(command));
    assert!(asked.status.success(), "{}", asked.stderr);
    let counted = Deadline::secs(10).poll(|| {
        let status = sensor.status();
        let programs = status["cost"]["kernel"]["programs"].as_array()?.clone();
        programs
            .into_iter()
            .find(|program| program["program"] == "host_egress" && program["runs"].as_u64() > Some(10))
    });
    let counted =
        counted.unwrap_or_else(|| panic!("no run of host_egress was counted: {}", sensor.status()["cost"]));
    assert!((50..1_000_000).contains(&counted["ns_a_run"].as_u64().unwrap()), "{counted}");
    let mut command = client.command(binary().unwrap());
    command.arg("status");
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    for says in ["lost       nothing", "host_egress", " of one CPU in the process", "who asked  "] {
        assert!(done.stdout.contains(says), "{says:?} not in:\n{}", done.stdout);
    }
    eprintln!("{}", done.stdout);
    sensor.stop();
}

#[test]
fn flows_without_a_sensor_is_1_and_says_so() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let mut command = client.command(require!(binary()));
    command.arg("flows");
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.code(), Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("/run/earthdog/control.sock") && done.stderr.contains("earthdog run"),
        "{}",
        done.stderr
    );
}

#[test]
fn doctor_names_the_hooks_and_the_blind_spots() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let mut command = client.command(require!(binary()));
    command.arg("doctor");
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.code(), Some(0), "{}{}", done.stdout, done.stderr);
    for text in [LINK, "cgroup_skb", "PACKET_QDISC_BYPASS", "VXLAN"] {
        assert!(done.stdout.contains(text), "{text} is not in:\n{}", done.stdout);
    }
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());

    let mut command = client.command("setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all"]).arg(binary().unwrap()).arg("doctor");
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.code(), Some(77), "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("CAP_BPF"), "{}", done.stderr);
}

fn flows(host: &Host) -> Vec<Value> {
    let mut command = host.command(binary().unwrap());
    command.args(["flows", "--json"]);
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let value: Value = serde_json::from_str(&done.stdout).unwrap();
    value["flows"].as_array().unwrap().clone()
}

#[track_caller]
fn flow_of<'a>(flows: &'a [Value], client: &str, view: &str) -> &'a Value {
    let mut matching = flows.iter().filter(|flow| flow["client"] == client && flow["view"] == view);
    let (Some(flow), None) = (matching.next(), matching.next()) else {
        panic!("not one {view} flow of {client}: {flows:#?}")
    };
    flow
}

/// Sends queries, each answered, and gives the sender's pid.
fn queries(from: &Host, server: &str, count: u64) -> u32 {
    traffic::run(TRAFFIC, from, &["lookup", &format!("{server}:53"), &count.to_string(), "0"])
}
