//! The view against the `domain` crate as an oracle, and rows for what broke others.

use domain::base::iana::Class;
use domain::base::name::{ToLabelIter as _, ToName};
use domain::base::{Message as Oracle, ParsedName, UnknownRecordData};
use proptest::prelude::*;

use super::canonical::text;
use super::*;

fn query(name_wire: &[u8], qtype: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name_wire);
    message.extend_from_slice(&qtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

fn wire(name: &str) -> Vec<u8> {
    let mut out = Canonical::from_text(name).wire().to_vec();
    out.push(0);
    out
}

fn names(list: Anomalies) -> Vec<&'static str> {
    list.iter().map(Anomaly::name).collect()
}

#[test]
fn plain_query() {
    let bytes = query(b"\x03WWW\x07Example\x03com\0", 16);
    let message = Message::parse(&bytes, bytes.len());
    let question = message.question.unwrap();
    let name = Canonical::new(question.name);
    assert_eq!((name.to_string().as_str(), question.qtype, question.qclass), ("www.example.com", 16, 1));
    assert_eq!((name.letters, name.upper), (13, 4));
    assert!(message.anomalies.is_empty());
    assert_eq!(text(name.suffix(2)), "example.com");
    assert_eq!(text(name.prefix(2)), "www");
    assert_eq!((name.suffix(9), name.prefix(9)), (name.wire(), &[][..]));
    assert_eq!((name.suffix(0), name.prefix(0)), (&[][..], name.wire()));
}

#[test]
fn names_that_broke_others() {
    let long = vec![[b'a'; 63].to_vec(), [b'b'; 63].to_vec(), [b'c'; 63].to_vec()];
    let build = |last: usize| {
        let mut out = Vec::new();
        for label in &long {
            out.push(63);
            out.extend_from_slice(label);
        }
        out.push(last as u8);
        out.extend(std::iter::repeat_n(b'd', last));
        out.push(0);
        out
    };
    let rows: Vec<(&str, Vec<u8>, &[&str], usize)> = vec![
        ("255 bytes", build(61), &[], 4),
        ("256 bytes", build(62), &["name_too_long"], 3),
        ("127 labels", [b"\x01a".repeat(127), vec![0]].concat(), &[], 127),
        ("128 labels", [b"\x01a".repeat(128), vec![0]].concat(), &["name_too_long"], 127),
        ("root", vec![0], &[], 0),
        ("NUL and dot inside", b"\x03a\0.\x01b\0".to_vec(), &[], 2),
        ("bad label type 0x40", b"\x01a\x41b\0".to_vec(), &["bad_label", "count_mismatch"], 1),
        ("bad label type 0x80", b"\x01a\x80\0".to_vec(), &["bad_label", "count_mismatch"], 1),
        ("pointer into the header", b"\x01a\xc0\x00".to_vec(), &["pointer_in_question"], 1),
        ("pointer to itself", b"\x01a\xc0\x0e".to_vec(), &["pointer_in_question", "pointer_forward"], 1),
        (
            "pointer to its own start",
            b"\x01a\xc0\x0c".to_vec(),
            &["pointer_in_question", "pointer_forward"],
            1,
        ),
        ("pointer ahead", b"\x01a\xc0\xff".to_vec(), &["pointer_in_question", "pointer_forward"], 1),
    ];
    for (row, name, want, labels) in rows {
        let mut bytes = query(&name, 1);
        bytes[0] = 0; // a pointer into the header reads the root there
        let message = Message::parse(&bytes, bytes.len());
        assert_eq!(names(message.anomalies), want, "{row}");
        if let Some(question) = message.question {
            assert_eq!(question.name.labels().count(), labels, "{row}");
            assert_eq!(question.qtype, 1, "{row}");
        }
    }
}

#[test]
fn cut_at_every_offset_keeps_what_is_there() {
    let whole = query(&wire("some-label.of.example.com"), 10);
    for end in 0..whole.len() {
        let message = Message::parse(&whole[..end], whole.len());
        assert!(message.anomalies.has(Anomaly::Cut));
        assert_eq!(message.anomalies.has(Anomaly::ShortHeader), end < HEADER_LEN);
        assert!(message.question.is_none());
        assert_eq!(message.header.id == 0x1234, end >= HEADER_LEN);
    }
}

#[test]
fn sections_edns_and_what_trails() {
    let mut bytes = query(&wire("a.test"), 16);
    bytes[2] = 0x81; // response
    bytes[7] = 1; // one answer
    bytes[11] = 1; // one additional
    bytes.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e");
    bytes.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0\0\x08\0\x0c\0\x04pad!");
    let message = Message::parse(&bytes, bytes.len());
    assert_eq!(names(message.anomalies), Vec::<&str>::new());
    let first = message.records().next().unwrap();
    assert_eq!((first.section, first.rtype, first.ttl), (Section::Answer, rtype::CNAME, 60));
    assert_eq!(Canonical::new(first.name).to_string(), "a.test");
    assert_eq!(Canonical::new(first.target().unwrap()).to_string(), "b.test");
    let edns = message.edns.unwrap();
    assert_eq!((edns.udp_size, edns.flags), (1232, 0x8000));
    assert_eq!(edns.options().collect::<Vec<_>>(), [(12, &b"pad!"[..])]);

    let mut trailing = bytes.clone();
    trailing.extend_from_slice(b"hidden");
    let message = Message::parse(&trailing, trailing.len());
    assert_eq!((names(message.anomalies), message.trailing), (vec!["trailing_bytes"], &b"hidden"[..]));

    let mut lies = bytes.clone();
    lies[7] = 9;
    let message = Message::parse(&lies, lies.len());
    assert_eq!(names(message.anomalies), ["count_mismatch", "bad_opt"]); // OPT counts as an answer then
    assert_eq!(message.records().count(), 2);

    let mut short = bytes;
    let last = short.len() - 9;
    short[last] = 9; // OPT's RDLENGTH one too long
    let message = Message::parse(&short, short.len());
    assert_eq!(names(message.anomalies), ["bad_rdlength"]);
}

/// What the oracle reads, or `None` where it refuses any part.
type Read = (Vec<Vec<u8>>, u16, u16, Vec<(Vec<Vec<u8>>, u16, u16, u32, Vec<u8>)>);

fn oracle(bytes: &[u8]) -> Option<Read> {
    let message = Oracle::from_octets(bytes).ok()?;
    if message.header_counts().qdcount() != 1 {
        return None;
    }
    let question = message.question().next()?.ok()?;
    let mut records = Vec::new();
    for item in &message {
        let (record, _) = item.ok()?;
        let class: Class = record.class();
        let whole = record.to_record::<UnknownRecordData<_>>().ok()??;
        let rdata = whole.data().data().to_vec();
        records.push((
            oracle_labels(&record.owner()),
            record.rtype().to_int(),
            class.to_int(),
            record.ttl().as_secs(),
            rdata,
        ));
    }
    Some((oracle_labels(question.qname()), question.qtype().to_int(), question.qclass().to_int(), records))
}

fn oracle_labels<O: AsRef<[u8]>>(name: &ParsedName<O>) -> Vec<Vec<u8>>
where
    ParsedName<O>: ToName,
{
    name.iter_labels().filter(|l| !l.is_root()).map(|l| l.as_slice().to_vec()).collect()
}

fn ours(bytes: &[u8]) -> Option<Read> {
    let message = Message::parse(bytes, bytes.len());
    let labels = |name: Name<'_>| name.labels().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let question = message.question?;
    let records =
        message.records().map(|r| (labels(r.name), r.rtype, r.class, r.ttl, r.rdata.to_vec())).collect();
    Some((labels(question.name), question.qtype, question.qclass, records))
}

/// Messages with compression, all sections, and then perhaps some bytes changed.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let label = prop::collection::vec(any::<u8>(), 1..20);
    let name = prop::collection::vec(label, 0..6);
    let record =
        (any::<bool>(), name.clone(), any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40));
    let parts = (name, any::<u16>(), prop::collection::vec(record, 0..6), 0..3usize);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (parts, damage).prop_map(|((qname, qtype, records, section), damage)| {
        let put = |out: &mut Vec<u8>, name: &[Vec<u8>], pointer: bool| {
            for label in name {
                out.push(label.len() as u8);
                out.extend_from_slice(label);
            }
            out.extend_from_slice(if pointer { &[0xc0, 12] } else { &[0] });
        };
        let mut out = vec![7, 7, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        out[7 + 2 * section] = records.len() as u8;
        put(&mut out, &qname, false);
        out.extend_from_slice(&qtype.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        for (pointer, name, rtype, ttl, rdata) in records {
            put(&mut out, &name, pointer);
            out.extend_from_slice(&rtype.to_be_bytes());
            out.extend_from_slice(&[0, 1]);
            out.extend_from_slice(&ttl.to_be_bytes());
            out.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            out.extend_from_slice(&rdata);
        }
        for (index, byte) in damage {
            let at = index.index(out.len());
            out[at] = byte;
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Where the oracle reads a whole message, so do we, and read the same. It follows a pointer to within the run of
    /// labels that the pointer ends; we stop there, as BIND does.
    #[test]
    fn agrees_with_the_oracle(bytes in message()) {
        fuzz(&bytes);
        if let Some(mut want) = oracle(&bytes) {
            let got = ours(&bytes);
            let records = Message::parse(&bytes, bytes.len());
            for ((record, want), got) in records.records().zip(&mut want.3).zip(got.iter().flat_map(|got| &got.3)) {
                if record.name.walk().problem == Some(Anomaly::PointerForward) && want.0.starts_with(&got.0) {
                    want.0.truncate(got.0.len());
                }
            }
            prop_assert_eq!(got, Some(want));
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&bytes);
    }
}
