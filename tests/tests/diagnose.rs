//! `earthdog diagnose` beside a running sensor: what helps is in the bundle, and nothing that is the host's own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{CLIENT_V4, Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::{host, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/acme-berlin.toml";
/// What an operator writes that nobody else is to read.
const SETTINGS: &str = r#"
[output]
least = "medium"
[own_zones]
zones = ["acme-corp.example"]
[[sink]]
type = "http"
name = "siem-of-acme"
to = "http://siem.acme-corp.example:9/in?token=hunter2"
spool = ""
[[suppress]]
name = "quarterly"
owner = "Jo Smith"
reason = "Jo knows"
expires = "never"
zone = "quiet.acme-corp.example"
"#;

fn ask(client: &Host, words: &[&str]) -> Finished {
    let mut command = client.command(binary().unwrap());
    command.args(words).args(["-c", CONFIG]);
    Finished::of(Process::spawn(command))
}

/// Files of a bundle by name.
fn unpacked(path: &std::path::Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path).unwrap()));
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let name = entry.path().unwrap().strip_prefix("earthdog-diagnose").unwrap().display().to_string();
        (name, text)
    });
    files.collect()
}

#[test]
fn a_bundle_has_what_helps_and_nothing_of_the_hosts_own() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    std::fs::write(client.file(CONFIG), SETTINGS).unwrap();
    let sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "40", "1000"]);
    sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
    sensor.settled(Deadline::secs(10));
    let status = sensor.status();

    // Where the doctor looks what a running sensor has to say.
    for pointer in
        ["/lost", "/counters/seen", "/limits/step", "/evictions/ledger keys", "/configuration/waiting"]
    {
        assert!(status.pointer(pointer).is_some(), "{pointer} in {status:#}");
    }

    let done = ask(&client, &["diagnose", "-o", "/run/bundle.tar.gz"]);
    assert_eq!((done.code(), &*done.stdout), (Some(0), "/run/bundle.tar.gz"), "{}", done.stderr);
    let path = client.file("/run/bundle.tar.gz");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let files = unpacked(&path);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["README.txt", "config.txt", "doctor.json", "host.json", "selftest.json", "status.json"]
    );

    let read = |name: &str| {
        serde_json::from_str::<Value>(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let (told, doctor, about) = (read("status.json"), read("doctor.json"), read("host.json"));
    for pointer in ["/messages", "/lost", "/findings", "/counters/seen", "/memory/rings"] {
        assert_eq!(told.pointer(pointer), status.pointer(pointer), "{pointer}");
    }
    assert_eq!(told["hooks"].as_array().map(Vec::len), status["hooks"].as_array().map(Vec::len));
    assert_eq!(told["owner_source"], status["owner_source"], "this program's own words");
    assert_eq!(told["exceptions"][0]["hits"], status["exceptions"][0]["hits"]);
    assert_eq!((&doctor["release"], &about["cpus"]), (&about["release"], &status["memory"]["cpus"]));
    assert!(files["config.txt"].contains("output.least = \"medium\""), "{}", files["config.txt"]);
    assert!(files["config.txt"].contains("sink[0].type = \"http\""), "{}", files["config.txt"]);

    let links = client.run("ip -o link");
    let links = links.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    let links: Vec<_> = links.filter(|name| *name != "lo").collect();
    assert!(!links.is_empty(), "the interface that is watched");
    let secrets = [
        "acme",
        "siem",
        "hunter2",
        "Jo",
        "knows",
        "quarterly",
        "leak.example",
        TRAFFIC,
        SERVER_V4,
        CLIENT_V4,
    ];
    let all = files.values().cloned().collect::<String>();
    for secret in secrets.iter().copied().chain(links) {
        let line = all.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is told");
    }

    let again = ask(&client, &["diagnose", "-o", "/run/bundle.tar.gz"]);
    assert_eq!(again.code(), Some(1));
    assert!(
        again.stderr.contains("/run/bundle.tar.gz: is there already: name another with -o"),
        "{}",
        again.stderr
    );
    let shown = ask(&client, &["diagnose", "--show"]).stdout;
    assert!(names.iter().all(|name| shown.contains(&format!("==> {name} <=="))), "{shown}");
    sensor.stop();
    let without = ask(&client, &["diagnose", "--show"]);
    assert_eq!(without.code(), Some(0));
    assert!(without.stdout.contains("==> status.json <==\nno sensor answers at "), "{}", without.stdout);
}

#[test]
fn the_doctor_says_what_to_do() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    std::fs::write(client.file(CONFIG), "").unwrap();
    std::fs::write(client.file("/run/nsswitch.conf"), "hosts: files resolve dns\n").unwrap();
    client.run("mount --bind /run/nsswitch.conf /etc/nsswitch.conf");
    let report = ask(&client, &["doctor", "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["v"], 1);
    let hints = report["hints"].as_array().unwrap();
    let hint = hints.iter().find(|hint| hint["id"] == "nss_resolve").unwrap_or_else(|| panic!("{hints:#?}"));
    assert!(hint["fix"].as_str().unwrap().starts_with("take `resolve` out of the line `hosts:`"), "{hint:#}");
    let text = ask(&client, &["doctor"]).stdout;
    let (_, to_do) = text.split_once("\nTo do\n").unwrap();
    assert!(to_do.contains("  nss_resolve: programs ask systemd-resolved by a socket of its own (nsswitch.conf: hosts: files resolve dns)\n"), "{text}");
}
