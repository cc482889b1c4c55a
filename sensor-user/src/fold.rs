//! One look-up out of many packets: duplicate legs, retries, A/AAAA/HTTPS twins, search lists, a resolver's own upstream
//! queries.
//!
//! Three small tables. *Legs* know each message by its ends, id and name: a message seen at several hooks (sender's
//! socket, wire, receiver's socket, behind a masquerading gateway) counts once, and a response finds the client that
//! asked. *Names* know who has just asked for a name, and where. *Resolvers* know which process answers where: one that
//! asks for a name just after it was itself asked for it passes the look-up on, and is not charged.
//!
//! The safe side: bytes count as often as somebody who is not known to pass them on sends them. Two applications that
//! ask for one name are each charged for it, since a look-up wrongly folded would hide; a resolver that is only
//! plausible (nobody is known to answer where the application asked) is folded, marked as inferred, since then the
//! application is charged in full for the same name all the same. Whoever repeats what another one asks says nothing new.

mod legs;
mod names;
mod recent;
mod resolvers;

use std::cell::LazyCell;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use crate::event::{Transport, View};
use legs::{LegSeen, Legs, RESPONSE_NS};
use names::{Asked, Kind, Names};
use resolvers::{Place, Resolvers, Serves};

pub use resolvers::Asker;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Two records of one message (same ends, id and name) within this time are one, seen at two hooks; milliseconds.
    pub duplicate_ms: u64,
    /// A name asked again by the same client, or passed on, within this time is the same look-up; milliseconds.
    pub lookup_ms: u64,
    /// Recent queries remembered; the oldest goes first.
    pub max_recent: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { duplicate_ms: 2000, lookup_ms: 2000, max_recent: 16384 }
    }
}

impl Settings {
    /// Bytes of all tables.
    pub fn worst_case_bytes(&self) -> usize {
        Legs::<()>::bytes(self.max_recent) + Names::bytes(self.max_recent) + Resolvers::<()>::bytes()
    }
}

/// How many times `lookup_ms` a known resolver may take: it asks one server after another (unbound gives up after some
/// ten seconds), and only for what it was asked.
const RESOLVER_PATIENCE: u64 = 5;

/// A query or response as both ends know it, and where it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub transport: Transport,
    pub id: u16,
    /// Keyed hash of the lower-cased name.
    pub name: u64,
    pub qtype: u16,
    pub view: View,
    pub ifindex: u32,
    /// Network namespace of the socket or interface; 0 if unknown.
    pub netns: u32,
}

impl Leg {
    /// One bit that tells hooks apart, none for captures. Interfaces of one view share eight: where two have the same, a
    /// retry may pass for the same message at another hook.
    fn hook(&self) -> u32 {
        match self.view {
            View::Capture => 0,
            view => {
                let mixed = (self.ifindex ^ self.netns.rotate_left(16)).wrapping_mul(0x9e37_79b9) >> 29;
                1 << (view as u32 % 4 * 8 + mixed)
            }
        }
    }
}

/// A query and who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub leg: Leg,
    pub asker: Asker,
    /// Hash of the name without a suffix of the search list; the name's own where there is none.
    pub stem: u64,
    /// Hashes of the name's parents; see `wants_ancestors`.
    pub ancestors: &'a [u64],
}

/// Whose look-up a message is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// Key of who sent the query.
    pub asker: u64,
    /// Key of who is charged: the asker, unless it passed it on.
    pub owner: u64,
    /// The owner, or that it is the same message, is a guess.
    pub inferred: bool,
    /// It is the same message by all but the namespace, or the one end that was rewritten.
    pub loosely: bool,
    /// A socket of this host sent the query: the asker is more than an address on the wire.
    pub at_socket: bool,
}

/// What a query is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The first of its look-up.
    First,
    /// The same message at another hook.
    Duplicate(Whose),
    /// Retry, twin (another type) or next of a search list, by the same asker.
    Twin,
    /// A resolver's upstream query for another asker's look-up; `ambiguous` if several could be meant.
    Forwarded { whose: Whose, ambiguous: bool },
}

/// Who a response belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Query(Whose),
    /// The same response at another hook; who asked, if its query was seen.
    Duplicate(Option<Whose>),
    /// No query was seen; `true` if the name has just been asked all the same.
    Unknown(bool),
}

#[derive(Debug)]
pub struct Fold<S> {
    duplicate_ns: u64,
    lookup_ns: u64,
    legs: Legs<S>,
    names: Names,
    resolvers: Resolvers<S>,
}

impl<S: BuildHasher + Clone> Fold<S> {
    pub fn new(settings: &Settings, seed: S) -> Self {
        let lookup_ns = settings.lookup_ms * 1_000_000;
        Self {
            duplicate_ns: settings.duplicate_ms * 1_000_000,
            lookup_ns,
            legs: Legs::new(settings.max_recent, seed.clone()),
            names: Names::new(settings.max_recent, lookup_ns, lookup_ns * RESOLVER_PATIENCE),
            resolvers: Resolvers::new(seed),
        }
    }

    /// Takes another time for duplicates; the others are those of the tables, and stay.
    pub fn retune(&mut self, settings: &Settings) {
        self.duplicate_ns = settings.duplicate_ms * 1_000_000;
    }

    /// Whether a query's ancestors are worth their hashes: only a resolver on this host asks for them.
    pub fn wants_ancestors(&self, leg: &Leg) -> bool {
        let is_here = leg.server.ip().is_loopback() || leg.view == View::HostIngress;
        is_here || (self.resolvers.any() && self.place(leg).local)
    }

    /// Takes a query.
    pub fn query(&mut self, query: &Query<'_>, now_ns: u64) -> Seen {
        let (leg, asker) = (&query.leg, query.asker);
        if let Some(whose) = self.duplicate(leg, now_ns) {
            return Seen::Duplicate(whose);
        }
        let place = self.place(leg);
        let own = Whose {
            asker: asker.key,
            owner: asker.key,
            at_socket: leg.view == View::HostEgress,
            ..Whose::default()
        };
        let (seen, owner, since_ns) =
            if let Some(since_ns) = self.names.twin(leg.name, query.stem, asker.key, now_ns) {
                (Seen::Twin, asker.key, since_ns)
            } else if let Some(forward) = self.forwarded(query, place, now_ns) {
                let whose = Whose { asker: asker.key, owner: forward.owner, inferred: !forward.sure, ..own };
                let ambiguous = forward.ambiguous;
                (Seen::Forwarded { whose, ambiguous }, forward.owner, forward.since_ns)
            } else {
                (Seen::First, asker.key, now_ns)
            };
        let asked = Asked {
            asker: asker.key,
            owner,
            place,
            kind: Kind::Name,
            by_process: asker.process.is_some(),
            answered: false,
        };
        // A twin's names keep the time of the first, so that a look-up has an end.
        self.names.put(leg.name, since_ns, asked);
        if query.stem != leg.name {
            self.names.put(query.stem, since_ns, Asked { kind: Kind::Stem, ..asked });
        }
        for ancestor in query.ancestors {
            self.names.put(*ancestor, since_ns, Asked { kind: Kind::Ancestor, ..asked });
        }
        let whose = match seen {
            Seen::Forwarded { whose, .. } => whose,
            _ => own,
        };
        let hook = leg.hook();
        let leg_seen = LegSeen {
            whose,
            place: place.hash,
            asked: true,
            first_hook: hook,
            hooks: hook,
            ..LegSeen::default()
        };
        self.legs.put(leg, now_ns, leg_seen);
        seen
    }

    /// Takes a response. One without a query is remembered as such only: anybody can send it, and it must not stand for
    /// the query that may yet come. `repeat`: to a query that the novelty filter kept back; the address that asked then.
    pub fn response(&mut self, leg: &Leg, repeat: Option<u64>, now_ns: u64) -> Answers {
        let hook = leg.hook();
        if let Some((at, matched)) = self.legs.find(leg, true, RESPONSE_NS, now_ns) {
            let seen = self.legs.at(at);
            let whose = matched.of(seen.whose);
            let again = hook != 0 && seen.answered_hooks & hook != 0;
            if seen.answered_ns != 0 && now_ns.abs_diff(seen.answered_ns) <= self.duplicate_ns && !again {
                seen.answered_hooks |= hook;
                return Answers::Duplicate(seen.asked.then_some(whose));
            }
            (seen.answered_ns, seen.answered_hooks) = (now_ns, hook);
            if seen.asked {
                let place = seen.place;
                self.names.amend(leg.name, whose.asker, place, |asked| asked.answered = true);
                return Answers::Query(whose);
            }
        } else {
            let seen = LegSeen { answered_ns: now_ns, answered_hooks: hook, ..LegSeen::default() };
            self.legs.put(leg, now_ns, seen);
        }
        if let Some(whose) = repeat.and_then(|address| self.repeated(leg, address, now_ns)) {
            return Answers::Query(whose);
        }
        let recent = self.names.all(leg.name).any(|slot| {
            matches!(slot.value.kind, Kind::Name | Kind::Shown)
                && now_ns.abs_diff(slot.time_ns) <= RESPONSE_NS
        });
        if !recent {
            self.names.put(leg.name, now_ns, Asked { kind: Kind::Shown, ..Asked::default() });
        }
        Answers::Unknown(recent)
    }

    /// A process answers, or listens, on port 53 of an address in a namespace; of all addresses if it is unspecified.
    pub fn answers_at(&mut self, ip: IpAddr, netns: u32, asker: Asker, now_ns: u64) {
        self.resolvers.learn(ip, netns, asker, now_ns);
    }

    /// An answer to a look-up that was passed on names others (CNAME, NS): the resolver may have to ask for them.
    pub fn led_to(&mut self, whose: Whose, targets: impl Iterator<Item = u64>, now_ns: u64) {
        if whose.asker == whose.owner {
            return;
        }
        let place = Place { hash: whose.asker, ..Place::default() };
        for target in targets {
            let asked = Asked {
                asker: whose.owner,
                owner: whose.owner,
                place,
                kind: Kind::Target,
                by_process: true,
                answered: false,
            };
            self.names.put(target, now_ns, asked);
        }
    }

    /// The key of the resolver that passes on what is asked at this leg's server, if one is known to.
    pub fn via(&self, leg: &Leg) -> Option<u64> {
        self.resolvers.any().then(|| self.resolvers.via(self.place(leg).hash))?
    }

    /// What was forgotten before its time was over.
    pub fn evicted(&self) -> u64 {
        self.legs.evicted() + self.names.evicted() + self.resolvers.evicted()
    }

    /// Who asked for a name so that a query of theirs was a repeat: the address, else the process that did last.
    fn repeated(&self, leg: &Leg, address: u64, now_ns: u64) -> Option<Whose> {
        let place = self.place(leg).hash;
        let mut asked: Vec<_> = self
            .names
            .all(leg.name)
            .filter(|slot| slot.value.kind == Kind::Name && slot.value.place.hash == place)
            .filter(|slot| slot.value.by_process || slot.value.asker == address)
            .filter(|slot| now_ns.abs_diff(slot.time_ns) <= RESPONSE_NS)
            .collect();
        asked.sort_unstable_by_key(|slot| (slot.value.asker != address, std::cmp::Reverse(slot.time_ns)));
        let (first, others) = asked.split_first()?;
        let first = first.value;
        Some(Whose {
            asker: first.asker,
            owner: first.owner,
            inferred: first.asker != address && !others.is_empty(),
            at_socket: first.by_process,
            ..Whose::default()
        })
    }

    fn place(&self, leg: &Leg) -> Place {
        let place = self.resolvers.place(leg.server.ip(), leg.netns);
        let local = place.local || leg.view == View::HostIngress || self.resolvers.is_known(place.hash);
        Place { local, ..place }
    }

    /// The same message at another hook. At the hook where it was charged it is sent anew.
    fn duplicate(&mut self, leg: &Leg, now_ns: u64) -> Option<Whose> {
        let (at, matched) = self.legs.find(leg, false, self.duplicate_ns, now_ns)?;
        let hook = leg.hook();
        let seen = self.legs.at(at);
        if !seen.asked || (hook != 0 && seen.first_hook == hook) {
            return None;
        }
        seen.hooks |= hook;
        let (whose, place) = (seen.whose, seen.place);
        if leg.view == View::HostIngress {
            // A socket of this host takes it in, perhaps at another address than the one that was asked.
            let taken_in = self.place(leg);
            self.names.taken_in(leg.name, whose.asker, place, taken_in);
        }
        Some(matched.of(whose))
    }

    /// Whether the asker is the resolver that somebody else has just asked for this name, or for one below it.
    fn forwarded(&mut self, query: &Query<'_>, place: Place, now_ns: u64) -> Option<Forward> {
        let (asker, leg) = (query.asker, &query.leg);
        let from = LazyCell::new(|| self.resolvers.place(leg.client.ip(), leg.netns).hash);
        let mut best: Option<(Rank, Forward, Place, Serves)> = None;
        for slot in self.names.all(leg.name) {
            let asked = slot.value;
            let theirs = matches!(asked.kind, Kind::Name | Kind::Ancestor | Kind::Target)
                && asked.asker != asker.key
                && asked.owner != asker.key;
            let age_ns = now_ns.abs_diff(slot.time_ns);
            if !theirs || age_ns > self.lookup_ns * RESOLVER_PATIENCE {
                continue;
            }
            let serves = match asked.kind {
                Kind::Target if asked.place.hash == asker.key => Serves::Yes,
                Kind::Target => continue,
                _ => self.resolvers.serves(&asked.place, asker),
            };
            let sure = match serves {
                Serves::Yes => true,
                _ if age_ns > self.lookup_ns => continue,
                Serves::Perhaps => false,
                Serves::Unknown if asked.place.local => false,
                Serves::Others if asked.place.local && asker.process.is_none() => false,
                // Two addresses: the one that was asked passes on; so may another that asks elsewhere meanwhile.
                Serves::Unknown if asker.process.is_none() && !asked.by_process => {
                    let asked_there = asked.place.hash == *from;
                    if !asked_there && (asked.answered || asked.place.hash == place.hash) {
                        continue;
                    }
                    asked_there
                }
                Serves::Unknown | Serves::Others => continue,
            };
            let rank = (!sure, asked.kind != Kind::Name);
            let forward = Forward { owner: asked.owner, since_ns: slot.time_ns, sure, ambiguous: false };
            match &mut best {
                Some((better, ..)) if *better < rank => {}
                Some((same, first, ..)) if *same == rank => {
                    first.ambiguous |= first.owner != forward.owner;
                    if (forward.since_ns, forward.owner) < (first.since_ns, first.owner) {
                        first.owner = forward.owner;
                        first.since_ns = forward.since_ns;
                    }
                }
                _ => best = Some((rank, forward, asked.place, serves)),
            }
        }
        let (_, mut forward, asked_at, serves) = best?;
        match serves {
            Serves::Yes => self.resolvers.forwards(asked_at.hash, asker),
            Serves::Unknown if asked_at.local => self.resolvers.suppose(asked_at.hash, asker, now_ns),
            _ => {}
        }
        forward.sure &= !forward.ambiguous;
        Some(forward)
    }
}

/// Worse is more: not sure, not the very name.
type Rank = (bool, bool);

#[derive(Clone, Copy, Debug)]
struct Forward {
    owner: u64,
    since_ns: u64,
    sure: bool,
    ambiguous: bool,
}

#[cfg(test)]
mod tests;
