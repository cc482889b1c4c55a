//! What the sensor remembers: across restarts and kills, and where the file cannot be used.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::{Process, Stream};
use earthdog_tests::sensor::{Finished, Sensor, binary};
use earthdog_tests::{host, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const STORE: &str = "/var/lib/earthdog/store.redb";

/// A client with somebody to ask.
fn hosts() -> Result<(Host, Host, Process), String> {
    let (client, server) = host::pair()?;
    let dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    Ok((client, server, dns))
}

/// Asks for new names under one zone.
fn ask(client: &Host, count: u32) {
    let mut command = client.command(TRAFFIC);
    command.args(["leak", &format!("{SERVER_V4}:53"), &count.to_string(), "200"]);
    let done = Finished::of(Process::spawn(command));
    assert!(done.stdout.starts_with(&format!("sent {count}")), "{}{}", done.stdout, done.stderr);
}

/// The store's part of `status`.
fn store(sensor: &Sensor) -> Value {
    sensor.status()["store"].clone()
}

fn kind<'a>(store: &'a Value, name: &str) -> &'a Value {
    store["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == name).unwrap()
}

/// Waits until the store holds so many zones, all of them written.
fn settled(sensor: &Sensor, zones: u64) -> Value {
    let done = Deadline::secs(10).poll(|| {
        let store = store(sensor);
        let written = store["waiting"] == false && store["batches_written"].as_u64() > Some(0);
        (written && kind(&store, "zones")["records"].as_u64() >= Some(zones)).then_some(store)
    });
    done.unwrap_or_else(|| panic!("never written: {:#}", store(sensor)))
}

/// A configuration in a host's own /run.
fn config(host: &Host, text: &str) -> String {
    let path: PathBuf = host.file("/run/store.toml");
    fs::write(path, text).unwrap();
    "/run/store.toml".to_owned()
}

fn warned(sensor: &mut Sensor, says: &[&str]) {
    let found = sensor.process().try_wait_for(Deadline::secs(10), |lines| {
        lines
            .iter()
            .any(|(from, line)| *from == Stream::Err && says.iter().all(|text| line.contains(text)))
            .then_some(())
    });
    assert!(found.is_some(), "{says:?} is not in:\n{}", sensor.process().transcript());
    assert!(!sensor.process().transcript().contains("panicked"), "{}", sensor.process().transcript());
}

#[test]
fn what_was_seen_first_survives_a_restart_and_a_kill() {
    let _alone = serial::lock();
    let (client, _server, _dns) = require!(hosts());
    let sensor = require!(Sensor::start(&client, &[]));
    ask(&client, 20);
    let first = settled(&sensor, 1);
    let since = first["since"].as_str().unwrap().to_owned();
    sensor.stop();
    let mode = client.run(&format!("stat -c %a:%U {STORE}"));
    assert_eq!(mode.trim(), "600:root", "names tell what people do");

    let mut sensor = require!(Sensor::start(&client, &[]));
    let again = store(&sensor);
    assert_eq!(again["since"], since, "{again:#}");
    assert_eq!(kind(&again, "zones")["records"], kind(&first, "zones")["records"]);
    assert_eq!(kind(&again, "zones")["oldest"], kind(&first, "zones")["oldest"]);
    sensor.process().signal("KILL");
    sensor.process().wait(Deadline::secs(10));

    let sensor = require!(Sensor::start(&client, &[]));
    let last = store(&sensor);
    assert_eq!((&last["since"], &last["error"]), (&Value::from(since), &Value::Null), "{last:#}");
    sensor.stop();
}

#[test]
fn a_place_that_cannot_be_used_is_told_and_the_sensor_watches_all_the_same() {
    let _alone = serial::lock();
    let (client, _server, _dns) = require!(hosts());
    require!(binary());
    let foreign = client.file("/run/foreign");
    fs::write(&foreign, "precious").unwrap();
    client.run("mkdir /run/full /run/fixed");
    client.run("mount -t tmpfs -o size=8k tmpfs /run/full");
    client.run("mount -t tmpfs -o ro tmpfs /run/fixed");
    for (path, says) in [
        ("/run/foreign", "was not touched"),
        ("/run/full/store.redb", "No space left"),
        ("/run/fixed/store.redb", "Read-only file system"),
        ("/nonexistent/deeper/store.redb", "No such file"),
        ("/dev/null", "is no store"),
    ] {
        let config = config(&client, &format!("[store]\npath = \"{path}\"\n"));
        let mut sensor = require!(Sensor::start(&client, &["-c", &config]));
        warned(&mut sensor, &["warning", path, says, "store.path"]);
        ask(&client, 300);
        sensor.wait_for_finding("leak", Deadline::secs(10), |finding| finding["state"] == "create");
        let store = store(&sensor);
        assert!(store["error"].as_str().unwrap().contains(says), "{store:#}");
        assert!(store["findings_lost"].as_u64() > Some(0), "{store:#}");
        sensor.stop();
    }
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "precious");
    let config = config(&client, "[store]\npath = \"\"\n");
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    assert_eq!(store(&sensor), Value::Null);
    sensor.stop();
}

#[test]
fn a_damaged_store_is_set_aside_and_a_new_one_begun() {
    let _alone = serial::lock();
    let (client, _server, _dns) = require!(hosts());
    let sensor = require!(Sensor::start(&client, &[]));
    ask(&client, 20);
    settled(&sensor, 1);
    sensor.stop();
    client.run(&format!("truncate -s 9000 {STORE}"));
    let mut sensor = require!(Sensor::start(&client, &[]));
    warned(&mut sensor, &["warning", STORE, "was damaged", "set aside as", ".damaged-"]);
    ask(&client, 20);
    settled(&sensor, 1);
    sensor.stop();
    let names = client.run("ls /var/lib/earthdog");
    assert_eq!(names.lines().count(), 2, "{names}");
    assert!(names.contains("store.redb.damaged-20"), "{names}");
}

/// The disk fills while the sensor runs: it says so once, watches on, and writes all of it once there is room again.
#[test]
fn a_disk_that_fills_and_empties_again_loses_nothing() {
    let _alone = serial::lock();
    let (client, _server, _dns) = require!(hosts());
    client.run("mkdir /run/small");
    client.run("mount -t tmpfs -o size=8m tmpfs /run/small");
    let config = config(&client, "[store]\npath = \"/run/small/store.redb\"\n");
    let mut sensor = require!(Sensor::start(&client, &["-c", &config]));
    ask(&client, 5);
    let before = settled(&sensor, 1);
    let fill = client.try_run("dd if=/dev/zero of=/run/small/filler bs=4k");
    assert!(!fill.status.success(), "the disk is not full");
    ask(&client, 300);
    warned(&mut sensor, &["warning", "/run/small/store.redb", "No space left", "tried again"]);
    let full = store(&sensor);
    assert!(full["writes_failed"].as_u64() > Some(0) && full["waiting"] == true, "{full:#}");
    client.run("rm /run/small/filler");
    warned(&mut sensor, &["is written again"]);
    let after = settled(&sensor, 1);
    assert_eq!((&after["error"], &after["findings_lost"]), (&Value::Null, &Value::from(0)), "{after:#}");
    let created = sensor.findings().len() as u64;
    assert_eq!(kind(&after, "findings")["records"].as_u64(), Some(created), "every state change is kept");
    assert!(created > 0 && after["since"] == before["since"]);
    sensor.stop();
}

/// As a unit with LimitFSIZE= has it: beyond the limit a write is an error, not the end.
#[test]
fn a_file_that_may_not_grow_does_not_end_the_sensor() {
    let _alone = serial::lock();
    let (client, _server, _dns) = require!(hosts());
    let mut command = client.command("bash");
    // In units of 1,024 bytes; stdout and stderr are pipes.
    command.args(["-c", "ulimit -f 600 && exec \"$0\" run --output json"]).arg(require!(binary()));
    let mut process = Process::spawn(command);
    process.wait_for_text("File too large", Deadline::secs(20));
    process.wait_for_text("watching", Deadline::secs(20));
    ask(&client, 10);
    let status = process.terminate(Deadline::secs(20));
    assert_eq!(status.code(), Some(0), "{}", process.transcript());
}

/// Twenty look-ups a second, and a kill at any moment: what is missing afterwards was seen within the last second, or
/// while the tick was due.
#[test]
fn a_kill_loses_at_most_the_last_second() {
    const PER_SECOND: u64 = 20;
    let _alone = serial::lock();
    let (client, _server, _dns) = require!(hosts());
    let mut command = client.command(TRAFFIC);
    command.args(["leak", &format!("{SERVER_V4}:53"), "4000", "50000"]);
    let _asking = Process::spawn(command);
    let mut before = 0;
    for round in 0..5_u64 {
        let mut sensor = require!(Sensor::start(&client, &[]));
        let start = lookups(&client, &sensor);
        assert!(round == 0 || start >= before, "{start} of {before} at the start of round {round}");
        let enough = Deadline::secs(20).poll(|| {
            Some(lookups(&client, &sensor)).filter(|count| *count >= start + PER_SECOND * (3 + round % 2))
        });
        let seen = enough.unwrap_or_else(|| panic!("too few look-ups: {:#}", sensor.status()));
        sensor.process().signal("KILL");
        sensor.process().wait(Deadline::secs(10));
        let kept = told(&client, &["pdns", ZONE])["zone_seen"]["lookups"].as_u64().unwrap_or(0);
        eprintln!("round {round}: {seen} seen, {kept} kept");
        assert!(kept + 2 * PER_SECOND >= seen, "{kept} of {seen}");
        assert!(kept > before, "round {round} left nothing");
        before = kept;
    }
}

#[test]
fn what_is_remembered_can_be_asked_for_with_and_without_a_sensor() {
    let _alone = serial::lock();
    let (client, _server, _dns) = require!(hosts());
    let none = earthdog(&client, &["pdns", ZONE]);
    assert_eq!(none.code(), Some(1), "{}", none.stderr);
    assert!(none.stderr.contains("no sensor answers") && none.stderr.contains(STORE), "{}", none.stderr);

    let sensor = require!(Sensor::start(&client, &[]));
    ask(&client, 20);
    settled(&sensor, 1);
    let name = told(&client, &["pdns", ZONE]);
    assert_eq!(name["zone_seen"]["lookups"], 20, "{name:#}");
    assert_eq!(name["zone_seen"]["clients"], 1, "{name:#}");
    let clients = told(&client, &["baseline", "show", "traffic"]);
    let habits = &clients["clients"][0];
    assert_eq!(
        (&clients["total"], &habits["lookups_today"]),
        (&Value::from(1), &Value::from(20)),
        "{clients:#}"
    );
    assert!(habits["zones"][0]["new_bytes"][0].as_u64() > Some(0), "{habits:#}");
    let human = earthdog(&client, &["pdns", ZONE]).stdout;
    assert!(human.contains("20 look-ups by 1 clients"), "{human}");
    sensor.stop();

    // The same from the file, which stays as it is.
    let changed = client.run(&format!("sha256sum {STORE}"));
    assert_eq!(told(&client, &["pdns", ZONE]), name);
    let id = habits["id"].as_str().unwrap();
    assert_eq!(told(&client, &["baseline", "show", id])["clients"][0]["lookups_today"], 20);
    assert_eq!(client.run(&format!("sha256sum {STORE}")), changed);
    let unknown = earthdog(&client, &["baseline", "reset", "nobody"]);
    assert_eq!(unknown.code(), Some(1), "{}", unknown.stderr);
    assert_eq!(told(&client, &["baseline", "reset", id]), 1);
    assert_eq!(told(&client, &["baseline", "show", id])["total"], 0);
    let mut after = told(&client, &["pdns", ZONE]);
    assert_eq!((&name["asked_by_total"], &after["asked_by_total"]), (&Value::from(2), &Value::from(1)));
    for part in ["asked_by", "asked_by_total"] {
        after[part] = name[part].clone();
    }
    assert_eq!(after, name, "what is known of names stays, but for who asked");

    let sensor = require!(Sensor::start(&client, &[]));
    assert_eq!(told(&client, &["baseline", "show", id])["total"], 0);
    assert!(told(&client, &["baseline", "reset"]).as_u64() > Some(0), "the address is left");
    assert_eq!(told(&client, &["baseline", "show"])["total"], 0);
    sensor.stop();
}

/// The zone that `ask` asks under.
const ZONE: &str = "leak.example";

fn earthdog(client: &Host, arguments: &[&str]) -> Finished {
    let mut command = client.command(binary().unwrap());
    command.args(arguments);
    Finished::of(Process::spawn(command))
}

/// The answer of a command, as JSON.
fn told(client: &Host, arguments: &[&str]) -> Value {
    let done = earthdog(client, &[arguments, &["--output", "json"]].concat());
    assert_eq!(done.code(), Some(0), "{arguments:?}: {}", done.stderr);
    serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", done.stdout))
}

/// Look-ups under the zone, by the running sensor.
fn lookups(client: &Host, _running: &Sensor) -> u64 {
    told(client, &["pdns", ZONE])["zone_seen"]["lookups"].as_u64().unwrap_or(0)
}
