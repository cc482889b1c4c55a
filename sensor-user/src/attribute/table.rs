//! Processes by (tgid, start): what exec, fork and exit events tell, and what the rim reads from /proc.
//!
//! Bounded: a process that ended and has no child in the table goes first, then the one not seen for longest among those
//! without a child. So the ancestors of whoever is kept are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap;
use sensor_ebpf::abi::{Owner, grade};

use super::script::script;
use super::{ProcessFacts, Settings};
use crate::event::{Exec, Exit, Fork};

/// Bytes kept of an executable's path and of a command line; the kernel's exec record holds fewer.
pub const EXE_MAX: usize = 4096;
/// See `EXE_MAX`.
pub const CMDLINE_MAX: usize = 4096;
/// Ancestors looked at, and told.
pub const MAX_ANCESTRY: usize = 16;
/// Processes waiting to be read from /proc; more are not worth the rim's time in one turn.
const MAX_UNKNOWN: usize = 256;

/// /proc tells starts in ticks of 10 ms (USER_HZ is 100 wherever Linux runs BPF), so processes are kept by those; the
/// exact start, where the kernel told it, is compared beside it.
pub const TICK_NS: u64 = 10_000_000;

/// Process id and start in ticks.
pub type ProcessKey = (u32, u64);

/// Names a process by its id and start (CLOCK_BOOTTIME, ns).
pub const fn key(tgid: u32, start_boot_ns: u64) -> ProcessKey {
    (tgid, start_boot_ns / TICK_NS)
}

/// What a process runs: shared by those that forked without an exec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub exe: Option<Bytes>,
    /// argv, NUL between entries.
    pub cmdline: Option<Bytes>,
    /// What the interpreter `exe` runs.
    pub script: Option<Bytes>,
    /// `sensor_ebpf::abi::exec::STDIO` bits: which standard streams are sockets.
    pub stdio: Option<u16>,
}

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub image: Arc<Image>,
    /// 0 while unknown.
    pub cgroup_id: u64,
    pub uid: Option<u32>,
    pub parent: Option<ProcessKey>,
    /// Unix time, nanoseconds.
    pub exit_ns: Option<u64>,
    /// Key of the client it was taken for when it first sent; facts that come later do not change it.
    pub client: Option<u64>,
    /// CLOCK_BOOTTIME ns; rounded down to a tick where only /proc told it.
    start_boot_ns: u64,
    exact: bool,
    /// /proc was asked, or need not be.
    asked: bool,
    /// Stands for this one's children in their client key.
    anchor: Anchor,
    /// Entries whose parent this is.
    children: u32,
    /// Is one of its parent's `children`.
    counted: bool,
    rank: Rank,
}

/// A program that had lived long when it was asked for.
#[derive(Clone, Debug, Default)]
enum Anchor {
    #[default]
    Undecided,
    /// `None` where nobody above was known for long enough.
    Decided(Option<Bytes>),
}

/// Who is forgotten first: the lowest. (class, note)
type Rank = (u8, u64);
const ENDED: u8 = 0;
const RUNNING: u8 = 1;
const PARENT: u8 = 2;

#[derive(Debug)]
pub struct ProcessTable {
    max: usize,
    long_lived_ns: u64,
    map: HashMap<ProcessKey, Process>,
    ranks: BTreeMap<Rank, ProcessKey>,
    notes: u64,
    /// Ids and starts, ns.
    unknown: Vec<(u32, u64)>,
    /// Forgotten while they ran.
    pub evicted: u64,
    /// Forgotten after their end.
    pub expired: u64,
}

impl ProcessTable {
    pub fn new(settings: &Settings) -> Self {
        Self {
            max: settings.max_processes.max(1),
            long_lived_ns: settings.long_lived_s.saturating_mul(1_000_000_000),
            map: HashMap::default(),
            ranks: BTreeMap::new(),
            notes: 0,
            unknown: Vec::new(),
            evicted: 0,
            expired: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// A process came to be: it runs what its parent runs.
    pub fn fork(&mut self, fork: &Fork) {
        let key = key(fork.tgid, fork.start_boot_ns);
        let parent = self::key(fork.ppid, fork.parent_start_boot_ns);
        let image = self.map.get(&parent).map(|parent| Arc::clone(&parent.image));
        self.insert(key, fork.start_boot_ns, true);
        self.link(key, parent);
        let Some(process) = self.map.get_mut(&key) else { return };
        process.asked = image.as_ref().is_some_and(|image| image.exe.is_some());
        process.image = image.unwrap_or_default();
        process.cgroup_id = fork.cgroup_id;
        process.uid = Some(fork.uid);
    }

    /// A process replaced its image: it is another client from now on.
    pub fn exec(&mut self, exec: &Exec) {
        let key = self.note(exec.tgid, exec.start_boot_ns);
        // A parent that ended gave its children away; who started it is known from the fork.
        self.link(key, self::key(exec.ppid, exec.parent_start_boot_ns));
        let Some(process) = self.map.get_mut(&key) else { return };
        process.asked = exec.exe.is_some();
        process.image = Arc::new(Image {
            script: match (exec.is_script, &exec.exe) {
                (true, _) => Some(exec.path.clone()),
                (false, Some(exe)) => script(exe, &exec.args),
                (false, None) => script(&exec.path, &exec.args),
            },
            // A script's path is not the program's; a relative one says too little to stand for it.
            exe: exec
                .exe
                .clone()
                .or_else(|| (!exec.is_script && exec.path.first() == Some(&b'/')).then(|| exec.path.clone())),
            cmdline: (!exec.args.is_empty()).then(|| exec.args.clone()),
            stdio: Some(exec.stdio),
        });
        process.cgroup_id = exec.cgroup_id;
        process.uid = Some(exec.uid);
        process.client = None;
        process.anchor = Anchor::Undecided;
    }

    /// A process ended; its facts stay as long as there is room.
    pub fn exit(&mut self, exit: &Exit) {
        let key = key(exit.tgid, exit.start_boot_ns);
        if let Some(process) = self.map.get_mut(&key)
            && (!process.exact || process.start_boot_ns == exit.start_boot_ns)
        {
            process.exit_ns = Some(exit.time_ns);
            self.rank(key);
        }
    }

    /// What the rim read.
    pub fn learn(&mut self, facts: ProcessFacts) {
        let key = key(facts.tgid, facts.start_boot_ns);
        if !self.map.contains_key(&key) {
            self.insert(key, facts.start_boot_ns, false);
        }
        if let Some((tgid, start)) = facts.parent {
            self.link(key, self::key(tgid, start));
        }
        let Some(process) = self.map.get_mut(&key) else { return };
        process.asked = true;
        let known = &process.image;
        let exe = known.exe.clone().or_else(|| facts.exe.map(|exe| cut(exe, EXE_MAX)));
        let cmdline = known.cmdline.clone().or_else(|| facts.cmdline.map(|argv| cut(argv, CMDLINE_MAX)));
        let script = known.script.clone().or_else(|| script(exe.as_deref()?, cmdline.as_deref()?));
        let image = Image { exe, cmdline, script, stdio: known.stdio.or(facts.stdio) };
        if image != **known {
            process.image = Arc::new(image);
        }
        process.uid = process.uid.or(facts.uid);
        if process.cgroup_id == 0 {
            process.cgroup_id = facts.cgroup_id.unwrap_or(0);
        }
    }

    /// The process that sent a packet, if the kernel named one.
    pub fn seen(&mut self, owner: &Owner) -> Option<&mut Process> {
        if owner.grade == grade::NONE || owner.tgid == 0 {
            return None;
        }
        let key = self.note(owner.tgid, owner.start_boot_ns);
        let name = (owner.tgid, owner.start_boot_ns);
        if self.map.get(&key).is_none_or(|process| !process.asked)
            && self.unknown.len() < MAX_UNKNOWN
            && !self.unknown.contains(&name)
        {
            self.unknown.push(name);
        }
        self.map.get_mut(&key)
    }

    /// What is known of a process.
    pub fn find(&self, tgid: u32, start_boot_ns: u64) -> Option<&Process> {
        let process = self.map.get(&key(tgid, start_boot_ns))?;
        (!process.exact || process.start_boot_ns == start_boot_ns).then_some(process)
    }

    /// Whether /proc could tell more than is known here.
    pub fn is_unknown(&self, tgid: u32, start_boot_ns: u64) -> bool {
        self.map.get(&key(tgid, start_boot_ns)).is_none_or(|process| !process.asked)
    }

    /// Processes (id and start) seen sending that nothing is known of, oldest first; each is named once.
    pub fn unknown(&mut self) -> Vec<(u32, u64)> {
        let list = std::mem::take(&mut self.unknown);
        for (tgid, start_boot_ns) in &list {
            if let Some(process) = self.map.get_mut(&key(*tgid, *start_boot_ns)) {
                process.asked = true;
            }
        }
        list
    }

    /// Programs above a process, nearest first; forks that run what their parent runs are one with it.
    pub fn ancestry(&self, tgid: u32, start_boot_ns: u64) -> Vec<Bytes> {
        let mut list = Vec::new();
        let mut at = self.program_start(key(tgid, start_boot_ns));
        for _ in 0..MAX_ANCESTRY {
            let Some(parent) = self.map.get(&at).and_then(|process| process.parent) else { break };
            let Some(process) = self.map.get(&parent) else { break };
            list.extend(process.image.exe.clone());
            at = self.program_start(parent);
        }
        list
    }

    /// The nearest ancestor program that had lived long when the process started: what a loop's or a job's processes
    /// have in common. Decided once for each parent, so that a loop that grows old keeps its client.
    pub fn anchor(&mut self, tgid: u32, start_boot_ns: u64) -> Option<Bytes> {
        let start = self.program_start(key(tgid, start_boot_ns));
        let mut undecided = Vec::new();
        let mut at = self.map.get(&start)?.parent;
        let mut anchor = None;
        while let Some(parent) = at.filter(|_| undecided.len() <= 2 * MAX_ANCESTRY) {
            let Some(process) = self.map.get(&parent) else { break };
            if let Anchor::Decided(decided) = &process.anchor {
                anchor.clone_from(decided);
                break;
            }
            undecided.push(parent);
            // A server's fork for one job is as old as the server.
            let first = self.program_start(parent);
            let Some(oldest) = self.map.get(&first) else { break };
            let age_ns = start_boot_ns.saturating_sub(oldest.start_boot_ns);
            // Whatever the first process is, nothing is older.
            if (age_ns >= self.long_lived_ns || first.0 == 1) && process.image.exe.is_some() {
                anchor.clone_from(&process.image.exe);
                break;
            }
            at = oldest.parent;
        }
        for key in undecided {
            if let Some(process) = self.map.get_mut(&key) {
                process.anchor = Anchor::Decided(anchor.clone());
            }
        }
        anchor
    }

    /// The first of those that forked without an exec, down to `key`.
    fn program_start(&self, key: ProcessKey) -> ProcessKey {
        let mut at = key;
        for _ in 0..MAX_ANCESTRY {
            let Some(process) = self.map.get(&at) else { break };
            let Some(parent) = process.parent else { break };
            if !self.map.get(&parent).is_some_and(|p| runs_the_same(&p.image, &process.image)) {
                break;
            }
            at = parent;
        }
        at
    }

    /// The process by that name, which now begins if it is not known.
    fn note(&mut self, tgid: u32, start_boot_ns: u64) -> ProcessKey {
        let key = key(tgid, start_boot_ns);
        match self.map.get_mut(&key) {
            Some(process) if !process.exact || process.start_boot_ns == start_boot_ns => {
                (process.start_boot_ns, process.exact) = (start_boot_ns, true);
                // One that keeps sending is ranked again only after others have been.
                if self.notes - process.rank.1 > self.max as u64 / 4 {
                    self.rank(key);
                }
            }
            // Gone, and its number was given again within a tick.
            Some(_) | None => self.insert(key, start_boot_ns, true),
        }
        key
    }

    /// Puts an empty process in, in the place of one that had the number before.
    fn insert(&mut self, key: ProcessKey, start_boot_ns: u64, exact: bool) {
        if !self.map.contains_key(&key) && self.map.len() >= self.max {
            self.evict();
        }
        let old = self.map.remove(&key);
        if let Some(old) = &old {
            self.ranks.remove(&old.rank);
            self.unlink(old);
        }
        let children = old.map_or(0, |old| old.children);
        self.map.insert(key, Process { start_boot_ns, exact, children, ..Process::default() });
        self.rank(key);
    }

    /// Notes the parent, once.
    fn link(&mut self, key: ProcessKey, parent: ProcessKey) {
        let fits = parent.0 != 0 && parent.1 <= key.1 && parent != key;
        if !fits || self.map.get(&key).is_none_or(|process| process.parent.is_some()) {
            return;
        }
        let counted = self.map.get_mut(&parent).map(|parent| parent.children += 1).is_some();
        if counted {
            self.rank(parent);
        }
        if let Some(process) = self.map.get_mut(&key) {
            (process.parent, process.counted) = (Some(parent), counted);
        }
    }

    /// Takes a process that goes off its parent's count.
    fn unlink(&mut self, process: &Process) {
        if let (Some(parent), true) = (process.parent, process.counted)
            && let Some(entry) = self.map.get_mut(&parent)
        {
            entry.children = entry.children.saturating_sub(1);
            if entry.children == 0 {
                self.rank(parent);
            }
        }
    }

    /// Puts a process where it belongs in the order of forgetting.
    fn rank(&mut self, key: ProcessKey) {
        let Some(process) = self.map.get_mut(&key) else { return };
        self.ranks.remove(&process.rank);
        self.notes += 1;
        let class = match (process.children, process.exit_ns) {
            (0, Some(_)) => ENDED,
            (0, None) => RUNNING,
            _ => PARENT,
        };
        process.rank = (class, self.notes);
        self.ranks.insert(process.rank, key);
    }

    fn evict(&mut self) {
        let Some(((class, _), key)) = self.ranks.pop_first() else { return };
        let Some(process) = self.map.remove(&key) else { return };
        *(if class == ENDED { &mut self.expired } else { &mut self.evicted }) += 1;
        self.unlink(&process);
    }
}

/// After a fork both have one image; /proc shows two that are alike.
fn runs_the_same(parent: &Arc<Image>, child: &Arc<Image>) -> bool {
    Arc::ptr_eq(parent, child)
        || child.exe.is_some() && (&parent.exe, &parent.cmdline) == (&child.exe, &child.cmdline)
}

/// A copy where something is cut off, so that the rest is not kept alive.
fn cut(bytes: Bytes, max: usize) -> Bytes {
    if bytes.len() > max { Bytes::copy_from_slice(&bytes[..max]) } else { bytes }
}

#[cfg(test)]
mod tests;
