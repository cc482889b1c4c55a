//! What a running sensor says about itself: at start, now and then on stderr, and over the control socket.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use sensor_ebpf::abi::{COUNTER_NAMES, Owner, grade};
use serde_json::{Value, json};

use super::maps::{Counters, execs_lost, lost};
use super::memory::Memory;
use super::ring;
use super::source::{Choice, Source};
use super::split::Placed;
use crate::logged::grade_name;
use crate::pipeline;

/// Version of the answer to `status`, raised when a field changes its meaning or goes.
const VERSION: u32 = 1;
/// Between two status lines: on a terminal the line is rewritten in place, elsewhere each is one more line.
const ON_TERMINAL: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_mins(1);

/// Processes told apart for the count; beyond that the set starts anew and the count goes on.
const MAX_PROCESSES: usize = 16_384;

/// Bytes of that set: hash tables hold up to twice their entries, with a byte of their own for each.
pub const WORST_CASE_BYTES: usize = 2 * MAX_PROCESSES * (size_of::<(u32, u64)>() + 1);

/// Distinct processes that were seen asking.
#[derive(Debug, Default)]
pub struct Askers {
    seen: HashSet<(u32, u64), foldhash::fast::RandomState>,
    forgotten: u64,
    /// Records of packets by grade.
    grades: BTreeMap<&'static str, u64>,
}

impl Askers {
    pub fn note(&mut self, owner: &Owner) {
        *self.grades.entry(grade_name(owner.grade)).or_default() += 1;
        if owner.grade == grade::NONE {
            return;
        }
        if self.seen.len() >= MAX_PROCESSES {
            self.forgotten += self.seen.len() as u64;
            self.seen.clear();
        }
        self.seen.insert((owner.tgid, owner.start_boot_ns));
    }

    pub fn grades(&self) -> &BTreeMap<&'static str, u64> {
        &self.grades
    }

    pub fn count(&self) -> u64 {
        self.forgotten + self.seen.len() as u64
    }
}

/// Numbers for one line.
#[derive(Debug)]
pub struct Numbers<'a> {
    pub stats: &'a pipeline::Stats,
    pub processes: u64,
    pub counters: &'a Counters,
    pub ring: &'a ring::Stats,
    /// Records of packets by how surely their sender is known.
    pub attributions: &'a BTreeMap<&'static str, u64>,
    /// Processes in the table.
    pub table: usize,
    /// Lines written to the message log and lost, where there is one.
    pub message_log: Option<[u64; 2]>,
}

impl Numbers<'_> {
    /// `messages 120, processes 3, zones 7, findings 1, lost 0`.
    pub fn line(&self) -> String {
        let findings: u64 = self.stats.findings.iter().sum();
        let bad: u64 = self.ring.bad.iter().sum();
        let if_any = |what: &str, count: u64| match count {
            0 => String::new(),
            _ => format!(", {what} {count}"),
        };
        format!(
            "messages {}, processes {}, zones {}, findings {findings}, lost {}{}{}{}{}",
            self.stats.messages,
            self.processes,
            self.stats.zones,
            lost(self.counters),
            if_any("passed on by resolvers", self.stats.forwarded),
            if_any("unsolicited", self.stats.unsolicited),
            if_any("exec events lost", execs_lost(self.counters)),
            if_any("damaged records", bad),
        )
    }

    /// What every message was to those before it, and how wire and host view came together.
    fn folded(&self) -> Value {
        let stats = self.stats;
        json!({
            "first": stats.firsts,
            "duplicate": stats.duplicates,
            "twin": stats.twins,
            "repeat": stats.repeats,
            "forwarded": stats.forwarded,
            "answer": stats.answers,
            "unsolicited": stats.unsolicited,
            "unquestioned": stats.unquestioned,
            "ambiguous": stats.ambiguous,
            "joined": stats.joined,
            "joined_inferred": stats.joined_inferred,
        })
    }

    /// The answer to `status`.
    pub(super) fn json(
        &self,
        hooks: &[Placed],
        warnings: &[String],
        owner: &Choice,
        since: &str,
        memory: &Memory,
    ) -> Value {
        let named = |names: &[&str], values: &[u64]| -> Value {
            names
                .iter()
                .zip(values)
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "v": VERSION,
            "version": env!("CARGO_PKG_VERSION"),
            "since": since,
            "hooks": hooks.iter().map(|hook| json!({
                "hook": hook.hook,
                "program": hook.program,
                "why": hook.why,
            })).collect::<Vec<_>>(),
            "owner_source": owner_json(owner),
            "warnings": warnings,
            "counters": named(&COUNTER_NAMES, self.counters),
            "rings": {
                "packets": self.ring.packets,
                "execs": self.ring.execs,
                "forks": self.ring.forks,
                "exits": self.ring.exits,
                "refused": named(&ring::BAD_NAMES, &self.ring.bad),
            },
            "messages": self.stats.messages,
            "lookups": self.stats.lookups,
            "folded": self.folded(),
            "processes": self.processes,
            "attributions": self.attributions,
            "process_table": self.table,
            "evictions": self.stats.evictions.iter().copied().collect::<BTreeMap<_, _>>(),
            "clients": self.stats.clients,
            "zones": self.stats.zones,
            "findings": named(&["low", "medium", "high", "critical"], &self.stats.findings),
            "suppressed": self.stats.suppressed,
            "findings_of_allowed_daemons": self.stats.allowed,
            "lost": lost(self.counters),
            "execs_lost": execs_lost(self.counters),
            "message_log": self.message_log.map(|lines| named(&["lines", "lost"], &lines)),
            "memory": {
                "resident": memory.resident,
                "rings": memory.rings,
                "flow_map": memory.flow_map,
                "per_cpu_maps": memory.per_cpu_maps,
                "cpus": memory.cpus,
            },
        })
    }
}

/// The owner source with its reasons, for `status` and `doctor`.
pub fn owner_json(owner: &Choice) -> Value {
    json!({
        "source": owner.source.map(Source::name),
        "why": owner.why,
        "rejected": owner.rejected.iter().map(|(source, why)| json!({"source": source.name(), "why": why})).collect::<Vec<_>>(),
        "misses": owner.misses(),
    })
}

/// Writes to stderr; a terminal gets one line that changes, everything else a line a minute.
#[derive(Debug)]
pub struct Printer {
    terminal: bool,
    /// A status line stands on the terminal without its line end.
    open: bool,
}

impl Printer {
    pub fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), open: false }
    }

    pub const fn interval(&self) -> Duration {
        if self.terminal { ON_TERMINAL } else { ELSEWHERE }
    }

    /// A line that stays.
    pub fn line(&mut self, text: &str) {
        self.clear();
        // stderr may be gone; the findings are what matters.
        let _ = writeln!(io::stderr(), "earthdog: {text}");
    }

    /// The status line.
    pub fn status(&mut self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = if self.terminal {
            write!(err, "\r\x1b[Kearthdog: {text}")
        } else {
            writeln!(err, "earthdog: {text}")
        };
        let _ = err.flush();
        self.open = self.terminal;
    }

    /// Takes the status line off the terminal, before something else is written there.
    pub fn clear(&mut self) {
        if self.open {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.open = false;
        }
    }
}

impl Default for Printer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::counter;

    use super::*;
    use crate::event::no_owner;

    #[test]
    fn a_process_counts_once_and_unknown_owners_do_not() {
        let mut askers = Askers::default();
        let mut owner = no_owner(sensor_ebpf::abi::no_owner::TCP);
        askers.note(&owner);
        assert_eq!(askers.count(), 0);
        owner.grade = grade::EXACT;
        for tgid in [7, 7, 8] {
            owner.tgid = tgid;
            askers.note(&owner);
        }
        assert_eq!(askers.count(), 2);
        for tgid in 0..2 * MAX_PROCESSES as u32 {
            owner.tgid = 100 + tgid;
            askers.note(&owner);
        }
        assert_eq!(askers.count(), 2 + 2 * MAX_PROCESSES as u64);
        assert!(askers.seen.len() <= MAX_PROCESSES);
    }

    #[test]
    fn the_line_names_every_loss() {
        let mut stats = pipeline::Stats::default();
        (stats.messages, stats.zones, stats.findings) = (12, 3, [0, 1, 0, 1]);
        let mut counters = [0; COUNTER_NAMES.len()];
        counters[counter::LOST_BULK as usize] = 4;
        let mut ring = ring::Stats::default();
        let line = |counters: &Counters, ring: &ring::Stats| {
            let attributions = &BTreeMap::new();
            Numbers { stats: &stats, processes: 2, counters, ring, attributions, table: 0, message_log: None }
                .line()
        };
        assert_eq!(line(&counters, &ring), "messages 12, processes 2, zones 3, findings 2, lost 4");
        ring.bad[1] = 5;
        assert!(line(&counters, &ring).ends_with("lost 4, damaged records 5"));
        for (index, by) in [(counter::SKIP_BUSY, 10), (counter::CHUNKS_CUT, 100), (counter::LOST_ALERT, 1000)]
        {
            counters[index as usize] = by;
        }
        // Never asked for, or seen elsewhere.
        for index in [counter::SKIP_TCP_ACK, counter::SKIP_EMPTY, counter::SKIP_RECORD_OFF] {
            counters[index as usize] = 7;
        }
        counters[counter::EXEC_LOST as usize] = 6;
        let shown = line(&counters, &ring);
        assert!(shown.ends_with("lost 1114, exec events lost 6, damaged records 5"), "{shown}");
    }
}
