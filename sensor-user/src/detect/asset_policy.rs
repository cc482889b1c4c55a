//! Which asset asks for zones, or asks servers, that its entry of the inventory does not approve, or sends more than its
//! ceiling.
//!
//! Off for an asset without a list or a ceiling. Low alone: a policy is broken, and why is somebody's to say. An ESXi host
//! asks its resolvers for few zones, so that lists of a few lines hold it to its management plane (MITRE AN1125).

use std::net::IpAddr;
use std::sync::Arc;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look, Stray};
use crate::config::Config;
use crate::dns::Canonical;
use crate::event::Packet;
use crate::inventory::{Inventory, Known};
use crate::ledger::windows::{Span, Sums, Windows};
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
    /// Ceilings within an hour and a day, for assets that have none of their own.
    ceilings: [u64; 2],
    volumes: Table<u64, Volume>,
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

/// What one client with a ceiling sent, whatever it was.
#[derive(Debug)]
struct Volume {
    /// Bytes as `new_units`, messages as `queries`: a sum covers five sixths of the window at least.
    windows: Windows,
    last_ns: u64,
    total: Figures,
}

const SPANS: [Span; 2] = [Span::Hour, Span::Day];

impl Remembered for Volume {
    fn worth(&self) -> (u64, u64) {
        (self.windows.sums(Span::Day).new_units, self.last_ns)
    }
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
            assets: Arc::clone(&config.known),
            min_lookups: settings.min_lookups,
            window_ns: settings.window_s * 1_000_000_000,
            clients: Table::new(settings.max_keys as usize),
            ceilings: [settings.outbound_dns_volume_bytes, settings.outbound_dns_volume_day_bytes],
            volumes: Table::new(settings.max_keys as usize),
        }
    }

    /// Adds up what the client of one asset sends; `name` is what it asks for, if it asks.
    fn volume(
        &mut self,
        known: &Known,
        packet: &Packet,
        client: u64,
        name: Option<&Canonical>,
        cases: &mut Cases<'_, '_>,
    ) {
        let (_, server) = packet.client_server();
        // What goes to a stub on the same machine leaves with the stub's own query.
        if server.ip().to_canonical().is_loopback() {
            return;
        }
        let usual = if known.is_esxi_management() { self.ceilings } else { [0; 2] };
        let own = [known.asset.outbound_dns_volume_bytes, known.asset.outbound_dns_volume_day_bytes];
        let ceilings = [0, 1].map(|at| own[at].map_or(usual[at], u64::from));
        if ceilings == [0; 2] {
            return;
        }
        let now_ns = packet.time_ns;
        let make = || Volume { windows: Windows::new(now_ns), last_ns: 0, total: Figures::default() };
        let sent = self.volumes.open(client, make);
        // Repeats that the kernel kept back were as long as the one that came through.
        let messages = 1 + u64::from(packet.repeats());
        sent.windows.roll(now_ns);
        let bytes = u64::from(packet.true_len) * messages;
        sent.windows.add(Sums { new_units: bytes, queries: messages, ..Sums::default() });
        sent.last_ns = now_ns;
        sent.total.first_ns = if sent.total.first_ns == 0 { now_ns } else { sent.total.first_ns };
        sent.total.queries += messages;
        let figures = merged(sent.total, self.clients.find(client).map(|asking| asking.total));
        for (span, ceiling) in SPANS.into_iter().zip(ceilings) {
            let sums = sent.windows.sums(span);
            if ceiling == 0 || sums.new_units <= ceiling {
                continue;
            }
            cases.raise(&Signal {
                rule: Self::RULE,
                case: Case::client(client, Self::RULE),
                zone: &[],
                class: Class::None,
                family: family::POLICY,
                name: if span == Span::Hour { "outbound_dns_volume" } else { "outbound_dns_volume_day" },
                weight: sums.new_units as f64 / ceiling as f64,
                figures,
                quiet_s: Span::Hour.seconds(),
                say: &|| said_of_volume(sums, span, ceiling, name),
            });
        }
    }
}

/// What a finding says that rests on both: all messages of a client with a ceiling, else those outside its lists.
fn merged(one: Figures, other: Option<Figures>) -> Figures {
    match other {
        Some(other) if other.queries > one.queries => {
            Figures { first_ns: one.first_ns.min(other.first_ns), ..other }
        }
        Some(other) => Figures { first_ns: one.first_ns.min(other.first_ns), ..one },
        None => one,
    }
}

fn said_of_volume(sums: Sums, span: Span, ceiling: u64, name: Option<&Canonical>) -> Said {
    let (bytes, ceiling) = (thousands(sums.new_units), thousands(ceiling));
    let span = if span == Span::Hour { "an hour" } else { "a day" };
    Said {
        does: format!("sends more DNS than its ceiling: {bytes} bytes within {span}"),
        observed: format!("{bytes} bytes in {} messages within {span}", thousands(sums.queries)),
        baseline: format!("at most {ceiling} bytes"),
        counterfactual: format!(
            "Had it sent at most {ceiling} bytes within {span}, there would be no finding."
        ),
        samples: name.map(ToString::to_string).into_iter().collect(),
        tool: None,
    }
}

impl Detector for AssetPolicy {
    fn worst_case_bytes(config: &Config) -> usize {
        let (is_on, keys) = (!config.known.is_empty(), config.asset_policy.max_keys as usize);
        let volumes = Table::<u64, Volume>::bytes(keys) + keys * Windows::HEAP;
        (Table::<u64, Asking>::bytes(keys) + volumes) * usize::from(is_on)
    }

    fn retune(&mut self, config: &Config) {
        let Self { clients, volumes, .. } = std::mem::replace(self, Self::new(config));
        (self.clients, self.volumes) = (clients, volumes);
    }

    fn evicted(&self) -> u64 {
        self.clients.evicted + self.volumes.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if self.assets.is_empty() {
            return;
        }
        let (client, server) = look.packet.client_server();
        let assets = Arc::clone(&self.assets);
        let Some(known) = assets.find(client.ip()) else { return };
        self.volume(known, look.packet, look.client, Some(look.name), cases);
        if !matches!(look.part, Lookup::First | Lookup::Forwarded) {
            return;
        }
        let server = server.ip().to_canonical();
        let breaches = [
            (!known.may_ask(server)).then_some(Breach::Server),
            (!self.assets.may_ask_for(known, look.name)).then_some(Breach::Zone),
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
        let figures = merged(asking.total, self.volumes.find(look.client).map(|sent| sent.total));
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
                figures,
                quiet_s: window_s,
                say: &|| breach.said(known, server, (count, least, window_s), look),
            });
        }
    }

    fn stray(&mut self, stray: &Stray<'_>, cases: &mut Cases<'_, '_>) {
        if !stray.to_server || self.assets.is_empty() {
            return;
        }
        let assets = Arc::clone(&self.assets);
        if let Some(known) = assets.find(stray.packet.client_server().0.ip()) {
            self.volume(known, stray.packet, stray.client, None, cases);
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
        let (what, list, approved) = match self {
            Self::Server => (format!("the server {server}"), "resolvers", &known.asset.resolvers),
            Self::Zone => (format!("{} and others", look.name), "zones", &known.asset.zones),
        };
        let more = if approved.len() > 3 { ", …" } else { "" };
        let shown = approved.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        Said {
            does: format!("asks outside its approved {list}: {what}"),
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
    use crate::config::assets::vibs::Vib;
    use crate::config::assets::{Asset, Authentication, Platform};
    use crate::finding::{Finding, Severity};
    use crate::pipeline::bench::Bench;

    fn esx(authentication: Authentication) -> Asset {
        Asset {
            name: "esx-07".to_owned(),
            addresses: vec!["10.0.0.0/24".to_owned()],
            platform: Platform::Esxi,
            role: "management".to_owned(),
            authentication,
            resolvers: vec!["10.9.9.9".to_owned()],
            zones: vec!["corp.example".to_owned()],
            ..Asset::default()
        }
    }

    fn bench_of(asset: Asset) -> Bench {
        let vibs = vec![Vib { name: "esx-base".to_owned(), zones: vec!["vendor.test".to_owned()] }];
        let known = Arc::new(Inventory::new(vec![asset], vibs).unwrap());
        Bench::new(&Config { known, ..Config::default() })
    }

    fn bench(authentication: Authentication) -> Bench {
        bench_of(esx(authentication))
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
    fn reversed_addresses_of_its_own_network_and_zones_of_known_good_vibs_are_none() {
        let mut bench = bench(Authentication::Authenticated);
        for n in 0..12 {
            bench.pass(20.0);
            bench.query("10.0.0.7", &format!("{n}.0.0.10.in-addr.arpa"), 12);
            bench.query("10.0.0.7", "hostupdate.vendor.test", 1);
        }
        assert!(found(&mut bench).is_empty(), "{:?}", bench.found);
        // Those of addresses elsewhere lead to somebody else's servers.
        for n in 0..12 {
            bench.pass(20.0);
            bench.query("10.0.0.7", &format!("{n}.113.0.203.in-addr.arpa"), 12);
        }
        assert_eq!(found(&mut bench).len(), 1);
    }

    /// The names of evidence of the last finding, each once.
    fn evidence(bench: &Bench) -> Vec<&'static str> {
        let last = bench.found.iter().rfind(|finding| finding.rule == AssetPolicy::RULE);
        last.map(|last| last.evidence.iter().map(|evidence| evidence.name).collect()).unwrap_or_default()
    }

    /// Every five seconds one of the names that it asks for all day: 46 to 48 bytes of message.
    fn hammer(bench: &mut Bench, client: &str, messages: u64, seconds: f64) {
        for n in 0..messages {
            bench.wait(seconds);
            let name = ["esx-0007", "vcenter1", "ntp-0001", "syslog01"][n as usize % 4];
            bench.query(client, &format!("{name}.corp.example"), 1);
        }
    }

    #[test]
    fn more_than_a_management_plane_sends_within_an_hour_or_a_day_is_told() {
        // 39 bytes a message: 12 of header, 22 of name, 4 of type and class. An hour holds 1,680 of them.
        let mut bench = bench(Authentication::Authenticated);
        hammer(&mut bench, "10.0.0.7", 1600, 2.0);
        assert_eq!(evidence(&bench), [""; 0]);
        hammer(&mut bench, "10.0.0.7", 400, 0.5);
        bench.finish();
        assert_eq!(evidence(&bench), ["outbound_dns_volume"]);
        let finding = bench.created_by(AssetPolicy::RULE)[0];
        assert_eq!(finding.severity, Severity::Low);
        assert!(
            finding.title.contains("esx-07 (10.0.0.7) sends more DNS than its ceiling: 65,"),
            "{}",
            finding.title
        );
        assert!(finding.evidence[0].baseline == "at most 65,536 bytes", "{finding:#?}");

        // Below the one of an hour all the time: 39 × 3600 / 2.5 = 56,160 bytes.
        let mut bench = self::bench(Authentication::Authenticated);
        hammer(&mut bench, "10.0.0.7", 26_000, 2.5);
        assert_eq!(evidence(&bench), [""; 0], "{:?}", bench.found);
        hammer(&mut bench, "10.0.0.7", 2000, 2.5);
        assert_eq!(evidence(&bench), ["outbound_dns_volume_day"]);
    }

    #[test]
    fn a_ceiling_is_that_of_the_asset_or_of_management_of_esxi_alone() {
        let sends = |asset: Asset| {
            let mut bench = bench_of(asset);
            hammer(&mut bench, "10.0.0.7", 3000, 0.5);
            evidence(&bench)
        };
        let esx = || esx(Authentication::Authenticated);
        assert_eq!(sends(esx()), ["outbound_dns_volume"]);
        assert_eq!(sends(Asset { role: "vmotion".to_owned(), ..esx() }), [""; 0]);
        assert_eq!(sends(Asset { platform: Platform::Network, ..esx() }), [""; 0]);
        assert_eq!(sends(Asset { outbound_dns_volume_bytes: Some(0), ..esx() }), [""; 0]);
        let own = Asset { platform: Platform::Network, outbound_dns_volume_bytes: Some(100_000), ..esx() };
        assert_eq!(sends(own), ["outbound_dns_volume"]);
    }

    #[test]
    fn repeats_and_bytes_that_are_no_dns_count() {
        let mut bench =
            bench_of(Asset { outbound_dns_volume_bytes: Some(4000), ..esx(Authentication::Authenticated) });
        for _ in 0..4 {
            bench.wait(1.0);
            bench.packet("10.0.0.7", &[0; 999], true);
        }
        assert_eq!(evidence(&bench), [""; 0]);
        bench.wait(1.0);
        bench.packet("10.0.0.7", b"four!", true);
        assert_eq!(evidence(&bench), ["outbound_dns_volume"]);
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
