//! What a response's answers can have brought in.

use std::hash::{BuildHasher, Hasher as _};

use super::Target;
use crate::dns::{Canonical, Message, Record, Section, labels, rtype};
use crate::model::{UNIT, alphabet_cost, label_cost_in_name};

/// RFC 1035 section 4.1.1.
const NXDOMAIN: u8 = 3;
const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

/// What a response's answers can have carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer {
    /// Of all answers' data.
    pub hash: u64,
    /// In units; the most is 0 only where there are no answers.
    pub low: u64,
    pub high: u64,
    /// What block lists and the like answer with: no such name, or addresses of the loopback network.
    pub is_verdict: bool,
    /// Addresses of the loopback network other than its host: nothing that anybody could mean to talk to.
    pub is_code: bool,
    /// An error of the server.
    pub is_failure: bool,
    /// Hash of the texts without their numbers and what is in the question, 0 if there are none; and what it costs to say
    /// these to who knows the rest.
    pub template: u64,
    pub filled: u64,
}

/// A text of known grammar says this part of what its bytes could: policies are words, keys and tokens change once in
/// months. Bounded, not exempted.
const KNOWN_GRAMMAR_PART: u64 = 8;
/// How texts of known grammar begin: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 7489), MTA-STS (RFC 8461), TLS reports
/// (RFC 8460), BIMI, DNS-SD (RFC 6763).
const GRAMMARS: [&[u8]; 10] = [
    b"v=spf1",
    b"spf2.0/",
    b"v=DKIM1",
    b"k=rsa;",
    b"p=",
    b"v=DMARC1",
    b"v=STSv1",
    b"v=TLSRPTv1",
    b"v=BIMI1",
    b"txtvers=",
];
/// What a token proves, as its name ends before the sign: `…-verification=…` and the like.
const PROOFS: [&[u8]; 3] = [b"verification", b"verify", b"challenge"];

/// Whether the first string of a TXT is of known grammar.
fn has_grammar(rdata: &[u8]) -> bool {
    let Some((&length, rest)) = rdata.split_first() else { return false };
    let text = &rest[..usize::from(length).min(rest.len())];
    if GRAMMARS.iter().any(|start| text.starts_with(start)) {
        return true;
    }
    let name = text.split(|b| *b == b'=').next().unwrap_or_default();
    // A proof is one token, as long as a hash: no place for a file.
    name.len() < text.len()
        && text.len() <= 128
        && rdata.len() == text.len() + 1
        && PROOFS.iter().any(|end| name.ends_with(end))
}

/// What the answers are worth.
///
/// TXT, NULL, KEY and types nobody publishes count every byte; CNAME, MX, NS, PTR and SRV count their target's sub-name;
/// addresses and DNSSEC count towards the most only. `asked` is the question's name; `first` gets where the first record
/// that leads to a name leads.
pub fn of(
    message: &Message<'_>,
    asked: &Canonical,
    seed: &impl BuildHasher,
    first: &mut Option<Target>,
) -> Answer {
    let mut hasher = seed.build_hasher();
    let mut plain = 0u64;
    let rcode = message.header.rcode();
    let mut answer = Answer {
        is_verdict: rcode == NXDOMAIN,
        is_failure: !matches!(rcode, 0 | NXDOMAIN),
        ..Answer::default()
    };
    let (mut all_loopback, mut all_codes) = (true, true);
    let mut template = Template::new(seed.build_hasher(), asked);
    for record in message.records().take_while(|r| r.section == Section::Answer) {
        let (least, most) = record_cost(&record, first);
        if least > 0 {
            hasher.write(record.rdata);
        } else {
            // Servers turn the order of addresses round and round.
            plain = plain.wrapping_add(seed.hash_one(record.rdata));
        }
        answer.low += least;
        answer.high += most;
        all_loopback &= record.rtype == rtype::A && record.rdata.first() == Some(&127);
        all_codes &= record.rdata != LOCALHOST;
        template.take(&record, least);
    }
    answer.is_verdict |= all_loopback && answer.high > 0;
    answer.is_code = all_loopback && all_codes && answer.high > 0;
    (answer.template, answer.filled) = template.finish();
    if answer.high == 0 && answer.is_verdict {
        plain = u64::from(NXDOMAIN);
    }
    answer.hash = if answer.low > 0 { hasher.finish() } else { plain };
    answer
}

/// The texts of an answer as others could share them: "listed, see …/192.0.2.7" for a question that has the address.
struct Template<'a, H> {
    hasher: H,
    asked: &'a Canonical,
    filled: u64,
    texts: bool,
}

/// Which label of the question, at most.
const ECHO_COST: u64 = 7 * UNIT as u64;
/// log2(10), rounded up, and how many digits.
const DIGIT_COST: u64 = 54;
const NUMBER_COST: u64 = 4 * UNIT as u64;

impl<'a, H: std::hash::Hasher> Template<'a, H> {
    fn new(hasher: H, asked: &'a Canonical) -> Self {
        Self { hasher, asked, filled: 0, texts: false }
    }

    fn take(&mut self, record: &Record<'_>, least: u64) {
        if record.rtype != rtype::TXT {
            // Anything else is part of it as it is.
            self.filled += least;
            return;
        }
        self.texts = true;
        let mut rest = record.rdata;
        while let Some((&length, tail)) = rest.split_first() {
            let (text, tail) = tail.split_at(usize::from(length).min(tail.len()));
            rest = tail;
            for word in text.chunk_by(|a, b| a.is_ascii_alphanumeric() == b.is_ascii_alphanumeric()) {
                self.word(word);
            }
        }
    }

    fn word(&mut self, word: &[u8]) {
        let is_word = word.first().is_some_and(u8::is_ascii_alphanumeric);
        if is_word && labels(self.asked.wire()).any(|label| label == word) {
            self.filled += ECHO_COST;
            self.hasher.write_u8(b'@');
        } else if word.iter().all(u8::is_ascii_digit) {
            self.filled += NUMBER_COST + DIGIT_COST * word.len() as u64;
            self.hasher.write_u8(b'#');
        } else {
            self.hasher.write(word);
            self.hasher.write_u8(0);
        }
    }

    fn finish(self) -> (u64, u64) {
        if self.texts { (self.hasher.finish(), self.filled) } else { (0, 0) }
    }
}

/// The least and the most that a record can say, in units.
fn record_cost(record: &Record<'_>, first: &mut Option<Target>) -> (u64, u64) {
    let all = record.rdata.len() as u64 * 8 * u64::from(UNIT);
    match record.rtype {
        rtype::A
        | rtype::AAAA
        | rtype::SOA
        | rtype::OPT
        | rtype::DS
        | rtype::RRSIG
        | rtype::NSEC
        | rtype::DNSKEY
        | rtype::NSEC3
        | rtype::NSEC3PARAM
        | rtype::CDS
        | rtype::CDNSKEY
        | rtype::SVCB
        | rtype::HTTPS
        | rtype::CAA => (0, all),
        rtype::TXT => (all / if has_grammar(record.rdata) { KNOWN_GRAMMAR_PART } else { 1 }, all),
        _ => {
            let mut room = None;
            let place = if first.is_none() { first } else { &mut room };
            *place = Target::new(record);
            let Some(target) = place else { return (all, all) };
            let sub = target.sub_wire();
            let spelled = target.costs().map(|(label, cost)| label_cost_in_name(label, cost)).sum::<u32>();
            let least = u64::from(spelled.min(alphabet_cost(sub)));
            (if sub.is_empty() { 0 } else { least }, all.max(least))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_grammar;

    #[test]
    fn policies_and_proofs_are_told_from_payload() {
        let of = |text: &str| has_grammar(&[&[text.len() as u8], text.as_bytes()].concat());
        for text in [
            "v=spf1 include:_spf.example.com ~all",
            "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEB",
            "v=DMARC1; p=reject; rua=mailto:d@example.com",
            "some-site-verification=2u8k3b9f0c",
        ] {
            assert!(of(text), "{text}");
        }
        for text in ["", "=", "cmd=whoami", "verification", "aGVsbG8gd29ybGQ=", "x verification y=1"] {
            assert!(!of(text), "{text}");
        }
        assert!(!of(&format!("x-verification={}", "a".repeat(200))));
        assert!(!has_grammar(&[]) && !has_grammar(&[200, b'v']));
    }
}
