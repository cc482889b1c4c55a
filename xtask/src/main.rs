//! `cargo xtask`: set-up, run, demo, tests, CI, VMs, fuzzing and benches of earthdog.

mod apt;
mod cache;
mod ci;
mod cli;
mod data;
mod demo;
mod dist;
mod eval;
mod fuzz;
mod model;
mod preflight;
mod process;
mod run;
mod setup;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
