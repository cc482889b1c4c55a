//! DNS messages byte for byte (RFC 1035 section 4), right by default, wrong where a test says so.

/// Record types that tests name: those that the sensor treats apart, and two more.
pub mod rtype {
    pub use crate::dns::rtype::*;

    pub const KEY: u16 = 25;
    pub const ANY: u16 = 255;
}

/// A name as bytes on the wire; nothing is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Name(Vec<u8>);

impl Name {
    /// No bytes yet, not even the root label.
    pub fn new() -> Self {
        Self::default()
    }

    /// A label with its true length; over 63 bytes the length byte is what it comes to modulo 256.
    pub fn label(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.push(bytes.as_ref().len() as u8);
        self.0.extend(bytes.as_ref());
        self
    }

    /// The label as many times as asked.
    pub fn labels(self, bytes: impl AsRef<[u8]>, count: usize) -> Self {
        (0..count).fold(self, |name, _| name.label(bytes.as_ref()))
    }

    /// Bytes as they are: lying length bytes, reserved label types.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// A compression pointer to an offset in the message; ends a name.
    pub fn pointer(mut self, offset: u16) -> Self {
        self.0.extend((0xc000 | offset).to_be_bytes());
        self
    }

    /// The root label.
    pub fn root(mut self) -> Self {
        self.0.push(0);
        self
    }

    /// A valid name of exactly so many bytes on the wire, root included, ended by `suffix`; any length but one more
    /// than the suffix's own.
    pub fn of_len(total: usize, suffix: &str) -> Self {
        let tail = Self::from(suffix);
        let mut rest = total.checked_sub(tail.0.len()).expect("suffix longer than the name");
        let mut name = Self::new();
        while rest > 0 {
            // A remainder of one byte cannot be a label, so the last but one gives a byte away.
            let size = match rest {
                65 => 63,
                _ => rest.min(64),
            };
            assert!(size > 1, "no label fits into one byte");
            name = name.label(vec![b'a' + (rest % 26) as u8; size - 1]);
            rest -= size;
        }
        name.raw(&tail.0)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Name {
    /// Dots separate labels (no escapes); the root label is added. `""` and `"."` are the root.
    fn from(text: &str) -> Self {
        text.split('.').filter(|label| !label.is_empty()).fold(Self::new(), Self::label).root()
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// A message in the making; `build` gives its bytes.
#[derive(Clone, Debug)]
#[must_use]
pub struct Message {
    id: u16,
    flags: u16,
    counts: [Option<u16>; 4],
    questions: Vec<(Name, u16, u16)>,
    records: [Vec<Record>; 3],
    tail: Vec<u8>,
    cut: Option<usize>,
}

#[derive(Clone, Debug)]
struct Record {
    owner: Name,
    rtype: u16,
    class: u16,
    ttl: u32,
    rdlength: Option<u16>,
    rdata: Vec<u8>,
}

/// Header bits, in host order.
pub const QR: u16 = 0x8000;
/// See `QR`.
pub const AA: u16 = 0x0400;
/// See `QR`.
pub const TC: u16 = 0x0200;
/// See `QR`.
pub const RD: u16 = 0x0100;
/// See `QR`.
pub const RA: u16 = 0x0080;

impl Message {
    /// A header and nothing else: flags and counts 0.
    pub fn empty() -> Self {
        Self {
            id: 0x1d09,
            flags: 0,
            counts: [None; 4],
            questions: Vec::new(),
            records: [Vec::new(), Vec::new(), Vec::new()],
            tail: Vec::new(),
            cut: None,
        }
    }

    /// A query of class IN with RD set.
    pub fn query(name: impl Into<Name>, qtype: u16) -> Self {
        Self::empty().flags(RD).question(name, qtype, 1)
    }

    /// A response of class IN, without answers, rcode NOERROR.
    pub fn response(name: impl Into<Name>, qtype: u16) -> Self {
        Self::empty().flags(QR | RD | RA).question(name, qtype, 1)
    }

    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// All header bits, opcode and rcode included.
    pub fn flags(mut self, bits: u16) -> Self {
        self.flags = bits;
        self
    }

    /// The low four bits of the flags.
    pub fn rcode(mut self, rcode: u8) -> Self {
        self.flags = (self.flags & !0xf) | u16::from(rcode & 0xf);
        self
    }

    /// Adds a question.
    pub fn question(mut self, name: impl Into<Name>, qtype: u16, qclass: u16) -> Self {
        self.questions.push((name.into(), qtype, qclass));
        self
    }

    /// Adds an answer that points at the first question for its owner name, class IN.
    pub fn answer(self, rtype: u16, ttl: u32, rdata: impl Into<Vec<u8>>) -> Self {
        self.record(0, Name::new().pointer(12), rtype, 1, ttl, rdata)
    }

    /// Adds a record; `section` 0 answer, 1 authority, 2 additional.
    pub fn record(
        mut self,
        section: usize,
        owner: impl Into<Name>,
        rtype: u16,
        class: u16,
        ttl: u32,
        rdata: impl Into<Vec<u8>>,
    ) -> Self {
        let record = Record { owner: owner.into(), rtype, class, ttl, rdlength: None, rdata: rdata.into() };
        self.records[section].push(record);
        self
    }

    /// Adds an OPT record (RFC 6891) with options as (code, data).
    pub fn edns(self, udp_size: u16, options: &[(u16, &[u8])]) -> Self {
        let mut rdata = Vec::new();
        for (code, data) in options {
            rdata.extend(code.to_be_bytes());
            rdata.extend((data.len() as u16).to_be_bytes());
            rdata.extend(*data);
        }
        self.record(2, ".", rtype::OPT, udp_size, 0, rdata)
    }

    /// The RDLENGTH field of the record added last to `section`, against its rdata.
    pub fn rdlength(mut self, section: usize, value: u16) -> Self {
        self.records[section].last_mut().expect("no record in that section").rdlength = Some(value);
        self
    }

    /// Header count `index` (QD, AN, NS, AR), against what is there.
    pub fn count(mut self, index: usize, value: u16) -> Self {
        self.counts[index] = Some(value);
        self
    }

    /// Bytes behind the last record.
    pub fn tail(mut self, bytes: &[u8]) -> Self {
        self.tail = bytes.to_vec();
        self
    }

    /// Cuts the message to so many bytes.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// The message's bytes.
    pub fn build(&self) -> Vec<u8> {
        let there =
            [self.questions.len(), self.records[0].len(), self.records[1].len(), self.records[2].len()];
        let mut out = Vec::with_capacity(64);
        out.extend(self.id.to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        for (count, there) in self.counts.iter().zip(there) {
            out.extend(count.unwrap_or(there as u16).to_be_bytes());
        }
        for (name, qtype, qclass) in &self.questions {
            out.extend(name.as_bytes());
            out.extend(qtype.to_be_bytes());
            out.extend(qclass.to_be_bytes());
        }
        for record in self.records.iter().flatten() {
            out.extend(record.owner.as_bytes());
            out.extend(record.rtype.to_be_bytes());
            out.extend(record.class.to_be_bytes());
            out.extend(record.ttl.to_be_bytes());
            out.extend(record.rdlength.unwrap_or(record.rdata.len() as u16).to_be_bytes());
            out.extend(&record.rdata);
        }
        out.extend(&self.tail);
        if let Some(cut) = self.cut {
            out.truncate(cut);
        }
        out
    }

    /// The message behind its two-byte length (RFC 1035 section 4.2.2), as TCP carries it.
    pub fn prefixed(&self) -> Vec<u8> {
        let message = self.build();
        let mut out = (message.len() as u16).to_be_bytes().to_vec();
        out.extend(message);
        out
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        message.build()
    }
}

/// TXT rdata: character strings of at most 255 bytes each.
pub fn txt(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(255)
        .flat_map(|chunk| std::iter::once(chunk.len() as u8).chain(chunk.iter().copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use domain::base::{Message as Oracle, iana::Rtype, name::ToLabelIter};

    use super::*;

    #[test]
    fn an_independent_parser_reads_query_and_response() {
        let bytes = Message::query("WWW.example.com", rtype::TXT).edns(1232, &[(10, &[1; 8])]).build();
        let oracle = Oracle::from_octets(&bytes[..]).unwrap();
        let question = oracle.sole_question().unwrap();
        assert_eq!(question.qname().to_string(), "WWW.example.com");
        assert_eq!(question.qtype(), Rtype::TXT);
        assert_eq!(oracle.opt().unwrap().udp_payload_size(), 1232);

        let bytes =
            Message::response("a.example", rtype::TXT).answer(rtype::TXT, 60, txt(&[b'x'; 300])).build();
        let oracle = Oracle::from_octets(&bytes[..]).unwrap();
        let record = oracle.answer().unwrap().next().unwrap().unwrap();
        assert_eq!(record.owner().to_string(), "a.example");
        assert_eq!(record.rtype(), Rtype::TXT);
    }

    #[test]
    fn names_of_every_length() {
        for total in 15..=255 {
            let name = Name::of_len(total, "example.com");
            assert_eq!(name.as_bytes().len(), total);
            let bytes = Message::query(name, rtype::A).build();
            let oracle = Oracle::from_octets(&bytes[..]).unwrap();
            assert_eq!(oracle.sole_question().unwrap().qname().compose_len(), total as u16);
        }
    }

    #[test]
    fn labels_counts_and_cuts() {
        let name = Name::new().labels("a", 127).root();
        assert_eq!(name.as_bytes().len(), 255);
        let message = Message::query(name, rtype::A).count(0, 9).cut(100).build();
        assert_eq!((message.len(), message[5]), (100, 9));
        assert_eq!(Name::from("."), Name::new().root());
        assert_eq!(Message::query("a", 1).prefixed()[..2], [0, 19]);
    }
}
