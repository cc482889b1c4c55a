//! The same messages over TCP, IPv6 or in a VLAN.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use earthdog::event::{Kind, Packet, Transport};
use sensor_ebpf::abi::flag;

use super::to_server;

/// An IPv4 address at the end of a unique local network (RFC 4193).
pub fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V6(ip) => ip,
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            let pair = |high, low| u16::from_be_bytes([high, low]);
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, pair(a, b), pair(c, d))
        }
    }
}

pub fn over_ipv6(packets: &[Packet]) -> Vec<Packet> {
    let mut packets = packets.to_vec();
    for packet in &mut packets {
        packet.src.set_ip(v6(packet.src.ip()).into());
        packet.dst.set_ip(v6(packet.dst.ip()).into());
    }
    packets
}

/// Behind one 802.1Q tag.
pub fn in_vlan(packets: &[Packet], id: u16) -> Vec<Packet> {
    let tag = |packet: &Packet| Packet { vlan: [Some(id), None], ..packet.clone() };
    packets.iter().map(tag).collect()
}

/// One connection for each client port and server, from handshake to FIN; a message a segment. What is no DNS message
/// stays on UDP.
pub fn over_tcp(packets: &[Packet]) -> Vec<Packet> {
    let mut left: BTreeMap<(SocketAddr, SocketAddr), usize> = BTreeMap::new();
    for packet in packets.iter().filter(|packet| is_message(packet)) {
        *left.entry(packet.client_server()).or_default() += 1;
    }
    let mut open: BTreeMap<(SocketAddr, SocketAddr), [u32; 2]> = BTreeMap::new();
    let mut out = Vec::new();
    for packet in packets {
        if !is_message(packet) {
            out.push(packet.clone());
            continue;
        }
        let key = packet.client_server();
        let next = open.entry(key).or_insert_with(|| {
            for (back, up, bits) in [(3, true, flag::TCP_SYN), (2, false, flag::TCP_SYN)] {
                out.push(control(packet, key, up, FIRST[usize::from(up)], bits, packet.time_ns - back));
            }
            FIRST.map(|first| first + 1)
        });
        let side = &mut next[usize::from(to_server(packet))];
        let bytes = [&(packet.true_len as u16).to_be_bytes(), &packet.payload[..]].concat();
        out.push(Packet { tcp_seq: *side, ..segment(packet, bytes.into()) });
        *side = side.wrapping_add(packet.true_len + 2);
        let more = left.entry(key).or_default();
        *more -= 1;
        if *more == 0 {
            for (after, up) in [(1, true), (2, false)] {
                let seq = next[usize::from(up)];
                out.push(control(packet, key, up, seq, flag::TCP_FIN, packet.time_ns + after));
            }
            open.remove(&key);
        }
    }
    super::sort(&mut out);
    out
}

/// Sequence numbers that a server's and a client's connections begin with.
const FIRST: [u32; 2] = [5_000, 1_000];

fn is_message(packet: &Packet) -> bool {
    packet.kind == Kind::Message && packet.transport == Transport::Udp
}

fn segment(packet: &Packet, payload: Bytes) -> Packet {
    let true_len = packet.true_len + 2;
    Packet { kind: Kind::Segment, transport: Transport::Tcp, true_len, payload, ..packet.clone() }
}

/// A segment without payload.
fn control(
    like: &Packet,
    (client, server): (SocketAddr, SocketAddr),
    up: bool,
    seq: u32,
    bits: u16,
    time_ns: u64,
) -> Packet {
    let (src, dst) = if up { (client, server) } else { (server, client) };
    let flags = bits | if up { flag::TO_SERVER } else { 0 };
    let packet = segment(like, Bytes::new());
    Packet { src, dst, flags, tcp_seq: seq, true_len: 0, time_ns, ..packet }
}

#[cfg(test)]
mod tests {
    use earthdog::event::Event;
    use earthdog::finding::Origin;
    use earthdog::pipeline::{Pipeline, Settings};

    use super::*;
    use crate::derive::tests::{CLIENT, SERVER, packet, read_back, tunnel};

    /// Queries and responses that the sensor's own reader and pipeline find in the file.
    fn messages(packets: &[Packet]) -> (u64, u64) {
        let mut pipeline = Pipeline::new(Settings::default(), Origin::Replay);
        for packet in read_back(packets) {
            pipeline.push(Event::Packet(packet), &mut |_| {});
        }
        pipeline.finish(&mut |_| {});
        let stats = pipeline.stats();
        assert_eq!((stats.reassembly.gaps, stats.reassembly.unframed_bytes), (0, 0));
        (stats.queries, stats.responses)
    }

    #[test]
    fn every_carrier_brings_every_message() {
        let packets = tunnel(30);
        for carried in
            [over_tcp(&packets), over_ipv6(&packets), in_vlan(&packets, 42), over_tcp(&over_ipv6(&packets))]
        {
            assert_eq!(messages(&carried), (30, 30));
        }
    }

    #[test]
    fn a_connection_has_a_handshake_and_an_end() {
        let mut packets = tunnel(2);
        packets.push(packet(9_000, CLIENT, SERVER, *b"\x10\xd1\x9e\x01 no message"));
        packets[4].kind = Kind::Datagram;
        let tcp = over_tcp(&packets);
        let bits: Vec<_> =
            tcp.iter().map(|p| (p.flags & (flag::TCP_SYN | flag::TCP_FIN), !p.payload.is_empty())).collect();
        let (syn, fin) = (flag::TCP_SYN, flag::TCP_FIN);
        assert_eq!(
            bits,
            [
                (syn, false),
                (syn, false),
                (0, true),
                (0, true),
                (0, true),
                (0, true),
                (fin, false),
                (fin, false),
                (0, true)
            ]
        );
        assert_eq!(tcp[2].tcp_seq, 1_001);
        assert_eq!(tcp[4].tcp_seq, 1_001 + 2 + packets[0].true_len);
        assert_eq!(tcp[8].transport, Transport::Udp);
    }
}
