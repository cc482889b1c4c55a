//! A leak shared out: one zone's over many clients, or one client's over many zones, each part below its own bound.
//!
//! *Over clients* ([`super::over_clients`]): what is new to a zone, whoever asks, in an account like the ledger's but over
//! all clients. It begins with the second client that asks; names that one client's finding speaks for are left out.
//! Clients share their names, so its bounds are a few times those of one, and grow with the clients.
//!
//! *Over zones*: names of one client that each look like random text rather than host names, each zone's up to a sixth of
//! the bound, so that one look-up service does not count for many. Who asks for others (resolvers, NAT, mail servers,
//! crawlers) is left out: what they ask is nobody's in particular, and each (client, zone) keeps its bound.

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::finding::Bounds as Bytes;
use crate::ledger::shape::Shape;
use crate::ledger::windows::Sums;
use crate::ledger::{Bounds, Span, Standing, Windows};
use crate::logged::Lookup;
use crate::model::{UNIT, static_cost_of};
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

/// Over zones.
#[derive(Debug)]
pub struct Spread {
    bounds: Bounds,
    clients: Table<u64, Rotation>,
}

/// Random-looking names of one client.
#[derive(Debug)]
struct Rotation {
    windows: Windows,
    /// Zones, by bits set.
    zones: u64,
    first_ns: u64,
    last_ns: u64,
    queries: u64,
    name_bytes: u64,
    units: u64,
    has_payload: bool,
}

impl Remembered for Rotation {
    fn worth(&self) -> (u64, u64) {
        (self.windows.sums(Span::Day).new_units, self.last_ns)
    }
}

/// By window, shortest first: so many hundredths of the configured bound of ten minutes.
const CLIENT_SCALE: [u64; 4] = [100, 100, 200, 800];
/// A zone's share of a client's bound.
const ZONE_SHARE: u64 = 6;
/// Zones at least.
const ZONES: u32 = 5;
/// Evidence of one name (see `Shape`), as a part of what is clear, and what it must say at least.
const LOOKS_RANDOM: f64 = 24.0 / 64.0;
const SAYS_LEAST: u64 = 40 * UNIT as u64;

impl Spread {
    pub const RULE: &str = "dns-leak-spread";

    pub fn new(config: &Config) -> Self {
        let settings = &config.spread;
        let bounds = scaled(settings.client_bound_bytes, CLIENT_SCALE);
        let never = [u64::MAX; 4];
        Self { bounds: Bounds::new(bounds, never, never), clients: Table::new(settings.max_keys as usize) }
    }
}

/// Hundredths of a bound, by window.
pub(super) fn scaled(bytes: u64, scale: [u64; 4]) -> [u64; 4] {
    scale.map(|by| (bytes / 100 * by + bytes % 100 * by / 100).max(1))
}

impl Spread {
    /// The client's account over all zones takes a query that looks random.
    fn over_zones(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let now_ns = look.now_ns();
        if look.role.asks_for_others() {
            return;
        }
        let Some(entry) = cases.entry(look.key()) else { return };
        let said = entry.last_units();
        if said < SAYS_LEAST {
            return;
        }
        // Of a name that goes beyond its zone's share, what is left of that: one long name to each zone is a leak too.
        let share = self.bounds.names(Span::TenMinutes) / ZONE_SHARE;
        let left =
            |span: Span, share: u64| share.saturating_sub(entry.window(span).units().saturating_sub(said));
        let counted = said.min(left(Span::TenMinutes, share)).min(left(Span::Day, share * 4));
        if counted < SAYS_LEAST {
            return;
        }
        let mut shape = Shape::default();
        static_cost_of(look.sub_wire(), &mut shape.listen());
        if shape.recognised().strength < LOOKS_RANDOM {
            return;
        }
        let rotation = self.clients.open(look.client, || Rotation::new(now_ns));
        rotation.windows.roll(now_ns);
        if rotation.windows.sums(Span::Day).new_names == 0 {
            *rotation = Rotation::new(now_ns);
        }
        rotation.last_ns = now_ns;
        rotation.has_payload |= cases.sighting().has_payload;
        rotation.windows.add(Sums { new_units: counted, new_names: 1, queries: 1, ..Sums::default() });
        rotation.zones |= 1 << (look.zone_hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
        rotation.queries += 1;
        rotation.name_bytes += look.sub_wire().len() as u64;
        rotation.units += said;
        let zones = rotation.zones.count_ones();
        let standing = Standing::of_names(&rotation.windows, &self.bounds);
        if zones < ZONES || !standing.is_over() {
            return;
        }
        let out = rotation.units / u64::from(UNIT) / 8;
        let figures = Figures {
            first_ns: rotation.first_ns,
            queries: rotation.queries,
            name_bytes: rotation.name_bytes,
            up: Bytes { low: out.min(rotation.name_bytes / 2), high: out },
            ..Figures::default()
        };
        let sample = look.name.to_string();
        let say = || Said {
            does: format!("is sending data out in DNS names, shared out over {zones} zones or more"),
            samples: vec![sample.clone()],
            ..words(&standing, &format!("to {zones} zones or more, in names that look like random text"))
        };
        let has_payload = rotation.has_payload;
        let signal = Signal {
            rule: Self::RULE,
            case: Case::client(look.client, Self::RULE),
            zone: &[],
            class: Class::Registered,
            family: family::INFORMATION,
            name: "new_client_bytes",
            weight: standing.weight(),
            figures,
            quiet_s: standing.span.map_or(0, Span::seconds),
            say: &say,
        };
        cases.raise_of_all(&signal, has_payload);
    }
}

impl Rotation {
    fn new(now_ns: u64) -> Self {
        Self {
            windows: Windows::new(now_ns),
            zones: 0,
            first_ns: now_ns,
            last_ns: now_ns,
            queries: 0,
            name_bytes: 0,
            units: 0,
            has_payload: false,
        }
    }
}

/// Evidence in words.
pub(super) fn words(standing: &Standing, place: &str) -> Said {
    let window_s = standing.span.map_or(0, Span::seconds);
    let bytes = |units: u64| thousands(units / u64::from(UNIT) / 8);
    let bound = bytes(standing.bound_units);
    Said {
        observed: format!(
            "{} new names within {window_s} s {place}, together as improbable for host names as {} random bytes",
            standing.new_names,
            bytes(standing.units)
        ),
        baseline: format!("{bound} such bytes in {window_s} s"),
        counterfactual: format!(
            "Had these names {place} been no more improbable than {bound} random bytes within {window_s} s, there would be no finding."
        ),
        ..Said::default()
    }
}

impl Detector for Spread {
    fn worst_case_bytes(config: &Config) -> usize {
        let max = config.spread.max_keys as usize;
        Table::<u64, Rotation>::bytes(max) + max * Windows::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { clients, .. } = std::mem::replace(self, Self::new(config));
        self.clients = clients;
    }

    fn evicted(&self) -> u64 {
        self.clients.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.part == Lookup::First && look.zone.class == Class::Registered && !look.sub_wire().is_empty() {
            self.over_zones(look, cases);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::bench::Bench;

    /// Twenty random bytes in hexadecimal.
    fn piece(n: u64) -> String {
        let word = |seed: u64| {
            let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
        };
        let start = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{:016x}{:016x}{:08x}", word(start), word(start ^ 1), word(start ^ 2) >> 32)
    }

    const A: u16 = 1;
    const HERE: (u16, u32, &[u8]) = (A, 60, &[198, 51, 100, 7]);

    #[test]
    fn one_payload_over_many_clients_is_one_finding_of_its_zone() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..200 {
            bench.wait(0.5);
            bench.look_up(
                &format!("10.0.0.{}", 1 + n % 40),
                &format!("{}.evil.example", piece(n)),
                A,
                0,
                &[HERE],
            );
        }
        let found = bench.created_by(Spread::RULE);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].zone.as_deref(), Some("evil.example"));
        assert!(found[0].queries <= 120, "{}", found[0].queries);
    }

    #[test]
    fn clients_that_share_their_names_are_no_leak() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..3000 {
            bench.wait(0.1);
            let name = format!("{}.shared.example", piece(n % 30));
            bench.look_up(&format!("10.0.{}.{}", n % 7, n % 53), &name, A, 0, &[HERE]);
        }
        assert!(bench.created_by(Spread::RULE).is_empty());
    }

    #[test]
    fn one_payload_over_many_zones_is_one_finding_of_its_client() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..100 {
            bench.wait(0.5);
            bench.look_up("10.0.0.2", &format!("{}.evil{}.example", piece(n), n % 20), A, 0, &[HERE]);
        }
        let found = bench.created_by(Spread::RULE);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].zone.is_none() && found[0].queries <= 60, "{:#?}", found[0]);
    }

    #[test]
    fn one_long_name_to_each_zone_is_one_finding_of_its_client() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..20 {
            bench.wait(0.5);
            let name = format!(
                "{}.{}.{}.{}.evil{n}.example",
                piece(n),
                piece(n + 50),
                piece(n + 100),
                piece(n + 150)
            );
            bench.look_up("10.0.0.2", &name, A, 0, &[HERE]);
        }
        let found = bench.created_by(Spread::RULE);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].zone.is_none() && found[0].queries <= 10, "{:#?}", found[0]);
    }

    /// A page needs hosts of a hundred zones, and one look-up service is asked for hashes.
    #[test]
    fn words_of_many_zones_and_one_look_up_service_are_no_leak() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..2000 {
            bench.wait(0.5);
            let host = ["www", "static", "img", "api", "login", "cdn", "edge", "mail"][n as usize % 8];
            bench.look_up("10.0.0.2", &format!("{host}.site{}.example", n % 100), A, 0, &[HERE]);
            if n % 50 == 0 {
                bench.look_up("10.0.0.2", &format!("{}.hashes.example", piece(n)), A, 3, &[]);
            }
        }
        assert!(bench.created_by(Spread::RULE).is_empty());
    }
}
