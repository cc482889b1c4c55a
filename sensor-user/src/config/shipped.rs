//! What packages ship of the key table: a configuration that sets nothing, and the words of earthdog.toml(5).

use super::assets::Asset;
use super::entries::Entry;
use super::sinks::Sink;
use super::suppress::Suppress;
use super::{Config, LISTS};

/// A list of tables, such as `[[sink]]`.
#[derive(Debug)]
pub struct List {
    /// As it stands in the double brackets.
    pub section: &'static str,
    pub doc: &'static str,
    /// Name, and what it means and may be.
    pub keys: Vec<(&'static str, String)>,
}

/// All of them.
pub fn lists() -> [List; LISTS.len()] {
    [list::<Sink>(), list::<Suppress>(), list::<Asset>()]
}

fn list<T: Entry>() -> List {
    let key = |key: &super::entries::Key<T>| {
        let whose = key.whose();
        let whose = if whose.is_empty() { String::new() } else { format!(" For {whose}.") };
        (key.name, format!("{} Allowed: {}.{whose}", key.doc.trim(), key.allowed))
    };
    List { section: T::SECTION, doc: T::DOC, keys: T::KEYS.iter().map(key).collect() }
}

/// Every key at its default and commented out, so that an upgrade's defaults hold; sections are open, so that a key is
/// set by taking its `#` away.
pub fn commented() -> String {
    let mut text = "# Nothing here is needed: every key is at its default and commented out. Files of conf.d beside this one are read\n\
                    # after it. `earthdog config check` says what is wrong, `earthdog config explain KEY` what is in force.\n\n"
        .to_owned();
    for line in Config::default().to_toml().lines() {
        let is_key = !line.is_empty() && !line.starts_with(['#', '[']);
        text += if is_key { "#" } else { "" };
        text += line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, SECTIONS};

    #[test]
    fn what_is_shipped_sets_nothing_and_has_every_key() {
        let text = commented();
        assert_eq!(Config::parse(&text, "shipped").unwrap(), Config::default());
        let is_key = |line: &&str| {
            line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        };
        let keys: Vec<_> = text.lines().filter(is_key).collect();
        assert_eq!(keys.len(), KEYS.len());
        for (section, _) in SECTIONS {
            assert!(text.contains(&format!("\n[{section}]\n")), "{section}");
        }
        // Uncommented, each is a setting of its section: another value than the default is taken over.
        let set = text.replace("\n#max_keys = 8192\n", "\nmax_keys = 17\n");
        assert_eq!(Config::parse(&set, "set").unwrap().ledger.max_keys, 17);
        let all: Vec<_> = text.lines().map(|line| if is_key(&line) { &line[1..] } else { line }).collect();
        assert_eq!(Config::parse(&all.join("\n"), "all").unwrap(), Config::default());
    }

    #[test]
    fn lists_have_their_keys() {
        let lists = lists();
        assert_eq!(lists.each_ref().map(|list| list.section), LISTS);
        assert!(lists.iter().all(|list| list.keys.iter().any(|(name, _)| *name == "name")), "{lists:?}");
    }
}
