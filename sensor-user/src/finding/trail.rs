//! How a finding came about: its bytes over time and the gaps between its look-ups, bounded however long it lasts.
//!
//! Kept by each open case and stored beside the record (`stored`), which is a contract and stays as it is.

use serde::{Deserialize, Serialize};

/// Raised when a field changes its meaning; a trail of another version is left unread.
pub const VERSION: u32 = 1;
/// Points of the curve: when there are more, every second goes and the step between two doubles.
pub const POINTS: usize = 40;
/// Names kept as they were asked.
pub const ASKED: usize = 3;
/// Upper ends of the gaps' classes, milliseconds; the last class has none.
pub const GAP_ENDS_MS: [u64; GAPS - 1] = [
    1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000, 180_000, 600_000, 1_800_000, 3_600_000,
    10_800_000, 86_400_000,
];
/// Classes of gaps.
pub const GAPS: usize = 18;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trail {
    pub v: u32,
    /// Under which `earthdog baseline show` knows the client: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Look-ups by the time since the one before, classes of [`GAP_ENDS_MS`].
    pub gaps: Vec<u32>,
    /// First and last and, between them, at a step that grows.
    pub points: Vec<Point>,
    /// The first names since it is open, with the letter case they were asked in, where that says something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
}

/// Sums since the start: milliseconds since the first look-up, queries, bytes out (least, most), bytes in (least, most).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point(pub u64, pub u64, pub u64, pub u64, pub u64, pub u64);

/// Counts of gaps, fixed in size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gaps {
    last_ns: u64,
    counts: [u32; GAPS],
}

impl Gaps {
    /// Goes on from what was counted before, the last look-up at `last_ns`.
    pub fn after(first: FirstGaps, last_ns: u64) -> Self {
        Self { last_ns, counts: first.0.map(u32::from) }
    }

    /// Takes a look-up. Time that goes back has no gap.
    pub fn note(&mut self, now_ns: u64) {
        if self.last_ns != 0
            && let Some(gap_ns) = now_ns.checked_sub(self.last_ns)
        {
            let count = &mut self.counts[class(gap_ns)];
            *count = count.saturating_add(1);
        }
        self.last_ns = self.last_ns.max(now_ns);
    }

    pub fn counts(&self) -> Vec<u32> {
        self.counts.to_vec()
    }
}

/// The same before there is a finding: few look-ups, in few bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstGaps([u8; GAPS]);

impl FirstGaps {
    pub fn note(&mut self, gap_ns: u64) {
        let count = &mut self.0[class(gap_ns)];
        *count = count.saturating_add(1);
    }
}

fn class(gap_ns: u64) -> usize {
    GAP_ENDS_MS.iter().take_while(|end| gap_ns >= **end * 1_000_000).count()
}

/// The curve while it grows.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    points: Vec<Point>,
    step_ms: u64,
}

impl Curve {
    /// Takes the sums as they are; those that come too soon after the last point are not kept.
    pub fn note(&mut self, point: Point) {
        if self.points.is_empty() {
            self.points.reserve_exact(POINTS);
            // What the first look-up added to.
            self.points.push(Point::default());
            self.step_ms = 100;
        }
        if point.0 < self.points.last().map_or(0, |last| last.0).saturating_add(self.step_ms) {
            return;
        }
        if self.points.len() == POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.step_ms = self.step_ms.saturating_mul(2);
        }
        self.points.push(point);
    }

    /// All points, and the last one in any case.
    pub fn until(&self, last: Point) -> Vec<Point> {
        let mut points = self.points.clone();
        if points.is_empty() {
            points.push(Point::default());
        }
        points.retain(|point| point.0 < last.0 || point.0 == 0);
        points.push(last);
        points
    }
}

/// Bytes on the heap of what an open case keeps, and of its copy in the finding.
pub const HEAP_MAX: usize = 2 * ((POINTS + 1) * size_of::<Point>() + GAPS * 4 + ASKED * 1024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stays_short_and_keeps_its_ends() {
        let mut curve = Curve::default();
        let last = Point(1_000_000_000, 100_000, 5, 6, 7, 8);
        for n in 0..100_000_u64 {
            curve.note(Point(n * 10_000, n, n, n, 0, 0));
        }
        let points = curve.until(last);
        assert!((POINTS / 2..=POINTS + 1).contains(&points.len()), "{}", points.len());
        assert_eq!((points[0], points[points.len() - 1]), (Point::default(), last));
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn gaps_are_counted_by_class() {
        let mut gaps = Gaps::default();
        let second = 1_000_000_000;
        for at in [10, 11, 12, 13, 13, 100, 90] {
            gaps.note(at * second);
        }
        let counts = gaps.counts();
        assert_eq!(counts.iter().sum::<u32>(), 5, "the first has none, nor what comes before it");
        assert_eq!((counts[0], counts[7], counts[11]), (1, 3, 1), "{counts:?}");
    }
}
