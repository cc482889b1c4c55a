//! The path of an open file by its directory entries, as `d_path` gives it but from the file up: names, each ended by
//! NUL, up to the root of the mount namespace.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use sensor_ebpf::abi::{EXEC_FILE, ExecRecord, exec};
use sensor_ebpf::limits::PATH_STEPS;

use super::exec::FILE;
use super::maps::option;
use super::owner::read;

/// A name with its NUL (`NAME_MAX` and one).
pub(super) const MAX_COMPONENT: usize = 256;

/// Writes the names of `file` (a `struct file *`) and their length into the record; the flags that go with them, none if
/// the path is longer than there is room.
///
/// The length is kept in the record all the while: what comes from memory has no bounds that the verifier could remember,
/// so the ways through the loop meet again in each step. In a register it would follow each of them to the end, 0.8 s.
#[inline(always)]
pub(super) fn walk(record: *mut ExecRecord, file: u64) -> u16 {
    // Never the first field of the struct: zero says that this kernel has it not.
    let mount_mnt = option!(offsets.process.mount_mnt);
    if file == 0 || mount_mnt == 0 {
        return 0;
    }
    // SAFETY: the caller's record, which is a live map value.
    let len = unsafe { &raw mut (*record).file_len };
    // SAFETY: as above; volatile, or it would be kept in a register.
    unsafe { len.write_volatile(0) };
    let vfsmount = read::<u64>(file, option!(offsets.process.file_f_path_mnt));
    let mut dentry = read::<u64>(file, option!(offsets.process.file_f_path_dentry));
    let mut mount = vfsmount.wrapping_sub(u64::from(mount_mnt));
    let mut root = read::<u64>(vfsmount, option!(offsets.process.vfsmount_mnt_root));
    for _ in 0..PATH_STEPS {
        if dentry == root {
            let parent = read::<u64>(mount, option!(offsets.process.mount_mnt_parent));
            if parent == mount || parent == 0 {
                return exec::WHOLE;
            }
            dentry = read::<u64>(mount, option!(offsets.process.mount_mnt_mountpoint));
            mount = parent;
            root = read::<u64>(mount + u64::from(mount_mnt), option!(offsets.process.vfsmount_mnt_root));
            continue;
        }
        let name = read::<u64>(dentry, option!(offsets.process.dentry_d_name));
        // SAFETY: `at` is below EXEC_FILE, and as many bytes as a name may have lie behind `file` in the record.
        let end = unsafe {
            let at = usize::from(len.read_volatile());
            let with_nul = bpf_probe_read_kernel_str(
                record.cast::<u8>().add(FILE + (at & (EXEC_FILE - 1))).cast(),
                MAX_COMPONENT as u32,
                name as *const core::ffi::c_void,
            );
            if with_nul <= 0 {
                return 0;
            }
            at + with_nul as usize
        };
        if end >= EXEC_FILE {
            return 0;
        }
        // SAFETY: as for the first write.
        unsafe { len.write_volatile(end as u16) };
        let parent = read::<u64>(dentry, option!(offsets.process.dentry_d_parent));
        if parent == dentry {
            return exec::UNREACHABLE;
        }
        dentry = parent;
    }
    0
}
