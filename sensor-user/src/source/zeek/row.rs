//! A row of dns.log, as text with its escapes undone.

use std::{borrow::Cow, net::IpAddr};

use serde::Deserialize;

use super::Skip;

/// What a row says. `None` is Zeek's "unset".
#[derive(Debug)]
pub(super) struct Row {
    pub(super) time_ns: u64,
    pub(super) client: (IpAddr, u16),
    pub(super) server: (IpAddr, u16),
    pub(super) tcp: bool,
    pub(super) id: u16,
    pub(super) rtt_ns: u64,
    pub(super) query: Option<Vec<u8>>,
    pub(super) qtype: Option<u16>,
    pub(super) qclass: Option<u16>,
    pub(super) rcode: Option<u8>,
    /// AA, TC, RD, RA.
    pub(super) bits: [bool; 4],
    pub(super) z: u8,
    pub(super) answers: Vec<Vec<u8>>,
    pub(super) ttls_s: Vec<u32>,
}

/// Columns that are looked at; the order is that of `Cells`.
const NAMES: [&str; 19] = [
    "ts",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "trans_id",
    "rtt",
    "query",
    "qclass",
    "qtype",
    "rcode",
    "AA",
    "TC",
    "RD",
    "RA",
    "Z",
    "answers",
    "TTLs",
];

/// The header lines of a tab-separated log.
#[derive(Debug)]
pub(super) struct Columns {
    separator: Vec<u8>,
    set_separator: Vec<u8>,
    unset: Vec<u8>,
    empty: Vec<u8>,
    /// Where each of `NAMES` is; beyond `count` where it is not.
    places: [usize; NAMES.len()],
    count: usize,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            separator: b"\t".into(),
            set_separator: b",".into(),
            unset: b"-".into(),
            empty: b"(empty)".into(),
            places: [usize::MAX; NAMES.len()],
            count: 0,
        }
    }
}

impl Columns {
    /// True before the first `#fields`.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a line that begins with `#`; the error says what log it is instead.
    pub(super) fn header(&mut self, line: &[u8]) -> Result<(), String> {
        // Only this line is separated by a space, since it defines the separator.
        if let Some(separator) = line.strip_prefix(b"#separator ") {
            self.separator = unescape(separator);
            if self.separator.is_empty() {
                self.separator = b"\t".into();
            }
            return Ok(());
        }
        let mut parts = split(line, &self.separator);
        let name = parts.next().unwrap_or_default();
        let value = || parts.next().map(unescape).filter(|value| !value.is_empty());
        let mut value = value;
        match name {
            b"#set_separator" => self.set_separator = value().unwrap_or_else(|| b",".into()),
            b"#unset_field" => self.unset = value().unwrap_or_else(|| b"-".into()),
            b"#empty_field" => self.empty = value().unwrap_or_default(),
            b"#path" => {
                let path = value().unwrap_or_default();
                if path != b"dns" {
                    return Err(format!("a Zeek log, but {:?} and not dns", String::from_utf8_lossy(&path)));
                }
            }
            b"#fields" => {
                self.places = [usize::MAX; NAMES.len()];
                self.count = 0;
                for (place, name) in split(line, &self.separator).skip(1).enumerate() {
                    if let Some(index) = NAMES.iter().position(|known| known.as_bytes() == name) {
                        self.places[index] = place;
                    }
                    self.count = place + 1;
                }
                let lacking: Vec<_> = [0, 1, 3, 8]
                    .into_iter()
                    .filter(|at| self.places[*at] == usize::MAX)
                    .map(|at| NAMES[at])
                    .collect();
                if !lacking.is_empty() {
                    return Err(format!("a Zeek log without the columns {}", lacking.join(", ")));
                }
            }
            // #open, #close, #types and what later versions add.
            _ => {}
        }
        Ok(())
    }

    /// The row of a line; `None` if it does not have as many fields as there are columns.
    pub(super) fn row(&self, line: &[u8]) -> Option<Result<Row, Skip>> {
        let mut cells: [&[u8]; NAMES.len()] = [&self.unset; NAMES.len()];
        let mut count = 0;
        for (place, cell) in split(line, &self.separator).enumerate() {
            count = place + 1;
            if let Some(index) = self.places.iter().position(|known| *known == place) {
                cells[index] = cell;
            }
        }
        (count == self.count).then(|| self.read(&cells))
    }

    fn read(&self, cells: &[&[u8]; NAMES.len()]) -> Result<Row, Skip> {
        let set = |index: usize| Some(cells[index]).filter(|cell| *cell != self.unset.as_slice());
        let text = |index: usize| set(index).and_then(|cell| std::str::from_utf8(cell).ok());
        let address = |index: usize| text(index).and_then(|text| text.parse().ok()).ok_or(Skip::BadValue);
        let port = |index: usize, default: u16| match set(index) {
            Some(_) => number(text(index)).ok_or(Skip::BadValue),
            None => Ok(default),
        };
        let list = |index: usize| match set(index) {
            Some(cell) if cell != self.empty.as_slice() && !cell.is_empty() => {
                split(cell, &self.set_separator).collect()
            }
            _ => Vec::new(),
        };
        let bit = |index: usize| set(index).is_some_and(|cell| cell == b"T");
        Ok(Row {
            time_ns: text(0).and_then(decimal_ns).ok_or(Skip::BadValue)?,
            client: (address(1)?, port(2, 0)?),
            server: (address(3)?, port(4, 53)?),
            tcp: set(5) == Some(b"tcp"),
            id: number(text(6)).unwrap_or(0),
            rtt_ns: text(7).and_then(decimal_ns).unwrap_or(0),
            query: set(8).map(|cell| if cell == self.empty { Vec::new() } else { unescape(cell) }),
            qclass: number(text(9)),
            qtype: number(text(10)),
            rcode: number(text(11)),
            bits: [bit(12), bit(13), bit(14), bit(15)],
            z: number(text(16)).unwrap_or(0),
            answers: list(17).into_iter().map(unescape).collect(),
            ttls_s: list(18)
                .into_iter()
                .map(|ttl| seconds(std::str::from_utf8(ttl).unwrap_or("0")))
                .collect(),
        })
    }
}

/// A JSON row. Times are numbers, or text in ISO 8601 (`json_timestamps`).
#[expect(clippy::struct_excessive_bools, reason = "the columns of the log")]
#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow, rename = "_path")]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ts: Option<JsonTime<'a>>,
    #[serde(borrow, rename = "id.orig_h")]
    orig_h: Option<Cow<'a, str>>,
    #[serde(rename = "id.orig_p")]
    orig_p: Option<u16>,
    #[serde(borrow, rename = "id.resp_h")]
    resp_h: Option<Cow<'a, str>>,
    #[serde(rename = "id.resp_p")]
    resp_p: Option<u16>,
    #[serde(borrow)]
    proto: Option<Cow<'a, str>>,
    trans_id: Option<u16>,
    rtt: Option<f64>,
    #[serde(borrow)]
    query: Option<Cow<'a, str>>,
    qclass: Option<u16>,
    qtype: Option<u16>,
    rcode: Option<u8>,
    #[serde(rename = "AA", default)]
    aa: bool,
    #[serde(rename = "TC", default)]
    tc: bool,
    #[serde(rename = "RD", default)]
    rd: bool,
    #[serde(rename = "RA", default)]
    ra: bool,
    #[serde(rename = "Z", default)]
    z: u8,
    #[serde(borrow, default)]
    answers: Vec<Cow<'a, str>>,
    #[serde(rename = "TTLs", default)]
    ttls: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonTime<'a> {
    Unix(f64),
    Iso(#[serde(borrow)] Cow<'a, str>),
}

impl Row {
    /// The outer error is a line that is not a JSON object.
    pub(super) fn from_json(line: &[u8]) -> Result<Result<Self, Skip>, serde_json::Error> {
        let json: Json<'_> = match serde_json::from_slice(line) {
            Ok(json) => json,
            // JSON all right, but a value of another type than Zeek writes.
            Err(error) if error.is_data() => return Ok(Err(Skip::BadValue)),
            Err(error) => return Err(error),
        };
        Ok(json.row())
    }
}

impl Json<'_> {
    fn row(&self) -> Result<Row, Skip> {
        let other = self.path.as_deref().is_some_and(|path| path != "dns");
        if other || (self.orig_h.is_none() && self.query.is_none()) {
            return Err(Skip::OtherLog);
        }
        let address = |text: &Option<Cow<'_, str>>| {
            text.as_deref().and_then(|text| text.parse().ok()).ok_or(Skip::BadValue)
        };
        let time_ns = match self.ts.as_ref().ok_or(Skip::BadValue)? {
            JsonTime::Unix(seconds) => float_ns(*seconds),
            JsonTime::Iso(text) => text
                .parse::<jiff::Timestamp>()
                .ok()
                .and_then(|time| u64::try_from(time.as_nanosecond()).ok())
                .ok_or(Skip::BadValue)?,
        };
        Ok(Row {
            time_ns,
            client: (address(&self.orig_h)?, self.orig_p.unwrap_or(0)),
            server: (address(&self.resp_h)?, self.resp_p.unwrap_or(53)),
            tcp: self.proto.as_deref() == Some("tcp"),
            id: self.trans_id.unwrap_or(0),
            rtt_ns: self.rtt.map_or(0, float_ns),
            query: self.query.as_deref().map(|query| unescape(query.as_bytes())),
            qtype: self.qtype,
            qclass: self.qclass,
            rcode: self.rcode,
            bits: [self.aa, self.tc, self.rd, self.ra],
            z: self.z,
            answers: self.answers.iter().map(|answer| unescape(answer.as_bytes())).collect(),
            ttls_s: self.ttls.iter().map(|ttl| whole(*ttl)).collect(),
        })
    }
}

/// Zeek writes microseconds; a float of today's time is exact to a quarter of one.
#[expect(clippy::cast_sign_loss, reason = "a float cast saturates at 0")]
fn float_ns(seconds: f64) -> u64 {
    ((seconds * 1e6).round() as u64).saturating_mul(1000)
}

/// `1679517878.288705` in nanoseconds, without the rounding of a float.
fn decimal_ns(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(digits.parse().ok()?)
}

/// A TTL, which Zeek writes as an interval.
fn seconds(text: &str) -> u32 {
    text.parse().map_or(0, whole)
}

#[expect(clippy::cast_sign_loss, reason = "a float cast saturates at 0")]
fn whole(seconds: f64) -> u32 {
    seconds as u32
}

fn number<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

/// Undoes `\xHH` and `\\` (Zeek's `ODesc`).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'\\', &rest[1..]),
            },
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            _ => (*first, after),
        };
        out.push(byte);
        rest = after;
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The pieces of `line` between separators of one or more bytes.
fn split<'a>(line: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let at = match separator {
            [byte] => line.iter().position(|other| other == byte),
            _ => line.windows(separator.len()).position(|window| window == separator),
        };
        let Some(at) = at else {
            rest = None;
            return Some(line);
        };
        rest = Some(&line[at + separator.len()..]);
        Some(&line[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (text, want) in [
            (&b"plain"[..], &b"plain"[..]),
            (b"\\x09tab\\xff", b"\ttab\xff"),
            (b"a\\\\x41", b"a\\x41"),
            (b"\\xZ1\\", b"\\xZ1\\"),
            (b"\\x4", b"\\x4"),
        ] {
            assert_eq!(unescape(text), want);
        }
    }

    #[test]
    fn times_keep_every_digit() {
        assert_eq!(decimal_ns("1679517878.288705"), Some(1_679_517_878_288_705_000));
        assert_eq!(decimal_ns("1"), Some(1_000_000_000));
        assert_eq!(decimal_ns("0.1234567891"), Some(123_456_789));
        assert_eq!(decimal_ns("-1.0"), None);
        assert_eq!(decimal_ns("99999999999999"), None);
        assert_eq!(float_ns(1_679_517_878.288_705), 1_679_517_878_288_705_000);
    }

    #[test]
    fn pieces_between_separators() {
        let pieces: Vec<_> = split(b"a||b||", b"||").collect();
        assert_eq!(pieces, [&b"a"[..], b"b", b""]);
    }
}
