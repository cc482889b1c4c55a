//! Real tunnels between two hosts under the running sensor: one finding each, naming process and zone; ordinary
//! traffic beside them: none.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{CLIENT_V4, Host, LINK, SERVER_V4};
use earthdog_tests::iodine::{Iodine, ZONE};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, in_state};
use earthdog_tests::{host, peer, require, serial, traffic};
use rstest::rstest;
use serde_json::Value;

/// The product's promise: a finding within this time from the tunnel's first query.
const WITHIN_SECS: u64 = 30;
/// Where ordinary queries go; `SERVER_V4` port 53 belongs to the tunnel's server.
const ORDINARY_V4: &str = "10.77.0.3";
const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");

#[rstest]
#[case::null("NULL")]
#[case::txt("TXT")]
#[case::cname("CNAME")]
#[case::a("A")]
#[case::mx("MX")]
#[case::srv("SRV")]
fn iodine_gives_one_finding(#[case] qtype: &str) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let iodine = require!(Iodine::find());
    let sensor = require!(Sensor::start(&client, &[]));
    let _benign = require!(Benign::start(&client, &server));

    let _server = iodine.listen(&server);
    let mut tunnel = iodine.connect(&client, &["-r", "-T", qtype], SERVER_V4);
    let found_by = Deadline::secs(WITHIN_SECS);
    if let Some(_echo) = through_iodine(&mut tunnel, &client, &server) {
        let finding = sensor.wait_for_finding(ZONE, found_by, is_created);
        check_finding(&finding, &tunnel, "/iodine");
    } else {
        panic!("iodine -T {qtype} did not connect:\n{}", tunnel.transcript());
    }
    one_finding(&sensor.stop());
}

/// Without `-r` iodine sends raw datagrams on port 53: one finding that names it.
#[test]
fn iodine_in_raw_mode_gives_one_finding() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let iodine = require!(Iodine::find());
    let mut sensor = require!(Sensor::start(&client, &[]));
    let _server = iodine.listen(&server);
    let mut tunnel = iodine.connect(&client, &[], SERVER_V4);
    let connected = through_iodine(&mut tunnel, &client, &server).is_some();
    assert!(connected, "iodine did not connect:\n{}", tunnel.transcript());
    assert!(sensor.process().ended().is_none(), "the sensor ended:\n{}", sensor.process().transcript());
    let findings = sensor.stop();
    let created = in_state(&findings, "create");
    let [raw] = created[..] else { panic!("one tunnel, one finding: {created:#?}") };
    assert_eq!((&raw["rule"], &raw["tool"]), (&"dns-non-dns".into(), &"iodine".into()), "{raw:#?}");
    assert_eq!(raw["client"]["pid"], tunnel.pid(), "{raw:#?}");
}

#[rstest]
#[case::txt("TXT")]
#[case::key("KEY")]
fn dns2tcp_gives_one_finding(#[case] qtype: &str) {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let (dns2tcpc, dns2tcpd) = (require!(peer::find("dns2tcpc")), require!(peer::find("dns2tcpd")));
    let sensor = require!(Sensor::start(&client, &[]));
    let _benign = require!(Benign::start(&client, &server));

    let files = tempfile::tempdir().unwrap();
    let _echo = traffic::ready(TRAFFIC, &server, &["tcp-echo", "127.0.0.1:7000"]);
    let _server = dns2tcpd_on(&server, &dns2tcpd, files.path());
    let mut command = client.command(&dns2tcpc);
    command.args(["-r", "echo", "-z", &format!("t.{ZONE}"), "-k", "secret", "-l", "7001", "-T", qtype]);
    command.args(["-d", "1", SERVER_V4]);
    let tunnel = Process::spawn(command);
    tunnel.wait_for_text("Listening on port", Deadline::secs(10));
    let found_by = Deadline::secs(WITHIN_SECS);
    // What goes through the tunnel comes back: the tunnel works, whatever the sensor says of it.
    let mut sender = client.command("bash");
    sender.args(["-c", SEND_AND_READ_BACK]);
    let sent = Finished::of(Process::spawn(sender));
    assert_eq!(sent.stdout.trim(), "12000", "{}\n{}", sent.stderr, tunnel.transcript());
    let finding = sensor.wait_for_finding(ZONE, found_by, is_created);
    check_finding(&finding, &tunnel, "/dns2tcpc");
    one_finding(&sensor.stop());
}

/// Ordinary traffic alone, by every door: a stub over libc, dig, and a resolver that forwards for both.
#[test]
fn ordinary_traffic_gives_no_finding() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let sensor = require!(Sensor::start(&client, &[]));
    let benign = require!(Benign::start(&client, &server));
    benign.finish();
    let names = ordinary_names().len() as u64;
    let messages = sensor.status()["messages"].as_u64().unwrap();
    assert!(messages > 4 * names, "{messages} messages: query and response, from dig and getent at least");
    let findings = sensor.stop();
    assert_eq!(findings, Vec::<Value>::new());
}

/// 12,000 bytes through the tunnel's local end and back, in pieces that the echo returns before the next goes.
const SEND_AND_READ_BACK: &str = "exec 3<>/dev/tcp/127.0.0.1/7001; total=0
    for i in $(seq 12); do head -c 500 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' >&3
    n=$(head -c 1000 <&3 | wc -c); total=$((total + n)); done; echo $total";

fn is_created(finding: &Value) -> bool {
    finding["state"] == "create"
}

fn check_finding(finding: &Value, tunnel: &Process, exe_end: &str) {
    assert_eq!(finding["zone"], ZONE, "{finding:#}");
    assert_eq!(finding["origin"], "live", "{finding:#}");
    assert_eq!(finding["client"]["kind"], "process", "{finding:#}");
    assert_eq!(finding["client"]["pid"], tunnel.pid(), "{finding:#}");
    assert_eq!(finding["client"]["exe"], tunnel.exe(), "{finding:#}");
    assert!(tunnel.exe().ends_with(exe_end), "the launcher is still there: {}", tunnel.exe());
    assert_eq!(finding["client"]["uid"], 0, "{finding:#}");
    assert_eq!(finding["client"]["ip"], CLIENT_V4, "{finding:#}");
    let took = seconds_to_finding(finding);
    eprintln!(
        "{exe_end}: found after {took:.1} s, {} queries, {} to {} bytes up",
        finding["queries"], finding["bytes_up"]["low"], finding["bytes_up"]["high"]
    );
    assert!(took <= WITHIN_SECS as f64, "{took} s: {finding:#}");
    assert!(finding["severity"] == "medium" || finding["severity"] == "high", "{finding:#}");
}

/// From the tunnel's first query to the finding, by the sensor's own times.
fn seconds_to_finding(finding: &Value) -> f64 {
    let time = |key: &str| finding[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    time("time").duration_since(time("first_seen")).as_secs_f64()
}

fn one_finding(findings: &[Value]) {
    let created = in_state(findings, "create");
    assert_eq!(created.len(), 1, "one tunnel, one finding:\n{created:#?}");
}

/// Waits for the tunnel's connection, then sends through it and expects most of it back. `None` if it never connects.
fn through_iodine(tunnel: &mut Process, client: &Host, server: &Host) -> Option<Process> {
    tunnel.try_wait_for(Deadline::secs(40), |lines| {
        lines.iter().any(|(_, line)| line.contains("Connection setup complete")).then_some(())
    })?;
    let echo = traffic::ready(TRAFFIC, server, &["echo", "10.88.0.1:7000"]);
    let mut command = client.command(TRAFFIC);
    command.args(["ping", "10.88.0.1:7000", "100", "20000"]);
    let sent = Finished::of(Process::spawn(command));
    assert!(sent.stdout.starts_with("sent 100 received "), "{}{}", sent.stdout, sent.stderr);
    assert!(!sent.stdout.starts_with("sent 100 received 0 "), "nothing came back through the tunnel");
    Some(echo)
}

fn dns2tcpd_on(server: &Host, dns2tcpd: &Path, files: &Path) -> Process {
    let config = files.join("dns2tcpd.conf");
    let text = format!(
        "listen = {SERVER_V4}\nport = 53\nuser = root\nchroot = {}\ndomain = t.{ZONE}\nkey = secret\n\
         resources = echo:127.0.0.1:7000\n",
        files.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = server.command(dns2tcpd);
    command.args(["-F", "-d", "1", "-f"]).arg(&config);
    let process = Process::spawn(command);
    process.wait_for_text("Listening on", Deadline::secs(10));
    process
}

/// Ordinary look-ups from the client's side, beside whatever else runs there.
struct Benign {
    _files: tempfile::TempDir,
    _servers: Vec<Process>,
    clients: Vec<Process>,
}

impl Benign {
    /// A forwarding unbound on the client's loopback; getent through it, dig directly.
    fn start(client: &Host, server: &Host) -> Result<Self, String> {
        let (unbound, dig) = (peer::find("unbound")?, peer::find("dig")?);
        server.ip(&format!("addr add {ORDINARY_V4}/24 dev {LINK}"));
        let files = tempfile::tempdir().unwrap();
        let servers = vec![
            traffic::ready(TRAFFIC, server, &["dns", &format!("{ORDINARY_V4}:53")]),
            unbound_on(client, &unbound, files.path()),
        ];
        let names = files.path().join("names");
        std::fs::write(&names, ordinary_names().join("\n")).unwrap();
        let mut getent = client.command_with_resolver("127.0.0.1", "sh");
        getent
            .args(["-c", "while read -r name; do getent ahosts $name > /dev/null; done < \"$0\""])
            .arg(&names);
        let mut command = client.command(dig);
        command.arg(format!("@{ORDINARY_V4}")).args(["+tries=1", "+time=2", "-f"]).arg(&names);
        let clients = vec![Process::spawn(getent), Process::spawn(command)];
        Ok(Self { _files: files, _servers: servers, clients })
    }

    /// Waits until every look-up was made.
    fn finish(mut self) {
        for client in &mut self.clients {
            let status = client.wait(Deadline::secs(60));
            assert!(status.success(), "{status}: {}", client.transcript());
        }
    }
}

fn unbound_on(client: &Host, unbound: &Path, files: &Path) -> Process {
    let config: PathBuf = files.join("unbound.conf");
    let text = format!(
        "server:\n  interface: 127.0.0.1\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: \"{0}\"\n  \
         pidfile: \"\"\n  use-syslog: no\n  verbosity: 1\n  module-config: \"iterator\"\n  do-ip6: no\n\
         remote-control:\n  control-enable: no\n\
         forward-zone:\n  name: \".\"\n  forward-addr: {ORDINARY_V4}\n",
        files.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = client.command(unbound);
    command.args(["-d", "-c"]).arg(&config);
    let process = Process::spawn(command);
    process.wait_for_text("start of service", Deadline::secs(10));
    process
}

/// What a desktop asks in an hour: a few hosts under each of some zones, none carrying anything.
fn ordinary_names() -> Vec<String> {
    const HOSTS: [&str; 8] = ["www", "mail", "api", "cdn", "static", "img", "login", "assets"];
    const ZONES: [&str; 20] = [
        "wikipedia.org",
        "debian.org",
        "example.com",
        "example.org",
        "example.net",
        "kernel.org",
        "rust-lang.org",
        "python.org",
        "gnu.org",
        "ietf.org",
        "iana.org",
        "mozilla.org",
        "archlinux.org",
        "openbsd.org",
        "sqlite.org",
        "postgresql.org",
        "nginx.org",
        "apache.org",
        "ubuntu.com",
        "fedoraproject.org",
    ];
    ZONES.iter().flat_map(|zone| HOSTS.iter().map(move |host| format!("{host}.{zone}"))).collect()
}
