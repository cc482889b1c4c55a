//! Look-ups of domains that a feed names: `reputation.domain_reputation_feed`, MITRE's DomainReputationFeed.
//!
//! Feeds are plain lists, read where the sensor meets files ([`crate::source::feeds`]); here is what was read, as sorted
//! hashes. A name matches if it, or a parent on a dot boundary, is listed. Low alone, for lists are wrong too; beside other
//! evidence on the same client and zone it counts as a family.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::{Canonical, canonical};
use crate::logged::Lookup;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;

#[derive(Debug)]
pub struct Reputation {
    /// Shared where clients are shared out.
    feed: Arc<Feed>,
    window_s: u64,
}

/// Domains of all feeds.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// Hash of the name in its upper bits, number of its feed in the low ones; sorted.
    domains: Vec<u64>,
    /// What the feeds are called.
    names: Vec<String>,
    /// Domains beyond the bound.
    pub left_out: u64,
}

/// Feeds told apart.
pub const MAX_FEEDS: usize = 256;
const FEED_BITS: u64 = 0xff;
/// Labels of a name that can be a listed domain, counted from the right: the rest of a long name is payload.
const MAX_LABELS: usize = 10;

impl Feed {
    /// What follows is a list's of this name.
    pub fn begin(&mut self, name: String) {
        self.names.push(name);
    }

    /// Takes a domain of the list begun last, at most `max` in all; to be followed by [`Feed::sort`].
    pub fn push(&mut self, domain: &Canonical, max: usize) {
        let number = self.names.len().saturating_sub(1);
        if self.domains.len() < max && number < MAX_FEEDS {
            self.domains.push(hash(domain.wire()) & !FEED_BITS | number as u64);
        } else {
            self.left_out += 1;
        }
    }

    /// Makes what was added findable.
    pub fn sort(&mut self) {
        self.domains.sort_unstable();
        self.domains.dedup_by_key(|domain| *domain & !FEED_BITS);
        self.domains.shrink_to_fit();
    }

    pub fn len(&self) -> usize {
        self.domains.len()
    }

    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The feed that lists a name or its nearest listed parent, and how many labels that has.
    fn find(&self, name: &Canonical) -> Option<(&str, usize)> {
        if self.domains.is_empty() {
            return None;
        }
        (1..=name.labels().min(MAX_LABELS)).rev().find_map(|labels| {
            let wanted = hash(name.suffix(labels)) & !FEED_BITS;
            let at = self.domains.partition_point(|domain| *domain < wanted);
            let found = self.domains.get(at).filter(|domain| **domain & !FEED_BITS == wanted)?;
            Some((self.names[(*found & FEED_BITS) as usize].as_str(), labels))
        })
    }
}

/// Lists are the operator's, so that nobody gains by a collision: a fixed seed will do.
fn hash(wire: &[u8]) -> u64 {
    FixedState::with_seed(0).hash_one(wire)
}

impl Reputation {
    pub const RULE: &str = "dns-reputation";

    pub fn new(config: &Config) -> Self {
        Self { feed: Arc::default(), window_s: config.reputation.window_s }
    }

    /// Takes feeds in place of those before.
    pub fn load(&mut self, feed: Arc<Feed>) {
        self.feed = feed;
    }
}

impl Detector for Reputation {
    fn worst_case_bytes(config: &Config) -> usize {
        let settings = &config.reputation;
        // While a new one is read, the old one is there.
        let is_on = !settings.domain_reputation_feed.is_empty();
        2 * size_of::<u64>() * settings.max_domains as usize * usize::from(is_on)
    }

    fn retune(&mut self, config: &Config) {
        let Self { feed, .. } = std::mem::replace(self, Self::new(config));
        self.feed = feed;
    }

    fn evicted(&self) -> u64 {
        self.feed.left_out
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.part != Lookup::First {
            return;
        }
        let Some((feed, labels)) = self.feed.find(look.name) else { return };
        let domain = canonical::text(look.name.suffix(labels));
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client_zone(look.key()),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::POLICY,
            name: "domain_reputation_feed",
            weight: 1.0,
            figures: Figures { first_ns: look.now_ns(), queries: 1, ..Figures::default() },
            quiet_s: self.window_s,
            say: &|| Said {
                does: format!("looks up {domain}, which is listed in {feed}"),
                observed: format!("{} is or lies below {domain}, listed in {feed}", look.name),
                baseline: "no name that a feed lists".to_owned(),
                counterfactual: format!("Were {domain} not in {feed}, there would be no finding."),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use crate::pipeline::bench::Bench;

    fn feed(domains: &[&str], max: usize) -> Feed {
        let mut feed = Feed::default();
        feed.begin("list".to_owned());
        for text in domains {
            feed.push(&Canonical::from_text(text), max);
        }
        feed.sort();
        feed
    }

    #[test]
    fn names_match_on_dot_boundaries_in_any_case() {
        let feed = feed(&["evil.example", "Deep.Sub.bad.test"], 10);
        let finds = |name: &str| feed.find(&Canonical::from_text(name)).map(|(_, labels)| labels);
        assert_eq!(finds("evil.example"), Some(2));
        assert_eq!(finds("a.b.EVIL.example"), Some(2));
        assert_eq!(finds("x.deep.sub.bad.test"), Some(4));
        assert_eq!((finds("notevil.example"), finds("sub.bad.test"), finds("example")), (None, None, None));
    }

    #[test]
    fn feeds_are_bounded_and_say_what_is_missing() {
        let feed = feed(&["a.example", "b.example", "c.example"], 2);
        assert_eq!((feed.len(), feed.left_out), (2, 1));
    }

    #[test]
    fn a_listed_name_is_one_low_finding_of_its_client_and_zone() {
        let mut bench = Bench::new(&Config::default());
        bench.feed(feed(&["evil.example"], 10));
        for n in 0..20 {
            bench.wait(5.0);
            bench.look_up("10.0.0.2", &format!("h{}.evil.example", n % 3), 1, 0, &[]);
            bench.look_up("10.0.0.2", "www.fine.example", 1, 0, &[]);
        }
        bench.finish();
        let created = bench.created_by(Reputation::RULE);
        assert_eq!(created.len(), 1, "{created:#?}");
        assert_eq!((created[0].severity, created[0].zone.as_deref()), (Severity::Low, Some("evil.example")));
        assert_eq!(bench.found.len(), 2, "create and close");
    }
}
