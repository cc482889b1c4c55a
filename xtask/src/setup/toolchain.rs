//! The compiler with `core` for BPF, and `toolchain.env`, which tells sensor-user/build.rs where all is.
//!
//! Debian's packages first: their rustc comes with a ready-made `core` for bpfel-unknown-none, so neither a nightly nor
//! build-std is needed. Where apt is not, or its rustc is too old: a nightly from rustup (`rustup.rs`).

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::cache::{self, Cache};
use crate::process;
use crate::setup::{linker, rustup};

/// Counts changes of this recipe: an older `toolchain.env` is made again.
const RECIPE: &str = "# cargo xtask setup, recipe 1, bpf-linker ";

/// Name of the file that says the toolchain is complete.
const STAMP: &str = "toolchain.env";

pub(crate) fn is_done(cache: &Cache) -> bool {
    let Ok(text) = fs::read_to_string(cache.path(STAMP)) else { return false };
    let program = |line: &str| {
        line.split_once('=').is_none_or(|(key, path)| key == "build_std" || Path::new(path).is_file())
    };
    text.starts_with(&format!("{RECIPE}{}\n", linker::VERSION)) && text.lines().skip(1).all(program)
}

pub(crate) fn fetch(cache: &Cache, apt: Option<&Apt>) -> Result<()> {
    let packaged = apt.map(|apt| debian(cache, apt)).transpose()?.flatten();
    let made = match packaged {
        Some(toolchain) => toolchain,
        None => rustup::toolchain(cache)?,
    };
    cache.done(STAMP, &format!("{RECIPE}{}\n{}", linker::VERSION, made.lines()))
}

/// What `toolchain.env` says.
#[derive(Debug, Default)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) linker: PathBuf,
    pub(crate) strip: Option<PathBuf>,
    /// Set where `core` must be built from its source: a nightly's cargo.
    pub(crate) build_std_cargo: Option<PathBuf>,
}

impl Toolchain {
    fn lines(&self) -> String {
        let cargo = self.build_std_cargo.as_ref();
        let programs = [
            ("rustc", Some(&self.rustc)),
            ("linker", Some(&self.linker)),
            ("strip", self.strip.as_ref()),
            ("cargo", cargo),
        ];
        let mut lines: Vec<_> = programs
            .iter()
            .filter_map(|(key, path)| path.map(|path| format!("{key}={}\n", path.display())))
            .collect();
        if cargo.is_some() {
            lines.push("build_std=1\n".to_owned());
        }
        lines.concat()
    }
}

/// `None`, said aloud, where the packages do not serve; an error where fetching or building them failed.
fn debian(cache: &Cache, apt: &Apt) -> Result<Option<Toolchain>> {
    let unfit = |why: String| {
        eprintln!("setup: Debian's packages do not serve: {why}");
        Ok(None)
    };
    // Releases before 13 carry the browser's newer compiler beside their own, as -web.
    let suffixes = ["-web", ""];
    let Some(suffix) = suffixes.iter().find(|suffix| apt.knows(&format!("libstd-rust{suffix}-dev-bpf")))
    else {
        return unfit("none has `core` for BPF (libstd-rust-web-dev-bpf, libstd-rust-dev-bpf)".to_owned());
    };

    let prefix = cache.path("toolchain/prefix");
    let partial = cache::partial(&prefix)?;
    let compiler = [
        format!("rustc{suffix}"),
        format!("libstd-rust{suffix}-dev"),
        format!("libstd-rust{suffix}-dev-bpf"),
    ];
    apt.unpack(
        "BPF compiler (stable Rust has no core for BPF)",
        &compiler.each_ref().map(String::as_str),
        &partial,
    )?;
    let version = Version::of(&wrap(cache, &partial, "usr/bin/rustc", "rustc")?)?;
    if let Err(why) = version.check() {
        return unfit(why);
    }

    let llvm = version.llvm;
    if !linker::LLVM.contains(&llvm) {
        return unfit(format!(
            "rustc {} has LLVM {llvm}, bpf-linker {} builds with {:?} only: they must be the same",
            version.release,
            linker::VERSION,
            linker::LLVM
        ));
    }
    let libraries = [
        format!("llvm-{llvm}"),
        format!("llvm-{llvm}-dev"),
        format!("libpolly-{llvm}-dev"),
        format!("llvm-{llvm}-linker-tools"),
    ];
    if let Some(missing) = libraries.iter().find(|name| !apt.knows(name)) {
        return unfit(format!(
            "rustc {} has LLVM {llvm}, but there is no {missing} to build bpf-linker with",
            version.release
        ));
    }
    apt.unpack("LLVM that bpf-linker is built with", &libraries.each_ref().map(String::as_str), &partial)?;
    cache::commit(&prefix)?;

    let rustc = wrap(cache, &prefix, "usr/bin/rustc", "rustc")?;
    let built = linker::build(cache, llvm, &prefix)?;
    let linker = wrap(cache, &built, "bin/bpf-linker", "bpf-linker")?;
    let strip = wrap(cache, &prefix, &format!("usr/lib/llvm-{llvm}/bin/llvm-strip"), "llvm-strip")?;
    process::output(Command::new(&linker).arg("--version"))?;
    eprintln!("setup: rustc {}, LLVM {llvm}, bpf-linker {}", version.release, linker::VERSION);
    Ok(Some(Toolchain { rustc, linker, strip: Some(strip), build_std_cargo: None }))
}

/// A script that starts a program of the prefix with the prefix's libraries; rustc finds its sysroot beside itself.
fn wrap(cache: &Cache, root: &Path, program: &str, name: &str) -> Result<PathBuf> {
    let real = root.join(program);
    if !real.is_file() {
        bail!("{} is missing", real.display());
    }
    let libraries = if root.join("usr").is_dir() { root.to_owned() } else { cache.path("toolchain/prefix") };
    let script = cache.path(&format!("toolchain/bin/{name}"));
    cache::write(&script, &wrapper(&libraries, &real, &[]), true)?;
    Ok(script)
}

/// `exec`, so that the process is the program itself and /proc names it. `more` are folders below the one of libraries.
pub(crate) fn wrapper(root: &Path, real: &Path, more: &[&str]) -> String {
    let [usr, own] = ["usr/lib", "lib"].map(|base| root.join(base).join(format!("{ARCH}-linux-gnu")));
    let more = more.iter().map(|folder| usr.join(folder));
    let libraries: Vec<_> =
        [usr.clone(), own].into_iter().chain(more).map(|path| path.display().to_string()).collect();
    format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n", libraries.join(":"), real.display())
}

/// What `rustc -vV` says.
#[derive(Debug, PartialEq)]
struct Version {
    release: String,
    llvm: u32,
}

impl Version {
    fn of(rustc: &Path) -> Result<Self> {
        let text = process::output(Command::new(rustc).arg("-vV"))?;
        Self::parse(&text).with_context(|| format!("cannot read the versions in:\n{text}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let llvm = value("LLVM version")?.split('.').next()?.parse().ok()?;
        Some(Self { release: value("release")?.to_owned(), llvm })
    }

    /// cargo refuses a compiler below the workspace's `rust-version`; better to say so before the long downloads.
    fn check(&self) -> std::result::Result<(), String> {
        let wanted = env!("CARGO_PKG_RUST_VERSION");
        let number =
            |text: &str| -> Vec<u32> { text.split(['.', '-']).map_while(|part| part.parse().ok()).collect() };
        if number(&self.release) < number(wanted) {
            return Err(format!("the packaged rustc is {}, {wanted} or later is needed", self.release));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let version = Version::parse("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n").unwrap();
        assert_eq!(version, Version { release: "1.96.0".to_owned(), llvm: 22 });
        version.check().unwrap();
        let old = Version { release: "1.85.0".to_owned(), llvm: 19 };
        assert!(old.check().unwrap_err().contains("1.85.0"));
        assert_eq!(Version::parse("release: 1.96.0\n"), None);
    }

    #[test]
    fn a_wrapper_execs_the_real_program() {
        let text = wrapper(Path::new("/c/peers/root"), Path::new("/c/peers/root/usr/sbin/iodine"), &["more"]);
        assert!(
            text.contains("linux-gnu:/c/peers/root/lib/") && text.contains("-linux-gnu/more' exec"),
            "{text}"
        );
        assert!(text.contains("exec '/c/peers/root/usr/sbin/iodine' \"$@\""), "{text}");
    }
}
