//! What /proc tells about a process: the fallback for processes that were running before the sensor, never on the
//! path of a packet. Everything here is chosen by the process itself (argv, path) and is passed on as bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sensor_ebpf::abi::exec;

use super::cgroup_path::Cgroups;
use crate::attribute::ProcessFacts;
pub use crate::attribute::table::TICK_NS;

/// Bytes kept of a command line: as the kernel's exec record.
pub const MAX_CMDLINE: u64 = sensor_ebpf::abi::EXEC_ARGS as u64;
const MAX_STAT: u64 = 4096;
const MAX_CGROUP: u64 = 65_536;

/// Reads processes by number and makes sure that they are the ones meant.
#[derive(Debug)]
pub struct Processes {
    proc: PathBuf,
    users: Users,
    cgroups: Cgroups,
}

impl Processes {
    pub fn new(proc: &Path, passwd: &Path, cgroups: Cgroups) -> Self {
        Self { proc: proc.to_owned(), users: Users::new(passwd), cgroups }
    }

    /// Of this machine; `cgroup` is a directory of its cgroup2 hierarchy.
    pub fn of_machine(cgroup: Option<&Path>) -> Self {
        Self::new(Path::new("/proc"), Path::new("/etc/passwd"), Cgroups::new(cgroup))
    }

    /// Facts of the process `tgid` that started at `start_boot_ns` (CLOCK_BOOTTIME), or `None` if it is gone or its
    /// number belongs to another process by now.
    pub fn read(&self, tgid: u32, start_boot_ns: u64) -> Option<ProcessFacts> {
        let is_same = |stat: &Stat| stat.start_ticks == start_boot_ns / TICK_NS;
        let stat = self.stat(tgid).filter(is_same)?;
        let facts = self.facts(tgid, start_boot_ns, stat);
        // The number may have been given away between the first look and the reads.
        self.stat(tgid).is_some_and(|stat| is_same(&stat)).then_some(facts)
    }

    /// Processes there are now with numbers above `after`, at most `max`, in the order of their numbers.
    pub fn snapshot(&self, after: u32, max: usize) -> Vec<ProcessFacts> {
        let pids = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut pids: Vec<u32> = pids.filter(|pid| *pid > after).collect();
        pids.sort_unstable();
        pids.into_iter()
            .take(max)
            .filter_map(|pid| {
                let stat = self.stat(pid)?;
                Some(self.facts(pid, stat.start_ticks * TICK_NS, stat))
            })
            .collect()
    }

    fn facts(&self, tgid: u32, start_boot_ns: u64, stat: Stat) -> ProcessFacts {
        let dir = self.proc.join(tgid.to_string());
        let link =
            |name: &str| fs::read_link(dir.join(name)).ok().map(|path| path.into_os_string().into_vec());
        let streams = [exec::STDIN_SOCKET, exec::STDOUT_SOCKET, exec::STDERR_SOCKET];
        let stdio = (0..).zip(streams).try_fold(0, |bits, (fd, bit)| {
            // Unreadable links are other users' where the sensor may not trace; a closed one is no socket.
            match fs::read_link(dir.join(format!("fd/{fd}"))) {
                Ok(to) => {
                    Some(if to.as_os_str().as_bytes().starts_with(b"socket:") { bits | bit } else { bits })
                }
                Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(bits),
            }
        });
        ProcessFacts {
            tgid,
            start_boot_ns,
            exe: link("exe").map(Bytes::from),
            cmdline: read_capped(&dir.join("cmdline"), MAX_CMDLINE)
                .filter(|bytes| !bytes.is_empty())
                .map(Bytes::from),
            uid: fs::metadata(&dir).ok().map(|metadata| metadata.uid()),
            cgroup_id: self.cgroup(tgid).and_then(|path| self.cgroups.id(&path)),
            parent: self.stat(stat.ppid).map(|parent| (stat.ppid, parent.start_ticks * TICK_NS)),
            stdio,
        }
    }

    /// Login name of a uid.
    pub fn user(&mut self, uid: u32) -> Option<String> {
        self.users.name(uid)
    }

    /// Path of a cgroup below the hierarchy's root. By its id, so that a process that was in it may be gone; by that
    /// process where the kernel does not open ids.
    pub fn cgroup_path(&self, id: u64, tgid: u32) -> Option<Vec<u8>> {
        self.cgroups.path(id).or_else(|| self.cgroup(tgid).filter(|path| self.cgroups.id(path) == Some(id)))
    }

    /// The cgroup2 line of /proc/PID/cgroup (`0::/path`).
    fn cgroup(&self, tgid: u32) -> Option<Vec<u8>> {
        let text = read_capped(&self.proc.join(tgid.to_string()).join("cgroup"), MAX_CGROUP)?;
        let mut lines = text.split(|byte| *byte == b'\n');
        lines.find_map(|line| line.strip_prefix(b"0::")).map(<[u8]>::to_vec)
    }

    fn stat(&self, tgid: u32) -> Option<Stat> {
        parse_stat(&read_capped(&self.proc.join(tgid.to_string()).join("stat"), MAX_STAT)?)
    }
}

/// When a process started, in ticks, by its /proc/PID/stat.
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    parse_stat(stat).map(|stat| stat.start_ticks)
}

/// What is needed of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    ppid: u32,
    start_ticks: u64,
}

/// Fields 4 and 22. The name in field 2 may hold spaces and parentheses, so fields are counted from the last closing
/// one.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = stat[after..].split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    let ppid = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    let start = std::str::from_utf8(fields.nth(17)?).ok()?.trim_end().parse().ok()?;
    Some(Stat { ppid, start_ticks: start })
}

fn read_capped(path: &Path, cap: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(cap).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// /etc/passwd by uid, read again when it changed. Other name services are not asked: they may send DNS queries.
#[derive(Debug)]
struct Users {
    path: PathBuf,
    names: BTreeMap<u32, String>,
    version: Option<(u64, i64, i64)>,
}

const MAX_PASSWD: u64 = 4 << 20;
const MAX_USERS: usize = 65_536;

impl Users {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), names: BTreeMap::new(), version: None }
    }

    fn name(&mut self, uid: u32) -> Option<String> {
        let version = fs::metadata(&self.path).ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec()));
        if version != self.version {
            self.version = version;
            self.names = parse_passwd(&read_capped(&self.path, MAX_PASSWD).unwrap_or_default());
        }
        self.names.get(&uid).cloned()
    }
}

fn parse_passwd(bytes: &[u8]) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in String::from_utf8_lossy(bytes).lines().take(MAX_USERS) {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(uid))) =
            (fields.next(), fields.next(), fields.next().map(str::parse))
        {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::cgroup;
    use super::*;

    fn own_start_ns() -> u64 {
        parse_stat(&fs::read("/proc/self/stat").unwrap()).unwrap().start_ticks * TICK_NS + 1_234
    }

    fn processes() -> Processes {
        Processes::of_machine(cgroup::root().ok().as_deref())
    }

    #[test]
    fn this_process_is_found_by_its_start_time() {
        let mut processes = processes();
        let facts = processes.read(std::process::id(), own_start_ns()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(facts.exe.unwrap(), exe.into_os_string().into_vec());
        assert!(facts.cmdline.unwrap().len() as u64 <= MAX_CMDLINE);
        assert_eq!(facts.parent.unwrap().0, std::os::unix::process::parent_id());
        assert!(facts.stdio.is_some());
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        if facts.uid == Some(0) && passwd.starts_with("root:") {
            assert_eq!(processes.user(0).as_deref(), Some("root"));
        }
    }

    #[test]
    fn the_snapshot_has_this_process_and_is_bounded() {
        let own = std::process::id();
        let all = processes().snapshot(0, 1 << 20);
        let found = all.iter().find(|facts| facts.tgid == own).unwrap();
        assert_eq!(found.start_boot_ns, own_start_ns() / TICK_NS * TICK_NS);
        let first = processes().snapshot(0, 3);
        assert_eq!(first.len(), 3);
        let next = processes().snapshot(first[2].tgid, 1);
        assert!(next.iter().all(|facts| facts.tgid > first[2].tgid), "{next:?}");
    }

    #[test]
    fn a_number_given_to_another_process_is_refused() {
        let processes = processes();
        assert!(processes.read(std::process::id(), own_start_ns() + TICK_NS).is_none());
        assert!(processes.read(u32::MAX, 0).is_none());
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = b"12 (a) b) 1 (c) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2";
        assert_eq!(parse_stat(stat).map(|stat| stat.start_ticks), Some(4242));
        let plain = b"12 (a) S 7 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2";
        assert_eq!(parse_stat(plain), Some(Stat { ppid: 7, start_ticks: 4242 }));
        assert_eq!(parse_stat(b"12 (a) S 1"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn passwd_lines_that_are_not_are_passed_over() {
        let names =
            parse_passwd(b"root:x:0:0:root:/root:/bin/sh\n# c\nno:x:u:1\ntoor:x:0:0::/:\nweb:x:33:33:::\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), [(0, "root".into()), (33, "web".into())]);
    }
}
