//! Records in, findings out: what the hooks of one host or several see of one session.

use sensor_ebpf::abi::grade;

use bytes::Bytes;

use super::bench::{Answer, Bench, SECOND, START};
use super::*;
use crate::attack;
use crate::event::{Exec, View, no_owner};
use crate::finding::{ClientKind, Finding, Scope, Severity, State};

mod excepted;
mod who;

fn bench() -> Bench {
    Bench::with(Settings::default())
}

fn owner(tgid: u32, comm: &str) -> Owner {
    let mut owner =
        Owner { tgid, tid: tgid, start_boot_ns: u64::from(tgid) * SECOND, uid: 1000, ..no_owner(0) };
    owner.grade = grade::EXACT;
    owner.comm[..comm.len()].copy_from_slice(comm.as_bytes());
    owner
}

fn payload(n: u64) -> String {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..48)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b"abcdefghijklmnopqrstuvwxyz234567"[state as usize % 32])
        })
        .collect()
}

/// A message whose answer, if it is one, is twenty bytes of the type asked for.
fn message(id: u16, name: &str, qtype: u16, response: bool) -> Vec<u8> {
    let answers: &[Answer<'_>] = if response { &[(qtype, 20, &[0xa5; 20])] } else { &[] };
    bench::message(id, if response { 0x8100 } else { 0x0100 }, name, qtype, answers)
}

/// A name is charged to whoever sends it, whatever was made to look like its answer before.
#[test]
fn decoys_ahead_of_the_queries_hide_nothing() {
    let (client, server) = ("10.0.0.2:4000", "10.0.0.1:53");
    // With QR set but to the server, from it, both on port 53; with the query's id, and with another.
    let decoys =
        [(client, server), (server, client), ("10.0.0.2:53", server), ("10.0.0.9:53", "10.0.0.8:4000")];
    for view in [View::HostEgress, View::Capture] {
        for (decoy_id, (src, dst)) in [0, 7000].into_iter().flat_map(|id| decoys.map(|ends| (id, ends))) {
            let mut bench = bench();
            for n in 0..40u16 {
                bench.pass(1.0);
                let name = format!("{}.evil.example", payload(u64::from(n)));
                let who = if view == View::Capture { no_owner(1) } else { owner(7, "app") };
                bench.record(view, src, dst, message(n + decoy_id, &name, 16, true), who);
                bench.now_ns += 1_000_000;
                bench.record(view, client, server, message(n, &name, 16, false), who);
            }
            let ip = Some("10.0.0.2".parse().unwrap());
            let (own, others): (Vec<_>, Vec<_>) =
                bench.created().into_iter().partition(|finding| finding.client.ip == ip);
            assert_eq!(own.len(), 1, "{view:?} {decoy_id} {src} {dst}");
            assert!(others.is_empty() || view == View::Capture, "{others:#?}");
            let to_server = bench.pipeline.stats().anomalies.of(Anomaly::ResponseToServer);
            assert_eq!(to_server, if src == client { 40 } else { 0 });
        }
    }
}

/// Anybody can send responses to a host that it never asked for.
#[test]
fn unsolicited_responses_accuse_nobody_live() {
    for (view, findings) in [(View::WireIngress, 0), (View::HostIngress, 0), (View::Capture, 1)] {
        let mut bench = bench();
        for n in 0..40u16 {
            bench.pass(1.0);
            let name = format!("{}.evil.example", payload(u64::from(n)));
            bench.record(view, "10.0.0.1:53", "10.0.0.2:4000", message(n, &name, 16, true), no_owner(2));
        }
        assert_eq!((bench.created().len(), bench.pipeline.stats().unsolicited), (findings, 40), "{view:?}");
    }
}

/// What a process's finding has told, its address's must not tell again.
#[test]
fn another_query_does_not_report_the_same_bytes_again() {
    for late in [owner(9, "dig"), no_owner(4)] {
        let mut bench = bench();
        let mut send = |n: u16, who| {
            bench.pass(1.0);
            let bytes = message(n, &format!("{}.evil.example", payload(u64::from(n))), 1, false);
            bench.record(View::HostEgress, "10.0.0.2:4000", "10.0.0.1:53", bytes, who);
        };
        (0..40).for_each(|n| send(n, owner(7, "iodine")));
        send(40, late);
        (41..60).for_each(|n| send(n, owner(7, "iodine")));
        send(60, late);
        let created = bench.created();
        assert_eq!(created.len(), 1, "{created:#?}");
        assert_eq!(created[0].client.comm.as_deref(), Some("iodine"));
        // Others that pass the bound by themselves are not hidden by it.
        for n in 61..80 {
            bench.pass(1.0);
            let bytes = message(n, &format!("{}.evil.example", payload(u64::from(n))), 1, false);
            bench.record(View::HostEgress, "10.0.0.2:4000", "10.0.0.1:53", bytes, no_owner(4));
        }
        assert_eq!(bench.created().len(), 2);
    }
}

/// The beat is seen first and weighs little; the leak is what matters.
#[test]
fn a_leak_with_a_beat_is_one_finding_named_for_the_leak() {
    let mut bench = bench();
    for n in 0..60 {
        bench.wait(1.0);
        let name = format!("{}.evil.example", &payload(n)[..12]);
        bench.record(
            View::Capture,
            "10.0.0.2:4000",
            "10.0.0.1:53",
            message(n as u16, &name, 1, false),
            no_owner(1),
        );
    }
    bench.finish();
    let (first, last) = (&bench.found[0], bench.found.last().unwrap());
    assert_eq!((first.rule, first.severity), ("dns-beacon", Severity::Low));
    assert_eq!((last.rule, last.severity), ("dns-leak-ledger", Severity::High));
    assert!(last.title.contains(" sent data out in DNS names "), "{}", last.title);
    assert_eq!(last.attack.analytics, attack::of(last.rule, attack::Platform::NetworkDevices).analytics);
    assert_eq!(bench.created().len(), 1);
    assert!(bench.found.iter().all(|finding| finding.id == first.id));
    assert_eq!(bench.found.iter().filter(|finding| finding.has_risen).count(), 1);
    assert_eq!(bench.pipeline.stats().findings, [0, 0, 1, 0], "counted by the highest");
}

/// A window that has emptied since does not stand for the severity that a fuller one gave.
#[test]
fn evidence_stays_that_of_the_heaviest_window() {
    let mut bench = bench();
    for n in 0..20 {
        bench.ask("10.0.0.2:4000", &format!("{}.evil.example", payload(n)));
    }
    for n in 20..80 {
        bench.pass(100.0);
        bench.ask("10.0.0.2:4000", &format!("1.2.3.4.{}.evil.example", payload(n)));
    }
    bench.finish();
    assert!(bench.found.len() >= 4, "{}", bench.found.len());
    let mut weight = 1.0;
    for finding in &bench.found {
        let heaviest = finding.evidence.iter().map(|e| e.weight).fold(0.0, f64::max);
        assert!(heaviest >= weight, "{finding:#?}");
        weight = heaviest;
        assert!(finding.counterfactual.contains(" 256 random bytes within "), "{}", finding.counterfactual);
    }
}

/// Two namespaces of one host: the sensor sees every message leave, pass the wire and arrive.
#[test]
fn a_tunnel_seen_at_all_hooks_is_one_finding_of_its_process() {
    let mut bench = bench();
    let exec = Exec {
        time_ns: START,
        tgid: 42,
        ppid: 1,
        uid: 1000,
        start_boot_ns: 42 * SECOND,
        path: Bytes::from_static(b"/usr/sbin/iodine"),
        args: Bytes::from_static(b"iodine\0-r\0-P\0hunter2\0t.tunnel.test\0"),
        ..Exec::default()
    };
    bench.pipeline.push(Event::Exec(exec), &mut |_| {});
    for n in 0..60 {
        bench.pass(0.1);
        let (client, server) = ("10.0.0.2:4000", "10.0.0.1:53");
        let name = format!("{}.t.tunnel.test", payload(n));
        let (query, answer) = (message(n as u16, &name, 10, false), message(n as u16, &name, 10, true));
        bench.record(View::HostEgress, client, server, query.clone(), owner(42, "iodine"));
        bench.record(View::WireIngress, client, server, query.clone(), no_owner(1));
        bench.record(View::HostIngress, client, server, query, no_owner(2));
        bench.record(View::HostEgress, server, client, answer.clone(), owner(43, "iodined"));
        bench.record(View::WireIngress, server, client, answer.clone(), no_owner(1));
        bench.record(View::HostIngress, server, client, answer, no_owner(2));
    }
    bench.finish();
    let created = bench.created();
    assert_eq!(created.len(), 1, "{created:#?}");
    let finding = created[0];
    assert_eq!((finding.severity, finding.scope), (Severity::Medium, Scope::ClientZone));
    assert_eq!(finding.zone.as_deref(), Some("tunnel.test"));
    assert_eq!(finding.client.kind, ClientKind::Process);
    assert_eq!((finding.client.pid, finding.client.uid), (Some(42), Some(1000)));
    assert_eq!(finding.client.exe.as_deref(), Some("/usr/sbin/iodine"));
    assert_eq!(finding.client.cmdline.as_deref(), Some("iodine -r -P *** t.tunnel.test"));
    assert_eq!((finding.client.grade, finding.view), ("exact", "host"));
    assert_eq!(finding.attack.analytics, ["AN1122", "AN0424"]);
    assert!(finding.queries <= 8 && finding.name_bytes < 400, "{finding:#?}");
    let last = bench.found.last().unwrap();
    assert_eq!((last.state, last.queries, last.responses), (State::Close, 60, 60));
    assert_eq!(last.name_bytes, 60 * 49);
    assert!(last.bytes_up.low >= 60 * 30 && last.bytes_up.low <= last.bytes_up.high, "{:?}", last.bytes_up);
    assert_eq!(last.bytes_down.high, 60 * 20);
    // Updates come with each doubling, not with each query.
    assert!((3..8).contains(&bench.found.len()), "{}", bench.found.len());
    let stats = bench.pipeline.stats();
    assert_eq!((stats.messages, stats.lookups, stats.duplicates), (360, 60, 240));
    assert_eq!(stats.findings, [0, 1, 0, 0]);
}

/// A shell loop: each query is another process.
#[test]
fn short_lived_processes_of_one_program_are_one_client() {
    let mut bench = bench();
    for n in 0..40u32 {
        let tgid = 1000 + n;
        let exec = Exec {
            time_ns: bench.now_ns,
            tgid,
            ppid: 1,
            uid: 1000,
            start_boot_ns: u64::from(tgid) * SECOND,
            path: Bytes::from_static(b"/usr/bin/dig"),
            ..Exec::default()
        };
        bench.pipeline.push(Event::Exec(exec), &mut |_| {});
        bench.pass(1.0);
        let name = format!("{}.evil.example", payload(u64::from(n)));
        let bytes = message(n as u16, &name, 1, false);
        bench.record(
            View::HostEgress,
            &format!("10.0.0.2:{}", 4000 + n),
            "10.0.0.1:53",
            bytes,
            owner(tgid, "dig"),
        );
    }
    bench.finish();
    let created = bench.created();
    assert_eq!(created.len(), 1);
    let close = bench.found.last().unwrap();
    assert_eq!(close.client.exe.as_deref(), Some("/usr/bin/dig"));
    assert_eq!((close.client.pid, close.client.pids.len()), (Some(1000), 16));
}

/// The kernel could not name the owner of the first packets.
#[test]
fn a_few_ownerless_packets_do_not_make_a_second_finding() {
    let mut bench = bench();
    for n in 0..40 {
        bench.pass(1.0);
        let bytes = message(n as u16, &format!("{}.evil.example", payload(n)), 1, false);
        let who = if n < 2 { no_owner(4) } else { owner(7, "app") };
        bench.record(View::HostEgress, "10.0.0.2:4000", "10.0.0.1:53", bytes, who);
    }
    bench.finish();
    let created = bench.created();
    assert_eq!(created.len(), 1, "{created:#?}");
    assert_eq!((created[0].client.kind, created[0].severity), (ClientKind::Process, Severity::Medium));
}

/// Programs that share a payload each stay under the bound; their address does not.
#[test]
fn many_programs_are_caught_by_their_address() {
    let mut bench = bench();
    for n in 0..40u32 {
        bench.pass(1.0);
        let bytes = message(n as u16, &format!("{}.evil.example", payload(u64::from(n))), 1, false);
        let who = owner(100 + n, &format!("program{n}"));
        bench.record(View::HostEgress, "10.0.0.2:4000", "10.0.0.1:53", bytes, who);
    }
    bench.finish();
    let created = bench.created();
    assert_eq!(created.len(), 1);
    assert_eq!(created[0].client.kind, ClientKind::Address);
    assert_eq!(created[0].client.ip, Some("10.0.0.2".parse().unwrap()));
}

/// The application asks a loopback stub, the stub asks upstream: one look-up, the application's.
#[test]
fn a_stub_resolver_is_not_blamed() {
    let mut bench = bench();
    for n in 0..40 {
        bench.pass(1.0);
        let name = format!("{}.evil.example", payload(n));
        let at = n as u16;
        bench.record(
            View::HostEgress,
            "127.0.0.1:4000",
            "127.0.0.53:53",
            message(at, &name, 1, false),
            owner(7, "app"),
        );
        bench.now_ns += 1_000_000;
        let upstream = message(at + 500, &name, 1, false);
        bench.record(View::HostEgress, "10.0.0.2:5000", "10.0.0.1:53", upstream, owner(8, "systemd-resolve"));
    }
    bench.finish();
    let created = bench.created();
    assert_eq!(created.len(), 1, "{created:#?}");
    assert_eq!(created[0].client.comm.as_deref(), Some("app"));
}

#[test]
fn repeats_and_common_names_are_no_finding() {
    let mut bench = bench();
    for n in 0..2000 {
        let name = ["www.example.com", "mail.example.com", "api.example.com", "cdn.example.com"][n % 4];
        bench.ask("10.0.0.2:4000", name);
    }
    bench.finish();
    assert!(bench.found.is_empty(), "{:#?}", bench.found);
}

#[test]
fn names_without_a_zone_share_one_key() {
    let mut bench = bench();
    for n in 0..40 {
        let text = payload(n);
        bench.ask("10.0.0.2:4000", &format!("dnscat.{}.{}", &text[..24], &text[24..]));
    }
    bench.finish();
    let created = bench.created();
    assert_eq!(created.len(), 1);
    assert_eq!((created[0].scope, created[0].zone.as_deref()), (Scope::NoZone, None));
}

#[test]
fn a_quiet_window_closes_and_a_new_one_opens_the_same_finding() {
    let mut bench = bench();
    for n in 0..12 {
        bench.ask("10.0.0.2:4000", &format!("{}.evil.example", payload(n)));
    }
    bench.now_ns += 601 * SECOND;
    let (now_ns, found) = (bench.now_ns, &mut bench.found);
    bench.pipeline.tick(now_ns, &mut |f| found.push(f.clone()));
    assert_eq!(bench.found.last().unwrap().state, State::Close);
    for n in 12..24 {
        bench.ask("10.0.0.2:4000", &format!("{}.evil.example", payload(n)));
    }
    let created = bench.created();
    assert_eq!(created.len(), 2);
    assert_eq!(created[0].id, created[1].id);
}

#[test]
fn the_worst_case_is_stated() {
    let bytes = Settings::default().worst_case_bytes();
    eprintln!("{} MB with every table full", bytes >> 20);
    assert!(bytes > 8192 * 4096 && bytes < 256 << 20);
}

/// Captures are read in the order they are named, whatever their dates.
#[test]
fn an_older_capture_after_a_newer_one() {
    let mut bench = bench();
    let year = 365 * 86_400 * SECOND;
    for capture in 0..3 {
        bench.now_ns = START - capture * year;
        for n in 0..60 {
            // New to each capture, but far too slow for any window.
            bench.pass(120.0);
            bench.ask("10.0.0.2:4000", &format!("{}.slow.example", &payload(capture * 1000 + n)[..8]));
        }
        for n in 0..40 {
            bench.ask("10.0.0.3:4000", &format!("{}.evil{capture}.example", payload(n)));
        }
    }
    bench.finish();
    let created: Vec<_> = bench.created().iter().map(|f| f.zone.clone().unwrap()).collect();
    assert_eq!(created, ["evil0.example", "evil1.example", "evil2.example"]);
    let closed = bench.found.iter().filter(|f| f.state == State::Close).count();
    assert_eq!(closed, 3);
    for finding in &bench.found {
        assert!(finding.first_seen <= finding.last_seen && finding.last_seen <= finding.time, "{finding:#?}");
    }
}

/// Junk clients and zones must not push a heavy one out.
#[test]
fn a_flood_of_junk_keys_does_not_hide_a_tunnel() {
    let settings = Settings {
        ledger: ledger::Settings { max_keys: 64, ..ledger::Settings::default() },
        ..Settings::default()
    };
    let mut bench = Bench::with(settings);
    for n in 0..3000u64 {
        bench.ask("10.0.0.66:4000", &format!("x.junk{n}.example"));
        if n % 100 == 0 {
            bench.now_ns -= 60 * SECOND;
            bench.ask("10.0.0.2:4000", &format!("{}.evil.example", payload(n)));
        }
    }
    let evictions = bench.pipeline.stats().evictions;
    assert!(evictions.iter().any(|(what, count)| *what == "ledger keys" && *count > 2000), "{evictions:?}");
    assert_eq!(bench.created().len(), 1);
}

#[test]
fn two_runs_give_the_same_bytes() {
    let run = || {
        let mut bench = bench();
        for n in 0..200 {
            bench.ask(&format!("10.0.0.{}:4000", n % 7), &format!("{}.evil{}.example", payload(n), n % 3));
        }
        bench.finish();
        bench.found.iter().map(|f| serde_json::to_string(f).unwrap()).collect::<Vec<_>>()
    };
    let first = run();
    assert!(!first.is_empty());
    assert_eq!(first, run());
}

proptest::proptest! {
    /// Whatever bytes arrive, in whatever order of time: nothing panics, and each packet is counted once.
    #[test]
    fn any_records_are_taken(records in proptest::collection::vec(
        (proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), 0u8..4, 0u64..2000),
        0..20,
    )) {
        let mut bench = bench();
        let count = records.len() as u64;
        for (mut bytes, kind, seconds) in records {
            bench.now_ns = START + seconds * SECOND;
            if kind == 0 && bytes.len() > 12 {
                bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // a plain query's head
            }
            let (src, dst) = if kind == 1 { ("10.0.0.1:53", "10.0.0.2:4") } else { ("10.0.0.2:4", "10.0.0.1:53") };
            bench.record(View::Capture, src, dst, bytes, no_owner(1));
        }
        bench.finish();
        let stats = bench.pipeline.stats();
        proptest::prop_assert_eq!(stats.packets, count);
        proptest::prop_assert_eq!(stats.messages, stats.queries + stats.responses);
    }
}
