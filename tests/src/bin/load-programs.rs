//! Loads every program of the object into this kernel, a line for each; fails if one is refused.
//!
//! For kernels in a VM, where no test runner is: the sensor there only loads what it attaches.

use std::process::ExitCode;

use anyhow::Result;
use earthdog::live::features::{Feature, Features};
use earthdog_tests::object::Object;
use sensor_ebpf::abi::feature;

fn main() -> ExitCode {
    match load() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("{failed} refused");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// The last lines of a verifier's log: what it stopped at.
fn end(text: &str) -> String {
    const LINES: usize = 8;
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n    ")
}

/// How many the kernel refused.
fn load() -> Result<usize> {
    let features = Features::probe();
    let mut object = Object::load(feature::DEFAULT)?;
    let mut failed = 0;
    for name in object.names() {
        // Programs of a kind that a kernel may lack; `xdp_dns_legacy` stands in, and the other is for benches only.
        if ["xdp_dns", "xdp_floor"].contains(&name.as_str()) && !features.has(Feature::XdpFrags) {
            println!("{name}: left out, no XDP with fragments here");
            continue;
        }
        match object.program(&name) {
            Ok(_) => println!("{name}: loaded"),
            Err(error) => {
                failed += 1;
                println!("{name}: REFUSED: {}", end(&format!("{error:#}")));
            }
        }
    }
    Ok(failed)
}
