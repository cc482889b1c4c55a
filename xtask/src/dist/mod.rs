//! `cargo xtask dist`: what a release is made of, in target/dist: the static binary, a .deb, an .rpm and their checksums.
//!
//! The same binary and commit give the same bytes: every time is that of the last commit (or `SOURCE_DATE_EPOCH`), every
//! owner root, every order that of names.

mod deb;
mod rpm;
mod third_party;
mod tree;

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cache::Cache;
use crate::process;
use crate::setup::{self, Needs};
use tree::Tree;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Package this binary instead of building the static one
    #[arg(long, value_name = "FILE")]
    sensor: Option<PathBuf>,
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    into: PathBuf,
    /// Who answers for the packages
    #[arg(long, default_value = "The earthdog contributors <earthdog@example.org>", value_parser = address)]
    maintainer: String,
}

/// What every part of a release is told.
#[derive(Debug)]
struct Release {
    version: String,
    maintainer: String,
    /// Unix time of everything in it.
    epoch: u64,
    libc: Libc,
}

/// What a binary needs of the machine's C library.
#[derive(Debug, PartialEq)]
enum Libc {
    /// It is linked in.
    None,
    /// glibc of this version or later, such as `2.34`.
    Glibc(String),
}

pub(crate) fn run(cache: &Cache, options: &Options) -> Result<()> {
    setup::run(cache, Needs { toolchain: options.sensor.is_none(), packages: true, ..Needs::default() })?;
    let built = match &options.sensor {
        Some(file) => file.canonicalize().with_context(|| file.display().to_string())?,
        None => static_sensor()?,
    };
    let into = process::workspace().join(&options.into);
    if into.exists() {
        is_ours(&into)?;
        fs::remove_dir_all(&into).with_context(|| format!("cannot empty {}", into.display()))?;
    }
    let work = into.join("work");
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let release = Release {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        maintainer: options.maintainer.clone(),
        epoch: epoch()?,
        libc: Libc::of(&built)?,
    };

    let binary = into.join(format!("earthdog-{}-linux-{ARCH}", release.version));
    strip(&built, &binary)?;
    let tree = Tree::of(&built, &binary, &work)?;
    deb::build(&release, &tree, &work, &into)?;
    rpm::build(cache, &release, &tree, &work, &into)?;
    release.date(&binary)?;
    fs::remove_dir_all(&work)?;
    checksums(&release, &into)?;
    for (name, bytes) in listed(&into)? {
        println!("{:>10} {name}", format!("{:.1} MB", bytes as f64 / 1e6));
    }
    Ok(())
}

/// A folder that is emptied holds nothing but what was made here before.
fn is_ours(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with("earthdog") || name == "SHA256SUMS" || name == "work") {
            bail!("{} holds {name}, which is no part of a release: name another folder", folder.display());
        }
    }
    Ok(())
}

/// The binary that runs on hosts of any age, glibc linked in, without the paths of this machine.
fn static_sensor() -> Result<PathBuf> {
    let triple = format!("{ARCH}-unknown-linux-gnu");
    let target = process::workspace().join("target/static");
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.push(format!("--remap-path-prefix={}=/earthdog", process::workspace().display()));
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    process::run(
        process::cargo()
            .args(["build", "--locked", "--release", "--quiet", "--target", &triple, "-p", "sensor-user"])
            .arg("--target-dir")
            .arg(&target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    )?;
    Ok(target.join(triple).join("release/earthdog"))
}

fn strip(from: &Path, to: &Path) -> Result<()> {
    if process::find("strip").is_none() {
        bail!("strip is not here: install binutils");
    }
    process::output(Command::new("strip").arg("-o").arg(to).arg(from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).with_context(|| to.display().to_string())
}

impl Release {
    /// Gives a file or folder the time of the release.
    fn date(&self, path: &Path) -> Result<()> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch);
        let file = fs::File::open(path).with_context(|| path.display().to_string())?;
        file.set_modified(time).with_context(|| format!("cannot date {}", path.display()))
    }

    /// The time of the release in UTC, as `date` writes it.
    fn date_as(&self, format: &str) -> Result<String> {
        let mut date = Command::new("date");
        date.args(["-u", "-d", &format!("@{}", self.epoch), format]).env("LC_ALL", "C");
        Ok(process::output(&mut date)?.trim().to_owned())
    }

    /// A template of `sensor-user/deploy` with this release's words in it.
    fn fill(&self, template: &str, more: &[(&str, &str)]) -> Result<String> {
        let words = [("VERSION", self.version.as_str()), ("MAINTAINER", &self.maintainer)];
        let mut text = template.to_owned();
        for (name, value) in words.iter().chain(more) {
            text = text.replace(&format!("@{name}@"), value);
        }
        let left = text.split('@').find(|word| !word.is_empty() && word.chars().all(is_placeholder));
        match left {
            Some(word) => bail!("nothing for @{word}@ in a template"),
            None => Ok(text),
        }
    }
}

fn is_placeholder(letter: char) -> bool {
    letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
}

impl Libc {
    fn of(binary: &Path) -> Result<Self> {
        let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
        if !bytes.starts_with(b"\x7fELF") {
            bail!("{} is no program", binary.display());
        }
        Ok(Self::needed(&bytes))
    }

    /// By the versions of the symbols that it takes from there.
    fn needed(elf: &[u8]) -> Self {
        const PREFIX: &[u8] = b"\0GLIBC_2.";
        // Where a loader is named, it is not static.
        if !elf.windows(8).any(|bytes| bytes == b"/ld-linu") {
            return Self::None;
        }
        let minors = elf.windows(PREFIX.len() + 3).filter_map(|window| {
            let digits = window.strip_prefix(PREFIX)?;
            let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
            std::str::from_utf8(&digits[..end]).ok()?.parse::<u32>().ok()
        });
        Self::Glibc(format!("2.{}", minors.max().unwrap_or(17)))
    }
}

/// `SOURCE_DATE_EPOCH`, else when the last commit was made.
fn epoch() -> Result<u64> {
    let text = if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        text
    } else {
        let mut git = Command::new("git");
        process::output(git.current_dir(process::workspace()).args(["log", "-1", "--format=%ct"]))
            .context("no commit to take the date of; set SOURCE_DATE_EPOCH")?
    };
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH = {text}: use seconds since 1970"))
}

/// `Name <mail@host>`.
fn address(text: &str) -> Result<String, String> {
    let (name, mail) = text.split_once(" <").ok_or("use \"Name <mail@host>\"")?;
    let mail = mail.strip_suffix('>').filter(|mail| mail.split('@').count() == 2 && !mail.contains(' '));
    if name.is_empty() || mail.is_none() || text.chars().any(char::is_control) {
        return Err("use \"Name <mail@host>\"".to_owned());
    }
    Ok(text.to_owned())
}

/// As `sha256sum -c` reads it.
fn checksums(release: &Release, into: &Path) -> Result<()> {
    let names: Vec<_> = listed(into)?.into_iter().map(|(name, _)| name).collect();
    let sums = process::output(Command::new("sha256sum").arg("--").args(names).current_dir(into))?;
    let path = into.join("SHA256SUMS");
    fs::write(&path, sums).with_context(|| path.display().to_string())?;
    release.date(&path)
}

/// Names and sizes, by name.
fn listed(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut list = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        list.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()));
    }
    list.sort();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_release_makes_way_for_another() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["earthdog_0.1.0-1_amd64.deb", "SHA256SUMS", "work"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        is_ours(folder.path()).unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let refused = is_ours(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("thesis.tex"), "{refused}");
    }

    #[test]
    fn a_template_is_filled_or_refused() {
        let release = Release {
            version: "1.2.3".to_owned(),
            maintainer: "A B <a@b.example>".to_owned(),
            epoch: 0,
            libc: Libc::None,
        };
        let filled = release.fill("v @VERSION@ of @MAINTAINER@ at @X_1@\n", &[("X_1", "home")]).unwrap();
        assert_eq!(filled, "v 1.2.3 of A B <a@b.example> at home\n");
        let refused = release.fill("@VERSION@ @SIZE@", &[]).unwrap_err().to_string();
        assert_eq!(refused, "nothing for @SIZE@ in a template");
    }

    #[test]
    fn what_a_binary_needs_is_read_from_it() {
        assert_eq!(Libc::needed(b"\x7fELF\0GLIBC_2.34\0libc"), Libc::None);
        let dynamic = b"\x7fELF/lib64/ld-linux-x86-64.so.2\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0";
        assert_eq!(Libc::needed(dynamic), Libc::Glibc("2.34".to_owned()));
    }

    #[test]
    fn a_maintainer_has_name_and_address() {
        assert!(address("A B <a@b.example>").is_ok());
        for wrong in ["A B", "<a@b>", "A <a>", "A <a@b", "A\n <a@b>"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
