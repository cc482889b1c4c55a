//! Fast flux: one name whose addresses are others each time it is asked for, all over the world, so that none can be taken
//! away.
//!
//! Content networks and volunteers' pools also answer with changing addresses of short TTL. But theirs are some hundreds,
//! which come back, or are of few networks; and many clients ask. What is counted is one name's addresses that have not
//! been given before, over the networks (/16, or /32 of IPv6) that they are of. With one address to an answer, each an
//! other one without end, fewer are enough: nothing is served from such addresses. That is what DNS calculation looks like
//! too, where a program makes a port or address from the octets; whether anything connects to them is not seen here.
//!
//! Limit: a pool of many thousands with one client that asks every few minutes looks like this.

use super::addresses::{Few, addresses, network, print};
use super::seen::Seen;
use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::rtype;
use crate::finding::Bounds;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct FastFlux {
    addresses: u32,
    single_addresses: u32,
    ttl_threshold: u32,
    window_ns: u64,
    /// What a name was last answered with, by the low bits of its hash: most names never move, and need no more.
    firsts: Vec<First>,
    names: Table<u64, Name>,
}

#[derive(Clone, Copy, Debug, Default)]
struct First {
    name: u32,
    network: u32,
}

/// A name that has moved to another network.
#[derive(Debug, Default)]
struct Name {
    since_ns: u64,
    last_ns: u64,
    answers: u32,
    /// Addresses given for the first time, and again.
    new: u32,
    known: u32,
    /// Answers with more than one address.
    several: u32,
    last: u64,
    networks: Networks,
    clients: Few,
    seen: Seen<32>,
}

/// Different networks, by bits set: up to some 500 are told apart.
#[derive(Debug, Default)]
struct Networks([u64; 8]);

impl Networks {
    fn add(&mut self, network: u32) {
        let bit = (network.wrapping_mul(0x9e37_79b1) >> 23) as usize;
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

impl Remembered for Name {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.new), self.last_ns)
    }
}

/// Of a hundred addresses, so many at most have been given before: of 200 drawn from 5,000, that many come back.
const KNOWN_PERCENT: u32 = 2;
/// Clients that ask, at most: a pool or a portal has many, a master its few.
const CLIENTS: u32 = 8;
/// Of a hundred addresses, networks at least.
const NETWORKS_PERCENT: u32 = 50;
/// Names whose first network is remembered.
const FIRSTS: usize = 4096;

impl FastFlux {
    pub const RULE: &str = "dns-fast-flux";

    pub fn new(config: &Config) -> Self {
        let settings = &config.fast_flux;
        Self {
            addresses: settings.addresses as u32,
            single_addresses: settings.single_addresses as u32,
            ttl_threshold: settings.ttl_threshold as u32,
            window_ns: settings.window_s * 1_000_000_000,
            firsts: vec![First::default(); FIRSTS],
            names: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for FastFlux {
    fn worst_case_bytes(config: &Config) -> usize {
        let keys = config.fast_flux.max_keys as usize;
        FIRSTS * size_of::<First>() + Table::<u64, Name>::bytes(keys) + keys * Seen::<32>::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { firsts, names, .. } = std::mem::replace(self, Self::new(config));
        self.firsts = firsts;
        self.names = names;
    }

    fn evicted(&self) -> u64 {
        self.names.evicted
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let answers = look.message.header.counts[1];
        if answers == 0
            || !matches!(look.qtype, rtype::A | rtype::AAAA)
            || look.zone.class != Class::Registered
        {
            return;
        }
        let Some((first, ttl)) = addresses(look.message).next() else { return };
        if ttl > self.ttl_threshold {
            return;
        }
        let hash = look.name_hash ^ u64::from(look.qtype);
        let slot = &mut self.firsts[hash as usize % FIRSTS];
        let now = First { name: (hash >> 32) as u32, network: network(first) };
        let before = std::mem::replace(slot, now);
        let name = if before.name == now.name && before.network != now.network {
            self.names.open(hash, Name::default)
        } else if let Some(name) = self.names.find(hash) {
            name
        } else {
            return;
        };
        let now_ns = look.now_ns();
        if now_ns.saturating_sub(name.since_ns) > self.window_ns {
            *name = Name { since_ns: now_ns, ..Name::default() };
        }
        name.take(look, now_ns);
        if name.new >= self.single_addresses {
            self.judge(hash, look, cases);
        }
    }
}

impl Name {
    fn take(&mut self, look: &Look<'_>, now_ns: u64) {
        self.last_ns = now_ns;
        self.answers += 1;
        self.clients.add(look.client);
        let mut count = 0;
        for (ip, _) in addresses(look.message) {
            count += 1;
            let print = print(ip);
            // What is kept for its TTL is given again.
            if std::mem::replace(&mut self.last, print) == print {
                continue;
            }
            if self.seen.is_new(print) {
                self.new += 1;
                self.networks.add(network(ip));
            } else {
                self.known += 1;
            }
        }
        self.several += u32::from(count > 1);
    }

    /// Whether its addresses never come back, are everywhere, and interest few.
    fn is_flux(&self, known_percent: u32) -> bool {
        let all = self.new + self.known;
        self.known * 100 <= all * known_percent
            && self.networks.count() * 100 >= self.new.min(NETWORKS_TOLD) * NETWORKS_PERCENT
            && self.clients.count() <= CLIENTS
    }
}

/// Networks from which on their bits are mostly set.
const NETWORKS_TOLD: u32 = 400;

impl FastFlux {
    fn judge(&mut self, hash: u64, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let Some(name) = self.names.find(hash) else { return };
        let single = name.several == 0;
        let (bound, known_percent) =
            if single { (self.single_addresses, 0) } else { (self.addresses, KNOWN_PERCENT) };
        if name.new < bound || !name.is_flux(known_percent) {
            return;
        }
        let Name { answers, new, known, since_ns, .. } = *name;
        let networks = name.networks.count();
        let ttl = self.ttl_threshold;
        let window_s = self.window_ns / 1_000_000_000;
        let minutes = look.now_ns().saturating_sub(since_ns) / 60_000_000_000;
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::zone(look.zone_hash, Self::RULE),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::RESPONSE,
            name: if single { "single_addresses" } else { "new_addresses" },
            weight: f64::from(new) / f64::from(bound),
            figures: Figures {
                first_ns: since_ns,
                queries: u64::from(answers),
                responses: u64::from(answers),
                name_bytes: 0,
                up: Bounds::default(),
                down: Bounds { low: 0, high: u64::from(new) * if look.qtype == rtype::A { 4 } else { 16 } },
            },
            quiet_s: window_s / 4,
            say: &|| Said {
                does: format!(
                    "moves all the time: {} gave {} addresses in {minutes} min, of {networks} networks or more, which \
                     hardly come back",
                    look.name,
                    thousands(new.into())
                ),
                observed: format!(
                    "{} addresses in {answers} answers, {known} of them given again; {networks} networks or more; TTL at \
                     most {ttl} s; asked by {} or more",
                    thousands(new.into()),
                    match name.clients.count() {
                        1 => "one client".to_owned(),
                        count => format!("{count} clients"),
                    }
                ),
                baseline: format!(
                    "{bound} addresses in {window_s} s: pools and content networks have fewer, give them again, or are \
                     asked for by more than {CLIENTS} clients"
                ),
                counterfactual: format!(
                    "Had {} of its addresses come back, or had there been fewer than {bound} within {window_s} s, there \
                     would be no finding.",
                    (new + known) * known_percent / 100 + 1
                ),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity};
    use crate::pipeline::bench::{Answer, Bench};

    fn address(n: u32) -> [u8; 4] {
        let mixed = (n + 1).wrapping_mul(0x9e37_79b1);
        let mut octets = (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b).to_be_bytes();
        octets[0] = octets[0] % 190 + 20;
        octets
    }

    /// Five addresses of a population, every 90 seconds.
    fn flux(population: u32, clients: u32) -> Bench {
        let mut bench = Bench::new(&Config::default());
        let mut state = 7_u32;
        for n in 0..300 {
            bench.wait(90.0);
            let given: Vec<_> = (0..5)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    address((state >> 8) % population)
                })
                .collect();
            let answers: Vec<Answer<'_>> = given.iter().map(|ip| (rtype::A, 60, &ip[..])).collect();
            bench.look_up(&format!("10.0.0.{}", 2 + n % clients), "www.example.com", rtype::A, 0, &answers);
        }
        bench.finish();
        bench
    }

    #[test]
    fn addresses_without_end_are_found() {
        let bench = flux(10_000_000, 2);
        let created = bench.created_by(FastFlux::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!((created[0].severity, created[0].scope), (Severity::Low, Scope::Zone));
        assert_eq!(created[0].zone.as_deref(), Some("example.com"));
    }

    #[test]
    fn pools_and_content_networks_are_none() {
        for (population, clients) in [(400, 1), (4000, 1), (10_000_000, 40), (8, 3)] {
            let bench = flux(population, clients);
            assert!(bench.created_by(FastFlux::RULE).is_empty(), "{population} {clients} {:#?}", bench.found);
        }
    }

    #[test]
    fn one_address_an_answer_that_never_comes_back_is_found() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..60_u32 {
            bench.wait(1800.0);
            let ip = address(n);
            bench.look_up("10.0.0.2", "a.example.com", rtype::A, 0, &[(rtype::A, 30, &ip)]);
            // A host at home, whose provider gives it another address of its own now and then.
            let home = [84, 133, (n / 8 * 37) as u8, 9];
            bench.look_up("10.0.0.3", "home.example.net", rtype::A, 0, &[(rtype::A, 60, &home)]);
            // One of twenty sites each time.
            let site = address(n * 7 % 20);
            bench.look_up("10.0.0.4", "cdn.example.org", rtype::A, 0, &[(rtype::A, 20, &site)]);
        }
        bench.finish();
        let zones: Vec<_> =
            bench.created_by(FastFlux::RULE).iter().map(|f| f.zone.clone().unwrap()).collect();
        assert_eq!(zones, ["example.com"], "{:#?}", bench.found);
    }
}
