//! Office networks: a directory, its search lists, and what browsers and systems try in them.

use std::net::Ipv4Addr;

use crate::emulate::encode::{LETTERS, hex};
use crate::emulate::message::{Name, rtype};
use crate::emulate::{Answer, Tape, words};

const HOUR: f64 = 3600.0;
const ZONE: &str = "corp.example";

fn uuid(tape: &mut Tape) -> String {
    let text = hex(&tape.random.bytes(16));
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

fn service(host: &str) -> Answer {
    let target = Name::from(host);
    Answer::of(rtype::SRV, 600, [&[0, 0, 0, 100, 1, 133], target.as_bytes()].concat())
}

/// Fifty people log on within a quarter of an hour; their hosts look for controllers again all morning.
pub(super) fn log_on(tape: &mut Tape) {
    let domain = uuid(tape);
    let controllers: Vec<_> =
        (0..12).map(|index| (uuid(tape), format!("dc{:02}.{ZONE}", index + 1))).collect();
    for client in 0..50 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 900.0);
        let site = ["Berlin-HQ", "Oslo-Office", "Default-First-Site-Name"][client % 3];
        for _ in 0..8 {
            let names = [
                format!("_ldap._tcp.{site}._sites.dc._msdcs.{ZONE}"),
                format!("_ldap._tcp.dc._msdcs.{ZONE}"),
                format!("_kerberos._tcp.{site}._sites.dc._msdcs.{ZONE}"),
                format!("_kerberos._tcp.dc._msdcs.{ZONE}"),
                format!("_ldap._tcp.{site}._sites.{domain}.domains._msdcs.{ZONE}"),
                format!("_ldap._tcp.{domain}.domains._msdcs.{ZONE}"),
                format!("_gc._tcp.{site}._sites.{ZONE}"),
                format!("_ldap._tcp.pdc._msdcs.{ZONE}"),
                format!("_kpasswd._tcp.{ZONE}"),
            ];
            for name in &names {
                let host = &controllers[tape.random.below(controllers.len())].1;
                tape.lookup(name.as_str(), rtype::SRV, &service(host));
                tape.now += tape.random.between(0.002, 0.3);
                tape.lookup(host.as_str(), rtype::A, &Answer::a([10, 20, 0, 10 + client as u8 % 12], 1200));
            }
            tape.now += tape.random.pause(1500.0);
        }
    }
    // A controller finds its partners by identity, every quarter of an hour.
    tape.client = Ipv4Addr::new(10, 20, 0, 11);
    tape.now = 5.0;
    while tape.now < 4.0 * HOUR {
        for (identity, host) in &controllers {
            let answer = Answer::alias(host.as_str(), [10, 20, 0, 12], 600);
            tape.lookup(format!("{identity}._msdcs.{ZONE}"), rtype::A, &answer);
            tape.now += tape.random.between(0.01, 2.0);
        }
        tape.now += 900.0;
    }
}

/// Programs in a cluster, `ndots:5`: each name is tried below four suffixes before it is asked for as it is, for both
/// families.
pub(super) fn cluster_search(tape: &mut Tape) {
    for pod in 0..20 {
        tape.be(pod);
        let space = ["default", "payments", "monitoring", "ingress"][pod % 4];
        let suffixes = [
            format!("{space}.svc.cluster.local"),
            "svc.cluster.local".into(),
            "cluster.local".into(),
            "eu-central-1.compute.internal".into(),
        ];
        let wanted: Vec<_> = (0..12)
            .map(|_| {
                format!("{}.{}.example", words::host(&mut tape.random), words::registered(&mut tape.random))
            })
            .collect();
        let inside: Vec<_> = (0..6)
            .map(|_| format!("{}-{}.{space}", words::word(&mut tape.random), words::word(&mut tape.random)))
            .collect();
        tape.now = tape.random.between(0.0, 60.0);
        while tape.now < 3.0 * HOUR {
            let outside = tape.random.chance(0.7);
            let name = if outside {
                &wanted[tape.random.below(wanted.len())]
            } else {
                &inside[tape.random.below(inside.len())]
            };
            for suffix in &suffixes {
                let full = format!("{name}.{suffix}");
                let found = !outside && suffix == "svc.cluster.local";
                for qtype in [rtype::A, rtype::AAAA] {
                    let answer = if found { Answer::no_data() } else { Answer::nxdomain() };
                    let answer = if found && qtype == rtype::A {
                        Answer::a([10, 96, 3, pod as u8], 5)
                    } else {
                        answer
                    };
                    tape.lookup(full.as_str(), qtype, &answer);
                }
                tape.now += 0.001;
                if found {
                    break;
                }
            }
            if outside {
                tape.lookup(name.as_str(), rtype::A, &Answer::a([198, 51, 100, pod as u8], 30));
                tape.lookup(name.as_str(), rtype::AAAA, &Answer::no_data());
            }
            tape.now += tape.random.pause(40.0);
        }
    }
}

/// A host that appends its suffix to what it has already appended it to.
pub(super) fn echo(tape: &mut Tape) {
    for client in 0..12 {
        tape.be(client);
        let wanted: Vec<_> = (0..30)
            .map(|_| {
                format!("{}.{}.example", words::host(&mut tape.random), words::registered(&mut tape.random))
            })
            .collect();
        tape.now = tape.random.between(0.0, 600.0);
        while tape.now < 2.0 * HOUR {
            let mut name = wanted[tape.random.below(wanted.len())].clone();
            for _ in 0..4 {
                name = format!("{name}.{ZONE}");
                tape.lookup(name.as_str(), rtype::A, &Answer::nxdomain());
                tape.now += 0.003;
            }
            tape.now += tape.random.pause(120.0);
        }
    }
}

/// Chromium asks at each start, and whenever its network changes, for three labels of chance, to know whether somebody
/// answers for names that are not there; the system tries them below its suffix too.
pub(super) fn probes(tape: &mut Tape) {
    for client in 0..60 {
        tape.be(client);
        for _ in 0..6 {
            tape.now = tape.random.between(0.0, 8.0 * HOUR);
            for _ in 0..3 {
                let length = 7 + tape.random.below(9);
                let label = tape.random.text(LETTERS, length);
                tape.lookup(format!("{label}.{ZONE}"), rtype::A, &Answer::nxdomain());
                tape.lookup(label, rtype::A, &Answer::nxdomain());
                tape.now += tape.random.between(0.0, 0.01);
            }
        }
    }
}

/// Proxies and tunnels that systems look for on their own.
pub(super) fn discovery(tape: &mut Tape) {
    for client in 0..50 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 300.0);
        while tape.now < 6.0 * HOUR {
            for name in [
                "wpad",
                "wpad.corp.example",
                "isatap",
                "isatap.corp.example",
                "wpad.localdomain",
                "wpad.home.arpa",
            ] {
                tape.lookup(name, rtype::A, &Answer::nxdomain());
                tape.now += tape.random.between(0.01, 1.0);
            }
            tape.now += tape.random.pause(700.0);
        }
    }
}

/// Printers, loudspeakers and hosts, asked for by unicast because the link has no multicast: `.local` and own names.
pub(super) fn services(tape: &mut Tape) {
    const KINDS: [&str; 8] = [
        "_ipp._tcp",
        "_airplay._tcp",
        "_raop._tcp",
        "_googlecast._tcp",
        "_adb-tls-connect._tcp",
        "_hap._tcp",
        "_smb._tcp",
        "_spotify-connect._tcp",
    ];
    let instances: Vec<_> = (0..40)
        .map(|index| {
            let label = match index % 4 {
                0 => format!(
                    "{} {} [{}]",
                    words::word(&mut tape.random),
                    words::word(&mut tape.random),
                    hex(&tape.random.bytes(3))
                ),
                1 => hex(&tape.random.bytes(16)),
                2 => format!(
                    "adb-{}-{}",
                    tape.random.text("0123456789ABCDEF", 12),
                    tape.random.text("abcdefghABCDEFGH", 6)
                ),
                _ => format!("{}s-MacBook-Pro", words::word(&mut tape.random)),
            };
            (label, KINDS[tape.random.below(KINDS.len())])
        })
        .collect();
    for client in 0..25 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 600.0);
        while tape.now < 4.0 * HOUR {
            let zone = ["local", ZONE][client % 2];
            let (instance, kind) = &instances[tape.random.below(instances.len())];
            tape.lookup(format!("{kind}.{zone}"), rtype::PTR, &Answer::nxdomain());
            let name = Name::new().label(instance).raw(Name::from(format!("{kind}.{zone}")).as_bytes());
            tape.lookup(name, rtype::SRV, &Answer::nxdomain());
            tape.lookup(format!("_services._dns-sd._udp.{zone}"), rtype::PTR, &Answer::nxdomain());
            tape.now += tape.random.pause(240.0);
        }
    }
}
