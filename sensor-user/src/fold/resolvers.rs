//! Which process answers at which address: what makes an asker a resolver that passes on another's look-up.
//!
//! A role is a process's, not a namespace's: Docker's resolver answers from a socket inside the container's network
//! namespace and asks upstream from another one.

use std::hash::BuildHasher;
use std::net::IpAddr;

use super::recent::Recent;

/// Roles remembered.
const MAX_ROLES: usize = 1024;

/// An asker as a resolver is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Key of the client it belongs to.
    pub key: u64,
    /// Hash that names one process for ever; `None` where only the address is known.
    pub process: Option<u64>,
}

/// Where a server is asked. Loopback addresses are another place in each network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) hash: u64,
    /// 0 where it does not matter, or is not known.
    pub(super) netns: u32,
    pub(super) loopback: bool,
    /// On this host, by its address or by a socket that took the query in.
    pub(super) local: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Role {
    key: u64,
    process: u64,
    /// Seen answering, or listening at start; else it only asked upstream at the right moment.
    confirmed: bool,
    /// Seen passing a look-up on.
    forwards: bool,
}

impl Role {
    fn is(&self, asker: Asker) -> bool {
        Some(self.process) == asker.process || self.key == asker.key
    }
}

/// What is known of an asker at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    Yes,
    /// Nobody is known to answer there, and this one was the first that could.
    Perhaps,
    /// Nobody is known to answer there.
    Unknown,
    /// Others are known to answer there.
    Others,
}

#[derive(Debug)]
pub(super) struct Resolvers<S> {
    seed: S,
    roles: Recent<Role>,
    /// Any role was noted: in captures none ever is.
    any: bool,
}

/// Kinds of hashes: one address,
const AT: u8 = 0;
/// a socket that answers at all addresses of a namespace,
const ANY: u8 = 1;
/// a process that has such a socket somewhere.
const WILD: u8 = 2;

impl<S> Resolvers<S> {
    pub(super) fn bytes() -> usize {
        Recent::<Role>::bytes(MAX_ROLES)
    }
}

impl<S: BuildHasher> Resolvers<S> {
    pub(super) fn new(seed: S) -> Self {
        // Roles have no end: the one noted longest ago goes.
        Self { seed, roles: Recent::new(MAX_ROLES, u64::MAX), any: false }
    }

    /// Whether anybody is known to answer anywhere.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Where a server at `ip` is asked from the namespace `netns`.
    pub(super) fn place(&self, ip: IpAddr, netns: u32) -> Place {
        let loopback = ip.is_loopback();
        let netns = if loopback { netns } else { 0 };
        Place { hash: self.seed.hash_one((AT, ip, netns)), netns, loopback, local: loopback }
    }

    /// A process answers (or listens) on port 53 at an address, or at all of them.
    pub(super) fn learn(&mut self, ip: IpAddr, netns: u32, asker: Asker, now_ns: u64) {
        let Some(process) = asker.process else { return };
        if ip.is_unspecified() {
            self.note(self.seed.hash_one((ANY, netns)), asker, true, now_ns);
            self.note(self.seed.hash_one((WILD, process)), asker, true, now_ns);
        } else {
            self.note(self.place(ip, netns).hash, asker, true, now_ns);
        }
    }

    /// A process asked upstream at the right moment for somebody who asked at this place.
    pub(super) fn suppose(&mut self, place: u64, asker: Asker, now_ns: u64) {
        self.note(place, asker, false, now_ns);
    }

    fn note(&mut self, place: u64, asker: Asker, confirmed: bool, now_ns: u64) {
        let Some(process) = asker.process else { return };
        let same = |role: &Role| role.process == process;
        let old = self.roles.all(place).find(|(_, slot)| same(slot.value)).map(|(_, slot)| *slot.value);
        let old = old.unwrap_or_default();
        // A client's key is not known yet when a listener is found at start.
        let key = if asker.key == 0 { old.key } else { asker.key };
        let role = Role { key, process, confirmed: confirmed || old.confirmed, forwards: old.forwards };
        self.roles.put(place, now_ns, role, same);
        self.any = true;
    }

    /// What is known of `asker` as the one who was asked at a place.
    pub(super) fn serves(&self, at: &Place, asker: Asker) -> Serves {
        if !self.any {
            return Serves::Unknown;
        }
        let is = |role: &Role| role.is(asker);
        match self.look(at.hash, is) {
            Serves::Unknown if at.local => {}
            known => return known,
        }
        if at.loopback {
            return self.look(self.seed.hash_one((ANY, at.netns)), is);
        }
        let wild = asker.process.map(|process| self.seed.hash_one((WILD, process)));
        if wild.is_some_and(|wild| self.roles.all(wild).next().is_some()) {
            Serves::Yes
        } else {
            Serves::Unknown
        }
    }

    fn look(&self, place: u64, is: impl Fn(&Role) -> bool) -> Serves {
        let (mut perhaps, mut others, mut sure_others) = (false, false, false);
        for role in self.roles.all(place).map(|(_, slot)| slot.value) {
            match (role.confirmed, is(role)) {
                (true, true) => return Serves::Yes,
                (true, false) => sure_others = true,
                (false, true) => perhaps = true,
                (false, false) => others = true,
            }
        }
        match (sure_others, perhaps, others) {
            (true, ..) | (_, false, true) => Serves::Others,
            (_, true, _) => Serves::Perhaps,
            _ => Serves::Unknown,
        }
    }

    /// Whether anybody is known to answer there.
    pub(super) fn is_known(&self, place: u64) -> bool {
        self.any && self.roles.all(place).any(|(_, slot)| slot.value.confirmed)
    }

    /// The asker was seen to pass on what it was asked at this place.
    pub(super) fn forwards(&mut self, place: u64, asker: Asker) {
        let at = self.roles.all(place).find(|(_, slot)| slot.value.is(asker)).map(|(at, _)| at);
        if let Some(at) = at {
            let role = self.roles.at(at);
            role.forwards = true;
            role.key = asker.key;
        }
    }

    /// The client key of the one resolver that passes on what it is asked at this place.
    pub(super) fn via(&self, place: u64) -> Option<u64> {
        let mut keys = self.roles.all(place).map(|(_, slot)| slot.value).filter(|role| role.confirmed);
        let first = keys.next()?;
        (first.forwards && keys.all(|other| other.key == first.key)).then_some(first.key)
    }

    pub(super) fn evicted(&self) -> u64 {
        self.roles.evicted
    }
}
