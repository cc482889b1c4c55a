//! The table of the files as they are, and what they come to.

use std::fmt::Write as _;

use earthdog::escape::escape;

use crate::arguments::Set;
use crate::files::Kind;
use crate::measure::Row;
use crate::poisson::upper_bound;
use crate::sensor::Findings;
use crate::table::{Measure, Table, figure, median_worst};

pub(crate) fn text(rows: &[Row], set: Set) -> String {
    let of = |kind| rows.iter().filter(|row| row.set == set && row.kind == kind).collect::<Vec<_>>();
    let (tunnels, benign) = (of(Kind::Tunnel), of(Kind::Benign));
    let mut out = String::new();
    if !tunnels.is_empty() {
        out += &found(&tunnels, if set == Set::Emulated { "emulated tool" } else { "tunnel" });
    }
    if !benign.is_empty() {
        out += if out.is_empty() { "" } else { "\n" };
        out += &left_alone(&benign, if set == Set::Hazards { "hazard" } else { "benign" });
    }
    out
}

fn found(rows: &[&Row], what: &str) -> String {
    let truth = rows.iter().any(|row| row.payload.is_some());
    let mut head = vec![what, "found", "rule", "seconds", "queries", "bytes out"];
    head.extend(truth.then_some("payload"));
    head.extend(["low", "medium", "high", "critical", "falls short"]);
    let mut table = Table::new(3, &head);
    for row in rows {
        let mut cells = vec![
            escape(row.file.as_bytes()).into_owned(),
            row.severity.map_or_else(|| "no".to_owned(), |severity| format!("{severity:?}").to_lowercase()),
            row.rule.clone().unwrap_or_default(),
            row.seconds.map(figure).unwrap_or_default(),
            row.queries.map(|count| count.to_string()).unwrap_or_default(),
            row.bytes_out.map(|count| count.to_string()).unwrap_or_default(),
        ];
        if truth {
            cells.push(row.payload.map(|count| count.to_string()).unwrap_or_default());
        }
        cells.extend(counts(row.findings));
        cells.push(row.falls.unwrap_or_default().to_owned());
        table.row(cells);
    }
    let mut out = table.to_string();
    let counted: Vec<_> = rows.iter().filter(|row| !row.again).collect();
    let hits = counted.iter().filter(|row| row.found).count();
    let _ = writeln!(out, "\n{hits} of {} {what}s found", counted.len());
    let measures: [(&str, Measure<'_, Row>); 3] = [
        (if truth { "bytes out" } else { "name bytes out" }, &|row| row.bytes_out.map(|bytes| bytes as f64)),
        ("seconds", &|row| row.seconds),
        ("queries", &|row| row.queries.map(|count| count as f64)),
    ];
    for (name, measure) in measures {
        if let Some((median, worst)) = median_worst(counted.iter().filter_map(|row| measure(row))) {
            let _ = writeln!(
                out,
                "{name} before the finding: median {}, worst {}",
                figure(median),
                figure(worst)
            );
        }
    }
    let late = counted.iter().filter(|row| row.falls == Some("late")).count();
    let _ = writeln!(out, "later than asked for: {late}");
    out
}

fn left_alone(rows: &[&Row], what: &str) -> String {
    let head = [
        what,
        "queries",
        "host-hours",
        "low",
        "medium",
        "high",
        "critical",
        "≥ medium/M queries",
        "≥ medium/host-hour",
        "low/host-hour",
        "falls short",
    ];
    let mut table = Table::new(1, &head);
    let (mut queries, mut hours, mut findings) = (0, 0, Findings::default());
    for row in rows {
        let name = escape(row.file.as_bytes()).into_owned();
        let name = if row.again { format!("({name})") } else { name };
        let mut cells = rates(name, row.all_queries, row.host_hours, row.findings);
        cells.push(row.falls.unwrap_or_default().to_owned());
        table.row(cells);
        if !row.again {
            queries += row.all_queries;
            hours += row.host_hours;
            findings.add(row.findings);
        }
    }
    table.row(rates("in all".to_owned(), queries, hours, findings));
    let mut out = table.to_string();
    out += "\nrates with their upper bound in brackets (Poisson, exact, 95 %)";
    if rows.iter().any(|row| row.again) {
        out += "; files in brackets hold traffic of others once more and are not in the sum";
    }
    out + "\n"
}

fn counts(findings: Findings) -> [String; 4] {
    [findings.low, findings.medium, findings.high, findings.critical].map(|count| count.to_string())
}

fn rates(name: String, queries: u64, hours: u64, findings: Findings) -> Vec<String> {
    let per = |count: u64, units: f64| {
        if units == 0.0 {
            return "-".to_owned();
        }
        format!("{} ({})", figure(count as f64 / units), figure(upper_bound(count) / units))
    };
    let heavy = findings.medium_or_higher();
    let mut cells = vec![name, queries.to_string(), hours.to_string()];
    cells.extend(counts(findings));
    cells.push(per(heavy, queries as f64 / 1e6));
    cells.push(per(heavy, hours as f64));
    cells.push(per(findings.low, hours as f64));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::Severity;

    fn row(file: &str, kind: Kind, hit: Option<(f64, u64, u64)>, findings: Findings) -> Row {
        Row {
            file: file.into(),
            set: Set::Files,
            kind,
            found: hit.is_some(),
            severity: hit.map(|_| Severity::Medium),
            rule: hit.map(|_| "ledger".into()),
            seconds: hit.map(|(seconds, ..)| seconds),
            queries: hit.map(|(_, queries, _)| queries),
            bytes_out: hit.map(|(.., bytes)| bytes),
            payload: None,
            findings,
            messages: 1000,
            host_hours: 10,
            all_queries: 500_000,
            again: file == "again",
            falls: hit.filter(|(seconds, queries, _)| *seconds > 5.0 && *queries > 25).map(|_| "late"),
        }
    }

    #[test]
    fn tunnels_are_summed_up() {
        let one = Findings { medium: 1, ..Findings::default() };
        let rows = [
            row("a", Kind::Tunnel, Some((1.5, 10, 200)), one),
            row("b", Kind::Tunnel, Some((60.0, 30, 900)), one),
            row("c", Kind::Tunnel, Some((60.0, 20, 250)), one),
            row("d", Kind::Tunnel, None, Findings::default()),
        ];
        let text = text(&rows, Set::Files);
        for says in [
            "3 of 4 tunnels found",
            "name bytes out before the finding: median 250, worst 900",
            "seconds before the finding: median 60.0, worst 60.0",
            "later than asked for: 1",
        ] {
            assert!(text.contains(says), "{says:?} not in:\n{text}");
        }
        assert!(text.lines().nth(4).unwrap().starts_with("d       no"), "{text}");
    }

    #[test]
    fn benign_rates_have_their_bounds() {
        let none = Findings::default();
        let some = Findings { low: 4, high: 1, ..none };
        let rows = [row("a", Kind::Benign, None, none), row("again", Kind::Benign, None, some)];
        let text = text(&rows, Set::Files);
        let cells = |line: usize| {
            text.lines()
                .nth(line)
                .unwrap()
                .split("  ")
                .filter(|c| !c.is_empty())
                .collect::<Vec<_>>()
                .join("|")
                .replace("| ", "|")
        };
        assert_eq!(cells(1), "a|500000|10|0|0|0|0|0 (6.0)|0 (0.30)|0 (0.30)");
        assert_eq!(cells(2), "(again)|500000|10|4|0|1|0|2.0 (9.5)|0.10 (0.47)|0.40 (0.92)");
        assert_eq!(cells(3), "in all|500000|10|0|0|0|0|0 (6.0)|0 (0.30)|0 (0.30)");
    }
}
