//! Who sent the packet: the current task in the packet hook.
//!
//! The task is read from `task_struct` itself. `bpf_get_current_task` and `bpf_probe_read_kernel` may be called by every
//! program type since 5.8 (linux f470378c7562); `bpf_get_current_pid_tgid` in cgroup hooks only since 6.10.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_skb_cgroup_id,
};
use sensor_ebpf::abi::{Owner, feature, grade, no_owner, owner_source, view};
use sensor_ebpf::frame::TCP;
use sensor_ebpf::record;

use super::access::Access;
use super::maps::option;

/// `PF_KTHREAD` of linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Writes the owner of a packet in a cgroup hook.
///
/// Trusted only for UDP that leaves: what arrives interrupts anybody, and later TCP segments leave from softirq.
#[inline(always)]
pub(crate) fn of_packet<P: Access>(packet: &P, transport: u8, view: u8, sock: &mut u64, owner: &mut Owner) {
    record::clear_owner(owner, no_owner::NO_SOURCE);
    if let Some(skb) = packet.skb() {
        // SAFETY: `skb` is the program's context.
        unsafe {
            owner.cookie = bpf_get_socket_cookie(skb.cast());
            owner.cgroup_id = bpf_skb_cgroup_id(skb);
        }
        if option!(features) & feature::OFFSETS != 0 {
            let net = read::<u64>(socket(skb, sock), option!(offsets.sock_net));
            read_into(&mut owner.netns, net, option!(offsets.net_ns_inum));
        }
    }
    if view != view::HOST_EGRESS {
        owner.reason = no_owner::INGRESS;
    } else if transport == TCP {
        owner.reason = no_owner::TCP;
    } else if option!(features) & feature::CURRENT_TASK != 0 {
        current_task(owner);
    }
}

/// The packet's `struct sock` as a number, 0 if it has none.
///
/// The verifier allows no arithmetic on the pointer, and before 6.x no such pointer in a map key; with CAP_PERFMON it
/// may be stored in a map value, and what is read back is a number.
#[inline(always)]
fn socket(skb: *mut __sk_buff, by_way_of: &mut u64) -> u64 {
    let by_way_of = core::ptr::from_mut(by_way_of);
    // SAFETY: `skb` is the program's context, the other a live map value. Volatile, or the compiler would pass the
    // value on in a register.
    unsafe {
        by_way_of.write_volatile((*skb).__bindgen_anon_2.sk as u64);
        by_way_of.read_volatile()
    }
}

/// Fills in the current task.
#[inline(always)]
fn current_task(owner: &mut Owner) {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    if read::<u32>(task, option!(offsets.task_flags)) & PF_KTHREAD != 0 {
        owner.reason = no_owner::KERNEL_THREAD;
        return;
    }
    read_into(&mut owner.tgid, task, option!(offsets.task_tgid));
    read_into(&mut owner.tid, task, option!(offsets.task_pid));
    let leader = read::<u64>(task, option!(offsets.task_group_leader));
    read_into(&mut owner.start_boot_ns, leader, option!(offsets.task_start_boottime));
    read_into(&mut owner.comm, leader, option!(offsets.task_comm));
    let cred = read::<u64>(task, option!(offsets.task_cred));
    read_into(&mut owner.uid, cred, option!(offsets.cred_uid));
    owner.source = owner_source::CURRENT_TASK;
    owner.grade = grade::EXACT;
    owner.reason = no_owner::HAS_OWNER;
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
