//! What this host's set-up tells about names and resolvers: its search list, and who listens on port 53 at start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process;
use crate::clock;
use crate::dns::Canonical;

const RESOLV: &str = "/etc/resolv.conf";
const MAX_RESOLV: u64 = 64 << 10;

/// The search list of resolv.conf(5), read again when the file has changed.
#[derive(Debug)]
pub struct SearchList {
    path: PathBuf,
    version: Option<(u64, i64, i64)>,
}

impl Default for SearchList {
    fn default() -> Self {
        Self { path: RESOLV.into(), version: None }
    }
}

impl SearchList {
    /// The suffixes, if they may have changed since the last call; `read` has the file's bytes.
    pub fn changed(&mut self, read: impl FnOnce() -> Vec<u8>) -> Option<Vec<Canonical>> {
        let version = fs::metadata(&self.path).ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec()));
        if version == self.version {
            return None;
        }
        self.version = version;
        Some(suffixes(&read()))
    }
}

/// What resolv.conf says, as far as it is read.
pub fn resolv_conf() -> Vec<u8> {
    read_capped(Path::new(RESOLV), MAX_RESOLV).unwrap_or_default()
}

/// The last of the lines `search` and `domain` counts.
fn suffixes(text: &[u8]) -> Vec<Canonical> {
    let text = String::from_utf8_lossy(text);
    let words = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("search" | "domain")).then_some(words)
        })
        .next_back();
    words.into_iter().flatten().map(Canonical::from_text).collect()
}

/// A process with a socket on port 53, by the tables of its network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    pub tgid: u32,
    /// See `Owner::start_boot_ns`, to the tick of /proc.
    pub start_boot_ns: u64,
    /// Unspecified: all addresses.
    pub ip: IpAddr,
    pub netns: u32,
}

/// Listeners told of.
const MAX_LISTENERS: usize = 256;
/// Namespaces and processes looked at, and for how long; a host with more learns who answers from what it sees.
const MAX_NAMESPACES: usize = 256;
const MAX_PROCESSES: usize = 32_768;
const MAX_FDS: usize = 65_536;
const MAX_TABLE: u64 = 16 << 20;
const MAX_TIME: Duration = Duration::from_secs(1);

/// Who listens on port 53 now, in any network namespace that a process is in.
pub fn listeners(proc: &Path) -> Vec<Listener> {
    let deadline = clock::monotonic() + MAX_TIME;
    let late = || clock::monotonic() > deadline;
    let mut processes = Vec::new();
    let mut namespaces: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten().take(MAX_PROCESSES) {
        let Some(tgid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some(netns) = netns(&entry.path()) else { continue };
        processes.push(tgid);
        if namespaces.len() < MAX_NAMESPACES {
            namespaces.entry(netns).or_insert(tgid);
        }
    }
    // Sockets by inode: a process may hold one of another namespace than its own.
    let mut sockets: BTreeMap<u64, (IpAddr, u32)> = BTreeMap::new();
    for (netns, tgid) in namespaces.iter().take_while(|_| !late()) {
        for table in ["udp", "udp6", "tcp", "tcp6"] {
            let path = proc.join(format!("{tgid}/net/{table}"));
            let text = read_capped(&path, MAX_TABLE).unwrap_or_default();
            let found = String::from_utf8_lossy(&text).lines().filter_map(on_port_53).collect::<Vec<_>>();
            sockets.extend(found.into_iter().map(|(inode, ip)| (inode, (ip, *netns))));
        }
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for tgid in processes.into_iter().take_while(|_| !late()) {
        let fds = fs::read_dir(proc.join(format!("{tgid}/fd")));
        for fd in fds.into_iter().flatten().flatten().take(MAX_FDS) {
            let link = fs::read_link(fd.path()).unwrap_or_default();
            let inode = link.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            let Some((ip, netns)) = inode.and_then(|inode| sockets.get(&inode.parse().ok()?)) else {
                continue;
            };
            let Some(start_boot_ns) = started(&proc.join(tgid.to_string())) else { continue };
            found.insert(Listener { tgid, start_boot_ns, ip: *ip, netns: *netns });
        }
    }
    found.into_iter().take(MAX_LISTENERS).collect()
}

/// What this host calls itself.
pub fn hostname() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Inode of a process's network namespace; `/proc/self` for the own.
pub fn netns(process: &Path) -> Option<u32> {
    let inode = fs::metadata(process.join("ns/net")).ok()?.ino();
    u32::try_from(inode).ok()
}

/// Inode and local address of a line of /proc/net/{udp,tcp}{,6} that is a server's on port 53.
fn on_port_53(line: &str) -> Option<(u64, IpAddr)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let (_, remote_port) = fields.next()?.split_once(':')?;
    if port != "0035" || remote_port != "0000" {
        return None;
    }
    Some((fields.nth(6)?.parse().ok()?, ip(address)?))
}

/// An address as /proc has it: words of four bytes in the machine's order.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (at, chunk) in bytes.chunks_mut(4).enumerate() {
        chunk.copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(bytes).to_canonical())
}

fn started(process: &Path) -> Option<u64> {
    process::start_ticks(&read_capped(&process.join("stat"), 4096)?)?.checked_mul(process::TICK_NS)
}

fn read_capped(path: &Path, cap: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(cap).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_search_line_counts() {
        let text =
            b"# c\ndomain old.test\nnameserver 127.0.0.53\nsearch Corp.test lab.test.\noptions ndots:2\n";
        let names: Vec<_> = suffixes(text).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["corp.test", "lab.test"]);
        assert!(suffixes(b"nameserver 10.0.0.1\n\xff\n").is_empty());
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut list = SearchList { path: dir.path().join("resolv.conf"), version: None };
        let read = || b"search a.test\n".to_vec();
        assert!(list.changed(read).is_none(), "there is none, as before");
        fs::write(&list.path, "").unwrap();
        assert_eq!(list.changed(read).unwrap().len(), 1);
        assert!(list.changed(read).is_none());
        fs::remove_file(&list.path).unwrap();
        assert_eq!(list.changed(Vec::new).unwrap().len(), 0);
    }

    #[test]
    fn servers_on_port_53_are_told_from_clients() {
        let rows = [
            (
                "  12: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 9001 2",
                9001,
            ),
            (
                "   0: 00000000:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1",
                77,
            ),
            (
                "   1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 \
                 00000000:00000000 00:00000000 00000000 0 0 5 2",
                5,
            ),
        ];
        let want = ["127.0.0.53", "0.0.0.0", "::1"];
        for ((row, inode), ip) in rows.into_iter().zip(want) {
            assert_eq!(on_port_53(row), Some((inode, ip.parse().unwrap())), "{row}");
        }
        assert_eq!(on_port_53("  sl  local_address rem_address   st tx_queue"), None);
        let client = "   3: 0100007F:9C40 0100007F:0035 01 00000000:00000000 00:00000000 00000000 0 0 6 2";
        assert_eq!(on_port_53(client), None);
        let other = "   3: 0100007F:0036 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 6 2";
        assert_eq!(on_port_53(other), None);
    }

    #[test]
    fn namespaces_have_numbers() {
        assert!(netns(Path::new("/proc/self")).is_some_and(|inode| inode != 0));
        assert_eq!(netns(Path::new("/nonexistent")), None);
    }
}
