//! The life of a finding: created when evidence is at its threshold, updated when there is more of it or the bytes have
//! doubled, closed when its client has been quiet.

pub mod case;
mod evidence;
mod open;
mod past;
pub mod process;
mod suppress;
pub mod text;
mod tool;
pub mod who;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

pub use case::{Case, Figures, Said, Signal};
use open::Open;

use crate::attack::{self, Platform};
use crate::attribute::clients::{FNV_START, fnv};
use crate::attribute::{self, Clients, Identity, Names};
use crate::config;
use crate::detect::subdomain_flood::SubdomainFlood;
use crate::dns::{Name, canonical};
use crate::event::View;
use crate::exception::Exceptions;
use crate::finding::{self, Bounds, Evidence, Finding, Origin, SCHEMA, Severity, State};
use crate::ledger::{self, Entry, Key, Ledger, Span, Standing};
use crate::model::UNIT;
use crate::pipeline::Fill;
use crate::rules::rules;
use crate::store::History;
use crate::zone::Class;

/// The rule that speaks for the ledger.
pub const RULE: &str = "dns-leak-ledger";

#[derive(Clone, Debug)]
pub struct Settings {
    /// Findings open at once; the one quiet for longest is closed first.
    pub max_open: usize,
    /// Sample names in a finding.
    pub max_samples: usize,
    /// What counts of who asked.
    pub process: config::Process,
    /// What is to alert nobody.
    pub exceptions: Vec<config::Suppress>,
    /// Nothing is to alert anybody.
    pub observe: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_open: 1024,
            max_samples: ledger::SHOWN,
            process: config::Process::default(),
            exceptions: Vec::new(),
            observe: false,
        }
    }
}

/// The packet that made anybody look.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub server: IpAddr,
    pub view: View,
    pub now_ns: u64,
    /// The asking address's key, and the process's where it is known.
    pub address: u64,
    pub process: Option<u64>,
    /// It carries something beside a name of a common type: NULL, a type nobody publishes, EDNS data, trailing bytes.
    pub has_payload: bool,
}

impl Sighting {
    /// Who is told of: the process where it is known.
    pub fn client(&self) -> u64 {
        self.process.unwrap_or(self.address)
    }
}

/// What is known beside the findings, for as long as one packet is looked at.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Scene<'a> {
    pub ledger: &'a mut Ledger,
    pub clients: &'a Clients,
    pub names: &'a Names,
    /// Of other days, if there is a store.
    pub history: Option<&'a History>,
    pub sighting: Sighting,
    /// Of the packet, below its zone: wire form, lower case.
    pub sub: &'a [u8],
    /// The name of a look-up as it was asked, and whether its letters are of both cases; of nothing else.
    pub asked: Option<(Name<'a>, bool)>,
    pub qtype: u16,
    /// Whether a flood of the packet's zone is known, if that finding is kept elsewhere.
    pub flooded: Option<bool>,
    pub emit: &'a mut dyn FnMut(&Finding),
}

/// Findings of one rule that reached one severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ByRule {
    pub rule: &'static str,
    pub severity: Severity,
    pub count: u64,
}

#[derive(Debug)]
pub struct Reports {
    settings: Settings,
    bounds: ledger::Bounds,
    attribute: attribute::Settings,
    origin: Origin,
    open: BTreeMap<Case, Open>,
    exceptions: Exceptions,
    /// By the highest severity that each has reached.
    pub findings: [u64; 4],
    /// By the rule that named them when they reached a severity.
    reached: BTreeMap<(&'static str, Severity), u64>,
    /// Queries that a process's open finding speaks for in its address's place.
    pub absorbed: u64,
    /// Findings of a daemon on the allow list.
    pub allowed: u64,
    /// Findings that have alerted nobody so far, since an exception covers them.
    pub suppressed: u64,
    pub evicted: u64,
}

/// What a sweep does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    Review,
    Close,
}

/// A detector's evidence is stated anew once it is this many times as heavy.
const HEAVIER: f64 = 2.0;

impl Reports {
    pub fn new(
        settings: Settings,
        ledger: &ledger::Settings,
        attribute: attribute::Settings,
        origin: Origin,
    ) -> Self {
        Self {
            exceptions: Exceptions::new(&settings.exceptions, settings.observe),
            settings,
            bounds: ledger.bounds(),
            attribute,
            origin,
            open: BTreeMap::new(),
            findings: [0; 4],
            reached: BTreeMap::new(),
            absorbed: 0,
            allowed: 0,
            suppressed: 0,
            evicted: 0,
        }
    }

    /// Takes other bounds; what is open stays so. How many may be open stays too. To be followed by `review`.
    pub fn retune(&mut self, settings: Settings, ledger: &ledger::Settings, attribute: attribute::Settings) {
        self.exceptions.retune(&settings.exceptions, settings.observe);
        self.settings = Settings { max_open: self.settings.max_open, ..settings };
        self.bounds = ledger.bounds();
        self.attribute = attribute;
    }

    /// Whether the ledger speaks for this key.
    pub fn is_open(&self, key: Key) -> bool {
        self.open.get(&Case::client_zone(key)).is_some_and(|open| open.ledger)
    }

    /// How often findings reached each severity under each rule.
    pub fn by_rule(&self) -> Vec<ByRule> {
        let row = |(&(rule, severity), &count)| ByRule { rule, severity, count };
        self.reached.iter().map(row).collect()
    }

    /// Open findings.
    pub fn fill(&self) -> Fill {
        Fill { entries: self.open.len(), capacity: self.settings.max_open }
    }

    /// The open finding of a case.
    pub fn finding(&self, case: Case) -> Option<&Finding> {
        self.open.get(&case).map(|open| &open.finding)
    }

    /// An entry's way to its nearest bound; 1 is there.
    pub fn score(&self, entry: &Entry) -> f64 {
        entry.standing(&self.bounds).weight()
    }

    pub fn has(&self, case: Case) -> bool {
        self.open.contains_key(&case)
    }

    /// Whether a finding says that a zone is flooded with names.
    pub fn is_flooded(&self, zone: u64) -> bool {
        self.has(Case::zone(zone, SubdomainFlood::RULE))
    }

    /// Looks at a ledger entry that just took a query.
    pub fn judge(&mut self, key: Key, scene: &mut Scene<'_>) {
        let sighting = scene.sighting;
        let now_ns = sighting.now_ns;
        let Some(entry) = scene.ledger.find(key) else { return };
        if let Some(open) = self.open.get_mut(&Case::client_zone(key)) {
            open.last_ns = open.last_ns.max(now_ns);
            open.has_payload |= sighting.has_payload;
            open.name(scene.sub, scene.qtype);
            open.went_on(entry, scene.asked, now_ns);
            if open.is_uncovered() {
                figures(&mut open.finding, entry);
                self.state(Case::client_zone(key), State::Update, scene);
            }
        }
        let Some(entry) = scene.ledger.find(key) else { return };
        if let Some(open) = self.open.get(&Case::client_zone(key)).filter(|open| open.ledger) {
            if entry.totals.up_low / u64::from(UNIT) / 8 >= open.update_at {
                let standing = entry.standing(&self.bounds);
                self.update(key, standing, State::Update, scene);
            }
            return;
        }
        if entry.is_far(&self.bounds) {
            return;
        }
        let mut standing = entry.standing(&self.bounds);
        if standing.is_over() && !entry.flooded && entry.is_unheard() {
            entry.flooded = scene.flooded.unwrap_or_else(|| self.is_flooded(key.zone));
            standing = entry.standing(&self.bounds);
        }
        let Some(span) = standing.span.filter(|_| standing.is_over()) else { return };
        let units = entry.window(span).units();
        if key.client == sighting.address
            && let Some(client) = sighting.process
        {
            let process = Key { client, zone: key.zone };
            // Some of its packets may have come without an owner: most of the bytes make it the process's finding.
            let most = !self.is_open(process)
                && scene.ledger.find(process).is_some_and(|entry| {
                    entry.roll(now_ns);
                    entry.window(span).units() * 2 >= units
                });
            if most {
                claim(key, key, scene.ledger, now_ns);
                self.leak(process, standing, scene);
                return;
            }
        }
        if sighting.process == Some(key.client) {
            let address = Key { client: sighting.address, zone: key.zone };
            self.close(Case::client_zone(address), now_ns, scene.ledger, scene.emit);
            claim(key, address, scene.ledger, now_ns);
        }
        self.leak(key, standing, scene);
    }

    /// Takes what a detector saw.
    pub fn raise(&mut self, signal: &Signal<'_>, scene: &mut Scene<'_>) {
        debug_assert!(rules().rules[signal.rule].families.iter().any(|family| family == signal.family));
        let now_ns = scene.sighting.now_ns;
        let weight = rounded(signal.weight);
        let known = self.open.get_mut(&signal.case);
        let is_new = known.is_none();
        if let Some(open) = known {
            open.last_ns = open.last_ns.max(now_ns);
            open.has_payload |= scene.sighting.has_payload;
            open.quiet_ns = open.quiet_ns.max(signal.quiet_s * 1_000_000_000);
            open.figures = signal.figures;
            if !signal.case.rule.is_empty() {
                open.counted_on(now_ns);
            }
            let stated = open.weight(signal.name);
            if stated > 0.0 && weight < stated * HEAVIER {
                if open.is_uncovered() {
                    self.state(signal.case, State::Update, scene);
                }
                return;
            }
        }
        if weight < 1.0 {
            return;
        }
        if is_new {
            let first_ns = signal.figures.first_ns;
            self.create(signal.case, signal.rule, signal.zone, signal.class, first_ns, scene);
        }
        let said = (signal.say)();
        let Some(open) = self.open.get_mut(&signal.case) else { return };
        open.quiet_ns = open.quiet_ns.max(signal.quiet_s * 1_000_000_000);
        open.figures = signal.figures;
        match scene.ledger.find(signal.case.key).filter(|_| signal.case.rule.is_empty()) {
            Some(entry) => {
                figures(&mut open.finding, entry);
                open.finding.samples = samples(entry, self.settings.max_samples);
            }
            None => open.detected(),
        }
        let observed = said.observed;
        let baseline = said.baseline;
        let evidence = Evidence { family: signal.family, name: signal.name, observed, baseline, weight };
        let names = open.add(signal.rule, evidence);
        let finding = &mut open.finding;
        if finding.samples.is_empty() {
            finding.samples = said.samples.into_iter().take(self.settings.max_samples).collect();
        }
        finding.tool = finding.tool.take().or_else(|| said.tool.map(str::to_owned));
        if names {
            open.does = said.does;
            finding.counterfactual = said.counterfactual;
        }
        self.state(signal.case, if is_new { State::Create } else { State::Update }, scene);
    }

    /// A ledger entry is over its bound: its finding is made, or the ledger's evidence joins what is there.
    fn leak(&mut self, key: Key, standing: Standing, scene: &mut Scene<'_>) {
        let Some(entry) = scene.ledger.find(key) else { return };
        let case = Case::client_zone(key);
        let state = if self.open.contains_key(&case) {
            State::Update
        } else {
            let (zone, class, first_ns) = (entry.zone.clone(), entry.class, entry.first_ns);
            self.create(case, RULE, &zone, class, first_ns, scene);
            State::Create
        };
        self.update(key, standing, state, scene);
    }

    /// Makes room for a finding and begins it.
    fn create(
        &mut self,
        case: Case,
        rule: &'static str,
        zone: &[u8],
        class: Class,
        first_ns: u64,
        scene: &mut Scene<'_>,
    ) {
        let Sighting { now_ns, server, view, .. } = scene.sighting;
        if self.open.len() >= self.settings.max_open.max(1)
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.last_ns).map(|(case, _)| *case)
        {
            self.evicted += 1;
            self.close(oldest, now_ns, scene.ledger, scene.emit);
        }
        if let Some(entry) = scene.ledger.find(case.key).filter(|_| case.rule.is_empty()) {
            entry.reported = true;
        }
        let client = scene.clients.find(case.key.client);
        let (platform, view) = match view {
            View::HostEgress | View::HostIngress => (Platform::Linux, "host"),
            View::WireIngress | View::WireEgress => (Platform::NetworkDevices, "wire"),
            View::Capture => (Platform::NetworkDevices, "capture"),
        };
        let finding = Finding {
            schema: SCHEMA,
            id: id(case, client.map(|c| &c.identity), zone),
            origin: self.origin,
            state: State::Create,
            time: finding::time(now_ns),
            rule,
            title: String::new(),
            severity: Severity::Low,
            has_risen: false,
            confidence: 0.0,
            scope: case.scope(class),
            zone: (!zone.is_empty()).then(|| canonical::text(zone)),
            client: who::describe(client, scene.names, &self.attribute),
            resolver: Some(server.to_string()),
            view,
            first_seen: finding::time(first_ns),
            last_seen: finding::time(now_ns),
            queries: 0,
            responses: 0,
            bytes_up: Bounds { low: 0, high: 0 },
            bytes_down: Bounds { low: 0, high: 0 },
            name_bytes: 0,
            encoding: None,
            tool: None,
            samples: Vec::new(),
            evidence: Vec::new(),
            counterfactual: String::new(),
            attack: attack::of(rule, platform),
            exception: None,
            trail: None,
        };
        let entry = scene.ledger.find(case.key).filter(|_| case.rule.is_empty());
        let has_payload = scene.sighting.has_payload || entry.as_ref().is_some_and(|entry| entry.has_payload);
        let open = Open::new(finding, platform, now_ns, has_payload).begins(first_ns, entry.as_deref());
        self.open.insert(case, open);
    }

    /// Brings a finding that the ledger speaks for up to date.
    fn update(&mut self, key: Key, standing: Standing, state: State, scene: &mut Scene<'_>) {
        let case = Case::client_zone(key);
        let (Some(entry), Some(open)) = (scene.ledger.find(key), self.open.get_mut(&case)) else { return };
        figures(&mut open.finding, entry);
        open.finding.samples = samples(entry, self.settings.max_samples);
        open.ledger = true;
        open.update_at = (open.finding.bytes_up.low * 2).max(1);
        open.quiet_ns = open.quiet_ns.max(standing.span.map_or(0, Span::seconds) * 1_000_000_000);
        if entry.shape().is_clear() {
            open.finding.encoding = Some(entry.shape().recognised().encoding.name().to_owned());
        }
        let evidence = evidence::evidence(entry, &standing, scene.sighting.now_ns);
        if open.add(RULE, evidence) {
            let said = evidence::said(&open.finding, &standing);
            open.does.clear(); // the ledger's own, with figures that grow
            open.finding.counterfactual = said.counterfactual;
        }
        self.state(case, state, scene);
    }

    /// States a finding as it is now.
    fn state(&mut self, case: Case, state: State, scene: &mut Scene<'_>) {
        let client = scene.clients.find(case.key.client);
        let entry = scene.ledger.find(case.key);
        if let (Some(entry), Some(open)) = (&entry, self.open.get_mut(&case))
            && open.label.is_empty()
        {
            entry.samples().for_each(|sub| open.name(sub, scene.qtype));
        }
        let via = entry.map_or(0, |entry| entry.via);
        let via = who::program(via, scene.clients, scene.names, &self.attribute);
        let Some(open) = self.open.get_mut(&case) else { return };
        if let Some(client) = client {
            let before = open.finding.client.via.take();
            open.finding.client = who::describe(Some(client), scene.names, &self.attribute);
            open.finding.client.via = via.or(before);
            open.add_process(client.image.stdio, &self.settings.process);
            open.add_asset();
        }
        if let Some(history) = scene.history
            && open.is_of_traffic()
        {
            let who = client.map(|client| client.stable_hash);
            open.add_past(past::evidence(history, case.key, who, scene.sighting.now_ns));
        }
        open.finding.state = state;
        open.judge();
        suppress::consider(open, &mut self.exceptions, &mut self.suppressed, scene.sighting.now_ns);
        let finding = &mut open.finding;
        finding.time = finding::time(scene.sighting.now_ns);
        title(finding, &open.does);
        let entry = scene.ledger.find(case.key).filter(|_| case.rule.is_empty());
        let trail = open.trail(entry.as_deref(), client.map(|client| client.stable_hash));
        let finding = &mut open.finding;
        finding.trail = Some(Box::new(trail));
        if open.counted != Some(finding.severity) {
            if let Some(before) = open.counted.replace(finding.severity) {
                self.findings[before as usize] -= 1;
            }
            self.findings[finding.severity as usize] += 1;
            *self.reached.entry((finding.rule, finding.severity)).or_default() += 1;
        }
        if state == State::Create {
            let is_allowed = finding.evidence.iter().any(|evidence| evidence.name == process::ALLOWED);
            self.allowed += u64::from(is_allowed);
        }
        (scene.emit)(finding);
    }

    /// What an exception that has ended by now hid begins to alert; then findings close whose client has been quiet. Each
    /// in the order of their cases.
    pub fn sweep(&mut self, now_ns: u64, ledger: &mut Ledger, emit: &mut dyn FnMut(Turn, Case, &Finding)) {
        if self.exceptions.expire(now_ns) {
            self.review(now_ns, &mut |case, finding| emit(Turn::Review, case, finding));
        }
        let is_quiet = |open: &Open| now_ns.saturating_sub(open.last_ns) > open.quiet_ns;
        let quiet: Vec<Case> =
            self.open.iter().filter(|(_, open)| is_quiet(open)).map(|(case, _)| *case).collect();
        for case in quiet {
            self.close(case, now_ns, ledger, &mut |finding| emit(Turn::Close, case, finding));
        }
    }

    /// Closes all, in the order of their cases.
    pub fn close_all(
        &mut self,
        now_ns: u64,
        ledger: &mut Ledger,
        emit: &mut dyn FnMut(Turn, Case, &Finding),
    ) {
        while let Some(case) = self.open.first_key_value().map(|(case, _)| *case) {
            self.close(case, now_ns, ledger, &mut |finding| emit(Turn::Close, case, finding));
        }
    }

    /// The ledger forgets an entry: its finding closes with what it last said.
    pub fn forget(&mut self, entry: &Entry, now_ns: u64, emit: &mut dyn FnMut(&Finding)) {
        if entry.reported
            && let Some(mut open) = self.open.remove(&Case::client_zone(entry.key))
        {
            figures(&mut open.finding, entry);
            finish(open, Some(entry), now_ns, emit);
        }
    }

    fn close(&mut self, case: Case, now_ns: u64, ledger: &mut Ledger, emit: &mut dyn FnMut(&Finding)) {
        let Some(mut open) = self.open.remove(&case) else { return };
        let mut entry = ledger.find(case.key).filter(|_| case.rule.is_empty());
        match &mut entry {
            Some(entry) => {
                entry.reported = false;
                if open.ledger {
                    entry.settle();
                }
                figures(&mut open.finding, entry);
            }
            None => open.detected(),
        }
        let now_ns = now_ns.max(open.last_ns);
        finish(open, entry.as_deref(), now_ns, emit);
    }
}

/// Weights are stated to two places, rounded down: what is stated as at its threshold is.
fn rounded(weight: f64) -> f64 {
    (weight * 100.0).floor() / 100.0
}

/// Takes what one key's window holds out of another's: it is reported already.
fn claim(of: Key, from: Key, ledger: &mut Ledger, now_ns: u64) {
    if let Some(windows) = ledger.find(of).map(|entry| entry.windows(now_ns))
        && let Some(entry) = ledger.find(from)
    {
        entry.claim(&windows, now_ns);
    }
}

fn finish(mut open: Open, entry: Option<&Entry>, now_ns: u64, emit: &mut dyn FnMut(&Finding)) {
    open.finding.trail = Some(Box::new(open.trail(entry, None)));
    open.finding.state = State::Close;
    open.finding.time = finding::time(now_ns);
    title(&mut open.finding, &open.does);
    emit(&open.finding);
}

/// What a detector says it does, else what the ledger does.
fn title(finding: &mut Finding, does: &str) {
    finding.title = if does.is_empty() {
        text::title(finding, &text::leaks(finding))
    } else {
        text::title(finding, does)
    };
}

/// The ledger's figures; they stand alone, so that a close states the final ones.
fn figures(finding: &mut Finding, entry: &Entry) {
    finding.last_seen = finding::time(entry.last_ns);
    finding.queries = entry.queries;
    finding.responses = entry.responses;
    finding.name_bytes = entry.name_bytes;
    (finding.bytes_up, finding.bytes_down) = bounds(entry);
}

/// Bytes out and in, by the ledger.
pub(crate) fn bounds(entry: &Entry) -> (Bounds, Bounds) {
    let bounds = |low: u64, high: u64| Bounds {
        low: low / u64::from(UNIT) / 8,
        high: (high.max(low)).div_ceil(u64::from(UNIT) * 8),
    };
    let totals = &entry.totals;
    (bounds(totals.up_low, totals.up_high), bounds(totals.down_low, totals.down_high))
}

/// First names, whole.
fn samples(entry: &Entry, max: usize) -> Vec<String> {
    let whole = |sub: &[u8]| canonical::text(&[sub, &entry.zone[..]].concat());
    entry.samples().take(max).map(whole).collect()
}

/// Deterministic: what it is about gives the id, in every run; whichever of the rules that share it speaks first.
fn id(case: Case, client: Option<&Identity>, zone: &[u8]) -> String {
    let kind = if case.rule.is_empty() { "client-zone" } else { case.rule };
    let hash = fnv(fnv(FNV_START, kind.as_bytes()), &[0xff]);
    let hash = fnv(hash, &client.map_or(0, Identity::stable_hash).to_le_bytes());
    format!("{kind}-{:016x}", fnv(hash, zone))
}
