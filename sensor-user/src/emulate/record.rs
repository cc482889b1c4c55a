//! What a finding's record says that matters to whoever judges it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::finding::{Finding, Scope, Severity};

/// What is read of a finding's record.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    pub id: String,
    #[serde(rename = "time", deserialize_with = "unix_ns")]
    pub time_ns: u64,
    pub rule: String,
    pub severity: Severity,
    pub scope: Scope,
    pub zone: Option<String>,
    pub client: Client,
    pub name_bytes: u64,
    pub tool: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Client {
    pub ip: Option<IpAddr>,
}

/// Findings by the highest severity each had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub low: u64,
    pub medium: u64,
    pub high: u64,
    pub critical: u64,
}

/// Whether a name is a zone's own or below it.
pub fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl From<&Finding> for Record {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id.clone(),
            time_ns: u64::try_from(
                finding.time.parse::<jiff::Timestamp>().unwrap_or_default().as_nanosecond(),
            )
            .unwrap_or(0),
            rule: finding.rule.to_string(),
            severity: finding.severity,
            scope: finding.scope,
            zone: finding.zone.clone(),
            client: Client { ip: finding.client.ip },
            name_bytes: finding.name_bytes,
            tool: finding.tool.clone(),
        }
    }
}

impl Findings {
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut highest: BTreeMap<&str, Severity> = BTreeMap::new();
        for record in records {
            let severity = highest.entry(&record.id).or_insert(record.severity);
            *severity = record.severity.max(*severity);
        }
        let mut findings = Self::default();
        for severity in highest.into_values() {
            *match severity {
                Severity::Low => &mut findings.low,
                Severity::Medium => &mut findings.medium,
                Severity::High => &mut findings.high,
                Severity::Critical => &mut findings.critical,
            } += 1;
        }
        findings
    }

    pub fn add(&mut self, other: Self) {
        self.low += other.low;
        self.medium += other.medium;
        self.high += other.high;
        self.critical += other.critical;
    }

    pub fn medium_or_higher(&self) -> u64 {
        self.medium + self.high + self.critical
    }
}

/// RFC 3339 as Unix nanoseconds.
pub fn unix_ns<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let text = String::deserialize(input)?;
    let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
    u64::try_from(time.as_nanosecond()).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_end_at_dots() {
        assert!(
            is_below("a.tunnel.example", "tunnel.example") && is_below("tunnel.example", "tunnel.example")
        );
        assert!(!is_below("nottunnel.example", "tunnel.example"));
    }
}
