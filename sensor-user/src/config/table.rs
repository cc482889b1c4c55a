//! Files of comma-separated values that a configuration names: a header, then a thing a row (RFC 4180).
//!
//! A file is taken whole or not at all; what is wrong is told with the file and the line.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::shown_path;
use crate::escape::escape;

/// Rows of one file.
pub(super) const MAX_ROWS: usize = 65_536;
/// Of a header; what has more is no inventory.
const MAX_COLUMNS: usize = 64;
const MAX_BYTES: u64 = 16 << 20;
/// Problems of one file that are told; the others are counted.
const MAX_PROBLEMS: usize = 20;

/// Rows by line, and what each has in which column.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<(u64, Vec<String>)>,
    pub(super) problems: Problems,
}

/// What is wrong with one file.
#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    list: Vec<String>,
    more: usize,
}

impl Problems {
    /// Line 0 is the file as a whole.
    pub(super) fn push(&mut self, line: u64, what: &str) {
        if self.list.len() == MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        let place = if line == 0 { String::new() } else { format!(":{line}") };
        self.list.push(format!("{}{place}: {what}", self.file));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.list.push(format!("{}: {} more problems", self.file, self.more));
        }
        self.list
    }
}

/// Reads a file; names of columns are in lower case. `known` are the columns that there may be, `needed` those that must
/// be; other columns are a problem unless `others` may stand beside them. `key` is what names the file.
pub(super) fn read(key: &str, path: &str, known: &[&str], needed: &[&str], others: bool) -> Table {
    let file = shown_path(Path::new(path));
    let mut table = Table {
        columns: Vec::new(),
        rows: Vec::new(),
        problems: Problems { file: file.clone(), list: Vec::new(), more: 0 },
    };
    match bytes(Path::new(path)) {
        Ok(bytes) => table.fill(&bytes, known, needed, others),
        // The file is not at fault, its name may be.
        Err(why) => table.problems.list.push(format!("{key} = \"{file}\": {why}")),
    }
    table
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| error.to_string();
    // Of a pipe nothing might come, ever.
    if !path.metadata().map_err(told)?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(told)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("more than {} MiB", MAX_BYTES >> 20));
    }
    Ok(bytes)
}

impl Table {
    fn fill(&mut self, bytes: &[u8], known: &[&str], needed: &[&str], others: bool) {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        // A row with more or fewer cells than the header is refused by the reader.
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .trim(csv::Trim::All)
            .flexible(false)
            .from_reader(bytes);
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    self.problems.push(error.position().map_or(0, csv::Position::line), &wrong(&error));
                    // The rest may be read wrongly.
                    return;
                }
            };
            let line = record.position().map_or(0, csv::Position::line);
            if self.columns.is_empty() {
                self.columns = record.iter().map(str::to_ascii_lowercase).collect();
                self.header(line, known, needed, others);
                if !self.problems.is_empty() {
                    return;
                }
            } else if self.rows.len() == MAX_ROWS {
                self.problems.push(line, &format!("more than {MAX_ROWS} rows"));
                return;
            } else if record.iter().any(|cell| !cell.is_empty()) {
                self.rows.push((line, record.iter().map(str::to_owned).collect()));
            }
        }
        if self.columns.is_empty() {
            self.problems
                .push(0, &format!("has no header: the first line names the columns ({})", known.join(", ")));
        }
    }

    fn header(&mut self, line: u64, known: &[&str], needed: &[&str], others: bool) {
        if self.columns.len() > MAX_COLUMNS {
            self.problems.push(line, &format!("more than {MAX_COLUMNS} columns"));
            return;
        }
        for (at, column) in self.columns.iter().enumerate() {
            let shown = escape(column);
            if self.columns[..at].contains(column) && !column.is_empty() {
                self.problems.push(line, &format!("two columns are called `{shown}`"));
            } else if !others && !known.contains(&column.as_str()) {
                let known = known.join(", ");
                self.problems.push(line, &format!("unknown column `{shown}` (allowed: {known})"));
            }
        }
        for needed in needed.iter().filter(|needed| !self.columns.iter().any(|column| column == *needed)) {
            self.problems
                .push(line, &format!("there is no column `{needed}`: the first line names the columns"));
        }
    }
}

fn wrong(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!(
                "{len} cells, but the header has {expected_len}; a cell with a comma stands in double quotes"
            )
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        _ => escape(error.to_string().as_bytes()).into_owned(),
    }
}
