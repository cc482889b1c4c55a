//! The live sensor: kernel programs, their hooks and rings, and what the running host tells about processes.

pub mod btf;
pub mod features;
pub mod link;
pub mod object;
pub mod plan;
pub mod process;

use crate::{
    cli::{DoctorArgs, FlowsArgs, RunArgs},
    config::Config,
    exit::{Code, Error},
};

/// Watches this machine until it is told to stop.
pub fn run(_args: &RunArgs, _config: &Config) -> anyhow::Result<Code> {
    Err(without_kernel_side())
}

/// Prints the running sensor's flow map.
pub fn flows(_args: &FlowsArgs, _config: &Config) -> anyhow::Result<Code> {
    Err(without_kernel_side())
}

/// Prints what this kernel offers.
pub fn doctor(_args: &DoctorArgs, _config: &Config) -> anyhow::Result<Code> {
    Err(without_kernel_side())
}

fn without_kernel_side() -> anyhow::Error {
    let message = "built without the kernel side: run `cargo xtask setup` and build again";
    Error::new(Code::NoHook, message).into()
}
