//! Tables as large as `limits.memory_mib` has room for.
//!
//! Every table has a bound, and `worst_case_bytes` says what all of them take once they are full. Where that, beside what the
//! sensor takes without them, is more than the limit, each is made smaller by the same share when it is made: the steps of
//! the limit (`limits`) spare work, not memory, and memory that was taken once stays with the process.
//!
//! What is no table (streams that are put together, what waits to be written) is small until something stands still. Room
//! is not kept for it: it would be more than all tables of a small limit.

use std::fmt;

use super::memory::Memory;
use crate::config::{Config, Live};
use crate::store::recorder;

/// Thousandths of a table's size.
const ALL: u64 = 1000;
/// No table is made smaller than that: with less, nothing slow would be found.
const LEAST: u64 = 16;
/// What loading and attaching adds to a process that has read its configuration, beside rings, flows and what grows with the
/// number of processors: 9.3 MB when measured, of which half are code and kernel types; the process that attaches has 4 to 6
/// of its own.
const ATTACHED: u64 = 16 << 20;
/// Of a flow in the kernel, with its place in a set.
const FLOW: u64 = 320;

/// How much of its size each table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// Thousandths.
    pub(super) share: u64,
    /// Bytes that were to be held; 0: no limit.
    limit: u64,
    /// Bytes with every table of that share full.
    full: u64,
}

impl Fit {
    /// Within the memory limit, of which `taken` are gone already; `worst_case` tells what a configuration can come to.
    pub(super) fn of(config: &Config, taken: u64, worst_case: impl Fn(&Config) -> usize) -> Self {
        let limit = config.limits.memory_mib << 20;
        let full = |share: u64| taken + tables(&config.with_tables(share), &worst_case);
        let (mut share, mut too_much) = (LEAST, ALL);
        if limit == 0 || full(ALL) <= limit {
            share = ALL;
        } else {
            while too_much - share > 1 {
                let tried = u64::midpoint(share, too_much);
                *(if full(tried) <= limit { &mut share } else { &mut too_much }) = tried;
            }
        }
        Self { share, limit, full: full(share) }
    }

    /// The same for the store, before anything is attached: what will be taken is not known yet.
    pub(super) fn of_store(config: &Config) -> Self {
        let Live { alert_ring_kib, bulk_ring_kib, flow_entries, .. } = config.live;
        // The kernel's pages of a ring, which the reader maps twice in a row.
        let rings = 3 * ((alert_ring_kib + bulk_ring_kib) << 10);
        let taken = Memory::now().total() + ATTACHED + rings + flow_entries * FLOW;
        Self::of(config, taken, |config| store(config) + config.pipeline().worst_case_bytes())
    }

    /// The same for all else, once everything is attached and the store is open, as `stored` has it; `loaded` bytes of the
    /// `total` are the store's.
    pub(super) fn of_pipeline(config: &Config, stored: &Config, loaded: u64, total: u64) -> Self {
        let taken = (total + tables(stored, store)).saturating_sub(loaded);
        Self::of(config, taken, |config| config.pipeline().worst_case_bytes())
    }

    /// Whether tables are smaller than they were to be.
    pub(super) fn is_tight(&self) -> bool {
        self.share < ALL
    }

    /// For `status`: 1 is all of it.
    pub(super) fn json(&self) -> serde_json::Value {
        (self.share as f64 / ALL as f64).into()
    }

    /// Whether the limit cannot be held even so.
    pub(super) fn is_over(&self) -> bool {
        self.limit > 0 && self.full > self.limit
    }
}

/// Of what a configuration can come to, the part that its tables are.
fn tables(config: &Config, worst_case: impl Fn(&Config) -> usize) -> u64 {
    worst_case(config).saturating_sub(worst_case(&config.with_tables(0))) as u64
}

fn store(config: &Config) -> usize {
    recorder::Settings::of(config).map_or(0, |store| store.worst_case_bytes())
}

/// What was done about the limit, for who runs the sensor.
impl fmt::Display for Fit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        if self.is_over() {
            write!(
                out,
                "limits.memory_mib = {} is too little: {} MiB are needed with tables of {} % of their sizes, which they \
                 have now",
                mib(self.limit),
                mib(self.full),
                LEAST as f64 / 10.0
            )
        } else {
            write!(
                out,
                "tables have {:.1} % of their configured sizes, so that all of them full keep to limits.memory_mib = {}",
                self.share as f64 / 10.0,
                mib(self.limit)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(mib: u64) -> Config {
        Config::parse(&format!("[limits]\nmemory_mib = {mib}\n"), "x").unwrap()
    }

    fn worst_case(config: &Config) -> usize {
        config.pipeline().worst_case_bytes()
    }

    #[test]
    fn tables_are_as_large_as_the_limit_has_room_for() {
        const TAKEN: u64 = 40 << 20;
        for mib in [64, 128, 200] {
            let config = limited(mib);
            let fit = Fit::of(&config, TAKEN, worst_case);
            let full = TAKEN + tables(&config.with_tables(fit.share), worst_case);
            assert!((LEAST..ALL).contains(&fit.share) && !fit.is_over(), "{mib}: {fit:?}");
            assert!(full <= mib << 20 && full > (mib << 20) * 97 / 100, "{mib}: {full}");
        }
        for config in [limited(0), Config::default()] {
            let fit = Fit::of(&config, TAKEN, worst_case);
            assert_eq!((fit.share, fit.is_over()), (ALL, false));
            assert_eq!(config.with_tables(fit.share), config);
        }
    }

    #[test]
    fn a_limit_below_what_is_taken_anyway_is_told() {
        let fit = Fit::of(&limited(30), 40 << 20, worst_case);
        assert!(fit.is_over() && fit.share == LEAST, "{fit:?}");
        assert!(fit.to_string().starts_with("limits.memory_mib = 30 is too little: 4"), "{fit}");
        let fit = Fit::of(&limited(128), 40 << 20, worst_case);
        assert!(fit.to_string().ends_with("limits.memory_mib = 128"), "{fit}");
    }
}
