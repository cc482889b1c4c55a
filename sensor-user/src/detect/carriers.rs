//! Bytes beside the question: EDNS options, bytes behind the message, header bits, records in a query.
//!
//! One fixed name can carry any amount of data in what stands beside it, and the ledger of names sees nothing new. What is
//! summed per client and server is what nobody honest varies: of an option, tail or header, the bytes that differ from
//! what was there before, and none for what was there before in whole. A client's own part of a cookie (dig draws one for
//! each query), a server's part that this server has given out, padding of zeros and the subnets of a forwarder's clients
//! (RFC 7871: 24 and 56 bits) are no payload; short options such as a forwarder adds for each of its clients (their
//! hardware addresses) count for an eighth. A pattern of letter case is bounded by the ledger only: a resolver that
//! draws it at random (0x20) cannot be told from a sender. In responses, cookies and error texts vary by nature.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::quality::FixedState;
use sensor_ebpf::abi::flag;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::{Anomaly, Message, Section, rtype};
use crate::finding::Bounds;
use crate::ledger::known::Known;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct Carriers {
    bound_bytes: u64,
    window_ns: u64,
    pairs: Table<(u64, IpAddr), Pair>,
}

/// Contents remembered of a pair, and of how many carriers the last one whole.
const KNOWN: usize = 128;
const LAST: usize = 4;
const LAST_BYTES: usize = 64;
/// Cookies of a server that may come back: queries under way at once.
const COOKIES: usize = 8;

/// What one client and one server exchanged beside questions and answers.
#[derive(Debug, Default)]
struct Pair {
    since_ns: u64,
    last_ns: u64,
    /// Within the window that began at `since_ns`: messages that carried something, bytes by carrier, in eighths.
    carried: u64,
    eighths: [u64; CARRIERS],
    total: Figures,
    known: Known<KNOWN>,
    last: [Last; LAST],
    /// Hashes of the server's cookies.
    cookies: [u64; COOKIES],
    /// Queries with a cookie of the server's, and responses; cookies say nothing where responses are missing.
    cookie_queries: u32,
    responses: u32,
    responses_cut: bool,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    what: u32,
    length: u16,
    bytes: [u8; LAST_BYTES],
}

impl Default for Last {
    fn default() -> Self {
        Self { what: 0, length: 0, bytes: [0; LAST_BYTES] }
    }
}

impl Remembered for Pair {
    fn worth(&self) -> (u64, u64) {
        (self.total.up.high + self.total.down.high, self.last_ns)
    }
}

/// What can carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Option,
    Padding,
    Cookie,
    Tail,
    Header,
    Records,
}

const CARRIERS: usize = 6;

impl Carrier {
    const ALL: [Self; CARRIERS] =
        [Self::Option, Self::Padding, Self::Cookie, Self::Tail, Self::Header, Self::Records];

    fn name(self) -> &'static str {
        match self {
            Self::Option => "EDNS options",
            Self::Padding => "EDNS padding",
            Self::Cookie => "cookies that the server never gave out",
            Self::Tail => "bytes behind the message",
            Self::Header => "header fields",
            Self::Records => "records in the query",
        }
    }
}

/// EDNS option codes (IANA DNS parameters).
mod code {
    pub(super) const CLIENT_SUBNET: u16 = 8;
    pub(super) const COOKIE: u16 = 10;
    pub(super) const PADDING: u16 = 12;
    pub(super) const EXTENDED_ERROR: u16 = 15;
}

/// Messages below which nothing is said.
const MIN_MESSAGES: u64 = 4;
/// Longest option that counts for an eighth.
const SHORT: usize = 8;
/// A client's own part of a cookie (RFC 7873).
const CLIENT_COOKIE: usize = 8;
/// Bytes that a header says which is as no other was before.
const HEADER_BYTES: u64 = 2;

impl Carriers {
    pub const RULE: &str = "dns-carriers";

    pub fn new(config: &Config) -> Self {
        let settings = &config.carriers;
        Self {
            bound_bytes: settings.outbound_dns_volume_bytes,
            window_ns: settings.time_window_s * 1_000_000_000,
            pairs: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for Carriers {
    fn worst_case_bytes(config: &Config) -> usize {
        let keys = config.carriers.max_keys as usize;
        Table::<(u64, IpAddr), Pair>::bytes(keys) + keys * Known::<KNOWN>::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { pairs, .. } = std::mem::replace(self, Self::new(config));
        self.pairs = pairs;
    }

    fn evicted(&self) -> u64 {
        self.pairs.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let message = look.message;
        let has_options = message.edns.is_some_and(|edns| edns.options().next().is_some());
        let is_plain = !has_options && message.trailing.is_empty() && is_usual(message);
        // Where a capture has one direction only, a response stands for its query. Other opcodes are for updates and
        // notices, which carry records by nature.
        let is_own = look.packet.flags & flag::TO_SERVER != 0;
        if is_plain
            || !is_own
            || message.header.opcode() != 0
            || message.anomalies.has(Anomaly::CountMismatch)
        {
            return;
        }
        self.take(look, true, cases);
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if self.pairs.is_empty() && look.message.trailing.is_empty() && look.message.edns.is_none() {
            return;
        }
        let message = look.message;
        let (_, server) = look.packet.client_server();
        if let Some(pair) = self.pairs.find((look.client, server.ip())) {
            pair.responses = pair.responses.saturating_add(1);
            pair.responses_cut |= message.anomalies.has(Anomaly::Cut);
            let cookies = message.edns.into_iter().flat_map(|edns| edns.options());
            for (_, data) in
                cookies.filter(|(code, data)| *code == code::COOKIE && data.len() > CLIENT_COOKIE)
            {
                pair.cookies.rotate_right(1);
                pair.cookies[0] = look.seed.hash_one(&data[CLIENT_COOKIE..]);
            }
        }
        let varies = |code: u16| matches!(code, code::COOKIE | code::EXTENDED_ERROR | code::CLIENT_SUBNET);
        let mut options = message.edns.into_iter().flat_map(|edns| edns.options());
        if !message.trailing.is_empty() || options.any(|(code, data)| !varies(code) && !is_zero(data)) {
            self.take(look, false, cases);
        }
    }
}

impl Carriers {
    fn take(&mut self, look: &Look<'_>, up: bool, cases: &mut Cases<'_, '_>) {
        let (packet, message) = (look.packet, look.message);
        let now_ns = packet.time_ns;
        let (_, server) = packet.client_server();
        let seed = look.seed;
        let pair = self.pairs.open((look.client, server.ip()), Pair::default);
        if pair.since_ns == 0 || now_ns.saturating_sub(pair.since_ns) > self.window_ns {
            (pair.since_ns, pair.carried, pair.eighths) = (now_ns, 0, [0; CARRIERS]);
        }
        pair.last_ns = now_ns;
        let before: u64 = pair.eighths.iter().sum();
        for (code, data) in message.edns.into_iter().flat_map(|edns| edns.options()) {
            pair.option(code, data, up, seed);
        }
        if !is_zero(message.trailing) {
            pair.bytes(Carrier::Tail, TAIL, message.trailing, up, seed);
        }
        if up {
            pair.header(message, seed);
            let extra = message.records().filter(|record| !is_usual_record(record.section, record.rtype));
            for record in extra.take(MAX_RECORDS) {
                pair.bytes(Carrier::Records, RECORD | u32::from(record.rtype), record.rdata, up, seed);
            }
        }
        let eighths: u64 = pair.eighths.iter().sum();
        if eighths == before {
            return;
        }
        pair.carried += 1;
        let bytes = (eighths - before).div_ceil(8);
        let total = &mut pair.total;
        if total.first_ns == 0 {
            total.first_ns = now_ns;
        }
        let side = if up {
            total.queries += 1;
            total.name_bytes += bytes;
            &mut total.up
        } else {
            total.responses += 1;
            &mut total.down
        };
        *side = Bounds { low: side.low + bytes, high: side.high + bytes };
        let bytes = eighths / 8;
        if pair.carried < MIN_MESSAGES || bytes < self.bound_bytes {
            return;
        }
        let Some(most) = Carrier::ALL.into_iter().max_by_key(|carrier| pair.eighths[*carrier as usize])
        else {
            return;
        };
        let (carried, bound) = (pair.carried, self.bound_bytes);
        let seconds = now_ns.saturating_sub(pair.since_ns) / 1_000_000_000;
        let window_s = self.window_ns / 1_000_000_000;
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client(look.client, Self::RULE),
            zone: &[],
            class: Class::None,
            family: family::SHAPE,
            name: "carrier_bytes",
            weight: bytes as f64 / bound as f64,
            figures: pair.total,
            quiet_s: window_s,
            say: &|| Said {
                does: format!("carries data beside its questions to {}: {}", server.ip(), most.name()),
                observed: format!(
                    "{} messages within {seconds} s with {} bytes that were never there before, most of them in {}",
                    thousands(carried),
                    thousands(bytes),
                    most.name()
                ),
                baseline: format!("{} such bytes in {window_s} s, in {MIN_MESSAGES} messages", thousands(bound)),
                counterfactual: format!(
                    "Had less than {} bytes beside the questions been new within {window_s} s, there would be no finding.",
                    thousands(bound)
                ),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }
}

/// What bytes are of, beside the option codes.
const TAIL: u32 = 1 << 16;
const RECORD: u32 = 1 << 17;
const SERVERS: u32 = 1 << 18;
/// Records looked at in a query, where none but OPT belongs.
const MAX_RECORDS: usize = 8;

impl Pair {
    fn option(&mut self, code: u16, data: &[u8], up: bool, seed: &FixedState) {
        match code {
            code::COOKIE => {
                if up && data.len() > CLIENT_COOKIE {
                    self.cookie(&data[CLIENT_COOKIE..], seed);
                }
            }
            code::EXTENDED_ERROR if !up => {}
            code::CLIENT_SUBNET if !up || is_subnet(data) => {}
            code::PADDING if is_zero(data) => {}
            code::PADDING => self.bytes(Carrier::Padding, u32::from(code), data, up, seed),
            _ => self.bytes(Carrier::Option, u32::from(code), data, up, seed),
        }
    }

    /// The server's part of a cookie in a query: it is what the server sent, or else the client's own.
    fn cookie(&mut self, data: &[u8], seed: &FixedState) {
        self.cookie_queries = self.cookie_queries.saturating_add(1);
        let is_given_out = self.cookies.contains(&seed.hash_one(data));
        let has_responses =
            !self.responses_cut && self.responses.saturating_mul(2) + 2 >= self.cookie_queries;
        if !is_given_out && has_responses {
            self.bytes(Carrier::Cookie, u32::from(code::COOKIE), data, true, seed);
        }
    }

    /// Size, version, flags of EDNS and the flags of the header that a client sets as it is built.
    fn header(&mut self, message: &Message<'_>, seed: &FixedState) {
        let edns = message.edns.map(|edns| (edns.udp_size, edns.version, edns.rcode_high, edns.flags));
        let is_new = !self.known.insert(seed.hash_one((edns, message.header.flags)));
        if is_new {
            self.eighths[Carrier::Header as usize] += HEADER_BYTES * 8;
        }
    }

    fn bytes(&mut self, carrier: Carrier, what: u32, data: &[u8], up: bool, seed: &FixedState) {
        if data.is_empty() || self.known.insert(seed.hash_one((what, data))) {
            return;
        }
        let what = what | if up { 0 } else { SERVERS } | 1 << 31;
        let kept = &data[..data.len().min(LAST_BYTES)];
        let at = self.last.iter().position(|last| last.what == what);
        let new = at.map_or(data.len(), |at| {
            let last = &self.last[at];
            let same =
                last.bytes[..usize::from(last.length)].iter().zip(kept).filter(|(a, b)| a == b).count();
            data.len() - same
        });
        self.last[..=at.unwrap_or(LAST - 1)].rotate_right(1);
        let last = &mut self.last[0];
        (last.what, last.length) = (what, kept.len() as u16);
        last.bytes[..kept.len()].copy_from_slice(kept);
        let weight = if carrier == Carrier::Option && data.len() <= SHORT { 1 } else { 8 };
        self.eighths[carrier as usize] += new as u64 * weight;
    }
}

/// Nothing in the header that an ordinary client would not send: worth no look-up of the pair.
fn is_usual(message: &Message<'_>) -> bool {
    // RD, AD and CD; not AA, TC, RA, the reserved bit or a code.
    const USUAL: u16 = 0x0130;
    let [_, an, ns, ar] = message.header.counts;
    let edns = message.edns.is_none_or(|edns| {
        edns.version == 0
            && edns.rcode_high == 0
            && edns.flags | 0x8000 == 0x8000
            && (edns.udp_size.is_multiple_of(4) || edns.udp_size == u16::MAX)
    });
    message.header.flags & !USUAL == 0
        && an == 0
        && ns == 0
        && ar == u16::from(message.edns.is_some())
        && edns
}

/// OPT, a signature of the transaction (RFC 8945, RFC 2931), and the start of authority in a transfer's authority section.
fn is_usual_record(section: Section, kind: u16) -> bool {
    const SIG: u16 = 24;
    const TSIG: u16 = 250;
    match section {
        Section::Additional => matches!(kind, rtype::OPT | SIG | TSIG),
        Section::Authority => kind == rtype::SOA,
        Section::Answer => false,
    }
}

/// A client subnet as a forwarder sends it: family, prefix, scope 0, and so many bytes, the bits behind the prefix zero.
fn is_subnet(data: &[u8]) -> bool {
    let Some((&[family_high, family_low, prefix, scope], address)) = data.split_first_chunk::<4>() else {
        return false;
    };
    let most = match (family_high, family_low) {
        (0, 1) => 24,
        (0, 2) => 56,
        (0, 0) => 0,
        _ => return false,
    };
    let behind = prefix % 8;
    let is_clear =
        behind == 0 || address.last().is_none_or(|byte| byte.trailing_zeros() >= 8 - u32::from(behind));
    scope == 0 && prefix <= most && address.len() == usize::from(prefix).div_ceil(8) && is_clear
}

fn is_zero(data: &[u8]) -> bool {
    data.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity};
    use crate::pipeline::bench::{Bench, message};

    /// A query for one fixed name with these EDNS options.
    fn with(options: &[(u16, Vec<u8>)]) -> Vec<u8> {
        with_size(1232, options)
    }

    /// The n-th query.
    type Make = fn(u64) -> Vec<u8>;

    fn with_size(size: u16, options: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = message(7, 0x0100, "www.weather.example", 1, &[]);
        bytes[11] = 1;
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0; 4]);
        let length: usize = options.iter().map(|(_, data)| data.len() + 4).sum();
        bytes.extend((length as u16).to_be_bytes());
        for (code, data) in options {
            bytes.extend(code.to_be_bytes());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    /// Under an id of its own.
    fn numbered(mut message: Vec<u8>, n: u64) -> Vec<u8> {
        message[1] = n as u8;
        message
    }

    fn random(n: u64, length: usize) -> Vec<u8> {
        let word = |step: u64| (n * 64 + step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 17);
        let bytes = (0..).flat_map(|step| word(step).wrapping_mul(0xd6e8_feb8_6659_fd93).to_le_bytes());
        bytes.take(length).collect()
    }

    fn found(mut make: impl FnMut(u64) -> Vec<u8>) -> (Vec<Severity>, u64) {
        let mut bench = Bench::new(&Config::default());
        let mut first = 0;
        for n in 0..300 {
            bench.wait(1.0);
            let mut query = numbered(make(n), n);
            bench.packet("10.0.0.2", &query, true);
            if bench.found.is_empty() {
                first = n + 1;
            }
            bench.wait(0.02);
            query.truncate(12 + 21 + 4);
            (query[2], query[3], query[11]) = (0x81, 0x80, 0);
            bench.packet("10.0.0.2", &query, false);
        }
        bench.finish();
        let created = bench.created_by(Carriers::RULE);
        assert!(created.iter().all(|f| f.scope == Scope::Client && f.bytes_up.low > 0), "{created:#?}");
        (created.iter().map(|f| f.severity).collect(), first)
    }

    #[test]
    fn bytes_beside_one_fixed_name_are_found() {
        let medium = vec![Severity::Medium];
        let rows: [(&str, Make, u64); 6] = [
            ("unknown option", |n| with(&[(65_001, random(n, 100))]), 5),
            ("padding", |n| with(&[(code::PADDING, random(n, 64))]), 5),
            ("cookie", |n| with(&[(code::COOKIE, random(n, 24))]), 12),
            ("subnet", |n| with(&[(code::CLIENT_SUBNET, [vec![0, 1, 32, 0], random(n, 4)].concat())]), 300),
            ("tail", |n| [with(&[]), random(n, 32)].concat(), 6),
            ("size", |n| with_size((u16::from(random(n, 8)[6]) * 251) | 1, &[]), 300),
        ];
        for (what, make, most) in rows {
            let (severities, first) = found(make);
            assert_eq!(severities, medium, "{what}");
            assert!(first <= most, "{what}: {first}");
        }
    }

    #[test]
    fn what_honest_clients_send_is_left_alone() {
        let rows: [(&str, Make); 6] = [
            ("plain", |_| with(&[])),
            ("dig draws a client cookie each time", |n| with(&[(code::COOKIE, random(n, 8))])),
            ("padding to a block", |n| with(&[(code::PADDING, vec![0; n as usize % 128])])),
            ("subnets of a forwarder's clients", |n| {
                with(&[(code::CLIENT_SUBNET, [vec![0, 1, 24, 0], random(n, 3)].concat())])
            }),
            ("hardware addresses of thirty clients", |n| {
                with(&[(65_001, [vec![2, 66, 10], random(n % 30, 3)].concat()), (65_074, b"site".to_vec())])
            }),
            ("an address inside an identity", |n| {
                with(&[(20_292, [random(1, 20), vec![n as u8 % 60]].concat())])
            }),
        ];
        for (what, make) in rows {
            assert_eq!(found(make).0, [], "{what}");
        }
    }

    #[test]
    fn a_cookie_that_the_server_gave_out_is_its_own() {
        let mut bench = Bench::new(&Config::default());
        let mut cookie = random(0, 8);
        for n in 0..300 {
            bench.wait(1.0);
            bench.packet("10.0.0.2", &numbered(with(&[(code::COOKIE, cookie.clone())]), n), true);
            bench.wait(0.02);
            cookie = [random(0, 8), random(n, 16)].concat();
            let mut response = numbered(with(&[(code::COOKIE, cookie.clone())]), n);
            (response[2], response[3]) = (0x81, 0x80);
            bench.packet("10.0.0.2", &response, false);
        }
        bench.finish();
        assert!(bench.created_by(Carriers::RULE).is_empty(), "{:#?}", bench.found);
    }
}
