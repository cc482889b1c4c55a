//! The only place that reads a clock. Everything between source and sink takes its time from the record.
#![allow(unsafe_code)] // clock_gettime has no safe binding in std for CLOCK_BOOTTIME

use std::time::Instant;

/// Nanoseconds on CLOCK_BOOTTIME, which processes are dated by.
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

/// Nanoseconds on CLOCK_MONOTONIC, which stands still while the machine sleeps.
pub fn awake_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds of CPU time that this process has used, in user mode and in the kernel for it.
pub fn process_cpu_ns() -> u64 {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Turns the times of kernel records into boot time and unix time.
///
/// Records carry CLOCK_MONOTONIC, since that is the cheapest to read in the kernel. Boot time is ahead of it by all the
/// time that the machine has slept: looked at with each drain (`look`), and remembered by when it changed, so that what
/// was recorded before a sleep keeps its time. The distance from boot to unix time moves when the wall clock is set, so
/// that one is read again by `refresh`.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    unix_minus_boot: u64,
    /// Latest first.
    sleeps: [Slept; SLEEPS],
    /// CLOCK_MONOTONIC of the last look.
    looked_ns: u64,
}

/// From when on, on CLOCK_MONOTONIC, the machine has slept for how long altogether.
#[derive(Clone, Copy, Debug)]
struct Slept {
    from_ns: u64,
    total_ns: u64,
}

/// Sleeps remembered. What is older than all of them, which only a flow's first packet can be, is taken for as old as the
/// first of them.
const SLEEPS: usize = 16;
/// Shorter is the noise of reading two clocks one after the other.
const SHORTEST_SLEEP_NS: u64 = 1_000_000;

impl BootClock {
    pub fn new() -> Self {
        let slept = Slept { from_ns: 0, total_ns: distance(awake_ns, boot_ns) };
        Self { unix_minus_boot: distance(boot_ns, unix_ns), sleeps: [slept; SLEEPS], looked_ns: awake_ns() }
    }

    /// Whether the machine has slept since the last look. Two readings of a clock, unless it has.
    pub fn look(&mut self) {
        let awake = awake_ns();
        if boot_ns().saturating_sub(awake).abs_diff(self.sleeps[0].total_ns) >= SHORTEST_SLEEP_NS {
            self.slept(distance(awake_ns, boot_ns));
        }
        self.looked_ns = awake;
    }

    /// What came since the last look is taken to have come after the sleep.
    fn slept(&mut self, total_ns: u64) {
        if total_ns.abs_diff(self.sleeps[0].total_ns) >= SHORTEST_SLEEP_NS {
            self.sleeps.rotate_right(1);
            self.sleeps[0] = Slept { from_ns: self.looked_ns.saturating_add(1), total_ns };
        }
    }

    pub fn refresh(&mut self) {
        self.look();
        self.unix_minus_boot = distance(boot_ns, unix_ns);
    }

    /// A fixed distance, for tests and for records of another boot: of a machine that never slept.
    pub const fn with_distance(unix_minus_boot: u64) -> Self {
        Self { unix_minus_boot, sleeps: [Slept { from_ns: 0, total_ns: 0 }; SLEEPS], looked_ns: 0 }
    }

    pub const fn unix_ns(&self, boot_ns: u64) -> u64 {
        self.unix_minus_boot.saturating_add(boot_ns)
    }

    pub const fn boot_ns(&self, unix_ns: u64) -> u64 {
        unix_ns.saturating_sub(self.unix_minus_boot)
    }

    /// CLOCK_BOOTTIME of a kernel record.
    pub fn boot_of_awake_ns(&self, awake_ns: u64) -> u64 {
        let slept =
            self.sleeps.iter().find(|slept| slept.from_ns <= awake_ns).unwrap_or(&self.sleeps[SLEEPS - 1]);
        awake_ns.saturating_add(slept.total_ns)
    }
}

impl Default for BootClock {
    fn default() -> Self {
        Self::new()
    }
}

/// How far one clock is ahead of another. The reading with the shortest gap around it wins, so that being scheduled away
/// between the two does not shift every record.
fn distance(from: fn() -> u64, to: fn() -> u64) -> u64 {
    (0..3)
        .map(|_| {
            let before = from();
            let there = to();
            let after = from();
            (after - before, there.saturating_sub(before + (after - before) / 2))
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
    #[test]
    fn a_record_keeps_the_time_it_had_before_a_sleep() {
        let mut clock = BootClock::new();
        let (awake, boot) = (awake_ns(), boot_ns());
        let error = clock.boot_of_awake_ns(awake).abs_diff(boot);
        assert!(error < 50_000_000, "off by {error} ns");
        clock.look();
        let asleep = clock.sleeps[0].total_ns;
        assert_eq!(clock.sleeps[1].total_ns, asleep, "nobody slept");

        let hour = 3_600_000_000_000;
        let seen = clock.looked_ns;
        clock.slept(asleep + 1_000);
        assert_eq!(clock.boot_of_awake_ns(seen + 5), asleep + seen + 5, "a microsecond is no sleep");
        clock.slept(asleep + hour);
        assert_eq!(clock.boot_of_awake_ns(seen), asleep + seen);
        assert_eq!(clock.boot_of_awake_ns(seen + 5), asleep + hour + seen + 5);
        for night in 2..20 {
            clock.looked_ns += 10;
            clock.slept(asleep + night * hour);
        }
        assert_eq!(clock.boot_of_awake_ns(clock.looked_ns + 5), asleep + 19 * hour + clock.looked_ns + 5);
        assert_eq!(clock.boot_of_awake_ns(seen), asleep + 4 * hour + seen, "as the oldest that is known");
    }
}
