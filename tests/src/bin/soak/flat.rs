//! Whether a figure still grows: the slope test.
//!
//! Of the samples after the warm-up (the first third of the run, five minutes at most), the slope is the median of those
//! of all pairs (Theil and Sen), which a few odd samples do not move. What it adds over that time is growth; flat is at
//! most what the track allows.

use std::fmt;

use earthdog_tests::quartiles::median;
use earthdog_tests::size::Size;
use serde_json::{Value, json};

/// Longest warm-up, seconds.
const WARM_UP_MOST: f64 = 300.0;
/// Fewer samples after it say nothing.
const LEAST: usize = 6;
/// Of more, so many are paired: pairs grow with their square, and a week has 60,000.
const PAIRED: usize = 1000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) size: Size,
    /// Bytes of its file.
    pub(crate) store: u64,
}

impl Sample {
    pub(crate) fn row(&self) -> Value {
        json!({
            "part": "soak", "case": "sample", "metric": "resident", "unit": "bytes", "value": self.size.resident,
            "floor": Value::Null, "seconds": self.seconds.round(), "maps": self.size.maps,
            "descriptors": self.size.descriptors, "threads": self.size.threads, "store": self.store,
        })
    }
}

/// A figure and how much it may grow after the warm-up: a share of its median, or so much, whichever is more.
pub(crate) struct Track {
    name: &'static str,
    unit: &'static str,
    of: fn(&Sample) -> u64,
    share: f64,
    least: f64,
}

impl Track {
    pub(crate) const ALL: [Self; 5] = [
        Self { name: "resident", unit: "bytes", of: |s| s.size.resident, share: 0.02, least: 4_194_304.0 },
        Self { name: "maps", unit: "bytes", of: |s| s.size.maps, share: 0.0, least: 0.0 },
        // A question that is just being answered is one more.
        Self { name: "descriptors", unit: "1", of: |s| s.size.descriptors, share: 0.0, least: 1.0 },
        Self { name: "threads", unit: "1", of: |s| s.size.threads, share: 0.0, least: 1.0 },
        // It may fill up to what it has by default (store.max_mib).
        Self { name: "store", unit: "bytes", of: |s| s.store, share: 0.0, least: 67_108_864.0 },
    ];

    pub(crate) fn judge(&self, samples: &[Sample]) -> Judged<'_> {
        let last = samples.last().map_or(0.0, |sample| sample.seconds);
        let warm = (last / 3.0).min(WARM_UP_MOST);
        let after: Vec<_> = samples
            .iter()
            .filter(|sample| sample.seconds >= warm)
            .map(|sample| (sample.seconds, (self.of)(sample) as f64))
            .collect();
        let mut slopes = Vec::new();
        let paired: Vec<_> = after.iter().step_by(after.len().div_ceil(PAIRED).max(1)).collect();
        for (index, (start, low)) in paired.iter().enumerate() {
            slopes.extend(paired[index + 1..].iter().map(|(end, high)| (high - low) / (end - start)));
        }
        let middle = median(after.iter().map(|(_, value)| *value));
        let growth = median(slopes) * (last - warm);
        let allowed = (middle * self.share).max(self.least);
        Judged { track: self, samples: after.len(), warm, middle, growth, allowed }
    }
}

pub(crate) struct Judged<'a> {
    track: &'a Track,
    samples: usize,
    warm: f64,
    middle: f64,
    growth: f64,
    allowed: f64,
}

impl Judged<'_> {
    pub(crate) fn flat(&self) -> bool {
        self.samples >= LEAST && self.growth <= self.allowed
    }

    pub(crate) fn row(&self) -> Value {
        json!({
            "part": "soak", "case": self.track.name, "metric": "growth", "unit": self.track.unit,
            "value": self.growth, "floor": self.middle, "allowed": self.allowed,
        })
    }
}

impl fmt::Display for Judged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { track, samples, warm, middle, growth, allowed } = self;
        let (scale, unit) = if track.unit == "bytes" { (1024.0, " KiB") } else { (1.0, "") };
        let verdict = match () {
            () if *samples < LEAST => "TOO FEW SAMPLES",
            () if self.flat() => "flat",
            () => "GROWS",
        };
        write!(
            f,
            "{:<12} median {:.0}{unit}, {:+.0}{unit} over {samples} samples after {warm:.0} s, at most {:.0}{unit}: {verdict}",
            track.name,
            middle / scale,
            growth / scale,
            allowed / scale
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many samples, one each ten seconds, with so many resident MiB.
    fn of(count: u32, resident: impl Fn(u32) -> u64) -> Vec<Sample> {
        let sample = |number: u32| Sample {
            seconds: f64::from(number) * 10.0,
            size: Size { resident: resident(number) << 20, ..Size::default() },
            store: 0,
        };
        (1..=count).map(sample).collect()
    }

    /// Of ten minutes.
    fn samples(resident: impl Fn(u32) -> u64) -> Vec<Sample> {
        of(60, resident)
    }

    #[test]
    fn a_week_is_judged_by_a_part_of_its_pairs() {
        let week = |resident: fn(u32) -> u64| Track::ALL[0].judge(&of(60_480, resident)).flat();
        assert!(week(|number| 100 + u64::from(number % 7) * 3));
        assert!(!week(|number| 100 + u64::from(number) / 6_000), "10 MiB in a week");
    }

    #[test]
    fn growth_is_told_from_noise_and_from_a_warm_up() {
        let flat = |resident: fn(u32) -> u64| Track::ALL[0].judge(&samples(resident)).flat();
        assert!(flat(|number| 100 + u64::from(number % 7) * 3), "noise");
        assert!(flat(|number| 100 + 10 * u64::from(number.min(20))), "the warm-up");
        assert!(flat(|number| if number == 60 { 200 } else { 100 }), "one odd sample");
        assert!(!flat(|number| 100 + u64::from(number) / 5), "8 MiB in 400 seconds");
        assert!(!Track::ALL[0].judge(&samples(|_| 1)[..3]).flat(), "too few");
    }
}
