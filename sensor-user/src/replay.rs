//! Files in, findings out: the pipeline of the live sensor behind another source.

mod novelty;

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write as _},
    ops::ControlFlow,
    time::Duration,
};

use novelty::Filter;

use crate::{
    cli::{FailOn, FindingsForm, ReplayArgs},
    clock,
    config::{Config, OutputFormat},
    detect::reputation::Feed,
    escape::escape,
    event::Event,
    exception,
    exit::{self, Code},
    finding::{Finding, Origin, Severity, stored},
    pipeline::{self, Pipeline},
    progress::Progress,
    sink::{
        self,
        messages::{Existing, Messages},
    },
    source::{self, Tally},
    store::{History, ask},
};

/// Records between two looks at the clock.
const SHOWN_EVERY: u64 = 1024;
/// Characters of a file's name in the line that tells how far it is.
const NAME_SHOWN: usize = 40;

/// Reads the files of `args` in order. Findings go to stdout, everything else to stderr. A file that cannot be read to
/// its end is named and the next one is read; the exit code is 1 then, whatever was found.
pub fn run(args: &ReplayArgs, config: &Config) -> anyhow::Result<Code> {
    let started = clock::monotonic();
    let stdout = io::stdout().lock();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let form = args.output.unwrap_or_else(|| config.output.format.into());
    let output = Output {
        format: sink::Format::of(form, colour),
        about: sink::About { hostname: None, ocsf: config.output.ocsf_version },
        least: config.output.least.into(),
    };
    let messages = Messages::open(&config.output.messages, Existing::IsReplaced)?;
    let history = ask::for_replay(config, config.pipeline().seed)?;
    if history.is_some() {
        config.threads_need_no_store()?;
    }
    let mut replay = Replay::new(config, output, messages, io::BufWriter::new(stdout));
    replay.sink.trail = args.trail;
    replay.sink.suppressed = args.suppressed;
    if let Some(history) = history {
        replay.pipeline.remember(history);
    }
    let mut errors = io::stderr().lock();
    let lists = config.feeds().load().map_err(|message| exit::Error::new(Code::Usage, message))?;
    for warning in &lists.warnings {
        let _ = writeln!(errors, "earthdog: {warning}");
    }
    let left_out = config.known.only_hardware();
    if left_out > 0 {
        let _ = writeln!(
            errors,
            "earthdog: {left_out} assets have a hardware address alone, which no capture leads to"
        );
    }
    replay.pipeline.feed(lists.feed);
    let mut unread = false;
    for file in &args.files {
        let name = escape(file.as_os_str().as_encoded_bytes()).into_owned();
        replay.reading = name.chars().take(NAME_SHOWN).collect();
        let read = replay.file(|tally, emit| source::read(file, tally, emit));
        replay.sink.progress.clear();
        if let Err(error) = read {
            unread = true;
            let _ = writeln!(errors, "earthdog: {name}: {error}");
        }
        replay.written()?;
    }
    let mut outcome = replay.finish()?;
    let _ = write!(errors, "{}", outcome.summary(args.files.len(), started.elapsed()));
    if let Some(warning) = outcome.messages.as_mut().and_then(Messages::warning) {
        let _ = writeln!(errors, "earthdog: {warning}");
    }
    if unread {
        return Ok(Code::Failure);
    }
    let failed = args.fail_on.is_some_and(|least| outcome.highest >= Some(least.into()));
    Ok(if failed { Code::Findings } else { Code::Ok })
}

/// Events through the filter and the pipeline of a replay, with what is given of other days and lists; every finding goes
/// to `take`, until that has enough.
pub fn events(
    config: &Config,
    origin: Origin,
    feed: Feed,
    history: Option<History>,
    events: impl Iterator<Item = Event>,
    take: &mut dyn FnMut(&Finding) -> ControlFlow<()>,
) {
    let mut filter = Filter::new(config);
    // On one thread, since there may be a history.
    let settings = pipeline::Settings { threads: 1, ..config.pipeline() };
    let mut pipeline = Pipeline::new(settings, origin);
    pipeline.feed(feed);
    if let Some(history) = history {
        pipeline.remember(history);
    }
    let enough = Cell::new(false);
    let mut emit = |finding: &Finding| {
        if !enough.get() {
            enough.set(take(finding).is_break());
        }
    };
    for mut event in events {
        if filter.as_mut().is_some_and(|filter| !filter.passes(&mut event)) {
            continue;
        }
        pipeline.push(event, &mut emit);
        pipeline.logged().for_each(drop);
        if enough.get() {
            return;
        }
    }
    pipeline.finish(&mut emit);
}

/// A replay in progress, writing to `out`.
struct Replay<W> {
    filter: Option<Filter>,
    pipeline: Pipeline,
    tally: Tally,
    messages: Option<Messages>,
    sink: Sink<W>,
    /// What the line on a terminal names.
    reading: String,
}

/// How findings are written, and which.
struct Output {
    format: sink::Format,
    about: sink::About,
    least: Severity,
}

/// Writes findings until a write fails, and remembers that.
struct Sink<W> {
    output: Output,
    /// JSON with the trail in it.
    trail: bool,
    /// Also what an exception covers.
    suppressed: bool,
    out: W,
    progress: Progress,
    highest: Option<Severity>,
    failure: Option<io::Error>,
}

impl<W: io::Write> Sink<W> {
    fn take(&mut self, finding: &Finding) {
        if finding.is_suppressed() && !self.suppressed {
            return;
        }
        if !finding.is_suppressed() {
            self.highest = self.highest.max(Some(finding.severity));
        }
        let Output { format, about, least } = &self.output;
        if self.failure.is_none() && finding.severity >= *least {
            let written = match format {
                sink::Format::Json if self.trail => sink::json(&stored::Stored::of(finding))
                    .and_then(|line| self.out.write_all(line.as_bytes())),
                format => sink::write(finding, *format, about, &mut self.out),
            };
            // On a terminal the two share a screen.
            let written =
                if self.progress.clear() { written.and_then(|()| self.out.flush()) } else { written };
            self.failure = written.err();
        }
    }
}

impl<W: io::Write> Replay<W> {
    fn new(config: &Config, output: Output, messages: Option<Messages>, out: W) -> Self {
        Self {
            filter: Filter::new(config),
            pipeline: Pipeline::new(config.pipeline(), Origin::Replay),
            tally: Tally::default(),
            messages,
            sink: Sink {
                output,
                trail: false,
                suppressed: false,
                out,
                progress: Progress::new(),
                highest: None,
                failure: None,
            },
            reading: String::new(),
        }
    }

    fn file<T>(&mut self, read: impl FnOnce(&mut Tally, &mut source::Emit<'_>) -> T) -> T {
        let Self { filter, pipeline, tally, messages, sink, reading } = self;
        let mut seen = 0_u64;
        read(tally, &mut |mut event| {
            if filter.as_mut().is_some_and(|filter| !filter.passes(&mut event)) {
                return ControlFlow::Continue(());
            }
            pipeline.push(event, &mut |finding| sink.take(finding));
            log(pipeline, messages);
            seen += 1;
            if seen.is_multiple_of(SHOWN_EVERY) {
                sink.progress.show(|| format!("replay: {reading}: {seen} records"));
            }
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
        log(&mut self.pipeline, &mut self.messages);
        self.written()?;
        if let Some(messages) = &mut self.messages {
            messages.flush();
        }
        Ok(Outcome {
            stats: self.pipeline.stats(),
            exceptions: self.pipeline.exceptions(),
            tally: self.tally,
            highest: self.sink.highest,
            messages: self.messages,
            repeats: self.filter.map(|filter| filter.stats),
        })
    }
}

/// Passes on to the message log what the last record gave.
fn log(pipeline: &mut Pipeline, messages: &mut Option<Messages>) {
    if let Some(messages) = messages {
        pipeline.logged().for_each(|line| messages.write(&line));
    }
}

/// What a replay came to.
struct Outcome {
    stats: pipeline::Stats,
    exceptions: Vec<exception::Status>,
    tally: Tally,
    highest: Option<Severity>,
    messages: Option<Messages>,
    /// What the novelty filter kept back.
    repeats: Option<novelty::Stats>,
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
        if !self.exceptions.is_empty() {
            line("excepted", format_args!("{} of the findings", stats.suppressed));
            self.exceptions.iter().for_each(|exception| line("exception", format_args!("{exception}")));
        }
        line("files", format_args!("{files}"));
        line("records", format_args!("{}, {} cut at the snap length", tally.records, tally.snapped));
        line("skipped", format_args!("{}", list(tally.skipped.iter().map(|(name, count)| (*name, *count)))));
        if let Some(kept) = &self.repeats {
            line(
                "repeats",
                format_args!(
                    "{} queries and {} responses kept back, {} fingerprints evicted",
                    kept.queries, kept.responses, kept.evicted
                ),
            );
        }
        if let Some(log) = &self.messages {
            line("message log", format_args!("{} lines, {} lost", log.taken, log.lost));
        }
        line("datagrams", format_args!("{} too short for a message", stats.datagrams));
        line("tcp", format_args!("{}", list(stats.reassembly.named().into_iter())));
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

impl From<OutputFormat> for FindingsForm {
    fn from(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Json => Self::Json,
            OutputFormat::Human => Self::Human,
            OutputFormat::Ocsf => Self::Ocsf,
            OutputFormat::Ecs => Self::Ecs,
            OutputFormat::None => Self::None,
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Cursor};

    use super::*;

    /// A Zeek log of a client that sends hexadecimal labels under one zone.
    fn tunnel() -> Vec<u8> {
        let mut state = 1_u64;
        let mut log = String::new();
        for row in 0..100 {
            let mut word = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 16
            };
            let (a, b) = (word(), word());
            let _ = writeln!(
                log,
                r#"{{"ts":{}.5,"id.orig_h":"192.0.2.1","id.orig_p":{},"id.resp_h":"192.0.2.53","id.resp_p":53,"proto":"udp","trans_id":{row},"query":"{a:012x}{b:012x}.t.example.com","qclass":1,"qtype":16,"rcode":0,"rtt":0.1}}"#,
                1_700_000_000 + row,
                20_000 + row,
            );
        }
        log.into_bytes()
    }

    fn as_json() -> Output {
        in_format(sink::Format::Json)
    }

    fn in_format(format: sink::Format) -> Output {
        let config = Config::default();
        let about = sink::About { hostname: None, ocsf: config.output.ocsf_version };
        Output { format, about, least: Severity::Low }
    }

    fn replay(files: &[Vec<u8>], format: sink::Format) -> (Vec<u8>, Outcome) {
        let mut out = Vec::new();
        let mut replay = Replay::new(&Config::default(), in_format(format), None, &mut out);
        for file in files {
            let file = Cursor::new(file.clone());
            replay.file(|tally, emit| source::read_from(file, tally, emit)).unwrap();
        }
        let outcome = replay.finish().unwrap();
        (out, outcome)
    }

    #[test]
    fn two_replays_give_the_same_bytes() {
        use sink::Format::{Ecs, Human, Json, Ocsf};
        for format in [Json, Human, Ocsf, Ecs] {
            let (first, outcome) = replay(&[tunnel()], format);
            assert!(!first.is_empty() && outcome.highest >= Some(Severity::Medium), "a finding");
            assert!(first == replay(&[tunnel()], format).0, "two replays differ");
        }
    }

    #[test]
    fn what_is_below_the_least_severity_is_not_written() {
        let mut out = Vec::new();
        let output = Output { least: Severity::Critical, ..as_json() };
        let mut replay = Replay::new(&Config::default(), output, None, &mut out);
        replay.file(|tally, emit| source::read_from(Cursor::new(tunnel()), tally, emit)).unwrap();
        let outcome = replay.finish().unwrap();
        assert!(out.is_empty() && outcome.highest == Some(Severity::High), "it counts all the same");
    }

    #[test]
    fn what_is_excepted_is_counted_and_written_only_if_asked_for() {
        let text = "[[suppress]]\nname = \"lab\"\nowner = \"ann\"\nreason = \"a test\"\nexpires = \"never\"\nzone = \"example.com\"\n";
        let run = |suppressed: bool| {
            let config = Config::parse(text, "x").unwrap();
            let mut out = Vec::new();
            let mut replay = Replay::new(&config, as_json(), None, &mut out);
            replay.sink.suppressed = suppressed;
            replay.file(|tally, emit| source::read_from(Cursor::new(tunnel()), tally, emit)).unwrap();
            let outcome = replay.finish().unwrap();
            (String::from_utf8(out).unwrap(), outcome)
        };
        let (silent, outcome) = run(false);
        assert_eq!((silent.as_str(), outcome.highest), ("", None), "--fail-on does not see it either");
        let summary = outcome.summary(1, Duration::from_secs(1));
        let says = "excepted    1 of the findings\nexception   lab of ann, until never: a test; covers zone example.com; \
                    1 finding, the last at 2023-11-14T";
        assert!(summary.contains(says), "{summary}");
        let (marked, outcome) = run(true);
        let (plain, _) = replay(&[tunnel()], sink::Format::Json);
        assert_eq!(outcome.highest, None);
        let plain = String::from_utf8(plain).unwrap();
        assert!(plain.lines().count() > 1);
        let mut lines = marked.lines();
        for line in plain.lines() {
            let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
            let mut marked = value(lines.next().unwrap());
            assert_eq!(marked["exception"]["owner"], "ann");
            marked.as_object_mut().unwrap().remove("exception");
            assert_eq!(marked, value(line));
        }
    }

    #[test]
    fn files_are_one_stream() {
        let log = tunnel();
        let half = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(49).unwrap().0 + 1;
        let (halves, _) = replay(&[log[..half].to_vec(), log[half..].to_vec()], sink::Format::Json);
        assert!(halves == replay(&[log], sink::Format::Json).0, "a file boundary shows");
    }

    #[test]
    fn findings_are_ndjson_and_end_closed() {
        let (out, outcome) = replay(&[tunnel()], sink::Format::Json);
        let mut last = BTreeMap::new();
        for line in std::str::from_utf8(&out).unwrap().lines() {
            let finding: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(finding["origin"], "replay");
            last.insert(finding["id"].to_string(), finding["state"].clone());
        }
        assert!(last.values().all(|state| state == "close"), "{last:?}");
        assert_eq!(last.len() as u64, outcome.stats.findings.iter().sum::<u64>());
    }

    #[test]
    fn the_summary_says_what_was_read() {
        let (_, outcome) = replay(&[tunnel()], sink::Format::Json);
        let text = outcome.summary(1, Duration::from_millis(500));
        for says in [
            "messages    200 (queries 100, responses 100)\n",
            "clients     1\n",
            "zones       1\n",
            "findings    low 0, medium 0, high 1, critical 0\n", // to the second, and it leaks
            "seconds     0.500\n",
            "messages/s  400\n",
        ] {
            assert!(text.contains(says), "{says:?} not in:\n{text}");
        }
    }

    #[test]
    fn every_message_is_a_line_of_the_message_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut config = Config::default();
        config.output.messages = path.to_str().unwrap().to_owned();
        let logged = || {
            let messages = Messages::open(&config.output.messages, Existing::IsReplaced).unwrap();
            let mut replay = Replay::new(&config, as_json(), messages, Vec::new());
            let file = Cursor::new(tunnel());
            replay.file(|tally, emit| source::read_from(file, tally, emit)).unwrap();
            let outcome = replay.finish().unwrap();
            assert_eq!(outcome.stats.messages, 200);
            std::fs::read_to_string(&path).unwrap()
        };
        let text = logged();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = |lookup: &str| lines.iter().filter(|line| line["lookup"] == lookup).count();
        assert_eq!((lines.len(), count("first"), count("answer")), (200, 100, 100));
        assert!(lines.iter().all(|line| line["view"] == "capture" && line["client"]["ip"] == "192.0.2.1"));
        assert_eq!(text, logged(), "two replays differ");
    }

    #[test]
    fn a_store_that_is_named_is_read_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let mut config = Config::default();
        assert!(ask::for_replay(&config, 0).unwrap().is_none(), "not the running sensor's");
        config.store.path = path.to_str().unwrap().to_owned();
        assert_eq!(ask::for_replay(&config, 0).unwrap_err().code, Code::Failure, "named, but not there");
        let settings = crate::store::recorder::Settings::of(&config).unwrap();
        let (mut recorder, mut history, _) = crate::store::recorder::open(&settings, 0, 1).unwrap();
        assert_eq!(recorder.finish(&mut history, 1), Vec::<String>::new());
        drop(recorder);
        let before = std::fs::read(&path).unwrap();
        let mut history = ask::for_replay(&config, 0).unwrap().unwrap();
        assert!(history.changes().is_none());
        let mut replay = Replay::new(&config, as_json(), None, Vec::new());
        replay.pipeline.remember(history);
        replay.file(|tally, emit| source::read_from(Cursor::new(tunnel()), tally, emit)).unwrap();
        let learnt = replay.pipeline.history().unwrap().pdns("x.t.example.com").zone_seen.unwrap();
        assert_eq!(learnt.lookups, Some(100));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_full_disk_ends_the_replay() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut replay = Replay::new(&Config::default(), as_json(), None, Full);
        let file = Cursor::new(tunnel());
        replay.file(|tally, emit| source::read_from(file, tally, emit)).unwrap();
        assert!(replay.tally.events < 200, "reading went on");
        assert_eq!(replay.written().unwrap_err().code, Code::Failure);
    }
}
