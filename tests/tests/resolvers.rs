//! Tunnels and look-ups through resolvers on the same host: one look-up each, the application's, `via` the resolver.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::iodine::Iodine;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, in_state};
use earthdog_tests::{host, peer, require, serial, traffic};
use rstest::rstest;
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const QUERIES: u64 = 200;

/// A resolver on the client's loopback and what its answers come from.
struct Resolver {
    _files: tempfile::TempDir,
    process: Process,
}

/// How it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unbound,
    /// Takes the server for an authoritative one and asks for a name's parents first (RFC 9156).
    UnboundMinimising,
    Dnsmasq,
}

impl Resolver {
    fn start(kind: Kind, client: &Host) -> Result<Self, String> {
        let files = tempfile::tempdir().unwrap();
        let (command, ready) = match kind {
            Kind::Unbound | Kind::UnboundMinimising => {
                let mut command = client.command(peer::find("unbound")?);
                command.args(["-d", "-c"]).arg(unbound_config(kind, files.path()));
                (command, "start of service")
            }
            Kind::Dnsmasq => {
                let mut command = client.command(peer::find("dnsmasq")?);
                let server = format!("--server={SERVER_V4}");
                command.args(["-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]);
                command.args(["--pid-file=", "--log-facility=-", "--cache-size=0", "--bind-interfaces"]);
                command.args(["--listen-address=127.0.0.1", &server]);
                (command, "started, version")
            }
        };
        let process = Process::spawn(command);
        process.wait_for_text(ready, Deadline::secs(10));
        Ok(Self { _files: files, process })
    }
}

fn unbound_config(kind: Kind, files: &Path) -> PathBuf {
    let upstream = match kind {
        Kind::UnboundMinimising => format!("stub-zone:\n  name: \"example\"\n  stub-addr: {SERVER_V4}\n"),
        _ => format!("forward-zone:\n  name: \".\"\n  forward-addr: {SERVER_V4}\n"),
    };
    let text = format!(
        "server:\n  interface: 127.0.0.1\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: \"{0}\"\n  \
         pidfile: \"\"\n  use-syslog: no\n  verbosity: 1\n  module-config: \"iterator\"\n  do-ip6: no\n  num-threads: 1\n  \
         qname-minimisation: yes\nremote-control:\n  control-enable: no\n{upstream}",
        files.display()
    );
    let path = files.join("unbound.conf");
    std::fs::write(&path, text).unwrap();
    path
}

/// A configuration that logs every message.
fn logging(files: &Path) -> (PathBuf, PathBuf) {
    let (config, log) = (files.join("earthdog.toml"), files.join("messages"));
    std::fs::write(&config, format!("[output]\nmessages = \"{}\"\n", log.display())).unwrap();
    (config, log)
}

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many lines there are of each view and look-up.
fn counted(lines: &[Value]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let text = |key: &str| line[key].as_str().unwrap_or("none").to_owned();
        *counts.entry((text("view"), text("lookup"))).or_default() += 1;
    }
    counts
}

#[rstest]
#[case::unbound(Kind::Unbound, true)]
#[case::unbound_started_later(Kind::Unbound, false)]
#[case::unbound_minimising(Kind::UnboundMinimising, true)]
#[case::dnsmasq(Kind::Dnsmasq, true)]
#[case::dnsmasq_started_later(Kind::Dnsmasq, false)]
fn a_leak_through_a_local_resolver_is_the_applications(#[case] kind: Kind, #[case] known_at_start: bool) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let files = tempfile::tempdir().unwrap();
    let (config, log) = logging(files.path());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let config = config.to_str().unwrap();
    let before = if known_at_start { Some(require!(Resolver::start(kind, &client))) } else { None };
    let sensor = require!(Sensor::start(&client, &["-c", config, "--xdp-mode", "off"]));
    let resolver = match before {
        Some(resolver) => resolver,
        None => require!(Resolver::start(kind, &client)),
    };

    let app = traffic::run(TRAFFIC, &client, &["leak", "127.0.0.1:53", &QUERIES.to_string(), "5000"]);
    let finding =
        sensor.wait_for_finding("leak.example", Deadline::secs(30), |finding| finding["state"] == "create");
    sensor.settled(Deadline::secs(10));
    let status = sensor.status();
    let findings = sensor.stop();
    let lines = lines(&log);
    let counts = counted(&lines);

    assert_eq!(in_state(&findings, "create").len(), 1, "{findings:#?}");
    assert_eq!((&finding["zone"], &finding["client"]["pid"]), (&"leak.example".into(), &app.into()));
    // The finding may be made before the resolver's first response.
    let close = findings.last().unwrap();
    assert_eq!(close["client"]["via"], resolver.process.exe(), "{close:#}");
    assert_eq!(finding["client"]["grade"], "exact", "{finding:#}");

    // Each name is one look-up, and all that the resolver asks is part of one.
    assert_eq!(status["folded"]["first"], QUERIES, "{counts:#?}");
    let upstream: Vec<_> = lines.iter().filter(|line| line["lookup"] == "forwarded").collect();
    assert!(upstream.len() as u64 >= QUERIES, "{counts:#?}");
    let sure = |line: &&&Value| line["client"]["grade"] == "exact";
    for line in &upstream {
        assert_eq!(line["owner"]["pid"], resolver.process.pid(), "{line:#}");
        assert_eq!(line["client"]["pid"], app, "{line:#}");
        // A process that ran before may not have been read from /proc yet when its first packets came.
        let via = line["client"]["via"].as_str().unwrap();
        assert!(
            via == resolver.process.exe() || resolver.process.exe().ends_with(&format!("/{via}")),
            "{line:#}"
        );
    }
    let minimised = upstream.iter().any(|line| line["name"] == "leak.example");
    assert_eq!(minimised, kind == Kind::UnboundMinimising, "{counts:#?}");
    // Before its first response it can only be supposed to be the resolver.
    let guessed = upstream.len() - upstream.iter().filter(sure).count();
    assert!(if known_at_start { guessed == 0 } else { (1..20).contains(&guessed) }, "{guessed} {counts:#?}");
    assert_eq!(status["folded"]["unsolicited"], 0, "{counts:#?}");
}

/// A real tunnel, upstream by way of the resolver: the finding is iodine's, and the resolver has none.
#[rstest]
#[case::unbound(Kind::Unbound, "TXT")]
#[case::dnsmasq(Kind::Dnsmasq, "TXT")]
#[case::dnsmasq_cname(Kind::Dnsmasq, "CNAME")]
fn iodine_through_a_local_resolver_gives_one_finding(#[case] kind: Kind, #[case] qtype: &str) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let iodine = require!(Iodine::find());
    let resolver = require!(Resolver::start(kind, &client));
    let sensor = require!(Sensor::start(&client, &[]));
    let _daemon = iodine.listen(&server);
    let tunnel = iodine.connect(&client, &["-r", "-T", qtype], "127.0.0.1");
    tunnel.wait_for_text("Connection setup complete", Deadline::secs(60));
    let finding = sensor.wait_for_finding("tunnel.example", Deadline::secs(30), |finding| {
        finding["state"] == "create" && finding["zone"] == "tunnel.example"
    });
    assert_eq!(finding["client"]["pid"], tunnel.pid(), "{finding:#}");
    assert_eq!(finding["client"]["exe"], tunnel.exe(), "{finding:#}");
    let (exe, via) = (tunnel.exe(), resolver.process.exe());
    let findings = sensor.stop();
    assert_eq!(in_state(&findings, "create").len(), 1, "one tunnel, one finding, {exe}: {findings:#?}");
    assert_eq!(findings.last().unwrap()["client"]["via"], via, "{findings:#?}");
}

/// As glibc asks for a name that is nowhere: by itself and with each suffix of the search list, for two types each.
#[test]
fn a_search_list_is_one_look_up() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let files = tempfile::tempdir().unwrap();
    let (config, log) = logging(files.path());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let resolv = files.path().join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {SERVER_V4}\nsearch corp.test lab.test\n")).unwrap();
    // The same file for both, as on any host.
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let mut command = client.command("sh");
    command.args(["-c", script]).arg(&resolv).arg("true");
    assert!(Finished::of(Process::spawn(command)).status.success());
    let sensor = require!(Sensor::start(&client, &["-c", config.to_str().unwrap(), "--xdp-mode", "off"]));
    // The list is read once a second.
    std::thread::park_timeout(std::time::Duration::from_millis(1500));
    let dig = require!(peer::find("dig"));
    let mut command = client.command(dig);
    // One process and socket a name: dig asks for each name of its list by itself.
    command.args([&format!("@{SERVER_V4}"), "+tries=1", "nowhere.corp.test", "nowhere.lab.test", "nowhere."]);
    assert!(Finished::of(Process::spawn(command)).status.success());
    let _ = sensor.settled(Deadline::secs(10));
    let status = sensor.status();
    sensor.stop();
    let folded = &status["folded"];
    assert_eq!((&folded["first"], &folded["twin"]), (&1.into(), &2.into()), "{:#?}", counted(&lines(&log)));
}

/// Docker's pattern: a process outside the container answers from a socket inside the container's network namespace, on a
/// port that nat rules there put in 53's place, and asks upstream from its own.
#[test]
fn a_resolver_in_another_namespace_is_seen_through() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let nft = require!(peer::find("nft"));
    let files = tempfile::tempdir().unwrap();
    let (config, log) = logging(files.path());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let sensor = require!(Sensor::start(&client, &["-c", config.to_str().unwrap(), "--xdp-mode", "off"]));

    let mut command = client.command("unshare");
    command.args(["-n", "sh", "-c", "ip link set lo up && echo ready && exec sleep 100"]);
    let container = Process::spawn(command);
    container.wait_for_text("ready", Deadline::secs(10));
    let inside = |program: &Path| {
        let mut command = client.command("nsenter");
        command.args(["-t", &container.pid().to_string(), "-n"]).arg(program);
        command
    };
    let mut command = client.command(env!("CARGO_BIN_EXE_embedded-resolver"));
    command.args([container.pid().to_string(), "127.0.0.11:0".to_owned(), format!("{SERVER_V4}:53")]);
    let resolver = Process::spawn(command);
    let said = resolver.wait_for_text("ready", Deadline::secs(10));
    let port = said.split_whitespace().last().unwrap();
    // As Docker writes them (libnetwork, resolver_unix.go).
    let rules = files.path().join("rules");
    let text = format!(
        "table ip nat {{\n\
         chain out {{ type nat hook output priority -100; ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:{port}; }}\n\
         chain back {{ type nat hook postrouting priority 100; ip saddr 127.0.0.11 udp sport {port} snat to :53; }}\n}}\n"
    );
    std::fs::write(&rules, text).unwrap();
    let mut command = inside(&nft);
    command.arg("-f").arg(&rules);
    let done = Finished::of(Process::spawn(command));
    assert!(done.status.success(), "{}", done.stderr);

    let mut command = inside(Path::new(TRAFFIC));
    command.args(["leak", "127.0.0.11:53", &QUERIES.to_string(), "5000"]);
    let app = Process::spawn(command);
    let pid = app.pid();
    assert!(Finished::of(app).stdout.starts_with("sent "));
    let finding =
        sensor.wait_for_finding("leak.example", Deadline::secs(30), |finding| finding["state"] == "create");
    sensor.settled(Deadline::secs(10));
    let status = sensor.status();
    let findings = sensor.stop();
    let lines = lines(&log);
    let counts = counted(&lines);

    assert_eq!(in_state(&findings, "create").len(), 1, "{findings:#?}");
    assert_eq!((&finding["client"]["pid"], &finding["client"]["ip"]), (&pid.into(), &"127.0.0.1".into()));
    assert_eq!(findings.last().unwrap()["client"]["via"], resolver.exe(), "{findings:#?}");
    assert_eq!(status["folded"]["first"], QUERIES, "{counts:#?}");
    assert_eq!(status["folded"]["forwarded"], QUERIES, "{counts:#?}");
    assert_eq!(status["folded"]["unsolicited"], 0, "{counts:#?}");
    let sure = |line: &Value| line["lookup"] == "forwarded" && line["client"]["grade"] == "exact";
    let known = lines.iter().filter(|line| sure(line)).count() as u64;
    assert!(known >= QUERIES - 20, "{known} {counts:#?}");
    for line in lines.iter().filter(|line| line["lookup"] == "first") {
        assert_eq!(line["dst"], "127.0.0.11:53", "{line:#}");
    }
}
