//! People with browsers, and the hosts that pages need.

use crate::emulate::background::{Site, Sites, person, public};
use crate::emulate::encode::{BASE36, base64url, hex};
use crate::emulate::message::rtype;
use crate::emulate::{Answer, Tape, words};

const HOUR: f64 = 3600.0;

/// Thirty people, eight hours, a page in two minutes each.
pub(super) fn office(tape: &mut Tape) {
    for client in 0..30 {
        tape.be(client);
        let sites = Sites::new(&mut tape.random, 60);
        person(tape, &sites, (0.0, 8.0 * HOUR), 120.0);
    }
}

/// Pages that need a hundred other hosts: advertising, measuring, fonts. Some of these have a name for each region,
/// customer and campaign.
pub(super) fn heavy_pages(tape: &mut Tape) {
    let mut networks: Vec<_> =
        (0..150).map(|_| format!("{}.test", words::registered(&mut tape.random))).collect();
    networks.dedup();
    for client in 0..15 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 300.0);
        while tape.now < 3.0 * HOUR {
            let zone = format!("{}.example", words::registered(&mut tape.random));
            let start = tape.now;
            let page = Site::of(format!("www.{zone}"), &mut tape.random);
            tape.lookup(page.name, rtype::A, &page.answer);
            for _ in 0..100 {
                let network = &networks[tape.random.below(networks.len())];
                let host = match tape.random.below(8) {
                    0 => format!(
                        "{}-{}",
                        tape.random.text("0123456789abcdef", 6),
                        words::host(&mut tape.random)
                    ),
                    1 => format!("{}.{}", words::word(&mut tape.random), words::host(&mut tape.random)),
                    _ => words::host(&mut tape.random),
                };
                let site = Site::of(format!("{host}.{network}"), &mut tape.random);
                tape.now += tape.random.between(0.0, 0.05);
                tape.lookup(site.name, rtype::A, &site.answer);
            }
            tape.now = start + tape.random.pause(400.0).max(10.0);
        }
    }
}

/// Advertisements each in a frame of its own, whose host is a number of 128 bits by chance: one for a page or so.
pub(super) fn frames(tape: &mut Tape) {
    for client in 0..20 {
        tape.be(client);
        let sites = Sites::new(&mut tape.random, 40);
        person(tape, &sites, (0.0, 8.0 * HOUR), 300.0);
        tape.now = tape.random.pause(450.0);
        let address = public(&mut tape.random);
        while tape.now < 8.0 * HOUR {
            let answer = Answer::alias("pagead-frame.l.ad-syndication.example", address, 300);
            let name = format!("{}.safeframe.ad-syndication.example", hex(&tape.random.bytes(16)));
            tape.lookup(name.as_str(), rtype::A, &answer);
            tape.lookup(name, rtype::AAAA, &Answer::no_data());
            tape.now += tape.random.pause(450.0);
        }
    }
}

/// Video: a place code and a number for each piece of a film, two dozen an hour.
pub(super) fn numbered_caches(tape: &mut Tape) {
    for client in 0..20 {
        tape.be(client);
        // A client is sent to caches nearby most of the time.
        let near: Vec<_> = (0..12).map(|_| format!("sn-{}", tape.random.text("4g5e6n7lz", 8))).collect();
        tape.now = tape.random.pause(150.0);
        while tape.now < 6.0 * HOUR {
            let place = if tape.random.chance(0.85) {
                near[tape.random.below(near.len())].clone()
            } else {
                format!("sn-{}", tape.random.text("4g5e6n7lzabc", 8))
            };
            let name = match tape.random.below(3) {
                0 => format!("rr{}---{place}.video-stream.example", 1 + tape.random.below(8)),
                1 => format!("r{}---{place}.gvt9.example", 1 + tape.random.below(6)),
                _ => format!(
                    "cache{}-fra{}.game-content.example",
                    1 + tape.random.below(40),
                    1 + tape.random.below(4)
                ),
            };
            let address = public(&mut tape.random);
            tape.lookup(name, rtype::A, &Answer::a(address, 300));
            tape.now += tape.random.pause(150.0);
        }
    }
}

/// Long names made of hashes, always the same ones: builds of a site's scripts and pictures.
pub(super) fn hashed_hosts(tape: &mut Tape) {
    let hosts: Vec<_> = (0..40)
        .map(|_| {
            format!(
                "{}-{}.assets.site-builder.example",
                hex(&tape.random.bytes(20)),
                words::word(&mut tape.random)
            )
        })
        .collect();
    for client in 0..20 {
        tape.be(client);
        tape.now = tape.random.pause(60.0);
        // Nobody needs all of them.
        let wanted = 4 + client % 4;
        while tape.now < 6.0 * HOUR {
            let host = &hosts[(client * 3 + tape.random.below(wanted)) % hosts.len()];
            tape.lookup(
                host.as_str(),
                rtype::A,
                &Answer::alias("edge.site-builder.example", [198, 51, 100, 40], 60),
            );
            tape.now += tape.random.pause(60.0);
        }
    }
}

/// Customers' names under suffixes of operators, some of them given by chance.
pub(super) fn tenants(tape: &mut Tape) {
    for client in 0..30 {
        tape.be(client);
        let known: Vec<_> = (0..25).map(|_| tenant(tape)).collect();
        tape.now = tape.random.pause(200.0);
        while tape.now < 6.0 * HOUR {
            let name = if tape.random.chance(0.8) {
                known[tape.random.below(known.len())].clone()
            } else {
                tenant(tape)
            };
            let address = public(&mut tape.random);
            tape.lookup(name, rtype::A, &Answer::a(address, 60));
            tape.now += tape.random.pause(200.0);
        }
    }
}

fn tenant(tape: &mut Tape) -> String {
    let word = words::registered(&mut tape.random);
    match tape.random.below(6) {
        0 | 1 => format!("d{}.cloudfront.net", tape.random.text(BASE36, 13)),
        2 => format!("{word}-{}.s3.amazonaws.com", words::word(&mut tape.random)),
        3 => format!("{word}.azurewebsites.net"),
        4 => format!("{word}.github.io"),
        _ => format!("{word}-{}.web.app", tape.random.text("0123456789abcdef", 5)),
    }
}

/// A reader of two hundred people's pages below one zone, each asked for anew every hour.
pub(super) fn wildcard_sites(tape: &mut Tape) {
    for client in 0..3 {
        tape.be(client);
        let people: Vec<_> = (0..200)
            .map(|_| match tape.random.below(3) {
                0 => format!("{}{}", words::word(&mut tape.random), tape.random.below(2000)),
                1 => format!("{}-{}", words::word(&mut tape.random), words::word(&mut tape.random)),
                _ => format!("the{}{}", words::word(&mut tape.random), words::word(&mut tape.random)),
            })
            .collect();
        for hour in 0..5 {
            tape.now = f64::from(hour) * HOUR + tape.random.between(0.0, 60.0);
            for person in &people {
                tape.lookup(
                    format!("{person}.blog-harbor.example"),
                    rtype::A,
                    &Answer::a([198, 51, 100, 77], 300),
                );
                tape.now += tape.random.between(0.1, 1.5);
            }
        }
    }
}

/// Service bindings with keys for encrypted hellos, which change each hour.
pub(super) fn service_bindings(tape: &mut Tape) {
    let keys: Vec<_> = (0..8).map(|_| tape.random.bytes(71)).collect();
    for client in 0..20 {
        tape.be(client);
        let sites: Vec<_> =
            (0..40).map(|_| format!("www.{}.example", words::registered(&mut tape.random))).collect();
        tape.now = tape.random.pause(60.0);
        while tape.now < 6.0 * HOUR {
            let site = sites[tape.random.below(sites.len())].as_str();
            #[expect(clippy::cast_sign_loss, reason = "time since the start")]
            let key = &keys[(tape.now / HOUR) as usize];
            let binding =
                [&[0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2', 0, 4, 0, 4, 104, 16, 1, 1, 0, 5, 0, 71][..], key]
                    .concat();
            tape.lookup(site, rtype::HTTPS, &Answer::of(rtype::HTTPS, 300, binding));
            tape.lookup(site, rtype::A, &Answer::a([104, 16, 1, 1], 300));
            tape.now += tape.random.pause(60.0);
        }
    }
}

/// Media servers in living rooms: the address inside, then who it is, under a name that has a certificate; answered with
/// that very address.
pub(super) fn home_servers(tape: &mut Tape) {
    let servers: Vec<_> = (0..12).map(|_| hex(&tape.random.bytes(16))).collect();
    for client in 0..12 {
        tape.be(client);
        tape.now = tape.random.pause(100.0);
        while tape.now < 5.0 * HOUR {
            let friend = if tape.random.chance(0.8) { client } else { tape.random.below(servers.len()) };
            let inside = [192, 168, friend as u8, 10];
            let name = format!("192-168-{friend}-10.{}.media-home.example", servers[friend]);
            tape.lookup(name, rtype::A, &Answer::a(inside, 60));
            tape.now += tape.random.pause(300.0);
        }
    }
}

/// Somebody reads the texts of three hundred zones: policies and tokens that prove who owns them.
pub(super) fn verification_texts(tape: &mut Tape) {
    for _ in 0..300 {
        let zone = format!("{}.example", words::registered(&mut tape.random));
        let mut answer = Answer::txt("v=spf1 include:_spf.mail-host.test -all", 300);
        for _ in 0..3 + tape.random.below(8) {
            let token = base64url(&tape.random.bytes(32));
            let text = match tape.random.below(4) {
                0 => format!("google-site-verification={token}"),
                1 => format!("MS=ms{}", tape.random.below(99_999_999)),
                2 => format!("atlassian-domain-verification={token}{token}"),
                _ => {
                    format!("{}-verification={}", words::word(&mut tape.random), hex(&tape.random.bytes(16)))
                }
            };
            answer = answer.and(rtype::TXT, 300, crate::emulate::message::txt(text.as_bytes()));
        }
        tape.lookup(zone, rtype::TXT, &answer);
        tape.now += tape.random.pause(8.0);
    }
}
