//! SIGHUP under a running sensor: what is new takes effect, what is wrong is refused whole, and nothing that was known,
//! open, queued or counted is lost by either.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::{Command, Stdio};

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, binary, in_state};
use earthdog_tests::{attached, host, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
/// In a folder of its own, so that what comes to lie beside it may be read.
const CONFIG: &str = "/run/conf/earthdog.toml";
/// Bytes that no test here sends.
const FAR: &str = "bound_1min_bytes = 100000\nbound_10min_bytes = 100000\nbound_1h_bytes = 100000\nbound_24h_bytes = 100000\n";
/// A sink that nobody takes records from: they stay in its spool.
const SPOOLING: &str = "[[sink]]\ntype = \"http\"\nto = \"http://127.0.0.1:9/in?key=hunter2\"\nspool = \"/run/spool\"\ntimeout_s = 1\n";

fn write(host: &Host, file: &str, text: &str) {
    std::fs::create_dir_all(host.file("/run/conf")).unwrap();
    std::fs::write(host.file(file), text).unwrap();
}

/// Sends SIGHUP and waits until it was dealt with.
fn reload(sensor: &mut Sensor) -> Value {
    let done = |status: &Value| {
        let configuration = &status["configuration"];
        configuration["applied"].as_u64().unwrap() + configuration["refused"].as_u64().unwrap()
    };
    let before = done(&sensor.status());
    sensor.process().signal("HUP");
    let told = Deadline::secs(10).poll(|| Some(sensor.status()).filter(|status| done(status) > before));
    told.unwrap_or_else(|| panic!("no reload:\n{}", sensor.process().transcript()))["configuration"].clone()
}

fn leak(client: &Host, count: u32) {
    traffic::run(TRAFFIC, client, &["leak", &format!("{SERVER_V4}:53"), &count.to_string(), "1000"]);
}

#[test]
fn a_new_threshold_takes_effect_and_what_is_wrong_changes_nothing() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    write(&client, CONFIG, &format!("[ledger]\n{FAR}{SPOOLING}"));
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    leak(&client, 16);
    sensor.settled(Deadline::secs(10));
    assert_eq!(sensor.findings(), Vec::<Value>::new(), "480 bytes are far from the bound");

    let near = format!("[ledger]\nbound_1min_bytes = 256\n[live]\nflow_entries = 1024\n{SPOOLING}");
    write(&client, CONFIG, &near);
    let told = reload(&mut sensor);
    assert_eq!((&told["applied"], &told["refused"]), (&1.into(), &0.into()), "{told:#}");
    let changed: Vec<_> = told["last"]["changed"].as_array().unwrap().iter().map(|c| &c["key"]).collect();
    assert!(changed.contains(&&Value::from("ledger.bound_1min_bytes")) && changed.len() == 4, "{told:#}");
    assert_eq!(told["waiting"][0]["key"], "live.flow_entries", "{told:#}");
    sensor.process().wait_for_text("ledger.bound_1min_bytes: 100000 → 256", Deadline::secs(5));
    let waits = "live.flow_entries: 16384 → 1024 needs a restart: the kernel's map is made at the start";
    sensor.process().wait_for_text(waits, Deadline::secs(5));

    leak(&client, 20);
    let created = sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
    assert_eq!((&created["zone"], &created["rule"]), (&"leak.example".into(), &"dns-leak-ledger".into()));
    let queries = created["queries"].as_u64().unwrap();
    assert!(queries > 16, "what was asked before the reload is still known: {created:#}");

    // Broken in one place of two: none of it counts.
    write(&client, CONFIG, "[ledger]\nbound_1min_bytes = 9999\nbound_1mim_bytes = 5\n");
    let told = reload(&mut sensor);
    assert_eq!((&told["applied"], &told["refused"]), (&1.into(), &1.into()), "{told:#}");
    let problem = told["last"]["problems"][0].as_str().unwrap();
    assert!(problem.contains("earthdog.toml:3: unknown key `bound_1mim_bytes`"), "{problem}");
    sensor.process().wait_for_text("configuration refused, the one before stays in force", Deadline::secs(5));
    sensor.process().wait_for_text("did you mean `bound_1min_bytes`?", Deadline::secs(5));
    let text = client.run(&format!("{} status", binary().unwrap().display()));
    assert!(text.contains("config     read again 1 times, refused 1 times; the last one, at "), "{text}");

    // A list that is not there refuses all of it, one that is there counts from now on.
    let listed = format!(
        "{near}[reputation]\ndomain_reputation_feed = [\"/run/conf/list\"]\n[brand]\nnames = [\"examplebank\"]\n"
    );
    write(&client, CONFIG, &listed);
    let told = reload(&mut sensor);
    assert!(
        told["refused"] == 2 && told["last"]["problems"][0].as_str().unwrap().contains("/run/conf/list"),
        "{told:#}"
    );
    write(&client, "/run/conf/list", "leak.example\n");
    let told = reload(&mut sensor);
    assert_eq!((&told["applied"], &told["refused"]), (&2.into(), &2.into()), "{told:#}");
    leak(&client, 24);
    sensor.wait_for_finding("listed", Deadline::secs(10), |finding| {
        let evidence = finding["evidence"].as_array().unwrap();
        finding["id"] == created["id"]
            && evidence.iter().any(|evidence| evidence["name"] == "domain_reputation_feed")
    });

    let status = sensor.status();
    let sink = &status["sinks"][0];
    let spooled = sink["spool"]["records"].as_u64().unwrap() + sink["waiting"].as_u64().unwrap();
    let stated = sensor.findings().len() as u64;
    assert_eq!(spooled, stated, "every state change waits for the collector: {sink:#}");
    assert!(!sensor.process().transcript().contains("hunter2") && !status.to_string().contains("hunter2"));
    let findings = sensor.stop();
    assert_eq!(in_state(&findings, "create").len(), 1, "one leak, one finding: {findings:#?}");
    let closed = in_state(&findings, "close");
    assert_eq!((closed.len(), &closed[0]["queries"]), (1, &Value::from(16 + 20 + 24)), "{closed:#?}");
}

#[test]
fn reloads_under_load_lose_nothing() {
    const LOOKUPS: &str = "4000";
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    write(&client, CONFIG, "");
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let hooks = attached::to(&client, TRAFFIC);
    let before = sensor.settled(Deadline::secs(10));
    let mut command = client.command(TRAFFIC);
    command.args(["lookup", &format!("{SERVER_V4}:53"), LOOKUPS, "500"]);
    let mut lookups = Process::spawn(command);
    let mut rounds = 0;
    while lookups.ended().is_none() {
        let text = if rounds % 2 == 0 { "[beacon]\nbeacon_timing_threshold = 0.2\n" } else { "[beacon" };
        write(&client, CONFIG, text);
        reload(&mut sensor);
        rounds += 1;
    }
    let done = Finished::of(lookups);
    assert_eq!(done.stdout, format!("sent {LOOKUPS} received {LOOKUPS}"), "{}", done.stderr);
    let after = sensor.settled(Deadline::secs(20));
    let status = sensor.status();
    eprintln!("{rounds} reloads in {LOOKUPS} look-ups, {} packets", after["seen"] - before["seen"]);
    assert!(rounds >= 4, "the look-ups were over after {rounds}");
    // A query at the client's egress; its response on the wire and at the socket.
    assert_eq!(after["seen"] - before["seen"], 3 * 4000, "{after:#?}");
    assert_eq!(after["delivered"] - before["delivered"], 3 * 4000, "{after:#?}");
    assert_eq!(status["lost"], 0, "{status:#}");
    let configuration = &status["configuration"];
    let sum = configuration["applied"].as_u64().unwrap() + configuration["refused"].as_u64().unwrap();
    assert_eq!(sum, rounds, "{configuration:#}");
    assert_eq!(attached::to(&client, TRAFFIC), hooks, "hooks are left alone");
    sensor.stop();
}

/// A terminal that goes away sends the same signal.
#[test]
fn a_terminal_that_goes_away_ends_the_run() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let found = Command::new("script").arg("--version").stdout(Stdio::null()).status();
    require!(found.map_err(|error| format!("no script(1) to make a terminal: {error}")));
    let line = format!("exec {} run --output none", require!(binary()).display());
    let mut command = client.command("script");
    command.args(["-qec", &line, "/dev/null"]);
    let terminal = Process::spawn(command);
    terminal.wait_for_text("watching with", Deadline::secs(20));
    assert_ne!(attached::to(&client, TRAFFIC), Vec::<String>::new());
    terminal.signal("KILL");
    let gone = Deadline::secs(10).poll(|| {
        let left =
            attached::to(&client, TRAFFIC).is_empty() && !client.file("/run/earthdog/control.sock").exists();
        left.then_some(())
    });
    assert!(gone.is_some(), "still there: {:?}", attached::to(&client, TRAFFIC));
}

#[test]
fn limits_and_their_switch_are_taken_over() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    write(&client, CONFIG, "");
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let hooks = |status: &Value| status["hooks"].as_array().unwrap().len();
    assert!(hooks(&sensor.status()) > 0);
    write(&client, CONFIG, "[limits]\ncpu_share = 0.25\nkill_switch = \"/run/off\"\n[live]\npin = true\n");
    let told = reload(&mut sensor);
    let keys = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&told["last"]["changed"]), ["limits.cpu_share", "limits.kill_switch"], "{told:#}");
    assert_eq!(keys(&told["waiting"]), ["live.pin"], "{told:#}");
    assert_eq!(sensor.status()["limits"]["budget"]["cpu_share"], 0.25);
    write(&client, "/run/off", "");
    let off = Deadline::secs(10).poll(|| Some(sensor.status()).filter(|status| hooks(status) == 0));
    let off = off.unwrap_or_else(|| panic!("still there:\n{}", sensor.process().transcript()));
    assert!(off["limits"]["detached"]["why"].as_str().unwrap().contains("/run/off"), "{off:#}");
}
