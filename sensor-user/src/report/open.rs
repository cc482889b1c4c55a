//! A finding that is open, and what it needs to go on.

use super::{Figures, bounds, process, tool};
use crate::attack::{self, Platform};
use crate::config;
use crate::dns::{Name, canonical};
use crate::finding::trail::{self, ASKED, Curve, Gaps, Point, Trail};
use crate::finding::{self, Evidence, Finding, Severity, State};
use crate::ledger::{Entry, Span};
use crate::rules::rules;
use crate::verdict::{family, verdict};

#[derive(Debug)]
pub(super) struct Open {
    pub(super) finding: Finding,
    /// Rules that have spoken, the first first.
    pub(super) rules: Vec<&'static str>,
    /// What the rule that names the finding makes of it alone, and its weight.
    pub(super) named_for: (Severity, f64),
    /// What the client does, by that rule.
    pub(super) does: String,
    /// As what it is counted.
    pub(super) counted: Option<Severity>,
    pub(super) last_ns: u64,
    pub(super) quiet_ns: u64,
    /// Lower bound of bytes out from which the ledger's next update is due.
    pub(super) update_at: u64,
    /// The ledger has spoken.
    pub(super) ledger: bool,
    /// A packet of it had one of the carriers that no allow list covers.
    pub(super) has_payload: bool,
    /// It alerted: what is told to have begun is told to go on and to end, whatever is excepted later.
    pub(super) told: bool,
    pub(super) platform: Platform,
    pub(super) label: tool::Label,
    /// The last detector's, for cases that the ledger has no entry of.
    pub(super) figures: Figures,
    /// Unix time, nanoseconds: where the trail begins.
    first_ns: u64,
    curve: Curve,
    /// Between look-ups; between what the detector counts, in cases that the ledger has no entry of.
    gaps: Gaps,
    /// Names as they were asked, the first since it is open.
    asked: Vec<Box<[u8]>>,
}

impl Open {
    pub(super) fn new(finding: Finding, platform: Platform, now_ns: u64, has_payload: bool) -> Self {
        Self {
            rules: vec![finding.rule],
            finding,
            named_for: (Severity::Low, 0.0),
            does: String::new(),
            counted: None,
            last_ns: now_ns,
            quiet_ns: Span::TenMinutes.seconds() * 1_000_000_000,
            update_at: 0,
            ledger: false,
            has_payload,
            told: false,
            platform,
            label: tool::Label::default(),
            figures: Figures::default(),
            first_ns: now_ns,
            curve: Curve::default(),
            gaps: Gaps::default(),
            asked: Vec::new(),
        }
    }

    /// Begins the trail where the case does.
    pub(super) fn begins(mut self, first_ns: u64, entry: Option<&Entry>) -> Self {
        self.first_ns = first_ns;
        if let Some(entry) = entry {
            self.gaps = Gaps::after(entry.gaps, entry.last_ns);
        }
        self
    }

    /// Notes how far the ledger's sums have come, and the name of a look-up as it was asked: its letter case may say
    /// something where it `is_mixed`.
    pub(super) fn went_on(&mut self, entry: &Entry, asked: Option<(Name<'_>, bool)>, now_ns: u64) {
        self.curve.note(point(entry, self.first_ns));
        if let Some((name, is_mixed)) = asked {
            self.gaps.note(now_ns);
            if is_mixed && self.asked.len() < ASKED {
                self.note_name(name);
            }
        }
    }

    /// Notes how far a detector's sums have come.
    pub(super) fn counted_on(&mut self, now_ns: u64) {
        self.gaps.note(now_ns);
        self.curve.note(self.counted_to());
    }

    fn note_name(&mut self, name: Name<'_>) {
        let wire: Box<[u8]> =
            name.labels().flat_map(|label| [&[label.len() as u8], label].concat()).collect();
        if !self.asked.contains(&wire) {
            self.asked.push(wire);
        }
    }

    /// The trail so far; `entry` is the ledger's, where it has one.
    pub(super) fn trail(&self, entry: Option<&Entry>, client: Option<u64>) -> Trail {
        let last = entry.map_or_else(|| self.counted_to(), |entry| point(entry, self.first_ns));
        let known = || self.finding.trail.as_ref()?.client.clone();
        Trail {
            v: trail::VERSION,
            client: client.map(|hash| format!("{hash:016x}")).or_else(known),
            gaps: self.gaps.counts(),
            points: self.curve.until(last),
            asked: self.asked.iter().map(|name| canonical::text(name)).collect(),
        }
    }

    fn counted_to(&self) -> Point {
        let Figures { queries, up, down, .. } = self.figures;
        let ms = self.last_ns.saturating_sub(self.first_ns) / 1_000_000;
        Point(ms, queries, up.low, up.high, down.low, down.high)
    }

    /// Weight of the evidence of this name, 0 if there is none.
    pub(super) fn weight(&self, name: &str) -> f64 {
        self.finding.evidence.iter().find(|e| e.name == name).map_or(0.0, |e| e.weight)
    }

    /// Takes evidence: the heaviest of each name stays, since it stands for the severity. Whether the finding is named
    /// for its rule: the one that would make the most of it alone, and of those the heaviest.
    pub(super) fn add(&mut self, rule: &'static str, new: Evidence) -> bool {
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
        let (alone, _) = verdict(rules(), &[rule], std::slice::from_ref(&new));
        let names = (alone, new.weight) >= self.named_for;
        if names {
            self.named_for = (alone, new.weight);
            if self.finding.rule != rule {
                self.finding.rule = rule;
                self.finding.attack = attack::of(rule, self.platform);
            }
        }
        keep(&mut self.finding.evidence, new);
        names
    }

    /// Looks at a name for the form of a known tool.
    pub(super) fn name(&mut self, sub: &[u8], qtype: u16) {
        if self.finding.tool.is_none() {
            self.finding.tool = self.label.observe(sub, qtype).map(str::to_owned);
        }
    }

    /// Whether there is evidence of what was sent, or when: beside it who asked and other days count, which say nothing
    /// alone, nor beside a policy.
    pub(super) fn is_of_traffic(&self) -> bool {
        const SENT: [&str; 4] = [family::INFORMATION, family::SHAPE, family::TIMING, family::RESPONSE];
        self.finding.evidence.iter().any(|evidence| SENT.contains(&evidence.family))
    }

    /// What is known of who asked, as it is now.
    pub(super) fn add_process(&mut self, stdio: Option<u16>, settings: &config::Process) {
        let list = &mut self.finding.evidence;
        list.retain(|evidence| ![process::CONTEXT, process::ALLOWED].contains(&evidence.name));
        if self.is_of_traffic() {
            let facts = process::Facts { client: &self.finding.client, stdio, has_payload: self.has_payload };
            self.finding.evidence.extend(process::evidence(&facts, settings));
        }
    }

    /// A machine that has not shown who it is, or was shut away, and sends all the same: DNS is often let through first.
    pub(super) fn add_asset(&mut self) {
        const KEPT_OUT: [&str; 2] = ["unauthenticated", "quarantined"];
        if let Some(asset) = &self.finding.client.asset {
            self.finding.attack = attack::of_machine(self.finding.rule, self.platform, &asset.platform);
        }
        let list = &mut self.finding.evidence;
        list.retain(|evidence| !KEPT_OUT.contains(&evidence.name));
        let Some(asset) = self.finding.client.asset.as_ref().filter(|_| self.is_of_traffic()) else { return };
        let Some(name) = KEPT_OUT.into_iter().find(|state| asset.authentication == *state) else { return };
        let evidence = Evidence {
            family: family::POLICY,
            name,
            observed: format!("{} is {name} in the inventory", asset.name),
            baseline: "an authenticated machine".to_owned(),
            weight: 1.0,
        };
        self.finding.evidence.push(evidence);
    }

    /// What other days add; the heaviest of each name stays.
    pub(super) fn add_past(&mut self, past: Vec<Evidence>) {
        for evidence in past {
            keep(&mut self.finding.evidence, evidence);
        }
    }

    /// The finding's figures are the detector's.
    pub(super) fn detected(&mut self) {
        let Figures { queries, responses, name_bytes, up, down, .. } = self.figures;
        let finding = &mut self.finding;
        finding.last_seen = finding::time(self.last_ns);
        (finding.queries, finding.responses, finding.name_bytes) = (queries, responses, name_bytes);
        (finding.bytes_up, finding.bytes_down) = (up, down);
    }

    /// Severity and confidence never fall while a finding is open: what has left stays gone.
    pub(super) fn judge(&mut self) {
        let finding = &mut self.finding;
        let (severity, confidence) = verdict(rules(), &self.rules, &finding.evidence);
        finding.has_risen = finding.state == State::Update && severity > finding.severity;
        finding.severity = finding.severity.max(severity);
        finding.confidence = finding.confidence.max(confidence);
    }
}

fn point(entry: &Entry, first_ns: u64) -> Point {
    let (up, down) = bounds(entry);
    let ms = entry.last_ns.saturating_sub(first_ns) / 1_000_000;
    Point(ms, entry.queries, up.low, up.high, down.low, down.high)
}

/// Takes evidence, unless there is heavier of its name.
fn keep(list: &mut Vec<Evidence>, new: Evidence) {
    match list.iter_mut().find(|old| old.name == new.name) {
        Some(old) if old.weight > new.weight => {}
        Some(old) => *old = new,
        None => list.push(new),
    }
}
