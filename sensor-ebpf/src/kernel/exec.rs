//! Exec events: path and command line while the new image is still there to be read.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str,
    bpf_probe_read_user, bpf_ringbuf_output,
};
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::warn;
use sensor_ebpf::abi::{EXEC_ARGS, EXEC_PATH, ExecRecord, TAG_EXEC, counter};

use super::maps::{self, EXEC_SCRATCH, HOST_SLOTS, RING_ALERT, count, option};
use super::owner::{read, read_into};

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, in the task's own context
/// with its new memory (fs/exec.c, `exec_binprm`).
#[inline(always)]
pub(crate) fn observe(ctx: &RawTracePointContext) {
    count::<true>(counter::EXEC_SEEN);
    let task: u64 = ctx.arg(0);
    let bprm: u64 = ctx.arg(2);
    for slot in 0..HOST_SLOTS {
        let Some(scratch) = EXEC_SCRATCH.get_ptr_mut(slot) else { return };
        // SAFETY: a live map value; claimed, nobody else uses this slot until it is released.
        unsafe {
            let busy = &raw mut (*scratch).busy;
            if maps::claim(busy) {
                let sent = fill_and_send(&mut (*scratch).record, task, bprm);
                maps::release(busy);
                return count::<true>(if sent { counter::EXEC_DELIVERED } else { counter::EXEC_LOST });
            }
        }
    }
    count::<true>(counter::EXEC_LOST);
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    warn!(ctx, "exec of {} lost: all {} scratch slots of this CPU are taken", tgid, HOST_SLOTS);
}

#[inline(always)]
fn fill_and_send(record: &mut ExecRecord, task: u64, bprm: u64) -> bool {
    let leader = read::<u64>(task, option!(offsets.task_group_leader));
    let parent = read::<u64>(task, option!(offsets.task_real_parent));
    let mm = read::<u64>(task, option!(offsets.task_mm));
    let arg_start = read::<u64>(mm, option!(offsets.mm_arg_start));
    let arg_end = read::<u64>(mm, option!(offsets.mm_arg_end));
    record.tag = TAG_EXEC;
    read_into(&mut record.start_boot_ns, leader, option!(offsets.task_start_boottime));
    read_into(&mut record.ppid, parent, option!(offsets.task_tgid));
    read_into(&mut record.uid, read::<u64>(task, option!(offsets.task_cred)), option!(offsets.cred_uid));
    // SAFETY: helpers without arguments, and copies into arrays of the sizes given.
    unsafe {
        record.time_ns = bpf_ktime_get_boot_ns();
        record.cgroup_id = bpf_get_current_cgroup_id();
        record.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        let filename = read::<u64>(bprm, option!(offsets.binprm_filename));
        let with_nul = bpf_probe_read_kernel_str(
            record.path.as_mut_ptr().cast(),
            EXEC_PATH as u32,
            filename as *const core::ffi::c_void,
        );
        record.path_len = if with_nul > 0 { with_nul as u16 - 1 } else { 0 };
        let all = arg_end.saturating_sub(arg_start);
        record.args_true_len = if all > u64::from(u32::MAX) { u32::MAX } else { all as u32 };
        let mut len = if all > EXEC_ARGS as u64 { EXEC_ARGS as u32 } else { all as u32 };
        if len == 0
            || bpf_probe_read_user(
                record.args.as_mut_ptr().cast(),
                len,
                arg_start as *const core::ffi::c_void,
            ) != 0
        {
            len = 0;
        }
        record.args_len = len as u16;
        bpf_ringbuf_output(
            core::ptr::from_ref(&RING_ALERT).cast_mut().cast(),
            core::ptr::from_mut(record).cast(),
            size_of::<ExecRecord>() as u64,
            u64::from(BPF_RB_NO_WAKEUP),
        ) == 0
    }
}
