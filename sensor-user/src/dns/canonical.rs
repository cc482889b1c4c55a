//! A name as the ledger knows it: one uncompressed copy on the stack, ASCII letters lower-cased (RFC 4343).

use std::fmt;

use super::Name;
use super::name::MAX_WIRE;

/// Lower-cased wire form without the root label, and where each label starts.
pub struct Canonical {
    /// Zeros behind the labels.
    bytes: [u8; ROOM],
    starts: [u8; 128],
    len: u8,
    labels: u8,
    /// Letters of either case, and those in upper case: what the case pattern could carry.
    pub letters: u8,
    pub upper: u8,
}

/// Room for a name in pieces that letters are lower-cased by.
const ROOM: usize = MAX_WIRE.next_multiple_of(EACH);
const EACH: usize = 16;

impl Clone for Canonical {
    fn clone(&self) -> Self {
        let Self { bytes, starts, len, labels, letters, upper } = *self;
        Self { bytes, starts, len, labels, letters, upper }
    }

    /// Copies what there is of it, most names being short.
    fn clone_from(&mut self, other: &Self) {
        let Self { bytes, starts, len, labels, letters, upper } = other;
        // What is zero there is zero here.
        let used = usize::from(self.len.max(*len));
        self.bytes[..used].copy_from_slice(&bytes[..used]);
        let used = usize::from(*labels);
        self.starts[..used].copy_from_slice(&starts[..used]);
        (self.len, self.labels, self.letters, self.upper) = (*len, *labels, *letters, *upper);
    }
}

impl Canonical {
    pub fn new(name: Name<'_>) -> Self {
        let mut own = Self::root();
        if let Some(wire) = name.plain() {
            own.bytes[..wire.len()].copy_from_slice(wire);
            own.len = wire.len() as u8;
        } else {
            for run in name.runs() {
                let at = usize::from(own.len);
                own.bytes[at..at + run.len()].copy_from_slice(run);
                own.len += run.len() as u8;
            }
        }
        let mut at = 0;
        while at < own.len {
            own.starts[usize::from(own.labels)] = at;
            own.labels += 1;
            at += 1 + own.bytes[usize::from(at)];
        }
        own.lower();
        own
    }

    /// Labels beyond 254 bytes with their lengths are left out ([`Name::labels`] gives no more).
    pub fn from_labels<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut name = Self::root();
        for label in labels {
            let at = usize::from(name.len);
            let end = at + 1 + label.len();
            if label.is_empty() || label.len() > 63 || end >= MAX_WIRE {
                break;
            }
            name.bytes[at] = label.len() as u8;
            name.bytes[at + 1..end].copy_from_slice(label);
            name.starts[usize::from(name.labels)] = at as u8;
            name.labels += 1;
            name.len = end as u8;
        }
        name.lower();
        name
    }

    fn root() -> Self {
        Self { bytes: [0; ROOM], starts: [0; 128], len: 0, labels: 0, letters: 0, upper: 0 }
    }

    /// Lower-cases all labels at once: lengths are at most 63 and thus no letters, and neither is what is left empty.
    fn lower(&mut self) {
        // Without branches and side by side, so that the compiler takes sixteen at a time.
        let (mut upper, mut letters) = ([0_u8; EACH], [0_u8; EACH]);
        let (pieces, _) = self.bytes.as_chunks_mut::<EACH>();
        for piece in pieces.iter_mut().take(usize::from(self.len).div_ceil(EACH)) {
            for (at, byte) in piece.iter_mut().enumerate() {
                let is_upper = u8::from(byte.is_ascii_uppercase());
                *byte |= is_upper << 5;
                upper[at] += is_upper;
                letters[at] += u8::from(byte.is_ascii_lowercase());
            }
        }
        self.upper = upper.iter().sum();
        self.letters = letters.iter().sum();
    }

    /// For tests and text sources: dots separate labels.
    pub fn from_text(text: &str) -> Self {
        Self::from_labels(text.split('.').filter(|l| !l.is_empty()).map(str::as_bytes))
    }

    /// Lengths and labels, root left out.
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// A label, 0 being the leftmost.
    pub fn label(&self, index: usize) -> &[u8] {
        let at = usize::from(self.starts[..self.labels()][index]);
        &self.bytes[at + 1..at + 1 + usize::from(self.bytes[at])]
    }

    /// Wire form of the rightmost `labels` labels.
    pub fn suffix(&self, labels: usize) -> &[u8] {
        &self.wire()[self.split(labels)..]
    }

    /// Wire form of what is left of the rightmost `labels` labels.
    pub fn prefix(&self, labels: usize) -> &[u8] {
        &self.wire()[..self.split(labels)]
    }

    fn split(&self, labels: usize) -> usize {
        match self.labels().checked_sub(labels) {
            Some(index) if index < self.labels() => usize::from(self.starts[index]),
            Some(_) => usize::from(self.len),
            None => 0,
        }
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self.wire()))
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canonical({self})")
    }
}

/// Presentation form (RFC 1035 section 5.1) of wire-form labels: `\.` and `\\` for those bytes, `\DDD` for bytes that do
/// not print; the root is `.`.
pub fn text(mut wire: &[u8]) -> String {
    use fmt::Write as _;
    let mut out = String::with_capacity(wire.len());
    while let Some((&length, rest)) = wire.split_first() {
        let (label, rest) = rest.split_at(usize::from(length).min(rest.len()));
        if !out.is_empty() {
            out.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' => {
                    out.push('\\');
                    out.push(char::from(byte));
                }
                0x21..=0x7e => out.push(char::from(byte)),
                _ => {
                    let _ = write!(out, "\\{byte:03}");
                }
            }
        }
        wire = rest;
    }
    if out.is_empty() {
        out.push('.');
    }
    out
}

/// Labels of a wire form without the root; ends where one is cut.
pub fn labels(mut wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = wire.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        wire = rest;
        Some(label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_over_another_name_leaves_nothing_of_it() {
        let names =
            ["", "a", "www.example.com", "a.b.c.d.e.f.g.h", "LONGER-label.than.the-others.example.org"];
        for (before, after) in names.iter().flat_map(|before| names.map(|after| (before, after))) {
            let (mut copy, name) = (Canonical::from_text(before), Canonical::from_text(after));
            copy.clone_from(&name);
            assert_eq!((copy.bytes, copy.len, copy.labels), (name.bytes, name.len, name.labels));
            assert_eq!((copy.letters, copy.upper), (name.letters, name.upper));
            assert!(
                (0..name.labels()).all(|index| copy.label(index) == name.label(index)),
                "{before} {after}"
            );
        }
    }

    #[test]
    fn every_byte_is_lower_cased_and_counted_as_one_by_one() {
        for at in 0..11 {
            for byte in 0..=u8::MAX {
                let mut label = *b"aZ-@[`{A_z9";
                label[at] = byte;
                let name = Canonical::from_labels([&label[..], b"Xy"].into_iter());
                assert_eq!(name.label(0), label.to_ascii_lowercase());
                let all = [&label[..], b"Xy"].concat();
                let count = |is: fn(&u8) -> bool| all.iter().filter(|byte| is(byte)).count();
                assert_eq!(usize::from(name.letters), count(u8::is_ascii_alphabetic), "{byte}");
                assert_eq!(usize::from(name.upper), count(u8::is_ascii_uppercase), "{byte}");
            }
        }
    }
}
