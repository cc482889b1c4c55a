//! `cargo xtask`: set-up, run, demo, tests, CI, VMs, fuzzing and benches of earthdog.

mod apt;
mod cache;
mod cli;
mod process;
mod setup;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
