//! What the loader tells the programs: before they are loaded, and while they run.

use crate::question::KEY_WORDS;

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
    /// Can keep repeats and known answers back, as `control` says (needs `FLOW`, so that they are counted).
    pub const NOVELTY: u32 = 1 << 13;
    /// What every kernel can; the loader adds the others where the kernel has them.
    pub const DEFAULT: u32 = HASH | FLOW | RECORD | WALK;
}

/// Bits of the one value of the `CONTROL` map: what the loaded programs are to do now.
pub mod control {
    /// Keep exact repeats back.
    pub const REPEATS: u32 = 1;
    /// Keep answers without payload back while their name was answered less than `novelty::ANSWER_NS` ago.
    pub const KNOWN_ANSWERS: u32 = 1 << 1;
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
