//! Resource records (RFC 1035 section 4.1.3) and EDNS (RFC 6891).

use super::{Anomaly, Name, rtype};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub section: Section,
    pub name: Name<'a>,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    pub rdata: &'a [u8],
    /// Offset of `rdata` in the message.
    pub rdata_at: usize,
    message: &'a [u8],
}

impl<'a> Record<'a> {
    /// The name that the rdata points to: CNAME, DNAME, NS, PTR, MX, SRV, SVCB, HTTPS.
    pub fn target(&self) -> Option<Name<'a>> {
        let skip = match self.rtype {
            rtype::CNAME | rtype::DNAME | rtype::NS | rtype::PTR => 0,
            rtype::MX | rtype::SVCB | rtype::HTTPS => 2,
            rtype::SRV => 6,
            _ => return None,
        };
        // A name may lead out of the rdata by pointers, but not start outside it, nor run past its end.
        let within = &self.message[..self.rdata_at + self.rdata.len()];
        (self.rdata.len() > skip).then(|| Name::new(within, self.rdata_at + skip))
    }
}

/// Iterator over the records of all three sections.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: [u16; 3],
    problem: Option<Anomaly>,
}

impl<'a> Records<'a> {
    pub(super) fn new(message: &'a [u8], at: usize, [_, an, ns, ar]: [u16; 4]) -> Self {
        Self { message, at, left: [an, ns, ar], problem: None }
    }

    /// Offset of the first byte not read yet.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Why the walk ended early.
    pub(super) fn problem(&self) -> Option<Anomaly> {
        self.problem
    }

    fn read(&mut self, section: Section) -> Option<Record<'a>> {
        let name = Name::new(self.message, self.at);
        let Some(end) = name.end() else {
            // Nothing left at all is a count that lies, not a cut name.
            self.problem = name.walk().problem.filter(|_| self.at < self.message.len());
            return None;
        };
        let fixed = self.message.get(end..end + 10)?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let rdata_at = end + 10;
        let Some(rdata) = self.message.get(rdata_at..rdata_at + length) else {
            self.problem = Some(Anomaly::BadRdlength);
            return None;
        };
        self.at = rdata_at + length;
        Some(Record {
            section,
            name,
            rtype: u16::from_be_bytes([fixed[0], fixed[1]]),
            class: u16::from_be_bytes([fixed[2], fixed[3]]),
            ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            rdata,
            rdata_at,
            message: self.message,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];
        let index = self.left.iter().position(|left| *left > 0)?;
        self.left[index] -= 1;
        let record = self.read(SECTIONS[index]);
        if record.is_none() {
            self.left = [0; 3];
        }
        record
    }
}

/// The OPT pseudo-record.
#[derive(Clone, Copy, Debug)]
pub struct Edns<'a> {
    /// Largest UDP payload the sender takes.
    pub udp_size: u16,
    pub rcode_high: u8,
    pub version: u8,
    /// DO and reserved bits.
    pub flags: u16,
    rdata: &'a [u8],
    /// Offset of the options in the message.
    rdata_at: usize,
}

/// As `Edns`, with the place of the options instead of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdnsOutline {
    udp_size: u16,
    rcode_high: u8,
    version: u8,
    flags: u16,
    rdata: (usize, usize),
}

impl EdnsOutline {
    pub(super) fn of(self, bytes: &[u8]) -> Edns<'_> {
        let Self { udp_size, rcode_high, version, flags, rdata: (rdata_at, end) } = self;
        let rdata = bytes.get(rdata_at..end).unwrap_or_default();
        Edns { udp_size, rcode_high, version, flags, rdata, rdata_at }
    }
}

impl<'a> Edns<'a> {
    pub(super) fn new(record: &Record<'a>) -> Self {
        let [rcode_high, version, high, low] = record.ttl.to_be_bytes();
        let flags = u16::from_be_bytes([high, low]);
        let (rdata, rdata_at) = (record.rdata, record.rdata_at);
        Self { udp_size: record.class, rcode_high, version, flags, rdata, rdata_at }
    }

    pub(super) fn outline(&self) -> EdnsOutline {
        let Self { udp_size, rcode_high, version, flags, rdata, rdata_at } = *self;
        EdnsOutline { udp_size, rcode_high, version, flags, rdata: (rdata_at, rdata_at + rdata.len()) }
    }

    /// Option codes and their data; ends at the first that does not fit.
    pub fn options(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.rdata;
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let (data, after) = tail.split_at_checked(length)?;
            rest = after;
            Some((u16::from_be_bytes([head[0], head[1]]), data))
        })
    }

    pub(super) fn is_well_formed(&self) -> bool {
        self.options().map(|(_, data)| data.len() + 4).sum::<usize>() == self.rdata.len()
    }
}
