//! The goals, what was measured, and what falls short of them by name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use earthdog::escape::escape;

use crate::arguments::Set;
use crate::derived::Outcome;
use crate::emulated::Rates;
use crate::files::Kind;
use crate::measure::{LOW_PER_HOST_HOUR, Row, SOON_QUERIES, SOON_SECONDS};
use crate::table::{Table, figure, median_worst};

/// Name bytes that may be out before a tunnel of the files is found: (must, aim).
const MEDIAN_BYTES: (f64, f64) = (300.0, 200.0);
const WORST_BYTES: (f64, f64) = (1_000.0, 500.0);
/// Payload bytes a day of the slowest leak that is to be found within one: (must, aim).
const SLOWEST: (u32, u32) = (4_096, 256);

/// A goal with what was measured.
struct Goal {
    name: String,
    figure: String,
    must: String,
    aim: String,
    met: bool,
}

/// The table, then names; and whether every goal is met.
pub(crate) fn text(rows: &[Row], outcomes: &[Outcome], rates: Option<Rates>) -> (String, bool) {
    let goals: Vec<_> = files(rows)
        .into_iter()
        .chain(derived(outcomes))
        .chain(emulated(rows))
        .chain(hazards(rows))
        .chain(rates.map(slowest))
        .collect();
    let met = goals.iter().all(|goal| goal.met);
    let mut table = Table::new(1, &["goal", "measured", "must", "aim", ""]);
    for goal in goals {
        let verdict = if goal.met { "met" } else { "FALLS SHORT" };
        table.row(vec![goal.name, goal.figure, goal.must, goal.aim, verdict.to_owned()]);
    }
    let mut out = table.to_string();
    let mut short: BTreeMap<(Set, &str), Vec<&str>> = BTreeMap::new();
    for row in rows {
        if let Some(falls) = row.falls {
            short.entry((row.set, falls)).or_default().push(&row.file);
        }
    }
    for ((set, falls), names) in short {
        let names: Vec<_> = names.iter().map(|name| escape(name.as_bytes()).into_owned()).collect();
        let set = format!("{set:?}").to_lowercase();
        let _ = writeln!(out, "{set}, {falls} ({}): {}", names.len(), names.join("; "));
    }
    out += if met { "every goal is met\n" } else { "some goals are not met\n" };
    (out, met)
}

fn files(rows: &[Row]) -> Vec<Goal> {
    let of = |kind| rows.iter().filter(move |row| row.set == Set::Files && row.kind == kind);
    let counted: Vec<_> = of(Kind::Tunnel).filter(|row| !row.again).collect();
    let mut goals = Vec::new();
    if !counted.is_empty() {
        let found = counted.iter().filter(|row| row.found).count();
        goals.push(share("tunnels of the files found", found, counted.len()));
        let bytes = counted.iter().filter_map(|row| row.bytes_out).map(|bytes| bytes as f64);
        if let Some((median, worst)) = median_worst(bytes) {
            goals.push(at_most("name bytes out, median", median, MEDIAN_BYTES));
            goals.push(at_most("name bytes out, worst", worst, WORST_BYTES));
        }
        let late = counted.iter().filter(|row| row.falls == Some("late")).count();
        let name = format!("later than {SOON_SECONDS} s and {SOON_QUERIES} queries");
        goals.push(at_most(&name, late as f64, (0.0, 0.0)));
    }
    if of(Kind::Benign).next().is_some() {
        let alarmed = of(Kind::Benign).filter(|row| row.falls == Some("alarmed")).count();
        let name = "benign files with more of medium or higher than a crawl may have";
        goals.push(at_most(name, alarmed as f64, (0.0, 0.0)));
        let worst = of(Kind::Benign)
            .filter(|row| row.host_hours > 0)
            .map(|row| row.findings.low as f64 / row.host_hours as f64)
            .fold(0.0, f64::max);
        goals.push(at_most("low a host-hour, worst benign file", worst, (LOW_PER_HOST_HOUR, 0.0)));
    }
    goals
}

fn derived(outcomes: &[Outcome]) -> Option<Goal> {
    let wanted: Vec<_> = outcomes.iter().filter(|outcome| outcome.wanted).collect();
    let found = wanted.iter().filter(|outcome| outcome.within_a_day()).count();
    let name = "tunnels a hundred times slower or among honest traffic, found in a day";
    (!wanted.is_empty()).then(|| share(name, found, wanted.len()))
}

fn emulated(rows: &[Row]) -> Option<Goal> {
    let counted: Vec<_> = rows.iter().filter(|row| row.set == Set::Emulated).collect();
    let fine = counted.iter().filter(|row| row.falls.is_none()).count();
    (!counted.is_empty()).then(|| share("emulated tools found as expected", fine, counted.len()))
}

fn hazards(rows: &[Row]) -> Vec<Goal> {
    let counted: Vec<_> = rows.iter().filter(|row| row.set == Set::Hazards).collect();
    let fine = counted.iter().filter(|row| row.falls.is_none()).count();
    if counted.is_empty() {
        return Vec::new();
    }
    let findings: u64 = counted.iter().map(|row| row.findings.medium_or_higher()).sum();
    vec![
        share("hazards left alone", fine, counted.len()),
        at_most("findings of medium or higher on hazards", findings as f64, (0.0, 0.0)),
    ]
}

fn slowest(rates: Rates) -> Goal {
    let text = |rate: Option<u32>| rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
    let missed = text(rates.fastest_missed);
    Goal {
        name: format!("slowest leak found within a day, payload bytes a day (fastest missed: {missed})"),
        figure: text(rates.slowest_found),
        must: format!("≤ {}", SLOWEST.0),
        aim: format!("≤ {}", SLOWEST.1),
        met: rates.slowest_found.is_some_and(|rate| rate <= SLOWEST.0)
            && rates.fastest_missed < Some(SLOWEST.0),
    }
}

fn share(name: &str, count: usize, of: usize) -> Goal {
    let (figure, must) = (format!("{count} of {of}"), "all".to_owned());
    Goal { name: name.to_owned(), figure, must, aim: String::new(), met: count == of }
}

fn at_most(name: &str, value: f64, (must, aim): (f64, f64)) -> Goal {
    // Counts have nothing behind the point.
    let figure = |value: f64| if value.fract() == 0.0 { value.to_string() } else { figure(value) };
    let limit = |value| format!("≤ {}", figure(value));
    Goal {
        name: name.to_owned(),
        figure: figure(value),
        must: limit(must),
        aim: if aim < must { limit(aim) } else { String::new() },
        met: value <= must,
    }
}

#[cfg(test)]
mod tests {
    use earthdog_tests::derive::session::Sent;

    use super::*;
    use crate::sensor::tests::record;
    use crate::sensor::{Findings, Severity};

    fn row(set: Set, kind: Kind, file: &str, falls: Option<&'static str>) -> Row {
        Row {
            file: file.into(),
            set,
            kind,
            found: kind == Kind::Tunnel && falls != Some("missed"),
            severity: None,
            rule: None,
            seconds: Some(1.0),
            queries: Some(9),
            bytes_out: (falls != Some("missed")).then_some(250),
            payload: None,
            findings: Findings { medium: u64::from(falls == Some("alarmed")), ..Findings::default() },
            messages: 10,
            host_hours: 1,
            all_queries: 5,
            again: false,
            falls,
        }
    }

    fn fine() -> Vec<Row> {
        vec![
            row(Set::Files, Kind::Tunnel, "a", None),
            row(Set::Files, Kind::Benign, "b", None),
            row(Set::Emulated, Kind::Tunnel, "c", None),
            row(Set::Hazards, Kind::Benign, "d", None),
        ]
    }

    const SLOW: Rates = Rates { slowest_found: Some(300), fastest_missed: Some(280) };

    #[test]
    fn all_met_is_said() {
        let (text, met) = text(&fine(), &[], Some(SLOW));
        assert!(met && text.ends_with("every goal is met\n") && !text.contains("SHORT"), "{text}");
        assert_eq!(text.lines().count(), 12, "{text}");
    }

    #[test]
    fn each_shortfall_is_named_and_fails() {
        for (index, falls) in [(0, "missed"), (0, "late"), (1, "alarmed"), (2, "missed"), (3, "alarmed")] {
            let mut rows = fine();
            rows[index] = row(rows[index].set, rows[index].kind, "the one", Some(falls));
            let (text, met) = text(&rows, &[], Some(SLOW));
            assert!(!met && text.contains("FALLS SHORT"), "{index} {falls}: {text}");
            assert!(text.contains(&format!("{falls} (1): the one")), "{text}");
        }
        let mut rows = fine();
        rows[0].bytes_out = Some(301);
        assert!(!text(&rows, &[], None).1, "over the median");
        rows[0].bytes_out = Some(300);
        assert!(text(&rows, &[], None).1);
        let gap = Rates { slowest_found: Some(4000), fastest_missed: Some(8000) };
        for rates in [Rates::default(), gap, Rates { slowest_found: Some(5000), fastest_missed: Some(4700) }]
        {
            assert!(!text(&fine(), &[], Some(rates)).1, "{rates:?}");
        }
    }

    #[test]
    fn derived_tunnels_count_where_they_are_asked_for() {
        let missed =
            |wanted| Outcome::new(("stretched".to_owned(), wanted), "a", None, &Sent::default(), None);
        let found = in_a_day();
        assert!(text(&fine(), &[missed(false), found.clone()], None).1);
        let (text, met) = text(&fine(), &[missed(true), found], None);
        assert!(!met && text.contains("1 of 2"), "{text}");
    }

    fn in_a_day() -> Outcome {
        let hit = record("a", 100, Severity::Medium, None);
        Outcome::new(("diluted".to_owned(), true), "a", None, &Sent::default(), Some(&hit))
    }
}
