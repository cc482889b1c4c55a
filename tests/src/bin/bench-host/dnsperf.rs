//! The peers: an unbound that answers every name below example out of its own data, and dnsperf, which asks it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use earthdog_tests::deadline::Deadline;
use earthdog_tests::emulate::random::Random;
use earthdog_tests::generator;
use earthdog_tests::host::Host;
use earthdog_tests::peer;
use earthdog_tests::process::Process;

/// Names in a file: more than are asked for in a run, so that none of `Names::New` is asked for twice.
const NAMES: u64 = 400_000;
/// Of `Names::Zipf`: so many, the n-th 1/n as often as the first.
const SITES: u32 = 10_000;
/// Sockets that dnsperf asks from; its default of 100 queries are outstanding.
const CLIENTS: &str = "4";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    New,
    Zipf,
}

impl Names {
    /// Lines for dnsperf; of `New` other ones for each `number`.
    pub(crate) fn file(self, number: u64) -> String {
        let mut random = Random::new(number + 1);
        let mut text = String::new();
        let sums: Vec<f64> = (1..=SITES)
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / f64::from(rank);
                Some(*sum)
            })
            .collect();
        for _ in 0..NAMES {
            let _ = match self {
                Self::New => writeln!(text, "n{:016x}.new.example A", random.next()),
                Self::Zipf => {
                    let point = random.unit() * sums[sums.len() - 1];
                    writeln!(text, "www.site{}.example A", sums.partition_point(|sum| *sum < point))
                }
            };
        }
        text
    }
}

/// Starts it on a processor of its own.
pub(crate) fn unbound(host: &Host, address: &str, cpu: usize) -> Result<Process> {
    let path = "/run/unbound.conf";
    let text = format!(
        "server:\n  interface: {address}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  username: \"\"\n  \
         chroot: \"\"\n  directory: \"/run\"\n  pidfile: \"\"\n  use-syslog: no\n  verbosity: 1\n  num-threads: 1\n  \
         module-config: \"iterator\"\n  do-ip6: no\n  local-zone: \"example.\" redirect\n  \
         local-data: \"example. 300 IN A 192.0.2.1\"\nremote-control:\n  control-enable: no\n"
    );
    std::fs::write(host.file(path), text)?;
    let mut command = host.command(found("unbound")?);
    command.args(["-d", "-c", path]);
    let process = on_cpu(cpu, command)?;
    process.wait_for_text("start of service", Deadline::secs(10));
    Ok(process)
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered {
    pub(crate) sent: u64,
    pub(crate) completed: u64,
    pub(crate) lost: u64,
    /// Answers a second.
    pub(crate) rate: f64,
    /// Seconds; the last two where each answer was told.
    pub(crate) average: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

/// Asks for the names in the host's /run/names for so long; `rate` queries a second, or as many as go. Where a rate is
/// given, each answer's latency is told.
pub(crate) fn ask(
    host: &Host,
    address: &str,
    cpu: usize,
    time: Duration,
    rate: Option<f64>,
) -> Result<Answered> {
    let mut command = host.command("sh");
    let seconds = time.as_secs().to_string();
    command.args(["-c", "exec \"$@\" > /run/answers", "sh"]).arg(found("dnsperf")?);
    command.args(["-s", address, "-d", "/run/names", "-c", CLIENTS, "-l", &seconds, "-t", "2"]);
    if let Some(rate) = rate {
        command.args(["-v", "-Q", &format!("{rate:.0}")]);
    }
    let mut process = on_cpu(cpu, command)?;
    let status = process.wait(Deadline::secs(60));
    ensure!(status.success(), "dnsperf: {status}\n{}", process.transcript());
    read(&std::fs::read_to_string(host.file("/run/answers"))?)
}

/// dnsperf's statistics, and of lines such as `> NOERROR www.example A 0.000123` the highest latencies.
fn read(text: &str) -> Result<Answered> {
    let after = |label: &str| {
        let rest = text.lines().find_map(|line| line.trim().strip_prefix(label));
        rest.and_then(|rest| rest.split_whitespace().next())
            .with_context(|| format!("dnsperf does not tell {label:?}"))
    };
    let answered =
        after("Response codes:").map(|_| text.lines().find(|line| line.contains("Response codes:")));
    let codes = answered?.unwrap_or_default();
    ensure!(
        codes.contains("NOERROR") && codes.contains("(100.00%)"),
        "not all names have an answer: {codes}"
    );
    let mut latencies: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("> NOERROR "))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    latencies.sort_by(f64::total_cmp);
    let of_hundred = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or(f64::NAN);
    Ok(Answered {
        sent: after("Queries sent:")?.parse()?,
        completed: after("Queries completed:")?.parse()?,
        lost: after("Queries lost:")?.parse()?,
        rate: after("Queries per second:")?.parse()?,
        average: after("Average Latency (s):")?.parse()?,
        p95: of_hundred(95),
        p99: of_hundred(99),
    })
}

fn found(name: &str) -> Result<PathBuf> {
    peer::find(name).map_err(|why| anyhow!(why))
}

/// What is started inherits the processor of the thread that starts it.
fn on_cpu(cpu: usize, command: Command) -> Result<Process> {
    let start = || generator::pin(cpu).map(|()| Process::spawn(command));
    std::thread::scope(|scope| scope.spawn(start).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_and_an_error_is_one() {
        let text = "> NOERROR a.example A 0.000200\n> NOERROR b.example A 0.000100\nStatistics:\n\n  Queries sent:         3\n  \
                    Queries completed:    2 (66.67%)\n  Queries lost:         1 (33.33%)\n\n  \
                    Response codes:       NOERROR 2 (100.00%)\n  Run time (s):         2.0\n  \
                    Queries per second:   1.5\n\n  Average Latency (s):  0.000150 (min 0.0001, max 0.0002)\n";
        let told = read(text).unwrap();
        assert_eq!((told.sent, told.completed, told.lost, told.rate), (3, 2, 1, 1.5));
        assert_eq!((told.average, told.p95, told.p99), (0.00015, 0.0002, 0.0002));
        assert!(read(&text.replace("NOERROR 2 (100.00%)", "SERVFAIL 2 (100.00%)")).is_err());
        assert!(read("nothing").is_err());
    }

    #[test]
    fn new_names_are_new_and_others_follow_zipf() {
        let file = Names::New.file(1);
        let names: std::collections::BTreeSet<&str> = file.lines().collect();
        assert_eq!(names.len() as u64, NAMES);
        assert!(Names::New.file(2).lines().all(|name| !names.contains(name)));
        let zipf = Names::Zipf.file(1);
        let first = zipf.lines().filter(|line| *line == "www.site0.example A").count() as f64;
        // 1 / H(10000) = 0.102.
        assert!((0.09..0.12).contains(&(first / NAMES as f64)), "{first}");
    }
}
