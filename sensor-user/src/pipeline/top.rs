//! Who moves most: the ledger's accounts by how near they are to a bound, for `earthdog top`.

use std::collections::HashSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Pipeline;
use crate::attribute::Identity;
use crate::dns::canonical;
use crate::finding::{self, Severity};
use crate::report::{Case, text, who};

/// Version of the answer to `top`.
pub const VERSION: u32 = 1;
/// Accounts told: more than anybody looks through.
pub const MAX: usize = 256;

/// The answer to `top`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    pub v: u32,
    /// Nearest to a bound first, at most `MAX`; and how many there are.
    pub rows: Vec<Row>,
    pub total: u64,
}

/// A client under a zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub client: String,
    /// `none that could be delegated` is empty.
    pub zone: String,
    pub queries: u64,
    /// Bytes that can have left (least, most) and come in (most).
    pub up: (u64, u64),
    pub down: u64,
    /// Of the nearest bound; 1 is at it.
    pub score: f64,
    pub first_seen: String,
    pub last_seen: String,
    pub grade: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Of the open finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

impl Pipeline {
    /// An address is left out where its processes are told. Scores are as of each one's last look-up.
    pub fn top(&self) -> Top {
        let process = |key: u64| -> Option<IpAddr> {
            let client = self.clients.find(key)?;
            matches!(client.identity, Identity::Process { .. }).then_some(client.ip)
        };
        let of_processes: HashSet<(IpAddr, u64), foldhash::fast::FixedState> = self
            .work
            .shards()
            .flat_map(|shard| shard.ledger.entries())
            .filter_map(|entry| Some((process(entry.key.client)?, entry.key.zone)))
            .collect();
        let is_told = |key: crate::ledger::Key| {
            self.clients.find(key.client).is_some_and(|client| {
                matches!(client.identity, Identity::Address(_))
                    && of_processes.contains(&(client.ip, key.zone))
            })
        };
        let mut nearest: Vec<_> = self
            .work
            .shards()
            .flat_map(|shard| shard.ledger.entries().iter().map(|entry| (&shard.reports, entry)))
            .filter(|(_, entry)| !is_told(entry.key))
            .map(|(reports, entry)| (reports.score(entry), reports, entry))
            .collect();
        let total = nearest.len() as u64;
        nearest.sort_by(|(a, _, one), (b, _, other)| {
            b.total_cmp(a).then(other.last_ns.cmp(&one.last_ns)).then(one.key.cmp(&other.key))
        });
        nearest.truncate(MAX);
        let rows = nearest.into_iter().map(|(score, reports, entry)| {
            let client = who::describe(self.clients.find(entry.key.client), &self.names, &self.attribute);
            let open = reports.finding(Case::client_zone(entry.key));
            let (up, down) = crate::report::bounds(entry);
            Row {
                client: text::client(&client),
                zone: if entry.zone.is_empty() { String::new() } else { canonical::text(&entry.zone) },
                queries: entry.queries,
                up: (up.low, up.high),
                down: down.high,
                score,
                first_seen: finding::time(entry.first_ns),
                last_seen: finding::time(entry.last_ns),
                grade: client.grade.to_owned(),
                via: who::program(entry.via, &self.clients, &self.names, &self.attribute),
                id: open.map(|finding| finding.id.clone()),
                severity: open.map(|finding| finding.severity),
            }
        });
        Top { v: VERSION, rows: rows.collect(), total }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::pipeline::bench::Bench;

    #[test]
    fn who_leaks_is_first_with_its_finding() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..60_u64 {
            let (a, b) = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n.wrapping_mul(0xd1b5_4a32_d192_ed03));
            bench.ask("10.0.0.2:4000", &format!("{:012x}{:012x}.t.example.com", a >> 16, b >> 16));
            bench.ask("10.0.0.3:4000", "www.example.org");
        }
        let top = bench.pipeline.top();
        assert_eq!((top.total, top.rows.len()), (2, 2));
        let (leak, honest) = (&top.rows[0], &top.rows[1]);
        assert_eq!((leak.client.as_str(), leak.zone.as_str(), leak.queries), ("10.0.0.2", "example.com", 60));
        assert!(leak.score > 1.0 && honest.score < 0.1, "{top:#?}");
        assert_eq!((&leak.id, &honest.id), (&Some(bench.found[0].id.clone()), &None));
        assert!(leak.up.0 <= leak.up.1 && leak.up.1 > 256);
    }
}
