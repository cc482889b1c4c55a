//! What systemd is told (sd_notify(3)) where it started the sensor as a service of `Type=notify`; nothing elsewhere.
//!
//! The watchdog is fed by the tick, and only if the pipeline got on since the last: a sensor that answers and reads
//! nothing is one to be started again.

use std::mem;

use sd_notify::NotifyState;

#[derive(Debug)]
pub(super) struct Service {
    /// systemd waits for signs of life.
    is_watched: bool,
    /// Since the last beat the rings were emptied, or something was taken out of them.
    got_on: bool,
    failed: bool,
    news: Vec<String>,
}

impl Service {
    pub(super) fn new() -> Self {
        let is_watched = sd_notify::watchdog_enabled().is_some();
        Self { is_watched, got_on: false, failed: false, news: Vec::new() }
    }

    /// What was begun is done: the start, or a reload.
    pub(super) fn ready(&mut self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub(super) fn reloading(&mut self) {
        // systemd tells by the time whether `READY=1` belongs to this reload.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    pub(super) fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&mut self, line: &str) {
        self.tell(&[NotifyState::Status(line)]);
    }

    /// After a drain that took so many entries, and left some or none.
    pub(super) fn drained(&mut self, taken: u64, more: bool) {
        self.got_on |= taken > 0 || !more;
    }

    /// Once a tick.
    pub(super) fn beat(&mut self) {
        if mem::take(&mut self.got_on) && self.is_watched {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// What is to be told to people.
    pub(super) fn news(&mut self) -> Vec<String> {
        mem::take(&mut self.news)
    }

    /// One datagram; nothing without `NOTIFY_SOCKET`. The first failure is told, the rest would say the same.
    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states)
            && !mem::replace(&mut self.failed, true)
        {
            self.news.push(format!("cannot tell systemd how it goes: NOTIFY_SOCKET: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_gets_on_is_alive() {
        let mut service = Service::new();
        for (taken, more, alive) in [(0, true, false), (0, false, true), (9, true, true)] {
            service.drained(taken, more);
            assert_eq!(service.got_on, alive);
            service.beat();
            assert!(!service.got_on, "each beat wants progress of its own");
        }
    }
}
