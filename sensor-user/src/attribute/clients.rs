//! The client key: what stays the same while processes come and go.

use std::net::IpAddr;

use bytes::Bytes;
use foldhash::HashMap;

/// Who a client is. Not the pid: `dig` from a shell loop is one client, however many processes it takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Process {
        /// Executable, or the leader's name where that is unknown.
        program: Bytes,
        uid: u32,
        cgroup_id: u64,
    },
    Address(IpAddr),
}

impl Identity {
    /// The same on every run and machine (FNV-1a, 64 bits): it goes into finding ids.
    pub fn stable_hash(&self) -> u64 {
        let (kind, parts): (u8, [&[u8]; 3]) = match self {
            Self::Process { program, uid, cgroup_id } => {
                (1, [program, &uid.to_le_bytes(), &cgroup_id.to_le_bytes()])
            }
            Self::Address(IpAddr::V4(ip)) => (4, [&ip.octets(), &[], &[]]),
            Self::Address(IpAddr::V6(ip)) => (6, [&ip.octets(), &[], &[]]),
        };
        parts.into_iter().fold(fnv(FNV_START, &[kind]), |hash, part| fnv(fnv(hash, part), &[0xff]))
    }
}

pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

pub(crate) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// A client and what to say about it.
#[derive(Clone, Debug)]
pub struct Client {
    pub identity: Identity,
    /// Address it asked from last.
    pub ip: IpAddr,
    /// Process ids and starts, first seen first, bounded.
    pub pids: Vec<(u32, u64)>,
    pub comm: [u8; 16],
    /// `sensor_ebpf::abi::grade`, the best seen.
    pub grade: u8,
    last_ns: u64,
}

/// Clients by key, bounded.
#[derive(Debug)]
pub struct Clients {
    max: usize,
    max_pids: usize,
    index: HashMap<u64, u32>,
    list: Vec<(u64, Client)>,
    cursor: usize,
    pub seen: u64,
    pub evicted: u64,
}

const EVICTION_SAMPLE: usize = 16;

impl Clients {
    pub fn new(max: usize, max_pids: usize) -> Self {
        Self {
            max: max.max(1),
            max_pids: max_pids.max(1),
            index: HashMap::default(),
            list: Vec::new(),
            cursor: 0,
            seen: 0,
            evicted: 0,
        }
    }

    pub fn find(&self, key: u64) -> Option<&Client> {
        self.index.get(&key).map(|slot| &self.list[*slot as usize].1)
    }

    /// Notes that a client asked; the one not seen for longest of a few makes room for a new one.
    pub fn note(
        &mut self,
        key: u64,
        identity: impl FnOnce() -> Identity,
        ip: IpAddr,
        now_ns: u64,
    ) -> &mut Client {
        let slot = if let Some(slot) = self.index.get(&key) {
            *slot as usize
        } else {
            self.seen += 1;
            let client = Client {
                identity: identity(),
                ip,
                pids: Vec::new(),
                comm: [0; 16],
                grade: 0,
                last_ns: now_ns,
            };
            let slot = if self.list.len() < self.max {
                self.list.push((key, client));
                self.list.len() - 1
            } else {
                let slot = self.oldest();
                self.index.remove(&self.list[slot].0);
                self.evicted += 1;
                self.list[slot] = (key, client);
                slot
            };
            self.index.insert(key, slot as u32);
            slot
        };
        let client = &mut self.list[slot].1;
        client.ip = ip;
        client.last_ns = client.last_ns.max(now_ns);
        client
    }

    /// Adds a process to a client's list, which keeps the first and the latest.
    pub fn note_pid(&mut self, key: u64, pid: (u32, u64)) {
        let max = self.max_pids;
        if let Some(slot) = self.index.get(&key) {
            let pids = &mut self.list[*slot as usize].1.pids;
            if pids.last() == Some(&pid) || pids.contains(&pid) {
                return;
            }
            if pids.len() >= max {
                pids.pop();
            }
            pids.push(pid);
        }
    }

    fn oldest(&mut self) -> usize {
        let count = self.list.len();
        let from = self.cursor;
        self.cursor = (from + EVICTION_SAMPLE) % count;
        (0..EVICTION_SAMPLE.min(count))
            .map(|step| (from + step) % count)
            .min_by_key(|slot| self.list[*slot].1.last_ns)
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
            uid,
            cgroup_id: 1,
        };
        assert_eq!(process(b"/usr/bin/dig", 0).stable_hash(), process(b"/usr/bin/dig", 0).stable_hash());
        assert_ne!(process(b"/usr/bin/dig", 0).stable_hash(), process(b"/usr/bin/dig", 1).stable_hash());
        assert_eq!(
            Identity::Address("10.0.0.1".parse().unwrap()).stable_hash(),
            14_944_161_014_720_145_401,
            "ids of findings must not change between releases"
        );
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
