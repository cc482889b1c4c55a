//! The fastest that XDP can be: a program of two instructions that drops every packet, in a place of the kit's own. The
//! product has no such program, since it never drops; so it is not in its object.
#![allow(unsafe_code)] // two bpf() calls: aya loads programs from objects only

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// enum bpf_cmd (include/uapi/linux/bpf.h).
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
/// linux/if_link.h
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// `r0 = XDP_DROP; exit`.
const DROP: [u64; 2] = [1 << 32 | 0xb7, 0x95];

/// `union bpf_attr`, the part that BPF_PROG_LOAD uses.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The part that BPF_LINK_CREATE uses.
#[repr(C)]
#[derive(Default)]
struct Link {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// Drops what arrives on an interface of the calling thread's network namespace until it is dropped itself.
pub fn on(interface: &str) -> io::Result<OwnedFd> {
    let name = CString::new(interface).map_err(io::Error::other)?;
    // SAFETY: a string that ends in NUL and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    let license = c"GPL";
    let load = Load {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: DROP.len() as u32,
        insns: DROP.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    let program = bpf(PROG_LOAD, &load)?;
    let link = Link {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target: index,
        attach_type: ATTACH_TYPE_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    bpf(LINK_CREATE, &link)
}

fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is the part of the union that the command reads, its size is given, and what it points to outlives
    // the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that both commands return, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
