//! `cargo xtask soak [--minutes N] [--json FILE]`: the live sensor under all that one core puts on a veth pair, for long.
//!
//! Random names, spoofed clients and zones without end, with every detector and the memory limit on; only the limits of
//! CPU are off, which would switch detectors off. Every ten seconds its memory, kernel maps, descriptors, threads, store
//! and counters are looked at from outside. It fails where one of them still grows after the warm-up (`flat`), or where
//! one packet is neither delivered, lost, skipped nor filtered.

mod flat;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    match run::soak() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}
