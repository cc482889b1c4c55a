//! One key's account: what its names and answers can have carried, in each window and in all.

use super::Key;
use super::back::Back;
use super::firsts::Firsts;
use super::forms::{self, Patterns, split_address};
use super::known::{Asked, Known};
use super::payload::Answer;
use super::shape::Shape;
use super::standing::{Bounds, Kind, Standing};
use super::windows::{SPANS, Span, Sums, Windows};
use crate::finding::trail::FirstGaps;
use crate::model::{self, History, UNIT};
use crate::zone::Class;

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
/// A further part of them where many ask through one address: each has a page with such a name.
const OTHERS_PART: u64 = 3;
/// The same of plain names where names are plain: readers go through a list of people or shops once.
const PLAIN_PART: [u64; SPANS] = [8, 8, 8, 4];
/// What tokens say that are answered by verdicts, in quarters, as it counts towards the bound of forms: by its alphabet a
/// hash costs about three quarters of what host names' characters make of it; for a day twice that.
const VERDICT_QUARTERS: [u64; SPANS] = [3, 3, 3, 6];
/// New names that nobody answers are a flood from so many a second on: a capture of one direction has no answers either.
const FLOOD_PER_SECOND: u64 = 5;
/// After so many names those before count half of what they did: what kind names are is judged by those of late.
const RECENT_NAMES: u32 = 128;
/// Characters of names that are a word or two, and of guessed or listed ones, on average at most.
const SHORT_LEN: f64 = 16.0;
const GUESS_LEN: f64 = 24.0;
/// One in so many names asked again makes a key one of content rather than of messages: its names count this part.
const AGAIN_SHARE: u64 = 4;
const AGAIN_PART: u64 = 2;

/// At most 4 KiB: history 1.2 KiB, names 0.9 KiB, windows 0.8 KiB, samples 0.3 KiB, the rest in place.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
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
    /// A finding is open on it.
    pub reported: bool,
    /// Its zone is flooded with names that nobody answers, as the detector of that says.
    pub flooded: bool,
    /// Its client asks for others, as far as is learned: behind it are many, each with names of its own.
    pub for_others: bool,
    /// A query of it had NULL, a type nobody publishes, EDNS data or trailing bytes.
    pub has_payload: bool,
    /// Key of the resolver that passes its look-ups on; 0 if none is known to.
    pub via: u64,
    /// Between look-ups.
    pub gaps: FirstGaps,
    windows: Windows,
    known: Known<KNOWN_NAMES>,
    answers: Known<KNOWN_ANSWERS>,
    firsts: Firsts,
    /// Of keys with more names than `firsts` are learned from anew.
    history: Option<Box<History>>,
    shape: Shape,
    patterns: Patterns,
    /// Characters of the labels that were new in the last name, but for much shorter ones.
    fixed_len: u8,
    /// Characters of the last new name.
    whole_len: u8,
    /// What the last query's name cost; 0 if it was not new.
    last_units: u32,
    /// Names asked a second time.
    asked_again: u32,
    /// Names that are more than an address or a number, and how many of them are plain.
    spoken_names: u32,
    plain_names: u32,
    back: Back,
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
        + Windows::HEAP
        + Known::<KNOWN_NAMES>::HEAP
        + Known::<KNOWN_ANSWERS>::HEAP
        + size_of::<History>()
        + Firsts::HEAP
        + crate::index::Index::BYTES
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
    /// An answer to this client led here: what it costs to say to which of the names that answers led to, in units.
    pub told: Option<u32>,
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
            reported: false,
            flooded: false,
            for_others: false,
            has_payload: false,
            via: 0,
            gaps: FirstGaps::default(),
            windows: Windows::new(now_ns),
            known: Known::default(),
            answers: Known::default(),
            firsts: Firsts::default(),
            history: None,
            shape: Shape::default(),
            patterns: Patterns::default(),
            fixed_len: 0,
            whole_len: 0,
            last_units: 0,
            asked_again: 0,
            spoken_names: 0,
            plain_names: 0,
            back: Back::default(),
        }
    }

    /// Takes a query at `now_ns`; returns whether its sub-name was new. One that is `claimed` by another key's open
    /// finding counts in all, but not in the windows.
    pub fn query(&mut self, name: Name<'_>, charge: Charge, claimed: bool, now_ns: u64) -> bool {
        if charge == Charge::Full && self.queries > 0 {
            self.gaps.note(now_ns.saturating_sub(self.last_ns));
        }
        self.advance(now_ns);
        self.queries += 1;
        let mut sums = Sums { queries: 1, ..Sums::default() };
        self.totals.up_high += beside_bits(name) * u64::from(UNIT);
        let asked = self.known.ask(name.hash, charge == Charge::Full);
        let new = !name.sub.is_empty() && asked == Asked::New;
        let length = sub_len(name.sub);
        if new {
            self.name_bytes += length as u64;
            if charge == Charge::Full {
                self.take(name, length, &mut sums);
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
        self.last_units = sums.units() as u32;
        if !claimed {
            self.windows.add(sums);
        }
        new
    }

    /// Takes queries for a known name that the novelty filter kept back: each can carry what stands beside the name.
    pub fn repeats(&mut self, name: Name<'_>, count: u32, claimed: bool, now_ns: u64) {
        self.advance(now_ns);
        let count = u64::from(count);
        self.queries += count;
        self.totals.up_high += count * beside_bits(name) * u64::from(UNIT);
        if !claimed {
            self.windows.add(Sums { queries: count, ..Sums::default() });
        }
    }

    /// Charges a new sub-name of `length` characters.
    fn take(&mut self, name: Name<'_>, length: usize, sums: &mut Sums) {
        let sub = name.sub;
        self.new_names += 1;
        sums.new_names = 1;
        if let Some(which) = name.told {
            self.firsts.push(sub, self.new_names < HISTORY_FROM);
            sums.new_units = u64::from(which);
            self.totals.up_low += u64::from(which);
            self.totals.up_high += u64::from(model::alphabet_and_raw_cost(sub).1.max(which));
            return;
        }
        self.shape.name(sub, length);
        let (most, rest) = split_address(self.class, sub);
        let (most_by_alphabet, raw) = model::alphabet_and_raw_cost(sub);
        let number = if most == 0 { self.patterns.number(sub) } else { None };
        let is_plain = forms::is_plain(sub);
        let cost = if let Some((number, is_short)) = number {
            self.firsts.push(sub, self.new_names < HISTORY_FROM);
            let is_form = is_short || forms::holds_address(sub);
            let column = if is_form { &mut sums.form_units } else { &mut sums.new_units };
            *column = u64::from(number);
            number
        } else {
            let (said, kind) = self.say(sub);
            let (address, said) = if most > 0 && rest.is_empty() {
                (said.min(most), 0)
            } else if most == 0 && forms::holds_address(sub) {
                let address = said.min(forms::ADDRESS4_COST);
                (address, said - address)
            } else {
                (most, said)
            };
            sums.form_units = u64::from(address);
            let units = u64::from(said);
            if address == 0 {
                self.spoken_names += 1;
                self.plain_names += u32::from(is_plain);
                if self.spoken_names >= RECENT_NAMES {
                    self.spoken_names /= 2;
                    self.plain_names /= 2;
                }
            }
            match kind {
                _ if is_plain => sums.plain_units = units,
                Said::Underscored => sums.fixed_units = units / UNDERSCORED_PART,
                Said::Token => sums.fixed_units = units,
                Said::Free if self.class == Class::None && forms::is_probe(sub) => sums.fixed_units = units,
                Said::Free => sums.new_units = units,
            }
            address + said
        };
        let low = u64::from(cost.min(most_by_alphabet));
        self.totals.up_low += low;
        self.totals.up_high += u64::from(raw).max(low);
    }

    /// Takes a response. One that is `claimed` by another key's open finding counts in all, but not in the windows.
    pub fn response(&mut self, answer: Answer, claimed: bool, now_ns: u64) {
        self.advance(now_ns);
        self.responses += 1;
        self.totals.down_high += answer.high;
        let new = (answer.high > 0 || answer.is_verdict) && !self.answers.insert(answer.hash);
        let low = if new { self.back.price(&answer) } else { 0 };
        self.back.take(&answer, new);
        if new {
            self.totals.down_low += low;
            if !claimed {
                self.windows.add(Sums { down_units: low, ..Sums::default() });
            }
        }
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
        self.windows.clone()
    }

    /// Takes out of the windows what another key's finding speaks for.
    pub fn claim(&mut self, theirs: &Windows, now_ns: u64) {
        self.roll(now_ns);
        self.windows.subtract(theirs);
    }

    /// What the last query's name said, in units; 0 if it said nothing new.
    pub fn last_units(&self) -> u64 {
        u64::from(self.last_units)
    }

    /// Its finding closes: what was reported is not reported again.
    pub fn settle(&mut self) {
        self.flooded = false;
        self.windows.clear();
    }

    /// First sub-names, wire form; at most [`super::SHOWN`].
    pub fn samples(&self) -> impl Iterator<Item = &[u8]> {
        self.firsts.shown()
    }

    /// What is new in its names: encoding, lengths, counters.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Share of its names that were asked exactly once; 0 to 1.
    pub fn once_share(&self) -> f64 {
        1.0 - (f64::from(self.asked_again) / self.new_names.max(1) as f64).min(1.0)
    }

    /// Whether no window comes up to a bound, whatever its names and answers are taken for: what [`Self::standing`] would
    /// say is under it, at a fraction of the cost.
    pub fn is_far(&self, bounds: &Bounds) -> bool {
        Span::ALL.into_iter().all(|span| {
            let sums = self.windows.sums(span);
            let said = sums.new_units + sums.fixed_units + sums.plain_units;
            said < bounds.names(span).min(bounds.encoded(span))
                && sums.form_units + said + sums.fixed_units < bounds.forms(span)
                && sums.down_units < bounds.answers(span)
        })
    }

    /// How far its heaviest window is towards a bound.
    pub fn standing(&self, bounds: &Bounds) -> Standing {
        let heard = self.heard();
        let carries = heard.answered && self.shape.is_clear() && self.once_share() > 0.5;
        let mut most = Standing::default();
        for span in Span::ALL {
            let sums = self.windows.sums(span);
            let Against { said, form, noise } = heard.against(span, sums);
            let names = Standing::new(Kind::Names, span, said, bounds.names(span), sums);
            let forms = Standing::new(Kind::Forms, span, form, bounds.forms(span), sums);
            let answers = Standing::new(Kind::Answers, span, sums.down_units, bounds.answers(span), sums);
            most = most.max(names).max(forms).max(answers);
            if noise > 0 {
                let whole = bounds.forms(Span::Day);
                most = most.max(Standing::new(Kind::Forms, span, form + noise, whole, sums));
            }
            if carries {
                most = most.max(Standing::new(Kind::Encoded, span, said, bounds.encoded(span), sums));
            }
        }
        most
    }

    /// Whether hardly any of its names are answered, short as they are.
    pub fn is_unheard(&self) -> bool {
        self.back.is_nobody(self.queries, self.responses, self.new_names, self.shape.length().0)
    }

    /// Whether it is asked so fast that it can be a flood by itself.
    fn is_fast(&self) -> bool {
        let seconds = (self.last_ns.saturating_sub(self.first_ns) / 1_000_000_000).clamp(1, 60);
        self.windows.sums(Span::Minute).new_names >= FLOOD_PER_SECOND * seconds
    }

    /// What comes back, and what that makes of the names.
    fn heard(&self) -> Heard {
        let (responses, mean_len) = (self.responses, self.shape.length().0);
        let answered = self.back.is_payload(self.new_names);
        let [plain, spoken] = [self.plain_names, self.spoken_names].map(u64::from);
        Heard {
            answered,
            verdicts: self.back.are_verdicts(responses, self.answers.len()),
            absent: self.back.are_absent(responses),
            denied: self.back.are_denied(responses),
            nobody: self.is_unheard() && (self.flooded || self.is_fast()),
            plain: plain * 4 >= spoken * 3,
            short: mean_len <= SHORT_LEN,
            guesses: plain * 4 >= spoken * 3 && mean_len <= GUESS_LEN,
            others: self.for_others,
            content: u64::from(self.asked_again) * AGAIN_SHARE >= self.new_names && !answered,
        }
    }

    fn advance(&mut self, now_ns: u64) {
        self.roll(now_ns);
        self.first_ns = self.first_ns.min(now_ns);
        self.last_ns = self.last_ns.max(now_ns);
    }

    /// Cost of what a sub-name says, and of what form that is.
    fn say(&mut self, sub: &[u8]) -> (u32, Said) {
        let mut room = [0; 255];
        let (once, again) = forms::once(told(self.class, sub), &mut room);
        let len = sub_len(once) as u8;
        // All of the first names is new, and after them what was in both is not: only what is asked of a look-up service
        // is taken for a token that soon.
        let is_like_last = self.new_names <= HISTORY_FROM && len == self.whole_len && self.back.is_terse();
        self.whole_len = len;
        if self.new_names < HISTORY_FROM {
            self.firsts.push(sub, true);
            let cost = model::static_cost_of(once, &mut self.shape.listen()) + again;
            let is_token = is_like_last && model::alphabet_cost(once) <= TOKEN_MAX_COST;
            return (cost, if is_token { Said::Token } else { Said::Free });
        }
        let said = self.learn(sub, once);
        let as_before = said.new_len == self.fixed_len || is_like_last;
        if said.new_len >= self.fixed_len / 2 {
            self.fixed_len = said.new_len;
        }
        let is_token =
            (1..=TOKEN_MAX_LABELS).contains(&said.new_labels) && as_before && said.new_cost <= TOKEN_MAX_COST;
        let kind = match (said.is_underscored, is_token) {
            (true, _) => Said::Underscored,
            (_, true) => Said::Token,
            _ => Said::Free,
        };
        (said.cost + again, kind)
    }

    /// What the history makes of a further name, which becomes part of it; `once` is what the name says.
    fn learn(&mut self, sub: &[u8], once: &[u8]) -> model::Said {
        if let Some(history) = &mut self.history {
            self.firsts.push(sub, false);
            return history.learn(once, &mut self.shape.listen());
        }
        let class = self.class;
        let mut history = self.firsts.history(|sub| told(class, sub));
        let said = history.learn(once, &mut self.shape.listen());
        let few = self.firsts.are_few(sub);
        if !(self.firsts.push(sub, few) && few) {
            self.firsts.keep_shown();
            self.history = Some(Box::new(history));
        }
        said
    }
}

/// What comes back for a key's names, and of what kind most of them are.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "observations that hold side by side")]
struct Heard {
    answered: bool,
    verdicts: bool,
    absent: bool,
    denied: bool,
    /// Short names in a flood, answered by nobody.
    nobody: bool,
    plain: bool,
    /// No longer than a word or two, on average.
    short: bool,
    /// Short, and most of them plain.
    guesses: bool,
    /// Of a client that asks for others.
    others: bool,
    /// Asked again and again, as what is there is.
    content: bool,
}

/// Units by the bound that they count against: of names, of forms, and of forms for a day.
#[derive(Clone, Copy, Debug)]
struct Against {
    said: u64,
    form: u64,
    noise: u64,
}

impl Heard {
    fn against(self, span: Span, sums: Sums) -> Against {
        let Sums { new_units, fixed_units, plain_units, form_units, .. } = sums;
        let free = if self.content { new_units / AGAIN_PART } else { new_units };
        let (mut said, mut form, mut noise) = (free, form_units, 0);
        if self.nobody {
            return Against { said: 0, form, noise: new_units + fixed_units + plain_units };
        }
        if self.verdicts {
            form += fixed_units / 4 * VERDICT_QUARTERS[span as usize];
        } else if self.answered {
            said += fixed_units;
        } else {
            said += fixed_units / TOKEN_PART[span as usize] / if self.others { OTHERS_PART } else { 1 };
        }
        if !self.plain || (self.answered && !self.verdicts) {
            said += plain_units;
        } else if self.absent || self.verdicts || self.denied {
            let column = if self.absent { &mut noise } else { &mut form };
            *column += plain_units;
            if self.guesses {
                *column += said;
                said = 0;
            }
        } else {
            said += plain_units / if self.short { PLAIN_PART } else { TOKEN_PART }[span as usize];
        }
        Against { said, form, noise }
    }
}

/// Of what form a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Labels that a protocol fixes around others: services, identities of a directory, keys, policies.
    Underscored,
    /// Its new labels are as long as those before.
    Token,
    Free,
}

/// Names with underscored labels count this part of what tokens do.
const UNDERSCORED_PART: u64 = 2;

/// What the history learns of a sub-name: the labels behind an address, or the address if there are none.
fn told(class: Class, sub: &[u8]) -> &[u8] {
    let (_, rest) = split_address(class, sub);
    if rest.is_empty() { sub } else { rest }
}

/// A DNS message id.
const ID_BITS: u64 = 16;
/// A query type.
const QTYPE_BITS: u64 = 16;

/// What id, type, case and options can carry in every query, also in a repeated one.
fn beside_bits(name: Name<'_>) -> u64 {
    ID_BITS + QTYPE_BITS + case_bits(name) + name.extra_bytes as u64 * 8
}

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

#[cfg(test)]
mod bounds;

#[cfg(test)]
mod tests;
