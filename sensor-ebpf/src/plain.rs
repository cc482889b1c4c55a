//! The short way to the DNS payload, for what nearly every packet is: IPv4 without tags, options and fragments, UDP. One
//! look at bounds and offsets that are constants, where `frame::locate` asks for each field. What is in any way unusual is
//! left to that.

use crate::frame::{DNS_PORT, ETHERTYPE_IPV4, Frame, Link, NO_VLAN, STUB, UDP};

/// What nearly every packet begins with, in words as they lie there, the first byte lowest: an IPv4 header without options
/// and eight bytes behind it.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Ethertype, where there is a link header.
    pub ethertype: u16,
    /// Version, length, identification, fragment.
    pub first: u64,
    /// Time to live, protocol.
    pub second: u16,
    pub addresses: u64,
    pub transport: u64,
}

/// What [`plain`] says of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Outlook {
    /// `frame::locate` has to look.
    Unclear,
    /// Nothing to count.
    NotDns,
    Dns(Plain),
}

/// A whole UDP datagram on port 53 over IPv4 without tags, options and fragments.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    addresses: u64,
    ports: u32,
    payload: u32,
    len: u32,
}

/// Bytes of both headers.
const HEADERS: u32 = 20 + 8;

/// What `frame::locate` says of a packet of which `linear` bytes lie in linear memory, or nothing.
#[inline(always)]
pub fn plain(head: &Head, link: Link, linear: u32) -> Outlook {
    const NETWORK: u16 = ETHERTYPE_IPV4.to_be();
    const DNS: u32 = DNS_PORT.to_be() as u32;
    let ethernet = matches!(link, Link::Ethernet);
    // One byte is version and header length; of the fragment word any but "don't fragment" makes it one.
    let usual = (!ethernet || head.ethertype == NETWORK)
        && head.first & 0x3fff_u64.swap_bytes() == 0
        && head.first as u8 == 0x45
        && head.second >> 8 == u16::from(UDP);
    let total = u32::from(u16::from_be((head.first >> 16) as u16));
    if !usual || total < HEADERS {
        return Outlook::Unclear;
    }
    let mut ports = head.transport as u32;
    if ports & 0xffff != DNS && ports >> 16 != DNS {
        const STUB_AT: u32 = STUB.to_be();
        if matches!(link, Link::Socket) && (head.addresses >> 32) as u32 == STUB_AT {
            ports = ports & 0xffff | DNS << 16;
        } else if matches!(link, Link::Socket) && head.addresses as u32 == STUB_AT {
            ports = ports & !0xffff | DNS;
        } else {
            return match u16::from_be((ports >> 16) as u16) {
                4789 | 8472 | 6081 => Outlook::Unclear,
                _ => Outlook::NotDns,
            };
        }
    }
    let udp_len = u32::from(u16::from_be((head.transport >> 32) as u16));
    let payload = if ethernet { 14 + HEADERS } else { HEADERS };
    let len = udp_len.wrapping_sub(8);
    if udp_len < 8 || len > total - HEADERS || payload + len > linear {
        return Outlook::Unclear;
    }
    Outlook::Dns(Plain { addresses: head.addresses, ports, payload, len })
}

impl Plain {
    /// Writes the frame, in place.
    #[inline(always)]
    pub fn write(&self, frame: &mut Frame) {
        const MAPPED: u64 = 0xffff_0000;
        frame.src[..8].copy_from_slice(&[0; 8]);
        frame.dst[..8].copy_from_slice(&[0; 8]);
        frame.src[8..].copy_from_slice(&(self.addresses << 32 | MAPPED).to_le_bytes());
        frame.dst[8..].copy_from_slice(&(self.addresses >> 32 << 32 | MAPPED).to_le_bytes());
        frame.src_port = u16::from_be(self.ports as u16);
        frame.dst_port = u16::from_be((self.ports >> 16) as u16);
        frame.transport = UDP;
        frame.vlan = [NO_VLAN; 2];
        frame.flags = 0;
        frame.tcp_seq = 0;
        frame.payload = self.payload;
        frame.cap_len = self.len;
        frame.true_len = self.len;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::frame::{self, Skip};

    fn head(packet: &[u8], network: usize) -> Option<Head> {
        let bytes: [u8; HEADERS as usize] =
            packet.get(network..network + HEADERS as usize)?.try_into().ok()?;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        Some(Head {
            ethertype: if network == 0 { 0 } else { u16::from_le_bytes([packet[12], packet[13]]) },
            first: word(0),
            second: word(8) as u16,
            addresses: word(12),
            transport: word(20),
        })
    }

    /// Ethernet, IPv4, UDP with so many bytes of payload; the IP header says so many more.
    fn packet(ports: [u16; 2], dst: [u8; 4], len: u16, more: u16) -> Vec<u8> {
        let mut packet = [2; 12].to_vec();
        packet.extend([8, 0, 0x45, 0]);
        packet.extend((28 + len + more).to_be_bytes());
        packet.extend([0, 1, 0x40, 0, 64, UDP, 0, 0, 192, 0, 2, 1]);
        packet.extend(dst);
        packet.extend(ports[0].to_be_bytes());
        packet.extend(ports[1].to_be_bytes());
        packet.extend((8 + len).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend((0..len).map(|n| n as u8));
        packet
    }

    /// Whether the short way was taken, which has to lead where the long one does.
    fn short(packet: &[u8], link: Link) -> bool {
        let network = if link == Link::Ethernet { 14 } else { 0 };
        let Some(head) = head(packet, network) else { return false };
        let expected = frame::parse(packet, link);
        match plain(&head, link, packet.len() as u32) {
            Outlook::Unclear => return false,
            Outlook::NotDns => assert_eq!(expected, Err(Skip::NotDns), "{packet:02x?}"),
            Outlook::Dns(plain) => {
                // What is left of the packet before.
                let mut found = Frame {
                    src: [9; 16],
                    dst: [9; 16],
                    src_port: 9,
                    dst_port: 9,
                    transport: 9,
                    vlan: [9; 2],
                    flags: 9,
                    tcp_seq: 9,
                    payload: 9,
                    cap_len: 9,
                    true_len: 9,
                };
                plain.write(&mut found);
                assert_eq!(expected, Ok(found), "{packet:02x?}");
            }
        }
        true
    }

    #[test]
    fn it_leads_where_the_long_way_does_whatever_a_byte_of_the_headers_says() {
        const STUB_ADDRESS: [u8; 4] = STUB.to_be_bytes();
        let (mut taken, mut left) = (0, 0);
        for ports in [[40_000, 53], [53, 40_000], [53, 53], [40_000, 443], [40_000, 4789], [40_000, 6081]] {
            for dst in [[10, 0, 0, 1], STUB_ADDRESS] {
                for (len, more) in [(0, 0), (1, 0), (33, 0), (33, 5), (512, 0)] {
                    let whole = packet(ports, dst, len, more);
                    for link in [Link::Ethernet, Link::Ip, Link::Socket] {
                        let start = if link == Link::Ethernet { 0 } else { 14 };
                        for cut in [0, 1, len / 2, len, len + 1, len + 9] {
                            let end = (whole.len() - usize::from(cut)).max(start);
                            if short(&whole[start..end], link) { taken += 1 } else { left += 1 }
                        }
                        for at in start.max(12)..42 {
                            for value in 0..=u8::MAX {
                                let mut changed = whole.clone();
                                changed[at] = value;
                                if short(&changed[start..], link) { taken += 1 } else { left += 1 }
                            }
                        }
                    }
                }
            }
        }
        assert!(taken > 100_000 && left > 100_000, "{taken} the short way, {left} not");
    }

    #[test]
    fn it_is_taken_by_an_ordinary_query_and_by_other_traffic() {
        for ports in [[40_000, 53], [53, 40_000], [40_000, 443]] {
            let whole = packet(ports, [10, 0, 0, 1], 33, 0);
            assert!(short(&whole, Link::Ethernet), "{ports:?}");
            assert!(short(&whole[14..], Link::Socket), "{ports:?}");
        }
    }
}
