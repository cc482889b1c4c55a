use super::*;
use crate::attribute::{Clients, Identity};
use crate::dns::rtype;
use crate::store::days::DAY_NS;
use crate::store::record::{Answer, NameRecord};
use crate::store::{Asked, Settings};

const START: u64 = 20_000 * DAY_NS;

/// Two clients that ask for a while, the first with a name to hide behind.
fn history() -> History {
    let mut history = History::new(Settings::default(), 1);
    let mut clients = Clients::new(16, 1);
    for (key, program, names) in [(1, "/usr/bin/e\u{1b}[31mvil", 20), (2, "/usr/bin/dig", 2)] {
        let identity = Identity::Process {
            program: bytes::Bytes::from(program.to_owned()),
            script: None,
            uid: 7,
            place: "cron.service".into(),
            anchor: None,
        };
        let ip = [10, 0, 0, 1].into();
        let client = clients.note(key, || identity, ip, START).clone();
        for n in 0..names {
            let name = Canonical::from_text(&format!("n{n}.zone{}.com", n % 3));
            let zone = Zone::of(&name);
            let wire = name.suffix(zone.labels);
            history.asked(&Asked {
                client: &client,
                zone: history.zone_key(wire, zone.class),
                wire,
                class: zone.class,
                qtype: rtype::TXT,
                lookup: true,
                closest: true,
                new_units: 8 * 16 * 5,
                now_ns: START + n * DAY_NS / 4,
            });
        }
    }
    for name in ["zone1.com", "www.zone1.com", "deep.www.zone1.com", "xzone1.com", "w\u{1b}w.zone1.com"] {
        let wire = Canonical::from_text(name);
        let make = || NameRecord {
            name: wire.wire().into(),
            first_ns: START,
            last_ns: START,
            answers: Answers::default(),
        };
        history.names.change(history.name_key(wire.wire()), make, |record| {
            let addresses = [[192, 0, 2, 1].into()];
            record.answers.note(&Answer { rcode: 0, ttl: Some(60), addresses: &addresses });
        });
    }
    history
}

#[test]
fn a_name_is_told_with_its_zone_and_what_is_below() {
    let history = history();
    let told = history.pdns("WWW.Zone1.com.");
    assert_eq!((told.name.as_str(), told.zone.as_str()), ("www.zone1.com", "zone1.com"));
    let zone = told.zone_seen.as_ref().unwrap();
    assert_eq!((zone.lookups, zone.clients, zone.active_days), (Some(8), Some(2), Some(5)));
    assert_eq!(zone.first_seen, finding::time(START + DAY_NS / 4));
    assert_eq!(told.name_seen.as_ref().unwrap().ttl, Some((60, 60, vec![60; 4])));
    let below: Vec<_> = told.names.iter().map(|name| name.name.as_str()).collect();
    assert_eq!((below, told.names_total), (vec!["deep.www.zone1.com"], 1));
    let text = told.text();
    for says in
        ["zone1.com (zone)", "8 look-ups by 2 clients", "www.zone1.com (name)", "192.0.2.1", "60 to 60 s"]
    {
        assert!(text.contains(says), "{says}: {text}");
    }
    let zone = history.pdns("zone1.com");
    assert_eq!(zone.names_total, 3, "not the zone's own, and not xzone1.com");
    assert!(!zone.text().contains('\x1b') && zone.text().contains("w\\027w.zone1.com"), "{}", zone.text());
}

#[test]
fn what_was_never_seen_is_told_as_that_with_since_when() {
    let told = history().pdns("www.elsewhere.org");
    assert_eq!((told.zone_seen.as_ref(), told.name_seen.as_ref()), (None, None));
    let text = told.text();
    assert!(text.starts_with("elsewhere.org: never seen here since 2024-10-04 00:00:00Z"), "{text}");
    let empty = History::new(Settings::default(), 1).pdns("www.elsewhere.org").text();
    assert!(empty.contains("nothing is remembered yet"), "{empty}");
}

#[test]
fn habits_are_means_over_the_days_before_today() {
    let history = history();
    let now_ns = START + 5 * DAY_NS;
    let told = history.baselines(None, now_ns);
    assert_eq!((told.total, told.clients.len()), (2, 2));
    let busy = &told.clients[0];
    assert_eq!((busy.days, busy.lookups_a_day, busy.zones_a_day, busy.lookups_today), (5, 4, 3, 0));
    assert_eq!((busy.types[2], busy.nxdomain_share), (1.0, None));
    assert!(busy.zones.is_empty(), "a list has no details");
    let text = told.text();
    assert!(
        !text.contains('\x1b') && text.contains("/usr/bin/e\\x1b[31mvil (uid 7, cron.service)"),
        "{text}"
    );
    let one = history.baselines(Some("/usr/bin/dig"), now_ns);
    assert_eq!((one.total, one.clients[0].zones.len()), (1, 2));
    assert_eq!(one.clients[0].zones[0].new_bytes.iter().sum::<u64>(), 5);
    assert!(one.text().contains("new bytes by day"), "{}", one.text());
    assert_eq!(history.baselines(Some(&one.clients[0].id), now_ns), one);
    let none = history.baselines(Some("nobody"), now_ns);
    assert_eq!((none.total, none.text().as_str()), (0, "no such client is remembered\n"));
}

#[test]
fn a_reset_takes_a_client_by_its_own_name_only() {
    let mut history = history();
    assert_eq!(history.reset_baselines(Some("/usr/bin/")), 0, "a part of it might be somebody else too");
    assert_eq!(history.reset_baselines(Some("/usr/bin/dig")), 1);
    assert_eq!(history.baselines(None, START).total, 1);
    assert_eq!(history.reset_baselines(None), 1);
    assert!(history.zone(history.zone_key(b"\x05zone1\x03com", Class::Registered)).is_some());
}

#[test]
fn answers_travel_as_json() {
    let history = history();
    let json = serde_json::to_string(&history.pdns("zone1.com")).unwrap();
    assert_eq!(serde_json::from_str::<Pdns>(&json).unwrap(), history.pdns("zone1.com"));
    let told = history.baselines(Some("dig"), START);
    let json = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Baselines>(&json).unwrap(), told);
}

#[test]
fn an_address_leads_to_its_names() {
    let told = history().pdns("192.0.2.1");
    assert_eq!((told.names_total, told.names.len()), (5, 5));
    assert!(told.text().starts_with("192.0.2.1: 5 names were answered with it since "), "{}", told.text());
    let none = history().pdns("2001:db8::1");
    assert_eq!((none.names_total, none.cof()), (0, String::new()));
}

#[test]
fn who_asked_and_when_is_told_of_a_zone() {
    let told = history().pdns("www.zone1.com");
    let who: Vec<_> = told.asked_by.iter().map(|client| (client.client.as_str(), client.lookups)).collect();
    assert_eq!(told.asked_by_total, 2);
    assert!(who.iter().any(|(client, lookups)| client.contains("dig") && *lookups == 1), "{who:?}");
    let text = told.who();
    assert!(text.lines().count() == 3 && !text.contains('\x1b') && text.contains("\\x1b[31mvil"), "{text}");
    // Both are programs: what is new counts by address, since theirs is part of it. n0 to n19 came every six hours.
    let days: Vec<_> = told.days.iter().map(|day| (day.addresses, day.new_bytes, day.new_names)).collect();
    assert_eq!(days[0], (0, 0, 4), "{:#?}", told.days);
    assert!(told.timeline().lines().all(|line| line.chars().count() <= 80), "{}", told.timeline());
    let unknown = history().pdns("never.example");
    assert!(unknown.who().starts_with("nobody") && unknown.timeline().starts_with("nothing new"));
}

#[test]
fn a_zones_days_count_by_address() {
    let mut history = history();
    let mut clients = Clients::new(16, 1);
    let ip = [10, 0, 0, 1].into();
    let client = clients.note(9, || Identity::Address(ip), ip, START).clone();
    for n in 0..20 {
        let name = Canonical::from_text("x.zone1.com");
        let zone = Zone::of(&name);
        let wire = name.suffix(zone.labels);
        history.asked(&Asked {
            client: &client,
            zone: history.zone_key(wire, zone.class),
            wire,
            class: zone.class,
            qtype: rtype::TXT,
            lookup: true,
            closest: false,
            new_units: 8 * 16 * 5,
            now_ns: START + n * DAY_NS / 4,
        });
    }
    let told = history.pdns("zone1.com");
    let days: Vec<_> = told.days.iter().map(|day| (day.addresses, day.new_bytes)).collect();
    assert_eq!(days, [(1, 20); 5], "{:#?}", told.days);
    assert!(told.timeline().lines().all(|line| line.chars().count() <= 80), "{}", told.timeline());
}

#[test]
fn the_export_has_a_name_and_address_a_line() {
    let text = history().pdns("zone1.com").cof();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "the zone's own name and three below it: {text}");
    for line in &lines {
        assert_eq!((&line["rrtype"], &line["rdata"]), (&"A".into(), &"192.0.2.1".into()), "{line}");
        assert_eq!(line["time_first"], START / 1_000_000_000);
        assert!(line["rrname"].as_str().unwrap().ends_with("zone1.com") && line["time_last"].is_i64());
    }
}
