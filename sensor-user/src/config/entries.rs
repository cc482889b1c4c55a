//! Lists of tables in a configuration, such as `[[sink]]`: one table of keys for each list, as for the sections. Each
//! entry has a name; a later file adds entries, or replaces the one of the same name.

use std::fmt::Write as _;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::change::{Change, told};
use super::value::{Allowed, Refusal};
use super::{as_written, unknown};
use crate::escape::escape;

/// What a list is made of.
pub(super) trait Entry: Clone + Default + 'static {
    /// As it stands in the double brackets.
    const SECTION: &'static str;
    const DOC: &'static str;
    /// Keys of one entry, commented out in a configuration that has none.
    const EXAMPLE: &'static [&'static str];
    const MAX: usize;
    const KEYS: &'static [Key<Self>];
    /// Keys that an entry cannot do without.
    const NEEDED: &'static [&'static str];
    /// Why a running sensor cannot take changes over; none: it can.
    const RESTART: Option<&'static str>;
    /// What tells entries apart that have different keys.
    type Kind: Copy + PartialEq + 'static;

    fn kind(&self) -> Self::Kind;
    fn kind_name(kind: Self::Kind) -> &'static str;
    fn name(&self) -> &str;
    /// In a few words, without what may be a secret.
    fn summary(&self) -> String;
    /// What of it cannot be, with what to do.
    fn check(&self) -> Result<(), String>;
}

/// One key of an entry.
pub(super) struct Key<T: Entry> {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) allowed: Allowed,
    /// Kinds that the key is for; none: all.
    pub(super) only: &'static [T::Kind],
    /// What stands behind a `?` of its value may be a password, and is not told.
    pub(super) secret: bool,
    pub(super) read: fn(&mut T, &DeValue<'_>) -> Result<(), Refusal>,
    /// As TOML; empty: it is not set.
    pub(super) show: fn(&T) -> String,
}

impl<T: Entry> Key<T> {
    pub(super) fn is_for(&self, entry: &T) -> bool {
        self.only.is_empty() || self.only.contains(&entry.kind())
    }

    /// `http, file`; nothing where it is for all.
    pub(super) fn whose(&self) -> String {
        let names: Vec<_> = self.only.iter().map(|kind| T::kind_name(*kind)).collect();
        names.join(", ")
    }

    /// A value as far as it may be told.
    fn told(&self, entry: &T) -> String {
        let shown = (self.show)(entry);
        match shown.find('?').filter(|_| self.secret) {
            Some(at) => told(&format!("{}?***\"", &shown[..at])),
            None if shown.is_empty() => NONE.to_owned(),
            None => told(&shown),
        }
    }
}

/// The struct of an entry, its defaults and its table of keys.
macro_rules! entry {
    (
        $(#[$meta:meta])* $Entry:ident;
        $( #[doc = $doc:literal] $field:ident ($name:literal, $only:expr): $type:ty = $default:expr, $allowed:expr
        $(, secret: $secret:literal)?; )*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Entry {
            $( #[doc = $doc] pub $field: $type, )*
        }

        impl Default for $Entry {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        const KEYS: &[super::entries::Key<$Entry>] = &[ $( super::entries::Key {
            name: $name,
            doc: $doc,
            allowed: $allowed,
            only: $only,
            secret: false $(|| $secret)?,
            read: |entry, value| {
                entry.$field = super::value::Setting::read(value, &$allowed)?;
                Ok(())
            },
            show: |entry| super::value::Setting::show(&entry.$field),
        }, )* ];
    };
}
pub(super) use entry;

const NONE: &str = "none";

/// Takes over the entries of one file.
pub(super) fn read<T: Entry>(
    list: &mut Vec<T>,
    value: &Spanned<DeValue<'_>>,
    text: &str,
    problems: &mut Vec<(usize, String)>,
) {
    let section = T::SECTION;
    let at = value.span().start;
    let Some(entries) = value.get_ref().as_array() else {
        problems.push((at, format!("`{section}` is a list: write [[{section}]] and its keys below it")));
        return;
    };
    let mut seen = Vec::new();
    for entry in entries {
        let at = entry.span().start;
        let Some(table) = entry.get_ref().as_table() else {
            let what = format!("`{section}` is a list of tables: write [[{section}]] and its keys below it");
            problems.push((at, what));
            return;
        };
        let before = problems.len();
        let entry: T = one(table, at, text, problems);
        if problems.len() > before {
            continue;
        }
        let name = entry.name().to_owned();
        if let Err(problem) = entry.check() {
            problems.push((at, problem));
        } else if seen.contains(&name) {
            problems.push((
                at,
                format!("two of [[{section}]] are called `{}`: give each its own `name`", escape(&name)),
            ));
        } else if let Some(same) = list.iter_mut().find(|known| known.name() == name) {
            *same = entry;
        } else if list.len() == T::MAX {
            problems.push((at, format!("more than {} of [[{section}]]", T::MAX)));
        } else {
            list.push(entry);
        }
        seen.push(name);
    }
}

/// One entry; what is wrong with it goes to `problems`, with where in `text`.
pub(super) fn one<T: Entry>(
    table: &DeTable<'_>,
    at: usize,
    text: &str,
    problems: &mut Vec<(usize, String)>,
) -> T {
    let mut entry = T::default();
    let section = T::SECTION;
    let find = |name: &str| T::KEYS.iter().find(|key| key.name == name);
    for needed in T::NEEDED.iter().filter_map(|name| find(name)) {
        if !table.keys().any(|name| name.get_ref() == needed.name) {
            let a = if section.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            problems.push((at, format!("{a} {section} needs its `{}`: {}", needed.name, needed.allowed)));
        }
    }
    for (name, value) in table {
        let at = name.span().start;
        let written = text.get(value.span()).unwrap_or_default();
        let Some(key) = find(name.get_ref()) else {
            let names = T::KEYS.iter().map(|key| key.name);
            problems.push((at, unknown("key", name.get_ref(), names, Some((section, written)))));
            continue;
        };
        if (key.read)(&mut entry, value.get_ref()).is_err() {
            let written = as_written(&key.allowed, written, value.get_ref());
            let what = format!("{section}.{} = {written} is not allowed: use {}", key.name, key.allowed);
            problems.push((at, what));
        }
    }
    for (name, _) in table {
        if let Some(key) = find(name.get_ref()).filter(|key| !key.is_for(&entry)) {
            let kind = T::kind_name(entry.kind());
            let what =
                format!("{section}.{} means nothing for type {kind}, but for {}", key.name, key.whose());
            problems.push((name.span().start, what));
        }
    }
    entry
}

/// The entries in force as TOML; the keys as comments, and an example where there is none.
pub(super) fn to_toml<T: Entry>(list: &[T]) -> String {
    let section = T::SECTION;
    let mut text = format!("\n# {}\n", T::DOC);
    for key in T::KEYS {
        let whose = key.whose();
        let whose = if whose.is_empty() { String::new() } else { format!("for {whose}; ") };
        let _ = writeln!(text, "#   {} ({whose}{}):{}", key.name, key.allowed, key.doc);
    }
    if list.is_empty() {
        let _ = writeln!(text, "# [[{section}]]");
        for line in T::EXAMPLE {
            let _ = writeln!(text, "# {line}");
        }
    }
    for entry in list {
        let _ = writeln!(text, "[[{section}]]");
        for key in T::KEYS.iter().filter(|key| key.is_for(entry)) {
            let shown = (key.show)(entry);
            if !shown.is_empty() {
                let _ = writeln!(text, "{} = {shown}", key.name);
            }
        }
    }
    text
}

/// Keys of the entries whose value is not the default: see `Config::other_than_default`.
pub(super) fn other_than_default<T: Entry>(list: &[T]) -> impl Iterator<Item = (String, Allowed, String)> {
    let default = T::default();
    list.iter().enumerate().flat_map(move |(at, entry)| {
        let keys =
            T::KEYS.iter().filter(|key| key.is_for(entry) && (key.show)(entry) != (key.show)(&default));
        let named = |key: &Key<T>| format!("{}[{at}].{}", T::SECTION, key.name);
        keys.map(|key| (named(key), key.allowed, (key.show)(entry))).collect::<Vec<_>>()
    })
}

/// What `config explain` prints of a key of such entries, or of all.
pub(super) fn explain<T: Entry>(list: &[T], asked: Option<&str>) -> Result<String, String> {
    let section = T::SECTION;
    let mut text = String::new();
    if asked.is_none() {
        let _ = writeln!(text, "[[{section}]] {}\n", T::DOC);
    }
    let keys: Vec<_> = T::KEYS.iter().filter(|key| asked.is_none_or(|asked| key.name == asked)).collect();
    if keys.is_empty() {
        let names = T::KEYS.iter().map(|key| key.name);
        return Err(unknown("key", asked.unwrap_or_default(), names, Some((section, "?"))));
    }
    let default = T::default();
    for (at, key) in keys.iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
        let usual = if T::NEEDED.contains(&key.name) { String::new() } else { (key.show)(&default) };
        let _ = write!(
            text,
            "{gap}{section}.{}\n {}\n  allowed  {}\n  default  {}\n  for      {}\n",
            key.name,
            key.doc,
            key.allowed,
            or(usual, NONE),
            or(key.whose(), "every entry")
        );
        for entry in list.iter().filter(|entry| key.is_for(entry)) {
            let _ = writeln!(text, "  in force {} for {}", or((key.show)(entry), NONE), entry.name());
        }
    }
    Ok(text)
}

/// What one list has otherwise than another.
pub(super) fn changes<T: Entry>(old: &[T], new: &[T], list: &mut Vec<Change>) {
    let change = |key: String, old: String, new: String| Change {
        key: format!("{}.{key}", T::SECTION),
        old,
        new,
        restart: T::RESTART,
    };
    let find = |list: &[T], name: &str| list.iter().position(|entry| entry.name() == name);
    for entry in old {
        let Some(at) = find(new, entry.name()) else {
            list.push(change(entry.name().to_owned(), told(&entry.summary()), NONE.to_owned()));
            continue;
        };
        let other = &new[at];
        for key in T::KEYS.iter().filter(|key| key.is_for(entry) || key.is_for(other)) {
            if (key.show)(entry) == (key.show)(other) {
                continue;
            }
            let (old, mut new) = (key.told(entry), key.told(other));
            if old == new {
                new.push_str(" (another, not shown)");
            }
            list.push(change(format!("{}.{}", entry.name(), key.name), old, new));
        }
    }
    for entry in new.iter().filter(|entry| find(old, entry.name()).is_none()) {
        list.push(change(entry.name().to_owned(), NONE.to_owned(), told(&entry.summary())));
    }
}
