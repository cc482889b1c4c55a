//! A child process with its output, ended by its pid when dropped.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::deadline::Deadline;

/// Lines kept of each output; a test that needs more is reading the wrong thing.
const MAX_LINES: usize = 200_000;

/// A running child; both outputs are read by threads, so it never blocks on a full pipe.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// Which output a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

#[derive(Debug, Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<(Stream, String)>,
    ended: usize,
}

impl Process {
    /// Starts it with piped outputs (those the command leaves alone are replaced) and no input.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_with_input(command)
    }

    /// Starts it with whatever input the command names.
    pub fn spawn_with_input(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        let output = Arc::new(Output::default());
        if let Some(out) = child.stdout.take() {
            read_into(&output, Stream::Out, out);
        }
        if let Some(err) = child.stderr.take() {
            read_into(&output, Stream::Err, err);
        }
        Self { name, child, output }
    }

    /// Writes to its input, which the command must have piped.
    pub fn input(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().expect("its input is not piped");
        input
            .write_all(text.as_bytes())
            .and_then(|()| input.flush())
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
    }

    /// Its pid; the launchers of the kit `exec`, so it is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Path of its executable now.
    pub fn exe(&self) -> String {
        let link = format!("/proc/{}/exe", self.pid());
        std::fs::read_link(&link).unwrap_or_else(|e| panic!("{link}: {e}")).display().to_string()
    }

    /// Waits until `find` answers from the lines so far; panics with the output at the deadline, or when both outputs
    /// have ended without it.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Deadline,
        find: impl FnMut(&[(Stream, String)]) -> Option<T>,
    ) -> T {
        self.try_wait_for(deadline, find)
            .unwrap_or_else(|| panic!("{}: no {what} in its output:\n{}", self.name, self.transcript()))
    }

    /// As `wait_for`; `None` at the deadline or when both outputs have ended.
    pub fn try_wait_for<T>(
        &self,
        deadline: Deadline,
        mut find: impl FnMut(&[(Stream, String)]) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.output.state.lock().expect("reader thread panicked");
        loop {
            if let Some(value) = find(&state.lines) {
                return Some(value);
            }
            if state.ended == 2 || deadline.passed() {
                return None;
            }
            (state, _) =
                self.output.changed.wait_timeout(state, deadline.left()).expect("reader thread panicked");
        }
    }

    /// Waits for a line, on either output, that contains `text`.
    pub fn wait_for_text(&self, text: &str, deadline: Deadline) -> String {
        self.wait_for(&format!("{text:?}"), deadline, |lines| {
            lines.iter().find(|(_, line)| line.contains(text)).map(|(_, line)| line.clone())
        })
    }

    /// Lines of one output so far.
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        let state = self.output.state.lock().expect("reader thread panicked");
        state.lines.iter().filter(|(from, _)| *from == stream).map(|(_, line)| line.clone()).collect()
    }

    /// Both outputs so far, for failure messages.
    pub fn transcript(&self) -> String {
        let state = self.output.state.lock().expect("reader thread panicked");
        state.lines.iter().fold(String::new(), |mut text, (from, line)| {
            let _ = writeln!(text, "  {} {line}", if *from == Stream::Out { "out" } else { "err" });
            text
        })
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`, `KILL`.
    pub fn signal(&self, name: &str) {
        // Not through libc, which is unsafe code for no gain, nor by the program, which is not everywhere: every shell
        // has it built in.
        let script = "kill -s \"$0\" \"$1\"";
        let pid = self.pid().to_string();
        let status = Command::new("sh").args(["-c", script, name, &pid]).status().expect("sh");
        assert!(status.success(), "kill -s {name} {pid} ({})", self.name);
    }

    /// Writes to its input and closes it; whether it still reads shows in what it does.
    pub fn say(&mut self, text: &str) {
        if let Some(mut input) = self.child.stdin.take() {
            let _ = input.write_all(text.as_bytes());
        }
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for own child")
    }

    /// Waits for its end and the end of its output; panics with the output at the deadline.
    pub fn wait(&mut self, deadline: Deadline) -> ExitStatus {
        let Some(status) = deadline.poll(|| self.ended()) else {
            panic!("{} did not end in time; output:\n{}", self.name, self.transcript());
        };
        // A grandchild may hold the pipes open: the status is what counts, the output is what came.
        let _ = self.try_wait_for(Deadline::secs(1), |_| None::<()>);
        status
    }

    /// Asks it to end and waits; panics if it does not within the deadline.
    pub fn terminate(&mut self, deadline: Deadline) -> ExitStatus {
        if self.ended().is_none() {
            self.signal("TERM");
        }
        self.wait(deadline)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_into(output: &Arc<Output>, stream: Stream, from: impl Read + Send + 'static) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut state = output.state.lock().expect("waiting test panicked");
            if state.lines.len() < MAX_LINES {
                state.lines.push((stream, text));
            }
            output.changed.notify_all();
        }
        output.state.lock().expect("waiting test panicked").ended += 1;
        output.changed.notify_all();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command)
    }

    #[test]
    fn lines_are_waited_for_and_the_end_is_seen() {
        let mut process = sh("echo one; echo two >&2; exit 7");
        assert_eq!(process.wait_for_text("two", Deadline::secs(10)), "two");
        assert_eq!(process.wait(Deadline::secs(10)).code(), Some(7));
        assert_eq!(process.lines(Stream::Out), ["one"]);
        assert_eq!(process.try_wait_for(Deadline::secs(10), |_| None::<()>), None);
    }

    #[test]
    fn signals_arrive() {
        let mut process = sh("trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done");
        process.wait_for_text("ready", Deadline::secs(10));
        assert_eq!(process.terminate(Deadline::secs(10)).code(), Some(3));
        assert_eq!(process.lines(Stream::Out), ["ready", "got it"]);
    }

    #[test]
    fn dropping_ends_the_child() {
        let process = sh("exec sleep 1000");
        let dir = format!("/proc/{}", process.pid());
        drop(process);
        assert!(!std::path::Path::new(&dir).exists());
    }
}
