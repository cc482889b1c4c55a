//! Captures made from captures: the same messages, carried, timed or shared out in another way.
//!
//! Every function here takes packets as `earthdog replay` reads them and gives packets; `capture` writes them as a file.
//! The same seed gives the same bytes.

pub mod mix;
pub mod names;
pub mod session;
pub mod spread;
pub mod stretch;
pub mod transport;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;

use earthdog::event::{Event, Packet, Transport};
use earthdog::source::{self, Tally};
use sensor_ebpf::abi::flag;

use crate::capture::{ETHERNET, Pcap};
use crate::packet::{ACK, FIN, Frame, PSH, RST, SYN};

pub use earthdog::emulate::Random;
pub use session::Session;

/// All packets of a capture or log, in its order.
pub fn read(path: &Path) -> Result<Vec<Packet>, source::Error> {
    let mut packets = Vec::new();
    source::read(path, &mut Tally::default(), &mut |event| {
        if let Event::Packet(packet) = event {
            packets.push(packet);
        }
        ControlFlow::Continue(())
    })?;
    Ok(packets)
}

/// A pcap file of the packets; times to the nanosecond.
pub fn capture(packets: &[Packet]) -> Vec<u8> {
    let frames: Vec<_> = packets.iter().map(|packet| (packet.time_ns, frame(packet))).collect();
    Pcap { nanos: true, ..Pcap::default() }.file(ETHERNET, &frames)
}

/// In the order of time; packets of one time stay as they are.
pub fn sort(packets: &mut [Packet]) {
    packets.sort_by_key(|packet| packet.time_ns);
}

pub fn to_server(packet: &Packet) -> bool {
    packet.flags & flag::TO_SERVER != 0
}

/// Replaces the client's address, on whichever side it is.
pub fn set_client(packet: &mut Packet, ip: IpAddr) {
    if to_server(packet) { &mut packet.src } else { &mut packet.dst }.set_ip(ip);
}

/// See `set_client`.
pub fn set_server(packet: &mut Packet, ip: IpAddr) {
    if to_server(packet) { &mut packet.dst } else { &mut packet.src }.set_ip(ip);
}

/// The frame that would have been read as this packet. One that the capture cut is cut again: lengths are the true ones.
fn frame(packet: &Packet) -> Vec<u8> {
    let (frame, ip_header) = match (packet.src.ip(), packet.dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (Frame::v4(src, dst), 20),
        (src, dst) => (Frame::v6(transport::v6(src), transport::v6(dst)), 0),
    };
    let frame = packet.vlan.iter().flatten().fold(frame, |frame, id| frame.vlan(0x8100, *id));
    let (src, dst) = (packet.src.port(), packet.dst.port());
    let true_len = packet.true_len as u16;
    let cut = packet.true_len as usize > packet.payload.len();
    let frame = match packet.transport {
        Transport::Udp => {
            let frame = frame.udp(src, dst);
            if cut { frame.udp_len(true_len + 8).ip_len(true_len + 8 + ip_header) } else { frame }
        }
        Transport::Tcp => {
            let bits = [(flag::TCP_SYN, SYN), (flag::TCP_FIN, FIN), (flag::TCP_RST, RST)];
            let control: u8 =
                bits.iter().filter(|(bit, _)| packet.flags & bit != 0).map(|(_, tcp)| tcp).sum();
            let data = if packet.payload.is_empty() { 0 } else { PSH };
            // The first SYN of a connection is the only segment that acknowledges nothing.
            let first = control == SYN && to_server(packet);
            let flags = control | data | if first { 0 } else { ACK };
            let frame = frame.tcp(src, dst, packet.tcp_seq).flags(flags);
            if cut { frame.ip_len(true_len + 20 + ip_header) } else { frame }
        }
    };
    frame.payload(packet.payload.to_vec()).build()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;
    use std::net::SocketAddr;

    use bytes::Bytes;
    use earthdog::event::{Kind, View, no_owner};
    use sensor_ebpf::abi;

    use super::*;
    use crate::message::{Message, rtype, txt};

    pub(crate) const CLIENT: &str = "192.0.2.7:40000";
    pub(crate) const SERVER: &str = "192.0.2.53:53";

    /// A UDP message at a time in milliseconds.
    pub(crate) fn packet(time_ms: u64, src: &str, dst: &str, message: impl Into<Vec<u8>>) -> Packet {
        let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let payload = Bytes::from(message.into());
        Packet {
            time_ns: 1_700_000_000_000_000_000 + time_ms * 1_000_000,
            view: View::Capture,
            kind: Kind::Message,
            transport: Transport::Udp,
            src,
            dst,
            ifindex: 0,
            vlan: [None; 2],
            tcp_seq: 0,
            flags: if dst.port() == 53 { flag::TO_SERVER } else { flag::RESPONSE },
            true_len: payload.len() as u32,
            payload,
            owner: no_owner(abi::no_owner::WIRE_VIEW),
        }
    }

    /// A query and its answer 20 ms later, whose TXT owner is a pointer and whose CNAME is spelled out.
    pub(crate) fn lookup(time_ms: u64, name: &str) -> [Packet; 2] {
        let id = time_ms as u16;
        let target = crate::message::Name::from(format!("r{name}"));
        let answer = Message::response(name, rtype::TXT)
            .id(id)
            .answer(rtype::CNAME, 0, target.as_bytes())
            .answer(rtype::TXT, 0, txt(b"reply"));
        [
            packet(time_ms, CLIENT, SERVER, Message::query(name, rtype::TXT).id(id)),
            packet(time_ms + 20, SERVER, CLIENT, answer),
        ]
    }

    /// So many look-ups under t.tunnel.example, half a second apart.
    pub(crate) fn tunnel(count: u64) -> Vec<Packet> {
        let name =
            |n: u64| format!("{:08x}{n:04x}.t.tunnel.example", n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff);
        (0..count).flat_map(|n| lookup(n * 500, &name(n))).collect()
    }

    pub(crate) fn read_back(packets: &[Packet]) -> Vec<Packet> {
        let mut read = Vec::new();
        let mut tally = Tally::default();
        source::read_from(Cursor::new(capture(packets)), &mut tally, &mut |event| {
            if let Event::Packet(packet) = event {
                read.push(packet);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(tally.skipped.is_empty(), "{tally:?}");
        read
    }

    fn parts(packet: &Packet) -> (u64, SocketAddr, SocketAddr, u32, bool, &[u8]) {
        let Packet { time_ns, src, dst, true_len, payload, .. } = packet;
        (*time_ns, *src, *dst, *true_len, to_server(packet), payload)
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let mut packets = tunnel(3);
        packets[2].payload.truncate(30);
        packets[4].vlan = [Some(42), None];
        let read = read_back(&packets);
        assert_eq!(read.iter().map(parts).collect::<Vec<_>>(), packets.iter().map(parts).collect::<Vec<_>>());
        assert_eq!(read[4].vlan, [Some(42), None]);
    }
}
