//! What comes back for a key's names: payload, verdicts, that there are no such names, or nothing at all.
//!
//! Who takes data out needs somebody who hears it, and a tunnel brings something back for each name. Look-up services
//! answer with one of few verdicts, a reader of a list with addresses, a zone under attack with nothing. None of this
//! frees a name of its cost: it decides against which bound the cost counts.

use super::payload::Answer;
use crate::model::UNIT;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Back {
    /// Responses with payload that was not seen before, and what they hold.
    new_payloads: u32,
    payload_units: u64,
    /// Answers that are no verdict by themselves, each counted once.
    varied_answers: u32,
    /// Responses that could be verdicts.
    verdicts: u32,
    /// Responses that are one by themselves: no such name, or addresses of the loopback network.
    denied: u32,
    /// No such name.
    absent: u32,
    /// Addresses of the loopback network other than its host.
    codes: u32,
    /// Errors of the server.
    failed: u32,
    /// Of the last texts, without what the question and numbers make of them; 0 is empty.
    templates: [u32; 4],
}

/// Responses before anything is known of them, and how many that differ from name to name may still be verdicts rather
/// than payload.
const SOME_RESPONSES: u64 = 8;
const FEW_ANSWERS: u32 = 4;
/// New payload is a return path from so many bytes each on average, or from half of that so many times: before that it can
/// be one of a few verdicts that was not met yet, or one of a few hosts.
const PAYLOAD_UNITS: u64 = 10 * 8 * UNIT as u64;
const PAYLOADS: u32 = 6;
/// A word or a number has fewer bytes than this.
const TERSE_UNITS: u64 = 16 * 8 * UNIT as u64;
/// Names are heard by nobody where one in so many queries is answered at most...
const UNHEARD: u64 = 10;
/// ... and they are short: who sends data that nobody acknowledges at least fills his names.
const NOISE_LEN: f64 = 16.0;

impl Back {
    /// What a new answer brought in: a known template says only what is put into it.
    pub(super) fn price(&mut self, answer: &Answer) -> u64 {
        let print = answer.template as u32;
        if print == 0 {
            return answer.low;
        }
        if self.templates.contains(&print) {
            return answer.filled.min(answer.low);
        }
        self.templates.rotate_right(1);
        self.templates[0] = print;
        answer.low
    }

    pub(super) fn take(&mut self, answer: &Answer, new: bool) {
        let is_absent = answer.is_verdict && answer.high == 0;
        self.denied = self.denied.saturating_add(u32::from(answer.is_verdict));
        self.absent = self.absent.saturating_add(u32::from(is_absent));
        self.codes = self.codes.saturating_add(u32::from(answer.is_code));
        self.failed = self.failed.saturating_add(u32::from(answer.is_failure));
        if new {
            self.new_payloads = self.new_payloads.saturating_add(u32::from(answer.low > 0));
            self.payload_units += answer.low;
            self.varied_answers = self.varied_answers.saturating_add(u32::from(!answer.is_verdict));
        }
        // One of a few addresses or texts is a verdict too; no data for a name that exists is none.
        let is_verdict = answer.is_verdict || (answer.high > 0 && !new);
        self.verdicts = self.verdicts.saturating_add(u32::from(is_verdict));
    }

    /// Whether most new names brought a payload of their own.
    pub(super) fn is_payload(&self, new_names: u64) -> bool {
        let least = if self.new_payloads >= PAYLOADS { PAYLOAD_UNITS / 2 } else { PAYLOAD_UNITS };
        u64::from(self.new_payloads) * 2 > new_names
            && self.payload_units >= least * u64::from(self.new_payloads)
    }

    /// Whether something short came back: a word or a number rather than a session.
    pub(super) fn is_terse(&self) -> bool {
        self.new_payloads > 0 && self.payload_units < TERSE_UNITS * u64::from(self.new_payloads)
    }

    /// Whether `responses` are verdicts: no such name, an address of the loopback network, or one of very few others, but
    /// not always the same, unless that is no host's address.
    pub(super) fn are_verdicts(&self, responses: u64, kinds: usize) -> bool {
        responses >= SOME_RESPONSES
            && (kinds > 1 || u64::from(self.codes) * 4 >= responses * 3)
            && self.varied_answers <= FEW_ANSWERS
            && u64::from(self.verdicts) * 2 >= responses
    }

    /// Whether most `responses` say that there is no such name.
    pub(super) fn are_absent(&self, responses: u64) -> bool {
        responses >= SOME_RESPONSES && u64::from(self.absent) * 5 >= responses * 4
    }

    /// Whether most `responses` say that there is no such name, or give an address that is none.
    pub(super) fn are_denied(&self, responses: u64) -> bool {
        responses >= SOME_RESPONSES && u64::from(self.denied) * 4 >= responses * 3
    }

    /// Whether nobody hears the names, short as they are: hardly a query is answered but by errors.
    pub(super) fn is_nobody(&self, queries: u64, responses: u64, new_names: u64, mean_len: f64) -> bool {
        let heard = responses.saturating_sub(u64::from(self.failed));
        new_names >= SOME_RESPONSES && heard * UNHEARD <= queries && mean_len <= NOISE_LEN
    }
}
