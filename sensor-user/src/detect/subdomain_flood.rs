//! Random-subdomain attack (water torture): one client or many ask for names of a victim's zone that nobody has asked
//! for, so that no cache answers and the zone's servers break down.
//!
//! Told from a leak by what it looks like from both ends: short names, each asked for once, hundreds in a minute, and
//! hardly an answer: none, SERVFAIL or NXDOMAIN. Who takes data out needs an answer, or at least a server that lives, and
//! long names. The ledger's finding on such a zone stays beside this one, since a flood can hide a leak. Enumeration asks
//! for names that somebody may have thought of, and is answered.

use super::addresses::Few;
use super::seen::Seen;
use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::canonical;
use crate::finding::Bounds;
use crate::logged::Lookup;
use crate::model::{label_cost, label_cost_at_random};
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct SubdomainFlood {
    names: u32,
    window_ns: u64,
    /// Queries of late, by the low bits of zones' hashes: only busy zones are looked at.
    heat: Vec<Heat>,
    zones: Table<u64, Flooded>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heat {
    /// Number of the window.
    window: u32,
    queries: u32,
}

/// Places for the heat of zones, and queries within a window from which on a zone is looked at.
const HEAT: usize = 4096;
const WARM: u32 = 64;

/// One zone within a window.
#[derive(Debug, Default)]
struct Flooded {
    since_ns: u64,
    last_ns: u64,
    first_ns: u64,
    /// New names asked for, and the bytes below the zone.
    names: u32,
    sub_bytes: u64,
    name_bytes: u64,
    /// Names whose first label is likelier random than thought of.
    random: u32,
    /// NXDOMAIN; other errors; answers.
    absent: u32,
    failed: u32,
    answered: u32,
    clients: Few,
    seen: Seen<64>,
}

impl Remembered for Flooded {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.names), self.last_ns)
    }
}

/// Bytes below the zone that a name has on average at most: tunnels fill theirs.
const MEAN_SUB_BYTES: u64 = 24;
/// Characters of a label that tell whether it is random.
const TELLING: usize = 24;
/// Of a hundred new names, so many at most get an answer...
const ANSWERED_PERCENT: u32 = 10;
/// ... and so many at least nothing at all or an error of the server, or random labels.
const BROKEN_PERCENT: u32 = 50;

impl SubdomainFlood {
    pub const RULE: &str = "dns-subdomain-flood";

    pub fn new(config: &Config) -> Self {
        let settings = &config.subdomain_flood;
        Self {
            names: settings.names as u32,
            window_ns: settings.window_s * 1_000_000_000,
            heat: vec![Heat::default(); HEAT],
            zones: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for SubdomainFlood {
    fn worst_case_bytes(config: &Config) -> usize {
        let keys = config.subdomain_flood.max_keys as usize;
        HEAT * size_of::<Heat>() + Table::<u64, Flooded>::bytes(keys) + keys * Seen::<64>::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { heat, zones, .. } = std::mem::replace(self, Self::new(config));
        self.heat = heat;
        self.zones = zones;
    }

    fn evicted(&self) -> u64 {
        self.zones.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let below = look.sub_wire();
        if look.part != Lookup::First || look.zone.class != Class::Registered || below.is_empty() {
            return;
        }
        let now_ns = look.now_ns();
        let heat = &mut self.heat[look.zone_hash as usize % HEAT];
        let window = (now_ns / self.window_ns) as u32;
        if heat.window != window {
            *heat = Heat { window, queries: 0 };
        }
        heat.queries += 1;
        if heat.queries < WARM.min(self.names) {
            return;
        }
        let zone = self.zones.open(look.zone_hash, Flooded::default);
        if now_ns.saturating_sub(zone.since_ns) > self.window_ns {
            let first_ns = if zone.names >= self.names { zone.first_ns } else { now_ns };
            *zone = Flooded { since_ns: now_ns, first_ns, ..Flooded::default() };
        }
        zone.last_ns = now_ns;
        if !zone.seen.is_new(look.name_hash) {
            return;
        }
        let label = look.name.label(0);
        let label = &label[..label.len().min(TELLING)];
        zone.names += 1;
        zone.sub_bytes += below.len() as u64;
        zone.name_bytes += look.name.wire().len() as u64;
        zone.random += u32::from(label_cost(label) > label_cost_at_random(label));
        zone.clients.add(look.client);
        if zone.names >= self.names && zone.is_attack() {
            self.tell(look, cases);
        }
    }

    fn response(&mut self, look: &Look<'_>, _: &mut Cases<'_, '_>) {
        let Some(zone) = self.zones.find(look.zone_hash) else { return };
        match (look.message.rcode(), look.message.header.counts[1]) {
            (0, 1..) => zone.answered += 1,
            (0, 0) => {}
            (3, _) => zone.absent += 1,
            _ => zone.failed += 1,
        }
    }
}

impl Flooded {
    fn is_attack(&self) -> bool {
        let silent = self.names.saturating_sub(self.answered + self.absent + self.failed);
        let share =
            |part: u32, percent: u32| u64::from(part) * 100 >= u64::from(self.names) * u64::from(percent);
        !share(self.answered, ANSWERED_PERCENT)
            && self.sub_bytes <= u64::from(self.names) * MEAN_SUB_BYTES
            && (share(silent + self.failed, BROKEN_PERCENT) || share(self.random, BROKEN_PERCENT))
    }
}

impl SubdomainFlood {
    fn tell(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let Some(zone) = self.zones.find(look.zone_hash) else { return };
        let bound = self.names;
        let seconds = (look.now_ns().saturating_sub(zone.since_ns) / 1_000_000_000).max(1);
        let window_s = self.window_ns / 1_000_000_000;
        let Flooded { names, absent, failed, answered, clients, .. } = *zone;
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::zone(look.zone_hash, Self::RULE),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::RESPONSE,
            name: "unanswered_names",
            weight: f64::from(names) / f64::from(bound),
            figures: Figures {
                first_ns: zone.first_ns,
                queries: u64::from(names),
                responses: u64::from(absent + failed + answered),
                name_bytes: zone.name_bytes,
                up: Bounds::default(),
                down: Bounds::default(),
            },
            quiet_s: window_s * 10,
            say: &|| Said {
                does: format!(
                    "is flooded with names that nobody asked for before: {} in {seconds} s, an attack on the zone \
                     rather than a leak",
                    thousands(names.into())
                ),
                observed: format!(
                    "{} new names of {} bytes each on average from {} in {seconds} s: {answered} answered, {absent} do \
                     not exist, {failed} failed",
                    thousands(names.into()),
                    zone.sub_bytes / u64::from(names.max(1)),
                    match clients.count() {
                        1 => "one client".to_owned(),
                        count => format!("{count} clients or more"),
                    },
                ),
                baseline: format!("{bound} in {window_s} s, or an answer to one in {}", 100 / ANSWERED_PERCENT),
                counterfactual: format!(
                    "Had fewer than {bound} new names below {} been asked for within {window_s} s, or {ANSWERED_PERCENT} % \
                     of them been answered, there would be no finding.",
                    canonical::text(look.zone_wire())
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
    use crate::pipeline::bench::Bench;

    fn label(n: u64) -> String {
        let mut hash = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..9)
            .map(|_| {
                hash = hash.rotate_left(7).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                char::from(b'a' + (hash >> 33) as u8 % 26)
            })
            .collect()
    }

    #[test]
    fn a_flood_from_many_clients_is_one_finding_of_its_zone() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..2000 {
            bench.wait(0.02);
            let client = format!("10.0.0.{}", 2 + n % 30);
            let name = format!("{}.example.com", label(n));
            bench.query(&client, &name, 1);
            if n % 3 == 0 {
                bench.answer(&client, &name, 1, 2, &[]);
            }
        }
        bench.finish();
        let created = bench.created_by(SubdomainFlood::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!((created[0].severity, created[0].scope), (Severity::Low, Scope::Zone));
        assert!(created[0].title.starts_with("example.com is flooded"), "{}", created[0].title);
    }

    #[test]
    fn tunnels_and_busy_zones_are_none() {
        let mut bench = Bench::new(&Config::default());
        let answer: &[(u16, u32, &[u8])] = &[(1, 60, &[192, 0, 2, 1])];
        for n in 0..2000 {
            bench.wait(0.02);
            bench.look_up("10.0.0.2", &format!("{}.cdn.example.com", label(n)), 1, 0, answer);
            let long = format!("{}{}{}{}.t.example.net", label(n), label(n + 1), label(n + 2), label(n + 3));
            bench.query("10.0.0.3", &long, 1);
            bench.query("10.0.0.4", &format!("{}.example.org", label(n % 50)), 1);
        }
        bench.finish();
        assert!(bench.created_by(SubdomainFlood::RULE).is_empty(), "{:#?}", bench.found);
    }
}
