//! From the command line to the table.

use std::io::{self, Write as _};
use std::{env, fs};

use anyhow::{Context as _, Result};
use earthdog::escape::escape;
use serde::Serialize;

use crate::arguments::Arguments;
use crate::sensor::Sensor;
use crate::{derived, files, measure, report, work};

/// Whether every file could be read; what was found does not matter for that.
pub(crate) fn run() -> Result<bool> {
    let arguments = Arguments::read(env::args().skip(1))?;
    let sensor = Sensor::new(&arguments.sensor)?;
    let files = files::list(&arguments.dir)?;
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    let measured = work::each("replayed", &files, |file| measure::file(&sensor, file));
    for (file, row) in files.iter().zip(measured) {
        match row {
            Ok(row) => rows.push(row),
            Err(error) => errors.push(format!("{}: {error:#}", file.name)),
        }
    }
    print(&report::text(&rows))?;
    let mut json = lines(&rows)?;
    if arguments.derive && errors.is_empty() {
        let (outcomes, failed) = derived::run(&sensor, &files, arguments.full, arguments.seed)?;
        print(&format!("\n{}", derived::text(&outcomes)))?;
        json += &lines(&outcomes)?;
        errors.extend(failed);
    } else if arguments.derive {
        errors.push("nothing is derived before every file can be read".to_owned());
    }
    if let Some(path) = &arguments.json {
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for error in &errors {
        eprintln!("eval: {}", escape(error.as_bytes()));
    }
    Ok(errors.is_empty())
}

/// One row a line.
fn lines(rows: &[impl Serialize]) -> Result<String> {
    let lines: Result<Vec<_>, _> =
        rows.iter().map(|row| serde_json::to_string(row).map(|row| row + "\n")).collect();
    Ok(lines?.concat())
}

/// A pipe that is closed early is the reader's wish.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}
