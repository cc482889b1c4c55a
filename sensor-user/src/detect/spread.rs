//! A leak shared out: one zone's over many clients, or one client's over many zones, each part below its own bound.
//!
//! *Over clients*: what is new to a zone, whoever asks, in an account like the ledger's but over all clients. It begins
//! with the second client that asks; names that one client's finding speaks for are left out. Clients share their names,
//! so its bounds are a few times those of one, and grow with the clients.
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
use crate::ledger::{self, Bounds, Charge, ENTRY_MAX, Key, Ledger, Span, Standing, Windows};
use crate::logged::Lookup;
use crate::model::{UNIT, static_cost_of};
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct Spread {
    zone_bounds: Bounds,
    client_bounds: Bounds,
    /// Who asks for a zone.
    zones: Table<u64, Askers>,
    /// Accounts over all clients, of zones that more than one asks for.
    accounts: Ledger,
    clients: Table<u64, Rotation>,
}

/// Different clients, by bits set: up to some thousand are told apart.
#[derive(Debug, Default)]
struct Askers {
    bits: [u64; ASKER_WORDS],
    last_ns: u64,
}

const ASKER_WORDS: usize = 4;

impl Askers {
    fn add(&mut self, client: u64) {
        let bit = (client.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % (ASKER_WORDS * 64);
        self.bits[bit / 64] |= 1 << (bit % 64);
    }

    fn set(&self) -> u32 {
        self.bits.iter().map(|word| word.count_ones()).sum()
    }

    /// Linear counting (Whang and others 1990): each free bit was missed by all.
    fn count(&self) -> f64 {
        let bits = (ASKER_WORDS * 64) as f64;
        bits * (bits / (bits - f64::from(self.set())).max(1.0)).ln()
    }
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

impl Remembered for Askers {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.set() > 1), self.last_ns)
    }
}

impl Remembered for Rotation {
    fn worth(&self) -> (u64, u64) {
        (self.windows.sums(Span::Day).new_units, self.last_ns)
    }
}

/// By window, shortest first: so many hundredths of the configured bound of ten minutes.
const ZONE_SCALE: [u64; 4] = [25, 100, 400, 1600];
const CLIENT_SCALE: [u64; 4] = [100, 100, 200, 800];
/// A zone's share of a client's bound.
const ZONE_SHARE: u64 = 6;
/// Zones at least.
const ZONES: u32 = 5;
/// Evidence of one name (see `Shape`), as a part of what is clear, and what it must say at least.
const LOOKS_RANDOM: f64 = 24.0 / 64.0;
const SAYS_LEAST: u64 = 40 * UNIT as u64;
/// This many clients double a zone's bound.
const CLIENTS_DOUBLE: f64 = 64.0;

impl Spread {
    pub const RULE: &str = "dns-leak-spread";

    pub fn new(config: &Config) -> Self {
        let settings = &config.spread;
        let scaled =
            |bytes: u64, scale: [u64; 4]| scale.map(|by| (bytes / 100 * by + bytes % 100 * by / 100).max(1));
        let never = [u64::MAX; 4];
        let zone = scaled(settings.zone_bound_bytes, ZONE_SCALE);
        let client = scaled(settings.client_bound_bytes, CLIENT_SCALE);
        let max = settings.max_keys as usize;
        Self {
            zone_bounds: Bounds::new(zone, never, never).encoded_from(settings.zone_encoded_bound_bytes),
            client_bounds: Bounds::new(client, never, never),
            zones: Table::new(max * ASKERS_PER_ACCOUNT),
            accounts: Ledger::new(ledger::Settings { max_keys: max, ..ledger::Settings::default() }),
            clients: Table::new(max),
        }
    }

    /// The zone's account over all clients takes a query.
    fn over_clients(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let now_ns = look.now_ns();
        let askers = self.zones.open(look.zone_hash, Askers::default);
        // Programs of one address are its own.
        askers.add(cases.sighting().address);
        askers.last_ns = now_ns;
        if askers.set() < 2 {
            return;
        }
        let clients = askers.count();
        let name = ledger::Name {
            sub: look.sub_wire(),
            hash: look.name_hash,
            upper: 0,
            letters: 0,
            extra_bytes: 0,
            told: None,
        };
        let key = Key { client: 0, zone: look.zone_hash };
        let has_payload = cases.sighting().has_payload;
        let address = Key { client: cases.sighting().address, zone: look.zone_hash };
        let claimed = [look.key(), address].into_iter().any(|key| cases.is_open(Case::client_zone(key)));
        let account = self.accounts.open(key, look.zone.class, look.zone_wire(), now_ns, &mut |_| {});
        account.query(name, Charge::Full, claimed, now_ns);
        account.has_payload |= has_payload;
        if account.is_far(&self.zone_bounds) {
            return;
        }
        let standing = account.standing(&self.zone_bounds);
        let weight = standing.weight() * CLIENTS_DOUBLE / (CLIENTS_DOUBLE + clients);
        if weight < 1.0 || claimed {
            return;
        }
        let case = Case::zone(look.zone_hash, Self::RULE);
        let bytes = |low: u64, high: u64| Bytes {
            low: low / u64::from(UNIT) / 8,
            high: high.max(low) / u64::from(UNIT) / 8,
        };
        let totals = account.totals;
        let figures = Figures {
            first_ns: account.first_ns,
            queries: account.queries,
            responses: account.responses,
            name_bytes: account.name_bytes,
            up: bytes(totals.up_low, totals.up_high),
            down: bytes(totals.down_low, totals.down_high),
        };
        let has_payload = account.has_payload;
        let samples: Vec<_> = account
            .samples
            .iter()
            .map(|sub| crate::dns::canonical::text(&[sub, look.zone_wire()].concat()))
            .collect();
        let say = || Said {
            does: format!(
                "is one of about {clients:.0} clients that send data out in DNS names under {}",
                crate::dns::canonical::text(look.zone_wire())
            ),
            samples: samples.clone(),
            ..words(&standing, &format!("from about {clients:.0} clients to one zone"))
        };
        let signal = Signal {
            rule: Self::RULE,
            case,
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::INFORMATION,
            name: "new_zone_bytes",
            weight,
            figures,
            quiet_s: standing.span.map_or(0, Span::seconds),
            say: &say,
        };
        cases.raise_of_all(&signal, has_payload);
    }

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
        let share = self.client_bounds.names(Span::TenMinutes) / ZONE_SHARE;
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
        let standing = Standing::of_names(&rotation.windows, &self.client_bounds);
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

/// Zones whose clients are counted, for each that has an account.
const ASKERS_PER_ACCOUNT: usize = 8;

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
fn words(standing: &Standing, place: &str) -> Said {
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
        max * ENTRY_MAX
            + Table::<u64, Askers>::bytes(max * ASKERS_PER_ACCOUNT)
            + Table::<u64, Rotation>::bytes(max)
            + max * Windows::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { zones, accounts, clients, .. } = std::mem::replace(self, Self::new(config));
        self.zones = zones;
        self.accounts = accounts;
        self.clients = clients;
    }

    fn evicted(&self) -> u64 {
        self.zones.evicted + self.accounts.evicted + self.clients.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.part != Lookup::First || look.zone.class != Class::Registered || look.sub_wire().is_empty() {
            return;
        }
        self.over_clients(look, cases);
        self.over_zones(look, cases);
    }

    fn response(&mut self, look: &Look<'_>, _cases: &mut Cases<'_, '_>) {
        if let Some(account) = self.accounts.find(Key { client: 0, zone: look.zone_hash }) {
            account.response(look.answer, false, look.now_ns());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::bench::Bench;

    /// Over 200 sets of each size: the error's root mean square is that of linear counting.
    #[test]
    fn askers_are_counted_within_the_error() {
        use std::hash::BuildHasher as _;
        for real in [2_u64, 20, 100, 500] {
            let counted = |set: u64| {
                let mut askers = Askers::default();
                let seed = foldhash::quality::FixedState::with_seed(set);
                (0..real).for_each(|n| askers.add(seed.hash_one(n)));
                askers.count() - real as f64
            };
            let (size, load) = (256.0, real as f64 / 256.0);
            let expected = (size * (load.exp() - load - 1.0)).sqrt();
            let errors: Vec<f64> = (0..200).map(counted).collect();
            let rms = (errors.iter().map(|error| error * error).sum::<f64>() / 200.0).sqrt();
            assert!(rms <= expected * 1.25 + 0.1, "{real}: {rms:.2}, expected {expected:.2}");
        }
    }

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
