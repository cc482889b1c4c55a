//! Every program passes this kernel's verifier; prints how many instructions it walked.

use earthdog_tests::object::Object;
use earthdog_tests::{kernel, require};
use sensor_ebpf::abi::feature;

#[test]
fn every_program_loads() {
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT).unwrap();
    let names = object.names();
    for known in ["xdp_dns", "xdp_dns_legacy", "tc_ingress", "tc_egress", "host_egress", "host_ingress"] {
        assert!(names.iter().any(|name| name == known), "{names:?}");
    }
    for name in &names {
        if let Err(error) = object.program(name) {
            panic!("{name}: {error:?}");
        }
        println!("{name}: {:?} instructions verified", object.verified_instructions(name).unwrap());
    }
}
