//! A name in a message, with its compression pointers (RFC 1035 section 4.1.4).

use super::Anomaly;

/// Longest name in wire form, root label included (RFC 1035 section 2.3.4).
pub const MAX_WIRE: usize = 255;
/// Compression pointers followed in one name. A sender that reuses whole suffixes needs few; without a bound, each of
/// thousands of records could lead through thousands of pointers.
pub const MAX_JUMPS: u8 = 16;

/// Where a name starts. Nothing is checked before [`Name::walk`] or [`Name::labels`].
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    message: &'a [u8],
    start: usize,
}

/// What walking a name to its end shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Offset of the first byte after the name's own bytes (after the first pointer, if there is one).
    pub end: Option<usize>,
    pub compressed: bool,
    pub problem: Option<Anomaly>,
}

impl<'a> Name<'a> {
    pub fn new(message: &'a [u8], start: usize) -> Self {
        Self { message, start }
    }

    /// The labels that can be read, from the left, without the root; at most 127, 254 bytes with their lengths.
    pub fn labels(&self) -> Labels<'a> {
        Labels {
            message: self.message,
            at: self.start,
            floor: self.start,
            room: MAX_WIRE - 1,
            jumps: 0,
            end: None,
            compressed: false,
            problem: None,
            done: false,
        }
    }

    /// The same, as the stretches of labels with their lengths between pointers: most names are one.
    pub fn runs(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut labels = self.labels();
        std::iter::from_fn(move || labels.run())
    }

    pub fn walk(&self) -> Walked {
        if let Some(wire) = self.plain() {
            let end = Some(self.start + wire.len() + 1);
            return Walked { end, compressed: false, problem: None };
        }
        let mut labels = self.labels();
        labels.by_ref().for_each(drop);
        Walked { end: labels.end, compressed: labels.compressed, problem: labels.problem }
    }

    /// Its labels with their lengths where they are all there in one run, as those of nearly every question are; `None`
    /// where there is a pointer, or anything wrong.
    pub(super) fn plain(&self) -> Option<&'a [u8]> {
        let rest = self.message.get(self.start..)?;
        let mut at = 0;
        loop {
            match usize::from(*rest.get(at)?) {
                0 => return rest.get(..at),
                length @ 1..=63 if at + length < MAX_WIRE - 1 => at += length + 1,
                _ => return None,
            }
        }
    }

    /// Offset of the first byte after the name's own bytes, as [`Self::walk`] finds it; no pointer is followed.
    pub fn end(&self) -> Option<usize> {
        skip(self.message, self.start)
    }

    /// Whether it is a pointer to an offset, and nothing before that.
    pub(super) fn is_pointer_to(&self, offset: u8) -> bool {
        self.message.get(self.start..).is_some_and(|rest| rest.starts_with(&[0xc0, offset]))
    }

    pub fn is_root(&self) -> bool {
        self.message.get(self.start) == Some(&0)
    }
}

/// Iterator over the labels of a [`Name`].
///
/// A pointer must point before the place where the run of labels that holds it began, so that every jump goes further
/// back. The walk ends within [`MAX_JUMPS`] pointers, and within 127 labels since their bytes are bounded too.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    message: &'a [u8],
    at: usize,
    /// Start of the current run of labels.
    floor: usize,
    /// Bytes that the name may still take, root label set aside.
    room: usize,
    /// Pointers followed.
    jumps: u8,
    end: Option<usize>,
    compressed: bool,
    problem: Option<Anomaly>,
    done: bool,
}

impl<'a> Labels<'a> {
    fn stop(&mut self, problem: Anomaly) {
        self.problem = Some(problem);
        self.done = true;
    }

    /// The next label, or the pointer that leads to it followed; `None` at the end.
    #[inline]
    fn step(&mut self) -> Option<Step<'a>> {
        if self.done {
            return None;
        }
        let Some(&length) = self.message.get(self.at) else {
            self.stop(Anomaly::NameCut);
            return None;
        };
        match length {
            0 => {
                self.end.get_or_insert(self.at + 1);
                self.done = true;
                return None;
            }
            1..=63 => {
                let length = usize::from(length);
                let from = self.at + 1;
                let Some(label) = self.message.get(from..from + length) else {
                    self.stop(Anomaly::NameCut);
                    return None;
                };
                if self.room > length {
                    self.room -= length + 1;
                    self.at = from + length;
                    return Some(Step::Label(label));
                }
                // The rest is walked for its end only; a name that goes on is still skipped correctly.
                if self.end.is_none() {
                    self.end = skip(self.message, self.at);
                }
                self.stop(Anomaly::NameTooLong);
            }
            0xc0.. => return self.jump(length),
            _ => self.stop(Anomaly::BadLabel),
        }
        None
    }

    fn jump(&mut self, length: u8) -> Option<Step<'a>> {
        let Some(&low) = self.message.get(self.at + 1) else {
            self.stop(Anomaly::NameCut);
            return None;
        };
        self.end.get_or_insert(self.at + 2);
        self.compressed = true;
        let target = usize::from(length & 0x3f) << 8 | usize::from(low);
        if target >= self.floor {
            self.stop(Anomaly::PointerForward);
        } else if self.jumps == MAX_JUMPS {
            self.stop(Anomaly::PointerChain);
        } else {
            self.jumps += 1;
            self.at = target;
            self.floor = target;
            return Some(Step::Pointer);
        }
        None
    }

    /// Labels with their lengths up to the next pointer or the end.
    fn run(&mut self) -> Option<&'a [u8]> {
        loop {
            let start = self.at;
            let mut end = start;
            while let Some(Step::Label(label)) = self.step() {
                end += 1 + label.len();
            }
            if end > start {
                return self.message.get(start..end);
            }
            if self.done {
                return None;
            }
        }
    }
}

/// What stands at a place in a name.
enum Step<'a> {
    Label(&'a [u8]),
    Pointer,
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.step()? {
                Step::Label(label) => return Some(label),
                Step::Pointer => {}
            }
        }
    }
}

/// End of a run of labels, without a bound on their sum.
fn skip(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Anomalies, Message};

    /// Labels and pointers that reading a name takes.
    fn steps(name: Name<'_>) -> usize {
        let mut labels = name.labels();
        labels.by_ref().count() + usize::from(labels.jumps)
    }

    /// `count` pointers, each to the one before it, the first to the root label in front of them; and where the last is.
    fn chain(message: &mut Vec<u8>, count: usize) -> usize {
        let mut target = message.len();
        message.push(0);
        for _ in 0..count {
            let at = message.len();
            message.extend_from_slice(&(0xc000 | target as u16).to_be_bytes());
            target = at;
        }
        target
    }

    #[test]
    fn a_chain_is_followed_so_far_and_no_further() {
        for (count, problem) in
            [(1, None), (16, None), (17, Some(Anomaly::PointerChain)), (8000, Some(Anomaly::PointerChain))]
        {
            let mut message = vec![0; 12];
            let last = chain(&mut message, count);
            let walked = Name::new(&message, last).walk();
            assert_eq!(walked, Walked { end: Some(last + 2), compressed: true, problem }, "{count}");
        }
    }

    #[test]
    fn a_message_of_chains_takes_bounded_steps() {
        let mut message = vec![0, 0, 0x81, 0x80, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
        // A record whose data is the chain, then as many as fit that each start at its end.
        message.extend_from_slice(b"\0\0\x0a\0\x01\0\0\0\0");
        message.extend_from_slice(&(1 + 2 * 8000_u16).to_be_bytes());
        let last = chain(&mut message, 8000);
        while message.len() + 12 <= 65_535 {
            message.extend_from_slice(&(0xc000 | last as u16).to_be_bytes());
            message.extend_from_slice(b"\0\x0a\0\x01\0\0\0\0\0\0");
        }
        let parsed = Message::parse(&message, message.len());
        let mut want = Anomalies::default();
        for anomaly in [Anomaly::NoQuestion, Anomaly::CountMismatch, Anomaly::PointerChain] {
            want.add(anomaly);
        }
        assert_eq!(parsed.anomalies, want);
        let (records, steps) =
            parsed.records().fold((0, 0), |(n, sum), record| (n + 1, sum + steps(record.name)));
        assert!(records > 4000, "{records}");
        assert!(steps <= records * usize::from(MAX_JUMPS), "{steps} for {records} records");
    }
}
