//! What a shard's thread does.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use foldhash::quality::FixedState;

use super::super::shard::{Said, Shard, judge, of_zone};
use super::batch::{Batch, Op, Parcel};
use super::{Found, Place, Step};
use crate::attribute::{Clients, Names};
use crate::detect::Cases;
use crate::event::Event;
use crate::finding::Finding;
use crate::zone::Class;

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
    pub(super) batch: Batch,
    pub(super) found: Found,
}

/// Until either channel ends. Its own name is what callgrind is told to count.
#[inline(never)]
pub(super) fn serve_shard(jobs: &Receiver<Job>, done: &SyncSender<Job>) {
    while let Ok(mut job) = jobs.recv() {
        let Job { mirrored, batch: Batch { ops, parcels, after, .. }, found } = &mut job;
        for (at, (number, op)) in ops.iter_mut().enumerate() {
            if mirrored.take(*number, op, parcels, found) {
                after.push((*number, at));
            }
        }
        if done.send(job).is_err() {
            return;
        }
    }
}

impl Mirrored {
    /// Whether something is to be done after it.
    fn take(&mut self, number: u64, op: &mut Op, parcels: &[Parcel], found: &mut Found) -> bool {
        let Self { shard, clients, names, seed } = self;
        let place = Place::new(number, Step::OfClient);
        match op {
            Op::Query { at, asked, claimed } => {
                let Parcel { event: Some(Event::Packet(packet)), outline, name, about } = &parcels[*at]
                else {
                    return false;
                };
                let message = outline.of(&packet.payload);
                let look = about.look(Said { packet, message: &message, name }, seed);
                let emit = &mut |finding: &Finding| found.push((place, finding.clone()));
                clients.have_at_hand(about.sighting.address, packet.client_server().0.ip());
                shard.charge(&look, &about.sighting, asked, clients, None, emit);
                let Shard { ledger, detectors, reports } = &mut *shard;
                let scene = about.scene(look.sub_wire(), (clients, names, None), ledger, emit);
                let mut cases = Cases { reports, scene };
                (cases.scene.asked, cases.scene.flooded) = (asked.name(&look), asked.flooded);
                judge(&look, about, detectors, &mut cases);
                let counts = of_zone(about, name).is_some();
                *claimed = counts && shard.has_open(about);
                counts
            }
            Op::Response { at, answered, is_received } => {
                let Parcel { event: Some(Event::Packet(packet)), outline, name, about } = &parcels[*at]
                else {
                    return false;
                };
                if *is_received {
                    shard.received(answered, about.zone_hash, about.sighting.now_ns);
                }
                let message = outline.of(&packet.payload);
                let look = answered.look(about, Said { packet, message: &message, name }, seed);
                let emit = &mut |finding: &Finding| found.push((place, finding.clone()));
                clients.have_at_hand(about.sighting.address, packet.client_server().0.ip());
                let Shard { ledger, detectors, reports } = shard;
                let scene = about.scene(look.sub_wire(), (clients, names, None), ledger, emit);
                detectors.response(&look, &mut Cases { reports, scene });
                about.zone.class == Class::Registered
            }
            Op::Received { answered, zone, now_ns } => {
                shard.received(answered, *zone, *now_ns);
                false
            }
            Op::Via { key, by } => {
                shard.via(*key, *by);
                false
            }
            Op::Sweep { now_ns } => {
                shard.reports.sweep(*now_ns, &mut shard.ledger, &mut |turn, case, finding| {
                    found.push((Place::swept(number, turn, case), finding.clone()));
                });
                true
            }
            Op::Client { key, client } => {
                client.take().into_iter().for_each(|client| clients.put(*key, *client));
                false
            }
            Op::Forget { key } => {
                clients.forget(*key);
                false
            }
            Op::User { uid, name } => {
                names.learn_user(*uid, name.take());
                false
            }
            Op::Feed(feed) => {
                shard.detectors.feed(Arc::clone(feed));
                false
            }
        }
    }
}
