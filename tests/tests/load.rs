//! Every program passes this kernel's verifier; prints how many instructions it walked.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog::live::features::Features;
use earthdog::live::programs::{PROGRAMS, Program};
use earthdog_tests::object::{NAME_OWNERS, Object, SOURCES};
use earthdog_tests::{kernel, require};
use sensor_ebpf::abi::feature;

#[test]
fn every_program_that_the_table_has_for_this_kernel_loads() {
    require!(kernel::bpf());
    let features = Features::probe();
    let mut object = Object::load(feature::DEFAULT).unwrap();
    let mut listed: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
    listed.sort_unstable();
    assert_eq!(object.names(), listed, "object and table");
    for name in listed {
        let missing = Program::find(name).unwrap().missing(&features);
        if missing.is_empty() {
            load(&mut object, name, "no source");
        } else {
            println!("{name}: left out, no {missing:?} here");
        }
    }
}

#[test]
fn who_asked_loads_for_each_source() {
    require!(kernel::bpf());
    let task_btf = Features::probe().task_btf;
    for (source, bits) in &SOURCES[1..] {
        if bits & feature::TASK_BTF != 0 && !task_btf {
            println!("{source}: left out, the verifier refuses it here");
            continue;
        }
        let mut object = Object::load(feature::DEFAULT | bits).unwrap();
        for name in NAME_OWNERS {
            load(&mut object, name, source);
        }
    }
}

fn load(object: &mut Object, name: &str, source: &str) {
    if let Err(error) = object.program(name) {
        panic!("{name} ({source}): {error:?}");
    }
    println!("{name} ({source}): {:?} instructions verified", object.verified_instructions(name).unwrap());
}
