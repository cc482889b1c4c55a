//! The sensor as a service: what it tells systemd and when, and the unit that is shipped for it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::{Process, Stream};
use earthdog_tests::sensor::{self, Finished, binary};
use earthdog_tests::{host, require, serial, traffic};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
/// Runs as an ordinary user with what the unit's `AmbientCapabilities=` names, and no more.
const AS_SERVICE: &str = "install -d -o 65534 -g 65534 /run/earthdog /var/lib/earthdog && caps=$1 && shift && \
    exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \
    --inh-caps -all,$caps --ambient-caps -all,$caps --bounding-set -all,$caps -- \"$@\"";

fn unit() -> String {
    std::fs::read_to_string(unit_path()).unwrap()
}

fn unit_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sensor-user/deploy/systemd/earthdog.service")
}

/// The end of systemd's socket that reads.
struct Told(UnixDatagram);

impl Told {
    fn at(host: &Host) -> Self {
        let path = host.file("/run/notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        Self(socket)
    }

    /// The next message of which no line begins with one of `skip`.
    fn next(&self, skip: &[&str], deadline: Deadline) -> Option<String> {
        let mut message = [0; 4096];
        while !deadline.passed() {
            self.0.set_read_timeout(Some(deadline.left().max(Duration::from_millis(1)))).unwrap();
            let Ok(read) = self.0.recv(&mut message) else { continue };
            let text = String::from_utf8(message[..read].to_vec()).unwrap();
            if !skip.iter().any(|skip| text.starts_with(skip)) {
                return Some(text);
            }
        }
        None
    }
}

fn start(client: &Host, environment: &[(&str, &str)]) -> Process {
    let binary = if environment.is_empty() { binary() } else { sensor::beside() };
    let mut command = client.command(binary.unwrap());
    command.args(["run", "--output", "json"]).env("NOTIFY_SOCKET", "/run/notify.sock");
    command.env("WATCHDOG_USEC", "3000000").envs(environment.iter().copied());
    Process::spawn(command)
}

#[test]
fn systemd_is_told_of_start_life_reload_and_stop_in_order() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let told = Told::at(&client);
    let mut sensor = start(&client, &[]);
    let next = |skip: &[&str]| told.next(skip, Deadline::secs(20)).unwrap_or_else(|| panic!("nothing told"));
    let ready = next(&[]);
    assert!(ready.starts_with("READY=1\nSTATUS=watching with "), "the first of all: {ready}");
    let hooks = earthdog_tests::attached::to(&client, TRAFFIC);
    assert!(!hooks.is_empty(), "ready means attached");
    assert_eq!(next(&["STATUS="]).trim(), "WATCHDOG=1");

    let quiet = ["STATUS=", "WATCHDOG=1"];
    sensor.signal("HUP");
    let reloading = next(&quiet);
    let since: u64 = reloading.trim().strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!((uptime - since as f64 / 1e6).abs() < 5.0, "{since} at {uptime}");
    let again = next(&quiet);
    assert!(again.starts_with("READY=1\nSTATUS=watching with "), "{again}");

    assert_eq!(next(&["STATUS="]).trim(), "WATCHDOG=1");
    sensor.signal("TERM");
    assert_eq!(next(&quiet).trim(), "STOPPING=1");
    assert_eq!(sensor.wait(Deadline::secs(20)).code(), Some(0));
    assert_eq!(told.next(&[], Deadline::after(Duration::from_millis(100))), None, "nothing after it");
}

/// The rings are read no more while everything else goes on: it answers, ticks and tells its status.
#[test]
fn a_pipeline_that_hangs_feeds_no_watchdog() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let told = Told::at(&client);
    let sensor = start(&client, &[("EARTHDOG_STOPPED_STAGE", "drain")]);
    assert!(told.next(&[], Deadline::secs(20)).unwrap().starts_with("READY=1"));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "20", "1000"]);
    assert_eq!(told.next(&["STATUS="], Deadline::secs(5)), None, "five ticks and no sign of life");
    let mut status = client.command(binary().unwrap());
    status.arg("status");
    let status = Finished::of(Process::spawn(status));
    assert!(status.code() == Some(0) && status.stdout.contains("hook "), "{}", status.stdout);
    drop(sensor);
}

#[test]
fn a_socket_that_nobody_reads_is_told_once() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let sensor = start(&client, &[]);
    sensor.wait_for_text("warning: cannot tell systemd how it goes: NOTIFY_SOCKET: ", Deadline::secs(20));
    let told = || sensor.lines(Stream::Err).iter().filter(|line| line.contains("NOTIFY_SOCKET")).count();
    let again = Deadline::secs(3).poll(|| (told() > 1).then(|| sensor.lines(Stream::Err)));
    assert_eq!(again, None, "told more than once in three ticks");
}

/// With the unit's capabilities and no user's rights the sensor attaches and knows the program of another user.
#[test]
fn the_units_capabilities_are_enough() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let told = Told::at(&client);
    let unit = unit();
    let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
    assert_eq!(of("AmbientCapabilities="), of("CapabilityBoundingSet="));
    let wanted: Vec<_> = of("AmbientCapabilities=")
        .split(' ')
        .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let mut command = client.command("sh");
    command.args(["-c", AS_SERVICE, "sh", &wanted.join(",")]).arg(binary().unwrap());
    command.args(["run", "--output", "json"]).env("NOTIFY_SOCKET", "/run/notify.sock");
    let sensor = Process::spawn(command);
    let ready = told.next(&[], Deadline::secs(20)).unwrap_or_else(|| panic!("{}", sensor.transcript()));
    assert!(ready.starts_with("READY=1\nSTATUS=watching with "), "{ready}");
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "40", "1000"]);
    let finding = sensor.wait_for_text("leak.example", Deadline::secs(20));
    let finding: serde_json::Value = serde_json::from_str(&finding).unwrap();
    assert_eq!((&finding["client"]["exe"], &finding["client"]["uid"]), (&TRAFFIC.into(), &0.into()));
    let mut status = client.command(binary().unwrap());
    status.args(["status", "--json"]);
    let status: serde_json::Value =
        serde_json::from_str(&Finished::of(Process::spawn(status)).stdout).unwrap();
    let privilege = &status["privilege"];
    assert_eq!(
        (&privilege["split"], &privilege["missing"]),
        (&true.into(), &serde_json::json!([])),
        "{privilege:#}"
    );
    let kept: Vec<_> = privilege["helper"]["capabilities"].as_array().unwrap().iter().collect();
    assert_eq!(kept.len(), wanted.len(), "the helper has what the unit gives: {privilege:#}");
    let lines = sensor.transcript();
    assert!(!lines.contains("refused") && !lines.contains("no store"), "{lines}");
}

/// System calls of a name, or of all in a set, as this systemd has them.
fn expand(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let output =
        Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let inside =
        text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    inside.flat_map(expand).collect()
}

/// What a sensor calls that starts, attaches, answers and stops, past what the unit's lines leave over one by one.
#[test]
fn the_units_filter_refuses_no_system_call_that_the_sensor_makes() {
    let _alone = serial::lock();
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !is_there("systemd-analyze") || !is_there("strace") {
        earthdog_tests::kernel::skip(&"no systemd-analyze or no strace here");
        return;
    }
    let mut allowed = expand("@default");
    for line in unit().lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let refused = line.strip_prefix('~');
        for name in refused.unwrap_or(line).split(' ') {
            let these = expand(name);
            assert!(!these.is_empty(), "{name}");
            allowed.retain(|call| refused.is_none() || !these.contains(call));
            allowed.extend(these.into_iter().filter(|_| refused.is_none()));
        }
    }
    let (client, _server) = require!(host::pair());
    std::fs::write(client.file("/run/earthdog.toml"), "[live]\nnice = 1\n").unwrap();
    let mut command = client.command("strace");
    command.args(["-f", "-qq", "-o", "/run/calls"]).arg(binary().unwrap());
    command.args(["run", "-c", "/run/earthdog.toml", "--duration", "4"]);
    let mut sensor = Process::spawn(command);
    sensor.wait_for_text("watching with ", Deadline::secs(30));
    let mut status = client.command(binary().unwrap());
    status.arg("status");
    assert_eq!(Finished::of(Process::spawn(status)).code(), Some(0));
    assert_eq!(sensor.wait(Deadline::secs(60)).code(), Some(0), "{}", sensor.transcript());
    let log = std::fs::read_to_string(client.file("/run/calls")).unwrap();
    let name = |line: &str| Some(line.split_whitespace().nth(1)?.split_once('(')?.0.to_owned());
    let made: BTreeSet<_> = log.lines().filter_map(name).collect();
    assert!(made.contains("bpf") && made.contains("setpriority") && made.len() > 30, "{made:?}");
    let refused: Vec<_> = made.difference(&allowed).collect();
    assert_eq!(refused, Vec::<&String>::new());
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).output();
    if analyze(&["--version"]).is_err() {
        earthdog_tests::kernel::skip(&"no systemd-analyze here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("earthdog.service");
    // `verify` wants to see the program.
    let installed = "/usr/bin/earthdog";
    let text = unit();
    assert_eq!(text.matches(installed).count(), 2);
    std::fs::write(&path, text.replace(installed, &require!(binary()).display().to_string())).unwrap();
    let path = path.to_str().unwrap();
    let verified = analyze(&["verify", path]).unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let about_us: Vec<_> = said.lines().filter(|line| line.contains("earthdog")).collect();
    assert!(verified.status.success() && about_us.is_empty(), "{said}");
    // In tenths.
    let judged = analyze(&["security", "--offline=true", "--threshold=30", "--no-pager", path]).unwrap();
    let table = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.status.success(), "{table}\n{}", String::from_utf8_lossy(&judged.stderr));
    assert!(table.contains("Overall exposure level for earthdog.service: "), "{table}");
}
