//! Which asset an address belongs to: the entry with the longest prefix around it.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;

use crate::config::assets::Asset;
use crate::config::list::Network;
use crate::dns::Canonical;

/// All assets, by network.
#[derive(Debug, Default)]
pub struct Inventory {
    assets: Vec<Known>,
    /// By family and prefix length, the longest first: networks, by their first bits. There are as many as lengths in
    /// use, so few.
    levels: Vec<((bool, u8), HashMap<u128, u32, FixedState>)>,
}

/// One asset, its lists ready to be compared.
#[derive(Debug)]
pub struct Known {
    pub asset: Asset,
    resolvers: Vec<Network>,
    zones: Vec<Canonical>,
}

impl Inventory {
    /// An error names the network that stands in two entries.
    pub fn new(assets: &[Asset]) -> Result<Self, String> {
        let mut levels: HashMap<(bool, u8), HashMap<u128, u32, FixedState>> = HashMap::new();
        for (index, asset) in (0..).zip(assets) {
            for text in &asset.addresses {
                let Some(network) = Network::parse(text) else { continue };
                let (is_v4, prefix, bits) = network.parts();
                let before = levels.entry((is_v4, prefix)).or_default().insert(bits, index);
                if let Some(other) = before {
                    let other = &assets[other as usize].name;
                    return Err(format!(
                        "asset.addresses: {text} of `{}` is that of `{other}` too: a network may stand in one entry",
                        asset.name
                    ));
                }
            }
        }
        let mut levels: Vec<_> = levels.into_iter().collect();
        levels.sort_by_key(|((is_v4, prefix), _)| (*is_v4, std::cmp::Reverse(*prefix)));
        Ok(Self { assets: assets.iter().map(Known::new).collect(), levels })
    }

    /// The asset of an address.
    pub fn find(&self, ip: IpAddr) -> Option<&Known> {
        let ip = ip.to_canonical();
        for ((is_v4, prefix), level) in &self.levels {
            if *is_v4 == ip.is_ipv4()
                && let Some(index) = level.get(&Network::bits(ip, *prefix))
            {
                return self.assets.get(*index as usize);
            }
        }
        None
    }

    pub fn is_empty(&self) -> bool {
        self.assets.is_empty()
    }
}

impl Known {
    fn new(asset: &Asset) -> Self {
        Self {
            asset: asset.clone(),
            resolvers: asset.resolvers.iter().filter_map(|text| Network::parse(text)).collect(),
            zones: asset.zones.iter().map(|text| Canonical::from_text(text)).collect(),
        }
    }

    /// Whether it may ask this server; a stub on the machine itself it may.
    pub fn may_ask(&self, server: IpAddr) -> bool {
        let server = server.to_canonical();
        self.resolvers.is_empty()
            || server.is_loopback()
            || self.resolvers.iter().any(|network| network.contains(server))
    }

    /// Whether it may ask for this name.
    pub fn may_ask_for(&self, name: &Canonical) -> bool {
        let is_below = |zone: &Canonical| {
            name.labels() >= zone.labels() && name.suffix(zone.labels()) == zone.suffix(zone.labels())
        };
        self.zones.is_empty() || self.zones.iter().any(is_below)
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
        let assets = [
            asset("all", &["0.0.0.0/0"]),
            asset("host", &["10.1.2.3", "2001:db8::7"]),
            asset("site", &["10.1.0.0/16", "2001:db8::/32"]),
        ];
        let inventory = Inventory::new(&assets).unwrap();
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
    fn zones_match_on_dot_boundaries() {
        let known =
            Known::new(&Asset { zones: vec!["Corp.example.".to_owned()], ..asset("a", &["10.0.0.1"]) });
        for (name, may) in
            [("corp.example", true), ("a.CORP.example", true), ("xcorp.example", false), ("example", false)]
        {
            assert_eq!(known.may_ask_for(&Canonical::from_text(name)), may, "{name}");
        }
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
        let inventory = Inventory::new(&assets).unwrap();
        let begin = std::time::Instant::now();
        let mut found = 0;
        for n in 0..1_000_000_u32 {
            let ip = IpAddr::from((0x0a00_0000 | (n % 20_000)).to_be_bytes());
            found += u32::from(inventory.find(std::hint::black_box(ip)).is_some());
        }
        println!("{} ns, {found} found", begin.elapsed().as_nanos() / 1_000_000);
        assert_eq!(found, 450_000);
    }
}
