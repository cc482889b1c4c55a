//! What set-up cannot fetch privately, asked for before anything fails half-way.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// A program, the package of it, and what it is for.
struct Tool {
    name: &'static str,
    source: Source,
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// Debian package.
    Apt(&'static str),
    /// rustup component.
    Rustup(&'static str),
}

/// A C++ compiler brings the C compiler and the linker.
const BUILD: [Tool; 1] = [tool("g++", Source::Apt("g++"), "bpf-linker and the linking of Rust programs")];

const TESTS: [Tool; 2] = [
    tool("unshare", Source::Apt("util-linux"), "tests make namespaces of their own"),
    tool("nsenter", Source::Apt("util-linux"), "tests make namespaces of their own"),
];

const CI: [Tool; 2] = [
    tool("rustfmt", Source::Rustup("rustfmt"), "cargo fmt --check"),
    tool("cargo-clippy", Source::Rustup("clippy"), "cargo clippy"),
];

const fn tool(name: &'static str, source: Source, why: &'static str) -> Tool {
    Tool { name, source, why }
}

/// For `cargo xtask setup` and whatever builds.
pub(crate) fn build() -> Result<()> {
    check(&[&BUILD], installed)
}

/// For `cargo xtask test`.
pub(crate) fn tests() -> Result<()> {
    check(&[&BUILD, &TESTS], installed)
}

/// For `cargo xtask ci`.
pub(crate) fn ci() -> Result<()> {
    check(&[&BUILD, &TESTS, &CI], installed)
}

/// Rustup has a proxy for every component, there or not: only running it tells.
fn installed(tool: &Tool) -> bool {
    match tool.source {
        Source::Apt(_) => process::find(tool.name).is_some(),
        Source::Rustup(_) => process::output(Command::new(tool.name).arg("--version")).is_ok(),
    }
}

fn check(groups: &[&[Tool]], installed: impl Fn(&Tool) -> bool) -> Result<()> {
    let missing: Vec<_> =
        groups.iter().flat_map(|group| group.iter()).filter(|tool| !installed(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for tool in &missing {
        let _ = write!(text, "\n    {} ({})", tool.name, tool.why);
    }
    let mut packages: Vec<_> = missing
        .iter()
        .filter_map(|tool| match tool.source {
            Source::Apt(package) => Some(package),
            Source::Rustup(_) => None,
        })
        .collect();
    packages.dedup();
    let components: Vec<_> = missing
        .iter()
        .filter_map(|tool| match tool.source {
            Source::Rustup(component) => Some(component),
            Source::Apt(_) => None,
        })
        .collect();
    text += "\ninstall with";
    if !packages.is_empty() {
        let _ = write!(text, "\n    sudo apt-get install {}", packages.join(" "));
    }
    if !components.is_empty() {
        let _ = write!(text, "\n    rustup component add {}", components.join(" "));
    }
    bail!("this machine lacks{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_its_commands() {
        let error = check(&[&BUILD, &TESTS, &CI], |_| false).unwrap_err().to_string();
        assert!(error.contains("\n    g++ (bpf-linker"), "{error}");
        assert!(error.contains("\n    sudo apt-get install g++ util-linux\n"), "{error}");
        assert!(error.ends_with("\n    rustup component add rustfmt clippy"), "{error}");
        let error = check(&[&BUILD, &CI], |tool| tool.name != "cargo-clippy").unwrap_err().to_string();
        assert!(!error.contains("apt-get") && error.ends_with("add clippy"), "{error}");
        check(&[&BUILD], |_| true).unwrap();
    }
}
