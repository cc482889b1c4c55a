//! The signals of a run: what ends it, and what asks for its configuration to be read again.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::clock;

/// What ends a run: SIGINT, SIGTERM, or the time that was asked for.
#[derive(Debug)]
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, deadline: None })
    }

    pub(super) fn after(&mut self, duration_s: Option<u64>) {
        let now = Instant::from_std(clock::monotonic());
        // A duration beyond what the clock can count is for ever.
        self.deadline = duration_s.and_then(|s| now.checked_add(Duration::from_secs(s)));
    }

    /// Returns once one of them comes.
    pub(super) async fn wait(&mut self) {
        let deadline = self.deadline;
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = async { match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            } } => {}
        }
    }
}

/// SIGHUP: asks for the configuration to be read again, unless it comes from a terminal that went away, which must not
/// leave filters and a socket behind.
#[derive(Debug)]
pub(super) struct Hangup {
    /// None where it is ignored already (nohup).
    signal: Option<Signal>,
    /// There was a terminal at the start.
    on_terminal: bool,
}

/// What a SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hung {
    Reload,
    TerminalGone,
}

impl Hangup {
    pub(super) fn new() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let signal = (!ignored(&status, libc::SIGHUP)).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { signal, on_terminal: is_on_terminal() })
    }

    /// Returns once it comes.
    pub(super) async fn wait(&mut self) -> Hung {
        match &mut self.signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
        // The kernel hangs up a terminal's descriptors before it sends the signal (linux drivers/tty/tty_io.c,
        // __tty_hangup), and from then on they are none.
        if self.on_terminal && !is_on_terminal() { Hung::TerminalGone } else { Hung::Reload }
    }
}

fn is_on_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// Whether a signal is ignored, by /proc/PID/status.
fn ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_known() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(ignored(status, libc::SIGHUP) && ignored(status, libc::SIGPIPE));
        assert!(!ignored(status, libc::SIGTERM) && !ignored("", libc::SIGHUP));
    }

    #[test]
    fn a_hangup_asks_for_the_configuration_or_ends_with_its_terminal() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut hangup = Hangup::new().unwrap();
            if hangup.signal.is_none() {
                eprintln!("skipped: SIGHUP is ignored here");
                return;
            }
            let own = std::process::id().to_string();
            for (on_terminal, wanted) in [
                (false, Hung::Reload),
                (true, if is_on_terminal() { Hung::Reload } else { Hung::TerminalGone }),
            ] {
                hangup.on_terminal = on_terminal;
                assert!(std::process::Command::new("kill").args(["-HUP", &own]).status().unwrap().success());
                let hung = tokio::time::timeout(Duration::from_secs(10), hangup.wait()).await;
                assert_eq!(hung.expect("the signal ends the wait"), wanted);
            }
        });
    }
}
