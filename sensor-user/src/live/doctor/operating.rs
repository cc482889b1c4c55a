//! The parts of docs/operating.md that are made from tables in force; `EARTHDOG_BLESS=1` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::hints;
use crate::config::KEYS;
use crate::limits::STEPS;
use crate::live::features::{Need, TABLE};
use crate::live::permission::NEEDED;
use crate::live::split::capabilities::OF_ATTACHER;

/// Begin and end of a part; its name stands between the two halves of the first.
const MARKS: (&str, &str, &str) = ("<!-- made: ", " -->\n", "<!-- end -->");

fn part(name: &str) -> Option<String> {
    let mut out = String::new();
    match name {
        "kernels" => {
            out.push_str("| feature | kernel | for |\n|---|---|---|\n");
            for row in TABLE {
                let must = if row.need == Need::Required { " (anything live)" } else { "" };
                let _ = writeln!(out, "| {} | {} | {}{must} |", row.name, row.since, row.use_for);
            }
        }
        "capabilities" => {
            out.push_str("| capability | why |\n|---|---|\n");
            for (_, name, why) in NEEDED {
                let _ = writeln!(out, "| `{name}` | {why} |");
            }
        }
        "kept" => {
            out.push_str("| capability | for |\n|---|---|\n");
            for (_, name, why) in OF_ATTACHER {
                let _ = writeln!(out, "| `{name}` | {why} |");
            }
        }
        "steps" => {
            out.push_str("| step | rule | what it does |\n|---|---|---|\n");
            for (number, step) in (1..).zip(&STEPS) {
                let _ = writeln!(out, "| {number} | `{}` | {} |", step.rule, step.does);
            }
        }
        "restart" => {
            let mut by_reason = BTreeMap::<_, Vec<_>>::new();
            for key in KEYS {
                let Some(reason) = key.restart else { continue };
                by_reason.entry(reason).or_default().push(format!("`{}.{}`", key.section, key.name));
            }
            out.push_str("| why | keys |\n|---|---|\n");
            for (reason, keys) in by_reason {
                let _ = writeln!(out, "| {reason} | {} |", keys.join(", "));
            }
        }
        "hints" => {
            out.push_str("| `id` | it costs | what to do |\n|---|---|---|\n");
            for row in hints::ROWS {
                let _ = writeln!(out, "| `{}` | {} | {} |", row.id, row.costs, row.fix);
            }
        }
        _ => return None,
    }
    Some(out)
}

#[test]
fn what_the_operators_guide_says_of_tables_is_what_is_in_force() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let there = std::fs::read_to_string(&path).unwrap();
    let mut pieces = there.split(MARKS.0);
    let mut made = pieces.next().unwrap_or_default().to_owned();
    let mut parts = 0;
    for piece in pieces {
        let (name, rest) =
            piece.split_once(MARKS.1).unwrap_or_else(|| panic!("no end of a mark: {piece:.40}"));
        let (_, after) = rest.split_once(MARKS.2).unwrap_or_else(|| panic!("{name} has no end"));
        let text = part(name).unwrap_or_else(|| panic!("nothing makes `{name}`"));
        let _ = write!(made, "{}{name}{}{text}{}{after}", MARKS.0, MARKS.1, MARKS.2);
        parts += 1;
    }
    assert_eq!(parts, 6);
    if std::env::var_os("EARTHDOG_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert!(there == made, "docs/operating.md: look at the difference and bless it with EARTHDOG_BLESS=1");
}
