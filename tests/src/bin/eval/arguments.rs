//! The command line, as `cargo xtask eval` gives it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) sensor: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) derive: bool,
    pub(crate) full: bool,
    pub(crate) seed: u64,
}

impl Arguments {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut paths = Vec::new();
        let (mut json, mut derive, mut full, mut seed) = (None, false, false, 1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--json" => json = Some(value()?.into()),
                "--derive" => derive = true,
                "--full" => full = true,
                "--seed" => seed = value()?.parse().context("--seed wants a number")?,
                option if option.starts_with("--") => bail!("no option {option}"),
                path => paths.push(PathBuf::from(path)),
            }
        }
        let Ok([sensor, dir]) = <[PathBuf; 2]>::try_from(paths) else {
            bail!("usage: eval SENSOR DIR [--json FILE] [--derive] [--full] [--seed N]");
        };
        Ok(Self { sensor, dir, json, derive, full, seed })
    }
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
        let (sensor, dir) = ("s".into(), "d".into());
        assert_eq!(all, Arguments { sensor, dir, json: Some("f".into()), derive: true, full: true, seed: 7 });
        assert_eq!(read(&["s", "d"]).unwrap().seed, 1);
        for wrong in [
            &["s"][..],
            &["s", "d", "e"],
            &["s", "d", "--seed", "x"],
            &["s", "d", "--json"],
            &["s", "d", "--x"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
