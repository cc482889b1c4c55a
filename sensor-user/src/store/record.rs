//! What is remembered of a zone, of a name, of a client's use of a zone and of a client.
//!
//! Their encoding (postcard) is part of the file's format: a field more or less is another `file::FORMAT`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::days::{ActiveDays, Days};
use super::distinct::{self, Distinct};
use super::table::Record;
use crate::dns::rtype;
use crate::zone::Class;

/// Addresses kept of the answers; the oldest makes room.
pub const ADDRESSES: usize = 8;
/// TTLs kept beside the least and the most.
pub const LAST_TTLS: usize = 4;
/// Bytes of a client's description.
pub const LABEL_MAX: usize = 256;

/// Answers, whatever was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// NOERROR, NXDOMAIN, SERVFAIL, other.
    pub rcodes: [u32; 4],
    pub ttl: Option<Ttl>,
    /// Addresses in A and AAAA answers, newest last.
    pub addresses: Vec<IpAddr>,
    /// Addresses that made room for others: many say that they change all the time.
    pub addresses_replaced: u32,
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttl {
    pub least: u32,
    pub most: u32,
    /// Newest first; fewer answers leave the first one's.
    pub last: [u32; LAST_TTLS],
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub rcode: u16,
    /// Least TTL of the answer section, seconds; `None` if it is empty.
    pub ttl: Option<u32>,
    pub addresses: &'a [IpAddr],
}

/// A zone, as `zone::Zone` splits names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRecord {
    /// Wire form without the root.
    pub zone: Box<[u8]>,
    pub class: u8,
    /// Unix time, nanoseconds; so all times.
    pub first_ns: u64,
    pub last_ns: u64,
    pub lookups: u64,
    pub clients: Distinct,
    pub days: ActiveDays,
    pub answers: Answers,
    /// New names recorded on a day, and that day.
    pub names_on: (u32, u32),
}

/// A name that was answered with data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Wire form without the root, lower case.
    pub name: Box<[u8]>,
    pub first_ns: u64,
    pub last_ns: u64,
    pub answers: Answers,
}

/// What a client asks under a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRecord {
    /// `Client::stable_hash`.
    pub client: u64,
    pub zone: Box<[u8]>,
    pub class: u8,
    pub first_ns: u64,
    pub last_ns: u64,
    pub lookups: u64,
    /// Day of the last look-up.
    pub day: u32,
    /// New information in names by day, bits.
    pub new_bits: Days<u32>,
}

/// A client's habits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// `Client::stable_hash`.
    pub client: u64,
    /// Who it is, for people; attacker-chosen bytes, shortened to `LABEL_MAX`.
    pub label: String,
    pub first_ns: u64,
    pub last_ns: u64,
    pub days: Days<ClientDay>,
}

/// One day of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientDay {
    pub lookups: u32,
    /// Zones asked, each counted once.
    pub zones: u32,
    pub responses: u32,
    pub nxdomain: u32,
    /// Look-ups by `type_class`.
    pub types: [u32; TYPE_CLASSES.len()],
}

/// Classes of query types: addresses, reverse, what carries text or opaque bytes, the rest.
pub const TYPE_CLASSES: [&str; 4] = ["address", "ptr", "text", "other"];

/// Index into `TYPE_CLASSES`.
pub const fn type_class(qtype: u16) -> usize {
    match qtype {
        rtype::A | rtype::AAAA | rtype::HTTPS | rtype::SVCB => 0,
        rtype::PTR => 1,
        // KEY; 65280 and above is for private use (RFC 6895).
        rtype::TXT | rtype::NULL | 25 | 65_280..=u16::MAX => 2,
        _ => 3,
    }
}

impl Answers {
    pub fn note(&mut self, answer: &Answer<'_>) {
        let index = match answer.rcode {
            0 => 0,
            3 => 1,
            2 => 2,
            _ => 3,
        };
        self.rcodes[index] = self.rcodes[index].saturating_add(1);
        if let Some(ttl) = answer.ttl {
            let known = self.ttl.get_or_insert(Ttl { least: ttl, most: ttl, last: [ttl; LAST_TTLS] });
            known.least = known.least.min(ttl);
            known.most = known.most.max(ttl);
            known.last.rotate_right(1);
            known.last[0] = ttl;
        }
        for address in answer.addresses {
            if self.addresses.contains(address) {
                continue;
            }
            if self.addresses.len() >= ADDRESSES {
                self.addresses.remove(0);
                self.addresses_replaced = self.addresses_replaced.saturating_add(1);
            }
            self.addresses.push(*address);
        }
    }

    pub fn count(&self) -> u64 {
        self.rcodes.iter().map(|count| u64::from(*count)).sum()
    }

    /// 0 to 1; `None` without answers.
    pub fn nxdomain_share(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| f64::from(self.rcodes[1]) / count as f64)
    }
}

/// Number of a class in the file.
pub const fn class_number(class: Class) -> u8 {
    match class {
        Class::Registered => 0,
        Class::Reverse4 => 1,
        Class::Reverse6 => 2,
        Class::None => 3,
    }
}

/// The class of a number in the file.
pub const fn class_of(number: u8) -> Option<Class> {
    match number {
        0 => Some(Class::Registered),
        1 => Some(Class::Reverse4),
        2 => Some(Class::Reverse6),
        3 => Some(Class::None),
        _ => None,
    }
}

/// Bytes on the heap at most.
pub const ZONE_HEAP_MAX: usize = 255 + distinct::HEAP_MAX + ADDRESSES * size_of::<IpAddr>();
/// See `ZONE_HEAP_MAX`.
pub const NAME_HEAP_MAX: usize = 255 + ADDRESSES * size_of::<IpAddr>();
/// See `ZONE_HEAP_MAX`.
pub const PAIR_HEAP_MAX: usize = 255;
/// See `ZONE_HEAP_MAX`.
pub const CLIENT_HEAP_MAX: usize = LABEL_MAX;

impl Record for ZoneRecord {
    fn disk_key(&self) -> Vec<u8> {
        [&[self.class], &self.zone[..]].concat()
    }

    fn span_ns(&self) -> (u64, u64) {
        (self.first_ns, self.last_ns)
    }
}

impl Record for NameRecord {
    fn disk_key(&self) -> Vec<u8> {
        self.name.to_vec()
    }

    fn span_ns(&self) -> (u64, u64) {
        (self.first_ns, self.last_ns)
    }
}

impl Record for PairRecord {
    fn disk_key(&self) -> Vec<u8> {
        [&self.client.to_be_bytes()[..], &[self.class], &self.zone].concat()
    }

    fn span_ns(&self) -> (u64, u64) {
        (self.first_ns, self.last_ns)
    }
}

impl Record for ClientRecord {
    fn disk_key(&self) -> Vec<u8> {
        self.client.to_be_bytes().to_vec()
    }

    fn span_ns(&self) -> (u64, u64) {
        (self.first_ns, self.last_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_what_was_seen_last_and_count_the_rest() {
        let mut answers = Answers::default();
        for n in 0..20_u8 {
            let addresses = [IpAddr::from([192, 0, 2, n]), IpAddr::from([192, 0, 2, 0])];
            let rcode = if n % 4 == 0 { 3 } else { 0 };
            answers.note(&Answer { rcode, ttl: Some(100 + u32::from(n)), addresses: &addresses });
        }
        answers.note(&Answer { rcode: 5, ttl: None, addresses: &[] });
        assert_eq!((answers.rcodes, answers.count()), ([15, 5, 0, 1], 21));
        assert_eq!(answers.ttl, Some(Ttl { least: 100, most: 119, last: [119, 118, 117, 116] }));
        assert_eq!(answers.addresses.len(), ADDRESSES);
        assert!(
            answers.addresses.contains(&IpAddr::from([192, 0, 2, 19])) && answers.addresses_replaced > 11
        );
        assert_eq!(answers.nxdomain_share(), Some(5.0 / 21.0));
        assert_eq!(Answers::default().nxdomain_share(), None);
    }

    #[test]
    fn classes_read_back() {
        for class in [Class::Registered, Class::Reverse4, Class::Reverse6, Class::None] {
            assert_eq!(class_of(class_number(class)), Some(class));
        }
        assert_eq!(class_of(4), None);
        assert_eq!(TYPE_CLASSES[type_class(rtype::TXT)], "text");
        assert_eq!(TYPE_CLASSES[type_class(65_399)], "text");
        assert_eq!(TYPE_CLASSES[type_class(rtype::HTTPS)], "address");
    }
}
