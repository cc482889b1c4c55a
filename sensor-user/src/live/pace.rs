//! How long the rings are left alone between two drains: the more comes, the shorter. A drain then takes little at a time,
//! and who shares the processor with it (a resolver, where the sensor runs beside one) never waits long.

use std::time::{Duration, Instant};

/// Records to a drain under load: about half a millisecond of work.
const PORTION: f64 = 256.0;
/// The finest that the runtime's timer has.
const LEAST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Pace {
    /// When the last drain ended, and records taken until then.
    at: Instant,
    taken: u64,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { at: now, taken: 0 }
    }

    /// After a drain that ended at `now` with so many records `taken` in all: how long until the next, at most `most`.
    pub(super) fn next(&mut self, taken: u64, now: Instant, most: Duration) -> Duration {
        let (came, since) = (taken.saturating_sub(self.taken), now.duration_since(self.at));
        (self.at, self.taken) = (now, taken);
        if came == 0 {
            return most;
        }
        since.mul_f64(PORTION / came as f64).max(LEAST).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_comes_the_sooner_it_is_taken_and_never_later_than_asked_for() {
        let mut now = crate::clock::monotonic();
        let most = Duration::from_millis(20);
        let mut pace = Pace::new(now);
        let mut taken = 0;
        let mut after = |count: u64, millis: u64| {
            taken += count;
            now += Duration::from_millis(millis);
            pace.next(taken, now, most).as_micros()
        };
        assert_eq!(after(0, 20), 20_000, "nothing");
        assert_eq!(after(100, 20), 20_000, "5,000 a second");
        assert_eq!(after(3400, 20), 1505, "170,000 a second");
        assert_eq!(after(256, 2), 2000, "128,000 a second");
        assert_eq!(after(4096, 2), 1000, "two million a second");
        assert_eq!(after(0, 1), 20_000, "nothing again");
        assert_eq!(after(5, 0), 1000, "in no time");
    }
}
