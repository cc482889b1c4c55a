//! Names where they lie in a message: rewritten in place, so that lengths and compression pointers stay true.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use earthdog::dns::{Canonical, Message, Name, labels, rtype};
use earthdog::event::Packet;
use earthdog::zone::Zone;

use super::Random;

/// The first question's name, lower-cased; `None` where there is none to read.
pub fn question(packet: &Packet) -> Option<Canonical> {
    let message = Message::parse(&packet.payload, packet.true_len as usize);
    message.question.map(|question| Canonical::new(question.name))
}

/// The zone a name is charged to, in wire form without the root; empty for a name that has none.
pub fn zone(name: &Canonical) -> &[u8] {
    name.suffix(Zone::of(name).labels)
}

/// Puts `label` in the place of the zone's first label wherever one of the message's names is below `zone`; it must
/// be as long. What is no name (TXT, NULL) stays as it is.
pub fn rename(payload: &Bytes, zone: &[u8], label: &[u8]) -> Bytes {
    let depth = Canonical::from_labels(labels(zone)).labels();
    let mut places = BTreeSet::new();
    for name in names(payload) {
        let canonical = Canonical::from_labels(name.iter().map(|at| &payload[at.clone()]));
        let Some(first) = name.len().checked_sub(depth) else { continue };
        if depth > 0 && canonical.suffix(depth) == zone && name[first].len() == label.len() {
            places.insert(name[first].start);
        }
    }
    let mut out = payload.to_vec();
    for place in places {
        out[place..place + label.len()].copy_from_slice(label);
    }
    out.into()
}

/// Letter case at random, as resolvers do it (draft-vixie-dnsext-dns0x20): a query's id and name decide, so that the
/// answer, which repeats both, gets the same case.
pub fn randomise_case(payload: &Bytes, seed: u64) -> Bytes {
    let (Some(id), Some(question)) = (payload.first_chunk::<2>(), names(payload).into_iter().next()) else {
        return payload.clone();
    };
    let asked = Canonical::from_labels(question.iter().map(|at| &payload[at.clone()]));
    let mut out = payload.to_vec();
    for name in names(payload) {
        let canonical = Canonical::from_labels(name.iter().map(|at| &payload[at.clone()]));
        if canonical.wire() != asked.wire() {
            continue;
        }
        let mut random = Random::of(seed ^ u64::from(u16::from_be_bytes(*id)), &asked.to_string());
        for byte in name.into_iter().flatten() {
            let letter = &mut out[byte];
            *letter = if random.next() & 1 == 0 {
                letter.to_ascii_lowercase()
            } else {
                letter.to_ascii_uppercase()
            };
        }
    }
    out.into()
}

/// Where the labels of each name lie: the question's, then each record's owner and the names in its data.
fn names(payload: &[u8]) -> Vec<Vec<Range<usize>>> {
    let message = Message::parse(payload, payload.len());
    let place = |name: Name<'_>| -> Vec<Range<usize>> {
        let start = |label: &[u8]| label.as_ptr().addr() - payload.as_ptr().addr();
        name.labels().map(|label| start(label)..start(label) + label.len()).collect()
    };
    let mut out: Vec<_> = message.question.iter().map(|question| place(question.name)).collect();
    for record in message.records() {
        out.push(place(record.name));
        out.extend(record.target().map(place));
        if record.rtype == rtype::SOA {
            let master = Name::new(payload, record.rdata_at);
            out.push(place(master));
            out.extend(master.walk().end.map(|end| place(Name::new(payload, end))));
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::base::Message as Oracle;
    use domain::rdata::{AllRecordData, Cname};

    use super::*;
    use crate::derive::tests::lookup;
    use crate::message::{self, Message as Make};

    /// Question, owners of the answers and CNAME targets, as `domain` reads them; every record must parse.
    pub(crate) fn oracle(payload: &[u8]) -> Vec<String> {
        let message = Oracle::from_octets(payload).unwrap();
        let mut names = vec![message.sole_question().unwrap().qname().to_string()];
        for record in message.answer().unwrap() {
            let record = record.unwrap();
            names.push(record.owner().to_string());
            if let Some(cname) = record.to_record::<Cname<_>>().unwrap() {
                names.push(cname.data().cname().to_string());
            }
            assert!(record.to_any_record::<AllRecordData<_, _>>().is_ok());
        }
        names
    }

    fn zone_of(name: &str) -> Vec<u8> {
        zone(&Canonical::from_text(name)).to_vec()
    }

    #[test]
    fn a_zone_is_renamed_in_question_owners_and_targets_alike() {
        let [query, answer] = lookup(1, "aGVsbG8.t.Tunnel.example");
        let zone = zone_of("tunnel.example");
        let rename = |packet: &Packet| rename(&packet.payload, &zone, b"baked0");
        assert_eq!(oracle(&rename(&query)), ["aGVsbG8.t.baked0.example"]);
        assert_eq!(
            oracle(&rename(&answer)),
            [
                "aGVsbG8.t.baked0.example",
                "aGVsbG8.t.baked0.example",
                "raGVsbG8.t.baked0.example",
                "aGVsbG8.t.baked0.example"
            ]
        );
        assert_eq!(rename(&answer).len(), answer.payload.len());
    }

    #[test]
    fn names_of_other_zones_and_payload_stay() {
        let [_, answer] = lookup(1, "a.t.nottunnel.example");
        assert_eq!(rename(&answer.payload, &zone_of("tunnel.example"), b"baked0"), answer.payload);
        let payload: Bytes = Make::response("a.tunnel.example", message::rtype::NULL)
            .answer(message::rtype::NULL, 0, message::Name::from("x.tunnel.example").as_bytes())
            .build()
            .into();
        let renamed = rename(&payload, &zone_of("tunnel.example"), b"baked0");
        assert_eq!(oracle(&renamed)[0], "a.baked0.example");
        assert!(renamed.ends_with(b"\x01x\x06tunnel\x07example\0"));
    }

    #[test]
    fn a_start_of_authority_is_renamed_too() {
        let soa = [
            message::Name::from("ns.tunnel.example").as_bytes(),
            message::Name::from("me.tunnel.example").as_bytes(),
            &[0; 20],
        ]
        .concat();
        let payload: Bytes = Make::response("a.tunnel.example", 1)
            .record(1, "tunnel.example", message::rtype::SOA, 1, 60, soa)
            .build()
            .into();
        let renamed = rename(&payload, &zone_of("tunnel.example"), b"baked0");
        assert_eq!(renamed.windows(6).filter(|w| *w == b"baked0").count(), 4);
        assert_eq!(renamed.windows(6).filter(|w| *w == b"tunnel").count(), 0);
    }

    #[test]
    fn case_is_random_and_the_answer_repeats_it() {
        let [query, answer] = lookup(9, "abcdefghijklmnop.t.tunnel.example");
        let mixed = oracle(&randomise_case(&query.payload, 1));
        let answered = oracle(&randomise_case(&answer.payload, 1));
        assert_eq!(mixed[0], answered[0]);
        assert_eq!(answered[1], answered[0], "by pointer");
        assert_eq!(answered[2], "rabcdefghijklmnop.t.tunnel.example", "another name");
        assert_eq!(mixed[0].to_lowercase(), "abcdefghijklmnop.t.tunnel.example");
        assert!(mixed[0].bytes().filter(u8::is_ascii_uppercase).count() > 5, "{mixed:?}");
        assert_ne!(randomise_case(&query.payload, 2), randomise_case(&query.payload, 1));
    }

    #[test]
    fn what_is_no_message_stays() {
        for bytes in [&b""[..], b"\x10", b"\x10\xd1\x9e\x01raw mode of iodine"] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert_eq!(rename(&bytes, &zone_of("tunnel.example"), b"baked0"), bytes);
        }
    }
}
