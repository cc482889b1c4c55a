//! The table in words, for the README: what is right, out of reach, blind.

use std::fmt::Write as _;

use super::expect::{EXCEPTIONS, Exception, Expected, FIRST, NEVER};
use super::send::{ROWS, Row};

/// Markdown, as the README has it between its two marks.
pub fn markdown() -> String {
    let is_right = |row: &&Row| !EXCEPTIONS.iter().any(|exception| exception.rows.contains(&row.name));
    let right: Vec<_> = ROWS.iter().filter(is_right).map(|row| row.what).collect();
    let mut text = wrapped(&format!("Right with every owner source: {}.", right.join("; ")));
    text += "\n";
    text += "| sent by | owner source | kernel | record | why |\n|---|---|---|---|---|\n";
    for exception in EXCEPTIONS {
        let rows: Vec<_> =
            exception.rows.iter().filter_map(|name| ROWS.iter().find(|row| row.name == *name)).collect();
        let what: Vec<_> = rows.iter().map(|row| row.what).collect();
        let source = exception.source.map_or("every", super::expect::Source::name);
        let (record, why) = match exception.expected {
            Expected::Right => ("right", ""),
            Expected::OutOfReach(why) => ("no sure owner", why),
            Expected::Blind(why) => ("none", why),
        };
        let _ =
            writeln!(text, "| {} | {source} | {} | {record} | {why} |", what.join("; "), kernels(exception));
    }
    text
}

/// Lines as long as the README's.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 120;
    let (mut out, mut used) = (String::new(), 0);
    for word in text.split(' ') {
        let space = usize::from(used > 0);
        if used + space + word.len() > WIDTH {
            out += "\n";
            used = 0;
        } else if space == 1 {
            out += " ";
            used += 1;
        }
        out += word;
        used += word.len();
    }
    out + "\n"
}

fn kernels(exception: &Exception) -> String {
    match (exception.from, exception.before) {
        (FIRST, NEVER) => "every".to_owned(),
        (FIRST, before) => format!("before {before}"),
        (from, NEVER) => format!("{from} and later"),
        (from, before) => format!("{from} to before {before}"),
    }
}
