//! Code books: plausible names under one zone, or under the customers of one hoster, whose order is the message.
//!
//! Nothing about such a name is odd, and after a while none is new. What is odd is their use: one type each, at a steady
//! pace, in an order that nothing predicts, no name liked better than others, and asked again although the client
//! must still know the answer. Honest use fails at least one of these. People like some names much better than others and
//! load pages in bursts; what asks for a list goes through it in order, or at least in rounds; programs that keep answers
//! ask again after the TTL only; traffic of many hosts has the gaps of chance.
//!
//! Under a suffix of the Public Suffix List's private section each customer is a zone, so a book of customers shows at
//! the operator's level alone: both levels are looked at.

use foldhash::quality::FixedState;
use std::hash::BuildHasher as _;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::{Message, Section};
use crate::finding::Bounds;
use crate::ledger::Key;
use crate::logged::Lookup;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::{Class, Zone};

#[derive(Debug)]
pub struct CodeBook {
    min_lookups: u32,
    bound_bytes: u64,
    books: Table<Key, Book>,
    /// Of operators' zones; fixed, so that a replay gives the same keys.
    seed: FixedState,
}

/// What one client asks for under one zone.
#[derive(Debug, Default)]
struct Book {
    first_ns: u64,
    last_ns: u64,
    lookups: u32,
    /// Looks at an order that is a code book's, less those at one that is none; later on in a row.
    looks: u8,
    /// From [`RING_FROM`] look-ups on; most zones see fewer from a client.
    ring: Option<Box<Ring>>,
}

/// The last look-ups; most recent at `head`.
#[derive(Debug)]
struct Ring {
    head: usize,
    names: [u16; LOOKUPS],
    /// Milliseconds since the one before.
    gaps: [u32; LOOKUPS],
    /// Of the answer, seconds; 0 if unknown.
    ttls: [u16; LOOKUPS],
    /// Asked for by another type too.
    twins: u128,
    /// Of a name that was among those kept before.
    again: u128,
    /// Of the last one.
    qtype: u16,
}

/// Look-ups kept of a key.
const LOOKUPS: usize = 128;
/// Look-ups from which on they are kept.
const RING_FROM: u32 = 4;
/// Look-ups between two looks at the order.
const EVERY: u32 = 4;
/// Looks that must show the same, more than show something else: rounds in any order look like chance for a while.
const LOOKS: u8 = 5;
/// In a row, of one that did not show it while it was new.
const LOOKS_LATER: u8 = 20;
/// A book that was left for so long is begun anew.
const LEFT_NS: u64 = 6 * 3600 * 1_000_000_000;

impl Remembered for Book {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.lookups), self.last_ns)
    }
}

impl CodeBook {
    pub const RULE: &str = "dns-code-book";

    pub fn new(config: &Config) -> Self {
        let settings = &config.code_book;
        Self {
            min_lookups: settings.min_lookups as u32,
            bound_bytes: settings.outbound_dns_volume_bytes,
            books: Table::new(settings.max_keys as usize),
            seed: FixedState::with_seed(0),
        }
    }

    /// Keys that a look-up counts for, with the zone's labels: its zone, and what is above it at a hoster's.
    fn keys(&self, look: &Look<'_>) -> [Option<(Key, usize)>; 2] {
        let own = Some((look.key(), look.zone.labels));
        let operator = Zone::operator(look.name, look.zone).map(|labels| {
            let zone = self.seed.hash_one((look.name.suffix(labels), Class::Registered));
            (Key { client: look.client, zone }, labels)
        });
        [own, operator]
    }
}

impl Detector for CodeBook {
    fn worst_case_bytes(config: &Config) -> usize {
        let keys = config.code_book.max_keys as usize;
        Table::<Key, Book>::bytes(keys) + keys * size_of::<Ring>()
    }

    fn retune(&mut self, config: &Config) {
        let Self { books, .. } = std::mem::replace(self, Self::new(config));
        self.books = books;
    }

    fn evicted(&self) -> u64 {
        self.books.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.zone.class != Class::Registered || look.name.labels() < look.zone.labels {
            return;
        }
        let print = look.name_hash as u16;
        let mut below = 0;
        for (key, labels) in self.keys(look).into_iter().flatten() {
            if look.part != Lookup::First {
                if let Some(ring) = self.books.find(key).and_then(|book| book.ring.as_mut()) {
                    ring.twin(print, look.qtype);
                }
                continue;
            }
            let now_ns = look.now_ns();
            let book = self.books.open(key, Book::default);
            if book.lookups == 0 || now_ns.saturating_sub(book.last_ns) > LEFT_NS {
                *book = Book { first_ns: now_ns, last_ns: now_ns, ..Book::default() };
            }
            book.lookups = book.lookups.saturating_add(1);
            // One customer alone is the customer's book.
            let is_customers = below * 5 > book.lookups * 4;
            below = book.lookups;
            let gap_ms = now_ns.saturating_sub(book.last_ns) / 1_000_000;
            book.last_ns = now_ns;
            if book.lookups < RING_FROM {
                continue;
            }
            let ring = book.ring.get_or_insert_with(Ring::empty);
            ring.push(print, look.qtype, gap_ms.min(u64::from(u32::MAX)) as u32);
            let kept = (book.lookups - RING_FROM + 1).min(LOOKUPS as u32);
            if is_customers || kept < self.min_lookups || !book.lookups.is_multiple_of(EVERY) {
                continue;
            }
            let is_new = book.lookups < 2 * LOOKUPS as u32;
            let Some(order) = ring.order(kept as usize) else {
                book.looks = if is_new { book.looks.saturating_sub(1) } else { 0 };
                continue;
            };
            book.looks = book.looks.saturating_add(1);
            if book.looks >= if is_new { LOOKS } else { LOOKS_LATER } {
                let seen = (book.lookups, book.first_ns);
                self.raise(look, key, labels, seen, &order, cases);
            }
        }
    }

    fn response(&mut self, look: &Look<'_>, _: &mut Cases<'_, '_>) {
        if look.part != Lookup::Answer || look.zone.class != Class::Registered {
            return;
        }
        let mut ttl = None;
        for (key, _) in self.keys(look).into_iter().flatten() {
            if let Some(ring) = self.books.find(key).and_then(|book| book.ring.as_mut())
                && ring.names[ring.head] == look.name_hash as u16
            {
                ring.ttls[ring.head] = *ttl.get_or_insert_with(|| least_ttl(look.message));
            }
        }
    }
}

impl CodeBook {
    fn raise(
        &self,
        look: &Look<'_>,
        key: Key,
        labels: usize,
        (lookups, first_ns): (u32, u64),
        order: &Order,
        cases: &mut Cases<'_, '_>,
    ) {
        let bits = order.book.max(2.0).log2();
        #[expect(clippy::cast_sign_loss, reason = "the logarithm of two or more is not negative")]
        let bytes = (f64::from(lookups) * bits / 8.0) as u64;
        let figures = Figures {
            first_ns,
            queries: u64::from(lookups),
            up: Bounds { low: bytes, high: bytes + 2 * u64::from(lookups) },
            ..Figures::default()
        };
        let quiet_s = (order.gap_ms / 10).clamp(600, 6 * 3600);
        let (bound, min) = (self.bound_bytes, self.min_lookups);
        let does = format!(
            "repeats some {:.0} names in an order that could spell data, {} bytes so far",
            order.book,
            thousands(bytes)
        );
        let counterfactual =
            "Had the names been asked in bursts, in rounds, with favourites or after their TTL only, \
             there would be no finding."
                .to_owned();
        let signal = Signal {
            rule: Self::RULE,
            case: Case::client_zone(key),
            zone: look.name.suffix(labels),
            class: Class::Registered,
            family: family::SHAPE,
            name: "unordered_repeats",
            weight: f64::from(lookups) / f64::from(min),
            figures,
            quiet_s,
            say: &|| Said {
                does: does.clone(),
                observed: format!(
                    "{} names in the last {} look-ups, one each {:.1} s, {} asked again; {:.0} % of the order foretells \
                     what comes next",
                    order.distinct,
                    order.lookups,
                    order.gap_ms as f64 / 1000.0,
                    order.repeats,
                    order.foretold * 100.0
                ),
                baseline: format!("no such order in {min} look-ups"),
                counterfactual: counterfactual.clone(),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        };
        cases.raise(&signal);
        cases.raise(&Signal {
            name: "coded_bytes",
            weight: bytes as f64 / bound as f64,
            say: &|| Said {
                does: does.clone(),
                observed: format!(
                    "{} look-ups, each one of {:.0} names: {} bytes",
                    thousands(u64::from(lookups)),
                    order.book,
                    thousands(bytes)
                ),
                baseline: format!("{bound} bytes"),
                counterfactual: counterfactual.clone(),
                samples: vec![look.name.to_string()],
                tool: None,
            },
            ..signal
        });
    }
}

/// What the order of look-ups looks like, if it is a code book's.
#[derive(Clone, Copy, Debug)]
struct Order {
    lookups: usize,
    distinct: usize,
    repeats: usize,
    /// Names the book has, by how often two look-ups are of the same.
    book: f64,
    /// Share of look-ups that the one before foretold.
    foretold: f64,
    /// Median.
    gap_ms: u64,
}

/// Share of look-ups by more than one type that is still taken for chance.
const MAX_TWINS: f64 = 0.1;
/// Share of gaps between a quarter and three times the median: gaps of chance (Poisson) have 72 %, page loads fewer.
const STEADY: f64 = 0.9;
/// Repetitions from which on there is an order to look at, and the least share of look-ups.
const MIN_REPEATS: usize = 5;
/// Repetitions that come before half of the other names, as a share of how many do in an order of chance: rounds through a
/// list have none to a third.
const EARLY: f64 = 0.7;
/// At least one repetition in so many comes in the first half: by chance it is one in four, and a list that is gone through
/// from the start has none before its end. These two tell only where a name was asked twice and more on average.
const SOON: usize = 10;
const OFTEN: usize = 2;
/// Else so many repetitions, and such a share, must fit into no rounds. By chance it is a third; of the rounds of timers
/// that drift by half of their pace, a tenth.
const MIN_MISFITS: usize = 2;
const MISFITS: f64 = 0.15;
/// Names in use, at least and at most, as a share of what chance would show.
const EQUAL: std::ops::Range<f64> = 0.92..1.25;
/// Most look-ups that the one before may foretell.
const FORETOLD: f64 = 0.35;
/// Least share of repetitions before the TTL is over, where it is longer than a few look-ups take.
const BEFORE_TTL: f64 = 0.2;

impl Ring {
    fn empty() -> Box<Self> {
        Box::new(Self {
            head: 0,
            names: [0; LOOKUPS],
            gaps: [0; LOOKUPS],
            ttls: [0; LOOKUPS],
            twins: 0,
            again: 0,
            qtype: 0,
        })
    }

    fn push(&mut self, name: u16, qtype: u16, gap_ms: u32) {
        self.qtype = qtype;
        // All of them are looked at, without a branch: so the compiler compares many at once.
        let again = self.names.iter().fold(0_u16, |again, kept| again | u16::from(*kept == name));
        self.head = (self.head + 1) % LOOKUPS;
        (self.names[self.head], self.gaps[self.head], self.ttls[self.head]) = (name, gap_ms, 0);
        self.twins &= !(1 << self.head);
        self.again = self.again & !(1 << self.head) | u128::from(again) << self.head;
    }

    /// Another type of one of the last few names; the same type is a retry, or the same word again.
    fn twin(&mut self, name: u16, qtype: u16) {
        if qtype == self.qtype {
            return;
        }
        let recent = (0..4).map(|back| (self.head + LOOKUPS - back) % LOOKUPS);
        if let Some(slot) = recent.into_iter().find(|slot| self.names[*slot] == name) {
            self.twins |= 1 << slot;
        }
    }

    fn order(&self, kept: usize) -> Option<Order> {
        // Of names that are all new, as a tunnel's, there is no order to look at.
        if (self.again.count_ones() as usize) < MIN_REPEATS {
            return None;
        }
        if f64::from(self.twins.count_ones()) > kept as f64 * MAX_TWINS {
            return None;
        }
        let slot = |index: usize| (self.head + LOOKUPS + 1 - kept + index) % LOOKUPS;
        let mut uses = Uses::default();
        let (mut distances, mut repeats) = ([0; LOOKUPS], 0);
        let mut rounds = Rounds::default();
        let (mut foretold, mut followed) = (0_usize, 0_usize);
        let (mut before_ttl, mut soon) = (0, 0);
        let (mut ttl_s, mut times_ms) = (0, [0; LOOKUPS]);
        let mut now_ms = 0;
        for index in 0..kept {
            let at = slot(index);
            ttl_s += u64::from(self.ttls[at]);
            now_ms += u64::from(self.gaps[at]);
            times_ms[index] = now_ms;
            let Some(last) = uses.add(index, self.names[at], |earlier| self.names[slot(earlier)]) else {
                continue;
            };
            distances[repeats] = index - last;
            rounds.repeat(last, index);
            repeats += 1;
            soon += usize::from(index * 2 < kept);
            let since_ms = now_ms - times_ms[last];
            before_ttl += usize::from(since_ms < u64::from(self.ttls[slot(last)]) * 1000);
            if index + 1 < kept {
                followed += 1;
                foretold += usize::from(self.names[slot(index + 1)] == self.names[slot(last + 1)]);
            }
        }
        if repeats < MIN_REPEATS || !uses.is_uniform() {
            return None;
        }
        // The first gap reaches back to what is no longer kept.
        let mut room = [0; LOOKUPS];
        let gaps = &mut room[..kept - 1];
        gaps.iter_mut().enumerate().for_each(|(index, gap)| *gap = self.gaps[slot(index + 1)]);
        let middle = gaps.len() / 2;
        let median_ms = (*gaps.select_nth_unstable(middle).1).max(1);
        let gap_ms = f64::from(median_ms);
        let steady =
            gaps.iter().filter(|gap| (gap_ms / 4.0..gap_ms * 3.0).contains(&f64::from(**gap))).count();
        if (steady as f64) < gaps.len() as f64 * STEADY {
            return None;
        }
        let distinct = uses.distinct;
        let early = distances[..repeats].iter().filter(|distance| **distance * 2 < distinct).count();
        let foretold = foretold as f64 / followed.max(1) as f64;
        // An answer kept for no longer than a few look-ups take is no hindrance to anybody.
        let is_kept = ttl_s as f64 * 1000.0 > 8.0 * gap_ms * kept as f64;
        let bypasses = !is_kept || before_ttl as f64 >= repeats as f64 * BEFORE_TTL;
        let by_chance = early_by_chance(kept, distinct, uses.book());
        let misfits = rounds.misfits(repeats, distinct);
        let is_random = if repeats >= OFTEN * distinct {
            soon * SOON >= repeats && early as f64 >= repeats as f64 * by_chance * EARLY
        } else {
            misfits >= MIN_MISFITS && misfits as f64 >= repeats as f64 * MISFITS
        };
        let is_random = is_random && foretold <= FORETOLD;
        (is_random && bypasses).then_some(Order {
            lookups: kept,
            distinct,
            repeats,
            book: uses.book(),
            foretold,
            gap_ms: u64::from(median_ms),
        })
    }
}

/// How well look-ups fit into rounds, each through the same list in any order: within a round nothing is repeated, so
/// between two look-ups of one name a round must have ended, and a round is no shorter than there are names.
#[derive(Debug)]
struct Rounds {
    /// By look-up, repetitions for which a round may have ended before it: more than there are for the look-up before, in
    /// `begin`, and less, in `end`.
    begin: [u8; LOOKUPS],
    end: [u8; LOOKUPS],
}

impl Default for Rounds {
    fn default() -> Self {
        Self { begin: [0; LOOKUPS], end: [0; LOOKUPS] }
    }
}

impl Rounds {
    /// A name was asked at `last`, and next at `index`.
    fn repeat(&mut self, last: usize, index: usize) {
        self.begin[last + 1] += 1;
        if index + 1 < LOOKUPS {
            self.end[index + 1] += 1;
        }
    }

    /// Repetitions, at least, that fit into no rounds of `shortest` look-ups or more, wherever those end.
    fn misfits(&self, repeats: usize, shortest: usize) -> usize {
        // Most that fit, of rounds that ended up to here. One in which two rounds ended counts twice, so that more fit.
        let mut fit = [0_usize; LOOKUPS];
        let mut here = 0_usize;
        for at in 0..LOOKUPS {
            here = here + usize::from(self.begin[at]) - usize::from(self.end[at]);
            let before = at.checked_sub(shortest).map_or(0, |at| fit[at]);
            fit[at] = (here + before).max(at.checked_sub(1).map_or(0, |at| fit[at]));
        }
        repeats.saturating_sub(fit[LOOKUPS - 1])
    }
}

/// Share of repetitions that come before half of the other names, where any of the book's names may be next.
fn early_by_chance(kept: usize, distinct: usize, book: f64) -> f64 {
    let other = 1.0 - 1.0 / book.max(1.5);
    let (mut early, mut all, mut none_yet) = (0.0, 0.0, 1.0);
    for distance in 1..kept {
        let pairs = (kept - distance) as f64 * none_yet;
        all += pairs;
        early += if distance * 2 < distinct { pairs } else { 0.0 };
        none_yet *= other;
    }
    early / all
}

/// How often each name was asked.
#[derive(Debug)]
struct Uses {
    /// By hash, open: the last look-up of a name, counted from one (0 is empty), and how many there were.
    places: [(u8, u8); PLACES],
    distinct: usize,
    total: usize,
    /// Pairs and triples of look-ups for one name.
    pairs: u32,
    triples: u32,
    /// Look-ups of the name with most.
    most: u32,
}

const PLACES: usize = 2 * LOOKUPS;
const _: () = assert!(PLACES.is_power_of_two() && LOOKUPS <= u8::MAX as usize);

impl Default for Uses {
    fn default() -> Self {
        Self { places: [(0, 0); PLACES], distinct: 0, total: 0, pairs: 0, triples: 0, most: 1 }
    }
}

impl Uses {
    /// Takes the look-up of a name; the last one of the same name. `earlier` gives the names of those before.
    fn add(&mut self, index: usize, name: u16, earlier: impl Fn(usize) -> u16) -> Option<usize> {
        self.total += 1;
        let mut at = usize::from(name) % PLACES;
        loop {
            let (last, uses) = &mut self.places[at];
            let Some(before) = usize::from(*last).checked_sub(1) else {
                (*last, *uses) = (index as u8 + 1, 1);
                self.distinct += 1;
                return None;
            };
            if earlier(before) == name {
                let times = u32::from(*uses);
                self.pairs += times;
                self.triples += times * (times - 1) / 2;
                self.most = self.most.max(times + 1);
                (*last, *uses) = (index as u8 + 1, *uses + 1);
                return Some(before);
            }
            at = (at + 1) % PLACES;
        }
    }

    /// Names of equal use among which so many pairs would be alike.
    fn book(&self) -> f64 {
        let total = self.total as f64;
        total * (total - 1.0) / 2.0 / f64::from(self.pairs.max(1))
    }

    /// Whether names are used about equally: as many of them as chance would show, and no more triples but for those of
    /// one name, as a message has a space or a zero byte.
    fn is_uniform(&self) -> bool {
        let (total, book) = (self.total as f64, self.book());
        let expected = book * (1.0 - (-total / book).exp());
        let triples = total * (total - 1.0) * (total - 2.0) / 6.0 / (book * book);
        let of_most = self.most * (self.most - 1) * self.most.saturating_sub(2) / 6;
        EQUAL.contains(&(self.distinct as f64 / expected))
            && f64::from(self.triples - of_most) <= triples * 2.0 + 4.0
    }
}

/// Seconds that an answer may be kept; 0 if there is none.
fn least_ttl(message: &Message<'_>) -> u16 {
    let answers = message.records().take_while(|record| record.section == Section::Answer).take(16);
    answers.map(|record| record.ttl).min().map_or(0, |ttl| ttl.clamp(1, u32::from(u16::MAX)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Finding, Scope, Severity};
    use crate::pipeline::bench::Bench;

    /// Splitmix64: what a test needs to look like chance.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % bound
        }

        fn unit(&mut self) -> f64 {
            self.below(1 << 32) as f64 / 4_294_967_296.0
        }
    }

    const ANSWER: &[(u16, u32, &[u8])] = &[(1, 60, &[192, 0, 2, 1])];

    /// Asks for what `name` says, after what `gap` says; findings as (scope, severity, queries).
    fn found(
        seed: u64,
        count: u64,
        name: &dyn Fn(&mut Chance, u64) -> String,
        gap: &dyn Fn(&mut Chance) -> f64,
        types: &[u16],
    ) -> Vec<(Scope, Severity, u64)> {
        let mut bench = Bench::new(&Config::default());
        let mut chance = Chance(seed);
        for n in 0..count {
            let wait = gap(&mut chance);
            bench.wait(wait);
            let name = name(&mut chance, n);
            for qtype in types {
                bench.look_up("10.0.0.2", &name, *qtype, 0, if *qtype == 1 { ANSWER } else { &[] });
            }
        }
        bench.finish();
        let mut found: Vec<(Scope, Severity, u64)> = Vec::new();
        let is_ours = |f: &&Finding| f.evidence.iter().any(|e| EVIDENCE.contains(&e.name));
        for finding in bench.found.iter().filter(is_ours) {
            match found.last_mut() {
                Some(last) if last.1 >= finding.severity => {}
                _ => found.push((finding.scope, finding.severity, finding.queries)),
            }
        }
        found
    }

    const EVIDENCE: [&str; 2] = ["unordered_repeats", "coded_bytes"];
    type Name<'a> = &'a dyn Fn(&mut Chance, u64) -> String;
    type Gap<'a> = &'a dyn Fn(&mut Chance) -> f64;

    fn steady(chance: &mut Chance) -> f64 {
        2.0 * (0.5 + chance.unit())
    }

    #[test]
    fn a_book_is_found_at_a_customer_and_over_customers() {
        for seed in 0..8 {
            for (size, most) in [(256, 112), (64, 112), (16, 176)] {
                let host =
                    |chance: &mut Chance, _: u64| format!("w{}.d1k9.cloudfront.net", chance.below(size) * 7);
                let tenant =
                    |chance: &mut Chance, _: u64| format!("w{}-x.netlify.app", chance.below(size) * 7);
                for name in [&host as &dyn Fn(&mut Chance, u64) -> String, &tenant] {
                    let found = found(seed, 200, name, &steady, &[1]);
                    let medium = found.iter().find(|(_, severity, _)| *severity >= Severity::Medium);
                    assert!(
                        medium.is_some_and(|(_, _, queries)| *queries <= most),
                        "{size} {seed}: {found:?}"
                    );
                    assert_eq!(found[0].0, Scope::ClientZone);
                }
            }
        }
    }

    #[test]
    fn honest_use_of_many_names_is_left_alone() {
        for seed in 0..10 {
            let uniform = |chance: &mut Chance, _: u64| format!("h{}.cdn.example", chance.below(100));
            let rounds = |_: &mut Chance, n: u64| format!("h{}.fleet.example", n % 40);
            let hosts = 20 + seed * 9;
            let shuffled = |_: &mut Chance, n: u64| {
                let mut order: Vec<u64> = (0..hosts).collect();
                order.sort_by_key(|host| Chance(host * 1000 + n / hosts + seed).below(1 << 40));
                format!("h{}.fleet.example", order[(n % hosts) as usize])
            };
            let liked = |chance: &mut Chance, _: u64| {
                let unit = chance.unit();
                format!("h{}.site.example", (80.0 * unit.powi(3)).floor())
            };
            let new = |_: &mut Chance, n: u64| format!("h{n}.blogs.example");
            let poisson = |chance: &mut Chance| -2.0 * (1.0 - chance.unit()).ln();
            // Time between two look-ups of one name is longer than its TTL.
            let slow = |chance: &mut Chance| 100.0 * (0.5 + chance.unit());
            let rows: [(&str, Name<'_>, Gap<'_>, &[u16]); 6] = [
                ("twins", &uniform, &steady, &[1, 28]),
                ("rounds", &rounds, &steady, &[1]),
                ("rounds in any order", &shuffled, &steady, &[1]),
                ("favourites", &liked, &steady, &[1]),
                ("many hosts", &uniform, &poisson, &[1]),
                ("a crawl", &new, &slow, &[1]),
            ];
            for (what, name, gap, types) in rows {
                assert_eq!(found(seed, 400, name, gap, types), [], "{what}, {seed}");
            }
        }
    }
}
