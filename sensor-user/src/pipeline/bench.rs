//! A pipeline for tests, with packets made by hand.

use std::net::{IpAddr, SocketAddr};

use sensor_ebpf::abi::flag;

use crate::config::Config;
use crate::detect::Role;
use crate::detect::reputation::Feed;
use crate::dns::Canonical;
use crate::event::{Event, Kind, Owner, Packet, Transport, View, no_owner};
use crate::finding::{Finding, Origin, State};
use crate::pipeline::{Pipeline, Settings};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// When it begins, Unix time.
pub(crate) const START: u64 = 1_700_000_000 * SECOND;

/// One record of an answer: type, TTL in seconds, rdata.
pub(crate) type Answer<'a> = (u16, u32, &'a [u8]);

pub(crate) struct Bench {
    pub(crate) pipeline: Pipeline,
    pub(crate) found: Vec<Finding>,
    /// Unix time of the next packet.
    pub(crate) now_ns: u64,
    /// Sender of the next packets; nobody at first.
    pub(crate) owner: Owner,
    /// Who is asked.
    pub(crate) server: IpAddr,
    /// Of the last query.
    pub(crate) id: u16,
    beats: u64,
}

impl Bench {
    pub(crate) fn new(config: &Config) -> Self {
        Self::with(config.pipeline())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self {
            pipeline: Pipeline::new(settings, Origin::Replay),
            found: Vec::new(),
            now_ns: START,
            owner: no_owner(1),
            server: IpAddr::from([10, 9, 9, 9]),
            id: 0,
            beats: 0,
        }
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, seconds: f64) {
        self.now_ns += std::time::Duration::from_secs_f64(seconds).as_nanos() as u64;
    }

    /// Lets about so much time pass, by chance as long as between the cars on a road: what comes then has no beat.
    pub(crate) fn pass(&mut self, mean_seconds: f64) {
        self.beats += 1;
        let unit = (self.beats.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
        self.wait(-mean_seconds * (1.0 - unit).ln());
    }

    /// A query from an address to 10.9.9.9.
    pub(crate) fn query(&mut self, client: &str, name: &str, qtype: u16) {
        self.id = self.id.wrapping_add(1);
        let bytes = message(self.id, 0x0100, name, qtype, &[]);
        self.packet(client, &bytes, true);
    }

    /// The response to the last query, 20 ms later.
    pub(crate) fn answer(
        &mut self,
        client: &str,
        name: &str,
        qtype: u16,
        rcode: u16,
        records: &[Answer<'_>],
    ) {
        self.now_ns += SECOND / 50;
        let bytes = message(self.id, 0x8180 | rcode, name, qtype, records);
        self.packet(client, &bytes, false);
    }

    /// A TXT query from an address and port to 10.9.9.9, a second or so after the last packet.
    pub(crate) fn ask(&mut self, client: &str, name: &str) {
        self.pass(1.0);
        self.id = self.id.wrapping_add(1);
        let bytes = message(self.id, 0x0100, name, 16, &[]);
        self.record(View::Capture, client, "10.9.9.9:53", bytes, no_owner(1));
    }

    /// Query and response.
    pub(crate) fn look_up(
        &mut self,
        client: &str,
        name: &str,
        qtype: u16,
        rcode: u16,
        records: &[Answer<'_>],
    ) {
        self.query(client, name, qtype);
        self.answer(client, name, qtype, rcode, records);
    }

    /// Any bytes between an address's port 4000 and 10.9.9.9's port 53.
    pub(crate) fn packet(&mut self, client: &str, payload: &[u8], to_server: bool) {
        let client = SocketAddr::new(client.parse().unwrap(), 4000);
        let server = SocketAddr::new(self.server, 53);
        let (src, dst) = if to_server { (client, server) } else { (server, client) };
        self.record(View::Capture, &src.to_string(), &dst.to_string(), payload.to_vec(), self.owner);
    }

    /// Any bytes, as the kernel hands them over.
    pub(crate) fn record(&mut self, view: View, src: &str, dst: &str, bytes: Vec<u8>, owner: Owner) {
        let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        // As the kernel has it: where both are 53 the QR bit decides.
        let response = bytes.get(2).is_some_and(|flags| flags & 0x80 != 0);
        let to_server = dst.port() == 53 && !(src.port() == 53 && response);
        let packet = Packet {
            time_ns: self.now_ns,
            view,
            kind: if bytes.len() < crate::dns::HEADER_LEN { Kind::Datagram } else { Kind::Message },
            transport: Transport::Udp,
            src,
            dst,
            ifindex: 0,
            vlan: [None; 2],
            tcp_seq: 0,
            flags: if to_server { flag::TO_SERVER } else { flag::RESPONSE },
            true_len: bytes.len() as u32,
            payload: bytes.into(),
            owner,
        };
        let found = &mut self.found;
        self.pipeline.push(Event::Packet(packet), &mut |f| found.push(f.clone()));
    }

    pub(crate) fn finish(&mut self) {
        let found = &mut self.found;
        self.pipeline.finish(&mut |f| found.push(f.clone()));
    }

    pub(crate) fn feed(&mut self, feed: Feed) {
        self.pipeline.feed(feed);
    }

    /// What the pipeline takes an address for.
    pub(crate) fn role(&mut self, client: &str) -> Role {
        self.pipeline.role(client.parse().unwrap())
    }

    /// Findings created.
    pub(crate) fn created(&self) -> Vec<&Finding> {
        self.found.iter().filter(|f| f.state == State::Create).collect()
    }

    /// Findings created by a rule.
    pub(crate) fn created_by(&self, rule: &str) -> Vec<&Finding> {
        self.created().into_iter().filter(|f| f.rule == rule).collect()
    }
}

/// A message with one question and these answers, names compressed to the question's.
pub(crate) fn message(id: u16, flags: u16, name: &str, qtype: u16, answers: &[Answer<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [id, flags, 1, answers.len() as u16, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(Canonical::from_text(name).wire());
    out.push(0);
    out.extend_from_slice(&[qtype.to_be_bytes(), [0, 1]].concat());
    for (rtype, ttl, rdata) in answers {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&[rtype.to_be_bytes(), [0, 1]].concat());
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        out.extend_from_slice(rdata);
    }
    out
}
