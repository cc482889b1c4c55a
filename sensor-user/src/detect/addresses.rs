//! Addresses in answers, and whose they are.

use std::net::{IpAddr, Ipv6Addr};

use crate::dns::{Message, Section, rtype};

/// Addresses of an answer section and their TTLs in seconds, whatever names they stand at.
pub(super) fn addresses<'a>(message: &Message<'a>) -> impl Iterator<Item = (IpAddr, u32)> + use<'a> {
    message.records().take_while(|record| record.section == Section::Answer).filter_map(|record| {
        let ip = match record.rtype {
            rtype::A => <[u8; 4]>::try_from(record.rdata).ok().map(IpAddr::from),
            rtype::AAAA => {
                <[u8; 16]>::try_from(record.rdata).ok().map(|bytes| Ipv6Addr::from(bytes).to_canonical())
            }
            _ => None,
        };
        Some((ip?, record.ttl))
    })
}

/// Only of use within a network: private (RFC 1918, RFC 6598, RFC 4193), loopback, link-local, unspecified.
pub(crate) fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || a == 0
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

/// What one holder mostly has: a /16, or a /32 of IPv6.
pub(super) fn network(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip) >> 16,
        IpAddr::V6(ip) => (u128::from(ip) >> 96) as u32,
    }
}

/// An address in so few bits that another one is hardly met.
pub(super) fn print(ip: IpAddr) -> u64 {
    let bits = match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    // Not keyed: an attacker who makes two of his own addresses look like one is only seen with fewer of them.
    let mixed = ((bits >> 64) as u64 ^ bits as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
}

/// Different values, counted by the bits of 64 that they set: exact enough to tell few from many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Few(u64);

impl Few {
    pub(super) fn add(&mut self, hash: u64) {
        self.0 |= 1 << (hash >> 58);
    }

    pub(super) fn count(self) -> u32 {
        self.0.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_and_outside() {
        for (text, inside) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("127.0.0.2", true),
            ("169.254.169.254", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("0.0.0.0", true),
            ("8.8.8.8", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_inside(text.parse().unwrap()), inside, "{text}");
        }
        assert_eq!(network("198.51.100.7".parse().unwrap()), 0xc633);
        assert_ne!(print("198.51.100.7".parse().unwrap()), print("198.51.100.8".parse().unwrap()));
    }
}
