//! Files as events: pcap, pcapng, Zeek dns.log and dnstap, plain or gzipped, told apart by content.
//!
//! A file is read once, front to back, in bounded memory, so a pipe will do. Records come in the order of the file.

mod dnstap;
pub mod feeds;
mod input;
mod link;
mod message;
mod pcap;
mod pcapng;
mod zeek;

use std::{collections::BTreeMap, fmt, fs::File, io, ops::ControlFlow, path::Path};

use crate::event::Event;

use input::Input;

/// Takes events one by one and says whether to go on.
pub type Emit<'a> = dyn FnMut(Event) -> ControlFlow<()> + 'a;

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Pcap,
    Pcapng,
    ZeekTsv,
    ZeekJson,
    Dnstap,
}

/// What was read and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames, rows or dnstap messages.
    pub records: u64,
    /// Events they gave.
    pub events: u64,
    /// Frames of which the capture kept only the beginning.
    pub snapped: u64,
    /// Frames and rows that gave no event, by reason. Reasons of the frame parser have the names of its counters
    /// (`sensor_ebpf::abi::COUNTER_NAMES`); `other_traffic` is everything that is not port 53.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

/// Why a file was not read to its end.
#[derive(Debug)]
pub enum Error {
    /// Cannot be opened, or the system failed to read on.
    Unreadable(io::Error),
    /// No bytes at all.
    Empty,
    /// None of the formats; with what it looks like instead.
    Foreign(String),
    /// A link type that is not read.
    LinkType(u16),
    /// Cut or garbled at this byte offset; everything before it was read.
    Damaged {
        offset: u64,
        what: String,
        /// The offset counts decompressed bytes.
        unpacked: bool,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(out, "cannot read: {error}"),
            Self::Empty => write!(out, "empty file: nothing to replay"),
            Self::Foreign(what) => {
                write!(
                    out,
                    "{what}; pcap, pcapng, Zeek dns.log (TSV, JSON) and dnstap are read, plain or gzipped"
                )
            }
            Self::LinkType(number) => {
                let name = link::name(*number);
                write!(out, "link type {number} ({name}) is not read; use one of {}", link::READ)
            }
            Self::Damaged { offset, what, unpacked } => {
                let of = if *unpacked { " of the decompressed data" } else { "" };
                write!(out, "damaged at byte {offset}{of}: {what}; read up to there")
            }
        }
    }
}

impl std::error::Error for Error {}

/// Reads a file to its end, or until `emit` breaks off.
pub fn read(path: &Path, tally: &mut Tally, emit: &mut Emit<'_>) -> Result<Format, Error> {
    read_from(File::open(path).map_err(Error::Unreadable)?, tally, emit)
}

/// As `read`, from anything that gives bytes.
pub fn read_from(
    reader: impl io::Read + 'static,
    tally: &mut Tally,
    emit: &mut Emit<'_>,
) -> Result<Format, Error> {
    let mut input = Input::open(reader);
    let format = detect(&mut input)?;
    let mut emit = |event: Event| {
        tally.events += 1;
        emit(event)
    };
    let mut read = Tally::default();
    let result = match format {
        Format::Pcap => pcap::read(&mut input, &mut read, &mut emit),
        Format::Pcapng => pcapng::read(&mut input, &mut read, &mut emit),
        Format::ZeekTsv => zeek::read_tsv(&mut input, &mut read, &mut emit),
        Format::ZeekJson => zeek::read_json(&mut input, &mut read, &mut emit),
        Format::Dnstap => dnstap::read(&mut input, &mut read, &mut emit),
    };
    tally.records += read.records;
    tally.snapped += read.snapped;
    for (reason, count) in read.skipped {
        *tally.skipped.entry(reason).or_default() += count;
    }
    match result {
        Ok(()) | Err(Stop::Enough) => Ok(format),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Ends a reader before the end of its input.
#[derive(Debug)]
enum Stop {
    /// The receiver has enough.
    Enough,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn send(emit: &mut Emit<'_>, event: Event) -> Result<(), Stop> {
    match emit(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Stop::Enough),
    }
}

/// Bytes that tell the formats apart.
const HEAD: usize = 512;

fn detect(input: &mut Input) -> Result<Format, Error> {
    if input.at_end()? {
        return Err(Error::Empty);
    }
    let head = input.peek(HEAD);
    let text = head.trim_ascii_start();
    if pcap::is_magic(head) {
        return Ok(Format::Pcap);
    }
    if pcapng::is_magic(head) {
        return Ok(Format::Pcapng);
    }
    if dnstap::is_magic(head) {
        return Ok(Format::Dnstap);
    }
    if text.starts_with(b"#separator") || text.starts_with(b"#fields") {
        return Ok(Format::ZeekTsv);
    }
    if text.starts_with(b"{") {
        return Ok(Format::ZeekJson);
    }
    Err(Error::Foreign(looks_like(head)))
}

fn looks_like(head: &[u8]) -> String {
    for (magic, name) in [
        (&b"\x28\xb5\x2f\xfd"[..], "zstd"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\x1f\x8b", "twice gzip"),
    ] {
        if head.starts_with(magic) {
            return format!("a {name} compressed file: decompress it first");
        }
    }
    let hex: Vec<_> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("not a file this reads (begins with {})", hex.join(" "))
}

/// Fuzz entry points: any bytes must end in a result, in bounded memory.
pub mod fuzz {
    use super::{ControlFlow, Format, Stop, Tally, dnstap, input::Input, pcap, pcapng, read_from, zeek};

    /// Any file, format by content.
    pub fn any(data: &[u8]) -> (Tally, bool) {
        let mut tally = Tally::default();
        let result =
            read_from(std::io::Cursor::new(data.to_vec()), &mut tally, &mut |_| ControlFlow::Continue(()));
        (tally, result.is_ok())
    }

    /// One format's reader, whatever the bytes begin with.
    pub fn one(format: Format, data: &[u8]) -> Tally {
        let mut tally = Tally::default();
        let mut input = Input::plain(std::io::Cursor::new(data.to_vec()));
        let mut events = 0;
        let mut emit = |_| {
            events += 1;
            ControlFlow::Continue(())
        };
        let _: Result<(), Stop> = match format {
            Format::Pcap => pcap::read(&mut input, &mut tally, &mut emit),
            Format::Pcapng => pcapng::read(&mut input, &mut tally, &mut emit),
            Format::ZeekTsv => zeek::read_tsv(&mut input, &mut tally, &mut emit),
            Format::ZeekJson => zeek::read_json(&mut input, &mut tally, &mut emit),
            Format::Dnstap => dnstap::read(&mut input, &mut tally, &mut emit),
        };
        tally.events = events;
        tally
    }
}

#[cfg(test)]
mod tests;
