//! Look-ups for detectors' tests, made by hand.

use std::net::{IpAddr, SocketAddr};

use sensor_ebpf::abi::flag;

use crate::config::Config;
use crate::detect::Role;
use crate::detect::reputation::Feed;
use crate::dns::Canonical;
use crate::event::{Event, Kind, Owner, Packet, Transport, View, no_owner};
use crate::finding::{Finding, Origin, State};
use crate::pipeline::Pipeline;

const SECOND: u64 = 1_000_000_000;

/// One record of an answer: type, TTL in seconds, rdata.
pub(super) type Answer<'a> = (u16, u32, &'a [u8]);

pub(super) struct Bench {
    pipeline: Pipeline,
    pub(super) found: Vec<Finding>,
    /// Unix time of the next packet.
    pub(super) now_ns: u64,
    /// Sender of the next packets; nobody at first.
    pub(super) owner: Owner,
    /// Who is asked.
    pub(super) server: IpAddr,
    id: u16,
}

impl Bench {
    pub(super) fn new(config: &Config) -> Self {
        let pipeline = Pipeline::new(config.pipeline(), Origin::Replay);
        let now_ns = 1_700_000_000 * SECOND;
        Self {
            pipeline,
            found: Vec::new(),
            now_ns,
            owner: no_owner(1),
            server: IpAddr::from([10, 9, 9, 9]),
            id: 0,
        }
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, seconds: f64) {
        self.now_ns += std::time::Duration::from_secs_f64(seconds).as_nanos() as u64;
    }

    /// A query from an address to 10.9.9.9.
    pub(super) fn query(&mut self, client: &str, name: &str, qtype: u16) {
        self.id = self.id.wrapping_add(1);
        let bytes = message(self.id, 0x0100, name, qtype, &[]);
        self.packet(client, &bytes, true);
    }

    /// The response to the last query, 20 ms later.
    pub(super) fn answer(
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

    /// Query and response.
    pub(super) fn look_up(
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
    pub(super) fn packet(&mut self, client: &str, payload: &[u8], to_server: bool) {
        let client = SocketAddr::new(client.parse().unwrap(), 4000);
        let server = SocketAddr::new(self.server, 53);
        let (src, dst) = if to_server { (client, server) } else { (server, client) };
        let packet = Packet {
            time_ns: self.now_ns,
            view: View::Capture,
            kind: if payload.len() < crate::dns::HEADER_LEN { Kind::Datagram } else { Kind::Message },
            transport: Transport::Udp,
            src,
            dst,
            ifindex: 0,
            vlan: [None; 2],
            tcp_seq: 0,
            flags: if to_server { flag::TO_SERVER } else { flag::RESPONSE },
            true_len: payload.len() as u32,
            payload: payload.to_vec().into(),
            owner: self.owner,
        };
        let found = &mut self.found;
        self.pipeline.push(Event::Packet(packet), &mut |f| found.push(f.clone()));
    }

    pub(super) fn finish(&mut self) {
        let found = &mut self.found;
        self.pipeline.finish(&mut |f| found.push(f.clone()));
    }

    pub(super) fn feed(&mut self, feed: Feed) {
        self.pipeline.feed(feed);
    }

    /// What the pipeline takes an address for.
    pub(super) fn role(&mut self, client: &str) -> Role {
        self.pipeline.role(client.parse().unwrap())
    }

    /// Findings created by a rule.
    pub(super) fn created(&self, rule: &str) -> Vec<&Finding> {
        self.found.iter().filter(|f| f.state == State::Create && f.rule == rule).collect()
    }
}

/// A message with one question and these answers, names compressed to the question's.
pub(super) fn message(id: u16, flags: u16, name: &str, qtype: u16, answers: &[Answer<'_>]) -> Vec<u8> {
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
