//! bpf-linker, built against the compiler's own LLVM.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::process;

pub(crate) const VERSION: &str = "0.13.0";

/// LLVM releases that this version has a feature for.
pub(crate) const LLVM: RangeInclusive<u32> = 21..=23;

/// Builds it and returns the folder that has `bin/bpf-linker`.
pub(crate) fn build(cache: &Cache, llvm: u32, prefix: &Path) -> Result<PathBuf> {
    let root = cache.path("toolchain/linker");
    let objects = cache.path("toolchain/linker-build");
    let llvm_prefix = prefix.join(format!("usr/lib/llvm-{llvm}"));
    let mut path = vec![llvm_prefix.join("bin")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let libraries = prefix.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));

    eprintln!("setup: bpf-linker {VERSION} with LLVM {llvm}, built from its source (about a minute)");
    let mut cargo = process::cargo();
    cargo
        .args(["install", &format!("bpf-linker@{VERSION}"), "--locked", "--force", "--quiet"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
        .arg("--root")
        .arg(&root)
        // Kept until it is done, so that an interrupted build goes on.
        .env("CARGO_TARGET_DIR", &objects)
        .env("LLVM_PREFIX", &llvm_prefix)
        .env("LD_LIBRARY_PATH", libraries)
        .env("PATH", std::env::join_paths(path)?)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut cargo)
        .with_context(|| format!("bpf-linker {VERSION} did not build with LLVM {llvm}"))?;
    // Only room is lost where these fail; the static libraries are a third of the toolchain.
    let _ = std::fs::remove_dir_all(objects);
    for entry in std::fs::read_dir(llvm_prefix.join("lib"))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "a") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(root)
}
