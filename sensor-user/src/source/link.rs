//! Link types: what stands before the IP header, taken off until the shared parser can go on.

use std::net::SocketAddr;

use bytes::Bytes;
use sensor_ebpf::abi::{COUNTER_NAMES, counter, flag, kind, no_owner};
use sensor_ebpf::describe;
use sensor_ebpf::frame::{self, Frame, Load, NO_VLAN, Skip};

use super::{Tally, pcap::array};
use crate::event::{Kind, Packet, Transport, View, ip_from_abi, no_owner};

/// A link type that is read (tcpdump.org/linktypes.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    /// Begins with the IP header.
    Ip,
    /// Four bytes of address family, in the byte order of the machine that captured or the network's.
    Family,
    /// Linux cooked capture.
    Sll,
    /// Its second version.
    Sll2,
}

/// The link types that are read, for messages.
pub(super) const READ: &str = "Ethernet (1), RAW (101, 12, 14), NULL (0), LOOP (108), SLL (113), SLL2 (276), \
                               IPv4 (228), IPv6 (229)";

impl Link {
    pub(super) fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 | 108 => Self::Family,
            1 => Self::Ethernet,
            // 12 and 14 are DLT_RAW of most systems and of OpenBSD, found in old files.
            12 | 14 | 101 | 228 | 229 => Self::Ip,
            113 => Self::Sll,
            276 => Self::Sll2,
            _ => return None,
        })
    }
}

/// Names of link types that people may try.
pub(super) fn name(number: u16) -> &'static str {
    match number {
        6 => "Token Ring",
        7 => "ARCNET",
        8 => "SLIP",
        9 | 50 => "PPP",
        10 => "FDDI",
        51 => "PPPoE",
        104 => "Cisco HDLC",
        105 => "IEEE 802.11",
        107 => "Frame Relay",
        117 => "OpenBSD pflog",
        119 => "IEEE 802.11 with Prism header",
        127 => "IEEE 802.11 with radiotap",
        147..=162 => "private use",
        163 => "IEEE 802.11 with AVS header",
        187 | 201 => "Bluetooth HCI",
        189 | 220 => "Linux USB",
        195 | 215 | 230 => "IEEE 802.15.4",
        227 => "CAN",
        239 => "Linux nflog",
        249 => "USBPcap",
        251 => "Bluetooth LE",
        253 => "Linux netlink",
        _ => "unknown",
    }
}

/// The event of a frame; `None`, with the reason counted, where it is not DNS or cannot be parsed.
pub(super) fn packet(link: Link, bytes: &[u8], time_ns: u64, tally: &mut Tally) -> Option<Packet> {
    let parsed = match link {
        Link::Ethernet => frame::parse(bytes, frame::Link::Ethernet),
        Link::Ip => frame::parse(bytes, frame::Link::Ip),
        Link::Family => family(bytes),
        Link::Sll => cooked(bytes, 14, 16),
        Link::Sll2 => cooked(bytes, 0, 20),
    };
    let reason = match parsed {
        Ok(frame) => match event(&frame, bytes, time_ns) {
            Ok(packet) => return Some(packet),
            Err(counter) => COUNTER_NAMES[counter as usize],
        },
        Err(skip) => skip.counter().map_or("other_traffic", |counter| COUNTER_NAMES[counter as usize]),
    };
    tally.skip(reason);
    None
}

/// What the kernel would have made of the frame: the same description, and the same reasons not to.
fn event(frame: &Frame, bytes: &[u8], time_ns: u64) -> Result<Packet, u32> {
    let start = frame.payload as usize;
    let payload = bytes.get(start..start + frame.cap_len as usize).unwrap_or_default();
    let tcp = frame.transport == frame::TCP;
    let control = flag::TCP_SYN | flag::TCP_FIN | flag::TCP_RST;
    if frame.true_len == 0 && !tcp {
        return Err(counter::SKIP_EMPTY);
    }
    if frame.true_len == 0 && frame.flags & control == 0 {
        return Err(counter::SKIP_TCP_ACK);
    }
    let description = describe::walked(frame, payload);
    let tag = |id: u16| (id != NO_VLAN).then_some(id);
    Ok(Packet {
        time_ns,
        view: View::Capture,
        kind: match description.kind {
            kind::MESSAGE => Kind::Message,
            kind::SEGMENT => Kind::Segment,
            _ => Kind::Datagram,
        },
        transport: if tcp { Transport::Tcp } else { Transport::Udp },
        src: SocketAddr::new(ip_from_abi(frame.src), frame.src_port),
        dst: SocketAddr::new(ip_from_abi(frame.dst), frame.dst_port),
        ifindex: 0,
        vlan: frame.vlan.map(tag),
        tcp_seq: frame.tcp_seq,
        flags: description.flags,
        true_len: frame.true_len,
        payload: Bytes::copy_from_slice(payload),
        owner: no_owner(no_owner::WIRE_VIEW),
    })
}

/// NULL and LOOP: AF_INET is 2 everywhere, AF_INET6 differs (Linux 10, BSD 24, FreeBSD 28, Darwin 30).
fn family(bytes: &[u8]) -> Result<Frame, Skip> {
    let head: [u8; 4] = *bytes.first_chunk().ok_or(Skip::Truncated)?;
    let known = |family: u32| matches!(family, 2 | 10 | 24 | 28 | 30);
    if !known(u32::from_le_bytes(head)) && !known(u32::from_be_bytes(head)) {
        return Err(Skip::NotDns);
    }
    frame::parse(&bytes[4..], frame::Link::Ip).map(|frame| Frame { payload: frame.payload + 4, ..frame })
}

/// SLL and SLL2: a header of `len` bytes with the EtherType at `protocol`; what follows is as behind Ethernet.
fn cooked(bytes: &[u8], protocol: usize, len: usize) -> Result<Frame, Skip> {
    let (head, rest) = bytes.split_at_checked(len).ok_or(Skip::Truncated)?;
    let view = Cooked { ethertype: array(&head[protocol..]), rest };
    let added = len as u32 - ETHERNET;
    frame::parse(&view, frame::Link::Ethernet).map(|frame| Frame { payload: frame.payload + added, ..frame })
}

const ETHERNET: u32 = 14;

/// A cooked packet as if it had an Ethernet header.
struct Cooked<'a> {
    ethertype: [u8; 2],
    rest: &'a [u8],
}

impl Load for Cooked<'_> {
    fn size(&self) -> u32 {
        ETHERNET + self.rest.len() as u32
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset == ETHERNET - 2 && N == 2 {
            return self.ethertype.first_chunk().copied();
        }
        let start = offset.checked_sub(ETHERNET)? as usize;
        self.rest.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}
