//! Answers a second of an unbound, with the sensor on its host and without.
//!
//! unbound and dnsperf have a processor each; the sensor, with everything at its default, runs where there is room. In
//! each round every measurement with the sensor has one without right beside it, before it in even rounds and behind it in
//! odd ones, so that what drifts falls out. At saturation a third one follows in which the sensor stands still: what its
//! programs take alone. What the sensor saw is held against what dnsperf sent and got, to the packet.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::host::{self, Host, LINK, SERVER_V4};
use earthdog_tests::quartiles::{median, quartiles};
use earthdog_tests::sensor::{Counters, Sensor};
use earthdog_tests::size::cpu_seconds;
use serde_json::{Value, json};

use crate::dnsperf::{self, Answered, Names};

pub(crate) const ROUNDS: usize = 9;
const TIME: Duration = Duration::from_secs(2);
/// The sensor's.
const CONFIG: &str = "/run/earthdog.toml";
const UNBOUND_CPU: usize = 0;
const DNSPERF_CPU: usize = 1;
/// Names, load, and the least share of the answers without the sensor.
const CASES: [(&str, Names, Load, f64); 4] = [
    ("dnsperf_new_saturated", Names::New, Load::Saturated, 0.95),
    ("dnsperf_new_half", Names::New, Load::Half, 0.99),
    ("dnsperf_zipf_saturated", Names::Zipf, Load::Saturated, 0.95),
    ("dnsperf_zipf_half", Names::Zipf, Load::Half, 0.99),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Saturated,
    /// Of what was answered without the sensor.
    Half,
}

/// Where the queries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// From the same host.
    Loopback,
    /// From another host.
    Veth,
}

impl Over {
    pub(crate) fn named(name: Option<&str>) -> Result<Self> {
        match name {
            Some("loopback") => Ok(Self::Loopback),
            Some("veth") => Ok(Self::Veth),
            other => bail!("--over takes loopback or veth, not {}", other.unwrap_or("nothing")),
        }
    }

    /// Packets that the sensor sees of a query, and of an answer: each process at its socket, both ways; what comes from the
    /// link is seen there too.
    const fn sightings(self) -> [u64; 2] {
        match self {
            Self::Loopback => [2, 2],
            Self::Veth => [2, 1],
        }
    }
}

struct Bed {
    client: Host,
    server: Host,
    over: Over,
}

impl Bed {
    /// The host that answers.
    fn resolver(&self) -> &Host {
        &self.server
    }

    fn asker(&self) -> &Host {
        if self.over == Over::Loopback { &self.server } else { &self.client }
    }

    fn address(&self) -> &'static str {
        if self.over == Over::Loopback { "127.0.0.1" } else { SERVER_V4 }
    }

    /// For other names than those of any run before.
    fn ask_anew(&self, names: Names, number: &mut u64, rate: Option<f64>) -> Result<Answered> {
        *number += 1;
        std::fs::write(self.asker().file("/run/names"), names.file(*number))?;
        dnsperf::ask(self.asker(), self.address(), DNSPERF_CPU, TIME, rate)
    }
}

/// One case in one round.
#[derive(Clone, Copy, Debug)]
struct Pair {
    without: Answered,
    with: Answered,
    /// With a sensor that stands still, at saturation.
    hooks: Option<Answered>,
    own: Own,
}

/// What the sensor did meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    seen: u64,
    delivered: u64,
    lost: u64,
    filtered: u64,
    /// Of one processor, by the process.
    share: f64,
    /// Steps that it took by itself to keep to its budget.
    step: u64,
}

/// `nice`: the sensor's `live.nice`, if it is not to be the default.
pub(crate) fn bench(over: Over, rounds: usize, nice: Option<u8>) -> Result<Vec<Value>> {
    ensure!((1..=99).contains(&rounds), "--rounds {rounds}: 1 to 99 are allowed");
    let (client, server) = host::pair().map_err(|why| anyhow!(why))?;
    let config = nice.map_or_else(String::new, |nice| format!("[live]\nnice = {nice}\n"));
    std::fs::write(server.file(CONFIG), config)?;
    let bed = Bed { client, server, over };
    let _unbound = dnsperf::unbound(bed.resolver(), bed.address(), UNBOUND_CPU)?;
    let mut number = 0;
    let mut half = [0.0; 2];
    for (names, half) in [Names::New, Names::Zipf].into_iter().zip(&mut half) {
        let mut rates = Vec::new();
        for _ in 0..3 {
            rates.push(bed.ask_anew(names, &mut number, None)?.rate);
        }
        *half = median(rates) / 2.0;
    }
    let mut pairs: Vec<Vec<Pair>> = vec![Vec::new(); CASES.len()];
    for round in 0..rounds {
        for (index, (case, names, load, _)) in CASES.into_iter().enumerate() {
            let rate = (load == Load::Half).then_some(half[usize::from(names == Names::Zipf)]);
            let (mut without, mut watched) = (None, None);
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    without = Some(bed.ask_anew(names, &mut number, rate)?);
                } else {
                    let done = with_sensor(&bed, names, &mut number, rate);
                    watched = Some(done.with_context(|| format!("{case}, round {round}"))?);
                }
            }
            let Some((without, (with, hooks, own))) = without.zip(watched) else { bail!("a turn of two") };
            pairs[index].push(Pair { without, with, hooks, own });
        }
    }
    Ok(report(over, nice, half, &pairs))
}

/// With a sensor; at saturation again with one that is stopped.
fn with_sensor(
    bed: &Bed,
    names: Names,
    number: &mut u64,
    rate: Option<f64>,
) -> Result<(Answered, Option<Answered>, Own)> {
    let mut sensor =
        Sensor::start(bed.resolver(), &["-c", CONFIG, "--interface", LINK]).map_err(|why| anyhow!(why))?;
    let pids = sensor.pids();
    let cpu_seconds = || pids.iter().map(|pid| cpu_seconds(*pid)).sum::<Result<f64>>();
    let before = sensor.settled(Deadline::secs(10));
    let (cpu, began) = (cpu_seconds()?, now());
    let answered = bed.ask_anew(names, number, rate)?;
    let share = (cpu_seconds()? - cpu) / began.elapsed().as_secs_f64();
    let after = sensor.settled(Deadline::secs(20));
    let step = sensor.status()["limits"]["step"].as_u64().context("status has no limits.step")?;
    let own = Own { share, step, ..accounted(bed.over, answered, &before, &after)? };
    let mut hooks = None;
    if rate.is_none() {
        sensor.process().signal("STOP");
        let answered = bed.ask_anew(names, number, rate);
        sensor.process().signal("CONT");
        let later = sensor.settled(Deadline::secs(20));
        accounted(bed.over, answered.as_ref().copied().unwrap_or_default(), &after, &later)?;
        hooks = Some(answered?);
    }
    sensor.stop();
    Ok((answered, hooks, own))
}

/// What became of every packet of a run; an error where one is missing.
fn accounted(over: Over, answered: Answered, before: &Counters, after: &Counters) -> Result<Own> {
    let grown = |names: &[&str]| -> u64 { names.iter().map(|name| after[*name] - before[*name]).sum() };
    let own = Own {
        seen: grown(&["seen"]),
        delivered: grown(&["delivered"]),
        lost: grown(&["lost_bulk_ring_full", "lost_alert_ring_full"]),
        filtered: grown(&["repeat_loopback", "repeat_query", "repeat_response", "known_answer"]),
        ..Own::default()
    };
    let [of_query, of_answer] = over.sightings();
    // Answers that came too late for dnsperf were seen all the same.
    let least = of_query * answered.sent + of_answer * answered.completed;
    let most = (of_query + of_answer) * answered.sent;
    ensure!(
        (least..=most).contains(&own.seen),
        "{} queries sent and {} answered are {least} to {most} packets, and the sensor saw {}: {}",
        answered.sent,
        answered.completed,
        own.seen,
        changed(before, after)
    );
    ensure!(
        own.seen == own.delivered + own.lost + own.filtered,
        "{} packets seen are not those delivered, lost and filtered: {}",
        own.seen,
        changed(before, after)
    );
    Ok(own)
}

/// Counters that moved.
fn changed(before: &Counters, after: &Counters) -> String {
    let moved = after.iter().filter(|(name, count)| before[*name] != **count);
    moved.map(|(name, count)| format!("{name} {}", count - before[name])).collect::<Vec<_>>().join(", ")
}

fn report(over: Over, nice: Option<u8>, half: [f64; 2], pairs: &[Vec<Pair>]) -> Vec<Value> {
    let place = match over {
        Over::Loopback => "dnsperf and unbound on one host over its loopback",
        Over::Veth => "unbound on the sensor's host, dnsperf on another, over a veth pair",
    };
    let settings = nice.map_or_else(
        || "all its defaults".to_owned(),
        |nice| format!("live.nice = {nice} and all else as by default"),
    );
    println!(
        "answers a second with and without the sensor: {place}; unbound on processor {UNBOUND_CPU}, dnsperf on \
         {DNSPERF_CPU}, the sensor on either of {}; {settings}, started anew each time, so in the first seconds \
         of a load. Pairs of figures are without and with. Medians of {} rounds of {} s; half load: {:.0} new and {:.0} Zipf-distributed names/s",
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        pairs[0].len(),
        TIME.as_secs(),
        half[0],
        half[1]
    );
    println!(
        "{:<24} {:>9} {:>9} {:>22} {:>15} {:>16} {:>24} {:>8} {:>11} {:>13}",
        "case",
        "without",
        "with",
        "ratio (quartiles)",
        "programs alone",
        "average µs",
        "p95/p99 µs",
        "lost",
        "sensor CPU",
        "records lost"
    );
    let mut rows = Vec::new();
    let mut goals = Vec::new();
    let mut all = Own::default();
    let (mut sent, mut completed) = (0, 0);
    for ((case, _, load, goal), pairs) in CASES.into_iter().zip(pairs) {
        let of = |value: fn(&Pair) -> f64| median(pairs.iter().map(value));
        let [low, ratio, high_ratio] = quartiles(pairs.iter().map(|pair| pair.with.rate / pair.without.rate));
        let (without, with) = (of(|pair| pair.without.rate), of(|pair| pair.with.rate));
        let average = [of(|pair| pair.without.average), of(|pair| pair.with.average)];
        let lost = [of(|pair| pair.without.lost as f64), of(|pair| pair.with.lost as f64)];
        let programs = of(|pair| pair.hooks.map_or(f64::NAN, |hooks| hooks.rate / pair.without.rate));
        let [p95, p99] = [
            [of(|pair| pair.without.p95), of(|pair| pair.with.p95)],
            [of(|pair| pair.without.p99), of(|pair| pair.with.p99)],
        ];
        let micros = |value: f64| format!("{:.0}", value * 1e6);
        let (alone, high) = if load == Load::Half {
            let of = |which: usize| format!("{}/{}", micros(p95[which]), micros(p99[which]));
            ("-".to_owned(), format!("{}, {}", of(0), of(1)))
        } else {
            (format!("{programs:.3}"), "-".to_owned())
        };
        println!(
            "{case:<24} {without:>9.0} {with:>9.0} {:>22} {alone:>15} {:>16} {high:>24} {:>8} {:>11.2} {:>13.3}",
            format!("{ratio:.3} ({low:.3} to {high_ratio:.3})"),
            format!("{}, {}", micros(average[0]), micros(average[1])),
            format!("{:.0}, {:.0}", lost[0], lost[1]),
            of(|pair| pair.own.share),
            of(|pair| pair.own.lost as f64 / (pair.own.lost + pair.own.delivered).max(1) as f64)
        );
        let met = ratio >= goal;
        goals.push(format!(
            "goal {case} >= {goal} of no sensor: {ratio:.3}, {}",
            if met { "met" } else { "MISSED" }
        ));
        let row = |metric: &str, unit: &str, value: f64, floor: Value| json!({"part": "host", "case": case, "metric": metric, "unit": unit, "value": value, "floor": floor, "peer": "unbound"});
        rows.push(row("answers_per_second", "1/s", with, without.into()));
        rows.push(row("ratio", "1", ratio, goal.into()));
        rows.push(row("average_latency", "s", average[1], average[0].into()));
        rows.push(row("unanswered", "1", lost[1], lost[0].into()));
        rows.push(row("sensor_cpu_share", "1", of(|pair| pair.own.share), Value::Null));
        if load == Load::Half {
            rows.push(row("p95_latency", "s", p95[1], p95[0].into()));
            rows.push(row("p99_latency", "s", p99[1], p99[0].into()));
        } else {
            rows.push(row("ratio_programs_alone", "1", programs, Value::Null));
        }
        for pair in pairs {
            let Own { seen, delivered, lost, filtered, step, .. } = pair.own;
            all = Own {
                seen: all.seen + seen,
                delivered: all.delivered + delivered,
                lost: all.lost + lost,
                filtered: all.filtered + filtered,
                step: all.step.max(step),
                share: 0.0,
            };
            sent += pair.with.sent;
            completed += pair.with.completed;
        }
        let share = |count: fn(&Own) -> u64| {
            let seen: u64 = pairs.iter().map(|pair| pair.own.seen).sum();
            pairs.iter().map(|pair| count(&pair.own)).sum::<u64>() as f64 / seen.max(1) as f64
        };
        rows.push(row("lost", "1", share(|own| own.lost), Value::Null));
        rows.push(row("filtered", "1", share(|own| own.filtered), Value::Null));
    }
    let [of_query, of_answer] = over.sightings();
    println!(
        "what the sensor saw of {sent} queries at {of_query} places each and {completed} answers at {of_answer}: {} packets = {} \
         delivered + {} lost + {} filtered, to the packet in each run; steps of its limits taken: {}",
        all.seen, all.delivered, all.lost, all.filtered, all.step
    );
    for goal in goals {
        println!("{goal}");
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_that_missed_a_packet_gives_no_figures() {
        const NAMES: [&str; 8] = [
            "seen",
            "delivered",
            "lost_bulk_ring_full",
            "lost_alert_ring_full",
            "repeat_query",
            "repeat_response",
            "known_answer",
            "repeat_loopback",
        ];
        let counters =
            |counts: [u64; 8]| -> Counters { NAMES.into_iter().map(str::to_owned).zip(counts).collect() };
        let answered = Answered { sent: 10, completed: 9, ..Answered::default() };
        let judged = |counts| accounted(Over::Loopback, answered, &counters([5; 8]), &counters(counts));
        let own = judged([43, 34, 9, 6, 7, 5, 6, 6]).unwrap();
        assert_eq!((own.seen, own.delivered, own.lost, own.filtered), (38, 29, 5, 4));
        assert!(
            judged([45, 45, 5, 5, 5, 5, 5, 5]).is_ok(),
            "the tenth answer came too late for dnsperf alone"
        );
        assert!(judged([5; 8]).is_err(), "nothing seen");
        assert!(judged([42, 34, 9, 6, 7, 5, 6, 5]).is_err(), "one not seen");
        assert!(judged([43, 34, 9, 6, 7, 5, 6, 5]).is_err(), "one without a fate");
    }
}
