//! Captures and logs in memory: what `earthdog replay` reads, in every format.

use std::fmt::Write as _;

use earthdog::emulate::Made;

use crate::message::{Message, rtype};
use crate::packet::Frame;

/// Link types (LINKTYPE_ numbers of the pcap registry).
pub const ETHERNET: u16 = 1;
/// See `ETHERNET`.
pub const RAW: u16 = 101;

/// How a pcap file is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pcap {
    pub big_endian: bool,
    /// Nanoseconds instead of microseconds.
    pub nanos: bool,
}

impl Pcap {
    /// A file of (time in Unix nanoseconds, frame).
    pub fn file(self, link: u16, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        let magic: u32 = if self.nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        out.extend(self.u32(magic));
        out.extend(self.u16(2));
        out.extend(self.u16(4));
        for value in [0, 0, 65_535, u32::from(link)] {
            out.extend(self.u32(value));
        }
        for (time, frame) in frames {
            let fraction = time % 1_000_000_000 / if self.nanos { 1 } else { 1000 };
            out.extend(self.u32((time / 1_000_000_000) as u32));
            out.extend(self.u32(fraction as u32));
            out.extend(self.u32(frame.len() as u32));
            out.extend(self.u32(frame.len() as u32));
            out.extend(frame);
        }
        out
    }

    fn u16(self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// Emulated traffic as a capture point writes it.
pub trait Capture {
    /// (Unix nanoseconds, Ethernet frame), in the order of time.
    fn frames(&self) -> Vec<(u64, Vec<u8>)>;

    fn pcap(&self) -> Vec<u8> {
        Pcap { nanos: true, ..Pcap::default() }.file(ETHERNET, &self.frames())
    }
}

impl Capture for Made {
    fn frames(&self) -> Vec<(u64, Vec<u8>)> {
        self.datagrams
            .iter()
            .map(|datagram| {
                let (src, dst) = (datagram.src, datagram.dst);
                let frame = Frame::v4(*src.ip(), *dst.ip()).ip_id(datagram.ip_id).ttl(datagram.ttl);
                let frame = frame.udp(src.port(), dst.port()).payload(&datagram.payload[..]);
                (datagram.time_ns, frame.build())
            })
            .collect()
    }
}

/// A little-endian pcapng section with one interface of default resolution and one enhanced block a frame.
pub fn pcapng(link: u16, frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend(u64::MAX.to_le_bytes());
    let mut interface = u32::from(link).to_le_bytes().to_vec();
    interface.extend(65_535_u32.to_le_bytes());
    let mut out = block(0x0a0d_0d0a, &section);
    out.extend(block(1, &interface));
    for (time, frame) in frames {
        let micros = time / 1000;
        let mut body = 0_u32.to_le_bytes().to_vec();
        body.extend(((micros >> 32) as u32).to_le_bytes());
        body.extend((micros as u32).to_le_bytes());
        body.extend((frame.len() as u32).to_le_bytes());
        body.extend((frame.len() as u32).to_le_bytes());
        body.extend(frame);
        body.resize(body.len().next_multiple_of(4), 0);
        out.extend(block(6, &body));
    }
    out
}

/// A pcapng block: type, length, body, length.
pub fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes(), &len, body, &len].concat()
}

/// A Zeek dns.log in the TSV form: (Unix seconds, query name, type name, rcode).
pub fn zeek_tsv(rows: &[(u64, &str, &str, Option<u8>)]) -> String {
    let mut out = String::from(
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n\
         #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\tquery\tqclass\tqtype_name\trcode\n\
         #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tcount\tstring\tcount\tstring\tcount\n",
    );
    for (secs, query, qtype, rcode) in rows {
        let rcode = rcode.map_or_else(|| "-".to_owned(), |rcode| rcode.to_string());
        let _ = writeln!(
            out,
            "{secs}.000000\tC1\t10.0.0.2\t40000\t10.0.0.1\t53\tudp\t7\t{query}\t1\t{qtype}\t{rcode}"
        );
    }
    out
}

/// The same in the JSON form, one object a line.
pub fn zeek_json(rows: &[(u64, &str, &str, Option<u8>)]) -> String {
    let mut out = String::new();
    for (secs, query, qtype, rcode) in rows {
        let rcode = rcode.map_or_else(String::new, |rcode| format!(",\"rcode\":{rcode}"));
        let _ = writeln!(
            out,
            "{{\"ts\":{secs}.0,\"uid\":\"C1\",\"id.orig_h\":\"10.0.0.2\",\"id.orig_p\":40000,\"id.resp_h\":\"10.0.0.1\",\
             \"id.resp_p\":53,\"proto\":\"udp\",\"trans_id\":7,\"query\":\"{query}\",\"qclass\":1,\
             \"qtype_name\":\"{qtype}\"{rcode}}}"
        );
    }
    out
}

/// A dnstap file (Frame Streams, uni-directional) of client queries: (Unix seconds, message).
pub fn dnstap(messages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    const CONTENT: &[u8] = b"protobuf:dnstap.Dnstap";
    let mut start = 2_u32.to_be_bytes().to_vec();
    start.extend(1_u32.to_be_bytes());
    start.extend((CONTENT.len() as u32).to_be_bytes());
    start.extend(CONTENT);
    let mut out = 0_u32.to_be_bytes().to_vec();
    out.extend((start.len() as u32).to_be_bytes());
    out.extend(start);
    for (secs, query) in messages {
        let mut message = Vec::new();
        for (field, value) in [(1, 5), (2, 1), (3, 1), (6, 40_000), (7, 53), (8, *secs)] {
            varint(&mut message, field << 3);
            varint(&mut message, value);
        }
        bytes_field(&mut message, 4, &[10, 0, 0, 2]);
        bytes_field(&mut message, 5, &[10, 0, 0, 1]);
        // query_time_nsec is fixed32.
        varint(&mut message, 9 << 3 | 5);
        message.extend(0_u32.to_le_bytes());
        bytes_field(&mut message, 10, query);
        let mut frame = Vec::new();
        bytes_field(&mut frame, 14, &message);
        varint(&mut frame, 15 << 3);
        varint(&mut frame, 1);
        out.extend((frame.len() as u32).to_be_bytes());
        out.extend(frame);
    }
    out.extend([0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3]);
    out
}

/// A pcap of so many queries that each carry 30 bytes of a hash in base 32 to one zone: a leak by any measure.
pub fn leak(count: u32) -> Vec<u8> {
    let frame = |number: u32| {
        let query = Message::query(leaking_name(number), rtype::A).id(number as u16).build();
        (1_700_000_000_000_000_000 + u64::from(number) * 100_000_000, Frame::dns_query_v4(query).build())
    };
    Pcap::default().file(ETHERNET, &(0..count).map(frame).collect::<Vec<_>>())
}

/// A number that looks random, the same every time (the finaliser of MurmurHash3).
pub fn mix(number: u32) -> u32 {
    let mut x = number.wrapping_add(0x9e37_79b9);
    x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
    x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

/// 48 characters that nothing predicts, below leak.example.
pub fn leaking_name(number: u32) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    let label: String = (0..48)
        .map(|_| {
            // xorshift64 (Marsaglia 2003): any generator does, as long as it is the same every time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(ALPHABET[(state >> 40) as usize % ALPHABET.len()])
        })
        .collect();
    format!("{label}.leak.example")
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use earthdog::source::{Format, fuzz};

    use super::*;

    #[test]
    fn the_sensor_reads_them_all() {
        let message = Message::query("www.example.com", rtype::A).build();
        let frame = Frame::dns_query_v4(message.clone());
        let frames = [(1_700_000_000_123_456_000, frame.build()), (1_700_000_001_000_000_000, frame.build())];
        let rows =
            [(1_700_000_000, "www.example.com", "A", Some(0)), (1_700_000_001, "x.example", "TXT", None)];
        for (big_endian, nanos) in [(false, false), (false, true), (true, false), (true, true)] {
            let tally = fuzz::one(Format::Pcap, &Pcap { big_endian, nanos }.file(ETHERNET, &frames));
            assert_eq!((tally.records, tally.events), (2, 2), "{big_endian} {nanos}");
        }
        for (format, bytes, events) in [
            (Format::Pcapng, pcapng(ETHERNET, &frames), 2),
            // A row with an rcode is a query and its response.
            (Format::ZeekTsv, zeek_tsv(&rows).into_bytes(), 3),
            (Format::ZeekJson, zeek_json(&rows).into_bytes(), 3),
            (
                Format::Dnstap,
                dnstap(&[(1_700_000_000, message.clone()), (1_700_000_001, message.clone())]),
                2,
            ),
        ] {
            let (tally, whole) = fuzz::any(&bytes);
            assert!(whole, "{format:?}: {tally:?}");
            assert_eq!((tally.records, tally.events), (2, events), "{format:?}: {tally:?}");
        }
    }
}
