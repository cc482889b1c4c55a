//! Answers in the passive DNS common output format (draft-dulaunoy-dnsop-passive-dns-cof): an object for each set of
//! records that a response to a query was seen to have. Who asked is not part of it.

use serde_json::{Value, json};

use super::encode::About;
use crate::dns::{Canonical, Section, names, rdata, rtype};
use crate::logged::{Logged, Lookup};

/// Sets, and records of a set; a transfer has thousands.
const SETS_MAX: usize = 64;
const RECORDS_MAX: usize = 64;

pub(super) fn rows(logged: &Logged, about: &About) -> Vec<Value> {
    // Anybody can send a response to nothing.
    if logged.lookup != Some(Lookup::Answer) {
        return Vec::new();
    }
    let message = logged.message();
    let mut sets: Vec<((String, u16), Vec<String>)> = Vec::new();
    for record in message.records().filter(|record| record.section == Section::Answer) {
        if record.rtype == rtype::OPT || record.name.end().is_none() {
            continue;
        }
        let key = (Canonical::new(record.name).to_string(), record.rtype);
        if let Some((_, records)) = sets.iter_mut().find(|(known, _)| *known == key) {
            if records.len() < RECORDS_MAX {
                records.push(rdata::text(&record));
            }
        } else if sets.len() < SETS_MAX {
            sets.push((key, vec![rdata::text(&record)]));
        }
    }
    let seconds = logged.time_ns / 1_000_000_000;
    let milliseconds = logged.time_ns / 1_000_000;
    let row = |((name, rtype), mut data): ((String, u16), Vec<String>)| {
        let data = if data.len() == 1 { data.remove(0).into() } else { Value::from(data) };
        let mut row = json!({
            "rrname": name,
            "rrtype": names::rtype(rtype),
            "rdata": data,
            "time_first": seconds,
            "time_last": seconds,
            "time_first_ms": milliseconds,
            "time_last_ms": milliseconds,
            "count": 1,
        });
        if let Some(host) = &about.hostname {
            row["sensor_id"] = host.clone().into();
        }
        row
    };
    sets.into_iter().map(row).collect()
}
