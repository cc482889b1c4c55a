//! What became of the derived tunnels.

use std::fmt::Write as _;

use earthdog::escape::escape;
use earthdog_tests::derive::session::Sent;
use serde::Serialize;

use crate::sensor::{Record, Severity};
use crate::table::{Measure, Table, figure, median_worst};

/// A row of the JSON file for one derived tunnel. Figures are of the tunnel itself, over all its zones and clients, up to
/// the finding, by what was put into the capture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) file: String,
    kind: &'static str,
    pub(crate) derivation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    pub(crate) found: bool,
    severity: Option<Severity>,
    rule: Option<String>,
    seconds: Option<f64>,
    queries: Option<u64>,
    bytes_out: Option<u64>,
    /// How fast it leaks, by its name bytes and whole duration; absent for less than an hour.
    bytes_per_day: Option<f64>,
    /// One that the goals ask for.
    #[serde(skip)]
    pub(crate) wanted: bool,
}

const DAY: f64 = 86_400.0;

impl Outcome {
    pub(crate) fn new(
        (derivation, wanted): (String, bool),
        file: &str,
        host: Option<String>,
        sent: &Sent,
        hit: Option<&Record>,
    ) -> Self {
        let until = hit.map(|hit| sent.until(hit.time_ns));
        Self {
            file: file.to_owned(),
            kind: "derived",
            derivation,
            host,
            found: hit.is_some(),
            severity: hit.map(|hit| hit.severity),
            rule: hit.map(|hit| hit.rule.clone()),
            seconds: until.map(|(seconds, ..)| seconds),
            queries: until.map(|(_, queries, _)| queries),
            bytes_out: until.map(|(.., bytes)| bytes),
            bytes_per_day: sent.bytes_per_day(),
            wanted,
        }
    }

    pub(crate) fn within_a_day(&self) -> bool {
        self.seconds.is_some_and(|seconds| seconds <= DAY)
    }
}

/// A row for each derivation, then who was missed, then the slowest leak that was found.
pub(crate) fn text(outcomes: &[Outcome]) -> String {
    let head = [
        "derived",
        "found",
        "of",
        "in a day",
        "bytes: median",
        "worst",
        "seconds: median",
        "worst",
        "queries: median",
        "worst",
    ];
    let mut table = Table::new(1, &head);
    for group in outcomes.chunk_by(|a, b| a.derivation == b.derivation) {
        let found: Vec<_> = group.iter().filter(|outcome| outcome.found).collect();
        let mut cells = vec![escape(group[0].derivation.as_bytes()).into_owned()];
        let in_a_day = group.iter().filter(|outcome| outcome.within_a_day()).count();
        cells.extend([found.len(), group.len(), in_a_day].map(|count| count.to_string()));
        let measures: [Measure<'_, Outcome>; 3] = [
            &|outcome| outcome.bytes_out.map(|bytes| bytes as f64),
            &|outcome| outcome.seconds,
            &|outcome| outcome.queries.map(|queries| queries as f64),
        ];
        for measure in measures {
            let figures = median_worst(found.iter().filter_map(|outcome| measure(outcome)));
            let (median, worst) = figures.map_or_else(Default::default, |(m, w)| (figure(m), figure(w)));
            cells.extend([median, worst]);
        }
        table.row(cells);
    }
    table.to_string() + &missed(outcomes) + &slowest(outcomes)
}

fn missed(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for group in outcomes.chunk_by(|a, b| a.derivation == b.derivation) {
        let mut files: Vec<_> =
            group.iter().filter(|outcome| !outcome.found).map(|outcome| outcome.file.as_str()).collect();
        files.dedup();
        if !files.is_empty() {
            let line = format!("missed {}: {}", group[0].derivation, files.join(", "));
            let _ = writeln!(out, "{}", escape(line.as_bytes()));
        }
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

fn slowest(outcomes: &[Outcome]) -> String {
    let rated = |keep: &dyn Fn(&Outcome) -> bool| {
        let rates = outcomes.iter().filter(|outcome| keep(outcome));
        rates.filter_map(|outcome| Some((outcome.bytes_per_day?, outcome))).collect::<Vec<_>>()
    };
    let mut out = String::new();
    let mut line = |what: &str, entry: Option<&(f64, &Outcome)>| {
        let Some((rate, outcome)) = entry else { return };
        let of = format!("{}, {}", outcome.file, outcome.derivation);
        let _ = writeln!(out, "{what}: {} name bytes a day ({})", figure(*rate), escape(of.as_bytes()));
    };
    let by_rate = |a: &&(f64, &Outcome), b: &&(f64, &Outcome)| a.0.total_cmp(&b.0);
    line("slowest leak found within a day", rated(&Outcome::within_a_day).iter().min_by(by_rate));
    line("fastest leak not found within a day", rated(&|o| !o.within_a_day()).iter().max_by(by_rate));
    if out.is_empty() { out } else { format!("\n{out}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(derivation: &str, file: &str, hit: Option<(f64, u64)>, bytes_per_day: f64) -> Outcome {
        Outcome {
            file: file.into(),
            kind: "derived",
            derivation: derivation.into(),
            host: None,
            found: hit.is_some(),
            severity: None,
            rule: None,
            seconds: hit.map(|(seconds, _)| seconds),
            queries: hit.map(|_| 10),
            bytes_out: hit.map(|(_, bytes)| bytes),
            bytes_per_day: Some(bytes_per_day),
            wanted: false,
        }
    }

    #[test]
    fn each_derivation_is_a_row_and_misses_are_named() {
        let text = text(&[
            outcome("stretched x10", "a", Some((20.0, 200)), 9000.0),
            outcome("stretched x10", "b", Some((100_000.0, 300)), 500.0),
            outcome("stretched x10", "c", None, 2000.0),
            outcome("TCP/53", "a", Some((1.0, 150)), 90_000.0),
        ]);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            ["stretched", "x10", "2", "3", "1", "300", "300", "100000", "100000", "10.0", "10.0"]
        );
        assert!(text.contains("missed stretched x10: c\n"), "{text}");
        assert!(!text.contains("missed TCP"), "{text}");
        assert!(
            text.contains("slowest leak found within a day: 9000 name bytes a day (a, stretched x10)"),
            "{text}"
        );
        assert!(
            text.contains("fastest leak not found within a day: 2000 name bytes a day (c, stretched x10)"),
            "{text}"
        );
    }
}
