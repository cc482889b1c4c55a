//! Coverage for people: text of 80 columns, and Markdown.

use std::fmt::Write as _;

use super::claims::Status;
use super::{Coverage, SelfTest, Tunable};
use crate::escape::escape;
use crate::explain::wrap::wrapped;
use crate::report::text::thousands;

pub(super) fn text(coverage: &Coverage) -> String {
    let mut out = String::new();
    wrapped(&mut out, "", &summary(coverage));
    for row in &coverage.analytics {
        let head = format!("{} {} ({})", row.analytic, row.status.name(), row.platforms.join(", "));
        let _ = writeln!(out);
        wrapped(&mut out, "", &format!("{head}: {} {}", row.strategy, row.strategy_name));
        wrapped(&mut out, "  why       ", &row.why);
        if row.status == Status::Absent {
            continue;
        }
        wrapped(&mut out, "  rules     ", &row.rules.join(", "));
        wrapped(&mut out, "  needs     ", &components(coverage, &row.components));
        for tunable in &row.tunables {
            wrapped(&mut out, "  tunable   ", &in_force(tunable));
        }
        wrapped(
            &mut out,
            "  shown by  ",
            &format!("{} tests (--markdown and --json name them)", row.tests.len()),
        );
        if coverage.self_test.is_some() {
            let found = match row.self_test.len() {
                0 => "nothing that it sent past the hooks".to_owned(),
                count => format!("{count} tools sent past the hooks: {}", row.self_test.join(", ")),
            };
            wrapped(&mut out, "  here      ", &format!("the last self-test found {found}"));
        }
    }
    let _ = writeln!(out);
    for (id, component) in &coverage.components {
        wrapped(
            &mut out,
            &format!("{id}  {:<7} ", component.collected),
            &format!("{}: {}", component.name, component.how),
        );
    }
    let _ = writeln!(out);
    for line in state(coverage) {
        wrapped(&mut out, "", &line);
    }
    out
}

pub(super) fn markdown(coverage: &Coverage) -> String {
    let mut out = format!("# Coverage\n\n{}\n\n", cell(&summary(coverage)));
    let _ = writeln!(
        out,
        "| analytic | platform | strategy | techniques | status | why | rules | data | tunables in force |"
    );
    let _ = writeln!(out, "|---|---|---|---|---|---|---|---|---|");
    for row in &coverage.analytics {
        let tunables: Vec<_> = row.tunables.iter().map(in_force).collect();
        let cells = [
            row.analytic.clone(),
            row.platforms.join(", "),
            format!("{} {}", row.strategy, row.strategy_name),
            row.techniques.join(", "),
            row.status.name().to_owned(),
            row.why.clone(),
            row.rules.join(", "),
            row.components.join(", "),
            tunables.join("; "),
        ];
        let cells: Vec<_> = cells.iter().map(|text| cell(text)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    let _ = writeln!(out, "\n## Data\n\n| component | name | collected | how |\n|---|---|---|---|");
    for (id, component) in &coverage.components {
        let cells = [id, &component.name, &component.collected, &component.how].map(|text| cell(text));
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    let _ = writeln!(out, "\n## Loss and retention\n");
    for line in state(coverage) {
        let _ = writeln!(out, "- {}", cell(&line));
    }
    let _ = writeln!(out, "\n## Shown by\n");
    for row in coverage.analytics.iter().filter(|row| !row.tests.is_empty()) {
        let tests: Vec<_> = row.tests.iter().map(|test| format!("`{}`", cell(test))).collect();
        let _ = writeln!(out, "- {}: {}", cell(&row.analytic), tests.join(", "));
    }
    out
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    escape(text).replace('|', "\\|").replace('<', "&lt;")
}

fn summary(coverage: &Coverage) -> String {
    format!(
        "ATT&CK {}: of {} analytics that rules map to, {} native, {} partial, {} absent.",
        coverage.attack_version,
        coverage.analytics.len(),
        coverage.count(Status::Native),
        coverage.count(Status::Partial),
        coverage.count(Status::Absent)
    )
}

fn components(coverage: &Coverage, ids: &[String]) -> String {
    let words = ids.iter().map(|id| {
        let known = coverage.components.iter().find(|(known, _)| known == id);
        let collected = known.map_or("no", |(_, component)| &*component.collected);
        format!("{id} (collected: {collected})")
    });
    words.collect::<Vec<_>>().join(", ")
}

fn in_force(tunable: &Tunable) -> String {
    let keys: Vec<_> = tunable.in_force.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let keys = if keys.is_empty() { "no key stands for it".to_owned() } else { keys.join(", ") };
    format!("{}: {keys}", tunable.name)
}

fn self_test(test: &SelfTest) -> String {
    let verdict = if test.ok { "passed" } else { "FAILED" };
    let (live, replayed) = (test.summary.live, test.summary.replayed);
    let mut line = format!(
        "Self-test of {} {verdict} (version {}): past the hooks {} of {} tools found and {} of {} kinds of honest traffic left \
         alone, replayed {} of {} and {} of {}; {} of {} findings name who sent.",
        escape(&test.time),
        escape(&test.version),
        live.tools_found,
        live.tools,
        live.honest_quiet,
        live.honest,
        replayed.tools_found,
        replayed.tools,
        replayed.honest_quiet,
        replayed.honest,
        test.summary.owners_right,
        test.summary.owners,
    );
    if !test.falls.is_empty() {
        let _ = write!(line, " It fell short of: {}.", escape(&test.falls.join(", ")));
    }
    if let Some(floor) = &test.floor {
        let bytes =
            |found: Option<u32>| found.map_or_else(|| "none".to_owned(), |bytes| format!("{bytes} bytes"));
        let _ = write!(
            line,
            " Slowest leak that would have been found: {} in an hour, {} in a day.",
            bytes(floor.hour.found),
            bytes(floor.day.found)
        );
    }
    line
}

fn state(coverage: &Coverage) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(loss) = &coverage.loss {
        let since = coverage.running_since.as_deref().unwrap_or("its start");
        lines.push(format!(
            "Since {since} {} of {} packets lost, and {} process starts.",
            thousands(loss.lost),
            thousands(loss.seen),
            thousands(loss.processes_lost)
        ));
    }
    if let Some(test) = &coverage.self_test {
        lines.push(self_test(test));
    }
    if let Some(canary) = &coverage.canary {
        let came = match (&canary.stopped_at, &canary.why) {
            (Some(stage), Some(why)) => format!("did not come through: {}: {}", escape(stage), escape(why)),
            _ => "came through".to_owned(),
        };
        lines.push(format!("Canary of {} {came}.", escape(&canary.time)));
    }
    for kind in &coverage.retention {
        let there = match (kind.records, &kind.oldest) {
            (Some(records), Some(oldest)) => {
                format!("; {} records, the oldest of {oldest}", thousands(records))
            }
            (Some(records), None) => format!("; {} records", thousands(records)),
            _ => String::new(),
        };
        lines.push(format!("Kept of {}: {} days{there}.", kind.kind, thousands(kind.days)));
    }
    if coverage.retention.is_empty() {
        lines.push("Nothing is kept from one run to the next: store.path is empty.".to_owned());
    }
    if coverage.exceptions.is_empty() {
        lines.push("No exceptions: every finding alerts.".to_owned());
    }
    lines.extend(coverage.exceptions.iter().map(|exception| format!("Exception {exception}.")));
    lines.extend(coverage.missing.iter().cloned());
    lines
}
