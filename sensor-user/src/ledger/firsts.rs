//! The first sub-names of a key: to show, and to learn a history from as long as they are few.
//!
//! A history takes a kilobyte and most keys see a handful of short names ever, so up to that many it is made of them anew
//! when the next one comes.

use super::forms::once;
use crate::model::{History, Unheard};

/// Kept to show.
pub const SHOWN: usize = 3;
/// Learned from anew, and their bytes: an attacker may see to it that every key has just so many.
const LEARNED: usize = 5;
const LEARNED_BYTES: usize = 128;
/// Bytes of all; the first is kept whatever its length (RFC 1035 section 2.3.4: 254 at most).
const BYTES: usize = 256;

/// End to end, each with what is done with it and its length before it.
#[derive(Debug, Default)]
pub(super) struct Firsts(Vec<u8>);

const HEAD: usize = 2;

impl Firsts {
    /// Bytes beyond `size_of::<Self>()` at most; they are fewer by the zone of the key, which is part of each name.
    pub(super) const HEAP: usize = BYTES + (SHOWN + LEARNED) * HEAD;

    /// Whether those to learn from are few and short enough, with a further one, to be learned from anew.
    pub(super) fn are_few(&self, sub: &[u8]) -> bool {
        let (count, bytes) = sizes(self.all().filter(|(_, learned)| *learned));
        count < LEARNED && bytes + sub.len() <= LEARNED_BYTES
    }

    /// Takes a sub-name in wire form that comes after all, to be `learned` from or only shown; whether it is kept, which of
    /// the latter the first few are.
    pub(super) fn push(&mut self, sub: &[u8], learned: bool) -> bool {
        let (count, bytes) = sizes(self.all());
        let Ok(len) = u8::try_from(sub.len()) else { return false };
        if !learned && count >= SHOWN || bytes > 0 && bytes + sub.len() > BYTES {
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

/// How many, and their bytes.
fn sizes<'a>(subs: impl Iterator<Item = (&'a [u8], bool)>) -> (usize, usize) {
    subs.fold((0, 0), |(count, bytes), (sub, _)| (count + 1, bytes + sub.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(firsts: &Firsts) -> Vec<&[u8]> {
        firsts.shown().collect()
    }

    #[test]
    fn three_are_shown_and_five_short_ones_learned_from() {
        let mut firsts = Firsts::default();
        assert!(firsts.push(b"\x01a", true) && firsts.push(b"\x01b", false) && firsts.push(b"\x01c", true));
        assert!(!firsts.push(b"\x01d", false), "nobody needs it");
        assert!(!firsts.are_few(&[b'x'; LEARNED_BYTES - 3]) && firsts.are_few(&[b'x'; LEARNED_BYTES - 4]));
        let mut further = 0;
        while firsts.are_few(b"\x01e") {
            assert!(firsts.push(b"\x01e", true));
            further += 1;
        }
        assert_eq!(further, LEARNED - 2);
        assert_eq!(shown(&firsts), [b"\x01a", b"\x01b", b"\x01c"]);
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
