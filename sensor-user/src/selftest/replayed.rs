//! Cases that take longer than a self-test has time: the same packets through the same pipeline, timed by themselves.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::case::Source;
use super::stop::Stop;
use crate::config::Config;
use crate::detect::reputation::Feed;
use crate::emulate::record::Record;
use crate::emulate::{Datagram, Made};
use crate::event::Event;
use crate::finding::Origin;
use crate::replay;
use crate::store::History;

/// What is in force for every replay.
pub(super) struct Replayer<'a> {
    pub(super) config: &'a Config,
    pub(super) feed: Feed,
    /// What is remembered of other days, read anew for each replay.
    pub(super) history: &'a (dyn Fn() -> Option<History> + Sync),
    pub(super) stop: &'a Stop,
}

impl Replayer<'_> {
    /// State changes of findings, in the order they came.
    pub(super) fn records<'d>(&self, datagrams: impl Iterator<Item = &'d Datagram>) -> Vec<Record> {
        let mut records = Vec::new();
        self.each(datagrams, &mut |record| {
            records.push(record);
            ControlFlow::Continue(())
        });
        records
    }

    /// As `records`, until `take` has enough.
    pub(super) fn each<'d>(
        &self,
        datagrams: impl Iterator<Item = &'d Datagram>,
        take: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) {
        let events = datagrams
            .take_while(|_| !self.stop.was_asked())
            .map(|datagram| Event::from_udp(datagram.time_ns, datagram.src, datagram.dst, &datagram.payload));
        replay::events(
            self.config,
            Origin::Selftest,
            self.feed.clone(),
            (self.history)(),
            events,
            &mut |finding| take(Record::from(finding)),
        );
    }
}

/// Cases with what they are made of and what is found, in the order given; `done` is told after each.
pub(super) fn all(
    replayer: &Replayer<'_>,
    cases: &[(Source, Made)],
    threads: usize,
    done: &(dyn Fn() + Sync),
) -> Vec<Vec<Record>> {
    let next = AtomicUsize::new(0);
    let found: Vec<Mutex<Vec<Record>>> = cases.iter().map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(index) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < cases.len())
                {
                    let records = replayer.records(cases[index].1.datagrams.iter());
                    if let Ok(mut place) = found[index].lock() {
                        *place = records;
                    }
                    done();
                }
            });
        }
    });
    found.into_iter().map(|records| records.into_inner().unwrap_or_default()).collect()
}
