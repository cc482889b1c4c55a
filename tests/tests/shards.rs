//! Clients shared out over threads: what is found is what one thread finds, byte for byte, and tables keep their caps.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use bytes::Bytes;
use earthdog::config::Config;
use earthdog::event::{Event, Kind, Packet, Transport, View, no_owner};
use earthdog::finding::{Finding, Origin};
use earthdog::pipeline::{Fill, Pipeline};
use earthdog::sink;
use earthdog_tests::capture::Capture as _;
use earthdog_tests::emulate::{self, Emulation, Pace};
use earthdog_tests::hazard::{self, Hazard};
use earthdog_tests::replayed::Sensor;
use earthdog_tests::sensor::binary;
use sensor_ebpf::abi::flag;

const THREADS: [u64; 3] = [1, 2, 4];
const SEED: u64 = 1;

/// Of everything there is to replay. Four threads take one in four of each kind.
#[test]
fn what_is_found_is_the_same_on_any_number_of_threads() {
    let sensor = Sensor::new(&binary().unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let configs = THREADS.map(|threads| {
        let path = dir.path().join(format!("{threads}.toml"));
        fs::write(&path, format!("[pipeline]\nthreads = {threads}\n")).unwrap();
        path
    });
    let kinds: [Vec<Replay>; 3] = [
        emulate::ALL.iter().map(Replay::Tool).collect(),
        hazard::ALL.iter().map(Replay::Hazard).collect(),
        captures().into_iter().map(Replay::Capture).collect(),
    ];
    let numbered = kinds.iter().flat_map(|kind| kind.iter().enumerate());
    let waiting = Mutex::new(numbered.collect::<Vec<_>>());
    let counts = Mutex::new([0; THREADS.len()]);
    // Side by side: most of a replay is one thread's work.
    thread::scope(|scope| {
        for worker in 0..thread::available_parallelism().map_or(2, usize::from) {
            let made = dir.path().join(format!("{worker}.pcap"));
            let (sensor, configs, waiting, counts) = (&sensor, &configs, &waiting, &counts);
            scope.spawn(move || {
                loop {
                    let Some((number, replay)) = waiting.lock().unwrap().pop() else { break };
                    let (name, file) = replay.file(&made);
                    let one = sensor.printed(&file, &configs[0]).unwrap();
                    let with = if number % 4 == 0 { THREADS.len() } else { 2 };
                    for at in 1..with {
                        let other = sensor.printed(&file, &configs[at]).unwrap();
                        assert!(
                            one == other,
                            "{name}: other findings with {} threads\n{}\n{}",
                            THREADS[at],
                            String::from_utf8_lossy(&one),
                            String::from_utf8_lossy(&other)
                        );
                        counts.lock().unwrap()[at] += usize::from(!one.is_empty());
                    }
                    counts.lock().unwrap()[0] += 1;
                }
            });
        }
    });
    let [replays, two, four] = counts.into_inner().unwrap();
    eprintln!("{replays} replays; compared with findings: {two} of two threads, {four} of four");
    assert!(two > 60 && four > 15, "{two} and {four} of {replays}");
}

/// What one replay reads.
enum Replay {
    Tool(&'static Emulation),
    Hazard(&'static Hazard),
    Capture(PathBuf),
}

impl Replay {
    /// Its name and its file, made at `made` where it is none of its own.
    fn file(&self, made: &Path) -> (String, PathBuf) {
        let (name, pcap) = match self {
            Self::Tool(tool) => (tool.name, tool.make(SEED, Pace::default()).pcap()),
            Self::Hazard(hazard) => (hazard.name, hazard.make(SEED).pcap()),
            Self::Capture(file) => return (file.display().to_string(), file.clone()),
        };
        fs::write(made, pcap).unwrap();
        (name.to_owned(), made.to_path_buf())
    }
}

/// All tools and hazards at once, each from clients of its own, and half of them through a forwarder: on every shard there
/// are clients with findings, and look-ups of one client are passed on by another. Tables have room for all: who is
/// forgotten where they have not depends on who else is on the shard.
#[test]
fn a_crowd_is_told_of_in_the_same_order() {
    let crowd = crowd();
    let [one, two, four] = THREADS.map(|threads| {
        let mut config = Config::default();
        config.pipeline.threads = threads;
        for max_keys in of_clients(&mut config) {
            *max_keys *= 16;
        }
        let (told, evicted) = told(&config, &crowd, |_| {});
        assert_eq!(evicted, [0, 0], "no room with {threads} threads");
        told
    });
    let lines = one.lines().count();
    eprintln!("{} messages, {lines} state changes", crowd.len());
    assert!(lines > 300, "{lines}");
    assert!(one == two, "two threads say otherwise: {}", difference(&one, &two));
    assert!(one == four, "four threads say otherwise: {}", difference(&one, &four));
}

/// With far more clients and zones than there is room for: all shards together keep within what is configured, and two
/// runs forget the same.
#[test]
fn shards_together_keep_the_caps() {
    let crowd = crowd();
    for threads in THREADS {
        let mut config = Config::default();
        config.pipeline.threads = threads;
        config.pipeline.max_open = 16;
        for max_keys in of_clients(&mut config) {
            *max_keys = (*max_keys).min(16);
        }
        config.ledger.max_keys = 64;
        let mut most = [0; 2];
        let mut look = |pipeline: &Pipeline| {
            for (name, fill) in pipeline.fills() {
                let Fill { entries, capacity } = fill;
                let (at, configured) = match name {
                    "ledger" => (0, 64),
                    "open_findings" => (1, 16),
                    _ => continue,
                };
                assert!(capacity <= configured, "{threads} threads: {name} may have {capacity}");
                assert!(entries <= capacity, "{threads} threads: {name} has {entries} of {capacity}");
                most[at] = most[at].max(entries);
            }
        };
        let first = told(&config, &crowd, &mut look);
        let evicted = first.1;
        eprintln!("{threads} threads: at most {most:?}, evicted {evicted:?}");
        assert!(most[0] > 32 && most[1] > 4, "{threads} threads: tables never filled: {most:?}");
        assert!(evicted.iter().all(|count| *count > 100), "{threads} threads: {evicted:?}");
        assert!(first == told(&config, &crowd, |_| {}), "{threads} threads: two runs differ");
    }
}

/// Keys of the tables that are shared out.
fn of_clients(config: &mut Config) -> [&mut u64; 11] {
    [
        &mut config.ledger.max_keys,
        &mut config.direct_mode.max_keys,
        &mut config.carriers.max_keys,
        &mut config.code_book.max_keys,
        &mut config.command_channel.max_keys,
        &mut config.beacon.max_keys,
        &mut config.dga.max_keys,
        &mut config.recon.max_keys,
        &mut config.spread.max_keys,
        &mut config.resolver_policy.max_keys,
        &mut config.brand.max_keys,
    ]
}

/// The development captures, where they are.
fn captures() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/dev");
    if !data.is_dir() {
        eprintln!("skipped: no captures at {}", data.display());
        return Vec::new();
    }
    let mut files: Vec<_> = ["tunnel", "benign"]
        .iter()
        .flat_map(|folder| fs::read_dir(data.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Datagrams taken of each tool and hazard.
const OF_EACH: usize = 500;
const FORWARDER: [u8; 4] = [10, 20, 0, 53];
const UPSTREAM: [u8; 4] = [198, 51, 100, 53];

fn crowd() -> Vec<Event> {
    let tools = emulate::ALL.iter().map(|tool| tool.make(SEED, Pace::default()));
    let made = tools.chain(hazard::ALL.iter().map(|hazard| hazard.make(SEED)));
    let mut packets = Vec::new();
    for (number, made) in (1_u8..).zip(made) {
        for datagram in made.datagrams.into_iter().take(OF_EACH) {
            let is_query = datagram.dst.port() == 53;
            let own = |address: std::net::SocketAddrV4, is_client: bool| {
                let [_, _, c, d] = address.ip().octets();
                let ip = if is_client { [10, 100 + number % 100, c, d] } else { address.ip().octets() };
                SocketAddr::from((ip, address.port()))
            };
            let (src, dst) = (own(datagram.src, is_query), own(datagram.dst, !is_query));
            let payload = Bytes::from(datagram.payload);
            let resolver = if is_query { dst } else { src };
            if number % 2 == 0 && resolver.ip() == IpAddr::from(FORWARDER) {
                let port = 20_000 + u16::from(payload.first().copied().unwrap_or(0));
                let (asker, server) = (SocketAddr::from((FORWARDER, port)), SocketAddr::from((UPSTREAM, 53)));
                let mut passed_on = payload.to_vec();
                passed_on.iter_mut().take(2).for_each(|byte| *byte ^= 0x5a);
                let (time_ns, ends) = if is_query {
                    (datagram.time_ns + 300_000, (asker, server))
                } else {
                    (datagram.time_ns - 300_000, (server, asker))
                };
                packets.push(packet(time_ns, ends, passed_on.into(), is_query));
            }
            packets.push(packet(datagram.time_ns, (src, dst), payload, is_query));
        }
    }
    packets.sort_by_key(|packet| packet.time_ns);
    packets.into_iter().map(Event::Packet).collect()
}

fn packet(time_ns: u64, (src, dst): (SocketAddr, SocketAddr), payload: Bytes, is_query: bool) -> Packet {
    Packet {
        time_ns,
        view: View::Capture,
        kind: if payload.len() < 12 { Kind::Datagram } else { Kind::Message },
        transport: Transport::Udp,
        src,
        dst,
        ifindex: 0,
        vlan: [None; 2],
        tcp_seq: 0,
        flags: if is_query { flag::TO_SERVER } else { flag::RESPONSE },
        true_len: payload.len() as u32,
        payload,
        owner: no_owner(1),
    }
}

/// What is found, a line each, and the accounts and findings that had to go; `look` is called now and then.
fn told(config: &Config, events: &[Event], mut look: impl FnMut(&Pipeline)) -> (String, [u64; 2]) {
    let mut out = String::new();
    let mut emit = |finding: &Finding| out += &sink::json(finding).unwrap();
    let mut pipeline = Pipeline::new(config.pipeline(), Origin::Replay);
    assert_eq!(
        pipeline.threads() as u64,
        if config.pipeline.threads > 1 { config.pipeline.threads } else { 0 }
    );
    for (number, event) in events.iter().enumerate() {
        pipeline.push(event.clone(), &mut emit);
        if number % 1000 == 0 {
            pipeline.settle(&mut emit);
            look(&pipeline);
        }
    }
    pipeline.finish(&mut emit);
    let evictions = pipeline.stats().evictions;
    let evicted = |of| evictions.iter().find(|(name, _)| *name == of).map_or(0, |(_, count)| *count);
    (out, ["ledger keys", "open findings"].map(evicted))
}

fn difference(one: &str, other: &str) -> String {
    let at = one.lines().zip(other.lines()).position(|(one, other)| one != other);
    let at = at.unwrap_or(one.lines().count().min(other.lines().count()));
    format!("line {at}\n{:?}\n{:?}", one.lines().nth(at), other.lines().nth(at))
}
