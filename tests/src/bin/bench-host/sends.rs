//! Nanoseconds that the host view adds to a send, over an empty program in the same place.
//!
//! Real calls on the loopback of a host of the test kit. Of each round's batches one is measured with no program in the
//! cgroup, one with `host_floor` and one with `host_egress`, in an order that changes from round to round. Shown is the
//! median over all rounds of the difference within a round, so that what else the machine does in the meantime falls out.
//! The medians' spread is told beside it.
//!
//! Below, what each part of the program takes, by the kernel's run counters in the same sends and by `BPF_PROG_TEST_RUN`.
//! Between two sends the processor runs the whole way through the stack, which leaves little of a program and of the
//! helpers it calls in the caches: so one send's run takes longer than one of a thousand in a row, most where it calls
//! helpers. What the sends' difference has over the run counters' is what the program in its turn drives out.

use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program};
use earthdog::config::Config;
use earthdog::live::features::Features;
use earthdog_tests::deadline::now;
use earthdog_tests::host::Host;
use earthdog_tests::message::{Message, rtype};
use earthdog_tests::object::Object;
use earthdog_tests::packet::Frame;
use earthdog_tests::quartiles::{median, quartiles};
use earthdog_tests::rows;
use sensor_ebpf::abi::{counter, feature};
use serde_json::json;

/// Calls to a batch: so few that most batches are over before the scheduler takes the CPU away.
const BATCH: u32 = 50;
/// Batches of a case in a round, of which the median is taken. The records of all fit the rings.
const BATCHES: usize = 9;
/// Calls before them, which are not measured: attaching leaves caches and branch predictors cold.
const WARM_UP: u32 = 100;
const ROUNDS: usize = 151;
const NONE: usize = 0;
const FLOOR: usize = 1;
const OURS: usize = 2;
/// The program of each variant.
const VARIANTS: [Option<&str>; 3] = [None, Some("host_floor"), Some("host_egress")];
/// Name, and most nanoseconds over the empty program.
const CASES: [(&str, Option<f64>); 3] =
    [("dns_send", Some(150.0)), ("other_send", Some(25.0)), ("socket_life", None)];
const PORTS: [u16; 2] = [53, 7053];
/// What is switched on, one more in each line.
const STAGES: [(&str, u32); 5] = [
    ("parse, socket, time", feature::WALK | feature::OFFSETS),
    ("hash", feature::HASH),
    ("counters+flow", feature::FLOW),
    ("record with name", feature::RECORD),
    ("owner", feature::CURRENT_TASK),
];
const STAGE_ROUNDS: usize = 51;

/// Measures in a host of its own.
pub(crate) fn bench(json_file: Option<&Path>) -> Result<()> {
    let host = Host::new().map_err(|why| anyhow!(why))?;
    let mut command = host.command(std::env::current_exe()?);
    command.arg("--here");
    if let Some(file) = json_file {
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { bail!("in the host of the test kit: {status}") }
}

/// Inside the host: its cgroup is the root of the hierarchy that is mounted there.
pub(crate) fn measure(json_file: Option<&Path>) -> Result<()> {
    let features = Features::probe();
    let cgroup = features.cgroup.as_ref().map_err(|why| anyhow!("{why}"))?;
    let cgroup = File::open(cgroup).with_context(|| format!("{}", cgroup.display()))?;
    let mut bits = feature::DEFAULT | feature::OFFSETS | feature::CURRENT_TASK;
    if features.task_btf {
        bits |= feature::TASK_BTF;
    }
    let live = Config::default().live;
    let (alert, bulk) = (live.alert_ring_kib as u32 * 1024, live.bulk_ring_kib as u32 * 1024);
    let mut object = Object::load_with_rings(bits, alert, bulk)?;
    // Nobody reads them: what does not fit is dropped at the socket, in every variant alike.
    let mut sinks = Vec::new();
    for port in PORTS {
        let sink = UdpSocket::bind(("127.0.0.1", port));
        sinks.push(sink.with_context(|| format!("port {port} on the loopback"))?);
    }
    let load = Load {
        socket: UdpSocket::bind("127.0.0.1:0")?,
        query: Message::query("www.cost.example", rtype::A).build(),
    };
    let mut samples = vec![[[0.0; CASES.len()]; VARIANTS.len()]; ROUNDS];
    for (round, samples) in samples.iter_mut().enumerate() {
        for step in 0..VARIANTS.len() {
            let variant = (round + step) % VARIANTS.len();
            samples[variant] = with_program(&mut object, &cgroup, VARIANTS[variant], &load)?;
        }
    }
    drop(sinks);
    let counters = object.counters()?;
    let of = |index: u32| counters[index as usize];
    let lost = of(counter::LOST_ALERT) + of(counter::LOST_BULK);
    ensure!(
        lost == 0,
        "{lost} records found a ring full: the batches are too large, the figures are not valid"
    );
    let sent = ROUNDS as u64 * (u64::from(BATCH) * BATCHES as u64 + u64::from(WARM_UP));
    ensure!(
        of(counter::SEEN) == sent && of(counter::DELIVERED) == sent,
        "{sent} queries were sent with the program attached, counted: {counters:?}"
    );
    let mut rows = report(&samples, features.task_btf);
    println!("reserve failures: {lost}");
    rows.extend(stages(features.task_btf, [alert, bulk], &cgroup, &load)?);
    if let Some(file) = json_file {
        rows::write(file, &rows)?;
    }
    Ok(())
}

struct Load {
    /// Connected to nobody.
    socket: UdpSocket,
    query: Vec<u8>,
}

impl Load {
    /// One call of a case.
    fn call(&self, case: usize) -> Result<()> {
        match PORTS.get(case) {
            Some(&port) => {
                self.socket.send_to(&self.query, ("127.0.0.1", port))?;
            }
            None => UdpSocket::bind("127.0.0.1:0")?.connect(("127.0.0.1", PORTS[0]))?,
        }
        Ok(())
    }
}

/// Nanoseconds a call of each case.
fn with_program(
    object: &mut Object,
    cgroup: &File,
    name: Option<&str>,
    load: &Load,
) -> Result<[f64; CASES.len()]> {
    let link = match name.map(|name| object.program(name)).transpose()? {
        Some(Program::CgroupSkb(program)) => {
            Some(program.attach(cgroup, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?)
        }
        Some(_) => bail!("not a cgroup_skb program"),
        None => None,
    };
    let mut taken = [0.0; CASES.len()];
    for (case, taken) in taken.iter_mut().enumerate() {
        for _ in 0..WARM_UP {
            load.call(case)?;
        }
        let mut batches = [0.0; BATCHES];
        for batch in &mut batches {
            let start = now();
            for _ in 0..BATCH {
                load.call(case)?;
            }
            *batch = start.elapsed().as_nanos() as f64 / f64::from(BATCH);
        }
        *taken = median(batches);
        object.discard();
    }
    if let (Some(link), Some(name)) = (link, name)
        && let Program::CgroupSkb(program) = object.program(name)?
    {
        program.detach(link)?;
    }
    Ok(taken)
}

fn report(samples: &[[[f64; CASES.len()]; VARIANTS.len()]], task_btf: bool) -> Vec<serde_json::Value> {
    println!(
        "owner: current task, fields {}; counters, flow map, name and time in the record on",
        if task_btf { "loaded" } else { "copied by helper calls" }
    );
    println!(
        "ns a call, medians of {ROUNDS} rounds of {BATCHES} batches of {BATCH} calls; over: of the differences within a round, quartiles"
    );
    println!(
        "{:<12} {:>10} {:>14} {:>22} {:>22}",
        "case", "no program", "empty program", "empty over none", "ours over empty"
    );
    let mut rows = Vec::new();
    for (case, (name, goal)) in CASES.into_iter().enumerate() {
        let of = |variant: usize| median(samples.iter().map(|round| round[variant][case]));
        let over = |variant: usize, base: usize| {
            quartiles(samples.iter().map(|round| round[variant][case] - round[base][case]))
        };
        let (empty, ours) = (over(FLOOR, NONE), over(OURS, FLOOR));
        let shown = |[low, middle, high]: [f64; 3]| format!("{middle:.0} ({low:.0} to {high:.0})");
        println!(
            "{name:<12} {:>10.0} {:>14.0} {:>22} {:>22}",
            of(NONE),
            of(FLOOR),
            shown(empty),
            shown(ours)
        );
        if let Some(goal) = goal {
            let verdict = if ours[1] <= goal { "met" } else { "MISSED" };
            println!("goal {name} <= empty program + {goal:.0} ns: {:.0} ns, {verdict}", ours[1]);
        }
        rows.push(json!({
            "part": "host", "case": name, "metric": "ns_over_floor", "unit": "ns",
            "value": ours[1].round(), "floor": of(FLOOR).round(),
        }));
    }
    rows
}

/// A query's run by what is switched on: in real sends, and on the same packet without its way through the stack.
fn stages(
    task_btf: bool,
    [alert, bulk]: [u32; 2],
    cgroup: &File,
    load: &Load,
) -> Result<Vec<serde_json::Value>> {
    let mut bits = if task_btf { feature::TASK_BTF } else { 0 };
    let mut objects = Vec::new();
    for (_, more) in STAGES {
        bits |= more;
        objects.push(Object::load_with_rings(bits, alert, bulk)?);
    }
    let packet = Frame::dns_query_v4(load.query.clone()).build();
    let other = Frame::v4([10, 0, 0, 2], [10, 0, 0, 1]).udp(40_000, 443).payload(load.query.clone()).build();
    let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime)?;
    // In sends, in test runs; the floor first.
    let mut samples = vec![[Vec::new(), Vec::new()]; 1 + STAGES.len()];
    let mut others = Vec::new();
    for _ in 0..STAGE_ROUNDS {
        for (index, [sent, run]) in samples.iter_mut().enumerate() {
            let name = if index == 0 { "host_floor" } else { "host_egress" };
            let object = &mut objects[index.saturating_sub(1)];
            sent.push(in_sends(object, name, cgroup, load)?);
            run.push(f64::from(object.run(name, &packet, 1_000)?.nanoseconds));
            object.discard();
        }
        others.push(f64::from(objects[STAGES.len() - 1].run("host_egress", &other, 1_000)?.nanoseconds));
    }
    let medians: Vec<_> = samples.into_iter().map(|samples| samples.map(median)).collect();
    let [floor, rest @ ..] = &medians[..] else { bail!("no floor") };
    println!("ns of a query's run over the empty program's, by what is switched on:");
    println!("{:<22} {:>14} {:>14}", "", "in real sends", "in test runs");
    let mut rows = Vec::new();
    for ((what, _), values) in STAGES.iter().zip(rest) {
        let [sent, run] = [values[0] - floor[0], values[1] - floor[1]];
        println!("{what:<22} {sent:>14.0} {run:>14.0}");
        rows.push(json!({
            "part": "host", "case": "dns_send", "metric": "ns_of_run_over_floor", "on": what, "unit": "ns",
            "value": sent.round(), "test_run": run.round(),
        }));
    }
    let other = median(others) - floor[1];
    println!("in test runs of other traffic: {other:.0}");
    Ok(rows)
}

/// Nanoseconds a run by the kernel's counters, over the batches of a round.
fn in_sends(object: &mut Object, name: &str, cgroup: &File, load: &Load) -> Result<f64> {
    let Program::CgroupSkb(program) = object.program(name)? else { bail!("not a cgroup_skb program") };
    let link = program.attach(cgroup, CgroupSkbAttachType::Egress, CgroupAttachMode::Single)?;
    let calls = |count: u32| (0..count).try_for_each(|_| load.call(0));
    calls(WARM_UP)?;
    let before = program.info()?;
    calls(BATCH * BATCHES as u32)?;
    let after = program.info()?;
    program.detach(link)?;
    let runs = after.run_count() - before.run_count();
    ensure!(runs == u64::from(BATCH) * BATCHES as u64, "{runs} runs were counted");
    object.discard();
    Ok(after.run_time().saturating_sub(before.run_time()).as_nanos() as f64 / runs as f64)
}
