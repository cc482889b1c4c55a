//! `cargo xtask vm`: boots other kernels in software emulation and runs the sensor against a live tunnel there.

use anyhow::{Result, bail};

use crate::cache::Cache;

pub(crate) fn run(_cache: &Cache, _kernels: &[String]) -> Result<()> {
    bail!("no kernel runs yet")
}
