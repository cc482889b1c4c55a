//! Types and response codes as text (IANA DNS parameters).

use super::rtype;

/// Mnemonic of a type; `TYPE123` (RFC 3597 section 5) where there is none here.
pub fn rtype(value: u16) -> String {
    let name = match value {
        rtype::A => "A",
        rtype::NS => "NS",
        rtype::CNAME => "CNAME",
        rtype::SOA => "SOA",
        rtype::NULL => "NULL",
        rtype::PTR => "PTR",
        rtype::MX => "MX",
        rtype::TXT => "TXT",
        25 => "KEY",
        rtype::AAAA => "AAAA",
        rtype::SRV => "SRV",
        35 => "NAPTR",
        rtype::DNAME => "DNAME",
        rtype::OPT => "OPT",
        rtype::DS => "DS",
        44 => "SSHFP",
        rtype::RRSIG => "RRSIG",
        rtype::NSEC => "NSEC",
        rtype::DNSKEY => "DNSKEY",
        rtype::NSEC3 => "NSEC3",
        rtype::NSEC3PARAM => "NSEC3PARAM",
        52 => "TLSA",
        rtype::CDS => "CDS",
        rtype::CDNSKEY => "CDNSKEY",
        rtype::SVCB => "SVCB",
        rtype::HTTPS => "HTTPS",
        99 => "SPF",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        256 => "URI",
        rtype::CAA => "CAA",
        other => return format!("TYPE{other}"),
    };
    name.to_owned()
}

/// Mnemonic of a response code; `RCODE123` where there is none.
pub fn rcode(value: u16) -> String {
    let name = match value {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        6 => "YXDOMAIN",
        7 => "YXRRSET",
        8 => "NXRRSET",
        9 => "NOTAUTH",
        10 => "NOTZONE",
        16 => "BADVERS",
        23 => "BADCOOKIE",
        other => return format!("RCODE{other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_has_no_name_shows_its_number() {
        assert_eq!((super::rtype(16), super::rtype(65_399)), ("TXT".into(), "TYPE65399".into()));
        assert_eq!((super::rcode(3), super::rcode(4095)), ("NXDOMAIN".into(), "RCODE4095".into()));
    }
}
