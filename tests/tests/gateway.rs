//! One message seen on several sides of address translation, and at the wire of a host that sent it itself, is one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write as _;
use std::process::Stdio;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{CLIENT_V4, Host, LINK, SERVER_V4};
use earthdog_tests::kernel::bpf;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, in_state};
use earthdog_tests::{host, peer, require, serial, traffic};
use rstest::rstest;
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const QUERIES: u64 = 200;
/// The network behind the gateway, and the gateway's side of it.
const INSIDE_V4: &str = "192.168.77.2";
const GATEWAY_V4: &str = "192.168.77.1";
/// Its interfaces: to the client, and to the server.
const LAN: &str = "lan0";
const WAN: &str = "wan0";

/// Client, masquerading gateway and server in a row.
fn row(masquerade: &str) -> Result<(Host, Host, Host), String> {
    bpf()?;
    let (client, gateway, server) = (Host::new()?, Host::new()?, Host::new()?);
    client.link(LAN, &gateway, LAN);
    gateway.link(WAN, &server, WAN);
    for (host, address, interface) in [
        (&client, INSIDE_V4, LAN),
        (&gateway, GATEWAY_V4, LAN),
        (&gateway, CLIENT_V4, WAN),
        (&server, SERVER_V4, WAN),
    ] {
        host.ip(&format!("addr add {address}/24 dev {interface}"));
        host.ip(&format!("link set {interface} up"));
    }
    client.ip(&format!("route add default via {GATEWAY_V4}"));
    gateway.forward();
    nat(&gateway, WAN, masquerade)?;
    Ok((client, gateway, server))
}

/// Rewrites what leaves by an interface to the address of that interface.
fn nat(host: &Host, interface: &str, masquerade: &str) -> Result<(), String> {
    // A line each: nft 1.0 takes no `}` behind another one.
    let rules = format!(
        "table ip nat {{\n\
         chain out {{ type nat hook postrouting priority srcnat; oifname \"{interface}\" {masquerade}; }}\n\
         }}\n"
    );
    let mut nft = host.command(peer::find("nft")?);
    let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    let done = nft.wait_with_output().unwrap();
    if done.status.success() {
        return Ok(());
    }
    Err(format!("nft: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

/// Counts of `status`, once all has been read.
fn folded(sensor: &Sensor) -> impl Fn(&str) -> u64 + use<> {
    sensor.settled(Deadline::secs(10));
    let folded = sensor.status()["folded"].clone();
    move |name| folded[name].as_u64().unwrap_or_else(|| panic!("no {name}: {folded:#}"))
}

/// Watched on the side of the client only: queries before translation, answers after it was undone.
#[test]
fn a_masquerading_gateway_shows_the_clients_own_address() {
    let _alone = serial::lock();
    let (client, gateway, server) = require!(row("masquerade"));
    let files = tempfile::tempdir().unwrap();
    let (config, log) = (files.path().join("earthdog.toml"), files.path().join("messages"));
    std::fs::write(&config, format!("[output]\nmessages = \"{}\"\n", log.display())).unwrap();
    let config = config.to_str().unwrap();
    let arguments = ["-c", config, "--role", "gateway", "--interface", LAN];
    let sensor = require!(Sensor::start(&gateway, &arguments));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    lookups(&client);
    let count = folded(&sensor);
    let status = sensor.status();
    sensor.stop();
    assert_eq!((count("first"), count("answer")), (QUERIES, QUERIES), "{status:#}");
    assert_eq!((count("duplicate"), count("unsolicited"), count("joined")), (0, 0, 0), "{status:#}");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, 2 * QUERIES);
    for line in lines {
        let (view, end) =
            if line["response"] == true { ("wire_egress", "dst") } else { ("wire_ingress", "src") };
        assert_eq!(line["view"], view, "{line:#}");
        assert!(line[end].as_str().unwrap().starts_with(&format!("{INSIDE_V4}:")), "{line:#}");
        assert_eq!((&line["client"]["kind"], &line["client"]["ip"]), (&"address".into(), &INSIDE_V4.into()));
    }
}

/// Watched on both sides, each message is seen twice and counted once, whether or not its port is kept.
#[rstest]
#[case::ports_kept("masquerade")]
#[case::ports_changed("masquerade random")]
fn both_sides_of_a_masquerading_gateway_count_once(#[case] masquerade: &str) {
    let _alone = serial::lock();
    let (client, gateway, server) = require!(row(masquerade));
    let arguments = ["--role", "gateway", "--interface", LAN, "--interface", WAN];
    let sensor = require!(Sensor::start(&gateway, &arguments));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    lookups(&client);
    let count = folded(&sensor);
    assert_eq!((count("first"), count("answer")), (QUERIES, QUERIES));
    assert_eq!((count("duplicate"), count("unsolicited")), (2 * QUERIES, 0));
    assert_eq!(sensor.status()["clients"], 1);

    let _pid = traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "100", "5000"]);
    sensor.wait_for_finding("leak.example", Deadline::secs(30), |finding| finding["state"] == "create");
    // The look-ups before it may make a finding of their own: as many names that nobody asks twice.
    let findings = sensor.stop();
    let of_leak = |state| -> Vec<&Value> {
        in_state(&findings, state).into_iter().filter(|finding| finding["zone"] == "leak.example").collect()
    };
    let (created, closed) = (of_leak("create"), of_leak("close"));
    assert_eq!((created.len(), closed.len()), (1, 1), "{findings:#?}");
    assert_eq!(created[0]["client"]["ip"], INSIDE_V4, "{:#}", created[0]);
    assert_eq!(closed[0]["queries"], 100, "{:#}", closed[0]);
}

/// The wire view of a host's own traffic finds its sender.
#[test]
fn the_wire_view_of_own_traffic_is_joined_and_counted_once() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let sensor = require!(Sensor::start(&client, &["--interface", LINK]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    lookups(&client);
    let count = folded(&sensor);
    // The query at its socket; the answer on the wire, then at the socket.
    assert_eq!((count("first"), count("answer"), count("duplicate")), (QUERIES, QUERIES, QUERIES));
    assert_eq!((count("joined"), count("joined_inferred"), count("unsolicited")), (QUERIES, 0, 0));
    sensor.stop();
}

/// A namespace of its own below the host, as a container has: routed, or behind the host's address.
#[rstest]
#[case::routed(false)]
#[case::masqueraded(true)]
fn the_wire_view_of_a_containers_traffic_is_joined_with_a_lower_grade(#[case] masqueraded: bool) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    client.forward();
    if masqueraded {
        require!(nat(&client, LINK, "masquerade"));
    } else {
        server.ip(&format!("route add 10.66.0.0/24 via {CLIENT_V4}"));
    }
    let sensor = require!(Sensor::start(&client, &["--interface", LINK]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let script = format!(
        "ip link set lo up && ip link add c0 type veth peer name cont0 netns {} && ip addr add 10.66.0.2/24 dev c0 \
         && ip link set c0 up && nsenter -t {} -n sh -c 'ip addr add 10.66.0.1/24 dev cont0 && ip link set cont0 up' \
         && ip route add default via 10.66.0.1 && exec \"$@\"",
        client.pid(),
        client.pid()
    );
    let mut command = client.command("unshare");
    command.args(["-n", "sh", "-c", &script, "sh", TRAFFIC, "lookup", &format!("{SERVER_V4}:53")]);
    command.args([&QUERIES.to_string(), "0"]);
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.stdout, format!("sent {QUERIES} received {QUERIES}"), "{}", done.stderr);
    let count = folded(&sensor);
    assert_eq!((count("first"), count("answer"), count("duplicate")), (QUERIES, QUERIES, QUERIES));
    assert_eq!((count("joined"), count("joined_inferred"), count("unsolicited")), (0, QUERIES, 0));
    let status = sensor.status();
    assert_eq!(status["clients"], 2, "the process and its address: {status:#}");
    sensor.stop();
}

fn lookups(from: &Host) {
    traffic::run(TRAFFIC, from, &["lookup", &format!("{SERVER_V4}:53"), &QUERIES.to_string(), "0"]);
}
