//! Cache poisoning: somebody else answers in the server's place, and hopes to be first or to guess right.
//!
//! - *Guesses*: a burst of answers to one open question that match nothing which was asked: a wrong id, port or server.
//!   Single ones are late answers, servers with several addresses, or queries that were not captured.
//! - *Conflict*: two answers to one question with different addresses. A question that was asked again may have two
//!   answers, and one answer may be seen twice: neither counts.

use sensor_ebpf::abi::flag;

use super::addresses::{addresses, print};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::rtype;
use crate::finding::Bounds;
use crate::logged::Lookup;
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct Poisoning {
    wrong_answers: u32,
    window_ns: u64,
    /// Questions that are open or were so just now, by the low bits of their hashes.
    open: Vec<Open>,
    evicted: u64,
}

/// One client's question.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    tag: u32,
    /// Times it was asked and answered.
    queries: u16,
    answers: u16,
    since_ns: u64,
    /// Of the addresses in the first answer, whatever their order; 0 where there were none.
    first: u64,
    wrong: u32,
}

/// Questions remembered.
const OPEN: usize = 4096;

impl Poisoning {
    pub const RULE: &str = "dns-poisoning";

    pub fn new(config: &Config) -> Self {
        Self {
            wrong_answers: config.poisoning.wrong_answers as u32,
            window_ns: config.poisoning.window_s * 1_000_000_000,
            open: vec![Open::default(); OPEN],
            evicted: 0,
        }
    }
}

impl Detector for Poisoning {
    fn worst_case_bytes(_: &Config) -> usize {
        OPEN * size_of::<Open>()
    }

    fn retune(&mut self, config: &Config) {
        let Self { open, evicted, .. } = std::mem::replace(self, Self::new(config));
        self.open = open;
        self.evicted = evicted;
    }

    fn evicted(&self) -> u64 {
        self.evicted
    }

    fn query(&mut self, look: &Look<'_>, _: &mut Cases<'_, '_>) {
        // Of a response without its query, the pipeline also takes the question.
        if look.message.header.is_response() {
            return;
        }
        let (now_ns, window_ns) = (look.now_ns(), self.window_ns);
        let (slot, tag) = slot(&mut self.open, look);
        let recent = now_ns.saturating_sub(slot.since_ns) <= window_ns;
        if slot.tag == tag && recent {
            slot.queries = slot.queries.saturating_add(1);
            return;
        }
        self.evicted += u64::from(recent && slot.since_ns != 0 && slot.answers == 0);
        *slot = Open { tag, queries: 1, since_ns: now_ns, ..Open::default() };
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.part == Lookup::Unsolicited {
            self.guess(look, cases);
        } else {
            self.answer(look, cases);
        }
    }

    fn spurious(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        self.response(look, cases);
    }
}

/// Where a question is kept, and what tells it from others there.
fn slot<'a>(open: &'a mut [Open], look: &Look<'_>) -> (&'a mut Open, u32) {
    let hash = look.name_hash ^ look.client.rotate_left(23) ^ u64::from(look.qtype);
    (&mut open[hash as usize % OPEN], (hash >> 32) as u32)
}

impl Poisoning {
    fn guess(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        let (now_ns, window_ns, bound) = (look.now_ns(), self.window_ns, self.wrong_answers);
        let (slot, tag) = slot(&mut self.open, look);
        if slot.tag != tag || now_ns.saturating_sub(slot.since_ns) > window_ns {
            return;
        }
        slot.wrong += 1;
        let Open { wrong, queries, since_ns, .. } = *slot;
        if wrong < bound {
            return;
        }
        let window_s = window_ns / 1_000_000_000;
        raise(
            look,
            cases,
            "wrong_answers",
            f64::from(wrong) / f64::from(bound),
            (since_ns, queries, wrong),
            &|| Said {
                does: format!(
                    "is sent forged answers: {} for {}, none of which it asked for so",
                    thousands(wrong.into()),
                    look.name
                ),
                observed: format!(
                    "{} answers with another id, port or server than the {queries} open queries for {}",
                    thousands(wrong.into()),
                    look.name
                ),
                baseline: format!("{bound} within {window_s} s of the query"),
                counterfactual: format!(
                    "Had fewer than {bound} answers come that match no query, there would be no finding."
                ),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        );
    }

    fn answer(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if !matches!(look.qtype, rtype::A | rtype::AAAA) || look.message.rcode() != 0 {
            return;
        }
        let (now_ns, window_ns) = (look.now_ns(), self.window_ns);
        let (slot, tag) = slot(&mut self.open, look);
        if slot.tag != tag || now_ns.saturating_sub(slot.since_ns) > window_ns {
            return;
        }
        if look.packet.flags & flag::TO_REPEAT != 0 {
            slot.queries = slot.queries.saturating_add(1);
        }
        let sum = addresses(look.message).fold(0_u64, |sum, (ip, _)| sum.wrapping_add(print(ip)));
        slot.answers = slot.answers.saturating_add(1);
        if slot.answers == 1 {
            slot.first = sum;
        }
        if slot.answers <= slot.queries || sum == 0 || slot.first == 0 || sum == slot.first {
            return;
        }
        let Open { answers, queries, since_ns, .. } = *slot;
        let count = u32::from(answers);
        raise(look, cases, "conflicting_answers", 1.0, (since_ns, queries, count), &|| Said {
            does: format!("is given two different answers to one question, for {}", look.name),
            observed: format!("{answers} answers to {queries} queries, with different addresses"),
            baseline: "one answer to a query".to_owned(),
            counterfactual:
                "Had the second answer been the same, or had it been asked for, there would be no finding."
                    .to_owned(),
            samples: vec![look.name.to_string()],
            tool: None,
        });
    }
}

fn raise(
    look: &Look<'_>,
    cases: &mut Cases<'_, '_>,
    name: &'static str,
    weight: f64,
    (first_ns, queries, responses): (u64, u16, u32),
    say: &dyn Fn() -> Said,
) {
    cases.raise(&Signal {
        rule: Poisoning::RULE,
        case: Case::client(look.client, Poisoning::RULE),
        zone: &[],
        class: Class::None,
        family: family::RESPONSE,
        name,
        weight,
        figures: Figures {
            first_ns,
            queries: queries.into(),
            responses: responses.into(),
            name_bytes: 0,
            up: Bounds::default(),
            down: Bounds::default(),
        },
        quiet_s: 3600,
        say,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use crate::pipeline::bench::{Bench, message};

    const TRUE: &[u8] = &[192, 0, 2, 1];
    const FALSE: &[u8] = &[198, 51, 100, 66];

    fn only(bench: &Bench, evidence: &str) {
        let created = bench.created_by(Poisoning::RULE);
        assert_eq!(created.len(), 1, "{:#?}", bench.found);
        assert_eq!((created[0].severity, created[0].evidence[0].name), (Severity::Low, evidence));
    }

    #[test]
    fn a_burst_of_guesses_is_found() {
        let mut bench = Bench::new(&Config::default());
        bench.query("10.0.0.2", "www.example.com", 1);
        for id in 5000..5100 {
            bench.wait(0.001);
            bench.packet("10.0.0.2", &message(id, 0x8580, "www.example.com", 1, &[(1, 9999, FALSE)]), false);
        }
        bench.answer("10.0.0.2", "www.example.com", 1, 0, &[(1, 60, TRUE)]);
        only(&bench, "wrong_answers");
    }

    #[test]
    fn two_answers_to_one_question_are_found() {
        let mut bench = Bench::new(&Config::default());
        bench.look_up("10.0.0.2", "www.example.com", 1, 0, &[(1, 60, FALSE)]);
        bench.answer("10.0.0.2", "www.example.com", 1, 0, &[(1, 300, TRUE)]);
        only(&bench, "conflicting_answers");
    }

    #[test]
    fn repetition_loss_and_lateness_are_left_alone() {
        let mut bench = Bench::new(&Config::default());
        for n in 0..200_u8 {
            bench.wait(1.0);
            // Seen twice, in another order.
            let name = format!("www.site{n}.com");
            bench.look_up("10.0.0.2", &name, 1, 0, &[(1, 60, TRUE), (1, 60, FALSE)]);
            bench.answer("10.0.0.2", &name, 1, 0, &[(1, 59, FALSE), (1, 59, TRUE)]);
            // Asked twice, answered twice, by another edge each time.
            let name = format!("cdn{n}.example.com");
            bench.query("10.0.0.3", &name, 1);
            bench.look_up("10.0.0.3", &name, 1, 0, &[(1, 60, &[192, 0, 2, n])]);
            bench.answer("10.0.0.3", &name, 1, 0, &[(1, 60, &[198, 51, 100, n])]);
            // Queries that were not captured.
            let bytes = message(n.into(), 0x8180, "www.example.net", 1, &[(1, 60, TRUE)]);
            bench.packet("10.0.0.4", &bytes, false);
        }
        bench.finish();
        assert!(bench.created_by(Poisoning::RULE).is_empty(), "{:#?}", bench.found);
    }
}
