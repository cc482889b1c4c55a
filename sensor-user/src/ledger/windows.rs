//! Sums over the last minute, ten minutes, hour and day: rings of buckets on the record's clock.

/// The windows, shortest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Minute,
    TenMinutes,
    Hour,
    Day,
}

impl Span {
    pub const ALL: [Self; SPANS] = [Self::Minute, Self::TenMinutes, Self::Hour, Self::Day];

    pub const fn seconds(self) -> u64 {
        [60, 600, 3600, 86_400][self as usize]
    }

    const fn bucket_ns(self) -> u64 {
        self.seconds() * (1_000_000_000 / BUCKETS as u64)
    }
}

pub const SPANS: usize = 4;

/// Parts of a window: a sum covers between five and six of them.
pub const BUCKETS: usize = 6;

/// What is summed, in model units and in names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Cost of new names, but for what the next two hold.
    pub new_units: u64,
    /// Cost of names whose new labels have the same length as before, and of those with underscored labels: look-ups of
    /// hashes, random identifiers, policies with macros.
    pub fixed_units: u64,
    /// Cost of short names that somebody may have thought of.
    pub plain_units: u64,
    /// Cost of addresses and counted numbers in new names.
    pub form_units: u64,
    /// Payload of answers that were not seen before.
    pub down_units: u64,
    pub new_names: u64,
    pub queries: u64,
}

impl Sums {
    /// All that names said.
    pub fn units(self) -> u64 {
        self.new_units + self.fixed_units + self.plain_units + self.form_units
    }

    fn zip(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            new_units: with(self.new_units, other.new_units),
            fixed_units: with(self.fixed_units, other.fixed_units),
            plain_units: with(self.plain_units, other.plain_units),
            form_units: with(self.form_units, other.form_units),
            down_units: with(self.down_units, other.down_units),
            new_names: with(self.new_names, other.new_names),
            queries: with(self.queries, other.queries),
        }
    }
}

/// As [`Sums`], of one part of a window; full at 32 MiB or four thousand million names.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket([u32; 7]);

impl Bucket {
    fn sums(self) -> Sums {
        let [new_units, fixed_units, plain_units, form_units, down_units, new_names, queries] =
            self.0.map(u64::from);
        Sums { new_units, fixed_units, plain_units, form_units, down_units, new_names, queries }
    }

    fn of(sums: Sums) -> Self {
        let Sums { new_units, fixed_units, plain_units, form_units, down_units, new_names, queries } = sums;
        Self(
            [new_units, fixed_units, plain_units, form_units, down_units, new_names, queries]
                .map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        )
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    /// Number of the newest bucket since time 0.
    newest: u64,
    /// By number modulo `BUCKETS`.
    buckets: [Bucket; BUCKETS],
    sum: Bucket,
}

impl Ring {
    fn new(span: Span, now_ns: u64) -> Self {
        Self { newest: now_ns / span.bucket_ns(), ..Self::default() }
    }

    /// Time that goes back a little (several rings of the kernel) stays in the newest bucket; further than a window (an
    /// older capture after a newer one) it starts afresh.
    fn roll(&mut self, span: Span, now_ns: u64) {
        let bucket = now_ns / span.bucket_ns();
        if bucket == self.newest {
            return;
        }
        if bucket + BUCKETS as u64 <= self.newest {
            *self = Self::new(span, now_ns);
            return;
        }
        let steps = bucket.saturating_sub(self.newest).min(BUCKETS as u64);
        for step in 1..=steps {
            let at = ((self.newest + step) % BUCKETS as u64) as usize;
            let gone = std::mem::take(&mut self.buckets[at]);
            self.sum = Bucket::of(self.sum.sums().zip(gone.sums(), u64::saturating_sub));
        }
        // After a long silence every bucket is empty, whichever number it had.
        self.newest = self.newest.max(bucket);
    }

    /// Takes what was said before there were rings.
    fn fill(&mut self, span: Span, little: &Little) {
        let each = span.bucket_ns() / SHORTEST_NS;
        for (number, bucket) in little.held(span, self.newest * each) {
            self.change(number / each, bucket.sums(), u64::saturating_add);
        }
    }

    fn change(&mut self, number: u64, by: Sums, with: fn(u64, u64) -> u64) {
        let slot = &mut self.buckets[(number % BUCKETS as u64) as usize];
        let before = slot.sums();
        *slot = Bucket::of(before.zip(by, with));
        let sum = self.sum.sums().zip(before, u64::saturating_sub).zip(slot.sums(), u64::saturating_add);
        self.sum = Bucket::of(sum);
    }
}

/// All four windows of one key, bounded in size.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Of the last roll that began a bucket of the shortest window.
    rolled_ns: u64,
    /// Said since: part of the newest bucket of each.
    pending: Sums,
    said: Said,
}

/// What was said in buckets before.
#[derive(Clone, Debug)]
enum Said {
    Nothing,
    /// In few buckets, as most keys have: a sixth of what rings take.
    Little(Box<Little>),
    Much(Box<[Ring; SPANS]>),
}

/// Buckets of the shortest window before there are rings.
const FEW: usize = 4;
const SHORTEST_NS: u64 = Span::Minute.bucket_ns();

/// Buckets of the shortest window in which anything was said, oldest first, by their numbers since time 0. Buckets of
/// longer windows hold whole ones of the shortest, so these are enough for all.
#[derive(Clone, Copy, Debug, Default)]
struct Little {
    buckets: [(u32, Bucket); FEW],
    taken: u8,
}

impl Little {
    /// Of the window whose newest bucket has the shortest one of this number.
    fn sums(&self, span: Span, newest: u64) -> Sums {
        let held = self.held(span, newest);
        held.fold(Sums::default(), |sum, (_, bucket)| sum.zip(bucket.sums(), u64::saturating_add))
    }

    /// Those in that window, by their numbers.
    fn held(&self, span: Span, newest: u64) -> impl Iterator<Item = (u64, Bucket)> {
        let oldest = oldest(span, newest);
        let all = self.all().iter().map(|(number, bucket)| (u64::from(*number), *bucket));
        all.filter(move |(number, _)| *number >= oldest)
    }

    /// Lets go what no window holds any more.
    fn forget(&mut self, newest: u64) {
        let oldest = oldest(Span::Day, newest);
        let gone = self.all().partition_point(|(number, _)| u64::from(*number) < oldest);
        self.buckets.copy_within(gone.., 0);
        self.taken -= gone as u8;
    }

    /// Adds one that is newer than all; whether there was room for it.
    fn add(&mut self, number: u64, sums: Sums) -> bool {
        let Some(free) = self.buckets.get_mut(usize::from(self.taken)) else { return false };
        // 64 bits of nanoseconds have fewer than 2^31 of them.
        *free = (number as u32, Bucket::of(sums));
        self.taken += 1;
        true
    }

    fn all(&self) -> &[(u32, Bucket)] {
        &self.buckets[..usize::from(self.taken)]
    }
}

/// Number of the first shortest bucket in a window, by that of its newest.
fn oldest(span: Span, newest: u64) -> u64 {
    let each = span.bucket_ns() / SHORTEST_NS;
    (newest / each + 1).saturating_sub(BUCKETS as u64) * each
}

impl Windows {
    /// Bytes beyond `size_of::<Self>()` at most.
    pub const HEAP: usize = size_of::<[Ring; SPANS]>();

    pub fn new(now_ns: u64) -> Self {
        Self { rolled_ns: now_ns, pending: Sums::default(), said: Said::Nothing }
    }

    /// Lets what is older than each window go.
    pub fn roll(&mut self, now_ns: u64) {
        // Buckets of longer windows hold whole ones of the shortest: while that stands still, all do.
        let (bucket, before) = (now_ns / SHORTEST_NS, self.rolled_ns / SHORTEST_NS);
        if bucket == before {
            return;
        }
        if self.is_silent() || bucket > before && self.note(before, bucket) {
            self.rolled_ns = now_ns;
            return;
        }
        for (ring, span) in self.settle().iter_mut().zip(Span::ALL) {
            ring.roll(span, now_ns);
        }
        // Time that went back a little is still in the newest bucket.
        let newest = self.settle()[0].newest;
        self.rolled_ns = if bucket == newest { now_ns } else { newest * SHORTEST_NS };
    }

    /// Adds to the newest bucket of each window.
    pub fn add(&mut self, sums: Sums) {
        self.pending = self.pending.zip(sums, u64::saturating_add);
    }

    /// As of the last [`Self::roll`].
    pub fn sums(&self, span: Span) -> Sums {
        let before = match &self.said {
            Said::Nothing => return self.pending,
            Said::Little(little) => little.sums(span, self.rolled_ns / SHORTEST_NS),
            Said::Much(rings) => rings[span as usize].sum.sums(),
        };
        before.zip(self.pending, u64::saturating_add)
    }

    fn is_silent(&self) -> bool {
        self.pending == Sums::default() && matches!(self.said, Said::Nothing)
    }

    /// Puts what is pending, said in the shortest bucket of number `at`, beside the little there is, as of a later `newest`;
    /// whether it is little still.
    fn note(&mut self, at: u64, newest: u64) -> bool {
        if let Said::Nothing = self.said {
            self.said = Said::Little(Box::default());
        }
        let Said::Little(little) = &mut self.said else { return false };
        little.forget(newest);
        if self.pending != Sums::default() {
            if !little.add(at, self.pending) {
                return false;
            }
            self.pending = Sums::default();
        }
        if little.taken == 0 {
            self.said = Said::Nothing;
        }
        true
    }

    /// Puts what is pending into the buckets of rings.
    fn settle(&mut self) -> &mut [Ring; SPANS] {
        if !matches!(self.said, Said::Much(_)) {
            let mut rings = Box::new(Span::ALL.map(|span| Ring::new(span, self.rolled_ns)));
            if let Said::Little(little) = &self.said {
                for (ring, span) in rings.iter_mut().zip(Span::ALL) {
                    ring.fill(span, little);
                }
            }
            self.said = Said::Much(rings);
        }
        let Said::Much(rings) = &mut self.said else { unreachable!("made so above") };
        let pending = std::mem::take(&mut self.pending);
        if pending != Sums::default() {
            for ring in rings.iter_mut() {
                ring.change(ring.newest, pending, u64::saturating_add);
            }
        }
        rings
    }

    /// Takes out what another key's windows hold; both rolled to the same time.
    pub fn subtract(&mut self, theirs: &Self) {
        let mut theirs = theirs.clone();
        for (own, theirs) in self.settle().iter_mut().zip(theirs.settle()) {
            let first = theirs.newest.max(own.newest).saturating_sub(BUCKETS as u64 - 1);
            for number in first..=theirs.newest.min(own.newest) {
                let gone = theirs.buckets[(number % BUCKETS as u64) as usize].sums();
                own.change(number, gone, u64::saturating_sub);
            }
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.pending = Sums::default();
        self.said = Said::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(new_units: u64) -> Sums {
        Sums {
            new_units,
            fixed_units: new_units / 3,
            plain_units: new_units / 5,
            form_units: new_units / 7,
            down_units: new_units * 2,
            new_names: 1,
            queries: 2,
        }
    }

    proptest! {
        /// Every window is what is left of all that was said when the buckets are laid over it by hand.
        #[test]
        fn windows_are_what_a_recount_says(
            steps in prop::collection::vec((0u64..30_000, 0u64..5000), 1..300),
        ) {
            let mut windows = Windows::new(0);
            let mut all = Vec::new();
            let mut now_ns = 0;
            for (seconds, units) in steps {
                // Mostly short steps, now and then a long one.
                now_ns += if seconds < 25_000 { seconds % 40 } else { seconds } * 1_000_000_000;
                windows.roll(now_ns);
                windows.add(said(units));
                all.push((now_ns, said(units)));
                for span in Span::ALL {
                    let width = span.bucket_ns();
                    let oldest = (now_ns / width + 1).saturating_sub(BUCKETS as u64);
                    let recount = all
                        .iter()
                        .filter(|(at, _)| at / width >= oldest)
                        .fold(Sums::default(), |sum, (_, one)| sum.zip(*one, u64::saturating_add));
                    prop_assert_eq!(windows.sums(span), recount);
                }
            }
            let copy = windows.clone();
            windows.subtract(&copy);
            for span in Span::ALL {
                prop_assert_eq!(windows.sums(span), Sums::default());
            }
        }
    }

    proptest! {
        /// Few buckets say what rings say, now and when they become rings; time may go back where anything was said.
        #[test]
        fn little_is_what_rings_say(
            steps in prop::collection::vec((0u64..60_000, 0u64..9, 0u64..400), 1..60),
        ) {
            let mut windows = Windows::new(5_000_000_000_000_000);
            let mut rings = windows.clone();
            rings.settle();
            let mut now_ns = windows.rolled_ns;
            for (seconds, which, units) in steps {
                let by = seconds * 1_000_000_000;
                now_ns = match which {
                    0 if !windows.is_silent() => now_ns - by / 400,
                    0..4 => now_ns + by / 400,
                    4..8 => now_ns + by / 20,
                    _ => now_ns + by * 2,
                };
                for one in [&mut windows, &mut rings] {
                    one.roll(now_ns);
                    if units % 2 == 0 {
                        one.add(said(units));
                    }
                }
                for span in Span::ALL {
                    prop_assert_eq!(windows.sums(span), rings.sums(span));
                }
            }
            windows.subtract(&rings);
            for span in Span::ALL {
                prop_assert_eq!(windows.sums(span), Sums::default());
            }
        }
    }

    #[test]
    fn four_buckets_a_day_need_no_rings() {
        let mut windows = Windows::new(0);
        for hour in 0..100 {
            windows.roll(hour * 6 * 3_600_000_000_000);
            windows.add(said(7));
            assert!(!matches!(windows.said, Said::Much(_)), "{hour}");
        }
        windows.roll(200 * 6 * 3_600_000_000_000);
        windows.roll(300 * 6 * 3_600_000_000_000);
        assert!(windows.is_silent());
        assert!(size_of::<Little>() * 6 <= Windows::HEAP);
    }

    #[test]
    fn time_that_goes_back_brings_nothing_back() {
        let day = 86_400 * 1_000_000_000;
        let mut windows = Windows::new(10 * day);
        windows.add(said(7));
        windows.roll(10 * day - 1);
        assert_eq!(windows.sums(Span::Day), said(7));
        windows.roll(day);
        assert_eq!(windows.sums(Span::Day), Sums::default());
        windows.add(said(8));
        windows.roll(u64::MAX);
        assert_eq!(windows.sums(Span::Day), Sums::default());
    }
}
