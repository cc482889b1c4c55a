//! The finding: what an alert says, before any sink encodes it.
//!
//! The native JSON record is this struct serialised by serde. Unknown values are absent, never null. Field names and
//! meaning are a contract: other tools read them.

pub mod stored;
pub mod trail;
mod word;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
pub use trail::Trail;
use word::Word;

/// Version of the native record, raised when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    pub schema: u32,
    /// Deterministic: the same client and zone, or client or zone and rule, give the same id in every replay.
    pub id: String,
    pub origin: Origin,
    pub state: State,
    /// RFC 3339, nanoseconds, UTC; so all times.
    pub time: String,
    /// That whose evidence would by itself make the most of the finding; it may change while the finding is open.
    #[serde(deserialize_with = "word::read")]
    pub rule: Word,
    pub title: String,
    pub severity: Severity,
    /// It was lower in the record before.
    #[serde(skip)]
    pub has_risen: bool,
    /// 0 to 1.
    pub confidence: f64,
    pub scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    pub client: Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// `wire`, `host` or `capture`.
    #[serde(deserialize_with = "word::read")]
    pub view: Word,
    pub first_seen: String,
    pub last_seen: String,
    pub queries: u64,
    pub responses: u64,
    /// Ledger bounds, bytes.
    pub bytes_up: Bounds,
    pub bytes_down: Bounds,
    /// Sum of lengths, dots excluded, of distinct lower-cased sub-names from this client to this zone so far.
    pub name_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    pub samples: Vec<String>,
    pub evidence: Vec<Evidence>,
    pub counterfactual: String,
    pub attack: Attack,
    /// The exception of the configuration in whose scope it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// Kept beside the record, never part of it: see [`stored`].
    #[serde(skip)]
    pub trail: Option<Box<Trail>>,
}

impl Finding {
    /// Whether it is to alert nobody.
    pub fn is_suppressed(&self) -> bool {
        self.exception.as_ref().is_some_and(|exception| exception.suppressed)
    }

    /// Whether it alerts nobody only because nothing does yet.
    pub fn is_observed(&self) -> bool {
        self.exception.as_ref().is_some_and(|exception| exception.name == Exception::OBSERVED)
    }
}

impl Exception {
    /// Name of what keeps everything from alerting while the sensor only observes; none of the configuration's has a dot.
    pub const OBSERVED: &'static str = "output.observe";
}

impl fmt::Display for Exception {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == Self::OBSERVED {
            return write!(out, "{}: {}", self.name, self.reason);
        }
        let Self { name, owner, reason, expires, why, .. } = self;
        write!(out, "{name} of {owner}, until {expires}: {reason}")?;
        why.as_ref().map_or(Ok(()), |why| write!(out, "; it alerts all the same: {why}"))
    }
}

/// By whose word a finding alerts nobody, or would not, why, and until when. Strings are the operator's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    pub name: String,
    pub owner: String,
    pub reason: String,
    /// RFC 3339 date or time, or `never`.
    pub expires: String,
    pub suppressed: bool,
    /// Why it alerts all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Live,
    Replay,
    Selftest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Create,
    Update,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// As in the record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    ClientZone,
    Client,
    Zone,
    NoZone,
}

/// Who asked. Strings are attacker-chosen and escaped by each sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Client {
    pub kind: ClientKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What the inventory has of that address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<Asset>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Kubernetes pod uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What `interpreter` runs, as it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Standard input, output or error was a socket when the program started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdio_socket: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestry: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// `exact`, `cookie`, `inferred`, `snapshot` or `none`.
    #[serde(deserialize_with = "word::read")]
    pub grade: Word,
}

/// A machine as the operator's inventory has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    pub name: String,
    /// `esxi`, `linux`, `macos`, `windows`, `network` or `unknown`.
    pub platform: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// `authenticated`, `unauthenticated`, `quarantined` or `unknown`.
    pub authentication: String,
}

impl fmt::Display for Asset {
    /// `esx-07: esxi, management, authenticated`, without what is not known.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |text: &&str| !text.is_empty() && *text != "unknown";
        let facts = [self.platform.as_str(), &self.role, &self.authentication].into_iter().filter(known);
        let facts: Vec<_> = facts.collect();
        let colon = if facts.is_empty() { "" } else { ": " };
        write!(out, "{}{colon}{}", self.name, facts.join(", "))
    }
}

impl Client {
    /// Of whom nothing is known but how surely.
    pub fn unknown(kind: ClientKind, grade: Word) -> Self {
        Self {
            kind,
            ip: None,
            asset: None,
            pid: None,
            pids: Vec::new(),
            start_time: None,
            exe: None,
            comm: None,
            cmdline: None,
            uid: None,
            user: None,
            unit: None,
            container: None,
            pod: None,
            script: None,
            interpreter: None,
            stdio_socket: None,
            ancestry: Vec::new(),
            via: None,
            grade,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    Process,
    Address,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    pub low: u64,
    pub high: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    #[serde(deserialize_with = "word::read")]
    pub family: Word,
    #[serde(deserialize_with = "word::read")]
    pub name: Word,
    pub observed: String,
    pub baseline: String,
    pub weight: f64,
}

/// MITRE ATT&CK mapping; data, never enum literals, since ids change between releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attack {
    pub version: String,
    pub tactics: Vec<String>,
    pub techniques: Vec<String>,
    pub strategies: Vec<String>,
    pub analytics: Vec<String>,
}

/// Unix nanoseconds as RFC 3339 in UTC with nanoseconds.
pub fn time(unix_ns: u64) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default();
    format!("{stamp:.9}")
}

/// What [`time`] gave, as Unix nanoseconds.
pub fn nanos(time: &str) -> u64 {
    u64::try_from(time.parse::<jiff::Timestamp>().unwrap_or_default().as_nanosecond()).unwrap_or(0)
}

/// What [`time`] gave, as Unix milliseconds.
pub fn millis(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().unwrap_or_default().as_millisecond()
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_rfc3339_with_nanoseconds() {
        assert_eq!(super::time(1_700_000_000_000_000_001), "2023-11-14T22:13:20.000000001Z");
        assert_eq!(super::millis(&super::time(1_700_000_000_123_456_789)), 1_700_000_000_123);
        assert_eq!(super::nanos(&super::time(1_700_000_000_123_456_789)), 1_700_000_000_123_456_789);
        assert_eq!(super::time(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(super::time(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }
}
