//! The `earthdog` binary: command line in, exit code out.

use std::process::ExitCode;

use earthdog::{cli, exit};

fn main() -> ExitCode {
    exit::report(cli::run(std::env::args_os()))
}
