//! What each owner source costs a send: run counters of the kernel's programs, and the time of the call.
//!
//! ```text
//! owner-cost [--sensor PATH] [--here]
//! ```
//!
//! On the loopback of a host of the test kit; with `--here` on this machine as it is (a VM). Run counters
//! (`BPF_ENABLE_STATS`) leave out what calls a program: the breakpoint or ftrace call of a kprobe, the trampoline of fentry.
//! The time of the call has it, over that without a sensor, but also the noise of the machine: of batches the tenth percentile is
//! shown, which leaves most of that out.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use earthdog::live::programs::PROGRAMS;
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::host::Host;
use earthdog_tests::message::{Message, rtype};
use earthdog_tests::process::{Process, Stream};
use earthdog_tests::sensor;
use earthdog_tests::truth::expect::Source;

/// Sends to a batch; the records of one fit the rings.
const BATCH: u32 = 100;
const ROUNDS: usize = 101;
/// DNS, and beside it: what every other UDP send of a host pays.
const PORTS: [u16; 2] = [53, 7053];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("owner-cost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut binary = None;
    let mut here = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--sensor" => binary = Some(PathBuf::from(words.next().context("--sensor wants a path")?)),
            "--here" => here = true,
            _ => bail!("usage: owner-cost [--sensor PATH] [--here]"),
        }
    }
    let binary = match binary {
        Some(binary) => binary,
        None => sensor::binary().map_err(anyhow::Error::msg)?,
    };
    if here {
        return measure(&binary);
    }
    let host = Host::new().map_err(anyhow::Error::msg)?;
    let mut command = host.command(std::env::current_exe()?);
    let status = command.arg("--here").arg("--sensor").arg(binary).status()?;
    if status.success() { Ok(()) } else { bail!("in the host of the test kit: {status}") }
}

/// Of one source, for DNS and for other sends.
struct Cost {
    /// Nanoseconds in programs on the send path, and in the packet hook, per send.
    send_path: [f64; 2],
    hook: [f64; 2],
    /// Nanoseconds of the call.
    call: [f64; 2],
}

fn measure(binary: &Path) -> Result<()> {
    // Held to the end: the counters run while it is open.
    let _stats = enable_stats(Stats::RunTime).context("BPF_ENABLE_STATS")?;
    let sinks = PORTS.map(|port| UdpSocket::bind(("127.0.0.1", port)));
    for (sink, port) in sinks.iter().zip(PORTS) {
        sink.as_ref().map_err(|error| anyhow::anyhow!("port {port} on the loopback: {error}"))?;
    }
    let without = cost(&[])?;
    println!(
        "{:<13} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11}",
        "ns per send", "DNS: noted", "hook", "call +", "other: noted", "hook", "call +"
    );
    println!(
        "{:<13} {:>11} {:>11} {:>11.0} {:>11} {:>11} {:>11.0}",
        "no sensor", "", "", without.call[0], "", "", without.call[1]
    );
    for source in [Source::CurrentTask, Source::Fentry, Source::Kprobe, Source::SockAddr] {
        let Some(cost) = with_sensor(binary, source)? else { continue };
        print!("{:<13}", source.name());
        for kind in 0..PORTS.len() {
            let over = cost.call[kind] - without.call[kind];
            print!(" {:>11.0} {:>11.0} {over:>11.0}", cost.send_path[kind], cost.hook[kind]);
        }
        println!();
    }
    Ok(())
}

/// `None`, told, where this kernel lacks the source.
fn with_sensor(binary: &Path, source: Source) -> Result<Option<Cost>> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("cost.toml");
    let socket = folder.path().join("control.sock");
    std::fs::write(
        &config,
        format!(
            "[live]\nowner_source = \"{}\"\ncontrol_socket = {:?}\n[store]\npath = \"\"\n",
            source.name(),
            socket.display().to_string()
        ),
    )?;
    let before = ids();
    let mut command = Command::new(binary);
    command.args(["run", "--xdp-mode", "off", "--output", "json", "-c"]).arg(&config);
    let mut process = Process::spawn(command);
    let watching = process.try_wait_for(Deadline::secs(120), |lines| {
        lines.iter().any(|(from, line)| *from == Stream::Err && line.contains("watching with")).then_some(())
    });
    if watching.is_none() {
        println!("{:<13} not here: {}", source.name(), process.lines(Stream::Err).join(" | "));
        process.wait(Deadline::secs(10));
        return Ok(None);
    }
    let ours: Vec<u32> = ids().into_iter().filter(|id| !before.contains(id)).collect();
    let cost = cost(&ours)?;
    process.terminate(Deadline::secs(30));
    Ok(Some(cost))
}

/// Batches of both kinds in turn; a socket for each, connected to nobody.
fn cost(programs: &[u32]) -> Result<Cost> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let query = Message::query("www.cost.example", rtype::A).build();
    let mut samples: [[Vec<f64>; 3]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (port, samples) in PORTS.into_iter().zip(&mut samples) {
            let before = counters(programs)?;
            let start = now();
            for _ in 0..BATCH {
                socket.send_to(&query, ("127.0.0.1", port))?;
            }
            let call = start.elapsed().as_nanos() as f64;
            let after = counters(programs)?;
            let spent = |hook: bool| -> f64 {
                after
                    .iter()
                    .filter(|(name, _)| (name.as_str() == "host_egress") == hook)
                    .filter(|(name, _)| name.as_str() != "host_ingress")
                    .map(|(name, ns)| (ns - before.get(name).copied().unwrap_or(0)) as f64)
                    .sum()
            };
            for (samples, total) in samples.iter_mut().zip([spent(false), spent(true), call]) {
                samples.push(total / f64::from(BATCH));
            }
        }
    }
    for samples in samples.iter_mut().flatten() {
        samples.sort_by(f64::total_cmp);
    }
    let take = |index: usize| [0, 1].map(|kind: usize| samples[kind][index][ROUNDS / 10]);
    Ok(Cost { send_path: take(0), hook: take(1), call: take(2) })
}

fn ids() -> Vec<u32> {
    loaded_programs().filter_map(Result::ok).map(|program| program.id()).collect()
}

/// Nanoseconds spent in each of these programs, by name; those of the sensor only.
fn counters(programs: &[u32]) -> Result<BTreeMap<String, u64>> {
    let mut spent = BTreeMap::new();
    if programs.is_empty() {
        return Ok(spent);
    }
    for program in loaded_programs() {
        let program = program?;
        let name = program.name_as_str().unwrap_or_default();
        if programs.contains(&program.id()) && PROGRAMS.iter().any(|row| row.name.starts_with(name)) {
            *spent.entry(name.to_owned()).or_default() += program.run_time().as_nanos() as u64;
        }
    }
    Ok(spent)
}
