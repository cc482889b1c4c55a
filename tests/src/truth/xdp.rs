//! An AF_XDP socket that sends one frame (kernel: Documentation/networking/af_xdp.rst), in copy mode.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_void;

use super::sys::{self, Address};
use super::uring::map;
use crate::deadline::Deadline;

const CHUNK: u32 = 4096;
const CHUNKS: u32 = 2;
const ENTRIES: i32 = 2;
/// libc's has another type than mmap's offset.
const COMPLETION_RING: i64 = 0x1_8000_0000;

pub(super) struct Socket {
    fd: OwnedFd,
    memory: *mut u8,
    offsets: libc::xdp_mmap_offsets,
    send: *mut c_void,
    completion: *mut c_void,
}

impl Socket {
    pub(super) fn open(interface: u32) -> io::Result<Self> {
        let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0)?;
        let len = (CHUNK * CHUNKS) as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at a place of the kernel's choice; it stays until the process ends.
        let memory = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // As in 5.4: later fields are optional to the kernel.
        let umem =
            libc::xdp_umem_reg_v1 { addr: memory as u64, len: len as u64, chunk_size: CHUNK, headroom: 0 };
        sys::set_option(&fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
            sys::set(&fd, libc::SOL_XDP, ring, ENTRIES)?;
        }
        let offsets = offsets(&fd)?;
        let room = 4096;
        let send = map(&fd, room, libc::XDP_PGOFF_TX_RING)?;
        let completion = map(&fd, room, COMPLETION_RING)?;
        sys::bind(&fd, &Address::xdp(interface, libc::XDP_COPY))?;
        Ok(Self { fd, memory: memory.cast(), offsets, send, completion })
    }

    /// Sends one frame and waits until the driver has it.
    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if frame.len() > CHUNK as usize {
            return Err(io::Error::other("frame too long"));
        }
        let descriptor = libc::xdp_desc { addr: 0, len: frame.len() as u32, options: 0 };
        // SAFETY: the frame fits its chunk; the first descriptor is inside the mapped ring and still ours.
        unsafe {
            self.memory.copy_from_nonoverlapping(frame.as_ptr(), frame.len());
            self.send.byte_add(self.offsets.tx.desc as usize).cast::<libc::xdp_desc>().write(descriptor);
        }
        word(self.send, self.offsets.tx.producer).store(1, Ordering::Release);
        let sent = Deadline::secs(5).poll(|| {
            // SAFETY: no bytes are passed: this only wakes the kernel.
            let result = unsafe {
                libc::sendto(self.fd.as_raw_fd(), null_mut(), 0, libc::MSG_DONTWAIT, null_mut(), 0)
            };
            let _ = result;
            (word(self.completion, self.offsets.cr.producer).load(Ordering::Acquire) != 0).then_some(())
        });
        sent.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the frame was not sent"))
    }
}

fn offsets(fd: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: all zeroes is valid, and the kernel is told its size.
    unsafe {
        let mut offsets: libc::xdp_mmap_offsets = std::mem::zeroed();
        let mut len = size_of_val(&offsets) as libc::socklen_t;
        sys::check(libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            (&raw mut offsets).cast(),
            &raw mut len,
        ))?;
        Ok(offsets)
    }
}

/// A word shared with the kernel.
fn word<'a>(ring: *mut c_void, offset: u64) -> &'a AtomicU32 {
    // SAFETY: the kernel's own offset, inside the mapping and aligned; rings are never unmapped.
    unsafe { AtomicU32::from_ptr(ring.byte_add(offset as usize).cast()) }
}
