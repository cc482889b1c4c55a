//! A self-test as text.

use std::fmt::Write as _;

use super::floor::{Floor, Slowest};
use super::outcome::{Count, How, Kind, Outcome, OwnerIs, Row};
use crate::escape::escape;

/// The table, what is to be known beside it, and the verdict.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for (kind, title) in [(Kind::Tool, "EMULATED TOOL"), (Kind::Honest, "HONEST TRAFFIC")] {
        let _ = writeln!(
            text,
            "{title:<34} HOW    FOUND    RULE                  SECONDS  QUERIES  BYTES OUT  OWNER",
        );
        for row in outcome.cases.iter().filter(|row| row.kind == kind) {
            line(&mut text, row);
        }
        text.push('\n');
    }
    for stray in &outcome.strays {
        let _ = writeln!(text, "a finding about none of these: {}", escape(stray));
    }
    let summary = &outcome.summary;
    let count = |text: &mut String, what: &str, count: Count| {
        let _ = writeln!(
            text,
            "{what:<10} {} of {} tools found as expected, {} of {} kinds of honest traffic left alone",
            count.tools_found, count.tools, count.honest_quiet, count.honest
        );
    };
    count(&mut text, "live", summary.live);
    count(&mut text, "replayed", summary.replayed);
    let _ = writeln!(
        text,
        "{:<10} {} of {} findings name the process that sent",
        "owners", summary.owners_right, summary.owners
    );
    if let Some(floor) = &outcome.floor {
        floor_lines(&mut text, floor);
    }
    if outcome.lost > 0 {
        let _ = writeln!(text, "{:<10} {} packets by the self-test's own sensor", "lost", outcome.lost);
    }
    for hook in &outcome.hooks {
        let _ = writeln!(text, "{:<10} {}", "hook", escape(hook));
    }
    for note in &outcome.notes {
        let _ = writeln!(text, "{:<10} {}", "note", escape(note));
    }
    let known = match summary.known_gaps {
        0 => String::new(),
        gaps => format!(", {gaps} known to be missed"),
    };
    let verdict = if outcome.ok { "passed" } else { "FAILED" };
    let _ = writeln!(text, "{:<10} {verdict}{known}, in {:.0} s", "self-test", outcome.seconds);
    text
}

fn line(text: &mut String, row: &Row) {
    let how = match row.how {
        How::Live => "live",
        How::Replay => "replay",
    };
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let seconds = row.seconds.map_or_else(
        || "-".to_owned(),
        |seconds| {
            if seconds < 10.0 { format!("{seconds:.2}") } else { format!("{seconds:.0}") }
        },
    );
    let owner = match row.owner {
        Some(OwnerIs::Right) => "right",
        Some(OwnerIs::Wrong) => "WRONG",
        Some(OwnerIs::None) => "none",
        None => "-",
    };
    let falls = match &row.falls {
        None => String::new(),
        Some(falls) if row.known => format!("  {} (known)", escape(falls)),
        Some(falls) => format!("  {}", escape(falls).to_uppercase()),
    };
    let _ = writeln!(
        text,
        "{:<34} {how:<6} {:<8} {:<20} {seconds:>8} {:>8} {:>10}  {owner}{falls}",
        row.name,
        row.severity.map_or("-", |severity| severity.name()),
        escape(row.rule.as_deref().unwrap_or("-")),
        number(row.queries),
        number(row.bytes_out),
    );
}

fn floor_lines(text: &mut String, floor: &Floor) {
    let slowest = |of: Slowest| match of.found {
        Some(bytes) => format!("{bytes} bytes"),
        None => "none that was tried".to_owned(),
    };
    let missed = |of: Slowest| of.missed.map_or_else(String::new, |bytes| format!(" (missed: {bytes})"));
    let load = &floor.load;
    let beside = if load.known {
        let share = if load.share < 1.0 {
            format!(", {:.1} % of them tried", load.share * 100.0)
        } else {
            String::new()
        };
        format!("at {:.2} look-ups a second{share}, {:.3} % lost", load.lookups_per_s, load.loss * 100.0)
    } else {
        "without load or loss: no sensor answers".to_owned()
    };
    let _ = writeln!(
        text,
        "{:<10} the slowest leak found: {} in an hour{}, {} in a day{}; {beside}",
        "floor",
        slowest(floor.hour),
        missed(floor.hour),
        slowest(floor.day),
        missed(floor.day),
    );
}
