//! Detectors beside the ledger: one file each, one line each in the tables at the end.
//!
//! A detector takes every look-up's messages in the order of their records and keeps bounded state of its own. What it
//! sees at its threshold it hands to [`Cases::raise`] as one piece of evidence of one family; the verdict is made there
//! from all that is on record. Thresholds are configuration keys in a section named after the detector.

pub(crate) mod addresses;
pub mod amplification;
pub mod asset_policy;
pub mod beacon;
pub mod brand;
pub mod carriers;
pub mod code_book;
pub mod command_channel;
pub mod dga;
pub mod direct_mode;
pub mod fast_flux;
pub mod non_dns;
pub mod over_clients;
pub mod own_zones;
pub mod poisoning;
pub mod rebinding;
pub mod recon;
pub mod reputation;
pub mod resolver_policy;
pub mod roles;
pub mod seen;
pub mod short_lived_zone;
pub mod spread;
pub mod subdomain_flood;
pub mod table;

use std::sync::Arc;

use foldhash::quality::FixedState;

use crate::config::Config;
use crate::dns::{Canonical, Message};
use crate::event::Packet;
use crate::finding::Finding;
use crate::ledger::payload::Answer;
use crate::ledger::{Entry, Key, Target};
use crate::logged::Lookup;
use crate::report::{Case, Reports, Scene, Sighting, Signal};
use crate::store::History;
use crate::zone::Zone;

pub use over_clients::OverClients;
pub use roles::{Role, Roles};

use asset_policy::AssetPolicy;
use brand::Brand;
use non_dns::NonDns;
use own_zones::OwnZones;
use reputation::Reputation;
use resolver_policy::ResolverPolicy;

/// A message with a question that could be read; never the same message at another hook.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub packet: &'a Packet,
    pub message: &'a Message<'a>,
    /// First, twin or forwarded for a query; answer or unsolicited for a response.
    pub part: Lookup,
    /// The question's.
    pub name: &'a Canonical,
    pub name_hash: u64,
    pub qtype: u16,
    pub zone: Zone,
    pub zone_hash: u64,
    /// Who is charged: the process where it is known, else the address. Of a response: who asked.
    pub client: u64,
    /// Where the first record of a response leads that leads to a name.
    pub target: Option<&'a Target>,
    /// What a response's answers can have carried; nothing of a query, and of a spurious response.
    pub answer: Answer,
    /// What part `client` plays, as far as it is learned.
    pub role: Role,
    /// Of a TXT question's answer: an answer before led the client to the name that it asks for.
    pub told: bool,
    /// Of the hashes by which what an attacker chose is compared: random live, the same in every replay.
    pub seed: &'a FixedState,
}

impl Look<'_> {
    /// Unix time, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.packet.time_ns
    }

    /// The ledger's key of this look-up.
    pub fn key(&self) -> Key {
        Key { client: self.client, zone: self.zone_hash }
    }

    pub fn zone_wire(&self) -> &[u8] {
        self.name.suffix(self.zone.labels)
    }

    pub fn sub_wire(&self) -> &[u8] {
        self.name.prefix(self.zone.labels)
    }
}

/// Bytes on port 53 that are no DNS message with a question.
#[derive(Clone, Copy, Debug)]
pub struct Stray<'a> {
    pub packet: &'a Packet,
    /// `None` if too short for a header.
    pub message: Option<&'a Message<'a>>,
    pub to_server: bool,
    pub client: u64,
    /// As [`Look::seed`].
    pub seed: &'a FixedState,
}

/// Where detectors put what they see.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Cases<'a, 'b> {
    pub(crate) reports: &'a mut Reports,
    pub(crate) scene: Scene<'b>,
}

impl Cases<'_, '_> {
    pub fn raise(&mut self, signal: &Signal<'_>) {
        self.reports.raise(signal, &mut self.scene);
    }

    /// As `raise`, of more than the packet that is looked at: whether something of it had a carrier beside its name.
    pub fn raise_of_all(&mut self, signal: &Signal<'_>, has_payload: bool) {
        let before = std::mem::replace(&mut self.scene.sighting.has_payload, has_payload);
        self.raise(signal);
        self.scene.sighting.has_payload = before;
    }

    /// The ledger's account of a key.
    pub fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        self.scene.ledger.find(key)
    }

    /// Whether a finding about a client and zone is open that several rules share.
    pub fn is_open(&self, key: Key) -> bool {
        self.reports.has(Case::client_zone(key))
    }

    /// What is remembered of other days, if there is a store.
    pub fn history(&self) -> Option<&History> {
        self.scene.history
    }

    pub fn sighting(&self) -> Sighting {
        self.scene.sighting
    }
}

/// What every detector can do; it takes what it needs.
pub trait Detector {
    /// Bytes of its state at most, by its configuration.
    fn worst_case_bytes(config: &Config) -> usize;

    /// Takes the thresholds of another configuration; what it remembers stays, and as much as it may.
    fn retune(&mut self, config: &Config);

    /// What was forgotten to stay within bounds.
    fn evicted(&self) -> u64;

    fn query(&mut self, _look: &Look<'_>, _cases: &mut Cases<'_, '_>) {}

    fn response(&mut self, _look: &Look<'_>, _cases: &mut Cases<'_, '_>) {}

    /// A response that comes beside the one which was waited for: a second one to a query in a capture, or one without
    /// a query at a live hook.
    fn spurious(&mut self, _look: &Look<'_>, _cases: &mut Cases<'_, '_>) {}

    fn stray(&mut self, _stray: &Stray<'_>, _cases: &mut Cases<'_, '_>) {}
}

macro_rules! detectors {
    ($(#[doc = $doc:literal])+ $Group:ident { $($name:ident: $Detector:ty,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $Group { $($name: $Detector,)+ }

        impl $Group {
            pub fn new(config: &Config) -> Self {
                Self { $($name: <$Detector>::new(config),)+ }
            }

            /// Each rule and the section of its configuration.
            pub const TABLE: &'static [(&'static str, &'static str)] =
                &[$((<$Detector>::RULE, stringify!($name)),)+];

            pub fn worst_case_bytes(config: &Config) -> usize {
                0 $(+ <$Detector as Detector>::worst_case_bytes(config))+
            }

            pub fn retune(&mut self, config: &Config) {
                $(self.$name.retune(config);)+
            }

            /// What all of them forgot to stay within bounds.
            pub fn evicted(&self) -> u64 {
                0 $(+ self.$name.evicted())+
            }

            pub fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
                $(self.$name.query(look, cases);)+
            }

            pub fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
                $(self.$name.response(look, cases);)+
            }

            pub fn spurious(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
                $(self.$name.spurious(look, cases);)+
            }

            pub fn stray(&mut self, stray: &Stray<'_>, cases: &mut Cases<'_, '_>) {
                $(self.$name.stray(stray, cases);)+
            }
        }
    };
}

detectors! {
    /// Those that compare clients, or whose state is in places that clients share: they see every message, in order.
    /// Their findings are their own, beside what is found of a client and zone.
    OfAll {
        non_dns: NonDns,
        subdomain_flood: subdomain_flood::SubdomainFlood,
        fast_flux: fast_flux::FastFlux,
        short_lived_zone: short_lived_zone::ShortLivedZone,
        rebinding: rebinding::Rebinding,
        amplification: amplification::Amplification,
        poisoning: poisoning::Poisoning,
        asset_policy: AssetPolicy,
        own_zones: OwnZones,
    }
}

detectors! {
    /// Those that know each client by itself: what they see of one depends on no other. They see no strays and nothing
    /// spurious.
    OfClients {
        direct_mode: direct_mode::DirectMode,
        carriers: carriers::Carriers,
        code_book: code_book::CodeBook,
        command_channel: command_channel::CommandChannel,
        beacon: beacon::Beacon,
        dga: dga::Dga,
        recon: recon::Recon,
        spread: spread::Spread,
        resolver_policy: ResolverPolicy,
        reputation: Reputation,
        brand: Brand,
    }
}

impl OfClients {
    /// Hands in domain lists in place of those before.
    pub fn feed(&mut self, feed: Arc<reputation::Feed>) {
        self.reputation.load(feed);
    }
}

/// Each rule of a detector and the section of its configuration, as they are listed: what speaks of leaks first.
pub fn table() -> Vec<(&'static str, &'static str)> {
    const FIRST: &[&str] = &[NonDns::RULE];
    const LAST: &[&str] =
        &[ResolverPolicy::RULE, AssetPolicy::RULE, Reputation::RULE, OwnZones::RULE, Brand::RULE];
    let mut all: Vec<_> = OfClients::TABLE.iter().chain(OfAll::TABLE).copied().collect();
    let after = |rule: &str| LAST.iter().position(|last| *last == rule).map_or(1, |at| at + 2);
    all.sort_by_key(|(rule, _)| if FIRST.contains(rule) { 0 } else { after(rule) });
    all
}

/// The emitter of findings, as stages hand it on.
pub type Emit<'a> = dyn FnMut(&Finding) + 'a;

#[cfg(test)]
mod tests {
    use super::table;
    use crate::attack::{self, Platform};
    use crate::rules::rules;

    #[test]
    fn every_rule_has_a_severity_and_a_strategy() {
        for rule in table().into_iter().map(|(rule, _)| rule).chain([crate::report::RULE]) {
            assert!(rules().rules.contains_key(rule), "data/rules.json lacks {rule}");
            let attack = attack::of(rule, Platform::Linux);
            assert!(!attack.techniques.is_empty(), "{rule} maps to nothing");
        }
    }
}
