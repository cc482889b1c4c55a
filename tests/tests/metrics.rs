//! The metrics' endpoint before Prometheus itself, and what is shipped for it: alert rules and dashboard.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use earthdog::live::metrics;
use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{Host, SERVER_V4};
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, Sensor};
use earthdog_tests::{host, peer, require, serial, traffic};
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const CONFIG: &str = "/run/earthdog.toml";
const EXCEPTION: &str = "[[suppress]]\nname = \"known\"\nowner = \"ann\"\nreason = \"x\"\nexpires = \"never\"\nzone = \"leak.example\"\n";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sensor-user/deploy").join(name)
}

fn get(host: &Host, socket: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(host.file(socket)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_live_sensor_tells_every_metric_and_promtool_has_nothing_to_say() {
    let _alone = serial::lock();
    let (client, server) = require!(host::pair());
    let promtool = require!(peer::find("promtool"));
    let text = format!(
        "[metrics]\nlisten = \"/run/metrics.sock\"\n{EXCEPTION}\
         [[sink]]\ntype = \"http\"\nto = \"http://127.0.0.1:9/\"\nspool = \"/run/spool\"\n"
    );
    std::fs::write(client.file(CONFIG), text).unwrap();
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    let _dns = traffic::ready(TRAFFIC, &server, &["dns", &format!("{SERVER_V4}:53")]);
    traffic::run(TRAFFIC, &client, &["leak", &format!("{SERVER_V4}:53"), "40", "1000"]);
    sensor.process().signal("HUP");
    sensor.process().wait_for_text("configuration read again", Deadline::secs(10));
    let told = Deadline::secs(20).poll(|| {
        let text = get(&client, "/run/metrics.sock", "/metrics");
        // Run times are there once they were counted for a second.
        let wanted =
            ["earthdog_exception_hits_total{exception=\"known\",owner=\"ann\"} 1", "earthdog_program_runs"];
        wanted.iter().all(|wanted| text.contains(wanted)).then_some(text)
    });
    let text = told.unwrap_or_else(|| get(&client, "/run/metrics.sock", "/metrics"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");

    // What has no sample here has no occasion: there is no message log, and nothing was lost or refused by a sink.
    let mut silent: BTreeSet<_> = metrics::samples().map(|(name, _)| name).collect();
    silent.retain(|name| !body.lines().any(|line| line.split([' ', '{']).next() == Some(name)));
    assert_eq!(
        silent.iter().collect::<Vec<_>>(),
        ["earthdog_message_log_lost_total", "earthdog_sink_lost_total"]
    );
    for says in [
        "earthdog_findings_total{rule=\"dns-leak-ledger\",severity=",
        "earthdog_findings_suppressed 1\n",
        "earthdog_reloads_total{result=\"applied\"} 1\n",
        "earthdog_attributions_total{grade=\"exact\"} ",
        "earthdog_table_capacity{table=\"flows\"} 16384\n",
    ] {
        assert!(body.contains(says), "{says:?} not in:\n{body}");
    }
    let status = sensor.status();
    let sample = |name: &str| {
        let line = body.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(Some(sample("earthdog_packets_seen_total ")), status["counters"]["seen"].as_f64());
    assert!(
        sample("earthdog_resident_memory_bytes ") > 1e6
            && sample("earthdog_table_entries{table=\"flows\"} ") > 0.0
    );

    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut check = Process::spawn_with_input(check);
    check.say(body);
    let said = Finished::of(check);
    assert_eq!((said.code(), said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", ""), "{body}");
    for (page, says) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let text = get(&client, "/run/metrics.sock", page);
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with(says), "{text}");
    }
    sensor.stop();
    assert!(!client.file("/run/metrics.sock").exists(), "the socket goes with the sensor");
}

/// By the form that it asks for, which is OpenMetrics.
#[test]
fn prometheus_scrapes_a_live_sensor() {
    let _alone = serial::lock();
    let (client, _server) = require!(host::pair());
    let (prometheus, promtool) = (require!(peer::find("prometheus")), require!(peer::find("promtool")));
    std::fs::write(client.file(CONFIG), "[metrics]\nlisten = \"127.0.0.1:9353\"\n").unwrap();
    let scrape = "global: { scrape_interval: 1s }\nscrape_configs:\n  - { job_name: earthdog, static_configs: [ { targets: ['127.0.0.1:9353'] } ] }\n";
    std::fs::write(client.file("/run/prometheus.yml"), scrape).unwrap();
    let mut sensor = require!(Sensor::start(&client, &["-c", CONFIG]));
    sensor.process().wait_for_text("metrics at http://127.0.0.1:9353", Deadline::secs(5));
    let mut command = client.command(prometheus);
    command.args(["--config.file=/run/prometheus.yml", "--storage.tsdb.path=/run/tsdb"]);
    command.arg("--web.listen-address=127.0.0.1:9090");
    let scraper = Process::spawn(command);
    let found = Deadline::secs(40).poll(|| {
        let mut query = client.command(&promtool);
        query.args(["query", "instant", "http://127.0.0.1:9090", "earthdog_build_info * on (instance) up"]);
        let said = Finished::of(Process::spawn(query));
        said.stdout.contains("=> 1 @").then_some(said.stdout)
    });
    let found = found.unwrap_or_else(|| panic!("{}", scraper.transcript()));
    assert!(found.contains("instance=\"127.0.0.1:9353\""), "{found}");
    sensor.stop();
}

#[test]
fn the_alert_rules_are_sound_and_fire_when_they_should() {
    let promtool = require!(peer::find("promtool"));
    for words in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let mut command = Command::new(&promtool);
        command.args(words).current_dir(shipped("prometheus"));
        let said = Finished::of(Process::spawn(command));
        assert!(said.code() == Some(0) && said.stdout.contains("SUCCESS"), "{}{}", said.stdout, said.stderr);
    }
}

/// Names and labels in the rules and the dashboard are those of the table.
#[test]
fn what_is_shipped_asks_for_metrics_that_there_are() {
    let rules = std::fs::read_to_string(shipped("prometheus/alerts.yml")).unwrap();
    let board: Value =
        serde_json::from_str(&std::fs::read_to_string(shipped("grafana/earthdog.json")).unwrap()).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let queries: Vec<_> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    assert!(panels.len() >= 10 && queries.len() >= panels.len());
    let rules: Vec<_> = rules.lines().filter(|line| !line.contains("summary:")).map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    for query in queries.iter().chain(&rules) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words: Vec<_> = query.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
        let named: Vec<_> = words.iter().filter(|word| word.starts_with("earthdog_")).collect();
        let mut labels = BTreeSet::from(["instance", "job"]);
        for name in named {
            let known = metrics::samples().find(|(known, _)| known == name);
            let (_, own) = known.unwrap_or_else(|| panic!("no metric {name}: {query}"));
            labels.extend(own);
            seen.insert((*name).to_owned());
        }
        for by in query.split("by (").skip(1) {
            for label in by.split(')').next().unwrap_or_default().split(", ") {
                assert!(labels.contains(label), "no label {label}: {query}");
            }
        }
    }
    assert!(seen.len() >= 18, "{seen:?}");
}
