//! The zone a name is charged to: the registered domain by the Public Suffix List, private section included.

use psl::Psl as _;

use crate::dns::Canonical;

/// How a name splits into sub-name and zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    pub class: Class,
    /// Labels of the zone, counted from the right.
    pub labels: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// One label below a public suffix, or the suffix itself.
    Registered,
    /// `in-addr.arpa` at /24: one octet is left, which bounds what a sweep can carry.
    Reverse4,
    /// `ip6.arpa` at /48, what a site is given (RFC 6177): 20 nibbles are left.
    Reverse6,
    /// No zone that could be delegated: a single label, or a top-level label that cannot be one.
    None,
}

/// Labels of `c.b.a.in-addr.arpa`.
const REVERSE4_LABELS: usize = 3 + 2;
/// Twelve nibbles and `ip6.arpa`.
const REVERSE6_LABELS: usize = 12 + 2;
/// Longest unknown top-level label that is taken for an internal one (`test`, `lan`, `localdomain`).
const MAX_INTERNAL_TLD: usize = 12;

impl Zone {
    /// The list has Unicode suffixes only, so that a second-level suffix in Punycode falls to its top-level label.
    pub fn of(name: &Canonical) -> Self {
        let labels = name.labels();
        let Some(last) = labels.checked_sub(1) else {
            return Self { class: Class::None, labels: 0 };
        };
        if name.label(last) == b"arpa" && labels > 2 {
            match name.label(last - 1) {
                b"in-addr" => return Self { class: Class::Reverse4, labels: labels.min(REVERSE4_LABELS) },
                b"ip6" => return Self { class: Class::Reverse6, labels: labels.min(REVERSE6_LABELS) },
                _ => {}
            }
        }
        let info = psl::List.find((0..labels).rev().map(|index| name.label(index)));
        let unknown = info.typ.is_none();
        if unknown && (labels == 1 || !may_be_internal(name.label(last))) {
            return Self { class: Class::None, labels: 0 };
        }
        let suffix = suffix_labels(name, info.len);
        Self { class: Class::Registered, labels: labels.min(suffix + 1) }
    }

    /// Labels of the zone of who sells the name's zone to its customers: set where that zone is below a suffix of the
    /// list's private section.
    pub fn operator(name: &Canonical, zone: Self) -> Option<usize> {
        // A private suffix has two labels at least, and a zone is one label below it.
        if zone.class != Class::Registered || zone.labels < 3 {
            return None;
        }
        let labels = name.labels();
        let suffix = |from: usize| psl::List.find((from..labels).rev().map(|index| name.label(index)));
        let private = Some(psl::Type::Private);
        let own = suffix(labels - zone.labels);
        if own.typ != private {
            return None;
        }
        // Private suffixes may lie below each other: the operator is below the last suffix that is none.
        let public = (labels - zone.labels + 1..labels).find_map(|from| {
            let info = suffix(from);
            (info.typ != private).then(|| suffix_labels(name, info.len) + 1)
        });
        public.filter(|labels| *labels < zone.labels)
    }

    /// Whether anybody could register the name, or one above it: it ends in a suffix of the list and is more than that.
    pub fn is_registrable(name: &Canonical) -> bool {
        let labels = name.labels();
        let info = psl::List.find((0..labels).rev().map(|index| name.label(index)));
        info.typ.is_some() && suffix_labels(name, info.len) < labels
    }
}

/// Labels of a suffix that is `len` bytes long in dotted form.
fn suffix_labels(name: &Canonical, len: usize) -> usize {
    let mut bytes = 0;
    for count in 1..=name.labels() {
        bytes += name.label(name.labels() - count).len() + 1;
        if bytes > len {
            return count;
        }
    }
    name.labels()
}

/// Tunnels without a zone of their own (direct mode) put payload into the top-level label too; networks name theirs
/// with a short word.
fn may_be_internal(label: &[u8]) -> bool {
    label.len() <= MAX_INTERNAL_TLD && label.iter().all(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::canonical::text;

    #[test]
    fn what_can_be_registered() {
        for (name, can) in [
            ("example.com", true),
            ("a.example.co.uk", true),
            ("co.uk", false),
            ("tenant.cloudfront.net", true),
            ("xkqwjzr.lan", false),
            ("xkqwjzr", false),
        ] {
            assert_eq!(Zone::is_registrable(&Canonical::from_text(name)), can, "{name}");
        }
    }

    #[test]
    fn customers_of_a_hoster_have_an_operator() {
        for (name, operator) in [
            ("x.d111.cloudfront.net", Some("cloudfront.net")),
            ("word-assets.netlify.app", Some("netlify.app")),
            ("a.b.example.co.uk", None),
            ("www.example.com", None),
            ("example.github.io", Some("github.io")),
            ("bucket.s3.eu-west-1.amazonaws.com", Some("amazonaws.com")),
            ("pc.lan", None),
        ] {
            let name = Canonical::from_text(name);
            let found = Zone::operator(&name, Zone::of(&name)).map(|labels| text(name.suffix(labels)));
            assert_eq!(found.as_deref(), operator, "{name}");
        }
    }

    #[test]
    fn names_split_where_they_are_registered() {
        let rows = [
            ("www.example.com", Class::Registered, "example.com", "www"),
            ("example.com", Class::Registered, "example.com", "."),
            ("com", Class::Registered, "com", "."),
            ("a.b.example.co.uk", Class::Registered, "example.co.uk", "a.b"),
            ("x.d111.cloudfront.net", Class::Registered, "d111.cloudfront.net", "x"),
            ("notcloudfront.net", Class::Registered, "notcloudfront.net", "."),
            ("a.t1.tun.example", Class::Registered, "tun.example", "a.t1"),
            ("x.tunnel.test", Class::Registered, "tunnel.test", "x"),
            ("api.default.svc.cluster.local", Class::Registered, "cluster.local", "api.default.svc"),
            ("wpad", Class::None, ".", "wpad"),
            ("dnscat.0f3a01.7e2290ab", Class::None, ".", "dnscat.0f3a01.7e2290ab"),
            ("4.3.2.1.in-addr.arpa", Class::Reverse4, "3.2.1.in-addr.arpa", "4"),
            ("_dns-sd.in-addr.arpa", Class::Reverse4, "_dns-sd.in-addr.arpa", "."),
            ("x.4.3.2.1.in-addr.arpa", Class::Reverse4, "3.2.1.in-addr.arpa", "x.4"),
            ("in-addr.arpa", Class::Registered, "in-addr.arpa", "."),
            (
                "b.a.9.8.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
                Class::Reverse6,
                "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
                "b.a.9.8",
            ),
        ];
        for (name, class, zone, sub) in rows {
            let name = Canonical::from_text(name);
            let found = Zone::of(&name);
            assert_eq!(
                (found.class, text(name.suffix(found.labels)), text(name.prefix(found.labels))),
                (class, zone.to_owned(), sub.to_owned()),
                "{name}"
            );
        }
    }
}
