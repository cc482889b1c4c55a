//! What crosses from the kernel to user space: record layouts, flow keys and values, counters, load-time options.
//!
//! Every type is `repr(C)` with explicit padding and no `bool`, enum or `usize`, so that any byte pattern is a valid
//! value and the layout is the same on both sides. Addresses are 16 bytes, IPv4 mapped (`::ffff:a.b.c.d`), network
//! order; every integer is in host order unless its name says otherwise.

use core::mem::{offset_of, size_of};

pub use counters::*;
pub use flow::*;
pub use options::*;

use crate::question::KEY_WORDS;

/// Raised with every change of a layout below, which `xtask tidy` sees to; the loader refuses an object of another
/// version (the size of its `ABI` map).
pub const ABI_VERSION: u32 = 8;

#[cfg(not(target_arch = "bpf"))]
macro_rules! abi {
    ($(#[$m:meta])* $v:vis struct $n:ident $b:tt) => {
        $(#[$m])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable,
        )]
        $v struct $n $b
    };
}
#[cfg(target_arch = "bpf")]
macro_rules! abi {
    ($(#[$m:meta])* $v:vis struct $n:ident $b:tt) => {
        $(#[$m])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        $v struct $n $b
    };
}

// Behind the macro that they use.
mod counters;
mod flow;
mod options;

/// `RecordHeader::tag`: a DNS message, TCP segment or datagram on port 53.
pub const TAG_PACKET: u32 = 0x3153_4e44;
/// `ExecRecord::tag`: a process replaced its image.
pub const TAG_EXEC: u32 = 0x3143_5845;
/// `ForkRecord::tag`: a process came to be.
pub const TAG_FORK: u32 = 0x314b_5246;
/// `ExitRecord::tag`: the last thread of a process ended.
pub const TAG_EXIT: u32 = 0x3154_5845;

/// `RecordHeader::view`: which hook saw the packet.
pub mod view {
    /// Wire view, arriving: XDP or tcx/clsact ingress.
    pub const WIRE_INGRESS: u8 = 1;
    /// Wire view, leaving: tcx/clsact egress (answers on a masquerading gateway, after NAT is undone).
    pub const WIRE_EGRESS: u8 = 2;
    /// Host view, leaving: cgroup_skb egress, in the sender's context for UDP.
    pub const HOST_EGRESS: u8 = 3;
    /// Host view, arriving: cgroup_skb ingress.
    pub const HOST_INGRESS: u8 = 4;
}

/// `RecordHeader::kind`: what the bytes after the header are.
pub mod kind {
    /// The DNS message of one UDP datagram (from its first byte; perhaps cut, see `cap_len`).
    pub const MESSAGE: u8 = 1;
    /// A TCP segment's payload, or no bytes for a segment that opens or ends a connection. `tcp_seq` is the sequence
    /// number of the first captured byte.
    pub const SEGMENT: u8 = 2;
    /// A UDP datagram on port 53 too short for a DNS header, or first fragment cut before it ends.
    pub const DATAGRAM: u8 = 3;
}

/// `RecordHeader::flags`.
pub mod flag {
    /// First fragment of a fragmented datagram: the message goes on in packets that are only counted.
    pub const FRAGMENT: u16 = 1;
    /// The question could not be walked: compression pointer, label over 63, name over 255 bytes, or cut short.
    /// `qname_len` and the hashes are 0 then.
    pub const BAD_QUESTION: u16 = 1 << 1;
    /// One datagram out of a UDP GSO burst (`UDP_SEGMENT`).
    pub const GSO: u16 = 1 << 2;
    /// TCP SYN, FIN and RST as in the segment.
    pub const TCP_SYN: u16 = 1 << 3;
    /// See `TCP_SYN`.
    pub const TCP_FIN: u16 = 1 << 4;
    /// See `TCP_SYN`.
    pub const TCP_RST: u16 = 1 << 5;
    /// QR bit of the message: a response.
    pub const RESPONSE: u16 = 1 << 6;
    /// Went to the small ring: long name, payload-bearing type, not DNS, or no question.
    pub const ALERT: u16 = 1 << 7;
    /// The destination port is 53 (client to server). Where source and destination are both 53 the QR bit decides.
    pub const TO_SERVER: u16 = 1 << 8;
    /// A response to a query that the novelty filter kept back.
    pub const TO_REPEAT: u16 = 1 << 9;
}

/// `Owner::source`: who filled the owner in.
pub mod owner_source {
    /// Not filled.
    pub const NONE: u8 = 0;
    /// The current task in the packet hook (6.10 and later).
    pub const CURRENT_TASK: u8 = 1;
    /// kprobe on the send path.
    pub const KPROBE: u8 = 2;
    /// fentry on the send path.
    pub const FENTRY: u8 = 3;
    /// cgroup connect/sendmsg hooks, joined by socket cookie.
    pub const SOCK_ADDR: u8 = 4;
    /// The snapshot of sockets taken at start.
    pub const SNAPSHOT: u8 = 5;
}

/// `Owner::grade`: how sure the match is.
pub mod grade {
    /// No owner; `Owner::reason` says why.
    pub const NONE: u8 = 0;
    /// The task was current when the packet was sent.
    pub const EXACT: u8 = 1;
    /// Matched by socket cookie to an earlier call.
    pub const COOKIE: u8 = 2;
    /// Matched by addresses, ports and time.
    pub const INFERRED: u8 = 3;
    /// Matched to a socket that was open before the sensor started.
    pub const SNAPSHOT: u8 = 4;
}

/// `Owner::reason`, where the grade is `NONE`.
pub mod no_owner {
    /// Not asked: the grade is not `NONE`.
    pub const HAS_OWNER: u8 = 0;
    /// Seen on the wire, not at a socket of this host.
    pub const WIRE_VIEW: u8 = 1;
    /// Arriving packet: the current task is whoever was interrupted.
    pub const INGRESS: u8 = 2;
    /// TCP segment that left from softirq, on a connection that nobody was seen to open or send on.
    pub const TCP: u8 = 3;
    /// The current task is a kernel thread.
    pub const KERNEL_THREAD: u8 = 4;
    /// No owner source is on.
    pub const NO_SOURCE: u8 = 5;
    /// The packet has no socket.
    pub const NO_SOCKET: u8 = 6;
    /// The owner source saw no call that made this socket send.
    pub const NOT_SEEN: u8 = 7;
    /// Several processes send through this socket, and which of them it was cannot be told.
    pub const SHARED_SOCKET: u8 = 8;
}

abi! {
/// Who sent a packet: the process as it was when the packet left.
pub struct Owner {
    /// Start of the process (its leader), nanoseconds on CLOCK_BOOTTIME; with `tgid` it names one process for ever.
    pub start_boot_ns: u64,
    /// cgroup v2 id of the sending socket, 0 if unknown.
    pub cgroup_id: u64,
    /// Socket cookie, 0 if none.
    pub cookie: u64,
    /// Thread group id (what user space calls pid), in the initial pid namespace.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id of the task, in the initial user namespace.
    pub uid: u32,
    /// Inode of the socket's network namespace (`/proc/PID/ns/net`), 0 if unknown. Responses have it too.
    pub netns: u32,
    /// Name of the thread group leader, NUL padded.
    pub comm: [u8; 16],
    /// `owner_source`.
    pub source: u8,
    /// `grade`.
    pub grade: u8,
    /// `no_owner`.
    pub reason: u8,
    /// Zero.
    pub pad: [u8; 5],
}
}

/// Key of the `OWNERS` map under which `self_probe` puts the task that runs it; no socket has it.
pub const SELF_PROBE: u64 = u64::MAX;

abi! {
/// Value of the `OWNERS` map: who was seen to send through a socket. The key is the socket's address in the kernel
/// (2^63 and above) for kprobe and fentry; its cookie for cgroup hooks, TCP connections and the snapshot.
pub struct OwnerEntry {
    /// Address of the sender's `task_struct`, 0 while the entry is written and where user space wrote it.
    pub task: u64,
    /// The same of another process that sent through the same socket before; 1 if not known which, 0 if there is none.
    pub other_task: u64,
    /// The sender.
    pub owner: Owner,
}
}

abi! {
/// Head of a packet record. In the host view an [`Owner`] follows; then come `cap_len` bytes of message.
pub struct RecordHeader {
    /// `TAG_PACKET`.
    pub tag: u32,
    /// Bytes that follow the header and are valid (the ring entry may be larger).
    pub cap_len: u32,
    /// CLOCK_MONOTONIC nanoseconds: cheaper to read than CLOCK_BOOTTIME, and user space knows how long the machine slept.
    pub time_ns: u64,
    /// Keyed hash of the lower-cased question name in wire form, 0 if not walked.
    pub name_hash: u64,
    /// Keyed hash of its last two labels, or three under a two-part public suffix, 0 if not walked.
    pub zone_hash: u64,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Interface index, 0 where the hook has none.
    pub ifindex: u32,
    /// Bytes of UDP payload by the UDP header, or of TCP payload by the IP header.
    pub true_len: u32,
    /// TCP sequence number of the first captured byte (of the SYN itself for a SYN). Of a UDP query, how many repeats of
    /// it the novelty filter kept back since one passed.
    pub tcp_seq: u32,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Outer and inner VLAN ids (TCI without priority), 0xffff where absent.
    pub vlan: [u16; 2],
    /// `flag` bits.
    pub flags: u16,
    /// Question name in wire form with the root label, in bytes; 0 if not walked.
    pub qname_len: u16,
    /// QTYPE of the first question, 0 if not walked.
    pub qtype: u16,
    /// QCLASS of the first question, 0 if not walked.
    pub qclass: u16,
    /// Labels of the question name, root not counted.
    pub labels: u8,
    /// IP protocol: 17 or 6.
    pub transport: u8,
    /// `view`.
    pub view: u8,
    /// `kind`.
    pub kind: u8,
}
}

/// Most bytes of a message in a record: queries.
pub const CAP_QUERY: usize = 512;
/// Most bytes of a message in a record: responses and TCP segments.
pub const CAP_RESPONSE: usize = 1536;

/// Bytes kept of the path given to execve.
pub const EXEC_PATH: usize = 256;
/// Bytes kept of the executable's own path.
pub const EXEC_FILE: usize = 512;
/// Bytes kept of a command line.
pub const EXEC_ARGS: usize = 512;

/// `ExecRecord::flags`.
pub mod exec {
    /// Standard input is a socket.
    pub const STDIN_SOCKET: u16 = 1;
    /// Standard output is a socket.
    pub const STDOUT_SOCKET: u16 = 1 << 1;
    /// Standard error is a socket.
    pub const STDERR_SOCKET: u16 = 1 << 2;
    /// `path` is a script; the executable is what its first line names.
    pub const SCRIPT: u16 = 1 << 3;
    /// `file` is the whole path, up to the root of the mount namespace.
    pub const WHOLE: u16 = 1 << 4;
    /// `file` is a name outside the file tree (memfd, deleted mount).
    pub const UNREACHABLE: u16 = 1 << 5;
    /// The three bits of standard streams.
    pub const STDIO: u16 = STDIN_SOCKET | STDOUT_SOCKET | STDERR_SOCKET;
}

abi! {
/// A process that replaced its image (`sched_process_exec`). In the ring it ends behind the last byte of `args`.
pub struct ExecRecord {
    /// `TAG_EXEC`.
    pub tag: u32,
    /// Bytes of `path` that are valid.
    pub path_len: u16,
    /// Bytes of `args` that are valid.
    pub args_len: u16,
    /// See [`RecordHeader::time_ns`].
    pub time_ns: u64,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
    /// The parent's.
    pub parent_start_boot_ns: u64,
    /// cgroup v2 id of the task.
    pub cgroup_id: u64,
    /// Thread group id.
    pub tgid: u32,
    /// Parent's thread group id.
    pub ppid: u32,
    /// User id.
    pub uid: u32,
    /// Bytes of the command line before it was cut to `args`.
    pub args_true_len: u32,
    /// Bytes of `file` that are valid.
    pub file_len: u16,
    /// `exec` bits.
    pub flags: u16,
    /// Zero.
    pub pad: u32,
    /// Path as given to execve (`linux_binprm::filename`); may be relative.
    pub path: [u8; EXEC_PATH],
    /// Path of the executable by its directory entries: names from the file up to the root, each ended by NUL.
    pub file: [u8; EXEC_FILE],
    /// argv, each entry ended by NUL.
    pub args: [u8; EXEC_ARGS],
}
}

abi! {
/// A new process (`sched_process_fork`, threads left out).
pub struct ForkRecord {
    /// `TAG_FORK`.
    pub tag: u32,
    /// Thread group id of the child.
    pub tgid: u32,
    /// See [`RecordHeader::time_ns`].
    pub time_ns: u64,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
    /// The parent's.
    pub parent_start_boot_ns: u64,
    /// cgroup v2 id of the child.
    pub cgroup_id: u64,
    /// Parent's thread group id.
    pub ppid: u32,
    /// User id of the child.
    pub uid: u32,
}
}

abi! {
/// The end of a process (`sched_process_exit` of its last thread). May come twice when two threads end at once.
pub struct ExitRecord {
    /// `TAG_EXIT`.
    pub tag: u32,
    /// Thread group id.
    pub tgid: u32,
    /// See [`RecordHeader::time_ns`].
    pub time_ns: u64,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
}
}

const _: () = {
    assert!(size_of::<Owner>() == 64 && offset_of!(Owner, comm) == 40);
    assert!(size_of::<OwnerEntry>() == 80 && offset_of!(OwnerEntry, owner) == 16);
    assert!(size_of::<RecordHeader>() == 96);
    assert!(offset_of!(RecordHeader, src) == 32 && offset_of!(RecordHeader, ifindex) == 64);
    assert!(size_of::<ExecRecord>() == 64 + EXEC_PATH + EXEC_FILE + EXEC_ARGS);
    assert!(size_of::<ForkRecord>() == 48 && size_of::<ExitRecord>() == 24);
    assert!(size_of::<FlowKey>() == 16);
    assert!(size_of::<FlowSet>() == 16 * (1 + FLOW_PLACES));
    assert!(size_of::<FlowValue>() == 232 + FLOW_ZONE);
    assert!(size_of::<NoveltySet>() == 20 * NOVELTY_PLACES);
    assert!(size_of::<Options>() == 8 + 8 * KEY_WORDS + 168 + 24);
};
