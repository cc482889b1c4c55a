//! Zones that bloom and die within a week: registered for one attack, used, and taken away or taken down.
//!
//! That a zone is gone is not guessed from silence. A negative answer names the zone that it comes from in its SOA record
//! (RFC 2308, section 2.1): where that is a parent, what was asked for is delegated no more. Whether it bloomed is a
//! matter of other days, so the store has to have seen `store.burn_in_days` of them; in a replay without one this detector
//! is silent. Parking and sinkholes keep a zone alive: those look like any move to other addresses.

use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::{Canonical, Section, rtype};
use crate::finding::Bounds;
use crate::logged::Lookup;
use crate::report::text::{duration, thousands};
use crate::report::{Case, Figures, Said, Signal};
use crate::store::days::DAY_NS;
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct ShortLivedZone {
    max_age_ns: u64,
    max_age_days: u64,
    min_lookups: u64,
}

/// NXDOMAIN.
const NO_SUCH_NAME: u16 = 3;

impl ShortLivedZone {
    pub const RULE: &str = "dns-short-lived-zone";

    pub fn new(config: &Config) -> Self {
        let settings = &config.short_lived_zone;
        Self {
            max_age_ns: settings.max_age_days * DAY_NS,
            max_age_days: settings.max_age_days,
            min_lookups: settings.min_lookups,
        }
    }
}

impl Detector for ShortLivedZone {
    /// What it knows of zones is the store's.
    fn worst_case_bytes(_: &Config) -> usize {
        0
    }

    fn retune(&mut self, config: &Config) {
        *self = Self::new(config);
    }

    fn evicted(&self) -> u64 {
        0
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.message.rcode() != NO_SUCH_NAME
            || look.part != Lookup::Answer
            || look.zone.class != Class::Registered
            || !comes_from_parent(look)
        {
            return;
        }
        let now_ns = look.now_ns();
        let Some(history) = cases.history().filter(|history| history.burn_in_over(now_ns)) else { return };
        let Some(zone) = history.zone(look.zone_hash) else { return };
        let age_ns = now_ns.saturating_sub(zone.first_ns);
        let [answered, no_such_name, ..] = zone.answers.rcodes.map(u64::from);
        // The answers that say it is gone are among those counted.
        if age_ns > self.max_age_ns || answered < self.min_lookups || no_such_name > answered {
            return;
        }
        let (lookups, clients, first_ns) = (zone.lookups, zone.clients.count(), zone.first_ns);
        let (max_age_days, min_lookups) = (self.max_age_days, self.min_lookups);
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::zone(look.zone_hash, Self::RULE),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::HISTORY,
            name: "bloom_and_die",
            weight: answered as f64 / min_lookups.max(1) as f64,
            figures: Figures {
                first_ns,
                queries: lookups,
                responses: answered + no_such_name,
                name_bytes: 0,
                up: Bounds::default(),
                down: Bounds::default(),
            },
            quiet_s: 86_400,
            say: &|| Said {
                does: format!("is gone {} after it was first asked for here", duration(age_ns / 1_000_000_000)),
                observed: format!(
                    "{} look-ups of {clients} clients, {} answered; now its parent says that there is no such zone",
                    thousands(lookups),
                    thousands(answered)
                ),
                baseline: format!("zones in use for more than {max_age_days} days, or for fewer than {min_lookups} answers"),
                counterfactual: format!(
                    "Had the zone been known for more than {max_age_days} days, or still be delegated, there would be no \
                     finding."
                ),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }
}

/// Whether a negative answer is of a zone above the one that was asked for.
fn comes_from_parent(look: &Look<'_>) -> bool {
    let mut authority = look.message.records().filter(|record| record.section == Section::Authority);
    authority.find(|record| record.rtype == rtype::SOA).is_some_and(|soa| {
        let owner = Canonical::new(soa.name);
        owner.labels() < look.zone.labels && look.name.suffix(owner.labels()) == owner.wire()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity};
    use crate::pipeline::bench::{Bench, message};
    use crate::store::{self, History};

    const CLIENT: &str = "10.0.0.2";
    const DAY_S: f64 = 86_400.0;

    /// A sensor that has watched for nine days, with a zone that was asked for on so many days of late.
    fn bench(days: u32) -> Bench {
        let config = Config::default();
        let mut bench = Bench::new(&config);
        bench.pipeline.remember(History::new(store::Settings::default(), config.pipeline().seed));
        for day in 0..9 {
            bench.wait(DAY_S);
            bench.look_up(CLIENT, "www.old.example", rtype::A, 0, &[(rtype::A, 60, &[192, 0, 2, 1])]);
            if day + days >= 9 {
                for _ in 0..20 {
                    bench.pass(60.0);
                    bench.look_up(
                        CLIENT,
                        "www.bloom.example",
                        rtype::A,
                        0,
                        &[(rtype::A, 60, &[192, 0, 2, 9])],
                    );
                }
            }
        }
        bench
    }

    /// A negative answer with the SOA record of a zone.
    fn no_such_name(bench: &mut Bench, name: &str, soa: &str) {
        bench.query(CLIENT, name, rtype::A);
        let mut bytes = message(bench.id, 0x8183, name, rtype::A, &[]);
        bytes[9] = 1;
        bytes.extend_from_slice(Canonical::from_text(soa).wire());
        bytes.extend_from_slice(&[0, 0, 6, 0, 1, 0, 0, 3, 132, 0, 22, 0, 0]);
        bytes.extend_from_slice(&[0; 20]);
        bench.packet(CLIENT, &bytes, false);
    }

    #[test]
    fn a_zone_that_was_taken_away_after_days_is_found_once() {
        let mut bench = bench(4);
        for _ in 0..20 {
            bench.wait(900.0);
            no_such_name(&mut bench, "www.bloom.example", "example");
        }
        bench.finish();
        let created = bench.created_by(ShortLivedZone::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!((created[0].severity, created[0].scope), (Severity::Low, Scope::Zone));
        assert_eq!(created[0].zone.as_deref(), Some("bloom.example"));
        assert!(created[0].title.starts_with("bloom.example is gone 3 days after"), "{}", created[0].title);
    }

    #[test]
    fn what_lives_on_or_lived_long_is_none() {
        for (days, name, soa) in [
            // The zone itself says that a name of it does not exist.
            (4, "nothing.bloom.example", "bloom.example"),
            // A name that nobody was ever answered for.
            (4, "www.never.example", "example"),
            // Asked for since before the window.
            (8, "www.bloom.example", "example"),
            // One day's use is below the threshold.
            (1, "www.bloom.example", "example"),
            // An SOA record of somebody else.
            (4, "www.bloom.example", "other"),
        ] {
            let mut bench = bench(days);
            bench.wait(900.0);
            no_such_name(&mut bench, name, soa);
            bench.finish();
            assert!(
                bench.created_by(ShortLivedZone::RULE).is_empty(),
                "{days} {name} {soa}: {:#?}",
                bench.found
            );
        }
    }
}
