//! Many behind one address, and programs that ask for everything once.

use std::net::Ipv4Addr;

use crate::emulate::background::{Site, Sites, person};
use crate::emulate::encode::{LETTERS, hex};
use crate::emulate::message::{Name, rtype};
use crate::emulate::{Answer, Extra, Tape, words};

const HOUR: f64 = 3600.0;

/// Fifty people behind a resolver that passes everything on, each name once while it is kept.
pub(super) fn forwarder(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 54);
    for _ in 0..50 {
        let sites = Sites::new(&mut tape.random, 60);
        person(tape, &sites, (0.0, 3.0 * HOUR), 150.0);
    }
}

/// Forty people behind one translated address: pages, video, what browsers probe, scanners of four hosts.
pub(super) fn translated(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 1);
    for host in 0..40 {
        let sites = Sites::new(&mut tape.random, 60);
        person(tape, &sites, (0.0, 3.0 * HOUR), 180.0);
        for _ in 0..2 {
            tape.now = tape.random.between(0.0, 3.0 * HOUR);
            for _ in 0..3 {
                let length = 7 + tape.random.below(9);
                let label = tape.random.text(LETTERS, length);
                tape.lookup(label, rtype::A, &Answer::nxdomain());
            }
        }
        for _ in 0..20 {
            tape.now = tape.random.between(0.0, 3.0 * HOUR);
            let name = format!(
                "rr{}---sn-{}.video-stream.example",
                1 + tape.random.below(8),
                tape.random.text("4g5e6n7lz", 8)
            );
            tape.lookup(name, rtype::A, &Answer::a([198, 51, 100, 30], 300));
        }
        if host % 10 == 0 {
            for _ in 0..40 {
                tape.now = tape.random.between(0.0, 3.0 * HOUR);
                let name = format!(
                    "{}.avqs.scan-labs.example",
                    tape.random.text("abcdefghijklmnopqrstuvwxyz234567", 26)
                );
                tape.lookup(name, rtype::A, &Answer::a([127, 0, 4, 8], 3600));
            }
        }
    }
}

/// A resolver that goes from the root down: parts of names only (RFC 9156), keys and signatures, proofs that names are
/// not there (RFC 5155), and which trust anchors it has (RFC 8145).
pub(super) fn resolver(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 53);
    let servers: Vec<_> = (0..40).map(|_| crate::emulate::background::public(&mut tape.random)).collect();
    let extra = Extra { iterative: true, ..Extra::default() };
    for round in 0..1500 {
        tape.server = servers[tape.random.below(servers.len())];
        let zone = format!("{}.example", words::registered(&mut tape.random));
        let host = words::host(&mut tape.random);
        let referral = Answer::no_data();
        for (name, qtype) in
            [("_.example".to_owned(), rtype::A), (zone.clone(), rtype::NS), (format!("_.{zone}"), rtype::A)]
        {
            tape.lookup_beside(name, qtype, &referral, &extra);
            tape.now += tape.random.between(0.01, 0.05);
        }
        let key = [&[1, 0, 3, 13][..], &tape.random.bytes(64)].concat();
        tape.lookup_beside(zone.as_str(), DNSKEY, &Answer::of(DNSKEY, 3600, key), &extra);
        let digest = [&[0x4a, 0x5c, 13, 2][..], &tape.random.bytes(32)].concat();
        tape.lookup_beside(zone.as_str(), DS, &Answer::of(DS, 3600, digest), &extra);
        if round % 3 == 0 {
            let hashed = tape.random.text("0123456789abcdefghijklmnopqrstuv", 32);
            let proof =
                [&[1, 0, 0, 5, 4][..], &tape.random.bytes(4), &[20], &tape.random.bytes(20), &[0, 1, 0x40]]
                    .concat();
            let answer = Answer::nxdomain().proof(Name::from(format!("{hashed}.{zone}")), NSEC3, proof);
            let name = format!("{}.{zone}", words::word(&mut tape.random));
            tape.lookup_beside(name, rtype::A, &answer, &extra);
        }
        tape.lookup_beside(format!("{host}.{zone}"), rtype::A, &Answer::a([198, 51, 100, 8], 300), &extra);
        if round % 500 == 0 {
            tape.lookup_beside("_ta-4a5c-4f66", rtype::NULL, &Answer::nxdomain(), &extra);
        }
        tape.now += tape.random.pause(4.0);
    }
}

const DS: u16 = 43;
const DNSKEY: u16 = 48;
const NSEC3: u16 = 50;

/// A list of four thousand sites, one after the other.
pub(super) fn crawler(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 95);
    for _ in 0..4000 {
        let zone = format!("{}.example", words::registered(&mut tape.random));
        let site = Site::of(format!("www.{zone}"), &mut tape.random);
        let answer = if tape.random.chance(0.08) { Answer::nxdomain() } else { site.answer };
        tape.lookup(site.name, rtype::A, &answer);
        if tape.random.chance(0.4) {
            let name = format!("{}.{zone}", words::host(&mut tape.random));
            tape.lookup(name, rtype::A, &answer);
        }
        tape.now += tape.random.pause(2.0);
    }
}

/// A bench of a resolver: names by chance that nothing answers for.
pub(super) fn load_test(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 96);
    for _ in 0..5000 {
        let label = tape.random.text("abcdefghijklmnopqrstuvwxyz0123456789", 8);
        tape.lookup(format!("{label}.load.bench-lab.example"), rtype::A, &Answer::silent());
        tape.now += tape.random.pause(0.02);
    }
}

/// A watch over names that look like one's own: most of them are not there.
pub(super) fn look_alikes(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 97);
    let brand = "silverbridge";
    let suffixes = ["com", "net", "org", "info", "de", "co.uk"];
    for round in 0..2 {
        tape.now = f64::from(round) * HOUR;
        for (place, letter) in brand.char_indices() {
            for other in LETTERS.chars().step_by(3) {
                let near = format!("{}{other}{}", &brand[..place], &brand[place + letter.len_utf8()..]);
                for suffix in suffixes {
                    let found = tape.random.chance(0.08);
                    let answer = if found { Answer::a([198, 51, 100, 5], 300) } else { Answer::nxdomain() };
                    tape.lookup(format!("{near}.{suffix}"), rtype::A, &answer);
                    tape.now += tape.random.between(0.1, 2.0);
                }
            }
        }
    }
}

/// Names of downloads and of updates by content: 40 bytes of hash, each asked for by many.
pub(super) fn content_names(tape: &mut Tape) {
    let updates: Vec<_> = (0..25).map(|_| hex(&tape.random.bytes(20))).collect();
    for client in 0..40 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 600.0);
        for hash in &updates {
            if tape.random.chance(0.3) {
                let name = format!("{}.{}.dl.update-service.example", &hash[..8], &hash[8..]);
                tape.lookup(name, rtype::A, &Answer::alias("dl.update-edge.test", [198, 51, 100, 20], 300));
            }
            tape.now += tape.random.pause(400.0);
        }
    }
}
