//! What benches measured, for other programs: `--json FILE` writes a row as a line of JSON.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Rows of `{part, case, metric, unit, value, floor, peer?}`; a floor that is null is none.
pub fn write(file: &Path, rows: &[Value]) -> Result<()> {
    fs::write(file, lines(rows)).with_context(|| format!("cannot write {}", file.display()))
}

/// More rows behind those of [`write`].
pub fn append(file: &Path, rows: &[Value]) -> Result<()> {
    let open = fs::OpenOptions::new().append(true).create(true).open(file);
    open.and_then(|mut file| file.write_all(lines(rows).as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn lines(rows: &[Value]) -> String {
    rows.iter().fold(String::new(), |text, row| text + &row.to_string() + "\n")
}

/// The file after `--json` in a bench's arguments, and the other arguments.
pub fn file_of(arguments: impl Iterator<Item = String>) -> Result<(Option<std::path::PathBuf>, Vec<String>)> {
    let mut arguments = arguments.peekable();
    let (mut file, mut rest) = (None, Vec::new());
    while let Some(word) = arguments.next() {
        if word == "--json" {
            file = Some(arguments.next().context("--json takes a file name")?.into());
        } else {
            rest.push(word);
        }
    }
    Ok((file, rest))
}
