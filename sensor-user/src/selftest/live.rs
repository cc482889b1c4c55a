//! The live part: a sensor of its own at the hooks, a resolver, and a process for each client of each case.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bed::{self, Bed};
use super::case::{Case, HONEST_S, Source, WINDOW_S};
use super::part::{Sending, Sent, Shot, write_plan};
use super::stop::Stop;
use crate::clock;
use crate::config::Config;
use crate::emulate::record::Record;
use crate::exit::{Code, Error};
use crate::finding::{Finding, stored};
use crate::live::control;

/// How long a part may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// From the last process started to the first datagram.
const LEAD: Duration = Duration::from_millis(1500);
/// From the last datagram to the end of the sensor: its rings are drained many times over.
const TRAIL: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(500);
/// Lines of the sensor that wait to be read.
const LINES: usize = 1024;

/// What was seen of the cases that were sent.
#[derive(Debug)]
pub(super) struct Live {
    /// Unix time of the first datagram, nanoseconds.
    pub(super) start_ns: u64,
    /// Packets that the sensor lost.
    pub(super) lost: u64,
    /// State changes, in the order they came.
    pub(super) findings: Vec<Finding>,
    pub(super) hooks: Vec<String>,
    /// Of each case.
    pub(super) senders: Vec<Senders>,
}

/// The processes that sent for a case.
#[derive(Clone, Debug, Default)]
pub(super) struct Senders {
    pub(super) pids: BTreeSet<u32>,
    pub(super) sent: Sent,
}

enum Line {
    Out(String),
    Err(String),
    End,
}

/// Processes at work: the resolver and all senders.
pub(super) struct Traffic {
    resolver: Child,
    senders: Vec<Sender>,
    cases: usize,
    /// Of the first datagram.
    start: Instant,
    start_ns: u64,
}

impl Traffic {
    /// Starts all, then lets them send, each by the time that its case began.
    pub(super) fn start(bed: &Bed, cases: &[Case]) -> Result<Self, Error> {
        let resolver = resolver(cases).map_err(|error| failed("the resolver does not start", &error))?;
        let mut senders = senders(bed, cases).map_err(|error| failed("a sender does not start", &error))?;
        let start = clock::monotonic() + LEAD;
        let start_ns = clock::unix_ns() + LEAD.as_nanos() as u64;
        for sender in &mut senders {
            let plan = Sending { start_ns, shots: std::mem::take(&mut sender.shots) };
            let input = sender.input.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe));
            input
                .and_then(|input| write_plan(input, &plan))
                .map_err(|error| failed("a sender takes no plan", &error))?;
        }
        Ok(Self { resolver, senders, cases: cases.len(), start, start_ns })
    }

    pub(super) fn pids(&self, case: usize) -> BTreeSet<u32> {
        self.senders.iter().filter(|sender| sender.case == case).map(|sender| sender.child.id()).collect()
    }

    /// Ends all and tells, case by case, what was done.
    pub(super) fn finish(mut self) -> Vec<Senders> {
        // They end when their input does.
        for sender in &mut self.senders {
            drop(sender.input.take());
        }
        let mut done = vec![Senders::default(); self.cases];
        for sender in self.senders {
            let of = &mut done[sender.case];
            of.pids.insert(sender.child.id());
            // One that is lost has sent nothing that can be counted.
            let output = sender.child.wait_with_output().map(|output| output.stdout).unwrap_or_default();
            let sent: Sent = serde_json::from_slice(&output).unwrap_or_default();
            of.sent.sent += sent.sent;
            of.sent.failed += sent.failed;
            of.sent.answered += sent.answered;
        }
        drop(self.resolver.stdin.take());
        let _ = self.resolver.wait();
        done
    }
}

struct Sender {
    case: usize,
    shots: Vec<Shot>,
    child: Child,
    input: Option<ChildStdin>,
}

/// Sends all cases at once and gathers what the sensor says; `progress` is told now and then how many tools are found.
pub(super) fn run(
    bed: &Bed,
    config: &Config,
    cases: &[Case],
    stop: &Stop,
    progress: &mut dyn FnMut(usize),
) -> Result<Live, Error> {
    let (mut sensor, lines) = sensor(bed, config)?;
    let mut said = Said::default();
    let ready = said.until(&lines, clock::monotonic() + PATIENCE, |said| said.ready);
    if !ready {
        let _ = sensor.kill();
        let _ = sensor.wait();
        let code = if said.text().contains("no usable hook") { Code::NoHook } else { Code::Failure };
        return Err(Error::new(code, format!("the sensor of the self-test does not start: {}", said.text())));
    }
    let gathered = gather(bed, cases, &mut sensor, (&lines, stop), &mut said, progress);
    // Whatever went wrong, it must not stay.
    if gathered.is_err() {
        let _ = sensor.kill();
        let _ = sensor.wait();
    }
    gathered
}

fn gather(
    bed: &Bed,
    cases: &[Case],
    sensor: &mut Child,
    (lines, stop): (&Receiver<Line>, &Stop),
    said: &mut Said,
    progress: &mut dyn FnMut(usize),
) -> Result<Live, Error> {
    let status = control::request(&bed.file("control.sock"), "status")?;
    let traffic = Traffic::start(bed, cases)?;
    let start_ns = traffic.start_ns;
    let honest = traffic.start + Duration::from_secs(HONEST_S) + TRAIL;
    let end = traffic.start + Duration::from_secs(WINDOW_S) + TRAIL;
    loop {
        stop.check()?;
        let now = clock::monotonic();
        let found = found(cases, start_ns, &said.findings);
        progress(found);
        let tools = cases.iter().filter(|case| matches!(case.source, Source::Tool(_))).count();
        if now >= end || now >= honest && found == tools {
            break;
        }
        said.until(lines, (now + POLL).min(end), |_| false);
        if said.ended {
            return Err(Error::new(
                Code::Failure,
                format!("the sensor ended before its time: {}", said.text()),
            ));
        }
    }
    let lost = control::request(&bed.file("control.sock"), "status")?["lost"].as_u64().unwrap_or(0);
    let mut live = Live { start_ns, lost, findings: Vec::new(), hooks: hooks(&status), senders: Vec::new() };
    live.senders = traffic.finish();
    let _ = kill(Pid::from_raw(sensor.id().cast_signed()), Signal::SIGTERM);
    said.until(lines, clock::monotonic() + PATIENCE, |said| said.ended);
    if !said.ended {
        let _ = sensor.kill();
    }
    let _ = sensor.wait();
    live.findings = std::mem::take(&mut said.findings);
    Ok(live)
}

/// What the sensor has said so far.
#[derive(Default)]
struct Said {
    findings: Vec<Finding>,
    /// The last lines of standard error.
    errors: Vec<String>,
    ready: bool,
    ended: bool,
}

impl Said {
    /// Reads on until this holds; false if it does not by then.
    fn until(&mut self, lines: &Receiver<Line>, end: Instant, holds: impl Fn(&Self) -> bool) -> bool {
        while !holds(self) {
            let left = end.saturating_duration_since(clock::monotonic());
            match lines.recv_timeout(left) {
                Ok(Line::Out(line)) => self.findings.extend(stored::read(line.as_bytes())),
                Ok(Line::Err(line)) => {
                    self.ready |= line.contains("who asked:");
                    if self.errors.len() < 32 {
                        self.errors.push(line);
                    }
                }
                Ok(Line::End) => self.ended = true,
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended = true;
                    return holds(self);
                }
            }
        }
        true
    }

    fn text(&self) -> String {
        let lines: Vec<_> = self.errors.iter().map(|line| line.trim_start_matches("earthdog: ")).collect();
        if lines.is_empty() { "it says nothing".to_owned() } else { lines.join("; ") }
    }
}

/// Starts the sensor with the configuration in force, but without what reaches outside: store, sinks, control socket.
fn sensor(bed: &Bed, config: &Config) -> Result<(Child, Receiver<Line>), Error> {
    let mut own = config.clone();
    own.live.control_socket = bed.file("control.sock").to_string_lossy().into_owned();
    own.store.path = String::new();
    own.output.messages = String::new();
    own.output.least = crate::config::Least::Low;
    own.sinks.clear();
    let file = bed.file("earthdog.toml");
    std::fs::write(&file, own.to_toml()).map_err(|error| failed("cannot write its configuration", &error))?;
    let start = || {
        let mut command = Command::new(bed::own_binary()?);
        command.args(["run", "--selftest", "--output", "json", "--interface", "lo", "-c"]).arg(&file);
        command.arg("--cgroup").arg(bed.watched());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    };
    let mut sensor = start().map_err(|error| failed("the sensor does not start", &error))?;
    let (sender, lines) = sync_channel(LINES);
    if let Some(err) = sensor.stderr.take() {
        forward(err, sender.clone(), Line::Err, None);
    }
    if let Some(out) = sensor.stdout.take() {
        forward(out, sender, Line::Out, Some(Line::End));
    }
    Ok((sensor, lines))
}

fn forward(
    from: impl io::Read + Send + 'static,
    to: SyncSender<Line>,
    kind: fn(String) -> Line,
    end: Option<Line>,
) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            if to.send(kind(line)).is_err() {
                return;
            }
        }
        if let Some(end) = end {
            let _ = to.send(end);
        }
    });
}

fn resolver(cases: &[Case]) -> io::Result<Child> {
    let mut command = Command::new(bed::own_binary()?);
    command.args(["selftest-part", "answer", "resolver"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut resolver = command.spawn()?;
    let replies: Vec<_> = cases.iter().flat_map(Case::replies).collect();
    if let Some(input) = &mut resolver.stdin {
        write_plan(input, &replies)?;
    }
    let mut ready = String::new();
    if let Some(out) = &mut resolver.stdout {
        BufReader::new(out).read_line(&mut ready)?;
    }
    if ready.trim() == "ready" { Ok(resolver) } else { Err(io::Error::other("it cannot listen")) }
}

fn senders(bed: &Bed, cases: &[Case]) -> io::Result<Vec<Sender>> {
    let mut senders = Vec::new();
    for (case, of) in cases.iter().enumerate() {
        for (ip, shots) in of.shots() {
            senders.push(sender(bed, senders.len(), case, (of.source.name(), ip), shots)?);
        }
    }
    Ok(senders)
}

fn sender(
    bed: &Bed,
    number: usize,
    case: usize,
    (name, ip): (&str, Ipv4Addr),
    shots: Vec<Shot>,
) -> io::Result<Sender> {
    let mut command = bed::part(&bed.sender(number)?, "send", &label(name, ip))?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take();
    Ok(Sender { case, shots, child, input })
}

/// What the sender's command line has in it, to be told from others'.
fn label(name: &str, ip: Ipv4Addr) -> String {
    format!("{name} from {ip}")
}

fn hooks(status: &serde_json::Value) -> Vec<String> {
    let hooks = status["hooks"].as_array().map_or(&[][..], Vec::as_slice);
    hooks.iter().filter_map(|hook| hook["hook"].as_str().map(str::to_owned)).collect()
}

/// Tools that are found already.
fn found(cases: &[Case], start_ns: u64, findings: &[Finding]) -> usize {
    let records: Vec<Record> = findings.iter().map(Record::from).collect();
    let is_found = |case: &Case| {
        let Source::Tool(tool) = case.source else { return false };
        let moved = case.since(start_ns).moved;
        let own: Vec<_> = records.iter().filter(|record| case.owns(record)).cloned().collect();
        tool.judge(&moved, &own).first.is_some()
    };
    cases.iter().filter(|case| is_found(case)).count()
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(Code::Failure, format!("self-test: {what}: {error}"))
}
