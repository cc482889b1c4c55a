//! One zone's leak over many clients: what is new to a zone, whoever asks, in an account like the ledger's.
//!
//! It comes after the clients' own accounts, since names that one client's finding speaks for are left out; it needs
//! every look-up in order, whoever made it.

use super::Cases;
use super::spread::{Spread, scaled, words};
use super::table::{Remembered, Table};
use crate::config::Config;
use crate::dns::{Canonical, canonical};
use crate::finding::Bounds as Bytes;
use crate::ledger::payload::Answer;
use crate::ledger::{self, Bounds, Charge, ENTRY_MAX, Key, Ledger, Span};
use crate::logged::Lookup;
use crate::model::UNIT;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::{Class, Zone};

#[derive(Debug)]
pub struct OverClients {
    bounds: Bounds,
    /// Who asks for a zone.
    zones: Table<u64, Askers>,
    /// Accounts over all clients, of zones that more than one asks for.
    accounts: Ledger,
}

/// A query, as its zone's account takes it.
#[derive(Clone, Copy, Debug)]
pub struct OfZone<'a> {
    pub name: &'a Canonical,
    pub name_hash: u64,
    pub zone: Zone,
    pub zone_hash: u64,
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

impl Remembered for Askers {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.set() > 1), self.last_ns)
    }
}

/// By window, shortest first: so many hundredths of the configured bound of ten minutes.
const SCALE: [u64; 4] = [25, 100, 400, 1600];
/// This many clients double a zone's bound.
const CLIENTS_DOUBLE: f64 = 64.0;
/// Zones whose clients are counted, for each that has an account.
const ASKERS_PER_ACCOUNT: usize = 8;

impl OverClients {
    pub fn new(config: &Config) -> Self {
        let settings = &config.spread;
        let never = [u64::MAX; 4];
        let bounds = scaled(settings.zone_bound_bytes, SCALE);
        let max_keys = settings.max_keys as usize;
        Self {
            bounds: Bounds::new(bounds, never, never).encoded_from(settings.zone_encoded_bound_bytes),
            zones: Table::new(max_keys * ASKERS_PER_ACCOUNT),
            accounts: Ledger::new(ledger::Settings { max_keys, ..ledger::Settings::default() }),
        }
    }

    /// Bytes of its state at most.
    pub fn worst_case_bytes(config: &Config) -> usize {
        let max = config.spread.max_keys as usize;
        max * ENTRY_MAX + Table::<u64, Askers>::bytes(max * ASKERS_PER_ACCOUNT)
    }

    /// Takes other bounds; what it remembers stays.
    pub fn retune(&mut self, config: &Config) {
        let Self { zones, accounts, .. } = std::mem::replace(self, Self::new(config));
        (self.zones, self.accounts) = (zones, accounts);
    }

    /// What was forgotten to stay within bounds.
    pub fn evicted(&self) -> u64 {
        self.zones.evicted + self.accounts.evicted
    }

    /// Whether a query counts: it began a look-up of a name below a registered one.
    pub fn counts(part: Lookup, name: &Canonical, zone: Zone) -> bool {
        part == Lookup::First && zone.class == Class::Registered && name.labels() > zone.labels
    }

    /// Takes a query that counts; `claimed` tells whether a finding about its client and zone is open.
    pub fn query(
        &mut self,
        said: &OfZone<'_>,
        cases: &mut Cases<'_, '_>,
        claimed: impl FnOnce(&Cases<'_, '_>) -> bool,
    ) {
        let OfZone { name, name_hash, zone, zone_hash } = *said;
        let (zone_wire, sighting) = (name.suffix(zone.labels), cases.sighting());
        let now_ns = sighting.now_ns;
        let askers = self.zones.open(zone_hash, Askers::default);
        // Programs of one address are its own.
        askers.add(sighting.address);
        askers.last_ns = now_ns;
        if askers.set() < 2 {
            return;
        }
        let clients = askers.count();
        let claimed = claimed(cases);
        let name = ledger::Name {
            sub: name.prefix(zone.labels),
            hash: name_hash,
            upper: 0,
            letters: 0,
            extra_bytes: 0,
            told: None,
        };
        let key = Key { client: 0, zone: zone_hash };
        let account = self.accounts.open(key, zone.class, zone_wire, now_ns, &mut |_| {});
        account.query(name, Charge::Full, claimed, now_ns);
        account.has_payload |= sighting.has_payload;
        if account.is_far(&self.bounds) {
            return;
        }
        let standing = account.standing(&self.bounds);
        let weight = standing.weight() * CLIENTS_DOUBLE / (CLIENTS_DOUBLE + clients);
        if weight < 1.0 || claimed {
            return;
        }
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
        let samples: Vec<_> =
            account.samples().map(|sub| canonical::text(&[sub, zone_wire].concat())).collect();
        let say = || Said {
            does: format!(
                "is one of about {clients:.0} clients that send data out in DNS names under {}",
                canonical::text(zone_wire)
            ),
            samples: samples.clone(),
            ..words(&standing, &format!("from about {clients:.0} clients to one zone"))
        };
        let signal = Signal {
            rule: Spread::RULE,
            case: Case::zone(zone_hash, Spread::RULE),
            zone: zone_wire,
            class: zone.class,
            family: family::INFORMATION,
            name: "new_zone_bytes",
            weight,
            figures,
            quiet_s: standing.span.map_or(0, Span::seconds),
            say: &say,
        };
        cases.raise_of_all(&signal, has_payload);
    }

    /// Takes a response under a zone.
    pub fn response(&mut self, zone_hash: u64, answer: Answer, now_ns: u64) {
        if let Some(account) = self.accounts.find(Key { client: 0, zone: zone_hash }) {
            account.response(answer, false, now_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
