//! The command line, as `cargo xtask eval` gives it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

/// Where traffic comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Set {
    Files,
    Emulated,
    Hazards,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) sensor: PathBuf,
    /// Absent only where no files are wanted.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) only: Option<Set>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) derive: bool,
    pub(crate) full: bool,
    pub(crate) seed: u64,
}

impl Arguments {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut paths = Vec::new();
        let (mut json, mut only, mut derive, mut full, mut seed) = (None, None, false, false, 1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--json" => json = Some(value()?.into()),
                "--only" => only = Some(set(&value()?)?),
                "--derive" => derive = true,
                "--full" => full = true,
                "--seed" => seed = value()?.parse().context("--seed wants a number")?,
                option if option.starts_with("--") => bail!("no option {option}"),
                path => paths.push(PathBuf::from(path)),
            }
        }
        let files = only.is_none_or(|only| only == Set::Files);
        if derive && !files {
            bail!("--derive needs the files");
        }
        let mut paths = paths.into_iter();
        let (Some(sensor), dir, None) = (paths.next(), paths.next(), paths.next()) else { bail!(USAGE) };
        if files && dir.is_none() {
            bail!(USAGE);
        }
        Ok(Self { sensor, dir, only, json, derive, full, seed })
    }

    pub(crate) fn wants(&self, set: Set) -> bool {
        self.only.is_none_or(|only| only == set)
    }
}

const USAGE: &str =
    "usage: eval SENSOR [DIR] [--only files|emulated|hazards] [--json FILE] [--derive] [--full] [--seed N]";

fn set(word: &str) -> Result<Set> {
    Ok(match word {
        "files" => Set::Files,
        "emulated" => Set::Emulated,
        "hazards" => Set::Hazards,
        _ => bail!("--only wants files, emulated or hazards"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Arguments> {
        Arguments::read(words.iter().map(ToString::to_string))
    }

    #[test]
    fn options_and_paths_in_any_order() {
        let all = read(&["--derive", "s", "--json", "f", "d", "--seed", "7", "--full"]).unwrap();
        let (sensor, dir) = ("s".into(), Some("d".into()));
        let json = Some("f".into());
        assert_eq!(all, Arguments { sensor, dir, only: None, json, derive: true, full: true, seed: 7 });
        assert!(all.wants(Set::Files) && all.wants(Set::Hazards));
        let only = read(&["s", "--only", "emulated"]).unwrap();
        assert_eq!(
            (only.dir.as_ref(), only.wants(Set::Emulated), only.wants(Set::Files)),
            (None, true, false)
        );
        assert_eq!(read(&["s", "d"]).unwrap().seed, 1);
        for wrong in [
            &["s"][..],
            &["s", "d", "e"],
            &["s", "d", "--seed", "x"],
            &["s", "d", "--json"],
            &["s", "d", "--x"],
            &["s", "d", "--only", "x"],
            &["s", "--only", "files"],
            &["s", "--only", "hazards", "--derive"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
