//! What findings and messages look like in each form: against the schemas, read back, and with hostile strings.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use earthdog::config::OcsfVersion;
use earthdog::config::sinks::SinkFormat;
use earthdog::event::Event;
use earthdog::finding::{Finding, State};
use earthdog::logged::{Logged, Lookup};
use earthdog::sink::encode::{About, Item, Letters, encode};
use earthdog::sink::worker::{Framing, Recipe};
use earthdog::source::{Tally, read_from};
use earthdog_tests::capture::Capture as _;
use earthdog_tests::emulate::{self, Pace};
use earthdog_tests::hazard;
use earthdog_tests::outputs::{HOSTILE, Made, of_capture, of_process};
use jsonschema::Validator;
use serde_json::Value;

/// Messages of each capture: a tool's are much alike.
const MESSAGES: usize = 60;
const VERSIONS: [OcsfVersion; 8] = [
    OcsfVersion::V1_1,
    OcsfVersion::V1_2,
    OcsfVersion::V1_3,
    OcsfVersion::V1_4,
    OcsfVersion::V1_5,
    OcsfVersion::V1_6,
    OcsfVersion::V1_7,
    OcsfVersion::V1_8,
];

/// Everything there is: emulated tools, honest traffic, processes on a live host.
fn all() -> &'static [(String, Made)] {
    static ALL: LazyLock<Vec<(String, Made)>> = LazyLock::new(make_all);
    &ALL
}

fn make_all() -> Vec<(String, Made)> {
    let tools = emulate::ALL
        .iter()
        .map(|tool| (tool.name.to_owned(), of_capture(&tool.make(1, Pace::default()).pcap())));
    let honest =
        hazard::ALL.iter().take(4).map(|hazard| (hazard.name.to_owned(), of_capture(&hazard.make(1).pcap())));
    let processes = HOSTILE.iter().map(|(what, text)| ((*what).to_owned(), of_process(text)));
    let mut all: Vec<_> = tools.chain(honest).chain(processes).collect();
    for (at, (_, made)) in all.iter_mut().enumerate() {
        // Every so many of a long session, not only its first.
        let step = (made.messages.len() / MESSAGES).max(1);
        let mut number = at % step;
        made.messages.retain(|_| {
            number += 1;
            number.is_multiple_of(step)
        });
    }
    all
}

fn about(ocsf: OcsfVersion) -> About {
    About { hostname: Some("sensor-1.example".into()), ocsf }
}

/// The one record that it is in this form.
fn value(item: &Item, format: SinkFormat, about: &About) -> Value {
    let mut records = encode(item, format, Letters::Utf8, about);
    assert_eq!(records.len(), 1, "{format:?}");
    let record = records.remove(0);
    serde_json::from_slice(&record).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&record)))
}

fn finding(finding: &Finding) -> Item {
    Item::Finding(Arc::new(finding.clone()))
}

fn message(message: &Logged) -> Item {
    Item::Message(Arc::new(message.clone()))
}

fn schema(version: &str, class: &str) -> Validator {
    let path = format!("{}/data/ocsf/ocsf-{version}-{class}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// 1.2.0 to 1.7.0 add to 1.1.0 and take nothing away, so that its schema holds for what is written for them.
#[test]
fn every_ocsf_event_is_what_the_schemas_say() {
    let schemas =
        ["1.1.0", "1.8.0"].map(|v| ["detection_finding", "dns_activity"].map(|class| schema(v, class)));
    let check = |schema: &Validator, event: &Value, what: &str| {
        let problems: Vec<_> =
            schema.iter_errors(event).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(problems.is_empty(), "{what}: {problems:#?}\n{event:#}");
    };
    let (mut findings, mut messages) = (0, 0);
    let (mut states, mut severities, mut scopes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (name, made) in all() {
        for one in &made.findings {
            states.insert(format!("{:?}", one.state));
            severities.insert(one.severity);
            scopes.insert(format!("{:?}", one.scope));
        }
        for version in VERSIONS {
            let of_version = &schemas[usize::from(version >= OcsfVersion::V1_8)];
            // As a sensor writes them, and as a replay does.
            let about =
                if name.len() % 2 == 0 { about(version) } else { About { hostname: None, ocsf: version } };
            for one in &made.findings {
                let event = value(&finding(one), SinkFormat::Ocsf, &about);
                assert_eq!(event["metadata"]["version"], version.name());
                check(&of_version[0], &event, name);
                findings += 1;
            }
            if !matches!(version, OcsfVersion::V1_1 | OcsfVersion::V1_8) {
                continue;
            }
            for one in made.messages.iter().filter(|one| one.lookup != Some(Lookup::Duplicate)) {
                check(&of_version[1], &value(&message(one), SinkFormat::Ocsf, &about), name);
                messages += 1;
            }
        }
    }
    println!("{findings} findings and {messages} messages; {states:?}, {severities:?}, {scopes:?}");
    assert_eq!((states.len(), scopes.len()), (3, 4), "{states:?} {scopes:?}");
    assert!(severities.len() >= 3 && findings > 1000 && messages > 1000, "{severities:?}");
}

/// The schemas refuse what is wrong: a test of them that cannot fail proves nothing.
#[test]
fn the_schemas_refuse_what_is_not_theirs() {
    let schema = schema("1.1.0", "detection_finding");
    let made = of_process(b"x");
    let event = value(&finding(&made.findings[0]), SinkFormat::Ocsf, &about(OcsfVersion::V1_1));
    assert!(schema.is_valid(&event));
    for (at, wrong) in
        [("/severity_id", Value::from(77)), ("/finding_info/uid", Value::Null), ("/time", "now".into())]
    {
        let mut event = event.clone();
        *event.pointer_mut(at).unwrap() = wrong;
        assert!(!schema.is_valid(&event), "{at}");
    }
    let mut event = event;
    event["zone"] = "x".into();
    assert!(!schema.is_valid(&event), "a field of no class");
}

#[test]
fn a_finding_in_ocsf_says_who_what_and_how_sure() {
    let made = of_process(b"curl");
    let closed = made.findings.last().unwrap();
    let event = value(&finding(closed), SinkFormat::Ocsf, &about(OcsfVersion::V1_1));
    let at = |path: &str| event.pointer(path).cloned().unwrap_or_default();
    assert_eq!(
        (at("/class_uid"), at("/type_uid"), at("/activity_name")),
        (2004.into(), 200_403.into(), "Close".into())
    );
    assert_eq!(at("/evidences/0/process/file/path"), "/tmp/curl");
    assert_eq!(at("/evidences/0/process/lineage/0"), "/usr/bin/bash");
    assert_eq!(at("/evidences/0/src_endpoint/ip"), "10.0.0.2");
    assert_eq!(
        (at("/evidences/0/src_endpoint/name"), at("/unmapped/client/asset/name")),
        ("curl".into(), "curl".into())
    );
    assert_eq!(at("/unmapped/zone"), "curl.example");
    assert_eq!(at("/finding_info/attacks/0/sub_technique/uid"), "T1071.004");
    assert_eq!(at("/finding_info/attacks/0/technique/uid"), "T1071");
    assert_eq!(at("/finding_info/attacks/0/tactic/name"), "Command and Control");
    assert_eq!(at("/device/hostname"), "sensor-1.example");
    assert_eq!(at("/unmapped/bytes_up/low"), closed.bytes_up.low);
}

#[test]
fn every_ecs_event_has_fields_of_the_schema_only() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ecs/fields.txt")).unwrap();
    let fields: BTreeMap<&str, (&str, bool)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            (words[0], (words[1], words.get(2) == Some(&"list")))
        })
        .collect();
    let mut used = BTreeSet::new();
    let mut check = |event: &Value, what: &str| {
        let mut leaves = Vec::new();
        leaves_of("", event, &mut leaves);
        for (name, leaf) in leaves {
            if name.starts_with("earthdog.") {
                continue;
            }
            let Some((kind, list)) = fields.get(name.as_str()) else { panic!("{what}: {name} is no field") };
            used.insert(name.clone());
            let values = match leaf.as_array() {
                Some(values) if *list => values.clone(),
                Some(_) => panic!("{what}: {name} has several values"),
                None => vec![leaf.clone()],
            };
            for value in values {
                let fits = match *kind {
                    "date" => value
                        .as_str()
                        .is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()),
                    "ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
                    "long" => value.is_i64() || value.is_u64(),
                    "float" => value.is_number(),
                    _ => value.is_string(),
                };
                assert!(fits, "{what}: {name} = {value} is no {kind}");
            }
        }
        assert_eq!(event["ecs"]["version"], "9.0.0");
    };
    let mut with_pod = of_process(b"x").findings.remove(0);
    with_pod.client.container = Some("c0ffee".into());
    with_pod.client.pod = Some("0a1b2c3d-0000-4000-8000-0123456789ab".into());
    check(&value(&finding(&with_pod), SinkFormat::Ecs, &about(OcsfVersion::V1_1)), "pod");
    for (name, made) in all() {
        let about = about(OcsfVersion::V1_1);
        made.findings.iter().for_each(|one| check(&value(&finding(one), SinkFormat::Ecs, &about), name));
        for one in made.messages.iter().filter(|one| one.lookup != Some(Lookup::Duplicate)) {
            check(&value(&message(one), SinkFormat::Ecs, &about), name);
        }
    }
    let unused: Vec<_> = fields.keys().filter(|name| !used.contains(**name)).collect();
    assert!(unused.is_empty(), "listed and never written: {unused:?}");
}

/// Dotted names of values; a list of objects is each of them.
fn leaves_of(name: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
    let below = |inner: &str| if name.is_empty() { inner.to_owned() } else { format!("{name}.{inner}") };
    match value {
        Value::Object(fields) => {
            for (inner, value) in fields {
                leaves_of(&below(inner), value, leaves);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for value in list {
                leaves_of(name, value, leaves);
            }
        }
        _ => leaves.push((name.to_owned(), value.clone())),
    }
}

/// A log that is written is read as the messages that it is of.
#[test]
fn rows_in_zeeks_form_are_read_back() {
    let made = of_capture(&emulate::ALL[0].make(1, Pace::default()).pcap());
    let mut log = Vec::new();
    for one in &made.messages {
        let mut row = encode(&message(one), SinkFormat::Zeek, Letters::Utf8, &about(OcsfVersion::V1_1));
        log.append(&mut row[0]);
        log.push(b'\n');
    }
    let first: Value = serde_json::from_slice(log.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    for field in
        ["ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "trans_id", "query"]
    {
        assert!(!first[field].is_null(), "{field}: {first:#}");
    }
    let (mut tally, mut read) = (Tally::default(), BTreeSet::new());
    read_from(Cursor::new(log), &mut tally, &mut |event| {
        if let Event::Packet(packet) = event {
            read.insert((packet.time_ns / 1000, packet.src, packet.dst));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((tally.records, tally.skipped.len()), (made.messages.len() as u64, 0), "{tally:?}");
    for one in made.messages.iter().filter(|one| !one.response) {
        assert!(read.contains(&(one.time_ns / 1000, one.src, one.dst)), "{one:?}");
    }
}

#[test]
fn answers_in_the_common_output_format_have_its_fields() {
    let mut rows = 0;
    for (name, made) in all() {
        for one in made.messages.iter().filter(|one| one.lookup != Some(Lookup::Duplicate)) {
            let records = encode(&message(one), SinkFormat::Cof, Letters::Utf8, &about(OcsfVersion::V1_1));
            assert!(
                one.lookup == Some(Lookup::Answer) || records.is_empty(),
                "{name}: only answers are of it"
            );
            for record in records {
                let row: Value = serde_json::from_slice(&record).unwrap();
                let is_data = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
                assert!(row["rrname"].is_string() && row["rrtype"].is_string(), "{row:#}");
                let rdata = &row["rdata"];
                assert!(
                    is_data(rdata) || rdata.as_array().is_some_and(|l| l.len() > 1 && l.iter().all(is_data)),
                    "{row:#}"
                );
                assert_eq!(row["time_first"], one.time_ns / 1_000_000_000);
                assert_eq!((&row["time_last"], &row["count"]), (&row["time_first"], &Value::from(1)));
                rows += 1;
            }
        }
    }
    assert!(rows > 500, "{rows}");
}

const FORMATS: [SinkFormat; 6] = [
    SinkFormat::Json,
    SinkFormat::Human,
    SinkFormat::Ocsf,
    SinkFormat::Ecs,
    SinkFormat::Zeek,
    SinkFormat::Cof,
];

/// Control characters, and those that reorder or hide text.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[test]
fn hostile_strings_stay_inside_their_record_in_every_form() {
    let mut records = 0;
    for (what, text) in HOSTILE {
        let made = of_process(text);
        let findings = made.findings.iter().map(finding);
        let items: Vec<_> = findings.chain(made.messages.iter().take(20).map(message)).collect();
        for (format, letters) in
            FORMATS.into_iter().flat_map(|format| [(format, Letters::Utf8), (format, Letters::Ascii)])
        {
            for item in &items {
                for record in encode(item, format, letters, &about(OcsfVersion::V1_8)) {
                    let record = String::from_utf8(record).unwrap();
                    let own_lines = |c: char| c == '\n' && format == SinkFormat::Human;
                    assert!(
                        !record.chars().any(|c| hides(c) && !own_lines(c)),
                        "{what} {format:?}: {record:?}"
                    );
                    records += 1;
                    if format == SinkFormat::Human {
                        let mut lines = record.lines();
                        let first = lines.next().unwrap();
                        assert!(["LOW", "MEDIUM", "HIGH"].iter().any(|s| first.starts_with(s)), "{first:?}");
                        assert!(lines.all(|line| line.starts_with("  ")), "{what}: {record}");
                        continue;
                    }
                    assert!(letters == Letters::Utf8 || record.is_ascii(), "{what} {format:?}: {record:?}");
                    let value: Value = serde_json::from_str(&record).unwrap();
                    if let (Item::Finding(finding), SinkFormat::Ocsf) = (item, format) {
                        assert_eq!(value["message"], finding.title, "JSON escapes, and loses nothing");
                        assert_eq!(
                            value["evidences"][0]["process"]["cmd_line"].as_str(),
                            finding.client.cmdline.as_deref()
                        );
                    }
                }
            }
        }
    }
    println!("{records} records");
    assert!(records > 1000, "{records}");
}

#[test]
fn hostile_strings_stay_inside_their_frame() {
    for (what, text) in HOSTILE {
        let made = of_process(text);
        for item in made.findings.iter().map(finding).chain(made.messages.iter().take(4).map(message)) {
            for framing in
                [Framing::Line, Framing::Bare, Framing::Journal, Framing::Syslog, Framing::SyslogCounted]
            {
                let recipe = Recipe { format: SinkFormat::Json, framing, about: about(OcsfVersion::V1_1) };
                let frames = recipe.frames(&item);
                assert_eq!(frames.len(), 1, "{what} {framing:?}");
                let frame = std::str::from_utf8(&frames[0].bytes).unwrap();
                let body = match framing {
                    Framing::Line => frame.strip_suffix('\n').unwrap(),
                    Framing::Journal => journal(frame, what),
                    Framing::SyslogCounted => {
                        let (length, message) = frame.split_once(' ').unwrap();
                        assert_eq!(length.parse::<usize>().unwrap(), message.len());
                        syslog(message, what)
                    }
                    Framing::Syslog => syslog(frame, what),
                    Framing::Bare | Framing::FrameStream => frame,
                };
                assert!(!body.chars().any(hides), "{what} {framing:?}: {body:?}");
                let value: Value = serde_json::from_str(body).unwrap();
                assert!(value["time"].is_string());
            }
        }
    }
}

/// The record of a journal entry whose every field is ours.
fn journal<'a>(entry: &'a str, what: &str) -> &'a str {
    let mut record = None;
    for line in entry.strip_suffix('\n').unwrap().split('\n') {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{what}: {line:?}"));
        let ours =
            ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"].contains(&name) || name.starts_with("EARTHDOG_");
        assert!(ours && !value.chars().any(hides), "{what}: {line:?}");
        if name == "EARTHDOG_RECORD" {
            record = Some(value);
        }
    }
    record.unwrap()
}

/// What follows the header of a syslog message.
fn syslog<'a>(message: &'a str, what: &str) -> &'a str {
    assert!(message.is_ascii(), "{what}: {message:?}");
    let words: Vec<_> = message.splitn(8, ' ').collect();
    assert!(words[0].starts_with('<') && words[0].ends_with(">1"), "{what}: {message}");
    assert_eq!((words[2], words[3], words[6]), ("sensor-1.example", "earthdog", "-"), "{what}: {message}");
    words[7]
}

#[test]
fn states_are_told_apart_in_every_form() {
    let made = of_process(b"x");
    let (first, last) = (&made.findings[0], made.findings.last().unwrap());
    assert_eq!((first.state, last.state), (State::Create, State::Close));
    let about = about(OcsfVersion::V1_8);
    let of = |one: &Finding, format| value(&finding(one), format, &about);
    assert_eq!(
        (&of(first, SinkFormat::Ocsf)["activity_id"], &of(last, SinkFormat::Ocsf)["activity_id"]),
        (&1.into(), &3.into())
    );
    assert_eq!(of(first, SinkFormat::Ecs)["event"]["action"], "create");
    assert_eq!(of(last, SinkFormat::Ecs)["event"]["action"], "close");
    assert_eq!(of(first, SinkFormat::Ecs)["event"]["id"], of(last, SinkFormat::Ecs)["event"]["id"]);
}
