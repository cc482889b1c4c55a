//! Which files a configuration comes from, and which of them says what.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::assets::Asset;
use super::entries::{self, Entry as _};
use super::sinks::Sink;
use super::suppress::Suppress;
use super::{Config, KEYS, Key, LISTS, SECTIONS, shown_path, unknown};
use crate::exit::{Code, Error};

/// Where an installed sensor has its configuration: `earthdog.toml`, then `conf.d/*.toml` in the order of their names.
pub const DIRECTORY: &str = "/etc/earthdog";

/// The settings in force and where they come from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// In the order in which they were applied; none: the defaults.
    pub files: Vec<PathBuf>,
    /// Of the file that a key was last set in.
    set_in: BTreeMap<(&'static str, &'static str), usize>,
}

impl Loaded {
    /// One file over the defaults, or those of `directory` that are there. All problems of all files are one error, with
    /// exit code 2.
    pub fn read(file: Option<&Path>, directory: &Path) -> Result<Self, Error> {
        let files = match file {
            Some(file) => vec![file.to_owned()],
            None => installed(directory)?,
        };
        let mut loaded = Self { config: Config::default(), files, set_in: BTreeMap::new() };
        let mut problems = Vec::new();
        for (index, file) in loaded.files.iter().enumerate() {
            let name = shown_path(file);
            let text = fs::read_to_string(file).map_err(|error| cannot_read(&name, &error))?;
            let set = |key: &Key| {
                loaded.set_in.insert((key.section, key.name), index);
            };
            problems.extend(loaded.config.over(&text, &name, set));
        }
        if problems.is_empty() {
            problems = loaded.config.take_inventory(true);
        }
        if problems.is_empty() { Ok(loaded) } else { Err(Error::new(Code::Usage, problems.join("\n"))) }
    }

    /// What `config check` prints; an error where `run` would refuse it.
    pub fn check(&self) -> Result<String, Error> {
        self.config.threads_need_no_store()?;
        let default = Config::default();
        let changed = KEYS.iter().filter(|key| (key.show)(&self.config) != (key.show)(&default)).count();
        let names: Vec<_> = self.files.iter().map(|file| shown_path(file)).collect();
        let names = if names.is_empty() { "defaults".to_owned() } else { names.join(", ") };
        let count = |what: &str, count: usize| match count {
            0 => String::new(),
            count => format!(", {count} {what}"),
        };
        let lists = count("sinks", self.config.sinks.len())
            + &count("exceptions", self.config.suppress.len())
            + &count("assets", self.config.known.len())
            + &count("known good VIBs", self.config.known.vibs().len());
        Ok(format!("{names}: valid, {changed} of {} keys differ from the default{lists}\n", KEYS.len()))
    }

    /// What `config explain` prints of a key, or of all keys of a section.
    pub fn explain(&self, asked: &str) -> Result<String, Error> {
        let (section, name) =
            asked.split_once('.').map_or((asked, None), |(section, name)| (section, Some(name)));
        let refused = |what: String| Error::new(Code::Usage, what);
        if section == Sink::SECTION {
            return entries::explain(&self.config.sinks, name).map_err(refused);
        }
        if section == Suppress::SECTION {
            return entries::explain(&self.config.suppress, name).map_err(refused);
        }
        if section == Asset::SECTION {
            return entries::explain(&self.config.assets, name).map_err(refused);
        }
        let Some((_, doc)) = SECTIONS.iter().find(|(known, _)| *known == section) else {
            let having =
                KEYS.iter().filter(|key| key.name == asked).map(|key| format!("{}.{asked}", key.section));
            let having: Vec<_> = having.collect();
            let sections = SECTIONS.iter().map(|(known, _)| *known).chain(LISTS);
            return Err(refused(if having.is_empty() {
                unknown("section", section, sections, None)
            } else {
                format!("`{asked}` needs its section: {}", having.join(", "))
            }));
        };
        let keys = || KEYS.iter().filter(|key| key.section == section);
        let Some(name) = name else {
            let texts: Vec<_> = keys().map(|key| self.key(key)).collect();
            return Ok(format!("[{section}]{doc}\n\n{}", texts.join("\n")));
        };
        match keys().find(|key| key.name == name) {
            Some(key) => Ok(self.key(key)),
            None => Err(refused(unknown("key", name, keys().map(|key| key.name), Some((section, "?"))))),
        }
    }

    fn key(&self, key: &Key) -> String {
        let from = match self.set_in.get(&(key.section, key.name)) {
            Some(index) => format!("set in {}", shown_path(&self.files[*index])),
            None => "the default".to_owned(),
        };
        format!(
            "{}.{} = {}\n {}\n  allowed  {}\n  default  {}\n  in force {from}\n  changes  {}\n",
            key.section,
            key.name,
            (key.show)(&self.config),
            key.doc,
            key.allowed,
            (key.show)(&Config::default()),
            key.restart.map_or_else(
                || "taken over by a running sensor on SIGHUP".to_owned(),
                |why| format!("need a restart: {why}")
            ),
        )
    }
}

/// The files of a directory that are there; one that may not be looked into is an error, or a part of the configuration
/// would be left out in silence.
fn installed(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let main = directory.join("earthdog.toml");
    match fs::metadata(&main) {
        Ok(_) => files.push(main),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(cannot_read(&shown_path(&main), &error)),
    }
    let parts = directory.join("conf.d");
    match fs::read_dir(&parts)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
    {
        Ok(mut list) => {
            list.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
            list.sort();
            files.append(&mut list);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(cannot_read(&shown_path(&parts), &error)),
    }
    Ok(files)
}

fn cannot_read(name: &str, error: &io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => " (run as a user that may read it, or name another file with -c)",
        _ => "",
    };
    Error::new(Code::Usage, format!("cannot read configuration {name}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn later_files_say_the_last_word() {
        let dir = directory(&[
            ("earthdog.toml", "[ledger]\nmax_keys = 64\n[live]\ndrain_interval_ms = 30\n"),
            ("conf.d/20-b.toml", "[ledger]\nmax_keys = 128\n"),
            ("conf.d/10-a.toml", "[ledger]\nmax_keys = 256\n"),
            ("conf.d/30-c.toml.off", "nonsense"),
        ]);
        let loaded = Loaded::read(None, dir.path()).unwrap();
        assert_eq!((loaded.config.ledger.max_keys, loaded.config.live.drain_interval_ms), (128, 30));
        assert!(loaded.check().unwrap().contains("20-b.toml: valid, 2 of "), "{loaded:?}");
        let text = loaded.explain("ledger.max_keys").unwrap();
        assert!(text.starts_with("ledger.max_keys = 128\n") && text.contains("20-b.toml"), "{text}");
        assert!(text.contains("an integer from 16"), "{text}");
        let text = loaded.explain("live").unwrap();
        assert!(
            text.contains("live.alert_ring_kib = 1024\n") && text.contains("in force the default"),
            "{text}"
        );
    }

    #[test]
    fn what_run_would_refuse_is_not_valid() {
        let checked = |text: &str| {
            let dir = directory(&[("earthdog.toml", text)]);
            Loaded::read(None, dir.path()).unwrap().check()
        };
        let refused = checked("[pipeline]\nthreads = 2\n").unwrap_err();
        assert_eq!(refused.code, Code::Usage);
        assert!(
            refused.message.contains("pipeline.threads = 2 is not allowed with store.path = \"/"),
            "{refused:?}"
        );
        checked("[pipeline]\nthreads = 2\n[store]\npath = \"\"\n").unwrap();
    }

    #[test]
    fn without_files_it_is_the_defaults_and_a_named_file_is_alone() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Loaded::read(None, empty.path()).unwrap().config, Config::default());
        let dir = directory(&[("earthdog.toml", "[ledger]\nmax_keys = 64\n"), ("own.toml", "")]);
        let own = dir.path().join("own.toml");
        assert_eq!(Loaded::read(Some(&own), dir.path()).unwrap().config, Config::default());
    }

    #[test]
    fn the_problems_of_all_files_are_told() {
        let dir = directory(&[
            ("earthdog.toml", "[ledger]\nx = 64\n"),
            ("conf.d/a.toml", "[ledger]\nmax_keys = 1\n"),
        ]);
        let error = Loaded::read(None, dir.path()).unwrap_err();
        assert_eq!((error.code, error.message.lines().count()), (Code::Usage, 2), "{}", error.message);
        assert!(error.message.contains("earthdog.toml:2:") && error.message.contains("a.toml:2:"));
    }

    #[test]
    fn a_key_that_is_none_gets_a_suggestion() {
        let loaded = Loaded::read(None, Path::new("/nonexistent")).unwrap();
        for (asked, says) in [
            ("ledger.max_key", "did you mean `max_keys`?"),
            ("legder.max_keys", "did you mean `ledger`?"),
            ("drain_interval_ms", "live.drain_interval_ms"),
        ] {
            let error = loaded.explain(asked).unwrap_err();
            assert!(error.code == Code::Usage && error.message.contains(says), "{asked}: {}", error.message);
        }
    }
}
