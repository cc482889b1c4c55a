//! What crosses from the kernel to user space: record layouts, flow keys and values, counters, load-time options.
//!
//! Every type is `repr(C)` with explicit padding and no `bool`, enum or `usize`, so that any byte pattern is a valid
//! value and the layout is the same on both sides. Addresses are 16 bytes, IPv4 mapped (`::ffff:a.b.c.d`), network
//! order; every integer is in host order unless its name says otherwise.

use core::mem::{offset_of, size_of};

use crate::question::KEY_WORDS;

/// Raised with every change of a layout below, which `xtask tidy` sees to; the loader refuses an object of another
/// version (the size of its `ABI` map).
pub const ABI_VERSION: u32 = 6;

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

abi! {
/// Key of the flow map: keyed hashes, so that it is two words whatever the addresses. Never the full name: random names
/// would churn the map.
pub struct FlowKey {
    /// Of client, server, side and transport.
    pub pair: u64,
    /// Of the same under other secrets, plus the zone's.
    pub zone: u64,
}
}

/// Places in a set of the flow map.
pub const FLOW_PLACES: usize = 16;

abi! {
/// A set of the flow map (`FLOW_SETS`): the flows whose keys choose it are in any of its places, and nowhere else. The
/// value of the one in place p of set s is number s * `FLOW_PLACES` + p of `FLOWS`.
pub struct FlowSet {
    /// Runs that add a flow at this moment.
    pub changing: u64,
    /// Zero, so that a set begins at a multiple of 16.
    pub pad: u64,
    /// Zeroes where a place is free.
    pub keys: [FlowKey; FLOW_PLACES],
}
}

impl FlowKey {
    /// The set of this flow among `sets`: the upper half of the keys' product with the golden ratio (Knuth, TAOCP volume
    /// 3, section 6.4), since neighbouring addresses differ in the lower bits of their sums.
    #[inline(always)]
    pub const fn set(&self, sets: u32) -> u32 {
        let spread = self.pair.wrapping_add(self.zone).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((spread * sets as u64) >> 32) as u32
    }
}

/// Bytes kept of a flow's zone, wire form.
pub const FLOW_ZONE: usize = 64;

/// Index into `FlowValue::recent` and `carried`.
pub mod class {
    /// Responses by RCODE: NOERROR, NXDOMAIN, SERVFAIL, other.
    pub const RCODE: usize = 0;
    /// Queries by QTYPE: A/AAAA/HTTPS, PTR, TXT/NULL/KEY/private/unknown, other.
    pub const QTYPE: usize = 4;
    /// Queries whose question could not be walked; TCP segments and GSO bursts to the server.
    pub const QUERY: usize = 8;
    /// TCP segments and GSO bursts from the server.
    pub const RESPONSE: usize = 9;
    /// How many there are.
    pub const COUNT: usize = 10;
}

/// `FlowValue::recent`: bits of the bytes, below those of the packets.
pub const RECENT_BYTES: u32 = 40;
/// `FlowValue::recent_names`: bits of the squares' sum, below those of the lengths' sum.
pub const RECENT_SQUARES: u32 = 36;
/// Packets to a unit of `FlowValue::carried`.
pub const CARRY: u64 = 1 << 16;

abi! {
/// Counters of a flow. Bytes are DNS payload bytes (TCP: segment payload).
///
/// What belongs together is counted in one word, since an atomic addition takes longer than all else that counting
/// does. Before a word is full it is carried over to the fields that hold sums: the flow's counters are these and
/// the recent ones together.
pub struct FlowValue {
    /// First packet, CLOCK_MONOTONIC ns.
    pub first_ns: u64,
    /// Last packet, CLOCK_MONOTONIC ns.
    pub last_ns: u64,
    /// By `class`: packets and their bytes.
    pub recent: [u64; class::COUNT],
    /// Question names of queries: sum of their lengths and of the squares of these.
    pub recent_names: u64,
    /// Carried bytes to the server.
    pub query_bytes: u64,
    /// Carried bytes from the server.
    pub response_bytes: u64,
    /// Carried sum of question name lengths.
    pub name_len_sum: u64,
    /// Carried sum of their squares.
    pub name_len_sq_sum: u64,
    /// Runs that carry at this moment.
    pub carrying: u64,
    /// By `class`: carried packets, in units of `CARRY`.
    pub carried: [u32; class::COUNT],
    /// Client address (the side that is not port 53).
    pub client: [u8; 16],
    /// Server address.
    pub server: [u8; 16],
    /// Longest question name.
    pub name_len_max: u32,
    /// Owner's tgid of the last query (host view), else 0.
    pub tgid: u32,
    /// Valid bytes of `zone`.
    pub zone_len: u32,
    /// 1 for the wire view, 2 for the host view.
    pub side: u8,
    /// IP protocol.
    pub transport: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// The zone's name as first seen, wire form without the root, cut at the front if longer.
    pub zone: [u8; FLOW_ZONE],
}
}

/// Places in a set of the novelty filter.
pub const NOVELTY_PLACES: usize = 8;

abi! {
/// A set of the novelty filter (`NOVELTY_NAMES`, `NOVELTY_REPEATS`): keyed fingerprints and what is known of each. See
/// `novelty`.
pub struct NoveltySet {
    /// 0 where a place is free.
    pub keys: [u64; NOVELTY_PLACES],
    /// When it was met, by the record's clock, nanoseconds.
    pub times_ns: [u64; NOVELTY_PLACES],
    /// Of a query: repeats in this look-up, or since one of a sample passed.
    pub repeats: [u32; NOVELTY_PLACES],
}
}

/// A flow's counters, recent and carried ones together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounters {
    /// Packets by `class`.
    pub packets: [u64; class::COUNT],
    pub query_bytes: u64,
    pub response_bytes: u64,
    /// Sums over question names of queries.
    pub name_len_sum: u64,
    pub name_len_sq_sum: u64,
}

impl FlowCounters {
    /// Queries (TCP: segments to the server).
    pub fn queries(&self) -> u64 {
        self.packets[class::QTYPE..class::RESPONSE].iter().sum()
    }

    /// Responses (TCP: segments from the server).
    pub fn responses(&self) -> u64 {
        self.packets[..class::QTYPE].iter().sum::<u64>() + self.packets[class::RESPONSE]
    }
}

impl FlowValue {
    pub fn counters(&self) -> FlowCounters {
        let mut counters = FlowCounters {
            packets: [0; class::COUNT],
            query_bytes: self.query_bytes,
            response_bytes: self.response_bytes,
            name_len_sum: self.name_len_sum + (self.recent_names >> RECENT_SQUARES),
            name_len_sq_sum: self.name_len_sq_sum + (self.recent_names & ((1 << RECENT_SQUARES) - 1)),
        };
        for (index, &recent) in self.recent.iter().enumerate() {
            counters.packets[index] = u64::from(self.carried[index]) * CARRY + (recent >> RECENT_BYTES);
            let bytes =
                if is_query(index) { &mut counters.query_bytes } else { &mut counters.response_bytes };
            *bytes += recent & ((1 << RECENT_BYTES) - 1);
        }
        counters
    }
}

/// Whether a `class` is one of queries.
#[inline(always)]
pub const fn is_query(class: usize) -> bool {
    class >= class::QTYPE && class <= class::QUERY
}

/// Index into the one value of the per-CPU counter map. The names are the metric labels, in `COUNTER_NAMES`.
///
/// Conservation, per CPU and in sum: `SEEN = DELIVERED + LOST_ALERT + LOST_BULK + SKIP_* + REPEAT_*` for packets on port 53 plus
/// `EXTRA` records (a GSO burst or a long TCP segment gives several records from one packet; each beyond the first
/// counts there), and `EXEC_SEEN = EXEC_DELIVERED + EXEC_LOST`, the same for `FORK_*` and `EXIT_*`.
pub mod counter {
    /// Packets for or from port 53 that reached a program (of whatever outcome below), plus frames that hid whether they were.
    pub const SEEN: u32 = 0;
    /// Records put into a ring.
    pub const DELIVERED: u32 = 1;
    /// Records lost because both rings were full and the record was for the small one.
    pub const LOST_ALERT: u32 = 2;
    /// Records lost because the bulk ring was full.
    pub const LOST_BULK: u32 = 3;
    /// Records beyond the first from one packet.
    pub const EXTRA: u32 = 4;
    /// Cut before the end of the transport header.
    pub const SKIP_TRUNCATED: u32 = 5;
    /// Bad IP version, header length or total length.
    pub const SKIP_BAD_IP: u32 = 6;
    /// Bad UDP length or TCP data offset.
    pub const SKIP_BAD_TRANSPORT: u32 = 7;
    /// Later fragment: its ports are in the first (UDP and TCP fragments of any port; the port cannot be known).
    pub const SKIP_LATER_FRAGMENT: u32 = 8;
    /// More IPv6 extension headers than `limits::MAX_EXT_HEADERS`.
    pub const SKIP_EXT_HEADERS: u32 = 9;
    /// More VLAN tags than `limits::MAX_VLAN`.
    pub const SKIP_VLAN_DEPTH: u32 = 10;
    /// VXLAN or Geneve: what is inside is not parsed.
    pub const SKIP_ENCAPSULATED: u32 = 11;
    /// UDP datagram on port 53 without payload.
    pub const SKIP_EMPTY: u32 = 12;
    /// TCP segment without payload that neither opens nor ends a connection (a bare ACK).
    pub const SKIP_TCP_ACK: u32 = 13;
    /// Payload could not be loaded (a helper refused).
    pub const SKIP_LOAD_FAILED: u32 = 14;
    /// Records not asked for: the record feature is off.
    pub const SKIP_RECORD_OFF: u32 = 15;
    /// Exec events seen.
    pub const EXEC_SEEN: u32 = 16;
    /// Exec events put into a ring.
    pub const EXEC_DELIVERED: u32 = 17;
    /// Exec events lost because the small ring was full.
    pub const EXEC_LOST: u32 = 18;
    /// Packets that no flow counts, since another run was adding one to the same set.
    pub const FLOW_FULL: u32 = 19;
    /// GSO datagrams or TCP payload beyond what one packet may give (`limits::MAX_CHUNKS`); bytes are not delivered.
    pub const CHUNKS_CUT: u32 = 20;
    /// No free scratch: more nested or preempted runs of one hook on one CPU than there are slots.
    pub const SKIP_BUSY: u32 = 21;
    /// New processes seen.
    pub const FORK_SEEN: u32 = 22;
    /// New processes put into a ring.
    pub const FORK_DELIVERED: u32 = 23;
    /// New processes lost because the small ring was full.
    pub const FORK_LOST: u32 = 24;
    /// Ends of processes seen.
    pub const EXIT_SEEN: u32 = 25;
    /// Ends of processes put into a ring.
    pub const EXIT_DELIVERED: u32 = 26;
    /// Ends of processes lost because the small ring was full.
    pub const EXIT_LOST: u32 = 27;
    /// Flows that made way for another of their set: the one that was quiet for longest.
    pub const FLOW_EVICTED: u32 = 28;
    /// Queries that the novelty filter kept back: exact repeats within one look-up.
    pub const REPEAT_QUERY: u32 = 29;
    /// Responses to those that say what the last one said.
    pub const REPEAT_RESPONSE: u32 = 30;
    /// Fingerprints of the novelty filter that made way for another before their time: a repeat of theirs passes.
    pub const NOVELTY_EVICTED: u32 = 31;
    /// How many there are.
    pub const COUNT: u32 = 32;
}

/// Metric label of each counter, by index.
pub const COUNTER_NAMES: [&str; counter::COUNT as usize] = [
    "seen",
    "delivered",
    "lost_alert_ring_full",
    "lost_bulk_ring_full",
    "extra_records",
    "skip_truncated",
    "skip_bad_ip",
    "skip_bad_transport",
    "skip_later_fragment",
    "skip_ext_headers",
    "skip_vlan_depth",
    "skip_encapsulated",
    "skip_empty",
    "skip_tcp_ack",
    "skip_load_failed",
    "skip_record_off",
    "exec_seen",
    "exec_delivered",
    "exec_lost",
    "flow_full",
    "chunks_cut",
    "skip_busy",
    "fork_seen",
    "fork_delivered",
    "fork_lost",
    "exit_seen",
    "exit_delivered",
    "exit_lost",
    "flow_evicted",
    "repeat_query",
    "repeat_response",
    "novelty_evicted",
];

/// `Options::features`.
pub mod feature {
    /// Hash the question name and its zone.
    pub const HASH: u32 = 1;
    /// Count in the flow map (needs `HASH`).
    pub const FLOW: u32 = 2;
    /// Emit records.
    pub const RECORD: u32 = 4;
    /// Put the current task into the owner (set only where the helper probe succeeded; needs `OFFSETS`).
    pub const CURRENT_TASK: u32 = 8;
    /// Walk the question (off only in benches).
    pub const WALK: u32 = 16;
    /// `KernelOffsets` is filled in.
    pub const OFFSETS: u32 = 1 << 8;
    /// Owners are noted by kprobe or fentry, under the address of the socket.
    pub const BY_SOCKET: u32 = 1 << 9;
    /// Owners are noted by cgroup connect and sendmsg hooks, under the cookie of the socket.
    pub const BY_COOKIE: u32 = 1 << 10;
    /// Any owner source; each needs `OFFSETS`.
    pub const OWNERS: u32 = CURRENT_TASK | BY_SOCKET | BY_COOKIE;
    /// `packet_egress` is the host view for IP sockets too, since there is no cgroup2.
    pub const ALL_SOCKETS: u32 = 1 << 11;
    /// Fields of the current task are loaded directly (set only where that was tried; needs `OFFSETS`).
    pub const TASK_BTF: u32 = 1 << 12;
    /// Keep exact repeats back (needs `FLOW`, so that they are counted).
    pub const NOVELTY: u32 = 1 << 13;
    /// What every kernel can; the loader adds the others where the kernel has them.
    pub const DEFAULT: u32 = HASH | FLOW | RECORD | WALK;
}

abi! {
/// Written by the loader into the object's read-only data before it is loaded; the verifier removes what is off.
pub struct Options {
    /// `ABI_VERSION` of the loader.
    pub abi_version: u32,
    /// `feature` bits.
    pub features: u32,
    /// Key of the name hash, random per start (fixed in tests).
    pub hash_key: [u64; KEY_WORDS],
    /// Byte offsets in kernel structs, resolved from the running kernel's BTF.
    pub offsets: KernelOffsets,
    /// Entries of `FLOW_SETS`, at least 1.
    pub flow_sets: u32,
    /// Entries of `NOVELTY_NAMES` and of `NOVELTY_REPEATS`, at least 1.
    pub novelty_sets: u32,
    /// How long a look-up lasts from its first query on, nanoseconds (`pipeline.lookup_ms`).
    pub lookup_ns: u64,
    /// Of so many repeats of a query one passes all the same; 0 for none.
    pub novelty_sample: u64,
}
}

abi! {
/// Byte offsets of kernel struct fields (`struct.field` in each line).
pub struct KernelOffsets {
    /// task_struct.group_leader
    pub task_group_leader: u32,
    /// task_struct.start_boottime (real_start_time before 5.5)
    pub task_start_boottime: u32,
    /// task_struct.comm
    pub task_comm: u32,
    /// task_struct.tgid
    pub task_tgid: u32,
    /// task_struct.real_parent
    pub task_real_parent: u32,
    /// task_struct.flags
    pub task_flags: u32,
    /// task_struct.cred
    pub task_cred: u32,
    /// task_struct.mm
    pub task_mm: u32,
    /// cred.uid
    pub cred_uid: u32,
    /// net.ns.inum
    pub net_ns_inum: u32,
    /// mm_struct.arg_start
    pub mm_arg_start: u32,
    /// mm_struct.arg_end
    pub mm_arg_end: u32,
    /// linux_binprm.filename
    pub binprm_filename: u32,
    /// task_struct.pid
    pub task_pid: u32,
    /// sock.__sk_common.skc_net.net
    pub sock_net: u32,
    /// sock.__sk_common.skc_state
    pub sock_state: u32,
    /// sock.__sk_common.skc_dport, with skc_num behind it.
    pub sock_ports: u32,
    /// sock.__sk_common.skc_cookie
    pub sock_cookie: u32,
    /// sock.sk_lock.owned
    pub sock_lock_owned: u32,
    /// msghdr.msg_name
    pub msghdr_name: u32,
    /// What the process table asks for.
    pub process: ProcessOffsets,
}
}

abi! {
/// Offsets for exec, fork and exit events, as in `KernelOffsets`.
pub struct ProcessOffsets {
    /// task_struct.signal
    pub task_signal: u32,
    /// task_struct.files
    pub task_files: u32,
    /// task_struct.cgroups
    pub task_cgroups: u32,
    /// signal_struct.live
    pub signal_live: u32,
    /// files_struct.fdt
    pub files_fdt: u32,
    /// fdtable.fd
    pub fdtable_fd: u32,
    /// file.f_inode
    pub file_f_inode: u32,
    /// file.f_path.mnt
    pub file_f_path_mnt: u32,
    /// file.f_path.dentry
    pub file_f_path_dentry: u32,
    /// inode.i_mode
    pub inode_i_mode: u32,
    /// dentry.d_parent
    pub dentry_d_parent: u32,
    /// dentry.d_name.name
    pub dentry_d_name: u32,
    /// vfsmount.mnt_root
    pub vfsmount_mnt_root: u32,
    /// mount.mnt
    pub mount_mnt: u32,
    /// mount.mnt_parent
    pub mount_mnt_parent: u32,
    /// mount.mnt_mountpoint
    pub mount_mnt_mountpoint: u32,
    /// linux_binprm.file
    pub binprm_file: u32,
    /// linux_binprm.interp
    pub binprm_interp: u32,
    /// css_set.dfl_cgrp
    pub css_set_dfl_cgrp: u32,
    /// cgroup.kn
    pub cgroup_kn: u32,
    /// kernfs_node.id
    pub kernfs_node_id: u32,
    /// Zero.
    pub pad: u32,
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
