//! Where accounts are kept and findings made: here, or shared out over threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::shard::Shard;
use super::shards::Shards;
use super::{Fill, Settings};
use crate::config::Config;
use crate::detect::{Emit, reputation};
use crate::exception;
use crate::finding::Origin;
use crate::ledger::Ledger;
use crate::report::{ByRule, Reports};

#[derive(Debug)]
pub(super) enum Work {
    /// One shard has all clients, and the findings of all detectors.
    Here(Box<Shard>),
    Shared(Box<Shards>),
}

impl Settings {
    /// One shard's: tables that are of clients hold a part of the keys, so that all shards together hold no more than one
    /// would.
    pub(super) fn part(&self) -> Self {
        let parts = self.threads.max(1);
        let mut part = self.clone();
        part.ledger.max_keys = (part.ledger.max_keys / parts).max(1);
        part.report.max_open = ((part.report.max_open - 2 * self.open_beside()) / parts).max(1);
        let Config {
            direct_mode,
            carriers,
            code_book,
            command_channel,
            beacon,
            dga,
            recon,
            spread,
            resolver_policy,
            brand,
            ..
        } = &mut part.config;
        for max_keys in [
            &mut direct_mode.max_keys,
            &mut carriers.max_keys,
            &mut code_book.max_keys,
            &mut command_channel.max_keys,
            &mut beacon.max_keys,
            &mut dga.max_keys,
            &mut recon.max_keys,
            &mut spread.max_keys,
            &mut resolver_policy.max_keys,
            &mut brand.max_keys,
        ] {
            *max_keys = (*max_keys / parts as u64).max(1);
        }
        part
    }

    /// Findings that may be open beside those of the shards: of detectors of all clients, and of zones over all clients.
    pub(super) fn open_beside(&self) -> usize {
        self.report.max_open / 8
    }

    /// Bytes that threads take beside what one takes; `client` is a client's most.
    pub(super) fn beside_threads(&self, client: usize) -> usize {
        if self.threads < 2 {
            return 0;
        }
        // A copy of each client for each thread, at worst.
        self.threads * self.attribute.max_processes * client + Shards::worst_case_bytes(self.threads)
    }
}

impl Work {
    /// Threads that cannot be started are done without.
    pub(super) fn new(settings: &Settings, origin: Origin, seed: &FixedState) -> Self {
        let shared = (settings.threads > 1).then(|| Shards::new(settings, origin, seed).ok()).flatten();
        shared.map_or_else(
            || Self::Here(Box::new(Shard::new(settings, origin))),
            |shards| Self::Shared(Box::new(shards)),
        )
    }

    pub(super) fn threads(&self) -> usize {
        match self {
            Self::Here(_) => 0,
            Self::Shared(shards) => shards.threads(),
        }
    }

    /// Lets detectors of all clients look; where their findings are kept is handed to them.
    pub(super) fn of_all(
        &mut self,
        emit: &mut Emit<'_>,
        look: impl FnOnce(&mut Reports, &mut Ledger, &mut Emit<'_>),
    ) {
        match self {
            Self::Here(shard) => look(&mut shard.reports, &mut shard.ledger, emit),
            Self::Shared(shards) => shards.of_all(look),
        }
    }

    pub(super) fn sweep(&mut self, now_ns: u64, emit: &mut Emit<'_>) {
        match self {
            Self::Here(shard) => {
                shard.reports.sweep(now_ns, &mut shard.ledger, &mut |_, _, finding| emit(finding));
            }
            Self::Shared(shards) => shards.sweep(now_ns),
        }
    }

    pub(super) fn close_all(&mut self, now_ns: u64, emit: &mut Emit<'_>) {
        match self {
            Self::Here(shard) => {
                shard.reports.close_all(now_ns, &mut shard.ledger, &mut |_, _, finding| emit(finding));
            }
            Self::Shared(shards) => shards.close_all(now_ns, emit),
        }
    }

    pub(super) fn retune(&mut self, settings: &Settings, now_ns: u64, emit: &mut Emit<'_>) {
        match self {
            Self::Here(shard) => {
                let Settings { report, ledger, attribute, config, .. } = settings;
                shard.reports.retune(report.clone(), ledger, attribute.clone());
                shard.detectors.retune(config);
                shard.reports.review(now_ns, &mut |_, finding| emit(finding));
            }
            Self::Shared(shards) => shards.retune(settings, now_ns, emit),
        }
    }

    pub(super) fn feed(&mut self, feed: Arc<reputation::Feed>) {
        match self {
            Self::Here(shard) => shard.detectors.feed(feed),
            Self::Shared(shards) => shards.feed(&feed),
        }
    }

    pub(super) fn shards(&self) -> Box<dyn Iterator<Item = &Shard> + '_> {
        match self {
            Self::Here(shard) => Box::new(std::iter::once(&**shard)),
            Self::Shared(shards) => Box::new(shards.shards()),
        }
    }

    pub(super) fn reports(&self) -> Box<dyn Iterator<Item = &Reports> + '_> {
        match self {
            Self::Here(shard) => Box::new(std::iter::once(&shard.reports)),
            Self::Shared(shards) => Box::new(shards.reports()),
        }
    }

    /// What was forgotten to stay within bounds: accounts, findings, detectors' keys.
    pub(super) fn evicted(&self) -> [u64; 3] {
        let shards = self.shards().map(|shard| [shard.ledger.evicted, shard.detectors.evicted()]);
        let [accounts, keys] = shards.fold([0; 2], |[a, b], [c, d]| [a + c, b + d]);
        [accounts, self.reports().map(|reports| reports.evicted).sum(), keys]
    }

    pub(super) fn accounts(&self) -> Fill {
        let fill =
            |shard: &Shard| Fill { entries: shard.ledger.len(), capacity: shard.ledger.settings().max_keys };
        sum(self.shards().map(fill))
    }

    pub(super) fn findings(&self) -> Fill {
        sum(self.reports().map(Reports::fill))
    }

    pub(super) fn findings_by_rule(&self) -> Vec<ByRule> {
        let mut counts = BTreeMap::<_, u64>::new();
        for ByRule { rule, severity, count } in self.reports().flat_map(Reports::by_rule) {
            *counts.entry((rule, severity)).or_default() += count;
        }
        counts.into_iter().map(|((rule, severity), count)| ByRule { rule, severity, count }).collect()
    }

    pub(super) fn exceptions(&self) -> Vec<exception::Status> {
        let mut all = self.reports().map(Reports::exceptions);
        let mut list = all.next().unwrap_or_default();
        for others in all {
            list.iter_mut().zip(others).for_each(|(own, other)| own.add(other));
        }
        list
    }

    /// Counts what exceptions did in earlier runs, once for all reports.
    pub(super) fn recall(&mut self, earlier: &exception::Earlier) {
        match self {
            Self::Here(shard) => shard.reports.recall(earlier),
            Self::Shared(shards) => {
                if let Some(first) = shards.reports_mut().next() {
                    first.recall(earlier);
                }
            }
        }
    }

    /// Each of the reports has seen all exceptions end.
    pub(super) fn exceptions_news(&mut self) -> Vec<String> {
        match self {
            Self::Here(shard) => shard.reports.exceptions_news(),
            Self::Shared(shards) => {
                let mut all = shards.reports_mut().map(Reports::exceptions_news);
                let news = all.next().unwrap_or_default();
                all.for_each(drop);
                news
            }
        }
    }
}

fn sum(fills: impl Iterator<Item = Fill>) -> Fill {
    fills.fold(Fill { entries: 0, capacity: 0 }, |sum, fill| Fill {
        entries: sum.entries + fill.entries,
        capacity: sum.capacity + fill.capacity,
    })
}
