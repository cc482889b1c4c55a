//! What ends a run.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::clock;

/// What ends a run: SIGINT, SIGTERM, SIGHUP, or the time that was asked for.
#[derive(Debug)]
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// A terminal that goes away must not leave filters and a socket behind. Once the configuration can be read anew
    /// while running, that is what SIGHUP will do. None where it is ignored already (nohup).
    hangup: Option<Signal>,
    deadline: Option<Instant>,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = (!ignored(&status, libc::SIGHUP)).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { interrupt, terminate, hangup, deadline: None })
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
            () = async { match &mut self.hangup {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            } } => {}
            () = async { match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            } } => {}
        }
    }
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
    fn a_hangup_ends_the_run() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut stop = Stop::new().unwrap();
            if stop.hangup.is_none() {
                eprintln!("skipped: SIGHUP is ignored here");
                return;
            }
            let own = std::process::id().to_string();
            assert!(std::process::Command::new("kill").args(["-HUP", &own]).status().unwrap().success());
            tokio::time::timeout(Duration::from_secs(10), stop.wait())
                .await
                .expect("the signal ends the wait");
        });
    }
}
