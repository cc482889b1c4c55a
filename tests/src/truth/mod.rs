//! Who asked, proven: one sender for each way a process can send DNS, and the owner that the sensor must name.
//!
//! A sender (the `sender` program) says who it is and which name it will ask for, then sends. The harness (the `truth`
//! program and its test) runs every sender under a sensor with a message log and compares. What a source must name and
//! what is out of its reach is data, in `expect`.

pub mod document;
pub mod expect;
pub mod judge;
pub mod place;
pub mod races;
pub mod run;
pub mod send;
pub mod serve;

mod sys;
mod uring;
mod xdp;

use std::fmt;
use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;

/// Zone of every name asked here.
pub const ZONE: &str = "truth.example";

/// What a sender says of itself before it sends; in its text form one line on its standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub row: String,
    pub pid: u32,
    pub tid: u32,
    /// Start of the process, nanoseconds on CLOCK_BOOTTIME, in steps of the clock tick.
    pub start_boot_ns: u64,
    pub uid: u32,
    /// Inode of the network namespace it is in.
    pub netns: u64,
    /// Inode of its cgroup's folder.
    pub cgroup: u64,
    pub name: String,
}

impl Sender {
    /// The calling thread, about to ask for `name`.
    pub fn own(row: &str, name: String) -> io::Result<Self> {
        // By /proc, which has the ids of the outermost pid namespace here, as the sensor has.
        let ids = fs::read_link("/proc/thread-self")?;
        let (pid, tid) = ids
            .to_str()
            .and_then(|ids| ids.split_once("/task/"))
            .and_then(|(pid, tid)| Some((pid.parse().ok()?, tid.parse().ok()?)))
            .ok_or_else(|| io::Error::other(format!("/proc/thread-self is {}", ids.display())))?;
        Ok(Self {
            row: row.to_owned(),
            pid,
            tid,
            start_boot_ns: start_boot_ns(&fs::read_to_string("/proc/self/stat")?)
                .ok_or_else(|| io::Error::other("/proc/self/stat has no start time"))?,
            uid: sys::user_id(),
            netns: fs::metadata("/proc/thread-self/ns/net")?.st_ino(),
            cgroup: own_cgroup()?,
            name,
        })
    }

    /// A line as `Display` writes it.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["sender", row, fields @ ..] = &words[..] else { return None };
        let field =
            |key: &str| fields.chunks_exact(2).find(|pair| pair[0] == key).map(|pair| pair[1].to_owned());
        Some(Self {
            row: (*row).to_owned(),
            pid: field("pid")?.parse().ok()?,
            tid: field("tid")?.parse().ok()?,
            start_boot_ns: field("start")?.parse().ok()?,
            uid: field("uid")?.parse().ok()?,
            netns: field("netns")?.parse().ok()?,
            cgroup: field("cgroup")?.parse().ok()?,
            name: field("name")?,
        })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, pid, tid, start_boot_ns, uid, netns, cgroup, name } = self;
        write!(
            f,
            "sender {row} pid {pid} tid {tid} start {start_boot_ns} uid {uid} netns {netns} cgroup {cgroup} \
             name {name}"
        )
    }
}

/// The clock tick of /proc, nanoseconds: USER_HZ is 100 on every architecture that the sensor runs on.
pub const TICK_NS: u64 = 10_000_000;

/// Field 22 of /proc/PID/stat (proc(5)), behind the name in parentheses.
fn start_boot_ns(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse::<u64>().ok()?.checked_mul(TICK_NS)
}

fn own_cgroup() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    Ok(fs::metadata(format!("/sys/fs/cgroup{path}"))?.st_ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_says_reads_back() {
        let sender = Sender {
            row: "sendto".into(),
            pid: 7,
            tid: 8,
            start_boot_ns: 90,
            uid: 1000,
            netns: 4_026_531_840,
            cgroup: 12,
            name: "sendto-1.truth.example".into(),
        };
        assert_eq!(Sender::parse(&sender.to_string()), Some(sender));
        assert_eq!(Sender::parse("sender sendto pid 7"), None);
        assert_eq!(Sender::parse("unsupported no io_uring"), None);
    }

    #[test]
    fn the_start_time_is_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4321 9 9";
        assert_eq!(start_boot_ns(stat), Some(43_210_000_000));
    }
}
