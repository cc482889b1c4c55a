//! The tunnels once more: slower, among honest traffic, shared out, carried otherwise.

mod outcome;
mod plan;

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail};
use earthdog::event::Packet;
use earthdog_tests::derive::session::Sent;
use earthdog_tests::derive::{self, Random, Session, mix, names, spread, stretch, transport};

use crate::files::{File, Kind};
use crate::measure::first;
use crate::sensor::{Record, Sensor, Severity, is_below};
use crate::work;

pub(crate) use outcome::{Outcome, text};
use plan::{Job, Make};

/// What is derived from.
struct Material {
    tunnels: Vec<(String, Session)>,
    benign: Vec<Benign>,
}

struct Benign {
    file: String,
    packets: Vec<Packet>,
    hosts: Vec<mix::Host>,
    /// Findings of this traffic alone, as it is and behind a resolver: no tunnel's.
    own: BTreeSet<String>,
}

/// Everything that was replayed, in the order of the plan; and what could not be.
pub(crate) fn run(
    sensor: &Sensor,
    files: &[File],
    full: bool,
    seed: u64,
) -> Result<(Vec<Outcome>, Vec<String>)> {
    let material = material(sensor, files)?;
    if material.tunnels.is_empty() {
        bail!("no tunnel to derive from");
    }
    let jobs = plan::jobs(&material, full, seed);
    let results = work::each("derived", &jobs, |job| one(sensor, &material, job, seed));
    let mut outcomes = Vec::new();
    let mut errors = Vec::new();
    for (job, result) in jobs.iter().zip(results) {
        match result {
            Ok(outcome) => outcomes.extend(outcome),
            Err(error) => {
                let file = &material.tunnels[job.tunnel].0;
                errors.push(format!("{file}, {}: {error:#}", job.label(&material)));
            }
        }
    }
    Ok((outcomes, errors))
}

fn material(sensor: &Sensor, files: &[File]) -> Result<Material> {
    let read = |file: &File| derive::read(&file.path).with_context(|| format!("cannot read {}", file.name));
    let of = |kind| files.iter().filter(|file| file.kind == kind && !file.again).cloned().collect::<Vec<_>>();
    let mut tunnels = Vec::new();
    for file in of(Kind::Tunnel) {
        let session = Session::of(&read(&file)?).with_context(|| format!("{}: no queries", file.name))?;
        tunnels.push((file.name.clone(), session));
    }
    let benign = of(Kind::Benign);
    let benign = work::each("honest traffic", &benign, |file| {
        let packets = read(file)?;
        let mut own = BTreeSet::new();
        for traffic in [&packets, &mix::behind_resolver(&packets)] {
            own.extend(replay(sensor, traffic)?.into_iter().map(|record| record.id));
        }
        Ok(Benign { file: file.name.clone(), hosts: mix::hosts(&packets), packets, own })
    });
    let benign: Result<Vec<_>> = benign.into_iter().collect();
    // Without anyone who asks there is nobody to hide among.
    let benign = benign?.into_iter().filter(|benign| !benign.hosts.is_empty()).collect();
    Ok(Material { tunnels, benign })
}

/// `None` where this tunnel cannot be derived from like that.
fn one(sensor: &Sensor, material: &Material, job: &Job, seed: u64) -> Result<Option<Outcome>> {
    let (file, session) = &material.tunnels[job.tunnel];
    let Some((packets, sent)) = make(material, job, session, seed) else { return Ok(None) };
    let records = replay(sensor, &packets)?;
    let none = BTreeSet::new();
    let own = job.benign().map_or(&none, |index| &material.benign[index].own);
    let hit = first(&records, |record| !own.contains(&record.id) && is_of(record, &sent));
    let derivation = (job.label(material), job.is_wanted());
    Ok(Some(Outcome::new(derivation, file, job.host(material), &sent, hit)))
}

/// The packets to replay, and what the tunnel sent in them.
fn make(material: &Material, job: &Job, session: &Session, seed: u64) -> Option<(Vec<Packet>, Sent)> {
    let alone = |packets: Vec<Packet>| {
        let sent = Sent::by(&packets);
        Some((packets, sent))
    };
    let carried = |packets| Some((packets, Sent::by(&session.packets)));
    match job.make {
        Make::AsItIs => alone(session.packets.clone()),
        Make::Stretched(factor) => alone(stretch::stretch(session, factor)),
        Make::OverZones(count) => alone(spread::over_zones(session, count, seed)?),
        Make::OverClients(count) => alone(spread::over_clients(session, count)),
        Make::Tcp => carried(transport::over_tcp(&session.packets)),
        Make::Ipv6 => alone(transport::over_ipv6(&session.packets)),
        Make::Vlan => carried(transport::in_vlan(&session.packets, 42)),
        Make::Case => {
            let mut packets = session.packets.clone();
            for packet in &mut packets {
                packet.payload = names::randomise_case(&packet.payload, seed);
            }
            alone(packets)
        }
        Make::Diluted { benign, host } => {
            let (packets, sent) = diluted(&material.benign[benign], host, job, session, seed);
            Some((packets, sent))
        }
        Make::BehindResolver { benign, host } => {
            let (packets, mut sent) = diluted(&material.benign[benign], host, job, session, seed);
            let packets = mix::behind_resolver(&packets);
            sent.clients = packets.iter().map(|packet| packet.client_server().0.ip()).collect();
            Some((packets, sent))
        }
    }
}

fn diluted(benign: &Benign, host: usize, job: &Job, session: &Session, seed: u64) -> (Vec<Packet>, Sent) {
    let mut random = Random::of(seed, &format!("{} {} {host}", job.tunnel, benign.file));
    let moved = mix::move_to(&benign.hosts[host], &session.packets, &mut random);
    (mix::merge(&benign.packets, &moved), Sent::by(&moved))
}

/// Whether a finding speaks of this tunnel: of its zone, one above or below it, or of no zone but its client.
fn is_of(record: &Record, sent: &Sent) -> bool {
    let Some(zone) = &record.zone else {
        return record.client.ip.is_none_or(|ip| sent.clients.contains(&ip));
    };
    sent.zones.iter().any(|own| is_below(zone, own) || is_below(own, zone))
}

/// Findings of medium or higher.
fn replay(sensor: &Sensor, packets: &[Packet]) -> Result<Vec<Record>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("derived.pcap");
    fs::write(&path, derive::capture(packets)).with_context(|| format!("cannot write {}", path.display()))?;
    let mut records = sensor.findings(&path)?;
    records.retain(|record| record.severity >= Severity::Medium);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::tests::record;

    #[test]
    fn a_finding_is_the_tunnels_by_zone_or_client() {
        let mut sent = Sent::default();
        sent.zones.insert("tunnel.example".to_owned());
        sent.clients.insert("192.0.2.7".parse().unwrap());
        for (zone, of) in [
            (Some("tunnel.example"), true),
            (Some("t.tunnel.example"), true),
            (Some("nottunnel.example"), false),
            (Some("other.example"), false),
            (None, true),
        ] {
            assert_eq!(is_of(&record("a", 1, Severity::Medium, zone), &sent), of, "{zone:?}");
        }
        let mut other = record("a", 1, Severity::Medium, None);
        other.client.ip = Some("192.0.2.8".parse().unwrap());
        assert!(!is_of(&other, &sent));
    }
}
