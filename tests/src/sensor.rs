//! The sensor under test: the built binary, its findings and its messages.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::deadline::Deadline;
use crate::host::Host;
use crate::process::{Process, Stream};

/// The binary that `SENSOR_BIN` names, else [`beside`].
pub fn binary() -> Result<PathBuf, String> {
    std::env::var_os("SENSOR_BIN").map_or_else(beside, |path| Ok(path.into()))
}

/// The binary beside this test's executable, of the same profile: a debug build has switches that stop its stages. `Err`
/// says how to build it.
pub fn beside() -> Result<PathBuf, String> {
    program("earthdog", "sensor-user")
}

/// A program of the workspace's, as [`beside`].
pub fn program(name: &str, package: &str) -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|e| format!("own executable: {e}"))?;
    // target/<profile>/deps/<test>; a program of this package lies beside it.
    let folder = test.parent().unwrap_or(&test);
    let by_cargo = folder.ends_with("deps");
    let folder = if by_cargo { folder.parent().unwrap_or(folder) } else { folder };
    let path = folder.join(name);
    if !path.is_file() {
        return Err(format!("{} is missing: build it with `cargo build -p {package}`", path.display()));
    }
    if by_cargo && !path.with_extension("d").is_file() {
        return Err(format!("what {} was built of is not known: `cargo build -p {package}`", path.display()));
    }
    if let Some(newer) = newer_source(&path) {
        return Err(format!("{newer} is newer than {}: `cargo build -p {package}`", path.display()));
    }
    Ok(path)
}

/// A source, by cargo's list beside the binary, that changed after it was built: `cargo test` of this package does not
/// build the binary, and a test of yesterday's sensor proves nothing.
fn newer_source(binary: &Path) -> Option<String> {
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let built = changed(binary)?;
    let list = std::fs::read_to_string(binary.with_extension("d")).ok()?;
    let (_, sources) = list.split_once(": ")?;
    sources.split_whitespace().find(|source| changed(Path::new(source)) > Some(built)).map(str::to_owned)
}

/// Runs the binary to its end outside any namespace: replay, config, usage errors.
pub fn run(arguments: &[&str]) -> Result<Finished, String> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    Ok(Finished::of(Process::spawn(command)))
}

/// A process that has ended, with everything it said.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Waits for the end, at most a minute.
    pub fn of(mut process: Process) -> Self {
        let status = process.wait(Deadline::secs(60));
        let join = |stream| process.lines(stream).join("\n");
        Self { status, stdout: join(Stream::Out), stderr: join(Stream::Err) }
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// A running sensor with `--output json`.
#[derive(Debug)]
pub struct Sensor {
    process: Process,
    control: PathBuf,
}

/// The kernel's counters by name, from `status`.
pub type Counters = BTreeMap<String, u64>;

impl Sensor {
    /// Starts `earthdog run` in a host and waits until it says that it is watching.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self, String> {
        let sensor = Self::spawn(host, arguments)?;
        sensor.process.wait_for("status line with the hooks in force", Deadline::secs(20), |lines| {
            lines.iter().any(|(from, line)| *from == Stream::Err && is_ready(line)).then_some(())
        });
        Ok(sensor)
    }

    /// Starts it without waiting.
    pub fn spawn(host: &Host, arguments: &[&str]) -> Result<Self, String> {
        Self::spawn_by(host, &[], arguments)
    }

    /// As [`Self::spawn`], by way of a command that becomes it, such as nice(1).
    pub fn spawn_by(host: &Host, by: &[&str], arguments: &[&str]) -> Result<Self, String> {
        let binary = binary()?;
        let mut words = by.iter().map(AsRef::as_ref).chain([binary.as_os_str()]);
        let mut command = host.command(words.next().unwrap_or_default());
        command.args(words).args(["run", "--output", "json"]).args(arguments);
        let control = host.file("/run/earthdog/control.sock");
        Ok(Self { process: Process::spawn(command), control })
    }

    /// Tells where the control socket is, when a configuration moved it.
    #[must_use]
    pub fn answering_at(mut self, host: &Host, inside: &str) -> Self {
        self.control = host.file(inside);
        self
    }

    /// The answer to `status` on the control socket; panics if it does not come.
    pub fn status(&self) -> Value {
        self.ask("status").unwrap_or_else(|e| panic!("status: {e}; it said:\n{}", self.process.transcript()))
    }

    /// The data of an answer on the control socket.
    pub fn ask(&self, command: &str) -> io::Result<Value> {
        let mut stream = UnixStream::connect(&self.control)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        writeln!(stream, "{{\"v\":1,\"command\":\"{command}\"}}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        Ok(answer["data"].clone())
    }

    /// The kernel's counters; the sensor must be running, not stopped.
    pub fn counters(&self) -> Counters {
        serde_json::from_value(self.status()["counters"].clone()).expect("status has counters")
    }

    /// The counters once they no longer change and everything delivered was read: what follows a burst.
    pub fn settled(&self, deadline: Deadline) -> Counters {
        let mut last = Counters::new();
        let settled = deadline.poll(|| {
            let status = self.status();
            let counters: Counters = serde_json::from_value(status["counters"].clone()).ok()?;
            let read = status["rings"]["packets"].as_u64()?;
            let same = counters == last && read == counters["delivered"];
            last = counters;
            same.then(|| last.clone())
        });
        settled.unwrap_or_else(|| panic!("counters never settled: {}", self.status()))
    }

    /// Findings so far, every state change.
    pub fn findings(&self) -> Vec<Value> {
        self.process.lines(Stream::Out).iter().map(|line| parse(line)).collect()
    }

    /// Waits for a finding that `wanted` takes; panics with everything said at the deadline.
    pub fn wait_for_finding(&self, what: &str, deadline: Deadline, wanted: impl Fn(&Value) -> bool) -> Value {
        self.process.wait_for(&format!("finding ({what})"), deadline, |lines| {
            lines
                .iter()
                .filter(|(from, _)| *from == Stream::Out)
                .map(|(_, line)| parse(line))
                .find(|finding| wanted(finding))
        })
    }

    /// The child process, for signals and its output.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its processes: the one that was started, and the one that attaches, where there is one.
    pub fn pids(&self) -> Vec<u32> {
        let helper = self.status()["privilege"]["helper"]["pid"].as_u64();
        std::iter::once(self.process.pid()).chain(helper.and_then(|pid| u32::try_from(pid).ok())).collect()
    }

    /// SIGTERM; the sensor ends with 0 and what it closes is still read.
    pub fn stop(mut self) -> Vec<Value> {
        let status = self.process.terminate(Deadline::secs(10));
        assert_eq!(status.code(), Some(0), "SIGTERM ends with 0; it said:\n{}", self.process.transcript());
        self.findings()
    }
}

fn is_ready(line: &str) -> bool {
    line.contains("watching")
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("stdout holds findings only, not {line:?}: {e}"))
}

/// Each packet is delivered, kept back, skipped or lost, and counted so: see `abi::counter`.
#[track_caller]
pub fn conserved(counters: &Counters) {
    let with = |prefix: &str| -> u64 {
        counters.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count).sum()
    };
    let kept_back = with("repeat_") + counters["known_answer"];
    assert_eq!(
        counters["seen"] + counters["extra_records"],
        counters["delivered"] + kept_back + with("skip_") + with("lost_"),
        "{counters:#?}"
    );
}

/// Findings of one state: `create`, `update`, `close`.
pub fn in_state<'a>(findings: &'a [Value], state: &str) -> Vec<&'a Value> {
    findings.iter().filter(|finding| finding["state"] == state).collect()
}
