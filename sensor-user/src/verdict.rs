//! From evidence to severity: a pure function, so that a replay explains itself.

use crate::finding::{Evidence, Severity};

/// Families of evidence, as findings name them.
pub mod family {
    pub const INFORMATION: &str = "information";
}

/// Severity and confidence (0 to 1) of what is on record.
///
/// The ledger over its bound is medium while it is the only family. Confidence is 0.6 at the bound and nears 0.95 the
/// further the ledger is past it: at the bound a talkative but honest host is still possible, at ten times it is not.
pub fn verdict(evidence: &[Evidence]) -> (Severity, f64) {
    let weight = evidence.iter().map(|e| e.weight).fold(0.0, f64::max);
    let severity = if weight >= 1.0 { Severity::Medium } else { Severity::Low };
    let confidence = if weight >= 1.0 { 0.95 - 0.35 / weight } else { 0.6 * weight };
    (severity, (confidence * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(weight: f64) -> Evidence {
        Evidence {
            family: family::INFORMATION,
            name: "new_name_bytes",
            observed: String::new(),
            baseline: String::new(),
            weight,
        }
    }

    #[test]
    fn over_the_bound_is_medium_and_more_is_surer() {
        assert_eq!(verdict(&[]), (Severity::Low, 0.0));
        assert_eq!(verdict(&[ledger(0.5)]).0, Severity::Low);
        assert_eq!(verdict(&[ledger(1.0)]), (Severity::Medium, 0.6));
        assert!(verdict(&[ledger(8.0)]).1 > 0.9);
        assert!(verdict(&[ledger(1e9)]).1 <= 0.95);
    }
}
