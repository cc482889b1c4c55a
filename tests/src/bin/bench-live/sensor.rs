//! The cases of the whole sensor: the filter, the highest rate without loss, and twice that.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::generator::Kind;
use earthdog_tests::host::LINK;
use earthdog_tests::sensor::{Counters, Sensor};
use serde_json::{Value, json};

use crate::cases::{Bed, Measured};
use crate::report::verdict;

const TIME: Duration = Duration::from_millis(1500);
/// Of a try at a rate: longer than the rings can hide that the reader falls behind.
const TRY: Duration = Duration::from_secs(2);
/// How soon after the last packet everything is read, where the reader keeps up.
const SOON: Duration = Duration::from_millis(150);
/// More than one core puts on a link, packets a second.
const MOST: u64 = 1_000_000;
/// Tries at a rate, each halving what is not known of it.
const TRIES: usize = 7;
const OVERLOAD: Duration = Duration::from_secs(5);
/// Resident bytes that twice the load may add.
const MORE_MEMORY: f64 = 16e6;
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

const BASE: &str = "[limits]\ncpu_share = 0\ngateway_cpu_share = 0\nmemory_mib = 0\n[store]\npath = \"\"\n";

fn start(bed: &Bed<'_>, filter: &str) -> Result<Sensor> {
    let text = format!("{BASE}[novelty]\nfilter = \"{filter}\"\n");
    std::fs::write(bed.server.file("/run/bench.toml"), text)?;
    let arguments = ["-c", "/run/bench.toml", "--role", "gateway", "--interface", LINK];
    Sensor::start(bed.server, &arguments).map_err(|why| anyhow!(why))
}

/// What became of packets between two looks.
fn between(before: &Counters, after: &Counters, sent: u64, seconds: f64) -> Measured {
    let grown = |name: &str| after[name] - before[name];
    let lost = grown("lost_bulk_ring_full") + grown("lost_alert_ring_full");
    let filtered = grown("repeat_query") + grown("repeat_response") + grown("known_answer");
    let told = grown("delivered") + lost + filtered;
    let unaccounted = sent.abs_diff(grown("seen")).max(sent.abs_diff(told));
    Measured { rate: sent as f64 / seconds, sent, lost, filtered, unaccounted }
}

/// Accounts for every packet, or its figures are none.
fn exact(measured: Measured) -> Result<Measured> {
    ensure!(measured.unaccounted == 0, "{measured:?}");
    Ok(measured)
}

/// Names by Zipf's law, with the novelty filter.
pub(crate) fn filter(bed: &Bed<'_>) -> Result<Measured> {
    let sensor = start(bed, "on")?;
    let before = sensor.settled(Deadline::secs(10));
    let sent = Bed::sent(bed.send(Kind::Zipf, TIME, 0))?;
    let after = sensor.settled(Deadline::secs(30));
    sensor.stop();
    exact(between(&before, &after, sent.count, sent.seconds))
}

/// New names at the highest rate that every detector keeps up with.
pub(crate) fn lossless(bed: &Bed<'_>) -> Result<Measured> {
    let sensor = start(bed, "off")?;
    let (mut low, mut high) = (Measured::default(), MOST);
    for _ in 0..TRIES {
        let wanted = u64::midpoint(whole(low.rate), high);
        let before = sensor.settled(Deadline::secs(10));
        let sent = Bed::sent(bed.send(Kind::New, TRY, wanted))?;
        let began = now();
        let after = sensor.settled(Deadline::secs(60));
        let tried = exact(between(&before, &after, sent.count, sent.seconds))?;
        if tried.lost == 0 && began.elapsed() <= SOON {
            if tried.rate < wanted as f64 * 0.97 {
                // The generator has no more.
                low = if tried.rate > low.rate { tried } else { low };
                break;
            }
            low = tried;
        } else {
            high = wanted.min(whole(tried.rate));
        }
    }
    sensor.stop();
    ensure!(low.sent > 0, "no rate was without loss");
    Ok(low)
}

/// Packets a second as the generator takes them.
fn whole(rate: f64) -> u64 {
    Duration::from_secs_f64(rate.max(0.0)).as_secs()
}

pub(crate) struct Overload {
    measured: Measured,
    memory: [f64; 2],
    slowest: Duration,
    asked: usize,
}

/// So many new names a second for a while, and the control socket asked all the time.
pub(crate) fn overload(bed: &Bed<'_>, rate: f64) -> Result<Overload> {
    let sensor = start(bed, "off")?;
    // Tables fill before memory is compared.
    Bed::sent(bed.send(Kind::New, TRY, whole(rate)))?;
    let before = sensor.settled(Deadline::secs(60));
    let resident = |status: &Value| status["memory"]["resident"].as_f64().context("status has no memory");
    let memory_before = resident(&sensor.status())?;
    let mut generator = bed.send(Kind::New, OVERLOAD, whole(rate));
    let (mut slowest, mut asked, mut memory) = (Duration::ZERO, 0, 0f64);
    while generator.ended().is_none() {
        let began = now();
        memory = memory.max(resident(&sensor.status())?);
        slowest = slowest.max(began.elapsed());
        asked += 1;
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let sent = Bed::sent(generator)?;
    let after = sensor.settled(Deadline::secs(60));
    sensor.stop();
    let measured = between(&before, &after, sent.count, sent.seconds);
    Ok(Overload { measured, memory: [memory_before, memory], slowest, asked })
}

impl Overload {
    pub(crate) fn report(&self) -> Vec<Value> {
        let Self { measured, memory: [before, most], slowest, asked } = self;
        println!(
            "twice the lossless rate for {} s: {:.0} packets/s, {} sent = {} delivered + {} lost + {} filtered",
            OVERLOAD.as_secs(),
            measured.rate,
            measured.sent,
            measured.sent - measured.lost - measured.filtered,
            measured.lost,
            measured.filtered
        );
        println!(
            "goal overload accounts for every packet: {} not, {}",
            measured.unaccounted,
            verdict(measured.unaccounted == 0)
        );
        println!(
            "goal overload adds at most {:.0} MB: {:.1} MB to {:.1} MB, {}",
            MORE_MEMORY / 1e6,
            before / 1e6,
            most / 1e6,
            verdict(most - before <= MORE_MEMORY)
        );
        println!(
            "goal overload answers within {} s: at most {:.3} s of {asked} times, {}",
            ANSWER_WITHIN.as_secs(),
            slowest.as_secs_f64(),
            verdict(*slowest <= ANSWER_WITHIN)
        );
        let row = |metric: &str, unit: &str, value: f64, floor: Option<f64>| json!({"part": "live", "case": "overload", "metric": metric, "unit": unit, "value": value, "floor": floor});
        vec![
            row("packets_per_second", "1/s", measured.rate, None),
            row("unaccounted", "1", measured.unaccounted as f64, None),
            row("lost", "1", measured.lost as f64 / measured.sent as f64, None),
            row("resident", "bytes", *most, Some(*before)),
            row("slowest_answer", "s", slowest.as_secs_f64(), None),
        ]
    }
}
