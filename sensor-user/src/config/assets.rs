//! `[[asset]]`: what is known of the machines behind addresses. Looked up by [`crate::inventory`].

use super::entries::{self, Entry, entry};
use super::list::Item;
use super::value::{Allowed, choice};

const ALL: &[()] = &[];

entry! {
    /// One machine, or a network of machines of one kind.
    Asset;
    /// Its name in findings.
    name("name", ALL): String = String::new(), Allowed::Text("text of at most 200 characters that says something");
    /// Its addresses or networks; of all entries the longest prefix counts, and none may stand in two.
    addresses("addresses", ALL): Vec<String> = Vec::new(), Allowed::List(Item::Network);
    /// What runs on it.
    platform("platform", ALL): Platform = Platform::Unknown, Allowed::OneOf(Platform::NAMES);
    /// What it is for.
    role("role", ALL): String = String::new(), Allowed::Text("text of at most 200 characters");
    /// What network access control says of it; unauthenticated or quarantined adds evidence to what it sends.
    authentication("authentication", ALL): Authentication = Authentication::Unknown, Allowed::OneOf(Authentication::NAMES);
    /// The only resolvers that it may ask; none: any.
    resolvers("resolvers", ALL): Vec<String> = Vec::new(), Allowed::List(Item::Network);
    /// The only zones that it may ask for, with all below them; none: any.
    zones("zones", ALL): Vec<String> = Vec::new(), Allowed::List(Item::Domain);
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
                               each; a later file adds to it, or replaces the entry of the same name.";
    const EXAMPLE: &'static [&'static str] = &[
        "name = \"esx-07\"",
        "addresses = [\"192.0.2.7\"]",
        "platform = \"esxi\"",
        "resolvers = [\"192.0.2.53\"]",
        "zones = [\"corp.example\"]",
    ];
    const MAX: usize = 8192;
    const KEYS: &'static [entries::Key<Self>] = KEYS;
    const NEEDED: &'static [&'static str] = &["name", "addresses"];
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
        format!("{} at {}", self.platform.name(), self.addresses.join(", "))
    }

    fn check(&self) -> Result<(), String> {
        let long = |text: &str| text.chars().nth(200).is_some();
        if self.name.trim().is_empty() || long(&self.name) {
            return Err("asset.name is not allowed: use text of 1 to 200 characters".to_owned());
        }
        if long(&self.role) {
            return Err("asset.role is not allowed: use text of at most 200 characters".to_owned());
        }
        if self.addresses.is_empty() {
            return Err(format!("asset `{}` has no addresses: list at least one", self.name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

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
        assert!(refused(head).starts_with("a.toml:1: a asset needs its `addresses`: "));
        assert_eq!(
            refused(&format!("{head}addresses = []\n")),
            "a.toml:1: asset `a` has no addresses: list at least one"
        );
        let mac = refused(&format!("{head}addresses = [\"10.0.0.1\"]\nmac = \"00:50:56:00:00:01\"\n"));
        assert!(mac.contains("no record carries a hardware address: use `addresses`"), "{mac}");
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
}
