//! Which asset asks for zones, or asks servers, that its entry of the inventory does not approve.
//!
//! Off for an asset without a list. Low alone: a policy is broken, and why is somebody's to say. An ESXi host asks its
//! resolvers for few zones, so that lists of a few lines hold it to its management plane (MITRE AN1125).

use std::net::IpAddr;
use std::sync::Arc;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::inventory::{Inventory, Known};
use crate::logged::Lookup;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct AssetPolicy {
    assets: Arc<Inventory>,
    min_lookups: u64,
    window_ns: u64,
    clients: Table<u64, Asking>,
}

/// What an asset did that it may not.
#[derive(Clone, Copy, Debug)]
enum Breach {
    Server,
    Zone,
}

/// What one client asked beside what is approved.
#[derive(Debug, Default)]
struct Asking {
    since_ns: u64,
    last_ns: u64,
    /// Look-ups within the window, by breach.
    lookups: [u64; 2],
    total: Figures,
}

impl Remembered for Asking {
    fn worth(&self) -> (u64, u64) {
        (self.total.queries, self.last_ns)
    }
}

impl AssetPolicy {
    pub const RULE: &str = "dns-asset-policy";

    pub fn new(config: &Config) -> Self {
        let settings = &config.asset_policy;
        Self {
            assets: config.inventory(),
            min_lookups: settings.min_lookups,
            window_ns: settings.window_s * 1_000_000_000,
            clients: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for AssetPolicy {
    fn worst_case_bytes(config: &Config) -> usize {
        let is_on = !config.assets.is_empty();
        Table::<u64, Asking>::bytes(config.asset_policy.max_keys as usize) * usize::from(is_on)
    }

    fn retune(&mut self, config: &Config) {
        let Self { clients, .. } = std::mem::replace(self, Self::new(config));
        self.clients = clients;
    }

    fn evicted(&self) -> u64 {
        self.clients.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if self.assets.is_empty() || !matches!(look.part, Lookup::First | Lookup::Forwarded) {
            return;
        }
        let (client, server) = look.packet.client_server();
        let Some(known) = self.assets.find(client.ip()) else { return };
        let server = server.ip().to_canonical();
        let breaches = [
            (!known.may_ask(server)).then_some(Breach::Server),
            (!known.may_ask_for(look.name)).then_some(Breach::Zone),
        ];
        if breaches.iter().all(Option::is_none) {
            return;
        }
        let now_ns = look.now_ns();
        let asking = self.clients.open(look.client, Asking::default);
        if asking.total.first_ns == 0 || now_ns.abs_diff(asking.since_ns) > self.window_ns {
            asking.total.first_ns = if asking.total.first_ns == 0 { now_ns } else { asking.total.first_ns };
            (asking.since_ns, asking.lookups) = (now_ns, [0; 2]);
        }
        asking.last_ns = now_ns;
        asking.total.queries += 1;
        let (least, window_s) = (self.min_lookups, self.window_ns / 1_000_000_000);
        for breach in breaches.into_iter().flatten() {
            asking.lookups[breach as usize] += 1;
            let count = asking.lookups[breach as usize];
            if count < least {
                continue;
            }
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
                say: &|| breach.said(known, server, (count, least, window_s), look),
            });
        }
    }
}

impl Breach {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "unapproved_server",
            Self::Zone => "unapproved_zone",
        }
    }

    fn said(
        self,
        known: &Known,
        server: IpAddr,
        (count, least, window_s): (u64, u64, u64),
        look: &Look<'_>,
    ) -> Said {
        let (name, platform) = (&known.asset.name, known.asset.platform.name());
        let (what, list, approved) = match self {
            Self::Server => (format!("the server {server}"), "resolvers", &known.asset.resolvers),
            Self::Zone => (format!("{} and others", look.name), "zones", &known.asset.zones),
        };
        let more = if approved.len() > 3 { ", …" } else { "" };
        let shown = approved.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        Said {
            does: format!("asks outside the approved {list} of {name} ({platform}): {what}"),
            observed: format!("{} look-ups outside its {list} within {window_s} s: {what}", thousands(count)),
            baseline: format!("fewer than {least} outside {shown}{more}"),
            counterfactual: format!("Had it kept to the {list} of its entry, there would be no finding."),
            samples: vec![look.name.to_string()],
            tool: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::assets::{Asset, Authentication, Platform};
    use crate::finding::{Finding, Severity};
    use crate::pipeline::bench::Bench;

    fn bench(authentication: Authentication) -> Bench {
        let mut config = Config::default();
        config.assets = vec![Asset {
            name: "esx-07".to_owned(),
            addresses: vec!["10.0.0.0/24".to_owned()],
            platform: Platform::Esxi,
            role: "hypervisor".to_owned(),
            authentication,
            resolvers: vec!["10.9.9.9".to_owned()],
            zones: vec!["corp.example".to_owned()],
        }];
        Bench::new(&config)
    }

    /// What an ESXi host's management plane asks: its own name, its vCenter, a clock, a log collector.
    fn manage(bench: &mut Bench, client: &str) {
        for n in 0..60 {
            bench.pass(30.0);
            let name = ["esx-07", "vcenter", "ntp1", "syslog"][n % 4];
            bench.query(client, &format!("{name}.corp.example"), 1);
        }
    }

    fn found(bench: &mut Bench) -> Vec<Finding> {
        bench.finish();
        bench.created_by(AssetPolicy::RULE).into_iter().map(|finding| (*finding).clone()).collect()
    }

    #[test]
    fn a_host_that_keeps_to_its_lists_is_none() {
        let mut bench = bench(Authentication::Authenticated);
        manage(&mut bench, "10.0.0.7");
        assert!(found(&mut bench).is_empty());
        assert!(bench.found.is_empty(), "{:?}", bench.found);
    }

    #[test]
    fn zones_and_servers_outside_the_lists_are_one_low_finding_with_the_asset() {
        let mut bench = bench(Authentication::Unknown);
        manage(&mut bench, "10.0.0.7");
        bench.server = "203.0.113.8".parse().unwrap();
        for n in 0..6 {
            bench.wait(40.0);
            bench.query("10.0.0.7", &format!("x{n}.pkgs.test"), 1);
        }
        let list = found(&mut bench);
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].severity, Severity::Low);
        let asset = list[0].client.asset.as_ref().unwrap();
        assert_eq!((asset.name.as_str(), asset.platform.as_str()), ("esx-07", "esxi"));
        let last = bench.found.iter().rfind(|finding| finding.rule == AssetPolicy::RULE).unwrap();
        let names: Vec<_> = last.evidence.iter().map(|evidence| evidence.name).collect();
        assert_eq!(names, ["unapproved_server", "unapproved_zone"]);
    }

    #[test]
    fn who_is_in_no_entry_is_none() {
        let mut bench = bench(Authentication::Unknown);
        for n in 0..20 {
            bench.wait(7.0);
            bench.query("10.7.0.7", &format!("www.site{n}.test"), 1);
        }
        assert!(found(&mut bench).is_empty());
    }

    #[test]
    fn data_from_a_machine_that_may_not_yet_talk_is_worse() {
        let worst = |authentication| {
            let mut bench = bench(authentication);
            for n in 0..400_u64 {
                bench.pass(1.0);
                let bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let name = format!("{bits:016x}{:016x}{n:04x}.t.corp.example", bits.rotate_left(17) ^ 0x5bd1);
                bench.query("10.0.0.7", &name, 16);
            }
            bench.finish();
            let leaks = bench.found.iter().filter(|finding| finding.rule != AssetPolicy::RULE);
            let worst = leaks.max_by_key(|finding| finding.severity).expect("a leak").clone();
            (worst.severity, worst.evidence.iter().any(|evidence| evidence.name == "unauthenticated"))
        };
        assert_eq!(worst(Authentication::Authenticated), (Severity::Medium, false));
        assert_eq!(worst(Authentication::Unauthenticated), (Severity::High, true));
    }
}
