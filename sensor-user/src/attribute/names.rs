//! Names behind the numbers in records: users and cgroups. The rim resolves each once, before the record that needs it
//! goes on, so that a fact that comes late never makes two clients out of one.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::HashMap;
use sensor_ebpf::abi::grade;

use super::place::{MAX_PATH, Place, place};
use super::{ProcessTable, Settings};
use crate::event::Event;

/// What the rim should look up before an event is handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Process id and start, for /proc.
    pub process: Option<(u32, u64)>,
    /// A cgroup's id, and a process that was in it.
    pub cgroup: Option<(u64, u32)>,
    pub uid: Option<u32>,
}

impl Wanted {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug)]
pub struct Names {
    users: Cache<u32, Option<String>>,
    places: Cache<u64, Option<Arc<Place>>>,
}

/// Users and cgroups remembered, each: more than a host has at a time; a name that was forgotten is looked up again.
const MAX_NAMES: usize = 2048;

impl Names {
    /// Unit, container and key of a place repeat parts of its path.
    pub const WORST_CASE_BYTES: usize = MAX_NAMES * (2 * MAX_PATH + size_of::<Place>() + 256);

    pub fn new(settings: &Settings) -> Self {
        let max = settings.max_processes.min(MAX_NAMES);
        Self { users: Cache::new(max), places: Cache::new(max) }
    }

    /// Login name of a user, or that there is none.
    pub fn learn_user(&mut self, uid: u32, name: Option<String>) {
        self.users.put(uid, name);
    }

    /// Path of a cgroup below the hierarchy's root, or that it cannot be known.
    pub fn learn_cgroup(&mut self, id: u64, path: Option<&[u8]>) {
        self.places.put(id, path.map(|path| Arc::new(place(path))));
    }

    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid)?.as_deref()
    }

    pub fn place(&self, cgroup_id: u64) -> Option<&Arc<Place>> {
        self.places.get(&cgroup_id)?.as_ref()
    }

    pub fn evicted(&self) -> u64 {
        self.users.evicted + self.places.evicted
    }

    /// What is not known yet and may be gone soon.
    pub fn wanted(&self, event: &Event, processes: &ProcessTable) -> Wanted {
        match event {
            Event::Packet(packet) => {
                let owner = &packet.owner;
                if owner.grade == grade::NONE || owner.tgid == 0 {
                    return Wanted::default();
                }
                let process = processes.find(owner.tgid, owner.start_boot_ns);
                if process.is_some_and(|process| process.client.is_some()) {
                    return Wanted::default();
                }
                let cgroup = process.map_or(owner.cgroup_id, |p| {
                    if p.cgroup_id == 0 { owner.cgroup_id } else { p.cgroup_id }
                });
                Wanted {
                    process: processes
                        .is_unknown(owner.tgid, owner.start_boot_ns)
                        .then_some((owner.tgid, owner.start_boot_ns)),
                    cgroup: self.unknown_cgroup(cgroup, owner.tgid),
                    uid: self.users.get(&owner.uid).is_none().then_some(owner.uid),
                }
            }
            Event::Exec(exec) => Wanted {
                process: parent(processes, exec.ppid, exec.parent_start_boot_ns),
                cgroup: self.unknown_cgroup(exec.cgroup_id, exec.tgid),
                uid: None,
            },
            Event::Fork(fork) => Wanted {
                process: parent(processes, fork.ppid, fork.parent_start_boot_ns),
                cgroup: self.unknown_cgroup(fork.cgroup_id, fork.tgid),
                uid: None,
            },
            Event::Exit(_) => Wanted::default(),
        }
    }

    fn unknown_cgroup(&self, id: u64, tgid: u32) -> Option<(u64, u32)> {
        (id != 0 && self.places.get(&id).is_none()).then_some((id, tgid))
    }
}

fn parent(processes: &ProcessTable, tgid: u32, start_boot_ns: u64) -> Option<(u32, u64)> {
    (tgid != 0 && processes.find(tgid, start_boot_ns).is_none()).then_some((tgid, start_boot_ns))
}

/// A bounded map; the oldest entry goes first.
#[derive(Debug)]
struct Cache<K, V> {
    max: usize,
    map: HashMap<K, V>,
    order: VecDeque<K>,
    evicted: u64,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    fn new(max: usize) -> Self {
        Self { max: max.max(1), map: HashMap::default(), order: VecDeque::new(), evicted: 0 }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    fn put(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_some() {
            return;
        }
        if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
            self.evicted += 1;
        }
        self.order.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_what_is_unknowable_is_not_asked_again() {
        let mut names = Names::new(&Settings { max_processes: 4, ..Settings::default() });
        for uid in 0..100 {
            names.learn_user(uid, (uid % 2 == 0).then(|| format!("u{uid}")));
            names.learn_user(uid, Some("again".into()));
        }
        assert_eq!((names.users.map.len(), names.users.order.len(), names.evicted()), (4, 4, 96));
        assert_eq!((names.user(99), names.user(0)), (Some("again"), None));
        names.learn_cgroup(7, Some(b"/system.slice/a.service"));
        names.learn_cgroup(8, None);
        assert_eq!(names.place(7).unwrap().unit.as_deref(), Some("a.service"));
        assert!(names.place(8).is_none() && names.unknown_cgroup(8, 1).is_none());
        assert_eq!(names.unknown_cgroup(9, 1), Some((9, 1)));
    }
}
