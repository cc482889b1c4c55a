//! `earthdog selftest`: what this host would find, shown on this host. Emulated tools and honest traffic go through real
//! sockets past the real hooks, in a network of their own; what takes hours is replayed, and said to be.

mod bed;
pub mod canary;
mod case;
pub mod floor;
mod live;
pub mod outcome;
pub mod part;
mod replayed;
mod show;
pub mod state;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use self::bed::Bed;
use self::case::{Case, Source};
use self::floor::{Floor, Load};
use self::live::{Live, Senders};
use self::outcome::{How, Kind, Outcome, OwnerIs, Row, Summary, VERSION};
use self::replayed::Replayer;
use self::stop::Stop;
use crate::cli::SelftestArgs;
use crate::clock;
use crate::config::Config;
use crate::emulate::hazard;
use crate::emulate::record::Record;
use crate::emulate::{Carrier, Emulation, Made, NOT_YET};
use crate::exit::{Code, Error};
use crate::finding::{self, ClientKind, Finding, Severity};
use crate::live::object;
use crate::progress::Progress;
use crate::sink;
use crate::store::ask;

/// Processes that send, in all; cases beyond are replayed alone.
const SENDERS_MAX: usize = 300;
/// How long a running sensor looks away from what is sent, at most.
const ANNOUNCED_S: u64 = 300;
/// Replays at a time.
const THREADS_MAX: usize = 4;

/// Runs the self-test and prints what it came to.
pub fn run(args: &SelftestArgs, config: &Config) -> anyhow::Result<Code> {
    if object::is_stub() {
        let message =
            "this binary was built without its kernel side: run `cargo xtask setup` and build again";
        return Err(Error::new(Code::NoHook, message).into());
    }
    if args.canary {
        return fly(args, config);
    }
    let outcome = full(args, config)?;
    let kept = state::keep(config, &outcome);
    let text = if args.json {
        sink::json(&outcome).map_err(|error| Error::stdout(&error))?
    } else {
        show::text(&outcome)
    };
    tell(&text, kept, outcome.ok)
}

fn fly(args: &SelftestArgs, config: &Config) -> anyhow::Result<Code> {
    let canary = canary::run(config, args.seed)?;
    let kept = state::keep(config, &canary);
    let text =
        if args.json { sink::json(&canary).map_err(|error| Error::stdout(&error))? } else { canary.text() };
    tell(&text, kept, canary.ok)
}

fn tell(text: &str, kept: Result<(), String>, ok: bool) -> anyhow::Result<Code> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::stdout(&error))?;
    if let Err(why) = kept {
        let _ = writeln!(io::stderr(), "earthdog: the self-test's result is not kept: {why}");
    }
    Ok(if ok { Code::Ok } else { Code::Failure })
}

fn full(args: &SelftestArgs, config: &Config) -> anyhow::Result<Outcome> {
    let (began, time) = (clock::monotonic(), finding::time(clock::unix_ns()));
    let mut notes = Vec::new();
    let status = match ask::online::<Value>(config, "status", None) {
        Ok(status) => status,
        Err(error) => {
            notes.push(error.message);
            None
        }
    };
    let lists = config.feeds().load().map_err(|message| Error::new(Code::Usage, message))?;
    notes.extend(lists.warnings);
    // Before any thread.
    let stop = Stop::new()?;
    let bed = Bed::make()?;
    // Held to the end.
    let _apart = match status.is_some().then(|| canary::announce(config, ANNOUNCED_S)).transpose() {
        Ok(apart) => apart,
        Err(why) => {
            notes.push(format!("the running sensor takes this for the host's own traffic: {why}"));
            None
        }
    };
    let history = || ask::read(config).ok();
    let replayer = Replayer { config, feed: lists.feed, history: &history, stop: &stop };
    let all: Vec<(Source, Made)> =
        Source::all().into_iter().map(|source| (source, source.make(args.seed))).collect();
    let cases = chosen(&all);
    let sent: Vec<&str> = cases.iter().map(|case| case.source.name()).collect();
    // Honest traffic is replayed in whole, whatever was sent of it.
    let (replays, _): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|(source, _)| matches!(source, Source::Honest(_)) || !sent.contains(&source.name()));
    let (replayed, rates) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let load = Load::of(status.as_ref(), clock::unix_ns() as f64 / 1e9);
    let beside = || -> (Vec<Vec<Record>>, Floor) {
        let threads =
            thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).min(THREADS_MAX);
        let found = replayed::all(&replayer, &replays, threads, &|| {
            replayed.fetch_add(1, Ordering::Relaxed);
        });
        let floor = floor::measure(&replayer, load, args.seed, &|| {
            rates.fetch_add(1, Ordering::Relaxed);
        });
        (found, floor)
    };
    let mut progress = Progress::new();
    let tools = cases.iter().filter(|case| matches!(case.source, Source::Tool(_))).count();
    let mut show = |found: usize| {
        let (replayed, rates) = (replayed.load(Ordering::Relaxed), rates.load(Ordering::Relaxed));
        progress.show(|| {
            let seconds = began.elapsed().as_secs();
            format!(
                "self-test: {seconds} s, {found} of {tools} tools found live, {replayed} of {} cases replayed, {rates} rates \
                 tried",
                replays.len()
            )
        });
    };
    let (live, (found, floor)) = thread::scope(|scope| {
        let beside = scope.spawn(beside);
        let live = live::run(&bed, config, &cases, &stop, &mut show);
        while !beside.is_finished() {
            thread::park_timeout(std::time::Duration::from_millis(200));
            stop.is_asked();
            show(tools);
        }
        let beside = beside.join().map_err(|_| Error::new(Code::Failure, "self-test: a replay failed"));
        beside.and_then(|beside| Ok((live?, beside)))
    })?;
    drop(progress);
    stop.check()?;
    if !floor.history {
        notes.push(
            "the memory of other days could not be read: replays and the floor are without it".to_owned(),
        );
    }
    let mut outcome = Outcome {
        v: VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time,
        seconds: 0.0,
        ok: false,
        hooks: live.hooks.clone(),
        lost: live.lost,
        summary: Summary::default(),
        cases: Vec::new(),
        strays: Vec::new(),
        floor: Some(floor),
        notes,
    };
    judge_live(&mut outcome, &cases, &live);
    for ((source, made), records) in replays.iter().zip(&found) {
        outcome.cases.push(row(*source, How::Replay, made, records));
    }
    outcome.sum_up();
    outcome.seconds = began.elapsed().as_secs_f64();
    Ok(outcome)
}

/// What is sent.
fn chosen(all: &[(Source, Made)]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut taken = BTreeSet::new();
    let mut senders = 0;
    for (source, made) in all {
        let Some(case) = Case::of(*source, cases.len(), made, &mut taken) else { continue };
        senders += case.made.moved.clients.len();
        if senders > SENDERS_MAX {
            break;
        }
        cases.push(case);
    }
    cases
}

fn judge_live(outcome: &mut Outcome, cases: &[Case], live: &Live) {
    let mut claimed = vec![false; live.findings.len()];
    let records: Vec<Record> = live.findings.iter().map(Record::from).collect();
    for (case, senders) in cases.iter().zip(&live.senders) {
        let mut own = Vec::new();
        let mut owners = Owners::default();
        for (index, record) in records.iter().enumerate() {
            let finding = &live.findings[index];
            if !case.owns(record) && !finding.client.pid.is_some_and(|pid| senders.pids.contains(&pid)) {
                continue;
            }
            claimed[index] = true;
            own.push(record.clone());
            if record.severity >= Severity::Medium {
                owners.note(finding, senders, case.source.name());
            }
        }
        let mut row = row(case.source, How::Live, &case.since(live.start_ns), &own);
        row.sent = Some(senders.sent);
        if let Source::Tool(_) = case.source {
            row.owner = Some(owners.is());
            outcome.summary.owners += owners.of.len() as u64;
            outcome.summary.owners_right += owners.right();
            if row.ok && owners.right() < owners.of.len() as u64 {
                (row.ok, row.falls) = (false, Some("owner".to_owned()));
            }
        }
        if row.ok && senders.sent.failed > 0 {
            (row.ok, row.falls) = (false, Some("sending".to_owned()));
        }
        outcome.cases.push(row);
    }
    for (finding, _) in live.findings.iter().zip(claimed).filter(|(_, claimed)| !claimed) {
        if finding.severity >= Severity::Medium {
            outcome.strays.push(format!("{}: {}", finding.rule, finding.title));
        }
    }
}

/// Of each finding, whether every state of it names the process that sent.
#[derive(Default)]
struct Owners<'a> {
    of: BTreeMap<&'a str, OwnerIs>,
}

impl<'a> Owners<'a> {
    fn note(&mut self, finding: &'a Finding, senders: &Senders, name: &str) {
        let client = &finding.client;
        let is = match client.pid {
            _ if client.kind == ClientKind::Address => OwnerIs::None,
            None => OwnerIs::None,
            Some(pid) => {
                let all = std::iter::once(&pid).chain(&client.pids).all(|pid| senders.pids.contains(pid));
                let named = client.cmdline.as_ref().is_none_or(|line| line.contains(name));
                if all && named { OwnerIs::Right } else { OwnerIs::Wrong }
            }
        };
        let known = self.of.entry(&finding.id).or_insert(is);
        if *known == OwnerIs::Right {
            *known = is;
        }
    }

    fn right(&self) -> u64 {
        self.of.values().filter(|is| **is == OwnerIs::Right).count() as u64
    }

    fn is(&self) -> OwnerIs {
        let worst =
            [OwnerIs::Wrong, OwnerIs::None].into_iter().find(|is| self.of.values().any(|of| of == is));
        worst.unwrap_or(if self.of.is_empty() { OwnerIs::None } else { OwnerIs::Right })
    }
}

fn row(source: Source, how: How, made: &Made, records: &[Record]) -> Row {
    match source {
        Source::Tool(tool) => tool_row(tool, how, made, records),
        Source::Honest(hazard) => {
            let judged = hazard::Judged::of(made, records);
            let worst = records.iter().max_by_key(|record| record.severity);
            Row {
                severity: worst.map(|record| record.severity),
                rule: worst.map(|record| record.rule.clone()),
                falls: judged.falls.map(|falls| falls.name().to_owned()),
                ok: judged.falls.is_none(),
                ..empty(hazard.name, Kind::Honest, how)
            }
        }
    }
}

fn tool_row(tool: &Emulation, how: How, made: &Made, records: &[Record]) -> Row {
    let judged = tool.judge(&made.moved, records);
    let first = judged.first.as_ref();
    Row {
        severity: first.map(|first| first.severity),
        rule: first.map(|first| first.rule.clone()),
        seconds: first.map(|first| first.seconds),
        queries: first.map(|first| first.queries),
        bytes_out: first.map(|first| match tool.carrier {
            Carrier::Names => first.name_bytes,
            Carrier::Other => first.payload,
        }),
        falls: judged.falls.map(|falls| falls.name().to_owned()),
        known: judged.falls.is_some_and(|falls| NOT_YET.contains(&(tool.name, falls))),
        ok: judged.falls.is_none(),
        ..empty(tool.name, Kind::Tool, how)
    }
}

fn empty(name: &str, kind: Kind, how: How) -> Row {
    Row {
        name: name.to_owned(),
        kind,
        how,
        ok: false,
        severity: None,
        rule: None,
        seconds: None,
        queries: None,
        bytes_out: None,
        owner: None,
        falls: None,
        known: false,
        sent: None,
    }
}
