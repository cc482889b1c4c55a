//! What a query can carry beside its name.

use super::{Message, rtype};

/// EDNS options that stubs and resolvers send (IANA DNS EDNS0 option codes): NSID, client subnet, expire, cookie,
/// keep-alive, padding, chain, key tag.
const ORDINARY_OPTIONS: [u16; 8] = [3, 8, 9, 10, 11, 12, 13, 14];
/// A client's cookie and a server's of the greatest length (RFC 7873 section 4).
const COOKIE: u16 = 10;
const COOKIE_MAX: usize = 40;
/// Bytes of padding should be 0 (RFC 7830 section 3).
const PADDING: u16 = 12;

/// Types that zones publish for the public, and questions about them.
const PUBLISHED: [u16; 34] = [
    rtype::A,
    rtype::NS,
    rtype::CNAME,
    rtype::SOA,
    rtype::PTR,
    13, // HINFO
    rtype::MX,
    rtype::TXT,
    17, // RP
    18, // AFSDB
    rtype::AAAA,
    29, // LOC
    rtype::SRV,
    35, // NAPTR
    rtype::DNAME,
    rtype::DS,
    44, // SSHFP
    rtype::RRSIG,
    rtype::NSEC,
    rtype::DNSKEY,
    rtype::NSEC3,
    rtype::NSEC3PARAM,
    52, // TLSA
    53, // SMIMEA
    rtype::CDS,
    rtype::CDNSKEY,
    61, // OPENPGPKEY
    62, // CSYNC
    rtype::SVCB,
    rtype::HTTPS,
    99,  // SPF
    255, // ANY
    256, // URI
    rtype::CAA,
];

/// Whether a query has a carrier that honest programs do not use: NULL, KEY or a type nobody publishes, EDNS data of no
/// ordinary option, filled padding, bytes behind the message.
pub fn is_unusual(message: &Message<'_>, qtype: u16) -> bool {
    let odd = |(code, data): (u16, &[u8])| match code {
        COOKIE => data.len() > COOKIE_MAX,
        PADDING => data.iter().any(|byte| *byte != 0),
        _ => !ORDINARY_OPTIONS.contains(&code),
    };
    !PUBLISHED.contains(&qtype)
        || !message.trailing.is_empty()
        || message.edns.is_some_and(|edns| edns.options().any(odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(additional: &[u8]) -> Vec<u8> {
        let count = u8::from(additional.first() == Some(&0));
        let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, count, 1, b'a', 0, 0, 1, 0, 1];
        bytes.extend_from_slice(additional);
        bytes
    }

    fn opt(option: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 41, 4, 208, 0, 0, 0, 0, 0, option.len() as u8];
        bytes.extend_from_slice(option);
        message(&bytes)
    }

    #[test]
    fn what_stubs_send_is_usual() {
        let unusual = |bytes: &[u8], qtype| is_unusual(&Message::parse(bytes, bytes.len()), qtype);
        assert!(!unusual(&message(&[]), rtype::A));
        assert!(!unusual(&opt(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]), rtype::TXT));
        assert!(!unusual(&opt(&[0, 12, 0, 2, 0, 0]), rtype::HTTPS));
        assert!(unusual(&opt(&[0, 12, 0, 2, 0, 7]), rtype::A), "filled padding");
        assert!(unusual(&opt(&[0xfd, 0xe9, 0, 1, 7]), rtype::A), "local use");
        assert!(unusual(&message(&[7]), rtype::A), "behind the message");
        assert!([rtype::NULL, 25, 65280, 0].into_iter().all(|qtype| unusual(&message(&[]), qtype)));
    }
}
