//! `earthdog run` where it cannot run, or not fully: a clear error that says what to do, the documented exit code,
//! and nothing attached left behind.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, LINK, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::{attached, host, require, serial};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");

/// Runs `earthdog run` in a host to its end.
fn run(host: &Host, arguments: &[&str]) -> Finished {
    let mut command = host.command(binary().unwrap());
    command.arg("run").args(arguments);
    Finished::of(Process::spawn(command))
}

/// Runs `earthdog run` in a mount namespace of its own after `change` was made there.
fn run_after(host: &Host, change: &str, arguments: &[&str]) -> Finished {
    let mut command = host.command("unshare");
    command.args(["-m", "sh", "-c", &format!("{change} && exec \"$0\" run \"$@\"")]);
    command.arg(binary().unwrap()).args(arguments);
    Finished::of(Process::spawn(command))
}

#[track_caller]
fn assert_ends(host: &Host, done: &Finished, code: i32, says: &[&str]) {
    assert_eq!(done.code(), Some(code), "stderr: {}", done.stderr);
    for text in says {
        assert!(done.stderr.contains(text), "{text:?} is not in: {}", done.stderr);
    }
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    let gone = Deadline::secs(5).poll(|| attached::to(host, TRAFFIC).is_empty().then_some(()));
    assert!(gone.is_some(), "left behind: {:?}", attached::to(host, TRAFFIC));
}

#[test]
fn interfaces_that_are_not_there_or_not_named_are_2() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    require!(binary());
    let done = run(&client, &["--interface", "nosuch0", "--duration", "1"]);
    assert_ends(&client, &done, 2, &["nosuch0", LINK]);
    let done = run(&client, &["--interface", LINK, "--interface", "nosuch0", "--duration", "1"]);
    assert_ends(&client, &done, 2, &["nosuch0"]);
    let done = run(&client, &["--role", "gateway", "--duration", "1"]);
    assert_ends(&client, &done, 2, &["--interface"]);
}

#[test]
fn a_cgroup_that_is_none_is_2() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    require!(binary());
    let done = run(&client, &["--cgroup", "/nonexistent", "--duration", "1"]);
    assert_ends(&client, &done, 2, &["/nonexistent", "cgroup2"]);
    let done = run(&client, &["--cgroup", "/proc", "--duration", "1"]);
    assert_ends(&client, &done, 2, &["/proc", "cgroup2"]);
}

#[test]
fn without_permission_77_names_what_is_missing() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let binary = require!(binary());
    // Where nobody can read it.
    let files = tempfile::tempdir().unwrap();
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = files.path().join("earthdog");
    fs::copy(&binary, &copy).unwrap();
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all"];
    let no_admin = ["--bounding-set", "-net_admin"];
    for (drop, says) in [(&nobody[..], "CAP_BPF"), (&no_admin, "CAP_NET_ADMIN")] {
        let mut command = client.command("setpriv");
        command.args(drop).arg(&copy).args(["run", "--duration", "1"]);
        let done = Finished::of(Process::spawn(command));
        assert_ends(&client, &done, 77, &[says, "root"]);
    }
}

#[test]
fn cgroup2_mounted_elsewhere_is_found() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    require!(binary());
    let moved = "umount /sys/fs/cgroup && mkdir /run/elsewhere && mount -t cgroup2 cgroup2 /run/elsewhere";
    let done = run_after(&client, moved, &["--duration", "1"]);
    assert_ends(&client, &done, 0, &["/run/elsewhere"]);
}

#[test]
fn without_cgroup2_it_warns_and_without_any_hook_it_ends_with_69() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    require!(binary());
    let done = run_after(&client, "umount /sys/fs/cgroup", &["--duration", "1"]);
    assert_ends(&client, &done, 0, &["warning", "cgroup2", "watching"]);
    let done = run_after(&client, "umount /sys/fs/cgroup", &["--duration", "1", "--xdp-mode", "off"]);
    assert_ends(&client, &done, 69, &["cgroup2"]);
}

#[test]
fn every_ordinary_end_is_0() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    for signal in ["TERM", "INT"] {
        let mut sensor = require!(Sensor::start(&client, &[]));
        sensor.process().signal(signal);
        let status = sensor.process().wait(Deadline::secs(10));
        assert_eq!(status.code(), Some(0), "SIG{signal}: {}", sensor.process().transcript());
    }
    for seconds in ["0", "1"] {
        let done = run(&client, &["--duration", seconds]);
        assert_ends(&client, &done, 0, &[]);
    }
}

/// A finding that cannot be written ends the run: with 1 on a full disk, with 0 where the reader went away.
#[test]
fn unwritable_stdout_is_1_and_a_broken_pipe_0() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let binary = require!(binary());
    let mut dns = server.command(TRAFFIC);
    dns.args(["dns", &format!("{SERVER_V4}:53")]);
    let dns = Process::spawn(dns);
    dns.wait_for_text("ready", Deadline::secs(10));
    for (redirect, code, says) in [("> /dev/full", 1, "No space left"), ("| true", 0, "")] {
        let script = format!("\"$0\" run --duration 60 {redirect}; exit ${{PIPESTATUS[0]}}");
        let mut command = client.command("bash");
        command.args(["-c", &script]).arg(&binary);
        let process = Process::spawn(command);
        process.wait_for_text("watching", Deadline::secs(20));
        leak(&client);
        assert_ends(&client, &Finished::of(process), code, &[says]);
    }
}

/// The same for a replay, which has its findings at once.
#[test]
fn a_replay_that_cannot_write_its_findings_is_1_and_a_broken_pipe_0() {
    let binary = require!(binary());
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("leak.pcap");
    fs::write(&path, earthdog_tests::capture::leak(200)).unwrap();
    let replay = |stdout: Stdio| {
        let mut command = Command::new(&binary);
        command.args(["replay", "--output", "json"]).arg(&path);
        command.stdout(stdout).stderr(Stdio::piped()).output().unwrap()
    };
    let whole = replay(Stdio::piped());
    assert_eq!(whole.status.code(), Some(0));
    assert!(whole.stdout.starts_with(b"{"), "a leak of 200 names gives a finding");
    let full = replay(fs::File::create("/dev/full").unwrap().into());
    let said = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(said.contains("No space left"), "{said}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gone = replay(writer.into());
    assert_eq!(gone.status.code(), Some(0), "{}", String::from_utf8_lossy(&gone.stderr));

    // Damage wins over findings.
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, bytes).unwrap();
    let mut command = Command::new(&binary);
    let damaged = command.args(["replay", "--fail-on", "low"]).arg(&path).output().unwrap();
    assert_eq!(damaged.status.code(), Some(1), "{}", String::from_utf8_lossy(&damaged.stderr));
}

/// New random-looking names to one zone until well over the ledger's bound.
fn leak(client: &Host) {
    let mut command = client.command(TRAFFIC);
    command.args(["leak", &format!("{SERVER_V4}:53"), "300", "2000"]);
    let done = Finished::of(Process::spawn(command));
    assert!(done.stdout.starts_with("sent 300"), "{}{}", done.stdout, done.stderr);
}
