//! Self-limits at work: what the sensor costs is looked at each second, and the steps that `limits` decides on are taken,
//! told as findings and undone.

use std::path::Path;
use std::time::Duration;

use sensor_ebpf::abi::{control, counter};
use serde_json::{Value, json};

use super::Sensor;
use crate::clock;
use crate::config::Config;
use crate::escape::escape;
use crate::finding::{Evidence, Finding, State};
use crate::limits::{self, Budget, Change, Ladder, Load, Myself, STEPS, Step};
use crate::live::maps::Counters;
use crate::live::split::Privileged;

/// Seconds between two looks at the memory, which reads a file for each open descriptor.
const MEMORY_EVERY: u64 = 5;
/// At the last step: the longest pause between two drains, so that what matters is never told late.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// At the last step: what is read, however much of the budget the kernel side takes.
const LEAST_SHARE: f64 = 0.05;

#[derive(Debug)]
pub(super) struct Limits {
    ladder: Ladder,
    /// `control` bits that are in force without any step.
    always: u32,
    /// Of the process (`live.nice`).
    nice: i32,
    /// Whether the configuration has messages told one by one.
    telemetry: bool,
    me: Myself,
    /// By step: since when it is in force (Unix ns), how often it was taken.
    steps: [(Option<u64>, u64); STEPS.len()],
    load: Load,
    /// Of the last look, and a few seconds old at most.
    before: Before,
    looks: u64,
    /// Messages that were not told one by one while telemetry was off.
    untold: u64,
    switch: String,
    may_detach: bool,
    detached: Option<(u64, String)>,
}

fn budget(config: &Config, as_gateway: bool) -> Budget {
    let limits = &config.limits;
    Budget {
        cpu: if as_gateway { limits.gateway_cpu_share } else { limits.cpu_share },
        memory: limits.memory_mib << 20,
        after_s: limits.after_s,
        calm_s: limits.calm_s,
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Before {
    cpu_ns: u64,
    at: Option<std::time::Instant>,
    kept_back: [u64; STEPS.len()],
    records: u64,
    messages: u64,
}

impl Limits {
    /// `filter`: whether repeats are kept back without any step.
    pub(super) fn new(config: &Config, as_gateway: bool, filter: bool, nice: i32) -> Self {
        let exe = std::env::current_exe().ok().map(|path| path.to_string_lossy().into_owned());
        Self {
            ladder: Ladder::new(budget(config, as_gateway)),
            always: if filter { control::REPEATS } else { 0 },
            nice,
            telemetry: config.logs_messages(),
            me: Myself { pid: std::process::id(), exe },
            steps: [(None, 0); STEPS.len()],
            load: Load::default(),
            before: Before::default(),
            looks: 0,
            untold: 0,
            switch: config.limits.kill_switch.clone(),
            may_detach: config.limits.detach,
            detached: None,
        }
    }

    /// Whether the sensor is off its hooks.
    pub(super) const fn is_detached(&self) -> bool {
        self.detached.is_some()
    }

    /// Takes other limits over.
    pub(super) fn retune(&mut self, config: &Config, as_gateway: bool) {
        self.ladder.retune(budget(config, as_gateway));
        self.switch.clone_from(&config.limits.kill_switch);
        self.may_detach = config.limits.detach;
    }

    /// `abi::control` bits as they should be now.
    fn control(&self) -> u32 {
        let steps = [control::REPEATS, control::KNOWN_ANSWERS, 0];
        steps[..self.ladder.taken()].iter().fold(self.always, |bits, bit| bits | bit)
    }

    fn telemetry_is_off(&self) -> bool {
        self.ladder.taken() == STEPS.len()
    }

    /// How long to leave the rings alone after a drain that took `busy`. At the last step so long that the budget holds:
    /// what finds no room meanwhile is lost, counted.
    pub(super) fn pause(&self, more: bool, usual: Duration, busy: Duration) -> Duration {
        let wanted = if more { Duration::ZERO } else { usual };
        let budget = self.ladder.budget().cpu;
        if !self.telemetry_is_off() || budget <= 0.0 {
            return wanted;
        }
        let share = (budget - self.load.kernel).max(LEAST_SHARE);
        wanted.max(busy.mul_f64((1.0 / share - 1.0).max(0.0)).min(LONGEST_PAUSE))
    }

    /// What was used since the last look.
    fn measure(
        &mut self,
        privileged: &mut Privileged,
        kernel: f64,
        counters: &Counters,
        records: u64,
        messages: u64,
    ) {
        let (cpu_ns, at) = (privileged.cpu_ns(), clock::monotonic());
        let of = |index: u32| counters[index as usize];
        let repeats =
            if self.always == 0 { of(counter::REPEAT_QUERY) + of(counter::REPEAT_RESPONSE) } else { 0 };
        let kept_back =
            [repeats, of(counter::KNOWN_ANSWER), of(counter::LOST_BULK) + of(counter::LOST_ALERT)];
        let before = self.before;
        if self.telemetry && self.telemetry_is_off() {
            self.untold += messages - before.messages;
        }
        if let Some(then) = before.at {
            let seconds = at.duration_since(then).as_secs_f64().max(1e-3);
            let process = cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e9 / seconds;
            let record = process / (records - before.records).max(1) as f64;
            let spared = self
                .ladder
                .taken()
                .checked_sub(1)
                .map_or(0, |last| kept_back[last].saturating_sub(before.kept_back[last]));
            self.load = Load { process, kernel, spared: spared as f64 * record, ..self.load };
        }
        if self.looks.is_multiple_of(MEMORY_EVERY) {
            self.load.memory = privileged.memory().total();
        }
        self.looks += 1;
        self.before = Before { cpu_ns, at: Some(at), kept_back, records, messages };
    }

    fn took(&mut self, number: usize, evidence: Vec<Evidence>, now_ns: u64) -> Finding {
        self.steps[number] = (Some(now_ns), self.steps[number].1 + 1);
        self.tell(&STEPS[number], State::Create, evidence, now_ns, now_ns)
    }

    fn undid(&mut self, number: usize, now_ns: u64) -> Finding {
        let since = self.steps[number].0.take().unwrap_or(now_ns);
        let evidence = limits::evidence(&self.load, self.ladder.budget());
        self.tell(&STEPS[number], State::Close, evidence, since, now_ns)
    }

    fn tell(&self, step: &Step, state: State, evidence: Vec<Evidence>, since: u64, now_ns: u64) -> Finding {
        limits::finding(step, state, evidence, &self.me, since, now_ns)
    }

    /// For `status`.
    pub(super) fn json(&self, counters: &Counters) -> Value {
        let Budget { cpu, memory, .. } = self.ladder.budget();
        let of = |index: u32| counters[index as usize];
        json!({
            "cpu_share": self.load.cpu(),
            "process_share": self.load.process,
            "kernel_share": self.load.kernel,
            "memory_bytes": self.load.memory,
            "nice": self.nice,
            "budget": { "cpu_share": cpu, "memory_bytes": memory },
            "step": self.ladder.taken(),
            "steps": STEPS.iter().zip(&self.steps).map(|(step, (since, taken))| json!({
                "step": step.name,
                "rule": step.rule,
                "since": since.map(crate::finding::time),
                "taken": taken,
            })).collect::<Vec<_>>(),
            "repeats_kept_back": of(counter::REPEAT_QUERY) + of(counter::REPEAT_RESPONSE),
            "known_answers_kept_back": of(counter::KNOWN_ANSWER),
            "messages_untold": self.untold,
            "detached": self.detached.as_ref().map(|(since, why)| json!({
                "since": crate::finding::time(*since), "why": why,
            })),
        })
    }
}

impl Sensor {
    /// Once a second.
    pub(super) fn look_at_limits(&mut self) {
        let counters = self.maps.counters();
        let kernel = self.cost.kernel_share();
        let (records, messages) = (self.rings.stats().packets, self.pipeline.stats().messages);
        self.limits.measure(&mut self.privileged, kernel, &counters, records, messages);
        let now_ns = clock::unix_ns();
        let change = self.limits.ladder.look(&self.limits.load);
        match change {
            Some(Change::Up(number)) => {
                let evidence = limits::evidence(&self.limits.load, self.limits.ladder.budget());
                let finding = self.limits.took(number, evidence, now_ns);
                self.tell_of_itself(&finding);
            }
            Some(Change::Down(number)) => {
                let finding = self.limits.undid(number, now_ns);
                self.tell_of_itself(&finding);
            }
            Some(Change::Exhausted) if self.limits.may_detach => {
                let why = "every step was taken and it still cost more than its budget (`limits.detach`)";
                self.switch_off(why.to_owned(), now_ns);
            }
            Some(Change::Exhausted) | None => {}
        }
        if matches!(change, Some(Change::Up(_) | Change::Down(_))) {
            self.obey_limits();
        }
        self.look_at_switch(now_ns);
    }

    /// Puts in force what the ladder says.
    pub(super) fn obey_limits(&mut self) {
        if let Err(error) = self.maps.set_control(self.limits.control()) {
            self.warn(vec![format!("self-limits do not reach the kernel: {error}")]);
        }
        if self.limits.telemetry {
            self.pipeline.keep_messages(!self.limits.telemetry_is_off());
        }
        // Load comes from the kernel's counting too, which is otherwise looked at once a minute.
        self.cost.look_often(self.limits.ladder.taken() > 0);
    }

    /// Closes what is open, at the end.
    pub(super) fn end_limits(&mut self) {
        let now_ns = clock::unix_ns();
        for number in (0..self.limits.ladder.taken()).rev() {
            let finding = self.limits.undid(number, now_ns);
            self.tell_of_itself(&finding);
        }
    }

    fn tell_of_itself(&mut self, finding: &Finding) {
        let Self { out, sinks, store, printer, .. } = self;
        let state = if finding.state == State::Close { "no longer: " } else { "" };
        printer.line(&format!("{}: {state}{}", finding.rule, finding.title));
        out.write(finding, printer);
        sinks.finding(finding);
        store.finding(finding, clock::unix_ns());
    }

    /// The switch is a file, since a host that is in trouble may have nothing left that could ask a socket.
    fn look_at_switch(&mut self, now_ns: u64) {
        let is_thrown = !self.limits.switch.is_empty() && Path::new(&self.limits.switch).exists();
        if is_thrown && self.limits.detached.is_none() {
            let why = format!("{} is there (`limits.kill_switch`)", escape(&self.limits.switch));
            self.switch_off(why, now_ns);
        }
    }

    pub(super) fn switch_off(&mut self, why: String, now_ns: u64) {
        if self.limits.detached.is_some() {
            return;
        }
        self.privileged.detach();
        self.hooks.clear();
        let finding = self.limits.tell(
            &limits::DETACHED,
            State::Create,
            limits::switched_off(why.clone()),
            now_ns,
            now_ns,
        );
        self.tell_of_itself(&finding);
        self.warn(vec![format!("off all hooks, nothing is seen until the next start: {why}")]);
        self.limits.detached = Some((now_ns, why));
    }
}
