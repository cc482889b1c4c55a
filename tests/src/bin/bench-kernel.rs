//! `cargo xtask bench kernel`: nanoseconds that `xdp_dns` adds to an empty program, by what is switched on.
//!
//! `BPF_PROG_TEST_RUN` in batches that fit the rings; floor and cases interleaved round by round, medians of all
//! rounds. The kernel reports whole nanoseconds as the mean of a batch.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use earthdog::config::Config;
use earthdog_tests::message::{Message, Name};
use earthdog_tests::object::Object;
use earthdog_tests::packet::{ACK, Frame};
use earthdog_tests::rows;
use sensor_ebpf::abi::{counter, feature};
use serde_json::json;

/// Runs to a batch: 1,000 records of at most 600 bytes fit the smaller of the two rings at its default size.
const BATCH: u32 = 1_000;
const ROUNDS: usize = 101;
const FLOOR: &str = "xdp_floor";
const PROGRAM: &str = "xdp_dns";

/// What is on, one more in each column.
const LEVELS: [(&str, u32); 4] = [
    ("parse", feature::WALK),
    ("hash", feature::WALK | feature::HASH),
    ("counters+flow", feature::WALK | feature::HASH | feature::FLOW),
    (ALL, feature::DEFAULT),
];
/// Every goal's level.
const ALL: &str = "all: record with name";

/// With the novelty filter on. A look-up without length makes every run a name not met before: both fingerprints are
/// written anew. One that never ends makes every run a repeat.
const FILTERED: [(&str, u64); 2] = [("new_name", 0), ("repeat", u64::MAX)];

/// Goals with everything on, ns over the floor.
const GOALS: [(&str, u32); 6] = [
    ("query", 160),
    ("query_235", 210),
    ("response", 170),
    ("new_name", 200),
    ("repeat", 90),
    ("non_dns", 5),
];

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-kernel: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let (json_file, rest) = rows::file_of(std::env::args().skip(1))?;
    if let Some(other) = rest.first() {
        bail!("unknown argument {other}; usage: bench kernel [--json FILE]");
    }
    let cases = cases();
    let live = Config::default().live;
    let (alert, bulk) = (live.alert_ring_kib as u32 * 1024, live.bulk_ring_kib as u32 * 1024);
    let mut objects = Vec::new();
    for (_, features) in LEVELS {
        objects.push(Object::load_with_rings(features, alert, bulk)?);
    }
    let mut filtered = Vec::new();
    for (_, lookup_ns) in FILTERED {
        filtered.push(Object::load_with_lookups(
            feature::DEFAULT | feature::NOVELTY,
            [alert, bulk],
            lookup_ns,
        )?);
    }
    let mut with_filter = vec![Vec::new(); FILTERED.len()];
    let mut floors = Vec::new();
    let mut samples = vec![vec![Vec::new(); LEVELS.len()]; cases.len()];
    for _ in 0..ROUNDS {
        floors.push(objects[0].run(FLOOR, &cases[0].1, BATCH)?.nanoseconds);
        for (case, (_, packet)) in cases.iter().enumerate() {
            for (level, object) in objects.iter_mut().enumerate() {
                samples[case][level].push(object.run(PROGRAM, packet, BATCH)?.nanoseconds);
                object.discard();
            }
        }
        for (object, samples) in filtered.iter_mut().zip(&mut with_filter) {
            samples.push(object.run(PROGRAM, &cases[0].1, BATCH)?.nanoseconds);
            object.discard();
        }
    }
    let floor = median(&mut floors);
    println!(
        "floor (empty program): {floor} ns; below: ns over it, medians of {ROUNDS} rounds of {BATCH} runs"
    );
    print!("{:<12}", "case");
    for (name, _) in LEVELS {
        print!("{name:>24}");
    }
    println!();
    let mut rows = Vec::new();
    for (case, (name, _)) in cases.iter().enumerate() {
        print!("{name:<12}");
        for (level, (what, _)) in LEVELS.iter().enumerate() {
            let value = i64::from(median(&mut samples[case][level])) - i64::from(floor);
            print!("{value:>24}");
            let metric = if *what == ALL { "ns_over_floor" } else { "ns_over_floor_in_part" };
            rows.push(json!({
                "part": "kernel", "case": name, "metric": metric, "on": what,
                "unit": "ns", "value": value, "floor": floor,
            }));
        }
        println!();
    }
    for ((name, _), samples) in FILTERED.iter().zip(&mut with_filter) {
        let value = i64::from(median(samples)) - i64::from(floor);
        println!("{name:<12}{value:>96}  novelty filter on, the query of the first line");
        rows.push(json!({
            "part": "kernel", "case": name, "metric": "ns_over_floor", "on": "all and novelty filter",
            "unit": "ns", "value": value, "floor": floor,
        }));
    }
    objects.extend(filtered);
    let lost = conservation(&objects)?;
    println!("reserve failures: {lost}");
    for (name, goal) in GOALS {
        let value = rows
            .iter()
            .filter(|row| row["case"] == name)
            .filter_map(|row| row["value"].as_i64())
            .next_back()
            .context("a goal without a case")?;
        let verdict = if value <= i64::from(goal) { "met" } else { "MISSED" };
        println!("goal {name} <= {goal} ns with all on: {value} ns, {verdict}");
    }
    if let Some(file) = json_file {
        rows::write(&file, &rows)?;
    }
    ensure!(
        lost == 0,
        "{lost} records found a ring full: the batches are too large, the figures are not valid"
    );
    Ok(())
}

/// Name and frame of each case.
fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let query = |name: Name| Frame::dns_query_v4(Message::query(name, 1).build()).build();
    let ordinary = Message::query("www.example.com", 1).build();
    let answer = Message::response("www.example.com", 1).answer(1, 300, [192, 0, 2, 1]).build();
    let (client, server) = ([10, 0, 0, 2], [10, 0, 0, 1]);
    vec![
        ("query", Frame::dns_query_v4(ordinary.clone()).build()),
        ("query_235", query(Name::of_len(235, "example.com"))),
        ("response", Frame::v4(server, client).udp(53, 40_000).payload(answer).build()),
        (
            "tcp",
            Frame::v4(client, server)
                .tcp(40_000, 53, 1)
                .flags(ACK)
                .payload(Message::query("www.example.com", 1).prefixed())
                .build(),
        ),
        ("non_dns", Frame::v4(client, server).udp(40_000, 443).payload(ordinary).build()),
    ]
}

/// Every run is accounted for; gives the records that found their ring full.
fn conservation(objects: &[Object]) -> Result<u64> {
    let mut lost = 0;
    for object in objects {
        let counters = object.counters()?;
        let of = |index: u32| counters[index as usize];
        let skipped = of(counter::SKIP_RECORD_OFF) + of(counter::SKIP_TCP_ACK) + of(counter::REPEAT_QUERY);
        let losses = of(counter::LOST_ALERT) + of(counter::LOST_BULK);
        ensure!(
            of(counter::SEEN) == of(counter::DELIVERED) + losses + skipped,
            "the counters do not add up: {counters:?}"
        );
        lost += losses;
    }
    Ok(lost)
}

fn median(samples: &mut [u32]) -> u32 {
    samples.sort_unstable();
    samples[samples.len() / 2]
}
