//! A sensor that costs more than it may takes its steps, tells of each, still finds a tunnel, accounts for every packet,
//! and takes them back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{self, Host, LINK, SERVER_V4};
use earthdog_tests::iodine::Iodine;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor, conserved};
use earthdog_tests::size::niceness;
use earthdog_tests::{attached, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const GENERATOR: &str = env!("CARGO_BIN_EXE_generator");

const RULES: [&str; 3] = ["limit-repeats", "limit-answers", "limit-telemetry"];

/// Packets from the client's side to the server's, for so long.
fn flood(client: &Host, server: &Host, kind: &str, seconds: u64, rate: u64) -> Process {
    let mac = server.run(&format!("cat /sys/class/net/{LINK}/address"));
    let mut command = client.command(GENERATOR);
    command.args([LINK, mac.trim(), kind, &seconds.to_string(), &rate.to_string()]);
    Process::spawn(command)
}

fn sent(flood: Process) -> u64 {
    let done = Finished::of(flood);
    let count = done.stdout.strip_prefix("sent ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("{}{}", done.stdout, done.stderr))
}

fn config_in(host: &Host, text: &str) -> String {
    std::fs::write(host.file("/run/earthdog.toml"), text).unwrap();
    "/run/earthdog.toml".to_owned()
}

fn steps(status: &Value) -> u64 {
    status["limits"]["step"].as_u64().unwrap()
}

/// By its finding: to ask for `status` all the time would be load of its own.
fn wait_for_step(sensor: &Sensor, rule: &str, state: &str) {
    sensor.wait_for_finding(&format!("{state} {rule}"), Deadline::secs(60), |finding| {
        finding["rule"] == rule && finding["state"] == state
    });
}

#[test]
fn steps_go_up_in_a_flood_a_tunnel_is_found_and_they_go_down() {
    // So little that a debug build and a release build both pass it.
    const LIMITS: &str = "[limits]\ngateway_cpu_share = 0.05\nafter_s = 2\ncalm_s = 3\n\
                          [novelty]\nfilter = \"off\"\n[output]\nmessages = \"/run/messages.json\"\n";
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let iodine = require!(Iodine::find());
    let config = config_in(&server, LIMITS);
    let arguments = ["-c", &config, "--role", "gateway", "--interface", LINK];
    let sensor = require!(Sensor::start(&server, &arguments));
    let messages = || std::fs::read_to_string(server.file("/run/messages.json")).unwrap().lines().count();

    // One query again and again, and answers to a thousand names: the first two steps keep back nearly all of them.
    let (same, answers) =
        (flood(&client, &server, "same", 12, 20_000), flood(&client, &server, "answers", 12, 20_000));
    wait_for_step(&sensor, RULES[1], "create");
    let repeated = sent(same) + sent(answers);
    let kept = sensor.settled(Deadline::secs(20));
    conserved(&kept);
    assert_eq!(
        kept["lost_bulk_ring_full"] + kept["delivered"] + kept["repeat_query"] + kept["known_answer"],
        repeated
    );
    assert!(kept["known_answer"] > 50_000 && kept["repeat_query"] > 50_000, "{kept:#?}");

    // Names that are always new: no step but the last helps.
    let new = flood(&client, &server, "new", 30, 100_000);
    wait_for_step(&sensor, RULES[2], "create");
    let told = messages();
    let tunnel_end = iodine.listen(&server);
    let tunnel = iodine.connect(&client, &["-r"], SERVER_V4);
    let found = sensor.wait_for_finding("tunnel in the flood", Deadline::secs(25), |finding| {
        finding["zone"] == "tunnel.example" && finding["severity"] != "low"
    });
    assert_eq!(steps(&sensor.status()), 3, "found before or after the last step: {found:#}");
    assert_eq!(messages(), told, "messages are told at the last step");
    drop((tunnel, tunnel_end));

    let all = sent(new) + repeated;
    let counters = sensor.settled(Deadline::secs(20));
    conserved(&counters);
    assert!(counters["seen"] >= all, "{all} sent\n{counters:#?}");
    wait_for_step(&sensor, RULES[0], "close");
    let _sink = traffic::ready(TRAFFIC, &server, &["sink", &format!("{SERVER_V4}:53")]);
    let before = messages();
    traffic::run(TRAFFIC, &client, &["query", &format!("{SERVER_V4}:53"), "100", "1000", "0"]);
    let after = sensor.settled(Deadline::secs(20));
    conserved(&after);
    let status = sensor.status();
    assert!(messages() >= before + 100, "messages are told again: {before}, {}\n{status:#}", messages());
    assert!(status["limits"]["messages_untold"].as_u64().unwrap() > 0, "{:#}", status["limits"]);
    for (step, rule) in status["limits"]["steps"].as_array().unwrap().iter().zip(RULES) {
        assert_eq!((&step["rule"], &step["since"]), (&rule.into(), &Value::Null), "{status:#}");
        assert!(step["taken"].as_u64().unwrap() >= 1, "{status:#}");
    }
    let findings = sensor.stop();
    for rule in RULES {
        let of = |state: &str| {
            findings.iter().filter(|finding| finding["rule"] == rule && finding["state"] == state).count()
        };
        assert!(of("create") >= 1 && of("create") == of("close"), "{rule}: {findings:#?}");
    }
    let told = findings.iter().find(|finding| finding["rule"] == RULES[0]).unwrap();
    assert_eq!((&told["severity"], &told["evidence"][0]["name"]), (&"low".into(), &"cpu_share".into()));
    eprintln!("{all} sent; {:#}", status["limits"]);
    eprintln!("{}", told["title"]);
}

#[test]
fn a_nice_sensor_finds_a_tunnel_beside_programs_that_want_every_processor() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let iodine = require!(Iodine::find());
    let config = config_in(&client, "[live]\nnice = 10\n");
    // Leader of a session of its own, as init systems start services.
    let mut sensor = require!(Sensor::spawn_by(&client, &["setsid"], &["-c", &config]));
    sensor.process().wait_for_text("watching with ", Deadline::secs(30));
    assert_eq!(sensor.status()["limits"]["nice"], 10);
    for pid in sensor.pids() {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let number = |name: std::ffi::OsString| name.to_str().unwrap().parse().unwrap();
        let nice: Vec<_> =
            threads.map(|thread| niceness(number(thread.unwrap().file_name())).unwrap()).collect();
        assert!(!nice.is_empty() && nice.iter().all(|nice| *nice == 10), "{pid}: {nice:?}");
    }
    match std::fs::read_to_string(format!("/proc/{}/autogroup", sensor.pids()[0])) {
        Ok(group) => assert!(group.ends_with(" nice 10\n"), "{group}"),
        Err(error) => eprintln!("no groups by session on this kernel: {error}"),
    }
    let transcript = sensor.process().transcript();
    assert!(!transcript.contains("live.nice"), "{transcript}");
    // Two that never sleep to each processor.
    let processors = std::thread::available_parallelism().unwrap().get();
    let busy: Vec<_> = (0..2 * processors)
        .map(|_| {
            let mut command = client.command("sh");
            command.args(["-c", "while :; do :; done"]);
            Process::spawn(command)
        })
        .collect();
    let tunnel_end = iodine.listen(&server);
    let tunnel = iodine.connect(&client, &["-r"], SERVER_V4);
    sensor.wait_for_finding("tunnel", Deadline::secs(30), |finding| {
        finding["zone"] == "tunnel.example" && finding["severity"] != "low"
    });
    drop((tunnel, tunnel_end, busy));
    conserved(&sensor.settled(Deadline::secs(20)));
    sensor.stop();
}

#[test]
fn a_sensor_stays_as_nice_as_it_was_started() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let own = niceness(std::process::id()).unwrap();
    let config = config_in(&client, "[live]\nnice = 3\n");
    for (started, arguments, expected) in
        [(-5, vec![], -5), (-5, vec!["-c", &config], 3), (7, vec!["-c", &config], 7)]
    {
        let nicer = (started - own).to_string();
        let mut sensor = require!(Sensor::spawn_by(&client, &["nice", "-n", &nicer], &arguments));
        sensor.process().wait_for_text("watching with ", Deadline::secs(30));
        assert_eq!(sensor.status()["limits"]["nice"], expected, "{started} {arguments:?}");
        for pid in sensor.pids() {
            assert_eq!(niceness(pid).unwrap(), expected, "{pid}");
        }
        sensor.stop();
    }
}

#[test]
fn the_kill_switch_takes_everything_off() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let config = config_in(&client, "[limits]\nkill_switch = \"/run/off\"\n");
    let sensor = require!(Sensor::start(&client, &["-c", &config]));
    assert_ne!(attached::to(&client, TRAFFIC), Vec::<String>::new());
    std::fs::write(client.file("/run/off"), "").unwrap();
    let finding = sensor
        .wait_for_finding("detached", Deadline::secs(10), |finding| finding["rule"] == "limit-detached");
    assert_eq!(finding["evidence"][0]["name"], "switched_off", "{finding:#}");
    assert_eq!(attached::to(&client, TRAFFIC), Vec::<String>::new());
    let status = sensor.status();
    assert!(status["limits"]["detached"]["why"].as_str().unwrap().contains("/run/off"), "{status:#}");
    assert_eq!(status["hooks"], Value::Array(Vec::new()));
    sensor.stop();
}
