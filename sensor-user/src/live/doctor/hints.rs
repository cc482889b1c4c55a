//! What of this host costs sight, speed or safety, and what to type against it. One row for each; `doctor` prints those
//! that hold, with what they cost.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

use crate::config::{Config, Split};
use crate::exit::{Code, Error};
use crate::live::control;
use crate::live::features::Features;
use crate::live::split;

/// What was found on the host; a hint is a function of it.
#[derive(Debug, Default)]
pub struct Facts {
    /// Why nothing can be attached, if so.
    pub refused: Option<(Code, String)>,
    /// Why the host view has no place to be.
    pub cgroup: Option<String>,
    /// Why process fields cannot be found.
    pub offsets: Option<String>,
    /// `net.core.bpf_jit_enable`; absent where the kernel compiles always.
    pub jit: Option<u32>,
    /// Of kernel lockdown, the one in force.
    pub lockdown: Option<String>,
    /// Locked memory that this process may have, bytes; absent if unlimited or not asked for (5.11 and later).
    pub memlock: Option<u64>,
    /// What `/etc/nsswitch.conf` says of hosts.
    pub nsswitch: Option<String>,
    pub has_group: bool,
    /// The store's directory, and bytes free there where they are fewer than the store may take.
    pub store_room: Option<(PathBuf, u64)>,
    /// Which rights the parsing process keeps that it should not have, or would.
    pub rights: Vec<String>,
    /// Answer to `status` of a sensor that runs.
    pub status: Option<Value>,
}

/// One row.
#[derive(Debug)]
pub struct Row {
    /// Stays the same from release to release.
    pub id: &'static str,
    /// What it costs to leave it so.
    pub costs: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// What is so, where it is.
    when: fn(&Facts) -> Option<String>,
}

/// The gravest first.
pub const ROWS: &[Row] = &[
    Row {
        id: "not_permitted",
        costs: "everything: nothing can be attached",
        fix: "run it as root or from the unit, which grants what is needed; in a container add the capabilities that are \
              named, and let its seccomp profile use bpf()",
        when: |facts| refused(facts, Code::NotPermitted),
    },
    Row {
        id: "no_usable_hook",
        costs: "everything: nothing can be attached",
        fix: "boot a kernel from 5.8 on with CONFIG_BPF_SYSCALL, or read captures of this host with `earthdog replay`",
        when: |facts| refused(facts, Code::NoHook),
    },
    Row {
        id: "no_cgroup2",
        costs: "the host view: no query is seen at its sender, and what has no socket left has no owner",
        fix: "mount it: mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2; for good boot with \
              systemd.unified_cgroup_hierarchy=1",
        when: |facts| facts.cgroup.clone(),
    },
    Row {
        id: "no_process_fields",
        costs: "who asked: findings name an address, and no process",
        fix: "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (/sys/kernel/btf/vmlinux), as distributions build them",
        when: |facts| facts.offsets.clone(),
    },
    Row {
        id: "lockdown",
        costs: "who asked: programs may not read the kernel's memory",
        fix: "boot with lockdown=integrity, or live with the owner sources that `doctor` lists",
        when: |facts| {
            let mode = facts.lockdown.as_ref().filter(|mode| *mode == "confidentiality")?;
            Some(format!("kernel lockdown is in mode {mode}"))
        },
    },
    Row {
        id: "memlock",
        costs: "the kernel may refuse maps of the sizes that are configured",
        fix: "LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited` before the start",
        when: |facts| {
            let bytes = facts.memlock.filter(|bytes| *bytes < MEMLOCK)?;
            Some(format!(
                "locked memory is limited to {} KiB, and this kernel counts maps in it",
                bytes / 1024
            ))
        },
    },
    Row {
        id: "jit_off",
        costs: "several times the time for each packet",
        fix: "sysctl net.core.bpf_jit_enable=1, and a line in /etc/sysctl.d",
        when: |facts| {
            (facts.jit == Some(0))
                .then(|| "net.core.bpf_jit_enable is 0: the kernel interprets programs".into())
        },
    },
    Row {
        id: "nss_resolve",
        costs: "who asked: the resolver is named for what programs ask through it",
        fix: "take `resolve` out of the line `hosts:` in /etc/nsswitch.conf: programs then ask 127.0.0.53 by packets, which \
              are seen",
        when: |facts| {
            let hosts = facts.nsswitch.as_ref()?;
            let asks =
                hosts.split_whitespace().take_while(|word| *word != "dns").any(|word| word == "resolve");
            asks.then(|| {
                format!("programs ask systemd-resolved by a socket of its own (nsswitch.conf: hosts:{hosts})")
            })
        },
    },
    Row {
        id: "no_group",
        costs: "only root can ask the sensor",
        fix: "groupadd --system earthdog, restart the sensor, and add analysts to it",
        when: |facts| (!facts.has_group).then(|| format!("there is no group `{}`", control::GROUP)),
    },
    Row {
        id: "rights",
        costs: "an intruder who breaks what reads packets has more rights than that needs",
        fix: "boot a kernel from 5.19 on, better 6.7, with landlock in its list (lsm=landlock,...), and let the service \
              manager or container allow capset, seccomp and landlock_*; live.split = \"off\" to live with it",
        when: |facts| (!facts.rights.is_empty()).then(|| facts.rights.join("; ")),
    },
    Row {
        id: "store_room",
        costs: "history and findings stop being kept when the disk is full",
        fix: "free some, or set store.path and store.max_mib to what there is",
        when: |facts| {
            let (path, free) = facts.store_room.as_ref()?;
            Some(format!("{} has {} MiB free, fewer than the store may take", path.display(), free >> 20))
        },
    },
    Row {
        id: "packets_lost",
        costs: "packets that nobody looked at; they are counted",
        fix: "raise live.bulk_ring_kib and live.alert_ring_kib, then restart; with novelty.filter = \"on\" repeats stay in \
              the kernel",
        when: |facts| {
            let (lost, of) = (running(facts, "/lost")?, running(facts, "/counters/seen")?);
            (lost > 0).then(|| format!("the running sensor lost {lost} of {of} packets to full rings"))
        },
    },
    Row {
        id: "limited",
        costs: "repeats, answers or telemetry that are not looked at while it lasts; findings go on",
        fix: "see `earthdog status` for which budget was passed; raise limits.cpu_share (limits.gateway_cpu_share) or \
              limits.memory_mib if this load is usual here",
        when: |facts| {
            let step = running(facts, "/limits/step")?;
            (step > 0).then(|| format!("the running sensor limits itself, step {step}"))
        },
    },
    Row {
        id: "keys_evicted",
        costs: "a slow leak may be forgotten before it adds up",
        fix: "raise ledger.max_keys, then restart: a key takes 4 KiB at most",
        when: |facts| {
            let evicted = running(facts, "/evictions/ledger keys")?;
            (evicted > 0).then(|| format!("the running sensor's ledger made room {evicted} times"))
        },
    },
    Row {
        id: "restart_needed",
        costs: "keys that were changed are not in force",
        fix: "restart the sensor; `earthdog config explain KEY` says which keys need it, and why",
        when: |facts| {
            let waits = facts.status.as_ref()?.pointer("/configuration/waiting")?.as_array()?;
            let keys: Vec<_> = waits.iter().filter_map(|change| change["key"].as_str()).collect();
            (!keys.is_empty()).then(|| {
                format!("the running sensor has another configuration than its files: {}", keys.join(", "))
            })
        },
    },
];

/// What the maps of the default configuration take, with room: before 5.11 the limit has to hold them.
const MEMLOCK: u64 = 256 << 20;

/// A row that holds.
#[derive(Debug)]
pub struct Hint {
    pub row: &'static Row,
    pub problem: String,
}

/// Those of this host.
pub fn hints(facts: &Facts) -> Vec<Hint> {
    ROWS.iter().filter_map(|row| Some(Hint { row, problem: (row.when)(facts)? })).collect()
}

impl Hint {
    pub fn json(&self) -> Value {
        json!({"id": self.row.id, "problem": self.problem, "costs": self.row.costs, "fix": self.row.fix})
    }
}

impl Facts {
    /// Reads them. What cannot be read is no fact.
    pub fn read(features: &Features, refused: Option<&Error>, config: &Config) -> Self {
        let text = |path: &str| fs::read_to_string(path).ok();
        let group = format!("{}:", control::GROUP);
        let status = control::request(Path::new(&config.live.control_socket), "status").ok();
        Self {
            rights: rights(status.as_ref(), config),
            refused: refused.map(|error| (error.code, error.message.clone())),
            cgroup: features.cgroup.as_ref().err().map(ToString::to_string),
            offsets: features.offsets.as_ref().err().map(ToString::to_string),
            jit: text("/proc/sys/net/core/bpf_jit_enable").and_then(|value| value.trim().parse().ok()),
            lockdown: text("/sys/kernel/security/lockdown").and_then(|modes| in_force(&modes)),
            memlock: if charges_memlock(&features.release) {
                text("/proc/self/limits").and_then(|limits| memlock(&limits))
            } else {
                None
            },
            nsswitch: text("/etc/nsswitch.conf").and_then(|file| hosts(&file)),
            has_group: text("/etc/group")
                .is_none_or(|file| file.lines().any(|line| line.starts_with(&group))),
            store_room: store_room(config),
            status,
        }
    }
}

/// As the running sensor says, else as it would be.
fn rights(status: Option<&Value>, config: &Config) -> Vec<String> {
    match status.and_then(|status| status.pointer("/privilege/missing")?.as_array()) {
        Some(missing) => missing.iter().filter_map(|why| why.as_str().map(str::to_owned)).collect(),
        None if config.live.split == Split::Off => Vec::new(),
        None => split::lacking(),
    }
}

fn refused(facts: &Facts, code: Code) -> Option<String> {
    facts.refused.as_ref().filter(|(found, _)| *found == code).map(|(_, why)| why.clone())
}

/// A number of the running sensor's status.
fn running(facts: &Facts, pointer: &str) -> Option<u64> {
    facts.status.as_ref()?.pointer(pointer)?.as_u64()
}

/// The bracketed word of `none [integrity] confidentiality`.
fn in_force(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

/// Since 5.11 maps are charged to the memory cgroup.
fn charges_memlock(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < (5, 11))
}

/// The soft limit of `/proc/PID/limits`.
fn memlock(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the line `hosts:` says, comments left out.
fn hosts(file: &str) -> Option<String> {
    let line = file.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"))?;
    Some(line.split('#').next().unwrap_or_default().trim_end().to_owned())
}

fn store_room(config: &Config) -> Option<(PathBuf, u64)> {
    let path = Path::new(&config.store.path);
    let directory = path.ancestors().skip(1).find(|directory| directory.is_dir())?;
    let stat = statvfs(directory).ok()?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let taken = fs::metadata(path).map_or(0, |file| file.len());
    let wanted = (config.store.max_mib << 20).saturating_sub(taken);
    (!config.store.path.is_empty() && free < wanted).then(|| (directory.to_owned(), free))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(facts: &Facts) -> Vec<&'static str> {
        hints(facts).iter().map(|hint| hint.row.id).collect()
    }

    fn sound() -> Facts {
        Facts { has_group: true, jit: Some(1), lockdown: Some("none".into()), ..Facts::default() }
    }

    #[test]
    fn a_sound_host_has_none_and_each_row_holds_for_what_it_says() {
        assert_eq!(ids(&sound()), [""; 0]);
        let status = |text: &str| Some(serde_json::from_str(text).unwrap());
        let cases: &[(&str, Facts)] = &[
            ("not_permitted", Facts { refused: Some((Code::NotPermitted, "x".into())), ..sound() }),
            ("no_usable_hook", Facts { refused: Some((Code::NoHook, "x".into())), ..sound() }),
            ("no_cgroup2", Facts { cgroup: Some("not mounted".into()), ..sound() }),
            ("no_process_fields", Facts { offsets: Some("no BTF".into()), ..sound() }),
            ("lockdown", Facts { lockdown: Some("confidentiality".into()), ..sound() }),
            ("memlock", Facts { memlock: Some(64 << 10), ..sound() }),
            ("jit_off", Facts { jit: Some(0), ..sound() }),
            (
                "nss_resolve",
                Facts { nsswitch: Some(" files resolve [!UNAVAIL=return] dns".into()), ..sound() },
            ),
            ("no_group", Facts { has_group: false, ..sound() }),
            ("rights", Facts { rights: vec!["no Landlock".into()], ..sound() }),
            ("store_room", Facts { store_room: Some(("/var/lib".into(), 1 << 20)), ..sound() }),
            ("packets_lost", Facts { status: status(r#"{"lost": 3, "counters": {"seen": 9}}"#), ..sound() }),
            ("limited", Facts { status: status(r#"{"limits": {"step": 1}}"#), ..sound() }),
            ("keys_evicted", Facts { status: status(r#"{"evictions": {"ledger keys": 2}}"#), ..sound() }),
            (
                "restart_needed",
                Facts {
                    status: status(r#"{"configuration": {"waiting": [{"key": "store.path"}]}}"#),
                    ..sound()
                },
            ),
        ];
        for (id, facts) in cases {
            assert_eq!(ids(facts), [*id]);
        }
        assert_eq!(cases.len(), ROWS.len(), "a case for each row");
    }

    #[test]
    fn what_is_harmless_is_left_alone() {
        let after = Facts { nsswitch: Some(" files dns resolve".into()), ..sound() };
        assert_eq!(ids(&after), [""; 0], "asked only where DNS has failed");
        let quiet =
            r#"{"lost": 0, "counters": {"seen": 9}, "limits": {"step": 0}, "evictions": {"ledger keys": 0}}"#;
        assert_eq!(ids(&Facts { status: serde_json::from_str(quiet).ok(), ..sound() }), [""; 0]);
    }

    #[test]
    fn files_are_read_as_the_kernel_and_glibc_write_them() {
        assert_eq!(in_force("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(in_force("none integrity"), None);
        let limits = "Max processes             95  95  processes\nMax locked memory         65536                65536                bytes\n";
        assert_eq!(memlock(limits), Some(65_536));
        assert_eq!(
            memlock("Max locked memory         unlimited            unlimited            bytes"),
            None
        );
        assert!(
            charges_memlock("5.10.0-28-amd64") && !charges_memlock("5.11.0") && !charges_memlock("6.1.2")
        );
        assert_eq!(hosts("# x\nhosts:  files dns # resolve\n").as_deref(), Some("  files dns"));
    }
}
