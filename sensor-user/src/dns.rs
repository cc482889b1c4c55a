//! A DNS message as it lies in the packet: no copy, no allocation, and no error that loses it.
//!
//! Wire forms are those of RFC 1035 section 4, RFC 2181 section 11 and RFC 6891. What is wrong with a message is a value
//! ([`Anomalies`]) beside whatever could still be read: a sensor looks hardest at the messages that others refuse.

pub mod anomaly;
pub mod canonical;
pub mod carrier;
pub mod name;
pub mod names;
pub mod rdata;
pub mod record;

pub use anomaly::{Anomalies, Anomaly};
pub use canonical::{Canonical, labels};
pub use name::Name;
pub use record::{Edns, Record, Records, Section};

/// Record types by number (IANA DNS parameters), those the sensor treats apart.
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const NULL: u16 = 10;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const RRSIG: u16 = 46;
    pub const NSEC: u16 = 47;
    pub const DNSKEY: u16 = 48;
    pub const NSEC3: u16 = 50;
    pub const NSEC3PARAM: u16 = 51;
    pub const CDS: u16 = 59;
    pub const CDNSKEY: u16 = 60;
    pub const SVCB: u16 = 64;
    pub const HTTPS: u16 = 65;
    pub const CAA: u16 = 257;
}

/// Bytes of a header.
pub const HEADER_LEN: usize = 12;

/// Questions walked before the rest is given up: no resolver answers more than one (RFC 9619).
const MAX_QUESTIONS: u16 = 4;
/// Records walked before the rest is given up; a 64 KiB message holds at most 5,957 of the smallest (11 bytes).
const MAX_RECORDS: u32 = 5957;

/// The fixed 12 bytes (RFC 1035 section 4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub id: u16,
    /// QR to RCODE.
    pub flags: u16,
    /// Questions, answers, authority and additional records as the sender counts them.
    pub counts: [u16; 4],
}

impl Header {
    pub fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub fn opcode(self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    /// TC: the sender cut the message.
    pub fn is_truncated(self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// The low four bits; EDNS may add eight more ([`Edns::rcode_high`]).
    pub fn rcode(self) -> u8 {
        (self.flags & 0xf) as u8
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub name: Name<'a>,
    pub qtype: u16,
    pub qclass: u16,
}

/// One message and what is wrong with it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    pub header: Header,
    /// The first one, if its name and type could be read.
    pub question: Option<Question<'a>>,
    pub edns: Option<Edns<'a>>,
    pub anomalies: Anomalies,
    /// Bytes after the last record.
    pub trailing: &'a [u8],
    records_at: usize,
}

/// What was made out of a message: on another thread its bytes need not be looked at again.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    header: Header,
    /// Type and class.
    question: Option<(u16, u16)>,
    edns: Option<record::EdnsOutline>,
    anomalies: Anomalies,
    /// Bytes.
    trailing: usize,
    records_at: usize,
}

impl Outline {
    /// The message that `Message::outline` was called of; `bytes` are its own.
    pub fn of(self, bytes: &[u8]) -> Message<'_> {
        let Self { header, question, edns, anomalies, trailing, records_at } = self;
        // The first question's name is the first thing after the header.
        let question =
            question.map(|(qtype, qclass)| Question { name: Name::new(bytes, HEADER_LEN), qtype, qclass });
        Message {
            bytes,
            header,
            question,
            edns: edns.map(|edns| edns.of(bytes)),
            anomalies,
            trailing: &bytes[bytes.len().saturating_sub(trailing)..],
            records_at,
        }
    }
}

impl<'a> Message<'a> {
    /// Looks at a message of `true_len` bytes on the wire, of which `bytes` were captured. Never fails: see `anomalies`.
    pub fn parse(bytes: &'a [u8], true_len: usize) -> Self {
        let mut message = Self {
            bytes,
            header: Header::default(),
            question: None,
            edns: None,
            anomalies: Anomalies::default(),
            trailing: &[],
            records_at: bytes.len(),
        };
        if true_len > bytes.len() {
            message.anomalies.add(Anomaly::Cut);
        }
        let Some(header) = header(bytes) else {
            message.anomalies.add(Anomaly::ShortHeader);
            return message;
        };
        message.header = header;
        message.check_header();
        if let Some(at) = message.questions() {
            message.records_at = at;
            message.walk_records();
        }
        message
    }

    /// What was made out, without the bytes.
    pub fn outline(&self) -> Outline {
        Outline {
            header: self.header,
            question: self.question.map(|question| (question.qtype, question.qclass)),
            edns: self.edns.map(|edns| edns.outline()),
            anomalies: self.anomalies,
            trailing: self.trailing.len(),
            records_at: self.records_at,
        }
    }

    /// Response code with the eight bits that EDNS adds (RFC 6891 section 6.1.3).
    pub fn rcode(&self) -> u16 {
        let high = self.edns.map_or(0, |edns| edns.rcode_high);
        u16::from(high) << 4 | u16::from(self.header.rcode())
    }

    /// All records in wire order; ends where one cannot be read.
    pub fn records(&self) -> Records<'a> {
        Records::new(self.bytes, self.records_at, self.header.counts)
    }

    fn check_header(&mut self) {
        let Header { flags, counts, .. } = self.header;
        if flags & 0x0040 != 0 {
            self.anomalies.add(Anomaly::ReservedBit);
        }
        if self.header.opcode() != 0 {
            self.anomalies.add(Anomaly::Opcode);
        } else if counts[0] != 1 {
            self.anomalies.add(if counts[0] == 0 { Anomaly::NoQuestion } else { Anomaly::ManyQuestions });
        }
        if !self.header.is_response() && self.header.opcode() == 0 && (counts[1] != 0 || counts[2] != 0) {
            self.anomalies.add(Anomaly::AnswerInQuery);
        }
    }

    /// Walks the question section; `None` where its end is unknown.
    fn questions(&mut self) -> Option<usize> {
        let mut at = HEADER_LEN;
        for index in 0..self.header.counts[0] {
            if index == MAX_QUESTIONS {
                self.anomalies.add(Anomaly::CountMismatch);
                return None;
            }
            let name = Name::new(self.bytes, at);
            let walked = name.walk();
            if walked.compressed {
                self.anomalies.add(Anomaly::PointerInQuestion);
            }
            if let Some(problem) = walked.problem {
                self.anomalies.add(problem);
            }
            let fixed = walked.end.and_then(|end| Some((end + 4, self.bytes.get(end..end + 4)?)));
            let Some((end, fixed)) = fixed else {
                self.anomalies.add(Anomaly::CountMismatch);
                return None;
            };
            if index == 0 {
                let qtype = u16::from_be_bytes([fixed[0], fixed[1]]);
                let qclass = u16::from_be_bytes([fixed[2], fixed[3]]);
                self.question = Some(Question { name, qtype, qclass });
            }
            at = end;
        }
        Some(at)
    }

    fn walk_records(&mut self) {
        let mut records = self.records();
        let mut walked = 0;
        // Most owners are the question's name: where that is sound, so is what points to it.
        let sound = self.question.is_some_and(|question| question.name.plain().is_some());
        for record in records.by_ref().take(MAX_RECORDS as usize) {
            walked += 1;
            // What is wrong with the owner name, if its end could be found all the same.
            let is_question = sound && record.name.is_pointer_to(HEADER_LEN as u8);
            if !is_question && let Some(problem) = record.name.walk().problem {
                self.anomalies.add(problem);
            }
            if record.rtype != rtype::OPT {
                continue;
            }
            let edns = Edns::new(&record);
            if record.section != Section::Additional || self.edns.is_some() || !record.name.is_root() {
                self.anomalies.add(Anomaly::BadOpt);
            }
            if !edns.is_well_formed() {
                self.anomalies.add(Anomaly::BadEdnsOption);
            }
            self.edns.get_or_insert(edns);
        }
        let [_, an, ns, ar] = self.header.counts.map(u32::from);
        if walked < an + ns + ar {
            self.anomalies.add(records.problem().unwrap_or(Anomaly::CountMismatch));
        } else {
            self.trailing = &self.bytes[records.at().min(self.bytes.len())..];
            if !self.trailing.is_empty() {
                self.anomalies.add(Anomaly::TrailingBytes);
            }
        }
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    let (head, _) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let word = |i: usize| u16::from_be_bytes([head[i], head[i + 1]]);
    Some(Header { id: word(0), flags: word(2), counts: [word(4), word(6), word(8), word(10)] })
}

/// Fuzz entry: reads everything that can be read from any bytes, and checks what must hold of it.
pub fn fuzz(bytes: &[u8]) {
    let message = Message::parse(bytes, bytes.len());
    assert_eq!(format!("{message:?}"), format!("{:?}", message.outline().of(bytes)));
    if let Some(question) = &message.question {
        let canonical = Canonical::new(question.name);
        assert!(canonical.wire().len() <= 255 && canonical.labels() <= 127);
        let by_labels = Canonical::from_labels(question.name.labels());
        assert_eq!(canonical.wire(), by_labels.wire());
        assert!((0..canonical.labels()).all(|index| canonical.label(index) == by_labels.label(index)));
        let _ = canonical.to_string();
    }
    let mut end = 0;
    for record in message.records() {
        assert_eq!(record.name.end(), record.name.walk().end);
        assert!(record.rdata_at >= end, "records overlap");
        end = record.rdata_at + record.rdata.len();
        assert!(end <= bytes.len());
        if let Some(target) = record.target() {
            assert!(target.labels().map(|l| l.len() + 1).sum::<usize>() < 255);
        }
    }
    if let Some(edns) = &message.edns {
        assert!(edns.options().map(|(_, data)| data.len() + 4).sum::<usize>() <= bytes.len());
    }
}

#[cfg(test)]
mod tests;
