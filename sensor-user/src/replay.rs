//! Files in, findings out: the pipeline of the live sensor behind another source.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write as _},
    ops::ControlFlow,
    time::Duration,
};

use crate::{
    cli::{FailOn, Output, ReplayArgs},
    clock,
    config::{Config, OutputFormat},
    escape::escape,
    exit::{self, Code},
    finding::{Finding, Origin, Severity},
    pipeline::{self, Pipeline},
    sink,
    source::{self, Tally},
};

/// Reads the files of `args` in order. Findings go to stdout, everything else to stderr. A file that cannot be read to
/// its end is named and the next one is read; the exit code is 1 then, whatever was found.
pub fn run(args: &ReplayArgs, config: &Config) -> anyhow::Result<Code> {
    let started = clock::monotonic();
    let stdout = io::stdout().lock();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let format = match args.output.unwrap_or_else(|| config.output.format.into()) {
        Output::Json => sink::Format::Json,
        Output::Human if colour => sink::Format::HumanColour,
        Output::Human => sink::Format::Human,
    };
    let mut replay = Replay::new(config.pipeline(), format, io::BufWriter::new(stdout));
    let mut errors = io::stderr().lock();
    let mut unread = false;
    for file in &args.files {
        if let Err(error) = replay.file(|tally, emit| source::read(file, tally, emit)) {
            unread = true;
            let name = escape(file.as_os_str().as_encoded_bytes()).into_owned();
            let _ = writeln!(errors, "earthdog: {name}: {error}");
        }
        replay.written()?;
    }
    let outcome = replay.finish()?;
    let _ = write!(errors, "{}", outcome.summary(args.files.len(), started.elapsed()));
    if unread {
        return Ok(Code::Failure);
    }
    let failed = args.fail_on.is_some_and(|least| outcome.highest >= Some(least.into()));
    Ok(if failed { Code::Findings } else { Code::Ok })
}

/// A replay in progress, writing to `out`.
struct Replay<W> {
    pipeline: Pipeline,
    tally: Tally,
    sink: Sink<W>,
}

/// Writes findings until a write fails, and remembers that.
struct Sink<W> {
    format: sink::Format,
    out: W,
    highest: Option<Severity>,
    failure: Option<io::Error>,
}

impl<W: io::Write> Sink<W> {
    fn take(&mut self, finding: &Finding) {
        self.highest = self.highest.max(Some(finding.severity));
        if self.failure.is_none() {
            self.failure = sink::write(finding, self.format, &mut self.out).err();
        }
    }
}

impl<W: io::Write> Replay<W> {
    fn new(settings: pipeline::Settings, format: sink::Format, out: W) -> Self {
        Self {
            pipeline: Pipeline::new(settings, Origin::Replay),
            tally: Tally::default(),
            sink: Sink { format, out, highest: None, failure: None },
        }
    }

    fn file<T>(&mut self, read: impl FnOnce(&mut Tally, &mut source::Emit<'_>) -> T) -> T {
        let Self { pipeline, tally, sink } = self;
        read(tally, &mut |event| {
            pipeline.push(event, &mut |finding| sink.take(finding));
            if sink.failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// Hands over what is buffered; an error if anything could not be written so far.
    fn written(&mut self) -> Result<(), exit::Error> {
        let failure = self.sink.failure.take().map_or_else(|| self.sink.out.flush(), Err);
        failure.map_err(|error| exit::Error::stdout(&error))
    }

    fn finish(mut self) -> Result<Outcome, exit::Error> {
        let sink = &mut self.sink;
        self.pipeline.finish(&mut |finding| sink.take(finding));
        self.written()?;
        Ok(Outcome { stats: self.pipeline.stats().clone(), tally: self.tally, highest: self.sink.highest })
    }
}

/// What a replay came to.
struct Outcome {
    stats: pipeline::Stats,
    tally: Tally,
    highest: Option<Severity>,
}

impl Outcome {
    fn summary(&self, files: usize, took: Duration) -> String {
        let Self { stats, tally, .. } = self;
        let seconds = took.as_secs_f64();
        let rate = stats.messages as f64 / seconds.max(1e-9);
        let [low, medium, high, critical] = stats.findings;
        let mut text = String::new();
        let mut line = |name: &str, value: fmt::Arguments<'_>| {
            let _ = writeln!(text, "{name:<12}{value}");
        };
        line(
            "messages",
            format_args!("{} (queries {}, responses {})", stats.messages, stats.queries, stats.responses),
        );
        line("look-ups", format_args!("{}", stats.lookups));
        line("clients", format_args!("{}", stats.clients));
        line("zones", format_args!("{}", stats.zones));
        line("findings", format_args!("low {low}, medium {medium}, high {high}, critical {critical}"));
        line(
            "records",
            format_args!("{} from {files} files, {} cut at the snap length", tally.records, tally.snapped),
        );
        line("skipped", format_args!("{}", list(tally.skipped.iter().map(|(name, count)| (*name, *count)))));
        line("anomalies", format_args!("{}", list(stats.anomalies.iter())));
        line("evictions", format_args!("{}", list(stats.evictions.iter().copied())));
        line("seconds", format_args!("{seconds:.3}"));
        line("messages/s", format_args!("{rate:.0}"));
        text
    }
}

fn list(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    let words: Vec<_> =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

impl From<OutputFormat> for Output {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Json => Self::Json,
            OutputFormat::Human => Self::Human,
        }
    }
}

impl From<FailOn> for Severity {
    fn from(least: FailOn) -> Self {
        match least {
            FailOn::Low => Self::Low,
            FailOn::Medium => Self::Medium,
            FailOn::High => Self::High,
            FailOn::Critical => Self::Critical,
        }
    }
}
