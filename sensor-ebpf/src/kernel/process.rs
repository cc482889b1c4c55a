//! Processes that come to be and end: small records, so that whoever lives too short to be looked up has a parent, a
//! cgroup and an end.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use aya_ebpf::programs::RawTracePointContext;
use sensor_ebpf::abi::{ExitRecord, ForkRecord, TAG_EXIT, TAG_FORK, counter};

use super::maps::{RING_ALERT, count, option};
use super::owner::{read, read_into};

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`, in the parent's context; the child has
/// its cgroup and credentials and has not run yet (kernel/fork.c, `kernel_clone`).
#[inline(always)]
pub(crate) fn fork(ctx: &RawTracePointContext) {
    let child: u64 = ctx.arg(1);
    let tgid = read::<u32>(child, option!(offsets.task_tgid));
    if read::<u32>(child, option!(offsets.task_pid)) != tgid {
        // A thread: its process is known.
        return;
    }
    count::<true>(counter::FORK_SEEN);
    let parent = read::<u64>(child, option!(offsets.task_real_parent));
    let parent_leader = read::<u64>(parent, option!(offsets.task_group_leader));
    let cred = read::<u64>(child, option!(offsets.task_cred));
    let css_set = read::<u64>(child, option!(offsets.process.task_cgroups));
    let cgroup = read::<u64>(css_set, option!(offsets.process.css_set_dfl_cgrp));
    let node = read::<u64>(cgroup, option!(offsets.process.cgroup_kn));
    let record = ForkRecord {
        tag: TAG_FORK,
        tgid,
        // SAFETY: a helper without arguments.
        time_ns: unsafe { bpf_ktime_get_ns() },
        start_boot_ns: read(child, option!(offsets.task_start_boottime)),
        parent_start_boot_ns: read(parent_leader, option!(offsets.task_start_boottime)),
        cgroup_id: read(node, option!(offsets.process.kernfs_node_id)),
        ppid: read(parent, option!(offsets.task_tgid)),
        uid: read(cred, option!(offsets.cred_uid)),
    };
    let sent = send(&record);
    count::<true>(if sent { counter::FORK_DELIVERED } else { counter::FORK_LOST });
}

/// `sched_process_exit(struct task_struct *p)`, in the context of a thread that ends, after it has left the count of
/// living ones (kernel/exit.c, `do_exit`).
#[inline(always)]
pub(crate) fn exit(ctx: &RawTracePointContext) {
    let task: u64 = ctx.arg(0);
    let signal = read::<u64>(task, option!(offsets.process.task_signal));
    if read::<u32>(signal, option!(offsets.process.signal_live)) != 0 {
        return;
    }
    count::<true>(counter::EXIT_SEEN);
    let leader = read::<u64>(task, option!(offsets.task_group_leader));
    let mut record =
        // SAFETY: a helper without arguments.
        ExitRecord { tag: TAG_EXIT, tgid: 0, time_ns: unsafe { bpf_ktime_get_ns() }, start_boot_ns: 0 };
    read_into(&mut record.tgid, task, option!(offsets.task_tgid));
    read_into(&mut record.start_boot_ns, leader, option!(offsets.task_start_boottime));
    let sent = send(&record);
    count::<true>(if sent { counter::EXIT_DELIVERED } else { counter::EXIT_LOST });
}

#[inline(always)]
fn send<T>(record: &T) -> bool {
    // SAFETY: a record of the size given; the ring is never looked into.
    unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&RING_ALERT).cast_mut().cast(),
            core::ptr::from_ref(record).cast_mut().cast(),
            size_of::<T>() as u64,
            u64::from(BPF_RB_NO_WAKEUP),
        ) == 0
    }
}
