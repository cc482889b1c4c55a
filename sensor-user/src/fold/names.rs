//! Who has just asked for a name: what makes a query a twin of another, or a resolver's.

use super::recent::{Recent, Slot};
use super::resolvers::Place;

/// How a name came to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asked for.
    #[default]
    Name,
    /// Asked for with a suffix of the search list behind it.
    Stem,
    /// Parent of a name asked for at a server of this host: what a resolver that minimises (RFC 9156) asks first.
    Ancestor,
    /// Named in an answer to a resolver's upstream query; `place` holds the resolver's key.
    Target,
    /// Seen in a response without a query.
    Shown,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) asker: u64,
    /// Who the look-up is charged to: the asker, unless it passed it on.
    pub(super) owner: u64,
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// The asker is a process, not only an address.
    pub(super) by_process: bool,
    pub(super) answered: bool,
}

#[derive(Debug)]
pub(super) struct Names {
    table: Recent<Asked>,
    lookup_ns: u64,
}

impl Names {
    pub(super) fn new(size: usize, lookup_ns: u64, keep_ns: u64) -> Self {
        Self { table: Recent::new(size, keep_ns), lookup_ns }
    }

    pub(super) fn bytes(size: usize) -> usize {
        Recent::<Asked>::bytes(size)
    }

    /// When the look-up began that this asker's query for a name is part of.
    pub(super) fn twin(&self, name: u64, stem: u64, asker: u64, now_ns: u64) -> Option<u64> {
        let of = |hash| {
            self.table.all(hash).map(|(_, slot)| slot).filter(|slot| {
                let asked = slot.value;
                asked.asker == asker
                    && asked.owner == asker
                    && matches!(asked.kind, Kind::Name | Kind::Stem)
                    && now_ns.abs_diff(slot.time_ns) <= self.lookup_ns
            })
        };
        let with_suffix = (stem != name).then(|| of(stem)).into_iter().flatten();
        of(name).chain(with_suffix).map(|slot| slot.time_ns).min()
    }

    pub(super) fn put(&mut self, name: u64, time_ns: u64, asked: Asked) {
        self.table.put(name, time_ns, asked, |other| {
            (other.asker, other.place.hash, other.kind) == (asked.asker, asked.place.hash, asked.kind)
        });
    }

    /// Everything known of a name.
    pub(super) fn all(&self, name: u64) -> impl Iterator<Item = Slot<'_, Asked>> {
        self.table.all(name).map(|(_, slot)| slot)
    }

    /// A socket on this host took an asker's query in: the server that was asked is here.
    pub(super) fn taken_in(&mut self, name: u64, asker: u64, place: u64, by: Place) {
        self.amend(name, asker, place, |asked| asked.place.local = true);
        let moved = self.all(name).find(|slot| {
            let asked = slot.value;
            asked.asker == asker && asked.place.hash == place && asked.kind == Kind::Name && place != by.hash
        });
        if let Some((time_ns, asked)) = moved.map(|slot| (slot.time_ns, *slot.value)) {
            self.put(name, time_ns, Asked { place: by, ..asked });
        }
    }

    /// Changes what is known of an asker's query.
    pub(super) fn amend(&mut self, name: u64, asker: u64, place: u64, change: impl Fn(&mut Asked)) {
        let is =
            |asked: &Asked| asked.asker == asker && asked.place.hash == place && asked.kind == Kind::Name;
        let at = self.table.all(name).find(|(_, slot)| is(slot.value)).map(|(at, _)| at);
        if let Some(at) = at {
            change(self.table.at(at));
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.table.evicted
    }
}
