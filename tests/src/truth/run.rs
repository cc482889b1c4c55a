//! Runs every sender under a sensor and prints what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::Sender;
use super::expect::{Expected, Kernel, Source, expected};
use super::judge::{Outcome, Seen, Verdict, judge, outcome};
use super::place::Place;
use super::send::{ROWS, Row};
use crate::deadline::Deadline;
use crate::process::{Process, Stream};

/// Emulated machines are slow; natively a row takes milliseconds.
const ROW_SECS: u64 = 60;
const START_SECS: u64 = 120;
/// For the log's last lines, in all and since it grew last.
const LOG_SECS: u64 = 30;
const QUIET_SECS: u64 = 6;

/// A sensor with a message log.
#[derive(Debug)]
pub struct Watch<'a> {
    place: &'a Place,
    process: Process,
    log: std::path::PathBuf,
}

/// What a sensor left.
#[derive(Debug)]
pub struct Log {
    pub seen: Vec<Seen>,
    /// Records that its rings had no room for.
    pub lost: u64,
}

/// Why there is no sensor.
#[derive(Debug)]
pub enum NotHere {
    /// Exit code 69: this kernel cannot do what was asked; its own words.
    Lacking(String),
    Failed(anyhow::Error),
}

impl<'a> Watch<'a> {
    pub fn start(place: &'a Place, source: Source) -> Result<Self, NotHere> {
        let (config, log) = (place.file("truth.toml"), place.file("messages"));
        let mut text = format!("[output]\nmessages = {:?}\n", log.display().to_string());
        if source != Source::Auto {
            let _ = writeln!(text, "[live]\nowner_source = \"{}\"", source.name());
        }
        let written = std::fs::write(&config, text).and_then(|()| std::fs::write(&log, ""));
        written.context("the sensor's configuration").map_err(NotHere::Failed)?;
        let mut command = place.sensor();
        command.args(["run", "--output", "json", "-c"]).arg(&config);
        let mut process = Process::spawn(command);
        let watching = process.try_wait_for(Deadline::secs(START_SECS), |lines| {
            lines
                .iter()
                .any(|(from, line)| *from == Stream::Err && line.contains("watching with"))
                .then_some(())
        });
        if watching.is_some() {
            return Ok(Self { place, process, log });
        }
        let said = process.lines(Stream::Err).join(" | ");
        let status = process.wait(Deadline::secs(10));
        Err(if status.code() == Some(69) {
            NotHere::Lacking(said)
        } else {
            NotHere::Failed(anyhow::anyhow!("the sensor ended with {status}: {said}"))
        })
    }

    /// Queries in the log so far, and lines that are no message.
    fn read(&self) -> Result<(Vec<Seen>, usize)> {
        let text = std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
        // The last line may be half written.
        let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
        let lines: Vec<_> = whole.lines().map(Seen::parse).collect();
        let bad = lines.iter().filter(|line| line.is_none()).count();
        Ok((lines.into_iter().flatten().collect(), bad))
    }

    fn has(&self, names: &BTreeSet<&str>) -> bool {
        self.read().is_ok_and(|(seen, _)| {
            let there: BTreeSet<_> =
                seen.iter().filter(|seen| seen.is_sent_query()).map(|seen| seen.name.as_str()).collect();
            names.is_subset(&there)
        })
    }

    /// Waits until every name is in the log (or the deadline), ends the sensor and gives the whole log.
    pub fn finish(mut self, names: &BTreeSet<&str>) -> Result<Log> {
        let mut grown = (0, Deadline::secs(QUIET_SECS));
        let _ = Deadline::secs(LOG_SECS).poll(|| {
            let size = self.log.metadata().ok()?.len();
            if size != grown.0 {
                grown = (size, Deadline::secs(QUIET_SECS));
                return self.has(names).then_some(());
            }
            grown.1.passed().then_some(())
        });
        if self.process.ended().is_some() {
            bail!("the sensor ended:\n{}", self.process.transcript());
        }
        let status = self.process.terminate(Deadline::secs(60));
        if status.code() != Some(0) {
            bail!("the sensor ended with {status}:\n{}", self.process.transcript());
        }
        self.place.tidy();
        let (seen, bad) = self.read()?;
        if bad != 0 {
            bail!("{bad} lines of the message log are no messages");
        }
        let said = self.process.lines(Stream::Err);
        let stopped = said.iter().find_map(|line| line.split_once("stopped: ")).map(|(_, line)| line);
        let lost = stopped
            .and_then(|line| line.split(", ").find_map(|part| part.strip_prefix("lost ")?.parse().ok()))
            .with_context(|| format!("no losses in {stopped:?}"))?;
        Ok(Log { seen, lost })
    }
}

/// What came of every row with one source.
#[derive(Debug)]
pub struct Table {
    pub kernel: Kernel,
    pub source: Source,
    pub rows: Vec<(&'static Row, Outcome)>,
}

/// Runs every row (or those named) with one source.
pub fn table(place: &Place, source: Source, only: &[String]) -> Result<Table, NotHere> {
    let kernel = Kernel::running().context("no kernel release").map_err(NotHere::Failed)?;
    let chosen: Vec<_> =
        ROWS.iter().filter(|row| only.is_empty() || only.iter().any(|name| name == row.name)).collect();
    let nonce = format!("{:x}", std::process::id());
    let early: Vec<_> = chosen
        .iter()
        .filter(|row| row.starts_before)
        .map(|row| (row.name, spawn(place, row, &nonce)))
        .collect();
    for (name, process) in &early {
        let ready = process.try_wait_for(Deadline::secs(ROW_SECS), |lines| {
            lines.iter().any(|(_, line)| line == "ready").then_some(())
        });
        ready.with_context(|| format!("{name}: {}", process.transcript())).map_err(NotHere::Failed)?;
    }
    let watch = Watch::start(place, source)?;
    let mut early: BTreeMap<_, _> = early.into_iter().collect();
    let mut said = Vec::new();
    for row in &chosen {
        let mut process = early.remove(row.name).unwrap_or_else(|| spawn(place, row, &nonce));
        process.say("go\n");
        said.push(hear(process));
    }
    let is_blind = |row: &str| matches!(expected(row, source, kernel), Expected::Blind(_));
    // What is blind never comes, so nothing waits for it; but it must have been sent.
    let (blind, names): (BTreeSet<_>, BTreeSet<_>) = said
        .iter()
        .flat_map(|said| &said.senders)
        .map(|sender| (is_blind(&sender.row), sender.name.as_str()))
        .partition(|(is_blind, _)| *is_blind);
    let names = names.into_iter().map(|(_, name)| name).collect();
    let log = watch.finish(&names).map_err(NotHere::Failed)?;
    let unsent: Vec<_> =
        blind.into_iter().map(|(_, name)| name).filter(|name| !place.was_served(name)).collect();
    let boot = boot_unix_ns().map_err(NotHere::Failed)?;
    let rows = chosen
        .into_iter()
        .zip(&said)
        .map(|(row, said)| {
            let unsent = said.senders.iter().any(|sender| unsent.contains(&sender.name.as_str()));
            let outcome = if unsent {
                Outcome::Unexpected("the query never arrived".into())
            } else {
                of_row(row, source, kernel, said, &log.seen, boot)
            };
            (row, outcome)
        })
        .collect();
    Ok(Table { kernel, source, rows })
}

/// What a sender said.
#[derive(Debug, Default)]
struct Said {
    senders: Vec<Sender>,
    unsupported: Option<String>,
    failed: Option<String>,
}

fn spawn(place: &Place, row: &Row, nonce: &str) -> Process {
    let mut command = place.sender();
    command.args([row.name, nonce, &place.v4.to_string(), &place.v6.to_string(), &place.device]);
    command.stdin(Stdio::piped());
    Process::spawn_with_input(command)
}

fn hear(mut process: Process) -> Said {
    let status = process.wait(Deadline::secs(ROW_SECS));
    let mut said = Said::default();
    for line in process.lines(Stream::Out) {
        if let Some(sender) = Sender::parse(&line) {
            said.senders.push(sender);
        } else if let Some(why) = line.strip_prefix("unsupported ") {
            said.unsupported = Some(why.to_owned());
        } else if let Some(why) = line.strip_prefix("failed ") {
            said.failed = Some(why.to_owned());
        }
    }
    if !status.success() && said.failed.is_none() {
        said.failed = Some(format!("{status}: {}", process.transcript()));
    }
    said
}

fn of_row(row: &Row, source: Source, kernel: Kernel, said: &Said, seen: &[Seen], boot: u64) -> Outcome {
    let since = Kernel(row.since.0, row.since.1);
    if let Some(why) = &said.unsupported {
        return if kernel < since {
            Outcome::Absent(why.clone())
        } else {
            Outcome::Unexpected(format!("kernel {kernel} should have it, but: {why}"))
        };
    }
    if let Some(why) = &said.failed {
        return Outcome::Unexpected(format!("the sender failed: {why}"));
    }
    let verdicts = said.senders.iter().map(|sender| judge(sender, seen, row.name == "thread", boot));
    let worst = verdicts.max().unwrap_or(Verdict::Unseen);
    outcome(expected(row.name, source, kernel), worst)
}

/// The time of day at boot: CLOCK_REALTIME less CLOCK_BOOTTIME.
pub fn boot_unix_ns() -> Result<u64> {
    super::sys::boot_unix_ns().context("clocks")
}

impl Table {
    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|(_, outcome)| is(outcome)).count()
    }

    /// Whether everything is as the table of expectations says.
    pub fn is_as_expected(&self) -> bool {
        self.count(|outcome| matches!(outcome, Outcome::Wrong(_) | Outcome::Unexpected(_))) == 0
    }

    /// `truth 6.12 auto: 31/31 right, 0 wrong, 0 none, 2 blind (…)`.
    pub fn summary(&self) -> String {
        let right = self.count(|outcome| matches!(outcome, Outcome::Right(_)));
        let wrong = self.count(|outcome| matches!(outcome, Outcome::Wrong(_)));
        let none = self.count(|outcome| matches!(outcome, Outcome::Unexpected(_)));
        let mut text = format!(
            "truth {} {}: {right}/{} right, {wrong} wrong, {none} none",
            self.kernel,
            self.source.name(),
            right + wrong + none
        );
        let mut add = |what: &str, is: fn(&Outcome) -> bool| {
            let names: Vec<_> =
                self.rows.iter().filter(|(_, outcome)| is(outcome)).map(|(row, _)| row.name).collect();
            if !names.is_empty() {
                let _ = write!(text, ", {} {what} ({})", names.len(), names.join(", "));
            }
        };
        add("out of reach", |outcome| matches!(outcome, Outcome::OutOfReach(..)));
        add("blind", |outcome| matches!(outcome, Outcome::Blind(_)));
        add("not on this kernel", |outcome| matches!(outcome, Outcome::Absent(_)));
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, outcome) in &self.rows {
            let text = match outcome {
                Outcome::Right(how) => format!("right         {how}"),
                Outcome::OutOfReach(why, said) => format!("out of reach  {why} [{said}]"),
                Outcome::Blind(why) => format!("blind         {why}"),
                Outcome::Absent(why) => format!("absent        {why}"),
                Outcome::Wrong(what) => format!("WRONG         {what}"),
                Outcome::Unexpected(what) => format!("UNEXPECTED    {what}"),
            };
            writeln!(f, "  {:<17} {:<13} {text}", row.name, self.source.name())?;
        }
        write!(f, "{}", self.summary())
    }
}

/// Writes a report where a test or a console reads it.
pub fn print(text: &impl fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
