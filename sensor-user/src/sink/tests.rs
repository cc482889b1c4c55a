//! What sinks write of a finding whose every string an attacker chose.

use super::*;
use crate::attribute::{self, ProcessTable};
use crate::config::OcsfVersion;
use crate::dns::Message;
use crate::event::{Kind, Packet, Transport, View, no_owner};
use crate::finding::{
    Attack, Bounds, Client, ClientKind, Evidence, Finding, Origin, SCHEMA, Scope, Severity, State,
};
use crate::logged::{Logged, LoggedOwner, Lookup};
use crate::report::text;

const EVIL: &str = "\x1b[2J\x07\u{202e}evil\r\nMEDIUM fake\u{7f}\u{9b}1m\u{2028}\u{feff}\u{e0041}ü";

pub(super) fn about() -> About {
    About { hostname: Some("host.example".into()), ocsf: OcsfVersion::V1_1 }
}

pub(super) fn finding() -> Finding {
    Finding {
        schema: SCHEMA,
        id: "dns-leak-ledger-0000000000000001".into(),
        origin: Origin::Live,
        state: State::Create,
        time: crate::finding::time(1_700_000_000_000_000_001),
        rule: "dns-leak-ledger",
        title: EVIL.into(),
        severity: Severity::Medium,
        has_risen: false,
        confidence: 0.62,
        scope: Scope::ClientZone,
        zone: Some(EVIL.into()),
        client: Client {
            asset: None,
            kind: ClientKind::Process,
            ip: Some("10.0.0.2".parse().unwrap()),
            pid: Some(42),
            pids: vec![42, 43, 44, 45],
            start_time: None,
            exe: Some(EVIL.into()),
            comm: Some(EVIL.into()),
            cmdline: Some(EVIL.into()),
            uid: Some(0),
            user: Some(EVIL.into()),
            unit: Some(EVIL.into()),
            container: Some(EVIL.into()),
            pod: Some(EVIL.into()),
            script: Some(EVIL.into()),
            interpreter: Some(EVIL.into()),
            stdio_socket: Some(true),
            ancestry: vec![EVIL.into(); 6],
            via: None,
            grade: "exact",
        },
        resolver: Some("10.0.0.1".into()),
        view: "host",
        first_seen: crate::finding::time(1_700_000_000_000_000_001),
        last_seen: crate::finding::time(1_700_000_001_000_000_001),
        queries: 9,
        responses: 8,
        bytes_up: Bounds { low: 251, high: 1321 },
        bytes_down: Bounds { low: 0, high: 317 },
        name_bytes: 308,
        encoding: None,
        tool: None,
        samples: vec![EVIL.into(); 5],
        evidence: vec![Evidence {
            family: "information",
            name: "new_name_bytes",
            observed: EVIL.into(),
            baseline: "256 bytes in 600 s".into(),
            weight: 1.07,
        }],
        counterfactual: EVIL.into(),
        attack: Attack { version: "18.1".into(), ..Attack::default() },
        exception: None,
        trail: None,
    }
}

pub(super) fn logged() -> Logged {
    let (bytes, src) = (b"\0\x07\x81\x83\0\x01\0\0\0\0\0\0\x01\x1b\x04test\0\0\x10\0\x01", "10.0.0.2:53");
    let packet = Packet {
        time_ns: 1_700_000_000_000_000_001,
        view: View::WireIngress,
        kind: Kind::Message,
        transport: Transport::Udp,
        src: src.parse().unwrap(),
        dst: "[2001:db8::1]:4000".parse().unwrap(),
        ifindex: 2,
        vlan: [None; 2],
        tcp_seq: 0,
        flags: 0,
        true_len: bytes.len() as u32,
        payload: bytes::Bytes::from_static(bytes),
        owner: no_owner(1),
    };
    let settings = attribute::Settings::default();
    let processes = ProcessTable::new(&settings);
    let message = Message::parse(&packet.payload, bytes.len());
    let owner = LoggedOwner::new(&packet.owner, &processes, &settings);
    Logged::new(&packet, &message, true, Some(Lookup::Answer), owner, Some(finding().client))
}

#[test]
fn a_logged_message_leaves_out_what_is_unknown() {
    let line = serde_json::to_value(logged()).unwrap();
    let client = serde_json::to_value(finding().client).unwrap();
    let want = serde_json::json!({
        "time": "2023-11-14T22:13:20.000000001Z", "view": "wire_ingress", "transport": "udp", "src": "10.0.0.2:53",
        "dst": "[2001:db8::1]:4000", "ifindex": 2, "id": 7, "response": true, "name": "\\027.test", "type": "TXT",
        "rcode": "NXDOMAIN", "lookup": "answer", "owner": { "source": "none", "grade": "none", "reason": "wire_view" },
        "client": client,
    });
    assert_eq!(line, want);
}

fn written(finding: &Finding, format: Format) -> String {
    let mut out = Vec::new();
    write(finding, format, &about(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_terminal_gets_nothing_but_its_own_lines() {
    for state in [State::Create, State::Update, State::Close] {
        let text = written(&Finding { state, ..finding() }, Format::Human);
        assert!(text.chars().all(|c| c == '\n' || !escape::hides(c)), "{text:?}");
        assert!(text.contains("\\x1b[2J\\x07\\u{202e}evil\\x0d\\x0aMEDIUM fake"));
        for (index, line) in text.lines().enumerate() {
            assert!(
                (index == 0) == line.starts_with("MEDIUM") && (index > 0) == line.starts_with("  "),
                "{text}"
            );
        }
    }
    let coloured = written(&finding(), Format::HumanColour);
    assert!(coloured.contains("\x1b[33mMEDIUM\x1b[0m") && !coloured.contains("\x1b[2J"));
}

#[test]
fn an_update_is_a_line_unless_it_is_worse() {
    let update = Finding { state: State::Update, ..finding() };
    assert_eq!(written(&update, Format::Human).lines().count(), 1);
    let worse = written(&Finding { has_risen: true, ..update }, Format::Human);
    assert!(worse.starts_with("MEDIUM (update)  ") && worse.contains("\n  why "), "{worse}");
}

#[test]
fn an_analyst_reads_who_what_where_and_how_much() {
    let mut calm = finding();
    (calm.client.unit, calm.client.container, calm.client.pod) = (Some("cron.service".into()), None, None);
    calm.client.ancestry =
        ["/bin/sh", "/bin/sh", "/bin/bash", "/usr/sbin/cron", "/sbin/init"].map(Into::into).into();
    let about = Finding {
        zone: Some("tunnel.test".into()),
        client: Client {
            asset: None,
            exe: Some("/usr/sbin/iodine".into()),
            user: Some("root".into()),
            pids: vec![42],
            ..calm.client.clone()
        },
        ..calm.clone()
    };
    calm.title = text::title(&about, &text::leaks(&about));
    assert_eq!(
        calm.title,
        "iodine (pid 42, root) is sending data out in DNS names under tunnel.test: 251 to 1,321 bytes"
    );
    let text = written(&calm, Format::Human);
    for part in [
        "pid 42 43 44 and 1 more",
        "from 10.0.0.2",
        "unit cron.service, with a socket for standard input, output or error",
        "by /bin/sh < /bin/sh < /bin/bash < … < /sbin/init",
        "out 251 to 1,321 bytes (the least and most these names can hold), in 0 to 317; 308 characters of names in 9 queries, 8 answered",
        "2023-11-14 22:13:20Z",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn json_is_one_line_with_the_contract_fields() {
    let text = written(&finding(), Format::Json);
    assert_eq!(text.matches('\n').count(), 1);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for field in [
        "schema",
        "id",
        "origin",
        "state",
        "time",
        "rule",
        "title",
        "severity",
        "confidence",
        "scope",
        "zone",
        "client",
        "resolver",
        "view",
        "first_seen",
        "last_seen",
        "queries",
        "responses",
        "bytes_up",
        "bytes_down",
        "name_bytes",
        "samples",
        "evidence",
        "counterfactual",
        "attack",
    ] {
        assert!(!value[field].is_null(), "{field}");
    }
    assert!(
        !text.contains("null")
            && value.get("encoding").is_none()
            && value["client"].get("start_time").is_none()
    );
    assert!(text.chars().all(|c| c == '\n' || !escape::hides(c)), "{text:?}");
    assert!(text.contains("\\udb40\\udc41"), "above U+FFFF as a surrogate pair: {text:?}");
    assert_eq!(value["client"]["cmdline"], EVIL, "JSON escapes, and loses nothing");
    assert_eq!((value["severity"].as_str(), value["scope"].as_str()), (Some("medium"), Some("client_zone")));
    assert_eq!(value["time"], "2023-11-14T22:13:20.000000001Z");
}

/// A full disk or a closed pipe is the caller's to handle.
#[test]
fn write_errors_come_back() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Human, Format::Json, Format::Ocsf, Format::Ecs] {
        let error = write(&finding(), format, &about(), &mut Full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
