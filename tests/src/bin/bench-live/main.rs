//! `cargo xtask bench live [--json FILE] [--rounds N]`: packets a second into the stack of a host, without the sensor and
//! with it.
//!
//! Two hosts of the test kit with a veth pair between them. A generator on one core puts DNS queries on the link
//! (`generator`); the programs run where they arrive, on the same core. Readers have the other. Each round measures every
//! case once; figures are medians. In each case what was sent is what was seen, and that is what was delivered, lost and
//! filtered, to the packet.

mod cases;
mod report;
mod sensor;

use std::process::ExitCode;

fn main() -> ExitCode {
    match report::bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-live: {error:#}");
            ExitCode::FAILURE
        }
    }
}
