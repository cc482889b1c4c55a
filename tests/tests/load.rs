//! Every program passes this kernel's verifier, which walks not many more instructions than it did when they were
//! recorded: that is what a start takes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog::live::programs::PROGRAMS;
use earthdog_tests::object::Object;
use earthdog_tests::verified::{self, Outcome, Walks};
use earthdog_tests::{kernel, require};
use sensor_ebpf::abi::feature;

#[test]
fn the_table_has_every_program_of_the_object() {
    require!(kernel::bpf());
    let mut listed: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
    listed.sort_unstable();
    assert_eq!(Object::load(feature::DEFAULT).unwrap().names(), listed);
}

#[test]
fn every_program_for_this_kernel_loads_within_its_ceiling() {
    require!(kernel::bpf());
    let loaded = verified::load_all().unwrap();
    let lines: Vec<_> = loaded.iter().map(verified::Loaded::line).collect();
    println!("{}", lines.join("\n"));
    let refused = loaded.iter().filter(|one| matches!(one.outcome, Outcome::Refused(_))).count();
    assert_eq!(refused, 0, "refused:\n{}", lines.join("\n"));
    let walked = loaded.iter().filter(|one| matches!(one.outcome, Outcome::Walked(_))).count();
    assert!(walked > 20, "only {walked} were loaded");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let walks = Walks::of(&release, &loaded).unwrap();
    println!("{}", walks.table());
    assert!(walks.problems().is_empty(), "{}\n{}", walks.table(), walks.problems().join("\n"));
}
