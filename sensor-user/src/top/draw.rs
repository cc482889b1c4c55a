//! How `top` looks in 80 columns and 24 lines, and more where there is room.

use std::convert::Infallible;

use ratatui::backend::TestBackend;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line as TextLine;
use ratatui::{Frame, Terminal};

use super::app::{App, Line, Sort};
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::explain::alerts::{bytes, cut, cut_left, plain as ascii};
use crate::finding::Severity;

const HEADING: &str = "CLIENT           ZONE               RATE/s       OUT      IN SCORE  FIRST GRADE";
const KEYS: &str = "q quit  / filter  s sort  up down choose  enter explain";
/// Lines around the table: two above its heading, one below for the chosen row, one for keys.
const AROUND: u16 = 5;

/// One screen as text.
pub(super) fn plain(app: &App, (width, height): (u16, u16)) -> Result<String, Error> {
    let failed = |_: Infallible| Error::new(Code::Failure, "cannot draw");
    let mut terminal = Terminal::new(TestBackend::new(width, height)).map_err(failed)?;
    terminal.draw(|frame| draw(app, frame)).map_err(failed)?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}

pub(super) fn draw(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut put = |row: u16, text: &str, style: Style| {
        if row < area.height {
            let shown: String = text.chars().take(usize::from(area.width)).collect();
            let line = TextLine::styled(shown, style);
            frame.render_widget(line, Rect::new(0, row, area.width, 1));
        }
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    put(0, &app.head, bold);
    match &app.trouble {
        Some(why) => put(1, &format!("NOTHING NEW: {why}"), bold.add_modifier(Modifier::REVERSED)),
        None => put(1, &format!("{}  {}", app.losses, sorting(app)), Style::new()),
    }
    if let Some((lines, first)) = &app.text {
        for (row, line) in (2..area.height.saturating_sub(1)).zip(lines.iter().skip(*first)) {
            put(row, line, Style::new());
        }
        put(area.height.saturating_sub(1), "q back  up down page-up page-down scroll", bold);
        return;
    }
    put(2, HEADING, bold);
    let rows = app.rows();
    let chosen = app.chosen(&rows);
    let room = usize::from(area.height.saturating_sub(AROUND)).max(1);
    let first = chosen.saturating_sub(room - 1);
    for ((row, line), index) in (3..).zip(rows.iter().skip(first).take(room)).zip(first..) {
        let mut style = Style::new();
        if app.colour {
            style = match line.row.severity {
                Some(Severity::High | Severity::Critical) => style.fg(Color::Red),
                Some(Severity::Medium) => style.fg(Color::Yellow),
                _ => style,
            };
        }
        if index == chosen {
            style = style.add_modifier(Modifier::REVERSED);
        }
        put(row, &format!("{:<width$}", text(line), width = usize::from(area.width)), style);
    }
    if let Some(line) = rows.get(chosen) {
        put(area.height.saturating_sub(2), &more(line), Style::new());
    }
    let keys = if app.typing { format!("filter: {}_", ascii(&app.filter)) } else { KEYS.to_owned() };
    put(area.height.saturating_sub(1), &keys, bold);
}

fn sorting(app: &App) -> String {
    let sort = match app.sort {
        Sort::Score => "score",
        Sort::Rate => "rate",
        Sort::Out => "out",
        Sort::New => "new",
    };
    let filter =
        if app.filter.is_empty() { String::new() } else { format!("  filter {}", ascii(&app.filter)) };
    format!("rows {} of {}  by {sort}{filter}", app.rows().len(), app.total)
}

fn text(line: &Line) -> String {
    let row = &line.row;
    // A finding is marked by its severity's first letter too, for want of colour.
    let mark = row.severity.map_or(" ", |severity| match severity {
        Severity::Low => "l",
        Severity::Medium => "m",
        Severity::High => "H",
        Severity::Critical => "C",
    });
    format!(
        "{:<16} {:<18} {:<8} {:>7} {:>7} {:>5.5}{mark} {:>5} {}",
        cut(&ascii(&row.client), 16),
        cut_left(&ascii(if row.zone.is_empty() { "-" } else { &row.zone }), 18),
        spark(line),
        bytes(row.up.1),
        bytes(row.down),
        format!("{:.2}", row.score),
        row.first_seen.get(11..16).unwrap_or("-"),
        cut(&ascii(&row.grade), 8),
    )
}

/// A second each, the highest of all as a whole block.
fn spark(line: &Line) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = line.rates.iter().copied().max().unwrap_or(0).max(1);
    line.rates
        .iter()
        .map(|rate| BLOCKS[usize::try_from((rate * 8).div_ceil(most)).unwrap_or(8).min(8)])
        .collect()
}

fn more(line: &Line) -> String {
    let row = &line.row;
    let via = row.via.as_ref().map(|via| format!(", via {}", escape(via))).unwrap_or_default();
    let found = row.id.as_ref().map_or_else(|| "no finding".to_owned(), |id| escape(id).into_owned());
    let queries = crate::report::text::thousands(row.queries);
    format!("{found}, {queries} queries, out at least {}{via}", bytes(row.up.0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::explain::tests::{EVIL, golden};
    use crate::pipeline::top::{Row, Top};
    use serde_json::{Value, json};

    pub(in crate::top) fn status() -> Value {
        json!({"version": "0.1.0", "messages": 12_345, "clients": 3, "findings": {"high": 1}, "lost": 7, "execs_lost": 1,
               "evictions": {"names": 2}, "hooks": [{}, {}]})
    }

    pub(in crate::top) fn top(second: u64) -> Top {
        let row = |client: &str, zone: &str, score: f64| Row {
            client: client.into(),
            zone: zone.into(),
            queries: second * 10,
            up: (1000, 2200),
            down: 90,
            score,
            first_seen: "2026-11-29T22:31:48.000000000Z".into(),
            grade: "exact".into(),
            ..Row::default()
        };
        let mut rows = vec![
            row("iodine (pid 42, root)", "tunnel.example", 13.5),
            row("10.0.0.9", "a-very-long-zone-name.example.com", 0.25),
            row(EVIL, EVIL, 0.1),
        ];
        rows[0].id = Some("client-zone-01".into());
        rows[0].severity = Some(Severity::High);
        rows[0].via = Some("/usr/sbin/unbound".into());
        Top { v: 1, rows, total: 3 }
    }

    #[test]
    fn a_screen_is_as_it_was_with_and_without_colour() {
        let screen = |colour| {
            let mut app = App::new(Sort::Score, String::new(), colour);
            (1..4).for_each(|second| app.take(top(second), &status()));
            plain(&app, (80, 24)).unwrap()
        };
        let text = screen(false);
        assert_eq!(text, screen(true), "colour is a signal only");
        assert!(!text.chars().any(|c| c != '\n' && crate::escape::hides(c)));
        assert!(text.contains("lost 8") && text.lines().count() == 24);
        golden("top.txt", &text);
    }

    #[test]
    fn small_and_large_screens_are_drawn() {
        let mut app = App::new(Sort::Score, String::new(), true);
        app.take(top(1), &status());
        let wide = plain(&app, (80, 24)).unwrap();
        assert!(
            wide.lines().any(|line| line.contains("iodine (pid 42,") && line.ends_with("exact")),
            "{wide}"
        );
        for size in [(1, 1), (20, 4), (80, 5), (200, 60)] {
            plain(&app, size).unwrap();
        }
        app.show("one\ntwo");
        assert!(plain(&app, (80, 24)).unwrap().contains("two"));
    }
}
