//! `cargo xtask eval [DIR]`: how soon the release binary finds what is in captures and what emulated tools send, and what
//! it says of honest traffic.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cache::Cache;
use crate::ci::sensor;
use crate::setup::Needs;
use crate::{data, process, run};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder with tunnel/ and benign/, or with an eval.toml that lists its files; the development data without it
    dir: Option<PathBuf>,
    /// One part alone
    #[arg(long, value_parser = ["files", "emulated", "hazards"])]
    only: Option<String>,
    /// Also write one JSON object a line: a row for each file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also what is made from the files' tunnels: slower, among the honest traffic, shared out, over TCP, IPv6 and more
    #[arg(long)]
    derive: bool,
    /// All that can be derived, not a sample
    #[arg(long, requires = "derive")]
    full: bool,
    /// Of what is chosen at random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Whether everything could be replayed and no goal is missed.
pub(crate) fn run(cache: &Cache, options: &Options) -> Result<bool> {
    let files = options.only.as_deref().is_none_or(|only| only == "files");
    if options.derive && !files {
        bail!("--derive makes its captures from the files: leave --only out");
    }
    let dir = if files { Some(folder(options)?) } else { None };
    run::build(cache, Needs { toolchain: true, ..Needs::default() })?;
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--locked", "--release", "-p", "earthdog-tests", "--bin", "eval", "--"]);
    cargo.arg(sensor()).args(dir);
    if let Some(only) = &options.only {
        cargo.args(["--only", only]);
    }
    if let Some(json) = &options.json {
        // cargo runs in the workspace, the caller may be elsewhere.
        cargo.arg("--json").arg(env::current_dir()?.join(json));
    }
    for (name, wanted) in [("--derive", options.derive), ("--full", options.full)] {
        if wanted {
            cargo.arg(name);
        }
    }
    cargo.args(["--seed", &options.seed.to_string()]);
    let status = cargo.status().context("cannot start cargo")?;
    Ok(status.success())
}

fn folder(options: &Options) -> Result<PathBuf> {
    let beside = || data::named().unwrap_or_else(|| data::beside(process::workspace())).join("dev");
    let dir = options.dir.clone().unwrap_or_else(beside);
    dir.canonicalize().with_context(|| {
        format!(
            "cannot read {}: name a folder with tunnel/ and benign/, or with an eval.toml, or leave files out with --only",
            dir.display()
        )
    })
}
