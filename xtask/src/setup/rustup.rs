//! The toolchain where apt does not serve: a pinned nightly with `rust-src`, and bpf-linker with its default LLVM.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cache::Cache;
use crate::process;
use crate::setup::linker;
use crate::setup::toolchain::Toolchain;

/// Of the release that Debian's rustc is, so that both ways make the same object.
const NIGHTLY: &str = "nightly-2026-04-01";

pub(crate) fn toolchain(cache: &Cache) -> Result<Toolchain> {
    let root = cache.path("toolchain/linker");
    let install = format!(
        "rustup toolchain install {NIGHTLY} --profile minimal --component rust-src\n    \
         cargo install bpf-linker@{} --locked --root {}",
        linker::VERSION,
        root.display()
    );
    if process::find("rustup").is_none() {
        bail!(
            "the BPF compiler cannot be set up: neither Debian's packages nor rustup are here. \
             Install rustup (its site has the command), then:\n    {install}\nand run `cargo xtask setup` again"
        );
    }
    eprintln!(
        "setup: {NIGHTLY} with rust-src, from rustup (some 150 MB): `core` is built for BPF from its source"
    );
    let fetched = process::run(Command::new("rustup").args([
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]));
    if let Err(error) = fetched {
        bail!(
            "{error:#}\nwithout network, bring it by hand and run `cargo xtask setup` again:\n    {install}"
        );
    }
    let program = root.join("bin/bpf-linker");
    if !program.is_file() {
        eprintln!("setup: bpf-linker {} from its source, with its default LLVM", linker::VERSION);
        let built = process::run(
            process::cargo()
                .args(["install", &format!("bpf-linker@{}", linker::VERSION), "--locked", "--root"])
                .arg(&root),
        );
        if let Err(error) = built {
            bail!(
                "{error:#}\nbpf-linker needs the LLVM of the compiler ({NIGHTLY}) with its headers: install your \
                 distribution's llvm development package of that version, then\n    cargo install bpf-linker@{} \
                 --locked --no-default-features --features llvm-<version> --root {}\nand run `cargo xtask setup` again",
                linker::VERSION,
                root.display()
            );
        }
    }
    let of = |name: &str| -> Result<PathBuf> {
        let path = process::output(Command::new("rustup").args(["which", "--toolchain", NIGHTLY, name]))?;
        Ok(PathBuf::from(path.trim()))
    };
    Ok(Toolchain { rustc: of("rustc")?, linker: program, strip: None, build_std_cargo: Some(of("cargo")?) })
}
