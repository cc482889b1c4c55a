//! Messages that come without a frame (Zeek rows, dnstap) as the packets they were.

use std::net::{SocketAddr, SocketAddrV4};

use bytes::Bytes;
use sensor_ebpf::abi::{flag, no_owner};

use crate::event::{Event, Kind, Packet, Transport, View, no_owner};

/// Length of a DNS header (RFC 1035 section 4.1.1).
pub(super) const HEADER: usize = 12;

/// A message between a client and a server; the QR bit says which way it went.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) time_ns: u64,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) transport: Transport,
    pub(super) response: bool,
    pub(super) bytes: Bytes,
}

impl Event {
    /// A UDP datagram between a client and port 53 of a server.
    pub fn from_udp(time_ns: u64, src: SocketAddrV4, dst: SocketAddrV4, payload: &[u8]) -> Self {
        let response = dst.port() != 53;
        let (client, server) = if response { (dst, src) } else { (src, dst) };
        Self::from(Message {
            time_ns,
            client: client.into(),
            server: server.into(),
            transport: Transport::Udp,
            response,
            bytes: Bytes::copy_from_slice(payload),
        })
    }
}

impl From<Message> for Event {
    fn from(message: Message) -> Self {
        let whole = message.bytes.len() >= HEADER;
        let (src, dst, flags) = if message.response {
            (message.server, message.client, flag::RESPONSE)
        } else {
            (message.client, message.server, flag::TO_SERVER)
        };
        Self::Packet(Packet {
            time_ns: message.time_ns,
            view: View::Capture,
            kind: if whole { Kind::Message } else { Kind::Datagram },
            transport: message.transport,
            src,
            dst,
            ifindex: 0,
            vlan: [None; 2],
            tcp_seq: 0,
            flags,
            true_len: message.bytes.len() as u32,
            payload: message.bytes,
            owner: no_owner(no_owner::WIRE_VIEW),
        })
    }
}
