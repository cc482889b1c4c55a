//! What part a client plays in the network, learned from what it asks and who asks it.
//!
//! A detector that judges a whole client (not a client and zone) asks this first, since many hosts speak through a
//! resolver or a gateway, and a mail server or crawler looks up names that it did not choose. A role only switches what
//! such a detector looks at: it never raises a bound of a (client, zone).
//!
//! | role | learned from, within a window |
//! |---|---|
//! | resolver | asks servers without asking for recursion, or is itself asked by others, and asks for many zones |
//! | mail server | three of MX, reversed addresses, DNSBL forms and TXT, each often |
//! | NAT | its queries are made in many manners (EDNS, flags), each often |
//! | crawler | many zones that exist, few look-ups in each |
//!
//! Only zones that answered count, so that a burst of NXDOMAIN makes nobody a crawler. Limits: hosts of one build behind a
//! NAT look like one host; several containers with stubs of their own look like a NAT; a role is known once there is
//! enough to learn it from, and kept for the window after it last held.

use super::Look;
use super::table::{Remembered, Table};
use crate::config::Config;
use crate::dns::{canonical, rtype};
use crate::zone::Class;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// One machine, or one program, as far as can be told.
    #[default]
    Host,
    Resolver,
    MailServer,
    Nat,
    Crawler,
}

impl Role {
    /// Many clients speak through it: what it asks is nobody's in particular.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Resolver | Self::Nat)
    }

    /// Others choose what it asks for: senders of mail, links on pages, its own clients.
    pub fn asks_for_others(self) -> bool {
        self != Self::Host
    }
}

/// Roles by client key.
#[derive(Debug)]
pub struct Roles {
    window_ns: u64,
    crawler_zones: u32,
    resolver_zones: u32,
    mail_lookups: u32,
    manners: usize,
    table: Table<u64, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    since_ns: u64,
    last_ns: u64,
    counts: Counts,
    role: Role,
    /// The role held in the window before this one.
    before: Role,
}

/// Of one window.
#[derive(Debug, Default)]
struct Counts {
    lookups: u32,
    /// Zones with a name that exists.
    zones: Bits<8>,
    /// Servers asked without asking for recursion.
    servers: Bits<2>,
    /// Clients that asked this one.
    askers: Bits<2>,
    /// MX, reversed address, DNSBL form, TXT.
    mail: [u32; 4],
    /// How queries are made, and how often so.
    manners: [(u16, u32); 8],
}

/// Counts distinct hashes up to about five times its bits, by how many bits stay clear (linear counting, Whang et al.,
/// TODS 1990).
#[derive(Clone, Copy, Debug)]
struct Bits<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Default for Bits<WORDS> {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl<const WORDS: usize> Bits<WORDS> {
    fn add(&mut self, hash: u64) {
        let bit = (hash >> 32) as usize % (WORDS * 64);
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    #[expect(clippy::cast_sign_loss, reason = "clear bits are at most all bits")]
    fn count(&self) -> u32 {
        let bits = (WORDS * 64) as f64;
        let clear = bits - self.0.iter().map(|word| f64::from(word.count_ones())).sum::<f64>();
        (bits * (bits / clear.max(1.0)).ln()).round() as u32
    }
}

impl Remembered for Seen {
    /// A flood of new clients must not make those with a role forgotten.
    fn worth(&self) -> (u64, u64) {
        let known = self.role != Role::Host || self.before != Role::Host;
        (if known { u64::MAX } else { u64::from(self.counts.lookups) }, self.last_ns)
    }
}

/// Messages between two looks at what a client has become.
const LOOK_EVERY: u32 = 16;
/// Servers asked without recursion that make a resolver: `dig +trace` asks four.
const ITERATIVE_SERVERS: u32 = 8;
/// Queries in each manner that count as another host's, one of so many and at least so many.
const MANNER_SHARE: u32 = 32;
const MANNER_MIN: u32 = 8;
/// Look-ups for each zone at most, of a crawler: a page, its redirect, its twins.
const CRAWLER_DEPTH: u32 = 8;

impl Roles {
    /// Takes other thresholds; what was learned stays.
    pub fn retune(&mut self, config: &Config) {
        let Self { table, .. } = std::mem::replace(self, Self::new(config));
        self.table = table;
    }

    pub fn new(config: &Config) -> Self {
        let settings = &config.roles;
        Self {
            window_ns: settings.window_s * 1_000_000_000,
            crawler_zones: settings.crawler_zones as u32,
            resolver_zones: settings.resolver_zones as u32,
            mail_lookups: settings.mail_lookups as u32,
            manners: settings.nat_manners as usize,
            table: Table::new(settings.max_keys as usize),
        }
    }

    pub fn worst_case_bytes(config: &Config) -> usize {
        Table::<u64, Seen>::bytes(config.roles.max_keys as usize)
    }

    pub fn evicted(&self) -> u64 {
        self.table.evicted
    }

    /// The role of a client, by its key; of a host if nothing is known of it.
    pub fn of(&mut self, client: u64) -> Role {
        self.table.find(client).map_or(Role::Host, |seen| seen.role())
    }

    /// Takes a query to `server` (the key of its address); returns the role of who sent it, before it and from here on.
    pub fn query(&mut self, look: &Look<'_>, server: u64) -> [Role; 2] {
        let now_ns = look.now_ns();
        if let Some(asked) = self.table.find(server) {
            asked.counts.askers.add(look.client);
        }
        let window_ns = self.window_ns;
        let seen = self.table.open(look.client, || Seen { since_ns: now_ns, ..Seen::default() });
        let before = seen.role();
        seen.roll(now_ns, window_ns);
        let counts = &mut seen.counts;
        counts.lookups = counts.lookups.saturating_add(1);
        if look.message.header.flags & RECURSION_DESIRED == 0 {
            counts.servers.add(server);
        }
        if let Some(kind) = mail(look) {
            counts.mail[kind] += 1;
        }
        let manner = manner(look);
        let slot = counts.manners.iter_mut().find(|(known, count)| *known == manner || *count == 0);
        if let Some((known, count)) = slot {
            (*known, *count) = (manner, *count + 1);
        }
        let role = seen.role();
        if seen.counts.lookups.is_multiple_of(LOOK_EVERY) {
            self.judge(look.client);
            return [before, self.of(look.client)];
        }
        [before, role]
    }

    /// Takes the answer to a client's query; returns its role.
    pub fn response(&mut self, look: &Look<'_>) -> Role {
        let Some(seen) = self.table.find(look.client) else { return Role::Host };
        let has_answer = look.message.header.counts[1] > 0 && look.message.header.rcode() == 0;
        if has_answer && look.zone.class == Class::Registered {
            seen.counts.zones.add(look.zone_hash);
        }
        seen.role()
    }

    fn judge(&mut self, client: u64) {
        let Some(seen) = self.table.find(client) else { return };
        let counts = &seen.counts;
        let zones = counts.zones.count();
        let often = counts.mail.iter().filter(|count| **count >= self.mail_lookups).count();
        let least = (counts.lookups / MANNER_SHARE).max(MANNER_MIN);
        let manners = counts.manners.iter().filter(|(_, count)| *count >= least).count();
        let asks_on = counts.servers.count() >= ITERATIVE_SERVERS || counts.askers.count() > 0;
        let role = if asks_on && zones >= self.resolver_zones {
            Role::Resolver
        } else if often >= 3 {
            Role::MailServer
        } else if manners >= self.manners {
            Role::Nat
        } else if zones >= self.crawler_zones && counts.lookups / zones.max(1) <= CRAWLER_DEPTH {
            Role::Crawler
        } else {
            seen.role
        };
        seen.role = role;
    }
}

impl Seen {
    fn role(&self) -> Role {
        if self.role == Role::Host { self.before } else { self.role }
    }

    fn roll(&mut self, now_ns: u64, window_ns: u64) {
        self.last_ns = self.last_ns.max(now_ns);
        let age_ns = now_ns.abs_diff(self.since_ns);
        if age_ns > window_ns {
            self.before = if age_ns > 2 * window_ns { Role::Host } else { self.role };
            (self.since_ns, self.last_ns) = (now_ns, now_ns);
            (self.counts, self.role) = (Counts::default(), Role::Host);
        }
    }
}

const RECURSION_DESIRED: u16 = 0x0100;

/// Which of a mail server's four kinds of look-up this is.
fn mail(look: &Look<'_>) -> Option<usize> {
    match (look.zone.class, look.qtype) {
        (_, rtype::MX) => Some(0),
        (Class::Reverse4 | Class::Reverse6, _) => Some(1),
        (_, rtype::A | rtype::TXT) if is_dnsbl(look.sub_wire()) => Some(2),
        (_, rtype::TXT) => Some(3),
        _ => None,
    }
}

/// Four octets, or 32 nibbles, before a zone (RFC 5782 section 2).
fn is_dnsbl(sub: &[u8]) -> bool {
    let octet = |label: &[u8]| label.len() <= 3 && label.iter().all(u8::is_ascii_digit);
    let nibble = |label: &[u8]| label.len() == 1 && label[0].is_ascii_hexdigit();
    let labels = || canonical::labels(sub);
    (labels().take(4).filter(|label| octet(label)).count() == 4)
        || (sub.len() >= 64 && labels().take(32).all(nibble))
}

/// What stays the same in the queries of one stub resolver: flags, and EDNS's size, bits and option codes.
fn manner(look: &Look<'_>) -> u16 {
    let message = look.message;
    let flags = message.header.flags & 0x01f0;
    let edns = message.edns.map_or(0, |edns| {
        let options = edns.options().fold(1_u16, |sum, (code, _)| sum.rotate_left(3) ^ code);
        edns.udp_size ^ (edns.flags >> 3) ^ options.rotate_left(7) ^ 0x5000
    });
    flags ^ edns.rotate_left(1)
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;
    use crate::pipeline::bench::{Answer, Bench};

    const OK: &[Answer<'_>] = &[(1, 300, &[192, 0, 2, 1])];

    #[test]
    fn an_ordinary_host_has_no_role() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..2000 {
            bench.wait(1.0);
            bench.look_up("10.0.0.2", &format!("www.site{}.example", n % 100), 1, 0, OK);
        }
        assert_eq!(bench.role("10.0.0.2"), Role::Host);
    }

    #[test]
    fn who_walks_a_list_of_zones_is_a_crawler_but_not_who_guesses_them() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..1000 {
            bench.wait(1.0);
            bench.look_up("10.0.0.2", &format!("www.site{n}.com"), 1, 0, OK);
            bench.look_up("10.0.0.3", &format!("www.site{n}.com"), 1, 3, &[]);
        }
        assert_eq!(bench.role("10.0.0.2"), Role::Crawler);
        assert_eq!(bench.role("10.0.0.3"), Role::Host);
        bench.wait(9000.0);
        bench.look_up("10.0.0.2", "www.example.com", 1, 0, OK);
        assert_eq!(bench.role("10.0.0.2"), Role::Host, "a role ends");
    }

    #[test]
    fn who_is_asked_and_asks_on_is_a_resolver() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..100 {
            bench.wait(1.0);
            bench.look_up("10.9.9.9", &format!("www.site{n}.com"), 1, 0, OK);
            bench.look_up("10.0.0.2", &format!("www.site{n}.com"), 1, 0, OK);
        }
        assert_eq!(bench.role("10.9.9.9"), Role::Resolver);
        assert_eq!(bench.role("10.0.0.2"), Role::Host);
    }

    #[test]
    fn a_mail_server_asks_for_exchangers_senders_and_lists() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..40 {
            bench.wait(1.0);
            bench.look_up("10.0.0.2", &format!("site{n}.com"), 15, 0, &[]);
            bench.look_up("10.0.0.2", &format!("{n}.2.0.192.in-addr.arpa"), 12, 0, &[]);
            bench.look_up("10.0.0.2", &format!("{n}.2.0.192.list.example"), 1, 3, &[]);
            bench.look_up("10.0.0.3", &format!("{n}.2.0.192.in-addr.arpa"), 12, 0, &[]);
        }
        assert_eq!(bench.role("10.0.0.2"), Role::MailServer);
        assert_eq!(bench.role("10.0.0.3"), Role::Host);
    }

    #[test]
    fn an_address_that_asks_in_many_manners_is_many_hosts() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..400_u16 {
            bench.wait(1.0);
            let flags = [0x0100, 0x0120, 0x0110, 0x0130][usize::from(n % 4)];
            let bytes =
                crate::pipeline::bench::message(n, flags, &format!("www.site{}.example", n % 50), 1, &[]);
            bench.packet("10.0.0.2", &bytes, true);
        }
        assert_eq!(bench.role("10.0.0.2"), Role::Nat);
    }

    /// Over 200 sets of each size: the error's root mean square is that of the paper, and it leans to no side.
    #[test]
    fn distinct_hashes_are_counted_within_the_error() {
        for real in [10_u64, 100, 500, 1500] {
            let counted = |set: u64| {
                let mut bits = Bits::<8>::default();
                let seed = foldhash::quality::FixedState::with_seed(set);
                (0..real).for_each(|n| bits.add(seed.hash_one(n)));
                f64::from(bits.count()) - real as f64
            };
            let (size, load) = (512.0, real as f64 / 512.0);
            let expected = (size * (load.exp() - load - 1.0)).sqrt();
            let errors: Vec<f64> = (0..200).map(counted).collect();
            let mean = errors.iter().sum::<f64>() / 200.0;
            let rms = (errors.iter().map(|error| error * error).sum::<f64>() / 200.0).sqrt();
            // A count is a whole number, which is off by a third of one by itself.
            assert!(rms <= expected * 1.25 + 0.3, "{real}: {rms:.2}, expected {expected:.2}");
            assert!(
                mean.abs() <= expected * 0.3 + 0.3,
                "{real}: {mean:.2} on average, expected {expected:.2}"
            );
        }
    }
}
