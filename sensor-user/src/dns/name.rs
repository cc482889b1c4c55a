//! A name in a message, with its compression pointers (RFC 1035 section 4.1.4).

use super::Anomaly;

/// Longest name in wire form, root label included (RFC 1035 section 2.3.4).
pub const MAX_WIRE: usize = 255;

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
            end: None,
            compressed: false,
            problem: None,
            done: false,
        }
    }

    pub fn walk(&self) -> Walked {
        let mut labels = self.labels();
        labels.by_ref().for_each(drop);
        Walked { end: labels.end, compressed: labels.compressed, problem: labels.problem }
    }

    pub fn is_root(&self) -> bool {
        self.message.get(self.start) == Some(&0)
    }
}

/// Iterator over the labels of a [`Name`].
///
/// A pointer must point before the place where the run of labels that holds it began, so that every jump goes further
/// back: the walk ends within the message's length, and within 127 labels since their bytes are bounded too.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    message: &'a [u8],
    at: usize,
    /// Start of the current run of labels.
    floor: usize,
    /// Bytes that the name may still take, root label set aside.
    room: usize,
    end: Option<usize>,
    compressed: bool,
    problem: Option<Anomaly>,
    done: bool,
}

impl<'a> Labels<'a> {
    fn stop(&mut self, problem: Anomaly) -> Option<&'a [u8]> {
        self.problem = Some(problem);
        self.done = true;
        None
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.done {
            return None;
        }
        loop {
            let Some(&length) = self.message.get(self.at) else {
                return self.stop(Anomaly::NameCut);
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
                        return self.stop(Anomaly::NameCut);
                    };
                    if self.room < length + 1 {
                        // The rest is walked for its end only; a name that goes on is still skipped correctly.
                        if self.end.is_none() {
                            self.end = skip(self.message, self.at);
                        }
                        return self.stop(Anomaly::NameTooLong);
                    }
                    self.room -= length + 1;
                    self.at = from + length;
                    return Some(label);
                }
                0xc0.. => {
                    let Some(&low) = self.message.get(self.at + 1) else {
                        return self.stop(Anomaly::NameCut);
                    };
                    self.end.get_or_insert(self.at + 2);
                    self.compressed = true;
                    let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if target >= self.floor {
                        return self.stop(Anomaly::PointerForward);
                    }
                    self.at = target;
                    self.floor = target;
                }
                _ => return self.stop(Anomaly::BadLabel),
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
