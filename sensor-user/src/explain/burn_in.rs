//! `earthdog alerts --burn-in`: what would have alerted, by client, zone and rule, and exceptions for it that only lack
//! who answers for them, why and until when.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::alerts::{VERSION, cut, plain};
use crate::config::{Config, Suppress};
use crate::exception::is_sure;
use crate::finding::{Finding, Severity};
use crate::sink;

/// Groups with a line of their own, most findings first; the rest is counted.
const MAX_GROUPS: usize = 256;

/// What findings have in common, and how many they are.
#[derive(Debug)]
struct Group {
    /// The widest exception that covers no other group.
    scope: Suppress,
    count: u64,
    /// Of these no exception covers.
    uncovered: u64,
    most: Severity,
    last: String,
}

/// Summary of the last states of findings, each once.
pub(super) fn write(findings: &[Finding], as_json: bool, out: &mut impl Write) -> io::Result<()> {
    let all = groups(findings.iter().filter(|finding| would_alert(finding)));
    let total: u64 = all.iter().map(|group| group.count).sum();
    let shown = &all[..all.len().min(MAX_GROUPS)];
    let more = all.len() - shown.len();
    if as_json {
        let groups: Vec<_> = shown.iter().map(Group::json).collect();
        let all =
            serde_json::json!({ "v": VERSION, "findings": total, "groups": groups, "groups_left_out": more });
        out.write_all(sink::json(&all)?.as_bytes())?;
        return out.flush();
    }
    if shown.is_empty() {
        writeln!(out, "nothing would have alerted")?;
        return out.flush();
    }
    writeln!(out, "# {total} findings would have alerted:")?;
    writeln!(out, "#\n# FINDINGS MOST     RULE             ZONE                     CLIENT")?;
    for group in shown {
        writeln!(out, "{}", group.line())?;
    }
    if more > 0 {
        writeln!(out, "# and {more} groups more: narrow it with --zone, --client, --rule or --since")?;
    }
    writeln!(
        out,
        "#\n# Exceptions for them. Each is refused until its owner, reason and expires are filled in; take out what should\n\
         # alert. All that is said in one has to fit; less of it covers more."
    )?;
    for (number, group) in shown.iter().enumerate() {
        write!(out, "\n{}", group.entry(number + 1))?;
    }
    out.flush()
}

/// It alerts, or does not since everything is only observed; what an exception of the configuration covers stays that.
fn would_alert(finding: &Finding) -> bool {
    !finding.is_suppressed() || finding.is_observed()
}

/// Most findings first.
fn groups<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for finding in findings {
        let scope = scope(finding);
        let group = groups.entry(scope.scope()).or_insert_with(|| Group {
            scope,
            count: 0,
            uncovered: 0,
            most: Severity::Low,
            last: String::new(),
        });
        group.count += 1;
        group.uncovered += u64::from(finding.exception.as_ref().is_some_and(|one| one.why.is_some()));
        group.most = group.most.max(finding.severity);
        group.last = finding.last_seen.clone().max(std::mem::take(&mut group.last));
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.most)));
    groups
}

/// The program where it is known for sure, with its unit; else the address.
fn scope(finding: &Finding) -> Suppress {
    let client = &finding.client;
    let exe = client.exe.clone().filter(|exe| exe.starts_with('/') && is_sure(client));
    let (exe, unit, address) = match exe {
        Some(exe) => (exe, client.unit.clone().unwrap_or_default(), String::new()),
        None => (
            String::new(),
            String::new(),
            client.ip.map_or_else(String::new, |ip| ip.to_canonical().to_string()),
        ),
    };
    Suppress {
        exe,
        unit,
        address,
        zone: finding.zone.clone().unwrap_or_default(),
        rule: finding.rule.to_string(),
        ..Suppress::default()
    }
}

impl Group {
    fn json(&self) -> serde_json::Value {
        let Suppress { exe, unit, address, zone, rule, .. } = &self.scope;
        serde_json::json!({
            "findings": self.count, "uncovered": self.uncovered, "severity": self.most.name(), "last_seen": self.last,
            "exe": exe, "unit": unit, "address": address, "zone": zone, "rule": rule,
        })
    }

    fn line(&self) -> String {
        let Suppress { exe, unit, address, zone, rule, .. } = &self.scope;
        let client: Vec<_> = [exe, unit, address]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(|text| plain(text))
            .collect();
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let line = format!(
            "# {:>8} {:<8} {:<16} {:<24} {}",
            self.count,
            self.most.name(),
            cut(&plain(rule.trim_start_matches("dns-")), 16),
            or_dash(cut(&plain(zone), 24)),
            or_dash(client.join(" ")),
        );
        line.trim_end().to_owned()
    }

    /// As TOML, if the configuration takes it once it is filled in.
    fn entry(&self, number: usize) -> String {
        if self.uncovered == self.count {
            return format!(
                "# None for {}: no exception covers what it rests on.\n",
                plain(&self.scope.scope())
            );
        }
        let Suppress { exe, unit, address, zone, rule, .. } = &self.scope;
        let mut fixed = String::new();
        for (key, value) in
            [("exe", exe), ("unit", unit), ("address", address), ("zone", zone), ("rule", rule)]
        {
            if !value.is_empty() {
                let _ = writeln!(fixed, "{key} = {}", toml::Value::String(value.clone()));
            }
        }
        let _ = writeln!(fixed, "at_most = \"{}\"", self.most.name());
        let with = |owner: &str, reason: &str, expires: &str| {
            format!(
                "[[suppress]]\nname = \"burn-in-{number}\"\nowner = \"{owner}\"\nreason = \"{reason}\"\n\
                 expires = \"{expires}\"\n{fixed}"
            )
        };
        // Whatever has to be escaped would be a line of its own, or look like another name.
        let is_plain = [exe, unit, address, zone, rule]
            .into_iter()
            .all(|text| text.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        if !is_plain || Config::parse(&with("x", "x", "never"), "").is_err() {
            let scope = plain(&self.scope.scope());
            return format!("# None for {scope}: the configuration cannot name it.\n");
        }
        with("", "", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exception::{Exceptions, Facts};
    use crate::explain::tests::finding;

    const NOW: u64 = 1_800_000_000_000_000_000;

    fn observed(change: impl FnOnce(&mut Finding)) -> Finding {
        let mut finding = finding();
        finding.client.grade = "exact";
        finding.client.exe = Some("/usr/bin/agent".to_owned());
        finding.client.unit = None;
        change(&mut finding);
        let facts = Facts { finding: &finding, rules: &["dns-leak-ledger"], has_payload: false };
        let (number, exception) = Exceptions::new(&[], true).find(&facts, NOW).unwrap();
        assert_eq!(number, None);
        finding.exception = Some(exception);
        finding
    }

    fn text(findings: &[Finding]) -> String {
        let mut out = Vec::new();
        write(findings, false, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn groups_are_counted_and_an_entry_filled_in_covers_its_group_and_no_other() {
        let agent = || observed(|_| {});
        let other = observed(|finding| finding.zone = Some("other.example".to_owned()));
        let text = text(&[agent(), agent(), other.clone()]);
        assert!(text.starts_with("# 3 findings would have alerted:\n"), "{text}");
        assert!(text.contains("#        2 medium   leak-ledger"), "{text}");
        let refused = Config::parse(&text, "x").unwrap_err();
        assert!(refused.message.contains("suppress.expires = \"\" is not allowed"), "{refused}");
        let unowned = Config::parse(&text.replace("expires = \"\"", "expires = \"never\""), "x").unwrap_err();
        assert!(unowned.message.contains("suppress.owner is not allowed"), "{unowned}");
        let first = text.split("\n[[suppress]]").take(2).collect::<Vec<_>>().join("\n[[suppress]]");
        let filled = first
            .replace("owner = \"\"", "owner = \"ann\"")
            .replace("reason = \"\"", "reason = \"known\"")
            .replace("expires = \"\"", "expires = \"never\"");
        let exceptions = Exceptions::new(&Config::parse(&filled, "x").unwrap().suppress, false);
        let covers = |finding: &Finding| {
            let facts = Facts { finding, rules: &["dns-leak-ledger"], has_payload: false };
            exceptions.find(&facts, NOW).is_some_and(|(_, exception)| exception.suppressed)
        };
        assert!(covers(&agent()) && !covers(&other), "{filled}");
    }

    #[test]
    fn what_cannot_be_excepted_gets_no_entry_and_nothing_raw_is_printed() {
        let evil = observed(|finding| finding.client.exe = Some("/tmp/\u{1b}[2J\"\n[[sink]]".to_owned()));
        let text_of_evil = text(&[evil]);
        assert!(text_of_evil.contains("the configuration cannot name it"), "{text_of_evil}");
        assert!(!text_of_evil.contains('\u{1b}') && !text_of_evil.contains("\n[[s"), "{text_of_evil}");
        let mut finding = finding();
        let facts = Facts { finding: &finding, rules: &["dns-leak-ledger"], has_payload: true };
        finding.exception = Exceptions::new(&[], true).find(&facts, NOW).map(|(_, exception)| exception);
        assert!(finding.is_suppressed() && finding.is_observed());
        let text = text(&[finding]);
        assert!(text.contains("no exception covers what it rests on") && !text.contains("[["), "{text}");
    }

    #[test]
    fn what_an_exception_covers_is_not_summed_up_and_unsure_clients_go_by_address() {
        let mut excepted = observed(|_| {});
        excepted.exception.as_mut().unwrap().name = "known".to_owned();
        assert_eq!(text(&[excepted]), "nothing would have alerted\n");
        let text = text(&[observed(|finding| finding.client.grade = "inferred")]);
        assert!(text.contains("\naddress = \"10.0.0.2\"") && !text.contains("\nexe"), "{text}");
    }
}
