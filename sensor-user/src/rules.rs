//! Rules as data: what each weighs alone, which combinations of evidence make which severity, and what of ATT&CK it maps to.

pub mod list;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::finding::Severity;

static DATA: &str = include_str!("../data/rules.json");

/// All of `data/rules.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Raised when a rule's meaning changes.
    pub version: u32,
    /// Tried from the top; the first that holds gives the severity.
    pub verdict: Vec<Combination>,
    pub rules: BTreeMap<String, Rule>,
}

/// Evidence that makes a severity, each at its threshold or over it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Combination {
    pub severity: Severity,
    /// Families that must be there.
    #[serde(default)]
    pub families: Vec<String>,
    /// How many families beside those.
    #[serde(default)]
    pub others: usize,
    /// Evidence, by name, that must be there.
    #[serde(default)]
    pub evidence: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Severity of a finding with no other evidence than this rule's.
    pub alone: Severity,
    /// Of its evidence: what else it may be counted with.
    pub families: Vec<String>,
    /// ATT&CK detection strategies.
    pub strategies: Vec<String>,
}

/// The table in force.
pub fn rules() -> &'static Rules {
    static TABLE: LazyLock<Rules> =
        LazyLock::new(|| serde_json::from_str(DATA).expect("compiled in, read by a test"));
    &TABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_in_can_be_read() {
        assert!(rules().rules.contains_key("dns-leak-ledger"));
        assert!(rules().verdict.windows(2).all(|pair| pair[0].severity >= pair[1].severity));
    }
}
