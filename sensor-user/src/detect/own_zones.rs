//! Zones of one's own: other name servers, another TTL, somebody else who answers, addresses elsewhere.
//!
//! A hijack at the registrar or a poisoned cache shows in answers before it shows at home. Name servers are those of the
//! configuration, or those seen while learning; so are the TTL of their records and the servers that answer with
//! authority. Of TTLs only the highest within a stretch counts, since caches show every lower one. Medium alone: owners
//! know of their own changes.

use std::net::IpAddr;

use super::addresses::addresses;
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::config::list::Network;
use crate::dns::{Canonical, Record, canonical, rtype};
use crate::finding::time;
use crate::logged::Lookup;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct OwnZones {
    zones: Vec<Watched>,
    addresses: Vec<Network>,
    learn_ns: u64,
    ttl_factor: u32,
    left_out: u64,
}

#[derive(Debug)]
struct Watched {
    zone: Canonical,
    since_ns: u64,
    /// Configured, so that nothing is learned.
    given: bool,
    name_servers: Vec<Box<[u8]>>,
    /// Servers that answered with authority.
    servers: Vec<IpAddr>,
    /// Highest TTL of the name servers' records while learning, seconds.
    ttl: u32,
    /// The highest since the start of this stretch.
    stretch: (u64, u32),
    figures: Figures,
}

/// Name servers and servers learned for each zone: a zone has at most thirteen in a small message.
const MAX_LEARNED: usize = 16;
/// Beside the configured 1,024 zones at most.
const WATCHED_BYTES: usize = 1024 + 2 * MAX_LEARNED * 256;
/// Longer than the old TTL, so that every cache has asked anew.
const STRETCH_SLACK_NS: u64 = 600_000_000_000;
const QUIET_S: u64 = 3600;
const AUTHORITATIVE: u16 = 0x0400;

impl OwnZones {
    pub const RULE: &str = "dns-own-zone";

    pub fn new(config: &Config) -> Self {
        let settings = &config.own_zones;
        let name_servers: Vec<Box<[u8]>> =
            settings.name_servers.iter().map(|text| Canonical::from_text(text).wire().into()).collect();
        let watched = |text: &String| Watched {
            zone: Canonical::from_text(text),
            since_ns: 0,
            given: !name_servers.is_empty(),
            name_servers: name_servers.clone(),
            servers: Vec::new(),
            ttl: 0,
            stretch: (0, 0),
            figures: Figures::default(),
        };
        Self {
            zones: settings.zones.iter().map(watched).collect(),
            addresses: settings.addresses.iter().filter_map(|text| Network::parse(text)).collect(),
            learn_ns: settings.learn_s * 1_000_000_000,
            ttl_factor: settings.ttl_factor as u32,
            left_out: 0,
        }
    }
}

impl Detector for OwnZones {
    fn worst_case_bytes(config: &Config) -> usize {
        config.own_zones.zones.len() * WATCHED_BYTES
    }

    fn retune(&mut self, config: &Config) {
        let Self { zones, left_out, .. } = std::mem::replace(self, Self::new(config));
        for old in zones {
            let same = |new: &&mut Watched| {
                new.zone.wire() == old.zone.wire()
                    && new.given == old.given
                    && (!old.given || new.name_servers == old.name_servers)
            };
            // What was learned of a zone goes on, unless it is told now.
            if let Some(new) = self.zones.iter_mut().find(same) {
                *new = old;
            }
        }
        self.left_out = left_out;
    }

    fn evicted(&self) -> u64 {
        self.left_out
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        // What nobody asked for says nothing but in a capture of one direction.
        if self.zones.is_empty() || look.part == Lookup::Duplicate {
            return;
        }
        for at in 0..self.zones.len() {
            let zone = &self.zones[at].zone;
            if look.name.suffix(zone.labels()) == zone.wire() {
                self.answered(at, look, cases);
            }
        }
    }
}

/// What is different about an answer.
struct Shift {
    name: &'static str,
    weight: f64,
    does: String,
    observed: String,
    baseline: String,
}

impl OwnZones {
    fn answered(&mut self, at: usize, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let now_ns = look.now_ns();
        let Self { zones, addresses, learn_ns, ttl_factor, left_out } = self;
        let watched = &mut zones[at];
        if watched.figures.first_ns == 0 {
            (watched.since_ns, watched.figures.first_ns) = (now_ns, now_ns);
        }
        watched.figures.responses += 1;
        let learns = now_ns.saturating_sub(watched.since_ns) <= *learn_ns;
        let mut shifts = watched.name_servers(look, learns, *ttl_factor, left_out);
        shifts.extend(watched.answered_by(look, learns, left_out));
        shifts.extend(elsewhere(look, addresses));
        let zone = &watched.zone;
        for Shift { name, weight, does, observed, baseline } in shifts {
            cases.raise(&Signal {
                rule: Self::RULE,
                case: Case::zone(look.zone_hash, Self::RULE),
                zone: zone.wire(),
                class: Class::Registered,
                family: family::RESPONSE,
                name,
                weight,
                figures: watched.figures,
                quiet_s: QUIET_S,
                say: &|| Said {
                    does: does.clone(),
                    observed: format!(
                        "{observed}, to {} at {}",
                        look.packet.client_server().0.ip(),
                        time(now_ns)
                    ),
                    baseline: baseline.clone(),
                    counterfactual: format!(
                        "Had answers for {zone} been as before, there would be no finding."
                    ),
                    samples: vec![look.name.to_string()],
                    tool: None,
                },
            });
        }
    }
}

impl Watched {
    fn name_servers(&mut self, look: &Look<'_>, learns: bool, factor: u32, left_out: &mut u64) -> Vec<Shift> {
        let is_own = |record: &Record<'_>| {
            record.rtype == rtype::NS && Canonical::new(record.name).wire() == self.zone.wire()
        };
        let mut unknown = Vec::new();
        let (mut known, mut ttl) = (0, None);
        for record in look.message.records().filter(is_own).take(MAX_LEARNED) {
            let Some(target) = record.target().map(Canonical::new) else { continue };
            ttl = ttl.max(Some(record.ttl));
            if self.name_servers.iter().any(|server| **server == *target.wire()) {
                known += 1;
            } else {
                unknown.push(target);
            }
        }
        let Some(ttl) = ttl else { return Vec::new() };
        let now_ns = look.now_ns();
        let mut shifts = Vec::new();
        if learns && !self.given {
            for target in unknown.drain(..) {
                if self.name_servers.len() < MAX_LEARNED {
                    self.name_servers.push(target.wire().into());
                } else {
                    *left_out += 1;
                }
            }
        }
        if !unknown.is_empty() {
            let names: Vec<_> = unknown.iter().map(ToString::to_string).collect();
            let expected: Vec<_> = self.name_servers.iter().map(|name| canonical::text(name)).collect();
            let (names, expected) = (names.join(", "), expected.join(", "));
            shifts.push(Shift {
                name: "other_name_servers",
                weight: if known == 0 { 2.0 } else { 1.0 },
                does: format!("has other name servers: {names}"),
                observed: format!("name servers {names} for {}", self.zone),
                baseline: if expected.is_empty() { "none".to_owned() } else { expected },
            });
        }
        if learns {
            self.ttl = self.ttl.max(ttl);
            self.stretch = (now_ns, 0);
            return shifts;
        }
        let (since_ns, highest) = &mut self.stretch;
        *highest = (*highest).max(ttl);
        let is_over =
            now_ns.saturating_sub(*since_ns) > u64::from(self.ttl) * 1_000_000_000 + STRETCH_SLACK_NS;
        let highest_now = *highest;
        if is_over {
            self.stretch = (now_ns, 0);
        }
        let rose = self.ttl > 0 && ttl > self.ttl.saturating_mul(factor);
        let fell = is_over && highest_now.saturating_mul(factor) < self.ttl;
        if rose || fell {
            shifts.push(Shift {
                name: "name_server_ttl",
                weight: 1.0,
                does: format!("has name servers with another TTL: {highest_now} s"),
                observed: format!("a TTL of {highest_now} s at most for the name servers of {}", self.zone),
                baseline: format!("{} s", self.ttl),
            });
        }
        shifts
    }

    /// Servers that answer with authority; resolvers do not.
    fn answered_by(&mut self, look: &Look<'_>, learns: bool, left_out: &mut u64) -> Option<Shift> {
        let server = look.packet.client_server().1.ip();
        let header = look.message.header;
        if header.flags & AUTHORITATIVE == 0 || header.rcode() != 0 || self.servers.contains(&server) {
            return None;
        }
        if learns {
            if self.servers.len() < MAX_LEARNED {
                self.servers.push(server);
            } else {
                *left_out += 1;
            }
            return None;
        }
        // Nobody answered with authority while this was learned: the sensor stands where that is not seen.
        let known: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
        (!known.is_empty()).then(|| Shift {
            name: "other_authority",
            weight: 1.0,
            does: format!("is answered for with authority by {server}"),
            observed: format!("{server} answered with authority for {}", self.zone),
            baseline: known.join(", "),
        })
    }
}

/// Addresses outside the configured networks.
fn elsewhere(look: &Look<'_>, networks: &[Network]) -> Option<Shift> {
    if networks.is_empty() || look.message.header.rcode() != 0 {
        return None;
    }
    let is_outside = |ip: &IpAddr| !networks.iter().any(|network| network.contains(*ip));
    let (ip, _) = addresses(look.message).find(|(ip, _)| is_outside(ip))?;
    Some(Shift {
        name: "address_elsewhere",
        weight: 1.0,
        does: format!("has an address outside its networks: {ip}"),
        observed: format!("{} has the address {ip}", look.name),
        baseline: "addresses in own_zones.addresses".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity};
    use crate::pipeline::bench::Bench;

    const NS1: &[u8] = b"\x03ns1\x04home\x07example\0";
    const NS2: &[u8] = b"\x03ns2\x04home\x07example\0";
    const EVIL: &[u8] = b"\x03ns1\x04evil\x07example\0";

    fn bench(change: impl FnOnce(&mut crate::config::OwnZones)) -> Bench {
        let mut config = Config::default();
        config.own_zones.zones = vec!["corp.example".to_owned()];
        change(&mut config.own_zones);
        Bench::new(&config)
    }

    fn answer(bench: &mut Bench, ttl: u32, servers: &[&[u8]]) {
        bench.wait(1800.0);
        let records: Vec<_> = servers.iter().map(|server| (2, ttl, *server)).collect();
        bench.look_up("10.0.0.2", "corp.example", 2, 0, &records);
        bench.look_up("10.0.0.2", "other.example", 2, 0, &[(2, 60, EVIL)]);
    }

    #[test]
    fn learned_name_servers_that_change_are_medium() {
        let mut bench = bench(|_| ());
        (0..100).for_each(|n| answer(&mut bench, 3600 - n % 10 * 300, &[NS1, NS2]));
        assert!(bench.found.is_empty(), "{:#?}", bench.found);
        answer(&mut bench, 3600, &[EVIL]);
        let created = bench.created_by(OwnZones::RULE);
        assert_eq!(created.len(), 1);
        assert_eq!((created[0].severity, created[0].scope), (Severity::Medium, Scope::Zone));
        assert_eq!(created[0].zone.as_deref(), Some("corp.example"));
        assert!(created[0].evidence[0].weight > 1.9, "none of the known ones");
        assert!(created[0].title.starts_with("corp.example has other name servers"), "{}", created[0].title);
    }

    #[test]
    fn configured_name_servers_need_no_learning() {
        let mut bench = bench(|own| own.name_servers = vec!["ns1.home.example".to_owned()]);
        answer(&mut bench, 3600, &[NS1]);
        assert!(bench.found.is_empty());
        answer(&mut bench, 3600, &[NS1, NS2]);
        assert_eq!(bench.created_by(OwnZones::RULE).len(), 1);
    }

    #[test]
    fn a_ttl_that_falls_for_good_is_told_and_a_cache_that_counts_down_is_not() {
        let mut bench = bench(|_| ());
        (0..200).for_each(|n| answer(&mut bench, 3600 - n * 1700 % 3600, &[NS1]));
        assert!(bench.found.is_empty(), "{:#?}", bench.found);
        (0..5).for_each(|_| answer(&mut bench, 60, &[NS1]));
        assert_eq!(bench.created_by(OwnZones::RULE)[0].evidence[0].name, "name_server_ttl");
    }

    #[test]
    fn addresses_elsewhere_are_told() {
        let mut bench = bench(|own| own.addresses = vec!["192.0.2.0/24".to_owned()]);
        bench.look_up("10.0.0.2", "www.corp.example", 1, 0, &[(1, 60, &[192, 0, 2, 7])]);
        assert!(bench.found.is_empty());
        bench.look_up("10.0.0.2", "www.corp.example", 1, 0, &[(1, 60, &[203, 0, 113, 7])]);
        assert_eq!(bench.created_by(OwnZones::RULE)[0].evidence[0].name, "address_elsewhere");
    }
}
