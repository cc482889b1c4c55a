//! `earthdog explain`: one finding on a terminal, 80 columns, the decision first.

use std::fmt::Write as _;

use super::alerts::bytes;
use super::decode::Sample;
use super::view::{Explained, after, second};
use super::wrap::{WIDTH, wrapped};
use crate::escape::escape;
use crate::finding::State;
use crate::finding::trail::Point;
use crate::report::text::{bar, thousands};

/// Rows of the curve.
const ROWS: usize = 12;
const BAR: u64 = 30;

/// All of it; `colour` only marks the severity and headings.
pub fn text(explained: &Explained, colour: bool) -> String {
    let mut page = Page { out: String::new(), colour };
    page.wrapped("", &explained.verdict);
    page.wrapped("", &explained.means);
    page.head("facts");
    for (name, value) in &explained.facts {
        page.wrapped(&format!("  {name:<11} "), value);
    }
    evidence(&mut page, explained);
    page.head("samples, the part that differs marked");
    explained.samples.iter().for_each(|sample| page.sample(sample));
    if !explained.gaps.is_empty() {
        page.head("time between look-ups");
        let most = explained.gaps.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        for (label, count) in &explained.gaps {
            let bar = bar(u64::from(*count), u64::from(most), BAR);
            page.line(&format!("  {label:<18} {bar:<30} {}", thousands(u64::from(*count))));
        }
    }
    if !explained.curve.is_empty() {
        page.head("ledger over time");
        page.line("  after        queries       in (most)  out (least to most)");
        let most = explained.curve.last().map_or(1, |last| last.3).max(1);
        for Point(ms, queries, low, high, _, down) in picked(&explained.curve) {
            let range = format!("{} to {}", bytes(*low), bytes(*high));
            page.line(&format!(
                "  {:<10} {:>9} {:>15}  {range:<17} {}",
                after(*ms),
                thousands(*queries),
                bytes(*down),
                bar(*high, most, 22)
            ));
        }
    }
    page.head("who started whom");
    for (depth, process) in explained.processes.iter().enumerate() {
        let branch = if depth == 0 { "  ".to_owned() } else { format!("  {}+- ", "   ".repeat(depth - 1)) };
        page.wrapped(&branch, process);
    }
    page.head("what happened");
    for (index, change) in explained.changes.iter().enumerate() {
        if explained.changes_left_out > 0 && index == explained.changes.len() / 2 {
            page.line(&format!("  ... {} more", explained.changes_left_out));
        }
        let state = match change.state {
            State::Create => "opened",
            State::Update => "updated",
            State::Close => "closed",
        };
        let head = format!("  {} {state:<7} {:<8} ", second(&change.time), change.severity.name());
        page.wrapped(&head, &format!("out up to {}; {}", bytes(change.bytes_up.high), change.news));
    }
    page.head("unless");
    page.wrapped("  ", &explained.counterfactual);
    advice(&mut page, explained);
    page.out
}

fn evidence(page: &mut Page, explained: &Explained) {
    page.head("evidence; 1.00 is at the threshold");
    for evidence in &explained.evidence {
        let head = format!("  {:>5.2} {:<11} ", evidence.weight, evidence.family);
        page.wrapped(&head, &evidence.observed);
        page.wrapped("                    ", &format!("ordinary: {}", evidence.baseline));
    }
    if !explained.habits.is_empty() {
        page.head("this host");
        for row in &explained.habits {
            page.wrapped("  ", &format!("{}: {}", row.what, row.here));
            page.wrapped("      ", &format!("usual: {}", row.usual));
        }
    }
}

fn advice(page: &mut Page, explained: &Explained) {
    if !explained.benign.is_empty() {
        page.head("what else it may be");
        explained.benign.iter().for_each(|text| page.wrapped("  - ", text));
    }
    if !explained.next.is_empty() {
        page.head("next");
        for (number, text) in (1..).zip(&explained.next) {
            page.step(number, text);
        }
    }
    page.head("attack");
    let attack = &explained.attack;
    page.wrapped(
        "  ",
        &format!(
            "ATT&CK {}: {}; {}; {}",
            attack.version,
            attack.tactics.join(", "),
            attack.techniques.join(", "),
            attack.analytics.join(", ")
        ),
    );
    for (id, name) in &explained.strategies {
        page.wrapped("  ", &format!("{id} {name}"));
    }
    for text in &explained.missing {
        page.wrapped("not known: ", text);
    }
    page.line(&format!("id {}, rule {}", explained.id, explained.rule));
}

struct Page {
    out: String,
    colour: bool,
}

impl Page {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{}", escape(text).trim_end());
    }

    fn head(&mut self, text: &str) {
        let (on, off) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(self.out, "\n{on}{}{off}", text.to_uppercase());
    }

    fn wrapped(&mut self, head: &str, text: &str) {
        wrapped(&mut self.out, head, text);
    }

    /// Commands, which are between backticks and have a blank, on lines of their own, to be copied whole.
    fn step(&mut self, number: usize, text: &str) {
        let mut said = String::new();
        let mut head = format!("  {number}. ");
        for (index, part) in text.split('`').enumerate() {
            if index % 2 == 0 || !part.contains(' ') {
                said.push_str(part);
                continue;
            }
            if !said.trim().is_empty() {
                self.wrapped(&head, said.trim());
                "     ".clone_into(&mut head);
            }
            said.clear();
            self.wrapped("       $ ", part);
        }
        if !said.trim_matches([' ', '.', ',']).is_empty() {
            self.wrapped(&head, said.trim_start_matches([',', '.']).trim());
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let width = WIDTH - 2;
        let is_marked = |at: usize| sample.encoded.iter().any(|(from, to)| (*from..*to).contains(&at));
        for from in (0..sample.name.len()).step_by(width) {
            let to = (from + width).min(sample.name.len());
            self.line(&format!("  {}", &sample.name[from..to]));
            let marks: String = (from..to).map(|at| if is_marked(at) { '^' } else { ' ' }).collect();
            if marks.contains('^') {
                self.line(&format!("  {marks}"));
            }
        }
        if let Some(decoded) = &sample.decoded {
            let kind = decoded.kind.map(|kind| format!(", {kind}")).unwrap_or_default();
            let what =
                if decoded.is_text { "text" } else { "no text (compressed, encrypted, or another alphabet)" };
            let head = format!("    as {}, {} bytes{kind}, {what}: ", decoded.encoding, decoded.bytes);
            self.wrapped("    ", &format!("{}{}", head.trim_start(), decoded.shown));
        }
    }
}

/// Some of the points, at about even times, the first and the last among them.
fn picked(curve: &[Point]) -> Vec<&Point> {
    let end = curve.last().map_or(0, |last| last.0);
    let at = |row: usize| end * row as u64 / (ROWS as u64 - 1);
    let mut rows: Vec<&Point> =
        (0..ROWS).filter_map(|row| curve.iter().rev().find(|point| point.0 <= at(row))).collect();
    rows.dedup();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::habits::Habits;
    use crate::explain::tests::{evil, finding, golden, known, tunnel};

    #[test]
    fn it_fits_a_terminal_whatever_is_in_it() {
        for changes in [tunnel(), vec![evil()], vec![finding()]] {
            let explained = Explained::of(&changes, &known()).unwrap();
            let plain = text(&explained, false);
            for line in plain.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert!(!line.chars().any(crate::escape::hides), "{line:?}");
            }
            let coloured = text(&explained, true).replace("\x1b[1m", "").replace("\x1b[0m", "");
            assert_eq!(coloured, plain, "colour is a signal only");
        }
    }

    #[test]
    fn a_finding_is_explained() {
        golden(
            "explain.txt",
            &text(&Explained::of(&tunnel(), &Habits::of_another_network()).unwrap(), false),
        );
        let known = Explained::of(&[finding()], &known()).unwrap();
        golden("explain-known.txt", &text(&known, false));
        golden("explain-known.json", &crate::sink::json(&known).unwrap());
    }
}
