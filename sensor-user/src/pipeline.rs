//! One record going through every stage: decode, attribute, fold, ledger, verdict.

use crate::attribute::{self, ProcessFacts, ProcessTable};
use crate::event::{Event, Kind, Packet};
use crate::finding::{Finding, Origin};
use crate::{fold, ledger};

/// Every stage's settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub attribute: attribute::Settings,
    pub fold: fold::Settings,
    pub ledger: ledger::Settings,
    /// Seed of the hashes over attacker-chosen names: random live, fixed (the default) in replay.
    pub seed: u64,
}

/// What went in, what came out and what did not, with the reason.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub packets: u64,
    pub execs: u64,
    /// DNS messages decoded; `queries` + `responses`.
    pub messages: u64,
    pub queries: u64,
    pub responses: u64,
    pub segments: u64,
    /// Too short for a DNS header.
    pub datagrams: u64,
    /// Records of a message already counted at another hook.
    pub duplicates: u64,
    /// Queries after folding of retries, twins and a resolver's own upstream queries.
    pub lookups: u64,
    pub clients: u64,
    pub zones: u64,
    /// Created, by severity: low, medium, high, critical.
    pub findings: [u64; 4],
    /// Messages by anomaly, with the anomaly's name.
    pub anomalies: Vec<(&'static str, u64)>,
    /// What was forgotten to stay within bounds, with its collection's name.
    pub evictions: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
pub struct Pipeline {
    #[expect(dead_code, reason = "stages follow")]
    settings: Settings,
    #[expect(dead_code, reason = "stages follow")]
    origin: Origin,
    processes: ProcessTable,
    stats: Stats,
}

impl Pipeline {
    pub fn new(settings: Settings, origin: Origin) -> Self {
        let processes = ProcessTable::new(settings.attribute.clone());
        Self { settings, origin, processes, stats: Stats::default() }
    }

    /// Takes one record; `emit` gets every finding that it creates, updates or closes.
    pub fn push(&mut self, event: Event, emit: &mut dyn FnMut(&Finding)) {
        match event {
            Event::Packet(packet) => self.packet(&packet, emit),
            Event::Exec(exec) => {
                self.stats.execs += 1;
                self.processes.exec(&exec);
            }
        }
    }

    /// Closes findings that have been quiet for a window; `now_ns` is Unix time.
    pub fn tick(&mut self, _now_ns: u64, _emit: &mut dyn FnMut(&Finding)) {}

    /// End of input: closes what is open.
    pub fn finish(&mut self, _emit: &mut dyn FnMut(&Finding)) {}

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Hands in what /proc says about a process.
    pub fn learn(&mut self, facts: ProcessFacts) {
        self.processes.learn(facts);
    }

    /// Processes (tgid, start on CLOCK_BOOTTIME in ns) whose executable no exec event has shown; each is named once.
    pub fn unknown_processes(&mut self) -> Vec<(u32, u64)> {
        self.processes.unknown()
    }

    fn packet(&mut self, packet: &Packet, _emit: &mut dyn FnMut(&Finding)) {
        self.stats.packets += 1;
        self.processes.seen(&packet.owner);
        match packet.kind {
            Kind::Message => self.stats.messages += 1,
            Kind::Segment => self.stats.segments += 1,
            Kind::Datagram => self.stats.datagrams += 1,
        }
    }
}
