//! Senders and servers of the `traffic` program on a host. Only a test knows where that program is
//! (`env!("CARGO_BIN_EXE_traffic")`), so it is handed in.

use crate::deadline::Deadline;
use crate::host::Host;
use crate::process::Process;
use crate::sensor::Finished;

/// Starts a server and waits until it listens.
pub fn ready(program: &str, host: &Host, words: &[&str]) -> Process {
    let process = spawn(program, host, words);
    process.wait_for_text("ready", Deadline::secs(10));
    process
}

/// Runs a sender to its end, and gives the process id that it had.
pub fn run(program: &str, from: &Host, words: &[&str]) -> u32 {
    let process = spawn(program, from, words);
    let pid = process.pid();
    let done = Finished::of(process);
    assert!(done.stdout.starts_with("sent "), "{}{}", done.stdout, done.stderr);
    pid
}

fn spawn(program: &str, host: &Host, words: &[&str]) -> Process {
    let mut command = host.command(program);
    command.args(words);
    Process::spawn(command)
}
