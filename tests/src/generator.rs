//! DNS packets as fast as one core can put them on a link: AF_PACKET, made beforehand, handed over in batches.
#![allow(unsafe_code)] // std has neither AF_PACKET nor sendmmsg

use std::io;
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::deadline::now;
use crate::emulate::random::Random;
use crate::host::{CLIENT_V4, SERVER_V4};
use crate::message::Message;
use crate::packet::Frame;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Queries, each for a name never asked before.
    New,
    /// Queries of 64 clients for 10,000 names, the n-th of them 1/n as often as the first.
    Zipf,
    /// One query again and again, but for its id.
    Same,
    /// Answers, one address each, for 1,000 names.
    Answers,
    /// What makes tables grow: each packet a new name, of one zone, of a thousand or of a zone of its own, for or from
    /// another client; a quarter are answers, and one packet in 16 is the same query again.
    Flood,
    /// Queries for 500 names, each of a client that did not ask before (16.7 million of them).
    Clients,
    /// As `Clients`, from other ports and to 100 servers: each packet is a flow of its own.
    Flows,
}

impl Kind {
    pub const ALL: [(&'static str, Self); 7] = [
        ("new", Self::New),
        ("zipf", Self::Zipf),
        ("same", Self::Same),
        ("answers", Self::Answers),
        ("flood", Self::Flood),
        ("clients", Self::Clients),
        ("flows", Self::Flows),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub count: u64,
    pub seconds: f64,
}

/// Messages handed to the kernel at once.
const BATCH: usize = 64;
/// Frames made beforehand; a multiple of `BATCH`.
const POOL: usize = 1 << 14;
/// No run is longer, whatever it is asked for.
const LIMIT: Duration = Duration::from_mins(2);
/// Nobody listens there and nobody forwards to it: what arrives is taken in by the stack and goes no further.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);
/// A new name's digits, and where they begin in its frame: Ethernet, IPv4, UDP, DNS header, label length and a letter.
const DIGITS: usize = 16;
const DIGITS_AT: usize = 14 + 20 + 8 + 12 + 2;
/// Of `Kind::Flood`: one frame in so many stays as it is.
const SAME_EVERY: usize = 16;

/// Sends from `interface` of the calling process's network namespace to `to`, for so long; `rate` packets a second, 0 for
/// as many as go. What the link refuses is tried again and counts once. New names begin at number `from`.
pub fn run(interface: &str, to: [u8; 6], kind: Kind, time: Duration, rate: u64, from: u64) -> Result<Sent> {
    let socket = socket(interface).with_context(|| format!("AF_PACKET on {interface}"))?;
    let mut frames = frames(kind, to);
    let mut vectors: Vec<libc::iovec> = frames
        .iter_mut()
        .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: a struct of integers and pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    let began = now();
    let time = time.min(LIMIT);
    let (mut count, mut at) = (0u64, 0);
    while began.elapsed() < time {
        if rate > 0 {
            let due = Duration::from_secs_f64(count as f64 / rate as f64);
            if began.elapsed() < due {
                std::thread::park_timeout(due.saturating_sub(began.elapsed()));
                continue;
            }
        }
        let end = (at + BATCH).min(POOL);
        for (number, (place, frame)) in (from + count..).zip((at..).zip(&mut frames[at..end])) {
            match kind {
                Kind::New => digits(number, frame),
                Kind::Flood if place.is_multiple_of(SAME_EVERY) => {}
                Kind::Flood => scatter(number, frame),
                Kind::Clients | Kind::Flows => spoof(number, kind == Kind::Flows, frame),
                Kind::Zipf | Kind::Same | Kind::Answers => break,
            }
        }
        let batch = &mut headers[at..end];
        // SAFETY: the headers point to vectors and these to frames, all of which live to the end of this function and are
        // not moved; the kernel only reads the frames.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), batch.as_mut_ptr(), batch.len() as libc::c_uint, 0) };
        if sent < 0 {
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error).context("sendmmsg"),
            }
        }
        count += u64::from(sent.unsigned_abs());
        at = (at + sent.unsigned_abs() as usize) % POOL;
    }
    Ok(Sent { count, seconds: began.elapsed().as_secs_f64() })
}

/// Binds the calling thread to a CPU.
pub fn pin(cpu: usize) -> Result<()> {
    // SAFETY: a set of bits, for which zero is a value; CPU_SET checks its range.
    let set = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: the set outlives the call and its size is given; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0 {
        bail!("CPU {cpu}: {}", io::Error::last_os_error());
    }
    Ok(())
}

/// A MAC address as /sys/class/net/NAME/address has it.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> =
        text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn frames(kind: Kind, to: [u8; 6]) -> Vec<Vec<u8>> {
    let mut random = Random::new(77);
    let server: Ipv4Addr = SERVER_V4.parse().unwrap_or(NOBODY);
    let client: Ipv4Addr = CLIENT_V4.parse().unwrap_or(NOBODY);
    let weights: Vec<f64> = (1..=10_000).map(|rank| 1.0 / f64::from(rank)).collect();
    let sums: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let all = sums.last().copied().unwrap_or(1.0);
    (0..POOL)
        .map(|number| {
            let id = random.next() as u16;
            let mut frame = match kind {
                Kind::New => {
                    let message = Message::query(format!("n{number:016x}.new.example"), 1).id(id);
                    Frame::v4(client, NOBODY).udp(40_000, 53).payload(message.build()).build()
                }
                Kind::Zipf => {
                    let point = random.unit() * all;
                    let rank = sums.partition_point(|sum| *sum < point);
                    let message = Message::query(format!("www.site{rank}.example"), 1).id(id);
                    let from = Ipv4Addr::new(10, 77, 1, random.below(64) as u8);
                    Frame::v4(from, NOBODY).udp(40_000, 53).payload(message.build()).build()
                }
                Kind::Same => {
                    let message = Message::query("www.same.example", 1).id(id);
                    Frame::v4(client, NOBODY).udp(40_000, 53).payload(message.build()).build()
                }
                Kind::Clients | Kind::Flows => {
                    let message = Message::query(format!("www.site{}.example", number % 500), 1).id(id);
                    Frame::v4(client, NOBODY).udp(40_000, 53).payload(message.build()).build()
                }
                Kind::Answers => {
                    let name = format!("www.site{}.example", number % 1000);
                    let address = (number as u32).to_be_bytes();
                    let message = Message::response(name, 1).id(id).answer(1, 300, address);
                    Frame::v4(server, NOBODY).udp(53, 40_000).payload(message.build()).build()
                }
                Kind::Flood => {
                    let zone = match number % 3 {
                        0 => "flood.example".to_owned(),
                        1 => format!("z{:03}.example", random.below(1000)),
                        _ => "example".to_owned(),
                    };
                    let repeated = number.is_multiple_of(SAME_EVERY);
                    let name = if repeated {
                        "www.same.example".to_owned()
                    } else {
                        format!("n{number:016x}.{zone}")
                    };
                    if number % 4 == 3 {
                        let message = Message::response(name, 1).id(id).answer(1, 300, [192, 0, 2, 1]);
                        Frame::v4(NOBODY, client).udp(53, 40_000).payload(message.build()).build()
                    } else {
                        let message = Message::query(name, 1).id(id);
                        Frame::v4(client, NOBODY).udp(40_000, 53).payload(message.build()).build()
                    }
                }
            };
            frame[..6].copy_from_slice(&to);
            // No checksum: the names change (RFC 768).
            frame[14 + 20 + 6..][..2].fill(0);
            frame
        })
        .collect()
}

/// Writes a number into the name of a frame of `Kind::New`.
fn digits(number: u64, frame: &mut [u8]) {
    for (place, byte) in frame[DIGITS_AT..DIGITS_AT + DIGITS].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15];
    }
}

/// Makes a frame of `Kind::Flood` the one of this number: a name that no other has, a client that few others have.
fn scatter(number: u64, frame: &mut [u8]) {
    // splitmix64 (Steele, Lea, Flood 2014), which maps no two numbers to one.
    let mut random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    random = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    random = (random ^ random >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    random ^= random >> 31;
    digits(random, frame);
    // The client is the source of a query and the destination of an answer.
    let is_answer = frame[14 + 20 + 8 + 2] & 0x80 != 0;
    let client_at = 14 + if is_answer { 16 } else { 12 };
    frame[client_at] = 10;
    frame[client_at + 1..client_at + 4].copy_from_slice(&random.to_be_bytes()[5..]);
    add_up(frame);
}

/// Makes a frame come from the client of this number, which no other has below 2^24; of a flow, its ends are others too.
fn spoof(number: u64, flow: bool, frame: &mut [u8]) {
    // An odd factor maps no two numbers to one; neighbours in time are none in address.
    let client = number.wrapping_mul(0x9e_3779) as u32 & 0xff_ffff;
    frame[14 + 12..14 + 16].copy_from_slice(&(10 << 24 | client).to_be_bytes());
    if flow {
        frame[14 + 19] = 100 + (number % 100) as u8;
        let port = 1024 + (number % 60_000) as u16;
        frame[14 + 20..14 + 22].copy_from_slice(&port.to_be_bytes());
    }
    add_up(frame);
}

/// The IPv4 header's checksum.
fn add_up(frame: &mut [u8]) {
    frame[14 + 10..14 + 12].fill(0);
    let checksum = !sum(&frame[14..34]);
    frame[14 + 10..14 + 12].copy_from_slice(&checksum.to_be_bytes());
}

/// One's complement sum of 16-bit words (RFC 1071).
fn sum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

fn socket(interface: &str) -> io::Result<OwnedFd> {
    let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    let index: i32 = index.trim().parse().map_err(io::Error::other)?;
    // SAFETY: no pointers. Protocol 0 receives nothing.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just returned by socket() and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a struct of integers and byte arrays, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index;
    let bypass: libc::c_int = 1;
    // SAFETY: address and option outlive the calls and their sizes are given.
    let (bound, set) = unsafe {
        (
            libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as libc::socklen_t),
            libc::setsockopt(
                fd,
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const bypass).cast(),
                size_of_val(&bypass) as libc::socklen_t,
            ),
        )
    };
    if bound != 0 || set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use earthdog::dns::Message as Parsed;

    use super::*;

    #[test]
    fn every_kind_is_dns_and_new_names_are_new() {
        for (name, kind) in Kind::ALL {
            let frames = frames(kind, [2; 6]);
            assert_eq!((frames.len(), &frames[0][..6]), (POOL, &[2; 6][..]), "{name}");
            let payload = &frames[7][14 + 20 + 8..];
            let parsed = Parsed::parse(payload, payload.len());
            assert!(parsed.question.is_some(), "{name}");
            let is_answer = matches!(kind, Kind::Answers | Kind::Flood);
            assert_eq!(parsed.header.is_response(), is_answer, "{name}");
        }
        let mut frame = frames(Kind::New, [2; 6]).swap_remove(0);
        digits(0x1234_5678_9abc_def0, &mut frame);
        assert!(frame.windows(24).any(|bytes| bytes == b"n123456789abcdef0\x03new\x07ex"), "{frame:?}");
    }

    #[test]
    fn a_flood_has_other_names_and_clients_each_time() {
        for (place, client_at) in [(5, 14 + 12), (7, 14 + 16)] {
            let made = frames(Kind::Flood, [2; 6]).swap_remove(place);
            let scattered: Vec<_> = [1, 2]
                .map(|number| {
                    let mut frame = made.clone();
                    scatter(number, &mut frame);
                    assert_eq!(sum(&frame[14..34]), 0xffff, "RFC 1071: a good header sums up to it");
                    let parsed = Parsed::parse(&frame[42..], frame.len() - 42);
                    assert!(parsed.question.is_some());
                    frame
                })
                .into();
            assert_ne!(scattered[0][DIGITS_AT..], scattered[1][DIGITS_AT..]);
            assert_ne!(scattered[0][client_at..client_at + 4], scattered[1][client_at..client_at + 4]);
        }
    }

    #[test]
    fn spoofed_clients_and_flows_are_all_different() {
        for kind in [Kind::Clients, Kind::Flows] {
            let made = frames(kind, [2; 6]).swap_remove(3);
            let mut seen = std::collections::BTreeSet::new();
            for number in (0..4_000).chain((1 << 24) - 4_000..1 << 24) {
                let mut frame = made.clone();
                spoof(number, kind == Kind::Flows, &mut frame);
                assert_eq!(sum(&frame[14..34]), 0xffff, "RFC 1071: a good header sums up to it");
                assert!(Parsed::parse(&frame[42..], frame.len() - 42).question.is_some());
                seen.insert(frame[14 + 12..14 + 16].to_vec());
            }
            assert_eq!(seen.len(), 8_000);
        }
    }

    #[test]
    fn an_address_is_six_bytes() {
        assert_eq!(mac("02:00:00:00:0a:ff\n"), Some([2, 0, 0, 0, 10, 255]));
        assert_eq!((mac("02:00"), mac("x")), (None, None));
    }
}
