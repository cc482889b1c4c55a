//! Beacons: look-ups under one zone at a steady pace that say or fetch something new each time.
//!
//! Many an honest program asks at a steady pace: agents, time and monitoring services, devices whose server is gone. What
//! they ask is the same each time, and they ask again when the TTL is over, or at the tick of a timer that has no jitter.
//! A pace alone is therefore no evidence. It becomes evidence where most beats bring a name that was never asked
//! before, or an answer of a payload-bearing type that was never given before, or where one name is asked again before
//! its TTL is over at gaps that somebody drew at random: the cache is passed by, and the timing is hidden.
//!
//! The pace is judged by its median, the deviation from it (MAD) and its skew by quartiles (Bowley), so that a jitter of
//! half the gap and a few beats that were missed change nothing; gaps of chance (Poisson) deviate by 0.7 of the median,
//! page loads by more. Look-ups within half a second are one beat.

use std::hash::BuildHasher as _;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::{Section, rtype};
use crate::ledger::known::Known;
use crate::ledger::{Encoding, Key};
use crate::logged::Lookup;
use crate::model::UNIT;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct Beacon {
    min_beats: u32,
    deviation: f64,
    paces: Table<Key, Pace>,
}

/// Beats of one client under one zone.
#[derive(Debug, Default)]
struct Pace {
    first_ns: u64,
    /// Of the last beat's first look-up, and of its last.
    last_ns: u64,
    stirred_ns: u64,
    beats: u32,
    /// Milliseconds, in a ring.
    gaps: [u32; BEATS],
    /// What a beat brought, the last one in the lowest bit: a new name, a new payload, a name before its TTL was over.
    names: u32,
    payloads: u32,
    bypasses: u32,
    known: Known<64>,
    /// The last beat's name, and until when its answer holds.
    name: u64,
    until_ns: u64,
}

/// Beats kept; one bit each.
const BEATS: usize = 32;
/// Look-ups closer together are one beat: a stream of them has none.
const BEAT_NS: u64 = 500_000_000;
/// Beats between two looks at the pace.
const EVERY: u32 = 4;
/// What takes so long for its first beats has few more of them in a day: it is looked at one look sooner, and at each beat
/// from there on.
const SLOW_NS: u64 = 12 * 3600 * 1_000_000_000;
/// What was silent for so long begins anew.
const SILENT_NS: u64 = 12 * 3600 * 1_000_000_000;

impl Remembered for Pace {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.names.count_ones() + self.payloads.count_ones() + self.beats.min(8)), self.last_ns)
    }
}

impl Beacon {
    pub const RULE: &str = "dns-beacon";

    pub fn new(config: &Config) -> Self {
        let settings = &config.beacon;
        Self {
            min_beats: settings.repeat_frequency_threshold as u32,
            deviation: settings.beacon_timing_threshold,
            paces: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for Beacon {
    fn worst_case_bytes(config: &Config) -> usize {
        let keys = config.beacon.max_keys as usize;
        Table::<Key, Pace>::bytes(keys) + keys * Known::<64>::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { paces, .. } = std::mem::replace(self, Self::new(config));
        self.paces = paces;
    }

    fn evicted(&self) -> u64 {
        self.paces.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.part != Lookup::First || matches!(look.zone.class, Class::Reverse4 | Class::Reverse6) {
            return;
        }
        let now_ns = look.now_ns();
        let pace = self.paces.open(look.key(), Pace::default);
        let gap_ns = now_ns.saturating_sub(pace.last_ns);
        if pace.beats > 0 && gap_ns > SILENT_NS {
            *pace = Pace::default();
        }
        let is_new = !pace.known.insert(look.name_hash);
        let stirred_ns = std::mem::replace(&mut pace.stirred_ns, now_ns);
        if pace.beats > 0 && now_ns.saturating_sub(stirred_ns) < BEAT_NS {
            pace.names |= u32::from(is_new);
            return;
        }
        let bypasses = pace.name == look.name_hash && now_ns < pace.until_ns;
        if pace.beats == 0 {
            pace.first_ns = now_ns;
        } else {
            pace.gaps[pace.beats as usize % BEATS] = (gap_ns / 1_000_000).min(u64::from(u32::MAX)) as u32;
        }
        pace.beats = pace.beats.saturating_add(1);
        pace.names = pace.names << 1 | u32::from(is_new);
        pace.payloads <<= 1;
        pace.bypasses = pace.bypasses << 1 | u32::from(bypasses);
        (pace.last_ns, pace.name, pace.until_ns) = (now_ns, look.name_hash, 0);
        let is_slow = now_ns.saturating_sub(pace.first_ns) >= SLOW_NS;
        let is_due = is_slow || pace.beats.is_multiple_of(EVERY);
        if !is_due || pace.beats + u32::from(is_slow) <= self.min_beats {
            return;
        }
        let Some(brings) = pace.brings() else { return };
        let Some(timing) = pace.timing(self.deviation) else { return };
        if brings.what == What::Bypasses && timing.deviation < MIN_JITTER {
            return;
        }
        let (beats, min) = (pace.beats, self.min_beats);
        let gap_s = timing.median_ms as f64 / 1000.0;
        let signal = Signal {
            rule: Self::RULE,
            case: Case::client_zone(look.key()),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::TIMING,
            name: "beats",
            weight: f64::from(beats) / f64::from(min),
            figures: Figures { first_ns: pace.first_ns, queries: u64::from(beats), ..Figures::default() },
            quiet_s: (timing.median_ms / 1000 * 8).clamp(600, 86_400),
            say: &|| Said {
                does: format!("calls in about every {gap_s:.0} s"),
                observed: format!(
                    "{beats} beats, one each {gap_s:.1} s, half of them within {:.0} % of that; of the last {} {} {}",
                    timing.deviation * 100.0,
                    brings.of,
                    brings.count,
                    brings.what.words()
                ),
                baseline: format!("no steady pace of that in {min} beats"),
                counterfactual:
                    "Had the beats been less even, or asked for the same names after their TTL only, there \
                     would be no finding."
                        .to_owned(),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        };
        // Rounds of one list with hours between them are not the time that it takes.
        let lasts_ms = u64::from(beats) * timing.median_ms;
        cases.raise(&signal);
        if brings.what == What::Names && lasts_ms >= LASTS_MS {
            encoded(look, &signal, cases);
        }
    }

    fn response(&mut self, look: &Look<'_>, _: &mut Cases<'_, '_>) {
        if look.part != Lookup::Answer || look.message.header.counts[1] == 0 {
            return;
        }
        let Some(pace) = self.paces.find(look.key()).filter(|pace| pace.name == look.name_hash) else {
            return;
        };
        let mut least = u32::MAX;
        let answers = look.message.records().take_while(|record| record.section == Section::Answer);
        for record in answers.take(16) {
            least = least.min(record.ttl);
            let bears = matches!(record.rtype, rtype::TXT | rtype::NULL | KEY) || record.rtype >= PRIVATE;
            if bears && !pace.known.insert(look.seed.hash_one(record.rdata)) {
                pace.payloads |= 1;
            }
        }
        // Some time passes on the way, and a TTL is counted in whole seconds.
        let kept_ns = u64::from(least).saturating_sub(1) * 1_000_000_000;
        pace.until_ns = look.now_ns().saturating_add(if least == u32::MAX { 0 } else { kept_ns });
    }
}

/// Names of one size in a clear encoding, or long ones that say much, each asked once, are evidence of another kind than the
/// pace at which they come: timers of honest programs ask for names that they were given.
fn encoded(look: &Look<'_>, beats: &Signal<'_>, cases: &mut Cases<'_, '_>) {
    let Some(entry) = cases.entry(look.key()) else { return };
    let (shape, once) = (entry.shape(), entry.once_share());
    let (recognised, fixed) = (shape.recognised(), shape.fixed_share());
    // Names that nobody answers are an attack on their zone.
    if once < ONCE || fixed < FIXED || entry.is_unheard() {
        return;
    }
    let length = shape.length().0;
    let bits = entry.totals.up_low as f64 / entry.new_names.max(1) as f64 / f64::from(UNIT);
    let is_long = length >= LONG && bits >= LONG_BITS;
    let is_clear = recognised.encoding != Encoding::Custom && recognised.strength >= 1.0;
    if !is_clear && !is_long {
        return;
    }
    let spelt = if is_clear { recognised.encoding.name() } else { "no known encoding" };
    cases.raise(&Signal {
        family: family::SHAPE,
        name: "encoded_beats",
        weight: if is_clear { recognised.strength } else { bits / LONG_BITS },
        say: &|| Said {
            observed: format!(
                "names in {spelt} that say {bits:.0} bits each, {:.0} % of them of one length, {:.0} % asked once",
                fixed * 100.0,
                once * 100.0
            ),
            baseline: format!(
                "names that are not clearly in one encoding, and have less than {LONG} characters or {LONG_BITS} bits"
            ),
            ..(beats.say)()
        },
        ..*beats
    });
}

/// What calls in does so for ten minutes at least; who is through with it sooner has gone through a list.
const LASTS_MS: u64 = 600_000;
/// Characters and bits that a new name has on average where it says more than a host's name: forty bits are one in a
/// million million.
const LONG: f64 = 32.0;
const LONG_BITS: f64 = 40.0;
/// Shares of names asked once, and of one length within 5 %.
const ONCE: f64 = 0.9;
const FIXED: f64 = 0.8;

/// Record types of payload beside TXT and NULL (IANA DNS parameters).
const KEY: u16 = 25;
const PRIVATE: u16 = 65_280;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Names,
    Payloads,
    Bypasses,
}

impl What {
    fn words(self) -> &'static str {
        match self {
            Self::Names => "asked for a name that was new",
            Self::Payloads => "fetched a payload that was new",
            Self::Bypasses => "asked for the same name before its TTL was over",
        }
    }
}

/// What most beats bring.
#[derive(Clone, Copy, Debug)]
struct Brings {
    what: What,
    count: u32,
    of: u32,
}

#[derive(Clone, Copy, Debug)]
struct Timing {
    median_ms: u64,
    /// Median absolute deviation, as a share of the median.
    deviation: f64,
}

/// Shares of beats that bring something new, and that ask before the TTL is over.
const NEW_NAMES: f64 = 0.8;
const NEW_PAYLOADS: f64 = 0.5;
const BYPASSES: f64 = 0.9;
/// Deviation from which on gaps are drawn at random: a timer and the work between its ticks have less.
const MIN_JITTER: f64 = 0.12;
/// Skew of the quartiles that a few gaps drawn evenly may have.
const MAX_SKEW: f64 = 0.55;
/// Share of gaps that are neither half nor twice the median and a bit.
const INSIDE: f64 = 0.88;

impl Pace {
    fn brings(&self) -> Option<Brings> {
        let of = self.beats.min(BEATS as u32);
        let kept = u32::MAX >> (BEATS as u32 - of);
        let most = |bits: u32, share: f64, what| {
            let count = (bits & kept).count_ones();
            (f64::from(count) >= f64::from(of) * share).then_some(Brings { what, count, of })
        };
        let bypasses = || most(self.bypasses, BYPASSES, What::Bypasses).filter(|_| of == BEATS as u32);
        most(self.payloads, NEW_PAYLOADS, What::Payloads)
            .or_else(|| most(self.names, NEW_NAMES, What::Names))
            .or_else(bypasses)
    }

    fn timing(&self, most: f64) -> Option<Timing> {
        let count = (self.beats as usize - 1).min(BEATS);
        let mut room = self.gaps;
        // The first beat has no gap: its place is empty until the ring is full.
        let gaps = if count < BEATS { &mut room[1..=count] } else { &mut room[..] };
        gaps.sort_unstable();
        let at = |quarter: usize| f64::from(gaps[(gaps.len() - 1) * quarter / 4]);
        let (low, median, high) = (at(1), at(2), at(3));
        let skew = if high > low { (low + high - 2.0 * median) / (high - low) } else { 0.0 };
        // Quartiles that lie close together have a skew of milliseconds.
        let is_skewed = skew.abs() > MAX_SKEW && high - low > median * 0.2;
        let inside =
            gaps.iter().filter(|gap| (median / 2.2..=median * 2.2).contains(&f64::from(**gap))).count();
        if is_skewed || (inside as f64) < gaps.len() as f64 * INSIDE {
            return None;
        }
        let median_ms = gaps[(gaps.len() - 1) / 2];
        for gap in gaps.iter_mut() {
            *gap = gap.abs_diff(median_ms);
        }
        gaps.sort_unstable();
        let deviation = f64::from(gaps[(gaps.len() - 1) / 2]) / median.max(1.0);
        (deviation <= most).then_some(Timing { median_ms: u64::from(median_ms), deviation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Severity, State};
    use crate::pipeline::bench::Bench;

    fn unit(n: u64) -> f64 {
        let z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f64 / f64::from(1 << 24)
    }

    type Gap<'a> = &'a dyn Fn(u64) -> f64;
    type Beat<'a> = &'a dyn Fn(&mut Bench, u64);

    /// Findings of this rule as (state, severity) after so many beats.
    fn found(beats: u64, gap: Gap<'_>, beat: Beat<'_>) -> Vec<(State, Severity)> {
        let mut bench = Bench::new(&Config::default());
        for n in 0..beats {
            bench.wait(gap(n));
            beat(&mut bench, n);
        }
        bench.finish();
        let own = bench.found.iter().filter(|f| f.rule == Beacon::RULE && f.state != State::Update);
        own.map(|f| (f.state, f.severity)).collect()
    }

    fn fixed(bench: &mut Bench, name: &str, ttl: u32) {
        bench.look_up("10.0.0.2", name, 1, 0, &[(1, ttl, &[192, 0, 2, 1])]);
    }

    #[test]
    fn steady_news_is_one_finding_at_any_pace_and_jitter() {
        let once = [(State::Create, Severity::Low), (State::Close, Severity::Low)];
        for every in [1.0, 60.0, 600.0, 3600.0] {
            for jitter in [0.0, 0.2, 0.5] {
                let gap = |n: u64| every * (1.0 + jitter * (2.0 * unit(n) - 1.0));
                let names = |bench: &mut Bench, n: u64| {
                    bench.look_up("10.0.0.2", &format!("{}.node.metrics.example", 300 + n % 90), 1, 3, &[]);
                };
                assert_eq!(found(80, &gap, &names), once, "names, {every} s, {jitter}");
                let texts = |bench: &mut Bench, n: u64| {
                    bench.look_up("10.0.0.2", "cfg.feed.example", 16, 0, &[(16, 1, &[2, n as u8, 7])]);
                };
                if every > 2.0 {
                    assert_eq!(found(80, &gap, &texts), once, "texts, {every} s, {jitter}");
                }
            }
        }
        let gap = |n: u64| 30.0 * (0.5 + unit(n));
        let bypass = |bench: &mut Bench, _: u64| fixed(bench, "www.portal.example", 3600);
        assert_eq!(found(80, &gap, &bypass), once, "before the TTL is over, with jitter");
    }

    /// A second kind of evidence: what the beats say is clearly encoded, and nothing else.
    #[test]
    fn encoded_news_of_one_size_is_medium_and_a_stream_has_no_beats() {
        let of = |rcode: u16, every: f64, len: usize| {
            let mut bench = Bench::new(&Config::default());
            for n in 0..60u64 {
                bench.wait(every * (0.5 + unit(n)));
                let text = format!("{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let name = format!("{}.node.metrics.example", &text[..len]);
                let here: &[(u16, u32, &[u8])] = &[(1, 5, &[192, 0, 2, 1])];
                bench.look_up("10.0.0.2", &name, 1, rcode, if rcode == 0 { here } else { &[] });
            }
            bench.finish();
            bench.found.iter().filter(|f| f.rule == Beacon::RULE).map(|f| f.severity).max()
        };
        assert_eq!(of(0, 60.0, 8), Some(Severity::Medium));
        assert_eq!(of(3, 60.0, 8), Some(Severity::Medium));
        // Errors are no answers: an attack on the zone.
        assert_eq!(of(2, 60.0, 8), Some(Severity::Low));
        assert_eq!(of(0, 0.2, 8), None);
    }

    #[test]
    fn honest_paces_are_left_alone() {
        let steady = |n: u64| 20.0 + unit(n) * 0.5;
        let jittered = |n: u64| 30.0 * (0.5 + unit(n));
        let chance = |n: u64| -60.0 * (1.0 - unit(n)).ln();
        let agent = |bench: &mut Bench, _: u64| {
            for host in ["auth", "iaas", "objects", "telemetry"] {
                fixed(bench, &format!("{host}.region.cloud.example"), 300);
            }
        };
        let refresh = |bench: &mut Bench, _: u64| fixed(bench, "time.pool.example", 5);
        let gone = |bench: &mut Bench, _: u64| bench.look_up("10.0.0.2", "update.device.example", 1, 3, &[]);
        let news =
            |bench: &mut Bench, n: u64| bench.look_up("10.0.0.2", &format!("h{n}.site.example"), 1, 3, &[]);
        let version = |bench: &mut Bench, n: u64| {
            bench.look_up("10.0.0.2", "current.av.example", 16, 0, &[(16, 900, &[1, n as u8 / 48])]);
        };
        let rows: [(&str, Gap<'_>, Beat<'_>); 6] = [
            ("an agent by its timer", &steady, &agent),
            ("after the TTL", &jittered, &refresh),
            ("a server that is gone", &steady, &gone),
            ("a server that is gone, with jitter", &jittered, &gone),
            ("new names at gaps of chance", &chance, &news),
            ("a version in a text", &steady, &version),
        ];
        for (what, gap, beat) in rows {
            assert_eq!(found(200, gap, beat), [], "{what}");
        }
    }
}
