//! What became of a sink's records. Everything taken is delivered, lost for a reason, or waiting still.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::escape::escape;

/// Why a record did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The queue had no room.
    QueueFull,
    /// The spool had none.
    SpoolFull,
    /// The spool's disk could not be written.
    SpoolFailed,
    /// A spooled record was damaged.
    SpoolDamaged,
    /// Longer than the receiver can take at once.
    TooLong,
    /// The receiver says that it will never take it.
    Refused,
    /// The sensor stopped while the receiver took nothing.
    Shutdown,
}

impl Loss {
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::SpoolFailed => "spool_failed",
            Self::SpoolDamaged => "spool_damaged",
            Self::TooLong => "too_long",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A canary's finding. Its id alone may be that of an earlier canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub id: String,
    pub first_seen: String,
}

/// Canaries kept in mind, the last ones.
const CANARIES_MAX: usize = 16;

#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Records offered to it.
    pub taken: u64,
    /// Handed over; for http acknowledged.
    pub delivered: u64,
    pub lost: BTreeMap<Loss, u64>,
    /// Written to the spool.
    pub spooled: u64,
    /// Records that this format has nothing of.
    pub left_out: u64,
    /// Attempts to deliver that failed.
    pub failed: u64,
    /// Why the last one did, while it is so.
    pub error: Option<String>,
    /// Taken off the queue and not yet delivered, lost or spooled.
    pub in_hand: u64,
    /// What became of canaries that were handed over; why where it is known that nobody read it.
    pub canaries: VecDeque<(Mark, Option<String>)>,
    /// Not told yet.
    pub news: Vec<String>,
    /// The end of the run has given up on its thread: what that does then counts no more.
    abandoned: bool,
}

/// Shared by the sensor and the sink's thread; held for a moment only.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Numbers>);

impl Tally {
    pub fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lose(&self, why: Loss, count: u64) {
        let mut numbers = self.numbers();
        if count > 0 && !numbers.abandoned {
            *numbers.lost.entry(why).or_default() += count;
        }
    }

    pub fn in_hand(&self, count: usize) {
        let mut numbers = self.numbers();
        if !numbers.abandoned {
            numbers.in_hand = count as u64;
        }
    }

    /// What the thread has, and what waits for it, is lost.
    pub fn abandon(&self, waiting: u64) {
        let mut numbers = self.numbers();
        let lost = waiting + std::mem::take(&mut numbers.in_hand);
        if lost > 0 {
            *numbers.lost.entry(Loss::Shutdown).or_default() += lost;
        }
        numbers.abandoned = true;
    }

    /// The receiver takes nothing: told once, until it does again.
    pub fn trouble(&self, place: &str, error: &str) {
        // The server's own words may be part of it.
        let error = escape(error);
        let mut numbers = self.numbers();
        numbers.failed += 1;
        if numbers.error.is_none() {
            numbers.news.push(format!(
                "warning: sink {place}: {error}; what it does not take waits as far as there is room, and is tried again"
            ));
        }
        numbers.error = Some(error.into_owned());
    }

    /// Whether this one is told of already.
    pub fn knows(&self, mark: &Mark) -> bool {
        self.numbers().canaries.iter().any(|(known, _)| known == mark)
    }

    /// A canary was handed over, and read or not.
    pub fn canary(&self, place: &str, mark: Mark, read: Result<(), String>) {
        let unread = read.err().map(|why| escape(&why).into_owned());
        let mut numbers = self.numbers();
        if let Some(why) = &unread {
            numbers.news.push(format!("warning: sink {place}: {why}"));
        }
        if numbers.canaries.len() == CANARIES_MAX {
            numbers.canaries.pop_front();
        }
        numbers.canaries.push_back((mark, unread));
    }

    /// `is_up`: it may take more.
    pub fn delivered(&self, place: &str, count: u64, is_up: bool) {
        let mut numbers = self.numbers();
        if numbers.abandoned {
            return;
        }
        numbers.delivered += count;
        if is_up && numbers.error.take().is_some() {
            numbers.news.push(format!("sink {place} takes records again"));
        }
    }
}
