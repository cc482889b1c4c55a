//! io_uring by its raw system calls: one entry in, one completion out.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_void};

use super::sys::{check, owned};
use crate::deadline::Deadline;

/// linux/io_uring.h
const SETUP_SQPOLL: u32 = 2;
const OFF_SQES: i64 = 0x1000_0000;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const SQ_NEED_WAKEUP: u32 = 1;
const REGISTER_FILES: u32 = 2;
const FIXED_FILE: u8 = 1;
const OP_SENDMSG: u8 = 9;
const OP_SEND: u8 = 26;
const ENTRIES: u32 = 4;

#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq: SqOffsets,
    cq: CqOffsets,
}

#[repr(C)]
#[derive(Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    resv: [u32; 3],
}

#[repr(C)]
#[derive(Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    resv: [u32; 4],
}

#[repr(C)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    msg_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

#[repr(C)]
struct Cqe {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// How a message is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Send,
    SendMsg,
    /// SEND, submitted by the kernel's own polling thread.
    SqPoll,
}

/// A ring for one socket. Its memory is the process's until it ends: a sender has one.
pub(super) struct Ring {
    fd: OwnedFd,
    params: Params,
    /// Both queues (IORING_FEAT_SINGLE_MMAP, 5.4).
    rings: *mut c_void,
    sqes: *mut Sqe,
    way: Way,
}

impl Ring {
    pub(super) fn new(way: Way, socket: &impl AsRawFd) -> io::Result<Self> {
        let mut params = Params::default();
        if way == Way::SqPoll {
            params.flags = SETUP_SQPOLL;
            params.sq_thread_idle = 1000;
        }
        // SAFETY: one struct io_uring_params, as the kernel writes it.
        let fd = owned(check(unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) })?);
        let sq_len = params.sq.array as usize + params.sq_entries as usize * size_of::<u32>();
        let cq_len = params.cq.cqes as usize + params.cq_entries as usize * size_of::<Cqe>();
        let rings = map(&fd, sq_len.max(cq_len), 0)?;
        let sqes = map(&fd, params.sq_entries as usize * size_of::<Sqe>(), OFF_SQES)?.cast();
        // A polling thread took registered files only before 5.11 (linux 28cea78af449).
        let files: [c_int; 1] = [socket.as_raw_fd()];
        // SAFETY: one descriptor.
        check(unsafe {
            libc::syscall(libc::SYS_io_uring_register, fd.as_raw_fd(), REGISTER_FILES, files.as_ptr(), 1)
        })?;
        Ok(Self { fd, params, rings, sqes, way })
    }

    /// Sends on the connected socket and waits for the completion.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all zeroes is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        let (opcode, addr, len) = match self.way {
            Way::Send | Way::SqPoll => (OP_SEND, bytes.as_ptr() as u64, bytes.len() as u32),
            Way::SendMsg => (OP_SENDMSG, (&raw const header) as u64, 1),
        };
        let entry = Sqe {
            opcode,
            flags: FIXED_FILE,
            ioprio: 0,
            fd: 0,
            off: 0,
            addr,
            len,
            msg_flags: 0,
            user_data: 1,
            rest: [0; 3],
        };
        let tail = self.word(self.params.sq.tail).load(Ordering::Acquire);
        let slot = tail & self.word(self.params.sq.ring_mask).load(Ordering::Relaxed);
        // SAFETY: `slot` is below the entries that are mapped; the kernel reads it once the tail is moved.
        unsafe { self.sqes.add(slot as usize).write(entry) };
        self.word(self.params.sq.array + slot * 4).store(slot, Ordering::Relaxed);
        self.word(self.params.sq.tail).store(tail.wrapping_add(1), Ordering::Release);
        let (submit, mut flags) = if self.way == Way::SqPoll { (0, 0) } else { (1, ENTER_GETEVENTS) };
        if self.way == Way::SqPoll
            && self.word(self.params.sq.flags).load(Ordering::SeqCst) & SQ_NEED_WAKEUP != 0
        {
            flags |= ENTER_SQ_WAKEUP;
        }
        // SAFETY: no pointers but null.
        check(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                submit,
                flags & ENTER_GETEVENTS,
                flags,
                null_mut::<c_void>(),
                0,
            )
        })?;
        let sent = Deadline::secs(10)
            .poll(|| self.completion())
            .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no completion"))?;
        match usize::try_from(sent) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(io::Error::other("sent in part")),
            Err(_) => Err(io::Error::from_raw_os_error(-sent)),
        }
    }

    fn completion(&self) -> Option<i32> {
        let head = self.word(self.params.cq.head).load(Ordering::Relaxed);
        if head == self.word(self.params.cq.tail).load(Ordering::Acquire) {
            return None;
        }
        let slot = head & self.word(self.params.cq.ring_mask).load(Ordering::Relaxed);
        // SAFETY: below the entries that are mapped, and filled by the kernel, as its tail says.
        let result = unsafe {
            self.rings.byte_add(self.params.cq.cqes as usize).cast::<Cqe>().add(slot as usize).read().result
        };
        self.word(self.params.cq.head).store(head.wrapping_add(1), Ordering::Release);
        Some(result)
    }

    /// A word shared with the kernel.
    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel's own offset, inside the mapping and aligned; it is never unmapped.
        unsafe { AtomicU32::from_ptr(self.rings.byte_add(offset as usize).cast()) }
    }
}

/// Maps shared memory of a descriptor, to read and write.
pub(super) fn map(fd: &impl AsRawFd, len: usize, offset: i64) -> io::Result<*mut c_void> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let address = unsafe { libc::mmap(null_mut(), len, protection, flags, fd.as_raw_fd(), offset) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address) }
}
