//! A program that looks for its master under generated names: many registered names that nobody has asked for before, of
//! which nearly none exists.
//!
//! A sequential test over the registered names that are new for a client (Wald 1945; Jung et al. 2004 found scanners
//! so). Each adds or takes bits of evidence and the sum never falls below 0:
//! - one that does not exist speaks for a generator, one that exists against it: what is unknown to a crawler, a mail
//!   server or a resolver mostly exists;
//! - generators ask for the registered name itself. Hosts without a way out, where nothing exists, mostly ask for names
//!   below it (`www.`), and for those that everybody asks for;
//! - the registered label's likelihood under the model of honest names, against characters drawn at random; and how
//!   much it takes to say it at all, which is more for several words in a row than for names that are worth registering.
//!
//! The first two alone make a case of some fifteen names, so that dictionaries are found as well; one name never does.
//! Spellings of one name, as who watches over a brand asks for, count once.
//! Evidence fades over a day, so that a few names an hour are enough and a few a day are not. Random single labels, as
//! Chromium asks for, and names under a suffix that nobody can register in are no registered names.

mod near;

use std::fmt::Write as _;

use super::seen::Seen;
use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::canonical;
use crate::finding::Bounds;
use crate::model::{UNIT, label_cost, label_cost_at_random};
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::{Class, Zone};

#[derive(Debug)]
pub struct Dga {
    nxdomain_threshold: u64,
    bound: f32,
    /// Bits that fade in a nanosecond.
    fading: f64,
    window_s: u64,
    hosts: Table<u64, Host>,
}

/// What a client has asked for and not got.
#[derive(Debug, Default)]
struct Host {
    /// Bits for a generator.
    evidence: f32,
    last_ns: u64,
    /// Of names since the evidence was last 0.
    names: u64,
    existing: u64,
    /// Bits that the labels' likelihood has given or taken.
    likelihood: f32,
    name_bytes: u64,
    first_ns: u64,
    zones: Seen<64>,
    samples: [Sample; SAMPLES],
}

/// A registered name in wire form; of length 0 where there is none.
#[derive(Clone, Copy, Debug)]
struct Sample {
    len: u8,
    wire: [u8; 63],
}

const SAMPLES: usize = 5;

impl Sample {
    fn label(&self) -> &[u8] {
        &self.wire[1..=usize::from(self.wire[0].min(62))]
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self { len: 0, wire: [0; 63] }
    }
}

impl Remembered for Host {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.evidence.to_bits()), self.last_ns) // never negative, so its bits are in order
    }
}

/// log2 of how much more likely a generated name is not to exist: 49 of 50 against one in eight of the new names of a
/// browsing host (the crawls at hand have one in 250, a host behind a filter that denies trackers one in three).
const ABSENT_BITS: f32 = 2.0;
/// The same for one that exists: one of 50 against seven of eight.
const EXISTING_BITS: f32 = -5.0;
/// log2 of how much more likely a generator asks for the registered name itself. On a network without a way out one
/// missing name in four was one (15 of 61 on the five busiest hosts of a 2012 exercise).
const BARE_BITS: f32 = 2.0;
const BELOW_BITS: f32 = -3.0;
/// Bits that one label's likelihood may give or take: characters follow from each other, so that a third of the
/// likelihood ratio is counted, and what is not odd may still come from a dictionary.
const LIKELIHOOD_SHARE: f32 = 1.0 / 3.0;
const LIKELIHOOD_BITS: (f32, f32) = (-1.5, 6.0);
/// Bits to say a registered label that are usual (of the names in popularity lists, half take 35 to 49), and what
/// every ten more or less give or take.
const USUAL_LABEL_BITS: f32 = 45.0;
const LENGTH_BITS: (f32, f32) = (-2.0, 2.0);

impl Dga {
    pub const RULE: &str = "dns-dga";

    pub fn new(config: &Config) -> Self {
        let settings = &config.dga;
        Self {
            nxdomain_threshold: settings.nxdomain_threshold,
            bound: settings.bound_bits as f32,
            fading: settings.bound_bits as f64 / (settings.window_s as f64 * 1e9),
            window_s: settings.window_s,
            hosts: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for Dga {
    fn worst_case_bytes(config: &Config) -> usize {
        let keys = config.dga.max_keys as usize;
        Table::<u64, Host>::bytes(keys) + keys * Seen::<64>::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { hosts, .. } = std::mem::replace(self, Self::new(config));
        self.hosts = hosts;
    }

    fn evicted(&self) -> u64 {
        self.hosts.evicted
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        const NOERROR: u16 = 0;
        const NXDOMAIN: u16 = 3;
        if look.zone.class != Class::Registered {
            return;
        }
        match look.message.rcode() {
            NOERROR => self.exists(look),
            NXDOMAIN => self.is_absent(look, cases),
            _ => {}
        }
    }
}

impl Dga {
    /// Only of note for a client that has missed something.
    fn exists(&mut self, look: &Look<'_>) {
        if let Some(host) = self.hosts.find(look.client)
            && host.zones.is_new(look.zone_hash)
            && host.evidence > 0.0
        {
            host.existing += 1;
            host.add(EXISTING_BITS);
        }
    }

    fn is_absent(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let labels = look.zone.labels;
        if !Zone::is_registrable(look.name) {
            return;
        }
        let now_ns = look.now_ns();
        let host = self.hosts.open(look.client, Host::default);
        if !host.zones.is_new(look.zone_hash) {
            return;
        }
        let faded = now_ns.saturating_sub(host.last_ns) as f64 * self.fading;
        host.add(-faded as f32);
        if host.evidence <= 0.0 {
            *host = Host { zones: std::mem::take(&mut host.zones), first_ns: now_ns, ..Host::default() };
        }
        host.last_ns = now_ns;
        let bare = look.name.labels() == labels;
        let label = look.name.label(look.name.labels() - labels);
        if host.samples.iter().any(|sample| near::is_near(label, sample.label())) {
            return;
        }
        let bits = label_bits(label);
        host.likelihood += bits;
        host.add(ABSENT_BITS + if bare { BARE_BITS } else { BELOW_BITS } + bits);
        host.note(look.zone_wire());
        host.names += 1;
        host.name_bytes += look.name.wire().len() as u64;
        let names = host.names;
        let weight = (host.evidence / self.bound).min(names as f32 / self.nxdomain_threshold as f32);
        if weight < 1.0 {
            return;
        }
        let (threshold, bound, window_s) = (self.nxdomain_threshold, self.bound, self.window_s);
        let seconds = now_ns.saturating_sub(host.first_ns) / 1_000_000_000;
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client(look.client, Self::RULE),
            zone: &[],
            class: Class::None,
            family: family::RESPONSE,
            name: "absent_names_bits",
            weight: f64::from(weight),
            figures: Figures {
                first_ns: host.first_ns,
                queries: names,
                responses: names,
                name_bytes: host.name_bytes,
                up: Bounds::default(),
                down: Bounds::default(),
            },
            quiet_s: 3600,
            say: &|| Said {
                does: format!(
                    "asks for registered names that do not exist, as a program does that generates them: {} within \
                     {seconds} s",
                    thousands(names)
                ),
                observed: host.say(),
                baseline: format!(
                    "{bound} bits within {window_s} s, from {threshold} names: new names of honest programs exist"
                ),
                counterfactual: format!(
                    "Had fewer than {threshold} of them been missing, or had about {} other new registered names \
                     existed, there would be no finding.",
                    ((host.evidence - bound) / -EXISTING_BITS).floor() + 1.0
                ),
                samples: host.samples(),
                tool: None,
            },
        });
    }
}

impl Host {
    fn add(&mut self, bits: f32) {
        self.evidence = (self.evidence + bits).max(0.0);
    }

    fn note(&mut self, zone: &[u8]) {
        let mut sample = Sample::default();
        if let Some(wire) = sample.wire.get_mut(..zone.len()) {
            wire.copy_from_slice(zone);
            sample.len = zone.len() as u8;
            self.samples[self.names as usize % SAMPLES] = sample;
        }
    }

    fn samples(&self) -> Vec<String> {
        let known = self.samples.iter().filter(|sample| sample.len > 0);
        known.map(|sample| canonical::text(&sample.wire[..usize::from(sample.len)])).collect()
    }

    fn say(&self) -> String {
        let mut said = format!(
            "{} new registered names that do not exist and {} that do: {:.0} bits for a generator",
            thousands(self.names),
            thousands(self.existing),
            self.evidence
        );
        let each = self.likelihood / self.names.max(1) as f32;
        let _ = write!(said, "; {each:+.1} bits each from how unlike honest names they are spelt");
        said
    }
}

/// Bits that a registered label gives for a generator.
fn label_bits(label: &[u8]) -> f32 {
    let cost = label_cost(label) as f32 / UNIT as f32;
    let at_random = label_cost_at_random(label) as f32 / UNIT as f32;
    let likelihood = (cost - at_random) * LIKELIHOOD_SHARE;
    let length = (cost - USUAL_LABEL_BITS) / 10.0;
    likelihood.clamp(LIKELIHOOD_BITS.0, LIKELIHOOD_BITS.1) + length.clamp(LENGTH_BITS.0, LENGTH_BITS.1)
}

#[cfg(test)]
mod tests;
