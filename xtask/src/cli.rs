//! The command line: one variant a command, one line each to the file that does it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::cache::Cache;
use crate::setup;

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about = "Set-up, tests and CI of earthdog")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the BPF toolchain and the test peers into the cache folder; nothing is installed, no root needed
    Setup {
        /// Also what the VM runs need: qemu and busybox
        #[arg(long)]
        vm: bool,
    },
}

pub(crate) fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Setup { vm } => {
            setup::run(&Cache::open()?, setup::Needs { toolchain: true, peers: true, vm: *vm })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
