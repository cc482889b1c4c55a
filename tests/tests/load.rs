//! Every program passes the verifier, and within its budget.

use earthdog_tests::object::Object;
use earthdog_tests::{kernel, require};
use sensor_ebpf::abi::feature;

#[test]
fn every_program_loads() {
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT | feature::XCHG).unwrap();
    for name in [
        "xdp_dns",
        "xdp_dns_legacy",
        "xdp_floor",
        "tc_ingress",
        "tc_egress",
        "host_egress",
        "host_ingress",
        "sched_exec",
    ] {
        if let Err(error) = object.program(name) {
            panic!("{name}: {error:?}");
        }
        println!("{name}: {:?} instructions verified", object.verified_instructions(name).unwrap());
    }
}
