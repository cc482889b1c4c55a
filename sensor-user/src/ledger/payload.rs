//! What a response's answers can have brought in.

use std::hash::{BuildHasher, Hasher as _};

use crate::dns::{Canonical, Message, Record, Section, rtype};
use crate::model::{UNIT, alphabet_cost, static_cost_up_to};
use crate::zone::Zone;

/// Hash of the payload-bearing answers and what they can have carried, least and most, in units; `None` if there are
/// none.
///
/// TXT, NULL, KEY and types nobody publishes count every byte; CNAME, MX, NS, PTR and SRV count their target's sub-name;
/// addresses and DNSSEC count towards the most only.
pub fn of(message: &Message<'_>, seed: &impl BuildHasher) -> Option<(u64, u64, u64)> {
    let mut hasher = seed.build_hasher();
    let (mut low, mut high) = (0, 0);
    for record in message.records().take_while(|r| r.section == Section::Answer) {
        let (least, most) = record_cost(&record);
        if least > 0 {
            hasher.write(record.rdata);
        }
        low += least;
        high += most;
    }
    (high > 0).then(|| (hasher.finish(), low, high))
}

fn record_cost(record: &Record<'_>) -> (u64, u64) {
    let all = record.rdata.len() as u64 * 8 * u64::from(UNIT);
    match record.rtype {
        rtype::A
        | rtype::AAAA
        | rtype::SOA
        | rtype::OPT
        | rtype::DS
        | rtype::RRSIG
        | rtype::NSEC
        | rtype::DNSKEY
        | rtype::NSEC3
        | rtype::NSEC3PARAM
        | rtype::CDS
        | rtype::CDNSKEY
        | rtype::SVCB
        | rtype::HTTPS
        | rtype::CAA => (0, all),
        _ => match record.target() {
            Some(target) => {
                let name = Canonical::new(target);
                let sub = name.prefix(Zone::of(&name).labels);
                let alphabet = alphabet_cost(sub);
                let least = u64::from(static_cost_up_to(sub, alphabet).min(alphabet));
                (if sub.is_empty() { 0 } else { least }, all.max(least))
            }
            None => (all, all),
        },
    }
}
