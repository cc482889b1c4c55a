//! Every program passes this kernel's verifier, which walks not many more instructions than it did when they were
//! recorded: that is what a start takes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog::live::features::Features;
use earthdog::live::programs::{PROGRAMS, Program};
use earthdog_tests::object::{NAME_OWNERS, Object, SEE_PACKETS, SOURCES};
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

#[test]
fn the_novelty_filter_loads() {
    require!(kernel::bpf());
    let features = Features::probe();
    let sources = if features.task_btf { 1 } else { 2 };
    let mut object = Object::load(feature::DEFAULT | feature::NOVELTY | SOURCES[sources].1).unwrap();
    for name in SEE_PACKETS {
        if Program::find(name).unwrap().missing(&features).is_empty() {
            load(&mut object, name, "novelty filter");
        }
    }
}

/// Kernels whose verifier walked as many as `RECORDED` says; others take other ways.
const RECORDED_ON: &str = "6.18.";
/// Instructions that the verifier walked, of all owner sources the most. A change on purpose is recorded here.
const RECORDED: [(&str, u32); 15] = [
    ("connect4", 285),
    ("connect6", 285),
    ("host_egress", 123_166),
    ("host_ingress", 123_771),
    ("packet_egress", 163_357),
    ("sched_exec", 10_560),
    ("sched_exit", 94),
    ("sched_fork", 182),
    ("self_probe", 202),
    ("sendmsg4", 285),
    ("sendmsg6", 285),
    ("tc_egress", 163_700),
    ("tc_ingress", 163_680),
    ("xdp_dns", 102_976),
    ("xdp_dns_legacy", 66_935),
];

/// What was recorded and 15 % more; `None` for what the recording kernel did not load (kprobe, fentry) and the floors.
fn ceiling(name: &str) -> Option<u32> {
    let (_, recorded) = RECORDED.iter().find(|(known, _)| *known == name)?;
    Some(recorded + recorded * 15 / 100)
}

fn load(object: &mut Object, name: &str, source: &str) {
    if let Err(error) = object.program(name) {
        panic!("{name} ({source}): {error:?}");
    }
    let walked = object.verified_instructions(name).unwrap();
    println!("{name} ({source}): {walked:?} instructions verified");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    if let (Some(walked), Some(ceiling)) = (walked, ceiling(name))
        && release.starts_with(RECORDED_ON)
    {
        assert!(walked <= ceiling, "{name} ({source}): {walked} instructions verified, at most {ceiling}");
    }
}
