//! What is claimed and which test shows it: `data/coverage.json`, checked against the sources by a test.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

static DATA: &str = include_str!("../../data/coverage.json");

/// All of `data/coverage.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Raised when a field changes its meaning.
    pub version: u32,
    /// Tests by the rule that they show, as `file::name`.
    pub rules: BTreeMap<String, Vec<String>>,
    /// By ATT&CK analytic. Of one that is not here nothing is claimed.
    pub analytics: BTreeMap<String, Claim>,
    /// By ATT&CK data component.
    pub components: BTreeMap<String, Component>,
    /// Configuration keys that stand for one of MITRE's tunables without being named after it.
    pub tunables: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub status: Status,
    pub why: String,
    /// Beside those of its rules: what shows that they see such traffic.
    pub tests: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Absent,
    Partial,
    Native,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub name: String,
    /// `yes`, `partly` or `no`.
    pub collected: String,
    pub how: String,
}

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Partial => "partial",
            Self::Native => "native",
        }
    }
}

pub fn claims() -> &'static Claims {
    static CLAIMS: LazyLock<Claims> =
        LazyLock::new(|| serde_json::from_str(DATA).expect("compiled in, read by a test"));
    &CLAIMS
}

/// Tests that show a rule.
pub fn of_rule(rule: &str) -> &'static [String] {
    claims().rules.get(rule).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::attack;
    use crate::config::KEYS;
    use crate::rules::list;

    #[test]
    fn every_claim_names_tests_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let all = claims().rules.values().chain(claims().analytics.values().map(|claim| &claim.tests));
        let mut count = 0;
        for test in all.flatten() {
            let (file, name) = test.split_once("::").unwrap();
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            let (before, _) =
                text.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("no test {test}"));
            let attributes = before.rsplit("\n\n").next().unwrap();
            assert!(attributes.contains("#[test]") || attributes.contains("#[rstest]"), "{test} is no test");
            count += 1;
        }
        assert!(count > 50);
    }

    #[test]
    fn every_rule_and_analytic_of_a_rule_has_a_claim() {
        for row in list::rows() {
            assert!(!of_rule(row.rule).is_empty(), "{} is shown by no test", row.rule);
        }
        let used: Vec<_> = list::rows().into_iter().flat_map(|row| row.strategies).collect();
        for strategy in attack::table().strategies.iter().filter(|strategy| used.contains(&strategy.id)) {
            for analytic in &strategy.analytics {
                let claim = claims().analytics.get(&analytic.id);
                let claim = claim.unwrap_or_else(|| panic!("{}: no claim", analytic.id));
                assert_eq!(claim.tests.is_empty(), claim.status == Status::Absent, "{}", analytic.id);
                for component in &analytic.data_components {
                    assert!(claims().components.contains_key(component), "{component}");
                }
            }
        }
        let known = |name: &String| KEYS.iter().any(|key| format!("{}.{}", key.section, key.name) == *name);
        assert!(claims().tunables.values().flatten().all(known));
        assert!(claims().rules.keys().all(|rule| list::rows().iter().any(|row| row.rule == rule)));
    }

    #[test]
    fn what_is_only_seen_at_a_gateway_is_called_partial() {
        for (id, status) in [
            ("AN1121", Status::Partial),
            ("AN1122", Status::Native),
            ("AN1123", Status::Partial),
            ("AN1124", Status::Native),
            ("AN1125", Status::Partial),
        ] {
            assert_eq!(claims().analytics[id].status, status, "{id}");
        }
    }
}
