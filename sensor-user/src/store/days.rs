//! Figures by day, the last two weeks of them.

use serde::{Deserialize, Serialize};

/// Days kept, today included: two weeks show a weekly rhythm once.
pub const DAYS: usize = 14;
/// Nanoseconds of a day.
pub const DAY_NS: u64 = 86_400_000_000_000;

/// Day of a time since the start of 1970, UTC.
pub const fn day(unix_ns: u64) -> u32 {
    (unix_ns / DAY_NS) as u32
}

/// One figure a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days<T> {
    /// Day of the first of `figures`.
    newest: u32,
    /// Newest first.
    figures: [T; DAYS],
}

impl<T: Copy + Default> Days<T> {
    /// The figure of a day, to be raised. What is older than the newest counts to the newest: time only goes back where
    /// a clock was set.
    pub fn on(&mut self, day: u32) -> &mut T {
        let passed = day.saturating_sub(self.newest) as usize;
        if passed > 0 {
            let kept = DAYS.saturating_sub(passed);
            self.figures.copy_within(..kept, DAYS - kept);
            self.figures[..DAYS - kept].fill(T::default());
            self.newest = day;
        }
        &mut self.figures[0]
    }

    /// Takes a day that lies ahead, by a clock that was wrong, for `today`.
    pub fn not_after(&mut self, today: u32) {
        self.newest = self.newest.min(today);
    }

    /// The figures as they look on a day, that day's first.
    pub fn until(&self, day: u32) -> [T; DAYS] {
        let mut then = self.clone();
        then.on(day);
        then.figures
    }

    /// As `until`, without the figure of that very day, which is not over.
    pub fn before(&self, day: u32) -> [T; DAYS - 1] {
        let figures = self.until(day);
        std::array::from_fn(|back| figures[back + 1])
    }
}

/// Days on which something was seen, the last 32, newest in the lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveDays {
    newest: u32,
    bits: u32,
}

impl ActiveDays {
    pub fn note(&mut self, day: u32) {
        let passed = day.saturating_sub(self.newest);
        self.bits = self.bits.checked_shl(passed).unwrap_or(0) | 1;
        self.newest = self.newest.max(day);
    }

    /// See `Days::not_after`.
    pub fn not_after(&mut self, today: u32) {
        self.newest = self.newest.min(today);
    }

    /// Of the last 32 days up to the newest.
    pub const fn count(self) -> u32 {
        self.bits.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_move_with_the_days() {
        let mut days = Days::<u32>::default();
        *days.on(100) += 5;
        *days.on(100) += 1;
        *days.on(102) += 7;
        *days.on(99) += 1;
        assert_eq!(days.until(102)[..4], [8, 0, 6, 0]);
        assert_eq!(days.until(103)[..4], [0, 8, 0, 6]);
        assert_eq!(days.before(103)[..3], [8, 0, 6]);
        assert_eq!(days.until(115).iter().sum::<u32>(), 8);
        assert_eq!(days.until(5000), [0; DAYS]);
        *days.on(5000) += 1;
        assert_eq!(days.until(5000).iter().sum::<u32>(), 1);
        days.not_after(104);
        assert_eq!(days.until(105)[..2], [0, 1]);
    }

    #[test]
    fn active_days_are_counted_once() {
        let mut days = ActiveDays::default();
        for day in [20_000, 20_000, 20_001, 20_010, 20_009] {
            days.note(day);
        }
        assert_eq!(days.count(), 3);
        days.note(20_031);
        assert_eq!(days.count(), 4);
        days.note(20_032);
        assert_eq!(days.count(), 4, "the first of them is out of sight");
        days.note(90_000);
        assert_eq!(days.count(), 1);
        days.not_after(20_033);
        days.note(20_034);
        assert_eq!(days.count(), 2);
    }
}
