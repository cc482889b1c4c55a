//! The kit's only clock: waits end at a deadline, never after a fixed sleep.

use std::time::{Duration, Instant};

/// A point in time to wait for at most.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(time: Duration) -> Self {
        Self(now() + time)
    }

    /// So many seconds from now.
    pub fn secs(secs: u64) -> Self {
        Self::after(Duration::from_secs(secs))
    }

    /// What is left; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// Asks `probe` every few milliseconds until it answers; `None` at the deadline. For what cannot be waited on:
    /// kernel state without a descriptor.
    pub fn poll<T>(self, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(value) = probe() {
                return Some(value);
            }
            if self.passed() {
                return None;
            }
            pause();
        }
    }
}

/// Monotonic time, for measuring.
#[allow(clippy::disallowed_methods, reason = "tests measure real time; nothing of the sensor runs on it")]
pub fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "between two probes of a deadline, never instead of one")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
