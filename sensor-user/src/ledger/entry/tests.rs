use super::*;
use crate::dns::Canonical;
use crate::zone::Zone;

const SECOND: u64 = 1_000_000_000;

fn entry(class: Class) -> Entry {
    Entry::new(Key { client: 1, zone: 1 }, class, b"", 0)
}

fn ask(entry: &mut Entry, name: &str, now_ns: u64) -> bool {
    let name = Canonical::from_text(name);
    let zone = Zone::of(&name);
    let hash = name.wire().iter().fold(7u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let hash = hash ^ hash << 32;
    let said = Name { sub: name.prefix(zone.labels), hash, upper: 0, letters: 0, extra_bytes: 0, told: None };
    entry.query(said, Charge::Full, false, now_ns)
}

fn bytes(units: u64) -> u64 {
    units / u64::from(UNIT) / 8
}

#[test]
fn a_window_forgets_and_totals_do_not() {
    let mut entry = entry(Class::Registered);
    assert!(ask(&mut entry, "one.example.com", SECOND));
    assert!(!ask(&mut entry, "one.example.com", 10 * SECOND));
    let first = entry.window(Span::TenMinutes);
    assert_eq!((first.new_names, first.queries), (1, 2));
    assert!(first.units() > 0);
    entry.roll(599 * SECOND);
    assert_eq!(entry.window(Span::Minute).units(), 0);
    assert_eq!(entry.window(Span::TenMinutes).units(), first.units());
    entry.roll(600 * SECOND);
    assert_eq!(entry.window(Span::TenMinutes).units(), 0);
    assert_eq!(entry.window(Span::Day).units(), first.units());
    assert_eq!((entry.queries, entry.new_names, entry.name_bytes), (2, 1, 3));
    // Time that goes back neither panics nor brings anything back.
    ask(&mut entry, "two.example.com", 3 * SECOND);
    assert_eq!(entry.window(Span::TenMinutes).new_names, 1);
}

#[test]
fn repeats_cost_at_most_which_of_the_known() {
    let mut entry = entry(Class::Registered);
    for n in 0..16 {
        ask(&mut entry, &format!("host{n}.example.com"), SECOND);
    }
    let before = entry.totals.up_low;
    for _ in 0..100 {
        ask(&mut entry, "host3.example.com", SECOND);
    }
    assert_eq!(entry.totals.up_low - before, 100 * 4 * u64::from(UNIT));
    assert_eq!(entry.window(Span::Minute).new_names, 16);
}

#[test]
fn bounds_are_ordered() {
    let mut entry = entry(Class::Registered);
    for n in 0..200u64 {
        let payload = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ask(&mut entry, &format!("{payload:016x}{payload:016x}.t.example.com"), SECOND);
        assert!(entry.totals.up_low <= entry.totals.up_high);
    }
    // 8 random bytes a name, said twice: the least must not be more than what the characters hold.
    assert!(bytes(entry.totals.up_low) <= 200 * (16 + 4), "{}", bytes(entry.totals.up_low));
    assert_eq!(entry.name_bytes, 200 * 33);
}

/// Names of usual software at a realistic rate; what each costs is printed, and none may reach the bound.
#[test]
fn usual_software_stays_under_the_bound() {
    let mut state = 11u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let uuid = |r: u64, s: u64| {
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            r >> 32,
            r & 0xffff,
            s >> 52,
            s >> 40 & 0xfff,
            s & 0xffff_ffff_ffff
        )
    };
    let services = ["_ldap._tcp", "_kerberos._tcp", "_gc._tcp", "_kpasswd._udp"];
    let rows: Vec<(&str, Vec<String>)> = vec![
        ("40 numbered hosts", (0..40).map(|n| format!("client{n}.example.com")).collect()),
        (
            "AD locator at logon",
            services
                .iter()
                .flat_map(|s| {
                    [
                        format!("{s}.corp.example.com"),
                        format!("{s}.dc._msdcs.corp.example.com"),
                        format!("{s}.berlin._sites.dc._msdcs.corp.example.com"),
                        format!("{s}.7f3a2c1e-93d1-4c55-8a1b-2f0e6d9b4a71.domains._msdcs.corp.example.com"),
                    ]
                })
                .collect(),
        ),
        (
            "12 video caches",
            (0..12).map(|n| format!("r{}---sn-4g5e{}nez.example.com", n % 6 + 1, random() % 100)).collect(),
        ),
        (
            "kubernetes service names with ndots 5",
            ["api", "auth", "cart", "redis-master", "payments"]
                .iter()
                .flat_map(|s| {
                    ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]
                        .map(|z| format!("{s}.{z}"))
                })
                .collect(),
        ),
        ("one telemetry UUID", {
            let id = uuid(random(), random());
            (0..50).map(|_| format!("{id}.events.example.com")).collect()
        }),
        (
            "5 look-ups of file hashes",
            (0..5).map(|_| format!("{:016x}{:016x}.avqs.example.com", random(), random())).collect(),
        ),
        (
            "3 probes for wildcards",
            (0..3).map(|_| format!("{}.example.com", uuid(random(), random()).replace('-', ""))).collect(),
        ),
        (
            "DKIM, DMARC and ACME",
            [
                "selector1._domainkey",
                "google._domainkey",
                "_dmarc",
                "_acme-challenge",
                "_mta-sts",
                "mta-sts",
                "_smtp._tls",
            ]
            .iter()
            .map(|s| format!("{s}.example.com"))
            .collect(),
        ),
        (
            "20 names with a search suffix",
            [
                "www.wikipedia.org",
                "github.com",
                "api.github.com",
                "mail.google.com",
                "ftp.gnu.org",
                "www.python.org",
                "docs.python.org",
                "static.npmjs.org",
                "login.microsoftonline.com",
                "outlook.office365.com",
                "slack.com",
                "zoom.us",
                "docs.rs",
                "ntp.ubuntu.com",
                "dl.google.com",
                "www.youtube.com",
                "cdn.jsdelivr.net",
                "fonts.gstatic.com",
                "t.co",
                "grafana.com",
            ]
            .iter()
            .map(|name| format!("{name}.corp.example.com"))
            .collect(),
        ),
        (
            "QNAME minimisation and trust anchors",
            ["_", "_.a", "_.a.b", "_ta-4f66", "_ta-4f66-9728", "a", "a.b"]
                .iter()
                .map(|s| format!("{s}.example.com"))
                .collect(),
        ),
        (
            "service discovery",
            [
                "b._dns-sd._udp",
                "db._dns-sd._udp",
                "r._dns-sd._udp",
                "dr._dns-sd._udp",
                "lb._dns-sd._udp",
                "_services._dns-sd._udp",
            ]
            .iter()
            .map(|s| format!("{s}.example.com"))
            .collect(),
        ),
    ];
    for (row, names) in rows {
        let mut entry = entry(Class::Registered);
        for (n, name) in names.iter().enumerate() {
            ask(&mut entry, name, n as u64 * SECOND);
        }
        let window = entry.window(Span::TenMinutes);
        eprintln!("{:4} bytes for {:3} names  {row}", bytes(window.new_units), window.new_names);
        assert!(bytes(window.new_units) < 256, "{row}");
        assert!(!entry.standing(&crate::ledger::Settings::default().bounds()).is_over(), "{row}");
    }
}

#[test]
fn reversed_addresses_cost_the_address() {
    let mut lists = entry(Class::Registered);
    let mut random = 5u64;
    for n in 0..500 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let [a, b, c, d] = (random as u32).to_be_bytes();
        ask(&mut lists, &format!("{a}.{b}.{c}.{d}.zen.example.org"), n * SECOND);
    }
    let window = lists.window(Span::TenMinutes);
    eprintln!(
        "{} bytes for {} block list look-ups, {} for the list's name",
        bytes(window.form_units),
        window.new_names,
        bytes(window.new_units)
    );
    assert!(bytes(window.new_units) < 32, "{}", bytes(window.new_units));
    assert!(bytes(window.form_units) < 4096);

    let mut sweep = entry(Class::Reverse4);
    for n in 0..256 {
        ask(&mut sweep, &format!("{}.3.2.10.in-addr.arpa", n * 77 % 256), n * SECOND);
    }
    let window = sweep.window(Span::TenMinutes);
    eprintln!("{} bytes for a sweep of a /24", bytes(window.form_units));
    assert!(window.new_units == 0 && bytes(window.form_units) <= 256);
}

/// An address in front does not make payload an address.
#[test]
fn payload_behind_an_address_is_payload() {
    let nibbles = "1.".repeat(32);
    for address in ["1.1.1.1.", nibbles.as_str()] {
        let mut entry = entry(Class::Registered);
        let mut state = 3u64;
        for n in 0..8 {
            let text: String = (0..120)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(state >> 59) as usize])
                })
                .collect();
            ask(&mut entry, &format!("{address}{}.{}.evil.com", &text[..60], &text[60..]), n * SECOND);
        }
        let window = entry.window(Span::TenMinutes);
        assert!(bytes(window.new_units) > 8 * 70, "{address} {}", bytes(window.new_units));
        assert!(bytes(window.form_units) <= 8 * 16, "{address} {}", bytes(window.form_units));
    }
}

#[test]
fn samples_are_whole_names() {
    let mut entry = entry(Class::Registered);
    let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(50)].join(".");
    ask(&mut entry, &format!("{long}.example.com"), 0);
    assert_eq!(crate::dns::canonical::text(entry.samples().next().unwrap()), long);
}

#[test]
fn names_without_a_zone_and_ipv6_pointers() {
    let mut random = 9u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let mut chromium = entry(Class::None);
    for n in 0..3 {
        let length = 7 + next() % 9;
        let name: String = (0..length).map(|_| char::from(b'a' + (next() % 26) as u8)).collect();
        ask(&mut chromium, &name, n);
    }
    let window = chromium.window(Span::TenMinutes);
    eprintln!("{} bytes for the three random names of a browser start", bytes(window.new_units));
    assert!(bytes(window.new_units) < 64);

    let mut pointers = entry(Class::Reverse6);
    for n in 0..30u64 {
        let nibbles: Vec<String> =
            (0..20).map(|i| format!("{:x}", if i < 4 { next() % 16 } else { 0 })).collect();
        ask(&mut pointers, &format!("{}.8.b.d.0.1.0.0.2.0.0.0.0.ip6.arpa", nibbles.join(".")), n * SECOND);
    }
    let window = pointers.window(Span::TenMinutes);
    eprintln!("{} bytes for {} IPv6 pointers", bytes(window.form_units), window.new_names);
    assert!(window.new_units == 0 && bytes(window.form_units) < 30 * 10);
}

/// A name and what comes back for it.
type Made = Box<dyn FnMut(u64) -> (String, Option<Answer>)>;

/// What comes back decides against which bound names count, and none of it frees them: each kind of traffic with as much
/// of it as is let pass in ten minutes, and some more.
#[test]
fn every_allowance_ends() {
    let mut state = 9u64;
    let random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let word = |r: u64| {
        ["garden", "silver", "market", "harbor", "castle", "window", "record", "planet"][r as usize % 8]
    };
    let syllables = |r: u64, count: usize| -> String {
        let pair = |at: usize| (r.rotate_left(5 * at as u32) & 31) as usize;
        let syllable = |at: usize| [b"bdklmnrt"[pair(at) >> 2], b"aeio"[pair(at) & 3]].map(char::from);
        (0..count).flat_map(syllable).collect()
    };
    let nothing = Answer { is_verdict: true, ..Answer::default() };
    let address = |hash: u64| Answer { hash, high: 512, ..Answer::default() };
    let verdict = |r: u64| Answer { hash: (7 + r % 3) << 40, low: 500, high: 512, ..Answer::default() };
    let code = |_: u64| Answer { hash: 9, high: 512, is_verdict: true, is_code: true, ..Answer::default() };
    let mut rows: Vec<(&str, u64, u64, Made)> = vec![];
    rows.push(("free names", 4, 16, {
        let mut random = random;
        Box::new(move |n| {
            (format!("{:016x}{:0w$x}.t", random(), random(), w = (16 + n % 3) as usize), Some(address(1)))
        })
    }));
    rows.push(("tokens answered by verdicts", 40, 400, {
        let mut random = random;
        Box::new(move |_| (format!("{:016x}{:016x}.av", random(), random()), Some(verdict(random()))))
    }));
    rows.push(("tokens answered by one code", 40, 400, {
        let mut random = random;
        Box::new(move |_| (format!("{:016x}{:016x}.av", random(), random()), Some(code(0))))
    }));
    rows.push(("plain names of a list", 100, 3000, {
        let mut random = random;
        Box::new(move |_| {
            (format!("{}{}{}", word(random()), word(random()), random() % 1000), Some(address(1)))
        })
    }));
    rows.push(("payload in syllables", 4, 60, {
        let mut random = random;
        Box::new(move |_| {
            (format!("{}.{}", syllables(random(), 12), syllables(random(), 12)), Some(address(1)))
        })
    }));
    rows.push(("guesses", 1000, 60_000, {
        let mut random = random;
        Box::new(move |_| (format!("{}-{}", word(random()), syllables(random(), 5)), Some(nothing)))
    }));
    rows.push(("names that nobody answers", 1000, 60_000, {
        let mut random = random;
        Box::new(move |_| (format!("{:08x}", random() as u32), None))
    }));
    let bounds = crate::ledger::Settings::default().bounds();
    for (what, least, most, mut made) in rows {
        let mut entry = entry(Class::Registered);
        let mut over = None;
        for n in 0..most {
            let (name, answer) = made(n);
            ask(&mut entry, &format!("{name}.example.com"), n * SECOND / 200);
            if entry.standing(&bounds).is_over() {
                over = Some(n);
                break;
            }
            if let Some(answer) = answer {
                entry.response(answer, false, n * SECOND / 200);
            }
        }
        eprintln!("{what}: over its bound after {over:?} names");
        assert!(over.is_some_and(|n| n >= least), "{what}: {over:?}");
    }
}

/// A name that an answer led to says which of those it is, and nothing more.
#[test]
fn what_was_told_is_no_news() {
    let mut entry = entry(Class::Registered);
    for n in 0..200u64 {
        let name = Canonical::from_text(&format!("{:016x}.auth", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let told = Some(12 * UNIT);
        let said = Name { sub: name.wire(), hash: n << 40, upper: 0, letters: 0, extra_bytes: 0, told };
        entry.query(said, Charge::Full, false, n * SECOND);
    }
    assert_eq!(bytes(entry.totals.up_low), 200 * 12 / 8);
    assert!(entry.totals.up_high >= entry.totals.up_low);
}
