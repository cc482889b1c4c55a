//! What a detector made of an emulated tool.

use super::record::{Findings, Record, is_below};
use super::{Emulation, Moved, Within};
use crate::finding::Severity;

/// A tool is found soon within so many seconds or queries, whichever is later.
const SOON_SECONDS: f64 = 5.0;
pub const SOON_QUERIES: u64 = 25;

/// Figures are those of the first finding that counts, absent where there is none.
#[derive(Clone, Debug)]
pub struct Judged {
    pub first: Option<First>,
    /// Findings that speak of the tool, and those that speak of its host's other traffic.
    pub own: Findings,
    pub others: Findings,
    /// What falls short, if anything does.
    pub falls: Option<Falls>,
}

#[derive(Clone, Debug)]
pub struct First {
    pub severity: Severity,
    pub rule: String,
    pub seconds: f64,
    pub queries: u64,
    pub name_bytes: u64,
    pub payload: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Falls {
    Missed,
    Late,
    /// Taken for worse than it is.
    Overrated,
    /// Medium or higher about traffic beside it.
    Misattributed,
}

impl Falls {
    pub fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Late => "late",
            Self::Overrated => "overrated",
            Self::Misattributed => "misattributed",
        }
    }
}

impl Emulation {
    pub fn judge(&self, moved: &Moved, records: &[Record]) -> Judged {
        let (own, others): (Vec<_>, Vec<_>) = records.iter().partition(|record| is_of(record, moved));
        let first = own.iter().find(|record| record.severity >= self.least).map(|record| {
            let (seconds, queries, payload) = moved.until(record.time_ns);
            First {
                severity: record.severity,
                rule: record.rule.clone(),
                seconds,
                queries,
                name_bytes: record.name_bytes,
                payload,
            }
        });
        let highest = own.iter().map(|record| record.severity).max();
        let others = Findings::of(others);
        let falls = match &first {
            None => Some(Falls::Missed),
            Some(_) if highest > Some(self.most) => Some(Falls::Overrated),
            Some(_) if others.medium_or_higher() > 0 => Some(Falls::Misattributed),
            Some(first) => (!self.within.holds(first)).then_some(Falls::Late),
        };
        Judged { first, own: Findings::of(own), others, falls }
    }
}

impl Within {
    fn holds(self, first: &First) -> bool {
        match self {
            Self::Soon => first.seconds <= SOON_SECONDS || first.queries <= SOON_QUERIES,
            Self::Queries(most) => first.queries <= most,
            Self::Capture => true,
        }
    }
}

/// Whether a finding speaks of the tool: of its zone, one above or below it, or of no zone but its client.
fn is_of(record: &Record, moved: &Moved) -> bool {
    let Some(zone) = &record.zone else {
        return record.client.ip.is_none_or(|ip| moved.clients.contains(&ip));
    };
    moved.zones.iter().any(|own| is_below(zone, own) || is_below(own, zone))
}

#[cfg(test)]
mod tests {
    use super::super::record::Client;
    use super::super::{Carrier, Pace, Tape};
    use super::*;
    use crate::finding::Scope;

    const ZONE: &str = "tunnel.example";

    fn tool(within: Within, most: Severity) -> Emulation {
        let run = |tape: &mut Tape| {
            for piece in 0..100 {
                tape.moves(format!("x{piece}.{ZONE}"), 1, &super::super::Answer::nxdomain(), 2);
                tape.pause(1.0, 0.0);
            }
        };
        Emulation { name: "a tool", least: Severity::Medium, most, within, carrier: Carrier::Names, run }
    }

    fn record(moved: &Moved, query: usize, severity: Severity, zone: &str) -> Record {
        Record {
            id: format!("{severity:?}{zone}"),
            time_ns: moved.queries[query - 1].0,
            rule: "rule".into(),
            severity,
            scope: Scope::ClientZone,
            zone: Some(zone.into()),
            client: Client { ip: moved.clients.first().copied() },
            name_bytes: 77,
            tool: None,
        }
    }

    #[test]
    fn what_falls_short_is_named() {
        let soon = tool(Within::Soon, Severity::High);
        let moved = soon.make(1, Pace::default()).moved;
        let at = |query, severity, zone| record(&moved, query, severity, zone);
        let low = at(2, Severity::Low, ZONE);
        let other = "elsewhere.example";
        let rows = [
            (vec![], Some(Falls::Missed)),
            (vec![low.clone()], Some(Falls::Missed)),
            (vec![at(2, Severity::Medium, other)], Some(Falls::Missed)),
            (vec![low.clone(), at(25, Severity::Medium, ZONE)], None),
            (vec![at(25, Severity::Medium, "a.tunnel.example")], None),
            (vec![at(26, Severity::Medium, ZONE)], Some(Falls::Late)),
            (vec![at(9, Severity::Medium, ZONE), at(50, Severity::Critical, ZONE)], Some(Falls::Overrated)),
            (vec![at(9, Severity::Medium, ZONE), at(9, Severity::High, other)], Some(Falls::Misattributed)),
        ];
        for (records, falls) in rows {
            assert_eq!(soon.judge(&moved, &records).falls, falls, "{records:?}");
        }
        let judged = soon.judge(&moved, &[low, at(11, Severity::Medium, ZONE)]);
        let first = judged.first.unwrap();
        assert_eq!((first.queries, first.payload, first.name_bytes), (11, 22, 77));
        assert!((first.seconds - 10.0).abs() < 1e-6);
        assert_eq!(judged.own, Findings { low: 1, medium: 1, ..Findings::default() });
        let hundred = tool(Within::Queries(30), Severity::High);
        assert_eq!(hundred.judge(&moved, &[at(30, Severity::Medium, ZONE)]).falls, None);
    }

    #[test]
    fn without_a_zone_the_client_decides() {
        let soon = tool(Within::Soon, Severity::High);
        let moved = soon.make(1, Pace::default()).moved;
        let mut record = Record { zone: None, ..record(&moved, 1, Severity::Medium, ZONE) };
        assert_eq!(soon.judge(&moved, std::slice::from_ref(&record)).falls, None);
        record.client.ip = Some("192.0.2.1".parse().unwrap());
        assert_eq!(soon.judge(&moved, &[record]).falls, Some(Falls::Missed));
    }
}
