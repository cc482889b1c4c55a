//! Bytes on port 53 that are not DNS: iodine's raw mode, other protocols, messages with impossible headers.
//!
//! A resolver or its client never sends what has no header, no question that ends, or counts that the message cannot
//! hold; port scanners and health checks send a few packets of it. What is summed is the payload of such packets per
//! client and server, and the same bytes again say nothing new. A channel goes both ways: bytes that nobody answers in
//! kind have a bound [`ONE_WAY`] times as high. Messages that a capture cut short do not count.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look, Stray};
use crate::config::Config;
use crate::dns::{Anomaly, HEADER_LEN, Message};
use crate::finding::Bounds;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct NonDns {
    bound_bytes: u64,
    window_ns: u64,
    pairs: Table<(u64, IpAddr), Pair>,
}

/// What one address and one server exchanged that is no DNS.
#[derive(Debug, Default)]
struct Pair {
    since_ns: u64,
    last_ns: u64,
    /// Within the window that began at `since_ns`.
    packets: u64,
    bytes: u64,
    total: Figures,
    /// Who sends: the process where it is known.
    client: u64,
    /// Directions seen in it: to the server, from it.
    ways: [bool; 2],
    /// Hashes of the last payloads.
    payloads: [u64; 8],
    /// A packet of it looked like a known tool's.
    is_iodine: bool,
}

impl Remembered for Pair {
    fn worth(&self) -> (u64, u64) {
        (self.total.up.high + self.total.down.high, self.last_ns)
    }
}

/// Packets below which nothing is said: a scanner's probe and its repetition are no channel.
const MIN_PACKETS: u64 = 4;
/// How many times the bound bytes in one direction alone may have: a vulnerability scanner's probes come to half a
/// kilobyte for each server.
const ONE_WAY: u64 = 8;

impl NonDns {
    pub const RULE: &str = "dns-non-dns";

    pub fn new(config: &Config) -> Self {
        let settings = &config.non_dns;
        Self {
            bound_bytes: settings.bound_bytes,
            window_ns: settings.window_s * 1_000_000_000,
            pairs: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for NonDns {
    fn worst_case_bytes(config: &Config) -> usize {
        Table::<(u64, IpAddr), Pair>::bytes(config.non_dns.max_keys as usize)
    }

    fn retune(&mut self, config: &Config) {
        let Self { pairs, .. } = std::mem::replace(self, Self::new(config));
        self.pairs = pairs;
    }

    fn evicted(&self) -> u64 {
        self.pairs.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        self.message(look, true, cases);
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        self.message(look, false, cases);
    }

    fn stray(&mut self, stray: &Stray<'_>, cases: &mut Cases<'_, '_>) {
        if is_foreign(stray) {
            self.take(*stray, cases);
        }
    }
}

impl NonDns {
    /// What other protocols have where DNS has its counts and first label can by chance be read as a question.
    fn message(&mut self, look: &Look<'_>, to_server: bool, cases: &mut Cases<'_, '_>) {
        if !look.message.anomalies.is_empty() && wrong(look.message) >= 2 {
            let Look { packet, message, client, seed, .. } = *look;
            self.take(Stray { packet, message: Some(message), to_server, client, seed }, cases);
        }
    }

    fn take(&mut self, stray: Stray<'_>, cases: &mut Cases<'_, '_>) {
        let packet = stray.packet;
        let now_ns = packet.time_ns;
        let (_, server) = packet.client_server();
        let address = cases.sighting().address;
        let pair = self.pairs.open((address, server.ip()), Pair::default);
        // What comes back has no process of its own: it is whose the bytes out are.
        if pair.client == 0 || (stray.to_server && pair.client == address) {
            pair.client = stray.client;
        }
        let client = pair.client;
        if pair.packets == 0 || now_ns.saturating_sub(pair.since_ns) > self.window_ns {
            (pair.since_ns, pair.packets, pair.bytes, pair.ways) = (now_ns, 0, 0, [false; 2]);
        }
        pair.last_ns = now_ns;
        let hash = stray.seed.hash_one(&packet.payload[..]);
        if pair.payloads.contains(&hash) {
            return;
        }
        pair.payloads.rotate_right(1);
        pair.payloads[0] = hash;
        pair.ways[usize::from(!stray.to_server)] = true;
        let length = u64::from(packet.true_len);
        (pair.packets, pair.bytes) = (pair.packets + 1, pair.bytes + length);
        let total = &mut pair.total;
        if total.first_ns == 0 {
            total.first_ns = now_ns;
        }
        let side = if stray.to_server {
            total.queries += 1;
            total.name_bytes += length;
            &mut total.up
        } else {
            total.responses += 1;
            &mut total.down
        };
        *side = Bounds { low: side.low + length, high: side.high + length };
        pair.is_iodine |= packet.payload.starts_with(&IODINE_RAW);
        let bound = self.bound_bytes * if pair.ways == [true; 2] { 1 } else { ONE_WAY };
        if pair.packets < MIN_PACKETS || pair.bytes < bound {
            return;
        }
        let (packets, bytes) = (pair.packets, pair.bytes);
        let seconds = now_ns.saturating_sub(pair.since_ns) / 1_000_000_000;
        let window_s = self.window_ns / 1_000_000_000;
        let is_iodine = pair.is_iodine;
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client(client, Self::RULE),
            zone: &[],
            class: Class::None,
            family: family::SHAPE,
            name: "non_dns_bytes",
            weight: bytes as f64 / bound as f64,
            figures: pair.total,
            quiet_s: window_s,
            say: &|| Said {
                does: format!("exchanges bytes that are not DNS with port 53 of {}", server.ip()),
                observed: format!(
                    "{} packets with {} bytes that no DNS message can be, within {seconds} s",
                    thousands(packets),
                    thousands(bytes)
                ),
                baseline: format!("{} such bytes in {window_s} s, in {MIN_PACKETS} packets", thousands(bound)),
                counterfactual: format!(
                    "Had fewer than {} bytes on port 53 been something else than DNS within {window_s} s, there would \
                     be no finding.",
                    thousands(bound)
                ),
                samples: Vec::new(),
                tool: is_iodine.then_some("iodine"),
            },
        });
    }
}

/// Magic of iodine's raw UDP mode (its doc/proto_00000502.txt, "Raw UDP protocol"): three bytes, then command and user.
const IODINE_RAW: [u8; 3] = [0x10, 0xd1, 0x9e];

/// Whether no DNS implementation sends this, whole.
fn is_foreign(stray: &Stray<'_>) -> bool {
    let Some(message) = stray.message else {
        return (1..HEADER_LEN).contains(&(stray.packet.true_len as usize));
    };
    // Bare headers are errors from servers (FORMERR without a question) and keep-alives of stateful operations (RFC 8490).
    stray.packet.true_len as usize > HEADER_LEN && wrong(message) > 0
}

/// In how many ways a message cannot be one. Cut by the capture it is none: what is missing may have been there.
fn wrong(message: &Message<'_>) -> usize {
    const IMPOSSIBLE: [Anomaly; 8] = [
        Anomaly::CountMismatch,
        Anomaly::BadLabel,
        Anomaly::NameTooLong,
        Anomaly::NameCut,
        Anomaly::PointerInQuestion,
        Anomaly::PointerForward,
        Anomaly::BadRdlength,
        Anomaly::Opcode,
    ];
    let anomalies = message.anomalies;
    let count = IMPOSSIBLE.iter().filter(|anomaly| anomalies.has(**anomaly)).count();
    if anomalies.has(Anomaly::Cut) { 0 } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity, State};
    use crate::pipeline::bench::{Bench, message};

    /// As iodine sends in raw mode: magic, command and user, then encrypted or compressed IP packets.
    fn raw(n: u8, length: usize) -> Vec<u8> {
        [&IODINE_RAW[..], &[0x20], &vec![n.wrapping_mul(151) | 0x80; length]].concat()
    }

    #[test]
    fn a_raw_channel_is_one_finding_with_its_bytes_both_ways() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..20 {
            bench.wait(0.1);
            bench.packet("10.0.0.2", &raw(n, 96), true);
            bench.packet("10.0.0.2", &raw(n, 196), false);
        }
        bench.finish();
        let created = bench.created_by(NonDns::RULE);
        assert_eq!(created.len(), 1);
        let finding = created[0];
        assert_eq!((finding.severity, finding.scope), (Severity::Medium, Scope::Client));
        assert_eq!((finding.queries, finding.responses), (2, 2), "told at the fourth packet");
        assert_eq!(finding.tool.as_deref(), Some("iodine"));
        let closed = bench.found.iter().find(|f| f.state == State::Close).unwrap();
        assert_eq!((closed.bytes_up.low, closed.bytes_down.low), (20 * 100, 20 * 200));
    }

    #[test]
    fn probes_keep_alives_and_messages_of_servers_are_none() {
        let mut bench = Bench::new(&Config::default());
        for _ in 0..100 {
            bench.wait(30.0);
            bench.packet("10.0.0.3", &[0], true);
            bench.packet("10.0.0.4", &message(7, 0x8181, "", 0, &[])[..12], false);
            bench.look_up("10.0.0.5", "www.example.com", 1, 0, &[(1, 300, &[192, 0, 2, 1])]);
        }
        bench.finish();
        assert!(bench.found.is_empty(), "{:#?}", bench.found);
    }
}
