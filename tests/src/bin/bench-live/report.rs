//! Every case in turn, round by round, and what came of it.

use anyhow::{Context as _, Result, anyhow, bail};
use earthdog_tests::generator::{self, Kind};
use earthdog_tests::host;
use earthdog_tests::rows;
use serde_json::{Value, json};

use crate::cases::{At, Bed, Measured};
use crate::sensor;

const ROUNDS: usize = 5;
/// Where readers run; the generator has the other.
const READER_CPU: usize = 0;

/// Case, what its rate is compared with, and the least that it should be of that.
const GOALS: [(&str, &str, f64); 3] = [
    ("counters_only", "drop_only", 0.60),
    ("read_and_decoded", "no_sensor", 0.75),
    ("filter_zipf", "no_sensor_zipf", 0.90),
];

pub(crate) fn bench() -> Result<()> {
    let (json_file, rest) = rows::file_of(std::env::args().skip(1))?;
    let rounds = match &rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ROUNDS,
        ["--rounds", count] => count.parse().context("--rounds takes a number")?,
        _ => bail!("usage: bench live [--json FILE] [--rounds N]"),
    };
    // What is started from here inherits it.
    generator::pin(READER_CPU)?;
    let (client, server) = host::pair().map_err(|why| anyhow!(why))?;
    let bed = Bed::new(&client, &server)?;
    let mut measured: Vec<(&str, Vec<Measured>)> = Vec::new();
    for round in 0..rounds {
        let of_round = [
            ("no_sensor", bed.nothing(Kind::New)?),
            ("no_sensor_zipf", bed.nothing(Kind::Zipf)?),
            ("drop_only", bed.drop_only()?),
            ("empty_program", bed.empty_program()?),
            ("counters_only", bed.counters_only(At::Xdp)?),
            ("read_and_decoded", bed.read_and_decoded(At::Xdp)?),
            ("counters_only_tcx", bed.counters_only(At::Tcx)?),
            ("read_and_decoded_tcx", bed.read_and_decoded(At::Tcx)?),
            ("filter_zipf", sensor::filter(&bed)?),
        ];
        for (index, (case, sample)) in of_round.into_iter().enumerate() {
            if round == 0 {
                measured.push((case, Vec::new()));
            }
            measured[index].1.push(sample);
        }
    }
    let lossless = sensor::lossless(&bed)?;
    measured.push(("all_detectors_lossless", vec![lossless]));
    let overload = sensor::overload(&bed, 2.0 * lossless.rate)?;

    let rows = report(&mut measured, rounds)?;
    let rows = [rows, overload.report()].concat();
    if let Some(file) = json_file {
        rows::write(&file, &rows)?;
    }
    Ok(())
}

fn report(measured: &mut [(&str, Vec<Measured>)], rounds: usize) -> Result<Vec<Value>> {
    println!("packets a second from one core, medians of {rounds} rounds");
    println!("{:<24} {:>12} {:>12} {:>12} {:>10}", "case", "packets/s", "lost", "filtered", "of floor");
    let mut rates = Vec::new();
    for (case, samples) in measured.iter_mut() {
        samples.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        rates.push((*case, samples[samples.len() / 2].rate));
    }
    let rate = |name: &str| {
        rates.iter().find(|(case, _)| *case == name).map(|(_, rate)| *rate).context("a goal without a case")
    };
    let mut rows = Vec::new();
    for (case, samples) in measured.iter() {
        let floor = if case.ends_with("zipf") { "no_sensor_zipf" } else { "no_sensor" };
        let (own, floor) = (rate(case)?, rate(floor)?);
        let share = |of: fn(&Measured) -> u64| {
            let sent: u64 = samples.iter().map(|sample| sample.sent).sum();
            samples.iter().map(of).sum::<u64>() as f64 / sent.max(1) as f64
        };
        let (lost, filtered) = (share(|sample| sample.lost), share(|sample| sample.filtered));
        println!(
            "{case:<24} {own:>12.0} {:>10.4} % {:>10.4} % {:>10.2}",
            lost * 100.0,
            filtered * 100.0,
            own / floor
        );
        let row = |metric: &str, unit: &str, value: f64, floor: Option<f64>| json!({"part": "live", "case": case, "metric": metric, "unit": unit, "value": value, "floor": floor});
        rows.push(row("packets_per_second", "1/s", own, Some(floor)));
        rows.push(row("lost", "1", lost, None));
        rows.push(row("filtered", "1", filtered, None));
    }
    for (case, floor, goal) in GOALS {
        let ratio = rate(case)? / rate(floor)?;
        let lost: u64 = measured
            .iter()
            .filter(|(name, _)| *name == case)
            .flat_map(|(_, samples)| samples.iter().map(|sample| sample.lost))
            .sum();
        let met = ratio >= goal && lost == 0;
        println!(
            "goal {case} >= {goal:.2} of {floor} with nothing lost: {ratio:.2}, {lost} lost, {}",
            verdict(met)
        );
        rows.push(json!({"part": "live", "case": case, "metric": "ratio", "unit": "1", "value": ratio, "floor": goal, "peer": floor}));
    }
    Ok(rows)
}

pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "MET" } else { "MISSED" }
}
