//! One file: what was found, how soon, and among how much.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use serde::Serialize;

use crate::arguments::Set;
use crate::files::{File, Kind};
use crate::sensor::{Findings, Logged, Record, Scope, Sensor, Severity, is_below};

/// A row of the JSON file. Figures up to the first finding of medium or higher are absent where there is none.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Or the emulated tool's name, or the hazard's.
    pub(crate) file: String,
    pub(crate) set: Set,
    pub(crate) kind: Kind,
    pub(crate) found: bool,
    pub(crate) severity: Option<Severity>,
    pub(crate) rule: Option<String>,
    /// From the tunnel's first query, by the packets' times.
    pub(crate) seconds: Option<f64>,
    pub(crate) queries: Option<u64>,
    /// The finding's `name_bytes`; payload bytes where names are not what carries it.
    pub(crate) bytes_out: Option<u64>,
    /// Payload bytes that were out or in by then, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<u64>,
    pub(crate) findings: Findings,
    pub(crate) messages: u64,
    /// Hours of the clock with at least one query of a client, summed over clients.
    pub(crate) host_hours: u64,
    /// Queries in all, each seen once.
    pub(crate) all_queries: u64,
    pub(crate) again: bool,
    /// What falls short of the goals, if anything does.
    pub(crate) falls: Option<&'static str>,
}

/// A tunnel is found in time within so many seconds or queries, whichever is later.
pub(crate) const SOON_SECONDS: f64 = 5.0;
pub(crate) const SOON_QUERIES: u64 = 25;
/// Findings of low severity that honest traffic may have in an active host-hour.
pub(crate) const LOW_PER_HOST_HOUR: f64 = 1.0;

pub(crate) fn file(sensor: &Sensor, file: &File) -> Result<Row> {
    sensor.messages(&file.path, |records, lines| row(file, records, lines))
}

fn row(file: &File, records: &[Record], lines: &mut dyn Iterator<Item = Result<Logged>>) -> Result<Row> {
    let first = first(records, |_| true);
    let mut traffic = Traffic::default();
    let mut until = Until::default();
    for line in lines {
        let line = line?;
        traffic.take(&line);
        if let Some(first) = first {
            until.take(&line, first);
        }
    }
    let mut row = Row {
        file: file.name.clone(),
        set: Set::Files,
        kind: file.kind,
        found: first.is_some(),
        severity: first.map(|first| first.severity),
        rule: first.map(|first| first.rule.clone()),
        seconds: first.map(|first| until.seconds(first)),
        queries: first.map(|_| until.queries),
        bytes_out: first.map(|first| first.name_bytes),
        payload: None,
        findings: Findings::of(records),
        messages: traffic.messages,
        host_hours: traffic.hours.len() as u64,
        all_queries: traffic.queries,
        again: file.again,
        falls: None,
    };
    row.falls = row.falls_short(file.allowed);
    Ok(row)
}

impl Row {
    fn falls_short(&self, allowed: u64) -> Option<&'static str> {
        let late = self.seconds > Some(SOON_SECONDS) && self.queries > Some(SOON_QUERIES);
        let noisy = self.findings.low as f64 > LOW_PER_HOST_HOUR * self.host_hours as f64;
        match self.kind {
            Kind::Tunnel if !self.found => Some("missed"),
            Kind::Tunnel => late.then_some("late"),
            Kind::Benign if self.findings.medium_or_higher() > allowed => Some("alarmed"),
            Kind::Benign => noisy.then_some("noisy"),
        }
    }
}

/// The first record of medium or higher among those that `count`.
pub(crate) fn first(records: &[Record], counts: impl Fn(&Record) -> bool) -> Option<&Record> {
    records.iter().find(|record| record.severity >= Severity::Medium && counts(record))
}

/// What a file holds.
#[derive(Default)]
struct Traffic {
    messages: u64,
    queries: u64,
    hours: BTreeSet<(IpAddr, u64)>,
}

impl Traffic {
    fn take(&mut self, line: &Logged) {
        self.messages += 1;
        if line.response || line.lookup.as_deref() == Some("duplicate") {
            return;
        }
        self.queries += 1;
        // Whose look-up it is does not matter here: a resolver is a host too.
        self.hours.insert((line.src.ip(), line.time_ns / 3_600_000_000_000));
    }
}

/// The tunnel's queries up to its finding.
#[derive(Default)]
struct Until {
    first_ns: Option<u64>,
    queries: u64,
    /// The packet that raised the finding has passed: captures need not be in the order of time.
    over: bool,
}

impl Until {
    fn take(&mut self, line: &Logged, finding: &Record) {
        let ip = line.client.as_ref().and_then(|client| client.ip);
        let asker = finding.scope == Scope::Zone || ip == finding.client.ip;
        let name = line.name.as_deref().unwrap_or_default();
        let zone = finding.zone.as_deref().is_none_or(|zone| is_below(name, zone));
        let query = match line.lookup.as_deref() {
            // The same query at another hook, or further up, is no query of its own.
            Some("duplicate" | "forwarded") => false,
            // A response without its query stands for it: the capture began in between, or holds one direction.
            Some("unsolicited") => true,
            _ => !line.response,
        };
        if self.over || !query || !asker || !zone || line.time_ns > finding.time_ns {
            return;
        }
        self.first_ns = Some(self.first_ns.map_or(line.time_ns, |first| first.min(line.time_ns)));
        self.queries += 1;
        self.over = line.time_ns == finding.time_ns;
    }

    fn seconds(&self, finding: &Record) -> f64 {
        let first = self.first_ns.unwrap_or(finding.time_ns);
        finding.time_ns.saturating_sub(first) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use earthdog_tests::replayed::Client;

    use super::*;
    use crate::sensor::tests::record;

    fn line(second: u64, ip: &str, name: &str, response: bool, lookup: &str) -> Logged {
        Logged {
            time_ns: second * 1_000_000_000,
            src: format!("{ip}:4000").parse().unwrap(),
            response,
            name: Some(name.into()),
            lookup: Some(lookup.into()),
            client: Some(Client { ip: Some(ip.parse().unwrap()) }),
        }
    }

    const ME: &str = "192.0.2.7";

    fn measured(records: &[Record]) -> Row {
        let lines = [
            line(1, ME, "www.example.com", false, "first"),
            line(9, ME, "0.tunnel.example", true, "unsolicited"),
            line(10, ME, "a.tunnel.example", false, "first"),
            line(10, "192.0.2.53", "a.tunnel.example", false, "forwarded"),
            line(11, ME, "a.tunnel.example", true, "answer"),
            line(12, "198.51.100.1", "b.tunnel.example", false, "first"),
            line(14, ME, "b.tunnel.example", false, "first"),
            line(14, ME, "b.tunnel.example", false, "duplicate"),
            line(13, ME, "late.tunnel.example", false, "first"),
            line(15, ME, "x.nottunnel.example", false, "first"),
            line(3_700, ME, "c.tunnel.example", false, "first"),
        ];
        let file = File { path: "x".into(), name: "x".into(), kind: Kind::Tunnel, again: false, allowed: 0 };
        row(&file, records, &mut lines.into_iter().map(Ok)).unwrap()
    }

    #[test]
    fn figures_are_the_tunnels_own_up_to_its_finding() {
        let zone = Some("tunnel.example");
        let records = [
            record("a", 13, Severity::Low, zone),
            record("a", 14, Severity::Medium, zone),
            record("b", 20, Severity::Critical, zone),
            record("a", 30, Severity::High, zone),
        ];
        let row = measured(&records);
        assert_eq!((row.seconds, row.queries, row.bytes_out), (Some(5.0), Some(3), Some(140)));
        assert_eq!((row.found, row.severity), (true, Some(Severity::Medium)));
        assert_eq!(row.findings, Findings { high: 1, critical: 1, ..Findings::default() });
        assert_eq!((row.messages, row.all_queries), (11, 8));
        assert_eq!(row.host_hours, 4, "one client has two hours");
        let all = Record { scope: Scope::Zone, ..records[1].clone() };
        assert_eq!(measured(&[all]).queries, Some(4), "whoever asks");
    }

    #[test]
    fn nothing_found_is_no_figure() {
        let row = measured(&[record("a", 13, Severity::Low, None)]);
        assert_eq!((row.found, row.seconds, row.bytes_out), (false, None, None));
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!((&json["kind"], &json["findings"]["low"]), (&"tunnel".into(), &1.into()));
        assert!(json["seconds"].is_null());
        assert_eq!((row.falls, &json["set"]), (Some("missed"), &"files".into()));
    }

    #[test]
    fn what_falls_short_is_named() {
        let found = measured(&[record("a", 14, Severity::Medium, Some("tunnel.example"))]);
        assert_eq!(found.falls, None, "five seconds");
        let of = |seconds, queries| Row { seconds: Some(seconds), queries: Some(queries), ..found.clone() };
        assert_eq!(of(5.1, 26).falls_short(0), Some("late"));
        assert_eq!((of(5.1, 25).falls_short(0), of(4.9, 900).falls_short(0)), (None, None));
        let honest = |low, medium| {
            let findings = Findings { low, medium, ..Findings::default() };
            Row { kind: Kind::Benign, host_hours: 4, findings, ..found.clone() }
        };
        assert_eq!(honest(4, 1).falls_short(1), None);
        assert_eq!(
            (honest(0, 1).falls_short(0), honest(5, 0).falls_short(0)),
            (Some("alarmed"), Some("noisy"))
        );
    }
}
