//! Loads every program that the table says this kernel can, with each owner source and with the novelty filter, a line
//! for each; fails if one is refused.
//!
//! For kernels in a VM, where no test runner is: the sensor there only loads what it attaches.

use std::process::ExitCode;

use anyhow::Result;
use earthdog::live::features::Features;
use earthdog::live::programs::Program;
use earthdog_tests::object::{NAME_OWNERS, Object, SEE_PACKETS, SOURCES};
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

/// How many the kernel refused of those that it should take by the table.
fn load() -> Result<usize> {
    let features = Features::probe();
    println!("{:?}", features.offsets);
    let mut failed = 0;
    let rounds = SOURCES.into_iter().enumerate().map(|(round, (source, bits))| {
        let names: &[&str] = if round == 0 { &[] } else { &NAME_OWNERS };
        (source, bits, names)
    });
    let filter = ("novelty filter", SOURCES[2].1 | feature::NOVELTY, &SEE_PACKETS[..]);
    for (source, bits, names) in rounds.chain([filter]) {
        if bits & feature::TASK_BTF != 0 && !features.task_btf {
            println!("{source}: left out, the verifier lets nobody load the current task's fields here");
            continue;
        }
        let mut object = Object::load(feature::DEFAULT | bits)?;
        for name in object.names() {
            if !names.is_empty() && !names.contains(&name.as_str()) {
                continue;
            }
            let Some(row) = Program::find(&name) else {
                println!("{name}: REFUSED: it is not in the table of programs");
                failed += 1;
                continue;
            };
            let missing = row.missing(&features);
            if !missing.is_empty() {
                println!("{name}: left out, no {missing:?} here");
                continue;
            }
            match object.program(&name) {
                Ok(_) => println!("{name} ({source}): loaded, {:?}", object.verified_instructions(&name)?),
                Err(error) => {
                    failed += 1;
                    println!("{name} ({source}): REFUSED: {}", end(&format!("{error:#}")));
                }
            }
        }
    }
    Ok(failed)
}
