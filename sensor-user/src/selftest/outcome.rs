//! What a self-test came to: `--json`, and the file in the state folder that `coverage` reads.

use serde::{Deserialize, Serialize};

use super::floor::Floor;
use super::part::Sent;
use crate::finding::Severity;

/// Version of `--json` and of the file, raised when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub v: u32,
    /// Of the program.
    pub version: String,
    /// RFC 3339, when it began.
    pub time: String,
    /// How long it took.
    pub seconds: f64,
    /// Every case came out as expected, and every sender was named.
    pub ok: bool,
    pub hooks: Vec<String>,
    /// Packets that its own sensor lost.
    pub lost: u64,
    pub summary: Summary,
    pub cases: Vec<Row>,
    /// Of medium or higher, about none of the cases.
    pub strays: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// What could not be had.
    pub notes: Vec<String>,
}

/// Counted by how they were run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub live: Count,
    pub replayed: Count,
    /// Findings of medium or higher on live tools that name the process that sent, and such findings in all.
    pub owners_right: u64,
    pub owners: u64,
    /// Misses that this release is known for.
    pub known_gaps: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub tools_found: u64,
    pub tools: u64,
    pub honest_quiet: u64,
    pub honest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Must be found.
    Tool,
    /// Must be left alone.
    Honest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Sent through sockets, seen by the hooks.
    Live,
    /// Handed to the pipeline with times of its own.
    Replay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerIs {
    Right,
    Wrong,
    /// Nobody is named.
    None,
}

/// One case. Figures are those of the first finding that counts; of honest traffic, of the gravest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub kind: Kind,
    pub how: How,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// From the tool's first query to the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries: Option<u64>,
    /// Name bytes by then, or payload bytes where names carry nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Live tools alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerIs>,
    /// What falls short: missed, late, overrated, misattributed, alarmed, noisy, owner, sending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub falls: Option<String>,
    /// This release is known for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// Live cases alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

impl Outcome {
    /// Whether all is as it must be, and the counts.
    pub fn sum_up(&mut self) {
        let mut summary = Summary {
            owners: self.summary.owners,
            owners_right: self.summary.owners_right,
            ..Summary::default()
        };
        for row in &self.cases {
            let count = match row.how {
                How::Live => &mut summary.live,
                How::Replay => &mut summary.replayed,
            };
            match row.kind {
                Kind::Tool => {
                    count.tools += 1;
                    count.tools_found += u64::from(row.ok);
                }
                Kind::Honest => {
                    count.honest += 1;
                    count.honest_quiet += u64::from(row.ok);
                }
            }
            summary.known_gaps += u64::from(row.known);
        }
        self.summary = summary;
        self.ok = self.strays.is_empty()
            && summary.owners_right == summary.owners
            && self.cases.iter().all(|row| row.ok || row.known);
    }
}
