//! Configuration: a strict TOML file over the defaults of one key table.

pub mod assets;
pub mod change;
mod entries;
pub mod files;
mod keys;
pub mod list;
pub mod shipped;
pub mod sinks;
pub mod suppress;
mod table;
mod value;

use std::{collections::HashSet, fmt::Write as _, path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    attribute,
    escape::escape,
    exit::{Code, Error},
    fold,
    inventory::Inventory,
    ledger, pipeline, reassemble, report,
    source::feeds::Feeds,
};

pub use change::{Change, changes};
pub use files::Loaded;
pub use keys::{
    Cmdline, Config, KEYS, Key, Least, Ledger, Live, Novelty, NoveltyFilter, OcsfVersion, Others, Output,
    OutputFormat, OwnZones, OwnerSource, Privacy, Process, RENAMED, Reassembly, SECTIONS, Split, Store,
};
pub use suppress::Suppress;
pub use value::{Allowed, Refusal};

use assets::Asset;
use entries::Entry as _;
use sinks::Sink;

/// What is written in double brackets.
const LISTS: [&str; 3] = [Sink::SECTION, Suppress::SECTION, Asset::SECTION];

impl Key {
    /// The value in force, as TOML has it.
    pub fn value(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

impl Config {
    /// The defaults, with what the file says over them, or those of `/etc/earthdog`. Anything the key table does not
    /// allow is an error that names file, line, key, value and what is allowed; exit code 2.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        Ok(Loaded::read(file, Path::new(files::DIRECTORY))?.config)
    }

    /// As `load`, from text; `name` stands for the file in messages. Files of assets and VIBs are not read.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let mut config = Self::default();
        let mut problems = config.over(text, name, |_| {});
        if problems.is_empty() {
            problems = config.take_inventory(false);
        }
        if problems.is_empty() { Ok(config) } else { Err(Error::new(Code::Usage, problems.join("\n"))) }
    }

    /// Takes over what a file says; `set` is called with each key. Problems, a line each.
    fn over(&mut self, text: &str, name: &str, mut set: impl FnMut(&Key)) -> Vec<String> {
        let mut problems = Vec::new();
        match DeTable::parse(text) {
            Ok(table) => self.apply(table.get_ref(), text, &mut set, &mut problems),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                problems.push((at, format!("not TOML: {}", error.message().replace('\n', ", "))));
            }
        }
        problems.sort();
        problems.iter().map(|(at, what)| format!("{name}:{}: {what}", line(text, *at))).collect()
    }

    /// Every key with its meaning, default and value in force, as TOML that `parse` reads back to the same settings.
    pub fn to_toml(&self) -> String {
        let default = Self::default();
        let mut text = String::new();
        for (section, doc) in SECTIONS {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}#{doc}\n[{section}]");
            for key in KEYS.iter().filter(|key| key.section == *section) {
                let _ = writeln!(
                    text,
                    "#{}\n# {}; default {}\n{} = {}",
                    key.doc,
                    key.allowed,
                    (key.show)(&default),
                    key.name,
                    (key.show)(self),
                );
            }
        }
        text + &entries::to_toml(&self.sinks)
            + &entries::to_toml(&self.suppress)
            + &entries::to_toml(&self.assets)
    }

    /// Keys whose value is not the default, as `section.key` or `sink[0].key`, with what they may be and their value as
    /// TOML.
    pub fn other_than_default(&self) -> Vec<(String, Allowed, String)> {
        let default = Self::default();
        let mut set: Vec<_> = KEYS
            .iter()
            .map(|key| (key, (key.show)(self)))
            .filter(|(key, shown)| *shown != (key.show)(&default))
            .map(|(key, shown)| (format!("{}.{}", key.section, key.name), key.allowed, shown))
            .collect();
        set.extend(entries::other_than_default(&self.sinks));
        set.extend(entries::other_than_default(&self.suppress));
        set
    }

    /// The settings of the stages between source and sink.
    pub fn pipeline(&self) -> pipeline::Settings {
        pipeline::Settings {
            attribute: attribute::Settings {
                cmdline: match self.privacy.cmdline {
                    Cmdline::Off => attribute::Cmdline::Off,
                    Cmdline::Masked => attribute::Cmdline::Masked,
                    Cmdline::Full => attribute::Cmdline::Full,
                },
                cmdline_max: self.privacy.cmdline_max as usize,
                max_processes: self.pipeline.max_processes as usize,
                long_lived_s: self.pipeline.long_lived_s,
                max_pids: self.pipeline.max_pids as usize,
                assets: Arc::clone(&self.known),
                ..attribute::Settings::default()
            },
            fold: fold::Settings {
                duplicate_ms: self.pipeline.duplicate_ms,
                lookup_ms: self.pipeline.lookup_ms,
                max_recent: self.pipeline.max_recent as usize,
            },
            ledger: ledger::Settings {
                bound_bytes: [
                    self.ledger.bound_1min_bytes,
                    self.ledger.bound_10min_bytes,
                    self.ledger.bound_1h_bytes,
                    self.ledger.bound_24h_bytes,
                ],
                form_bound_bytes: [
                    self.ledger.form_bound_1min_bytes,
                    self.ledger.form_bound_10min_bytes,
                    self.ledger.form_bound_1h_bytes,
                    self.ledger.form_bound_24h_bytes,
                ],
                answer_bound_bytes: [
                    self.ledger.answer_bound_1min_bytes,
                    self.ledger.answer_bound_10min_bytes,
                    self.ledger.answer_bound_1h_bytes,
                    self.ledger.answer_bound_24h_bytes,
                ],
                max_keys: self.ledger.max_keys as usize,
            },
            log_messages: self.logs_messages(),
            reassemble: self.reassembly(),
            report: report::Settings {
                max_open: self.pipeline.max_open as usize,
                max_samples: self.pipeline.max_samples as usize,
                process: self.process.clone(),
                exceptions: self.suppress.clone(),
                observe: self.output.observe,
            },
            threads: self.pipeline.threads as usize,
            config: self.clone(),
            ..pipeline::Settings::default()
        }
    }

    /// An error where clients are shared out over threads although what is remembered of other days is one thread's.
    pub fn threads_need_no_store(&self) -> Result<(), Error> {
        let (threads, path) = (self.pipeline.threads, &self.store.path);
        if threads < 2 || path.is_empty() {
            return Ok(());
        }
        let message = format!(
            "pipeline.threads = {threads} is not allowed with store.path = \"{}\": the history of all clients is kept in \
             order by one thread; use pipeline.threads = 1, or store.path = \"\" for no store",
            escape(path)
        );
        Err(Error::new(Code::Usage, message))
    }

    /// Whether a running sensor keeps repeats back.
    pub fn filters_repeats(&self, as_gateway: bool) -> bool {
        let wanted = match self.novelty.filter {
            NoveltyFilter::Auto => as_gateway,
            NoveltyFilter::On => true,
            NoveltyFilter::Off => false,
        };
        wanted && !self.logs_messages()
    }

    /// Whether anything takes every decoded message.
    pub fn logs_messages(&self) -> bool {
        !self.output.messages.is_empty() || self.sinks.iter().any(|sink| sink.takes().messages)
    }

    /// The domain lists to read.
    pub fn feeds(&self) -> Feeds {
        Feeds::new(&self.reputation.domain_reputation_feed, self.reputation.max_domains as usize)
    }

    /// Puts the inventory together, of the entries and, if they are to be read, of the files that are named. Problems, a
    /// line each.
    fn take_inventory(&mut self, reads: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let (mut assets, mut lines) = (self.assets.clone(), Vec::new());
        let file = &self.inventory.file;
        if reads && !file.is_empty() {
            let rows = assets::file::read(file);
            problems.extend(rows.problems.into_lines());
            let own: HashSet<_> = self.assets.iter().map(|asset| asset.name.as_str()).collect();
            let rows = rows.assets.into_iter().zip(rows.lines);
            for (asset, line) in rows.filter(|(asset, _)| !own.contains(asset.name.as_str())) {
                assets.push(asset);
                lines.push(line);
            }
        }
        let mut vibs = Vec::new();
        if reads && !self.asset_policy.known_good_vibs.is_empty() {
            let (list, wrong) = assets::vibs::read(&self.asset_policy.known_good_vibs);
            problems.extend(wrong.into_lines());
            vibs = list;
        }
        match Inventory::new(assets, vibs) {
            Ok(inventory) => self.known = Arc::new(inventory),
            Err(twice) => problems.push(match twice.at.checked_sub(self.assets.len()) {
                Some(row) => format!("{}:{}: {twice}", shown_path(Path::new(file)), lines[row]),
                None => twice.to_string(),
            }),
        }
        problems
    }

    /// The bounds of TCP reassembly.
    fn reassembly(&self) -> reassemble::Settings {
        reassemble::Settings {
            connections: self.reassembly.connections as usize,
            bytes_per_direction: self.reassembly.bytes_per_direction as usize,
            bytes: self.reassembly.bytes as usize,
            idle_ns: self.reassembly.idle_s * 1_000_000_000,
            gap_ns: self.reassembly.gap_ms * 1_000_000,
        }
    }

    fn apply(
        &mut self,
        table: &DeTable<'_>,
        text: &str,
        set: &mut impl FnMut(&Key),
        problems: &mut Vec<(usize, String)>,
    ) {
        for (section, value) in table {
            let at = section.span().start;
            let section = section.get_ref().as_ref();
            if section == Sink::SECTION {
                entries::read(&mut self.sinks, value, text, problems);
                continue;
            }
            if section == Suppress::SECTION {
                entries::read(&mut self.suppress, value, text, problems);
                continue;
            }
            if section == Asset::SECTION {
                entries::read(&mut self.assets, value, text, problems);
                // Here, where the place is known, and once more when all files are read.
                if let Err(twice) = Inventory::new(self.assets.clone(), Vec::new()) {
                    problems.push((at, twice.to_string()));
                }
                continue;
            }
            if !SECTIONS.iter().any(|(name, _)| *name == section) {
                let names = SECTIONS.iter().map(|(name, _)| *name).chain(LISTS);
                problems.push((at, unknown("section", section, names, None)));
                continue;
            }
            let Some(keys) = value.get_ref().as_table() else {
                problems
                    .push((at, format!("`{section}` is a section: write [{section}] and its keys below it")));
                continue;
            };
            for (name, value) in keys {
                self.key(section, name.get_ref(), (name.span().start, value), text, set, problems);
            }
        }
    }

    fn key(
        &mut self,
        section: &str,
        name: &str,
        (at, value): (usize, &Spanned<DeValue<'_>>),
        text: &str,
        set: &mut impl FnMut(&Key),
        problems: &mut Vec<(usize, String)>,
    ) {
        let written = text.get(value.span()).unwrap_or_default();
        let own = || KEYS.iter().filter(|key| key.section == section);
        let Some(key) = own().find(|key| key.name == name) else {
            // `ocsf.version = …` and `[output.ocsf]` are the same.
            let below =
                own().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
            if let Some(table) = value.get_ref().as_table().filter(|_| below) {
                for (inner, value) in table {
                    let name = format!("{name}.{}", inner.get_ref());
                    self.key(section, &name, (inner.span().start, value), text, set, problems);
                }
                return;
            }
            problems.push((at, unknown("key", name, own().map(|key| key.name), Some((section, written)))));
            return;
        };
        set(key);
        if (key.read)(self, value.get_ref()).is_err() {
            let written = as_written(&key.allowed, written, value.get_ref());
            problems.push((at, format!("{section}.{name} = {written} is not allowed: use {}", key.allowed)));
        }
    }
}

/// A value for a message about it.
fn as_written(allowed: &Allowed, written: &str, value: &DeValue<'_>) -> String {
    match allowed {
        Allowed::List(_) => one_line(written),
        _ => shown(written, value),
    }
}

fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
    inside: Option<(&str, &str)>,
) -> String {
    let known: Vec<_> = known.collect();
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().min(name.len()).div_ceil(2));
    let hint = near.map_or_else(String::new, |(_, known)| format!("; did you mean `{known}`?"));
    let renamed = |(section, old, _): &&(&str, &str, &str)| {
        *old == name && inside.is_some_and(|(inside, _)| inside == *section)
    };
    let hint = RENAMED.iter().find(renamed).map_or(hint, |(.., now)| format!("; {now}"));
    let name = escape(name);
    let (shown, place) = match inside {
        Some((section, written)) => {
            let written = one_line(written);
            (format!("`{name}` (= {written})"), format!(" in [{section}]"))
        }
        None => (format!("`{name}`"), String::new()),
    };
    format!("unknown {what} {shown}{place}{hint} (allowed: {})", known.join(", "))
}

/// A value as it was written, on one line and short; tables and arrays by their kind.
fn shown(written: &str, value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(_) | DeValue::Table(_) => {
            format!("(an {})", value.type_str()).replace("an table", "a table")
        }
        _ => one_line(written),
    }
}

fn shown_path(file: &Path) -> String {
    escape(file.as_os_str().as_encoded_bytes()).into_owned()
}

fn one_line(written: &str) -> String {
    escape(written).chars().take(80).collect()
}

fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = Config::parse(text, "earthdog.toml").unwrap_err();
        assert_eq!(error.code, Code::Usage);
        error.message
    }

    #[test]
    fn what_is_printed_reads_back() {
        let text = Config::default().to_toml();
        assert_eq!(Config::parse(&text, "printed").unwrap(), Config::default());
        let mut config = Config::default();
        config.ledger.bound_1h_bytes = 60;
        config.output.format = OutputFormat::Json;
        config.live.control_socket = "/tmp/quoted \"name\"\n.sock".into();
        assert_eq!(Config::parse(&config.to_toml(), "printed").unwrap(), config);
        for key in KEYS {
            assert!(config.to_toml().contains(&format!("\n{} = ", key.name)), "{}", key.name);
        }
    }

    #[test]
    fn the_table_has_the_defaults_of_the_stages() {
        let config = Config::default();
        assert_eq!(format!("{:?}", config.pipeline()), format!("{:?}", pipeline::Settings::default()));
    }

    #[test]
    fn the_table_has_the_defaults_of_the_store() {
        let settings = crate::store::recorder::Settings::of(&Config::default()).unwrap();
        let own = crate::store::Settings { max_bytes: settings.history.max_bytes, ..Default::default() };
        assert_eq!(settings.history, own);
        let none = Config::parse("[store]\npath = \"\"\n", "x").unwrap();
        assert_eq!(crate::store::recorder::Settings::of(&none), None);
    }

    #[test]
    fn every_default_is_allowed() {
        let text = Config::default().to_toml();
        assert!(Config::parse(&text, "defaults").is_ok());
    }

    #[test]
    fn an_unknown_key_names_file_line_value_and_the_nearest() {
        let message = refused("# comment\n[ledger]\nmax_key = 60\n");
        assert_eq!(
            message,
            "earthdog.toml:3: unknown key `max_key` (= 60) in [ledger]; did you mean `max_keys`? \
             (allowed: bound_1min_bytes, bound_10min_bytes, bound_1h_bytes, bound_24h_bytes, \
             form_bound_1min_bytes, form_bound_10min_bytes, form_bound_1h_bytes, form_bound_24h_bytes, \
             answer_bound_1min_bytes, answer_bound_10min_bytes, answer_bound_1h_bytes, answer_bound_24h_bytes, \
             max_keys)"
        );
        let message = refused("[legder]\n");
        assert!(message.contains("unknown section `legder`; did you mean `ledger`?"), "{message}");
        let message = refused("[ledger]\nzzzzzzzzzzzzzzzz = 1\n");
        assert!(!message.contains("did you mean"), "{message}");
    }

    #[test]
    fn a_value_out_of_range_names_what_is_allowed() {
        for (text, says) in [
            (
                "[ledger]\nmax_keys = 5",
                "ledger.max_keys = 5 is not allowed: use an integer from 16 to 16777216",
            ),
            ("[ledger]\nmax_keys = -5", "ledger.max_keys = -5 is not allowed"),
            ("[ledger]\nmax_keys = \"60\"", "ledger.max_keys = \"60\" is not allowed"),
            ("[ledger]\nmax_keys = 99999999999999999999", "is not allowed"),
            ("[ledger]\nwindow_s = 600", "each has a bound of its own, such as `bound_10min_bytes`"),
            ("[ledger]\nbound_bytes = 256", "it is now `bound_10min_bytes`"),
            ("[output]\nformat = \"xml\"", "one of \"json\", \"human\""),
            ("[live]\nbulk_ring_kib = 1000", "a power of two from 64"),
            ("[live]\ncontrol_socket = \"run/x\"", "an absolute path"),
            ("[store]\npath = \"store\"", "an absolute path, or \"\" for no store"),
            ("[live]\ncontrol_socket = [1]", "(an array) is not allowed"),
            ("ledger = 1", "`ledger` is a section"),
            ("[ledger\n", "not TOML"),
            ("[ledger]\nmax_keys = 60\nmax_keys = 61", "earthdog.toml:3: not TOML: duplicate key"),
        ] {
            let message = refused(text);
            assert!(message.starts_with("earthdog.toml:") && message.contains(says), "{text:?}: {message}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let message = refused("[ledger]\nmax_keys = 5\nx = 1\n[output]\nformat = 2\n");
        assert_eq!(message.lines().count(), 3, "{message}");
    }

    #[test]
    fn hexadecimal_is_an_integer_too() {
        let config = Config::parse("[ledger]\nbound_1h_bytes = 0x1_00\n", "x").unwrap();
        assert_eq!(config.ledger.bound_1h_bytes, 256);
    }
}
