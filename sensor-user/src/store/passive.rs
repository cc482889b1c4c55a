//! What `pdns` tells beside a name's own record: names of an address, who asked for a zone, its days, and an export.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::days::{self, DAY_NS, DAYS};
use super::history::{self, History};
use super::record::class_of;
use super::tell::{LISTED_MAX, NAMES_MAX, Pdns, Seen, VERSION, is_below, seen, short};
use crate::escape::escape;
use crate::finding;
use crate::report::text::bar;
use crate::zone::Class;

/// A client that asked for names of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedBy {
    /// 16 hexadecimal digits, for `earthdog baseline show`.
    pub id: String,
    pub client: String,
    pub first_seen: String,
    pub last_seen: String,
    pub lookups: u64,
}

/// A day of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneDay {
    /// `2026-11-22`, UTC.
    pub day: String,
    /// Addresses with new information in names that day, and its bytes; processes' is part of their address's.
    pub addresses: u32,
    pub new_bytes: u64,
    /// Names that were answered with data for the first time.
    pub new_names: u32,
}

impl History {
    /// Names and zones that were answered with an address.
    pub(super) fn of_address(&self, address: IpAddr) -> Pdns {
        let names = self.names.iter().filter(|record| record.answers.addresses.contains(&address));
        let mut names: Vec<Seen> = names
            .map(|record| seen(&record.name, (record.first_ns, record.last_ns), &record.answers))
            .collect();
        let known: BTreeSet<String> = names.iter().map(|name| name.name.clone()).collect();
        let zones = self.zones.iter().filter(|record| record.answers.addresses.contains(&address));
        for record in zones {
            let zone = seen(&record.zone, (record.first_ns, record.last_ns), &record.answers);
            if !known.contains(&zone.name) {
                names.push(Seen {
                    lookups: Some(record.lookups),
                    clients: Some(record.clients.count()),
                    ..zone
                });
            }
        }
        names.sort_by(|a, b| (&b.last_seen, &a.name).cmp(&(&a.last_seen, &b.name)));
        let since_ns = self.meta().since_ns;
        Pdns {
            v: VERSION,
            name: address.to_string(),
            address: Some(address),
            since: (since_ns > 0).then(|| finding::time(since_ns)),
            names_total: names.len() as u64,
            names: names.into_iter().take(NAMES_MAX).collect(),
            ..Pdns::default()
        }
    }

    /// Clients that asked for names of a zone, who asked last first; at most `LISTED_MAX`, and how many there are.
    pub(super) fn asked_by(&self, zone: &[u8], class: Class) -> (Vec<AskedBy>, u64) {
        let of_zone =
            |pair: &&super::record::PairRecord| class_of(pair.class) == Some(class) && *pair.zone == *zone;
        let mut pairs: Vec<_> = self.pairs.iter().filter(of_zone).collect();
        pairs.sort_by_key(|pair| (std::cmp::Reverse(pair.last_ns), pair.client));
        let total = pairs.len() as u64;
        let label = |client: u64| self.clients.find(client).map(|record| record.label.clone());
        let list = pairs.iter().take(LISTED_MAX).map(|pair| AskedBy {
            id: format!("{:016x}", pair.client),
            client: label(pair.client).unwrap_or_else(|| "(forgotten)".to_owned()),
            first_seen: finding::time(pair.first_ns),
            last_seen: finding::time(pair.last_ns),
            lookups: pair.lookups,
        });
        (list.collect(), total)
    }

    /// The days up to that of a zone's last look-up on which there was anything new, oldest first.
    pub(super) fn days_of(&self, zone: &[u8], class: Class, last_ns: u64) -> Vec<ZoneDay> {
        let newest = days::day(last_ns);
        let mut list: Vec<ZoneDay> = (0..DAYS as u32)
            .rev()
            .map(|back| ZoneDay {
                day: date(u64::from(newest.saturating_sub(back)) * DAY_NS),
                addresses: 0,
                new_bytes: 0,
                new_names: 0,
            })
            .collect();
        let is_address = |client: u64| {
            self.clients.find(client).is_some_and(|record| record.label.parse::<IpAddr>().is_ok())
        };
        let of_zone =
            self.pairs.iter().filter(|pair| class_of(pair.class) == Some(class) && *pair.zone == *zone);
        for pair in of_zone.filter(|pair| is_address(pair.client)) {
            let bytes = history::baseline(pair, last_ns).new_bytes;
            for (day, bytes) in list.iter_mut().rev().zip(bytes) {
                day.new_bytes += bytes;
                day.addresses += u32::from(bytes > 0);
            }
        }
        let is_of_zone =
            |name: &[u8]| name.len().checked_sub(zone.len()).is_some_and(|at| is_below(name, at, zone));
        for record in self.names.iter().filter(|record| is_of_zone(&record.name)) {
            let back = newest.saturating_sub(days::day(record.first_ns)) as usize;
            if let Some(day) = list.len().checked_sub(1 + back).and_then(|at| list.get_mut(at)) {
                day.new_names += 1;
            }
        }
        let is_empty = |day: &ZoneDay| day.new_bytes == 0 && day.new_names == 0;
        let first = list.iter().position(|day| !is_empty(day)).unwrap_or(list.len());
        list.split_off(first)
    }
}

impl Pdns {
    /// Who asked, for people.
    pub fn who(&self) -> String {
        let mut out = String::new();
        if self.asked_by.is_empty() {
            return format!("nobody is remembered who asked for {}\n", escape(&self.zone));
        }
        let _ =
            writeln!(out, "FIRST                 LAST                  LOOK-UPS  CLIENT ID         CLIENT");
        for client in &self.asked_by {
            let _ = writeln!(
                out,
                "{:<20}  {:<20}  {:>8}  {:<16}  {}",
                short(&client.first_seen),
                short(&client.last_seen),
                client.lookups,
                escape(&client.id),
                escape(&client.client)
            );
        }
        if self.asked_by_total > self.asked_by.len() as u64 {
            let _ =
                writeln!(out, "{} of {} clients: who asked last", self.asked_by.len(), self.asked_by_total);
        }
        out
    }

    /// The zone's days, for people.
    pub fn timeline(&self) -> String {
        let mut out = String::new();
        if self.days.is_empty() {
            return format!(
                "nothing new in names of {} is remembered of its last {DAYS} days\n",
                escape(&self.zone)
            );
        }
        let _ = writeln!(out, "DAY         NEW BYTES  ADDRESSES  NEW NAMES");
        let most = self.days.iter().map(|day| day.new_bytes).max().unwrap_or(1).max(1);
        for day in &self.days {
            let bar = bar(day.new_bytes, most, 34);
            let line = format!(
                "{:<10}  {:>9}  {:>9}  {:>9}  {bar}",
                escape(&day.day),
                day.new_bytes,
                day.addresses,
                day.new_names
            );
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let _ = writeln!(out, "findings about it: earthdog alerts --zone {}", escape(&self.zone));
        out
    }

    /// In the Passive DNS Common Output Format (draft-dulaunoy-dnsop-passive-dns-cof), one address a line. Times are those
    /// of the name: of each address alone they are not kept, and counts neither.
    pub fn cof(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            rrname: &'a str,
            rrtype: &'static str,
            rdata: IpAddr,
            time_first: i64,
            time_last: i64,
        }
        let unix = |time: &str| time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
        let mut out = String::new();
        let own = self
            .zone_seen
            .iter()
            .filter(|zone| self.name_seen.as_ref().is_none_or(|name| name.name != zone.name));
        for seen in self.name_seen.iter().chain(own).chain(&self.names) {
            for address in &seen.addresses {
                if self.address.is_some_and(|asked| asked != *address) {
                    continue;
                }
                let line = Line {
                    rrname: &seen.name,
                    rrtype: if address.is_ipv4() { "A" } else { "AAAA" },
                    rdata: *address,
                    time_first: unix(&seen.first_seen),
                    time_last: unix(&seen.last_seen),
                };
                out += &crate::sink::json(&line).unwrap_or_default();
            }
        }
        out
    }
}

fn date(unix_ns: u64) -> String {
    finding::time(unix_ns).chars().take(10).collect()
}
