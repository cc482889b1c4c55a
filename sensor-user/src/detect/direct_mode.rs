//! Encoded labels in names without a zone: tunnels that talk straight to their server, as dnscat2 does without a domain.
//!
//! A tunnel that is its own name server needs no delegation, so the payload runs on into the top-level label, which then is
//! another in each query. Honest names without a zone are single labels (browsers' probes, mistyped words, machines of the
//! neighbourhood), addresses taken for names, and names with the rest of a search list behind them: those end in the same
//! few labels, and what stands before a search suffix has a zone of its own. Names count whose top-level label is new and
//! that have a label as improbable for host names as an encoding; the ledger bounds all others.

use std::hash::BuildHasher as _;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::Canonical;
use crate::logged::Lookup;
use crate::model::{self, UNIT};
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::{Class, Zone};

#[derive(Debug)]
pub struct DirectMode {
    bound_bits: u64,
    window_ns: u64,
    clients: Table<u64, Direct>,
}

/// What one client says in names without a zone.
#[derive(Debug, Default)]
struct Direct {
    since_ns: u64,
    last_ns: u64,
    /// Within the window that began at `since_ns`.
    names: u64,
    units: u64,
    /// Hashes of the last top-level labels.
    tops: [u64; 16],
}

impl Remembered for Direct {
    fn worth(&self) -> (u64, u64) {
        (self.units, self.last_ns)
    }
}

/// Top-level labels that must differ: an office has a name or two that look like nothing else.
const MIN_NAMES: u64 = 4;
/// Shortest label that is looked at: nine bytes of header and sequence in hexadecimal are 18.
const MIN_LABEL: usize = 12;
/// Longest that a single label of an honest machine gets: a UUID has 36 characters.
const MAX_MACHINE: usize = 40;
/// Bits a character from which on a label is no host name, in units; hexadecimal digits cost more than five.
const IMPROBABLE: u32 = 4 * UNIT;

impl DirectMode {
    pub const RULE: &str = "dns-direct-mode";

    pub fn new(config: &Config) -> Self {
        let settings = &config.direct_mode;
        Self {
            bound_bits: settings.outbound_dns_volume_bytes * 8 * u64::from(UNIT),
            window_ns: settings.time_window_s * 1_000_000_000,
            clients: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for DirectMode {
    fn worst_case_bytes(config: &Config) -> usize {
        Table::<u64, Direct>::bytes(config.direct_mode.max_keys as usize)
    }

    fn retune(&mut self, config: &Config) {
        let Self { clients, .. } = std::mem::replace(self, Self::new(config));
        self.clients = clients;
    }

    fn evicted(&self) -> u64 {
        self.clients.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.zone.class != Class::None || look.part != Lookup::First {
            return;
        }
        let Some(units) = payload(look.name) else { return };
        let now_ns = look.now_ns();
        let top = look.seed.hash_one(look.name.label(look.name.labels() - 1));
        let direct = self.clients.open(look.client, Direct::default);
        if direct.names == 0 || now_ns.saturating_sub(direct.since_ns) > self.window_ns {
            *direct = Direct { since_ns: now_ns, ..Direct::default() };
        }
        direct.last_ns = now_ns;
        if direct.tops.contains(&top) {
            return;
        }
        direct.tops.rotate_right(1);
        direct.tops[0] = top;
        direct.names += 1;
        direct.units += u64::from(units);
        if direct.names < MIN_NAMES || direct.units < self.bound_bits {
            return;
        }
        let (names, bytes) = (direct.names, direct.units / 8 / u64::from(UNIT));
        let seconds = now_ns.saturating_sub(direct.since_ns) / 1_000_000_000;
        let (window_s, bound) = (self.window_ns / 1_000_000_000, self.bound_bits / 8 / u64::from(UNIT));
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client_zone(look.key()),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::SHAPE,
            name: "direct_mode_bytes",
            weight: direct.units as f64 / self.bound_bits as f64,
            figures: Figures { first_ns: direct.since_ns, ..Figures::default() },
            quiet_s: window_s,
            say: &|| Said {
                does: format!("sends encoded names that no zone can hold, {} bytes so far", thousands(bytes)),
                observed: format!(
                    "{} names with encoded labels, each under a top-level label of its own that nobody can delegate, within {seconds} s: {} bytes",
                    thousands(names),
                    thousands(bytes)
                ),
                baseline: format!("{} such bytes in {window_s} s, in {MIN_NAMES} names", thousands(bound)),
                counterfactual: format!(
                    "Had fewer than {} bytes been in encoded names outside every zone within {window_s} s, there would \
                     be no finding.",
                    thousands(bound)
                ),
                samples: vec![look.name.to_string()],
                tool: (look.name.label(0) == b"dnscat").then_some("dnscat2"),
            },
        });
    }
}

/// What the encoded labels of a name without a zone hold, in units; `None` if there are none, or if an honest sender is
/// more likely.
fn payload(name: &Canonical) -> Option<u32> {
    let labels = name.labels();
    if labels == 0 || (labels == 1 && name.label(0).len() <= MAX_MACHINE) {
        return None;
    }
    let mut units = 0;
    let mut digits = true;
    for index in 0..labels {
        let label = name.label(index);
        digits &= label.iter().all(u8::is_ascii_digit);
        if label.len() < MIN_LABEL {
            continue;
        }
        let wire = &name.suffix(labels - index)[..=label.len()];
        let cost = model::static_cost(wire);
        if cost >= IMPROBABLE * label.len() as u32 {
            units += cost.min(model::alphabet_cost(wire));
        }
    }
    // What stands before the rest of a search list can be registered.
    let stands_before = || {
        let rest = Canonical::from_labels((0..labels - 1).map(|index| name.label(index)));
        Zone::is_registrable(&rest)
    };
    (units > 0 && !digits && (labels == 1 || !stands_before())).then_some(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity};
    use crate::pipeline::bench::Bench;

    /// Hexadecimal digits that look drawn at random.
    fn hex(n: u64, length: usize) -> String {
        let hash = |step: u64| (n * 1000 + step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ n;
        let all: String =
            (0..).map(|step| format!("{:016x}", hash(step).wrapping_mul(0xbf58_476d))).take(16).collect();
        all[..length].to_owned()
    }

    #[test]
    fn payload_without_a_zone_is_found_in_a_few_queries() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..10 {
            bench.wait(1.0);
            bench.look_up("10.0.0.2", &format!("dnscat.{}", hex(n, 34)), 16, 0, &[]);
        }
        bench.finish();
        let created = bench.created_by(DirectMode::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        let finding = created[0];
        assert_eq!((finding.severity, finding.scope), (Severity::Medium, Scope::NoZone));
        assert!(finding.queries <= 5, "{}", finding.queries);
        assert_eq!(finding.tool.as_deref(), Some("dnscat2"));
    }

    #[test]
    fn what_honest_hosts_ask_without_a_zone_is_left_alone() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..200 {
            bench.wait(3.0);
            let letters: String =
                hex(n, 15).bytes().map(|b| char::from(b'a' + b % 26)).take(7 + n as usize % 9).collect();
            let d = hex(n, 12);
            for name in [
                letters.clone(),
                "wpad".to_owned(),
                format!("desktop-{}", &d[..7]),
                format!("192.168.{}.{}", n % 8, n),
                format!("_ldap._tcp.pc{n}.site-{}", n % 3),
                format!("{d}-{d}.cloudfront.net.lab{}", n % 9),
                format!("web-{d}-{}.default.svc.k8s-prod-1", &d[..5]),
                format!("{}-{}", hex(n, 8), hex(n + 7, 12)),
            ] {
                bench.look_up("10.0.0.3", &name, 1, 3, &[]);
            }
        }
        bench.finish();
        assert!(bench.created_by(DirectMode::RULE).is_empty(), "{:#?}", bench.found);
    }
}
