//! Evidence from other days: a zone that nobody here asked for before, a payload that grows day by day.
//!
//! A pure function of what the store remembers (`store.burn_in_days` of it at least; none in a replay without a store). It
//! joins a finding that has evidence of what was sent or when, and never opens one: most new zones are honest.

use crate::finding::Evidence;
use crate::ledger::Key;
use crate::report::text::{duration, thousands};
use crate::store::History;
use crate::store::days::{DAY_NS, DAYS};
use crate::verdict::family;

/// Names of the evidence.
pub(super) const FIRST_SEEN: &str = "first_seen";
pub(super) const RISING: &str = "rising_payload";

/// A zone this young that few clients ask for is as odd as one that is new: domains for one attack live for days.
const YOUNG_NS: u64 = 7 * DAY_NS;
/// Most clients of such a zone.
const FEW: u32 = 2;
/// Days in a row, each with more than the one before, that are at the threshold.
const RISES: f64 = 3.0;
/// A day has risen with so many times the new information of the day before, and at least so many bytes.
const RISE: f64 = 1.25;
const LEAST_BYTES: u64 = 64;

/// What the past adds to a finding about this client and zone; `client` is `attribute::Client::stable_hash`.
pub(super) fn evidence(history: &History, key: Key, client: Option<u64>, now_ns: u64) -> Vec<Evidence> {
    if key.zone == 0 || !history.burn_in_over(now_ns) {
        return Vec::new();
    }
    let mut list = Vec::new();
    list.extend(first_seen(history, key.zone, now_ns));
    list.extend(client.and_then(|client| rising(history, client, key.zone, now_ns)));
    list
}

fn first_seen(history: &History, zone: u64, now_ns: u64) -> Option<Evidence> {
    let age_ns = now_ns.saturating_sub(history.zone_first_seen(zone)?);
    let clients = history.prevalence(zone).max(1);
    let is_new = history.is_new(zone, now_ns);
    if !is_new && (age_ns >= YOUNG_NS || clients > FEW) {
        return None;
    }
    let before_ns = now_ns.saturating_sub(history.reaches_back_to(now_ns)).saturating_sub(age_ns);
    // New and asked for by one alone weighs most.
    let weight = if is_new && clients <= FEW { 1.5 } else { 1.0 };
    Some(Evidence {
        family: family::HISTORY,
        name: FIRST_SEEN,
        observed: format!(
            "zone first asked for here {} ago, by {} so far; not in the {} before",
            duration(age_ns / 1_000_000_000),
            if clients == 1 { "one client".to_owned() } else { format!("{clients} clients") },
            duration(before_ns / 1_000_000_000),
        ),
        baseline: format!(
            "zones known for {} or to more than {FEW} clients",
            duration(YOUNG_NS / 1_000_000_000)
        ),
        weight,
    })
}

/// Days that each had more new information than the one before (B9). Today counts as soon as it has more than yesterday.
fn rising(history: &History, client: u64, zone: u64, now_ns: u64) -> Option<Evidence> {
    let bytes = history.baseline(client, zone, now_ns)?.new_bytes;
    let has_risen = |later: u64, earlier: u64| later >= LEAST_BYTES && later as f64 > earlier as f64 * RISE;
    let from = usize::from(!has_risen(bytes[0], bytes[1]));
    // A first day has none before it to have risen from.
    let rises = (from..DAYS - 1)
        .take_while(|day| bytes[day + 1] > 0 && has_risen(bytes[*day], bytes[day + 1]))
        .count();
    if rises == 0 {
        return None;
    }
    let days: Vec<_> = (from..=from + rises).rev().map(|day| thousands(bytes[day])).collect();
    Some(Evidence {
        family: family::HISTORY,
        name: RISING,
        observed: format!("new information in names rose from day to day: {} bytes", days.join(", ")),
        baseline: format!("no {RISES} rises in a row"),
        weight: rises as f64 / RISES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::finding::Severity;
    use crate::pipeline::bench::Bench;
    use crate::store;

    const DAY_S: f64 = 86_400.0;
    const CLIENT: &str = "10.0.0.2:4000";

    /// A sensor that has watched for ten days, in which 10.0.0.2 asked for old.example twice a day.
    fn bench() -> Bench {
        let config = Config::default();
        let mut bench = Bench::new(&config);
        let seed = config.pipeline().seed;
        bench.pipeline.remember(History::new(store::Settings::default(), seed));
        for _ in 0..10 {
            bench.wait(DAY_S / 2.0);
            bench.ask(CLIENT, "www.old.example");
            bench.wait(DAY_S / 2.0);
            bench.ask(CLIENT, "www.old.example");
        }
        bench
    }

    /// Names that each hold some 15 bytes.
    fn leak(bench: &mut Bench, zone: &str, count: u64) {
        for n in 0..count {
            let seed = bench.now_ns ^ n;
            let (a, b) = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), seed.wrapping_mul(0xd1b5_4a32_d192_ed03));
            bench.ask(CLIENT, &format!("{:012x}{:012x}.{zone}", a >> 16, b >> 16));
        }
    }

    fn named<'a>(bench: &'a Bench, name: &str) -> Option<&'a Evidence> {
        bench.found.last()?.evidence.iter().find(|evidence| evidence.name == name)
    }

    #[test]
    fn a_leak_to_a_zone_that_is_new_here_is_high() {
        let mut bench = bench();
        assert!(bench.found.is_empty(), "{:#?}", bench.found);
        leak(&mut bench, "new.example", 60);
        bench.finish();
        let evidence = named(&bench, FIRST_SEEN).unwrap();
        assert!(
            evidence.observed.contains("by one client so far; not in the 9 days before"),
            "{}",
            evidence.observed
        );
        assert_eq!(bench.found.last().unwrap().severity, Severity::High);
    }

    #[test]
    fn a_leak_to_a_zone_of_long_standing_is_medium() {
        let mut bench = bench();
        leak(&mut bench, "old.example", 60);
        bench.finish();
        assert!(named(&bench, FIRST_SEEN).is_none());
        assert_eq!(bench.found.last().unwrap().severity, Severity::Medium);
    }

    #[test]
    fn a_zone_of_some_days_counts_while_few_ask_for_it() {
        for (clients, is_evidence) in [(1, true), (2, true), (5, false)] {
            let mut bench = bench();
            for client in 0..clients {
                bench.ask(&format!("10.0.0.{}:4000", 2 + client), "www.young.example");
            }
            bench.wait(3.0 * DAY_S);
            leak(&mut bench, "young.example", 60);
            bench.finish();
            assert_eq!(named(&bench, FIRST_SEEN).is_some(), is_evidence, "{clients}");
        }
    }

    #[test]
    fn what_was_learnt_for_a_day_says_nothing() {
        let mut bench = Bench::new(&Config::default());
        bench.pipeline.remember(History::new(store::Settings::default(), Config::default().pipeline().seed));
        bench.ask(CLIENT, "www.old.example");
        bench.wait(DAY_S);
        leak(&mut bench, "new.example", 60);
        bench.finish();
        let finding = bench.found.last().unwrap();
        assert!(finding.evidence.iter().all(|evidence| evidence.family != family::HISTORY), "{finding:#?}");
    }

    #[test]
    fn a_payload_that_grows_each_day_is_told() {
        let mut bench = bench();
        for day in 0..4 {
            leak(&mut bench, "old.example", 8 << day);
            bench.wait(DAY_S);
        }
        leak(&mut bench, "old.example", 160);
        bench.finish();
        let evidence = named(&bench, RISING).unwrap();
        assert!(
            evidence.weight >= 1.0 && evidence.observed.contains("rose from day to day"),
            "{evidence:#?}"
        );
        assert_eq!(bench.found.last().unwrap().severity, Severity::High);
    }
}
