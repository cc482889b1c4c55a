//! What is shown, and what keys do to it.

use std::collections::{BTreeMap, VecDeque};

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use crate::escape::escape;
use crate::pipeline::top::{Row, Top};
use crate::report::text::thousands;

/// Seconds of a rate that are kept.
pub(super) const RATES: usize = 8;

/// What is first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Nearest to a bound
    #[default]
    Score,
    /// Queries in the last seconds
    Rate,
    /// Bytes that can have left
    Out,
    /// Seen first last
    New,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Quit,
    /// A finding's id.
    Explain(String),
}

/// A row and its queries a second, the last one last.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) row: Row,
    pub(super) rates: VecDeque<u64>,
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) colour: bool,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    lines: BTreeMap<(String, String), Line>,
    pub(super) total: u64,
    /// Client and zone, so that it stays when rows move.
    chosen: Option<(String, String)>,
    /// Totals and losses; why there is nothing new.
    pub(super) head: String,
    pub(super) losses: String,
    pub(super) trouble: Option<String>,
    /// A text over the table, and its first line shown.
    pub(super) text: Option<(Vec<String>, usize)>,
}

impl App {
    pub(super) fn new(sort: Sort, filter: String, colour: bool) -> Self {
        Self {
            colour,
            sort,
            filter,
            typing: false,
            lines: BTreeMap::new(),
            total: 0,
            chosen: None,
            head: String::new(),
            losses: String::new(),
            trouble: None,
            text: None,
        }
    }

    /// Takes a second's answers. What is told no more is forgotten, so this is bounded as the answer is.
    pub(super) fn take(&mut self, top: Top, status: &Value) {
        let mut before = std::mem::take(&mut self.lines);
        self.total = top.total;
        for row in top.rows {
            let key = (row.client.clone(), row.zone.clone());
            let mut rates = VecDeque::new();
            if let Some(known) = before.remove(&key) {
                rates = known.rates;
                if rates.len() == RATES {
                    rates.pop_front();
                }
                rates.push_back(row.queries.saturating_sub(known.row.queries));
            }
            self.lines.insert(key, Line { row, rates });
        }
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let findings: u64 =
            ["low", "medium", "high", "critical"].iter().map(|name| number(&status["findings"][*name])).sum();
        self.head = format!(
            "earthdog {}  messages {}  clients {}  findings {findings}",
            status["version"].as_str().unwrap_or("?"),
            thousands(number(&status["messages"])),
            thousands(number(&status["clients"])),
        );
        let lost = number(&status["lost"]) + number(&status["execs_lost"]);
        let evicted: u64 =
            status["evictions"].as_object().into_iter().flatten().map(|(_, count)| number(count)).sum();
        let hooks = status["hooks"].as_array().map_or(0, Vec::len);
        self.losses = format!("lost {}  forgotten {}  hooks {hooks}", thousands(lost), thousands(evicted));
        self.trouble = None;
    }

    pub(super) fn lost(&mut self, why: &str) {
        self.trouble = Some(escape(why).into_owned());
    }

    /// Puts a text over the table.
    pub(super) fn show(&mut self, text: &str) {
        self.text = Some((text.lines().map(str::to_owned).collect(), 0));
    }

    /// Rows that the filter takes, in order.
    pub(super) fn rows(&self) -> Vec<&Line> {
        let wanted = self.filter.to_ascii_lowercase();
        let has = |text: &str| text.to_ascii_lowercase().contains(&wanted);
        let mut rows: Vec<&Line> =
            self.lines.values().filter(|line| has(&line.row.client) || has(&line.row.zone)).collect();
        let rate = |line: &Line| line.rates.iter().sum::<u64>();
        rows.sort_by(|a, b| match self.sort {
            Sort::Score => b.row.score.total_cmp(&a.row.score),
            Sort::Rate => rate(b).cmp(&rate(a)),
            Sort::Out => b.row.up.1.cmp(&a.row.up.1),
            Sort::New => b.row.first_seen.cmp(&a.row.first_seen),
        });
        rows
    }

    /// Where the chosen row is among `rows`.
    pub(super) fn chosen(&self, rows: &[&Line]) -> usize {
        let is = |line: &&Line| {
            self.chosen
                .as_ref()
                .is_some_and(|(client, zone)| line.row.client == *client && line.row.zone == *zone)
        };
        rows.iter().position(is).unwrap_or(0)
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Action {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Action::Quit;
        }
        if let Some((lines, first)) = &mut self.text {
            let last = lines.len().saturating_sub(1);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => self.text = None,
                KeyCode::Down | KeyCode::Char('j') => *first = (*first + 1).min(last),
                KeyCode::Up | KeyCode::Char('k') => *first = first.saturating_sub(1),
                KeyCode::PageDown | KeyCode::Char(' ') => *first = (*first + 20).min(last),
                KeyCode::PageUp => *first = first.saturating_sub(20),
                _ => {}
            }
            return Action::None;
        }
        if self.typing {
            match key.code {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => {
                    self.typing = false;
                    self.filter.clear();
                }
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(c) if self.filter.len() < 64 && !c.is_control() => self.filter.push(c),
                _ => {}
            }
            return Action::None;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => {
                self.sort = match self.sort {
                    Sort::Score => Sort::Rate,
                    Sort::Rate => Sort::Out,
                    Sort::Out => Sort::New,
                    Sort::New => Sort::Score,
                };
            }
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Enter => return self.explain(),
            _ => {}
        }
        Action::None
    }

    fn choose(&mut self, by: isize) {
        let rows = self.rows();
        let at = self.chosen(&rows).saturating_add_signed(by).min(rows.len().saturating_sub(1));
        self.chosen = rows.get(at).map(|line| (line.row.client.clone(), line.row.zone.clone()));
    }

    fn explain(&mut self) -> Action {
        let rows = self.rows();
        let Some(line) = rows.get(self.chosen(&rows)) else { return Action::None };
        if let Some(id) = &line.row.id {
            return Action::Explain(id.clone());
        }
        let text = format!(
            "{} under {}: no finding. What is new in its names is {:.2} of the nearest bound.",
            escape(&line.row.client),
            escape(&line.row.zone),
            line.row.score
        );
        self.show(&text);
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::draw::tests::{status, top};

    fn press(app: &mut App, keys: &str) -> Action {
        let mut last = Action::None;
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            last = app.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        last
    }

    #[test]
    fn keys_sort_filter_choose_and_explain() {
        let mut app = App::new(Sort::Score, String::new(), false);
        app.take(top(1), &status());
        assert_eq!(press(&mut app, "\n"), Action::Explain("client-zone-01".into()));
        assert_eq!(press(&mut app, "j\n"), Action::None);
        assert!(app.text.as_ref().unwrap().0[0].contains("no finding"), "{:?}", app.text);
        press(&mut app, "q");
        assert_eq!(app.text, None);
        press(&mut app, "/tunnel\n");
        assert_eq!((app.rows().len(), app.typing), (1, false));
        press(&mut app, "/\u{1b}ss");
        assert_eq!((app.sort, app.rows().len()), (Sort::Out, 3));
        assert_eq!(press(&mut app, "q"), Action::Quit);
    }

    #[test]
    fn rates_are_differences_and_bounded_and_the_chosen_row_stays() {
        let mut app = App::new(Sort::Score, String::new(), false);
        for second in 1..40 {
            app.take(top(second), &status());
            press(&mut app, if second == 1 { "j" } else { "" });
        }
        let rows = app.rows();
        assert_eq!(rows[0].rates, [10; RATES]);
        assert_eq!(app.chosen(&rows), 1);
        app.lost("gone\u{1b}");
        assert_eq!(app.trouble.as_deref(), Some("gone\\x1b"));
        app.take(Top::default(), &status());
        assert!(app.rows().is_empty() && app.trouble.is_none());
    }
}
