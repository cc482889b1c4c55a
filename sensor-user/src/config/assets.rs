//! `[[asset]]` and the files beside it: what is known of the machines behind addresses. Looked up by
//! [`crate::inventory`].

pub(super) mod file;
pub mod vibs;

use std::collections::HashMap;

use super::change::{Change, told};
use super::entries::{self, Entry, entry};
use super::list::Item;
use super::value::{Allowed, choice};
use crate::escape::escape;

const ALL: &[()] = &[];

entry! {
    /// One machine, or a network of machines of one kind.
    Asset;
    /// Its name in findings.
    name("name", ALL): String = String::new(), Allowed::Text("text of at most 200 characters that says something");
    /// Its addresses or networks; of all entries the longest prefix counts, and none may stand in two.
    addresses("addresses", ALL): Vec<String> = Vec::new(), Allowed::List(Item::Network);
    /// Its hardware addresses: whichever address has one of them in the neighbour table of the sensor's own machine is this asset, unless an entry has just that address. Not in a replay, and not behind another router.
    mac("mac", ALL): Vec<String> = Vec::new(), Allowed::List(Item::Hardware);
    /// What runs on it.
    platform("platform", ALL): Platform = Platform::Unknown, Allowed::OneOf(Platform::NAMES);
    /// What it is for; `management` on ESXi gives it the ceilings of asset_policy.
    role("role", ALL): String = String::new(), Allowed::Text("text of at most 200 characters");
    /// What network access control says of it; unauthenticated or quarantined adds evidence to what it sends.
    authentication("authentication", ALL): Authentication = Authentication::Unknown, Allowed::OneOf(Authentication::NAMES);
    /// The only resolvers that it may ask; none: any.
    resolvers("resolvers", ALL): Vec<String> = Vec::new(), Allowed::List(Item::Network);
    /// The only zones that it may ask for, with all below them; none: any.
    zones("zones", ALL): Vec<String> = Vec::new(), Allowed::List(Item::Domain);
    /// Bytes of DNS that it may send within an hour, in place of asset_policy's; 0: any number.
    outbound_dns_volume_bytes("outbound_dns_volume_bytes", ALL): Option<u32> = None, Allowed::Integer { min: 0, max: (1 << 32) - 1 };
    /// The same within a day.
    outbound_dns_volume_day_bytes("outbound_dns_volume_day_bytes", ALL): Option<u32> = None, Allowed::Integer { min: 0, max: (1 << 32) - 1 };
}

choice! {
    /// What runs on an asset.
    Platform {
        Unknown = "unknown",
        Esxi = "esxi",
        Linux = "linux",
        Macos = "macos",
        Windows = "windows",
        Network = "network",
    }
}

choice! {
    /// Whether an asset has shown who it is.
    Authentication {
        Unknown = "unknown",
        Authenticated = "authenticated",
        Unauthenticated = "unauthenticated",
        Quarantined = "quarantined",
    }
}

impl Entry for Asset {
    const SECTION: &'static str = "asset";
    const DOC: &'static str = "Assets: names, platforms and policies of the machines behind addresses. The list has an entry `[[asset]]` for \
                               each; a later file adds to it, or replaces the entry of the same name, as all of them replace the row of the same \
                               name in inventory.file.";
    const EXAMPLE: &'static [&'static str] = &[
        "name = \"esx-07\"",
        "addresses = [\"192.0.2.7\"]",
        "platform = \"esxi\"",
        "role = \"management\"",
        "resolvers = [\"192.0.2.53\"]",
        "zones = [\"corp.example\"]",
    ];
    const MAX: usize = 8192;
    const KEYS: &'static [entries::Key<Self>] = KEYS;
    const NEEDED: &'static [&'static str] = &["name"];
    const RESTART: Option<&'static str> = None;
    type Kind = ();

    fn kind(&self) {}

    fn kind_name((): ()) -> &'static str {
        ""
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn summary(&self) -> String {
        let at: Vec<_> = self.addresses.iter().chain(&self.mac).map(String::as_str).collect();
        format!("{} at {}", self.platform.name(), at.join(", "))
    }

    fn check(&self) -> Result<(), String> {
        let long = |text: &str| text.chars().nth(200).is_some();
        if self.name.trim().is_empty() || long(&self.name) {
            return Err("asset.name is not allowed: use text of 1 to 200 characters".to_owned());
        }
        if long(&self.role) {
            return Err("asset.role is not allowed: use text of at most 200 characters".to_owned());
        }
        if self.addresses.is_empty() && self.mac.is_empty() {
            let name = escape(&self.name);
            return Err(format!("asset `{name}` has neither `addresses` nor `mac`: list at least one"));
        }
        Ok(())
    }
}

/// Assets told one by one when they change; more are counted.
const TOLD: usize = 16;

/// What one inventory has otherwise than another. Names are among the values, never in the key: that one is passed on to
/// whoever helps.
pub(super) fn changes<'a>(
    old: impl Iterator<Item = &'a Asset>,
    new: impl Iterator<Item = &'a Asset>,
    list: &mut Vec<Change>,
) {
    let change = |key: &str, old: String, new: String| Change {
        key: format!("asset{key}"),
        old: told(&old),
        new: told(&new),
        restart: None,
    };
    let summary = |asset: &Asset| format!("{}, {}", asset.name, asset.summary());
    let old: Vec<_> = old.collect();
    let mut left: HashMap<&str, &Asset> = old.iter().map(|asset| (asset.name.as_str(), *asset)).collect();
    let (mut own, mut counts, mut total) = (Vec::new(), [0_usize; 3], 0);
    for asset in new {
        total += 1;
        let Some(before) = left.remove(asset.name.as_str()) else {
            counts[0] += 1;
            if own.len() <= TOLD {
                own.push(change("", "none".to_owned(), summary(asset)));
            }
            continue;
        };
        if before == asset {
            continue;
        }
        counts[2] += 1;
        for key in KEYS.iter().filter(|key| (key.show)(before) != (key.show)(asset)).take(TOLD) {
            let value = |asset: &Asset| format!("{}: {}", asset.name, (key.show)(asset));
            if own.len() <= TOLD {
                own.push(change(&format!(".{}", key.name), value(before), value(asset)));
            }
        }
    }
    counts[1] = left.len();
    for asset in old.iter().filter(|asset| left.contains_key(asset.name.as_str())) {
        if own.len() <= TOLD {
            own.push(change("", summary(asset), "none".to_owned()));
        }
    }
    if own.len() > TOLD {
        let [added, gone, other] = counts;
        let news = format!("{total} assets: {added} new, {gone} gone, {other} otherwise");
        own = vec![change("", format!("{} assets", old.len()), news)];
    }
    list.append(&mut own);
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, changes};

    fn refused(text: &str) -> String {
        Config::parse(text, "a.toml").unwrap_err().message
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        let head = "[[asset]]\nname = \"a\"\n";
        assert_eq!(
            refused(&format!("{head}addresses = [\"10.0.0.0/33\"]\n")),
            "a.toml:3: asset.addresses = [\"10.0.0.0/33\"] is not allowed: use a list of at most 1024 addresses or \
             networks like \"192.0.2.0/24\""
        );
        assert!(
            refused("[[asset]]\naddresses = [\"10.0.0.1\"]\n")
                .starts_with("a.toml:1: an asset needs its `name`: ")
        );
        assert_eq!(refused(head), "a.toml:1: asset `a` has neither `addresses` nor `mac`: list at least one");
        let mac = refused(&format!("{head}mac = [\"00:50:56:00:00\"]\n"));
        assert!(
            mac.starts_with("a.toml:3: asset.mac = ")
                && mac.contains("use a list of at most 1024 hardware addresses"),
            "{mac}"
        );
        let evil = refused("[[asset]]\nname = \"a\\u001b[2J\"\n");
        assert!(evil.contains("asset `a\\x1b[2J` has neither") && !evil.contains('\u{1b}'), "{evil}");
        let platform = refused(&format!("{head}addresses = [\"10.0.0.1\"]\nplatform = \"vax\"\n"));
        assert_eq!(
            platform,
            "a.toml:4: asset.platform = \"vax\" is not allowed: use one of \"unknown\", \"esxi\", \"linux\", \"macos\", \
             \"windows\", \"network\""
        );
    }

    #[test]
    fn a_network_stands_in_one_entry_however_it_is_written() {
        let text = "[[asset]]\nname = \"a\"\naddresses = [\"10.0.0.1/24\"]\n\
                    [[asset]]\nname = \"b\"\naddresses = [\"10.0.0.9\", \"10.0.0.0/24\"]\n";
        assert_eq!(
            refused(text),
            "a.toml:1: asset.addresses: 10.0.0.0/24 of `b` is that of `a` too: a network may stand in one entry"
        );
    }
    #[test]
    fn what_changes_is_told_and_much_of_it_is_counted() {
        let of = |count: usize, role: &str| {
            let one = |n: usize| {
                format!("[[asset]]\nname = \"a{n}\"\naddresses = [\"10.0.0.{n}\"]\nrole = \"{role}\"\n")
            };
            Config::parse(&(0..count).map(one).collect::<String>(), "x").unwrap()
        };
        let told = |old: &Config, new: &Config| {
            let list = changes(old, new);
            list.iter()
                .map(|change| format!("{}: {} → {}", change.key, change.old, change.new))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&of(3, "x"), &of(3, "x")), [""; 0]);
        assert_eq!(told(&of(2, "x"), &of(3, "x")), ["asset: none → a2, unknown at 10.0.0.2"]);
        assert_eq!(told(&of(1, "x"), &of(1, "y")), ["asset.role: a0: \"x\" → a0: \"y\""]);
        assert_eq!(told(&of(1, "x"), &of(0, "x")), ["asset: a0, unknown at 10.0.0.0 → none"]);
        assert_eq!(
            told(&of(50, "x"), &of(40, "y")),
            ["asset: 50 assets → 40 assets: 0 new, 10 gone, 40 otherwise"]
        );
    }
}
