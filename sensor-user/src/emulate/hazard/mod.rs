//! Honest traffic that detectors are easily wrong about, at the rates at which it is met: answers included, made from
//! public descriptions; zones are invented. The same seed gives the same bytes.

mod antivirus;
mod directory;
mod machines;
mod mail;
mod many;
mod reverse;
mod web;

use crate::emulate::record::{Findings, Record};
use crate::emulate::{Made, Pace, Tape};

/// Findings of low severity that an active host may cause in an hour.
const LOW_PER_HOST_HOUR: f64 = 1.0;

/// One kind of traffic. Nothing of medium or higher may be said of it, and little of low.
#[derive(Clone, Copy, Debug)]
pub struct Hazard {
    pub name: &'static str,
    run: fn(&mut Tape),
}

const fn of(name: &'static str, run: fn(&mut Tape)) -> Hazard {
    Hazard { name, run }
}

pub const ALL: &[Hazard] = &[
    of("block lists", mail::block_lists),
    of("hash lists of a mail server", mail::hash_lists),
    of("mail policies and keys", mail::policies),
    of("spf macros", mail::macros),
    of("visitors by address", reverse::visitors),
    of("ip6.arpa nibbles", reverse::nibbles),
    of("browse domains", reverse::browse_domains),
    of("antivirus, hashes", antivirus::hashes),
    of("antivirus, codes", antivirus::codes),
    of("antivirus, shifted digits", antivirus::shifted_digits),
    of("directory log-on", directory::log_on),
    of("cluster search list", directory::cluster_search),
    of("suffix echo", directory::echo),
    of("browser probes", directory::probes),
    of("wpad and isatap", directory::discovery),
    of("service discovery", directory::services),
    of("office browsing", web::office),
    of("hundred hosts a page", web::heavy_pages),
    of("frame isolation hosts", web::frames),
    of("numbered caches", web::numbered_caches),
    of("hashed hosts", web::hashed_hosts),
    of("tenants of private suffixes", web::tenants),
    of("wildcard sites", web::wildcard_sites),
    of("service bindings", web::service_bindings),
    of("home servers", web::home_servers),
    of("verification texts", web::verification_texts),
    of("failing devices", machines::failing_devices),
    of("periodic agents", machines::periodic_agents),
    of("telemetry", machines::telemetry),
    of("fleet and registry", machines::fleet),
    of("numbered hosts", machines::numbered_hosts),
    of("package mirrors", machines::mirrors),
    of("acme challenges", machines::challenges),
    of("address pools", machines::pools),
    of("forwarder of fifty", many::forwarder),
    of("forty behind NAT", many::translated),
    of("validating resolver", many::resolver),
    of("crawler", many::crawler),
    of("load test", many::load_test),
    of("look-alike watch", many::look_alikes),
    of("content names", many::content_names),
];

/// What a detector made of honest traffic, and whether that is too much.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    pub findings: Findings,
    pub queries: u64,
    pub host_hours: u64,
    pub falls: Option<Falls>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Falls {
    /// Something of medium or higher.
    Alarmed,
    /// More of low than one an active host-hour.
    Noisy,
}

impl Falls {
    pub fn name(self) -> &'static str {
        match self {
            Self::Alarmed => "alarmed",
            Self::Noisy => "noisy",
        }
    }
}

impl Hazard {
    pub fn make(&self, seed: u64) -> Made {
        let mut tape = Tape::new(seed, self.name, Pace::default());
        (self.run)(&mut tape);
        tape.made()
    }
}

impl Judged {
    pub fn of(made: &Made, records: &[Record]) -> Self {
        let findings = Findings::of(records);
        let (queries, host_hours) = made.asked();
        let falls = if findings.medium_or_higher() > 0 {
            Some(Falls::Alarmed)
        } else {
            (findings.low as f64 > LOW_PER_HOST_HOUR * host_hours as f64).then_some(Falls::Noisy)
        };
        Self { findings, queries, host_hours, falls }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dns::Message;
    use crate::emulate::Datagram;
    use crate::emulate::tape::PAYLOAD_MAX;

    #[test]
    fn every_one_is_traffic_of_its_own_and_in_order() {
        let names: BTreeSet<_> = ALL.iter().map(|hazard| hazard.name).collect();
        assert_eq!(names.len(), ALL.len());
        for hazard in ALL {
            let made = hazard.make(1);
            let (queries, host_hours) = made.asked();
            assert!(
                (200..60_000).contains(&queries) && host_hours > 0,
                "{}: {queries} {host_hours}",
                hazard.name
            );
            assert!(made.moved.queries.is_empty(), "{}", hazard.name);
            // Those of each kind are alike: one in seven stands for them.
            for Datagram { payload, .. } in made.datagrams.iter().step_by(7) {
                let message = Message::parse(payload, payload.len());
                assert!(
                    message.anomalies.is_empty(),
                    "{}: {:?} {:?}",
                    hazard.name,
                    message.anomalies,
                    message.question
                );
                assert!(payload.len() <= PAYLOAD_MAX, "{}: {} bytes", hazard.name, payload.len());
            }
        }
    }

    #[test]
    fn a_seed_decides_every_byte() {
        for hazard in &ALL[..8] {
            let made = |seed| hazard.make(seed).datagrams;
            assert_eq!(made(1), made(1), "{}", hazard.name);
            assert_ne!(made(1), made(2), "{}", hazard.name);
        }
    }
}
