//! Whether this process may load and attach, and which capability is missing if it may not.
#![allow(unsafe_code)] // one setrlimit() call

use std::{fs, io};

use aya::maps::MapType;
use aya::sys::is_map_supported;

use crate::exit::{Code, Error};

/// Whether this process may use bpf() at all; the error carries 77, or 69 where there is nothing to be permitted.
/// Asked first: every other probe would fail alike.
pub fn permitted() -> Result<(), Error> {
    raise_memlock_limit();
    let outcome = is_map_supported(MapType::Array);
    let refused = |error: &io::Error| error.raw_os_error() == Some(libc::EPERM);
    if outcome.as_ref().map_or_else(|error| refused(&error.io_error), |_| true) {
        check_capabilities()?;
    }
    outcome.map(drop).map_err(|error| refusal(&error.io_error))
}

/// To make namespaces and to mount in them.
pub const NAMESPACES: (u32, &str, &str) = (CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "to make namespaces");

/// As `permitted`, with other capabilities that are needed too.
pub fn permitted_with(also: &[(u32, &str, &str)]) -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = effective_capabilities(&status).unwrap_or(u64::MAX);
    let mut missing = missing_capabilities(effective);
    let lacks = also.iter().filter(|(bit, _, _)| effective >> bit & 1 == 0);
    missing.extend(lacks.map(|(_, name, why)| format!("{name} ({why})")));
    if missing.is_empty() { permitted() } else { Err(not_permitted(&missing)) }
}

/// What a failed bpf() says, every capability being there.
fn refusal(error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => Error::new(
            Code::NotPermitted,
            "bpf() is refused although every capability is there: this is a user namespace, or a seccomp filter or \
             lockdown mode forbids it; run on the host or let the container use bpf()",
        ),
        Some(libc::ENOSYS) => Error::new(
            Code::NoHook,
            "this kernel has no bpf() (CONFIG_BPF_SYSCALL), or a seccomp filter hides it",
        ),
        _ => Error::new(Code::NoHook, format!("bpf() fails: {error}")),
    }
}

/// Capabilities needed (5.8 and later; CAP_SYS_ADMIN stands for the first two).
pub(super) const NEEDED: [(u32, &str, &str); 3] = [
    (39, "CAP_BPF", "to load programs"),
    (38, "CAP_PERFMON", "to read process fields"),
    (12, "CAP_NET_ADMIN", "to attach to interfaces and cgroups"),
];
const CAP_SYS_ADMIN: u32 = 21;

fn check_capabilities() -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(effective_capabilities(&status).unwrap_or(u64::MAX));
    if missing.is_empty() {
        return Ok(());
    }
    Err(not_permitted(&missing))
}

fn not_permitted(missing: &[String]) -> Error {
    let message = format!("not permitted: missing {}; run as root or grant them", missing.join(", "));
    Error::new(Code::NotPermitted, message)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

fn missing_capabilities(effective: u64) -> Vec<String> {
    let has = |bit: u32| effective >> bit & 1 == 1;
    let granted = |bit: u32| has(bit) || matches!(bit, 38 | 39) && has(CAP_SYS_ADMIN);
    NEEDED
        .iter()
        .filter(|(bit, _, _)| !granted(*bit))
        .map(|(_, name, why)| format!("{name} ({why})"))
        .collect()
}

/// Before 5.11 maps are charged to RLIMIT_MEMLOCK, whose default of 64 KiB holds none of ours.
pub fn raise_memlock_limit() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is a valid rlimit. Failing is no error: newer kernels do not need it, older ones refuse the map.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_bpf_is_no_matter_of_permission() {
        let code = |errno| refusal(&io::Error::from_raw_os_error(errno)).code;
        assert_eq!(code(libc::EPERM), Code::NotPermitted);
        assert_eq!(code(libc::ENOSYS), Code::NoHook);
        assert_eq!(code(libc::EINVAL), Code::NoHook);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let all = 1 << 39 | 1 << 38 | 1 << 12;
        assert!(missing_capabilities(all).is_empty());
        assert!(missing_capabilities(1 << CAP_SYS_ADMIN | 1 << 12).is_empty());
        assert_eq!(
            missing_capabilities(all & !(1 << 12)),
            ["CAP_NET_ADMIN (to attach to interfaces and cgroups)"]
        );
        assert_eq!(missing_capabilities(0).len(), 3);
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
    }
}
