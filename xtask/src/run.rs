//! `cargo xtask run`: builds as the calling user, then becomes the sensor, through sudo where that is needed.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::ci::sensor;
use crate::process;
use crate::setup::{self, Needs};

/// Returns only with an error: the sensor takes this process's place, so that signals reach it.
pub(crate) fn run(cache: &Cache, arguments: &[String]) -> Result<()> {
    build(cache, Needs { toolchain: true, ..Needs::default() })?;
    let mut command = privileged(&sensor())?;
    let error = command.arg("run").args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", sensor().display()))
}

/// Sets up what is missing and builds the release binary.
pub(crate) fn build(cache: &Cache, needs: Needs) -> Result<()> {
    setup::run(cache, needs)?;
    process::run(process::cargo().args(["build", "--locked", "--release", "--quiet", "-p", "sensor-user"]))
}

/// The program as root: itself where we are root, else through sudo.
pub(crate) fn privileged(program: &Path) -> Result<Command> {
    if process::is_root() {
        let mut command = Command::new(program);
        // cargo run points it at the compiler's libraries.
        command.env_remove("LD_LIBRARY_PATH");
        return Ok(command);
    }
    let Some(sudo) = process::find("sudo") else {
        bail!(
            "loading BPF programs takes root and there is no sudo here: run `{} run` as root",
            program.display()
        );
    };
    eprintln!("xtask: loading BPF programs takes root: sudo {}", program.display());
    let mut command = Command::new(sudo);
    command.arg(program);
    Ok(command)
}
