//! From a frame to the DNS payload: Ethernet, VLAN, IPv4 with options, IPv6 with extension headers, UDP and TCP.
//!
//! One function for all hooks and for captures; only the way bytes are loaded differs ([`Load`]).

use crate::abi::{counter, flag};
use crate::limits::{MAX_EXT_HEADERS, MAX_HEADER_OFFSET, MAX_VLAN};

/// The port of DNS over UDP and TCP.
pub const DNS_PORT: u16 = 53;
/// 127.0.0.11, where containers find Docker's resolver (libnetwork's `resolverIPSandbox`). Its port is a random one; nat
/// rules in the container's namespace rewrite 53 to it before a query comes to the egress hook, and back afterwards. A
/// frame says 53.
pub const STUB: u32 = 0x7f00_000b;
/// IP protocol numbers.
pub const UDP: u8 = 17;
/// See [`UDP`].
pub const TCP: u8 = 6;
/// `Frame::vlan` where there is no tag.
pub const NO_VLAN: u16 = 0xffff;

/// Byte access to a packet. Offsets count from the first byte of the link (or IP) header.
pub trait Load {
    /// Length of the packet, bytes that cannot be read directly included.
    fn size(&self) -> u32;
    /// `N` bytes at `offset`; `None` if the packet ends before. One, two, four or eight: what a register holds, since
    /// the compiler keeps other arrays in memory and puts words together from their bytes.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// `end`, or the end of the packet if that is nearer: `size` where a hook has no cheaper way.
    #[inline(always)]
    fn reach(&self, end: u32) -> u32 {
        min(end, self.size())
    }
}

/// A packet in plain memory.
impl Load for [u8] {
    fn size(&self) -> u32 {
        self.len() as u32
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// What the packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    /// IPv4 or IPv6, told apart by the version nibble.
    Ip,
    /// The same at a socket of this host: what goes to or comes from [`STUB`] is DNS whatever its other port.
    Socket,
}

/// A packet on port 53. Eight-byte alignment makes an address two loads and stores in the kernel, not sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Frame {
    /// IPv4 mapped.
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub src_port: u16,
    pub dst_port: u16,
    /// [`UDP`] or [`TCP`].
    pub transport: u8,
    /// Outer and inner id, [`NO_VLAN`] where absent.
    pub vlan: [u16; 2],
    /// `FRAGMENT`, `TCP_*` of `abi::flag`.
    pub flags: u16,
    pub tcp_seq: u32,
    /// Offset of the UDP or TCP payload.
    pub payload: u32,
    /// Payload bytes in this packet.
    pub cap_len: u32,
    /// Payload bytes by the UDP length or the IP length.
    pub true_len: u32,
}

/// Why a packet gives no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Not IP, not UDP or TCP, or another port: not counted.
    NotDns,
    Truncated,
    BadIp,
    BadTransport,
    LaterFragment,
    ExtHeaders,
    VlanDepth,
    Encapsulated,
}

impl Skip {
    /// Index of its counter; `None` for what is not counted.
    #[inline(always)]
    pub const fn counter(self) -> Option<u32> {
        Some(match self {
            Self::NotDns => return None,
            Self::Truncated => counter::SKIP_TRUNCATED,
            Self::BadIp => counter::SKIP_BAD_IP,
            Self::BadTransport => counter::SKIP_BAD_TRANSPORT,
            Self::LaterFragment => counter::SKIP_LATER_FRAGMENT,
            Self::ExtHeaders => counter::SKIP_EXT_HEADERS,
            Self::VlanDepth => counter::SKIP_VLAN_DEPTH,
            Self::Encapsulated => counter::SKIP_ENCAPSULATED,
        })
    }
}

/// Host entry: the frame of `packet`.
pub fn parse<P: Load + ?Sized>(packet: &P, link: Link) -> Result<Frame, Skip> {
    let mut frame = EMPTY;
    complete(packet, &locate(packet, link)?, &mut frame)?;
    Ok(frame)
}

/// Where the DNS payload of `packet` is. Ports are looked at before anything is copied, so that other traffic leaves
/// early.
#[inline(always)]
pub fn locate<P: Load + ?Sized>(packet: &P, link: Link) -> Result<Located, Skip> {
    let (network, version, vlan) = match link {
        Link::Ethernet => ethernet(packet)?,
        Link::Ip | Link::Socket => match packet.load::<1>(0).ok_or(Skip::Truncated)?[0] >> 4 {
            4 => (0, Version::V4, [NO_VLAN; 2]),
            6 => (0, Version::V6, [NO_VLAN; 2]),
            _ => return Err(Skip::BadIp),
        },
    };
    let datagram = match version {
        Version::V4 => ipv4(packet, network)?,
        Version::V6 => ipv6(packet, network)?,
    };
    let stub = if matches!((link, version), (Link::Socket, Version::V4)) { Some(network + 12) } else { None };
    let segment = match datagram.protocol as u8 {
        UDP => udp(packet, &datagram, stub)?,
        TCP => tcp(packet, &datagram, stub)?,
        _ => return Err(Skip::NotDns),
    };
    Ok(Located { network, version, vlan, datagram, segment })
}

/// Writes the frame of a located packet, in place: the kernel's stack has 512 bytes.
#[inline(always)]
pub fn complete<P: Load + ?Sized>(packet: &P, at: &Located, frame: &mut Frame) -> Result<(), Skip> {
    let Located { network, version, vlan, datagram, segment } = at;
    match version {
        Version::V4 => {
            let both = u64::from_be_bytes(packet.load(network + 12).ok_or(Skip::Truncated)?);
            frame.src = mapped(((both >> 32) as u32).to_be_bytes());
            frame.dst = mapped((both as u32).to_be_bytes());
        }
        Version::V6 => {
            // By halves, since a copy of sixteen bytes at an unaligned address becomes a loop over bytes.
            for half in [0, 8] {
                let from = network + half as u32;
                let src: [u8; 8] = packet.load(from + 8).ok_or(Skip::Truncated)?;
                let dst: [u8; 8] = packet.load(from + 24).ok_or(Skip::Truncated)?;
                frame.src[half..half + 8].copy_from_slice(&u64::from_be_bytes(src).to_be_bytes());
                frame.dst[half..half + 8].copy_from_slice(&u64::from_be_bytes(dst).to_be_bytes());
            }
        }
    }
    frame.src_port = (segment.ports >> 16) as u16;
    frame.dst_port = segment.ports as u16;
    frame.transport = datagram.protocol as u8;
    frame.vlan = *vlan;
    frame.flags = segment.flags as u16 | if datagram.first_fragment == 0 { 0 } else { flag::FRAGMENT };
    frame.tcp_seq = segment.tcp_seq;
    frame.payload = segment.payload;
    frame.true_len = segment.true_len;
    let by_ip = datagram.end.saturating_sub(segment.payload);
    let end = segment.payload + min(segment.true_len, by_ip);
    frame.cap_len = packet.reach(end).saturating_sub(segment.payload);
    Ok(())
}

/// A packet on port 53, before its addresses are copied.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    network: u32,
    version: Version,
    vlan: [u16; 2],
    datagram: Datagram,
    segment: Segment,
}

const EMPTY: Frame = Frame {
    src: [0; 16],
    dst: [0; 16],
    src_port: 0,
    dst_port: 0,
    transport: 0,
    vlan: [NO_VLAN; 2],
    flags: 0,
    tcp_seq: 0,
    payload: 0,
    cap_len: 0,
    true_len: 0,
};

#[derive(Clone, Copy, Debug)]
enum Version {
    V4,
    V6,
}

/// A network-layer header, done with. Words only: of smaller fields the compiler writes bytes and reads words back, which
/// waits for the writes to end.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    protocol: u32,
    /// Offset of the transport header.
    transport: u32,
    /// Offset behind the last byte by the IP length.
    end: u32,
    /// Not 0 if it is one.
    first_fragment: u32,
}

/// A transport header, done with.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Source in the upper half, destination in the lower.
    ports: u32,
    payload: u32,
    true_len: u32,
    tcp_seq: u32,
    flags: u32,
}

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

#[inline(always)]
fn ethernet<P: Load + ?Sized>(packet: &P) -> Result<(u32, Version, [u16; 2]), Skip> {
    let mut ethertype = u16::from_be_bytes(packet.load(12).ok_or(Skip::Truncated)?);
    let mut offset = 14;
    let mut vlan = [NO_VLAN; 2];
    for tag in &mut vlan {
        if !is_vlan(ethertype) {
            break;
        }
        let [a, b, c, d] = packet.load(offset).ok_or(Skip::Truncated)?;
        *tag = u16::from_be_bytes([a, b]) & 0x0fff;
        ethertype = u16::from_be_bytes([c, d]);
        offset += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => Ok((offset, Version::V4, vlan)),
        ETHERTYPE_IPV6 => Ok((offset, Version::V6, vlan)),
        other if is_vlan(other) => Err(Skip::VlanDepth),
        _ => Err(Skip::NotDns),
    }
}

const _: () = assert!(MAX_VLAN == 2, "ethernet() and the ABI's vlan field hold two");

/// 802.1Q, 802.1ad and the older QinQ type.
#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// RFC 791 section 3.1.
#[inline(always)]
fn ipv4<P: Load + ?Sized>(packet: &P, at: u32) -> Result<Datagram, Skip> {
    let header = u64::from_be_bytes(packet.load(at).ok_or(Skip::Truncated)?);
    let [_, protocol] = packet.load(at + 8).ok_or(Skip::Truncated)?;
    let header_len = (header >> 56) as u32 % 16 * 4;
    if header >> 60 != 4 || header_len < 20 {
        return Err(Skip::BadIp);
    }
    let total = u32::from((header >> 32) as u16);
    // 0 with BIG TCP (linux b1a78b9b9886): the real length is the packet's.
    let end = if total == 0 { packet.size() } else { at + total };
    if end < at + header_len {
        return Err(Skip::BadIp);
    }
    let fragment = header as u16;
    if fragment & 0x1fff != 0 {
        return Err(later_fragment(protocol));
    }
    let first_fragment = u32::from(fragment & 0x2000);
    Ok(Datagram { protocol: u32::from(protocol), transport: at + header_len, end, first_fragment })
}

/// RFC 8200 sections 3 and 4.
#[inline(always)]
fn ipv6<P: Load + ?Sized>(packet: &P, at: u32) -> Result<Datagram, Skip> {
    let header = u64::from_be_bytes(packet.load(at).ok_or(Skip::Truncated)?);
    if header >> 60 != 6 {
        return Err(Skip::BadIp);
    }
    let payload_len = u32::from((header >> 16) as u16);
    // 0 is a jumbogram or BIG TCP: the real length is the packet's.
    let end = if payload_len == 0 { packet.size() } else { at + 40 + payload_len };
    let mut protocol = (header >> 8) as u8;
    let mut transport = at + 40;
    let mut first_fragment = 0;
    for _ in 0..=MAX_EXT_HEADERS {
        if transport > MAX_HEADER_OFFSET {
            return Err(Skip::ExtHeaders);
        }
        match protocol {
            UDP | TCP => {
                return Ok(Datagram { protocol: u32::from(protocol), transport, end, first_fragment });
            }
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in 8-byte units after the first.
            0 | 43 | 60 | 135 | 139 | 140 => {
                let [next, units] = packet.load(transport).ok_or(Skip::Truncated)?;
                protocol = next;
                transport += (u32::from(units) + 1) * 8;
            }
            // Authentication header: 4-byte units, less 2 (RFC 4302 section 2.2).
            51 => {
                let [next, units] = packet.load(transport).ok_or(Skip::Truncated)?;
                protocol = next;
                transport += (u32::from(units) + 2) * 4;
            }
            44 => {
                let [next, _, high, low] = packet.load(transport).ok_or(Skip::Truncated)?;
                let fragment = u16::from_be_bytes([high, low]);
                if fragment & 0xfff8 != 0 {
                    return Err(later_fragment(next));
                }
                first_fragment = u32::from(fragment & 1);
                protocol = next;
                transport += 8;
            }
            _ => return Err(Skip::NotDns),
        }
    }
    Err(Skip::ExtHeaders)
}

/// A later fragment hides its ports; of other protocols there is nothing to miss. Behind an extension header
/// (which may follow a fragment header) anything may hide.
#[inline(always)]
const fn later_fragment(protocol: u8) -> Skip {
    match protocol {
        UDP | TCP | 0 | 43 | 51 | 60 | 135 | 139 | 140 => Skip::LaterFragment,
        _ => Skip::NotDns,
    }
}

/// RFC 768.
#[inline(always)]
fn udp<P: Load + ?Sized>(packet: &P, datagram: &Datagram, stub: Option<u32>) -> Result<Segment, Skip> {
    let ports = u32::from_be_bytes(packet.load(datagram.transport).ok_or(Skip::Truncated)?);
    let len = packet.load(datagram.transport + 4).ok_or(Skip::Truncated)?;
    let Some(dns_ports) = dns_ports(packet, ports, stub) else {
        // VXLAN (IANA and Linux's old default) and Geneve.
        return Err(match ports as u16 {
            4789 | 8472 | 6081 => Skip::Encapsulated,
            _ => Skip::NotDns,
        });
    };
    let udp_len = u32::from(u16::from_be_bytes(len));
    let by_ip = datagram.end.saturating_sub(datagram.transport);
    if udp_len < 8 || (udp_len > by_ip && datagram.first_fragment == 0) {
        return Err(Skip::BadTransport);
    }
    let payload = datagram.transport + 8;
    Ok(Segment { ports: dns_ports, payload, true_len: udp_len - 8, tcp_seq: 0, flags: 0 })
}

/// RFC 9293 section 3.1.
#[inline(always)]
fn tcp<P: Load + ?Sized>(packet: &P, datagram: &Datagram, stub: Option<u32>) -> Result<Segment, Skip> {
    let ports = u32::from_be_bytes(packet.load(datagram.transport).ok_or(Skip::Truncated)?);
    let Some(ports) = dns_ports(packet, ports, stub) else {
        return Err(Skip::NotDns);
    };
    let tcp_seq = u32::from_be_bytes(packet.load(datagram.transport + 4).ok_or(Skip::Truncated)?);
    let [data_offset, bits] = packet.load(datagram.transport + 12).ok_or(Skip::Truncated)?;
    let header_len = u32::from(data_offset >> 4) * 4;
    let payload = datagram.transport + header_len;
    if header_len < 20 || payload > datagram.end {
        return Err(Skip::BadTransport);
    }
    let mut flags = 0;
    if bits & 0x01 != 0 {
        flags |= flag::TCP_FIN;
    }
    if bits & 0x02 != 0 {
        flags |= flag::TCP_SYN;
    }
    if bits & 0x04 != 0 {
        flags |= flag::TCP_RST;
    }
    Ok(Segment { ports, payload, true_len: datagram.end - payload, tcp_seq, flags: u32::from(flags) })
}

/// The ports (source in the upper half), if one of them is, or stands for, 53; `stub` is the offset of the IPv4 addresses
/// where [`STUB`] counts.
#[inline(always)]
fn dns_ports<P: Load + ?Sized>(packet: &P, ports: u32, stub: Option<u32>) -> Option<u32> {
    const DNS: u32 = DNS_PORT as u32;
    if ports >> 16 == DNS || ports & 0xffff == DNS {
        return Some(ports);
    }
    let addresses = u64::from_be_bytes(packet.load(stub?)?);
    if addresses as u32 == STUB {
        return Some(ports & !0xffff | DNS);
    }
    ((addresses >> 32) as u32 == STUB).then_some(DNS << 16 | ports & 0xffff)
}

/// `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    // Through one integer: the BPF backend stores it at once, but an array byte by byte.
    (0xffff_u128 << 32 | u32::from_be_bytes(v4) as u128).to_be_bytes()
}

/// `core::cmp::min` is not always inlined for BPF; this is.
#[inline(always)]
pub const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}
