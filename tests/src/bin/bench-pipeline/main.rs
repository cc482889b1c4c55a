//! `cargo xtask bench pipeline [--json FILE] [--only WORKLOAD] [CAPTURE…]`, or `[--json FILE] --peers`: what the pipeline costs a message on one core, every detector on.
//!
//! From decoded packets in memory to findings: neither reading nor writing of files is in it. Beside it, from the same
//! run, the floor: only looking at the message and lower-casing its name. Times are medians over interleaved rounds;
//! instructions are counted by callgrind, which does not depend on what else the machine does.
//! Below, the whole program beside others that read captures; `--peers` is that part alone.

mod measure;
mod peers;
mod workload;

use std::process::ExitCode;

use anyhow::Result;
use earthdog_tests::rows;

/// Whether every goal was met.
fn bench() -> Result<bool> {
    let (json_file, rest) = rows::file_of(std::env::args().skip(1))?;
    if rest == ["--peers"] {
        if let Some(file) = &json_file {
            rows::write(file, &[])?;
        }
        return peers::bench(json_file.as_deref());
    }
    let met = measure::bench()?;
    Ok(if rest.is_empty() { met & peers::bench(json_file.as_deref())? } else { met })
}

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-pipeline: {error:#}");
            ExitCode::FAILURE
        }
    }
}
