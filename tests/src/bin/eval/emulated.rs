//! Emulated tools, honest traffic that is easily mistaken, and the slowest leak that is found.

use anyhow::Result;
use earthdog_tests::capture::Capture as _;
use earthdog_tests::emulate::{self, Carrier, Emulation, Moved, Pace};
use earthdog_tests::hazard::{self, Hazard};

use crate::arguments::Set;
use crate::files::Kind;
use crate::measure::Row;
use crate::sensor::{Findings, Sensor, Severity, is_below};
use crate::work;

/// A row for each tool, or why there is none.
pub(crate) fn tools(sensor: &Sensor, seed: u64) -> Vec<(&'static str, Result<Row>)> {
    let rows = work::each("emulated", emulate::ALL, |tool| row(sensor, tool, seed));
    emulate::ALL.iter().map(|tool| tool.name).zip(rows).collect()
}

pub(crate) fn hazards(sensor: &Sensor, seed: u64) -> Vec<(&'static str, Result<Row>)> {
    let rows = work::each("hazards", hazard::ALL, |hazard| honest(sensor, hazard, seed));
    hazard::ALL.iter().map(|hazard| hazard.name).zip(rows).collect()
}

fn row(sensor: &Sensor, tool: &Emulation, seed: u64) -> Result<Row> {
    let made = tool.make(seed, Pace::default());
    let judged = tool.judge(&made.moved, &sensor.findings_of(&made.pcap())?);
    let (all_queries, host_hours) = made.asked();
    let first = judged.first.as_ref();
    let bytes = |first: &emulate::First| match tool.carrier {
        Carrier::Names => first.name_bytes,
        Carrier::Other => first.payload,
    };
    let mut findings = judged.own;
    findings.add(judged.others);
    Ok(Row {
        file: tool.name.to_owned(),
        set: Set::Emulated,
        kind: Kind::Tunnel,
        found: first.is_some(),
        severity: first.map(|first| first.severity),
        rule: first.map(|first| first.rule.clone()),
        seconds: first.map(|first| first.seconds),
        queries: first.map(|first| first.queries),
        bytes_out: first.map(bytes),
        payload: first.map(|first| first.payload),
        findings,
        messages: made.datagrams.len() as u64,
        host_hours,
        all_queries,
        again: false,
        falls: judged.falls.map(emulate::Falls::name),
    })
}

fn honest(sensor: &Sensor, hazard: &Hazard, seed: u64) -> Result<Row> {
    let made = hazard.make(seed);
    let records = sensor.findings_of(&made.pcap())?;
    let judged = hazard::Judged::of(&made, &records);
    let loudest = records.iter().find(|record| record.severity >= Severity::Medium);
    Ok(Row {
        file: hazard.name.to_owned(),
        set: Set::Hazards,
        kind: Kind::Benign,
        found: loudest.is_some(),
        severity: loudest.map(|record| record.severity),
        rule: loudest.map(|record| record.rule.clone()),
        seconds: None,
        queries: None,
        bytes_out: None,
        payload: None,
        findings: judged.findings,
        messages: made.datagrams.len() as u64,
        host_hours: judged.host_hours,
        all_queries: judged.queries,
        again: false,
        falls: judged.falls.map(hazard::Falls::name),
    })
}

/// What was found of one client's leak to one zone, base 32 in names, by payload bytes a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) slowest_found: Option<u32>,
    pub(crate) fastest_missed: Option<u32>,
}

/// The range that is looked at, in payload bytes a day.
const RATES: (u32, u32) = (64, 64 * 1024);

/// Doubles the rate over the whole range, then halves the gap below the slowest that is found until it is a tenth.
pub(crate) fn slowest(sensor: &Sensor, seed: u64) -> Result<Rates> {
    let doubled: Vec<u32> = std::iter::successors(Some(RATES.0), |rate| Some(rate * 2))
        .take_while(|rate| *rate <= RATES.1)
        .collect();
    let found = work::each("rates", &doubled, |rate| is_found(sensor, *rate, seed));
    let mut rates = Rates::default();
    for (rate, found) in doubled.into_iter().zip(found) {
        if found? {
            rates.slowest_found = rates.slowest_found.or(Some(rate));
        } else {
            rates.fastest_missed = Some(rate);
        }
    }
    while let (Some(high), Some(low)) = (rates.slowest_found, rates.fastest_missed)
        && low + low / 10 < high
    {
        let middle = low.midpoint(high);
        if is_found(sensor, middle, seed)? {
            rates.slowest_found = Some(middle);
        } else {
            rates.fastest_missed = Some(middle);
        }
    }
    Ok(rates)
}

fn is_found(sensor: &Sensor, bytes_a_day: u32, seed: u64) -> Result<bool> {
    let made = emulate::leak_of(bytes_a_day, seed);
    let records = sensor.findings_of(&made.pcap())?;
    let counted = records.iter().filter(|record| record.severity >= Severity::Medium);
    Ok(Findings::of(counted.filter(|record| is_its(record.zone.as_deref(), &made.moved))).medium_or_higher()
        > 0)
}

fn is_its(zone: Option<&str>, moved: &Moved) -> bool {
    zone.is_none_or(|zone| moved.zones.iter().any(|own| is_below(zone, own) || is_below(own, zone)))
}
