//! Every command alike: help with an example, a reader that leaves, and what an unprivileged user can do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use earthdog_tests::capture::Capture as _;
use earthdog_tests::emulate::{self, Pace};
use earthdog_tests::host::Host;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, binary, run};
use earthdog_tests::{kernel, require};

/// As `--help` lists them.
fn commands() -> Result<Vec<String>, String> {
    let help = run(&["--help"])?.stdout;
    let (_, listed) = help.split_once("Commands:").unwrap();
    let (listed, _) = listed.split_once("\nOptions:").unwrap();
    // A name stands two columns in, what it does further.
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    Ok(names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect())
}

#[test]
fn every_command_has_help_with_an_example_that_it_takes() {
    let commands = require!(commands());
    assert!(commands.len() >= 15, "{commands:?}");
    for command in &commands {
        let help = run(&[command, "--help"]).unwrap();
        assert_eq!(help.code(), Some(0), "{command}");
        let (_, examples) =
            help.stdout.split_once("Example").unwrap_or_else(|| panic!("{command}: {}", help.stdout));
        assert!(examples.contains(&format!("earthdog {command}")), "{command}: {examples}");
        let wrong = run(&[command, "--no-such-option"]).unwrap();
        assert_eq!(wrong.code(), Some(2), "{command}: {}", wrong.stderr);
        assert!(
            wrong.stdout.is_empty() && wrong.stderr.contains("--no-such-option"),
            "{command}: {}",
            wrong.stderr
        );
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure_of_what_prints_without_a_sensor() {
    let binary = require!(binary());
    for words in [
        &["--help"][..],
        &["rules"],
        &["rules", "--json"],
        &["config", "print"],
        &["config", "print", "--defaults"],
        &["config", "explain", "ledger.max_keys"],
        &["completions", "bash"],
        &["coverage", "--markdown"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = Command::new(&binary).args(words).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn an_unprivileged_user_replays_and_configures_and_is_told_what_the_rest_needs() {
    require!(kernel::bpf());
    let host = require!(Host::new());
    let binary = require!(binary());
    let files = tempfile::tempdir().unwrap();
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = files.path().join("earthdog");
    std::fs::copy(&binary, &copy).unwrap();
    let capture = files.path().join("leak.pcap");
    let tool = emulate::ALL.iter().find(|tool| tool.name == "dns exfiltrator").unwrap();
    std::fs::write(&capture, tool.make(1, Pace::default()).pcap()).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = host.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all"]);
        command.arg(&copy).args(words).current_dir(Path::new("/"));
        Finished::of(Process::spawn(command))
    };
    let replay = as_nobody(&["replay", "--output", "json", capture.to_str().unwrap()]);
    assert_eq!(replay.code(), Some(0), "{}", replay.stderr);
    assert!(replay.stdout.contains("\"rule\":"), "{}", replay.stdout);
    for words in [&["config", "print"][..], &["config", "check"], &["completions", "zsh"], &["rules"]] {
        let done = as_nobody(words);
        assert_eq!(done.code(), Some(0), "{words:?}: {}", done.stderr);
        assert!(words[1..] == ["check"] || !done.stdout.is_empty(), "{words:?}");
    }
    for words in [&["doctor"][..], &["selftest"]] {
        let done = as_nobody(words);
        assert_eq!(done.code(), Some(77), "{words:?}: {}", done.stderr);
        assert!(done.stderr.contains("CAP_BPF"), "{words:?}: {}", done.stderr);
    }
}
