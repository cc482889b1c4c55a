//! From evidence to severity: a pure function, so that a replay explains itself.

use crate::finding::{Evidence, Severity};
use crate::rules::{Combination, Rules};

/// Families of evidence, as findings name them.
pub mod family {
    pub const INFORMATION: &str = "information";
    pub const SHAPE: &str = "shape";
    pub const TIMING: &str = "timing";
    pub const RESPONSE: &str = "response";
    pub const PROCESS: &str = "process";
    pub const HISTORY: &str = "history";
    pub const POLICY: &str = "policy";

    pub const ALL: [&str; 7] = [INFORMATION, SHAPE, TIMING, RESPONSE, PROCESS, HISTORY, POLICY];
}

/// Evidence from one in a hundred weights up counts as at its threshold; weights are stated to two places.
const AT_THRESHOLD: f64 = 1.0;

/// Severity and confidence (0 to 1) of what is on record under these rules (named in `raised`).
///
/// Severity is that of the combination of families, or what the heaviest rule weighs alone if that is more. Confidence is
/// 0.6 at a threshold and nears 0.95 the further the heaviest evidence is past it, since at the bound a talkative but
/// honest host is still possible, at ten times it is not; every further family takes a third off what is missing to 1.
/// Evidence with a negative weight (an allow list) takes as much off all others; what was above it then, still is.
pub fn verdict(rules: &Rules, raised: &[&str], evidence: &[Evidence]) -> (Severity, f64) {
    let lowered = evidence.iter().map(|e| e.weight.min(0.0)).sum::<f64>();
    let weight = evidence.iter().map(|e| e.weight).fold(0.0, f64::max) + lowered;
    if weight < AT_THRESHOLD {
        return (Severity::Low, rounded(0.6 * weight.max(0.0)));
    }
    let least = AT_THRESHOLD - lowered;
    let families = present(evidence, least);
    let combined = rules.verdict.iter().find(|c| holds(c, &families, evidence, least)).map(|c| c.severity);
    let alone = raised.iter().filter_map(|rule| rules.rules.get(*rule)).map(|rule| rule.alone).max();
    let severity = combined.max(alone).unwrap_or(Severity::Low);
    let further = families.iter().skip(1).map(|_| 2.0 / 3.0).product::<f64>();
    let missing = (0.05 + 0.35 / weight) * further;
    (severity, rounded(1.0 - missing))
}

fn present(evidence: &[Evidence], least: f64) -> Vec<&'static str> {
    let at_threshold = |name: &&str| evidence.iter().any(|e| e.family == *name && e.weight >= least);
    family::ALL.into_iter().filter(at_threshold).collect()
}

fn holds(combination: &Combination, families: &[&str], evidence: &[Evidence], least: f64) -> bool {
    let named = &combination.families;
    named.iter().all(|name| families.contains(&name.as_str()))
        && families.len() >= named.len() + combination.others
        && combination
            .evidence
            .as_ref()
            .is_none_or(|name| evidence.iter().any(|e| e.name == *name && e.weight >= least))
}

fn rounded(confidence: f64) -> f64 {
    (confidence * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::rules;

    fn of(family: &'static str, weight: f64) -> Evidence {
        Evidence { family, name: "", observed: String::new(), baseline: String::new(), weight }
    }

    const LEDGER: &[&str] = &["dns-leak-ledger"];

    #[test]
    fn over_the_bound_is_medium_and_more_is_surer() {
        let ledger = |weight| [of(family::INFORMATION, weight)];
        assert_eq!(verdict(rules(), LEDGER, &[]), (Severity::Low, 0.0));
        assert_eq!(verdict(rules(), LEDGER, &ledger(0.5)).0, Severity::Low);
        assert_eq!(verdict(rules(), LEDGER, &ledger(1.0)), (Severity::Medium, 0.6));
        assert!(verdict(rules(), LEDGER, &ledger(8.0)).1 > 0.9);
        assert!(verdict(rules(), LEDGER, &ledger(1e9)).1 <= 0.95);
    }

    #[test]
    fn what_is_allowed_weighs_less_and_is_seen_all_the_same() {
        let with = |weight, lowered| {
            verdict(rules(), LEDGER, &[of(family::INFORMATION, weight), of(family::PROCESS, lowered)])
        };
        assert_eq!(with(1.2, -0.5), (Severity::Low, 0.42));
        assert_eq!(with(1.5, -0.5), (Severity::Medium, 0.6));
        assert_eq!(with(0.2, -0.5), (Severity::Low, 0.0));
    }

    #[test]
    fn families_add_up_once_each_and_only_at_their_thresholds() {
        use family::{HISTORY, INFORMATION, PROCESS, RESPONSE, SHAPE, TIMING};
        let severity = |list: &[(&'static str, f64)]| {
            let evidence: Vec<_> = list.iter().map(|(family, weight)| of(family, *weight)).collect();
            verdict(rules(), &[], &evidence).0
        };
        assert_eq!(severity(&[(TIMING, 1.0)]), Severity::Low);
        assert_eq!(severity(&[(TIMING, 1.0), (TIMING, 5.0)]), Severity::Low);
        assert_eq!(severity(&[(TIMING, 1.0), (RESPONSE, 0.9)]), Severity::Low);
        assert_eq!(severity(&[(TIMING, 1.0), (RESPONSE, 1.0)]), Severity::Medium);
        assert_eq!(severity(&[(TIMING, 1.0), (RESPONSE, 1.0), (SHAPE, 2.0)]), Severity::High);
        assert_eq!(severity(&[(INFORMATION, 1.0), (SHAPE, 1.0)]), Severity::High);
        assert_eq!(severity(&[(INFORMATION, 1.0), (PROCESS, 1.0), (HISTORY, 1.0)]), Severity::Critical);
        assert!(
            verdict(rules(), &[], &[of(TIMING, 1.0), of(SHAPE, 1.0)]).1
                > verdict(rules(), &[], &[of(TIMING, 1.0)]).1
        );
    }
}
