//! A sink's thread: takes records off its queue, writes them in their form, and hands them over until they are taken.
//!
//! With a spool there are two: one takes what comes to the disk, the other from there to the receiver, so that a receiver
//! that hangs holds up nothing.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::encode::{About, Item, Letters, encode};
use super::outlet::{Outlet, Trouble};
use super::queue::Queue;
use super::spool::Spool;
use super::tally::{Loss, Mark, Tally};
use super::{dnstap, journal, syslog};
use crate::config::sinks::SinkFormat;

/// Records taken off the queue at once.
const BATCH: usize = 128;
/// Between two looks at a sink that gets nothing.
const IDLE: Duration = Duration::from_secs(1);
/// Between two attempts, doubled each time; of that a random part between half and all.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// A record as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub finding: bool,
    /// It is a canary's.
    pub canary: Option<Box<Mark>>,
    pub bytes: Vec<u8>,
}

/// What is around a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A line of its own.
    Line,
    /// Nothing: a datagram.
    Bare,
    Journal,
    Syslog,
    /// Syslog with its length before it.
    SyslogCounted,
    /// A data frame.
    FrameStream,
}

/// How a record becomes bytes.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub format: SinkFormat,
    pub framing: Framing,
    pub about: About,
}

impl Recipe {
    pub fn frames(&self, item: &Item) -> Vec<Frame> {
        let letters = match self.framing {
            Framing::Syslog | Framing::SyslogCounted => Letters::Ascii,
            _ => Letters::Utf8,
        };
        let bodies = encode(item, self.format, letters, &self.about);
        let framed = bodies.into_iter().map(|mut body| match self.framing {
            Framing::Line => {
                body.push(b'\n');
                body
            }
            Framing::Bare => body,
            Framing::Journal => journal::entry(item, &body),
            Framing::Syslog => syslog::message(item, &body, &self.about),
            Framing::SyslogCounted => syslog::counted(&syslog::message(item, &body, &self.about)),
            Framing::FrameStream => dnstap::data_frame(&body),
        });
        let canary = item.canary().map(Box::new);
        framed.map(|bytes| Frame { finding: item.is_finding(), canary: canary.clone(), bytes }).collect()
    }
}

/// What both threads of a sink know.
#[derive(Clone, Debug)]
pub struct Common {
    /// As it is called in messages to the operator.
    pub place: String,
    pub queue: Arc<Queue>,
    pub tally: Arc<Tally>,
    pub recipe: Recipe,
}

impl Common {
    /// The next records, framed. None once the queue is closed and empty.
    fn frames(&self) -> Option<Vec<Frame>> {
        let items = self.queue.take(BATCH, IDLE);
        if items.is_empty() && self.queue.closing().is_some() {
            return None;
        }
        self.tally.in_hand(items.len());
        let mut frames = Vec::new();
        for item in &items {
            let before = frames.len();
            frames.extend(self.recipe.frames(item));
            let mut numbers = self.tally.numbers();
            // A record may be several in this form, or none.
            match frames.len() - before {
                0 => numbers.left_out += 1,
                count => numbers.taken += count as u64 - 1,
            }
        }
        self.tally.in_hand(frames.len());
        Some(frames)
    }
}

/// From the queue to the receiver; what the receiver does not take waits in the queue.
pub fn deliver_queue(common: &Common, outlet: &mut dyn Outlet) {
    let mut backoff = Backoff::new();
    while let Some(frames) = common.frames() {
        if frames.is_empty() {
            outlet.idle();
            continue;
        }
        let mut at = 0;
        while at < frames.len() {
            let (done, is_up) = attempt(common, outlet, &frames[at..]);
            at += done;
            common.tally.in_hand(frames.len() - at);
            if is_up {
                backoff = Backoff::new();
            } else if common.queue.is_over() {
                common.tally.lose(Loss::Shutdown, (frames.len() - at) as u64);
                common.tally.in_hand(0);
                break;
            } else {
                common.queue.pause(backoff.next());
            }
        }
    }
    outlet.finish();
}

/// From the queue to the spool.
pub fn fill_spool(common: &Common, spool: &Spool) {
    let mut backoff = Backoff::new();
    while let Some(mut frames) = common.frames() {
        while !frames.is_empty() {
            let (taken, result) = spool.append(&frames);
            common.tally.lose(Loss::SpoolFull, taken.refused + taken.evicted);
            frames.drain(..(taken.kept + taken.refused) as usize);
            common.tally.numbers().spooled += taken.kept;
            common.tally.in_hand(frames.len());
            match result {
                Ok(()) => backoff = Backoff::new(),
                Err(_) if common.queue.closing().is_some() => {
                    common.tally.lose(Loss::SpoolFailed, frames.len() as u64);
                    frames.clear();
                    common.tally.in_hand(0);
                }
                Err(error) => {
                    common.tally.trouble(&common.place, &format!("its spool cannot be written: {error}"));
                    common.queue.pause(backoff.next());
                }
            }
        }
    }
    spool.close();
}

/// From the spool to the receiver. Once the queue is closed it goes on until the time is over or the receiver takes
/// nothing: the rest is on the disk.
pub fn deliver_spool(common: &Common, spool: &Spool, outlet: &mut dyn Outlet, most: usize) {
    let mut backoff = Backoff::new();
    loop {
        let is_closing = common.queue.closing().is_some();
        if common.queue.is_over() {
            break;
        }
        let batch = match spool.next(most, IDLE) {
            Ok(batch) => batch,
            Err(error) => {
                common.tally.trouble(&common.place, &format!("its spool cannot be read: {error}"));
                common.queue.pause(backoff.next());
                continue;
            }
        };
        if batch.frames.is_empty() {
            if is_closing && spool.is_closed() {
                break;
            }
            outlet.idle();
            continue;
        }
        let mut at = 0;
        while at < batch.frames.len() {
            let (done, is_up) = attempt(common, outlet, &batch.frames[at..]);
            at += done;
            if done > 0
                && let Err(error) = spool.done(&batch, at)
            {
                common.tally.trouble(&common.place, &format!("its spool cannot be written: {error}"));
            }
            if is_up {
                backoff = Backoff::new();
            } else if common.queue.closing().is_some() {
                outlet.finish();
                return;
            } else {
                common.queue.pause(backoff.next());
            }
        }
    }
    outlet.finish();
}

/// One attempt: how many records are dealt with, and whether the receiver takes any.
fn attempt(common: &Common, outlet: &mut dyn Outlet, frames: &[Frame]) -> (usize, bool) {
    let (done, trouble) = match outlet.send(frames) {
        Ok(done) => (done, None),
        Err((done, trouble)) => (done, Some(trouble)),
    };
    if done > 0 {
        let is_up = !matches!(trouble, Some(Trouble::Down(_)));
        common.tally.delivered(&common.place, done as u64, is_up);
        // Once for each canary, since it may take a while and ends a connection.
        for mark in frames[..done].iter().filter_map(|frame| frame.canary.as_deref()) {
            if !common.tally.knows(mark) {
                common.tally.canary(&common.place, mark.clone(), outlet.confirm());
            }
        }
    }
    match trouble {
        None => (done, true),
        Some(Trouble::Never(loss)) => {
            common.tally.lose(loss, 1);
            (done + 1, true)
        }
        Some(Trouble::Down(error)) => {
            common.tally.trouble(&common.place, &error);
            (done, false)
        }
    }
}

/// Growing waits of random length, so that many sensors do not come back all at once.
struct Backoff {
    next: Duration,
    random: RandomState,
    count: u64,
}

impl Backoff {
    fn new() -> Self {
        Self { next: RETRY_FIRST, random: RandomState::new(), count: 0 }
    }

    fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(RETRY_LAST);
        self.count += 1;
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.count);
        let part = hasher.finish() % 1024;
        whole / 2 + whole / 2 * part as u32 / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits[0] >= RETRY_FIRST / 2 && waits[0] <= RETRY_FIRST, "{waits:?}");
        assert!(waits[11] >= RETRY_LAST / 2 && waits.iter().all(|wait| *wait <= RETRY_LAST), "{waits:?}");
        let firsts: std::collections::HashSet<_> = (0..64).map(|_| Backoff::new().next()).collect();
        assert!(firsts.len() > 8);
    }
}
