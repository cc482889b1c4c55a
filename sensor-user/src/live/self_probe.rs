//! Whether an owner source tells the truth here, tried at start before anything is seen: kernel structs are read at
//! offsets that were found or assumed, and one that is wrong would name the wrong process.
//!
//! Nothing leaves the machine and no record comes of it: one program is run by hand, and sends are made that the kernel
//! refuses after it has entered the function to be probed (MSG_OOB, RFC 768 has no urgent data).
#![allow(unsafe_code)] // send with a flag that std does not know

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError};
use aya::programs::{CgroupSkb, TestRun as _, TestRunOptions};
use sensor_ebpf::abi::{Owner, OwnerEntry, SELF_PROBE, owner_source};
use zerocopy::FromBytes as _;

use super::features::chain;
use super::process;
use super::source::Source;

/// `OWNERS`, as bytes (see `maps::Maps`).
type Owners<'a> = HashMap<&'a mut MapData, u64, [u8; size_of::<OwnerEntry>()]>;

/// An Ethernet and an IPv4 header, which is what a program can be run on.
const PACKET: [u8; 64] = {
    let mut packet = [0; 64];
    (packet[12], packet[14], packet[17], packet[23]) = (8, 0x45, 50, 17);
    packet
};

/// Entries looked through for our own; other processes may send meanwhile.
const MAX_ENTRIES: usize = 1 << 16;

/// Runs the probe for `source`, whose hooks on the send path are attached. The error says what is wrong.
pub fn check(bpf: &mut Ebpf, source: Source) -> Result<(), String> {
    let own = own_task(bpf)?;
    match source {
        Source::CurrentTask | Source::SockAddr => Ok(()),
        Source::Fentry | Source::Kprobe => own_sends(bpf, &own),
    }
}

/// The current task as the kernel side reads it, checked against what /proc says.
fn own_task(bpf: &mut Ebpf) -> Result<Owner, String> {
    let text = |error: &dyn std::error::Error| chain(error);
    let program: &mut CgroupSkb = bpf
        .program_mut("self_probe")
        .ok_or("the kernel side has no program `self_probe`")?
        .try_into()
        .map_err(|error| text(&error))?;
    program.load().map_err(|error| text(&error))?;
    let run = TestRunOptions { data_in: Some(&PACKET), ..TestRunOptions::default() };
    // On another thread than the first, or the way from a thread to its process would not be tried.
    let ran = thread::scope(|scope| scope.spawn(|| program.test_run(run)).join());
    let _ = program.unload();
    ran.map_err(|_| "the thread that ran it ended")?.map_err(|error| text(&error))?;
    let mut owners = owners(bpf)?;
    let entry = owners.get(&SELF_PROBE, 0).map_err(|_| "the kernel did not tell the current task")?;
    let _ = owners.remove(&SELF_PROBE);
    let owner = OwnerEntry::read_from_bytes(&entry).map_err(|_| "an entry of another size")?.owner;
    verify(&owner, &Truth::of_this_process()?)?;
    Ok(owner)
}

/// What this process knows of itself. Numbers are as seen from its own namespaces.
#[derive(Debug)]
struct Truth {
    start_ticks: u64,
    /// `None` where this process's pid namespace is not the initial one.
    tgid: Option<u32>,
    uid: Option<u32>,
    comm: Vec<u8>,
    netns: u64,
}

impl Truth {
    fn of_this_process() -> Result<Self, String> {
        let stat = std::fs::read("/proc/self/stat").map_err(|error| format!("/proc/self/stat: {error}"))?;
        let inode =
            |name: &str| std::fs::metadata(format!("/proc/thread-self/ns/{name}")).map(|meta| meta.ino());
        // linux/proc_ns.h: PROC_PID_INIT_INO, PROC_USER_INIT_INO.
        let initial = |name, number| inode(name).is_ok_and(|found| found == number);
        let comm = std::fs::read("/proc/self/comm").map_err(|error| format!("/proc/self/comm: {error}"))?;
        let uid =
            std::fs::metadata("/proc/self").map(|meta| meta.uid()).map_err(|error| error.to_string())?;
        Ok(Self {
            start_ticks: process::start_ticks(&stat).ok_or("/proc/self/stat cannot be read")?,
            tgid: initial("pid", 0xEFFF_FFFC).then(std::process::id),
            uid: initial("user", 0xEFFF_FFFD).then_some(uid),
            comm: comm.trim_ascii_end().to_vec(),
            netns: inode("net").map_err(|error| format!("/proc/thread-self/ns/net: {error}"))?,
        })
    }
}

/// Whether the kernel side read the process that `truth` describes.
fn verify(owner: &Owner, truth: &Truth) -> Result<(), String> {
    let wrong =
        |what: &str| Err(format!("reading this kernel's structs gave a wrong {what} of our own process"));
    if owner.start_boot_ns / process::TICK_NS != truth.start_ticks {
        return wrong("start time");
    }
    if truth.tgid.is_some_and(|tgid| tgid != owner.tgid) {
        return wrong("process id");
    }
    if truth.uid.is_some_and(|uid| uid != owner.uid) {
        return wrong("user id");
    }
    let comm = owner.comm.split(|&byte| byte == 0).next().unwrap_or_default();
    if comm != truth.comm {
        return wrong("name");
    }
    if u64::from(owner.netns) != truth.netns {
        return wrong("network namespace");
    }
    Ok(())
}

/// Sends to port 53 by both ways of naming the port must be noted as ours, one to another port must not.
fn own_sends(bpf: &mut Ebpf, own: &Owner) -> Result<(), String> {
    for (port, connected, noted) in
        [(54, false, false), (54, true, false), (53, false, true), (53, true, true)]
    {
        refused_send(port, connected).map_err(|error| format!("sending to ourselves: {error}"))?;
        let found = take_own(bpf, own)?;
        if found != noted {
            let how = if connected { "a connected socket" } else { "an unconnected socket" };
            let what = if noted { "did not tell that" } else { "told, against what was asked, that" };
            return Err(format!("the hooks on the send path {what} {how} of ours sent to port {port}"));
        }
    }
    Ok(())
}

/// Enters `udp_sendmsg` and is refused there: the kernel knows no urgent data over UDP.
fn refused_send(port: u16, connected: bool) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    if connected {
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
    }
    let (name, len) = if connected { (std::ptr::null(), 0) } else { (&raw const name, size_of_val(&name)) };
    // SAFETY: one byte is sent, and `name` is null or a socket address of `len` bytes.
    let sent = unsafe {
        let byte = [0u8];
        libc::sendto(
            socket.as_raw_fd(),
            byte.as_ptr().cast(),
            1,
            libc::MSG_OOB,
            name.cast(),
            len as libc::socklen_t,
        )
    };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if sent < 0 => Ok(()),
        _ if sent < 0 => Err(error),
        _ => Err(io::Error::other("the kernel took urgent data over UDP")),
    }
}

/// Removes our own entries; whether there were any.
fn take_own(bpf: &mut Ebpf, own: &Owner) -> Result<bool, String> {
    let mut owners = owners(bpf)?;
    let is_own = |entry: &[u8]| {
        OwnerEntry::read_from_bytes(entry).is_ok_and(|entry| {
            let owner = entry.owner;
            (owner.tgid, owner.start_boot_ns, owner.comm) == (own.tgid, own.start_boot_ns, own.comm)
                && matches!(owner.source, owner_source::KPROBE | owner_source::FENTRY)
        })
    };
    let keys: Vec<u64> = owners
        .iter()
        .take(MAX_ENTRIES)
        .filter_map(Result::ok)
        .filter(|(_, entry)| is_own(entry))
        .map(|(key, _)| key)
        .collect();
    for key in &keys {
        match owners.remove(key) {
            Err(error) if !matches!(error, MapError::KeyNotFound) => return Err(chain(&error)),
            _ => {}
        }
    }
    Ok(!keys.is_empty())
}

fn owners(bpf: &mut Ebpf) -> Result<Owners<'_>, String> {
    let map = bpf.map_mut("OWNERS").ok_or("the kernel side has no map `OWNERS`")?;
    HashMap::try_from(map).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    #[test]
    fn what_is_not_this_process_is_refused() {
        let truth = Truth::of_this_process().unwrap();
        let mut owner = Owner::new_zeroed();
        owner.start_boot_ns = truth.start_ticks * process::TICK_NS + 5;
        owner.tgid = std::process::id();
        owner.uid = truth.uid.unwrap_or(0);
        owner.comm[..truth.comm.len()].copy_from_slice(&truth.comm);
        owner.netns = truth.netns as u32;
        let truth = Truth { tgid: Some(owner.tgid), uid: Some(owner.uid), ..truth };
        assert_eq!(verify(&owner, &truth), Ok(()));
        let changed = |change: fn(&mut Owner)| {
            let mut other = owner;
            change(&mut other);
            verify(&other, &truth).unwrap_err()
        };
        assert!(changed(|owner| owner.start_boot_ns += process::TICK_NS).contains("start time"));
        assert!(changed(|owner| owner.tgid += 1).contains("process id"));
        assert!(changed(|owner| owner.uid ^= 1).contains("user id"));
        assert!(changed(|owner| owner.comm[0] ^= 1).contains("wrong name"));
        assert!(changed(|owner| owner.netns ^= 1).contains("network namespace"));
    }

    #[test]
    fn the_kernel_refuses_urgent_data_over_udp() {
        refused_send(53, true).unwrap();
        refused_send(53, false).unwrap();
    }
}
