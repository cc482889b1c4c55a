//! What went in, what came out and what did not, with the reason.

use foldhash::HashSet;

use crate::dns::{Anomalies, Anomaly};
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
    /// Records of a message already counted at another hook.
    pub duplicates: u64,
    /// Responses to a query that was not seen: live they count here and nowhere else, since anybody can send them.
    pub unsolicited: u64,
    /// Queries after folding of retries, twins and a resolver's own upstream queries.
    pub lookups: u64,
    pub clients: u64,
    /// Told apart up to 65,536; that figure means as many or more.
    pub zones: u64,
    /// Created, by severity: low, medium, high, critical.
    pub findings: [u64; 4],
    /// Queries that an open finding of their process speaks for: they do not count again for their address.
    pub absorbed: u64,
    pub anomalies: AnomalyCounts,
    /// What was forgotten to stay within bounds, with its collection's name.
    pub evictions: [(&'static str, u64); 5],
    known_zones: HashSet<u64>,
}

/// Zones told apart for the count; beyond it the count stands.
const MAX_ZONES: usize = 65_536;

impl Stats {
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
