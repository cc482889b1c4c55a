//! Detectors beside the ledger: one file each, one line each in the table at the end.
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

pub use roles::{Role, Roles};

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

    /// Whether an answer led the client to the name that it asks for.
    pub fn is_told(&mut self, look: &Look<'_>) -> bool {
        self.scene.ledger.told(look.client, look.name_hash).is_some()
    }

    /// Whether a finding is open.
    pub fn is_open(&self, case: Case) -> bool {
        self.reports.has(case)
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
    ($($name:ident: $Detector:ty,)+) => {
        /// All of them.
        #[derive(Debug)]
        pub struct Detectors { $($name: $Detector,)+ }

        impl Detectors {
            pub fn new(config: &Config) -> Self {
                Self { $($name: <$Detector>::new(config),)+ }
            }

            /// Rules that a detector can raise.
            pub const RULES: &'static [&'static str] = &[$(<$Detector>::RULE,)+];

            /// Each rule and the section of its configuration.
            pub const TABLE: &'static [(&'static str, &'static str)] =
                &[$((<$Detector>::RULE, stringify!($name)),)+];

            pub fn worst_case_bytes(config: &Config) -> usize {
                0 $(+ <$Detector as Detector>::worst_case_bytes(config))+
            }

            pub fn retune(&mut self, config: &Config) {
                $(self.$name.retune(config);)+
            }

            /// What each forgot, by its rule.
            pub fn evictions(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((<$Detector>::RULE, self.$name.evicted()),)+].into_iter()
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
    non_dns: non_dns::NonDns,
    direct_mode: direct_mode::DirectMode,
    carriers: carriers::Carriers,
    code_book: code_book::CodeBook,
    command_channel: command_channel::CommandChannel,
    beacon: beacon::Beacon,
    dga: dga::Dga,
    recon: recon::Recon,
    spread: spread::Spread,
    subdomain_flood: subdomain_flood::SubdomainFlood,
    fast_flux: fast_flux::FastFlux,
    short_lived_zone: short_lived_zone::ShortLivedZone,
    rebinding: rebinding::Rebinding,
    amplification: amplification::Amplification,
    poisoning: poisoning::Poisoning,
    resolver_policy: resolver_policy::ResolverPolicy,
    asset_policy: asset_policy::AssetPolicy,
    reputation: reputation::Reputation,
    own_zones: own_zones::OwnZones,
    brand: brand::Brand,
}

impl Detectors {
    /// Hands in domain lists in place of those before.
    pub fn feed(&mut self, feed: reputation::Feed) {
        self.reputation.load(feed);
    }
}

/// The emitter of findings, as stages hand it on.
pub type Emit<'a> = dyn FnMut(&Finding) + 'a;

#[cfg(test)]
mod tests {
    use super::Detectors;
    use crate::attack::{self, Platform};
    use crate::rules::rules;

    #[test]
    fn every_rule_has_a_severity_and_a_strategy() {
        for rule in Detectors::RULES.iter().chain([&crate::report::RULE]) {
            assert!(rules().rules.contains_key(*rule), "data/rules.json lacks {rule}");
            let attack = attack::of(rule, Platform::Linux);
            assert!(!attack.techniques.is_empty(), "{rule} maps to nothing");
        }
    }
}
