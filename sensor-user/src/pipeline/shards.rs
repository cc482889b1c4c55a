//! Clients shared out over threads, without a lock: each has shards of its own, which go to the thread with a batch of work
//! and come back with what was found.
//!
//! What has to see all messages in order stays with the caller: it decodes, folds, names who asked, and keeps the
//! detectors that compare clients. Each charged message then goes to the shard of its client's address. What comes back is
//! put in order by the number of the message, so that findings are those of one thread, in the same order.

mod batch;
mod work;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use foldhash::HashSet;
use foldhash::quality::FixedState;

use super::Settings;
use super::shard::{About, Answered, Asked, Said, Shard, of_zone};
use crate::attribute::clients::News;
use crate::attribute::{Clients, Identity, Names};
use crate::detect::OverClients;
use crate::detect::{Cases, Emit, reputation};
use crate::event::{Event, View};
use crate::finding::{Finding, Origin};
use crate::ledger::{self, Key, Ledger};
use crate::report::{Case, Reports, Sighting, Turn};
use batch::{Batch, Op, Parcel};
use work::{Job, Mirrored, serve_shard};

/// Work gathered for a shard before its thread gets it.
const BATCH: usize = 128;
/// Batches' worth of work that may wait for each shard, and for all others to be put in order with.
const WAITING: usize = 8;
/// Pieces of work that there is room for in a batch, before it has to move.
const ROOM: usize = BATCH * WAITING;
/// Addresses of this host that are remembered as such.
const OWN_MAX: usize = 65_536;
/// Most threads: one bit each tells who has a copy of a client.
pub const MAX: usize = 16;

/// Where a finding stands among others: number of the message, what the caller, a shard and the caller again do of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    number: u64,
    step: Step,
    /// Of those that a sweep tells.
    case: Option<Case>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Review,
    Close,
    OfAll,
    OfClient,
    OverClients,
}

impl Place {
    fn new(number: u64, step: Step) -> Self {
        Self { number, step, case: None }
    }

    fn swept(number: u64, turn: Turn, case: Case) -> Self {
        let step = match turn {
            Turn::Review => Step::Review,
            Turn::Close => Step::Close,
        };
        Self { number, step, case: Some(case) }
    }
}

/// Findings on their way, each with its place.
type Found = Vec<(Place, Finding)>;

/// Findings that are kept apart from the clients'.
#[derive(Debug)]
struct Lane {
    reports: Reports,
    /// Empty: these findings have no accounts.
    ledger: Ledger,
}

#[derive(Debug)]
pub(super) struct Shards {
    slots: Vec<Slot>,
    /// Of detectors that see all clients, before the shards; of what comes after them.
    of_all: Lane,
    over_clients: Lane,
    /// Number of the next piece of work.
    next: u64,
    /// Places of the message that is looked at, shard and parcel: its packet is moved there at last.
    open: [Option<(usize, usize)>; 2],
    /// Work given out since the threads were looked at.
    given: usize,
    /// Number of the last sweep that `over_clients` has made.
    swept: Option<u64>,
    found: Found,
    /// Addresses of this host's own sockets: their programs may use several, and stay together.
    own: HashSet<u64>,
    /// Nobody known; findings over all clients are about none.
    nobody: Clients,
}

/// One shard and its thread.
#[derive(Debug)]
struct Slot {
    /// `None` while the thread has it.
    shard: Option<Box<Mirrored>>,
    gathered: Batch,
    /// First number of what the thread has.
    under_way: Option<u64>,
    /// Done, but not yet put in order with what the others did.
    done: VecDeque<Batch>,
    /// Batches before, for their room.
    spare: Vec<Batch>,
    jobs: Option<SyncSender<Job>>,
    results: Receiver<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Shards {
    /// Starts so many threads.
    pub(super) fn new(settings: &Settings, origin: Origin, seed: &FixedState) -> io::Result<Self> {
        let threads = settings.threads.min(MAX);
        let part = settings.part();
        let slots = (0..threads)
            .map(|number| {
                let mirrored = Mirrored {
                    shard: Shard::new(&part, origin),
                    clients: Clients::new(usize::MAX, settings.attribute.max_pids),
                    names: Names::new(&settings.attribute),
                    seed: seed.clone(),
                };
                Slot::new(number, mirrored)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let lane = || Lane::new(settings, origin);
        Ok(Self {
            slots,
            of_all: lane(),
            over_clients: lane(),
            next: 0,
            open: [None; 2],
            given: 0,
            swept: None,
            found: Vec::new(),
            own: HashSet::default(),
            nobody: Clients::new(1, 1),
        })
    }

    pub(super) fn threads(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of work on its way at most, payloads as live hooks hand them over.
    pub(super) fn worst_case_bytes(threads: usize) -> usize {
        const PAYLOAD: usize = 1536;
        2 * WAITING * BATCH * threads * (size_of::<(u64, Op)>() + size_of::<Parcel>() + PAYLOAD)
    }

    /// All reports there are, as of the last `settle`.
    pub(super) fn reports(&self) -> impl Iterator<Item = &Reports> {
        let lanes = [&self.of_all.reports, &self.over_clients.reports];
        self.shards().map(|shard| &shard.reports).chain(lanes)
    }

    pub(super) fn reports_mut(&mut self) -> impl Iterator<Item = &mut Reports> {
        let Self { slots, of_all, over_clients, .. } = self;
        let shards = slots.iter_mut().filter_map(|slot| slot.shard.as_mut());
        shards
            .map(|mirrored| &mut mirrored.shard.reports)
            .chain([&mut of_all.reports, &mut over_clients.reports])
    }

    /// As of the last `settle`.
    pub(super) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.slots.iter().filter_map(|slot| slot.shard.as_ref()).map(|mirrored| &mirrored.shard)
    }

    /// What detectors of all clients see goes here; they are asked before the shards.
    pub(super) fn of_all(&mut self, see: impl FnOnce(&mut Reports, &mut Ledger, &mut Emit<'_>)) {
        let place = Place::new(self.next, Step::OfAll);
        let Self { of_all, found, .. } = self;
        see(&mut of_all.reports, &mut of_all.ledger, &mut |finding| found.push((place, finding.clone())));
        self.next += 1;
    }

    pub(super) fn query(&mut self, said: Said<'_>, about: &About, asked: Asked, clients: &mut Clients) {
        let sighting = &about.sighting;
        let own = sighting.process.is_some() || sighting.view == View::HostEgress;
        if own && self.own.len() < OWN_MAX {
            self.own.insert(sighting.address);
        }
        let slot = self.home(sighting.address);
        if clients.has_news() {
            self.tell_news(clients);
        }
        // The address itself is known by the message.
        for key in [sighting.process, asked.via].into_iter().flatten() {
            self.tell(slot, key, clients);
        }
        let at = self.put(slot, said, about);
        self.give(slot, Op::Query { at, asked, claimed: false });
    }

    pub(super) fn via(&mut self, key: Key, by: u64, clients: &mut Clients) {
        let at = self.home_of(key.client, 0, clients);
        self.tell(at, by, clients);
        self.give(at, Op::Via { key, by });
    }

    pub(super) fn response(
        &mut self,
        said: Said<'_>,
        about: &About,
        answered: Answered,
        clients: &mut Clients,
    ) {
        let About { client, zone_hash: zone, ref sighting, .. } = *about;
        let Sighting { address: seen_at, now_ns, .. } = *sighting;
        let asker_at = self.home_of(answered.asker, seen_at, clients);
        // Live and rewritten on its way, the address may be on another thread: then its account knows nothing of the
        // asker's finding.
        let elsewhere = answered.address.filter(|address| self.home(*address) != asker_at);
        if let Some(address) = elsewhere {
            let answered = Answered { asker: address, address: None, ..answered };
            self.give(self.home(address), Op::Received { answered, zone, now_ns });
        }
        let address = answered.address.filter(|_| elsewhere.is_none());
        let answered = Answered { address, ..answered };
        let slot = self.home_of(client, seen_at, clients);
        let is_received = slot == asker_at;
        if !is_received {
            self.give(asker_at, Op::Received { answered, zone, now_ns });
        }
        if clients.has_news() {
            self.tell_news(clients);
        }
        if client != seen_at {
            self.tell(slot, client, clients);
        }
        let at = self.put(slot, said, about);
        self.give(slot, Op::Response { at, answered, is_received });
    }

    /// Takes the packet of the message that was looked at.
    pub(super) fn carry(&mut self, event: Event) {
        let [first, second] = std::mem::take(&mut self.open);
        if let Some((slot, at)) = second {
            self.slots[slot].gathered.carry(at, event.clone());
        }
        if let Some((slot, at)) = first {
            self.slots[slot].gathered.carry(at, event);
        }
    }

    /// Closes what is quiet, everywhere at this point.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        let number = self.next;
        let Self { of_all, found, .. } = self;
        of_all.reports.sweep(now_ns, &mut of_all.ledger, &mut |turn, case, finding| {
            found.push((Place::swept(number, turn, case), finding.clone()));
        });
        for slot in &mut self.slots {
            slot.gathered.push(number, Op::Sweep { now_ns });
        }
        self.next += 1;
    }

    pub(super) fn learn_user(&mut self, uid: u32, name: Option<&String>) {
        for slot in &mut self.slots {
            slot.gathered.push(self.next, Op::User { uid, name: name.cloned() });
        }
        self.next += 1;
    }

    /// Hands work to the threads that are free, if there is enough of it, and tells what is found and in order.
    pub(super) fn advance(&mut self, over: &mut OverClients, names: &Names, emit: &mut Emit<'_>) {
        if self.given < BATCH * self.slots.len() {
            return;
        }
        self.given = 0;
        let mut came = false;
        for slot in &mut self.slots {
            let is_late = slot.gathered.len() >= BATCH * WAITING / 2;
            if let Some(found) = slot.take_back(is_late) {
                self.found.extend(found);
                came = true;
            }
            slot.hand_out();
        }
        if came {
            self.put_in_order(over, names, emit);
        }
        // One thread that is behind holds up what the others have done.
        let done: usize = self.slots.iter().flat_map(|slot| &slot.done).map(Batch::len).sum();
        if done > BATCH * WAITING * self.slots.len() {
            self.settle(over, names, emit);
        }
    }

    /// Waits for all work given out so far and tells what is found.
    pub(super) fn settle(&mut self, over: &mut OverClients, names: &Names, emit: &mut Emit<'_>) {
        let Self { slots, found, .. } = self;
        // Those that are free begin before others are waited for.
        for slot in slots.iter_mut() {
            found.extend(slot.take_back(false).into_iter().flatten());
            slot.hand_out();
        }
        for slot in slots.iter_mut() {
            while slot.first_open().is_some() {
                found.extend(slot.take_back(true).into_iter().flatten());
                slot.hand_out();
            }
        }
        self.given = 0;
        self.put_in_order(over, names, emit);
    }

    /// Closes all; to be called after `settle`.
    pub(super) fn close_all(&mut self, now_ns: u64, emit: &mut Emit<'_>) {
        let number = self.next;
        let Self { slots, of_all, over_clients, found, .. } = self;
        let mut note = |turn: Turn, case: Case, finding: &Finding| {
            found.push((Place::swept(number, turn, case), finding.clone()));
        };
        for lane in [of_all, over_clients] {
            lane.reports.close_all(now_ns, &mut lane.ledger, &mut note);
        }
        for mirrored in slots.iter_mut().filter_map(|slot| slot.shard.as_mut()) {
            let Shard { reports, ledger, .. } = &mut mirrored.shard;
            reports.close_all(now_ns, ledger, &mut note);
        }
        self.next += 1;
        self.told(u64::MAX, emit);
    }

    /// See `Pipeline::retune`; to be called after `settle`.
    pub(super) fn retune(&mut self, settings: &Settings, now_ns: u64, emit: &mut Emit<'_>) {
        let number = self.next;
        for mirrored in self.slots.iter_mut().filter_map(|slot| slot.shard.as_mut()) {
            mirrored.shard.detectors.retune(&settings.config);
        }
        let mut found = std::mem::take(&mut self.found);
        for reports in self.reports_mut() {
            reports.retune(settings.report.clone(), &settings.ledger, settings.attribute.clone());
            reports.review(now_ns, &mut |case, finding| {
                found.push((Place::swept(number, Turn::Review, case), finding.clone()));
            });
        }
        self.found = found;
        self.next += 1;
        self.told(u64::MAX, emit);
    }

    pub(super) fn feed(&mut self, feed: &Arc<reputation::Feed>) {
        for slot in &mut self.slots {
            slot.gathered.push(self.next, Op::Feed(Arc::clone(feed)));
        }
        self.next += 1;
    }

    fn put(&mut self, slot: usize, said: Said<'_>, about: &About) -> usize {
        let at = self.slots[slot].gathered.put(said, about);
        // One message is a query and a response where only responses are seen.
        let free = usize::from(self.open[0].is_some());
        self.open[free] = Some((slot, at));
        at
    }

    fn give(&mut self, at: usize, op: Op) {
        self.slots[at].gathered.push(self.next, op);
        self.next += 1;
        self.given += 1;
    }

    /// The shard of an address.
    fn home(&self, address: u64) -> usize {
        if !self.own.is_empty() && self.own.contains(&address) {
            return 0;
        }
        (((address >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    /// The shard of a client, which may be `address`: programs of this host are in the first, with all their addresses.
    fn home_of(&self, client: u64, address: u64, clients: &Clients) -> usize {
        if client == address {
            return self.home(address);
        }
        match clients.find(client) {
            Some(client) if matches!(client.identity, Identity::Process { .. }) => 0,
            _ => self.home(client),
        }
    }

    /// Lets a shard know who a client is.
    fn tell(&mut self, at: usize, key: u64, clients: &mut Clients) {
        if let Some(client) = clients.copy_for(at, key) {
            let client = Some(Box::new(client.clone()));
            self.slots[at].gathered.push(self.next, Op::Client { key, client });
        }
    }

    fn tell_news(&mut self, clients: &mut Clients) {
        for news in clients.news() {
            let (News::Gone { key, held } | News::Program { key, held }) = news;
            for at in (0..self.slots.len()).filter(|at| held & 1 << at != 0) {
                match news {
                    News::Gone { .. } => self.slots[at].gathered.push(self.next, Op::Forget { key }),
                    News::Program { .. } => self.tell(at, key, clients),
                }
            }
        }
    }

    /// What comes after the shards, in the order of the messages, as far as all shards have come.
    fn put_in_order(&mut self, over: &mut OverClients, names: &Names, emit: &mut Emit<'_>) {
        let until = self.slots.iter().filter_map(Slot::first_open).min().unwrap_or(self.next);
        let mut heads = [u64::MAX; MAX];
        for (head, slot) in heads.iter_mut().zip(&self.slots) {
            *head = slot.head();
        }
        loop {
            // The first of all, and up to where its slot goes on.
            let (mut first, mut at, mut end) = (u64::MAX, 0, until);
            for (slot, head) in heads[..self.slots.len()].iter().enumerate() {
                end = end.min(first.max(*head));
                if *head < first {
                    (first, at) = (*head, slot);
                }
            }
            if first >= until {
                break;
            }
            let head = &mut heads[at];
            while *head == first || *head < end {
                *head = self.after(at, over, names);
            }
        }
        self.told(until, emit);
    }

    /// What is next to be done after a shard; the number of what then is.
    fn after(&mut self, at: usize, over: &mut OverClients, names: &Names) -> u64 {
        let Self { slots, over_clients: lane, found, nobody, swept, .. } = self;
        let Some(batch) = slots[at].done.front_mut() else { return u64::MAX };
        let Some((number, op, parcels)) = batch.pass() else { return u64::MAX };
        match op {
            Op::Query { at, claimed, .. } => {
                let Parcel { name, about, .. } = &parcels[*at];
                let place = Place::new(number, Step::OverClients);
                let emit = &mut |finding: &Finding| found.push((place, finding.clone()));
                if let Some(said) = of_zone(about, name) {
                    let sub = name.prefix(about.zone.labels);
                    let scene = about.scene(sub, (nobody, names, None), &mut lane.ledger, emit);
                    over.query(&said, &mut Cases { reports: &mut lane.reports, scene }, |_| *claimed);
                }
            }
            Op::Response { at, answered, .. } => {
                let about = &parcels[*at].about;
                over.response(about.zone_hash, answered.answer, about.sighting.now_ns);
            }
            // All shards sweep at one number.
            Op::Sweep { now_ns } if *swept != Some(number) => {
                *swept = Some(number);
                lane.reports.sweep(*now_ns, &mut lane.ledger, &mut |turn, case, finding| {
                    found.push((Place::swept(number, turn, case), finding.clone()));
                });
            }
            _ => {}
        }
        if let Some(next) = batch.head() {
            return next;
        }
        slots[at].pass();
        slots[at].head()
    }

    /// Hands on what is found of messages before `until`.
    fn told(&mut self, until: u64, emit: &mut Emit<'_>) {
        if self.found.is_empty() {
            return;
        }
        // Stable: what one step says of one message stays in its order.
        self.found.sort_by_key(|(place, _)| *place);
        let ready = self.found.partition_point(|(place, _)| place.number < until);
        self.found.drain(..ready).for_each(|(_, finding)| emit(&finding));
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            slot.jobs = None;
        }
        for thread in self.slots.iter_mut().filter_map(|slot| slot.thread.take()) {
            // It ended by a panic if it did not end by itself, and that was told.
            let _ = thread.join();
        }
    }
}

impl Lane {
    fn new(settings: &Settings, origin: Origin) -> Self {
        let mut report = settings.report.clone();
        report.max_open = settings.open_beside();
        let ledger = ledger::Settings { max_keys: 1, ..settings.ledger.clone() };
        Self {
            reports: Reports::new(report, &settings.ledger, settings.attribute.clone(), origin),
            ledger: Ledger::new(ledger),
        }
    }
}

impl Slot {
    fn new(number: usize, mirrored: Mirrored) -> io::Result<Self> {
        let (jobs, taken) = sync_channel(1);
        let (done, results) = sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("shard {number}"))
            .spawn(move || serve_shard(&taken, &done))?;
        Ok(Self {
            shard: Some(Box::new(mirrored)),
            gathered: Batch::with_room(ROOM),
            under_way: None,
            done: VecDeque::new(),
            spare: Vec::new(),
            jobs: Some(jobs),
            results,
            thread: Some(thread),
        })
    }

    /// Gives the thread what is gathered, if it has nothing to do.
    fn hand_out(&mut self) {
        let (Some(first), Some(jobs)) = (self.gathered.first(), &self.jobs) else { return };
        if let Some(mirrored) = self.shard.take() {
            let batch = std::mem::replace(
                &mut self.gathered,
                self.spare.pop().unwrap_or_else(|| Batch::with_room(ROOM)),
            );
            self.under_way = Some(first);
            // A thread that is gone is found so by who waits for it.
            let _ = jobs.send(Job { mirrored, batch, found: Vec::new() });
        }
    }

    /// Takes back what the thread has done; waits for it if told to.
    fn take_back(&mut self, wait: bool) -> Option<Found> {
        self.under_way?;
        let job = if wait {
            self.results.recv().ok()
        } else {
            match self.results.try_recv() {
                Err(TryRecvError::Empty) => return None,
                result => result.ok(),
            }
        };
        let Some(Job { mirrored, batch, found }) = job else { self.fail() };
        (self.shard, self.under_way) = (Some(mirrored), None);
        self.done.push_back(batch);
        self.pass();
        Some(found)
    }

    /// The thread ended by a panic, which goes on here.
    fn fail(&mut self) -> ! {
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            _ => unreachable!("a shard's thread ends only with its channel"),
        }
    }

    /// First number of what is not done.
    fn first_open(&self) -> Option<u64> {
        self.under_way.or_else(|| self.gathered.first())
    }

    /// First number of what is done and not put in order.
    fn head(&self) -> u64 {
        self.done.front().and_then(Batch::head).unwrap_or(u64::MAX)
    }

    /// Puts batches by of which nothing is left to be put in order.
    fn pass(&mut self) {
        while self.done.front().is_some_and(|batch| batch.head().is_none())
            && let Some(mut batch) = self.done.pop_front()
        {
            batch.clear();
            self.spare.push(batch);
        }
    }
}
