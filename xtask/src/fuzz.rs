//! `cargo xtask fuzz`: coverage-guided fuzzing on the stable compiler, and the replay of the committed corpus.
//!
//! cargo-fuzz asks for a nightly because of its sanitizers; coverage alone is an LLVM pass that stable takes as a flag.
//! Targets are the binaries of tests/fuzz, their corpus is tests/fuzz/corpus/<target>.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    // Names that the coverage runtime finds by section must survive the linker.
    "-Clink-dead-code",
];

/// Bytes of resident memory (in MB) and seconds for one input: above either, a reader is not bounded.
const LIMITS: [&str; 2] = ["-rss_limit_mb=1024", "-timeout=10"];

/// What to do with each target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Run each file of the corpus once.
    Replay,
    /// Replay, then look for new inputs.
    Fuzz { seconds: u32 },
}

/// Targets that passed and failed.
pub(crate) fn run(only: Option<&str>, mode: Mode) -> Result<(usize, usize)> {
    let folder = process::workspace().join("tests/fuzz");
    let mut targets = targets(&folder)?;
    if let Some(only) = only {
        let known = targets.join(", ");
        targets.retain(|target| target == only);
        if targets.is_empty() {
            bail!("no fuzz target {only}; there are {known}");
        }
    }
    let binaries = build(&folder)?;
    let (mut passed, mut failed) = (0, 0);
    for target in &targets {
        match fuzz(&folder, &binaries.join(target), target, mode) {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("fuzz {target}: FAILED: {error:#}");
            }
        }
    }
    Ok((passed, failed))
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        bail!("{} is missing", manifest.display());
    }
    let text = process::output(
        process::cargo()
            .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
            .arg(&manifest),
    )?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata")?;
    let all = metadata["packages"][0]["targets"].as_array().context("cargo metadata names no targets")?;
    let mut names: Vec<String> = all
        .iter()
        .filter(|target| target["kind"][0] == "bin")
        .filter_map(|target| Some(target["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// With a target given, so that the flags do not reach build scripts and proc macros.
fn build(folder: &Path) -> Result<PathBuf> {
    if process::find("c++").is_none() {
        bail!("libFuzzer is C++: install a C++ compiler (Debian: g++)");
    }
    let triple = format!("{ARCH}-unknown-linux-gnu");
    let target = process::workspace().join("target/fuzz");
    process::run(
        process::cargo()
            .args(["build", "--release", "--locked", "--bins", "--target", &triple, "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .env("CARGO_ENCODED_RUSTFLAGS", [&FLAGS[..], &["--cfg", "fuzzing"]].concat().join("\u{1f}"))
            // Debug lines make it a third slower to build, and thin LTO drops the counters' sections.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("AYA_BUILD_SKIP", "1"),
    )?;
    Ok(target.join(triple).join("release"))
}

fn fuzz(folder: &Path, binary: &Path, target: &str, mode: Mode) -> Result<()> {
    let corpus = folder.join("corpus").join(target);
    let inputs = fs::read_dir(&corpus).map_or(0, Iterator::count);
    if inputs == 0 {
        bail!("no corpus in {}", corpus.display());
    }
    let found = process::workspace().join("target/fuzz/corpus").join(target);
    let crashes = process::workspace().join("target/fuzz/crashes").join(target);
    for folder in [&found, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut command = Command::new(binary);
    command.args(LIMITS).arg(format!("-artifact_prefix={}/", crashes.display()));
    match mode {
        Mode::Replay => command.arg("-runs=0").arg(&corpus),
        // New inputs go to the first folder, not to the committed one.
        Mode::Fuzz { seconds } => command.arg(format!("-max_total_time={seconds}")).arg(&found).arg(&corpus),
    };
    let output = command.output().with_context(|| format!("cannot start {}", binary.display()))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last: Vec<_> = log.lines().rev().take(40).collect();
        let last: Vec<_> = last.into_iter().rev().collect();
        bail!(
            "{}\n{}\ninputs that fail are in {}; make each a plain test",
            output.status,
            last.join("\n"),
            crashes.display()
        );
    }
    let runs = log.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or("done");
    println!("fuzz {target}: {inputs} corpus files, {runs}");
    Ok(())
}
