//! The client key: what stays the same while processes come and go.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use sensor_ebpf::abi::Owner;

use super::names::Names;
use super::place::Place;
use super::table::{Image, Process, ProcessTable};
use crate::index::Index;

/// Who a client is. Not the pid: `dig` from a shell loop is one client, however many processes it takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Process {
        /// Executable, or the leader's name where that is unknown.
        program: Bytes,
        /// What an interpreter runs.
        script: Option<Bytes>,
        uid: u32,
        /// Container, unit or cgroup: see `Place::key`; the cgroup's id where its path is unknown.
        place: String,
        /// The program that started it, or what started it, long before: see `ProcessTable::anchor`.
        anchor: Option<Bytes>,
    },
    Address(IpAddr),
}

impl Identity {
    /// Of a packet's owner, by all that is known of it now.
    pub fn of(owner: &Owner, processes: &mut ProcessTable, names: &Names) -> Self {
        let anchor = processes.anchor(owner.tgid, owner.start_boot_ns);
        let process = processes.find(owner.tgid, owner.start_boot_ns);
        let image = process.map(|process| &process.image);
        let program = image
            .and_then(|image| image.exe.clone())
            .unwrap_or_else(|| Bytes::copy_from_slice(comm(&owner.comm)));
        let cgroup = cgroup_of(owner, process);
        let place = names.place(cgroup).map_or_else(|| format!("cgroup {cgroup}"), |place| place.key.clone());
        let script = image.and_then(|image| image.script.clone());
        Self::Process { program, script, uid: owner.uid, place, anchor }
    }

    /// The same on every run and machine (FNV-1a, 64 bits): it goes into finding ids.
    pub fn stable_hash(&self) -> u64 {
        let hash = |kind: u8, parts: &[&[u8]]| {
            parts.iter().fold(fnv(FNV_START, &[kind]), |hash, part| fnv(fnv(hash, part), &[0xff]))
        };
        match self {
            Self::Process { program, script, uid, place, anchor } => {
                let script = script.as_deref().unwrap_or_default();
                let anchor = anchor.as_deref().unwrap_or_default();
                hash(1, &[program, script, &uid.to_le_bytes(), place.as_bytes(), anchor])
            }
            Self::Address(IpAddr::V4(ip)) => hash(4, &[&ip.octets(), &[], &[]]),
            Self::Address(IpAddr::V6(ip)) => hash(6, &[&ip.octets(), &[], &[]]),
        }
    }
}

/// The process's own cgroup rather than its socket's: a socket may have been handed over by the service manager.
pub(crate) fn cgroup_of(owner: &Owner, process: Option<&Process>) -> u64 {
    process.map(|process| process.cgroup_id).filter(|id| *id != 0).unwrap_or(owner.cgroup_id)
}

/// A name as the kernel pads it.
pub(crate) fn comm(padded: &[u8; 16]) -> &[u8] {
    let end = padded.iter().position(|b| *b == 0).unwrap_or(padded.len());
    &padded[..end]
}

pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

pub(crate) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// A client and what to say about it.
#[derive(Clone, Debug)]
pub struct Client {
    pub identity: Identity,
    /// Of the identity.
    pub stable_hash: u64,
    /// Address it asked from last.
    pub ip: IpAddr,
    /// Process ids and starts, first seen first, bounded.
    pub pids: Vec<(u32, u64)>,
    pub comm: [u8; 16],
    /// What the first of its processes ran, and where: kept here, since that process may soon be forgotten.
    pub image: Arc<Image>,
    pub place: Option<Arc<Place>>,
    /// Programs above that process, nearest first.
    pub ancestry: Vec<Bytes>,
    /// `sensor_ebpf::abi::grade`, the best seen.
    pub grade: u8,
}

impl Client {
    /// One that asks for the first time.
    fn new(identity: Identity, ip: IpAddr) -> Self {
        Self {
            stable_hash: identity.stable_hash(),
            identity,
            ip,
            pids: Vec::new(),
            comm: [0; 16],
            image: Arc::default(),
            place: None,
            ancestry: Vec::new(),
            grade: 0,
        }
    }
}

/// Clients by key, bounded.
#[derive(Debug)]
pub struct Clients {
    max: usize,
    max_pids: usize,
    index: Index,
    list: Vec<(u64, Client)>,
    /// When each of the list asked last: apart from it, since many are compared at a time.
    last_ns: Vec<u64>,
    /// Of each of the list, who has a copy.
    copies: Vec<Copies>,
    news: Vec<News>,
    at_hand: Option<AtHand>,
    cursor: usize,
    pub seen: u64,
    pub evicted: u64,
}

/// An address that is known while its message is looked at.
#[derive(Debug)]
struct AtHand {
    key: u64,
    ip: IpAddr,
    /// Made when it is first asked for: few messages are part of a finding.
    client: OnceCell<Box<Client>>,
}

/// Who has a copy of a client, one bit each, and whose is not what it is now.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    held: u64,
    stale: u64,
}

impl Copies {
    fn changed(&mut self) {
        self.stale = self.held;
    }
}

/// What those who have copies are to be told.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// Forgotten; who has a copy, one bit each.
    Gone { key: u64, held: u64 },
    /// Its program is another, or known by now.
    Program { key: u64, held: u64 },
}

const EVICTION_SAMPLE: usize = 16;

impl Clients {
    pub fn new(max: usize, max_pids: usize) -> Self {
        Self {
            max: max.max(1),
            max_pids: max_pids.max(1),
            index: Index::default(),
            list: Vec::new(),
            last_ns: Vec::new(),
            copies: Vec::new(),
            news: Vec::new(),
            at_hand: None,
            cursor: 0,
            seen: 0,
            evicted: 0,
        }
    }

    pub fn find(&self, key: u64) -> Option<&Client> {
        if let Some(slot) = self.slot(key) {
            return Some(&self.list[slot].1);
        }
        let AtHand { ip, client, .. } = self.at_hand.as_ref().filter(|at_hand| at_hand.key == key)?;
        Some(client.get_or_init(|| Box::new(Client::new(Identity::Address(*ip), *ip))))
    }

    /// Lets an address be found, noted or not, until the next one is.
    pub fn have_at_hand(&mut self, key: u64, ip: IpAddr) {
        if self.at_hand.as_ref().is_none_or(|at_hand| at_hand.key != key) {
            self.at_hand = Some(AtHand { key, ip, client: OnceCell::new() });
        }
    }

    /// Notes that a client asked; the one not seen for longest of a few makes room for a new one.
    pub fn note(
        &mut self,
        key: u64,
        identity: impl FnOnce() -> Identity,
        ip: IpAddr,
        now_ns: u64,
    ) -> &mut Client {
        let slot = if let Some(slot) = self.slot(key) {
            slot
        } else {
            self.seen += 1;
            let client = Client::new(identity(), ip);
            let slot = if self.list.len() < self.max {
                self.list.push((key, client));
                self.last_ns.push(now_ns);
                self.copies.push(Copies::default());
                self.list.len() - 1
            } else {
                let slot = self.oldest();
                let gone = self.list[slot].0;
                self.index.remove(&gone, slot);
                self.evicted += 1;
                let Copies { held, .. } = std::mem::take(&mut self.copies[slot]);
                if held != 0 {
                    self.news.push(News::Gone { key: gone, held });
                }
                self.list[slot] = (key, client);
                self.last_ns[slot] = now_ns;
                slot
            };
            self.index.insert(&key, slot, |slot| &self.list[slot].0);
            slot
        };
        let client = &mut self.list[slot].1;
        if client.ip != ip {
            client.ip = ip;
            self.copies[slot].changed();
        }
        self.last_ns[slot] = self.last_ns[slot].max(now_ns);
        client
    }

    /// Notes what a client's process is: the first one's facts, and the latest's where the first's were not known.
    pub fn note_facts(&mut self, key: u64, owner: &Owner, processes: &ProcessTable, names: &Names) {
        let Some(slot) = self.slot(key) else { return };
        let client = &mut self.list[slot].1;
        let copies = &mut self.copies[slot];
        let mut other_program = client.comm != owner.comm;
        if other_program || client.grade != owner.grade {
            copies.changed();
        }
        client.comm = owner.comm;
        client.grade = owner.grade;
        let known = client.image.exe.is_some() && client.place.is_some();
        if !known && let Some(process) = processes.find(owner.tgid, owner.start_boot_ns) {
            if client.image.exe.is_none() {
                let ancestry = processes.ancestry(owner.tgid, owner.start_boot_ns);
                if !Arc::ptr_eq(&client.image, &process.image) || client.ancestry != ancestry {
                    copies.changed();
                }
                client.image = Arc::clone(&process.image);
                client.ancestry = ancestry;
                other_program |= client.image.exe.is_some();
            }
            if client.place.is_none() {
                client.place = names.place(cgroup_of(owner, Some(process))).cloned();
                if client.place.is_some() {
                    copies.changed();
                }
            }
        }
        if other_program && copies.held != 0 {
            self.news.push(News::Program { key, held: copies.held });
        }
    }

    /// Adds a process to a client's list, which keeps the first and the latest.
    pub fn note_pid(&mut self, key: u64, pid: (u32, u64)) {
        let max = self.max_pids;
        if let Some(slot) = self.slot(key) {
            let pids = &mut self.list[slot].1.pids;
            if pids.last() == Some(&pid) || pids.contains(&pid) {
                return;
            }
            if pids.len() >= max {
                pids.pop();
            }
            pids.push(pid);
            self.copies[slot].changed();
        }
    }

    /// What `holder` (below 64) lacks to have what is known of a client here.
    pub fn copy_for(&mut self, holder: usize, key: u64) -> Option<&Client> {
        let slot = self.slot(key)?;
        let (copies, bit) = (&mut self.copies[slot], 1 << holder);
        let lacks = copies.held & bit == 0 || copies.stale & bit != 0;
        copies.held |= bit;
        copies.stale &= !bit;
        lacks.then(|| &self.list[slot].1)
    }

    /// Whether there is anything to be told.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What is to be told since the last call.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Takes a copy in the place of the one before.
    pub fn put(&mut self, key: u64, client: Client) {
        if let Some(slot) = self.slot(key) {
            self.list[slot].1 = client;
            return;
        }
        let slot = self.list.len();
        self.list.push((key, client));
        self.last_ns.push(0);
        self.copies.push(Copies::default());
        self.index.insert(&key, slot, |slot| &self.list[slot].0);
    }

    /// Forgets a copy.
    pub fn forget(&mut self, key: u64) {
        let Some(slot) = self.slot(key) else { return };
        self.index.remove(&key, slot);
        let last = self.list.len() - 1;
        if slot != last {
            let moved = self.list[last].0;
            self.index.remove(&moved, last);
            self.list.swap(slot, last);
            self.index.insert(&moved, slot, |slot| &self.list[slot].0);
        }
        self.list.pop();
        self.last_ns.pop();
        self.copies.pop();
    }

    fn slot(&self, key: u64) -> Option<usize> {
        self.index.find(&key, |slot| &self.list[slot].0)
    }

    fn oldest(&mut self) -> usize {
        let count = self.list.len();
        let from = self.cursor;
        self.cursor = (from + EVICTION_SAMPLE) % count;
        (0..EVICTION_SAMPLE.min(count))
            .map(|step| (from + step) % count)
            .min_by_key(|slot| self.last_ns[*slot])
            .unwrap_or(0)
    }
}

/// Bytes as text; what is not UTF-8 shows as `\xHH`, all else stays for the sink to escape.
pub fn text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_hashes_are_fixed_and_apart() {
        let process = |program: &'static [u8], uid| Identity::Process {
            program: Bytes::from_static(program),
            script: None,
            uid,
            place: "unit a.service".into(),
            anchor: None,
        };
        assert_eq!(process(b"/usr/bin/dig", 0).stable_hash(), process(b"/usr/bin/dig", 0).stable_hash());
        assert_ne!(process(b"/usr/bin/dig", 0).stable_hash(), process(b"/usr/bin/dig", 1).stable_hash());
        let scripts = [None, Some(Bytes::from_static(b"a.py"))].map(|script| Identity::Process {
            program: Bytes::from_static(b"/usr/bin/python3"),
            script,
            uid: 0,
            place: "unit a.service".into(),
            anchor: Some(Bytes::from_static(b"/usr/sbin/cron")),
        });
        assert_ne!(scripts[0].stable_hash(), scripts[1].stable_hash());
        assert_eq!(
            Identity::Address("10.0.0.1".parse().unwrap()).stable_hash(),
            14_944_161_014_720_145_401,
            "ids of findings must not change between releases"
        );
    }

    #[test]
    fn an_address_is_found_while_it_is_at_hand() {
        let mut clients = Clients::new(8, 1);
        let [near, noted]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        clients.note(2, || Identity::Address(noted), noted, 0);
        clients.have_at_hand(1, near);
        let as_noted = |clients: &Clients, key| clients.find(key).map(|client| format!("{client:?}"));
        let found = as_noted(&clients, 1).unwrap();
        clients.have_at_hand(3, noted);
        assert!(clients.find(1).is_none() && clients.find(2).is_some());
        clients.note(1, || Identity::Address(near), near, 0);
        assert_eq!(as_noted(&clients, 1).unwrap(), found);
    }

    #[test]
    fn clients_and_pids_are_bounded() {
        let mut clients = Clients::new(8, 3);
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        for key in 0..100 {
            clients.note(key, || Identity::Address(ip), ip, key);
        }
        assert_eq!((clients.list.len(), clients.seen, clients.evicted), (8, 100, 92));
        for pid in 0..10 {
            clients.note_pid(99, (pid, 0));
        }
        assert_eq!(clients.find(99).unwrap().pids, [(0, 0), (1, 0), (9, 0)]);
    }
}
