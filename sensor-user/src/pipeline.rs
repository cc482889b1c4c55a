//! One record going through every stage: decode, attribute, fold, ledger, verdict.

pub mod stats;

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use bytes::Bytes;
use foldhash::quality::FixedState;
use sensor_ebpf::abi::flag;

use crate::attribute::{self, Client, Clients, Identity, ProcessFacts, ProcessTable};
use crate::dns::{Anomaly, Canonical, Message, Question};
use crate::event::{Event, Kind, Owner, Packet, View};
use crate::finding::{Finding, Origin};
use crate::fold;
use crate::fold::{Answers, Fold, Leg, Seen};
use crate::ledger::{self, Charge, Key, Ledger, payload};
use crate::logged::{Logged, LoggedOwner, Lookup};
use crate::reassemble::{self, Reassembler};
use crate::report::{self, Reports, Sighting};
use crate::zone::Zone;

pub use stats::Stats;

/// Every stage's settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub reassemble: reassemble::Settings,
    pub attribute: attribute::Settings,
    pub fold: fold::Settings,
    pub ledger: ledger::Settings,
    pub report: report::Settings,
    /// Keep what is known of every message for the message log.
    pub log_messages: bool,
    /// Seed of the hashes over attacker-chosen names: random live, fixed (the default) in replay.
    pub seed: u64,
}

impl Settings {
    /// Bytes that the pipeline holds at most once every table is full; TCP streams by their own bound.
    pub fn worst_case_bytes(&self) -> usize {
        let pid = size_of::<(u32, u64)>();
        let client = size_of::<Client>() + self.attribute.max_pids * pid + attribute::EXE_MAX;
        let process = size_of::<attribute::Process>() + attribute::EXE_MAX + attribute::CMDLINE_MAX;
        let finding = 8192;
        self.ledger.max_keys * ledger::ENTRY_MAX
            + self.attribute.max_processes * (client + process)
            + self.fold.worst_case_bytes()
            + self.report.max_open * finding
            + self.reassemble.bytes
    }
}

#[derive(Debug)]
pub struct Pipeline {
    seed: FixedState,
    reassembler: Reassembler,
    /// Messages that one segment completed; kept for its room.
    reassembled: Vec<Packet>,
    processes: ProcessTable,
    clients: Clients,
    fold: Fold<FixedState>,
    ledger: Ledger,
    reports: Reports,
    stats: Stats,
    /// Messages not yet taken by `logged`; `None` where nobody asks for them.
    log: Option<Vec<Logged>>,
    boot_unix_ns: Option<u64>,
    /// Of the last record or tick: time may go back from one capture to the next.
    now_ns: u64,
}

impl Pipeline {
    pub fn new(settings: Settings, origin: Origin) -> Self {
        let seed = FixedState::with_seed(settings.seed);
        Self {
            seed: seed.clone(),
            reassembler: Reassembler::new(settings.reassemble),
            reassembled: Vec::new(),
            log: settings.log_messages.then(Vec::new),
            boot_unix_ns: settings.attribute.boot_unix_ns,
            processes: ProcessTable::new(&settings.attribute),
            clients: Clients::new(settings.attribute.max_processes, settings.attribute.max_pids),
            fold: Fold::new(&settings.fold, seed),
            reports: Reports::new(settings.report, &settings.ledger, settings.attribute, origin),
            ledger: Ledger::new(settings.ledger),
            stats: Stats::default(),
            now_ns: 0,
        }
    }

    /// Takes one record; `emit` gets every finding that it creates, updates or closes.
    pub fn push(&mut self, event: Event, emit: &mut dyn FnMut(&Finding)) {
        match event {
            Event::Packet(packet) => self.packet(packet, emit),
            Event::Exec(exec) => {
                self.stats.execs += 1;
                self.processes.exec(&exec);
            }
        }
    }

    /// Closes findings that have been quiet for a window; `now_ns` is Unix time.
    pub fn tick(&mut self, now_ns: u64, emit: &mut dyn FnMut(&Finding)) {
        self.now_ns = now_ns;
        let mut messages = std::mem::take(&mut self.reassembled);
        self.reassembler.tick(now_ns, &mut |message| messages.push(message));
        self.messages(messages, emit);
        self.reports.close_quiet(self.now_ns, &mut self.ledger, emit);
        self.counters();
    }

    /// End of input: closes what is open.
    pub fn finish(&mut self, emit: &mut dyn FnMut(&Finding)) {
        let mut messages = std::mem::take(&mut self.reassembled);
        self.reassembler.finish(&mut |message| messages.push(message));
        self.messages(messages, emit);
        self.reports.close_all(self.now_ns, &mut self.ledger, emit);
        self.counters();
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Messages decoded since the last call, if the settings ask for them; to be called after each push.
    pub fn logged(&mut self) -> impl Iterator<Item = Logged> {
        self.log.iter_mut().flat_map(|log| log.drain(..))
    }

    /// Hands in what /proc says about a process.
    pub fn learn(&mut self, facts: ProcessFacts) {
        self.processes.learn(facts);
    }

    /// Processes (tgid, start on CLOCK_BOOTTIME in ns) whose executable no exec event has shown; each is named once.
    pub fn unknown_processes(&mut self) -> Vec<(u32, u64)> {
        self.processes.unknown()
    }

    fn packet(&mut self, packet: Packet, emit: &mut dyn FnMut(&Finding)) {
        self.stats.packets += 1;
        self.now_ns = packet.time_ns;
        if self.reports.is_due(self.now_ns) {
            self.reports.close_quiet(self.now_ns, &mut self.ledger, emit);
        }
        match packet.kind {
            Kind::Message => self.message(&packet, emit),
            Kind::Segment => {
                self.stats.segments += 1;
                let mut messages = std::mem::take(&mut self.reassembled);
                self.reassembler.push(packet, &mut |message| messages.push(message));
                self.messages(messages, emit);
            }
            Kind::Datagram => self.stats.datagrams += 1,
        }
        self.counters();
    }

    fn messages(&mut self, mut messages: Vec<Packet>, emit: &mut dyn FnMut(&Finding)) {
        for message in messages.drain(..) {
            if message.kind == Kind::Message {
                self.message(&message, emit);
            } else {
                self.stats.datagrams += 1;
            }
        }
        self.reassembled = messages;
    }

    fn message(&mut self, packet: &Packet, emit: &mut dyn FnMut(&Finding)) {
        self.stats.messages += 1;
        let mut message = Message::parse(&packet.payload, packet.true_len as usize);
        // What goes to a server has left, whatever its QR bit says.
        let response = message.header.is_response() && packet.flags & flag::TO_SERVER == 0;
        if message.header.is_response() && !response {
            message.anomalies.add(Anomaly::ResponseToServer);
        }
        self.stats.anomalies.add(message.anomalies);
        *(if response { &mut self.stats.responses } else { &mut self.stats.queries }) += 1;
        let (lookup, client) = match message.question {
            Some(question) => {
                let (lookup, client) = self.question(packet, &message, question, response, emit);
                (Some(lookup), client)
            }
            None => (None, None),
        };
        if self.log.is_some() {
            self.note(packet, &message, response, lookup, client);
        }
    }

    /// Folds a message and charges it; which look-up it is part of, and the key of who asked.
    fn question(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        question: Question<'_>,
        response: bool,
        emit: &mut dyn FnMut(&Finding),
    ) -> (Lookup, Option<u64>) {
        let name = Canonical::new(question.name);
        let (client, server) = packet.client_server();
        let leg = Leg {
            client,
            server,
            transport: packet.transport,
            id: message.header.id,
            name: self.seed.hash_one(name.wire()),
            qtype: question.qtype,
        };
        let address = self.seed.hash_one(client.ip());
        if response {
            return self.response(packet, message, &name, &leg, address, emit);
        }
        let process = self.process(&packet.owner);
        let asker = process.unwrap_or(address);
        let (charge, lookup) = match self.fold.query(&leg, asker, packet.time_ns) {
            Seen::Duplicate(asker) => {
                self.stats.duplicates += 1;
                return (Lookup::Duplicate, Some(asker));
            }
            Seen::First => (Charge::Full, Lookup::First),
            Seen::Twin => (Charge::Twin, Lookup::Twin),
            Seen::Forwarded => (Charge::Forwarded, Lookup::Forwarded),
        };
        self.query(packet, message, &name, &leg, (process, address), charge, emit);
        (lookup, Some(asker))
    }

    /// Keeps what is known of a message for the log.
    fn note(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        response: bool,
        lookup: Option<Lookup>,
        client: Option<u64>,
    ) {
        let owner = LoggedOwner::new(&packet.owner, &self.processes, self.boot_unix_ns);
        let client = client
            .and_then(|key| self.clients.find(key))
            .map(|client| self.reports.client(Some(client), &self.processes));
        let line = Logged::new(packet, message, response, lookup, owner, client);
        self.log.get_or_insert_default().push(line);
    }

    #[expect(clippy::too_many_arguments, reason = "one packet's parts, all of them needed")]
    fn query(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        name: &Canonical,
        leg: &Leg,
        (process, address): (Option<u64>, u64),
        charge: Charge,
        emit: &mut dyn FnMut(&Finding),
    ) {
        self.stats.lookups += u64::from(charge == Charge::Full);
        let zone = Zone::of(name);
        let zone_wire = name.suffix(zone.labels);
        let zone_key = self.seed.hash_one((zone_wire, zone.class));
        self.stats.zone(zone_key);
        let now_ns = packet.time_ns;
        let ip = leg.client.ip();
        self.clients.note(address, || Identity::Address(ip), ip, now_ns);
        if let Some(key) = process {
            self.note_process(key, &packet.owner, ip, now_ns);
        }
        let said = ledger::Name {
            sub: name.prefix(zone.labels),
            hash: leg.name,
            upper: name.upper,
            letters: name.letters,
            extra_bytes: extra_bytes(message),
        };
        let sighting = Sighting { server: leg.server.ip(), view: packet.view, now_ns, address, process };
        let keys = process.into_iter().chain([address]).map(|client| Key { client, zone: zone_key });
        let claimed = process.is_some_and(|client| self.reports.is_open(Key { client, zone: zone_key }));
        self.reports.absorbed += u64::from(claimed);
        for key in keys.clone() {
            let reports = &mut self.reports;
            let entry = self.ledger.open(key, zone.class, zone_wire, now_ns, &mut |old| {
                reports.forget(old, now_ns, emit);
            });
            entry.query(said, charge, claimed && key.client == address, now_ns);
        }
        for key in keys {
            self.reports.judge(key, sighting, &mut self.ledger, &self.clients, &self.processes, emit);
        }
    }

    fn response(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        name: &Canonical,
        leg: &Leg,
        address: u64,
        emit: &mut dyn FnMut(&Finding),
    ) -> (Lookup, Option<u64>) {
        let (lookup, asker) = match self.fold.response(leg, packet.time_ns) {
            Answers::Duplicate(asker) => {
                self.stats.duplicates += 1;
                return (Lookup::Duplicate, asker);
            }
            Answers::Query(asker) => (Lookup::Answer, asker),
            Answers::Unknown(recent) => {
                self.stats.unsolicited += 1;
                if packet.view != View::Capture {
                    return (Lookup::Unsolicited, None);
                }
                // A capture may hold one direction only: then the question in a response is what was asked.
                let charge = if recent { Charge::Twin } else { Charge::Full };
                self.query(packet, message, name, leg, (None, address), charge, emit);
                (Lookup::Unsolicited, address)
            }
        };
        let zone = Zone::of(name);
        let zone_key = self.seed.hash_one((name.suffix(zone.labels), zone.class));
        let payload = payload::of(message, &self.seed);
        for client in [Some(asker), (asker != address).then_some(address)].into_iter().flatten() {
            if let Some(entry) = self.ledger.find(Key { client, zone: zone_key }) {
                entry.response(payload, packet.time_ns);
            }
        }
        (lookup, Some(asker))
    }

    /// Key of the client that a packet's owner belongs to.
    fn process(&mut self, owner: &Owner) -> Option<u64> {
        let process = self.processes.seen(owner)?;
        if let Some(key) = process.client {
            return Some(key);
        }
        let key = self.seed.hash_one(identity(process.exe.as_ref(), owner));
        process.client = Some(key);
        Some(key)
    }

    fn note_process(&mut self, key: u64, owner: &Owner, ip: IpAddr, now_ns: u64) {
        let processes = &self.processes;
        let identity = || {
            let exe = processes.find(owner.tgid, owner.start_boot_ns).and_then(|p| p.exe.as_ref());
            identity(exe, owner)
        };
        let client = self.clients.note(key, identity, ip, now_ns);
        client.comm = owner.comm;
        client.grade = owner.grade;
        self.clients.note_pid(key, (owner.tgid, owner.start_boot_ns));
    }

    fn counters(&mut self) {
        self.stats.clients = self.clients.seen;
        self.stats.findings = self.reports.created;
        self.stats.absorbed = self.reports.absorbed;
        self.stats.reassembly = *self.reassembler.stats();
        self.stats.evictions = [
            ("processes", self.processes.evicted),
            ("clients", self.clients.evicted),
            ("recent queries", self.fold.evicted()),
            ("ledger keys", self.ledger.evicted),
            ("open findings", self.reports.evicted),
        ];
    }
}

/// A process is known by its executable; by its leader's name as long as that is unknown.
fn identity(exe: Option<&Bytes>, owner: &Owner) -> Identity {
    let program = exe.cloned().unwrap_or_else(|| Bytes::copy_from_slice(comm(&owner.comm)));
    Identity::Process { program, uid: owner.uid, cgroup_id: owner.cgroup_id }
}

/// A name as the kernel pads it.
pub(crate) fn comm(padded: &[u8; 16]) -> &[u8] {
    let end = padded.iter().position(|b| *b == 0).unwrap_or(padded.len());
    &padded[..end]
}

/// Bytes in a query beside its name and header.
fn extra_bytes(message: &Message<'_>) -> usize {
    let options = message.edns.map_or(0, |edns| edns.options().map(|(_, data)| data.len()).sum());
    message.trailing.len() + options
}

#[cfg(test)]
mod tests;
