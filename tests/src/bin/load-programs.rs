//! Loads every program that the table says this kernel can, with each owner source and with the novelty filter, a line
//! for each; then how far the verifier walked. Fails if one is refused or passes its ceiling.
//!
//! For kernels in a VM, where no test runner is: the sensor there only loads what it attaches. `--record` prints what
//! tests/data/verified.toml should have of this kernel instead of judging it.

use std::process::ExitCode;

use anyhow::Result;
use earthdog::live::features::Features;
use earthdog_tests::verified::{self, Outcome, Walks};

fn main() -> ExitCode {
    match load() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all loaded, and within their ceilings.
fn load() -> Result<bool> {
    println!("{:?}", Features::probe().offsets);
    let loaded = verified::load_all()?;
    for one in &loaded {
        println!("{}", one.line());
    }
    let refused = loaded.iter().filter(|one| matches!(one.outcome, Outcome::Refused(_))).count();
    let walks = Walks::of(&std::fs::read_to_string("/proc/sys/kernel/osrelease")?, &loaded)?;
    if std::env::args().any(|word| word == "--record") {
        print!("{}", walks.section());
        return Ok(refused == 0);
    }
    print!("{}", walks.table());
    let over = walks.problems();
    for line in &over {
        println!("OVER {line}");
    }
    println!("in all: {refused} refused, {} over the ceiling; {}", over.len(), walks.nearest());
    Ok(refused == 0 && over.is_empty())
}
