//! `cargo xtask bench host [--json FILE]`: what the host view adds to a send, over an empty program; below it, what an
//! unbound on this host answers a second with the sensor and without. `--dnsperf` is that part alone; `--over veth`
//! has the queries come from another host, `--rounds N` more or fewer rounds, `--nice N` a sensor with another `live.nice`.

mod compare;
mod dnsperf;
mod run;
mod sends;

use std::process::ExitCode;

fn main() -> ExitCode {
    match run::bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-host: {error:#}");
            ExitCode::FAILURE
        }
    }
}
