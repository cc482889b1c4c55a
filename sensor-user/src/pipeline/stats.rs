//! What went in, what came out and what did not, with the reason.

use serde::Serialize;

use foldhash::HashSet;

use crate::dns::{Anomalies, Anomaly};
use crate::event::{Packet, View};
use crate::fold::Whose;
use crate::logged::Lookup;
use crate::reassemble;

#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub packets: u64,
    pub execs: u64,
    /// DNS messages decoded; `queries` + `responses`.
    pub messages: u64,
    pub queries: u64,
    pub responses: u64,
    pub segments: u64,
    pub reassembly: reassemble::Stats,
    /// Too short for a DNS header.
    pub datagrams: u64,
    /// Messages without a question that could be read: part of no look-up.
    pub unquestioned: u64,
    /// Queries that began a look-up. Every message is one of these six, or unquestioned.
    pub firsts: u64,
    /// Records of a message already counted at another hook.
    pub duplicates: u64,
    /// Retries, other types and search lists of a look-up.
    pub twins: u64,
    /// Exact repeats that the novelty filter kept back, as far as queries after them have told.
    pub repeats: u64,
    /// Resolvers' upstream queries for a look-up of another client.
    pub forwarded: u64,
    /// Responses to a query that was seen.
    pub answers: u64,
    /// Responses to a query that was not seen: live they count here and nowhere else, since anybody can send them.
    pub unsolicited: u64,
    /// Of the forwarded, those that more than one client could have caused.
    pub ambiguous: u64,
    /// Records of the wire view that were matched to what a socket of this host sent or got, by everything.
    pub joined: u64,
    /// The same by all but the network namespace or an end that address translation rewrote.
    pub joined_inferred: u64,
    /// Look-ups charged: `firsts`, and in captures what a response shows whose query is missing.
    pub lookups: u64,
    pub clients: u64,
    /// Told apart up to 65,536; that figure means as many or more.
    pub zones: u64,
    /// Created, by severity: low, medium, high, critical.
    pub findings: [u64; 4],
    /// Queries that an open finding of their process speaks for: they do not count again for their address.
    pub absorbed: u64,
    /// Findings of daemons on the allow list: lowered, not left out.
    pub allowed: u64,
    /// Findings that alert nobody, by an exception.
    pub suppressed: u64,
    pub anomalies: AnomalyCounts,
    /// What was forgotten to stay within bounds, with its collection's name.
    pub evictions: [(&'static str, u64); 9],
    known_zones: HashSet<u64>,
}

/// How full something bounded is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fill {
    pub entries: usize,
    pub capacity: usize,
}

/// Zones told apart for the count; beyond it the count stands.
const MAX_ZONES: usize = 65_536;

impl Stats {
    pub(super) fn folded(&mut self, lookup: Option<Lookup>) {
        *(match lookup {
            None => &mut self.unquestioned,
            Some(Lookup::First) => &mut self.firsts,
            Some(Lookup::Duplicate) => &mut self.duplicates,
            Some(Lookup::Twin) => &mut self.twins,
            Some(Lookup::Forwarded) => &mut self.forwarded,
            Some(Lookup::Answer) => &mut self.answers,
            Some(Lookup::Unsolicited) => &mut self.unsolicited,
        }) += 1;
    }

    /// A record that is part of a look-up seen before.
    pub(super) fn joined(&mut self, packet: &Packet, whose: Whose) {
        if matches!(packet.view, View::WireIngress | View::WireEgress) && whose.at_socket {
            *(if whose.loosely { &mut self.joined_inferred } else { &mut self.joined }) += 1;
        }
    }

    pub(super) fn zone(&mut self, hash: u64) {
        if self.known_zones.len() < MAX_ZONES && self.known_zones.insert(hash) {
            self.zones += 1;
        }
    }
}

/// Messages by what was wrong with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnomalyCounts([u64; Anomaly::ALL.len()]);

impl AnomalyCounts {
    pub(super) fn add(&mut self, anomalies: Anomalies) {
        if !anomalies.is_empty() {
            for anomaly in anomalies.iter() {
                self.0[anomaly as usize] += 1;
            }
        }
    }

    pub fn of(&self, anomaly: Anomaly) -> u64 {
        self.0[anomaly as usize]
    }

    /// Counter labels and counts, those that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Anomaly::ALL.iter().map(|a| (a.name(), self.of(*a))).filter(|(_, count)| *count > 0)
    }
}
