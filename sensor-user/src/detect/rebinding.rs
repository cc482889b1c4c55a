//! DNS rebinding: a name that led outside leads inside the network a moment later, so that a page of the outside may talk
//! to what is inside.
//!
//! Names that always lead inside are honest: of routers, of media servers in living rooms, split horizons, block lists
//! (127.0.0.x, under reversed addresses). So are names that move once, when a laptop changes its network, since their TTL
//! lets them stay where they were, and another server says so. What is not: outside with a TTL that lets nobody keep it,
//! then inside, from the same server. A portal or a filter that begins to answer for everything with its own address does
//! that to names of many zones at once: an address that several zones moved to says nothing, and one move alone is no more
//! than of interest.

use std::net::IpAddr;

use super::addresses::{addresses, is_inside, print};
use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::rtype;
use crate::finding::Bounds;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct Rebinding {
    ttl_threshold: u32,
    window_ns: u64,
    /// Names that led outside, by the low bits of their hashes.
    outside: Vec<Outside>,
    flips: Table<(u64, u64), Flips>,
    /// Where names moved to of late, and of which zone.
    targets: [(u64, u64); TARGETS],
    next_target: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outside {
    name: u32,
    /// Hash of the server that said so.
    server: u32,
    time_ns: u64,
    ttl: u32,
}

/// One client and zone.
#[derive(Debug, Default)]
struct Flips {
    first_ns: u64,
    last_ns: u64,
    /// From outside to inside.
    moves: u32,
}

impl Remembered for Flips {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.moves), self.last_ns)
    }
}

/// Names that led outside are remembered in so many places.
const OUTSIDE: usize = 4096;
const TARGETS: usize = 32;
/// Zones that moved to one address from which on it is a portal's or a filter's.
const PORTAL_ZONES: usize = 3;
/// Moves in one zone that are no accident.
const AGAIN: u32 = 2;

impl Rebinding {
    pub const RULE: &str = "dns-rebinding";

    pub fn new(config: &Config) -> Self {
        let settings = &config.rebinding;
        Self {
            ttl_threshold: settings.ttl_threshold as u32,
            window_ns: settings.window_s * 1_000_000_000,
            outside: vec![Outside::default(); OUTSIDE],
            flips: Table::new(settings.max_keys as usize),
            targets: [(0, 0); TARGETS],
            next_target: 0,
        }
    }
}

impl Detector for Rebinding {
    fn worst_case_bytes(config: &Config) -> usize {
        OUTSIDE * size_of::<Outside>() + Table::<(u64, u64), Flips>::bytes(config.rebinding.max_keys as usize)
    }

    fn retune(&mut self, config: &Config) {
        let Self { outside, flips, targets, next_target, .. } = std::mem::replace(self, Self::new(config));
        self.outside = outside;
        self.flips = flips;
        self.targets = targets;
        self.next_target = next_target;
    }

    fn evicted(&self) -> u64 {
        self.flips.evicted
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.message.header.counts[1] == 0
            || !matches!(look.qtype, rtype::A | rtype::AAAA)
            || look.zone.class != Class::Registered
        {
            return;
        }
        let mut out = None;
        let mut inside = None;
        for (ip, ttl) in addresses(look.message) {
            if is_nowhere(ip) {
                continue;
            }
            if is_inside(ip) {
                inside = Some((ip, ttl));
            } else {
                out = Some((ip, ttl));
            }
        }
        match (out, inside) {
            // Both at once: browsers try the one outside, then the other. One in 2,000 sites publishes what was meant for
            // its own network, but for longer.
            (Some(_), Some((ip, ttl))) if ttl <= self.ttl_threshold => self.flip(look, ip, None, cases),
            (Some((_, ttl)), None) if ttl <= self.ttl_threshold => self.note(look, ttl),
            (None, Some((ip, _))) => self.moved(look, ip, cases),
            _ => {}
        }
    }
}

/// An address of "this network" (RFC 1122 section 3.2.1.3) that no host has: filters answer with it. 0.0.0.0 itself reaches
/// the host that connects to it on some systems.
fn is_nowhere(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0 && !ip.is_unspecified())
}

impl Rebinding {
    fn slot(&mut self, look: &Look<'_>) -> (&mut Outside, u32, u32) {
        let (_, server) = look.packet.client_server();
        let server = print(server.ip()) as u32;
        let hash = look.name_hash ^ look.client.rotate_left(17);
        (&mut self.outside[hash as usize % OUTSIDE], (hash >> 32) as u32, server)
    }

    fn note(&mut self, look: &Look<'_>, ttl: u32) {
        let now_ns = look.now_ns();
        let (slot, name, server) = self.slot(look);
        *slot = Outside { name, server, time_ns: now_ns, ttl };
    }

    fn moved(&mut self, look: &Look<'_>, ip: IpAddr, cases: &mut Cases<'_, '_>) {
        let now_ns = look.now_ns();
        let window_ns = self.window_ns;
        let (slot, name, server) = self.slot(look);
        let Outside { time_ns, ttl, .. } = *slot;
        let age_ns = now_ns.saturating_sub(time_ns);
        if (slot.name, slot.server) != (name, server) || time_ns == 0 || age_ns > window_ns {
            return;
        }
        *slot = Outside::default();
        self.flip(look, ip, Some((age_ns / 1_000_000_000, ttl)), cases);
    }

    /// `after`: seconds since the name led outside, and the TTL it had there.
    fn flip(&mut self, look: &Look<'_>, ip: IpAddr, after: Option<(u64, u32)>, cases: &mut Cases<'_, '_>) {
        if self.is_portal(ip, look.zone_hash) {
            return;
        }
        let now_ns = look.now_ns();
        let flips = self.flips.open((look.client, look.zone_hash), Flips::default);
        if flips.first_ns == 0 {
            flips.first_ns = now_ns;
        }
        flips.last_ns = now_ns;
        flips.moves += u32::from(after.is_some());
        let (first_ns, moves) = (flips.first_ns, flips.moves);
        let again = after.is_some() && moves >= AGAIN;
        let window_s = self.window_ns / 1_000_000_000;
        let ttl_threshold = self.ttl_threshold;
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case { key: look.key(), rule: Self::RULE },
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::RESPONSE,
            name: if again { "moved_inside_again" } else { "moved_inside" },
            weight: if again { f64::from(moves) / f64::from(AGAIN) } else { 1.0 },
            figures: Figures {
                first_ns,
                queries: u64::from(moves.max(1)),
                responses: u64::from(moves.max(1)),
                name_bytes: 0,
                up: Bounds::default(),
                down: Bounds::default(),
            },
            quiet_s: 3600,
            say: &|| Said {
                does: format!("is led inside its network by {}, a name of the outside: to {ip}", look.name),
                observed: match after {
                    None => format!("one answer with addresses outside and inside ({ip})"),
                    Some((seconds, ttl)) => format!(
                        "inside ({ip}), {seconds} s after the same server said outside with a TTL of {ttl} s; {moves} such \
                         moves in this zone"
                    ),
                },
                baseline: format!(
                    "names stay outside or inside for {window_s} s; one that moves has a TTL over {ttl_threshold} s"
                ),
                counterfactual: format!(
                    "Had the name not led outside within the {window_s} s before, or had {PORTAL_ZONES} zones moved to \
                     this address, there would be no finding."
                ),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }

    /// Notes where a zone moved to; whether others did too.
    fn is_portal(&mut self, ip: IpAddr, zone: u64) -> bool {
        let target = (print(ip) | 1, zone);
        if !self.targets.contains(&target) {
            self.targets[self.next_target] = target;
            self.next_target = (self.next_target + 1) % TARGETS;
        }
        self.targets.iter().filter(|(address, _)| *address == target.0).count() >= PORTAL_ZONES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use crate::pipeline::bench::Bench;

    const OUT: &[u8] = &[198, 51, 100, 7];
    const IN: &[u8] = &[192, 168, 1, 1];

    fn bench() -> Bench {
        Bench::new(&Config::default())
    }

    #[test]
    fn a_name_that_moves_inside_is_found_once() {
        let mut bench = bench();
        for ip in [OUT, IN, IN, OUT, IN] {
            bench.wait(3.0);
            bench.look_up("10.0.0.2", "s-1.example.com", 1, 0, &[(1, 1, ip)]);
        }
        bench.finish();
        let created = bench.created_by(Rebinding::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!(created[0].severity, Severity::Low);
        assert_eq!(bench.found.last().unwrap().severity, Severity::Medium, "it moved twice");
        assert_eq!(created[0].zone.as_deref(), Some("example.com"));
    }

    #[test]
    fn both_in_one_answer_are_found() {
        let mut bench = bench();
        bench.look_up("10.0.0.3", "meant-for-us.example.com", 1, 0, &[(1, 300, OUT), (1, 300, IN)]);
        bench.look_up("10.0.0.2", "s-1.example.com", 1, 0, &[(1, 1, OUT), (1, 1, IN)]);
        assert_eq!(bench.created_by(Rebinding::RULE).len(), 1);
    }

    #[test]
    fn what_stays_inside_or_moves_for_good_is_left_alone() {
        let mut bench = bench();
        for n in 0..50 {
            bench.wait(20.0);
            // A router, a media server, a block list.
            bench.look_up("10.0.0.2", "router.example.com", 1, 0, &[(1, 1, IN)]);
            let home = format!("192-168-1-{n}.0123abcd.example.net");
            bench.look_up("10.0.0.2", &home, 1, 0, &[(1, 60, &[192, 168, 1, n])]);
            let listed = format!("{n}.2.0.192.list.example.org");
            bench.look_up(
                "10.0.0.3",
                &listed,
                1,
                if n % 2 == 0 { 3 } else { 0 },
                &[(1, 60, &[127, 0, 0, 2])],
            );
            // A laptop comes back into the office: the TTL was long.
            let ip = if n < 25 { OUT } else { IN };
            bench.look_up("10.0.0.4", "files.example.edu", 1, 0, &[(1, 300, ip)]);
        }
        bench.finish();
        assert!(bench.created_by(Rebinding::RULE).is_empty(), "{:#?}", bench.found);
    }

    /// A filter that begins to block a name answers with an address of "this network"; `0.0.0.0` reaches a host.
    #[test]
    fn a_sinkhole_leads_nowhere_and_the_unspecified_address_inside() {
        for (ip, created) in [([0, 0, 0, 1], 0), ([0, 9, 9, 9], 0), ([0, 0, 0, 0], 1)] {
            let mut bench = bench();
            for led in [OUT, &ip] {
                bench.wait(5.0);
                bench.look_up("10.0.0.2", "a.example.com", 1, 0, &[(1, 1, led)]);
            }
            bench.finish();
            assert_eq!(bench.created_by(Rebinding::RULE).len(), created, "{ip:?} {:#?}", bench.found);
        }
    }

    #[test]
    fn a_portal_that_answers_for_all_is_told_of_twice_at_most() {
        let mut bench = bench();
        for ip in [OUT, IN] {
            for zone in 0..40 {
                bench.wait(0.5);
                bench.look_up("10.0.0.2", &format!("www.site{zone}.com"), 1, 0, &[(1, 10, ip)]);
            }
        }
        let created = bench.created_by(Rebinding::RULE);
        assert!(created.len() < PORTAL_ZONES, "{:#?}", bench.found);
        assert!(bench.found.iter().all(|finding| finding.severity == Severity::Low));
    }
}
