//! Rights kept apart: what reads packets has none, what has them does little else, neither outlives the other, and what is
//! found is the same as in one process.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{self, Host, LINK, SERVER_V4};
use earthdog_tests::iodine::Iodine;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{self, Sensor, in_state};
use earthdog_tests::{attached, require, serial, traffic};
use rstest::rstest;
use serde_json::{Value, json};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/earthdog.toml";
const ONE_PROCESS: &str = "[live]\nsplit = \"off\"\n";
/// CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF.
const OF_HELPER: u64 = 1 << 2 | 1 << 12 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39;
const BPF: u64 = 1 << 39;

fn write(host: &Host, file: &str, text: &str) {
    fs::write(host.file(file), text).unwrap();
}

fn helper(status: &Value) -> u32 {
    let pid = status["privilege"]["helper"]["pid"].as_u64();
    pid.unwrap_or_else(|| panic!("not apart: {:#}", status["privilege"])).try_into().unwrap()
}

/// The lines of /proc/PID/task/TID/status for each thread, by their names.
fn threads(pid: u32) -> Vec<BTreeMap<String, String>> {
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| read(&task.unwrap().path().join("status"))).collect()
}

fn mask(thread: &BTreeMap<String, String>, name: &str) -> u64 {
    u64::from_str_radix(&thread[name], 16).unwrap()
}

/// Before 5.19 maps are not to be used without CAP_BPF, unless a sysctl says so.
fn needs_bpf() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let sysctl = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    version < (5, 19) && sysctl.is_ok_and(|value| value.trim() != "0")
}

#[test]
fn what_reads_packets_has_no_rights_in_any_thread() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    // Sinks and a store have threads of their own.
    let sinks = "[[sink]]\ntype = \"file\"\nto = \"/run/out/findings.json\"\n[[sink]]\ntype = \"syslog_tcp\"\n\
                 to = \"127.0.0.1:5514\"\nname = \"tcp\"\nspool = \"/run/spool\"\n";
    write(&client, CONFIG, sinks);
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let status = sensor.status();
    let privilege = &status["privilege"];
    eprintln!("{privilege:#}");
    let kept = if needs_bpf() { BPF } else { 0 };
    let has_landlock =
        fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|list| list.contains("landlock"));
    assert!(!has_landlock || privilege["landlock_abi"].as_u64() >= Some(1), "{privilege:#}");
    assert_eq!((&privilege["seccomp"], &privilege["why_not"]), (&true.into(), &Value::Null), "{privilege:#}");
    let parser = threads(sensor.process().pid());
    assert!(parser.len() > 2, "{} threads", parser.len());
    for thread in &parser {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(mask(thread, set), kept, "{set} of {}: {thread:#?}", thread["Name"]);
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(mask(thread, set), 0, "{set} of {}: {thread:#?}", thread["Name"]);
        }
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"), "{thread:#?}");
    }
    let helper = threads(helper(&status));
    for thread in &helper {
        assert_eq!(mask(thread, "CapEff"), OF_HELPER, "{thread:#?}");
        assert_eq!(mask(thread, "CapPrm") | mask(thread, "CapBnd"), OF_HELPER, "{thread:#?}");
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"), "{thread:#?}");
    }
    let told = sensor.process().wait_for_text("privileges: ", Deadline::secs(5));
    assert!(told.contains("process ") && told.contains("CAP_NET_ADMIN"), "{told}");
    sensor.stop();
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
}

/// What a finding says of the traffic, without what two runs differ in.
fn essence(findings: &[Value]) -> Vec<Value> {
    let mut list: Vec<_> = in_state(findings, "close")
        .into_iter()
        .map(|finding| {
            let client = &finding["client"];
            json!([
                finding["rule"],
                finding["zone"],
                finding["severity"],
                finding["queries"],
                finding["responses"],
                finding["bytes_up"],
                client["exe"],
                client["cmdline"],
                client["uid"],
                client["grade"],
                client["unit"],
                client["user"],
            ])
        })
        .collect();
    list.sort_by_key(ToString::to_string);
    list
}

#[test]
fn what_is_found_is_the_same_as_in_one_process() {
    let _alone = serial::lock();
    let mut found = Vec::new();
    for text in ["", ONE_PROCESS] {
        let (client, server) = require!(host::pair());
        write(&client, CONFIG, text);
        let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
        let sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
        assert_eq!(sensor.status()["privilege"]["split"], text.is_empty());
        traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "100", "1000"]);
        let look_up = ["lookup", &format!("{SERVER_V4}:53"), "200", "500"];
        traffic::run(TRAFFIC, &client, &look_up);
        let counters = sensor.settled(Deadline::secs(20));
        let status = sensor.status();
        let folded = &status["folded"];
        // What comes back to a socket that is closed by then is seen on the wire alone: copies are not compared.
        let counts = json!({
            "lost": status["lost"], "zones": status["zones"], "messages of each kind": [
                folded["first"], folded["twin"], folded["answer"], folded["unsolicited"],
            ], "with their sender": status["attributions"]["exact"],
        });
        assert!(counters["seen"] >= 600, "{counters:#?}");
        let findings = essence(&sensor.stop());
        assert!(
            findings.iter().any(|finding| finding[1] == "leak.example" && finding[6] == TRAFFIC),
            "{findings:#?}"
        );
        found.push((counts, findings));
    }
    assert_eq!(found[0], found[1], "apart, and in one process");
    eprintln!("{:#}", json!(found[0]));
}

#[test]
fn a_tunnel_is_found_with_its_process() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let iodine = require!(Iodine::find());
    // It runs before the sensor does: its program is known from /proc alone.
    let tunnel_end = iodine.listen(&server);
    let tunnel = iodine.connect(&client, &["-r"], SERVER_V4);
    let sensor = require!(Sensor::start(&client, &[]));
    assert_eq!(sensor.status()["privilege"]["split"], true);
    let found = sensor.wait_for_finding("tunnel", Deadline::secs(30), |finding| {
        finding["zone"] == "tunnel.example" && finding["severity"] != "low"
    });
    assert_eq!(
        (&found["client"]["exe"], &found["client"]["pid"]),
        (&tunnel.exe().into(), &tunnel.pid().into()),
        "{found:#}"
    );
    drop((tunnel, tunnel_end));
    sensor.stop();
}

/// A running sensor tries it, and says what came of it; `None`: it is killed with SIGSYS.
#[rstest]
#[case("/etc/shadow", Some("Permission denied"))]
#[case("/root", Some("Permission denied"))]
#[case("/proc/1/environ", Some("Permission denied"))]
#[case("write:/etc/earthdog-attempt", Some("Permission denied"))]
#[case("write:/run/earthdog-attempt", Some("Permission denied"))]
#[case("tcp:127.0.0.1:5999", Some("Permission denied"))]
#[case("/proc/self/status", Some("done"))]
#[case("fork", Some("Operation not permitted"))]
#[case("packets", Some("Operation not permitted"))]
#[case("exec", None)]
#[case("load", None)]
#[case("setns", None)]
fn what_it_was_not_granted_it_cannot(#[case] attempt: &str, #[case] outcome: Option<&str>) {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let listener = client.inside(|| std::net::TcpListener::bind("127.0.0.1:5999")).unwrap();
    let mut command = client.command(require!(sensor::beside()));
    command.args(["run", "--output", "json"]).env("EARTHDOG_ATTEMPT", attempt);
    let mut process = Process::spawn(command);
    let Some(outcome) = outcome else {
        let status = process.wait(Deadline::secs(30));
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(libc::SIGSYS), "{status:?}\n{}", process.transcript());
        let gone = Deadline::secs(10).poll(|| attached::to(&client, TRAFFIC).is_empty().then_some(()));
        assert!(gone.is_some(), "{:?}", attached::to(&client, TRAFFIC));
        return;
    };
    let told = process.wait_for_text(&format!("attempt {attempt}: "), Deadline::secs(30));
    assert!(told.contains(outcome), "{told}");
    assert_eq!(process.terminate(Deadline::secs(20)).code(), Some(0), "{}", process.transcript());
    drop(listener);
    assert!(!client.file("/etc/earthdog-attempt").exists() && !client.file("/run/earthdog-attempt").exists());
}

/// The same attempts succeed in one process: the test sees what it says it sees.
#[rstest]
#[case("/etc/shadow")]
#[case("tcp:127.0.0.1:5999")]
#[case("write:/run/earthdog-attempt")]
#[case("fork")]
#[case("packets")]
#[case("load")]
#[case("setns")]
fn in_one_process_it_could(#[case] attempt: &str) {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    write(&client, CONFIG, ONE_PROCESS);
    let _listener = client.inside(|| std::net::TcpListener::bind("127.0.0.1:5999")).unwrap();
    let mut command = client.command(require!(sensor::beside()));
    command.args(["run", "-c", CONFIG]).env("EARTHDOG_ATTEMPT", attempt);
    let mut process = Process::spawn(command);
    process.wait_for_text(&format!("attempt {attempt}: done"), Deadline::secs(30));
    assert_eq!(process.terminate(Deadline::secs(20)).code(), Some(0), "{}", process.transcript());
}

#[test]
fn neither_process_outlives_the_other() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let mut sensor = require!(Sensor::start(&client, &[]));
    traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "60", "1000"]);
    sensor.wait_for_finding("leak", Deadline::secs(20), |finding| finding["state"] == "create");
    let pid = helper(&sensor.status());
    kill(pid);
    let ended = sensor.process().wait(Deadline::secs(20));
    assert_eq!(ended.code(), Some(1), "{}", sensor.process().transcript());
    let told = sensor.process().wait_for_text("the attaching process (pid", Deadline::secs(5));
    assert!(told.contains("killed by signal 9") && told.contains("nothing is attached any more"), "{told}");
    let closed = in_state(&sensor.findings(), "close").len();
    assert!(closed >= 1, "what was open is closed: {}", sensor.process().transcript());
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());

    let mut sensor = require!(Sensor::start(&client, &[]));
    let pid = helper(&sensor.status());
    assert_ne!(attached::to(&client, TRAFFIC), Vec::<String>::new());
    sensor.process().signal("KILL");
    sensor.process().wait(Deadline::secs(5));
    let gone = Deadline::secs(10).poll(|| (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    assert!(gone.is_some(), "{pid} runs on");
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
}

/// A process of a sensor that this test started.
fn kill(pid: u32) {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm.trim(), "earthdog-attach");
    let script = "kill -s KILL \"$0\"";
    let done = std::process::Command::new("sh").args(["-c", script, &pid.to_string()]).status().unwrap();
    assert!(done.success());
}

/// A terminal's Ctrl-C and a service manager's SIGTERM reach both; the sensor still ends in order.
#[test]
fn a_signal_to_both_ends_them_in_order() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let mut sensor = require!(Sensor::start(&client, &[]));
    let pid = helper(&sensor.status());
    for signal in ["HUP", "INT", "TERM"] {
        let script = "kill -s \"$0\" \"$1\"";
        let done = std::process::Command::new("sh").args(["-c", script, signal, &pid.to_string()]).status();
        assert!(done.unwrap().success());
    }
    assert_eq!(helper(&sensor.status()), pid, "it is for the sensor to say when");
    sensor.process().signal("INT");
    assert_eq!(
        sensor.process().wait(Deadline::secs(20)).code(),
        Some(0),
        "{}",
        sensor.process().transcript()
    );
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
}

#[test]
fn a_reload_beyond_what_was_granted_is_refused_with_what_to_do() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    write(&client, CONFIG, "");
    write(&client, "/run/list", "leak.example\n");
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    write(&client, CONFIG, "[reputation]\ndomain_reputation_feed = [\"/run/list\"]\n");
    sensor.process().signal("HUP");
    let refused = Deadline::secs(10).poll(|| {
        let configuration = sensor.status()["configuration"].clone();
        (configuration["refused"] == 1).then_some(configuration)
    });
    let refused = refused.unwrap_or_else(|| panic!("{}", sensor.process().transcript()));
    let problems = refused["last"]["problems"].to_string();
    assert!(problems.contains("/run/list: Permission denied") && problems.contains("restart"), "{refused:#}");
    sensor.process().wait_for_text("configuration refused, the one before stays in force", Deadline::secs(5));
    sensor.stop();
    // What it names at the start, it may read.
    let sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    assert!(!sensor.status()["warnings"].to_string().contains("/run/list"));
    sensor.stop();
}

#[test]
fn nobody_but_a_sensor_starts_the_attaching_process() {
    let done = require!(sensor::run(&["attacher"]));
    assert_eq!(done.code(), Some(2), "{done:?}");
    assert!(done.stderr.contains("a part of `earthdog run`"), "{done:?}");
}

/// CPU time of a process in seconds, and its resident memory in bytes.
fn cost(pid: u32) -> (f64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (ticks as f64 / 100.0, kib * 1024)
}

/// A fixed load, by one process per query as it costs most: each is looked up, if its exec did not tell all.
#[test]
fn it_costs_no_more_than_a_tenth_more() {
    const ROUNDS: usize = 3;
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", "0.0.0.0:53"]);
    let mut best = [f64::MAX; 2];
    let mut resident = [0; 2];
    for _ in 0..ROUNDS {
        for (side, text) in ["", ONE_PROCESS].into_iter().enumerate() {
            write(&client, CONFIG, text);
            let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG, "--interface", LINK]));
            let mut pids = vec![sensor.process().pid()];
            pids.extend(text.is_empty().then(|| helper(&sensor.status())));
            let sum = || {
                pids.iter().map(|pid| cost(*pid)).fold((0.0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
            };
            let before = sum();
            traffic::run(TRAFFIC, &client, &["lookup", &format!("{SERVER_V4}:53"), "20000", "200"]);
            for _ in 0..100 {
                traffic::run(TRAFFIC, &client, &["lookup", &format!("{SERVER_V4}:53"), "1", "500"]);
            }
            sensor.settled(Deadline::secs(20));
            let after = sum();
            best[side] = best[side].min(after.0 - before.0);
            resident[side] = before.1;
            sensor.stop();
        }
    }
    let [apart, together] = best;
    eprintln!(
        "CPU apart {apart:.2} s, in one process {together:.2} s; resident when idle {:.1} and {:.1} MB",
        resident[0] as f64 / 1e6,
        resident[1] as f64 / 1e6
    );
    assert!(apart <= together * 1.1 + 0.05, "{apart} s apart, {together} s in one process");
}
