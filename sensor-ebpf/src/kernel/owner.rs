//! Who sent the packet: the current task in the packet hook (6.10 and later, linux eb166e522c77).

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_socket_cookie, bpf_probe_read_kernel,
    bpf_skb_cgroup_id,
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
pub(crate) fn of_packet<P: Access>(packet: &P, transport: u8, view: u8, owner: &mut Owner) {
    record::clear_owner(owner, no_owner::NO_SOURCE);
    if let Some(skb) = packet.skb() {
        // SAFETY: `skb` is the program's context.
        unsafe {
            owner.cookie = bpf_get_socket_cookie(skb.cast());
            owner.cgroup_id = bpf_skb_cgroup_id(skb);
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

/// Fills in the current task.
#[inline(always)]
fn current_task(owner: &mut Owner) {
    // SAFETY: helpers without arguments.
    let (ids, task) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_task()) };
    if read::<u32>(task, option!(offsets.task_flags)) & PF_KTHREAD != 0 {
        owner.reason = no_owner::KERNEL_THREAD;
        return;
    }
    owner.tgid = (ids >> 32) as u32;
    owner.tid = ids as u32;
    let leader = read::<u64>(task, option!(offsets.task_group_leader));
    read_into(&mut owner.start_boot_ns, leader, option!(offsets.task_start_boottime));
    read_into(&mut owner.comm, leader, option!(offsets.task_comm));
    let cred = read::<u64>(task, option!(offsets.task_cred));
    read_into(&mut owner.uid, cred, option!(offsets.cred_uid));
    let nsproxy = read::<u64>(task, option!(offsets.task_nsproxy));
    let net = read::<u64>(nsproxy, option!(offsets.nsproxy_net_ns));
    read_into(&mut owner.netns, net, option!(offsets.net_ns_inum));
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
