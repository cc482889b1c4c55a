//! Which asset an address belongs to: the entry with the longest prefix around it, or that of its hardware address.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock};

use foldhash::fast::FixedState;

use crate::config::assets::vibs::Vib;
use crate::config::assets::{Asset, Platform};
use crate::config::list::{Network, hardware};
use crate::detect::addresses::is_inside;
use crate::dns::Canonical;
use crate::escape::escape;

/// All assets, by network, and what is known of software on them.
#[derive(Debug, Default)]
pub struct Inventory {
    assets: Vec<Known>,
    /// By family and prefix length, the longest first: networks, by their first bits. There are as many as lengths in
    /// use, so few.
    levels: Vec<((bool, u8), Level)>,
    hardware: HashMap<[u8; 6], u32, FixedState>,
    /// Which address has the hardware address of which asset, as the rim last saw it.
    neighbours: RwLock<HashMap<IpAddr, u32, FixedState>>,
    vibs: Vec<Vib>,
    /// What those VIBs ask for.
    /// In wire form.
    vib_zones: HashSet<Box<[u8]>, FixedState>,
}

/// Networks of one family and prefix length by their first bits, and the number of their asset.
type Level = HashMap<u128, u32, FixedState>;

/// One asset, its lists ready to be compared.
#[derive(Debug)]
pub struct Known {
    pub asset: Asset,
    resolvers: Vec<Network>,
    zones: Vec<Zone>,
}

/// A zone in wire form, no longer than it is: there may be one for each of many assets.
#[derive(Debug)]
struct Zone {
    labels: usize,
    wire: Box<[u8]>,
}

impl Zone {
    fn new(text: &str) -> Self {
        let name = Canonical::from_text(text);
        Self { labels: name.labels(), wire: name.wire().into() }
    }

    fn holds(&self, name: &Canonical) -> bool {
        name.labels() >= self.labels && name.suffix(self.labels) == &*self.wire
    }
}

/// Something that stands in two entries, which are told by their number.
#[derive(Debug)]
pub struct Twice {
    pub at: usize,
    what: String,
}

impl fmt::Display for Twice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.what)
    }
}

/// Neighbours taken over at most: a machine's own table has 1,024 unless it was told otherwise (arp(7), gc_thresh3).
pub const MAX_NEIGHBOURS: usize = 65_536;

impl Inventory {
    pub fn new(assets: Vec<Asset>, vibs: Vec<Vib>) -> Result<Self, Twice> {
        let twice = |key: &str, text: &str, at: usize, other: u32| {
            let (own, other) = (escape(&assets[at].name), escape(&assets[other as usize].name));
            let what = match key {
                "mac" => "a hardware address",
                _ => "a network",
            };
            let what = format!(
                "asset.{key}: {text} of `{own}` is that of `{other}` too: {what} may stand in one entry"
            );
            Twice { at, what }
        };
        let mut levels: HashMap<(bool, u8), Level> = HashMap::new();
        let mut macs = HashMap::with_hasher(FixedState::default());
        for (index, asset) in (0..).zip(&assets) {
            for text in &asset.addresses {
                let Some(network) = Network::parse(text) else { continue };
                let (is_v4, prefix, bits) = network.parts();
                let before = levels.entry((is_v4, prefix)).or_default().insert(bits, index);
                if let Some(other) = before {
                    return Err(twice("addresses", text, index as usize, other));
                }
            }
            for text in &asset.mac {
                if let Some(other) = hardware(text).and_then(|mac| macs.insert(mac, index)) {
                    return Err(twice("mac", text, index as usize, other));
                }
            }
        }
        let mut levels: Vec<_> = levels.into_iter().collect();
        levels.sort_by_key(|((is_v4, prefix), _)| (*is_v4, std::cmp::Reverse(*prefix)));
        let vib_zones = vibs.iter().flat_map(|vib| &vib.zones).map(|zone| Zone::new(zone).wire).collect();
        Ok(Self {
            assets: assets.into_iter().map(Known::new).collect(),
            levels,
            hardware: macs,
            neighbours: RwLock::default(),
            vibs,
            vib_zones,
        })
    }

    /// The asset of an address: of its own entry, else of its hardware address, else of the network around it.
    pub fn find(&self, ip: IpAddr) -> Option<&Known> {
        let ip = ip.to_canonical();
        let mut neighbour = self.neighbour(ip);
        for ((is_v4, prefix), level) in &self.levels {
            if *is_v4 != ip.is_ipv4() {
                continue;
            }
            let is_own = *prefix == if *is_v4 { 32 } else { 128 };
            if !is_own && neighbour.is_some() {
                break;
            }
            if let Some(index) = level.get(&Network::bits(ip, *prefix)) {
                neighbour = Some(*index);
                break;
            }
        }
        self.assets.get(neighbour? as usize)
    }

    fn neighbour(&self, ip: IpAddr) -> Option<u32> {
        if self.hardware.is_empty() {
            return None;
        }
        self.neighbours.read().unwrap_or_else(PoisonError::into_inner).get(&ip).copied()
    }

    /// Hands in which address has which hardware address now, in place of what was before; returns how many are assets.
    pub fn meet(&self, list: impl Iterator<Item = (IpAddr, [u8; 6])>) -> usize {
        let known = list
            .take(MAX_NEIGHBOURS)
            .filter_map(|(ip, mac)| Some((ip.to_canonical(), *self.hardware.get(&mac)?)));
        let known: HashMap<_, _, _> = known.collect();
        let count = known.len();
        *self.neighbours.write().unwrap_or_else(PoisonError::into_inner) = known;
        count
    }

    /// Whether any asset is known by its hardware address.
    pub fn needs_neighbours(&self) -> bool {
        !self.hardware.is_empty()
    }

    /// Assets without an address of their own, for which neighbours must be known.
    pub fn only_hardware(&self) -> usize {
        self.assets().filter(|asset| asset.addresses.is_empty()).count()
    }

    pub fn is_empty(&self) -> bool {
        self.assets.is_empty()
    }

    pub fn len(&self) -> usize {
        self.assets.len()
    }

    pub fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.assets.iter().map(|known| &known.asset)
    }

    pub fn vibs(&self) -> &[Vib] {
        &self.vibs
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        let text = |list: &[String]| list.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let zones_held =
            |list: &[Zone]| list.iter().map(|zone| size_of::<Zone>() + zone.wire.len()).sum::<usize>();
        let known = |known: &Known| {
            let Asset { name, role, addresses, mac, resolvers, zones, .. } = &known.asset;
            size_of::<Known>()
                + name.len()
                + role.len()
                + [addresses, mac, resolvers, zones].map(|list| text(list)).iter().sum::<usize>()
                + known.resolvers.len() * size_of::<Network>()
                + zones_held(&known.zones)
                // A slot of a table that is seven eighths full at most, and half at least.
                + (addresses.len() + mac.len()) * 2 * size_of::<(u128, u32)>()
        };
        let neighbours =
            if self.hardware.is_empty() { 0 } else { MAX_NEIGHBOURS * 2 * size_of::<(IpAddr, u32)>() };
        let vibs: usize =
            self.vibs.iter().map(|vib| size_of::<Vib>() + vib.name.len() + text(&vib.zones)).sum();
        let vib_zones = self.vib_zones.capacity() * (size_of::<Box<[u8]>>() + 1)
            + self.vib_zones.iter().map(|zone| zone.len()).sum::<usize>();
        self.assets.iter().map(known).sum::<usize>() + vibs + vib_zones + neighbours
    }

    /// Whether an asset may ask for this name: one below its zones, one that a known good VIB asks for, or the reversed
    /// address of a machine of its own network.
    pub fn may_ask_for(&self, known: &Known, name: &Canonical) -> bool {
        known.zones.is_empty()
            || known.zones.iter().any(|zone| zone.holds(name))
            || (known.asset.platform == Platform::Esxi && self.asks_for_a_vib(name))
            || reversed(name).is_some_and(|ip| {
                is_inside(ip)
                    || self.find(ip).is_some()
                    || known.resolvers.iter().any(|network| network.contains(ip))
            })
    }
}

impl Inventory {
    /// Whether it is in a zone of a known good VIB: a probe for each label, however long the list is.
    fn asks_for_a_vib(&self, name: &Canonical) -> bool {
        !self.vib_zones.is_empty()
            && (0..=name.labels()).any(|labels| self.vib_zones.contains(name.suffix(labels)))
    }
}

impl PartialEq for Inventory {
    /// What is said, not who was met.
    fn eq(&self, other: &Self) -> bool {
        self.assets().eq(other.assets()) && self.vibs == other.vibs
    }
}

impl Known {
    fn new(asset: Asset) -> Self {
        Self {
            resolvers: asset.resolvers.iter().filter_map(|text| Network::parse(text)).collect(),
            zones: asset.zones.iter().map(|text| Zone::new(text)).collect(),
            asset,
        }
    }

    /// Whether it may ask this server; a stub on the machine itself it may.
    pub fn may_ask(&self, server: IpAddr) -> bool {
        let server = server.to_canonical();
        self.resolvers.is_empty()
            || server.is_loopback()
            || self.resolvers.iter().any(|network| network.contains(server))
    }

    /// Whether it is an ESXi host that is managed at this address.
    pub fn is_esxi_management(&self) -> bool {
        let mut words = self.asset.role.split(|c: char| !c.is_alphanumeric());
        self.asset.platform == Platform::Esxi && words.any(|word| word.eq_ignore_ascii_case("management"))
    }
}

/// The address that a name below in-addr.arpa (RFC 1035, 3.5) or ip6.arpa (RFC 3596, 2.5) is about, whole and without
/// anything in front.
fn reversed(name: &Canonical) -> Option<IpAddr> {
    let ends = |wire: &[u8]| name.suffix(2) == wire;
    match name.labels() {
        6 if ends(b"\x07in-addr\x04arpa") => {
            let mut octets = [0; 4];
            for (at, octet) in octets.iter_mut().enumerate() {
                let text = std::str::from_utf8(name.label(3 - at)).ok()?;
                *octet = text.parse().ok().filter(|octet: &u8| octet.to_string() == text)?;
            }
            Some(Ipv4Addr::from(octets).into())
        }
        34 if ends(b"\x03ip6\x04arpa") => {
            let mut bits = 0_u128;
            for at in (0..32).rev() {
                let [digit] = name.label(at) else { return None };
                bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(Ipv6Addr::from(bits).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(name: &str, addresses: &[&str]) -> Asset {
        let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        Asset { name: name.to_owned(), addresses, ..Asset::default() }
    }

    #[test]
    fn the_longest_prefix_counts_in_any_order() {
        let assets = vec![
            asset("all", &["0.0.0.0/0"]),
            asset("host", &["10.1.2.3", "2001:db8::7"]),
            asset("site", &["10.1.0.0/16", "2001:db8::/32"]),
        ];
        let inventory = Inventory::new(assets, Vec::new()).unwrap();
        for (ip, name) in [
            ("10.1.2.3", Some("host")),
            ("::ffff:10.1.2.3", Some("host")),
            ("10.1.2.4", Some("site")),
            ("192.0.2.1", Some("all")),
            ("2001:db8::7", Some("host")),
            ("2001:db8::8", Some("site")),
            ("2001:db9::8", None),
        ] {
            let found = inventory.find(ip.parse().unwrap()).map(|known| known.asset.name.as_str());
            assert_eq!(found, name, "{ip}");
        }
    }

    #[test]
    fn a_neighbour_is_the_asset_of_its_hardware_address_before_any_network() {
        let with = |name: &str, addresses: &[&str], mac: &str| Asset {
            mac: vec![mac.to_owned()],
            ..asset(name, addresses)
        };
        let assets = vec![
            with("esx", &[], "00:50:56:AB:00:07"),
            with("both", &["10.0.0.9"], "00-50-56-ab-00-09"),
            asset("site", &["10.0.0.0/24"]),
            asset("own", &["10.0.0.8"]),
        ];
        let inventory = Inventory::new(assets, Vec::new()).unwrap();
        let name = |ip: &str| {
            inventory.find(ip.parse().unwrap()).map(|known| known.asset.name.clone()).unwrap_or_default()
        };
        assert!(inventory.needs_neighbours() && inventory.only_hardware() == 1);
        assert_eq!(name("10.0.0.7"), "site");
        let mac = |last| [0, 0x50, 0x56, 0xab, 0, last];
        let list =
            [("10.0.0.7", 7), ("fe80::7", 7), ("10.0.0.8", 7), ("10.0.0.3", 3), ("::ffff:10.0.0.4", 9)];
        let met = inventory.meet(list.into_iter().map(|(ip, last)| (ip.parse().unwrap(), mac(last))));
        assert_eq!(met, 4);
        assert_eq!(
            [name("10.0.0.7"), name("fe80::7"), name("10.0.0.8"), name("10.0.0.3"), name("10.0.0.4")],
            ["esx", "esx", "own", "site", "both"]
        );
        // What is not there any more is not remembered: another machine may have the address next.
        assert_eq!(inventory.meet(std::iter::empty()), 0);
        assert_eq!([name("10.0.0.7"), name("10.0.0.9"), name("fe80::7")], ["site", "both", ""]);
        let twice = Inventory::new(
            vec![with("a", &[], "00:50:56:00:00:01"), with("b", &[], "00-50-56-00-00-01")],
            Vec::new(),
        );
        let twice = twice.unwrap_err();
        let says = "asset.mac: 00-50-56-00-00-01 of `b` is that of `a` too: a hardware address may stand in one entry";
        assert_eq!((twice.at, twice.to_string().as_str()), (1, says));
    }

    #[test]
    fn zones_match_on_dot_boundaries() {
        let assets = vec![
            Asset {
                zones: vec!["Corp.example.".to_owned()],
                resolvers: vec!["198.51.100.53".to_owned()],
                platform: Platform::Esxi,
                ..asset("a", &["203.0.113.8/29"])
            },
            Asset { zones: vec!["corp.example".to_owned()], ..asset("linux", &["10.0.0.2"]) },
            asset("free", &["10.0.0.3"]),
        ];
        let vibs = vec![Vib { name: "esx-base".to_owned(), zones: vec!["vendor.test".to_owned()] }];
        let inventory = Inventory::new(assets, vibs).unwrap();
        let known = |ip: &str| inventory.find(ip.parse().unwrap()).unwrap();
        let (esx, linux, free) = (known("203.0.113.9"), known("10.0.0.2"), known("10.0.0.3"));
        for (name, may) in [
            ("corp.example", true),
            ("a.CORP.example", true),
            ("xcorp.example", false),
            ("example", false),
            ("updates.vendor.test", true),
            ("xvendor.test", false),
            // Its own network, its resolver, another asset, an address of use inside only.
            ("9.113.0.203.in-addr.arpa", true),
            ("53.100.51.198.in-addr.arpa", true),
            ("2.0.0.10.IN-ADDR.arpa", true),
            ("7.1.168.192.in-addr.arpa", true),
            (&format!("7{}.0.0.d.f.ip6.arpa", ".0".repeat(27)), true),
            // An address elsewhere is somebody else's zone, and so is what is no address.
            ("9.114.0.203.in-addr.arpa", false),
            (&format!("7{}.8.b.d.0.1.0.0.2.ip6.arpa", ".0".repeat(23)), false),
            ("x.2.0.0.10.in-addr.arpa", false),
            ("02.0.0.10.in-addr.arpa", false),
            ("+2.0.0.10.in-addr.arpa", false),
            ("0.0.10.in-addr.arpa", false),
            ("2.0.0.10.in-addr.arpa.evil.test", false),
        ] {
            assert_eq!(inventory.may_ask_for(esx, &Canonical::from_text(name)), may, "{name}");
        }
        assert!(
            !inventory.may_ask_for(linux, &Canonical::from_text("updates.vendor.test")),
            "VIBs are of ESXi"
        );
        assert!(inventory.may_ask_for(free, &Canonical::from_text("a.test")));
    }

    #[test]
    fn a_role_has_words() {
        let of = |platform, role: &str| {
            Known::new(Asset { platform, role: role.to_owned(), ..asset("a", &["10.0.0.1"]) })
                .is_esxi_management()
        };
        assert!(of(Platform::Esxi, "management") && of(Platform::Esxi, "vmk0: Management network"));
        assert!(
            !of(Platform::Esxi, "vmotion")
                && !of(Platform::Linux, "management")
                && !of(Platform::Esxi, "unmanagement")
        );
    }

    /// `cargo test --release -p sensor-user --lib inventory -- --ignored --nocapture` prints nanoseconds.
    #[test]
    #[ignore = "a measurement"]
    fn nanoseconds_of_a_look_up_among_ten_thousand() {
        let assets: Vec<_> = (0..10_000_u32)
            .map(|n| {
                let [_, a, b, c] = n.to_be_bytes();
                let network =
                    if n % 10 == 0 { format!("172.{b}.{c}.0/24") } else { format!("10.{a}.{b}.{c}") };
                asset(&format!("a{n}"), &[&network])
            })
            .collect();
        let inventory = Inventory::new(assets, Vec::new()).unwrap();
        let begin = crate::clock::monotonic();
        let mut found = 0;
        for n in 0..1_000_000_u32 {
            let ip = IpAddr::from((0x0a00_0000 | (n % 20_000)).to_be_bytes());
            found += u32::from(inventory.find(std::hint::black_box(ip)).is_some());
        }
        println!("{} ns, {found} found", begin.elapsed().as_nanos() / 1_000_000);
        assert_eq!(found, 450_000);
    }
}
