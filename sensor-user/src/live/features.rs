//! What this kernel lets the sensor do: tried, not derived from its version wherever it can be tried.
#![allow(unsafe_code)] // bpf() calls, for what aya has no probe or no function

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya::maps::MapType;
use aya::programs::{ProgramError, ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};
use sensor_ebpf::abi::KernelOffsets;

use super::source::{Offer, Source};
use super::{btf, cgroup, permission};

/// Something a kernel has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    RingBuffer,
    LruHash,
    Btf,
    Xdp,
    XdpFrags,
    Tc,
    Tcx,
    CgroupSkb,
    CurrentTask,
    RawTracepoint,
    Kprobe,
    Fentry,
    SockAddr,
}

/// A row of the compatibility table: since when upstream has it, and what the sensor does with it.
#[derive(Debug)]
pub struct Requirement {
    pub feature: Feature,
    pub name: &'static str,
    /// First upstream release; distributions carry some of them earlier, so this is for the report only.
    pub since: &'static str,
    pub use_for: &'static str,
    pub need: Need,
    probe: fn() -> Result<bool, String>,
}

/// What hangs on a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it the sensor cannot run at all.
    Required,
    /// Without it something is not seen, or seen in another way.
    Useful,
}

/// Every feature, in the order `doctor` prints.
pub const TABLE: &[Requirement] = &[
    Requirement {
        feature: Feature::RingBuffer,
        name: "ring buffer map",
        since: "5.8", // 457f44363a88
        use_for: "records to user space",
        need: Need::Required,
        probe: || map(MapType::RingBuf),
    },
    Requirement {
        feature: Feature::LruHash,
        name: "LRU hash map",
        since: "4.10", // 29ba732acbee
        use_for: "flow counters",
        need: Need::Required,
        probe: || map(MapType::LruHash),
    },
    Requirement {
        feature: Feature::Btf,
        name: "kernel BTF",
        since: "5.4", // 341dfcf8d78e; CONFIG_DEBUG_INFO_BTF
        use_for: "offsets of process fields (who asked, exec events)",
        need: Need::Useful,
        probe: || Ok(Path::new(btf::VMLINUX).exists()),
    },
    Requirement {
        feature: Feature::Xdp,
        name: "XDP",
        since: "4.8", // 6a773a15a1e8
        use_for: "wire view at line rate",
        need: Need::Useful,
        probe: || program(ProgramType::Xdp),
    },
    Requirement {
        feature: Feature::XdpFrags,
        name: "XDP multi-buffer (frags)",
        since: "5.18", // f45d5b6ce2e8
        use_for: "XDP on interfaces with a large MTU or LRO",
        need: Need::Useful,
        probe: xdp_frags,
    },
    Requirement {
        feature: Feature::Tc,
        name: "tc classifier",
        since: "4.1", // e2e9b6541dd4
        use_for: "wire view where XDP is not used; gateways' answers",
        need: Need::Useful,
        probe: || program(ProgramType::SchedClassifier),
    },
    Requirement {
        feature: Feature::Tcx,
        name: "tcx links",
        since: "6.6", // e420bed02507
        use_for: "tc programs that go with the process; before that clsact filters",
        need: Need::Useful,
        probe: tcx,
    },
    Requirement {
        feature: Feature::CgroupSkb,
        name: "cgroup_skb",
        since: "4.10", // 0e33661de493
        use_for: "host view: every socket's queries and answers",
        need: Need::Useful,
        probe: || program(ProgramType::CgroupSkb),
    },
    Requirement {
        feature: Feature::CurrentTask,
        name: "current task in cgroup_skb",
        since: "5.8", // f470378c7562, with CAP_PERFMON; 6.10 is only needed for bpf_get_current_pid_tgid
        use_for: "who asked",
        need: Need::Useful,
        probe: current_task,
    },
    Requirement {
        feature: Feature::RawTracepoint,
        name: "raw tracepoints",
        since: "4.17", // c4f6699dfcb8
        use_for: "path and arguments at exec",
        need: Need::Useful,
        probe: || program(ProgramType::RawTracePoint),
    },
    Requirement {
        feature: Feature::Kprobe,
        name: "kprobes",
        since: "4.1", // 2541517c32be
        use_for: "who asked: the send path",
        need: Need::Useful,
        probe: kprobe,
    },
    Requirement {
        feature: Feature::Fentry,
        name: "fentry",
        since: "5.5", // fec56f5890d9
        use_for: "who asked: the send path, cheaper",
        need: Need::Useful,
        probe: fentry,
    },
    Requirement {
        feature: Feature::SockAddr,
        name: "cgroup connect and sendmsg",
        since: "4.18", // 1cedee13d25a
        use_for: "who asked: calls that name port 53",
        need: Need::Useful,
        probe: || program(ProgramType::CgroupSockAddr),
    },
];

impl Feature {
    /// Every feature of the table.
    pub const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::RingBuffer; TABLE.len()];
        let mut index = 0;
        while index < TABLE.len() {
            all[index] = TABLE[index].feature;
            index += 1;
        }
        all
    };
}

/// What was found out.
#[derive(Debug)]
pub struct Features {
    /// `uname -r`.
    pub release: String,
    /// Each row of `TABLE` with its outcome: there, not there, or why it could not be tried.
    pub probes: Vec<(&'static Requirement, Result<bool, String>)>,
    pub offsets: Result<KernelOffsets, String>,
    /// Whether the verifier lets a program load the current task's fields at these offsets, which is much cheaper than to
    /// have them copied.
    pub task_btf: bool,
    /// Why exec, fork and exit cannot be read although the fields of `offsets` are known.
    pub process_fields: Result<(), String>,
    /// The cgroup2 hierarchy's root, or why there is none.
    pub cgroup: Result<PathBuf, String>,
}

impl Features {
    /// Tries everything in the table. Loads a few two-instruction programs and attaches none.
    pub fn probe() -> Self {
        permission::raise_memlock_limit();
        let (offsets, process_fields) = match btf::kernel_offsets() {
            Ok((offsets, process)) => (Ok(offsets), process.map_err(|error| error.to_string())),
            Err(error) => (Err(error.to_string()), Ok(())),
        };
        Self {
            release: kernel_release(),
            probes: TABLE.iter().map(|row| (row, (row.probe)())).collect(),
            task_btf: offsets.as_ref().is_ok_and(task_btf),
            offsets,
            process_fields,
            cgroup: cgroup::root(),
        }
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.probes.iter().any(|(row, outcome)| row.feature == feature && *outcome == Ok(true))
    }

    pub fn present(&self) -> Vec<Feature> {
        Feature::ALL.into_iter().filter(|feature| self.has(*feature)).collect()
    }

    /// Names of what the sensor cannot run without and this kernel has not.
    pub fn missing(&self) -> Vec<String> {
        self.probes
            .iter()
            .filter(|(row, outcome)| row.need == Need::Required && *outcome != Ok(true))
            .map(|(row, _)| format!("{} (Linux {} and later)", row.name, row.since))
            .collect()
    }

    /// Which owner sources can be used here; every one reads process fields.
    pub fn owners(&self, forced: Option<Source>) -> Offer {
        let usable = Source::ALL.map(|source| {
            let feature = match source {
                Source::CurrentTask => Feature::CurrentTask,
                Source::Fentry => Feature::Fentry,
                Source::Kprobe => Feature::Kprobe,
                Source::SockAddr => Feature::SockAddr,
            };
            for needed in [feature, Feature::CurrentTask] {
                if !self.has(needed) {
                    return Err(self.lacks(needed));
                }
            }
            self.offsets.as_ref().map(|_| ()).map_err(Clone::clone)
        });
        // A line for each queue that a program of this network namespace listens to.
        let queues = fs::read("/proc/net/netfilter/nfnetlink_queue");
        Offer { forced, nfqueue: queues.is_ok_and(|text| !text.is_empty()), usable }
    }

    /// That a feature is not there, or why it could not be tried.
    fn lacks(&self, feature: Feature) -> String {
        let found = self.probes.iter().find(|(row, _)| row.feature == feature);
        match found {
            Some((row, Err(why))) => format!("{} could not be tried: {why}", row.name),
            Some((row, _)) => format!(
                "Linux {} has no {} ({} and later, where built in)",
                self.release, row.name, row.since
            ),
            None => "not tried".into(),
        }
    }

    /// Why exec events cannot be read, if they cannot.
    pub fn exec(&self) -> Result<(), String> {
        self.offsets.as_ref().map_err(Clone::clone)?;
        self.process_fields.clone()
    }
}

pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn map(kind: MapType) -> Result<bool, String> {
    is_map_supported(kind).map_err(|error| error.io_error.to_string())
}

fn program(kind: ProgramType) -> Result<bool, String> {
    is_program_supported(kind).map_err(|error| chain(&error))
}

/// Without the perf event of that name there is nothing to attach to.
fn kprobe() -> Result<bool, String> {
    Ok(Path::new("/sys/bus/event_source/devices/kprobe/type").exists() && program(ProgramType::KProbe)?)
}

/// The helpers that the host view's program calls for the owner, in the program type that calls them.
fn current_task() -> Result<bool, String> {
    let helpers = [BpfHelper::BPF_FUNC_get_current_task, BpfHelper::BPF_FUNC_probe_read_kernel];
    for helper in helpers {
        if !is_helper_supported(ProgramType::CgroupSkb, helper).map_err(|error| chain(&error))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Kernels without trampolines refuse with EPERM what they refuse others for want of a capability.
fn fentry() -> Result<bool, String> {
    match is_program_supported(ProgramType::Tracing) {
        Err(error) if os_error(&error) == Some(libc::EPERM) && permission::permitted().is_ok() => Ok(false),
        other => other.map_err(|error| chain(&error)),
    }
}

/// Asks what is at the loopback interface's tcx hook: older kernels do not know the question (EINVAL).
fn tcx() -> Result<bool, String> {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Ok(_) => Ok(true),
        Err(error) => match os_error(&error) {
            Some(libc::EINVAL) => Ok(false),
            _ => Err(chain(&error)),
        },
    }
}

/// Error with its causes: aya's own text leaves the errno out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The errno at the bottom of an error, if there is one.
pub fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut current = Some(error);
    while let Some(error) = current {
        // aya passes this one through: it is no cause of the error around it.
        let inside = match error.downcast_ref() {
            Some(ProgramError::IOError(inside)) => Some(inside),
            _ => error.downcast_ref::<io::Error>(),
        };
        if let Some(code) = inside.and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        current = error.source();
    }
    None
}

/// `struct bpf_attr` as BPF_PROG_LOAD reads it, up to `expected_attach_type` (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Loads an XDP program that says it can take frames in several buffers.
fn xdp_frags() -> Result<bool, String> {
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const BPF_XDP: u32 = 37;
    const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
    // r0 = XDP_PASS; exit
    loads((BPF_PROG_TYPE_XDP, BPF_XDP), &[0x0000_0002_0000_00b7, EXIT], BPF_F_XDP_HAS_FRAGS)
}

/// Loads a cgroup_skb program that reads of the current task what the kernel side does (`owner::loaded`): the helper came
/// to this type of program later than to others, and each field has to be one for the verifier too.
pub fn task_btf(offsets: &KernelOffsets) -> bool {
    const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
    const BPF_CGROUP_INET_EGRESS: u32 = 1;
    const GET_CURRENT_TASK_BTF: u64 = 158;
    const WORD: u64 = 0x61;
    const DOUBLE: u64 = 0x79;
    let instruction =
        |code: u64, to: u64, from: u64, constant: u64| code | to << 8 | from << 12 | constant << 32;
    let mut program = vec![instruction(0x85, 0, 0, GET_CURRENT_TASK_BTF), instruction(0xbf, 6, 0, 0)];
    // r1 = base + offset; to = *(size *)r1
    let mut load = |size: u64, to: u64, base: u64, offset: u32| {
        program.extend([
            instruction(0xbf, 1, base, 0),
            instruction(0x07, 1, 0, offset.into()),
            instruction(size, to, 1, 0),
        ]);
    };
    for offset in [offsets.task_flags, offsets.task_pid, offsets.task_tgid] {
        load(WORD, 0, 6, offset);
    }
    load(DOUBLE, 7, 6, offsets.task_group_leader);
    for offset in [offsets.task_start_boottime, offsets.task_comm, offsets.task_comm + 8] {
        load(DOUBLE, 0, 7, offset);
    }
    load(DOUBLE, 7, 6, offsets.task_cred);
    load(WORD, 0, 7, offsets.cred_uid);
    program.extend([instruction(0xb7, 0, 0, 1), EXIT]);
    loads((BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS), &program, 0) == Ok(true)
}

const EXIT: u64 = 0x95;

/// Whether the verifier takes these instructions as a program of that type and attach type.
fn loads(kind: (u32, u32), instructions: &[u64], prog_flags: u32) -> Result<bool, String> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    let attr = ProgLoad {
        prog_type: kind.0,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_flags,
        expected_attach_type: kind.1,
        ..ProgLoad::default()
    };
    // SAFETY: `attr` and what it points to (instructions, license) live until the call returns, and its size is given.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<ProgLoad>() as libc::c_uint)
    };
    if fd >= 0 {
        // SAFETY: the kernel just returned this descriptor; nothing else knows it.
        unsafe { libc::close(fd as libc::c_int) };
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EINVAL) { Ok(false) } else { Err(error.to_string()) }
}

/// The link that is pinned at a path.
pub fn pinned_link(path: &Path) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: libc::c_long = 7;
    #[repr(C)]
    struct Get {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let attr = Get { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `attr` and the path it points to live until the call returns, and its size is given.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attr, size_of::<Get>() as libc::c_uint)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor; nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Puts a program into a link in place of the one that is there: no packet passes between them. cgroup links from 5.7 on,
/// XDP from 5.9, tcx from 6.6.
pub fn update_link(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
    const BPF_LINK_UPDATE: libc::c_long = 29;
    #[repr(C)]
    struct Update {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let attr = Update {
        link_fd: link.as_raw_fd().cast_unsigned(),
        new_prog_fd: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: `attr` lives until the call returns, and its size is given.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_UPDATE, &raw const attr, size_of::<Update>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A test that cannot run here says so, and fails where the kernel side must be tested.
#[cfg(test)]
pub fn skip_or_fail(why: &str) {
    let required = std::env::var_os("SENSOR_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    assert!(!required, "SENSOR_REQUIRE_KERNEL=1, but: {why}");
    eprintln!("skipped: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_answer_where_bpf_is_permitted() {
        if let Err(why) = permission::permitted() {
            return skip_or_fail(&why.message);
        }
        let features = Features::probe();
        assert!(features.missing().is_empty(), "{features:#?}");
        assert!(features.has(Feature::Xdp) && features.has(Feature::Tc));
        let broken: Vec<_> = features.probes.iter().filter(|(_, outcome)| outcome.is_err()).collect();
        assert!(broken.is_empty(), "{broken:#?}");
        assert_eq!(
            loads((6, 37), &[EXIT], 0),
            Err("Permission denied (os error 13)".into()),
            "r0 is not set"
        );
        let offsets = features.offsets.unwrap();
        if features.task_btf {
            let wrong = KernelOffsets { task_cred: offsets.task_pid, ..offsets };
            assert!(!task_btf(&wrong), "a number is no pointer");
        }
    }
}
