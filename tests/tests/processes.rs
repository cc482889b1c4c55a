//! Who a process is, for processes that are gone before anybody could look: path, command line, script, ancestry, unit
//! and container; and a loop of a thousand of them as one client.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Counters, Finished, Sensor, in_state};
use earthdog_tests::{host, peer, require, serial};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const ZONE: &str = "tunnel.example";
const MESSAGES: &str = "/run/messages.ndjson";

/// `dig` in a shell loop, a process for each name; the table has room for a fraction of them.
#[test]
fn a_thousand_short_processes_are_one_finding() {
    const PROCESSES: u64 = 1000;
    const TABLE: u64 = 128;
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let dig = require!(peer::find("dig"));
    let config = configured(&client, &format!("[pipeline]\nmax_processes = {TABLE}\n"));
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    let _dns = ready(&server, &["dns", &format!("{SERVER_V4}:53")]);

    let mut names = String::new();
    for number in 0..PROCESSES {
        let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        writeln!(names, "{:016x}{word:016x}.t.{ZONE}", word.wrapping_mul(0xbf58_476d_1ce4_e5b9)).unwrap();
    }
    std::fs::write(client.file("/run/names"), names).unwrap();
    let script =
        "while read -r name; do \"$0\" @\"$1\" +tries=1 +time=2 \"$name\" TXT > /dev/null; done < /run/names";
    let mut command = client.command("sh");
    command.args(["-c", script]).arg(&dig).arg(SERVER_V4);
    let mut the_loop = Process::spawn(command);
    assert!(the_loop.wait(Deadline::secs(300)).success(), "{}", the_loop.transcript());

    let counters = sensor.settled(Deadline::secs(20));
    let status = sensor.status();
    assert!(status["process_table"].as_u64().unwrap() <= TABLE, "{status:#}");
    assert!(status["evictions"]["ended processes"].as_u64().unwrap() > PROCESSES, "{status:#}");
    assert_eq!(status["evictions"]["processes"], 0, "a running process was forgotten: {status:#}");
    whole(&counters);
    for (event, least) in [("exec", PROCESSES), ("fork", PROCESSES), ("exit", PROCESSES)] {
        assert!(counters[&format!("{event}_delivered")] >= least, "{counters:#?}");
    }

    let messages = messages(&client);
    let lookups: Vec<_> = messages.iter().filter(|message| message["lookup"] == "first").collect();
    let exe = real_dig(&dig);
    let named = lookups.iter().filter(|message| {
        let owner = &message["owner"];
        owner["exe"] == exe.as_str()
            && owner["cmdline"].as_str().is_some_and(|line| line.contains(message["name"].as_str().unwrap()))
    });
    let named = named.count();
    let pids: BTreeSet<_> = lookups.iter().filter_map(|message| message["owner"]["pid"].as_u64()).collect();
    eprintln!("{} look-ups by {} processes, {named} with exe and command line", lookups.len(), pids.len());
    assert!(lookups.len() as u64 == PROCESSES && pids.len() as u64 == PROCESSES);
    assert!(named * 100 >= lookups.len() * 99, "{named} of {}: {:#}", lookups.len(), lookups[0]);

    let findings = sensor.stop();
    let created = in_state(&findings, "create");
    assert_eq!(created.len(), 1, "{created:#?}");
    let closed = in_state(&findings, "close")[0];
    assert_eq!(closed["queries"], PROCESSES, "{closed:#}");
    assert_eq!(
        (&closed["zone"], &closed["client"]["exe"]),
        (&ZONE.into(), &exe.as_str().into()),
        "{closed:#}"
    );
    assert!(closed["client"]["cmdline"].as_str().unwrap().contains(ZONE), "{closed:#}");
    assert!(closed["client"]["ancestry"].as_array().unwrap().len() >= 2, "{closed:#}");
}

/// By a relative path, through a link, by an interpreter, with a socket for standard input; none lives to be looked up.
#[test]
fn paths_scripts_and_sockets_of_processes_that_are_gone() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let config = configured(&client, "");
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    let _dns = ready(&server, &["dns", &format!("{SERVER_V4}:53")]);
    let files = tempfile::tempdir().unwrap();
    let directory = files.path().canonicalize().unwrap();
    let real = directory.join("deep").join("sender");
    std::fs::create_dir(directory.join("deep")).unwrap();
    std::fs::copy(TRAFFIC, &real).unwrap();
    std::os::unix::fs::symlink(&real, directory.join("link")).unwrap();
    let arguments = format!("lookup {SERVER_V4}:53 1 0");
    let script = format!(
        "#!/bin/sh\n\"$(dirname \"$0\")/deep/sender\" {arguments}\nprintf x > /dev/udp/{SERVER_V4}/53\n"
    );
    let write = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(directory.join(name), text).unwrap();
        std::fs::set_permissions(directory.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    // The script's own shell sends too: bash writes to UDP by itself.
    write("tool.sh", &script.replace("/bin/sh", "/bin/bash"));
    let from_there = |line: &str| {
        let mut command = client.command("sh");
        command.args(["-c", &format!("cd \"$0\" && {line}")]).arg(&directory);
        let done = Finished::of(Process::spawn(command));
        assert_eq!(done.code(), Some(0), "{line}: {}", done.stderr);
    };
    let mut told = Vec::new();
    let mut next = |line: &str| {
        from_there(line);
        sensor.settled(Deadline::secs(20));
        let sent = messages(&client);
        let sent: Vec<_> = sent.into_iter().filter(|m| m["view"] == "host_egress").collect();
        told.push(sent.len());
        sent.last().unwrap()["owner"].clone()
    };

    let expect_exe = |owner: &Value| assert_eq!(owner["exe"], real.to_str().unwrap(), "{owner:#}");
    let owner = next(&format!("exec deep/sender {arguments}"));
    expect_exe(&owner);
    assert_eq!(owner["cmdline"], format!("deep/sender {arguments}"), "{owner:#}");
    expect_exe(&next(&format!("exec ./link {arguments}")));
    expect_exe(&next(&format!("cd deep && ./sender {arguments} && true")));
    expect_exe(&next("./tool.sh"));
    assert_eq!(told, [1, 2, 3, 4], "one query each time");
    whole(&sensor.settled(Deadline::secs(20)));
    sensor.stop();
}

/// Cgroups named as systemd and the container runtimes name them.
#[test]
fn units_and_containers_are_named_and_apart() {
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let config = configured(&client, "");
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    let _dns = ready(&server, &["dns", &format!("{SERVER_V4}:53")]);
    let docker = format!("docker-{ID}.scope");
    let groups = ["a.service", "b.service", docker.as_str(), "session-1.scope", "session-2.scope", "plain"];
    for (round, group) in groups.iter().cycle().take(2 * groups.len()).enumerate() {
        let path = client.file(&format!("/sys/fs/cgroup/{group}"));
        if round < groups.len() {
            std::fs::create_dir(path).unwrap();
        }
        let script = format!(
            "echo 0 > /sys/fs/cgroup/{group}/cgroup.procs && exec \"$0\" lookup {SERVER_V4}:53 {} 0",
            round + 1
        );
        let mut command = client.command("sh");
        command.args(["-c", &script, TRAFFIC]);
        assert_eq!(Finished::of(Process::spawn(command)).code(), Some(0));
    }
    sensor.settled(Deadline::secs(20));
    let messages = messages(&client);
    let asked: Vec<_> = messages.iter().filter(|m| m["view"] == "host_egress").collect();
    let of = |field: &str, value: &str| asked.iter().filter(|m| m["client"][field] == value).count();
    for (index, group) in groups.iter().enumerate() {
        // In the rounds of this group: index + 1 and index + 1 + groups.
        let want = 2 * (index + 1) + groups.len();
        match *group {
            "plain" => assert!(asked.iter().filter(|m| m["client"].get("unit").is_none()).count() >= want),
            name if name == docker => assert_eq!(of("container", ID), want),
            // One key for all sessions, so the client shows the first one's.
            "session-1.scope" => assert_eq!(of("unit", group), 2 * want + 2),
            "session-2.scope" => assert_eq!(of("unit", group), 0),
            unit => assert_eq!(of("unit", unit), want, "{unit}"),
        }
    }
    let status = sensor.status();
    // Five clients by group and the address behind all of them.
    assert_eq!(status["clients"], 6, "{status:#}");
    sensor.stop();
}

/// Every event of a process was delivered, or counted as lost.
#[track_caller]
fn whole(counters: &Counters) {
    for event in ["exec", "fork", "exit"] {
        let count = |what: &str| counters[&format!("{event}_{what}")];
        assert_eq!(count("seen"), count("delivered") + count("lost"), "{counters:#?}");
        assert_eq!(count("lost"), 0, "{counters:#?}");
    }
}

fn configured(client: &Host, more: &str) -> String {
    let text = format!("[output]\nmessages = \"{MESSAGES}\"\n{more}");
    std::fs::write(client.file("/run/earthdog.toml"), text).unwrap();
    "/run/earthdog.toml".to_owned()
}

fn messages(client: &Host) -> Vec<Value> {
    let text = std::fs::read_to_string(client.file(MESSAGES)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Behind the launcher that sets the library path.
fn real_dig(found: &Path) -> String {
    let beside = found.ancestors().nth(2).map(|peers| peers.join("root/usr/bin/dig"));
    let real: PathBuf = beside.filter(|path| path.is_file()).unwrap_or_else(|| found.to_owned());
    real.canonicalize().unwrap().to_str().unwrap().to_owned()
}

fn ready(host: &Host, words: &[&str]) -> Process {
    let mut command = host.command(TRAFFIC);
    command.args(words);
    let process = Process::spawn(command);
    process.wait_for_text("ready", Deadline::secs(10));
    process
}
