//! The layer for ATT&CK Navigator, format 4.5 (mitre-attack/attack-navigator, layers/LAYERFORMATv4_5.md).

use serde_json::{Value, json};

use super::claims::Status;
use super::{Coverage, Row};
use crate::attack::Table;

/// The least that reads the format.
const NAVIGATOR: &str = "4.9.0";

/// A technique each with the best status of its analytics, and all of them in its comment.
pub(super) fn layer(coverage: &Coverage, table: &Table) -> Value {
    let mut techniques = Vec::new();
    for technique in table.strategies.iter().flat_map(|strategy| &strategy.detects) {
        let rows: Vec<&Row> =
            coverage.analytics.iter().filter(|row| row.techniques.contains(&technique.id)).collect();
        let Some(best) = rows.iter().map(|row| row.status).max() else { continue };
        if techniques.iter().any(|known: &Value| known["techniqueID"] == *technique.id) {
            continue;
        }
        let comment: Vec<_> = rows
            .iter()
            .map(|row| {
                format!("{} ({}): {}. {}", row.analytic, row.platforms.join(", "), row.status.name(), row.why)
            })
            .collect();
        let mut metadata: Vec<Value> = Vec::new();
        for row in rows.iter().filter(|row| row.status != Status::Absent) {
            metadata.push(json!({ "name": row.analytic, "value": row.rules.join(", ") }));
        }
        techniques.push(json!({
            "techniqueID": technique.id,
            "score": score(best),
            "comment": comment.join("\n"),
            "enabled": true,
            "metadata": metadata,
            "showSubtechniques": false,
        }));
    }
    let major = coverage.attack_version.split('.').next().unwrap_or_default();
    json!({
        "name": "earthdog coverage",
        "versions": { "attack": major, "navigator": NAVIGATOR, "layer": "4.5" },
        "domain": "enterprise-attack",
        "description": format!(
            "Written by earthdog {}: ATT&CK {}; {} analytics native, {} partial, {} absent.",
            env!("CARGO_PKG_VERSION"),
            coverage.attack_version,
            coverage.count(Status::Native),
            coverage.count(Status::Partial),
            coverage.count(Status::Absent)
        ),
        "sorting": 3,
        "hideDisabled": false,
        "techniques": techniques,
        "gradient": { "colors": ["#ffffff", "#9ecae1", "#08519c"], "minValue": 0, "maxValue": 100 },
        "legendItems": [
            { "label": "native: seen where it happens", "color": "#08519c" },
            { "label": "partial: a part of it, see the comment", "color": "#9ecae1" },
            { "label": "absent", "color": "#ffffff" },
        ],
    })
}

fn score(status: Status) -> u32 {
    match status {
        Status::Native => 100,
        Status::Partial => 50,
        Status::Absent => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack;
    use crate::config::Config;
    use crate::coverage::Kept;
    use crate::explain::tests::golden;

    /// What the format's description asks for, property by property.
    fn check(layer: &Value) {
        let allowed = |value: &Value, names: &[&str]| {
            for name in value.as_object().unwrap().keys() {
                assert!(names.contains(&name.as_str()), "{name} is no property");
            }
        };
        let top = "name versions description domain customDataURL filters sorting layout hideDisabled techniques \
                   gradient legendItems showTacticRowBackground tacticRowBackground selectTechniquesAcrossTactics \
                   selectSubtechniquesWithParent selectVisibleTechniques metadata links";
        allowed(layer, &top.split_whitespace().collect::<Vec<_>>());
        assert!(layer["name"].is_string() && layer["description"].is_string());
        assert_eq!(layer["domain"], "enterprise-attack");
        let versions = &layer["versions"];
        allowed(versions, &["attack", "navigator", "layer"]);
        assert!(versions["layer"] == "4.5" && versions["attack"].as_str().unwrap().parse::<u32>().is_ok());
        let navigator: Vec<u32> =
            versions["navigator"].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect();
        assert!(navigator >= vec![4, 9, 0]);
        assert!((0..=3).contains(&layer["sorting"].as_i64().unwrap()) && layer["hideDisabled"].is_boolean());
        let is_colour = |value: &Value| {
            let digits = value.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        };
        let gradient = &layer["gradient"];
        allowed(gradient, &["colors", "minValue", "maxValue"]);
        assert!(gradient["colors"].as_array().unwrap().len() >= 2);
        gradient["colors"].as_array().unwrap().iter().for_each(is_colour);
        let (least, most) = (gradient["minValue"].as_f64().unwrap(), gradient["maxValue"].as_f64().unwrap());
        assert!(most > least);
        for item in layer["legendItems"].as_array().unwrap() {
            allowed(item, &["label", "color"]);
            assert!(item["label"].is_string());
            is_colour(&item["color"]);
        }
        let mut seen = Vec::new();
        for technique in layer["techniques"].as_array().unwrap() {
            let names = "techniqueID tactic comment enabled score color metadata links showSubtechniques";
            allowed(technique, &names.split_whitespace().collect::<Vec<_>>());
            let id = technique["techniqueID"].as_str().unwrap();
            let (parent, sub) = id.strip_prefix('T').unwrap().split_once('.').unwrap_or((&id[1..], "000"));
            let digits = |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
            assert!(digits(parent, 4) && digits(sub, 3), "{id}");
            assert!(!seen.contains(&id.to_owned()), "{id} twice");
            seen.push(id.to_owned());
            assert!((least..=most).contains(&technique["score"].as_f64().unwrap()));
            assert!(technique["comment"].is_string() && technique["enabled"].is_boolean());
            for entry in technique["metadata"].as_array().unwrap() {
                allowed(entry, &["name", "value"]);
                assert!(entry["name"].is_string() && entry["value"].is_string());
            }
        }
        assert!(seen.contains(&"T1071.004".to_owned()));
    }

    #[test]
    fn the_layer_is_of_format_4_5() {
        let coverage = Coverage::of(attack::table(), &Config::default(), None, None, Kept::default(), 0);
        let layer = layer(&coverage, attack::table());
        check(&layer);
        golden("coverage-layer.json", &format!("{layer:#}\n"));
    }
}
