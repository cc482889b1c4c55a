//! Programs without people.

use std::net::Ipv4Addr;

use crate::emulate::background::public;
use crate::emulate::encode::{base64url, hex};
use crate::emulate::message::{Name, rtype};
use crate::emulate::{Answer, Tape, words};

const HOUR: f64 = 3600.0;

/// A thermostat whose maker is gone: one name, three times a second, for two hours; and one whose resolver says nothing.
pub(super) fn failing_devices(tape: &mut Tape) {
    for (client, answer) in [(0, Answer::nxdomain()), (1, Answer::failed(2)), (2, Answer::silent())] {
        tape.be(client);
        tape.now = 0.0;
        while tape.now < 2.0 * HOUR {
            tape.lookup("device-gateway-eu.iot-thermo.example", rtype::A, &answer);
            tape.now += tape.random.between(0.25, 0.6);
        }
    }
}

/// A monitor that asks for the same four names every twenty seconds.
pub(super) fn periodic_agents(tape: &mut Tape) {
    for client in 0..8 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 20.0);
        while tape.now < 5.0 * HOUR {
            for (index, name) in ["gdr-ingest", "metrics", "config", "oracle-db-scan"].into_iter().enumerate()
            {
                let answer = Answer::a([10, 30, 0, index as u8 + 1], 15);
                tape.lookup(format!("{name}.agents.vendor-cloud.example"), rtype::A, &answer);
                tape.now += 0.01;
            }
            tape.now += 20.0 + tape.random.between(-0.05, 0.05);
        }
    }
}

/// Names that hold an identity: of a device, for good; of a session, for an hour; of one measurement.
pub(super) fn telemetry(tape: &mut Tape) {
    for client in 0..20 {
        tape.be(client);
        let device = hex(&tape.random.bytes(16));
        tape.now = tape.random.between(0.0, 300.0);
        while tape.now < 6.0 * HOUR {
            let session = hex(&tape.random.bytes(16));
            let session =
                [&session[..8], &session[8..12], &session[12..16], &session[16..20], &session[20..]]
                    .join("-");
            let end = tape.now + HOUR;
            while tape.now < end {
                let name = match tape.random.below(5) {
                    0 => format!("{session}.session.app-insight.example"),
                    1 => format!(
                        "{}.rum.page-speed.example",
                        tape.random.text("0123456789abcdefghijklmnopqrstuv", 10)
                    ),
                    _ => format!("{device}.mqtt.device-cloud.example"),
                };
                tape.lookup(name, rtype::A, &Answer::a([198, 51, 100, 91], 60));
                tape.now += tape.random.pause(200.0);
            }
        }
    }
}

/// A controller that looks for each of four hundred hosts by a name that holds its address, and for services and nodes in
/// a registry.
pub(super) fn fleet(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 90);
    let hosts: Vec<_> = (0..400).map(|_| (tape.random.below(64), tape.random.below(256))).collect();
    for round in 0..8 {
        tape.now = f64::from(round) * 1800.0;
        for (third, fourth) in &hosts {
            let name = format!("ip-10-40-{third}-{fourth}.eu-west-1.compute.internal");
            tape.lookup(name, rtype::A, &Answer::a([10, 40, *third as u8, *fourth as u8], 60));
            tape.now += tape.random.pause(0.5);
        }
        for index in 0..60 {
            let name = format!("{:08x}.node.dc1.consul", 0x51a3_0000_u32 + index * 7919);
            tape.lookup(name, rtype::A, &Answer::a([10, 40, 0, index as u8], 0));
            tape.lookup(
                format!("{}.service.consul", words::all()[index as usize]),
                rtype::SRV,
                &Answer::nxdomain(),
            );
            tape.now += tape.random.pause(1.0);
        }
    }
    // The sensor of each host, by its own name.
    for client in 0..60 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 60.0);
        while tape.now < 4.0 * HOUR {
            let name =
                format!("ws-{:04}-{}.agents.fleet-watch.example", 1000 + client * 13, words::all()[client]);
            tape.lookup(name, rtype::A, &Answer::a([10, 30, 1, 1], 60));
            tape.now += tape.random.between(290.0, 310.0);
        }
    }
}

/// The same hosts one after the other, as a monitor knows them.
pub(super) fn numbered_hosts(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 91);
    for round in 0..12 {
        tape.now = f64::from(round) * 600.0;
        for host in 0..300_u32 {
            let address = Ipv4Addr::from(0x0a28_0000 + host);
            tape.lookup(format!("client{host:03}.corp.example"), rtype::A, &Answer::a(address, 300));
            tape.now += tape.random.between(0.05, 0.5);
        }
    }
}

/// A host that measures which mirror is near, and takes packages from it.
pub(super) fn mirrors(tape: &mut Tape) {
    for client in 0..10 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 1200.0);
        tape.lookup("_http._tcp.deb.distro-mirror.example", rtype::SRV, &Answer::nxdomain());
        for index in 0..120 {
            let zone = words::registered(&mut tape.random);
            let country = ["de", "fr", "no", "us", "jp", "br"][index % 6];
            let name = match index % 3 {
                0 => format!("ftp{}.{country}.distro-mirror.example", index / 6),
                1 => format!("mirror.{zone}.example"),
                _ => format!("{country}.mirrors.{zone}.example"),
            };
            let address = public(&mut tape.random);
            tape.lookup(name, rtype::A, &Answer::a(address, 3600));
            tape.now += tape.random.between(0.01, 0.3);
        }
        for _ in 0..200 {
            let name =
                ["registry.packages.example", "ftp4.de.distro-mirror.example", "proxy.modules.example"];
            let name = name[tape.random.below(3)];
            tape.lookup(name, rtype::A, &Answer::a([198, 51, 100, 66], 60));
            tape.now += tape.random.pause(30.0);
        }
    }
}

/// Certificates for two hundred names: the challenge is looked for until everybody has it; half of them point to a zone
/// that answers for them, under an identity.
pub(super) fn challenges(tape: &mut Tape) {
    tape.client = Ipv4Addr::new(10, 20, 0, 92);
    for _ in 0..200 {
        let zone =
            format!("{}.{}.example", words::host(&mut tape.random), words::registered(&mut tape.random));
        let name = format!("_acme-challenge.{zone}");
        let token = base64url(&tape.random.bytes(32));
        for _ in 0..3 {
            tape.lookup(name.as_str(), rtype::TXT, &Answer::nxdomain());
            tape.now += 5.0;
        }
        if tape.random.chance(0.5) {
            let identity = format!("{}.auth.challenge-host.example", hex(&tape.random.bytes(16)));
            let alias = Name::from(identity.as_str());
            tape.lookup(name.as_str(), rtype::CNAME, &Answer::of(rtype::CNAME, 300, alias.as_bytes()));
            // Nobody knows the identity before the answer.
            tape.now += 0.2;
            tape.lookup(identity, rtype::TXT, &Answer::txt(&token, 1));
        }
        tape.lookup(name.as_str(), rtype::TXT, &Answer::txt(&token, 60));
        tape.lookup(zone, 257, &Answer::no_data());
        tape.now += tape.random.pause(40.0);
    }
}

/// Names whose addresses are others each time, by design: clocks of volunteers, content networks.
pub(super) fn pools(tape: &mut Tape) {
    let pool: Vec<_> = (0..400).map(|_| public(&mut tape.random)).collect();
    for client in 0..20 {
        tape.be(client);
        tape.now = tape.random.between(0.0, 100.0);
        while tape.now < 6.0 * HOUR {
            let name =
                ["0.pool.time-keepers.example", "2.pool.time-keepers.example", "www.video-portal.example"];
            let name = name[tape.random.below(3)];
            let mut answer = Answer::default();
            for _ in 0..4 {
                answer = answer.and(rtype::A, 60, pool[tape.random.below(pool.len())].octets());
            }
            tape.lookup(name, rtype::A, &answer);
            tape.now += tape.random.pause(200.0);
        }
    }
}
