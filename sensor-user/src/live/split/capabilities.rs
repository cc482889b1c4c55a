//! Capabilities: which are kept, and giving up the others.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use aya::maps::{MapData, MapError};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::live::features::os_error;

/// A capability, its name, and what the attaching process does with it.
pub(in crate::live) type Row = (CapabilitySet, &'static str, &'static str);

/// What the attaching process keeps, of what it was given.
pub(in crate::live) const OF_ATTACHER: [Row; 6] = [
    (CapabilitySet::BPF, "CAP_BPF", "programs for interfaces that come"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "hooks on them"),
    (CapabilitySet::PERFMON, "CAP_PERFMON", "programs that read process fields"),
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "cgroups by their ids"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE", "executables and sockets of others' processes"),
    // BPF_ENABLE_STATS asks for it; started from the unit it is not there, and what programs cost is not known.
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "its programs' run time, where it is started with it"),
];

/// What the parsing process keeps where the kernel does not let it use its maps without.
pub(super) const OF_PARSER: [Row; 1] = [(CapabilitySet::BPF, "CAP_BPF", "to use maps (before Linux 5.19)")];

/// Gives up all but these, for good; returns the names of those that are left.
pub(super) fn keep(rows: &[Row]) -> io::Result<Vec<String>> {
    let kept = rows.iter().fold(CapabilitySet::empty(), |kept, row| kept | row.0);
    let has = capabilities(None)?;
    // Where there are none (before 4.3) there is nothing to clear.
    let _ = clear_ambient_capability_set();
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..=last() {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if !kept.contains(one) {
                remove_capability_from_bounding_set(one)?;
            }
        }
    }
    let left = has.permitted & kept;
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    set_no_new_privs(true)?;
    Ok(rows.iter().filter(|row| left.contains(row.0)).map(|row| row.1.to_owned()).collect())
}

/// The bounding set of this thread, as /proc has it.
pub(super) fn bounding() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let hex = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or("0");
    u64::from_str_radix(hex.trim(), 16).unwrap_or(0)
}

/// Whether maps can be used without any capability by who has a descriptor (5.19, c8644cd0efe7; or sysctl
/// kernel.unprivileged_bpf_disabled=0). The calling thread is without for a moment.
pub(super) fn maps_are_usable_without() -> io::Result<bool> {
    let before = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..before })?;
    // What comes first, the right or the descriptor: of this one it can tell nothing, whoever asks.
    let no_map = fs::File::open("/dev/null").map(OwnedFd::from);
    let asked = no_map.map(MapData::from_fd);
    set_capabilities(None, before)?;
    match asked? {
        Err(error @ MapError::SyscallError(_)) => Ok(os_error(&error) != Some(libc::EPERM)),
        Err(error) => Err(io::Error::other(error)),
        Ok(_) => Err(io::Error::other("/dev/null is a map")),
    }
}

fn last() -> u32 {
    let text = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    text.trim().parse().unwrap_or(40)
}
