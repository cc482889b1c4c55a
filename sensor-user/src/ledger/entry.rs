//! One key's account: what its names and answers can have carried, in each window and in all.

use super::Key;
use super::forms::{Patterns, split_address};
use super::known::{Asked, Known};
use super::payload::Answer;
use super::shape::Shape;
use super::standing::{Bounds, Kind, Standing};
use super::windows::{SPANS, Span, Sums, Windows};
use crate::model::{self, History, UNIT};
use crate::zone::Class;

/// First names kept to show.
pub const SAMPLES: usize = 3;
/// Bytes of all of them; the first is kept whatever its length (RFC 1035 section 2.3.4: 254 at most).
const SAMPLE_BYTES: usize = 300;
/// Names remembered as known, and hashes of answers.
const KNOWN_NAMES: usize = 240;
const KNOWN_ANSWERS: usize = 32;
/// New names after which a key is worth a history of its own; most (client, zone) pairs see one or two names ever.
const HISTORY_FROM: u64 = 3;
/// A token is what is new in a name: so many labels, and no more than so many bits. Antivirus look-ups have a hash and a
/// digest of its context, 320 bits in three labels.
const TOKEN_MAX_LABELS: u8 = 4;
const TOKEN_MAX_COST: u32 = 400 * UNIT;
/// By window: one part of this many of what tokens say counts as new names do, where no payload comes back. A page asks
/// for a name with a random identifier now and then, from morning to night.
const TOKEN_PART: [u64; SPANS] = [2, 2, 2, 4];
/// Responses before anything is known of them, and how many that differ from name to name may still be verdicts rather
/// than payload.
const SOME_RESPONSES: u64 = 8;
const FEW_ANSWERS: u32 = 4;

/// At most 4 KiB: history 1.2 KiB, names 0.9 KiB, windows 0.7 KiB, samples 0.4 KiB, the rest in place.
#[derive(Debug)]
pub struct Entry {
    pub key: Key,
    pub class: Class,
    /// Wire form; empty for names without a zone.
    pub zone: Box<[u8]>,
    pub first_ns: u64,
    pub last_ns: u64,
    pub queries: u64,
    pub responses: u64,
    pub totals: Totals,
    /// Sum of lengths, dots excluded, of distinct lower-cased sub-names.
    pub name_bytes: u64,
    pub new_names: u64,
    /// First sub-names, wire form.
    pub samples: Vec<Box<[u8]>>,
    /// A finding is open on it.
    pub reported: bool,
    /// Key of the resolver that passes its look-ups on; 0 if none is known to.
    pub via: u64,
    windows: Windows,
    known: Known<KNOWN_NAMES>,
    answers: Known<KNOWN_ANSWERS>,
    history: Option<Box<History>>,
    shape: Shape,
    patterns: Patterns,
    /// Characters of the labels that were new in the last name.
    fixed_len: u8,
    /// Names asked a second time.
    asked_again: u32,
    /// Responses with payload that was not seen before.
    new_payloads: u32,
    /// Answers that are no verdict by themselves, each counted once.
    varied_answers: u32,
    /// Responses that could be verdicts.
    verdicts: u32,
}

/// Sums since the first query, in model units.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub up_low: u64,
    pub up_high: u64,
    pub down_low: u64,
    pub down_high: u64,
}

const _: () = assert!(
    size_of::<Entry>()
        + Known::<KNOWN_NAMES>::HEAP
        + Known::<KNOWN_ANSWERS>::HEAP
        + size_of::<History>()
        // Zone and sub-name together are one name.
        + SAMPLE_BYTES
        + SAMPLES * size_of::<Box<[u8]>>()
        + size_of::<(Key, u32)>() * 2
        + super::Ledger::WORTH_BYTES
        <= super::ENTRY_MAX
);

/// A sub-name and what rides along with it.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// Lower-cased wire form of the labels below the zone.
    pub sub: &'a [u8],
    /// Keyed hash of the whole name.
    pub hash: u64,
    /// Letters in upper case, and letters at all: 0 bits of case if there are none of the first.
    pub upper: u8,
    pub letters: u8,
    /// EDNS option data, trailing bytes: raw bytes that no resolver has to pass on.
    pub extra_bytes: usize,
}

/// How a query counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The first time this look-up is seen.
    Full,
    /// Retry or A/AAAA/HTTPS twin: part of a look-up already charged.
    Twin,
    /// Another client asked the same name just before: it is charged for it.
    Forwarded,
}

impl Entry {
    pub(super) fn new(key: Key, class: Class, zone: &[u8], now_ns: u64) -> Self {
        Self {
            key,
            class,
            zone: zone.into(),
            first_ns: now_ns,
            last_ns: now_ns,
            queries: 0,
            responses: 0,
            totals: Totals::default(),
            name_bytes: 0,
            new_names: 0,
            samples: Vec::new(),
            reported: false,
            via: 0,
            windows: Windows::new(now_ns),
            known: Known::default(),
            answers: Known::default(),
            history: None,
            shape: Shape::default(),
            patterns: Patterns::default(),
            fixed_len: 0,
            asked_again: 0,
            new_payloads: 0,
            varied_answers: 0,
            verdicts: 0,
        }
    }

    /// Takes a query at `now_ns`; returns whether its sub-name was new. One that is `claimed` by another key's open
    /// finding counts in all, but not in the windows.
    pub fn query(&mut self, name: Name<'_>, charge: Charge, claimed: bool, now_ns: u64) -> bool {
        self.advance(now_ns);
        self.queries += 1;
        let mut sums = Sums { queries: 1, ..Sums::default() };
        // Id, type, case and options can carry something in every query, also in a repeated one.
        let beside = ID_BITS + QTYPE_BITS + case_bits(name) + name.extra_bytes as u64 * 8;
        self.totals.up_high += beside * u64::from(UNIT);
        let asked = self.known.ask(name.hash, charge == Charge::Full);
        let new = !name.sub.is_empty() && asked == Asked::New;
        let length = sub_len(name.sub);
        if new {
            self.name_bytes += length as u64;
            if charge == Charge::Full {
                self.take(name.sub, length, &mut sums);
            }
        } else {
            self.asked_again += u32::from(asked == Asked::Again && !name.sub.is_empty());
            if charge == Charge::Full {
                // Which of the names it knows a client repeats: at most log2 of how many.
                let cost = u64::from(model::log2_units(self.known.len()));
                self.totals.up_low += cost;
                self.totals.up_high += cost;
            }
        }
        if !claimed {
            self.windows.add(sums);
        }
        new
    }

    /// Charges a new sub-name of `length` characters.
    fn take(&mut self, sub: &[u8], length: usize, sums: &mut Sums) {
        self.new_names += 1;
        sums.new_names = 1;
        let kept: usize = self.samples.iter().map(|sample| sample.len()).sum();
        if self.samples.len() < SAMPLES && (kept == 0 || kept + sub.len() <= SAMPLE_BYTES) {
            self.samples.push(sub.into());
        }
        self.shape.name(sub, length);
        let (most, rest) = split_address(self.class, sub);
        let most_by_alphabet = model::alphabet_cost(sub);
        let number = if most == 0 { self.patterns.number(sub) } else { None };
        let cost = if let Some((number, is_short)) = number {
            let column = if is_short { &mut sums.form_units } else { &mut sums.new_units };
            *column = u64::from(number);
            number
        } else {
            let (said, fixed) = self.say(told(self.class, sub));
            let (address, said) =
                if most > 0 && rest.is_empty() { (said.min(most), 0) } else { (most, said) };
            sums.form_units = u64::from(address);
            let column = if fixed { &mut sums.fixed_units } else { &mut sums.new_units };
            *column = u64::from(said);
            address + said
        };
        let low = u64::from(cost.min(most_by_alphabet));
        self.totals.up_low += low;
        self.totals.up_high += (u64::from(raw_cost(sub))).max(low);
    }

    /// Takes a response. One that is `claimed` by another key's open finding counts in all, but not in the windows.
    pub fn response(&mut self, answer: Answer, claimed: bool, now_ns: u64) {
        self.advance(now_ns);
        self.responses += 1;
        self.totals.down_high += answer.high;
        let new = (answer.high > 0 || answer.is_verdict) && !self.answers.insert(answer.hash);
        if new {
            self.totals.down_low += answer.low;
            self.new_payloads += u32::from(answer.low > 0);
            self.varied_answers += u32::from(!answer.is_verdict);
            if !claimed {
                self.windows.add(Sums { down_units: answer.low, ..Sums::default() });
            }
        }
        // One of a few addresses or texts is a verdict too; no data for a name that exists is none.
        self.verdicts += u32::from(answer.is_verdict || (answer.high > 0 && !new));
    }

    /// What the window that ends with the last message or [`Self::roll`] holds.
    pub fn window(&self, span: Span) -> Sums {
        self.windows.sums(span)
    }

    /// Lets what is older than each window go.
    pub fn roll(&mut self, now_ns: u64) {
        self.windows.roll(now_ns);
    }

    /// All windows, to be claimed from another entry.
    pub fn windows(&mut self, now_ns: u64) -> Windows {
        self.roll(now_ns);
        self.windows
    }

    /// Takes out of the windows what another key's finding speaks for.
    pub fn claim(&mut self, theirs: &Windows, now_ns: u64) {
        self.roll(now_ns);
        self.windows.subtract(theirs);
    }

    /// Its finding closes: what was reported is not reported again.
    pub fn settle(&mut self) {
        self.windows.clear();
    }

    /// What is new in its names: encoding, lengths, counters.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Share of its names that were asked exactly once; 0 to 1.
    pub fn once_share(&self) -> f64 {
        1.0 - (f64::from(self.asked_again) / self.new_names.max(1) as f64).min(1.0)
    }

    /// New payload-bearing answers to each new name; 0 to 1.
    pub fn payload_share(&self) -> f64 {
        (f64::from(self.new_payloads) / self.new_names.max(1) as f64).min(1.0)
    }

    /// Whether its answers are verdicts: no such name, an address of the loopback network, or one of very few others, but
    /// not always the same.
    pub fn answers_are_verdicts(&self) -> bool {
        self.responses >= SOME_RESPONSES
            && self.answers.len() > 1
            && self.varied_answers <= FEW_ANSWERS
            && u64::from(self.verdicts) * 4 >= self.responses * 3
    }

    /// Whether no window comes up to a bound, whatever its names and answers are taken for: what [`Self::standing`] would
    /// say is under it, at a fraction of the cost.
    pub fn is_far(&self, bounds: &Bounds) -> bool {
        Span::ALL.into_iter().all(|span| {
            let sums = self.windows.sums(span);
            sums.new_units + sums.fixed_units < bounds.names(span).min(bounds.encoded(span))
                && sums.form_units + sums.fixed_units < bounds.forms(span)
                && sums.down_units < bounds.answers(span)
        })
    }

    /// How far its heaviest window is towards a bound.
    pub fn standing(&self, bounds: &Bounds) -> Standing {
        let lookups = self.answers_are_verdicts();
        let answered = self.payload_share() > 0.5;
        let carries = answered && self.shape.is_clear() && self.once_share() > 0.5;
        let mut most = Standing::default();
        for span in Span::ALL {
            let sums = self.windows.sums(span);
            let (said, form) = if lookups {
                // By its alphabet a hash costs about three quarters of what host names' characters make of it.
                (sums.new_units, sums.form_units + sums.fixed_units / 4 * 3)
            } else if answered {
                (sums.new_units + sums.fixed_units, sums.form_units)
            } else {
                (sums.new_units + sums.fixed_units / TOKEN_PART[span as usize], sums.form_units)
            };
            let names = Standing::new(Kind::Names, span, said, bounds.names(span), sums);
            let forms = Standing::new(Kind::Forms, span, form, bounds.forms(span), sums);
            let answers = Standing::new(Kind::Answers, span, sums.down_units, bounds.answers(span), sums);
            most = most.max(names).max(forms).max(answers);
            if carries {
                most = most.max(Standing::new(Kind::Encoded, span, said, bounds.encoded(span), sums));
            }
        }
        most
    }

    fn advance(&mut self, now_ns: u64) {
        self.roll(now_ns);
        self.first_ns = self.first_ns.min(now_ns);
        self.last_ns = self.last_ns.max(now_ns);
    }

    /// Cost of what a sub-name says, and whether it is the same name as before but for one label of the same length.
    fn say(&mut self, sub: &[u8]) -> (u32, bool) {
        if self.new_names < HISTORY_FROM {
            return (model::static_cost_of(sub, &mut self.shape), false);
        }
        let (samples, class) = (&self.samples, self.class);
        let history = self.history.get_or_insert_with(|| {
            let mut history = Box::<History>::default();
            for sample in samples.iter().take(HISTORY_FROM as usize - 1) {
                history.learn(told(class, sample), &mut model::Unheard);
            }
            history
        });
        let said = history.learn(sub, &mut self.shape);
        let as_before = said.new_len == self.fixed_len;
        self.fixed_len = said.new_len;
        let is_token =
            (1..=TOKEN_MAX_LABELS).contains(&said.new_labels) && as_before && said.new_cost <= TOKEN_MAX_COST;
        (said.cost, is_token || said.is_underscored)
    }
}

/// What the history learns of a sub-name: the labels behind an address, or the address if there are none.
fn told(class: Class, sub: &[u8]) -> &[u8] {
    let (_, rest) = split_address(class, sub);
    if rest.is_empty() { sub } else { rest }
}

/// A DNS message id.
const ID_BITS: u64 = 16;
/// A query type.
const QTYPE_BITS: u64 = 16;

/// One bit for each letter where any is in upper case.
fn case_bits(name: Name<'_>) -> u64 {
    if name.upper == 0 { 0 } else { u64::from(name.letters) }
}

/// Characters without the lengths, dots or root.
fn sub_len(sub: &[u8]) -> usize {
    let mut rest = sub;
    let mut total = 0;
    while let Some((&length, tail)) = rest.split_first() {
        total += usize::from(length).min(tail.len());
        rest = &tail[usize::from(length).min(tail.len())..];
    }
    total
}

/// What the characters could say if each were one of 38 (or of 256, if any is no host name character) by free choice.
fn raw_cost(sub: &[u8]) -> u32 {
    let mut rest = sub;
    let mut cost = 0;
    while let Some((&length, tail)) = rest.split_first() {
        let (label, tail) = tail.split_at(usize::from(length).min(tail.len()));
        cost += 6 * UNIT + label.len() as u32 * if model::is_host_label(label) { 84 } else { 8 * UNIT };
        rest = tail;
    }
    cost
}

#[cfg(test)]
mod bounds;

#[cfg(test)]
mod tests;
