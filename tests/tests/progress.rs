//! Long work tells how far it is on a terminal, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;
use std::process::Command;

use earthdog::finding::Finding;
use earthdog_tests::capture::Capture as _;
use earthdog_tests::deadline::Deadline;
use earthdog_tests::hazard;
use earthdog_tests::outputs::of_process;
use earthdog_tests::peer;
use earthdog_tests::require;
use earthdog_tests::sensor::{binary, run};

const END: &str = "the end";

/// What a command writes to a terminal besides its output.
fn on_terminal(tmux: &Path, name: &str, dir: &Path, arguments: &[&str]) -> String {
    let socket = format!("earthdog-{}-{name}", std::process::id());
    let log = dir.join(name);
    let tmux = |arguments: &[&str]| {
        let mut command = Command::new(tmux);
        command.args(["-f", "/dev/null", "-L", &socket]).args(arguments);
        command
    };
    // What is written is caught from the first byte: the program waits for it.
    let mut start = tmux(&["new-session", "-d", "-x", "80", "-y", "24", "sh", "-c"]);
    start.arg(format!("read -r go; NO_COLOR=1 \"$0\" \"$@\" > /dev/null; echo {END}; exec sleep 60"));
    start.arg(binary().unwrap()).args(arguments);
    assert!(start.status().unwrap().success(), "tmux does not start");
    let pipe = format!("exec cat > {}", log.display());
    assert!(tmux(&["pipe-pane", &pipe]).status().unwrap().success());
    assert!(tmux(&["send-keys", "Enter"]).status().unwrap().success());
    let shown = Deadline::secs(120).poll(|| {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains(END).then_some(text)
    });
    assert!(tmux(&["kill-server"]).status().unwrap().success());
    shown.expect("it ends")
}

/// The counts of the lines that begin like this.
fn counts(shown: &str, prefix: &str) -> Vec<u64> {
    let lines = shown.split("\r\u{1b}[K");
    lines
        .filter_map(|line| {
            line.strip_prefix(prefix)?.rsplit(": ").next()?.strip_suffix(" records")?.parse().ok()
        })
        .collect()
}

#[test]
fn a_replay_counts_up_on_a_terminal_and_says_nothing_in_a_pipe() {
    let _binary = require!(binary());
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

    let shown = on_terminal(&tmux, "replay", dir.path(), &["replay", file.to_str().unwrap()]);
    let counts = counts(&shown, "replay: ");
    assert!(counts.len() >= 2 && counts.is_sorted() && counts[0] >= 1024, "{counts:?} in {shown:?}");
    assert!(
        !shown.contains("\u{1b}[2J.pcap") && !shown.contains("\u{1b}[3"),
        "names are escaped, nothing is coloured"
    );
    let end = shown.rfind("\r\u{1b}[K").unwrap();
    assert!(shown[end..].contains("messages/s"), "the line is taken away before the summary: {shown:?}");
}

#[test]
fn a_large_file_of_findings_counts_up_likewise() {
    let _binary = require!(binary());
    let tmux = require!(peer::find("tmux"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("many\u{1b}[2J.json");
    let finding = of_process(b"tool").findings.remove(0);
    let line = |number: usize| {
        let one = Finding { id: format!("finding-{number:05}"), ..finding.clone() };
        serde_json::to_string(&one).unwrap() + "\n"
    };
    fs::write(&file, (0..40_000).map(line).collect::<String>()).unwrap();
    let file = file.to_str().unwrap();
    let piped = run(&["explain", "finding-00007", file]).unwrap();
    assert!(piped.code() == Some(0) && piped.stderr.is_empty(), "{}", piped.stderr);
    let page = dir.path().join("page.html");
    let report = ["report", "finding-00007", file, "-o", page.to_str().unwrap()];
    for arguments in [&["explain", "finding-00007", file][..], &report, &["alerts", file]] {
        let shown = on_terminal(&tmux, arguments[0], dir.path(), arguments);
        let counts = counts(&shown, "reading ");
        assert!(counts.len() >= 2 && counts.is_sorted() && counts[0] >= 256, "{counts:?} in {shown:?}");
        assert!(!shown.contains("\u{1b}[2J") && shown.contains("\\x1b[2J.json"), "{shown:?}");
        assert!(shown[shown.rfind("\r\u{1b}[K").unwrap()..].contains(END), "it is taken away: {shown:?}");
    }
}
