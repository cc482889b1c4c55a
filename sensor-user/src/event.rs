//! What every source hands to the pipeline: live rings, captures, Zeek logs and dnstap all end in these types.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
pub use sensor_ebpf::abi::Owner;
pub use sensor_ebpf::record::no_owner;

/// One input of the pipeline, with its time inside.
#[derive(Clone, Debug)]
pub enum Event {
    /// A DNS message, TCP segment or datagram on port 53.
    Packet(Packet),
    /// A process replaced its image.
    Exec(Exec),
    /// A process came to be.
    Fork(Fork),
    /// A process ended.
    Exit(Exit),
}

/// A packet's DNS part and where it was seen.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Unix time, nanoseconds.
    pub time_ns: u64,
    pub view: View,
    pub kind: Kind,
    pub transport: Transport,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    /// 0 where the source has none.
    pub ifindex: u32,
    /// Outer and inner VLAN id.
    pub vlan: [Option<u16>; 2],
    /// TCP sequence number of the first byte of `payload` (of the SYN itself for a SYN). Of a UDP query, see `repeats`.
    pub tcp_seq: u32,
    /// `sensor_ebpf::abi::flag` bits.
    pub flags: u16,
    /// Bytes that were on the wire; `payload` may be shorter.
    pub true_len: u32,
    /// Message, segment payload or datagram, from its first byte.
    pub payload: Bytes,
    /// Who sent it; grade `NONE` with a reason where unknown.
    pub owner: Owner,
}

/// Which hook or file the packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    WireIngress,
    WireEgress,
    HostEgress,
    HostIngress,
    /// Read from a file.
    Capture,
}

/// What `Packet::payload` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One DNS message: a UDP payload, or reassembled from TCP.
    Message,
    /// A TCP segment's payload, in sequence space.
    Segment,
    /// UDP payload on port 53 too short for a DNS header.
    Datagram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A process that replaced its image, as the kernel saw it.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Unix time, nanoseconds.
    pub time_ns: u64,
    pub tgid: u32,
    pub ppid: u32,
    pub uid: u32,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
    pub parent_start_boot_ns: u64,
    pub cgroup_id: u64,
    /// Which standard streams are sockets: `sensor_ebpf::abi::exec::STDIO` bits.
    pub stdio: u16,
    /// `path` is a script, run by an interpreter.
    pub is_script: bool,
    /// The executable's own path: absolute, links resolved. Of a script, its interpreter's.
    pub exe: Option<Bytes>,
    /// Path as given to execve; attacker-chosen bytes, may be relative.
    pub path: Bytes,
    /// argv, NUL between entries; attacker-chosen bytes, may be cut.
    pub args: Bytes,
}

/// A new process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fork {
    /// Unix time, nanoseconds.
    pub time_ns: u64,
    pub tgid: u32,
    pub ppid: u32,
    pub uid: u32,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
    pub parent_start_boot_ns: u64,
    pub cgroup_id: u64,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exit {
    /// Unix time, nanoseconds.
    pub time_ns: u64,
    pub tgid: u32,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
}

impl Packet {
    /// How many repeats of this query the novelty filter kept back since one passed.
    pub fn repeats(&self) -> u32 {
        if self.transport == Transport::Udp { self.tcp_seq } else { 0 }
    }

    /// The side that asks and the side that answers: port 53 is the server; where both are 53, the QR bit decides.
    pub fn client_server(&self) -> (SocketAddr, SocketAddr) {
        if self.flags & sensor_ebpf::abi::flag::TO_SERVER == 0 {
            (self.dst, self.src)
        } else {
            (self.src, self.dst)
        }
    }
}

/// An ABI address (IPv4 mapped) as the standard library has it.
pub fn ip_from_abi(address: [u8; 16]) -> IpAddr {
    std::net::Ipv6Addr::from(address).to_canonical()
}
