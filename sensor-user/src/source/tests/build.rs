//! Frames and files.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

/// Client and server of every frame here.
pub(super) const CLIENT: &str = "192.0.2.1:40000";
pub(super) const SERVER: &str = "192.0.2.53:53";

/// A query for `www.example`, type A.
pub(super) const QUERY: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01";

/// IPv4 and UDP around a payload, client to server.
pub(super) fn ipv4(payload: &[u8]) -> Vec<u8> {
    let udp_len = (payload.len() + 8) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(udp_len + 20).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 53]);
    packet.extend_from_slice(&udp(udp_len));
    packet.extend_from_slice(payload);
    packet
}

/// IPv6 and UDP around a payload.
pub(super) fn ipv6(payload: &[u8]) -> Vec<u8> {
    let udp_len = (payload.len() + 8) as u16;
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&udp_len.to_be_bytes());
    packet.extend_from_slice(&[17, 64]);
    packet.extend_from_slice(&"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(&"2001:db8::53".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(&udp(udp_len));
    packet.extend_from_slice(payload);
    packet
}

fn udp(len: u16) -> [u8; 8] {
    let [a, b] = 40_000_u16.to_be_bytes();
    let [c, d] = len.to_be_bytes();
    [a, b, 0, 53, c, d, 0, 0]
}

pub(super) fn ethernet(ip: &[u8]) -> Vec<u8> {
    [&[0x02; 12][..], &[8, 0], ip].concat()
}

/// A frame of a capture file: time in seconds and in units of the file, bytes, length on the wire.
pub(super) type Record = (u32, u32, Vec<u8>, u32);

pub(super) fn record(frame: Vec<u8>) -> Record {
    let len = frame.len() as u32;
    (1_700_000_000, 123_456, frame, len)
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pcap {
    pub(super) big: bool,
    pub(super) nanoseconds: bool,
    pub(super) link: u32,
}

impl Pcap {
    pub(super) const USUAL: Self = Self { big: false, nanoseconds: false, link: 1 };

    pub(super) fn file(self, records: &[Record]) -> Vec<u8> {
        let magic: u32 = if self.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut file = Vec::new();
        file.extend_from_slice(&self.u32(magic));
        file.extend_from_slice(&if self.big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
        for field in [0, 0, 262_144, self.link] {
            file.extend_from_slice(&self.u32(field));
        }
        for (seconds, fraction, frame, original) in records {
            for field in [*seconds, *fraction, frame.len() as u32, *original] {
                file.extend_from_slice(&self.u32(field));
            }
            file.extend_from_slice(frame);
        }
        file
    }

    fn u32(self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// A pcapng section being written.
pub(super) struct Pcapng {
    pub(super) big: bool,
    pub(super) file: Vec<u8>,
}

impl Pcapng {
    pub(super) fn new(big: bool) -> Self {
        let mut section = Self { big, file: Vec::new() };
        let mut body = section.u32(0x1a2b_3c4d).to_vec();
        body.extend_from_slice(&section.u16(1));
        body.extend_from_slice(&section.u16(0));
        body.extend_from_slice(&[0xff; 8]);
        section.block(0x0a0d_0d0a, &body);
        section
    }

    pub(super) fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let total = self.u32(padded as u32 + 12);
        let kind = self.u32(kind);
        self.file.extend_from_slice(&kind);
        self.file.extend_from_slice(&total);
        self.file.extend_from_slice(body);
        self.file.resize(self.file.len() + padded - body.len(), 0);
        self.file.extend_from_slice(&total);
    }

    pub(super) fn interface(&mut self, link: u16, snap: u32, options: &[(u16, Vec<u8>)]) {
        let mut body = self.u16(link).to_vec();
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&self.u32(snap));
        for (code, value) in options {
            body.extend_from_slice(&self.u16(*code));
            body.extend_from_slice(&self.u16(value.len() as u16));
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(1, &body);
    }

    pub(super) fn packet(&mut self, interface: u32, ticks: u64, frame: &[u8], original: u32) {
        let mut body = Vec::new();
        for field in [interface, (ticks >> 32) as u32, ticks as u32, frame.len() as u32, original] {
            body.extend_from_slice(&self.u32(field));
        }
        body.extend_from_slice(frame);
        body.resize(body.len().next_multiple_of(4), 0);
        // A comment, to be stepped over.
        body.extend_from_slice(&self.u16(1));
        body.extend_from_slice(&self.u16(2));
        body.extend_from_slice(b"hi\0\0\0\0\0\0");
        self.block(6, &body);
    }

    pub(super) fn u16(&self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32(&self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
