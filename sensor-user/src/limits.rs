//! What the sensor may cost, and the ladder of steps it takes when it costs more: a function of one look a second.
//!
//! Each step leaves out what is needed least of what is left. None of them hides a new name: a tunnel is found at the last
//! as at none. Steps are taken one at a time, after being over for long enough, and undone one at a time, once the load
//! would stay below the budget without them.

use crate::attack::{self, Platform};
use crate::finding::{
    self, Bounds, Client, ClientKind, Evidence, Finding, Origin, SCHEMA, Scope, Severity, State,
};
use crate::rules::rules;
use crate::verdict::family;

/// A rule of this page; `about` is what it looks for.
#[derive(Debug)]
pub struct Step {
    pub rule: &'static str,
    /// As `status` names it.
    pub name: &'static str,
    pub about: &'static str,
    /// What the sensor does, for the title.
    pub does: &'static str,
}

/// In the order in which they are taken.
pub const STEPS: [Step; 3] = [
    Step {
        rule: "limit-repeats",
        name: "repeats",
        about: "the sensor costing more than it may: step 1, repeats are sampled in the kernel",
        does: "samples repeats",
    },
    Step {
        rule: "limit-answers",
        name: "known_answers",
        about: "the sensor costing more than it may: step 2, answers without payload to known names stay in the kernel",
        does: "skips answers to names that were just answered",
    },
    Step {
        rule: "limit-telemetry",
        name: "telemetry_off",
        about: "the sensor costing more than it may: step 3, counters and findings only, read no faster than the budget allows",
        does: "keeps to counters and findings",
    },
];

/// Not a step: what only the operator can have asked for.
pub const DETACHED: Step = Step {
    rule: "limit-detached",
    name: "detached",
    about: "the sensor taken off its hooks by the kill switch, or by `limits.detach`",
    does: "is off its hooks and sees nothing",
};

/// Every rule here, with what it looks for.
pub fn rules_and_about() -> impl Iterator<Item = (&'static str, &'static str)> {
    STEPS.iter().chain([&DETACHED]).map(|step| (step.rule, step.about))
}

/// Whether a rule is about the sensor, and not about who asks.
pub fn is_own(rule: &str) -> bool {
    rules_and_about().any(|(own, _)| own == rule)
}

/// What may be used; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Of one core, by the process and its programs in the kernel.
    pub cpu: f64,
    /// Bytes: resident, and the kernel's maps.
    pub memory: u64,
    /// Seconds over the budget, net of those below it, after which a step is taken.
    pub after_s: u64,
    /// Seconds without need of the last step after which it is undone.
    pub calm_s: u64,
}

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Share of one core.
    pub process: f64,
    pub kernel: f64,
    pub memory: u64,
    /// Share of one core that what the last step keeps back would take.
    pub spared: f64,
}

impl Load {
    pub fn cpu(&self) -> f64 {
        self.process + self.kernel
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The step of this number was taken.
    Up(usize),
    Down(usize),
    /// The last step was not enough for as long as it takes to take one.
    Exhausted,
}

/// Below this share of the budget a step is not needed: enough that noise does not take it again at once.
const CALM: f64 = 0.8;
/// A step that is needed again soon after it was undone stays for twice as long each time, up to so many times.
const MAX_PATIENCE: u64 = 16;

#[derive(Debug)]
pub struct Ladder {
    budget: Budget,
    /// Steps in force.
    taken: usize,
    over_s: u64,
    calm_s: u64,
    patience: u64,
    /// Seconds since a step was undone.
    undone_s: u64,
}

impl Ladder {
    pub fn new(budget: Budget) -> Self {
        Self { budget, taken: 0, over_s: 0, calm_s: 0, patience: 1, undone_s: u64::MAX }
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Goes by another budget from here on; what was taken stays until it is not needed under that.
    pub fn retune(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// How many steps are in force, from the first.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Once a second.
    pub fn look(&mut self, load: &Load) -> Option<Change> {
        let Budget { cpu, memory, after_s, calm_s } = self.budget;
        let is_over = cpu > 0.0 && load.cpu() > cpu || memory > 0 && load.memory > memory;
        let is_calm = (cpu <= 0.0 || load.cpu() + load.spared < cpu * CALM)
            && (memory == 0 || (load.memory as f64) < memory as f64 * CALM);
        self.undone_s = self.undone_s.saturating_add(1);
        self.over_s = if is_over { self.over_s + 1 } else { self.over_s.saturating_sub(1) };
        self.calm_s = if is_calm { self.calm_s + 1 } else { 0 };
        if self.over_s >= after_s {
            self.over_s = 0;
            self.calm_s = 0;
            if self.taken == STEPS.len() {
                return Some(Change::Exhausted);
            }
            let soon = calm_s.saturating_mul(self.patience);
            self.patience = if self.undone_s <= soon { (self.patience * 2).min(MAX_PATIENCE) } else { 1 };
            self.taken += 1;
            return Some(Change::Up(self.taken - 1));
        }
        if self.taken > 0 && self.calm_s >= calm_s.saturating_mul(self.patience) {
            (self.over_s, self.calm_s, self.undone_s) = (0, 0, 0);
            self.taken -= 1;
            return Some(Change::Down(self.taken));
        }
        None
    }
}

/// The sensor as the one that a finding is about.
#[derive(Clone, Debug)]
pub struct Myself {
    pub pid: u32,
    pub exe: Option<String>,
}

/// Tells that a step was taken (`Create`) or undone (`Close`).
pub fn finding(
    step: &Step,
    state: State,
    evidence: Vec<Evidence>,
    me: &Myself,
    first_ns: u64,
    now_ns: u64,
) -> Finding {
    let why = evidence.first().map_or_else(String::new, |evidence| format!(": {}", evidence.observed));
    Finding {
        exception: None,
        schema: SCHEMA,
        id: format!("sensor-{}", step.rule),
        origin: Origin::Live,
        state,
        time: finding::time(now_ns),
        rule: step.rule,
        title: format!("earthdog {}{why}", step.does),
        severity: rules().rules.get(step.rule).map_or(Severity::Low, |rule| rule.alone),
        has_risen: false,
        confidence: 1.0,
        scope: Scope::NoZone,
        zone: None,
        client: Client {
            pid: Some(me.pid),
            pids: vec![me.pid],
            exe: me.exe.clone(),
            ..Client::unknown(ClientKind::Process, "exact")
        },
        resolver: None,
        view: "host",
        first_seen: finding::time(first_ns),
        last_seen: finding::time(now_ns),
        queries: 0,
        responses: 0,
        bytes_up: Bounds::default(),
        bytes_down: Bounds::default(),
        name_bytes: 0,
        encoding: None,
        tool: None,
        samples: Vec::new(),
        evidence,
        counterfactual: "Had the sensor kept to its budget (`[limits]`), there would be no finding."
            .to_owned(),
        attack: attack::of(step.rule, Platform::Linux),
        trail: None,
    }
}

/// Why a step is taken: what is over its budget, or, if nothing is any more, what was looked at.
pub fn evidence(load: &Load, budget: &Budget) -> Vec<Evidence> {
    let over = |observed: f64, bound: f64| bound > 0.0 && observed > bound;
    let of = |name, observed, baseline, weight: f64| Evidence {
        family: family::POLICY,
        name,
        observed,
        baseline,
        weight: (weight * 100.0).round() / 100.0,
    };
    let mut list = Vec::new();
    let (cpu, memory) = (load.cpu(), load.memory as f64);
    let memory_is_over = over(memory, budget.memory as f64);
    if over(cpu, budget.cpu) || !memory_is_over && budget.cpu > 0.0 {
        let observed = format!(
            "{cpu:.2} of a core in use, {:.2} by the process and {:.2} in the kernel",
            load.process, load.kernel
        );
        list.push(of("cpu_share", observed, format!("{} of a core", budget.cpu), cpu / budget.cpu));
    }
    if memory_is_over {
        let observed = format!("{:.1} MB in use", memory / 1e6);
        let baseline = format!("{:.1} MB", budget.memory as f64 / 1e6);
        list.push(of("memory_bytes", observed, baseline, memory / budget.memory as f64));
    }
    list
}

/// That somebody pulled the switch.
pub fn switched_off(why: String) -> Vec<Evidence> {
    vec![Evidence {
        family: family::POLICY,
        name: "switched_off",
        observed: why,
        baseline: "to be on its hooks".to_owned(),
        weight: 1.0,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { cpu: 0.5, memory: 100, after_s: 3, calm_s: 5 };

    fn cpu(process: f64) -> Load {
        Load { process, ..Load::default() }
    }

    /// Changes within so many seconds of one load, with the second of each.
    fn during(ladder: &mut Ladder, load: Load, seconds: u64) -> Vec<(u64, Change)> {
        (1..=seconds).filter_map(|second| Some((second, ladder.look(&load)?))).collect()
    }

    #[test]
    fn steps_go_up_one_by_one_and_down_in_turn() {
        let mut ladder = Ladder::new(BUDGET);
        assert_eq!(
            during(&mut ladder, cpu(0.6), 12),
            [(3, Change::Up(0)), (6, Change::Up(1)), (9, Change::Up(2)), (12, Change::Exhausted)]
        );
        assert_eq!(
            during(&mut ladder, cpu(0.1), 20),
            [(5, Change::Down(2)), (10, Change::Down(1)), (15, Change::Down(0))]
        );
        assert_eq!(ladder.taken(), 0);
    }

    #[test]
    fn another_budget_counts_at_once() {
        let mut ladder = Ladder::new(BUDGET);
        assert_eq!(during(&mut ladder, cpu(0.4), 10), []);
        ladder.retune(Budget { cpu: 0.3, ..BUDGET });
        assert_eq!(during(&mut ladder, cpu(0.4), 4), [(3, Change::Up(0))]);
        ladder.retune(Budget { cpu: 0.0, ..BUDGET });
        assert_eq!(during(&mut ladder, cpu(0.4), 5), [(5, Change::Down(0))]);
    }

    #[test]
    fn moments_over_the_budget_take_no_step() {
        let mut ladder = Ladder::new(BUDGET);
        for _ in 0..100 {
            assert_eq!(during(&mut ladder, cpu(0.9), 2), []);
            assert_eq!(during(&mut ladder, cpu(0.1), 2), []);
        }
    }

    #[test]
    fn a_step_stays_as_long_as_what_it_spares_would_not_fit() {
        let mut ladder = Ladder::new(BUDGET);
        assert_eq!(during(&mut ladder, cpu(0.6), 3), [(3, Change::Up(0))]);
        let helped = Load { process: 0.2, spared: 0.4, ..Load::default() };
        assert_eq!(during(&mut ladder, helped, 1000), []);
        assert_eq!(during(&mut ladder, Load { spared: 0.1, ..helped }, 5), [(5, Change::Down(0))]);
    }

    #[test]
    fn what_comes_back_at_once_stays_longer_each_time() {
        let mut ladder = Ladder::new(BUDGET);
        let mut stayed = Vec::new();
        for _ in 0..6 {
            assert_eq!(during(&mut ladder, cpu(0.6), 3), [(3, Change::Up(0))]);
            stayed.push((1..=1000).find(|_| ladder.look(&cpu(0.1)).is_some()).unwrap());
        }
        assert_eq!(stayed, [5, 10, 20, 40, 80, 80]);
        during(&mut ladder, cpu(0.1), 1000);
        during(&mut ladder, cpu(0.6), 3);
        assert_eq!(during(&mut ladder, cpu(0.1), 5), [(5, Change::Down(0))], "long after, as at first");
    }

    #[test]
    fn memory_has_a_budget_of_its_own_and_nought_is_none() {
        let mut ladder = Ladder::new(BUDGET);
        let heavy = Load { memory: 101, ..Load::default() };
        assert_eq!(during(&mut ladder, heavy, 3), [(3, Change::Up(0))]);
        assert_eq!(evidence(&heavy, &BUDGET)[0].name, "memory_bytes");
        let mut none = Ladder::new(Budget { cpu: 0.0, memory: 0, ..BUDGET });
        assert_eq!(during(&mut none, Load { process: 9.0, memory: u64::MAX, ..Load::default() }, 100), []);
    }

    #[test]
    fn a_finding_says_what_was_used_and_what_may_be() {
        let load = Load { process: 0.5, kernel: 0.25, ..Load::default() };
        let me = Myself { pid: 7, exe: None };
        let told = finding(&STEPS[0], State::Create, evidence(&load, &BUDGET), &me, 1, 2);
        assert_eq!((told.rule, told.severity, told.client.pid), ("limit-repeats", Severity::Low, Some(7)));
        assert!(told.title.contains("samples repeats: 0.75 of a core in use"), "{}", told.title);
        assert_eq!((told.evidence[0].baseline.as_str(), told.evidence[0].weight), ("0.5 of a core", 1.5));
        assert!(told.attack.techniques.is_empty());
    }
}
