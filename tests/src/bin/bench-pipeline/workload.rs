//! What the pipeline is measured on: traffic made here, and captures.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use earthdog::event::Event;
use earthdog::source::{self, Tally};
use earthdog_tests::capture::{ETHERNET, Pcap, leaking_name, mix};
use earthdog_tests::message::{Message, rtype};
use earthdog_tests::packet::Frame;

pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) events: Vec<Event>,
}

/// Messages of the made workloads.
const MESSAGES: u32 = 100_000;
const START_NS: u64 = 1_700_000_000_000_000_000;
/// Captures of the development data that differ most: a crawl, a tunnel, one host asking the same for hours.
const CAPTURES: [&str; 3] = [
    "benign/graphtunnel_normal_00020_20230805215042.pcap.gz",
    "tunnel/graphtunnel_iodine-cname.pcap.gz",
    "benign/leshark_clean_oraclevm.pcap.gz",
];

/// Made ones, then the captures named; those of the development data if none is named and they are there.
pub(crate) fn all(captures: &[PathBuf]) -> Result<Vec<Workload>> {
    let mut list = vec![
        made("mixed: 100 hosts, Zipf", Lookup::of_a_mix)?,
        made("random names, one zone", Lookup::leaking)?,
        made("random zones, spoofed clients", Lookup::spoofed)?,
    ];
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/dev");
    let default: Vec<PathBuf> =
        CAPTURES.iter().map(|name| data.join(name)).filter(|file| file.is_file()).collect();
    if captures.is_empty() && default.is_empty() {
        eprintln!("skipped: {} is not there, so that only made traffic is measured", data.display());
    }
    for file in if captures.is_empty() { &default } else { captures } {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default().chars().take(28).collect();
        list.push(Workload { name, events: read(file)? });
    }
    Ok(list)
}

pub(crate) struct Lookup {
    client: u32,
    name: String,
    qtype: u16,
}

impl Lookup {
    /// One in ten leaks, one in ten is of a spoofed client for a zone of its own, the rest is what a gateway sees.
    pub(crate) fn of_all(number: u32) -> Self {
        match mix(number ^ 0x5eed) % 10 {
            0 => Self::leaking(number),
            1 => Self::spoofed(number),
            _ => Self::of_a_mix(number),
        }
    }

    fn leaking(number: u32) -> Self {
        Self { client: 1, name: leaking_name(number), qtype: rtype::TXT }
    }

    fn spoofed(number: u32) -> Self {
        Self { client: number * 7919, name: format!("www.z{:x}.example", mix(number)), qtype: rtype::A }
    }

    /// What a gateway sees: few names asked often, many seldom; one in fifty new.
    fn of_a_mix(number: u32) -> Self {
        let random = mix(number);
        let client = random % 100;
        // Each doubling of the rank is asked for as often as the one before: Zipf of exponent 1, in steps, over 4,096 names.
        let doublings = (random >> 8) % 12;
        let rank = (1 << doublings) + (random >> 20) % (1 << doublings);
        let name = if random.is_multiple_of(50) {
            format!("host-{number}.fresh{rank}.example")
        } else {
            format!("{}.site{}.example", ["www", "api", "cdn", "static-assets"][rank as usize % 4], rank / 3)
        };
        let qtype = [rtype::A, rtype::AAAA][(random >> 5) as usize % 2];
        Self { client, name, qtype }
    }
}

fn made(name: &str, lookup: impl Fn(u32) -> Lookup) -> Result<Workload> {
    let file = tempfile::NamedTempFile::new()?;
    let frames: Vec<_> = frames(MESSAGES / 2, lookup).collect();
    std::fs::write(file.path(), Pcap::default().file(ETHERNET, &frames))?;
    Ok(Workload { name: name.to_owned(), events: read(file.path())? })
}

/// Each look-up's query and answer, with their times in Unix nanoseconds.
pub(crate) fn frames(lookups: u32, lookup: impl Fn(u32) -> Lookup) -> impl Iterator<Item = (u64, Vec<u8>)> {
    (0..lookups).flat_map(move |number| {
        let Lookup { client, name, qtype } = lookup(number);
        let time_ns = START_NS + u64::from(number) * 2_000_000;
        let client = std::net::Ipv4Addr::from(0x0a00_0000 | client & 0xff_ffff);
        let port = 1024 + (mix(number) >> 16) as u16 % 60_000;
        let id = mix(number) as u16;
        let query = Message::query(name.as_str(), qtype).id(id).build();
        let rdata = match qtype {
            rtype::AAAA => vec![0x20; 16],
            rtype::TXT => vec![3, b'a', b'c', b'k'],
            _ => vec![192, 0, 2, 1],
        };
        let response = Message::response(name.as_str(), qtype).id(id).answer(qtype, 60, rdata).build();
        let out = Frame::v4(client, [10, 255, 255, 53]).udp(port, 53).payload(query).build();
        let back = Frame::v4([10, 255, 255, 53], client).udp(53, port).payload(response).build();
        [(time_ns, out), (time_ns + 1_000_000, back)]
    })
}

fn read(file: &Path) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    source::read(file, &mut Tally::default(), &mut |event| {
        events.push(event);
        ControlFlow::Continue(())
    })
    .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(events)
}
