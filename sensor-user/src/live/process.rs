//! What /proc tells about a process: the fallback for processes that were running before the sensor, never on the
//! path of a packet. Everything here is chosen by the process itself (argv, path) and is passed on as bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::attribute::ProcessFacts;

/// Bytes kept of a command line: as the kernel's exec record.
pub const MAX_CMDLINE: u64 = sensor_ebpf::abi::EXEC_ARGS as u64;
/// Nanoseconds of one tick of /proc/PID/stat: USER_HZ is 100 on every architecture Linux runs BPF on.
pub const TICK_NS: u64 = 10_000_000;
const MAX_STAT: u64 = 4096;

/// Reads processes by number and makes sure that they are the ones meant.
#[derive(Debug)]
pub struct Processes {
    proc: PathBuf,
    users: Users,
}

impl Default for Processes {
    fn default() -> Self {
        Self::new(Path::new("/proc"), Path::new("/etc/passwd"))
    }
}

impl Processes {
    pub fn new(proc: &Path, passwd: &Path) -> Self {
        Self { proc: proc.to_owned(), users: Users::new(passwd) }
    }

    /// Facts of the process `tgid` that started at `start_boot_ns` (CLOCK_BOOTTIME), or `None` if it is gone or its
    /// number belongs to another process by now.
    pub fn read(&mut self, tgid: u32, start_boot_ns: u64) -> Option<ProcessFacts> {
        let dir = self.proc.join(tgid.to_string());
        if !self.is_same(&dir, start_boot_ns) {
            return None;
        }
        let uid = fs::metadata(&dir).ok().map(|metadata| metadata.uid());
        let facts = ProcessFacts {
            tgid,
            start_boot_ns,
            exe: fs::read_link(dir.join("exe")).ok().map(|path| path.into_os_string().into_vec().into()),
            cmdline: read_capped(&dir.join("cmdline"), MAX_CMDLINE)
                .filter(|bytes| !bytes.is_empty())
                .map(Bytes::from),
            uid,
            user: uid.and_then(|uid| self.users.name(uid)),
        };
        // The number may have been given away between the first look and the reads.
        self.is_same(&self.proc.join(tgid.to_string()), start_boot_ns).then_some(facts)
    }

    /// Login name of a uid.
    pub fn user(&mut self, uid: u32) -> Option<String> {
        self.users.name(uid)
    }

    #[allow(clippy::unused_self)] // reads belong to the table they fill
    fn is_same(&self, dir: &Path, start_boot_ns: u64) -> bool {
        read_capped(&dir.join("stat"), MAX_STAT)
            .and_then(|stat| start_ticks(&stat))
            .is_some_and(|ticks| ticks == start_boot_ns / TICK_NS)
    }
}

/// Field 22 of /proc/PID/stat. The name in field 2 may hold spaces and parentheses, so fields are counted from the
/// last closing one.
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let field = stat[after..].split(|&byte| byte == b' ').filter(|field| !field.is_empty()).nth(19)?;
    std::str::from_utf8(field).ok()?.trim_end().parse().ok()
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
    use super::*;

    fn own_start_ns() -> u64 {
        start_ticks(&fs::read("/proc/self/stat").unwrap()).unwrap() * TICK_NS + 1_234
    }

    #[test]
    fn this_process_is_found_by_its_start_time() {
        let mut processes = Processes::default();
        let facts = processes.read(std::process::id(), own_start_ns()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(facts.exe.unwrap(), exe.into_os_string().into_vec());
        assert!(facts.cmdline.unwrap().len() as u64 <= MAX_CMDLINE);
        assert_eq!(facts.user, processes.user(facts.uid.unwrap()));
    }

    #[test]
    fn a_number_given_to_another_process_is_refused() {
        let mut processes = Processes::default();
        assert!(processes.read(std::process::id(), own_start_ns() + TICK_NS).is_none());
        assert!(processes.read(u32::MAX, 0).is_none());
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = b"12 (a) b) 1 (c) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!(start_ticks(b"12 (a) S 1"), None);
        assert_eq!(start_ticks(b""), None);
    }

    #[test]
    fn passwd_lines_that_are_not_are_passed_over() {
        let names =
            parse_passwd(b"root:x:0:0:root:/root:/bin/sh\n# c\nno:x:u:1\ntoor:x:0:0::/:\nweb:x:33:33:::\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), [(0, "root".into()), (33, "web".into())]);
    }
}
