//! What one finding is about, and what a detector says of it.

use crate::finding::{Bounds, Scope};
use crate::ledger::Key;
use crate::zone::Class;

/// Findings are told apart by this: one for each (client, zone), whatever speaks of it, and one for each client or zone
/// and rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// `client` 0: all clients; `zone` 0: all zones.
    pub key: Key,
    /// Empty where all rules share one finding.
    pub rule: &'static str,
}

impl Case {
    pub fn client_zone(key: Key) -> Self {
        Self { key, rule: "" }
    }

    pub fn client(client: u64, rule: &'static str) -> Self {
        Self { key: Key { client, zone: 0 }, rule }
    }

    pub fn zone(zone: u64, rule: &'static str) -> Self {
        Self { key: Key { client: 0, zone }, rule }
    }

    /// `class` is the zone's.
    pub fn scope(self, class: Class) -> Scope {
        match (self.rule.is_empty(), self.key.client) {
            (true, _) if class == Class::None => Scope::NoZone,
            (true, _) => Scope::ClientZone,
            (false, 0) => Scope::Zone,
            (false, _) => Scope::Client,
        }
    }
}

/// What a detector saw at or over its threshold.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Signal<'a> {
    /// The detector's rule, as in `data/rules.json`.
    pub rule: &'static str,
    pub case: Case,
    /// Wire form of the zone, empty if it is about none.
    pub zone: &'a [u8],
    pub class: Class,
    /// See `verdict::family`.
    pub family: &'static str,
    /// Name of the evidence: one is kept of each, the heaviest.
    pub name: &'static str,
    /// 1 at the detector's threshold, 2 at twice as much.
    pub weight: f64,
    /// Of cases without an entry in the ledger; the ledger knows better.
    pub figures: Figures,
    /// A finding is closed once its client has been quiet for this long, seconds; at least a window of the ledger.
    pub quiet_s: u64,
    /// The sentences; asked for only if they are news.
    pub say: &'a dyn Fn() -> Said,
}

/// Sums since `first_ns`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Unix time, nanoseconds.
    pub first_ns: u64,
    pub queries: u64,
    pub responses: u64,
    /// As in the finding; payload bytes where names carry nothing.
    pub name_bytes: u64,
    /// Bytes that can have left, and come in.
    pub up: Bounds,
    pub down: Bounds,
}

/// What a detector says of its evidence.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// What the client does, to follow its name: `sends …`.
    pub does: String,
    pub observed: String,
    /// What would still be ordinary.
    pub baseline: String,
    /// What would have had to be different: a whole sentence.
    pub counterfactual: String,
    /// Names, dotted; of the first that were noticed.
    pub samples: Vec<String>,
    /// A known tool that this looks like, as a label only.
    pub tool: Option<&'static str>,
}
