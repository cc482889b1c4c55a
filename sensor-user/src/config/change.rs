//! What one configuration has otherwise than another, and which of that a running sensor can take over.

use serde::Serialize;

use super::{Config, KEYS, assets, entries};
use crate::escape::escape;

/// A key with another value. Values are TOML without what may be a secret, escaped and short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// With its section; `sink.NAME.KEY` for a sink's, and so for an exception's.
    pub key: String,
    pub old: String,
    pub new: String,
    /// Why it waits for a restart; none: it is taken over at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<&'static str>,
}

/// Characters of a value that are told.
const VALUE_MAX: usize = 160;

/// Every difference, in the order of the key table, lists at the end.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut list: Vec<Change> = KEYS
        .iter()
        .filter_map(|key| {
            let (old, new) = ((key.show)(old), (key.show)(new));
            let name = || format!("{}.{}", key.section, key.name);
            (old != new).then(|| Change {
                key: name(),
                old: told(&old),
                new: told(&new),
                restart: key.restart,
            })
        })
        .collect();
    entries::changes(&old.sinks, &new.sinks, &mut list);
    entries::changes(&old.suppress, &new.suppress, &mut list);
    assets::changes(old.known.assets(), new.known.assets(), &mut list);
    let (vibs, now) = (old.known.vibs(), new.known.vibs());
    if vibs != now {
        let count = |vibs: &[assets::vibs::Vib]| format!("{} VIBs", vibs.len());
        let key = "asset_policy.known_good_vibs: what it says".to_owned();
        list.push(Change { key, old: count(vibs), new: count(now), restart: None });
    }
    list
}

impl Config {
    /// This configuration as far as a sensor that runs under `running` can take it over.
    #[must_use]
    pub fn taken_over_by(mut self, running: &Self) -> Self {
        for key in KEYS.iter().filter(|key| key.restart.is_some()) {
            (key.copy)(&mut self, running);
        }
        self.sinks.clone_from(&running.sinks);
        self
    }

    /// This configuration with every table that it bounds at so many thousandths of its size; none below what is
    /// allowed.
    #[must_use]
    pub fn with_tables(&self, share: u64) -> Self {
        let mut config = self.clone();
        if share < 1000 {
            for key in KEYS {
                if let Some(size) = key.size {
                    size(&mut config, share);
                }
            }
        }
        config
    }
}

pub(super) fn told(value: &str) -> String {
    let value = escape(value);
    let mut short: String = value.chars().take(VALUE_MAX).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Config {
        Config::parse(text, "x").unwrap()
    }

    #[test]
    fn tables_alone_are_made_smaller() {
        let config = of("[ledger]\nmax_keys = 40\n");
        let half = config.with_tables(500);
        assert_eq!(
            (half.ledger.max_keys, half.store.max_zones, half.pipeline.max_pids),
            (20, config.store.max_zones / 2, config.pipeline.max_pids)
        );
        assert_eq!(config.with_tables(100).ledger.max_keys, 16, "as few as are allowed");
        let changed = changes(&config, &half);
        assert!(changed.iter().all(|change| change.key.contains(".max_")), "{changed:#?}");
        assert!(changed.len() > 20 && changed.iter().all(|change| change.restart.is_some()), "{changed:#?}");
    }

    #[test]
    fn what_differs_is_told_and_what_waits_says_why() {
        let old = of("[ledger]\nbound_1h_bytes = 600\n[live]\nflow_entries = 1024\n");
        let new = of("[ledger]\nbound_1h_bytes = 700\n[process]\ndaemon_allow_list = [\"a\u{202e}b\"]\n");
        let list = changes(&old, &new);
        let told: Vec<_> =
            list.iter().map(|change| format!("{}: {} → {}", change.key, change.old, change.new)).collect();
        assert_eq!(
            told,
            [
                "ledger.bound_1h_bytes: 600 → 700",
                "process.daemon_allow_list: [] → [\"a\\u{202e}b\"]",
                "live.flow_entries: 1024 → 16384",
            ]
        );
        assert_eq!(list[2].restart, Some("the kernel's map is made at the start"));
        assert!(list[0].restart.is_none() && changes(&new, &new).is_empty());
        let force = new.clone().taken_over_by(&old);
        let left = changes(&force, &new);
        assert_eq!(left, list[2..], "what waits is what is left");
        assert_eq!(force.ledger.bound_1h_bytes, 700);
        assert!(changes(&old, &of("")).iter().all(|change| !change.old.contains('\u{202e}')));
    }

    #[test]
    fn secrets_of_sinks_are_not_told() {
        let sink = |secret: &str, queue: u32| {
            of(&format!(
                "[[sink]]\ntype = \"http\"\nto = \"https://c.example/in?token={secret}\"\nqueue = {queue}\n"
            ))
        };
        let list = changes(&sink("hunter2", 100), &sink("swordfish", 200));
        let text = format!("{list:?}");
        assert!(!text.contains("hunter2") && !text.contains("swordfish"), "{text}");
        assert_eq!((list[0].key.as_str(), list[1].key.as_str()), ("sink.http.to", "sink.http.queue"));
        assert!(
            list[0].old.ends_with("/in?***\"") && list[0].new.ends_with("(another, not shown)"),
            "{text}"
        );
        let gone = changes(&sink("hunter2", 100), &of(""));
        assert_eq!((gone[0].new.as_str(), gone[0].restart), ("none", Some("sinks are opened at the start")));
        assert!(gone[0].old == "http to https://c.example/in" && gone.len() == 1, "{gone:?}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let list: Vec<_> = (0..200).map(|n| format!("\"d{n}.example\"")).collect();
        let new = of(&format!("[brand]\ndomains = [{}]\n", list.join(", ")));
        let change = changes(&Config::default(), &new).remove(0);
        assert!(change.new.chars().count() == VALUE_MAX + 1 && change.new.ends_with('…'), "{change:?}");
    }
}
