//! Measuring, and the table that is printed.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use earthdog::config::Config;
use earthdog::dns::{Canonical, Message};
use earthdog::event::{Event, Packet};
use earthdog::finding::{Finding, Origin};
use earthdog::pipeline::Pipeline;
use earthdog_tests::deadline::now;
use earthdog_tests::quartiles::median;
use earthdog_tests::rows;
use serde_json::json;

use crate::workload::{self, Workload};

const ROUNDS: usize = 7;
/// Most that a message may cost, and what is aimed at, nanoseconds.
const GOAL: (f64, f64) = (2000.0, 1000.0);
/// Messages run under callgrind, some fifty times slower.
const COUNTED: usize = 20_000;

#[derive(Debug, Default)]
struct Arguments {
    json: Option<PathBuf>,
    captures: Vec<PathBuf>,
    /// Only push this workload's first messages, for callgrind to count.
    once: Option<String>,
    /// Only this workload.
    only: Option<String>,
    /// With `once`: threads that clients are shared out over.
    threads: Option<u64>,
}

/// Threads of the rows beside those of one.
const THREADS: u64 = 2;

fn arguments() -> Result<Arguments> {
    let mut found = Arguments::default();
    let mut list = std::env::args().skip(1);
    while let Some(argument) = list.next() {
        match argument.as_str() {
            "--json" => found.json = Some(list.next().context("--json takes a file name")?.into()),
            "--only" => found.only = Some(list.next().context("--only takes a workload")?),
            "--once" => found.once = Some(list.next().context("--once takes a workload")?),
            "--threads" => found.threads = Some(list.next().context("--threads takes a number")?.parse()?),
            option if option.starts_with('-') => {
                bail!(
                    "unknown option {option}; usage: bench pipeline [--json FILE] [--only WORKLOAD] [CAPTURE…]"
                )
            }
            capture => found.captures.push(capture.into()),
        }
    }
    Ok(found)
}

/// Whether the goal was met.
pub(crate) fn bench() -> Result<bool> {
    let arguments = arguments()?;
    let mut workloads = workload::all(&arguments.captures)?;
    if let Some(name) = arguments.once {
        let workload = workloads.iter_mut().find(|w| w.name == name).context("no such workload")?;
        workload.events.truncate(COUNTED);
        push_all(workload.events.clone(), arguments.threads.unwrap_or(1));
        return Ok(true);
    }
    if let Some(name) = arguments.only {
        workloads.retain(|workload| workload.name == name);
        if workloads.is_empty() {
            bail!("no workload {name}: the first column of the table without --only has their names");
        }
    }
    let mut rows = Vec::new();
    let mut met = true;
    println!(
        "{:28} {:>8} {:>8} {:>8} {:>7} {:>11} {:>12} {:>13}",
        "workload", "messages", "floor ns", "ours ns", "ratio", "messages/s", "allocations", "instructions"
    );
    for workload in &workloads {
        let measured = measure(workload);
        let counted_with = |threads| instructions(workload, &arguments.captures, threads);
        let (instructions, shared) = (counted_with(1)?, counted_with(THREADS)?);
        let counted = instructions.map_or_else(|| "no valgrind".to_owned(), |count| format!("{count:.0}"));
        println!(
            "{:28} {:>8} {:>8.0} {:>8.0} {:>7.1} {:>11.0} {:>12.2} {counted:>13}",
            workload.name,
            measured.messages,
            measured.floor_ns,
            measured.ours_ns,
            measured.ours_ns / measured.floor_ns,
            1e9 / measured.ours_ns,
            measured.allocations,
        );
        let against = shared.zip(instructions).map(|(shared, one)| shared / one);
        println!(
            "{:28} {:>8} {:>8} {:>8.0} {:>7} {:>11.0} {:>12} {:>13}",
            format!("  {THREADS} threads"),
            "",
            "",
            measured.shared_ns,
            format!("x{:.2}", measured.ours_ns / measured.shared_ns),
            1e9 / measured.shared_ns,
            "",
            against.map_or_else(String::new, |ratio| format!("x{ratio:.3}")),
        );
        met &= measured.ours_ns <= GOAL.0;
        let mut row = |metric: &str, unit: &str, value: f64, floor: Option<f64>| {
            rows.push(json!({
                "part": "pipeline", "case": workload.name, "metric": metric, "unit": unit, "value": value, "floor": floor,
            }));
        };
        row("time_per_message", "ns", measured.ours_ns, Some(measured.floor_ns));
        row("messages_per_second", "1/s", 1e9 / measured.ours_ns, Some(1e9 / measured.floor_ns));
        row("allocations_per_message", "1", measured.allocations, None);
        if let Some(count) = instructions {
            row("instructions_per_message", "1", count, None);
        }
        row("messages_per_second_2_threads", "1/s", 1e9 / measured.shared_ns, Some(1e9 / measured.ours_ns));
        if let Some(count) = shared {
            row("instructions_per_message_2_threads", "1", count, instructions);
        }
    }
    println!(
        "goal: at most {:.0} ns a message on each ({}), on the way to {:.0}",
        GOAL.0,
        if met { "met" } else { "MISSED" },
        GOAL.1
    );
    if let Some(file) = arguments.json {
        rows::write(&file, &rows)?;
    }
    Ok(met)
}

struct Measured {
    messages: u64,
    floor_ns: f64,
    ours_ns: f64,
    shared_ns: f64,
    allocations: f64,
}

fn measure(workload: &Workload) -> Measured {
    let messages = push_all(workload.events.clone(), 1);
    let per_message = |elapsed: std::time::Duration| elapsed.as_nanos() as f64 / messages.max(1) as f64;
    let (mut floors, mut ours, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = now();
        look_at_all(&workload.events);
        floors.push(per_message(now() - start));
        let events = workload.events.clone();
        let start = now();
        black_box(push_all(events, 1));
        ours.push(per_message(now() - start));
        let events = workload.events.clone();
        let start = now();
        black_box(push_all(events, THREADS));
        shared.push(per_message(now() - start));
    }
    let events = workload.events.clone();
    let allocated = allocation_counter::measure(|| {
        black_box(push_all(events, 1));
    });
    Measured {
        messages,
        floor_ns: median(floors),
        ours_ns: median(ours),
        shared_ns: median(shared),
        allocations: allocated.count_total as f64 / messages.max(1) as f64,
    }
}

/// Everything through a new pipeline; how many messages it saw. Its own name is what callgrind is told to count.
#[inline(never)]
fn push_all(events: Vec<Event>, threads: u64) -> u64 {
    let mut config = Config::default();
    config.pipeline.threads = threads;
    let mut pipeline = Pipeline::new(config.pipeline(), Origin::Replay);
    let mut emit = |finding: &Finding| {
        black_box(finding);
    };
    for event in events {
        pipeline.push(event, &mut emit);
    }
    pipeline.settle(&mut emit);
    pipeline.stats().messages
}

fn look_at_all(events: &[Event]) {
    for event in events {
        let Event::Packet(Packet { payload, true_len, .. }) = event else { continue };
        let message = Message::parse(payload, *true_len as usize);
        black_box(message.question.map(|question| Canonical::new(question.name)));
    }
}

/// Instructions a message by callgrind; `None` where it is not installed.
fn instructions(workload: &Workload, captures: &[PathBuf], threads: u64) -> Result<Option<f64>> {
    let valgrind = Path::new("/usr/bin/valgrind");
    if !valgrind.is_file() {
        return Ok(None);
    }
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*push_all*"])
        .arg("--toggle-collect=*serve_shard*")
        .arg(std::env::current_exe()?)
        .args(["--once", &workload.name, "--threads", &threads.to_string()])
        .args(captures)
        .output()
        .context("cannot start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    let collected: f64 = collected
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("callgrind counted nothing:\n{text}"))?;
    let counted = workload.events.len().min(COUNTED);
    Ok(Some(collected / counted as f64))
}
