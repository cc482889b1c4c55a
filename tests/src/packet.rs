//! Frames byte for byte: right by default, wrong where a test says so.
//!
//! ```
//! use earthdog_tests::{message::Message, packet::Frame};
//!
//! let frame = Frame::v4([10, 0, 0, 2], [10, 0, 0, 1])
//!     .vlan(0x8100, 42)
//!     .udp(40_000, 53)
//!     .payload(Message::query("www.example.com", 1).build())
//!     .build();
//! assert_eq!(&frame[12..18], [0x81, 0, 0, 42, 0x08, 0]);
//! ```
//!
//! Lengths and checksums are computed in `build` from what was put in, unless overridden (`udp_len`, `ip_len`, …); a
//! checksum covers the bytes as they are sent, so an overridden length still carries a checksum over them. Layers may
//! be missing: a frame without IP is Ethernet and payload, IP without transport is IP and payload.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Ethernet header without tags, bytes.
pub const ETH_LEN: usize = 14;
/// IP protocol numbers of extension headers (RFC 8200).
pub const HOP_BY_HOP: u8 = 0;
/// See `HOP_BY_HOP`.
pub const ROUTING: u8 = 43;
/// See `HOP_BY_HOP`.
pub const FRAGMENT: u8 = 44;
/// See `HOP_BY_HOP`.
pub const DESTINATION: u8 = 60;

/// TCP flag bits (RFC 9293).
pub const FIN: u8 = 0x01;
/// See `FIN`.
pub const SYN: u8 = 0x02;
/// See `FIN`.
pub const RST: u8 = 0x04;
/// See `FIN`.
pub const PSH: u8 = 0x08;
/// See `FIN`.
pub const ACK: u8 = 0x10;

/// A frame in the making; `build` gives its bytes.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Frame {
    src_mac: [u8; 6],
    dst_mac: [u8; 6],
    vlans: Vec<(u16, u16)>,
    ethertype: Option<u16>,
    ip: Option<Ip>,
    ext: Vec<(u8, Vec<u8>)>,
    protocol: Option<u8>,
    ip_len: Option<u16>,
    transport: Option<Transport>,
    payload: Vec<u8>,
    cut: Option<usize>,
    pad_to: usize,
}

#[derive(Clone, Debug)]
enum Ip {
    V4 {
        src: Ipv4Addr,
        dst: Ipv4Addr,
        options: Vec<u8>,
        version: u8,
        ihl: Option<u8>,
        id: u16,
        dont_fragment: bool,
        more: bool,
        /// In units of 8 bytes.
        offset: u16,
        ttl: u8,
        checksum: Option<u16>,
    },
    V6 {
        src: Ipv6Addr,
        dst: Ipv6Addr,
        version: u8,
        hop_limit: u8,
    },
}

#[derive(Clone, Debug)]
enum Transport {
    Udp {
        src: u16,
        dst: u16,
        len: Option<u16>,
        checksum: Option<u16>,
    },
    Tcp {
        src: u16,
        dst: u16,
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
        options: Vec<u8>,
        /// In 32-bit words.
        data_offset: Option<u8>,
        checksum: Option<u16>,
    },
}

impl Frame {
    /// Ethernet alone: EtherType and whatever `payload` holds.
    pub fn ethernet(ethertype: u16) -> Self {
        Self {
            src_mac: [2, 0, 0, 0, 0, 2],
            dst_mac: [2, 0, 0, 0, 0, 1],
            ethertype: Some(ethertype),
            ..Self::default()
        }
    }

    /// Ethernet and IPv4.
    pub fn v4(src: impl Into<Ipv4Addr>, dst: impl Into<Ipv4Addr>) -> Self {
        let ip = Ip::V4 {
            src: src.into(),
            dst: dst.into(),
            options: Vec::new(),
            version: 4,
            ihl: None,
            id: 0x1234,
            dont_fragment: false,
            more: false,
            offset: 0,
            ttl: 64,
            checksum: None,
        };
        Self { ethertype: None, ip: Some(ip), ..Self::ethernet(0) }
    }

    /// Ethernet and IPv6.
    pub fn v6(src: impl Into<Ipv6Addr>, dst: impl Into<Ipv6Addr>) -> Self {
        let ip = Ip::V6 { src: src.into(), dst: dst.into(), version: 6, hop_limit: 64 };
        Self { ethertype: None, ip: Some(ip), ..Self::ethernet(0) }
    }

    /// A DNS query over UDP and IPv4 as an ordinary stub sends it: the base of most tables.
    pub fn dns_query_v4(message: impl Into<Vec<u8>>) -> Self {
        Self::v4([10, 0, 0, 2], [10, 0, 0, 1]).udp(40_000, 53).payload(message)
    }

    /// Replaces both MAC addresses.
    pub fn macs(mut self, src: [u8; 6], dst: [u8; 6]) -> Self {
        (self.src_mac, self.dst_mac) = (src, dst);
        self
    }

    /// Adds a tag inside those already there: `tpid` 0x8100 or 0x88a8 (any value is taken), `tci` with priority bits.
    pub fn vlan(mut self, tpid: u16, tci: u16) -> Self {
        self.vlans.push((tpid, tci));
        self
    }

    /// Overrides the innermost EtherType.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// IPv4 options; padded with end-of-list to a multiple of four.
    pub fn ip_options(mut self, bytes: &[u8]) -> Self {
        *self.v4_mut().options = padded(bytes, 4);
        self
    }

    /// Version nibble, whatever the header that follows is.
    pub fn ip_version(mut self, value: u8) -> Self {
        match &mut self.ip {
            Some(Ip::V4 { version, .. } | Ip::V6 { version, .. }) => *version = value,
            None => panic!("no IP header"),
        }
        self
    }

    /// IPv4 header length field, in 32-bit words.
    pub fn ihl(mut self, words: u8) -> Self {
        *self.v4_mut().ihl = Some(words);
        self
    }

    /// IPv4 total length, or IPv6 payload length.
    pub fn ip_len(mut self, bytes: u16) -> Self {
        self.ip_len = Some(bytes);
        self
    }

    /// IPv4 identification.
    pub fn ip_id(mut self, value: u16) -> Self {
        *self.v4_mut().id = value;
        self
    }

    /// IPv4 "don't fragment".
    pub fn dont_fragment(mut self) -> Self {
        *self.v4_mut().dont_fragment = true;
        self
    }

    /// IPv4 TTL or IPv6 hop limit.
    pub fn ttl(mut self, value: u8) -> Self {
        match &mut self.ip {
            Some(Ip::V4 { ttl, .. } | Ip::V6 { hop_limit: ttl, .. }) => *ttl = value,
            None => panic!("no IP header"),
        }
        self
    }

    /// IPv4 header checksum.
    pub fn ip_checksum(mut self, value: u16) -> Self {
        *self.v4_mut().checksum = Some(value);
        self
    }

    /// Fragment fields; `offset` in units of 8 bytes. IPv4: in the header. IPv6: a fragment header after the
    /// extension headers so far. A later fragment has no transport header: leave `udp`/`tcp` out and name the protocol
    /// with `protocol`.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        if let Some(Ip::V4 { offset: o, more: m, .. }) = &mut self.ip {
            (*o, *m) = (offset, more);
            return self;
        }
        let field = (offset << 3) | u16::from(more);
        let mut body = vec![0];
        body.extend(field.to_be_bytes());
        body.extend(0xfeed_beef_u32.to_be_bytes());
        self.extension_raw(FRAGMENT, body)
    }

    /// Hop-by-hop options header; `options` padded with Pad1 to the multiple of 8 its length field needs.
    pub fn hop_by_hop(self, options: &[u8]) -> Self {
        self.extension(HOP_BY_HOP, options)
    }

    /// Destination options header, as `hop_by_hop`.
    pub fn destination_options(self, options: &[u8]) -> Self {
        self.extension(DESTINATION, options)
    }

    /// Routing header; `data` starts at the routing type.
    pub fn routing(self, data: &[u8]) -> Self {
        self.extension(ROUTING, data)
    }

    /// An IPv6 extension header of the usual shape (next header, length in 8-byte units less one, data).
    pub fn extension(self, protocol: u8, data: &[u8]) -> Self {
        let total = (data.len() + 2).next_multiple_of(8);
        let mut body = vec![u8::try_from(total / 8 - 1).expect("extension header too long")];
        body.extend(data);
        body.resize(total - 1, 0);
        self.extension_raw(protocol, body)
    }

    /// An IPv6 extension header as it is, without its first byte (next header), which `build` fills in.
    pub fn extension_raw(mut self, protocol: u8, body: impl Into<Vec<u8>>) -> Self {
        assert!(matches!(self.ip, Some(Ip::V6 { .. })), "extension headers need IPv6");
        self.ext.push((protocol, body.into()));
        self
    }

    /// Overrides the protocol that the last IP or extension header names.
    pub fn protocol(mut self, value: u8) -> Self {
        self.protocol = Some(value);
        self
    }

    /// UDP header.
    pub fn udp(mut self, src: u16, dst: u16) -> Self {
        self.transport = Some(Transport::Udp { src, dst, len: None, checksum: None });
        self
    }

    /// UDP length field.
    pub fn udp_len(mut self, bytes: u16) -> Self {
        let Some(Transport::Udp { len, .. }) = &mut self.transport else { panic!("no UDP header") };
        *len = Some(bytes);
        self
    }

    /// TCP header with `PSH|ACK` (see `flags`), no options.
    pub fn tcp(mut self, src: u16, dst: u16, seq: u32) -> Self {
        self.transport = Some(Transport::Tcp {
            src,
            dst,
            seq,
            ack: 1,
            flags: PSH | ACK,
            window: 0xfaf0,
            options: Vec::new(),
            data_offset: None,
            checksum: None,
        });
        self
    }

    /// TCP flags: `SYN | ACK` and so on.
    pub fn flags(mut self, value: u8) -> Self {
        let Some(Transport::Tcp { flags, .. }) = &mut self.transport else { panic!("no TCP header") };
        *flags = value;
        self
    }

    /// TCP acknowledgment number.
    pub fn ack(mut self, value: u32) -> Self {
        let Some(Transport::Tcp { ack, .. }) = &mut self.transport else { panic!("no TCP header") };
        *ack = value;
        self
    }

    /// TCP options; padded with end-of-list to a multiple of four.
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        let Some(Transport::Tcp { options, .. }) = &mut self.transport else { panic!("no TCP header") };
        *options = padded(bytes, 4);
        self
    }

    /// TCP data offset field, in 32-bit words.
    pub fn data_offset(mut self, words: u8) -> Self {
        let Some(Transport::Tcp { data_offset, .. }) = &mut self.transport else { panic!("no TCP header") };
        *data_offset = Some(words);
        self
    }

    /// UDP or TCP checksum.
    pub fn checksum(mut self, value: u16) -> Self {
        match &mut self.transport {
            Some(Transport::Udp { checksum, .. } | Transport::Tcp { checksum, .. }) => {
                *checksum = Some(value);
            }
            None => panic!("no transport header"),
        }
        self
    }

    /// What follows the last header, replacing what was there.
    pub fn payload(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.payload = bytes.into();
        self
    }

    /// Cuts the frame to so many bytes after everything was computed: a short capture, a lying length.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Pads the frame with zeros behind the IP packet, as Ethernet does to 60 bytes.
    pub fn pad_to(mut self, bytes: usize) -> Self {
        self.pad_to = bytes;
        self
    }

    /// The frame with its Ethernet header.
    pub fn build(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.payload.len());
        out.extend(self.dst_mac);
        out.extend(self.src_mac);
        for (tpid, tci) in &self.vlans {
            out.extend(tpid.to_be_bytes());
            out.extend(tci.to_be_bytes());
        }
        let ethertype = self.ethertype.unwrap_or(match self.ip {
            Some(Ip::V6 { .. }) => 0x86dd,
            Some(Ip::V4 { .. }) | None => 0x0800,
        });
        out.extend(ethertype.to_be_bytes());
        out.extend(self.packet());
        if out.len() < self.pad_to {
            out.resize(self.pad_to, 0);
        }
        if let Some(cut) = self.cut {
            out.truncate(cut);
        }
        out
    }

    /// The IP packet without Ethernet, as RAW captures and cgroup hooks have it; `cut` and `pad_to` do not apply.
    pub fn packet(&self) -> Vec<u8> {
        let inner = self.transport_bytes();
        let protocol = self.protocol.unwrap_or(match self.transport {
            Some(Transport::Udp { .. }) => 17,
            Some(Transport::Tcp { .. }) => 6,
            None => 59,
        });
        match &self.ip {
            None => inner,
            Some(Ip::V4 { .. }) => self.v4_bytes(protocol, &inner),
            Some(Ip::V6 { src, dst, version, hop_limit }) => {
                let mut chain = Vec::new();
                for (i, (_, body)) in self.ext.iter().enumerate() {
                    chain.push(self.ext.get(i + 1).map_or(protocol, |(next, _)| *next));
                    chain.extend(body);
                }
                chain.extend(inner);
                let len = self.ip_len.unwrap_or_else(|| len16(chain.len()));
                let mut out = vec![version << 4, 0, 0, 0];
                out.extend(len.to_be_bytes());
                out.push(self.ext.first().map_or(protocol, |(first, _)| *first));
                out.push(*hop_limit);
                out.extend(src.octets());
                out.extend(dst.octets());
                out.extend(chain);
                out
            }
        }
    }

    fn v4_bytes(&self, protocol: u8, inner: &[u8]) -> Vec<u8> {
        let Some(Ip::V4 { src, dst, options, version, ihl, id, dont_fragment, more, offset, ttl, checksum }) =
            &self.ip
        else {
            unreachable!("called for IPv4 only")
        };
        let header = 20 + options.len();
        let ihl = ihl.unwrap_or(u8::try_from(header / 4).expect("IPv4 options too long"));
        let len = self.ip_len.unwrap_or_else(|| len16(header + inner.len()));
        let fragment = (u16::from(*dont_fragment) << 14) | (u16::from(*more) << 13) | (offset & 0x1fff);
        let mut out = vec![(version << 4) | (ihl & 0xf), 0];
        out.extend(len.to_be_bytes());
        out.extend(id.to_be_bytes());
        out.extend(fragment.to_be_bytes());
        out.extend([*ttl, protocol, 0, 0]);
        out.extend(src.octets());
        out.extend(dst.octets());
        out.extend(options);
        let sum = checksum.unwrap_or_else(|| internet_checksum(&out));
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(inner);
        out
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(60 + self.payload.len());
        match &self.transport {
            None => out.extend(&self.payload),
            Some(Transport::Udp { src, dst, len, checksum }) => {
                out.extend(src.to_be_bytes());
                out.extend(dst.to_be_bytes());
                out.extend(len.unwrap_or_else(|| len16(8 + self.payload.len())).to_be_bytes());
                out.extend([0, 0]);
                out.extend(&self.payload);
                // 0 says "no checksum" in UDP, so a sum of 0 is sent as its complement (RFC 768).
                let sum = checksum.unwrap_or_else(|| match self.transport_checksum(17, &out) {
                    0 => 0xffff,
                    sum => sum,
                });
                out[6..8].copy_from_slice(&sum.to_be_bytes());
            }
            Some(Transport::Tcp { src, dst, seq, ack, flags, window, options, data_offset, checksum }) => {
                let words =
                    data_offset.unwrap_or(5 + u8::try_from(options.len() / 4).expect("TCP options too long"));
                out.extend(src.to_be_bytes());
                out.extend(dst.to_be_bytes());
                out.extend(seq.to_be_bytes());
                out.extend(ack.to_be_bytes());
                out.extend([words << 4, *flags]);
                out.extend(window.to_be_bytes());
                out.extend([0, 0, 0, 0]);
                out.extend(options);
                out.extend(&self.payload);
                let sum = checksum.unwrap_or_else(|| self.transport_checksum(6, &out));
                out[16..18].copy_from_slice(&sum.to_be_bytes());
            }
        }
        out
    }

    /// Over the pseudo-header of RFC 9293 or RFC 8200 and the segment.
    fn transport_checksum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let mut bytes = Vec::with_capacity(40 + segment.len());
        match &self.ip {
            Some(Ip::V4 { src, dst, .. }) => {
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            Some(Ip::V6 { src, dst, .. }) => {
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            None => {}
        }
        bytes.extend((segment.len() as u32).to_be_bytes());
        bytes.extend(u32::from(protocol).to_be_bytes());
        bytes.extend(segment);
        internet_checksum(&bytes)
    }

    fn v4_mut(&mut self) -> V4Fields<'_> {
        match &mut self.ip {
            Some(Ip::V4 { options, ihl, id, dont_fragment, checksum, .. }) => {
                V4Fields { options, ihl, id, dont_fragment, checksum }
            }
            Some(Ip::V6 { .. }) | None => panic!("needs an IPv4 header"),
        }
    }
}

/// What only IPv4 has and a builder method may set.
struct V4Fields<'a> {
    options: &'a mut Vec<u8>,
    ihl: &'a mut Option<u8>,
    id: &'a mut u16,
    dont_fragment: &'a mut bool,
    checksum: &'a mut Option<u16>,
}

/// RFC 1071.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn padded(bytes: &[u8], multiple: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(bytes.len().next_multiple_of(multiple), 0);
    out
}

/// Length fields wrap like the sender's would: a packet over 65,535 bytes is wrong in any case.
fn len16(len: usize) -> u16 {
    len as u16
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;
    use crate::message::Message;

    fn query() -> Vec<u8> {
        Message::query("www.example.com", 1).build()
    }

    #[test]
    fn udp_v4_is_what_an_independent_parser_reads() {
        let frame = Frame::v4([10, 0, 0, 2], [10, 0, 0, 1])
            .vlan(0x88a8, 7)
            .vlan(0x8100, 42)
            .ip_options(&[1, 1, 1])
            .udp(40_000, 53)
            .payload(query())
            .build();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &sliced.net else { panic!("not IPv4: {:?}", sliced.net) };
        assert_eq!(ip.header().ihl(), 6);
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("not UDP") };
        assert_eq!((udp.source_port(), udp.destination_port()), (40_000, 53));
        let sum = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap();
        assert_eq!(udp.checksum(), sum);
        assert_eq!(udp.payload(), query());
    }

    #[test]
    fn udp_v6_behind_extension_headers() {
        let (src, dst) = ("fd00::2".parse::<Ipv6Addr>().unwrap(), "fd00::1".parse::<Ipv6Addr>().unwrap());
        let frame = Frame::v6(src, dst)
            .hop_by_hop(&[5, 2, 0, 0])
            .destination_options(&[1, 8, 0, 0, 0, 0, 0, 0, 0, 0])
            .fragment(0, false)
            .udp(40_000, 53)
            .payload(query())
            .build();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("not UDP: {sliced:?}") };
        let Some(NetSlice::Ipv6(ip)) = &sliced.net else { panic!("not IPv6") };
        assert_eq!(usize::from(ip.header().payload_length()), frame.len() - ETH_LEN - 40);
        let sum = udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap();
        assert_eq!(udp.checksum(), sum);
    }

    #[test]
    fn tcp_with_options() {
        let frame = Frame::v4([10, 0, 0, 2], [10, 0, 0, 1])
            .tcp(40_000, 53, 77)
            .flags(SYN | ACK)
            .tcp_options(&[2, 4, 5, 180])
            .payload(query())
            .build();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("not TCP") };
        assert_eq!((tcp.sequence_number(), tcp.syn(), tcp.ack(), tcp.data_offset()), (77, true, true, 6));
        let sum = tcp.calc_checksum_ipv4([10, 0, 0, 2], [10, 0, 0, 1]).unwrap();
        assert_eq!(tcp.checksum(), sum);
        assert_eq!(tcp.payload(), query());
    }

    #[test]
    fn overrides_reach_the_wire() {
        let base = Frame::dns_query_v4(query());
        assert_eq!(base.clone().udp_len(9).build()[ETH_LEN + 24..][..2], 9u16.to_be_bytes());
        assert_eq!(base.clone().ip_len(21).build()[ETH_LEN + 2..][..2], 21u16.to_be_bytes());
        assert_eq!(base.clone().ihl(4).build()[ETH_LEN], 0x44);
        assert_eq!(base.clone().ip_version(5).build()[ETH_LEN], 0x55);
        assert_eq!(base.clone().fragment(3, true).build()[ETH_LEN + 6..][..2], 0x2003u16.to_be_bytes());
        assert_eq!(base.clone().cut(30).build().len(), 30);
        assert_eq!(base.pad_to(500).build().len(), 500);
    }
}
