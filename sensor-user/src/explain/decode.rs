//! Which part of a sample name carries data, and what it says where it is in a standard encoding.
//!
//! Bounded, and shown only: what comes out is text or hexadecimal digits, never anything that is looked into further.

use std::borrow::Cow;

use serde::Serialize;

use crate::escape::escape;

/// Bytes of decoded text, and of other bytes, that are shown.
const TEXT_MAX: usize = 96;
const BYTES_MAX: usize = 24;
/// A name has 255 at most; in presentation form four times as many.
const NAME_MAX: usize = 1024;
/// Characters of a label that may be text of an encoding, where there is nothing to compare it with.
const LEAST: usize = 8;

/// What a character stands for.
type Value = fn(u8) -> Option<u8>;

/// A sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Escaped, ready to show.
    pub name: String,
    /// From and to, in characters of `name`.
    pub encoded: Vec<(usize, usize)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoded: Option<Decoded>,
}

/// What the encoded part says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decoded {
    pub encoding: &'static str,
    pub bytes: usize,
    /// Text, or the first bytes as hexadecimal digits.
    pub shown: String,
    pub is_text: bool,
    /// A kind of file that begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
}

/// Looks at names under a zone (dotted); `recognised` is what the ledger recognised.
pub fn samples(names: &[String], zone: Option<&str>, recognised: Option<&str>) -> Vec<Sample> {
    let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
    let zone = zone.map(shown);
    let parts: Vec<Vec<(usize, usize)>> = names.iter().map(|name| labels(name, zone.as_deref())).collect();
    let constant = constant(&names, &parts);
    names
        .iter()
        .zip(&parts)
        .map(|(name, labels)| {
            let encoded: Vec<_> = labels
                .iter()
                .copied()
                .filter(|(from, to)| {
                    let label = &name[*from..*to];
                    let long = if names.len() > 1 { 1 } else { LEAST };
                    !constant.contains(&label) && label.len() >= long && label.bytes().all(is_of_encodings)
                })
                .collect();
            let parts = || encoded.iter().map(|(from, to)| &name[*from..*to]);
            // A number beside longer labels says which chunk it is.
            let is_index =
                |label: &str| label.len() < LEAST && label.bytes().all(|byte| byte.is_ascii_digit());
            let has_more = parts().any(|label| label.len() >= LEAST);
            let text: String = parts().filter(|label| !(has_more && is_index(label))).collect();
            let decoded = decode(&text, recognised);
            Sample { name: name.clone(), encoded, decoded }
        })
        .collect()
}

/// Printable ASCII, so that characters and bytes are the same.
fn shown(name: &str) -> String {
    let escaped: Cow<'_, str> = escape(name);
    escaped.chars().take(NAME_MAX).map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Where the labels below the zone are.
fn labels(name: &str, zone: Option<&str>) -> Vec<(usize, usize)> {
    let below = zone.and_then(|zone| name.len().checked_sub(zone.len()).filter(|at| &name[*at..] == zone));
    let end = below.unwrap_or(name.len());
    let mut list = Vec::new();
    let (mut from, mut escaped) = (0, false);
    for (at, byte) in name.bytes().enumerate().take(end) {
        if byte == b'.' && !escaped {
            list.push((from, at));
            from = at + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    list.push((from, end));
    list.retain(|(from, to)| from < to);
    list
}

/// Labels that every one of several names has.
fn constant<'n>(names: &'n [String], parts: &[Vec<(usize, usize)>]) -> Vec<&'n str> {
    let of = |index: usize| parts[index].iter().map(move |(from, to)| &names[index][*from..*to]);
    if names.len() < 2 {
        return Vec::new();
    }
    of(0)
        .filter(|label| (1..names.len()).all(|other| of(other).any(|it| it.eq_ignore_ascii_case(label))))
        .collect()
}

fn is_of_encodings(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_=\\".contains(&byte)
}

/// What text says in the encoding that was recognised, else in one that it can hardly be in by chance.
pub fn decode(text: &str, recognised: Option<&str>) -> Option<Decoded> {
    let text = text.trim_end_matches('=');
    let any = |test: fn(&u8) -> bool| text.bytes().any(|byte| test(&byte));
    let (digits, upper, lower) =
        (any(u8::is_ascii_digit), any(u8::is_ascii_uppercase), any(u8::is_ascii_lowercase));
    let letters = upper || lower;
    // Names are kept in lower case, and base64 says another thing in it.
    let cased = upper && lower;
    let guess = |bits: u32| match bits {
        4 => text.len() >= LEAST && digits && letters,
        5 => text.len() >= 2 * LEAST && digits && letters && !cased,
        _ => text.len() >= 2 * LEAST && cased && digits,
    };
    let of: [(&'static str, u32, Value); 4] =
        [("hex", 4, hex), ("base32", 5, base32), ("base32hex", 5, base32hex), ("base64url", 6, base64url)];
    let known = of.iter().any(|(name, ..)| recognised == Some(*name));
    let (encoding, bytes) = of.into_iter().find_map(|(name, bits, value)| {
        let fits = match recognised {
            Some(encoding) if known => encoding == name && (bits != 6 || cased),
            _ => guess(bits) && name != "base32hex",
        };
        Some((name, unpack(text, bits, value).filter(|bytes| fits && !bytes.is_empty())?))
    })?;
    let is_text = bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'));
    let shown = if is_text {
        escape(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned()
    } else {
        bytes.iter().take(BYTES_MAX).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    };
    Some(Decoded { encoding, bytes: bytes.len(), shown, is_text, kind: kind(&bytes) })
}

/// Whole bytes of text with so many bits a character; what is left over is dropped.
fn unpack(text: &str, bits: u32, value: Value) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().take(NAME_MAX) {
        held = held << bits | u32::from(value(byte)?);
        count += bits;
        if count >= 8 {
            count -= 8;
            bytes.push((held >> count) as u8);
            held &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// RFC 4648 section 6.
fn base32(byte: u8) -> Option<u8> {
    match byte.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => Some(letter - b'a'),
        digit @ b'2'..=b'7' => Some(digit - b'2' + 26),
        _ => None,
    }
}

/// RFC 4648 section 7.
fn base32hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(32).map(|digit| digit as u8)
}

/// RFC 4648 section 5.
fn base64url(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// By the first bytes.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &'static str); 9] = [
        (b"\x1f\x8b", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"\x7fELF", "program (ELF)"),
        (b"MZ", "program (PE)"),
        (b"%PDF", "PDF"),
        (b"\x89PNG", "PNG"),
        (b"-----BEGIN", "key or certificate (PEM)"),
        (b"SQLite format", "SQLite"),
        (b"\xfd7zXZ", "xz"),
    ];
    kinds.into_iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, recognised: Option<&str>) -> Option<(&'static str, String)> {
        decode(text, recognised).map(|decoded| (decoded.encoding, decoded.shown))
    }

    #[test]
    fn standard_encodings_are_read() {
        for (text, recognised, want) in [
            ("726f6f743a783a303a30", None, Some(("hex", "root:x:0:0"))),
            ("ojxw65b2pa5damb2ge======", Some("base32"), Some(("base32", "root:x:00:1"))),
            ("OJXW65B2PA5DAMB2", None, Some(("base32", "root:x:00:"))),
            ("e9nmut0=", Some("base32hex"), Some(("base32hex", "root"))),
            ("cm9vdDp4OjA6MDpyb290", None, Some(("base64url", "root:x:0:0:root"))),
            // In lower case it would say another thing.
            ("cm9vddp4oja6mdpyb290", Some("base64url"), None),
            ("1f8b0800aabb", Some("hex"), Some(("hex", "1f 8b 08 00 aa bb"))),
            ("www", None, None),
            ("kubernetes-dashboard", None, None),
            ("", Some("hex"), None),
        ] {
            let want = want.map(|(encoding, shown)| (encoding, shown.to_owned()));
            assert_eq!(said(text, recognised), want, "{text}");
        }
        assert_eq!(decode("1f8b0800aabb", Some("hex")).unwrap().kind, Some("gzip"));
    }

    #[test]
    fn what_comes_out_can_be_shown() {
        let clear = "1b5b324a";
        assert_eq!(said(clear, Some("hex")).unwrap().1, "1b 5b 32 4a", "no text");
        assert_eq!(said("610a62", Some("hex")).unwrap().1, "a\\x0ab");
        let long = "61".repeat(400);
        let decoded = decode(&long, Some("hex")).unwrap();
        assert_eq!((decoded.bytes, decoded.shown.len()), (400, TEXT_MAX));
    }

    #[test]
    fn the_encoded_part_is_what_differs() {
        let names = ["a1b2c3d4e5f60718.t.example.com", "b1b2c3d4e5f60719.t.example.com"].map(String::from);
        let samples = samples(&names, Some("example.com"), Some("hex"));
        assert!(samples.iter().all(|sample| sample.encoded == [(0, 16)] && sample.decoded.is_some()));
        let one = super::samples(&names[..1], Some("example.com"), None);
        assert_eq!(one[0].encoded, [(0, 16)]);
        let counted = ["1.726f6f743a783a30.example.com", "2.6269d6e3a2f62696e.example.com"].map(String::from);
        let counted = super::samples(&counted, Some("example.com"), Some("hex"));
        assert_eq!(counted[0].decoded.as_ref().unwrap().shown, "root:x:0", "without the number of the chunk");
        assert_eq!(counted[0].encoded.len(), 2);
        let odd = super::samples(&["a\\.b.c\u{1b}\u{202e}ü.example.com".into()], Some("example.com"), None);
        assert!(odd[0].name.is_ascii() && odd[0].encoded.is_empty(), "{odd:?}");
    }
}
