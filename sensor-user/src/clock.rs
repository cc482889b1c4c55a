//! The only place that reads a clock. Everything between source and sink takes its time from the record.
#![allow(unsafe_code)] // clock_gettime has no safe binding in std for CLOCK_BOOTTIME

use std::time::Instant;

/// Nanoseconds on CLOCK_BOOTTIME, the clock of every kernel record.
pub fn boot_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// Unix time, nanoseconds.
pub fn unix_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// Monotonic time, for durations of the sensor's own work.
#[allow(clippy::disallowed_methods)] // this is the replacement the lint names
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Turns CLOCK_BOOTTIME into unix time. The distance moves when the wall clock is set, so it is read again by `refresh`.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    unix_minus_boot: u64,
}

impl BootClock {
    pub fn new() -> Self {
        Self { unix_minus_boot: distance() }
    }

    pub fn refresh(&mut self) {
        self.unix_minus_boot = distance();
    }

    /// A fixed distance, for tests and for records of another boot.
    pub const fn with_distance(unix_minus_boot: u64) -> Self {
        Self { unix_minus_boot }
    }

    pub const fn unix_ns(&self, boot_ns: u64) -> u64 {
        self.unix_minus_boot.saturating_add(boot_ns)
    }

    pub const fn boot_ns(&self, unix_ns: u64) -> u64 {
        unix_ns.saturating_sub(self.unix_minus_boot)
    }
}

impl Default for BootClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Unix minus boot time. The reading with the shortest gap around it wins, so that being scheduled away between the
/// two clocks does not shift every record.
fn distance() -> u64 {
    (0..3)
        .map(|_| {
            let before = boot_ns();
            let unix = unix_ns();
            let after = boot_ns();
            (after - before, unix.saturating_sub(before + (after - before) / 2))
        })
        .min()
        .map_or(0, |(_, distance)| distance)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call; both clocks exist on every supported kernel (2.6.39).
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_becomes_unix_time() {
        let clock = BootClock::new();
        let (unix, boot) = (unix_ns(), boot_ns());
        let error = clock.unix_ns(boot).abs_diff(unix);
        assert!(error < 50_000_000, "off by {error} ns");
        assert_eq!(clock.boot_ns(clock.unix_ns(boot)), boot);
        assert_eq!(BootClock::with_distance(5).unix_ns(7), 12);
    }
}
