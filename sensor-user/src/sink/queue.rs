//! What waits for a sink: findings before messages, within bounds.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::encode::Item;
use crate::clock;

/// Bytes that wait at most, whatever the count: messages over TCP may have 64 KiB each.
pub const BYTES_MAX: usize = 8 << 20;

#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max: usize,
}

#[derive(Debug, Default)]
struct State {
    findings: VecDeque<Item>,
    messages: VecDeque<Item>,
    bytes: usize,
    /// No more comes; what waits may still go until then.
    closing: Option<Instant>,
}

impl State {
    fn len(&self) -> usize {
        self.findings.len() + self.messages.len()
    }
}

impl Queue {
    pub fn new(max: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), max }
    }

    /// Never waits. Returns how many records found no room: this one, or messages that made way for a finding.
    pub fn push(&self, item: Item) -> u64 {
        let mut state = self.lock();
        let weight = item.weight();
        let mut lost = 0;
        while state.len() >= self.max || state.bytes + weight > BYTES_MAX {
            let Some(oldest) = item.is_finding().then(|| state.messages.pop_front()).flatten() else {
                return lost + 1;
            };
            state.bytes -= oldest.weight();
            lost += 1;
        }
        state.bytes += weight;
        if item.is_finding() { &mut state.findings } else { &mut state.messages }.push_back(item);
        drop(state);
        self.changed.notify_all();
        lost
    }

    /// Up to `max` records, findings first; waits for the first as long as `patience`. Empty: none came, or it is closed.
    pub fn take(&self, max: usize, patience: Duration) -> Vec<Item> {
        let mut state = self.lock();
        if state.len() == 0 && state.closing.is_none() {
            (state, _) = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
        }
        let mut out = Vec::new();
        while out.len() < max {
            let Some(item) = state.findings.pop_front() else { break };
            out.push(item);
        }
        while out.len() < max {
            let Some(item) = state.messages.pop_front() else { break };
            out.push(item);
        }
        state.bytes -= out.iter().map(Item::weight).sum::<usize>();
        out
    }

    /// Waits as long as `time`; where it is closed, or is meanwhile, no longer than there is time for what waits.
    pub fn pause(&self, time: Duration) {
        let state = self.lock();
        let is_open = |state: &mut State| state.closing.is_none();
        let started = clock::monotonic();
        let (state, _) =
            self.changed.wait_timeout_while(state, time, is_open).unwrap_or_else(PoisonError::into_inner);
        let Some(until) = state.closing else { return };
        let left = until.min(started + time).saturating_duration_since(clock::monotonic());
        let _ = self.changed.wait_timeout_while(state, left, |_| true);
    }

    /// Nobody takes what waits any more: how much that is.
    pub fn abandon(&self) -> u64 {
        let mut state = self.lock();
        let count = state.len() as u64;
        *state = State { closing: state.closing, ..State::default() };
        count
    }

    pub fn close(&self, until: Instant) {
        self.lock().closing = Some(until);
        self.changed.notify_all();
    }

    /// Until when what waits may still go, once it is closed.
    pub fn closing(&self) -> Option<Instant> {
        self.lock().closing
    }

    /// Whether it is closed and the time for what waits is over.
    pub fn is_over(&self) -> bool {
        self.closing().is_some_and(|until| clock::monotonic() >= until)
    }

    /// Records that wait.
    pub fn waiting(&self) -> u64 {
        self.lock().len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sink::tests::{finding, logged};

    #[test]
    fn findings_go_first_and_push_messages_out() {
        let queue = Queue::new(4);
        let message = || Item::Message(Arc::new(logged()));
        let finding = || Item::Finding(Arc::new(finding()));
        assert_eq!((0..5).map(|_| queue.push(message())).sum::<u64>(), 1);
        assert_eq!((queue.push(finding()), queue.push(finding()), queue.waiting()), (1, 1, 4));
        let taken = queue.take(3, Duration::ZERO);
        assert_eq!(taken.iter().filter(|item| item.is_finding()).count(), 2);
        assert!(taken[0].is_finding() && taken[1].is_finding());
        assert_eq!((0..9).map(|_| queue.push(finding())).sum::<u64>(), 6, "one message made way");
        assert_eq!(queue.take(99, Duration::ZERO).len(), 4);
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = Queue::new(1 << 20);
        let mut large = logged();
        large.bytes = vec![0; 60_000].into();
        let large = Arc::new(large);
        let lost: u64 = (0..200).map(|_| queue.push(Item::Message(Arc::clone(&large)))).sum();
        assert_eq!(lost + queue.waiting(), 200);
        assert!(queue.lock().bytes <= BYTES_MAX && queue.waiting() > 100);
    }

    #[test]
    fn closing_ends_every_wait() {
        let queue = Queue::new(4);
        queue.close(clock::monotonic());
        assert!(queue.take(1, Duration::from_hours(1)).is_empty() && queue.is_over());
        queue.pause(Duration::from_hours(1));
        queue.close(clock::monotonic() + Duration::from_millis(5));
        queue.pause(Duration::from_hours(1));
        assert!(queue.is_over());
    }
}
