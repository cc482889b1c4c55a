//! The whole program beside others that read DNS out of a capture: `earthdog replay` of a file, start and reading
//! included, and the same file through tshark, dnscap and suricata, each writing a line a message.
//!
//! All on one core, in rounds of one run each. A run counts only where it wrote as many lines as there are messages.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use earthdog_tests::capture::{ETHERNET, Pcap};
use earthdog_tests::deadline::now;
use earthdog_tests::{peer, rows, sensor};
use serde_json::{Value, json};

use crate::workload;

const ROUNDS: usize = 5;
const CPU: &str = "1";
const LOOKUPS: u32 = 250_000;
/// Peer, and how many times its messages a second ours should be.
const GOALS: [(&str, f64); 2] = [("tshark", 10.0), ("suricata", 5.0)];
/// Messages a second that ours should be, and what is aimed at.
const GOAL: (f64, f64) = (1e6, 3e6);
const OURS: &str = "earthdog";

/// All fields that the other two print too.
const FIELDS: [&str; 7] =
    ["frame.time_epoch", "ip.src", "ip.dst", "dns.id", "dns.qry.name", "dns.qry.type", "dns.flags.rcode"];

/// No rules, of everything that it can log the DNS messages alone, and room for every client.
const SURICATA: &str = "%YAML 1.1\n---\n\
    vars: {address-groups: {HOME_NET: any, EXTERNAL_NET: any}, port-groups: {HTTP_PORTS: '80'}}\n\
    stats: {enabled: no}\n\
    flow: {memcap: 1gb, hash-size: 65536, prealloc: 10000}\n\
    logging: {default-log-level: error, outputs: [{console: {enabled: yes}}]}\n\
    outputs: [{eve-log: {enabled: yes, filetype: regular, filename: eve.json,\n\
    \x20 types: [{dns: {version: 2, requests: yes, responses: yes}}]}}]\n\
    app-layer: {protocols: {dns: {udp: {enabled: yes, detection-ports: {dp: 53}},\n\
    \x20 tcp: {enabled: yes, detection-ports: {dp: 53}}}}}\n";

/// One program and what it wrote.
struct Reader {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// Where its lines are; `None` where they are its standard output.
    lines: Option<PathBuf>,
    /// Ours tells how many messages there were; without lines that is what counts.
    tells: bool,
    runs: Vec<Run>,
}

#[derive(Clone, Copy)]
struct Run {
    wall: f64,
    cpu: f64,
}

/// Whether every goal was met; rows are appended to the file.
pub(crate) fn bench(json_file: Option<&Path>) -> Result<bool> {
    let folder = scratch()?;
    let (capture, messages) = capture(folder.path())?;
    let small = folder.path().join("small.pcap");
    let two: Vec<_> = workload::frames(1, workload::Lookup::of_all).collect();
    fs::write(&small, Pcap::default().file(ETHERNET, &two))?;
    let mut readers = readers(folder.path())?;
    for _ in 0..ROUNDS {
        for reader in &mut readers {
            let run = reader.run(&capture, Some(messages), folder.path())?;
            reader.runs.push(run);
        }
    }
    println!(
        "\n{messages} messages in a capture of {} MB, all on CPU {CPU}, medians of {ROUNDS} rounds; start: a capture of two",
        fs::metadata(&capture)?.len() / 1_000_000
    );
    println!(
        "{:<28} {:>8} {:>8} {:>8} {:>12} {:>14} {:>8}",
        "reader", "wall s", "CPU s", "start s", "messages/s", "per CPU second", "ours is"
    );
    let mut measured = Vec::new();
    for reader in &mut readers {
        let start = reader.run(&small, None, folder.path())?;
        measured.push((reader.name, reader.median(|run| run.wall), reader.median(|run| run.cpu), start));
    }
    let ours = measured.iter().find(|(name, ..)| *name == OURS).map(|(_, wall, cpu, _)| (*wall, *cpu));
    let (our_wall, our_cpu) = ours.context("ours was not measured")?;
    let mut rows = Vec::new();
    for (name, wall, cpu, start) in &measured {
        let (rate, per_cpu) = (messages as f64 / wall, messages as f64 / cpu);
        println!(
            "{name:<28} {wall:>8.2} {cpu:>8.2} {:>8.2} {rate:>12.0} {per_cpu:>14.0} {:>7.2}x",
            start.wall,
            wall / our_wall
        );
        let row = |metric: &str, unit: &str, value: f64, ours: f64| json!({"part": "pipeline", "case": "replay", "metric": metric, "unit": unit, "value": ours, "floor": Value::Null, "peer": name, "peer_value": value});
        rows.push(row("messages_per_second", "1/s", rate, messages as f64 / our_wall));
        rows.push(row("messages_per_cpu_second", "1/s", per_cpu, messages as f64 / our_cpu));
    }
    let rate_of = |wanted: &str| {
        measured.iter().find(|(name, ..)| *name == wanted).map(|(_, wall, ..)| messages as f64 / wall)
    };
    let ours = messages as f64 / our_wall;
    let mut all = true;
    for (peer, times) in GOALS {
        let Some(rate) = rate_of(peer) else {
            println!("goal >= {times:.0} x {peer}: not measured, {peer} is absent");
            continue;
        };
        all &= ours >= times * rate;
        println!("goal >= {times:.0} x {peer}: {:.1} x, {}", ours / rate, verdict(ours, times * rate));
    }
    all &= ours >= GOAL.0;
    println!(
        "goal >= {:.0} messages/s, start and reading included: {ours:.0}, {}; on the way to {:.0}",
        GOAL.0,
        verdict(ours, GOAL.0),
        GOAL.1
    );
    if let Some(file) = json_file {
        rows::append(file, &rows)?;
    }
    Ok(all)
}

fn verdict(value: f64, goal: f64) -> String {
    if value >= goal { "met".to_owned() } else { format!("MISSED by {:.0} %", (1.0 - value / goal) * 100.0) }
}

/// In memory where there is such a folder, so that nobody waits for a disk.
fn scratch() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.context("a folder for the capture and what is written")
}

/// A mix of everything made here, and how many messages are in it.
fn capture(folder: &Path) -> Result<(PathBuf, u64)> {
    let path = folder.join("mix.pcap");
    let frames: Vec<_> = workload::frames(LOOKUPS, workload::Lookup::of_all).collect();
    fs::write(&path, Pcap::default().file(ETHERNET, &frames))?;
    Ok((path, frames.len() as u64))
}

/// Those that are here; the others are named.
fn readers(folder: &Path) -> Result<Vec<Reader>> {
    let [quiet, telling, rules] =
        ["quiet.toml", "messages.toml", "suricata.yaml"].map(|name| folder.join(name));
    let messages = folder.join("messages.json");
    fs::write(&quiet, "")?;
    fs::write(&telling, format!("[output]\nmessages = {:?}\n", messages.display().to_string()))?;
    fs::write(&rules, SURICATA)?;
    let text = |path: &Path| path.display().to_string();
    let ours = sensor::binary().map_err(|why| anyhow::anyhow!(why))?;
    let replay =
        |config: &Path| vec!["replay".to_owned(), "--output=json".to_owned(), "-c".to_owned(), text(config)];
    let reader = |name, program: &Path, arguments: Vec<String>, lines| Reader {
        name,
        program: program.to_owned(),
        arguments,
        lines,
        tells: false,
        runs: Vec::new(),
    };
    let mut readers = vec![
        Reader { tells: true, ..reader(OURS, &ours, replay(&quiet), None) },
        reader("earthdog, writing messages", &ours, replay(&telling), Some(messages)),
    ];
    if let Some(program) = here("tshark") {
        let fields = FIELDS.iter().flat_map(|field| ["-e", field]);
        let words = ["-n", "-Y", "dns", "-T", "fields"].into_iter().chain(fields).chain(["-r"]);
        readers.push(reader("tshark", &program, words.map(str::to_owned).collect(), None));
    }
    if let Some(program) = here("dnscap") {
        let out = folder.join("dnscap.txt");
        let plugin = plugin(&program).context("dnscap is here without its txtout.so")?;
        let words = ["-m", "qun", "-s", "ir", "-P", &text(&plugin), "-o", &text(&out)].map(str::to_owned);
        readers.push(reader("dnscap", &program, words.into(), Some(out)));
    }
    if let Some(program) = here("suricata") {
        let words =
            ["-c", &text(&rules), "-l", &text(folder), "--runmode", "single", "-S", "/dev/null", "-r"];
        let lines = Some(folder.join("eve.json"));
        readers.push(reader("suricata", &program, words.map(str::to_owned).into(), lines));
    }
    Ok(readers)
}

fn here(name: &str) -> Option<PathBuf> {
    peer::find(name).inspect_err(|_| println!("absent: {name}, so not compared with")).ok()
}

/// From the cache, where the wrapper is in `bin` beside `root`, or from the machine.
fn plugin(dnscap: &Path) -> Option<PathBuf> {
    let roots = [dnscap.parent()?.parent()?.join("root"), PathBuf::from("/")];
    let below = [
        format!("usr/lib/{}-linux-gnu/dnscap/txtout.so", std::env::consts::ARCH),
        "usr/lib/dnscap/txtout.so".to_owned(),
    ];
    roots.iter().flat_map(|root| below.iter().map(|path| root.join(path))).find(|path| path.is_file())
}

impl Reader {
    /// One run; fails unless it wrote a line for each of so many messages.
    fn run(&self, capture: &Path, messages: Option<u64>, folder: &Path) -> Result<Run> {
        let stdout = folder.join("stdout");
        let mut command = Command::new("taskset");
        command.args(["-c", CPU]).arg(&self.program);
        // dnscap takes options of a plugin to the end, so that its file comes first.
        if self.name == "dnscap" {
            command.arg("-r").arg(capture);
        }
        command.args(&self.arguments);
        if self.name != "dnscap" {
            command.arg(capture);
        }
        if let Some(lines) = &self.lines {
            // Some append.
            let _ = fs::remove_file(lines);
        }
        command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(folder.join("stderr"))?);
        let before = children_seconds()?;
        let began = now();
        let status = command.status().context("cannot start taskset")?;
        let wall = began.elapsed().as_secs_f64();
        let cpu = children_seconds()? - before;
        let said = fs::read_to_string(folder.join("stderr"))?;
        ensure!(status.success(), "{}: {status}: {said}", self.name);
        if let Some(messages) = messages {
            let told = if self.tells {
                told(&said).with_context(|| format!("no sum of messages in: {said}"))?
            } else {
                lines(self.lines.as_deref().unwrap_or(&stdout))?
            };
            ensure!(told == messages, "{} read {told} of {messages} messages: {said}", self.name);
        }
        Ok(Run { wall, cpu })
    }

    fn median(&self, of: fn(&Run) -> f64) -> f64 {
        let mut values: Vec<_> = self.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

/// `messages    500000 (queries …` in the summary of a replay.
fn told(summary: &str) -> Option<u64> {
    let line = summary.lines().find_map(|line| line.strip_prefix("messages "))?;
    line.split_whitespace().next()?.parse().ok()
}

fn lines(file: &Path) -> Result<u64> {
    let file = File::open(file).with_context(|| file.display().to_string())?;
    Ok(BufReader::new(file).split(b'\n').count() as u64)
}

/// CPU time of the children waited for (proc(5): stat, cutime and cstime), to a hundredth.
fn children_seconds() -> Result<f64> {
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat")?;
    let (_, after) = text.rsplit_once(") ").context("no name in /proc/self/stat")?;
    let fields: Vec<&str> = after.split(' ').collect();
    let of = |at: usize| fields.get(at).copied().unwrap_or_default().parse::<f64>();
    // The third field follows the name.
    Ok((of(16 - 3)? + of(17 - 3)?) / TICKS)
}
