//! One record going through every stage: decode, attribute, fold, ledger, detectors, verdict.

mod lookups;
mod shard;
mod shards;
mod spread_out;
pub mod stats;
pub mod top;

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::FixedState;
use sensor_ebpf::abi::{flag, grade};

use crate::attribute::{self, Client, Clients, Identity, Names, ProcessFacts, ProcessTable, Wanted};
use crate::config::Config;
use crate::detect::OverClients;
use crate::detect::reputation::Feed;
use crate::detect::{Cases, Emit, Look, OfAll, OfClients, Role, Roles, Stray};
use crate::dns::{Anomaly, Canonical, Message, Question, carrier, rtype};
use crate::event::{Event, Kind, Owner, Packet, View};
use crate::exception;
use crate::finding::{ClientKind, Origin, trail};
use crate::fold;
use crate::fold::{Answers, Asker, Fold, Leg, Query, Seen, Whose};
use crate::ledger::{self, Charge, Key, Told, payload};
use crate::logged::{Logged, LoggedOwner, Lookup, grade_name};
use crate::reassemble::{self, Reassembler};
use crate::report::{self, ByRule, Scene, Sighting, who};
use crate::store::{self, History};
use crate::zone::Zone;

use shard::{About, Answered, Asked, Said, Shard};
use spread_out::Work;

pub use shards::MAX as MAX_THREADS;
pub use stats::{Fill, Stats};

/// Every stage's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    pub reassemble: reassemble::Settings,
    pub attribute: attribute::Settings,
    pub fold: fold::Settings,
    pub ledger: ledger::Settings,
    pub report: report::Settings,
    /// Of the detectors: each reads its own section.
    pub config: Config,
    /// Keep what is known of every message for the message log.
    pub log_messages: bool,
    /// Seed of the hashes over attacker-chosen names: random live, fixed (the default) in replay.
    pub seed: u64,
    /// Clients are shared out over so many threads; 1: all is done on the caller's.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reassemble: reassemble::Settings::default(),
            attribute: attribute::Settings::default(),
            fold: fold::Settings::default(),
            ledger: ledger::Settings::default(),
            report: report::Settings::default(),
            config: Config::default(),
            log_messages: false,
            seed: 0,
            threads: 1,
        }
    }
}

impl Settings {
    /// Bytes that the pipeline holds at most once every table is full; TCP streams by their own bound.
    pub fn worst_case_bytes(&self) -> usize {
        let pid = size_of::<(u32, u64)>();
        // What a client keeps of a process outlives it; forks share theirs, so this is far above what is met.
        let image = size_of::<attribute::Image>() + attribute::EXE_MAX + attribute::CMDLINE_MAX;
        let client = size_of::<Client>() + self.attribute.max_pids * pid + image;
        let process = size_of::<attribute::Process>() + image;
        let finding = 8192 + trail::HEAP_MAX;
        self.ledger.max_keys * ledger::ENTRY_MAX
            + Told::HEAP
            + self.attribute.max_processes * (client + process)
            + Names::WORST_CASE_BYTES
            + self.fold.worst_case_bytes()
            + self.report.max_open * finding
            + Roles::worst_case_bytes(&self.config)
            + OfAll::worst_case_bytes(&self.config)
            + OverClients::worst_case_bytes(&self.config)
            + OfClients::worst_case_bytes(&self.config)
            + self.reassemble.bytes
            + self.attribute.assets.bytes()
            + self.beside_threads(client)
    }
}

/// Nanoseconds of one tick of /proc/PID/stat: USER_HZ is 100 on every architecture Linux runs BPF on.
const TICK_NS: u64 = 10_000_000;
/// Suffixes of a search list: glibc took six before 2.26, and a longer list costs a query each per mistyped name.
const MAX_SEARCH: usize = 32;
/// Parents of a name that a minimising resolver may ask for first: unbound takes ten steps at most
/// (MAX_MINIMISE_COUNT), one label each for the first four.
const MAX_ANCESTORS: usize = 16;
/// Names taken from one answer that a resolver may have to follow: more are no chain that resolvers go along.
const MAX_TARGETS: usize = 16;

/// Keys of who asks: the process if it is known, its address, and the resolver that passes it on.
#[derive(Clone, Copy, Debug)]
struct Asking {
    process: Option<u64>,
    address: u64,
    via: Option<u64>,
}

#[derive(Debug)]
pub struct Pipeline {
    seed: FixedState,
    reassembler: Reassembler,
    /// Messages that one segment completed; kept for its room.
    reassembled: Vec<Packet>,
    processes: ProcessTable,
    names: Names,
    clients: Clients,
    fold: Fold<FixedState>,
    search: Vec<Canonical>,
    told: Told,
    roles: Roles,
    of_all: OfAll,
    over_clients: OverClients,
    work: Work,
    stats: Stats,
    /// What is remembered of other days; absent without a store.
    history: Option<History>,
    /// Messages not yet taken by `logged`; `None` where nobody asks for them.
    log: Option<Vec<Logged>>,
    attribute: attribute::Settings,
    /// Of the last record or tick: time may go back from one capture to the next.
    now_ns: u64,
    /// When findings were last looked at for whether they are quiet.
    swept_ns: u64,
}

/// Quiet findings are looked for this often.
const SWEEP_NS: u64 = 1_000_000_000;

impl Pipeline {
    pub fn new(settings: Settings, origin: Origin) -> Self {
        let seed = FixedState::with_seed(settings.seed);
        let work = Work::new(&settings, origin, &seed);
        Self {
            seed: seed.clone(),
            reassembler: Reassembler::new(settings.reassemble),
            reassembled: Vec::new(),
            log: settings.log_messages.then(Vec::new),
            attribute: settings.attribute.clone(),
            processes: ProcessTable::new(&settings.attribute),
            names: Names::new(&settings.attribute),
            clients: Clients::new(settings.attribute.max_processes, settings.attribute.max_pids),
            fold: Fold::new(&settings.fold, seed),
            search: Vec::new(),
            told: Told::default(),
            roles: Roles::new(&settings.config),
            of_all: OfAll::new(&settings.config),
            over_clients: OverClients::new(&settings.config),
            work,
            stats: Stats::default(),
            history: None,
            now_ns: 0,
            swept_ns: 0,
        }
    }

    /// Threads beside the caller's that clients are shared out over; 0: none.
    pub fn threads(&self) -> usize {
        self.work.threads()
    }

    /// Takes other thresholds and exceptions from here on. What is known, open and counted stays, and so do the sizes of
    /// tables; `emit` gets what no exception covers any more.
    pub fn retune(&mut self, settings: Settings, now_ns: u64, emit: &mut Emit<'_>) {
        self.settle(emit);
        self.attribute =
            attribute::Settings { boot_unix_ns: self.attribute.boot_unix_ns, ..settings.attribute };
        let settings = Settings { attribute: self.attribute.clone(), ..settings };
        self.reassembler.retune(settings.reassemble.clone());
        self.fold.retune(&settings.fold);
        self.roles.retune(&settings.config);
        self.of_all.retune(&settings.config);
        self.over_clients.retune(&settings.config);
        self.work.retune(&settings, now_ns, emit);
    }

    /// Waits for what other threads are at and hands out what they found: what is told of the pipeline after it is of
    /// every record so far.
    pub fn settle(&mut self, emit: &mut Emit<'_>) {
        if let Work::Shared(shards) = &mut self.work {
            shards.settle(&mut self.over_clients, &self.names, emit);
        }
    }

    /// Takes one record; `emit` gets every finding that it creates, updates or closes.
    pub fn push(&mut self, event: Event, emit: &mut Emit<'_>) {
        // What is moved is copied: most packets stay where they are.
        match event {
            Event::Packet(ref packet) => {
                self.begin(packet, emit);
                match packet.kind {
                    Kind::Message => self.message(packet, emit),
                    Kind::Datagram => self.datagram(packet, emit),
                    Kind::Segment => return self.segment(event, emit),
                }
                self.hand_on(event, emit);
            }
            Event::Exec(exec) => {
                self.stats.execs += 1;
                self.processes.exec(&exec);
            }
            Event::Fork(fork) => self.processes.fork(&fork),
            Event::Exit(exit) => self.processes.exit(&exit),
        }
    }

    /// Closes findings that have been quiet for a window; `now_ns` is Unix time.
    pub fn tick(&mut self, now_ns: u64, emit: &mut Emit<'_>) {
        self.now_ns = now_ns;
        let mut messages = std::mem::take(&mut self.reassembled);
        self.reassembler.tick(now_ns, &mut |message| messages.push(message));
        self.messages(messages, emit);
        self.sweep(emit);
        self.settle(emit);
    }

    /// End of input: closes what is open.
    pub fn finish(&mut self, emit: &mut Emit<'_>) {
        let mut messages = std::mem::take(&mut self.reassembled);
        self.reassembler.finish(&mut |message| messages.push(message));
        self.messages(messages, emit);
        self.settle(emit);
        self.work.close_all(self.now_ns, emit);
    }

    /// As of the last packet; of findings and accounts as of the last `settle`.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.clients = self.clients.seen;
        for reports in self.work.reports() {
            (0..4).for_each(|severity| stats.findings[severity] += reports.findings[severity]);
            stats.absorbed += reports.absorbed;
            stats.allowed += reports.allowed;
            stats.suppressed += reports.suppressed;
        }
        let [accounts, findings, keys] = self.work.evicted();
        stats.reassembly = *self.reassembler.stats();
        stats.evictions = [
            ("processes", self.processes.evicted),
            ("ended processes", self.processes.expired),
            ("names", self.names.evicted()),
            ("clients", self.clients.evicted),
            ("recent queries", self.fold.evicted()),
            ("ledger keys", accounts),
            ("open findings", findings),
            ("roles", self.roles.evicted()),
            ("detectors' keys", keys + self.of_all.evicted() + self.over_clients.evicted()),
        ];
        stats
    }

    /// Whether messages are kept for `logged` from here on.
    pub fn keep_messages(&mut self, on: bool) {
        self.log = on.then(Vec::new);
    }

    /// Messages decoded since the last call, if the settings ask for them; to be called after each push.
    pub fn logged(&mut self) -> impl Iterator<Item = Logged> {
        self.log.iter_mut().flat_map(|log| log.drain(..))
    }

    /// What the rim should look up before it pushes an event, so that every fact is there when it is first used.
    pub fn wanted(&self, event: &Event) -> Wanted {
        self.names.wanted(event, &self.processes)
    }

    /// Hands in what /proc says about a process.
    pub fn learn(&mut self, facts: ProcessFacts) {
        self.processes.learn(facts);
    }

    /// Hands in what is remembered of other days.
    pub fn remember(&mut self, history: History) {
        self.history = Some(history);
    }

    /// Hands in what exceptions did in earlier runs.
    pub fn recall(&mut self, earlier: &exception::Earlier) {
        self.work.recall(earlier);
    }

    pub fn history(&mut self) -> Option<&mut History> {
        self.history.as_mut()
    }

    /// Hands in the search list: suffixes that this host's programs try behind a name (resolv.conf(5)).
    pub fn search(&mut self, suffixes: impl Iterator<Item = Canonical>) {
        self.search = suffixes.filter(|suffix| suffix.labels() > 0).take(MAX_SEARCH).collect();
    }

    /// Hands in what the domain lists say now.
    pub fn feed(&mut self, feed: Feed) {
        self.work.feed(Arc::new(feed));
    }

    /// Hands in a socket found listening on port 53: its address, unspecified for all, its namespace and its process.
    pub fn listens(&mut self, ip: IpAddr, netns: u32, (tgid, start_boot_ns): (u32, u64), now_ns: u64) {
        let process = Some(self.process_hash(tgid, start_boot_ns));
        self.fold.answers_at(ip, netns, Asker { key: 0, process }, now_ns);
    }

    /// Hands in the login name of a user, or that there is none.
    pub fn learn_user(&mut self, uid: u32, name: Option<String>) {
        if let Work::Shared(shards) = &mut self.work {
            shards.learn_user(uid, name.as_ref());
        }
        self.names.learn_user(uid, name);
    }

    /// Hands in a cgroup's path below the hierarchy's root, or that it cannot be known.
    pub fn learn_cgroup(&mut self, id: u64, path: Option<&[u8]>) {
        self.names.learn_cgroup(id, path);
    }

    /// Whether /proc could still tell what a process is.
    pub fn is_unknown_process(&self, tgid: u32, start_boot_ns: u64) -> bool {
        self.processes.is_unknown(tgid, start_boot_ns)
    }

    /// Processes (tgid, start on CLOCK_BOOTTIME in ns) that asked and of which nothing else is known; each is named once.
    pub fn unknown_processes(&mut self) -> Vec<(u32, u64)> {
        self.processes.unknown()
    }

    /// How full tables are whose filling up costs detection.
    pub fn fills(&self) -> [(&'static str, Fill); 3] {
        [
            ("ledger", self.work.accounts()),
            ("processes", Fill { entries: self.processes.len(), capacity: self.attribute.max_processes }),
            ("open_findings", self.work.findings()),
        ]
    }

    /// Findings by rule and severity, each counted when it reaches them.
    pub fn findings_by_rule(&self) -> Vec<ByRule> {
        self.work.findings_by_rule()
    }

    /// Exceptions with their counts.
    pub fn exceptions(&self) -> Vec<exception::Status> {
        self.work.exceptions()
    }

    /// Exceptions that ended since the last call, in words.
    pub fn exceptions_news(&mut self) -> Vec<String> {
        self.work.exceptions_news()
    }

    /// Processes in the table.
    pub fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// What part an address plays.
    #[cfg(test)]
    pub(crate) fn role(&mut self, ip: IpAddr) -> Role {
        self.roles.of(self.address(ip, 0))
    }

    fn begin(&mut self, packet: &Packet, emit: &mut Emit<'_>) {
        self.stats.packets += 1;
        self.now_ns = packet.time_ns;
        if self.now_ns.abs_diff(self.swept_ns) >= SWEEP_NS {
            self.sweep(emit);
        }
    }

    fn segment(&mut self, event: Event, emit: &mut Emit<'_>) {
        let Event::Packet(packet) = event else { return };
        self.stats.segments += 1;
        let mut messages = std::mem::take(&mut self.reassembled);
        self.reassembler.push(packet, &mut |message| messages.push(message));
        self.messages(messages, emit);
        if let Work::Shared(shards) = &mut self.work {
            shards.advance(&mut self.over_clients, &self.names, emit);
        }
    }

    /// A packet that was looked at goes where its client's accounts are.
    fn hand_on(&mut self, event: Event, emit: &mut Emit<'_>) {
        if let Work::Shared(shards) = &mut self.work {
            shards.carry(event);
            shards.advance(&mut self.over_clients, &self.names, emit);
        }
    }

    /// Closes findings that have been quiet.
    fn sweep(&mut self, emit: &mut Emit<'_>) {
        self.swept_ns = self.now_ns;
        self.work.sweep(self.now_ns, emit);
    }

    fn messages(&mut self, mut messages: Vec<Packet>, emit: &mut Emit<'_>) {
        for message in messages.drain(..) {
            if message.kind == Kind::Message {
                self.message(&message, emit);
            } else {
                self.datagram(&message, emit);
            }
            if let Work::Shared(shards) = &mut self.work {
                shards.carry(Event::Packet(message));
            }
        }
        self.reassembled = messages;
    }

    fn datagram(&mut self, packet: &Packet, emit: &mut Emit<'_>) {
        self.stats.datagrams += 1;
        self.stray(packet, None, packet.flags & flag::TO_SERVER != 0, emit);
    }

    fn message(&mut self, packet: &Packet, emit: &mut Emit<'_>) {
        self.stats.messages += 1;
        let (message, response) = read(packet);
        self.stats.anomalies.add(message.anomalies);
        *(if response { &mut self.stats.responses } else { &mut self.stats.queries }) += 1;
        let (lookup, whose) = if let Some(question) = message.question {
            let (lookup, whose) = self.question(packet, &message, question, response, emit);
            (Some(lookup), whose)
        } else {
            self.stray(packet, Some(&message), !response, emit);
            (None, None)
        };
        self.stats.folded(lookup);
        if self.log.is_some() {
            self.note(packet, &message, response, lookup, whose);
        }
    }

    /// Folds a message and charges it; which look-up it is part of, and whose that is.
    fn question(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        question: Question<'_>,
        response: bool,
        emit: &mut Emit<'_>,
    ) -> (Lookup, Option<Whose>) {
        let name = Canonical::new(question.name);
        let (client, server) = packet.client_server();
        let leg = Leg {
            client,
            server,
            transport: packet.transport,
            id: message.header.id,
            name: self.seed.hash_one(name.wire()),
            qtype: question.qtype,
            view: packet.view,
            ifindex: packet.ifindex,
            netns: packet.owner.netns,
        };
        let address = self.address(leg.client.ip(), leg.netns);
        if response {
            return self.response(packet, message, &name, &leg, address, emit);
        }
        let process = self.process(&packet.owner);
        let asker = Asker {
            key: process.unwrap_or(address),
            process: process.map(|_| self.process_hash(packet.owner.tgid, packet.owner.start_boot_ns)),
        };
        let mut ancestors = [0; MAX_ANCESTORS];
        let query = Query {
            leg,
            asker,
            stem: self.stem(&name).map_or(leg.name, |stem| self.seed.hash_one(stem)),
            ancestors: if self.fold.wants_ancestors(&leg) {
                self.ancestors(&name, &mut ancestors)
            } else {
                &[]
            },
        };
        let own = Whose { asker: asker.key, owner: asker.key, ..Whose::default() };
        let (charge, lookup, whose) = match self.fold.query(&query, packet.time_ns) {
            Seen::Duplicate(whose) => {
                self.stats.joined(packet, whose);
                return (Lookup::Duplicate, Some(whose));
            }
            Seen::First => (Charge::Full, Lookup::First, own),
            Seen::Twin => (Charge::Twin, Lookup::Twin, own),
            Seen::Forwarded { whose, ambiguous } => {
                self.stats.ambiguous += u64::from(ambiguous);
                (Charge::Forwarded, Lookup::Forwarded, whose)
            }
        };
        let via = if whose.asker == whose.owner { self.fold.via(&leg) } else { None };
        let asking = Asking { process, address, via };
        let zone = self.query(packet, message, &name, &leg, asking, charge, emit);
        if whose.asker != whose.owner && !whose.inferred {
            let key = Key { client: whose.owner, zone };
            match &mut self.work {
                Work::Here(shard) => shard.via(key, whose.asker),
                Work::Shared(shards) => shards.via(key, whose.asker, &mut self.clients),
            }
        }
        (lookup, Some(whose))
    }

    /// Keeps what is known of a message for the log.
    fn note(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        response: bool,
        lookup: Option<Lookup>,
        whose: Option<Whose>,
    ) {
        let owner = LoggedOwner::new(&packet.owner, &self.processes, &self.attribute);
        let client = whose.and_then(|whose| {
            let via = if whose.asker == whose.owner { None } else { Some(whose.asker) };
            let client = self.clients.find(whose.owner)?;
            let mut client = who::describe(Some(client), &self.names, &self.attribute);
            client.via = via.and_then(|key| who::program(key, &self.clients, &self.names, &self.attribute));
            if whose.inferred && client.kind == ClientKind::Process {
                client.grade = grade_name(grade::INFERRED);
            }
            Some(client)
        });
        let line = Logged::new(packet, message, response, lookup, owner, client);
        self.log.get_or_insert_default().push(line);
    }

    /// Key of the asking address. Loopback addresses are others in each network namespace.
    fn address(&self, ip: IpAddr, netns: u32) -> u64 {
        if ip.is_loopback() && netns != 0 { self.seed.hash_one((ip, netns)) } else { self.seed.hash_one(ip) }
    }

    /// To the tick of /proc, from where processes that ran before are known. No number is given away twice in one tick.
    fn process_hash(&self, tgid: u32, start_boot_ns: u64) -> u64 {
        self.seed.hash_one((tgid, start_boot_ns / TICK_NS))
    }

    /// The name without the longest suffix of the search list that it ends in.
    fn stem<'n>(&self, name: &'n Canonical) -> Option<&'n [u8]> {
        self.search
            .iter()
            .map(|suffix| (suffix.labels(), suffix.wire()))
            .filter(|(labels, suffix)| *labels < name.labels() && name.suffix(*labels) == *suffix)
            .max_by_key(|(labels, _)| *labels)
            .map(|(labels, _)| name.prefix(labels))
    }

    /// Hashes of a name's parents, the uppermost first.
    fn ancestors<'a>(&self, name: &Canonical, room: &'a mut [u64; MAX_ANCESTORS]) -> &'a [u64] {
        let count = name.labels().saturating_sub(1).min(MAX_ANCESTORS);
        for (labels, hash) in (1..=count).zip(room.iter_mut()) {
            *hash = self.seed.hash_one(name.suffix(labels));
        }
        &room[..count]
    }

    /// Key of the client that a packet's owner belongs to.
    fn process(&mut self, owner: &Owner) -> Option<u64> {
        if let Some(key) = self.processes.seen(owner)?.client {
            return Some(key);
        }
        let key = self.seed.hash_one(Identity::of(owner, &mut self.processes, &self.names));
        self.processes.seen(owner)?.client = Some(key);
        Some(key)
    }

    fn note_process(&mut self, key: u64, owner: &Owner, ip: IpAddr, now_ns: u64) {
        let Self { clients, processes, names, .. } = self;
        clients.note(key, || Identity::of(owner, processes, names), ip, now_ns);
        clients.note_facts(key, owner, processes, names);
        clients.note_pid(key, (owner.tgid, owner.start_boot_ns));
    }
}

/// A packet's message, and whether it is a response.
fn read(packet: &Packet) -> (Message<'_>, bool) {
    let mut message = Message::parse(&packet.payload, packet.true_len as usize);
    // What goes to a server has left, whatever its QR bit says.
    let response = message.header.is_response() && packet.flags & flag::TO_SERVER == 0;
    if message.header.is_response() && !response {
        message.anomalies.add(Anomaly::ResponseToServer);
    }
    (message, response)
}

/// Bytes in a query beside its name and header.
fn extra_bytes(message: &Message<'_>) -> usize {
    let options = message.edns.map_or(0, |edns| edns.options().map(|(_, data)| data.len()).sum());
    message.trailing.len() + options
}

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod tests;
