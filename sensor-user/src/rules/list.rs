//! Every rule in a table, from what is in force: the detectors, their configuration, severities and ATT&CK ids.

use serde::Serialize;

use super::rules;
use crate::attack::{self, Platform};
use crate::config::{KEYS, SECTIONS};
use crate::detect;
use crate::finding::{Attack, Severity};
use crate::limits;
use crate::report;

/// Version of `rules --json`.
const VERSION: u32 = 1;

/// One rule.
#[derive(Debug, Serialize)]
pub struct Row {
    pub rule: &'static str,
    /// What it looks for.
    pub about: String,
    /// Of its evidence; see `verdict::family`.
    pub families: Vec<String>,
    /// Severity without other evidence.
    pub alone: Severity,
    pub attack_version: String,
    pub techniques: Vec<String>,
    pub strategies: Vec<String>,
    /// Where this host's own queries are seen, and where others' pass.
    pub analytics_host: Vec<String>,
    pub analytics_network: Vec<String>,
    /// `section.key`.
    pub keys: Vec<String>,
}

/// All rules, the ledger's first, then as the detectors take a packet, last those about the sensor itself.
pub fn rows() -> Vec<Row> {
    let all = [(report::RULE, "ledger")].into_iter().chain(detect::table());
    let own =
        limits::rules_and_about().map(|(rule, about)| Row { about: about.to_owned(), ..row(rule, "limits") });
    all.map(|(rule, section)| row(rule, section)).chain(own).collect()
}

fn row(rule: &'static str, section: &str) -> Row {
    let Attack { version, techniques, strategies, analytics, .. } = attack::of(rule, Platform::Linux);
    let doc = SECTIONS.iter().find(|(name, _)| *name == section).map_or("", |(_, doc)| doc.trim());
    let about = doc.split_once(": ").map_or(doc, |(_, about)| about);
    let about = about.split(". ").next().unwrap_or(about).trim_end_matches('.');
    let known = rules().rules.get(rule);
    Row {
        rule,
        about: about.to_owned(),
        families: known.map(|rule| rule.families.clone()).unwrap_or_default(),
        alone: known.map_or(Severity::Low, |rule| rule.alone),
        attack_version: version,
        techniques,
        strategies,
        analytics_host: analytics,
        analytics_network: attack::of(rule, Platform::NetworkDevices).analytics,
        keys: keys(section),
    }
}

fn keys(section: &str) -> Vec<String> {
    let own = KEYS.iter().filter(|key| key.section == section);
    own.map(|key| format!("{}.{}", key.section, key.name)).collect()
}

/// One JSON object, with a newline.
pub fn json() -> String {
    #[derive(Serialize)]
    struct All {
        v: u32,
        /// Of the rules themselves.
        version: u32,
        rules: Vec<Row>,
    }
    let all = All { v: VERSION, version: rules().version, rules: rows() };
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

/// A Markdown table, which people can read as it is.
pub fn text() -> String {
    use std::fmt::Write as _;
    let mut out = String::from(
        "| rule | looks for | family | alone | ATT&CK techniques | analytics: host; network | configuration |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows() {
        let section = row.keys.first().and_then(|key| key.split_once('.')).map_or("", |(section, _)| section);
        let keys: Vec<_> =
            row.keys.iter().map(|key| key.trim_start_matches(section).trim_start_matches('.')).collect();
        let alone = format!("{:?}", row.alone).to_lowercase();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {alone} | {} | {}; {} | `[{section}]` {} |",
            row.rule,
            row.about,
            row.families.join(", "),
            list(&row.techniques),
            list(&row.analytics_host),
            list(&row.analytics_network),
            keys.join(", "),
        );
    }
    out
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::family;

    #[test]
    fn every_rule_has_a_section_of_its_own_and_families() {
        for row in rows() {
            assert!(!row.families.is_empty(), "data/rules.json: {} has no families", row.rule);
            assert!(row.families.iter().all(|name| family::ALL.contains(&name.as_str())), "{row:?}");
            assert!(
                !row.keys.is_empty() && !row.about.is_empty(),
                "{}: no section in the key table",
                row.rule
            );
        }
        for (rule, section) in detect::table() {
            let (_, doc) = SECTIONS.iter().find(|(name, _)| *name == section).unwrap();
            assert!(doc.trim().starts_with(&format!("Detector {rule}: ")), "[{section}]: {doc}");
        }
        let known: Vec<_> = rows().iter().map(|row| row.rule).collect();
        assert!(
            rules().rules.keys().all(|rule| known.contains(&rule.as_str())),
            "a rule that nothing raises"
        );
    }

    #[test]
    fn the_readme_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let (_, rest) = readme.split_once("<!-- rules -->\n").unwrap();
        let (table, _) = rest.split_once("<!-- /rules -->").unwrap();
        assert_eq!(table, text(), "README.md must say between its marks what `earthdog rules` prints");
    }

    #[test]
    fn json_is_an_object_with_all_rules() {
        let value: serde_json::Value = serde_json::from_str(&json()).unwrap();
        assert_eq!(value["rules"].as_array().unwrap().len(), rows().len());
        assert_eq!(value["rules"][0]["alone"], "medium");
    }
}
