//! Work on its way to a shard's thread and back.
//!
//! Messages are written into places that are used over and over, and stay there: what is moved from thread to thread is
//! the list, not what is on it.

use std::sync::Arc;

use super::super::shard::{About, Answered, Asked, Said};
use crate::attribute::Client;
use crate::detect::reputation::Feed;
use crate::dns::{Canonical, Outline};
use crate::event::Event;
use crate::ledger::Key;

/// One piece of work; `at` is the place of its message.
#[derive(Debug)]
pub(super) enum Op {
    /// `claimed`: afterwards, whether a finding about its client and zone is open.
    Query {
        at: usize,
        asked: Asked,
        claimed: bool,
    },
    /// `is_received`: goes onto the accounts too.
    Response {
        at: usize,
        answered: Answered,
        is_received: bool,
    },
    /// A response on the accounts alone.
    Received {
        answered: Answered,
        zone: u64,
        now_ns: u64,
    },
    Via {
        key: Key,
        by: u64,
    },
    Sweep {
        now_ns: u64,
    },
    Client {
        key: u64,
        client: Option<Box<Client>>,
    },
    Forget {
        key: u64,
    },
    User {
        uid: u32,
        name: Option<String>,
    },
    Feed(Arc<Feed>),
}

/// A message with what was made of it.
#[derive(Debug)]
pub(super) struct Parcel {
    /// A packet; `None` only until it is put in.
    pub(super) event: Option<Event>,
    pub(super) outline: Outline,
    pub(super) name: Canonical,
    pub(super) about: About,
}

#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Each with its number.
    pub(super) ops: Vec<(u64, Op)>,
    /// Messages, and behind those `used` what is left of earlier ones.
    pub(super) parcels: Vec<Parcel>,
    used: usize,
    /// What has to be done after the shards, in order: number, place in `ops`; and how much of it is done.
    pub(super) after: Vec<(u64, usize)>,
    next: usize,
}

impl Batch {
    /// One with room for so many: it does not move as it grows.
    pub(super) fn with_room(count: usize) -> Self {
        Self { ops: Vec::with_capacity(count), parcels: Vec::with_capacity(count), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Number of the first piece of work.
    pub(super) fn first(&self) -> Option<u64> {
        self.ops.first().map(|(number, _)| *number)
    }

    pub(super) fn push(&mut self, number: u64, op: Op) {
        self.ops.push((number, op));
    }

    /// Puts in what was made of a message; where it is. The packet is yet to come.
    pub(super) fn put(&mut self, said: Said<'_>, about: &About) -> usize {
        let at = self.used;
        self.used += 1;
        let Said { message, name, .. } = said;
        if let Some(parcel) = self.parcels.get_mut(at) {
            parcel.outline = message.outline();
            parcel.name.clone_from(name);
            parcel.about = *about;
        } else {
            let outline = message.outline();
            self.parcels.push(Parcel { event: None, outline, name: name.clone(), about: *about });
        }
        at
    }

    /// Puts in the packet of a message that was put in.
    pub(super) fn carry(&mut self, at: usize, event: Event) {
        self.parcels[at].event = Some(event);
    }

    /// Number of what is next to be done after the shards.
    pub(super) fn head(&self) -> Option<u64> {
        self.after.get(self.next).map(|(number, _)| *number)
    }

    /// Takes what is next to be done after the shards.
    pub(super) fn pass(&mut self) -> Option<(u64, &Op, &[Parcel])> {
        let (number, at) = *self.after.get(self.next)?;
        self.next += 1;
        Some((number, &self.ops[at].1, &self.parcels))
    }

    /// Empties it; messages' bytes are let go, room is kept.
    pub(super) fn clear(&mut self) {
        for parcel in &mut self.parcels[..self.used] {
            parcel.event = None;
        }
        self.ops.clear();
        self.after.clear();
        (self.used, self.next) = (0, 0);
    }
}
