//! From the command line to the tables.

use std::io::{self, Write as _};
use std::{env, fs};

use anyhow::{Context as _, Result};
use earthdog::escape::escape;
use serde::Serialize;

use crate::arguments::{Arguments, Set};
use crate::measure::Row;
use crate::sensor::Sensor;
use crate::{derived, emulated, files, measure, report, verdict, work};

/// Whether everything could be replayed and no goal is missed.
pub(crate) fn run() -> Result<bool> {
    let arguments = Arguments::read(env::args().skip(1))?;
    let sensor = Sensor::new(&arguments.sensor)?;
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    let mut json = String::new();
    let mut tables = Vec::new();
    let mut derivations = Vec::new();
    if arguments.wants(Set::Files) {
        let files = files::list(arguments.dir.as_deref().context("no folder")?)?;
        let measured = work::each("replayed", &files, |file| measure::file(&sensor, file));
        let names = files.iter().map(|file| file.name.as_str());
        keep(names.zip(measured), &mut rows, &mut errors);
        tables.push(report::text(&rows, Set::Files));
        if arguments.derive && errors.is_empty() {
            let (outcomes, failed) = derived::run(&sensor, &files, arguments.full, arguments.seed)?;
            tables.push(derived::text(&outcomes));
            json += &lines(&outcomes)?;
            derivations = outcomes;
            errors.extend(failed);
        } else if arguments.derive {
            errors.push("nothing is derived before every file can be read".to_owned());
        }
    }
    let mut rates = None;
    if arguments.wants(Set::Emulated) {
        keep(emulated::tools(&sensor, arguments.seed), &mut rows, &mut errors);
        tables.push(report::text(&rows, Set::Emulated));
        rates = Some(emulated::slowest(&sensor, arguments.seed)?);
    }
    if arguments.wants(Set::Hazards) {
        keep(emulated::hazards(&sensor, arguments.seed), &mut rows, &mut errors);
        tables.push(report::text(&rows, Set::Hazards));
    }
    let (verdict, met) = verdict::text(&rows, &derivations, rates);
    tables.push(verdict);
    print(&tables.join("\n"))?;
    if let Some(path) = &arguments.json {
        fs::write(path, lines(&rows)? + &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for error in &errors {
        eprintln!("eval: {}", escape(error.as_bytes()));
    }
    Ok(errors.is_empty() && met)
}

/// Rows, and why there is none.
fn keep<'a>(
    results: impl IntoIterator<Item = (&'a str, Result<Row>)>,
    rows: &mut Vec<Row>,
    errors: &mut Vec<String>,
) {
    for (name, result) in results {
        match result {
            Ok(row) => rows.push(row),
            Err(error) => errors.push(format!("{name}: {error:#}")),
        }
    }
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
