//! The ledger's evidence: how heavy it is, and in words.

use super::case::Said;
use super::text;
use crate::finding::{Evidence, Finding};
use crate::ledger::entry::Window;
use crate::ledger::{self, Entry};
use crate::model::UNIT;
use crate::verdict::family;

/// What new names say, and what the reversed addresses in them do.
pub(super) const NAMES: &str = "new_name_bytes";
pub(super) const ADDRESSES: &str = "new_address_bytes";

/// Bounds of the ledger, in model units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    names: u64,
    addresses: u64,
    pub(super) window_s: u64,
}

impl Bounds {
    pub(super) fn new(settings: &ledger::Settings) -> Self {
        let units = |bytes: u64| bytes.saturating_mul(8 * u64::from(UNIT)).max(1);
        Self {
            names: units(settings.bound_bytes),
            addresses: units(settings.address_bound_bytes),
            window_s: settings.window_s,
        }
    }

    pub(super) fn is_over(&self, window: Window) -> bool {
        window.new_units >= self.names || window.address_units >= self.addresses
    }

    /// Evidence of a window.
    pub(super) fn evidence(&self, entry: &Entry, window: Window, now_ns: u64) -> Vec<Evidence> {
        let seconds = (now_ns.saturating_sub(entry.first_ns) / 1_000_000_000).min(self.window_s);
        let mut list = Vec::new();
        let mut over = |name, units: u64, bound_units: u64| {
            let (names, queries, bytes_said) = (window.new_names, window.queries, bytes(units));
            let what = if name == ADDRESSES {
                format!("with addresses that hold as much as {bytes_said} random bytes")
            } else {
                format!("together as improbable for host names as {bytes_said} random bytes")
            };
            list.push(Evidence {
                family: family::INFORMATION,
                name,
                observed: format!("{names} new names of {queries} look-ups within {seconds} s, {what}"),
                baseline: format!("{} such bytes in {} s", bytes(bound_units), self.window_s),
                weight: super::rounded(units as f64 / bound_units as f64),
            });
        };
        if window.address_units == 0 || window.new_units >= self.names {
            over(NAMES, window.new_units, self.names);
        }
        if window.address_units > 0 {
            over(ADDRESSES, window.address_units, self.addresses);
        }
        list
    }

    /// What the ledger says of a finding whose heaviest evidence has this name.
    pub(super) fn said(&self, finding: &Finding, heaviest: &str) -> Said {
        let addresses = heaviest == ADDRESSES;
        let bound = bytes(if addresses { self.addresses } else { self.names });
        Said {
            does: text::leaks(finding),
            counterfactual: text::counterfactual(finding, addresses, bound, self.window_s),
            ..Said::default()
        }
    }
}

fn bytes(units: u64) -> u64 {
    units / u64::from(UNIT) / 8
}
