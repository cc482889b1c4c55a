//! Pictures of a page, as SVG that takes its colours from the page's style.

use std::fmt::Write as _;

use super::alerts::bytes;
use super::page::html;
use super::view::{Explained, after, seconds_between};
use crate::finding::trail::Point;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
/// Room for the numbers beside the picture.
const LEFT: f64 = 84.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 10.0;
/// State changes that are marked.
const MARKS: usize = 48;

/// Bytes out over time: the area between the least and the most, and a dashed line for each state change.
pub(super) fn curve(explained: &Explained) -> String {
    let points = &explained.curve;
    let last = points.last().copied().unwrap_or_default();
    let (span, most) = (last.0.max(1) as f64, last.3.max(1) as f64);
    let x = |ms: u64| LEFT + (WIDTH - LEFT - 10.0) * (ms as f64 / span).min(1.0);
    let y = |bytes: u64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (bytes as f64 / most).min(1.0));
    let path = |of: fn(&Point) -> u64| points.iter().map(move |point| (x(point.0), y(of(point))));
    let join = |points: &mut dyn Iterator<Item = (f64, f64)>| {
        points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
    };
    let above = path(|point| point.3);
    let below: Vec<_> = path(|point| point.2).collect();
    let area = join(&mut above.chain(below.into_iter().rev()));
    let mut out = open("Bytes out over time");
    axes(&mut out, &bytes(last.3));
    let _ = writeln!(out, "<polygon class=\"area\" points=\"{area}\"/>");
    let _ = writeln!(out, "<polyline class=\"line\" points=\"{}\"/>", join(&mut path(|point| point.3)));
    let _ = writeln!(out, "<polyline class=\"line\" points=\"{}\"/>", join(&mut path(|point| point.2)));
    for change in explained.changes.iter().take(MARKS) {
        let at = x(seconds_between(&explained.first_seen, &change.time).saturating_mul(1000));
        let _ = writeln!(
            out,
            "<line class=\"change\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>",
            HEIGHT - BOTTOM
        );
    }
    for (ms, anchor) in [(0, "start"), (last.0 / 2, "middle"), (last.0, "end")] {
        label(&mut out, x(ms), HEIGHT - 8.0, anchor, &after(ms));
    }
    out.push_str("</svg>\n");
    out
}

/// How many gaps of which length.
pub(super) fn gaps(gaps: &[(String, u32)]) -> String {
    const ROW: f64 = 28.0;
    const NAME: f64 = 220.0;
    let most = gaps.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let height = ROW * gaps.len() as f64 + 8.0;
    let mut out =
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Time between look-ups\">\n");
    for (index, (name, count)) in gaps.iter().enumerate() {
        let y = ROW * index as f64 + 4.0;
        let length = (WIDTH - NAME - 80.0) * f64::from(*count) / f64::from(most);
        label(&mut out, NAME - 8.0, y + 18.0, "end", name);
        let _ = writeln!(
            out,
            "<rect class=\"bar\" x=\"{NAME}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\"/>",
            ROW - 6.0
        );
        label(&mut out, NAME + length + 6.0, y + 18.0, "start", &count.to_string());
    }
    out.push_str("</svg>\n");
    out
}

fn open(name: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n", html(name))
}

fn axes(out: &mut String, most: &str) {
    let floor = HEIGHT - BOTTOM;
    let _ =
        writeln!(out, "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\"/>");
    let _ = writeln!(out, "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{TOP}\" x2=\"{LEFT}\" y2=\"{floor}\"/>");
    label(out, LEFT - 6.0, TOP + 8.0, "end", most);
    label(out, LEFT - 6.0, floor, "end", "0 B");
}

fn label(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", html(text));
}
