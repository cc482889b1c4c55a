//! Every map and the load-time options.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use sensor_ebpf::abi::{
    ABI_VERSION, CAP_RESPONSE, ExecRecord, FLOW_PLACES, FlowKey, FlowSet, FlowValue, KernelOffsets,
    NoveltySet, Options, Owner, OwnerEntry, ProcessOffsets, RecordHeader, counter, feature,
};
use sensor_ebpf::describe::{Description, WORDS};
use sensor_ebpf::frame::Frame;
use sensor_ebpf::question::KEY_WORDS;

use super::loopback::{self, Left};
use super::novelty::Noted;

/// As many entries as the ABI has had versions: what the loader can read of the object without an ELF parser.
#[map]
pub(crate) static ABI: Array<u32> = Array::with_max_entries(ABI_VERSION, 0);
/// Alert-relevant records and exec events. The sizes here are the smallest; the loader sets them.
#[map]
pub(crate) static RING_ALERT: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);
/// All other records.
#[map]
pub(crate) static RING_BULK: RingBuf = RingBuf::with_byte_size(1024 * 1024, 0);
/// By `abi::counter`; one value, so that a packet looks them up once.
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);
/// Flow counters, by place (`abi::FlowSet`).
///
/// Arrays, since looking into one is no call: a hash map's look-up took 31 ns of a packet
/// (sensor-user/docs/adr/0005-flow-sets.md).
#[map]
pub(crate) static FLOWS: Array<FlowValue> = Array::with_max_entries(4096, 0);
/// Which flow is where.
#[map]
pub(crate) static FLOW_SETS: Array<FlowSet> = Array::with_max_entries(4096 / FLOW_PLACES as u32, 0);
/// The novelty filter: look-ups that go on, with what was asked in each.
#[map]
pub(crate) static NOVELTY_NAMES: Array<NoveltySet> = Array::with_max_entries(1, 0);
/// Queries that it kept back, what was answered to such, and names that were answered.
#[map]
pub(crate) static NOVELTY_REPEATS: Array<NoveltySet> = Array::with_max_entries(1, 0);
/// `abi::control` bits, which the sensor changes while the programs run.
#[map]
pub(crate) static CONTROL: Array<u32> = Array::with_max_entries(1, 0);
/// The key of the hashes, for the next run (`live.pin`); no program reads it.
#[map]
pub(crate) static HASH_KEY: Array<[u64; KEY_WORDS]> = Array::with_max_entries(1, 0);
/// Who was seen to send, by socket address or cookie (`abi::OwnerEntry`).
#[map]
pub(crate) static OWNERS: LruHashMap<u64, OwnerEntry> = LruHashMap::with_max_entries(1024, 0);
/// Packets between two sockets of this host, by what they are.
#[map]
pub(crate) static LEFT: Array<Left> = Array::with_max_entries(loopback::PLACES, 0);
/// A record under construction, for hooks that run with bottom halves off: nothing on the CPU can come between.
/// Slot 0: XDP and tc ingress (NAPI). Slot 1: tc egress.
#[map]
pub(crate) static WIRE_SCRATCH: PerCpuArray<Scratch<()>> = PerCpuArray::with_max_entries(2, 0);
/// The same for cgroup hooks, which run preemptible: a run claims a free slot.
#[map]
pub(crate) static HOST_SCRATCH: PerCpuArray<Scratch<Owner>> = PerCpuArray::with_max_entries(HOST_SLOTS, 0);
/// An exec event under construction; claimed like `HOST_SCRATCH`.
#[map]
pub(crate) static EXEC_SCRATCH: PerCpuArray<ExecScratch> = PerCpuArray::with_max_entries(HOST_SLOTS, 0);

/// Nested or preempted runs on one CPU: process, softirq over it, and two tasks preempted inside the hook.
pub(crate) const HOST_SLOTS: u32 = 4;

/// Counters of this CPU.
pub(crate) type Counters = [u64; counter::COUNT as usize];

/// See `WIRE_SCRATCH`. `O` is what a record has between header and message: the `Owner` in the host view, else nothing.
#[repr(C)]
pub(crate) struct Scratch<O> {
    pub(crate) busy: u64,
    /// Frame, description and flow are here for their size: the stack has 512 bytes.
    pub(crate) frame: Frame,
    pub(crate) description: Description,
    pub(crate) slot: Slot,
    pub(crate) noted: Noted,
    /// 1 once user space has the message's record, or has had one like it (see `loopback`).
    pub(crate) told: u64,
    /// Payload bytes to a record of a burst.
    pub(crate) step: u32,
    /// The packet's `struct sock`, by way of memory (see `owner::socket`).
    pub(crate) sock: u64,
    pub(crate) header: RecordHeader,
    pub(crate) owner: O,
    pub(crate) message: [u64; WORDS],
    /// Room for the verifier, which does not follow that the last bytes of a copy end where the message does: for it they
    /// end below the next power of two, and a word.
    pub(crate) slack: [u64; CAP_RESPONSE.next_power_of_two() / 8 + 2 - WORDS],
    /// By cookie, in the host view.
    pub(crate) sockets: [Socket; SOCKETS],
}

/// A flow and where it is, in memory: of a number in a register the verifier would follow each value through the rest of
/// the program.
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) key: FlowKey,
    /// Number of the set.
    pub(crate) set: u32,
    /// Number of the place in it; `FLOW_PLACES` where there is none.
    pub(crate) place: u32,
    /// When the flow at `place` was last seen, while a place is looked for.
    pub(crate) quiet_since: u64,
}

/// Sockets remembered in a slot. Resolvers send each query from a socket of its own, so more would not help.
pub(crate) const SOCKETS: usize = 64;

/// What never changes of a socket.
#[repr(C)]
pub(crate) struct Socket {
    /// 0 where none is remembered.
    pub(crate) cookie: u64,
    pub(crate) cgroup_id: u64,
    pub(crate) netns: u64,
}

/// See `EXEC_SCRATCH`.
#[repr(C)]
pub(crate) struct ExecScratch {
    pub(crate) busy: u64,
    pub(crate) record: ExecRecord,
}

/// Set by the loader before load; read-only then, so that the verifier removes what is off.
#[unsafe(no_mangle)]
static OPTIONS: Options = Options {
    abi_version: ABI_VERSION,
    features: feature::DEFAULT,
    hash_key: [0; KEY_WORDS],
    offsets: KernelOffsets {
        task_group_leader: 0,
        task_start_boottime: 0,
        task_comm: 0,
        task_tgid: 0,
        task_real_parent: 0,
        task_flags: 0,
        task_cred: 0,
        task_mm: 0,
        cred_uid: 0,
        net_ns_inum: 0,
        mm_arg_start: 0,
        mm_arg_end: 0,
        binprm_filename: 0,
        task_pid: 0,
        sock_net: 0,
        sock_state: 0,
        sock_ports: 0,
        sock_cookie: 0,
        sock_lock_owned: 0,
        msghdr_name: 0,
        process: ProcessOffsets {
            task_signal: 0,
            task_files: 0,
            task_cgroups: 0,
            signal_live: 0,
            files_fdt: 0,
            fdtable_fd: 0,
            file_f_inode: 0,
            file_f_path_mnt: 0,
            file_f_path_dentry: 0,
            inode_i_mode: 0,
            dentry_d_parent: 0,
            dentry_d_name: 0,
            vfsmount_mnt_root: 0,
            mount_mnt: 0,
            mount_mnt_parent: 0,
            mount_mnt_mountpoint: 0,
            binprm_file: 0,
            binprm_interp: 0,
            css_set_dfl_cgrp: 0,
            cgroup_kn: 0,
            kernfs_node_id: 0,
            pad: 0,
        },
    },
    flow_sets: 1,
    novelty_sets: 1,
    lookup_ns: 0,
    novelty_sample: 0,
};

/// An option as the loader set it: a volatile read, or the compiler would fold in the values above.
macro_rules! option {
    ($($field:ident).+) => {
        $crate::kernel::maps::volatile(&$crate::kernel::maps::options().$($field).+)
    };
}
pub(crate) use option;

/// The static behind `option!`.
#[inline(always)]
pub(crate) const fn options() -> &'static Options {
    &OPTIONS
}

/// A secret word of the hashes, in halves.
#[inline(always)]
pub(crate) fn hash_key(word: usize) -> [u32; 2] {
    // SAFETY: read-only data of the program, and the verifier refuses a word that lies outside; a check here would be
    // made for each word of a name. Volatile as in `option!`.
    unsafe {
        let low = OPTIONS.hash_key.as_ptr().add(word).cast::<u32>();
        [low.read_volatile(), low.add(1).read_volatile()]
    }
}

/// See `option!`.
#[inline(always)]
pub(crate) fn volatile<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid for reads; volatile because the loader rewrites the static before load.
    unsafe { core::ptr::read_volatile(field) }
}

/// `abi::control` bits as they are now.
#[inline(always)]
pub(crate) fn control() -> u32 {
    CONTROL.get(0).map_or(0, volatile)
}

/// The counters of this CPU, where a run stays.
#[inline(always)]
pub(crate) fn counters() -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(0)
}

/// Adds one to a counter of this CPU.
///
/// A hook that can be preempted or interrupted by another (`ATOMIC`) adds in one instruction. The others run with
/// bottom halves off: nothing on the CPU that counts can come between their load and store.
#[inline(always)]
pub(crate) fn count_in<const ATOMIC: bool>(counters: *mut Counters, index: u32) {
    if index >= counter::COUNT {
        return;
    }
    // SAFETY: a live map value of aligned u64s, and `index` is one of them.
    unsafe {
        let counter = counters.cast::<u64>().add(index as usize);
        if ATOMIC {
            atomic_add(counter, 1);
        } else {
            *counter = (*counter).wrapping_add(1);
        }
    }
}

/// `count_in` where no counters are at hand.
#[inline(always)]
pub(crate) fn count<const ATOMIC: bool>(index: u32) {
    if let Some(counters) = counters() {
        count_in::<ATOMIC>(counters, index);
    }
}

/// BPF_ATOMIC | BPF_ADD without fetch, which every kernel knows as XADD. The standard atomics have no read-modify-write
/// on this target, hence the intrinsic.
///
/// # Safety
/// `to` is aligned and points into a live map value.
#[inline(always)]
pub(crate) unsafe fn atomic_add<T: Copy>(to: *mut T, amount: T) {
    // SAFETY: the caller's promise. The result is not used, or LLVM would emit the fetching form (5.12 and later).
    unsafe { atomic_xadd::<T, T, { AtomicOrdering::Relaxed }>(to, amount) };
}

/// Takes a slot: true if it was free.
///
/// `busy` counts the runs that are between their addition here and the one that takes it back (`release`, or below for
/// a refused run). Who reads 1 behind its own addition was alone in there at that moment, and whoever adds later reads 2
/// at least until it is released: so nobody else has the slot. Two runs that race may refuse each other; both go on to
/// the next slot. An exchange would not refuse then, but kernels before 5.12 (linux 5ffa25502b5a) refuse to load a
/// program that has one, even where it is never reached.
///
/// # Safety
/// `busy` is aligned and points into a live map value.
#[inline(always)]
pub(crate) unsafe fn claim(busy: *mut u64) -> bool {
    // SAFETY: the caller's promise. Volatile, so that the look is one load, behind the addition.
    unsafe {
        atomic_add(busy, 1);
        let alone = busy.read_volatile() == 1;
        if !alone {
            atomic_add(busy, u64::MAX);
        }
        alone
    }
}

/// Gives a slot back.
///
/// # Safety
/// As for `claim`, by whom it was claimed.
#[inline(always)]
pub(crate) unsafe fn release(busy: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_add(busy, u64::MAX) };
}
