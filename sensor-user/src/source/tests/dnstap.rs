//! dnstap in frame streams.

use rstest::rstest;

use super::{
    build::{CLIENT, QUERY, SERVER, gzip},
    packets, read, refusal,
};
use crate::event::Transport;
use crate::source::Format;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn fixed(field: u64, value: u32, out: &mut Vec<u8>) {
    varint(field << 3 | 5, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A record of the given message type, with its message in the field the type is about.
fn record(kind: u64, protocol: u64, message: &[u8]) -> Vec<u8> {
    let response = kind.is_multiple_of(2);
    let mut body = Vec::new();
    number(1, kind, &mut body);
    number(2, 1, &mut body);
    number(3, protocol, &mut body);
    bytes(4, &[192, 0, 2, 1], &mut body);
    bytes(5, &[192, 0, 2, 53], &mut body);
    number(6, 40_000, &mut body);
    number(7, 53, &mut body);
    number(if response { 12 } else { 8 }, 1_700_000_000, &mut body);
    fixed(if response { 13 } else { 9 }, 123_456_789, &mut body);
    bytes(if response { 14 } else { 10 }, message, &mut body);
    let mut frame = Vec::new();
    bytes(1, b"resolver", &mut frame);
    bytes(14, &body, &mut frame);
    number(15, 1, &mut frame);
    frame
}

pub(super) fn client_query() -> Vec<u8> {
    record(5, 1, QUERY)
}

fn control(kind: u32, content: Option<&[u8]>) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if let Some(content) = content {
        body.extend_from_slice(&1_u32.to_be_bytes());
        body.extend_from_slice(&(content.len() as u32).to_be_bytes());
        body.extend_from_slice(content);
    }
    [&[0; 4][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

/// A stream of records, without its STOP frame.
pub(super) fn file(records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = control(2, Some(b"protobuf:dnstap.Dnstap"));
    for record in records {
        file.extend_from_slice(&(record.len() as u32).to_be_bytes());
        file.extend_from_slice(record);
    }
    file
}

#[test]
fn queries_and_responses_go_between_the_ends_they_name() {
    let mut response = QUERY.to_vec();
    response[2] |= 0x80;
    let mut stream = file(&[client_query(), record(6, 2, &response)]);
    stream.extend_from_slice(&control(3, None));
    for stream in [&stream, &gzip(&stream)] {
        let [query, answer] = &packets(stream)[..] else { panic!("two packets") };
        assert_eq!(query.time_ns, 1_700_000_000_123_456_789);
        assert_eq!((query.src, query.dst), (CLIENT.parse().unwrap(), SERVER.parse().unwrap()));
        assert_eq!((query.src, query.dst), (answer.dst, answer.src));
        assert_eq!((query.transport, answer.transport), (Transport::Udp, Transport::Tcp));
        assert_eq!(query.flags, sensor_ebpf::abi::flag::TO_SERVER);
        assert_eq!(answer.flags, sensor_ebpf::abi::flag::RESPONSE);
        assert_eq!((&query.payload[..], &answer.payload[..]), (QUERY, &response[..]));
    }
}

/// RESOLVER (3, 4) and FORWARDER (7, 8) records are another leg of CLIENT (5, 6) ones.
#[rstest]
#[case(&[3, 4, 7, 8], 4)]
#[case(&[5, 3, 4, 6], 2)]
#[case(&[1, 2, 9, 10, 11, 12, 13, 14], 8)]
#[case(&[3, 5, 3, 6], 3)]
fn a_look_up_counts_on_one_leg(#[case] kinds: &[u64], #[case] taken: usize) {
    let records: Vec<_> = kinds.iter().map(|kind| record(*kind, 1, QUERY)).collect();
    let read = read(&file(&records));
    assert_eq!(read.packets.len(), taken);
    let skipped = read.tally.skipped.get("dnstap_upstream_leg").copied().unwrap_or(0);
    assert_eq!(taken as u64 + skipped, kinds.len() as u64);
}

#[test]
fn records_without_a_message_are_counted_by_reason() {
    let mut no_message = Vec::new();
    let mut body = Vec::new();
    number(1, 5, &mut body);
    bytes(14, &body, &mut no_message);
    number(15, 1, &mut no_message);
    let mut other = Vec::new();
    number(15, 2, &mut other);
    let malformed = vec![0xff; 20];
    let read = read(&file(&[no_message, other, malformed, record(99, 1, QUERY)]));
    assert_eq!(read.result.unwrap(), Format::Dnstap);
    let skipped: Vec<_> = read.tally.skipped.into_iter().collect();
    assert_eq!(skipped, [("dnstap_malformed", 1), ("dnstap_no_message", 1), ("dnstap_other_type", 2)]);
}

#[test]
fn streams_of_something_else_are_refused() {
    let message = refusal(&control(2, Some(b"protobuf:other.Thing")));
    assert!(message.contains("a frame stream of something else"), "{message}");
}
