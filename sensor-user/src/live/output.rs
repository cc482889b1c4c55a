//! Findings on standard output. A terminal is written to as they come; anything else by a thread of its own, so that a
//! reader that stands still holds up nothing but itself. The first failed write ends the run.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::status::Printer;
use crate::cli::FindingsForm;
use crate::clock;
use crate::config::Config;
use crate::config::sinks::SinkFormat;
use crate::exit::{Code, Error};
use crate::finding::{Finding, Severity};
use crate::sink::outlet;
use crate::sink::set::Running;
use crate::sink::{self, About, Format, Item};

/// Findings that wait for a reader. All that are open close at the end, which must not be too many.
const QUEUE_MIN: u64 = 4096;
/// How long the end of a run waits for the reader.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Findings {
    Nowhere,
    Terminal(Terminal),
    Thread { running: Running, failure: outlet::Failure },
}

#[derive(Debug)]
pub(super) struct Terminal {
    out: BufWriter<Stdout>,
    format: Format,
    about: About,
    least: Severity,
    failed: Option<io::Error>,
    written: bool,
}

impl Findings {
    pub(super) fn start(form: FindingsForm, config: &Config, about: About) -> Result<Self, Error> {
        let least = config.output.least.into();
        let stdout = io::stdout();
        if stdout.is_terminal() && form != FindingsForm::None {
            let format = Format::of(form, std::env::var_os("NO_COLOR").is_none());
            let out = BufWriter::new(stdout);
            return Ok(Self::Terminal(Terminal { out, format, about, least, failed: None, written: false }));
        }
        let format = match form {
            FindingsForm::None => return Ok(Self::Nowhere),
            FindingsForm::Json => SinkFormat::Json,
            FindingsForm::Human => SinkFormat::Human,
            FindingsForm::Ocsf => SinkFormat::Ocsf,
            FindingsForm::Ecs => SinkFormat::Ecs,
        };
        let queue = config.pipeline.max_open.saturating_mul(2).max(QUEUE_MIN) as usize;
        let outlet = outlet::Stdout::default();
        let failure = outlet.failure();
        let running = Running::stdout(format, least, queue, &about, Box::new(outlet))
            .map_err(|message| Error::new(Code::Failure, message))?;
        Ok(Self::Thread { running, failure })
    }

    /// Takes another least severity.
    pub(super) fn retune(&mut self, least: Severity) {
        match self {
            Self::Nowhere => {}
            Self::Terminal(terminal) => terminal.least = least,
            Self::Thread { running, .. } => running.retune(least),
        }
    }

    pub(super) fn write(&mut self, finding: &Finding, printer: &mut Printer) {
        match self {
            Self::Nowhere => {}
            Self::Terminal(terminal) => {
                if finding.severity < terminal.least || finding.is_suppressed() {
                    return;
                }
                printer.clear();
                terminal.written = true;
                if terminal.failed.is_none() {
                    terminal.failed =
                        sink::write(finding, terminal.format, &terminal.about, &mut terminal.out).err();
                }
            }
            Self::Thread { running, .. } => {
                if running.wants(finding) {
                    running.put(Item::Finding(Arc::new(finding.clone())));
                }
            }
        }
    }

    /// An error if anything could not be written.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let failed = match self {
            Self::Nowhere => None,
            Self::Terminal(terminal) => {
                let written = std::mem::take(&mut terminal.written);
                terminal.failed.take().or_else(|| terminal.out.flush().err().filter(|_| written))
            }
            Self::Thread { failure, .. } => failure.take(),
        };
        failed.map_or(Ok(()), |error| Err(Error::stdout(&error)))
    }

    /// Lets what waits go, for a bounded time; returns what did not.
    pub(super) fn finish(&mut self) -> Result<Option<String>, Error> {
        let mut news = None;
        if let Self::Thread { running, failure } = self {
            let until = running.close(PATIENCE);
            while !running.has_ended(POLL) && clock::monotonic() < until {
                if let Some(error) = failure.take() {
                    return Err(Error::stdout(&error));
                }
            }
            news = running.finish(clock::monotonic());
        }
        self.flush()?;
        Ok(news)
    }

    pub(super) fn status(&self) -> Option<Value> {
        match self {
            Self::Thread { running, .. } => Some(running.status()),
            _ => None,
        }
    }

    pub(super) fn worst_case_bytes(&self) -> usize {
        match self {
            Self::Thread { .. } => Running::WORST_CASE_BYTES,
            _ => 0,
        }
    }
}
