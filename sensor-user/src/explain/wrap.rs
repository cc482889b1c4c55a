//! Lines of 80 columns.

use std::fmt::Write as _;

use crate::escape::escape;

pub const WIDTH: usize = 80;

/// Text broken at blanks, longer words anywhere; lines after the first begin under the text. Escaped.
pub fn wrapped(out: &mut String, head: &str, text: &str) {
    let (head, text) = (escape(head), escape(text));
    let indent = head.chars().count();
    let width = WIDTH.saturating_sub(indent).max(20);
    let mut line = String::new();
    let mut used = 0;
    let mut first = true;
    let mut put = |line: &mut String| {
        let lead = if first { head.to_string() } else { " ".repeat(indent) };
        let _ = writeln!(out, "{}", format!("{lead}{line}").trim_end());
        first = false;
        line.clear();
    };
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            put(&mut line);
            used = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            line.extend(word);
            put(&mut line);
            word = rest;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        used += word.len();
        line.extend(word);
    }
    put(&mut line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_longer_than_they_may_be_and_nothing_is_lost() {
        let mut out = String::new();
        let long = format!("{} {} end\u{1b}", "word ".repeat(30), "x".repeat(200));
        wrapped(&mut out, "  head ", &long);
        assert!(out.lines().all(|line| line.chars().count() <= WIDTH), "{out}");
        assert!(out.starts_with("  head word") && out.ends_with("end\\x1b\n"), "{out}");
        assert_eq!(out.matches('x').count(), 201);
        assert!(out.lines().skip(1).all(|line| line.starts_with("       ")));
    }
}
