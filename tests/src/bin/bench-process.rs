//! `cargo xtask bench process`: what the running sensor adds to a process's start and end.
//!
//! Batches of `/bin/true` without and with the sensor, in turn; the median over all of each. Beside it the kernel's own
//! figures for the three programs (`BPF_ENABLE_STATS`): those do not depend on what else the machine does.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::host::{self, Host};
use earthdog_tests::quartiles::median;
use earthdog_tests::rows;
use earthdog_tests::sensor::Sensor;
use serde_json::json;

const ROUNDS: usize = 15;
const BATCH: usize = 200;
const PROGRAM: &str = "/bin/true";
/// Most that may be added, of the time without.
const GOAL: f64 = 0.05;
const TRACEPOINTS: [&str; 3] = ["sched_fork", "sched_exec", "sched_exit"];

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-process: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the goal was met.
fn bench() -> Result<bool> {
    let (json_file, rest) = rows::file_of(std::env::args().skip(1))?;
    if let Some(other) = rest.first() {
        bail!("unknown argument {other}; usage: bench process [--json FILE]");
    }
    ensure!(Path::new(PROGRAM).is_file(), "{PROGRAM} is missing");
    let (host, _other) = host::pair().map_err(|why| anyhow!(why))?;
    let _stats = enable_stats(Stats::RunTime).context("BPF_ENABLE_STATS")?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut kernel = BTreeMap::new();
    for _ in 0..ROUNDS {
        batch(&mut without)?;
        let sensor = Sensor::start(&host, &[]).map_err(|why| anyhow!(why))?;
        let before = run_times();
        batch(&mut with)?;
        for (name, (time, runs)) in run_times() {
            let (time_before, runs_before) = before.get(&name).copied().unwrap_or_default();
            let sum = kernel.entry(name).or_insert((Duration::ZERO, 0));
            *sum = (sum.0 + time.saturating_sub(time_before), sum.1 + runs.saturating_sub(runs_before));
        }
        lost_nothing(&sensor, &host)?;
        sensor.stop();
    }
    let (without, with) = (median(without), median(with));
    let mut in_kernel = 0.0;
    for (name, (time, runs)) in &kernel {
        println!("{name:<12} {:>6.0} ns a run, {runs} runs", time.as_nanos() as f64 / (*runs).max(1) as f64);
        in_kernel += time.as_nanos() as f64 / (ROUNDS * BATCH) as f64;
    }
    let added = with / without - 1.0;
    println!(
        "{PROGRAM}: {:.1} µs without the sensor, {:.1} µs with it: {:+.1} % (goal: at most {:+.0} %); in the kernel {:.2} µs, \
         {:.2} %",
        without * 1e6,
        with * 1e6,
        added * 100.0,
        GOAL * 100.0,
        in_kernel / 1e3,
        in_kernel / without / 1e7
    );
    if let Some(file) = json_file {
        let row = |metric: &str, unit: &str, value: f64, floor: Option<f64>| json!({"part": "process", "case": "start_and_end", "metric": metric, "unit": unit, "value": value, "floor": floor});
        let rows = [
            row("time", "µs", with * 1e6, Some(without * 1e6)),
            row("added", "1", added, None),
            row("in_kernel", "µs", in_kernel / 1e3, None),
        ];
        rows::write(&file, &rows)?;
    }
    Ok(added <= GOAL)
}

/// Seconds that each of a batch took from fork to wait.
fn batch(times: &mut Vec<f64>) -> Result<()> {
    for _ in 0..BATCH {
        let began = now();
        let status = Command::new(PROGRAM).stdin(Stdio::null()).status().context(PROGRAM)?;
        times.push(began.elapsed().as_secs_f64());
        ensure!(status.success(), "{PROGRAM}: {status}");
    }
    Ok(())
}

/// Time and runs of the sensor's raw tracepoint programs so far, by name.
fn run_times() -> BTreeMap<String, (Duration, u64)> {
    loaded_programs()
        .filter_map(|info| {
            let info = info.ok()?;
            let name = info.name_as_str()?.to_owned();
            TRACEPOINTS.contains(&name.as_str()).then(|| (name, (info.run_time(), info.run_count())))
        })
        .collect()
}

/// A figure without its records would be one of another program.
fn lost_nothing(sensor: &Sensor, host: &Host) -> Result<()> {
    let counters = sensor.settled(Deadline::secs(20));
    for event in ["exec", "fork", "exit"] {
        let lost = counters[&format!("{event}_lost")];
        ensure!(lost == 0, "{lost} {event} events lost in {}", host.cgroup().display());
    }
    Ok(())
}
