//! What a record says, as zone files write it (RFC 1035 section 5.1).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Canonical, Record, rtype};

/// Names in lower case; a type that is not known here, or one that is damaged, as `\# length hex` (RFC 3597 section 5).
pub fn text(record: &Record<'_>) -> String {
    known(record).unwrap_or_else(|| {
        let mut out = format!("\\# {}", record.rdata.len());
        if !record.rdata.is_empty() {
            out.push(' ');
        }
        for byte in record.rdata {
            let _ = write!(out, "{byte:02x}");
        }
        out
    })
}

fn known(record: &Record<'_>) -> Option<String> {
    let rdata = record.rdata;
    let number = |at: usize| Some(u16::from_be_bytes(*rdata.get(at..)?.first_chunk()?));
    let target =
        || record.target().filter(|name| name.end().is_some()).map(|name| Canonical::new(name).to_string());
    Some(match record.rtype {
        rtype::A => Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?).to_string(),
        rtype::AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(rdata).ok()?).to_string(),
        rtype::CNAME | rtype::DNAME | rtype::NS | rtype::PTR => target()?,
        rtype::MX => format!("{} {}", number(0)?, target()?),
        rtype::SRV => format!("{} {} {} {}", number(0)?, number(2)?, number(4)?, target()?),
        rtype::TXT => strings(rdata)?,
        _ => return None,
    })
}

/// Character strings, each in quotes.
fn strings(mut rdata: &[u8]) -> Option<String> {
    let mut out = String::new();
    while let Some(&length) = rdata.split_off_first() {
        let string = rdata.split_off(..usize::from(length))?;
        out.push_str(if out.is_empty() { "\"" } else { " \"" });
        for &byte in string {
            match byte {
                b'"' | b'\\' => {
                    out.push('\\');
                    out.push(char::from(byte));
                }
                0x20..=0x7e => out.push(char::from(byte)),
                _ => {
                    let _ = write!(out, "\\{byte:03}");
                }
            }
        }
        out.push('"');
    }
    Some(out).filter(|out| !out.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Message;

    /// A response with one answer of the root, as text.
    fn one(rtype: u16, rdata: &[u8]) -> String {
        let mut bytes = b"\0\x07\x81\x80\0\0\0\x01\0\0\0\0\0".to_vec();
        bytes.extend(rtype.to_be_bytes());
        bytes.extend(b"\0\x01\0\0\0\x3c");
        bytes.extend((rdata.len() as u16).to_be_bytes());
        bytes.extend(rdata);
        text(&Message::parse(&bytes, bytes.len()).records().next().unwrap())
    }

    #[test]
    fn rdata_is_written_as_in_zone_files() {
        for (rtype, rdata, want) in [
            (1, &b"\xc0\0\x02\x01"[..], "192.0.2.1"),
            (1, b"\xc0\0\x02", "\\# 3 c00002"),
            (28, b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", "2001:db8::1"),
            (5, b"\x03Www\x04test\0", "www.test"),
            (5, b"\x03Ww", "\\# 3 035777"),
            (15, b"\0\x0a\x02mx\0", "10 mx"),
            (33, b"\0\x01\0\x02\x01\xbb\x01a\0", "1 2 443 a"),
            (16, b"\x03a\"\n\x01\xff", r#""a\"\010" "\255""#),
            (16, b"\x05a", "\\# 2 0561"),
            (16, b"", "\\# 0"),
            (10, b"", "\\# 0"),
            (65399, b"\x01\x1b", "\\# 2 011b"),
        ] {
            assert_eq!(one(rtype, rdata), want, "{rtype} {rdata:?}");
        }
    }
}
