//! A row in wire format (RFC 1035 section 4).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Skip, row::Row};
use crate::{
    event::Transport,
    source::message::{HEADER, Message},
};

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const DNAME: u16 = 39;
const SPF: u16 = 99;
const IN: u16 = 1;

/// Answers beyond this length are left out and TC is set: a message has at most 65,535 bytes.
const MAX_MESSAGE: usize = 65_000;
/// Longest RDATA built from one answer's text.
const MAX_RDATA: usize = 32_768;
/// How far a compression pointer reaches.
const MAX_POINTER: usize = 0x3fff;

/// The query of a row, and its response if there was one.
pub(super) fn messages(row: &Row) -> Result<(Message, Option<Message>), Skip> {
    if row.client.1 != 53 && row.server.1 != 53 {
        return Err(Skip::OtherTraffic);
    }
    let question = row.query.as_deref().map(name).transpose()?;
    let message = |response: bool| Message {
        time_ns: if response { row.time_ns.saturating_add(row.rtt_ns) } else { row.time_ns },
        client: SocketAddr::from(row.client),
        server: SocketAddr::from(row.server),
        transport: if row.tcp { Transport::Tcp } else { Transport::Udp },
        response,
        bytes: encode(row, question.as_deref(), response),
    };
    Ok((message(false), row.rcode.map(|_| message(true))))
}

/// A name of text in wire form; an empty text is the root.
fn name(text: &[u8]) -> Result<Vec<u8>, Skip> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let mut wire = Vec::with_capacity(text.len() + 2);
    if !text.is_empty() {
        for label in text.split(|byte| *byte == b'.') {
            if label.is_empty() || label.len() > 63 {
                return Err(Skip::BadName);
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
        }
    }
    wire.push(0);
    if wire.len() > 255 { Err(Skip::BadName) } else { Ok(wire) }
}

fn encode(row: &Row, question: Option<&[u8]>, response: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER + 64 + if response { 32 * row.answers.len() } else { 0 });
    out.put_u16(row.id);
    out.put_u16(0);
    out.put_u16(question.is_some().into());
    out.put_bytes(0, 6);
    if let Some(question) = question {
        out.put_slice(question);
        out.put_u16(row.qtype.unwrap_or(A));
        out.put_u16(row.qclass.unwrap_or(IN));
    }
    let mut cut = false;
    if response && question.is_some() {
        let mut count: u16 = 0;
        // Owner of the next record: the question's name, then the target of each alias.
        let mut owner = HEADER;
        for (index, answer) in row.answers.iter().enumerate() {
            if out.len() > MAX_MESSAGE - MAX_RDATA {
                cut = true;
                break;
            }
            let (kind, rdata) = record(answer, row.qtype.unwrap_or(A));
            out.put_u16(0xc000 | owner as u16);
            out.put_u16(kind);
            out.put_u16(row.qclass.unwrap_or(IN));
            out.put_u32(row.ttls_s.get(index).copied().unwrap_or(0));
            out.put_u16(rdata.len() as u16);
            if kind == CNAME && row.qtype != Some(CNAME) && out.len() <= MAX_POINTER {
                owner = out.len();
            }
            out.put_slice(&rdata);
            count += 1;
        }
        out[6..8].copy_from_slice(&count.to_be_bytes());
    }
    let [aa, tc, rd, ra] = row.bits.map(u16::from);
    let bits = if response {
        let rcode = u16::from(row.rcode.unwrap_or(0) & 0x0f);
        0x8000 | aa << 10 | (tc | u16::from(cut)) << 9 | rd << 8 | ra << 7 | u16::from(row.z & 7) << 4 | rcode
    } else {
        rd << 8
    };
    out[2..4].copy_from_slice(&bits.to_be_bytes());
    out.freeze()
}

/// Type and RDATA of an answer as Zeek writes it (`base/protocols/dns/main.zeek`): an address, `TXT 5 hello`, a name
/// by what was asked, or words for the rest.
fn record(answer: &[u8], qtype: u16) -> (u16, Vec<u8>) {
    if let Ok(text) = std::str::from_utf8(answer) {
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return (A, v4.octets().into());
        }
        if let Ok(v6) = text.parse::<Ipv6Addr>() {
            return (AAAA, v6.octets().into());
        }
        if let Some(number) = text.strip_prefix("<unknown type=").and_then(|rest| rest.strip_suffix('>')) {
            return (number.parse().unwrap_or(qtype), Vec::new());
        }
    }
    for (prefix, kind) in [(&b"TXT "[..], TXT), (b"SPF ", SPF)] {
        if answer.starts_with(prefix) && matches!(qtype, TXT | SPF | 255) {
            return (kind, strings(answer, prefix));
        }
    }
    let words = || (qtype, answer[..answer.len().min(MAX_RDATA)].into());
    let Ok(target) = name(answer) else { return words() };
    match qtype {
        NS | PTR | CNAME | DNAME => (qtype, target),
        MX => (qtype, [&[0; 2][..], &target].concat()),
        SRV => (qtype, [&[0; 6][..], &target].concat()),
        SOA => (qtype, [&target[..], &[0; 21]].concat()),
        _ if answer.contains(&b' ') && !matches!(qtype, A | AAAA) => words(),
        _ => (CNAME, target),
    }
}

/// `TXT 5 hello TXT 3 you` as character strings; a length that lies makes the rest one text.
fn strings(mut rest: &[u8], prefix: &[u8]) -> Vec<u8> {
    let mut rdata = Vec::with_capacity(rest.len());
    while let Some(after) = rest.strip_prefix(prefix) {
        let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let len = std::str::from_utf8(&after[..digits]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let text = after.get(digits + 1..).unwrap_or_default();
        let len = len.filter(|len| *len <= text.len()).unwrap_or(text.len());
        push_text(&mut rdata, &text[..len]);
        rest = match &text[len..] {
            [b' ', next @ ..] if next.starts_with(prefix) => next,
            more => {
                if !more.is_empty() {
                    push_text(&mut rdata, more);
                }
                &[]
            }
        };
    }
    rdata.truncate(MAX_RDATA);
    rdata
}

fn push_text(rdata: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        rdata.push(0);
    }
    for piece in text.chunks(255) {
        rdata.push(piece.len() as u8);
        rdata.extend_from_slice(piece);
    }
}
