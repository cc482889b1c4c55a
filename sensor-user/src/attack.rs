//! MITRE ATT&CK mapping of rules: read from data, since ids change between releases.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::finding::Attack;
use crate::rules::rules;

/// Excerpt of ATT&CK Enterprise; the attribution is in the file. Which rule maps to what is in `rules.json`.
static DATA: &str = include_str!("../data/attack.json");

/// Where a rule saw what it saw: ATT&CK has an analytic for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    Linux,
    NetworkDevices,
}

/// The mapping of a rule; empty for a rule the data does not know.
pub fn of(rule: &str, platform: Platform) -> Attack {
    table().rule(rule, platform)
}

/// As `of`, and the analytics of the machine that it is about, where the inventory has a platform on which no sensor runs:
/// ATT&CK has analytics for that one beside those of the network. `machine` is as in the inventory.
pub fn of_machine(rule: &str, platform: Platform, machine: &str) -> Attack {
    let name = match machine {
        "esxi" => "ESXi",
        "windows" => "Windows",
        "macos" => "macOS",
        _ => return of(rule, platform),
    };
    let mut attack = of(rule, platform);
    attack.analytics.extend(table().analytics(rule, name));
    attack
}

/// What is compiled in.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> =
        LazyLock::new(|| serde_json::from_str(DATA).expect("compiled in, read by a test"));
    &TABLE
}

/// What a detection strategy is called, if the data has it.
pub fn strategy_name(id: &str) -> Option<&'static str> {
    table().strategies.iter().find(|strategy| strategy.id == id).map(|strategy| &*strategy.name)
}

/// ATT&CK strategies with their analytics, of one release.
#[derive(Debug, Deserialize)]
pub struct Table {
    pub attack_version: String,
    pub strategies: Vec<Strategy>,
}

/// What is known of a technique, by its id.
pub fn technique(id: &str) -> Option<&'static Technique> {
    table().strategies.iter().flat_map(|strategy| &strategy.detects).find(|technique| technique.id == id)
}

/// `command-and-control` as it is written in a sentence: `Command and Control`.
pub fn tactic_name(short: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    let words = short.split('-').map(|word| if word == "and" { word.to_owned() } else { capital(word) });
    words.collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Deserialize)]
pub struct Strategy {
    pub id: String,
    pub name: String,
    pub detects: Vec<Technique>,
    pub analytics: Vec<Analytic>,
}

#[derive(Debug, Deserialize)]
pub struct Technique {
    pub id: String,
    pub name: String,
    pub tactics: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Analytic {
    pub id: String,
    pub platforms: Vec<String>,
    #[serde(default)]
    pub data_components: Vec<String>,
    #[serde(default)]
    pub mutable_elements: Vec<String>,
}

impl Table {
    fn rule(&self, rule: &str, platform: Platform) -> Attack {
        let platform = match platform {
            Platform::Linux => "Linux",
            Platform::NetworkDevices => "Network Devices",
        };
        let mut attack = Attack { version: self.attack_version.clone(), ..Attack::default() };
        for id in rules().rules.get(rule).into_iter().flat_map(|rule| &rule.strategies) {
            let Some(strategy) = self.strategies.iter().find(|s| s.id == *id) else { continue };
            attack.strategies.push(id.clone());
            for technique in &strategy.detects {
                attack.techniques.push(technique.id.clone());
                attack.tactics.extend(technique.tactics.iter().cloned());
            }
        }
        attack.analytics.extend(self.analytics(rule, platform));
        attack.tactics.dedup();
        attack
    }

    /// Those of a rule's strategies for a platform, as ATT&CK calls it.
    fn analytics(&self, rule: &str, platform: &str) -> impl Iterator<Item = String> {
        let ids = rules().rules.get(rule).into_iter().flat_map(|rule| &rule.strategies);
        let strategies = ids.filter_map(|id| self.strategies.iter().find(|strategy| strategy.id == *id));
        let here = move |analytic: &&Analytic| analytic.platforms.iter().any(|known| known == platform);
        strategies.flat_map(|strategy| &strategy.analytics).filter(here).map(|analytic| analytic.id.clone())
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
        let machine = |name| of_machine("dns-asset-policy", Platform::NetworkDevices, name).analytics;
        assert_eq!(machine("esxi"), ["AN1124", "AN1125"]);
        assert_eq!(machine("windows"), ["AN1124", "AN1121"]);
        assert_eq!(machine("macos"), ["AN1124", "AN1123"]);
        assert_eq!(machine("network"), ["AN1124"]);
        assert!(of("no-such-rule", Platform::Linux).techniques.is_empty());
        assert_eq!(technique("T1071.004").unwrap().name, "DNS");
        assert_eq!(tactic_name(&technique("T1071.004").unwrap().tactics[0]), "Command and Control");
    }

    /// Ids, tactics, platforms, data components and tunables are those of the published objects, where those are at hand.
    #[test]
    fn the_excerpt_says_what_the_source_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/attack/attack-18.1-dns.json");
        let Ok(source) = std::fs::read_to_string(path) else {
            println!("skipped: {path} is not there");
            return;
        };
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let (ours, theirs) = (parse(DATA), parse(&source));
        for key in ["attack_version", "object_set_sha256", "licence"] {
            assert_eq!(ours[key], theirs[key]);
        }
        let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        assert_eq!(list(&ours["strategies"]).len(), list(&theirs["strategies"]).len());
        for (ours, theirs) in list(&ours["strategies"]).iter().zip(&list(&theirs["strategies"])) {
            assert_eq!((&ours["id"], &ours["name"]), (&theirs["id"], &theirs["name"]));
            for (ours, theirs) in list(&ours["detects"]).iter().zip(&list(&theirs["detects"])) {
                assert_eq!((&ours["id"], &ours["tactics"]), (&theirs["id"], &theirs["tactics"]));
            }
            for (ours, theirs) in list(&ours["analytics"]).iter().zip(&list(&theirs["analytics"])) {
                assert_eq!((&ours["id"], &ours["platforms"]), (&theirs["id"], &theirs["platforms"]));
                let fields: Vec<_> =
                    list(&theirs["mutable_elements"]).iter().map(|e| e["field"].clone()).collect();
                assert_eq!(list(&ours["mutable_elements"]), fields);
                let components = list(&theirs["log_sources"]);
                let known = |c: &serde_json::Value| components.iter().any(|l| l["data_component"] == *c);
                assert!(list(&ours["data_components"]).iter().all(known));
            }
        }
    }
}
