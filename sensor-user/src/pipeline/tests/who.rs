//! What who asked adds to a finding, from exec events to severity.

use super::*;
use crate::event::Fork;
use crate::finding::Evidence;

/// A process starts a program; its parent runs already.
fn start(bench: &mut Bench, tgid: u32, ppid: u32, path: &'static str) {
    let start = |tgid: u32| u64::from(tgid) * SECOND;
    let time_ns = bench.now_ns;
    let fork = Fork {
        time_ns,
        tgid,
        ppid,
        uid: 1000,
        start_boot_ns: start(tgid),
        parent_start_boot_ns: start(ppid),
        ..Fork::default()
    };
    let exec = Exec {
        time_ns,
        tgid,
        ppid,
        uid: 1000,
        start_boot_ns: start(tgid),
        parent_start_boot_ns: start(ppid),
        path: Bytes::from_static(path.as_bytes()),
        ..Exec::default()
    };
    bench.pipeline.push(Event::Fork(fork), &mut |_| {});
    bench.pipeline.push(Event::Exec(exec), &mut |_| {});
}

fn leak(bench: &mut Bench, qtype: u16, mut who: impl FnMut(&mut Bench, u32) -> Owner) {
    for n in 0..60 {
        bench.pass(1.0);
        let owner = who(bench, n);
        let bytes = message(n as u16, &format!("{}.evil.example", payload(u64::from(n))), qtype, false);
        bench.record(View::HostEgress, "10.0.0.2:4000", "10.0.0.1:53", bytes, owner);
    }
    bench.finish();
}

fn named<'a>(finding: &'a Finding, name: &str) -> Option<&'a Evidence> {
    finding.evidence.iter().find(|evidence| evidence.name == name)
}

#[test]
fn a_loop_of_look_up_tools_below_a_shell_is_high() {
    let mut bench = bench();
    start(&mut bench, 500, 1, "/usr/bin/bash");
    leak(&mut bench, 1, |bench, n| {
        start(bench, 1000 + n, 500, "/usr/bin/dig");
        owner(1000 + n, "dig")
    });
    let created = bench.created();
    assert_eq!(created.len(), 1, "{created:#?}");
    assert_eq!(created[0].severity, Severity::High);
    let evidence = named(created[0], "process_context").unwrap();
    assert_eq!(evidence.family, "process");
    assert!(evidence.observed.contains("asked with dig") && evidence.observed.contains("started from bash"));
    let closed = bench.found.last().unwrap();
    assert!(named(closed, "process_context").unwrap().observed.contains("16 processes"), "{closed:#?}");
}

#[test]
fn a_tunnel_started_by_hand_is_high_and_by_the_system_medium() {
    for (parent, severity) in
        [("/usr/bin/zsh", Severity::High), ("/usr/lib/systemd/systemd", Severity::Medium)]
    {
        let mut bench = bench();
        start(&mut bench, 500, 1, parent);
        start(&mut bench, 501, 500, "/usr/sbin/iodine");
        leak(&mut bench, 10, |_, _| owner(501, "iodine"));
        let created = bench.created();
        assert_eq!((created.len(), created[0].severity), (1, severity), "{parent}");
    }
}

#[test]
fn an_allowed_daemon_weighs_less_is_counted_and_not_trusted_with_null() {
    for (qtype, allowed) in [(1, 1), (10, 0)] {
        let mut config = Config::default();
        config.process.daemon_allow_list = vec!["agentd".to_owned()];
        let mut bench = Bench::new(&config);
        start(&mut bench, 500, 1, "/usr/sbin/agentd");
        leak(&mut bench, qtype, |_, _| owner(500, "agentd"));
        let created = bench.created();
        assert_eq!(created.len(), 1, "{created:#?}");
        assert_eq!(named(created[0], "daemon_allow_list").is_some(), allowed == 1);
        assert_eq!(created[0].severity, if allowed == 1 { Severity::Low } else { Severity::Medium });
        assert_eq!(bench.found.last().unwrap().severity, Severity::Medium, "enough is enough");
        assert_eq!(bench.pipeline.stats().allowed, allowed);
    }
}
