//! What mail servers ask: block lists, senders' policies, keys.

use std::net::Ipv4Addr;

use crate::emulate::background::public;
use crate::emulate::encode::{BASE32, base32, base64url, hex};
use crate::emulate::message::{Name, rtype};
use crate::emulate::{Answer, Tape, words};

const HOUR: f64 = 3600.0;

fn server(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 25);
}

/// The four octets back to front, as lists and reverse zones have them.
fn reversed(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("{d}.{c}.{b}.{a}")
}

/// A wave of spam, then a mail a minute for eight hours; each is asked for in six lists, one of them below a key of the
/// customer's own, and its links' domains in another.
pub(super) fn block_lists(tape: &mut Tape) {
    server(tape);
    let key = tape.random.text(BASE32, 26);
    let lists = [
        "zen.block-list",
        "b.barricade",
        "bl.spam-trap",
        "dnsbl.open-relays",
        "psbl.passive-list",
        "list.white-list",
    ];
    let mail = |tape: &mut Tape| {
        let ip = public(&mut tape.random);
        let listed = tape.random.chance(0.5);
        for list in lists {
            let zone = if list == "b.barricade" { format!("{key}.{list}") } else { list.to_owned() };
            let name = format!("{}.{zone}.example", reversed(ip));
            let hit = listed && tape.random.chance(0.5);
            let code = Ipv4Addr::new(127, 0, 0, 2 + tape.random.below(10) as u8);
            tape.lookup(
                name.as_str(),
                rtype::A,
                &if hit { Answer::a(code, 300) } else { Answer::nxdomain() },
            );
            tape.now += tape.random.between(0.001, 0.05);
            if hit {
                let why = format!("listed, see https://{list}.example/query/{ip}");
                tape.lookup(name, rtype::TXT, &Answer::txt(why, 300));
            }
        }
        for _ in 0..tape.random.below(4) {
            let linked = format!("{}.example", words::registered(&mut tape.random));
            tape.lookup(format!("{linked}.dbl.block-list.example"), rtype::A, &Answer::nxdomain());
        }
        tape.lookup(format!("{}.in-addr.arpa", reversed(ip)), rtype::PTR, &Answer::nxdomain());
    };
    for _ in 0..300 {
        mail(tape);
        tape.now += tape.random.pause(2.0);
    }
    while tape.now < 8.0 * HOUR {
        mail(tape);
        tape.now += tape.random.pause(60.0);
    }
}

/// Lists of hashes: of the address that a mail is to be answered to, of files that came with it.
pub(super) fn hash_lists(tape: &mut Tape) {
    server(tape);
    let key = tape.random.text(BASE32, 26);
    let common: Vec<_> = (0..10).map(|_| tape.random.bytes(20)).collect();
    while tape.now < 8.0 * HOUR {
        let known = tape.random.chance(0.3);
        let hash =
            if known { common[tape.random.below(common.len())].clone() } else { tape.random.bytes(20) };
        let name = if tape.random.chance(0.7) {
            format!("{}.ebl.mail-hash.example", hex(&hash))
        } else {
            format!("{}._file.{key}.hbl.block-list.example", base32(&hash))
        };
        let answer = if known { Answer::a([127, 0, 0, 2], 300) } else { Answer::nxdomain() };
        tape.lookup(name, rtype::A, &answer);
        tape.now += tape.random.pause(120.0);
    }
}

/// Mail both ways, a sender in 45 seconds: exchangers, policies, keys, reports, names of peers.
pub(super) fn policies(tape: &mut Tape) {
    server(tape);
    while tape.now < 6.0 * HOUR {
        let zone = format!("{}.example", words::registered(&mut tape.random));
        let ip = public(&mut tape.random);
        ask(tape, &zone, rtype::MX, &Answer::of(rtype::MX, 3600, exchanger(&zone)));
        let policy = format!(
            "v=spf1 include:_spf.{zone} include:spf{}.mail-host.test ip4:{ip} ~all",
            tape.random.below(9)
        );
        ask(tape, &zone, rtype::TXT, &Answer::txt(policy, 3600));
        ask(tape, &format!("_spf.{zone}"), rtype::TXT, &Answer::txt("v=spf1 ip4:192.0.2.0/24 -all", 3600));
        // Some providers give each customer three selectors that are hashes.
        let selector = match tape.random.below(3) {
            0 => tape.random.text(BASE32, 32),
            1 => format!("s{}", 2020 + tape.random.below(7)),
            _ => ["selector1", "google", "default", "k1"][tape.random.below(4)].to_owned(),
        };
        let key = format!("v=DKIM1; k=rsa; p={}", base64url(&tape.random.bytes(294)));
        ask(tape, &format!("{selector}._domainkey.{zone}"), rtype::TXT, &Answer::txt(key, 3600));
        let policy = format!("v=DMARC1; p=quarantine; rua=mailto:dmarc@{zone}");
        ask(tape, &format!("_dmarc.{zone}"), rtype::TXT, &Answer::txt(policy, 3600));
        ask(
            tape,
            &format!("_mta-sts.{zone}"),
            rtype::TXT,
            &Answer::txt("v=STSv1; id=20260101T000000;", 3600),
        );
        ask(tape, &format!("_25._tcp.mx1.{zone}"), TLSA, &Answer::nxdomain());
        ask(tape, &format!("mx1.{zone}"), rtype::A, &Answer::a(ip, 3600));
        let host = Name::from(format!("mail-{}.{zone}", tape.random.below(99)));
        ask(
            tape,
            &format!("{}.in-addr.arpa", reversed(ip)),
            rtype::PTR,
            &Answer::of(rtype::PTR, 3600, host.as_bytes()),
        );
        tape.now += tape.random.pause(45.0);
    }
}

/// Policies with macros (RFC 7208 section 7): address, name and sender of each mail are in the name that is asked for.
pub(super) fn macros(tape: &mut Tape) {
    server(tape);
    let providers = ["spf-protect.example", "sender-guard.example", "vali-mail.example"];
    while tape.now < 6.0 * HOUR {
        let ip = public(&mut tape.random);
        let (user, zone) = (words::word(&mut tape.random), words::registered(&mut tape.random));
        let provider = tape.random.pick(&providers);
        let name = match tape.random.below(3) {
            0 => {
                format!("{ip}._i.mail{}.{zone}.example._h.{zone}.example._o.{provider}", tape.random.below(9))
            }
            1 => format!("{}.in-addr.{zone}.example._ip.{provider}", reversed(ip)),
            _ => format!("{user}.{}._spf.{zone}.example", tape.random.below(4000)),
        };
        tape.lookup(name, rtype::A, &Answer::a([127, 0, 0, 2], 300));
        tape.now += tape.random.pause(40.0);
    }
}

const TLSA: u16 = 52;

fn exchanger(zone: &str) -> Vec<u8> {
    [&[0, 10], Name::from(format!("mx1.{zone}")).as_bytes()].concat()
}

fn ask(tape: &mut Tape, name: &str, qtype: u16, answer: &Answer) {
    tape.lookup(name, qtype, answer);
    tape.now += tape.random.between(0.02, 0.2);
}
