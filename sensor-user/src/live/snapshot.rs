//! Sockets that were talking to port 53 before the sensor started: who holds them, for the owner map.
//!
//! sock_diag lists them with their cookies, one network namespace at a time; /proc tells which process has the socket
//! among its descriptors. A socket that several processes hold has no owner here: which of them sends is not known.
#![allow(unsafe_code)] // setns, a netlink socket

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sensor_ebpf::abi::{Owner, OwnerEntry, grade, owner_source};
use zerocopy::FromZeros as _;

use super::link::{netlink, u32_at};
use super::process;
use crate::clock;

/// Bounds: sockets, namespaces, processes, and the time for all of it. What is beyond them stays without an owner until it
/// sends in its own context.
const MAX_SOCKETS: usize = 4096;
const MAX_NAMESPACES: usize = 256;
const MAX_PROCESSES: usize = 1 << 16;
const MAX_TIME: Duration = Duration::from_millis(500);

/// What came of it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By cookie.
    pub owners: Vec<(u64, OwnerEntry)>,
    /// Sockets that several processes hold.
    pub shared: usize,
    /// Sockets that no process was found for, or that were not looked at.
    pub unknown: usize,
    /// What could not be asked.
    pub warnings: Vec<String>,
}

/// A socket of the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    cookie: u64,
    inode: u64,
}

/// Looks at every process and every namespace, within the bounds.
pub fn take() -> Snapshot {
    let mut snapshot = Snapshot::default();
    if !is_initial_pid_namespace() {
        snapshot.warnings.push(
            "sockets opened before the start have no owner: process ids here are not the kernel's".into(),
        );
        return snapshot;
    }
    let deadline = clock::monotonic() + MAX_TIME;
    let pids = pids();
    let (sockets, refused) = sockets(&pids, deadline);
    if let Some(why) = refused {
        snapshot.warnings.push(format!("sockets opened before the start are not all known: {why}"));
    }
    let wanted = sockets.iter().map(|socket| socket.inode).collect();
    let holders = holders(&pids, &wanted, deadline);
    for socket in sockets {
        match holders.get(&socket.inode).map_or(&[][..], Vec::as_slice) {
            [pid] => match owner(*pid, socket.cookie) {
                Some(owner) => {
                    snapshot.owners.push((socket.cookie, OwnerEntry { task: 0, other_task: 0, owner }));
                }
                None => snapshot.unknown += 1,
            },
            [] => snapshot.unknown += 1,
            _ => snapshot.shared += 1,
        }
    }
    snapshot
}

fn is_initial_pid_namespace() -> bool {
    // linux/proc_ns.h, PROC_PID_INIT_INO.
    fs::metadata("/proc/self/ns/pid").is_ok_and(|meta| meta.ino() == 0xEFFF_FFFC)
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(MAX_PROCESSES).collect()
}

/// Sockets with port 53 at the other end, of every namespace that a process is in.
fn sockets(pids: &[u32], deadline: Instant) -> (Vec<Socket>, Option<String>) {
    let mut sockets = Vec::new();
    let mut refused = None;
    let mut seen = BTreeSet::new();
    for pid in pids {
        let path = format!("/proc/{pid}/ns/net");
        let Ok(inode) = fs::metadata(&path).map(|meta| meta.ino()) else { continue };
        if !seen.insert(inode) {
            continue;
        }
        if seen.len() > MAX_NAMESPACES || sockets.len() >= MAX_SOCKETS || clock::monotonic() > deadline {
            refused = Some("there are too many".to_owned());
            break;
        }
        match in_namespace(Path::new(&path)) {
            Ok(found) => sockets.extend(found),
            Err(error) => refused = Some(error.to_string()),
        }
    }
    sockets.truncate(MAX_SOCKETS);
    (sockets, refused)
}

/// The sockets of one namespace, asked on a thread of its own that enters it.
fn in_namespace(path: &Path) -> io::Result<Vec<Socket>> {
    let namespace = File::open(path)?;
    let ask = move || {
        let own = fs::metadata("/proc/thread-self/ns/net")?.ino();
        if namespace.metadata()?.ino() != own {
            // SAFETY: no pointers; moves this thread only, which ends here.
            let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            if moved != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let mut sockets = Vec::new();
        for (family, protocol) in [
            (libc::AF_INET, libc::IPPROTO_UDP),
            (libc::AF_INET6, libc::IPPROTO_UDP),
            (libc::AF_INET, libc::IPPROTO_TCP),
            (libc::AF_INET6, libc::IPPROTO_TCP),
        ] {
            match dump([family.cast_unsigned() as u8, protocol.cast_unsigned() as u8], &mut sockets) {
                // Not built in, and no module of that name.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {
                    return Err(io::Error::other("this kernel has no inet_diag or udp_diag"));
                }
                other => other?,
            }
        }
        Ok(sockets)
    };
    thread::Builder::new()
        .name("snapshot".into())
        .spawn(ask)?
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that asked ended")))
}

const NLMSG_HEADER: usize = 16;
/// `struct inet_diag_req_v2` and `struct inet_diag_msg` (linux/inet_diag.h).
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
/// `struct inet_diag_bc_op` {code, yes, no}, and behind each the port as another one's `no`: at least 53, at most 53.
const ONLY_PORT_53: [[u16; 2]; 4] = [[D_GE | 8 << 8, 20], [0, 53], [D_LE | 8 << 8, 12], [0, 53]];
const D_GE: u16 = 4;
const D_LE: u16 = 5;
const BUFFER: usize = 32 << 10;

fn dump(kind: [u8; 2], sockets: &mut Vec<Socket>) -> io::Result<()> {
    let mut socket = netlink(libc::NETLINK_SOCK_DIAG)?;
    socket.write_all(&request(kind))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = socket.read(&mut buffer)?;
        if !read_dump(&buffer[..len], sockets)? || sockets.len() >= MAX_SOCKETS {
            return Ok(());
        }
    }
}

/// All sockets of a family and protocol with port 53 at the other end.
fn request([family, protocol]: [u8; 2]) -> Vec<u8> {
    let attribute = 4 + size_of_val(&ONLY_PORT_53);
    let mut request = Vec::with_capacity(NLMSG_HEADER + REQUEST + attribute);
    request.extend_from_slice(&((NLMSG_HEADER + REQUEST + attribute) as u32).to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    request.extend_from_slice(&[family, protocol, 0, 0]);
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    request.resize(NLMSG_HEADER + REQUEST, 0);
    request.extend_from_slice(&(attribute as u16).to_ne_bytes());
    request.extend_from_slice(&INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    for op in ONLY_PORT_53.as_flattened() {
        request.extend_from_slice(&op.to_ne_bytes());
    }
    request
}

/// Reads the messages of one buffer; false after the last one.
fn read_dump(mut buffer: &[u8], sockets: &mut Vec<Socket>) -> io::Result<bool> {
    while let Some(len) = u32_at(buffer, 0) {
        let len = len as usize;
        if len < NLMSG_HEADER || len > buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "sock_diag message with a wrong length"));
        }
        let body = &buffer[NLMSG_HEADER..len];
        let kind = u16::from_ne_bytes([buffer[4], buffer[5]]);
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => {
                let code = u32_at(body, 0).unwrap_or(0).cast_signed();
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            _ if kind == SOCK_DIAG_BY_FAMILY => sockets.extend(socket(body)),
            _ => {}
        }
        buffer = &buffer[len.next_multiple_of(4).min(buffer.len())..];
    }
    Ok(true)
}

/// Inode 0: held by no process (closing, or made by the kernel).
fn socket(body: &[u8]) -> Option<Socket> {
    if body.len() < MESSAGE || body.get(6..8) != Some(&53u16.to_be_bytes()) {
        return None;
    }
    let cookie = u64::from(u32_at(body, 44)?) | u64::from(u32_at(body, 48)?) << 32;
    let inode = u64::from(u32_at(body, 68)?);
    (inode != 0).then_some(Socket { cookie, inode })
}

/// Processes that hold each of these sockets.
fn holders(pids: &[u32], wanted: &BTreeSet<u64>, deadline: Instant) -> BTreeMap<u64, Vec<u32>> {
    let mut holders: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    if wanted.is_empty() {
        return holders;
    }
    for pid in pids {
        if clock::monotonic() > deadline {
            // Another holder may be among the rest: nothing that was found is sure.
            return BTreeMap::new();
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let inode = fs::read_link(entry.path()).ok().and_then(|target| socket_inode(target.to_str()?));
            if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                let pids = holders.entry(inode).or_default();
                // Two are as good as all.
                if pids.len() < 2 && !pids.contains(pid) {
                    pids.push(*pid);
                }
            }
        }
    }
    holders
}

/// `socket:[12345]`.
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A process as the kernel side would write it; its start time in steps of a clock tick, which is what /proc has.
fn owner(pid: u32, cookie: u64) -> Option<Owner> {
    let dir = format!("/proc/{pid}");
    let stat = fs::read(format!("{dir}/stat")).ok()?;
    let comm = fs::read(format!("{dir}/comm")).ok()?;
    let comm = comm.trim_ascii_end();
    let mut owner = Owner::new_zeroed();
    owner.start_boot_ns = process::start_ticks(&stat)? * process::TICK_NS;
    owner.uid = fs::metadata(&dir).ok()?.uid();
    (owner.tgid, owner.tid, owner.cookie) = (pid, pid, cookie);
    let len = comm.len().min(owner.comm.len());
    owner.comm[..len].copy_from_slice(&comm[..len]);
    (owner.source, owner.grade) = (owner_source::SNAPSHOT, grade::SNAPSHOT);
    Some(owner)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_connected_socket_is_found_with_its_process() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.1:53").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.connect("127.0.0.1:54").unwrap();
        let (inode, beside) = (inode(&socket), inode(&other));
        let found = match in_namespace(Path::new("/proc/thread-self/ns/net")) {
            Ok(found) => found,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        assert!(!found.iter().any(|socket| socket.inode == beside), "port 54");
        let ours = found.into_iter().find(|socket| socket.inode == inode).expect("our socket is listed");
        assert_eq!(ours.cookie, cookie(&socket));
        let pid = std::process::id();
        let far = clock::monotonic() + Duration::from_mins(1);
        let held = holders(&[pid], &BTreeSet::from([inode]), far);
        assert_eq!(held.get(&inode), Some(&vec![pid]));
        let owner = owner(pid, ours.cookie).unwrap();
        assert_eq!((owner.tgid, owner.grade, owner.cookie), (pid, grade::SNAPSHOT, ours.cookie));
        assert!(owner.start_boot_ns > 0 && owner.comm[0] != 0);
        let late =
            holders(&[pid], &BTreeSet::from([inode]), clock::monotonic().checked_sub(MAX_TIME).unwrap());
        assert!(late.is_empty(), "half a look is no look");
    }

    fn inode(socket: &UdpSocket) -> u64 {
        let target = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        socket_inode(target.to_str().unwrap()).unwrap()
    }

    fn cookie(socket: &UdpSocket) -> u64 {
        let mut cookie = 0u64;
        let mut len = size_of::<u64>() as libc::socklen_t;
        // SAFETY: both pointers are to locals of the sizes given.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut len,
            )
        };
        assert_eq!(done, 0);
        cookie
    }

    #[test]
    fn damage_is_an_error_and_an_end_is_an_end() {
        let mut message = vec![0; NLMSG_HEADER + MESSAGE];
        let len = message.len() as u32;
        message[..4].copy_from_slice(&len.to_ne_bytes());
        message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message[NLMSG_HEADER + 6..NLMSG_HEADER + 8].copy_from_slice(&53u16.to_be_bytes());
        message[NLMSG_HEADER + 44] = 7;
        message[NLMSG_HEADER + 48] = 1;
        message[NLMSG_HEADER + 68] = 9;
        let mut sockets = Vec::new();
        assert!(read_dump(&message, &mut sockets).unwrap());
        assert_eq!(sockets, [Socket { cookie: 7 | 1 << 32, inode: 9 }]);
        message[NLMSG_HEADER + 68] = 0;
        assert!(read_dump(&message, &mut sockets).unwrap() && sockets.len() == 1, "nobody holds it");
        assert!(read_dump(&message[..message.len() - 1], &mut sockets).is_err());
        message[4..6].copy_from_slice(&(libc::NLMSG_DONE as u16).to_ne_bytes());
        assert!(!read_dump(&message, &mut sockets).unwrap());
        for (text, inode) in
            [("socket:[12]", Some(12)), ("socket:12", None), ("pipe:[12]", None), ("socket:[x]", None)]
        {
            assert_eq!(socket_inode(text), inode);
        }
    }
}
