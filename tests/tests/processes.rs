//! Who a process is, for processes that are gone before anybody could look: path, command line, script, ancestry, unit
//! and container; and a loop of a thousand of them as one client.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Counters, Finished, Sensor, in_state};
use earthdog_tests::{host, peer, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const ZONE: &str = "tunnel.example";
const MESSAGES: &str = "/run/messages.ndjson";

/// `dig` in a shell loop, a process for each name; the table has room for a fraction of them.
#[test]
fn a_thousand_short_processes_are_one_finding() {
    const PROCESSES: u64 = 1000;
    const TABLE: u64 = 256;
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let dig = require!(peer::find("dig"));
    let config = configured(&client, &format!("[pipeline]\nmax_processes = {TABLE}\n"));
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);

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
    let kept = status["process_table"].as_u64().unwrap();
    let forgotten = status["evictions"]["ended processes"].as_u64().unwrap();
    assert!(kept <= TABLE && kept + forgotten >= PROCESSES, "{status:#}");
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

/// By a relative path, through a link, by an interpreter, by a fork alone, with a socket for standard input; none lives
/// to be looked up.
#[test]
fn paths_scripts_and_sockets_of_processes_that_are_gone() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let bash = require!(peer::find("bash"));
    let config = configured(&client, "");
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let files = tempfile::tempdir().unwrap();
    let directory = files.path().canonicalize().unwrap();
    let real = directory.join("deep").join("sender");
    std::fs::create_dir(directory.join("deep")).unwrap();
    std::fs::copy(TRAFFIC, &real).unwrap();
    std::os::unix::fs::symlink(&real, directory.join("link")).unwrap();
    // One query for a.example, written by the shell itself.
    let send = format!(
        "printf '\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\1a\\7example\\0\\0\\1\\0\\1' > /dev/udp/{SERVER_V4}/53"
    );
    let write = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(directory.join(name), text).unwrap();
        std::fs::set_permissions(directory.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("tool.sh", &format!("#!{}\n{send}\n", bash.display()));
    write("fork.sh", &format!("({send}) & wait\n"));
    let mut asked = 0;
    let mut owner_of = |line: &str, input: Stdio| {
        let mut command = client.command("sh");
        command.args(["-c", &format!("cd \"$0\" && {line}")]).arg(&directory).stdin(input);
        let done = Finished::of(Process::spawn_with_input(command));
        assert_eq!(done.code(), Some(0), "{line}: {}", done.stderr);
        sensor.settled(Deadline::secs(20));
        let sent = messages(&client).into_iter().filter(|message| message["view"] == "host_egress");
        let sent: Vec<_> = sent.collect();
        asked += 1;
        assert_eq!(sent.len(), asked, "one query each time: {line}");
        sent[asked - 1].clone()
    };
    let is = |value: &Value, path: &Path| assert_eq!(*value, path.to_str().unwrap(), "{value}");
    let bash = bash.canonicalize().unwrap();
    let arguments = format!("lookup {SERVER_V4}:53 1 0");

    for line in ["exec deep/sender", "exec ./link", "cd deep && ./sender"] {
        let message = owner_of(&format!("{line} {arguments}"), Stdio::null());
        is(&message["owner"]["exe"], &real);
        let given = line.rsplit(' ').next().unwrap();
        assert_eq!(message["owner"]["cmdline"], format!("{given} {arguments}"));
        assert_eq!(message["client"]["stdio_socket"], false, "{message:#}");
        assert!(message["client"].get("script").is_none(), "{message:#}");
    }
    let message = owner_of("./tool.sh", Stdio::null());
    is(&message["owner"]["exe"], &bash);
    is(&message["client"]["interpreter"], &bash);
    assert_eq!(message["owner"]["script"], "./tool.sh", "{message:#}");
    let message = owner_of("bash fork.sh", Stdio::null());
    is(&message["owner"]["exe"], &bash);
    assert_eq!(message["owner"]["script"], "fork.sh", "{message:#}");
    assert_eq!(message["owner"]["cmdline"], "bash fork.sh", "{message:#}");
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    let message = owner_of(&format!("exec ./link {arguments}"), std::os::fd::OwnedFd::from(near).into());
    // Another client only by what it is told of: the first one's facts stand for it.
    is(&message["owner"]["exe"], &real);
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    std::fs::copy(TRAFFIC, directory.join("shell")).unwrap();
    let message = owner_of(&format!("exec ./shell {arguments}"), std::os::fd::OwnedFd::from(near).into());
    assert_eq!(message["client"]["stdio_socket"], true, "{message:#}");
    whole(&sensor.settled(Deadline::secs(20)));
    sensor.stop();
}

/// Who ran before the sensor: from /proc, at start.
#[test]
fn a_process_that_ran_before_the_sensor_is_known_with_its_parents() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    let path = client.file("/sys/fs/cgroup/before.service");
    std::fs::create_dir(path).unwrap();
    // Sends once a line comes: after the sensor's start.
    let script = format!(
        "echo 0 > /sys/fs/cgroup/before.service/cgroup.procs; echo ready; read -r go; \"$0\" lookup {SERVER_V4}:53 1 0; \
         read -r go"
    );
    let mut command = client.command("sh");
    command.args(["-c", &script, TRAFFIC]).stdin(Stdio::piped());
    let mut before = Process::spawn_with_input(command);
    before.wait_for_text("ready", Deadline::secs(10));
    let config = configured(&client, "");
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    before.input("go\n");
    before.wait_for_text("sent 1", Deadline::secs(20));
    sensor.settled(Deadline::secs(20));
    let messages = messages(&client);
    let sent = messages.iter().find(|message| message["view"] == "host_egress").unwrap();
    let (owner, asker) = (&sent["owner"], &sent["client"]);
    assert_eq!(owner["exe"], TRAFFIC, "{sent:#}");
    assert_eq!(asker["unit"], "before.service", "{sent:#}");
    let ancestry = asker["ancestry"].as_array().unwrap();
    assert_eq!(ancestry[0], before.exe(), "{sent:#}");
    assert!(ancestry.len() >= 3, "up to what started this test: {sent:#}");
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
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
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
