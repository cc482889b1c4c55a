//! `earthdog selftest` past the real hooks: everything found, everybody named, nothing said of honest traffic, and what
//! stops any stage of a running sensor makes the canary alarm.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::Host;
use earthdog_tests::process::{Process, Stream};
use earthdog_tests::sensor::{self, Finished, binary};
use earthdog_tests::shape::{self, Shape};
use earthdog_tests::{emulate, hazard, kernel, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
/// What a self-test may take on an idle host.
const SECONDS: f64 = 180.0;
/// Of the names of its cgroup and its folder; its pid follows.
const PREFIX: &str = "earthdog-selftest-";
/// Tools that show within the time there is.
const LIVE_TOOLS: u64 = 33;

fn start(host: &Host, arguments: &[&str]) -> Process {
    let mut command = host.command(binary().unwrap());
    command.arg("selftest").args(arguments);
    Process::spawn(command)
}

/// Standard output of one that has ended with this code.
#[track_caller]
fn ended(mut process: Process, code: i32) -> (Value, String) {
    let status = process.wait(Deadline::secs(300));
    assert_eq!(status.code(), Some(code), "{}", process.transcript());
    let out = process.lines(Stream::Out).join("\n");
    (serde_json::from_str(&out).unwrap_or(Value::Null), process.lines(Stream::Err).join("\n"))
}

/// What a self-test makes besides its result: in the host's cgroup, and of one that is over in /tmp, which hosts share.
fn left_behind(host: &Host) -> Vec<String> {
    let listed = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let is_own = |name: &String| name.starts_with(PREFIX);
    let is_over = |name: &String| !Path::new("/proc").join(name.trim_start_matches(PREFIX)).exists();
    let temporary = listed(Path::new("/tmp")).into_iter().filter(is_own).filter(is_over);
    listed(host.cgroup()).into_iter().filter(is_own).chain(temporary).collect()
}

#[test]
fn every_tool_is_found_every_sender_named_and_honest_traffic_left_alone() {
    let _alone = serial::lock();
    require!(kernel::bpf());
    require!(binary());
    let host = require!(Host::new());
    let (outcome, errors) = ended(start(&host, &["--json"]), 0);
    assert_eq!(errors, "", "no progress in a pipe");
    assert_eq!((&outcome["v"], &outcome["ok"]), (&1.into(), &true.into()), "{outcome:#}");
    let untold = shape::untold([("`earthdog selftest --json`", &Shape::of(&outcome))]);
    assert!(untold.is_empty(), "{}", untold.join("\n"));
    let rows = outcome["cases"].as_array().unwrap();
    for row in rows {
        let known = row["known"] == true;
        assert!(row["ok"] == true || known && row["how"] == "replay", "{row}");
        match (row["kind"].as_str().unwrap(), row["how"].as_str().unwrap()) {
            ("tool", "live") => {
                assert!(row["seconds"].as_f64().unwrap() < 100.0 && row["rule"].is_string(), "{row}");
                // What is of no more than low severity may be about nobody in particular.
                assert!(row["owner"] == "right" || row["severity"] == "low", "{row}");
                assert!(row["sent"]["sent"].as_u64().unwrap() > 0 && row["sent"]["failed"] == 0, "{row}");
            }
            ("honest", "live") => assert!(row["sent"]["sent"].as_u64().unwrap() > 0, "{row}"),
            (_, how) => assert!(how == "replay" && row["owner"].is_null() && row["sent"].is_null(), "{row}"),
        }
    }
    let names: BTreeSet<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let tools = emulate::ALL.iter().map(|tool| tool.name);
    let all: BTreeSet<&str> = tools.chain(hazard::ALL.iter().map(|hazard| hazard.name)).collect();
    assert_eq!(names, all, "each is there");
    let summary = &outcome["summary"];
    assert_eq!(summary["live"]["tools"], LIVE_TOOLS);
    assert_eq!(summary["live"]["tools_found"], LIVE_TOOLS);
    assert!(
        summary["owners"].as_u64().unwrap() >= 30 && summary["owners"] == summary["owners_right"],
        "{summary}"
    );
    assert!(outcome["seconds"].as_f64().unwrap() < SECONDS, "{}", outcome["seconds"]);
    assert!(
        outcome["hooks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|hook| hook.as_str().unwrap().contains("cgroup_skb egress"))
    );
    for time in ["hour", "day"] {
        let floor = &outcome["floor"][time];
        let (found, missed) = (floor["found"].as_u64().unwrap(), floor["missed"].as_u64().unwrap());
        assert!(missed < found && found <= missed + missed / 10 + 1, "{floor}");
    }
    let kept = fs::read(host.file("/var/lib/earthdog/selftest.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), outcome);
    assert!(left_behind(&host).is_empty(), "{:?}", left_behind(&host));
}

#[test]
fn without_permission_77_names_what_is_missing() {
    let _alone = serial::lock();
    require!(kernel::bpf());
    let binary = require!(binary());
    let host = require!(Host::new());
    // Where nobody can read it.
    let files = tempfile::tempdir().unwrap();
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = files.path().join("earthdog");
    fs::copy(&binary, &copy).unwrap();
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all"];
    let no_namespaces = ["--bounding-set", "-sys_admin"];
    for (drop, says) in [
        (&nobody[..], &["CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"][..]),
        (&no_namespaces, &["CAP_SYS_ADMIN"]),
    ] {
        let mut command = host.command("setpriv");
        command.args(drop).arg(&copy).arg("selftest");
        let done = Finished::of(Process::spawn(command));
        assert_eq!(done.code(), Some(77), "{}", done.stderr);
        assert!(
            says.iter().all(|name| done.stderr.contains(name)) && done.stdout.is_empty(),
            "{}",
            done.stderr
        );
        assert!(left_behind(&host).is_empty(), "{:?}", left_behind(&host));
    }
}

#[test]
fn one_that_ends_early_leaves_nothing_and_one_that_is_killed_nothing_that_runs() {
    let _alone = serial::lock();
    require!(kernel::bpf());
    require!(binary());
    let host = require!(Host::new());
    let sending = |process: &Process| {
        // Its senders are there, and they are many.
        let sending = Deadline::secs(60).poll(|| (processes(host.cgroup()) > 30).then_some(()));
        assert!(sending.is_some(), "{}", process.transcript());
    };
    let alone = || Deadline::secs(20).poll(|| (processes(host.cgroup()) == HOLDERS).then_some(())).is_some();
    let mut killed = start(&host, &[]);
    sending(&killed);
    killed.signal("KILL");
    killed.wait(Deadline::secs(10));
    assert!(alone(), "{} processes run on", processes(host.cgroup()));
    assert!(!left_behind(&host).is_empty());
    // The next one sweeps, and cleans up behind itself.
    let next = start(&host, &[]);
    sending(&next);
    next.signal("TERM");
    let (_, errors) = ended(next, 1);
    assert!(errors.contains("the self-test was stopped"), "{errors}");
    assert!(alone() && left_behind(&host).is_empty(), "{:?}", left_behind(&host));
}

/// Of a host in which nothing runs.
const HOLDERS: usize = 1;

/// In a cgroup and below.
fn processes(cgroup: &Path) -> usize {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines().count();
    let inner = fs::read_dir(cgroup).into_iter().flatten().flatten().map(|entry| entry.path());
    own + inner.filter(|path| path.is_dir()).map(|path| processes(&path)).sum::<usize>()
}

/// A sensor in a host, with sinks; `stopped` is a stage that it leaves out.
fn watching(host: &Host, sinks: &str, cgroup: &str, stopped: Option<&str>) -> Process {
    let config = host.file("/run/earthdog.toml");
    fs::write(&config, sinks).unwrap();
    let binary = if stopped.is_some() { sensor::beside() } else { binary() };
    let mut command = host.command(binary.unwrap());
    command.args([
        "run",
        "-c",
        "/run/earthdog.toml",
        "--output",
        "json",
        "--xdp-mode",
        "off",
        "--cgroup",
        cgroup,
    ]);
    if let Some(stage) = stopped {
        command.env("EARTHDOG_STOPPED_STAGE", stage);
    }
    let sensor = Process::spawn(command);
    sensor.wait_for_text("who asked", Deadline::secs(20));
    sensor
}

fn canary(host: &Host, code: i32) -> Value {
    ended(start(host, &["--canary", "--json", "-c", "/run/earthdog.toml"]), code).0
}

const ALL: &str = "/sys/fs/cgroup";
const FILE: &str =
    "[[sink]]\ntype = \"file\"\nname = \"siem\"\nto = \"/run/found.json\"\nleast = \"critical\"\n";

#[test]
fn a_canary_goes_from_the_hooks_to_the_sinks_and_calls_nobody() {
    let _alone = serial::lock();
    require!(kernel::bpf());
    require!(binary());
    let host = require!(Host::new());
    let mut sensor = watching(&host, FILE, ALL, None);
    let came = canary(&host, 0);
    assert_eq!((&came["ok"], &came["sinks"]), (&true.into(), &serde_json::json!(["siem"])), "{came}");
    let ask = |arguments: &[&str]| {
        let mut command = host.command(binary().unwrap());
        command.args(arguments).args(["-c", "/run/earthdog.toml"]);
        Finished::of(Process::spawn(command)).stdout
    };
    let json = |arguments: &[&str]| serde_json::from_str::<Value>(&ask(arguments)).unwrap();
    // The sink took it although it wants only what is critical, and it is marked wherever it is.
    let sunk = fs::read_to_string(host.file("/run/found.json")).unwrap();
    assert!(!sunk.is_empty() && sunk.lines().all(|line| line.contains(r#""origin":"selftest""#)), "{sunk}");
    assert_eq!(json(&["alerts", "--json"])["findings"], serde_json::json!([]));
    let marked = json(&["alerts", "--json", "--selftest"]);
    assert_eq!(marked["findings"][0]["origin"], "selftest", "{marked}");
    // Nothing of it is this host's.
    let status = json(&["status", "--json"]);
    assert_eq!(status["zones"], 0, "{status}");
    assert!(status["findings"].as_object().unwrap().values().all(|count| *count == 0), "{status}");
    assert!(
        ask(&["pdns", "sync-archive.example"]).contains("never seen"),
        "{}",
        ask(&["pdns", "sync-archive.example"])
    );
    let coverage = json(&["coverage", "--json"]);
    assert_eq!(coverage["canary"]["ok"], true, "{}", coverage["canary"]);
    assert!(sensor.terminate(Deadline::secs(10)).success());
    // And without a sensor.
    let silent = canary(&host, 1);
    assert_eq!((&silent["stopped_at"], &silent["ok"]), (&"reader".into(), &false.into()), "{silent}");
    assert_eq!(json(&["coverage", "--json"])["canary"]["stopped_at"], "reader");
    assert!(left_behind(&host).is_empty(), "{:?}", left_behind(&host));
}

#[test]
fn a_stage_that_stands_still_makes_the_canary_alarm() {
    let _alone = serial::lock();
    require!(kernel::bpf());
    require!(binary());
    let host = require!(Host::new());
    host.run("mkdir /sys/fs/cgroup/other");
    let siem = |kind: &str, to: &str| {
        format!("[[sink]]\ntype = \"{kind}\"\nname = \"siem\"\nto = \"{to}\"\nspool = \"\"\ntimeout_s = 3\n")
    };
    // Takes what comes, as far as the kernel goes, and reads none of it.
    let _hangs = traffic::ready(TRAFFIC, &host, &["tcp-sink", "127.0.0.1:601"]);
    let refused = siem("syslog_tcp", "127.0.0.1:9");
    let (hanging, hanging_http) =
        (siem("syslog_tcp", "127.0.0.1:601"), siem("http", "http://127.0.0.1:601/"));
    let spooled = hanging.replace("spool = \"\"", "spool = \"/run/spool\"");
    let rows: [(&str, &str, Option<&str>, &str, &str); 7] = [
        (FILE, "/sys/fs/cgroup/other", None, "reader", "saw none"),
        (FILE, ALL, Some("decode"), "decode", "none became a message"),
        (FILE, ALL, Some("detectors"), "detectors", "nothing was found"),
        (&refused, ALL, None, "sink", "cannot connect"),
        (&hanging, ALL, None, "sink", "nothing reads there"),
        (&spooled, ALL, None, "sink", "nothing reads there"),
        (&hanging_http, ALL, None, "sink", "sink siem has not delivered it"),
    ];
    for (sinks, cgroup, stopped, stage, says) in rows {
        let mut sensor = watching(&host, sinks, cgroup, stopped);
        let alarm = canary(&host, 1);
        assert_eq!(alarm["stopped_at"], stage, "{alarm}");
        assert!(alarm["why"].as_str().unwrap().contains(says), "{alarm}");
        sensor.terminate(Deadline::secs(20));
    }
    // All of them at once, as in a process that hangs.
    let mut sensor = watching(&host, FILE, ALL, None);
    sensor.signal("STOP");
    let alarm = canary(&host, 1);
    assert!(
        alarm["stopped_at"] == "reader" && alarm["why"].as_str().unwrap().contains("does not answer"),
        "{alarm}"
    );
    sensor.signal("CONT");
    sensor.terminate(Deadline::secs(20));
}

#[test]
fn who_may_ask_the_sensor_but_is_not_root_can_announce_no_selftest() {
    let _alone = serial::lock();
    require!(kernel::bpf());
    require!(binary());
    let host = require!(Host::new());
    let mut sensor = watching(&host, FILE, ALL, None);
    let files = tempfile::tempdir().unwrap();
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = files.path().join("traffic");
    fs::copy(TRAFFIC, &copy).unwrap();
    let ask = |who: &[&str], command: &str, about: Option<&str>| {
        let request = serde_json::json!({"v": 1, "command": command, "about": about}).to_string();
        let mut asking = host.command("setpriv");
        asking.args(who).arg(&copy).args(["ask", "/run/earthdog/control.sock", &request]);
        let done = Finished::of(Process::spawn(asking));
        serde_json::from_str::<Value>(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", done.stderr))
    };
    // Another user in the socket's group, which is root's where there is no group of the sensor's.
    let group = fs::metadata(host.file("/run/earthdog/control.sock")).unwrap().gid().to_string();
    let other = ["--reuid", "65534", "--regid", &group, "--clear-groups", "--bounding-set", "-all"];
    let root = ["--reuid", "0"];
    assert_eq!(ask(&other, "status", None)["ok"], true, "it may ask");
    let begin = r#"{"begin":{"netns":1,"seconds":60,"mode":"quiet"}}"#;
    let refuse = |about: &str| {
        let answer = ask(&other, "selftest", Some(about));
        assert!(
            answer["ok"] == false && answer["error"] == "`selftest` is for root alone",
            "{about}: {answer}"
        );
    };
    refuse(begin);
    let show = || ask(&root, "selftest", Some(r#""show""#));
    assert_eq!(show()["ok"], false, "nothing was announced");
    assert_eq!(ask(&root, "selftest", Some(begin))["ok"], true);
    // Nor may it look at or end root's.
    refuse(r#""show""#);
    refuse(r#""end""#);
    assert_eq!(show()["ok"], true, "it goes on");
    assert!(sensor.terminate(Deadline::secs(10)).success());
}
