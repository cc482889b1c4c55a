//! What ends a self-test before its time: SIGINT and SIGTERM, so that it cleans up behind itself.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::{Code, Error};

#[derive(Debug)]
pub(super) struct Stop {
    signals: SignalFd,
    asked: AtomicBool,
}

impl Stop {
    /// To be called before any thread is started: they take over what is blocked. Processes do not.
    pub(super) fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            set.add(signal);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { signals, asked: AtomicBool::new(false) })
    }

    /// Whether it was asked for; never again false.
    pub(super) fn is_asked(&self) -> bool {
        if matches!(self.signals.read_signal(), Ok(Some(_))) {
            self.asked.store(true, Ordering::Relaxed);
        }
        self.asked.load(Ordering::Relaxed)
    }

    /// As `is_asked` last said.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// An error if it was.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_asked() { Err(Error::new(Code::Failure, "the self-test was stopped")) } else { Ok(()) }
    }
}
