//! Exec events: path and command line while the new image is still there to be read.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel_str,
    bpf_probe_read_user, bpf_ringbuf_output,
};
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::warn;
use sensor_ebpf::abi::{EXEC_ARGS, EXEC_FILE, EXEC_PATH, ExecRecord, TAG_EXEC, counter, exec};

use super::maps::{self, EXEC_SCRATCH, ExecScratch, HOST_SLOTS, RING_ALERT, count, option};
use super::owner::{read, read_into};
use super::path;

/// `S_IFMT` and `S_IFSOCK` of linux/stat.h.
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, in the task's own context
/// with its new memory and open files (fs/exec.c, `exec_binprm`).
#[inline(always)]
pub(crate) fn observe(ctx: &RawTracePointContext) {
    count::<true>(counter::EXEC_SEEN);
    let Some(scratch) = free_scratch() else {
        count::<true>(counter::EXEC_LOST);
        // SAFETY: a helper without arguments.
        let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
        warn!(ctx, "exec of {} lost: all {} scratch slots of this CPU are taken", tgid, HOST_SLOTS);
        return;
    };
    // SAFETY: a live map value; claimed, nobody else uses this slot until it is released.
    let sent = unsafe {
        let sent = fill_and_send(&mut (*scratch).record, ctx.arg(0), ctx.arg(2));
        maps::release(&raw mut (*scratch).busy);
        sent
    };
    count::<true>(if sent { counter::EXEC_DELIVERED } else { counter::EXEC_LOST });
}

/// A slot of this CPU that no run below this one has.
#[inline(always)]
fn free_scratch() -> Option<*mut ExecScratch> {
    for slot in 0..HOST_SLOTS {
        let scratch = EXEC_SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: a live map value; only the claim is shared, and it is atomic.
        if unsafe { maps::claim(&raw mut (*scratch).busy) } {
            return Some(scratch);
        }
    }
    None
}

#[inline(always)]
fn fill_and_send(record: &mut ExecRecord, task: u64, bprm: u64) -> bool {
    let leader = read::<u64>(task, option!(offsets.task_group_leader));
    let parent = read::<u64>(task, option!(offsets.task_real_parent));
    let parent_leader = read::<u64>(parent, option!(offsets.task_group_leader));
    record.tag = TAG_EXEC;
    record.pad = 0;
    read_into(&mut record.start_boot_ns, leader, option!(offsets.task_start_boottime));
    read_into(&mut record.parent_start_boot_ns, parent_leader, option!(offsets.task_start_boottime));
    read_into(&mut record.ppid, parent, option!(offsets.task_tgid));
    read_into(&mut record.uid, read::<u64>(task, option!(offsets.task_cred)), option!(offsets.cred_uid));
    // SAFETY: helpers without arguments.
    unsafe {
        record.time_ns = bpf_ktime_get_ns();
        record.cgroup_id = bpf_get_current_cgroup_id();
        record.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    }
    record.flags = stdio(task);
    given_path(record, bprm);
    let file = read::<u64>(bprm, option!(offsets.process.binprm_file));
    // The names go over the end of `file` where the path is too long: arguments come after it.
    let flags = path::walk(record, file);
    if flags == 0 {
        record.file_len = 0;
    }
    record.flags |= flags;
    let args_len = arguments(record, task);
    // SAFETY: the record is longer than what is sent of it, since arguments are its end.
    unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&RING_ALERT).cast_mut().cast(),
            core::ptr::from_mut(record).cast(),
            (size_of::<ExecRecord>() - EXEC_ARGS) as u64 + u64::from(args_len),
            u64::from(BPF_RB_NO_WAKEUP),
        ) == 0
    }
}

/// Which standard streams are sockets.
#[inline(always)]
fn stdio(task: u64) -> u16 {
    let files = read::<u64>(task, option!(offsets.process.task_files));
    let table = read::<u64>(files, option!(offsets.process.files_fdt));
    let array = read::<u64>(table, option!(offsets.process.fdtable_fd));
    // The table has at least 32 entries (`NR_OPEN_DEFAULT`).
    let open = read::<[u64; 3]>(array, 0);
    let mut flags = 0;
    for (file, flag) in
        [(open[0], exec::STDIN_SOCKET), (open[1], exec::STDOUT_SOCKET), (open[2], exec::STDERR_SOCKET)]
    {
        if file != 0 {
            let inode = read::<u64>(file, option!(offsets.process.file_f_inode));
            if read::<u16>(inode, option!(offsets.process.inode_i_mode)) & S_IFMT == S_IFSOCK {
                flags |= flag;
            }
        }
    }
    flags
}

/// The path given to execve, and whether it is a script's: then the interpreter's stands beside it.
#[inline(always)]
fn given_path(record: &mut ExecRecord, bprm: u64) {
    let filename = read::<u64>(bprm, option!(offsets.binprm_filename));
    if read::<u64>(bprm, option!(offsets.process.binprm_interp)) != filename {
        record.flags |= exec::SCRIPT;
    }
    // SAFETY: the array has the size given.
    let with_nul = unsafe {
        bpf_probe_read_kernel_str(
            record.path.as_mut_ptr().cast(),
            EXEC_PATH as u32,
            filename as *const core::ffi::c_void,
        )
    };
    record.path_len = if with_nul > 0 { with_nul as u16 - 1 } else { 0 };
}

/// argv as it lies in the new memory; how many bytes were read.
#[inline(always)]
fn arguments(record: &mut ExecRecord, task: u64) -> u32 {
    let mm = read::<u64>(task, option!(offsets.task_mm));
    let arg_start = read::<u64>(mm, option!(offsets.mm_arg_start));
    let arg_end = read::<u64>(mm, option!(offsets.mm_arg_end));
    let all = arg_end.saturating_sub(arg_start);
    record.args_true_len = if all > u64::from(u32::MAX) { u32::MAX } else { all as u32 };
    let mut len = if all > EXEC_ARGS as u64 { EXEC_ARGS as u32 } else { all as u32 };
    // SAFETY: at most the array's size.
    if len == 0
        || unsafe {
            bpf_probe_read_user(record.args.as_mut_ptr().cast(), len, arg_start as *const core::ffi::c_void)
        } != 0
    {
        len = 0;
    }
    record.args_len = len as u16;
    len
}

/// Offset of `file` in the record, and what a name may write behind it.
pub(super) const FILE: usize = core::mem::offset_of!(ExecRecord, file);
const _: () = assert!(EXEC_ARGS >= path::MAX_COMPONENT && EXEC_FILE.is_power_of_two());
