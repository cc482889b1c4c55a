//! Words of a record that are compiled into whoever writes it: rules, families, names of evidence, views, grades.
//!
//! A record that is read back may have been written by another version, so its words need not be among this one's. They
//! are kept for the life of the process, each once, and no more than [`MAX`] of them: a file with other words in every
//! line must not use up the memory.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize as _, Deserializer, de};

/// A name of its own, so that serde does not ask for input that lives as long as the process.
pub(super) type Word = &'static str;

const MAX: usize = 1024;
const MAX_LEN: usize = 64;

static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
    kept(&String::deserialize(from)?).map_err(de::Error::custom)
}

fn kept(word: &str) -> Result<Word, &'static str> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(word) = known.get(word) {
        return Ok(word);
    }
    if word.len() > MAX_LEN || !word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
        return Err("a rule, family, name of evidence, view or grade is no word");
    }
    if known.len() >= MAX {
        return Err("too many different rules, families or names of evidence");
    }
    let word: Word = Box::leak(word.to_owned().into_boxed_str());
    known.insert(word);
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once_and_what_is_none_is_refused() {
        let (first, again) = (kept("dns-new-rule").unwrap(), kept("dns-new-rule").unwrap());
        assert!(std::ptr::eq(first, again));
        assert!(kept("a b").is_err() && kept("\u{1b}[2J").is_err() && kept(&"x".repeat(65)).is_err());
    }
}
