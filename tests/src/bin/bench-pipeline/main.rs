//! `cargo xtask bench pipeline [--json FILE] [--only WORKLOAD] [CAPTURE…]`: what the pipeline costs a message on one core, every detector on.
//!
//! From decoded packets in memory to findings: neither reading nor writing of files is in it. Beside it, from the same
//! run, the floor: only looking at the message and lower-casing its name. Times are medians over interleaved rounds;
//! instructions are counted by callgrind, which does not depend on what else the machine does.

mod measure;
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    match measure::bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-pipeline: {error:#}");
            ExitCode::FAILURE
        }
    }
}
