//! What is attached to a host's cgroup and interface, asked of the kernel: after every end of the sensor it must be
//! nothing.
#![allow(unsafe_code)] // one syscall: aya asks only for tcx, and only for programs of its own kinds

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::host::{Host, LINK};

/// BPF_PROG_QUERY of enum bpf_cmd.
const PROG_QUERY: libc::c_long = 16;
/// From enum bpf_attach_type (include/uapi/linux/bpf.h): name, number, whether the target is the cgroup.
const POINTS: [(&str, u32, bool); 8] = [
    ("cgroup_ingress", 0, true),
    ("cgroup_egress", 1, true),
    ("cgroup_connect4", 10, true),
    ("cgroup_connect6", 11, true),
    ("cgroup_sendmsg4", 14, true),
    ("cgroup_sendmsg6", 15, true),
    ("tcx_ingress", 46, false),
    ("tcx_egress", 47, false),
];

/// `union bpf_attr`, the part BPF_PROG_QUERY uses.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Attachments to `cgroup` and to `interface` of the calling process's network namespace, as `name count` for each
/// point where there is any. XDP and clsact are not among them: `ip` and `tc` show those.
pub fn here(cgroup: &Path, interface: &str) -> Result<Vec<String>> {
    let dir = File::open(cgroup).with_context(|| cgroup.display().to_string())?;
    let ifindex = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))
        .with_context(|| interface.to_owned())?;
    let ifindex: u32 = ifindex.trim().parse()?;
    let mut found = Vec::new();
    for (name, attach_type, on_cgroup) in POINTS {
        let target = if on_cgroup { dir.as_raw_fd().cast_unsigned() } else { ifindex };
        let count = query(target, attach_type).with_context(|| format!("query {name}"))?;
        if count > 0 {
            found.push(format!("{name} {count}"));
        }
    }
    Ok(found)
}

fn query(target: u32, attach_type: u32) -> io::Result<u32> {
    let mut attr = Query { target, attach_type, ..Query::default() };
    // SAFETY: `attr` outlives the call and its size is given; with no id array the kernel writes nothing else.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attr, size_of::<Query>()) };
    if result == 0 {
        return Ok(attr.prog_count);
    }
    match io::Error::last_os_error() {
        // No program was ever attached to this side of the interface.
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(0),
        error => Err(error),
    }
}

/// Everything attached to a host's cgroup and to its link; empty when nothing is.
pub fn to(host: &Host, traffic: &str) -> Vec<String> {
    let mut found: Vec<String> =
        host.run(&format!("{traffic} attached {LINK}")).lines().map(str::to_owned).collect();
    let link = host.ip(&format!("-d -o link show {LINK}"));
    if link.contains("prog/xdp") || link.contains("xdp") {
        found.push("xdp 1".to_owned());
    }
    for side in ["ingress", "egress"] {
        let filters = host.run(&format!("tc filter show dev {LINK} {side}"));
        if filters.contains("bpf") {
            found.push(format!(
                "clsact_{side} {}",
                filters.lines().filter(|line| line.contains("bpf")).count()
            ));
        }
    }
    found
}
