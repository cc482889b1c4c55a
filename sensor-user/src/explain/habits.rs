//! What this host usually does, from the store: the baseline that a finding is seen against.

use serde::Serialize;

use crate::config::Config;
use crate::exit::Error;
use crate::finding::Finding;
use crate::report::text::{duration, thousands};
use crate::store::ask;
use crate::store::tell::{Baselines, ClientHabits, Pdns};

/// What other days know of a finding's client and zone.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    pub client: Option<ClientHabits>,
    pub zone: Option<Pdns>,
    /// What is not known, and why.
    pub missing: Vec<String>,
}

/// What was seen beside what is usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub what: &'static str,
    pub here: String,
    pub usual: String,
}

impl Habits {
    /// Of a replay, whose clients are another network's.
    pub fn of_another_network() -> Self {
        let text = "What is usual is not known: a replay's output says nothing of other days.".to_owned();
        Self { missing: vec![text], ..Self::default() }
    }

    /// By the running sensor, or by the store where none runs. What cannot be read is missing, no failure.
    pub fn look_up(config: &Config, finding: &Finding) -> Self {
        let mut habits = Self::default();
        let client = finding.trail.as_ref().and_then(|trail| trail.client.clone());
        match client.map(|id| baseline(config, &id)) {
            Some(Ok(found)) if found.is_some() => habits.client = found,
            Some(Ok(_)) | None => {
                habits.missing.push("No habits of this client are remembered.".to_owned());
            }
            Some(Err(error)) => habits.missing.push(format!("Its habits cannot be read: {error}.")),
        }
        match finding.zone.as_deref().map(|zone| pdns(config, zone)) {
            Some(Ok(found)) if found.zone_seen.is_some() => habits.zone = Some(found),
            Some(Ok(_)) => habits.missing.push("Nothing is remembered of the zone.".to_owned()),
            Some(Err(error)) => habits.missing.push(format!("The zone's past cannot be read: {error}.")),
            None => {}
        }
        habits
    }

    /// The table, as far as anything is known.
    pub fn rows(&self, finding: &Finding) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut add = |what, here: String, usual: String| rows.push(Row { what, here, usual });
        if let Some(client) = &self.client {
            let daily = |mean: u64| match client.days {
                0 => "not known: no day before this one".to_owned(),
                days => format!("{} a day, over {days} days before", thousands(mean)),
            };
            add(
                "look-ups of this client",
                format!(
                    "{} in this finding, {} today",
                    thousands(finding.queries),
                    thousands(client.lookups_today)
                ),
                daily(client.lookups_a_day),
            );
            add(
                "zones of this client",
                format!("{} today", thousands(client.zones_today)),
                daily(client.zones_a_day),
            );
            if let Some(zone) = client.zones.iter().find(|zone| Some(&zone.zone) == finding.zone.as_ref()) {
                let days: Vec<_> = zone.new_bytes.iter().skip(1).map(|bytes| thousands(*bytes)).collect();
                add(
                    "new bytes in names to this zone",
                    format!("{} today", thousands(zone.new_bytes[0])),
                    format!("by day, yesterday first: {}", days.join(" ")),
                );
            }
        }
        if let Some(seen) = self.zone.as_ref().and_then(|zone| zone.zone_seen.as_ref()) {
            let before = super::view::seconds_between(&seen.first_seen, &finding.first_seen);
            add(
                "this zone",
                match before {
                    0 => "asked for here for the first time with this finding".to_owned(),
                    before => format!("known for {} when this began", duration(before)),
                },
                format!(
                    "{} look-ups by {} clients, on {} of 32 days",
                    thousands(seen.lookups.unwrap_or(0)),
                    seen.clients.unwrap_or(0),
                    seen.active_days.unwrap_or(0)
                ),
            );
        }
        rows
    }
}

fn baseline(config: &Config, id: &str) -> Result<Option<ClientHabits>, Error> {
    let answer: Baselines = match ask::online(config, "baseline", Some(id))? {
        Some(answer) => answer,
        None => ask::read(config)?.baselines(Some(id), crate::clock::unix_ns()),
    };
    Ok(answer.clients.into_iter().find(|client| client.id == id))
}

fn pdns(config: &Config, zone: &str) -> Result<Pdns, Error> {
    Ok(match ask::online(config, "pdns", Some(zone))? {
        Some(answer) => answer,
        None => ask::read(config)?.pdns(zone),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::{finding, known};

    #[test]
    fn what_is_usual_stands_beside_what_was_seen() {
        let rows = known().rows(&finding());
        let row = |what: &str| rows.iter().find(|row| row.what == what).unwrap();
        assert_eq!(row("look-ups of this client").here, "8 in this finding, 9 today");
        assert_eq!(row("new bytes in names to this zone").here, "92 today");
        assert_eq!(row("this zone").here, "asked for here for the first time with this finding");
        assert!(Habits::default().rows(&finding()).is_empty());
    }
}
