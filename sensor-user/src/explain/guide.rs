//! The analyst's guide: a page for each rule in `docs/rules`, hand-written but for its head, which is made from the
//! tables in force. `explain` and `report` take their advice from the same text.

macro_rules! pages {
    ($($rule:literal)+) => {
        /// Rule and page, in Markdown.
        pub const PAGES: &[(&str, &str)] =
            &[$(($rule, include_str!(concat!("../../docs/rules/", $rule, ".md"))),)+];
    };
}

pages! {
    "dns-leak-ledger" "dns-non-dns" "dns-direct-mode" "dns-carriers" "dns-code-book" "dns-command-channel" "dns-beacon"
    "dns-dga" "dns-recon" "dns-leak-spread" "dns-subdomain-flood" "dns-fast-flux" "dns-short-lived-zone"
    "dns-rebinding" "dns-amplification" "dns-poisoning" "dns-resolver-policy" "dns-asset-policy" "dns-reputation" "dns-own-zone" "dns-brand"
    "limit-repeats" "limit-answers" "limit-telemetry" "limit-detached"
}

/// What a rule's finding means: the first paragraph of that part.
pub fn means(rule: &str) -> String {
    let text = section(rule, "What it means");
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What else it may be.
pub fn benign(rule: &str) -> Vec<String> {
    items(section(rule, "Benign causes"))
}

/// What to do, with commands in backticks and placeholders in braces.
pub fn next(rule: &str) -> Vec<String> {
    items(section(rule, "What to do"))
}

fn section(rule: &str, title: &str) -> &'static str {
    let page = PAGES.iter().find(|(name, _)| *name == rule).map_or("", |(_, page)| *page);
    let Some((_, rest)) = page.split_once(&format!("\n## {title}\n")) else { return "" };
    rest.split("\n## ").next().unwrap_or_default().trim()
}

/// The entries of a list, each on one line.
fn items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("- ").or_else(|| line.strip_prefix("1. ")), items.last_mut()) {
            (Some(first), _) => items.push(first.to_owned()),
            (None, Some(last)) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            (None, None) => {}
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::config::{Config, KEYS};
    use crate::coverage::claims;
    use crate::rules::list;

    /// Around what is made by [`head`].
    const MARKS: (&str, &str) = ("<!-- generated -->\n", "<!-- /generated -->");

    /// The generated head of a page: what the rule is, and its configuration.
    fn head(rule: &str) -> Option<String> {
        let row = list::rows().into_iter().find(|row| row.rule == rule)?;
        let mut out = format!(
            "Looks for {}. Evidence of the family {}; alone {}. ATT&CK {}: {} ({}; on the network {}).\n\n",
            row.about,
            row.families.join(", "),
            row.alone.name(),
            row.attack_version,
            none_if_empty(&row.techniques),
            none_if_empty(&row.analytics_host),
            none_if_empty(&row.analytics_network),
        );
        let _ = writeln!(out, "| key | default | meaning |\n|---|---|---|");
        let default = Config::default();
        for key in KEYS.iter().filter(|key| row.keys.contains(&format!("{}.{}", key.section, key.name))) {
            let (value, doc) = (key.value(&default).replace('|', "\\|"), key.doc.trim());
            let _ = writeln!(out, "| `{}.{}` | `{value}` | {doc} |", key.section, key.name);
        }
        let _ = writeln!(out, "\nShown by:\n");
        for test in claims::of_rule(rule) {
            let _ = writeln!(out, "- `{test}`");
        }
        Some(out)
    }

    fn none_if_empty(ids: &[String]) -> String {
        if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
    }

    /// `EARTHDOG_BLESS=1` writes the heads anew.
    #[test]
    fn every_rule_has_a_page_whose_head_is_what_is_in_force() {
        let rules: Vec<_> = list::rows().iter().map(|row| row.rule).collect();
        assert_eq!(PAGES.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), rules);
        for (rule, _) in PAGES {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/rules/{rule}.md"));
            let page = std::fs::read_to_string(&path).unwrap();
            let (before, rest) = page.split_once(MARKS.0).unwrap();
            let (head_there, after) = rest.split_once(MARKS.1).unwrap();
            let head = head(rule).unwrap();
            if std::env::var_os("EARTHDOG_BLESS").is_some() {
                std::fs::write(&path, format!("{before}{}{head}{}{after}", MARKS.0, MARKS.1)).unwrap();
                continue;
            }
            assert!(head_there == head, "docs/rules/{rule}.md: bless it with EARTHDOG_BLESS=1");
            assert_eq!(before, format!("# {rule}\n\n"));
        }
    }

    /// Words in backticks under "Evidence" are names that the code has.
    #[test]
    fn every_page_says_what_it_has_to_and_names_evidence_that_there_is() {
        let mut code = String::new();
        code += include_str!("../limits.rs");
        for folder in ["src/detect", "src/report"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                code += &std::fs::read_to_string(entry.path()).unwrap_or_default();
            }
        }
        for (rule, _) in PAGES {
            assert!(!means(rule).is_empty() && !benign(rule).is_empty(), "{rule}");
            assert!((2..=5).contains(&next(rule).len()), "{rule}: {:?}", next(rule));
            let evidence = section(rule, "Evidence");
            let named = evidence.split('`').skip(1).step_by(2).filter(|word| !word.contains('.'));
            let mut count = 0;
            for word in named {
                assert!(code.contains(&format!("\"{word}\"")), "{rule}: there is no evidence {word}");
                count += 1;
            }
            assert!(count > 0, "{rule} names no evidence");
        }
    }

    #[test]
    fn lists_are_read_as_they_are_wrapped() {
        assert_eq!(items("- one\n  more\n- two"), ["one more", "two"]);
        assert_eq!(means("dns-no-such"), "");
    }
}
