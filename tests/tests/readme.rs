//! The README's way from an alert to a decision is what the commands print, and the third of them is the one that the second
//! suggests. `cargo test -p earthdog-tests --test readme -- --nocapture` prints the screens whole.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{self, Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::{require, serial, traffic};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
/// What leaks, in a host.
const PROGRAM: &str = "/var/lib/backup/uploader";
/// Lines left out.
const GAP: &str = "…";

/// A command as it is typed, and what it prints.
#[derive(Debug)]
struct Screen {
    command: String,
    lines: Vec<String>,
}

/// Those of the first block of text under a title.
fn screens(title: &str) -> Vec<Screen> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {title}\n")).expect("a section of that title");
    let (_, block) = section.split_once("\n```text\n").expect("a block of text");
    let (block, _) = block.split_once("\n```\n").expect("an end of it");
    let mut screens: Vec<Screen> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), screens.last_mut()) {
            (Some(command), _) => screens.push(Screen { command: command.to_owned(), lines: Vec::new() }),
            (None, Some(screen)) => screen.lines.push(line.to_owned()),
            (None, None) => panic!("the block begins with a command, not {line:?}"),
        }
    }
    // The empty line before the next command is the README's.
    for screen in &mut screens {
        while screen.lines.last().is_some_and(String::is_empty) {
            screen.lines.pop();
        }
    }
    screens
}

fn run(host: &Host, command: &str) -> Vec<String> {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("earthdog"), "{command}");
    let mut process = host.command(binary().unwrap());
    process.args(words);
    let done = Finished::of(Process::spawn(process));
    assert_eq!(done.code(), Some(0), "{command}: {}", done.stderr);
    println!("$ {command}\n{}\n", done.stdout);
    done.stdout.lines().map(str::to_owned).collect()
}

/// A client's id: the hash of what it is, what started this test among that.
fn is_client_id(word: &str) -> bool {
    word.len() == 16 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What is the same in every run: numbers, times, the ids of the finding and of clients and the width of columns are not.
fn shape(line: &str, id: &str) -> String {
    let words = line.replace(id, "ID");
    let words: Vec<_> =
        words.split(' ').map(|word| if is_client_id(word) { "CLIENT" } else { word }).collect();
    let mut out = String::new();
    for c in words.join(" ").chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        let repeats = matches!(c, '0' | ' ' | '#') && out.ends_with(c);
        if !repeats {
            out.push(c);
        }
    }
    // A count with and without a mark of thousands.
    while out.contains("0,0") || out.contains("0.0") {
        out = out.replace("0,0", "0").replace("0.0", "0");
    }
    out.trim().to_owned()
}

/// Whether this is what was printed, in its order, with nothing left out but at gaps. Where lines break is left open: a
/// process id may be longer.
#[track_caller]
fn is_printed(screen: &Screen, printed: &[String], (ours, theirs): (&str, &str)) {
    let printed = shape(&printed.join(" "), theirs);
    let mut rest = &*printed;
    for (number, part) in screen.lines.split(|line| line == GAP).enumerate() {
        let part = shape(&part.join(" "), ours);
        let at = rest.find(&part).filter(|at| number > 0 || *at == 0);
        let Some(at) = at else {
            panic!("$ {}\n{part}\nis not what comes next, as in:\n{rest}", screen.command)
        };
        rest = rest[at + part.len()..].trim_start();
    }
    let ends_in_gap = screen.lines.last().is_some_and(|line| line == GAP);
    assert!(ends_in_gap || rest.is_empty(), "$ {}: and then:\n{rest}", screen.command);
}

#[test]
fn the_way_from_an_alert_to_a_decision_is_as_the_readme_shows_it() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let sensor = require!(Sensor::start(&client, &[]));
    // At a place that says nothing of where this was built.
    client.run("mkdir /var/lib/backup");
    fs::copy(TRAFFIC, client.file(PROGRAM)).unwrap();
    let mut leak = client.command(PROGRAM);
    leak.args(["leak", &format!("{SERVER_V4}:53"), "200", "5000"]);
    let leak = Process::spawn(leak);
    sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
    assert!(Finished::of(leak).stdout.starts_with("sent 200"));
    sensor.settled(Deadline::secs(10));

    let [alerts, explain, next] = <[Screen; 3]>::try_from(screens("From an alert to a decision"))
        .unwrap_or_else(|screens| panic!("three commands, not {screens:#?}"));
    let listed = run(&client, &alerts.command);
    let id_of = |lines: &[String]| {
        let row = lines.iter().find(|line| line.ends_with("leak.example")).expect("a row of leak.example");
        row.split_whitespace().nth(4).unwrap().to_owned()
    };
    let (ours, theirs) = (id_of(&alerts.lines), id_of(&listed));
    is_printed(&alerts, &listed, (&ours, &theirs));
    assert_eq!(explain.command, format!("earthdog explain {ours}"), "what the list says is what is typed");
    let explained = run(&client, &format!("earthdog explain {theirs}"));
    is_printed(&explain, &explained, (&ours, &theirs));
    let suggested = explained.iter().find_map(|line| line.trim().strip_prefix("$ ")).expect("a suggestion");
    assert_eq!(next.command, suggested, "the third command is what the second suggests first");
    is_printed(&next, &run(&client, suggested), (&ours, &theirs));
    sensor.stop();
}
