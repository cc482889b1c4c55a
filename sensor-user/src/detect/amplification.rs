//! Amplification: small questions in somebody else's name, for large answers to him; and servers that anybody can do it
//! with.
//!
//! - *Reflection*: one client seems to ask for one name over and over, over UDP, and each answer is many times the size of
//!   its question; or such answers come to a client that never asked. Clients keep what they have been told, and failing
//!   devices that do not are answered in few bytes.
//! - *Open resolver*: a server of the inside, or this host, that resolves (RA) for outside clients of many networks.
//!   Authoritative servers answer everybody too, but do not offer recursion.
//!
//! Limit: a live sensor does not count answers that nobody asked for.

use super::addresses::{Few, is_inside, network, print};
use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::names;
use crate::event::{Transport, View};
use crate::finding::Bounds;
use crate::logged::Lookup;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct Amplification {
    queries: u64,
    ratio: u64,
    outside_networks: u32,
    window_ns: u64,
    clients: Table<u64, Asked>,
    servers: Table<u64, Served>,
}

/// What a client asks most, within a window.
#[derive(Debug, Default)]
struct Asked {
    since_ns: u64,
    last_ns: u64,
    /// Name and type, and how often it was asked for more than all others (Boyer and Moore 1991).
    name: u64,
    votes: u64,
    queries: u64,
    query_bytes: u64,
    responses: u64,
    unasked: u64,
    response_bytes: u64,
}

/// Whom a server of the inside has resolved for.
#[derive(Debug, Default)]
struct Served {
    first_ns: u64,
    last_ns: u64,
    answers: u64,
    networks: Few,
}

impl Remembered for Asked {
    fn worth(&self) -> (u64, u64) {
        (self.votes, self.last_ns)
    }
}

impl Remembered for Served {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.networks.count()), self.last_ns)
    }
}

/// Bytes of an answer that nobody asked for, on average at least.
const LARGE_BYTES: u64 = 400;
/// Servers remembered.
const SERVERS: usize = 64;
const RA: u16 = 0x0080;

impl Amplification {
    pub const RULE: &str = "dns-amplification";

    pub fn new(config: &Config) -> Self {
        let settings = &config.amplification;
        Self {
            queries: settings.queries,
            ratio: settings.ratio,
            outside_networks: settings.outside_networks as u32,
            window_ns: settings.window_s * 1_000_000_000,
            clients: Table::new(settings.max_keys as usize),
            servers: Table::new(SERVERS),
        }
    }
}

impl Detector for Amplification {
    fn worst_case_bytes(config: &Config) -> usize {
        Table::<u64, Asked>::bytes(config.amplification.max_keys as usize)
            + Table::<u64, Served>::bytes(SERVERS)
    }

    fn retune(&mut self, config: &Config) {
        let Self { clients, servers, .. } = std::mem::replace(self, Self::new(config));
        self.clients = clients;
        self.servers = servers;
    }

    fn evicted(&self) -> u64 {
        self.clients.evicted + self.servers.evicted
    }

    fn query(&mut self, look: &Look<'_>, _: &mut Cases<'_, '_>) {
        // Of a response without its query, the pipeline also takes the question.
        if look.packet.transport != Transport::Udp || look.message.header.is_response() {
            return;
        }
        let asked = self.asked(look);
        if asked.vote(look) {
            asked.queries += 1;
            asked.query_bytes += u64::from(look.packet.true_len);
        }
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.packet.transport != Transport::Udp {
            return;
        }
        if look.message.header.flags & RA != 0 && look.message.header.counts[1] > 0 {
            self.resolved(look, cases);
        }
        let unasked = look.part == Lookup::Unsolicited;
        let asked = self.asked(look);
        if unasked {
            if !asked.vote(look) {
                return;
            }
            asked.unasked += 1;
        } else if asked.name != name_of(look) {
            return;
        }
        asked.responses += 1;
        asked.response_bytes += u64::from(look.packet.true_len);
        if asked.votes >= self.queries {
            self.judge(look, cases);
        }
    }
}

fn name_of(look: &Look<'_>) -> u64 {
    look.name_hash ^ u64::from(look.qtype)
}

impl Asked {
    /// Whether it is what the client asks most, as far as can be told.
    fn vote(&mut self, look: &Look<'_>) -> bool {
        let name = name_of(look);
        if self.name == name {
            self.votes += 1;
            return true;
        }
        if self.votes > 0 {
            self.votes -= 1;
            return false;
        }
        *self = Self { since_ns: self.since_ns, last_ns: self.last_ns, name, votes: 1, ..Self::default() };
        true
    }
}

impl Amplification {
    fn asked(&mut self, look: &Look<'_>) -> &mut Asked {
        let now_ns = look.now_ns();
        let asked = self.clients.open(look.client, Asked::default);
        if now_ns.saturating_sub(asked.since_ns) > self.window_ns {
            *asked = Asked { since_ns: now_ns, ..Asked::default() };
        }
        asked.last_ns = now_ns;
        asked
    }

    fn judge(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let Some(asked) = self.clients.find(look.client) else { return };
        let Asked { since_ns, votes, queries, query_bytes, responses, unasked, response_bytes, .. } = *asked;
        let reflected = unasked * 2 > responses;
        let large = if reflected {
            response_bytes >= responses * LARGE_BYTES
        } else {
            response_bytes >= query_bytes * self.ratio
        };
        if !large {
            return;
        }
        let (bound, ratio) = (self.queries, self.ratio);
        let window_s = self.window_ns / 1_000_000_000;
        let seconds = (look.now_ns().saturating_sub(since_ns) / 1_000_000_000).max(1);
        let (_, server) = look.packet.client_server();
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client(look.client, Self::RULE),
            zone: &[],
            class: Class::None,
            family: family::RESPONSE,
            name: if reflected { "unasked_answers" } else { "amplified_answers" },
            weight: votes as f64 / bound as f64,
            figures: Figures {
                first_ns: since_ns,
                queries,
                responses,
                name_bytes: 0,
                up: Bounds::default(),
                down: Bounds { low: 0, high: response_bytes },
            },
            quiet_s: window_s * 10,
            say: &|| Said {
                does: if reflected {
                    "is sent large answers that it never asked for: a reflection attack on it".to_owned()
                } else {
                    format!(
                        "seems to ask {} for one large answer again and again, as who wants to drown that address does",
                        server.ip()
                    )
                },
                observed: format!(
                    "{} {} of {} {}, {} bytes for {} asked, within {seconds} s",
                    thousands(votes),
                    if reflected { "answers without a question" } else { "equal questions" },
                    look.name,
                    names::rtype(look.qtype),
                    thousands(response_bytes),
                    thousands(query_bytes)
                ),
                baseline: format!("{bound} in {window_s} s with answers {ratio} times as large: clients keep answers"),
                counterfactual: format!(
                    "Had it asked fewer than {bound} times within {window_s} s, or had the answers been less than {ratio} \
                     times as large as the questions, there would be no finding."
                ),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }

    /// A server that offers recursion has answered a client.
    fn resolved(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let (client, server) = look.packet.client_server();
        let ours = matches!(look.packet.view, View::HostEgress | View::WireEgress) || is_inside(server.ip());
        if !ours || is_inside(client.ip()) {
            return;
        }
        let key = print(server.ip());
        let served = self.servers.open(key, Served::default);
        if served.first_ns == 0 {
            served.first_ns = look.now_ns();
        }
        served.last_ns = look.now_ns();
        served.answers += 1;
        served.networks.add(u64::from(network(client.ip())).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (networks, bound) = (served.networks.count(), self.outside_networks);
        if networks < bound {
            return;
        }
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::zone(key, Self::RULE),
            zone: &[],
            class: Class::None,
            family: family::POLICY,
            name: "outside_networks",
            weight: f64::from(networks) / f64::from(bound),
            figures: Figures {
                first_ns: served.first_ns,
                queries: served.answers,
                responses: served.answers,
                name_bytes: 0,
                up: Bounds::default(),
                down: Bounds::default(),
            },
            quiet_s: 86_400,
            say: &|| Said {
                does: "is an open resolver: it resolves for clients of the outside".to_owned(),
                observed: format!(
                    "{} answers with recursion offered to clients of {networks} outside networks or more",
                    thousands(served.answers)
                ),
                baseline: format!("clients of fewer than {bound} outside networks"),
                counterfactual: "Had it refused clients of the outside, there would be no finding."
                    .to_owned(),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity};
    use crate::pipeline::bench::{Bench, message};

    const ANY: u16 = 255;
    const LARGE: &[u8] = &[b'x'; 1000];

    #[test]
    fn large_answers_again_and_again_are_found() {
        let mut bench = Bench::new(&Config::default());
        for _ in 0..300 {
            bench.wait(0.05);
            bench.look_up("203.0.113.7", "example.com", ANY, 0, &[(16, 60, LARGE)]);
        }
        bench.finish();
        let created = bench.created_by(Amplification::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!((created[0].severity, created[0].scope), (Severity::Low, Scope::Client));
        assert_eq!(created[0].evidence[0].name, "amplified_answers");
    }

    #[test]
    fn answers_that_nobody_asked_for_are_found() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..300 {
            bench.wait(0.05);
            let bytes = message(n, 0x8180, "example.com", ANY, &[(16, 60, LARGE)]);
            bench.packet("10.0.0.7", &bytes, false);
        }
        let created = bench.created_by(Amplification::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!(created[0].evidence[0].name, "unasked_answers");
    }

    #[test]
    fn who_resolves_for_anybody_is_found() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..40 {
            bench.wait(1.0);
            let client = format!("{}.{n}.113.7", 100 + n % 8);
            bench.look_up(&client, &format!("www.site{n}.com"), 1, 0, &[(1, 60, &[192, 0, 2, 1])]);
        }
        let created = bench.created_by(Amplification::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!((created[0].severity, created[0].scope), (Severity::Low, Scope::Zone));
        assert!(created[0].title.starts_with("10.9.9.9 is an open resolver"), "{}", created[0].title);
    }

    #[test]
    fn honest_repetition_is_left_alone() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..1000 {
            bench.wait(0.1);
            // A device that does not keep answers; a health check of the root; signatures of many zones.
            bench.look_up("10.0.0.2", "gateway.example.com", 1, 0, &[(1, 60, &[192, 0, 2, 1])]);
            bench.look_up("10.0.0.3", &format!("site{n}.com"), 48, 0, &[(48, 60, LARGE)]);
            if n % 10 == 0 {
                bench.look_up("10.0.0.4", "", 2, 0, &[(2, 60, &LARGE[..400])]);
                // One branch office without an address of its own.
                bench.look_up("198.51.100.9", &format!("www.site{n}.com"), 1, 0, &[(1, 60, &[192, 0, 2, 1])]);
            }
        }
        bench.finish();
        assert!(bench.created_by(Amplification::RULE).is_empty(), "{:#?}", bench.found);
    }
}
