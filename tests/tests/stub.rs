//! A binary without its kernel side: it replays, and refuses to run with 69 and what to do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use earthdog_tests::capture::leak;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::Finished;
use earthdog_tests::{attached, host, require, serial};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");

#[test]
fn a_binary_with_the_stub_object_replays_and_refuses_to_run_with_69() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let binary = build();

    for arguments in [&["run", "--duration", "1"][..], &["doctor"]] {
        let mut command = client.command(&binary);
        command.args(arguments);
        let done = Finished::of(Process::spawn(command));
        assert_eq!(done.code(), Some(69), "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains("cargo xtask setup"), "{arguments:?}: {}", done.stderr);
    }
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());

    let files = tempfile::tempdir().unwrap();
    let capture = files.path().join("leak.pcap");
    std::fs::write(&capture, leak(100)).unwrap();
    let mut command = Command::new(&binary);
    command.args(["replay", "--fail-on", "medium"]).arg(&capture);
    let done = Finished::of(Process::spawn(command));
    assert_eq!(done.code(), Some(3), "{}", done.stderr);
}

/// Into a folder of its own: the other tests' binary stays what it is. Nothing is fetched.
fn build() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = workspace.join("target/stub");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--offline", "-p", "sensor-user", "--bin", "earthdog"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(workspace)
        .env("AYA_BUILD_SKIP", "1")
        // Debug lines are most of the build's time.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status()
        .unwrap();
    assert!(status.success(), "cargo build: {status}");
    target.join("debug/earthdog")
}
