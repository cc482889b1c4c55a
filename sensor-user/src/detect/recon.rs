//! Reconnaissance: somebody finds out what a network holds before anything is taken.
//!
//! - *Sweep*: PTR look-ups for most of a /24 (or of 256 neighbours in IPv6), or for many addresses one after the other.
//!   Programs that read logs ask for hundreds of addresses too, but of visitors from everywhere, in any order.
//! - *Enumeration*: many short, plausible names right below one zone that do not exist. Search lists also make such
//!   names, but out of names that have a suffix of their own; hashes, block lists and service names do not look so.
//! - *Cold names*: hundreds of plausible names never asked for before within a minute, below a few zones, from what is no
//!   crawler, resolver, mail server or NAT. Crawlers take a name or two of each zone.
//! - *Transfers*: AXFR or IXFR that is refused, or is tried over UDP. Secondaries are let in.
//! - *Versions*: what a server runs, asked in class CHAOS. Monitors ask there for a server's identity, which is left out.

use super::addresses::Few;
use super::seen::Seen;
use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::{canonical, rtype};
use crate::event::Transport;
use crate::finding::Bounds;
use crate::logged::Lookup;
use crate::model::{label_cost, label_cost_at_random};
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::{Class, Zone};

#[derive(Debug)]
pub struct Recon {
    sweep_addresses: u32,
    enumeration_names: u32,
    cold_names: u32,
    window_ns: u64,
    networks: Table<(u64, u64), Network>,
    zones: Table<(u64, u64), Names>,
    clients: Table<u64, Cold>,
}

/// What a client asked of 256 neighbouring addresses within a window.
#[derive(Debug, Default)]
struct Network {
    since_ns: u64,
    last_ns: u64,
    asked: [u64; 4],
    last: u8,
    /// Look-ups of the address next to the last one.
    steps: u32,
    name_bytes: u64,
}

/// Names of one zone that did not exist for a client within a window.
#[derive(Debug, Default)]
struct Names {
    since_ns: u64,
    last_ns: u64,
    absent: u32,
    existing: u32,
    name_bytes: u64,
    seen: Seen<32>,
}

/// Names that a client had not asked for, within a minute.
#[derive(Debug, Default)]
struct Cold {
    since_ns: u64,
    last_ns: u64,
    names: u32,
    name_bytes: u64,
    zones: Few,
    seen: Seen<64>,
}

impl Remembered for Network {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.count()), self.last_ns)
    }
}

impl Remembered for Names {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.absent), self.last_ns)
    }
}

impl Remembered for Cold {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.names), self.last_ns)
    }
}

impl Network {
    fn count(&self) -> u32 {
        self.asked.iter().map(|word| word.count_ones()).sum()
    }
}

/// Of addresses asked for one after the other, so many are enough, as a share of what makes a sweep in any order...
const IN_ORDER_SHARE: u32 = 4;
/// ... if so many of a hundred follow the one before.
const IN_ORDER_PERCENT: u32 = 75;
/// Names below a zone of which this many in a hundred exist are no guesses.
const EXISTING_PERCENT: u32 = 20;
/// Zones that cold names are of, at most.
const COLD_ZONES: u32 = 16;
const MINUTE_NS: u64 = 60_000_000_000;
/// Longest guessed label, and shortest whose letters tell anything.
const LONGEST: usize = 24;
const SHORTEST: usize = 5;
const AXFR: u16 = 252;
const IXFR: u16 = 251;
const CHAOS: u16 = 3;

impl Recon {
    pub const RULE: &str = "dns-recon";

    pub fn new(config: &Config) -> Self {
        let settings = &config.recon;
        let max = settings.max_keys as usize;
        Self {
            sweep_addresses: settings.sweep_addresses as u32,
            enumeration_names: settings.enumeration_names as u32,
            cold_names: settings.cold_names as u32,
            window_ns: settings.window_s * 1_000_000_000,
            networks: Table::new(max),
            zones: Table::new(max),
            clients: Table::new(max / COLD_SHARE),
        }
    }
}

/// Clients remembered for their cold names, as a share of the other keys: each takes several times as much once it has asked for a few.
const COLD_SHARE: usize = 4;

impl Detector for Recon {
    fn worst_case_bytes(config: &Config) -> usize {
        let max = config.recon.max_keys as usize;
        Table::<(u64, u64), Network>::bytes(max)
            + Table::<(u64, u64), Names>::bytes(max)
            + max * Seen::<32>::HEAP
            + Table::<u64, Cold>::bytes(max / COLD_SHARE)
            + max / COLD_SHARE * Seen::<64>::HEAP
    }

    fn retune(&mut self, config: &Config) {
        let Self { networks, zones, clients, .. } = std::mem::replace(self, Self::new(config));
        self.networks = networks;
        self.zones = zones;
        self.clients = clients;
    }

    fn evicted(&self) -> u64 {
        self.networks.evicted + self.zones.evicted + self.clients.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        match look.qtype {
            AXFR if look.packet.transport == Transport::Udp => transfer(look, cases),
            rtype::PTR if look.part != Lookup::Twin => self.sweep(look, cases),
            rtype::TXT if look.message.question.is_some_and(|q| q.qclass == CHAOS) => version(look, cases),
            rtype::A | rtype::AAAA if look.part == Lookup::First => self.cold(look, cases),
            _ => {}
        }
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        match (look.message.rcode(), look.qtype) {
            (REFUSED | NOTAUTH, AXFR | IXFR) => transfer(look, cases),
            (NOERROR, rtype::A | rtype::AAAA) => self.exists(look),
            (NXDOMAIN, _) if look.zone.class == Class::Registered => self.is_absent(look, cases),
            _ => {}
        }
    }
}

const NOERROR: u16 = 0;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;
const NOTAUTH: u16 = 9;

impl Recon {
    fn sweep(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let Some((last, above)) = last_byte(look) else { return };
        let now_ns = look.now_ns();
        let network = self.networks.open((look.client, above), Network::default);
        if now_ns.saturating_sub(network.since_ns) > self.window_ns {
            *network = Network { since_ns: now_ns, ..Network::default() };
        }
        network.last_ns = now_ns;
        let (word, bit) = (usize::from(last >> 6), 1 << (last & 63));
        if network.asked[word] & bit != 0 {
            return;
        }
        network.asked[word] |= bit;
        network.steps += u32::from(network.last.abs_diff(last) == 1);
        network.last = last;
        network.name_bytes += look.name.wire().len() as u64;
        let (count, steps) = (network.count(), network.steps);
        let in_order = steps * 100 >= count * IN_ORDER_PERCENT;
        let bound =
            if in_order { self.sweep_addresses / IN_ORDER_SHARE } else { self.sweep_addresses }.max(2);
        if count < bound {
            return;
        }
        let zone =
            if look.zone.class == Class::Reverse4 { look.zone_wire() } else { look.name.suffix(V6_ABOVE) };
        let window_s = self.window_ns / 1_000_000_000;
        raise(look, cases, "swept_addresses", count, bound, (network.since_ns, network.name_bytes), &|| {
            Said {
                does: format!(
                    "asks for the names of neighbouring addresses: {count} in {}",
                    canonical::text(zone)
                ),
                observed: format!("{count} of 256 neighbouring addresses, {steps} next to the one before"),
                baseline: format!("{bound} of them in {window_s} s; visitors in a log come from everywhere"),
                counterfactual: format!(
                    "Had it asked for fewer than {bound} addresses of one such network within {window_s} s, there would \
                 be no finding."
                ),
                ..Said::default()
            }
        });
    }

    /// Names that exist, of a zone that others were missing in.
    fn exists(&mut self, look: &Look<'_>) {
        if let Some(names) = self.zones.find((look.client, look.zone_hash))
            && names.seen.is_new(look.name_hash)
        {
            names.existing += 1;
        }
    }

    fn is_absent(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if !is_guess(look) {
            return;
        }
        let now_ns = look.now_ns();
        let names = self.zones.open((look.client, look.zone_hash), Names::default);
        if now_ns.saturating_sub(names.since_ns) > self.window_ns {
            *names = Names { since_ns: now_ns, ..Names::default() };
        }
        names.last_ns = now_ns;
        // Numbered hosts that are gone are one guess.
        let unnumbered = look.sub_wire().iter().filter(|byte| !byte.is_ascii_digit());
        if !names.seen.is_new(unnumbered.fold(look.zone_hash, |hash, byte| mixed(hash, *byte))) {
            return;
        }
        names.absent += 1;
        names.name_bytes += look.name.wire().len() as u64;
        let (absent, existing, bound) = (names.absent, names.existing, self.enumeration_names);
        if absent < bound || existing * 100 > (absent + existing) * EXISTING_PERCENT {
            return;
        }
        let zone = look.zone_wire();
        let window_s = self.window_ns / 1_000_000_000;
        raise(look, cases, "guessed_names", absent, bound, (names.since_ns, names.name_bytes), &|| Said {
            does: format!("tries out which names {} has: {absent} that do not exist", canonical::text(zone)),
            observed: format!("{absent} plausible names that do not exist, {existing} that do"),
            baseline: format!("{bound} in {window_s} s; programs ask for names that they were told"),
            counterfactual: format!(
                "Had fewer than {bound} of these names been missing within {window_s} s, or more than \
                 {EXISTING_PERCENT} % of them existed, there would be no finding."
            ),
            samples: vec![look.name.to_string()],
            ..Said::default()
        });
    }

    fn cold(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.role.asks_for_others() || look.zone.class != Class::Registered {
            return;
        }
        let now_ns = look.now_ns();
        let cold = self.clients.open(look.client, Cold::default);
        if !cold.seen.is_new(look.name_hash) || !is_plausible(look.name.label(0)) {
            return;
        }
        if now_ns.saturating_sub(cold.since_ns) > MINUTE_NS {
            (cold.since_ns, cold.names, cold.name_bytes) = (now_ns, 0, 0);
            cold.zones = Few::default();
        }
        cold.last_ns = now_ns;
        cold.zones.add(look.zone_hash);
        cold.names += 1;
        cold.name_bytes += look.name.wire().len() as u64;
        let (count, bound) = (cold.names, self.cold_names);
        if count < bound || cold.zones.count() > COLD_ZONES {
            return;
        }
        raise(look, cases, "cold_names", count, bound, (cold.since_ns, cold.name_bytes), &|| Said {
            does: format!(
                "asks for {} names within a minute that it never asked for before",
                thousands(count.into())
            ),
            observed: format!("{count} plausible names of few zones that were new to it, within a minute"),
            baseline: format!("{bound}, from what is no crawler, mail server, resolver or gateway"),
            counterfactual: format!(
                "Had it asked for fewer than {bound} new names within a minute, there would be no finding."
            ),
            samples: vec![look.name.to_string()],
            ..Said::default()
        });
    }
}

fn transfer(look: &Look<'_>, cases: &mut Cases<'_, '_>) {
    let (_, server) = look.packet.client_server();
    raise(look, cases, "zone_transfer", 1, 1, (look.now_ns(), look.name.wire().len() as u64), &|| Said {
        does: format!("tries to copy the whole zone {} from {}", look.name, server.ip()),
        observed: if look.packet.transport == Transport::Udp {
            "a transfer over UDP, which no server gives".to_owned()
        } else {
            "a transfer that the server refused".to_owned()
        },
        baseline: "transfers of servers that are let in".to_owned(),
        counterfactual: "Had the server let it have the zone, there would be no finding.".to_owned(),
        samples: vec![look.name.to_string()],
        ..Said::default()
    });
}

fn version(look: &Look<'_>, cases: &mut Cases<'_, '_>) {
    // `id.server` and `hostname.bind` (RFC 4892) tell one server of many from the next: for monitors.
    if look.name.labels() != 2 || matches!(look.name.label(0), b"id" | b"hostname") {
        return;
    }
    let (_, server) = look.packet.client_server();
    raise(look, cases, "server_version", 1, 1, (look.now_ns(), look.name.wire().len() as u64), &|| Said {
        does: format!("asks {} what software it runs", server.ip()),
        observed: format!("{} in class CHAOS", look.name),
        baseline: "no such question: resolving needs no version".to_owned(),
        counterfactual:
            "Had it asked for nothing but the server's identity in class CHAOS, there would be no finding."
                .to_owned(),
        samples: vec![look.name.to_string()],
        ..Said::default()
    });
}

fn raise(
    look: &Look<'_>,
    cases: &mut Cases<'_, '_>,
    name: &'static str,
    count: u32,
    bound: u32,
    (first_ns, name_bytes): (u64, u64),
    say: &dyn Fn() -> Said,
) {
    cases.raise(&Signal {
        rule: Recon::RULE,
        case: Case::client(look.client, Recon::RULE),
        zone: &[],
        class: Class::None,
        family: family::SHAPE,
        name,
        weight: f64::from(count) / f64::from(bound),
        figures: Figures {
            first_ns,
            queries: u64::from(count),
            responses: 0,
            name_bytes,
            up: Bounds::default(),
            down: Bounds::default(),
        },
        quiet_s: 3600,
        say,
    });
}

/// Labels of an IPv6 reverse name without its last two digits.
const V6_ABOVE: usize = 32;

/// The last byte of a reversed address, and a hash of what is above it.
fn last_byte(look: &Look<'_>) -> Option<(u8, u64)> {
    let name = look.name;
    match look.zone.class {
        Class::Reverse4 if name.labels() == 6 => {
            let digits = std::str::from_utf8(name.label(0)).ok()?;
            Some((digits.parse().ok()?, look.zone_hash))
        }
        Class::Reverse6 if name.labels() == V6_ABOVE + 2 => {
            let digit = |index| match name.label(index) {
                [digit] => char::from(*digit).to_digit(16),
                _ => None,
            };
            let byte = digit(1)? << 4 | digit(0)?;
            let above = name.suffix(V6_ABOVE);
            Some((byte as u8, above.iter().fold(look.zone_hash, |hash, byte| mixed(hash, *byte))))
        }
        _ => None,
    }
}

/// A hash that is keyed by what it starts from.
fn mixed(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// Whether a missing name looks like one that somebody tries: one or two short, plausible labels, which are no name of
/// another zone with a search list's suffix behind it.
fn is_guess(look: &Look<'_>) -> bool {
    let labels = look.name.labels() - look.zone.labels;
    match labels {
        1 => is_plausible(look.name.label(0)),
        2 => {
            is_plausible(look.name.label(0))
                && is_plausible(look.name.label(1))
                && !Zone::is_registrable(&canonical::Canonical::from_labels(canonical::labels(
                    look.sub_wire(),
                )))
        }
        _ => false,
    }
}

/// Whether somebody may have thought of a label.
fn is_plausible(label: &[u8]) -> bool {
    let digits = label.iter().filter(|byte| byte.is_ascii_digit()).count();
    label.len() <= LONGEST
        && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && digits * 2 <= label.len()
        && (label.len() < SHORTEST || label_cost(label) <= label_cost_at_random(label))
}

#[cfg(test)]
mod tests;
