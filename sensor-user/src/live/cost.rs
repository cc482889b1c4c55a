//! What the sensor costs: CPU time of its process, and of its programs in the kernel.
//!
//! The kernel counts the run time of programs only while it is asked to (BPF_ENABLE_STATS, Linux 5.8), and that costs two
//! readings of the clock a run, of every program on the machine. So it is asked for one second in a minute.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::split::Privileged;
use crate::clock;

/// Ticks between the beginnings of two samples.
const EVERY: u64 = 60;
/// The same while the sensor is at its limits.
const OFTEN: u64 = 5;
/// Clock ticks in a second, as /proc gives them on every Linux (USER_HZ).
const USER_HZ: u64 = 100;

#[derive(Debug)]
pub struct Cost {
    /// Monotonic, as are all times here.
    started: std::time::Instant,
    ticks: u64,
    sample: Option<Sample>,
    /// Kernel's refusal to count, if it refused.
    refused: Option<String>,
    sampled: Duration,
    /// Of the last sample.
    kernel_share: f64,
    every: u64,
    programs: BTreeMap<String, Runs>,
}

/// Begun and not yet ended.
#[derive(Debug)]
struct Sample {
    begun: std::time::Instant,
    before: BTreeMap<String, Runs>,
}

/// How often a program ran, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Runs {
    pub(super) count: u64,
    pub(super) time: Duration,
}

impl Cost {
    pub fn new() -> Self {
        Self {
            started: clock::monotonic(),
            ticks: 0,
            sample: None,
            refused: None,
            sampled: Duration::ZERO,
            kernel_share: 0.0,
            every: EVERY,
            programs: BTreeMap::new(),
        }
    }

    /// Once a second.
    pub(super) fn tick(&mut self, privileged: &mut Privileged) {
        if let Some(sample) = self.sample.take() {
            let after = privileged.count(false).unwrap_or_default();
            let lasted = clock::monotonic().duration_since(sample.begun);
            let mut used = Duration::ZERO;
            self.sampled += lasted;
            for (name, after) in after {
                let before = sample.before.get(&name).copied().unwrap_or_default();
                let sum = self.programs.entry(name).or_default();
                sum.count += after.count.saturating_sub(before.count);
                sum.time += after.time.saturating_sub(before.time);
                used += after.time.saturating_sub(before.time);
            }
            self.kernel_share = used.as_secs_f64() / lasted.as_secs_f64().max(1e-3);
        } else if self.ticks.is_multiple_of(self.every) {
            match privileged.count(true) {
                Ok(before) => {
                    self.refused = None;
                    self.sample = Some(Sample { begun: clock::monotonic(), before });
                }
                Err(why) => self.refused = Some(why),
            }
        }
        self.ticks += 1;
    }

    /// Share of one CPU that the programs took when it was last looked at.
    pub fn kernel_share(&self) -> f64 {
        self.kernel_share
    }

    /// Whether to look every few seconds.
    pub fn look_often(&mut self, often: bool) {
        self.every = if often { OFTEN } else { EVERY };
    }

    /// For `status`; with the CPU time of the attaching process, where it is one of its own.
    pub fn json(&self, of_other_process: Duration) -> Value {
        let wall = clock::monotonic().duration_since(self.started);
        let cpu = process_cpu(&fs::read_to_string("/proc/self/stat").unwrap_or_default());
        let cpu = cpu.map(|cpu| cpu + of_other_process);
        let share = |time: Duration, of: Duration| time.as_secs_f64() / of.as_secs_f64().max(1e-9);
        let kernel: Duration = self.programs.values().map(|runs| runs.time).sum();
        json!({
            "seconds": wall.as_secs(),
            "process": cpu.map(|cpu| json!({ "cpu_seconds": cpu.as_secs_f64(), "share": share(cpu, wall) })),
            "kernel": {
                "sampled_seconds": self.sampled.as_secs_f64(),
                "share": (!self.sampled.is_zero()).then(|| share(kernel, self.sampled)),
                "refused": self.refused,
                "programs": self.programs.iter().map(|(name, runs)| json!({
                    "program": name,
                    "runs": runs.count,
                    "run_seconds": runs.time.as_secs_f64(),
                    "ns_a_run": (runs.count > 0).then(|| runs.time.as_nanos() as u64 / runs.count),
                    "share": share(runs.time, self.sampled),
                })).collect::<Vec<_>>(),
            },
        })
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::new()
    }
}

/// User and system time of /proc/PID/stat (fields 14 and 15), which follow the name in its brackets.
fn process_cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = fields.next()?? + fields.next()??;
    Some(Duration::from_millis(ticks * (1000 / USER_HZ)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_hides_no_figures() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 90 0 0 0 250 31 0 0 20 0 1 0 100 1 1";
        assert_eq!(process_cpu(stat), Some(Duration::from_millis(2810)));
        assert_eq!(process_cpu("42 (cut) S 1"), None);
        assert!(process_cpu(&fs::read_to_string("/proc/self/stat").unwrap()).is_some());
    }
}
