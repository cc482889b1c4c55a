//! System calls that std does not have, for the senders: every `unsafe` of theirs is here or in `uring`.
#![allow(unsafe_code)]
#![expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "ids, lengths and times of the kernel's, which `check` found not to be negative"
)]

use std::io;
use std::mem::{size_of_val, zeroed};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};

use libc::{c_int, c_long, socklen_t};

pub(super) const IPPROTO_MPTCP: c_int = 262;
/// linux/tcp.h
const TCP_FASTOPEN_CONNECT: c_int = 30;
/// linux/tcp.h: data in the SYN was acknowledged.
const TCPI_OPT_SYN_DATA: u8 = 32;

/// The result of a system call, or errno.
pub(super) fn check(result: impl Into<c_long>) -> io::Result<c_long> {
    let result = result.into();
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes a descriptor that a system call has just returned.
pub(super) fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: the callers pass what the kernel returned a line before; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as c_int) }
}

pub(super) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) }).map(owned)
}

/// An int option.
pub(super) fn set(fd: &impl AsRawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_option(fd, level, name, &value)
}

/// An option with a plain C struct as its value.
pub(super) fn set_option<T: Copy>(fd: &impl AsRawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value is passed with its size and only read.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of_val(value) as socklen_t,
        )
    };
    check(result).map(drop)
}

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub(super) struct Address {
    storage: libc::sockaddr_storage,
    len: socklen_t,
}

impl Address {
    fn new<T: Copy>(value: T) -> Self {
        // SAFETY: all zeroes is a valid sockaddr_storage, and it has room and alignment for every sockaddr.
        unsafe {
            let mut storage: libc::sockaddr_storage = zeroed();
            std::ptr::from_mut(&mut storage).cast::<T>().write(value);
            Self { storage, len: size_of::<T>() as socklen_t }
        }
    }

    /// AF_PACKET: an interface and a MAC address.
    pub(super) fn link(interface: u32, mac: [u8; 6]) -> Self {
        // SAFETY: all zeroes is a valid sockaddr_ll.
        let mut link: libc::sockaddr_ll = unsafe { zeroed() };
        link.sll_family = libc::AF_PACKET as u16;
        link.sll_protocol = (libc::ETH_P_IP as u16).to_be();
        link.sll_ifindex = interface as c_int;
        link.sll_halen = 6;
        link.sll_addr[..6].copy_from_slice(&mac);
        Self::new(link)
    }

    /// AF_XDP: a queue of an interface.
    pub(super) fn xdp(interface: u32, flags: u16) -> Self {
        Self::new(libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface,
            sxdp_queue_id: 0,
            sxdp_shared_umem_fd: 0,
        })
    }

    fn pointer(&self) -> *const libc::sockaddr {
        std::ptr::from_ref(&self.storage).cast()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                // SAFETY: all zeroes is a valid sockaddr_in.
                let mut inner: libc::sockaddr_in = unsafe { zeroed() };
                inner.sin_family = libc::AF_INET as u16;
                inner.sin_port = v4.port().to_be();
                inner.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                Self::new(inner)
            }
            SocketAddr::V6(v6) => {
                // SAFETY: all zeroes is a valid sockaddr_in6.
                let mut inner: libc::sockaddr_in6 = unsafe { zeroed() };
                inner.sin6_family = libc::AF_INET6 as u16;
                inner.sin6_port = v6.port().to_be();
                inner.sin6_addr.s6_addr = v6.ip().octets();
                Self::new(inner)
            }
        }
    }
}

pub(super) fn bind(fd: &impl AsRawFd, address: &Address) -> io::Result<()> {
    // SAFETY: the address is passed with its length.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.pointer(), address.len) }).map(drop)
}

pub(super) fn connect(fd: &impl AsRawFd, address: &Address) -> io::Result<()> {
    // SAFETY: the address is passed with its length.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.pointer(), address.len) }).map(drop)
}

pub(super) fn listen(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), 64) }).map(drop)
}

/// sendto(2), or send(2) without an address.
pub(super) fn send(fd: &impl AsRawFd, bytes: &[u8], flags: c_int, to: Option<&Address>) -> io::Result<()> {
    let (pointer, len) = to.map_or((std::ptr::null(), 0), |to| (to.pointer(), to.len));
    // SAFETY: bytes and address are passed with their lengths.
    let sent =
        unsafe { libc::sendto(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags, pointer, len) };
    let sent = check(sent as c_long)?;
    if sent as usize == bytes.len() { Ok(()) } else { Err(io::Error::other("sent in part")) }
}

/// recv(2) of whatever comes; how many bytes.
pub(super) fn receive(fd: &impl AsRawFd) -> io::Result<usize> {
    let mut buffer = [0_u8; 512];
    // SAFETY: the buffer is passed with its length.
    let received = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    check(received as c_long).map(|len| len as usize)
}

/// Both messages in one sendmmsg(2) on a connected socket.
pub(super) fn send_two(fd: &impl AsRawFd, messages: [&[u8]; 2]) -> io::Result<()> {
    let mut parts = messages
        .map(|bytes| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
    // SAFETY: all zeroes is a valid mmsghdr; the kernel only reads what the iovecs name, which outlive the call.
    let sent = unsafe {
        let mut headers: [libc::mmsghdr; 2] = zeroed();
        for (header, part) in headers.iter_mut().zip(&mut parts) {
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), 2, 0)
    };
    if check(sent)? == 2 { Ok(()) } else { Err(io::Error::other("sendmmsg sent one of two")) }
}

/// splice(2) of so many bytes from a pipe.
pub(super) fn splice(from: &impl AsRawFd, to: &impl AsRawFd, len: usize) -> io::Result<()> {
    let null = std::ptr::null_mut();
    // SAFETY: no offsets are passed.
    let moved = unsafe { libc::splice(from.as_raw_fd(), null, to.as_raw_fd(), null, len, 0) };
    if check(moved as c_long)? as usize == len { Ok(()) } else { Err(io::Error::other("spliced in part")) }
}

/// sendfile(2) of the whole file.
pub(super) fn sendfile(from: &impl AsRawFd, to: &impl AsRawFd, len: usize) -> io::Result<()> {
    let mut offset = 0;
    // SAFETY: the offset outlives the call.
    let moved = unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), &raw mut offset, len) };
    if check(moved as c_long)? as usize == len { Ok(()) } else { Err(io::Error::other("sent in part")) }
}

/// A connection that begins with its first write (4.11).
pub(super) fn fastopen_connect(fd: &impl AsRawFd) -> io::Result<()> {
    set(fd, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
}

/// Whether the peer took data out of the SYN.
pub(super) fn syn_data_was_taken(fd: &impl AsRawFd) -> io::Result<bool> {
    // struct tcp_info begins with state, ca_state, retransmits, probes, backoff, options: a byte each.
    let mut info = [0_u8; 8];
    let mut len = info.len() as socklen_t;
    // SAFETY: the buffer is passed with its size.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    check(result)?;
    Ok(info[5] & TCPI_OPT_SYN_DATA != 0)
}

/// A child that runs `work` and ends with 0, or 1 if it failed; waits for it.
pub(super) fn in_child(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let pid = spawn(work)?;
    wait(pid)
}

/// As `in_child`, without waiting.
pub(super) fn spawn(work: impl FnOnce() -> io::Result<()>) -> io::Result<i32> {
    // SAFETY: the senders have one thread when they fork, so the child may go on as if nothing were.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        run_and_exit(work);
    }
    Ok(pid as i32)
}

/// As `in_child`, with a pid of choice (clone3's set_tid, 5.5).
pub(super) fn in_child_with_pid(pid: i32, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    #[repr(C)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
    }
    let wanted = [pid];
    let args = CloneArgs {
        flags: 0,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: wanted.as_ptr() as u64,
        set_tid_size: 1,
    };
    // SAFETY: without CLONE_VM this is a fork; see `spawn`. glibc's view of thread ids is not used by the child.
    let child = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if child == 0 {
        run_and_exit(work);
    }
    wait(child as i32)
}

/// A child's work; it leaves without the parent's destructors and exit handlers.
fn run_and_exit(work: impl FnOnce() -> io::Result<()>) -> ! {
    let code = match work() {
        Ok(()) => 0,
        Err(error) => {
            println!("failed {error}");
            1
        }
    };
    exit_now(code)
}

/// Ends the process here and now.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: no pointers; nothing after it runs.
    unsafe { libc::_exit(code) }
}

/// Waits for a child; an error unless it ended with 0.
pub(super) fn wait(pid: i32) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    check(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    if status == 0 { Ok(()) } else { Err(io::Error::other(format!("the child ended with {status:#x}"))) }
}

/// Leaves the network namespace for a new one, and brings its loopback up.
pub(super) fn new_network() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    let control = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// The next child is the first process of a new pid namespace.
pub(super) fn new_pids() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWPID) }).map(drop)
}

/// Becomes another user, for good.
pub(super) fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setuid(uid) }).map(drop)
}

/// Index of an interface by name.
pub(super) fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// An anonymous file.
pub(super) fn memory_file() -> io::Result<std::fs::File> {
    // SAFETY: a C string.
    let fd = check(unsafe { libc::memfd_create(c"query".as_ptr(), libc::MFD_CLOEXEC) })?;
    Ok(owned(fd).into())
}

/// Both ends of a pipe: reader, writer.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((owned(ends[0].into()), owned(ends[1].into())))
}

pub(super) fn user_id() -> u32 {
    // SAFETY: no pointers.
    unsafe { libc::getuid() }
}

/// A checksummed IPv4 header (RFC 791) before a payload of so many bytes.
pub(super) fn ipv4_header(source: Ipv4Addr, to: Ipv4Addr, payload: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(20 + payload as u16).to_be_bytes());
    header[8] = 64;
    header[9] = libc::IPPROTO_UDP as u8;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    header
}

/// The time of day at boot, nanoseconds since 1970: CLOCK_REALTIME less CLOCK_BOOTTIME.
pub(super) fn boot_unix_ns() -> io::Result<u64> {
    let read = |clock| -> io::Result<u64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the result outlives the call.
        check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
        Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    };
    Ok(read(libc::CLOCK_REALTIME)? - read(libc::CLOCK_BOOTTIME)?)
}
