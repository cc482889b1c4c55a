//! Who asked: a bounded table of processes, fed by exec events and by what the rim reads from /proc.

pub mod clients;
pub mod mask;

use std::collections::VecDeque;

use bytes::Bytes;
use foldhash::HashMap;
use sensor_ebpf::abi::grade;

use crate::event::{Exec, Owner};

pub use clients::{Client, Clients, Identity};

/// What may be said about command lines; they can hold secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cmdline {
    Off,
    /// Values of password-like arguments and long secrets are replaced by `***`.
    #[default]
    Masked,
    Full,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub cmdline: Cmdline,
    /// Longest command line in a finding, bytes.
    pub cmdline_max: usize,
    /// Processes remembered, and clients; the one not seen for longest goes first.
    pub max_processes: usize,
    /// Pids listed in a finding.
    pub max_pids: usize,
    /// Unix time of CLOCK_BOOTTIME zero, nanoseconds; without it start times are not given.
    pub boot_unix_ns: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cmdline: Cmdline::Masked,
            cmdline_max: 512,
            max_processes: 8192,
            max_pids: 16,
            boot_unix_ns: None,
        }
    }
}

/// What the rim found in /proc about a process that the exec events did not show.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    pub tgid: u32,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
    pub exe: Option<Bytes>,
    /// argv, NUL between entries.
    pub cmdline: Option<Bytes>,
    pub uid: Option<u32>,
    pub user: Option<String>,
}

/// One process, named for ever by its id and start time.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub exe: Option<Bytes>,
    pub cmdline: Option<Bytes>,
    pub user: Option<String>,
    /// Key of the client it was taken for when it first sent; facts that come later do not change it.
    pub client: Option<u64>,
    asked: bool,
    last: u64,
}

/// Bytes kept of an executable's path and of a command line; the kernel's exec record holds fewer.
pub const EXE_MAX: usize = 4096;
/// See `EXE_MAX`.
pub const CMDLINE_MAX: usize = 4096;

type ProcessKey = (u32, u64);

/// Processes by (tgid, start).
#[derive(Debug)]
pub struct ProcessTable {
    max: usize,
    map: HashMap<ProcessKey, Process>,
    /// Keys in the order they were last noted, with the note's number; stale pairs are passed over.
    order: VecDeque<(ProcessKey, u64)>,
    notes: u64,
    unknown: Vec<ProcessKey>,
    pub evicted: u64,
}

/// Processes waiting to be read from /proc; more are not worth the rim's time in one turn.
const MAX_UNKNOWN: usize = 256;

impl ProcessTable {
    pub fn new(settings: &Settings) -> Self {
        Self {
            max: settings.max_processes.max(1),
            map: HashMap::default(),
            order: VecDeque::new(),
            notes: 0,
            unknown: Vec::new(),
            evicted: 0,
        }
    }

    /// A process replaced its image: it is another client from now on.
    pub fn exec(&mut self, exec: &Exec) {
        let process = self.note((exec.tgid, exec.start_boot_ns));
        process.exe = (!exec.path.is_empty()).then(|| exec.path.clone());
        process.cmdline = (!exec.args.is_empty()).then(|| exec.args.clone());
        process.client = None;
        // A relative path says little: let the rim look once.
        process.asked = exec.path.first() == Some(&b'/');
    }

    pub fn learn(&mut self, facts: ProcessFacts) {
        let process = self.note((facts.tgid, facts.start_boot_ns));
        process.exe = facts.exe.map(|exe| cut(exe, EXE_MAX)).or(process.exe.take());
        process.cmdline = facts.cmdline.map(|argv| cut(argv, CMDLINE_MAX)).or(process.cmdline.take());
        process.user = facts.user.or(process.user.take());
        process.asked = true;
    }

    /// The process that sent a packet, if the kernel named one.
    pub fn seen(&mut self, owner: &Owner) -> Option<&mut Process> {
        if owner.grade == grade::NONE || owner.tgid == 0 {
            return None;
        }
        let key = (owner.tgid, owner.start_boot_ns);
        let ask = self.map.get(&key).is_none_or(|p| !p.asked || p.user.is_none() && p.client.is_none());
        if ask && self.unknown.len() < MAX_UNKNOWN && !self.unknown.contains(&key) {
            self.unknown.push(key);
        }
        let process = self.note(key);
        Some(process)
    }

    /// What is known of a process.
    pub fn find(&self, tgid: u32, start_boot_ns: u64) -> Option<&Process> {
        self.map.get(&(tgid, start_boot_ns))
    }

    /// Processes seen sending whose executable is not known yet, oldest first; each is named once.
    pub fn unknown(&mut self) -> Vec<ProcessKey> {
        let list = std::mem::take(&mut self.unknown);
        for key in &list {
            if let Some(process) = self.map.get_mut(key) {
                process.asked = true;
            }
        }
        list
    }

    fn note(&mut self, key: ProcessKey) -> &mut Process {
        self.notes += 1;
        if !self.map.contains_key(&key) && self.map.len() >= self.max {
            self.evict();
        }
        // A process that keeps sending would fill the order: note it again only after many others.
        let notes = self.notes;
        let process = self.map.entry(key).or_default();
        if process.last == 0 || notes - process.last > self.max as u64 / 2 {
            process.last = notes;
            self.order.push_back((key, notes));
        }
        process
    }

    fn evict(&mut self) {
        while let Some((key, note)) = self.order.pop_front() {
            if self.map.get(&key).is_some_and(|process| process.last == note) {
                self.map.remove(&key);
                self.evicted += 1;
                return;
            }
        }
    }
}

/// A copy where something is cut off, so that the rest is not kept alive.
fn cut(bytes: Bytes, max: usize) -> Bytes {
    if bytes.len() > max { Bytes::copy_from_slice(&bytes[..max]) } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(tgid: u32) -> Owner {
        Owner { tgid, start_boot_ns: u64::from(tgid), grade: grade::EXACT, ..crate::event::no_owner(0) }
    }

    #[test]
    fn exec_names_and_proc_fills_in() {
        let mut table = ProcessTable::new(&Settings::default());
        assert!(table.seen(&crate::event::no_owner(1)).is_none());
        table.seen(&owner(7)).unwrap();
        table.seen(&owner(7)).unwrap();
        assert_eq!(table.unknown(), [(7, 7)]);
        table.learn(ProcessFacts {
            tgid: 7,
            start_boot_ns: 7,
            exe: Some(Bytes::from_static(b"/usr/bin/dig")),
            user: Some("root".into()),
            ..ProcessFacts::default()
        });
        assert_eq!(table.find(7, 7).unwrap().exe.as_deref(), Some(&b"/usr/bin/dig"[..]));
        table.seen(&owner(7)).unwrap();
        assert!(table.unknown().is_empty());
        assert!(table.find(7, 8).is_none(), "a later process of that id is another");
    }

    #[test]
    fn the_quietest_goes_first() {
        let mut table = ProcessTable::new(&Settings { max_processes: 4, ..Settings::default() });
        for tgid in 1..100 {
            table.seen(&owner(tgid)).unwrap();
            table.seen(&owner(1)).unwrap();
        }
        assert_eq!(table.map.len(), 4);
        assert!(table.find(1, 1).is_some() && table.find(99, 99).is_some() && table.find(50, 50).is_none());
        assert!(table.order.len() < 300, "{}", table.order.len());
    }
}
