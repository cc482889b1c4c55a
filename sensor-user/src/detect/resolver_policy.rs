//! Who asks a resolver that is not approved: direct external DNS, a resolver brought along, recursion of one's own.
//!
//! Off until `approved` names resolvers. Look-ups of other servers are counted per client, apart from stubs on loopback
//! addresses: what those ask on counts as theirs. Approved resolvers may ask whom they like. Low alone: a policy is
//! broken, and why is somebody's to say.

use std::net::IpAddr;

use super::addresses::is_inside;
use super::table::{Remembered, Table};
use super::{Cases, Detector, Look, Role};
use crate::config::Config;
use crate::config::list::Network;
use crate::logged::Lookup;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct ResolverPolicy {
    approved: Vec<Network>,
    min_lookups: u64,
    window_ns: u64,
    clients: Table<u64, Asking>,
}

/// How a policy is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breach {
    /// A server with a public address, asked to resolve.
    External,
    /// Another server of the own network.
    Unapproved,
    /// Servers asked without asking for recursion: it resolves by itself.
    Recursion,
}

/// What one client asked of servers that are not approved.
#[derive(Debug, Default)]
struct Asking {
    since_ns: u64,
    last_ns: u64,
    /// Look-ups within the window, by breach.
    lookups: [u64; 3],
    /// The first servers of each.
    servers: [[Option<IpAddr>; SERVERS]; 3],
    total: Figures,
}

/// Servers named in a finding.
const SERVERS: usize = 3;

impl Remembered for Asking {
    fn worth(&self) -> (u64, u64) {
        (self.total.queries, self.last_ns)
    }
}

impl ResolverPolicy {
    pub const RULE: &str = "dns-resolver-policy";

    pub fn new(config: &Config) -> Self {
        let settings = &config.resolver_policy;
        Self {
            approved: settings.approved.iter().filter_map(|text| Network::parse(text)).collect(),
            min_lookups: settings.min_lookups,
            window_ns: settings.window_s * 1_000_000_000,
            clients: Table::new(settings.max_keys as usize),
        }
    }

    fn breach(&self, look: &Look<'_>) -> Option<(Breach, IpAddr)> {
        let (client, server) = look.packet.client_server();
        let (client, server) = (client.ip().to_canonical(), server.ip().to_canonical());
        let approves = |ip: IpAddr| self.approved.iter().any(|network| network.contains(ip));
        if server.is_loopback() || approves(server) || approves(client) {
            return None;
        }
        let recursion = look.message.header.flags & 0x0100 == 0;
        let breach = match (is_inside(server), recursion) {
            (false, true) => Breach::Recursion,
            (false, false) => Breach::External,
            (true, _) => Breach::Unapproved,
        };
        Some((breach, server))
    }
}

impl Detector for ResolverPolicy {
    fn worst_case_bytes(config: &Config) -> usize {
        let is_on = !config.resolver_policy.approved.is_empty();
        Table::<u64, Asking>::bytes(config.resolver_policy.max_keys as usize) * usize::from(is_on)
    }

    fn retune(&mut self, config: &Config) {
        let Self { clients, .. } = std::mem::replace(self, Self::new(config));
        self.clients = clients;
    }

    fn evicted(&self) -> u64 {
        self.clients.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if self.approved.is_empty() || !matches!(look.part, Lookup::First | Lookup::Forwarded) {
            return;
        }
        let Some((breach, server)) = self.breach(look) else { return };
        let now_ns = look.now_ns();
        let asking = self.clients.open(look.client, Asking::default);
        if asking.total.first_ns == 0 || now_ns.abs_diff(asking.since_ns) > self.window_ns {
            let total = Figures { first_ns: now_ns, ..asking.total };
            let total = if asking.total.first_ns == 0 { total } else { asking.total };
            *asking = Asking { since_ns: now_ns, total, ..Asking::default() };
        }
        asking.last_ns = now_ns;
        asking.total.queries += 1;
        let at = breach as usize;
        asking.lookups[at] += 1;
        let servers = &mut asking.servers[at];
        if !servers.contains(&Some(server))
            && let Some(slot) = servers.iter_mut().find(|slot| slot.is_none())
        {
            *slot = Some(server);
        }
        let (count, least) = (asking.lookups[at], self.min_lookups);
        if count < least {
            return;
        }
        let servers = asking.servers[at];
        let window_s = self.window_ns / 1_000_000_000;
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client(look.client, Self::RULE),
            zone: &[],
            class: Class::None,
            family: family::POLICY,
            name: breach.name(),
            weight: count as f64 / least as f64,
            figures: asking.total,
            quiet_s: window_s,
            say: &|| breach.said(&servers, (count, least, window_s), look),
        });
    }
}

impl Breach {
    fn name(self) -> &'static str {
        match self {
            Self::External => "direct_external_dns",
            Self::Unapproved => "unapproved_resolver",
            Self::Recursion => "own_recursion",
        }
    }

    fn said(
        self,
        servers: &[Option<IpAddr>],
        (count, least, window_s): (u64, u64, u64),
        look: &Look<'_>,
    ) -> Said {
        let servers: Vec<_> = servers.iter().flatten().map(ToString::to_string).collect();
        let servers = servers.join(", ");
        let does = match self {
            Self::External => format!("asks servers outside that are not approved: {servers}"),
            Self::Unapproved => format!("asks a resolver that is not approved: {servers}"),
            Self::Recursion => {
                format!("resolves by itself, past the approved resolvers: {servers} and others")
            }
        };
        let role = if look.role == Role::Resolver { ", as a resolver for others" } else { "" };
        Said {
            does,
            observed: format!("{} look-ups at {servers} within {window_s} s{role}", thousands(count)),
            baseline: format!("fewer than {least} look-ups at servers outside resolver_policy.approved"),
            counterfactual: "Had it asked approved resolvers only, there would be no finding.".to_owned(),
            samples: vec![look.name.to_string()],
            tool: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Scope, Severity};
    use crate::pipeline::bench::Bench;

    fn bench(approved: &[&str]) -> Bench {
        let mut config = Config::default();
        config.resolver_policy.approved = approved.iter().map(|text| (*text).to_owned()).collect();
        Bench::new(&config)
    }

    fn ask(bench: &mut Bench, server: &str) {
        bench.server = server.parse().unwrap();
        for n in 0..10 {
            bench.wait(3.0);
            bench.query("10.0.0.2", &format!("www.site{n}.example"), 1);
        }
        bench.finish();
    }

    #[test]
    fn servers_that_are_not_approved_are_low_findings() {
        for (server, name) in [("203.0.113.8", "direct_external_dns"), ("10.1.1.1", "unapproved_resolver")] {
            let mut bench = bench(&["10.9.9.0/24", "2001:db8::53"]);
            ask(&mut bench, server);
            let created = bench.created_by(ResolverPolicy::RULE);
            assert_eq!(created.len(), 1, "{server}");
            assert_eq!((created[0].severity, created[0].scope), (Severity::Low, Scope::Client));
            assert_eq!(created[0].evidence[0].name, name);
            assert!(created[0].title.contains(server), "{}", created[0].title);
        }
    }

    #[test]
    fn approved_servers_stubs_and_resolvers_are_none() {
        for (approved, server) in [
            (&["10.9.9.0/24"][..], "10.9.9.9"),
            (&["10.9.9.0/24"], "127.0.0.53"),
            (&["10.0.0.2"], "203.0.113.8"),
            (&[], "203.0.113.8"),
        ] {
            let mut bench = bench(approved);
            ask(&mut bench, server);
            assert!(bench.found.is_empty(), "{approved:?} {server}");
        }
    }
}
