//! Who sent a packet, as the packet hooks find it out: from the current task, or from what a hook on the send path
//! (`send`) noted before.
//!
//! The task is read from `task_struct` itself. `bpf_get_current_task` and `bpf_probe_read_kernel` may be called by every
//! program type since 5.8 (linux f470378c7562); `bpf_get_current_pid_tgid` in cgroup hooks only since 6.10. Each of these
//! reads is a call; where the verifier knows the type of the current task (`feature::TASK_BTF`) its fields are loaded
//! directly, at offsets which it sees as constants since they are in read-only data.

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_get_socket_cookie, bpf_probe_read_kernel,
    bpf_skb_cgroup_id,
};
use sensor_ebpf::abi::{Owner, OwnerEntry, SELF_PROBE, feature, grade, no_owner, owner_source, view};
use sensor_ebpf::frame::{Frame, TCP};
use sensor_ebpf::record;

use super::access::Access;
use super::maps::{HOST_SCRATCH, OWNERS, SOCKETS, Scratch, Socket, option};

/// `PF_KTHREAD` of linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;
/// `TCP_LISTEN` and `TCP_NEW_SYN_RECV` of net/tcp_states.h: what answers a SYN, in softirq.
const TCP_LISTEN: u8 = 10;
const TCP_NEW_SYN_RECV: u8 = 12;
/// `OwnerEntry::other_task` where there is another sender, but not known which.
const SOMEBODY: u64 = 1;

/// Writes the owner of a packet in a cgroup hook.
#[inline(always)]
pub(crate) fn of_packet<P: Access>(packet: &P, view: u8, held: &mut Scratch<Owner>) {
    record::clear_owner(&mut held.owner, no_owner::NO_SOURCE);
    of_socket(packet, held);
    let Scratch { frame, sock, owner, .. } = held;
    let features = option!(features);
    if view != view::HOST_EGRESS {
        owner.reason = no_owner::INGRESS;
    } else if features & feature::OWNERS != 0 {
        // Only these look into the socket itself.
        let needed = frame.transport == TCP || features & feature::BY_SOCKET != 0;
        let socket = if needed { socket(packet, sock) } else { 0 };
        let own = in_senders_context(frame.transport, socket);
        by_source(features, socket, own, frame, owner);
    }
}

/// Writes the owner of a packet that leaves at tc: AF_PACKET senders pass in their own context. IP packets may have
/// waited for their next hop's address and leave in anybody's, so their sender must have been noted before.
#[inline(always)]
pub(crate) fn of_frame<P: Access>(packet: &P, ip: bool, held: &mut Scratch<Owner>) {
    record::clear_owner(&mut held.owner, no_owner::NO_SOURCE);
    of_socket(packet, held);
    let Scratch { frame, sock, owner, .. } = held;
    let features = option!(features);
    if features & feature::OWNERS == 0 {
        return;
    }
    let socket = socket(packet, sock);
    if socket == 0 {
        owner.reason = no_owner::NO_SOCKET;
    } else if ip {
        by_source(features & !feature::CURRENT_TASK, socket, false, frame, owner);
    } else {
        current_task(owner);
    }
}

/// What the socket says: cookie, cgroup, network namespace. The latter two never change and are remembered by the cookie,
/// which no other socket ever has.
#[inline(always)]
fn of_socket<P: Access>(packet: &P, held: &mut Scratch<Owner>) {
    let Scratch { sock, owner, sockets, .. } = held;
    let Some(skb) = packet.skb() else { return };
    // SAFETY: `skb` is the program's context.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    owner.cookie = cookie;
    let known = &mut sockets[cookie as usize % SOCKETS];
    if cookie != 0 && known.cookie == cookie {
        owner.cgroup_id = known.cgroup_id;
        owner.netns = known.netns as u32;
        return;
    }
    // SAFETY: as above.
    owner.cgroup_id = unsafe { bpf_skb_cgroup_id(skb) };
    if option!(features) & feature::OFFSETS == 0 {
        return;
    }
    let net = read::<u64>(socket(packet, sock), option!(offsets.sock_net));
    read_into(&mut owner.netns, net, option!(offsets.net_ns_inum));
    *known = Socket { cookie, cgroup_id: owner.cgroup_id, netns: u64::from(owner.netns) };
}

/// The packet's `struct sock` as a number, 0 if there is none.
#[inline(always)]
fn socket<P: Access>(packet: &P, by_way_of: &mut u64) -> u64 {
    match packet.skb() {
        Some(skb) if option!(features) & feature::OFFSETS != 0 => number(skb, by_way_of),
        _ => 0,
    }
}

/// The packet's `struct sock` as a number.
///
/// The verifier allows no arithmetic on the pointer, and 5.10 takes it for no map key; with CAP_PERFMON it may be stored
/// in a map value, and what is read back is a number.
#[inline(always)]
fn number(skb: *mut __sk_buff, by_way_of: &mut u64) -> u64 {
    let by_way_of = core::ptr::from_mut(by_way_of);
    // SAFETY: `skb` is the program's context, the other a live map value. Volatile, or the compiler would pass the
    // value on in a register.
    unsafe {
        by_way_of.write_volatile((*skb).__bindgen_anon_2.sk as u64);
        by_way_of.read_volatile()
    }
}

/// Whether the task that runs now is the one that makes the socket send.
///
/// UDP: always, but for what comes back from NFQUEUE. TCP: while a task holds the socket's lock, as connect,
/// send and close do, softirq and timers leave the sending to it; a listener's answers are sent without its lock.
#[inline(always)]
fn in_senders_context(transport: u8, socket: u64) -> bool {
    if transport != TCP {
        return true;
    }
    let state = read::<u8>(socket, option!(offsets.sock_state));
    state != TCP_LISTEN
        && state != TCP_NEW_SYN_RECV
        && read::<u32>(socket, option!(offsets.sock_lock_owned)) != 0
}

#[inline(always)]
fn by_source(features: u32, socket: u64, own: bool, frame: &Frame, owner: &mut Owner) {
    if features & feature::CURRENT_TASK != 0 {
        if !own {
            owner.reason = if frame.transport == TCP { no_owner::TCP } else { no_owner::NOT_SEEN };
            return by_key(owner.cookie, owner);
        }
        if !current_task(owner) {
            return by_key(owner.cookie, owner);
        }
        if frame.transport == TCP {
            keep(current(), owner);
        }
    } else if features & feature::BY_SOCKET != 0 {
        by_socket(socket, own, owner);
        if owner.grade == grade::NONE {
            by_key(owner.cookie, owner);
        }
    } else {
        by_cookie(own, owner);
    }
}

/// What the current task tells is kept for the segments of this connection that leave from softirq.
///
/// Another process than the one that was kept sends now (fork between connect and send): named, but a send of the
/// first one may have been waiting, so no longer exact.
#[inline(always)]
fn keep(task: u64, owner: &mut Owner) {
    let cookie = owner.cookie;
    if cookie == 0 {
        return;
    }
    if let Some(entry) = OWNERS.get_ptr_mut(&cookie) {
        // SAFETY: a live map value. Whoever sends holds the socket's lock, so nobody else writes it now; an LRU map
        // may give it to another key, which costs that one its owner (`by_key` compares the cookie).
        let entry = unsafe { &mut *entry };
        if entry.owner.tgid == owner.tgid && entry.owner.start_boot_ns == owner.start_boot_ns {
            return;
        }
        if entry.owner.source == owner_source::SNAPSHOT && is_current(&entry.owner, task) {
            write_entry(entry, task, Some(0), owner);
            return;
        }
        let other = if entry.task == 0 { SOMEBODY } else { entry.task };
        write_entry(entry, task, Some(other), owner);
        owner.grade = grade::INFERRED;
        return;
    }
    insert(cookie, task, owner);
}

/// The sender as a hook on the send path saw it (`send`), found by the socket.
#[inline(always)]
fn by_socket(socket: u64, own: bool, owner: &mut Owner) {
    owner.reason = no_owner::NOT_SEEN;
    let Some(entry) = OWNERS.get_ptr_mut(&socket) else { return };
    // SAFETY: a live map value.
    let entry = unsafe { &mut *entry };
    // The address of a closed socket is used again: an entry that met another cookie belongs to a former one.
    let met = volatile(&entry.owner.cookie);
    if met != owner.cookie {
        if met != 0 {
            return;
        }
        entry.owner.cookie = owner.cookie;
    }
    let task = current();
    if own && current_task(owner) {
        // Facts come from the task itself, so that two senders who write the entry at once cannot mix theirs. It is the
        // noted one, another thread of its process, or the other of two processes that share the socket.
        let same = entry.owner.tgid == owner.tgid && entry.owner.start_boot_ns == owner.start_boot_ns;
        if same || volatile(&entry.task) == task || volatile(&entry.other_task) == task {
            owner.source = entry.owner.source;
            return;
        }
        clear(owner);
    }
    // Somebody else runs: the packet was held up on its way here.
    if volatile(&entry.other_task) != 0 {
        owner.reason = no_owner::SHARED_SOCKET;
        return;
    }
    let task = volatile(&entry.task);
    copy(entry, owner);
    if task == 0 || volatile(&entry.task) != task {
        clear(owner);
        owner.reason = no_owner::SHARED_SOCKET;
    } else if own && owner.grade == grade::COOKIE {
        // Another sender before this one may have been forgotten: the map keeps the latest only.
        owner.grade = grade::INFERRED;
    }
}

/// The caller of connect or sendmsg, found by the cookie; where the sender runs now, it has to be the same.
#[inline(always)]
fn by_cookie(own: bool, owner: &mut Owner) {
    owner.reason = no_owner::NOT_SEEN;
    by_key(owner.cookie, owner);
    if !own || owner.grade == grade::NONE {
        return;
    }
    let task = current();
    if is_current(owner, task) {
        // Another thread of the process may send than the one that connected.
        read_into(&mut owner.tid, task, option!(offsets.task_pid));
    } else {
        clear(owner);
        owner.reason = no_owner::SHARED_SOCKET;
    }
}

/// Whether `task` is of the process that `owner` names. A snapshot's start time is in steps of a clock tick.
#[inline(always)]
fn is_current(owner: &Owner, task: u64) -> bool {
    /// USER_HZ is 100 on every architecture that runs BPF.
    const TICK_NS: u64 = 10_000_000;
    if read::<u32>(task, option!(offsets.task_tgid)) != owner.tgid {
        return false;
    }
    let leader = read::<u64>(task, option!(offsets.task_group_leader));
    let start = read::<u64>(leader, option!(offsets.task_start_boottime));
    start == owner.start_boot_ns
        || (owner.source == owner_source::SNAPSHOT && start / TICK_NS * TICK_NS == owner.start_boot_ns)
}

/// The entry of a cookie: connect and sendmsg hooks, TCP, the snapshot.
#[inline(always)]
fn by_key(key: u64, owner: &mut Owner) {
    if key == 0 {
        return;
    }
    let Some(entry) = OWNERS.get_ptr_mut(&key) else { return };
    // SAFETY: a live map value; what changes meanwhile is told by `task` (below).
    let entry = unsafe { &*entry };
    let task = volatile(&entry.task);
    if entry.owner.cookie != key || (task == 0 && entry.owner.source != owner_source::SNAPSHOT) {
        return;
    }
    let reason = owner.reason;
    copy(entry, owner);
    if volatile(&entry.task) != task {
        clear(owner);
        owner.reason = reason;
    } else if entry.other_task != 0 && owner.grade == grade::COOKIE {
        owner.grade = grade::INFERRED;
    }
}

/// Notes that the current task sends on a socket: the way of hooks on the send path. `key` is the socket's address, or
/// its cookie; `cookie` what the socket has now, perhaps 0.
#[inline(always)]
pub(crate) fn note(key: u64, cookie: u64, source: u8) {
    let task = current();
    let mut owner = core::mem::MaybeUninit::<Owner>::uninit();
    // SAFETY: written whole by clear_owner, before anything reads it.
    let owner = unsafe {
        record::clear_owner(&mut *owner.as_mut_ptr(), no_owner::HAS_OWNER);
        owner.assume_init_mut()
    };
    if key == 0 || !current_task(owner) {
        return;
    }
    owner.source = source;
    owner.grade = grade::COOKIE;
    owner.cookie = cookie;
    // Two senders may both find nothing: the second to insert then finds the first one's.
    let mut entry = OWNERS.get_ptr_mut(&key);
    if entry.is_none() {
        if insert(key, task, owner) {
            return;
        }
        entry = OWNERS.get_ptr_mut(&key);
    }
    let Some(entry) = entry else { return };
    // SAFETY: a live map value. Two senders may write it at once on two CPUs, and then the facts are mixed; but each of
    // them leaves `other_task` set, which keeps the facts from being used (`by_socket`).
    let entry = unsafe { &mut *entry };
    let was = volatile(&entry.task);
    let same = entry.owner.tgid == owner.tgid && entry.owner.start_boot_ns == owner.start_boot_ns;
    if was == task || (was != 0 && same) {
        write_entry(entry, task, None, owner);
    } else {
        // Perhaps the sender on a former socket at this address, which only costs an owner where packets are held up:
        // to take that for certain would hide one of two who meet on a fresh socket.
        write_entry(entry, task, Some(if was == 0 { SOMEBODY } else { was }), owner);
    }
}

/// The current task and the namespace of the packet's socket, under `SELF_PROBE`.
#[inline(always)]
pub(crate) fn note_self<P: Access>(packet: &P) {
    let Some(scratch) = HOST_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: a live map value, and nothing is attached yet that could use it at the same time.
    let held = unsafe { &mut *scratch };
    record::clear_owner(&mut held.owner, no_owner::NO_SOURCE);
    of_socket(packet, held);
    if current_task(&mut held.owner) {
        insert(SELF_PROBE, current(), &held.owner);
    }
}

/// False where the key is there already, or the map is out of elements for a moment: the next send tries again.
#[inline(always)]
fn insert(key: u64, task: u64, owner: &Owner) -> bool {
    let entry = OwnerEntry { task, other_task: 0, owner: *owner };
    OWNERS.insert(&key, &entry, u64::from(BPF_NOEXIST)).is_ok()
}

/// `task` is 0 while the rest changes.
#[inline(always)]
fn write_entry(entry: &mut OwnerEntry, task: u64, other: Option<u64>, owner: &Owner) {
    // SAFETY: fields of a live map value. Volatile, so that the order stays.
    unsafe {
        (&raw mut entry.task).write_volatile(0);
        words(&raw mut entry.owner, owner);
        if let Some(other) = other {
            (&raw mut entry.other_task).write_volatile(other);
        }
        (&raw mut entry.task).write_volatile(task);
    }
}

/// Word by word and volatile (see `record::clear_owner`).
///
/// # Safety
/// `to` points at a live Owner.
#[inline(always)]
unsafe fn words(to: *mut Owner, from: &Owner) {
    for word in 0..size_of::<Owner>() / 8 {
        // SAFETY: Owner is repr(C), aligned to 8, that many words long, and any bytes are a value of it.
        unsafe {
            let value = core::ptr::from_ref(from).cast::<u64>().add(word).read_volatile();
            to.cast::<u64>().add(word).write_volatile(value);
        }
    }
}

/// Copies the process out of an entry; cookie, cgroup and namespace stay as the packet's socket has them.
#[inline(always)]
fn copy(entry: &OwnerEntry, owner: &mut Owner) {
    let (cookie, cgroup, netns) = (owner.cookie, owner.cgroup_id, owner.netns);
    // SAFETY: `owner` is a reference.
    unsafe { words(core::ptr::from_mut(owner), &entry.owner) };
    owner.cookie = cookie;
    owner.cgroup_id = cgroup;
    owner.netns = netns;
}

/// Takes the process out again.
#[inline(always)]
fn clear(owner: &mut Owner) {
    let (cookie, cgroup, netns) = (owner.cookie, owner.cgroup_id, owner.netns);
    record::clear_owner(owner, no_owner::NOT_SEEN);
    owner.cookie = cookie;
    owner.cgroup_id = cgroup;
    owner.netns = netns;
}

#[inline(always)]
fn current() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() }
}

/// Fills in the current task; false for a kernel thread.
#[inline(always)]
fn current_task(owner: &mut Owner) -> bool {
    let known = if option!(features) & feature::TASK_BTF != 0 { loaded(owner) } else { copied(owner) };
    if known {
        owner.source = owner_source::CURRENT_TASK;
        owner.grade = grade::EXACT;
        owner.reason = no_owner::HAS_OWNER;
    } else {
        owner.reason = no_owner::KERNEL_THREAD;
    }
    known
}

/// The current task's fields by direct loads; false for a kernel thread.
#[inline(always)]
fn loaded(owner: &mut Owner) -> bool {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task_btf() } as usize;
    if load::<u32>(task, option!(offsets.task_flags)) & PF_KTHREAD != 0 {
        return false;
    }
    owner.tid = load(task, option!(offsets.task_pid));
    owner.tgid = load(task, option!(offsets.task_tgid));
    let leader = load::<usize>(task, option!(offsets.task_group_leader));
    owner.start_boot_ns = load(leader, option!(offsets.task_start_boottime));
    let comm = owner.comm.as_mut_ptr().cast::<u64>();
    const { assert!(core::mem::offset_of!(Owner, comm).is_multiple_of(8)) };
    // SAFETY: both words of `comm`, which lies at a multiple of eight.
    unsafe {
        comm.write(load(leader, option!(offsets.task_comm)));
        comm.add(1).write(load(leader, option!(offsets.task_comm) + 8));
    }
    let cred = load::<usize>(task, option!(offsets.task_cred));
    owner.uid = load(cred, option!(offsets.cred_uid));
    true
}

/// The field at `base + offset`, of a struct whose type the verifier knows: it refuses what does not lie in a field, and
/// a load that faults gives 0.
#[inline(always)]
fn load<T: Copy>(base: usize, offset: u32) -> T {
    // SAFETY: the verifier's promise, above. Volatile, so that each is one load of that size.
    unsafe { ((base + offset as usize) as *const T).read_volatile() }
}

/// The current task's fields by copying each; false for a kernel thread.
#[inline(always)]
fn copied(owner: &mut Owner) -> bool {
    let task = current();
    if read::<u32>(task, option!(offsets.task_flags)) & PF_KTHREAD != 0 {
        return false;
    }
    let (pid, tgid) = (option!(offsets.task_pid), option!(offsets.task_tgid));
    // Neighbours unless the kernel was built to shuffle them; each read is a call.
    if tgid == pid + 4 {
        [owner.tid, owner.tgid] = read(task, pid);
    } else {
        owner.tid = read(task, pid);
        owner.tgid = read(task, tgid);
    }
    let leader = if owner.tid == owner.tgid { task } else { read(task, option!(offsets.task_group_leader)) };
    read_into(&mut owner.start_boot_ns, leader, option!(offsets.task_start_boottime));
    read_into(&mut owner.comm, leader, option!(offsets.task_comm));
    let cred = read::<u64>(task, option!(offsets.task_cred));
    read_into(&mut owner.uid, cred, option!(offsets.cred_uid));
    true
}

/// A field that another CPU may write.
#[inline(always)]
fn volatile(field: &u64) -> u64 {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::read_volatile(field) }
}

/// The kernel field at `base + offset`; zero where the read faults.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(base: u64, offset: u32) -> T {
    let mut value = T::default();
    read_into(&mut value, base, offset);
    value
}

/// See `read`.
#[inline(always)]
pub(crate) fn read_into<T: Copy>(to: &mut T, base: u64, offset: u32) {
    // SAFETY: the helper writes size_of::<T>() bytes, zeroes on a fault; every T used is plain bytes.
    unsafe {
        bpf_probe_read_kernel(
            core::ptr::from_mut(to).cast(),
            size_of::<T>() as u32,
            (base + u64::from(offset)) as *const core::ffi::c_void,
        );
    }
}
