//! The first sub-names of a key: to show, and to learn a history from as long as they are few.
//!
//! A history takes a kilobyte and most keys see a handful of names ever, so up to that many it is made of them anew when
//! the next one comes.

use super::forms::once;
use crate::model::{History, Unheard};

/// Kept to show.
pub const SHOWN: usize = 3;
/// Kept to learn from.
const LEARNED: usize = 5;
/// Bytes of all of them; the first is kept whatever its length (RFC 1035 section 2.3.4: 254 at most).
const BYTES: usize = 256;

/// End to end, each with what is done with it and its length before it.
#[derive(Debug, Default)]
pub(super) struct Firsts(Vec<u8>);

const HEAD: usize = 2;

impl Firsts {
    /// Bytes beyond `size_of::<Self>()` at most; they are fewer by the zone of the key, which is part of each name.
    pub(super) const HEAP: usize = BYTES + (SHOWN + LEARNED) * HEAD;

    /// Takes a sub-name in wire form that comes after all; whether it is kept for what it is meant for, which is to be
    /// shown, or to be `learned` beside.
    pub(super) fn push(&mut self, sub: &[u8], learned: bool) -> bool {
        let (mut count, mut learned_from, mut bytes) = (0, 0, 0);
        for (sub, learned) in self.all() {
            count += 1;
            learned_from += usize::from(learned);
            bytes += sub.len();
        }
        let wanted = count < SHOWN || learned && learned_from < LEARNED;
        let Ok(len) = u8::try_from(sub.len()) else { return false };
        if !wanted || bytes > 0 && bytes + sub.len() > BYTES {
            return false;
        }
        self.0.reserve_exact(HEAD + sub.len());
        self.0.extend_from_slice(&[u8::from(learned), len]);
        self.0.extend_from_slice(sub);
        true
    }

    /// What was said by those to learn from; `told` gives the part of a sub-name that is learned.
    pub(super) fn history(&self, told: impl Fn(&[u8]) -> &[u8]) -> History {
        let mut history = History::default();
        for (sub, _) in self.all().filter(|(_, learned)| *learned) {
            history.learn(once(told(sub), &mut [0; 255]).0, &mut Unheard);
        }
        history
    }

    /// Lets go those that are only learned from.
    pub(super) fn keep_shown(&mut self) {
        let shown: usize = self.all().take(SHOWN).map(|(sub, _)| HEAD + sub.len()).sum();
        self.0.truncate(shown);
        self.0.shrink_to_fit();
    }

    /// Those to show, the first first, in wire form.
    pub(super) fn shown(&self) -> impl Iterator<Item = &[u8]> {
        self.all().take(SHOWN).map(|(sub, _)| sub)
    }

    /// Each, and whether it is learned from.
    fn all(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (&[learned, len], tail) = rest.split_first_chunk()?;
            let (sub, tail) = tail.split_at_checked(usize::from(len))?;
            rest = tail;
            Some((sub, learned != 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(firsts: &Firsts) -> Vec<&[u8]> {
        firsts.shown().collect()
    }

    #[test]
    fn three_are_shown_and_five_learned_from() {
        let mut firsts = Firsts::default();
        assert!(firsts.push(b"\x01a", true) && firsts.push(b"\x01b", false) && firsts.push(b"\x01c", true));
        assert!(!firsts.push(b"\x01d", false), "nobody needs it");
        let further: Vec<_> = (0..9).map(|_| firsts.push(b"\x01e", true)).collect();
        assert_eq!(further.iter().filter(|kept| **kept).count(), 3);
        assert_eq!(shown(&firsts), [b"\x01a", b"\x01b", b"\x01c"]);
        assert_eq!(firsts.all().filter(|(_, learned)| *learned).count(), LEARNED);
        firsts.keep_shown();
        assert_eq!(firsts.0.capacity(), 3 * (HEAD + 2));
        assert_eq!(shown(&firsts), [b"\x01a", b"\x01b", b"\x01c"]);
    }

    #[test]
    fn room_is_bounded() {
        let mut firsts = Firsts::default();
        let long = [b'x'; 254];
        assert!(firsts.push(&long, true), "the first");
        assert!(!firsts.push(b"\x02ab", true) && firsts.push(b"\x01a", true));
        assert_eq!(shown(&firsts), [&long[..], b"\x01a"]);
        assert!(firsts.0.capacity() <= Firsts::HEAP);
        assert!(!Firsts::default().push(&[b'x'; 256], true), "no name is so long");
    }
}
