//! The detection floor: the slowest leak that this host would have found, by its settings, its memory of other days, and
//! the load and loss of the running sensor. Rates go through the pipeline that findings come from, and are halved until
//! the gap is a tenth.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::replayed::Replayer;
use crate::emulate::record::{Record, is_below};
use crate::emulate::{Datagram, Made, Pace, Random, Tape, background, leak_within};
use crate::finding::Severity;

/// What is looked at, in payload bytes within the time.
const RANGE: (u32, u32) = (64, 64 << 10);
/// Look-ups of others that are put beside a leak, at most: each rate costs as many.
const LOAD_MAX: u64 = 20_000;
/// A person asks for a page so often, in seconds.
const PAGE_S: f64 = 600.0;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Floor {
    pub hour: Slowest,
    pub day: Slowest,
    pub load: Load,
    /// Whether the memory of other days was there to be used.
    pub history: bool,
}

/// Payload bytes of one client to one zone, base 32 in names, among what the host asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slowest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<u32>,
    /// The fastest that is missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u32>,
}

/// Of the running sensor, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// False: no sensor answers, so there is neither load nor loss in the floor.
    pub known: bool,
    pub lookups_per_s: f64,
    /// Share of packets lost.
    pub loss: f64,
    /// The share of the load that was put beside the leak; below 1 where there is too much of it.
    pub share: f64,
}

impl Load {
    /// From the answer to `status`; `now_s` is Unix time.
    pub fn of(status: Option<&Value>, now_s: f64) -> Self {
        let Some(status) = status else { return Self { share: 1.0, ..Self::default() } };
        let since = status["since"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let seconds = since.map_or(0.0, |since| now_s - since.as_millisecond() as f64 / 1e3).max(1.0);
        let number = |value: &Value| value.as_u64().unwrap_or(0) as f64;
        let (lost, seen) = (number(&status["lost"]), number(&status["counters"]["seen"]));
        Self {
            known: true,
            lookups_per_s: number(&status["lookups"]) / seconds,
            loss: if seen > 0.0 { (lost / seen).min(1.0) } else { 0.0 },
            share: 1.0,
        }
    }
}

/// Measures it; `done` is told after each rate.
pub(super) fn measure(replayer: &Replayer<'_>, mut load: Load, seed: u64, done: &dyn Fn()) -> Floor {
    let wanted = load.lookups_per_s * 86_400.0;
    load.share = if wanted > LOAD_MAX as f64 { LOAD_MAX as f64 / wanted } else { 1.0 };
    let within = |seconds: f64| {
        let others = others(load.lookups_per_s * load.share, seconds, seed);
        slowest(|bytes| {
            done();
            let leak = leak_within(bytes, seconds, seed);
            is_found(replayer, &leak, &others, (load.loss, seed), seconds)
        })
    };
    let (hour, day) = (within(3600.0), within(86_400.0));
    Floor { hour, day, load, history: (replayer.history)().is_some() }
}

/// Doubles the rate over the whole range, then halves the gap below the slowest that is found until it is a tenth.
fn slowest(mut is_found: impl FnMut(u32) -> bool) -> Slowest {
    let mut slowest = Slowest::default();
    let rates = std::iter::successors(Some(RANGE.0), |rate| Some(rate * 2));
    for rate in rates.take_while(|rate| *rate <= RANGE.1) {
        if is_found(rate) {
            slowest.found = slowest.found.or(Some(rate));
        } else {
            slowest.missed = Some(rate);
        }
    }
    while let (Some(high), Some(low)) = (slowest.found, slowest.missed)
        && low + low / 10 < high
    {
        let middle = low.midpoint(high);
        *(if is_found(middle) { &mut slowest.found } else { &mut slowest.missed }) = Some(middle);
    }
    slowest
}

fn is_found(
    replayer: &Replayer<'_>,
    leak: &Made,
    others: &[Datagram],
    (loss, seed): (f64, u64),
    seconds: f64,
) -> bool {
    let start = leak.datagrams.first().map_or(0, |datagram| datagram.time_ns);
    #[expect(clippy::cast_sign_loss, reason = "a length of time")]
    let end = start + (seconds * 1e9) as u64;
    let mut all: Vec<&Datagram> = leak.datagrams.iter().chain(others).collect();
    all.sort_by_key(|datagram| datagram.time_ns);
    let mut random = Random::of(seed, "loss");
    let kept = all.into_iter().filter(|datagram| datagram.time_ns <= end && !random.chance(loss));
    let mut found = false;
    replayer.each(kept, &mut |record| {
        found =
            record.severity >= Severity::Medium && record.time_ns <= end && is_of(&record, &leak.moved.zones);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}

fn is_of(record: &Record, zones: &BTreeSet<String>) -> bool {
    record
        .zone
        .as_ref()
        .is_some_and(|zone| zones.iter().any(|own| is_below(zone, own) || is_below(own, zone)))
}

/// What other clients ask for at this rate.
fn others(lookups_per_s: f64, seconds: f64, seed: u64) -> Vec<Datagram> {
    let wanted = lookups_per_s * seconds;
    let mut tape = Tape::new(seed, "load", Pace::default());
    let mut client = 0;
    while (tape.lookups() as f64) < wanted {
        tape.be(client);
        let sites = background::Sites::new(&mut tape.random, 40);
        background::person(&mut tape, &sites, (0.0, seconds), PAGE_S);
        client += 1;
    }
    tape.made().datagrams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_comes_within_a_tenth() {
        let mut asked = 0;
        let slowest = slowest(|rate| {
            asked += 1;
            rate >= 1000
        });
        let (found, missed) = (slowest.found.unwrap(), slowest.missed.unwrap());
        assert!(found >= 1000 && missed < 1000 && missed + missed / 10 >= found, "{slowest:?}");
        assert!(asked < 20, "{asked}");
        assert_eq!(super::slowest(|_| false), Slowest { found: None, missed: Some(RANGE.1) });
        assert_eq!(super::slowest(|_| true), Slowest { found: Some(RANGE.0), missed: None });
    }

    #[test]
    fn load_and_loss_come_from_the_sensor() {
        let status = serde_json::json!({
            "since": "2026-01-01T00:00:00Z", "lookups": 500, "lost": 20, "counters": {"seen": 1000},
        });
        let now = "2026-01-01T00:01:40Z".parse::<jiff::Timestamp>().unwrap().as_second() as f64;
        let load = Load::of(Some(&status), now);
        assert!((load.lookups_per_s - 5.0).abs() < 1e-9 && (load.loss - 0.02).abs() < 1e-9 && load.known);
        assert!(!Load::of(None, now).known);
    }

    #[test]
    fn others_ask_at_the_rate() {
        let asked = others(0.5, 3600.0, 1).iter().filter(|datagram| datagram.is_query()).count();
        assert!((1800..2400).contains(&asked), "{asked}");
        assert!(others(0.0, 3600.0, 1).is_empty());
    }
}
