//! MITRE ATT&CK mapping of rules: read from data, since ids change between releases.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::finding::Attack;

/// Excerpt of ATT&CK Enterprise with each rule's strategies; the attribution is in the file.
static DATA: &str = include_str!("../data/attack.json");

/// Where a rule saw what it saw: ATT&CK has an analytic for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    Linux,
    NetworkDevices,
}

/// The mapping of a rule; empty for a rule the data does not know.
pub fn of(rule: &str, platform: Platform) -> Attack {
    static TABLE: LazyLock<Option<Table>> = LazyLock::new(|| serde_json::from_str(DATA).ok());
    TABLE.as_ref().map(|table| table.rule(rule, platform)).unwrap_or_default()
}

#[derive(Debug, Deserialize)]
struct Table {
    attack_version: String,
    strategies: Vec<Strategy>,
    rules: std::collections::BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Strategy {
    id: String,
    detects: Vec<Technique>,
    analytics: Vec<Analytic>,
}

#[derive(Debug, Deserialize)]
struct Technique {
    id: String,
    tactics: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Analytic {
    id: String,
    platforms: Vec<String>,
}

impl Table {
    fn rule(&self, rule: &str, platform: Platform) -> Attack {
        let platform = match platform {
            Platform::Linux => "Linux",
            Platform::NetworkDevices => "Network Devices",
        };
        let mut attack = Attack { version: self.attack_version.clone(), ..Attack::default() };
        for id in self.rules.get(rule).into_iter().flatten() {
            let Some(strategy) = self.strategies.iter().find(|s| s.id == *id) else { continue };
            attack.strategies.push(id.clone());
            for technique in &strategy.detects {
                attack.techniques.push(technique.id.clone());
                attack.tactics.extend(technique.tactics.iter().cloned());
            }
            let here = strategy.analytics.iter().filter(|a| a.platforms.iter().any(|p| p == platform));
            attack.analytics.extend(here.map(|a| a.id.clone()));
        }
        attack.tactics.dedup();
        attack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_is_mapped_for_both_vantages() {
        let attack = of("dns-leak-ledger", Platform::Linux);
        assert_eq!(attack.version, "18.1");
        assert_eq!(attack.techniques, ["T1071.004", "T1048.003"]);
        assert_eq!(attack.strategies, ["DET0400", "DET0149"]);
        assert_eq!(attack.analytics, ["AN1122", "AN0424"]);
        assert_eq!(attack.tactics, ["command-and-control", "exfiltration"]);
        assert_eq!(of("dns-leak-ledger", Platform::NetworkDevices).analytics, ["AN1124", "AN0427"]);
        assert!(of("no-such-rule", Platform::Linux).techniques.is_empty());
    }
}
