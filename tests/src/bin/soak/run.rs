//! Traffic, samples each ten seconds, and the books at the end.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::generator;
use earthdog_tests::host::{self, Host, LINK};
use earthdog_tests::process::Process;
use earthdog_tests::rows;
use earthdog_tests::sensor::{Counters, Finished, Sensor};
use earthdog_tests::size::Size;
use serde_json::{Value, json};

use crate::flat::{Sample, Track};

const MINUTES: f64 = 30.0;
const EVERY: Duration = Duration::from_secs(10);
/// Of one run of the generator, which ends by itself soon after us.
const LEG: Duration = Duration::from_secs(40);
const GENERATOR_CPU: &str = "1";
const READER_CPU: usize = 0;
/// Packets in a leg are fewer: names of two legs differ.
const NAMES: u64 = 1 << 32;
const CONFIG: &str = "[limits]\ncpu_share = 0\ngateway_cpu_share = 0\n";
const STORE: &str = "/var/lib/earthdog/store.redb";

/// Whether nothing grew and nothing was lost without being counted.
pub(crate) fn soak() -> Result<bool> {
    let (json_file, rest) = rows::file_of(std::env::args().skip(1))?;
    let minutes: f64 = match &rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => MINUTES,
        ["--minutes", count] => count.parse().context("--minutes takes a number")?,
        _ => bail!("usage: soak [--minutes N] [--json FILE]"),
    };
    ensure!((2.0..=10_080.0).contains(&minutes), "--minutes {minutes}: 2 to 10080 (a week) are allowed");
    // What is started from here inherits it; the generator chooses its own.
    generator::pin(READER_CPU)?;
    let (client, server) = host::pair().map_err(|why| anyhow!(why))?;
    std::fs::write(server.file("/run/soak.toml"), CONFIG)?;
    let arguments = ["-c", "/run/soak.toml", "--role", "gateway", "--interface", LINK];
    let mut sensor = Sensor::start(&server, &arguments).map_err(|why| anyhow!(why))?;
    let before = sensor.settled(Deadline::secs(10));
    println!("{minutes} minutes at full rate; generator on CPU {GENERATOR_CPU}, sensor on CPU {READER_CPU}");
    println!(
        "{:>5} {:>9} {:>9} {:>4} {:>7} {:>9} {:>12} {:>12} {:>12} {:>11}",
        "s", "RSS KiB", "maps KiB", "fds", "threads", "store KiB", "seen", "delivered", "lost", "filtered"
    );
    let (samples, sent) = watch(&client, &server, &mut sensor, minutes)?;
    let after = sensor.settled(Deadline::secs(60));
    sensor.stop();
    let mut rows = Vec::new();
    let mut good = true;
    for track in Track::ALL {
        let judged = track.judge(&samples);
        good &= judged.flat();
        println!("{judged}");
        rows.push(judged.row());
    }
    let books = Books::between(&before, &after);
    let balanced = books.balanced() && books.seen >= sent;
    good &= balanced;
    println!(
        "{sent} sent; {} seen + {} extra = {} delivered + {} lost + {} skipped + {} filtered: {}",
        books.seen,
        books.extra,
        books.delivered,
        books.lost,
        books.skipped,
        books.filtered,
        if balanced { "to the packet" } else { "NOT ACCOUNTED FOR" }
    );
    rows.extend(books.rows(sent, minutes));
    rows.extend(samples.iter().map(Sample::row));
    if let Some(file) = json_file {
        rows::write(&file, &rows)?;
    }
    Ok(good)
}

/// Samples while packets come, and how many were sent.
fn watch(client: &Host, server: &Host, sensor: &mut Sensor, minutes: f64) -> Result<(Vec<Sample>, u64)> {
    let began = now();
    let end = Duration::from_secs_f64(minutes * 60.0);
    let mac = server.run(&format!("cat /sys/class/net/{LINK}/address")).trim().to_owned();
    let (mut samples, mut sent) = (Vec::new(), 0);
    for leg in 0.. {
        let left = end.saturating_sub(began.elapsed());
        if left < Duration::from_secs(1) {
            break;
        }
        let mut flood = start(client, &mac, left.min(LEG), leg * NAMES)?;
        while flood.ended().is_none() {
            let due = EVERY * (samples.len() as u32 + 1);
            if began.elapsed() < due {
                std::thread::park_timeout(
                    due.saturating_sub(began.elapsed()).min(Duration::from_millis(200)),
                );
                continue;
            }
            let sample = Sample {
                seconds: began.elapsed().as_secs_f64(),
                size: Size::of_all(&sensor.pids())?,
                store: std::fs::metadata(server.file(STORE)).map_or(0, |file| file.len()),
            };
            tell(&sample, &sensor.counters());
            samples.push(sample);
        }
        sent += sent_by(flood)?;
    }
    Ok((samples, sent))
}

fn start(client: &Host, mac: &str, time: Duration, from: u64) -> Result<Process> {
    let generator = std::env::current_exe()?.with_file_name("generator");
    ensure!(generator.is_file(), "{} is missing: build earthdog-tests", generator.display());
    let mut command = client.command(&generator);
    let seconds = time.as_secs_f64().to_string();
    command.args([LINK, mac, "flood", &seconds, "0", GENERATOR_CPU, &from.to_string()]);
    Ok(Process::spawn(command))
}

fn sent_by(generator: Process) -> Result<u64> {
    let done = Finished::of(generator);
    let count = done.stdout.strip_prefix("sent ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    count.with_context(|| format!("the generator said {:?} {:?}", done.stdout, done.stderr))
}

fn tell(sample: &Sample, counters: &Counters) {
    let books = Books::between(&Counters::new(), counters);
    let Sample { seconds, size, store } = sample;
    println!(
        "{seconds:>5.0} {:>9} {:>9} {:>4} {:>7} {:>9} {:>12} {:>12} {:>12} {:>11}",
        size.resident >> 10,
        size.maps >> 10,
        size.descriptors,
        size.threads,
        store >> 10,
        books.seen,
        books.delivered,
        books.lost,
        books.filtered,
    );
}

/// What became of the packets: `seen + extra = delivered + lost + skipped + filtered` (`abi::counter`).
struct Books {
    seen: u64,
    extra: u64,
    delivered: u64,
    lost: u64,
    skipped: u64,
    filtered: u64,
}

impl Books {
    fn between(before: &Counters, after: &Counters) -> Self {
        let grown = |wanted: fn(&str) -> bool| -> u64 {
            let all = after.iter().filter(|(name, _)| wanted(name));
            all.map(|(name, count)| count - before.get(name).copied().unwrap_or(0)).sum()
        };
        Self {
            seen: grown(|name| name == "seen"),
            extra: grown(|name| name == "extra_records"),
            delivered: grown(|name| name == "delivered"),
            lost: grown(|name| matches!(name, "lost_alert_ring_full" | "lost_bulk_ring_full")),
            skipped: grown(|name| name.starts_with("skip_")),
            filtered: grown(|name| matches!(name, "repeat_query" | "repeat_response" | "known_answer")),
        }
    }

    fn told(&self) -> u64 {
        self.delivered + self.lost + self.skipped + self.filtered
    }

    fn balanced(&self) -> bool {
        self.seen > 0 && self.seen + self.extra == self.told()
    }

    fn rows(&self, sent: u64, minutes: f64) -> Vec<Value> {
        let row = |metric: &str, unit: &str, value: f64| json!({"part": "soak", "case": "packets", "metric": metric, "unit": unit, "value": value, "floor": Value::Null});
        vec![
            row("sent_per_second", "1/s", sent as f64 / (minutes * 60.0)),
            row("delivered_per_second", "1/s", self.delivered as f64 / (minutes * 60.0)),
            row("lost", "1", self.lost as f64 / self.seen.max(1) as f64),
            row("unaccounted", "1", (self.seen + self.extra).abs_diff(self.told()) as f64),
        ]
    }
}
