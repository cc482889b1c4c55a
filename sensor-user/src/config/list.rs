//! Lists in a configuration: words, paths, domain names, networks.

use std::fmt;
use std::net::IpAddr;

use toml::de::DeValue;

use super::value::{Allowed, Refusal, Setting};

/// What the entries of a list may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Any text that is not empty, described by the words.
    Word(&'static str),
    Path,
    /// A domain name in presentation form; the root is none.
    Domain,
    /// An address or an address with a prefix length.
    Network,
    /// The address of a network card: six bytes.
    Hardware,
    OneOf(&'static [&'static str]),
}

/// Most entries of a list; longer ones belong into a file.
const MAX_ENTRIES: usize = 1024;

impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Word(what) => what,
            Self::Path => "absolute paths",
            Self::Domain => "domain names",
            Self::Network => "addresses or networks like \"192.0.2.0/24\"",
            Self::Hardware => "hardware addresses like \"00:50:56:00:00:07\"",
            Self::OneOf(names) => {
                let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                return write!(out, "a list of any of {}", quoted.join(", "));
            }
        };
        write!(out, "a list of at most {MAX_ENTRIES} {what}")
    }
}

impl Setting for Vec<String> {
    fn read(value: &DeValue<'_>, allowed: &Allowed) -> Result<Self, Refusal> {
        let Allowed::List(item) = *allowed else { return Err(Refusal) };
        let entries = value.as_array().filter(|list| list.len() <= MAX_ENTRIES).ok_or(Refusal)?;
        let mut list = Self::new();
        for entry in entries {
            let text = entry.get_ref().as_str().ok_or(Refusal)?;
            let fits = match item {
                Item::Word(_) => !text.trim().is_empty() && !text.contains('\0'),
                Item::Path => text.starts_with('/') && !text.contains('\0'),
                Item::Domain => is_domain(text),
                Item::Network => Network::parse(text).is_some(),
                Item::Hardware => hardware(text).is_some(),
                Item::OneOf(names) => names.contains(&text),
            };
            if !fits {
                return Err(Refusal);
            }
            list.push(text.to_owned());
        }
        Ok(list)
    }

    fn show(&self) -> String {
        toml::Value::Array(self.iter().cloned().map(toml::Value::String).collect()).to_string()
    }
}

/// Labels of 1 to 63 bytes without spaces, 253 in all, with or without the dot at the end; a name in Punycode, not in
/// Unicode, since that is what queries have.
pub fn is_domain(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic());
    name.len() <= 253 && name.split('.').all(label)
}

/// Six bytes in hexadecimal, with `:` or `-` between them; in any case.
pub fn hardware(text: &str) -> Option<[u8; 6]> {
    let mut parts = text.split([':', '-']);
    let mut bytes = [0; 6];
    for byte in &mut bytes {
        let part =
            parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    /// Bits that are the same.
    prefix: u8,
}

impl Network {
    /// `192.0.2.0/24` (also as `::ffff:192.0.2.0/120`), `2001:db8::/32`, or an address for itself alone.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = text.split_once('/').map_or((text, None), |(base, prefix)| (base, Some(prefix)));
        let base: IpAddr = base.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None => most,
        };
        match base {
            // What is looked up is told apart by the address itself.
            IpAddr::V6(mapped) if prefix >= 96 && mapped.to_ipv4_mapped().is_some() => {
                Some(Self { base: base.to_canonical(), prefix: prefix - 96 }).filter(|_| prefix <= most)
            }
            _ => (prefix <= most).then_some(Self { base, prefix }),
        }
    }

    /// Whether it is of IPv4, its prefix length, and its first bits as [`Self::bits`] gives them.
    pub fn parts(&self) -> (bool, u8, u128) {
        (self.base.is_ipv4(), self.prefix, Self::bits(self.base, self.prefix))
    }

    /// The first bits of an address, at the top; all others are 0.
    pub fn bits(ip: IpAddr, prefix: u8) -> u128 {
        let bits = match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
            IpAddr::V6(ip) => ip.to_bits(),
        };
        bits & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        let differ = Self::bits(self.base, 128) ^ Self::bits(ip, 128);
        self.base.is_ipv4() == ip.is_ipv4() && differ.leading_zeros() >= u32::from(self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_the_addresses_with_their_prefix() {
        let holds = |network: &str, ip: &str| Network::parse(network).unwrap().contains(ip.parse().unwrap());
        assert!(holds("::ffff:192.0.2.0/120", "192.0.2.255") && !holds("::ffff:192.0.2.7", "192.0.2.8"));
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "203.0.113.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::"));
        for wrong in ["192.0.2.0/33", "192.0.2/24", "192.0.2.0/", "192.0.2.0/+4", "x", "", "::/129"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hardware_addresses_have_six_bytes() {
        for text in ["00:50:56:ab:CD:07", "00-50-56-AB-cd-07"] {
            assert_eq!(hardware(text), Some([0, 0x50, 0x56, 0xab, 0xcd, 7]), "{text}");
        }
        for wrong in [
            "",
            "00:50:56:ab:cd",
            "00:50:56:ab:cd:07:08",
            "0:50:56:ab:cd:07",
            "00:50:56:ab:cd:+7",
            "g0:50:56:ab:cd:07",
        ] {
            assert_eq!(hardware(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn domains_have_labels() {
        assert!(
            ["example.com", "example.com.", "xn--bcher-kva.example", "_dmarc.a"].into_iter().all(is_domain)
        );
        assert!(!["", ".", "a..b", "bücher.example", "a b"].into_iter().any(is_domain));
    }
}
