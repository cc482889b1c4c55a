//! Many sends that race: ports and sockets that change hands, senders that are gone before the answer, forks between
//! connect and send; alone and with the rings under load.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::expect::{Kernel, Source};
use super::judge::{Seen, Verdict, judge};
use super::place::Place;
use super::run::{NotHere, Watch, boot_unix_ns};
use super::{Sender, ZONE, sys};
use crate::deadline::Deadline;
use crate::message::{Message, rtype};
use crate::process::{Process, Stream};

/// What races.
pub const KINDS: [&str; 5] = ["port", "exit", "fork-udp", "fork-tcp", "shared"];

/// In the names of what is sent under load.
const LOAD: &str = "-load";

/// Senders alive at once.
const ALIVE: usize = 8;
const SECS: u64 = 300;

/// Sends `count` queries of a kind; a line for each on standard output.
pub fn send(kind: &str, count: u32, nonce: &str, v4: Ipv4Addr) -> io::Result<()> {
    let to = SocketAddr::from((v4, 53));
    let race = Race { kind, nonce, to };
    match kind {
        "port" => race.port(count),
        "exit" => race.exit(count),
        "fork-udp" => race.fork_udp(count),
        "fork-tcp" => race.fork_tcp(count),
        "shared" => race.shared(count),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no race {kind}"))),
    }
}

/// Queries of another zone, as fast as they go, by one process: for the rings.
pub fn flood(count: u32, v4: Ipv4Addr) -> io::Result<()> {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    sys::connect(&socket, &SocketAddr::from((v4, 53)).into())?;
    for number in 0..count {
        let query = Message::query(format!("n{number}.flood.example"), rtype::A).id(number as u16).build();
        match sys::send(&socket, &query, 0, None) {
            Err(error) if error.raw_os_error() != Some(libc::ECONNREFUSED) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

struct Race<'a> {
    kind: &'a str,
    nonce: &'a str,
    to: SocketAddr,
}

impl Race<'_> {
    /// One process after the other on the same few ports, none waiting for its answer.
    fn port(&self, count: u32) -> io::Result<()> {
        for number in 0..count {
            sys::in_child(|| {
                let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
                let port = 40_200 + (number % 4) as u16;
                sys::bind(&socket, &SocketAddr::from(([0, 0, 0, 0], port)).into())?;
                sys::connect(&socket, &self.to.into())?;
                sys::send(&socket, &self.announce(number)?.build(), 0, None)
            })?;
        }
        Ok(())
    }

    /// Several at once, each gone with its send.
    fn exit(&self, count: u32) -> io::Result<()> {
        let mut alive = Vec::new();
        for number in 0..count {
            if alive.len() == ALIVE {
                sys::wait(alive.remove(0))?;
            }
            alive.push(sys::spawn(|| {
                let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
                sys::send(&socket, &self.announce(number)?.build(), 0, Some(&self.to.into()))
            })?);
        }
        alive.into_iter().try_for_each(sys::wait)
    }

    /// The parent connects; child and parent send.
    fn fork_udp(&self, count: u32) -> io::Result<()> {
        for pair in 0..count / 2 {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::connect(&socket, &self.to.into())?;
            let child = sys::spawn(|| sys::send(&socket, &self.announce(2 * pair)?.build(), 0, None))?;
            sys::send(&socket, &self.announce(2 * pair + 1)?.build(), 0, None)?;
            sys::wait(child)?;
        }
        Ok(())
    }

    /// The parent connects, the child sends.
    fn fork_tcp(&self, count: u32) -> io::Result<()> {
        for number in 0..count {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::connect(&socket, &self.to.into())?;
            sys::in_child(|| {
                sys::send(&socket, &self.announce(number)?.prefixed(), 0, None)?;
                sys::receive(&socket).map(drop)
            })?;
        }
        Ok(())
    }

    /// Two processes send on one socket at the same time.
    fn shared(&self, count: u32) -> io::Result<()> {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        sys::connect(&socket, &self.to.into())?;
        let half = |of: u32| {
            (of..count)
                .step_by(2)
                .try_for_each(|number| sys::send(&socket, &self.announce(number)?.build(), 0, None))
        };
        let child = sys::spawn(|| half(1))?;
        half(0)?;
        sys::wait(child)
    }

    fn announce(&self, number: u32) -> io::Result<Message> {
        let name = format!("q{number}-{}-{}.{ZONE}", self.kind, self.nonce);
        let sender = Sender::own(self.kind, name.clone())?;
        let mut out = io::stdout().lock();
        writeln!(out, "{sender}")?;
        out.flush()?;
        Ok(Message::query(name, rtype::A).id(number as u16))
    }
}

/// What came of all sends with one source.
#[derive(Debug)]
pub struct Races {
    kernel: Kernel,
    source: Source,
    sends: usize,
    /// By kind and grade (or `none: reason`, `unseen`).
    counts: BTreeMap<(String, String), usize>,
    wrong: Vec<String>,
    /// Records whose grade or reason is missing.
    ungraded: usize,
    /// Records that the sensor says it lost.
    lost: u64,
}

/// About `count` sends in all: each kind alone, then all kinds at once under load.
pub fn run(place: &Place, source: Source, count: u32) -> Result<Races, NotHere> {
    let kernel = Kernel::running().ok_or_else(|| NotHere::Failed(anyhow::anyhow!("no kernel release")))?;
    let watch = Watch::start(place, source)?;
    let mut races =
        Races { kernel, source, sends: 0, counts: BTreeMap::new(), wrong: Vec::new(), ungraded: 0, lost: 0 };
    let nonce = format!("{:x}", std::process::id());
    let each = (count / (2 * KINDS.len() as u32)).max(2);
    let start = |kind: &str, nonce: &str| {
        let mut command = place.sender();
        command.args(["races", kind, &each.to_string(), nonce, &place.v4.to_string()]);
        Process::spawn(command)
    };
    let mut said = Vec::new();
    for kind in KINDS {
        said.extend(hear(start(kind, &nonce)).map_err(NotHere::Failed)?);
    }
    let load = place.load(u64::from(count) * 10);
    let together: Vec<_> = KINDS.map(|kind| start(kind, &format!("{nonce}{LOAD}"))).into();
    for process in together {
        said.extend(hear(process).map_err(NotHere::Failed)?);
    }
    drop(load);
    let names: BTreeSet<&str> = said.iter().map(|sender| sender.name.as_str()).collect();
    let log = watch.finish(&names).map_err(NotHere::Failed)?;
    races.lost = log.lost;
    races.count(&said, &log.seen, boot_unix_ns().map_err(NotHere::Failed)?);
    Ok(races)
}

fn hear(mut process: Process) -> Result<Vec<Sender>> {
    let status = process.wait(Deadline::secs(SECS));
    anyhow::ensure!(status.success(), "a sender of races ended with {status}:\n{}", process.transcript());
    let senders: Vec<_> = process.lines(Stream::Out).iter().filter_map(|line| Sender::parse(line)).collect();
    anyhow::ensure!(!senders.is_empty(), "a sender of races sent nothing:\n{}", process.transcript());
    Ok(senders)
}

impl Races {
    fn count(&mut self, said: &[Sender], seen: &[Seen], boot: u64) {
        let mut by_name: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
        for seen in seen {
            self.ungraded += usize::from(!seen.is_graded());
            by_name.entry(&seen.name).or_default().push(seen);
        }
        for sender in said {
            self.sends += 1;
            let records = by_name.get(sender.name.as_str()).into_iter().flatten().copied();
            let what = match judge(sender, records, false, boot) {
                Verdict::Right(how) => how,
                Verdict::Unsure(what) => {
                    let grade = what.split(':').next().unwrap_or_default();
                    let whom = if what.contains("the sender") { "the sender" } else { "another" };
                    format!("{grade} ({whom})")
                }
                Verdict::None(reason) => format!("none: {reason}"),
                Verdict::Unseen => "unseen".to_owned(),
                Verdict::Wrong(what) => {
                    self.wrong.push(format!("{}: {what}", sender.name));
                    "WRONG".to_owned()
                }
            };
            let kind =
                if sender.name.contains(LOAD) { format!("{}{LOAD}", sender.row) } else { sender.row.clone() };
            *self.counts.entry((kind, what)).or_default() += 1;
        }
    }

    /// No wrong owner, no record without grade, and no query missing that the sensor does not count as lost.
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty() && self.ungraded == 0 && self.unseen() as u64 <= self.lost
    }

    fn unseen(&self) -> usize {
        self.with(|what| what == "unseen")
    }

    fn with(&self, is: impl Fn(&str) -> bool) -> usize {
        self.counts.iter().filter(|((_, what), _)| is(what)).map(|(_, count)| count).sum()
    }

    pub fn sends(&self) -> usize {
        self.sends
    }

    /// Sends whose owner was named right.
    pub fn right(&self) -> usize {
        self.with(|what| what.ends_with("exact") || what.ends_with("cookie"))
    }

    pub fn summary(&self) -> String {
        let mut grades: BTreeMap<&str, usize> = BTreeMap::new();
        for ((_, what), count) in &self.counts {
            *grades.entry(what).or_default() += count;
        }
        let grades: Vec<_> = grades.iter().map(|(what, count)| format!("{count} {what}")).collect();
        format!(
            "races {} {}: {} sends, {} wrong, {} without grade; {}; {} records lost and counted",
            self.kernel,
            self.source.name(),
            self.sends,
            self.wrong.len(),
            self.ungraded,
            grades.join(", "),
            self.lost
        )
    }
}

impl fmt::Display for Races {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, what), count) in &self.counts {
            writeln!(f, "  {kind:<14} {count:>6} {what}")?;
        }
        for wrong in self.wrong.iter().take(10) {
            writeln!(f, "  WRONG {wrong}")?;
        }
        write!(f, "{}", self.summary())
    }
}
