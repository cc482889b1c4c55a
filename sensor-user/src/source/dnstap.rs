//! dnstap: protobuf messages (dnstap.proto) in frame streams (fstrm control frame format).
//!
//! What is taken: the query or response that a record's type is about, between the addresses it names. CLIENT, STUB,
//! TOOL, AUTH and UPDATE records are messages between an asker and the server that logs. RESOLVER and FORWARDER
//! records are that server's own upstream messages for the same look-ups: they count only as long as the stream has
//! not shown any of the former, which servers log first; after that they are left out, so nothing counts twice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::{Emit, Error, Stop, Tally, input::Input, input::MAX_PIECE, message::Message, send};
use crate::event::Transport;

const CONTROL_START: u32 = 2;
/// Longest control frame, as in fstrm.
const MAX_CONTROL: u32 = 512;

pub(super) fn is_magic(head: &[u8]) -> bool {
    let start = CONTROL_START.to_be_bytes();
    head.starts_with(&[0; 4]) && head.get(8..12) == Some(&start) && head.get(4..6) == Some(&[0, 0])
}

pub(super) fn read(input: &mut Input, tally: &mut Tally, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let mut stream = Stream::default();
    while !input.at_end()? {
        let at = input.offset();
        let len = integer(input.take(4, at)?);
        if len == 0 {
            let len = integer(input.take(4, at)?);
            if !(4..=MAX_CONTROL).contains(&len) {
                return Err(input.damaged(at, format!("a control frame of {len} bytes")).into());
            }
            let control = input.take(len as usize, at)?;
            // Streams may be concatenated, so STOP is not the end of the file.
            if integer(control) == CONTROL_START && !holds_dnstap(&control[4..]) {
                return Err(Error::Foreign("a frame stream of something else than dnstap".into()).into());
            }
            continue;
        }
        if len as usize > MAX_PIECE {
            return Err(input.damaged(at, format!("a data frame of {len} bytes")).into());
        }
        let frame = input.take(len as usize, at)?;
        tally.records += 1;
        match stream.message(frame) {
            Ok(message) => send(emit, message.into())?,
            Err(reason) => tally.skip(reason.label()),
        }
    }
    Ok(())
}

/// Why a record gives no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    /// Not protobuf.
    Malformed,
    /// A type of record or message that is not known here.
    OtherType,
    /// The server's own leg of look-ups whose client leg is in the stream.
    UpstreamLeg,
    /// The DNS message itself is not in the record.
    NoMessage,
}

impl Skip {
    fn label(self) -> &'static str {
        match self {
            Self::Malformed => "dnstap_malformed",
            Self::OtherType => "dnstap_other_type",
            Self::UpstreamLeg => "dnstap_upstream_leg",
            Self::NoMessage => "dnstap_no_message",
        }
    }
}

/// What is known from the records before.
#[derive(Debug, Default)]
struct Stream {
    client_side: bool,
    /// For records without a time.
    last_ns: u64,
}

impl Stream {
    fn message(&mut self, frame: &[u8]) -> Result<Message, Skip> {
        let mut body = None;
        let mut kind = 0;
        for field in fields(frame) {
            match field? {
                (14, Value::Bytes(bytes)) => body = Some(bytes),
                (15, Value::Integer(value)) => kind = value,
                _ => {}
            }
        }
        let record = Record::read(body.filter(|_| kind == 1).ok_or(Skip::OtherType)?)?;
        let response = match record.kind {
            1..=14 => record.kind % 2 == 0,
            _ => return Err(Skip::OtherType),
        };
        let upstream = matches!(record.kind, 3 | 4 | 7 | 8);
        self.client_side |= !upstream;
        if upstream && self.client_side {
            return Err(Skip::UpstreamLeg);
        }
        let (bytes, time) = if response {
            (record.response, record.response_time)
        } else {
            (record.query, record.query_time)
        };
        self.last_ns = time.ns().unwrap_or(self.last_ns);
        Ok(Message {
            time_ns: self.last_ns,
            client: SocketAddr::new(record.address(record.query_address), record.query_port),
            server: SocketAddr::new(record.address(record.response_address), record.response_port),
            transport: if record.protocol == 1 { Transport::Udp } else { Transport::Tcp },
            response,
            bytes: Bytes::copy_from_slice(bytes.ok_or(Skip::NoMessage)?),
        })
    }
}

/// The fields of `dnstap.Message` that matter here.
#[derive(Debug)]
struct Record<'a> {
    kind: u64,
    /// 1 IPv4, 2 IPv6.
    family: u64,
    /// 1 UDP, 2 TCP, more for the encrypted ones.
    protocol: u64,
    query_address: &'a [u8],
    response_address: &'a [u8],
    query_port: u16,
    response_port: u16,
    query_time: Time,
    response_time: Time,
    query: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Time {
    seconds: Option<u64>,
    nanoseconds: u64,
}

impl Time {
    fn ns(self) -> Option<u64> {
        Some(self.seconds?.saturating_mul(1_000_000_000).saturating_add(self.nanoseconds))
    }
}

impl<'a> Record<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Skip> {
        let mut record = Self {
            kind: 0,
            family: 0,
            protocol: 1,
            query_address: &[],
            response_address: &[],
            query_port: 0,
            response_port: 53,
            query_time: Time::default(),
            response_time: Time::default(),
            query: None,
            response: None,
        };
        for field in fields(body) {
            match field? {
                (1, Value::Integer(value)) => record.kind = value,
                (2, Value::Integer(value)) => record.family = value,
                (3, Value::Integer(value)) => record.protocol = value,
                (4, Value::Bytes(bytes)) => record.query_address = bytes,
                (5, Value::Bytes(bytes)) => record.response_address = bytes,
                (6, Value::Integer(value)) => record.query_port = value as u16,
                (7, Value::Integer(value)) => record.response_port = value as u16,
                (8, Value::Integer(value)) => record.query_time.seconds = Some(value),
                (9, Value::Integer(value)) => record.query_time.nanoseconds = value,
                (10, Value::Bytes(bytes)) => record.query = Some(bytes),
                (12, Value::Integer(value)) => record.response_time.seconds = Some(value),
                (13, Value::Integer(value)) => record.response_time.nanoseconds = value,
                (14, Value::Bytes(bytes)) => record.response = Some(bytes),
                _ => {}
            }
        }
        Ok(record)
    }

    /// The unspecified address where the record has none (servers may leave it out for privacy).
    fn address(&self, bytes: &[u8]) -> IpAddr {
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Ipv4Addr::from(v4).into();
        }
        match <[u8; 16]>::try_from(bytes) {
            Ok(v6) => Ipv6Addr::from(v6).to_canonical(),
            Err(_) if self.family == 2 => Ipv6Addr::UNSPECIFIED.into(),
            Err(_) => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

/// A protobuf value; fixed-width integers count as integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Integer(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message, in order (protobuf.dev/programming-guides/encoding).
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Value<'_>), Skip>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest).ok_or(Skip::Malformed);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Integer(varint(rest)?),
        1 => Value::Integer(u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?)),
        2 => {
            let len = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(rest.split_off(..len)?)
        }
        5 => Value::Integer(u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?).into()),
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The content type field (1) of a START frame; a stream may leave it out.
fn holds_dnstap(mut fields: &[u8]) -> bool {
    while let [a, b, c, d, e, f, g, h, rest @ ..] = fields {
        let kind = u32::from_be_bytes([*a, *b, *c, *d]);
        let len = u32::from_be_bytes([*e, *f, *g, *h]) as usize;
        let Some(value) = rest.get(..len) else { return false };
        if kind == 1 {
            return value == b"protobuf:dnstap.Dnstap";
        }
        fields = &rest[len..];
    }
    true
}

fn integer(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(super::pcap::array(bytes))
}
