//! Messages as dnstap (dnstap.proto), and the frame streams that they travel in (the fstrm control protocol).

use std::net::{IpAddr, SocketAddr};

use super::encode::About;
use crate::logged::Logged;

const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// Control frames, by number.
pub mod control {
    pub const ACCEPT: u32 = 1;
    pub const START: u32 = 2;
    pub const STOP: u32 = 3;
    pub const READY: u32 = 4;
    pub const FINISH: u32 = 5;
}

/// A `Dnstap` message of protobuf.
pub(super) fn message(logged: &Logged, about: &About) -> Vec<u8> {
    let (client, server) = logged.client_server();
    let seconds = logged.time_ns / 1_000_000_000;
    let nanoseconds = (logged.time_ns % 1_000_000_000) as u32;
    let mut body = Vec::with_capacity(logged.bytes.len() + 96);
    // CLIENT_RESPONSE, CLIENT_QUERY: the sensor sees clients and whom they ask.
    integer(&mut body, 1, if logged.response { 6 } else { 5 });
    integer(&mut body, 2, if client.is_ipv4() { 1 } else { 2 });
    integer(&mut body, 3, if logged.transport == "tcp" { 2 } else { 1 });
    bytes(&mut body, 4, &address(client));
    bytes(&mut body, 5, &address(server));
    integer(&mut body, 6, client.port().into());
    integer(&mut body, 7, server.port().into());
    if logged.response {
        integer(&mut body, 12, seconds);
        fixed32(&mut body, 13, nanoseconds);
        bytes(&mut body, 14, &logged.bytes);
    } else {
        integer(&mut body, 8, seconds);
        fixed32(&mut body, 9, nanoseconds);
        bytes(&mut body, 10, &logged.bytes);
    }
    let mut out = Vec::with_capacity(body.len() + 64);
    if let Some(host) = &about.hostname {
        bytes(&mut out, 1, host.as_bytes());
    }
    bytes(&mut out, 2, concat!("earthdog ", env!("CARGO_PKG_VERSION")).as_bytes());
    bytes(&mut out, 14, &body);
    integer(&mut out, 15, 1);
    out
}

/// A data frame.
pub fn data_frame(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32).to_be_bytes(), data].concat()
}

/// A control frame; READY and START say what the stream holds.
pub fn control_frame(kind: u32) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if matches!(kind, control::READY | control::START) {
        body.extend(1_u32.to_be_bytes());
        body.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        body.extend(CONTENT_TYPE);
    }
    [&[0; 4], &(body.len() as u32).to_be_bytes(), &body[..]].concat()
}

fn address(of: SocketAddr) -> Vec<u8> {
    match of.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn integer(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed32(out: &mut Vec<u8>, field: u64, value: u32) {
    varint(out, field << 3 | 5);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::ops::ControlFlow;

    use super::*;
    use crate::event::Event;
    use crate::sink::tests::{about, logged};
    use crate::source::{Tally, read_from};

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let logged = logged();
        let mut stream = control_frame(control::START);
        stream.extend(data_frame(&message(&logged, &about())));
        stream.extend(control_frame(control::STOP));
        let (mut tally, mut packets) = (Tally::default(), Vec::new());
        read_from(Cursor::new(stream), &mut tally, &mut |event| {
            if let Event::Packet(packet) = event {
                packets.push(packet);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!((tally.records, packets.len()), (1, 1));
        let packet = &packets[0];
        assert_eq!(packet.payload, logged.bytes);
        assert_eq!((packet.src, packet.dst, packet.time_ns), (logged.src, logged.dst, logged.time_ns));
    }
}
