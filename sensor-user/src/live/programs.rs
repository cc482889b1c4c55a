//! The kernel programs and what each needs, as data: which kernels load it and what it is for.

use super::features::{Feature, Features};
use super::plan::SEND_PATH;

/// A row of the table.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    /// First upstream release that has all of `needs`; distributions carry some earlier, so `needs` decides.
    pub since: &'static str,
    /// Last release that it is for, where a better one took its place.
    pub until: Option<&'static str>,
    pub needs: &'static [Feature],
    pub use_for: &'static str,
}

const fn program(
    name: &'static str,
    since: &'static str,
    needs: &'static [Feature],
    use_for: &'static str,
) -> Program {
    Program { name, since, until: None, needs, use_for }
}

use Feature::{CgroupSkb, CurrentTask, Fentry, Kprobe, RawTracepoint, SockAddr, Tc, Xdp, XdpFrags};

/// Every program of the object. All need the ring buffer, hence 5.8 at least.
pub const PROGRAMS: &[Program] = &[
    program("xdp_dns", "5.18", &[Xdp, XdpFrags], "wire view at line rate"),
    Program {
        until: Some("5.17"),
        ..program("xdp_dns_legacy", "5.8", &[Xdp], "wire view at line rate, frames of one page")
    },
    program("xdp_floor", "5.18", &[Xdp, XdpFrags], "measurements only"),
    program("tc_ingress", "5.8", &[Tc], "wire view where XDP is not used"),
    program("tc_egress", "5.8", &[Tc], "a gateway's answers after NAT is undone"),
    program("packet_egress", "5.8", &[Tc, CurrentTask], "queries of AF_PACKET sockets; all, without cgroup2"),
    program("host_egress", "5.8", &[CgroupSkb, CurrentTask], "queries at the socket, with their process"),
    program("host_floor", "5.8", &[CgroupSkb], "measurements only"),
    program("host_ingress", "5.8", &[CgroupSkb, CurrentTask], "answers at the socket"),
    program(
        "self_probe",
        "5.8",
        &[CgroupSkb, CurrentTask],
        "proof at start that process fields are read right",
    ),
    program("probe_udp", "5.8", &[Kprobe], "who sends UDP"),
    program("probe_raw", "5.8", &[Kprobe], "who sends through raw sockets"),
    program("probe_tcp", "5.8", &[Kprobe], "who opens and uses TCP connections"),
    program("enter_udp", "5.8", &[Fentry], "who sends UDP"),
    program("enter_udp6", "5.8", &[Fentry], "who sends UDP over IPv6"),
    program("enter_raw", "5.8", &[Fentry], "who sends through raw sockets"),
    program("enter_raw6", "5.8", &[Fentry], "who sends through raw sockets, IPv6"),
    program("enter_tcp_connect", "5.8", &[Fentry], "who opens TCP connections"),
    program("enter_tcp_send", "5.8", &[Fentry], "who sends on TCP connections"),
    program("connect4", "5.8", &[SockAddr, CurrentTask], "who connects to port 53"),
    program("connect6", "5.8", &[SockAddr, CurrentTask], "who connects to port 53 over IPv6"),
    program("sendmsg4", "5.8", &[SockAddr, CurrentTask], "who sends to port 53"),
    program("sendmsg6", "5.8", &[SockAddr, CurrentTask], "who sends to port 53 over IPv6"),
    program("sched_exec", "5.8", &[RawTracepoint], "path and arguments of new processes"),
    program("sched_fork", "5.8", &[RawTracepoint], "who started whom"),
    program("sched_exit", "5.8", &[RawTracepoint], "which processes ended"),
];

impl Program {
    /// Of a program's name.
    pub fn find(name: &str) -> Option<&'static Self> {
        PROGRAMS.iter().find(|program| program.name == name)
    }

    /// What this kernel has not; nothing if it can be loaded.
    pub fn missing(&self, features: &Features) -> Vec<Feature> {
        self.needs.iter().copied().filter(|feature| !features.has(*feature)).collect()
    }

    /// The kernel function a fentry program is for.
    pub fn function(&self) -> Option<&'static str> {
        SEND_PATH.iter().find(|(_, fentry, _)| *fentry == self.name).map(|(function, ..)| *function)
    }

    /// `5.8` or `5.8-5.17`, as the reports show it.
    pub fn kernels(&self) -> String {
        self.until.map_or_else(|| self.since.to_owned(), |until| format!("{}-{until}", self.since))
    }
}
