//! Long work tells how far it is on a terminal, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::Command;

use earthdog_tests::capture::Capture as _;
use earthdog_tests::deadline::Deadline;
use earthdog_tests::hazard;
use earthdog_tests::peer;
use earthdog_tests::require;
use earthdog_tests::sensor::{binary, run};

#[test]
fn a_replay_counts_up_on_a_terminal_and_says_nothing_in_a_pipe() {
    let binary = require!(binary());
    let tmux = require!(peer::find("tmux"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("load test\u{1b}[2J.pcap");
    let load = hazard::ALL.iter().find(|hazard| hazard.name == "load test").unwrap();
    fs::write(&file, load.make(1).pcap()).unwrap();

    let piped = run(&["replay", file.to_str().unwrap()]).unwrap();
    assert_eq!(piped.code(), Some(0), "{}", piped.stderr);
    assert!(
        !piped.stderr.contains(['\r', '\u{1b}']) && piped.stderr.contains("messages/s"),
        "{}",
        piped.stderr
    );

    let socket = format!("earthdog-{}-progress", std::process::id());
    let log = dir.path().join("log");
    let tmux = |arguments: &[&str]| {
        let mut command = Command::new(&tmux);
        command.args(["-f", "/dev/null", "-L", &socket]).args(arguments);
        command
    };
    // What is written is caught from the first byte: the program waits for it.
    let mut start = tmux(&["new-session", "-d", "-x", "80", "-y", "24", "sh", "-c"]);
    start.arg("read -r go; NO_COLOR=1 \"$0\" \"$@\" > /dev/null; exec sleep 60");
    start.arg(&binary).arg("replay").arg(&file);
    assert!(start.status().unwrap().success(), "tmux does not start");
    let pipe = format!("exec cat > {}", log.display());
    assert!(tmux(&["pipe-pane", &pipe]).status().unwrap().success());
    assert!(tmux(&["send-keys", "Enter"]).status().unwrap().success());
    let shown = Deadline::secs(60).poll(|| {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("messages/s").then_some(text)
    });
    assert!(tmux(&["kill-server"]).status().unwrap().success());
    let shown = shown.expect("the summary comes");
    let counts: Vec<u64> = shown
        .split("\r\u{1b}[K")
        .filter_map(|line| {
            line.strip_prefix("replay: ")?.rsplit(": ").next()?.strip_suffix(" records")?.parse().ok()
        })
        .collect();
    assert!(counts.len() >= 2 && counts.is_sorted() && counts[0] >= 1024, "{counts:?} in {shown:?}");
    assert!(
        !shown.contains("\u{1b}[2J.pcap") && !shown.contains("\u{1b}[3"),
        "names are escaped, nothing is coloured"
    );
    let end = shown.rfind("\r\u{1b}[K").unwrap();
    assert!(shown[end..].contains("messages/s"), "the line is taken away before the summary: {shown:?}");
}
