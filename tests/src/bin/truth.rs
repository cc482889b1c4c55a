//! Runs every sender under the sensor and compares the owners: a table for each source, and a line of summary.
//!
//! ```text
//! truth [--sensor PATH] [--source auto|current_task|fentry|kprobe|sock_addr]… [--row NAME]… [--races N]
//!       [--here V4 V6 DEVICE NETNS]
//! truth --markdown
//! ```
//!
//! In two hosts of the test kit; with `--here` on this machine as it is, with the server in the network namespace NETNS,
//! which has V4 and V6 and is behind DEVICE: for virtual machines. Without `--source` every source; one that this kernel lacks is told.
//! With `--races` that many racing sends beside the table. Ends with 1 where an owner is wrong or anything is not as the
//! table says. `--markdown` prints what the README says of it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use earthdog_tests::truth::document;
use earthdog_tests::truth::expect::{Kernel, Source};
use earthdog_tests::truth::place::{Place, Programs};
use earthdog_tests::truth::races;
use earthdog_tests::truth::run::{NotHere, print, table};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("truth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Arguments {
    sensor: Option<PathBuf>,
    sources: Vec<Source>,
    rows: Vec<String>,
    races: u32,
    here: Option<[String; 4]>,
}

impl Arguments {
    fn read(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut arguments = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--sensor" => arguments.sensor = Some(value()?.into()),
                "--source" => {
                    let name = value()?;
                    arguments
                        .sources
                        .push(Source::parse(&name).with_context(|| format!("no source {name}"))?);
                }
                "--row" => arguments.rows.push(value()?),
                "--races" => arguments.races = value()?.parse()?,
                "--here" => arguments.here = Some([value()?, value()?, value()?, value()?]),
                _ => bail!("usage: see the head of {}", file!()),
            }
        }
        Ok(arguments)
    }
}

fn run() -> Result<bool> {
    if std::env::args().skip(1).eq(["--markdown"]) {
        print!("{}", document::markdown());
        return Ok(true);
    }
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let beside = std::env::current_exe()?;
    let beside = beside.parent().context("no folder")?;
    let programs = Programs {
        sensor: arguments.sensor.clone().unwrap_or_else(|| beside.join("earthdog")),
        sender: beside.join("sender"),
    };
    let place = match &arguments.here {
        Some([v4, v6, device, netns]) => Place::here(programs, v4.parse()?, v6.parse()?, device, netns),
        None => Place::in_kit(programs),
    }
    .map_err(|why| anyhow!(why))?;
    let kernel = Kernel::running().context("no kernel release")?;
    let sources = if arguments.sources.is_empty() { Source::ALL.to_vec() } else { arguments.sources.clone() };
    let mut good = true;
    for source in sources {
        match asked(&place, source, &arguments) {
            Ok(as_expected) => good &= as_expected,
            Err(NotHere::Lacking(why)) => {
                print(&format!("truth {kernel} {}: not here: {why}", source.name()));
                // One that was asked for must be there.
                good &= arguments.sources.is_empty();
            }
            Err(NotHere::Failed(error)) => {
                print(&format!("truth {kernel} {}: FAILED: {error:#}", source.name()));
                good = false;
            }
        }
    }
    Ok(good)
}

fn asked(place: &Place, source: Source, arguments: &Arguments) -> Result<bool, NotHere> {
    let table = table(place, source, &arguments.rows)?;
    print(&table);
    let mut good = table.is_as_expected();
    if arguments.races > 0 {
        let races = races::run(place, source, arguments.races)?;
        print(&races);
        good &= races.is_good();
    }
    Ok(good)
}
