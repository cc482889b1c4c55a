//! What a shard's thread does.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use foldhash::quality::FixedState;

use super::super::shard::{Answered, Around, Asked, Received, Said, Shard, of_zone};
use super::{Found, Place, Step};
use crate::attribute::{Client, Clients, Names};
use crate::detect::reputation::Feed;
use crate::dns::{Canonical, Outline};
use crate::event::Packet;
use crate::ledger::Key;
use crate::ledger::payload::Answer;

/// One piece of work.
#[derive(Debug)]
pub(super) enum Op {
    /// `claimed`: afterwards, whether a finding about its client and zone is open.
    Query {
        said: Owned,
        asked: Asked,
        claimed: bool,
    },
    Response {
        said: Owned,
        answered: Answered,
    },
    /// What is left of a response.
    Answer {
        zone: u64,
        answer: Answer,
        now_ns: u64,
    },
    Received(Received),
    Via {
        key: Key,
        by: u64,
    },
    Sweep {
        now_ns: u64,
    },
    Client {
        key: u64,
        client: Box<Client>,
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

/// A message that goes to another thread.
#[derive(Debug)]
pub(super) struct Owned {
    packet: Packet,
    outline: Outline,
    pub(super) name: Canonical,
}

impl Owned {
    pub(super) fn of(said: Said<'_>) -> Self {
        Self { packet: said.packet.clone(), outline: said.message.outline(), name: said.name.clone() }
    }
}

/// A shard, and copies of what it needs to know of the caller's.
#[derive(Debug)]
pub(super) struct Mirrored {
    pub(super) shard: Shard,
    pub(super) clients: Clients,
    pub(super) names: Names,
    pub(super) seed: FixedState,
}

/// A shard with what it is to do; and back, with what it found.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) mirrored: Box<Mirrored>,
    pub(super) ops: Vec<(u64, Op)>,
    pub(super) found: Found,
}

/// Until either channel ends. Its own name is what callgrind is told to count.
#[inline(never)]
pub(super) fn serve_shard(jobs: &Receiver<Job>, done: &SyncSender<Job>) {
    while let Ok(mut job) = jobs.recv() {
        let Job { mirrored, ops, found } = &mut job;
        for (number, op) in ops {
            mirrored.take(*number, op, found);
        }
        if done.send(job).is_err() {
            return;
        }
    }
}

impl Mirrored {
    fn take(&mut self, number: u64, op: &mut Op, found: &mut Found) {
        let Self { shard, clients, names, seed } = self;
        let around = Around { clients, names };
        let place = Place::new(number, Step::OfClient);
        match op {
            Op::Query { said: Owned { packet, outline, name }, asked, claimed } => {
                let message = outline.of(&packet.payload);
                let look = asked.about.look(Said { packet, message: &message, name }, seed);
                let emit = &mut |finding: &_| found.push((place, Clone::clone(finding)));
                shard.query(&look, asked, around, None, emit);
                *claimed = of_zone(&asked.about, name).is_some() && shard.has_open(&asked.about);
            }
            Op::Response { said: Owned { packet, outline, name }, answered } => {
                let message = outline.of(&packet.payload);
                let look = answered.look(Said { packet, message: &message, name }, seed);
                let emit = &mut |finding: &_| found.push((place, Clone::clone(finding)));
                shard.response(&look, answered.about.sighting, around, None, emit);
                let Answered { about, answer, .. } = *answered;
                *op = Op::Answer { zone: about.zone_hash, answer, now_ns: about.sighting.now_ns };
            }
            Op::Received(received) => shard.received(received),
            Op::Via { key, by } => shard.via(*key, *by),
            Op::Sweep { now_ns } => {
                shard.reports.sweep(*now_ns, &mut shard.ledger, &mut |turn, case, finding| {
                    found.push((Place::swept(number, turn, case), finding.clone()));
                });
            }
            Op::Client { key, client } => clients.put(*key, Client::clone(client)),
            Op::Forget { key } => clients.forget(*key),
            Op::User { uid, name } => names.learn_user(*uid, name.take()),
            Op::Feed(feed) => shard.detectors.feed(Arc::clone(feed)),
            Op::Answer { .. } => {}
        }
    }
}
