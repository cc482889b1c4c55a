//! Payload that comes down in answers: commands and programs in TXT, NULL, KEY and private types, in the names that CNAME,
//! MX, SRV and NS lead to, in addresses.
//!
//! What is summed per client and zone is what answers say that was never said before under that zone. Texts have a
//! grammar: policies and keys of mail, proofs of ownership count for a sixteenth, words and numbers for a quarter, words that
//! the zone or the question said already for nothing, so that reasons of block lists and routing tables stay small. A name
//! that an answer leads to has some bytes free, as content networks need them. Addresses count by pairs of bytes, for a
//! quarter in a network that the zone has named before: those of one operator share most of them, and come again. Honest zones say little that is new within
//! minutes, since what they say is about something that lasts.
//!
//! The answers to reverse look-ups are left to the ledger, and so are times to live.

use std::hash::BuildHasher as _;

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::{Canonical, Record, Section, canonical, rtype};
use crate::ledger::known::Known;
use crate::ledger::{Key, Target};
use crate::model::{self, UNIT};
use crate::report::text::thousands;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct CommandChannel {
    bound_bytes: u64,
    download_bytes: u64,
    window_ns: u64,
    channels: Table<Key, Channel>,
}

/// What one client was told under one zone.
#[derive(Debug, Default)]
struct Channel {
    first_ns: u64,
    last_ns: u64,
    short: Window,
    long: Window,
    heard: Heard,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since_ns: u64,
    /// Answers that said something new, and how much, in units.
    answers: u64,
    units: u64,
}

/// What was said before.
#[derive(Debug, Default)]
struct Heard {
    records: Known<64>,
    words: Known<64>,
    /// Bloom filter over parts of addresses.
    parts: Parts,
    /// The last address of each kind: most names have the same for hours, and none of its parts is new then.
    last4: Option<[u8; 4]>,
    last6: Option<[u8; 16]>,
}

const PARTS_WORDS: usize = 64;
const FEW_PARTS: usize = 12;

/// Bits set: the first few by their numbers, since most zones have no more addresses.
#[derive(Debug, Default)]
struct Parts {
    few: [u16; FEW_PARTS],
    count: u8,
    all: Option<Box<[u64; PARTS_WORDS]>>,
}

impl Remembered for Channel {
    fn worth(&self) -> (u64, u64) {
        (self.long.units, self.last_ns)
    }
}

/// Answers with something new below which nothing is said.
const MIN_ANSWERS: u64 = 4;
const MIN_DOWNLOAD_ANSWERS: u64 = 8;
/// Records of one answer looked at.
const MAX_RECORDS: usize = 32;
/// Bits of a name led to that are free: names of content networks have so many.
const FREE_BITS: u32 = 96;
/// The longer window, as a number of the shorter ones.
const LONG: u64 = 6;

impl CommandChannel {
    pub const RULE: &str = "dns-command-channel";

    pub fn new(config: &Config) -> Self {
        let settings = &config.command_channel;
        Self {
            bound_bytes: settings.bound_bytes,
            download_bytes: settings.download_bytes,
            window_ns: settings.time_window_s * 1_000_000_000,
            channels: Table::new(settings.max_keys as usize),
        }
    }
}

impl Detector for CommandChannel {
    fn worst_case_bytes(config: &Config) -> usize {
        let keys = config.command_channel.max_keys as usize;
        Table::<Key, Channel>::bytes(keys) + keys * (2 * Known::<64>::HEAP + PARTS_WORDS * size_of::<u64>())
    }

    fn retune(&mut self, config: &Config) {
        let Self { channels, .. } = std::mem::replace(self, Self::new(config));
        self.channels = channels;
    }

    fn evicted(&self) -> u64 {
        self.channels.evicted
    }

    fn response(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if look.message.header.counts[1] == 0 || matches!(look.zone.class, Class::Reverse4 | Class::Reverse6)
        {
            return;
        }
        let now_ns = look.now_ns();
        let channel = self.channels.open(look.key(), Channel::default);
        if channel.first_ns == 0 {
            channel.first_ns = now_ns;
        }
        channel.last_ns = now_ns;
        let answers = look.message.records().take_while(|record| record.section == Section::Answer);
        let (mut units, mut addresses) = (0, 0);
        for record in answers.take(MAX_RECORDS) {
            let is_address = matches!(record.rtype, rtype::A | rtype::AAAA);
            let side = if is_address { &mut addresses } else { &mut units };
            let said = channel.heard.take(&record, look);
            *side += if is_digest(&record) && look.told { said / PLAIN } else { said };
        }
        units += if addresses < POOL_UNITS { addresses / PLAIN } else { addresses };
        if units < MIN_UNITS {
            return;
        }
        channel.short.add(units, now_ns, self.window_ns);
        channel.long.add(units, now_ns, self.window_ns * LONG);
        let (short, long) = (channel.short, channel.long);
        let first_ns = channel.first_ns;
        if short.bytes() >= self.bound_bytes && short.answers >= MIN_ANSWERS {
            self.raise(look, short, self.bound_bytes, first_ns, ANSWERS, cases);
        }
        if long.bytes() >= self.download_bytes && long.answers >= MIN_DOWNLOAD_ANSWERS {
            self.raise(look, long, self.download_bytes, first_ns, DOWNLOAD, cases);
        }
    }
}

/// Whether a text is one SHA-256 in base64url, as certificates are asked for with (RFC 8555 section 8.4). Where the name is
/// one that an alias led to, its zone answers for others.
fn is_digest(record: &Record<'_>) -> bool {
    let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    record.rtype == rtype::TXT
        && matches!(record.rdata, [43, text @ ..] if text.len() == 43 && text.iter().all(is_base64url))
}

/// Two bytes: less in a whole answer is a number that went up.
const MIN_UNITS: u64 = 16 * UNIT as u64;
/// Pools of servers (NTP's) give out four or five other addresses each time: up to 24 bytes count for a quarter.
const POOL_UNITS: u64 = 24 * 8 * UNIT as u64;
const ANSWERS: &str = "new_answer_bytes";
const DOWNLOAD: &str = "download_bytes";

impl CommandChannel {
    fn raise(
        &self,
        look: &Look<'_>,
        window: Window,
        bound: u64,
        first_ns: u64,
        name: &'static str,
        cases: &mut Cases<'_, '_>,
    ) {
        let bytes = window.bytes();
        let seconds = look.now_ns().saturating_sub(window.since_ns) / 1_000_000_000;
        let window_s = self.window_ns / 1_000_000_000 * if name == DOWNLOAD { LONG } else { 1 };
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client_zone(look.key()),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::RESPONSE,
            name,
            weight: bytes as f64 / bound as f64,
            figures: Figures { first_ns, ..Figures::default() },
            quiet_s: self.window_ns / 1_000_000_000 * LONG,
            say: &|| Said {
                does: format!("is sent data in DNS answers: {} bytes that were never said before", thousands(bytes)),
                observed: format!(
                    "{} answers within {seconds} s with {} bytes that this zone had not said before",
                    thousands(window.answers),
                    thousands(bytes)
                ),
                baseline: format!("{} such bytes in {window_s} s", thousands(bound)),
                counterfactual: format!(
                    "Had the answers said less than {} bytes that were new within {window_s} s, there would be no finding.",
                    thousands(bound)
                ),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }
}

impl Window {
    fn add(&mut self, units: u64, now_ns: u64, length_ns: u64) {
        if self.answers == 0 || now_ns.saturating_sub(self.since_ns) > length_ns {
            *self = Self { since_ns: now_ns, ..Self::default() };
        }
        self.answers += 1;
        self.units += units;
    }

    fn bytes(self) -> u64 {
        self.units / u64::from(UNIT) / 8
    }
}

/// Record types (IANA DNS parameters).
mod kind {
    pub(super) const SIG: u16 = 24;
    pub(super) const KEY: u16 = 25;
    pub(super) const PRIVATE: std::ops::RangeInclusive<u16> = 65_280..=65_534;
    /// Not assigned.
    pub(super) const UNKNOWN: [std::ops::RangeInclusive<u16>; 2] = [110..=127, 264..=32_767];
}

impl Heard {
    /// What a record says that was not said before, in units.
    fn take(&mut self, record: &Record<'_>, look: &Look<'_>) -> u64 {
        let all = record.rdata.len() as u64 * 8 * u64::from(UNIT);
        match record.rtype {
            rtype::A | rtype::AAAA => self.address(record, look),
            // Keys and signatures: what they say is checked by who asks.
            rtype::SOA
            | rtype::OPT
            | rtype::DS
            | rtype::RRSIG
            | rtype::NSEC
            | rtype::DNSKEY
            | rtype::NSEC3
            | rtype::NSEC3PARAM
            | rtype::CDS
            | rtype::CDNSKEY => 0,
            _ if self.records.insert(look.seed.hash_one((record.rtype, record.rdata))) => 0,
            rtype::TXT => self.text(record.rdata, look),
            rtype::NULL | kind::KEY | kind::SIG => all,
            other
                if kind::PRIVATE.contains(&other)
                    || kind::UNKNOWN.iter().any(|range| range.contains(&other)) =>
            {
                all
            }
            _ => match look.target.filter(|target| target.is_of(record)) {
                Some(target) => name(target, look.name),
                None => Target::new(record).map_or(all / KNOWN_FORM, |target| name(&target, look.name)),
            },
        }
    }

    /// Halves of an IPv4 address, groups of an IPv6 address.
    fn address(&mut self, record: &Record<'_>, look: &Look<'_>) -> u64 {
        if record.rtype != look.qtype || self.was_last(record) {
            return 0;
        }
        let (groups, _) = record.rdata.as_chunks::<2>();
        // What it is part of, a number for each part, and the part.
        let hash = |kind: u32, part: u32| look.seed.hash_one(u64::from(kind) << 32 | u64::from(part));
        let group =
            |index: usize| u32::from(u16::from_be_bytes(groups.get(index).copied().unwrap_or_default()));
        let network = if record.rtype == rtype::A { group(0) } else { group(0) << 16 | group(1) };
        let in_new_network = self.parts.is_new(hash(u32::from(record.rtype), network));
        let mut new = 0;
        for (index, part) in groups.iter().enumerate().filter(|(_, part)| **part != [0, 0]) {
            let part = u32::from(u16::from_be_bytes(*part));
            new += u64::from(self.parts.is_new(hash(GROUPS + index as u32, part)));
        }
        let units = new * 16 * u64::from(UNIT);
        if in_new_network { units } else { units / PLAIN }
    }

    /// Whether it is the address of its kind before; it is kept as the last one.
    fn was_last(&mut self, record: &Record<'_>) -> bool {
        if record.rtype == rtype::A {
            let now = record.rdata.try_into().ok();
            now.is_some() && std::mem::replace(&mut self.last4, now) == now
        } else {
            let now = record.rdata.try_into().ok();
            now.is_some() && std::mem::replace(&mut self.last6, now) == now
        }
    }

    fn text(&mut self, rdata: &[u8], look: &Look<'_>) -> u64 {
        let mut units = 0;
        let (mut words, mut bytes) = (0, 0);
        for string in canonical::labels(rdata) {
            bytes += string.len();
            for word in string.split(|byte| !is_word(*byte)).filter(|word| !word.is_empty()) {
                words += 1;
                if words > MAX_WORDS {
                    units += word.len() as u64 * 6 * u64::from(UNIT);
                } else {
                    units += self.word(word, look);
                }
            }
            let foreign = string.iter().filter(|byte| !byte.is_ascii() || byte.is_ascii_control()).count();
            units += foreign as u64 * 8 * u64::from(UNIT);
        }
        let units = units.min(bytes as u64 * 8 * u64::from(UNIT));
        if is_known_form(rdata, look.name) { units / KNOWN_FORM } else { units }
    }

    fn word(&mut self, word: &[u8], look: &Look<'_>) -> u64 {
        let is_asked =
            || (0..look.name.labels()).any(|index| look.name.label(index).eq_ignore_ascii_case(word));
        if self.words.insert(look.seed.hash_one(word)) || is_asked() {
            return 0;
        }
        let count = |of: fn(&u8) -> bool| word.iter().filter(|byte| of(byte)).count();
        let (upper, lower, digits) =
            (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase), count(u8::is_ascii_digit));
        let letters = upper + lower;
        let is_mixed = upper > 1 && lower > 0 || digits > 0 && letters > 0 || letters + digits < word.len();
        let length = word.len() as u64;
        if is_mixed || word.len() >= LONG_WORD {
            let bits = if upper > 0 && lower > 0 {
                6
            } else if letters > 0 {
                5
            } else {
                4
            };
            return length * bits * u64::from(UNIT);
        }
        length * 4 * u64::from(UNIT) / PLAIN
    }
}

/// Kinds of parts: networks by their record type, groups of an address by their number behind all types.
const GROUPS: u32 = 1 << 16;
/// Known forms, and plain words and hosts of known networks, count for one in so many.
const KNOWN_FORM: u64 = 16;
const PLAIN: u64 = 4;
/// Words of one text that are looked at.
const MAX_WORDS: usize = 64;
/// No word and no number is so long.
const LONG_WORD: usize = 20;

/// Letters, digits and what the alphabets of base 64 add.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'_' | b'=')
}

/// Policies and keys of mail (RFC 7208, 6376, 7489, 8461, 8460), challenges for certificates (RFC 8555), proofs that a
/// domain is somebody's: what is said once.
fn is_known_form(rdata: &[u8], name: &Canonical) -> bool {
    const STARTS: [&[u8]; 10] = [
        b"v=spf1",
        b"v=DKIM1",
        b"k=rsa",
        b"p=",
        b"v=DMARC1",
        b"v=BIMI1",
        b"v=STSv1",
        b"v=TLSRPTv1",
        b"spf2.0/",
        b"MS=ms",
    ];
    let text = rdata.get(1..).unwrap_or_default();
    let head = &text[..text.len().min(48)];
    STARTS.iter().any(|start| text.starts_with(start))
        || head.windows(5).any(|part| part.eq_ignore_ascii_case(b"verif"))
        || (name.labels() > 0 && name.label(0) == b"_acme-challenge")
}

/// What the labels of a name led to say that neither its zone nor the question says.
fn name(target: &Target, question: &Canonical) -> u64 {
    let is_new = |label: &[u8]| !(0..question.labels()).any(|index| question.label(index) == label);
    let new = target.costs().filter(|(label, _)| is_new(label));
    let cost: u32 = new.map(|(label, cost)| cost.min(model::label_cost_at_random(label))).sum();
    u64::from(cost.saturating_sub(FREE_BITS * UNIT))
}

impl Parts {
    fn is_new(&mut self, hash: u64) -> bool {
        let bit = (hash % (PARTS_WORDS as u64 * 64)) as u16;
        let count = usize::from(self.count);
        let all = match &mut self.all {
            Some(all) => all,
            None if self.few[..count].contains(&bit) => return false,
            None if count < FEW_PARTS => {
                self.few[count] = bit;
                self.count += 1;
                return true;
            }
            none => {
                let all = none.insert(Box::new([0; PARTS_WORDS]));
                self.few.iter().for_each(|bit| all[usize::from(bit / 64)] |= 1 << (bit % 64));
                all
            }
        };
        let word = &mut all[usize::from(bit / 64)];
        let new = *word & 1 << (bit % 64) == 0;
        *word |= 1 << (bit % 64);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;
    use crate::pipeline::bench::Bench;

    #[test]
    fn two_replays_say_the_same() {
        let said = |_| {
            let mut bench = Bench::new(&Config::default());
            for n in 0..200 {
                bench.wait(0.5);
                let addresses = random(n, 32);
                let answers: Vec<(u16, u32, &[u8])> = addresses.chunks(4).map(|ip| (1, 60, ip)).collect();
                bench.look_up("10.0.0.2", "www.pool.example", 1, 0, &answers);
            }
            bench.finish();
            format!("{:?}", bench.found)
        };
        let all: std::collections::BTreeSet<String> = (0..8).map(said).collect();
        assert_eq!(all.len(), 1);
        assert!(all.iter().all(|found| found.contains(CommandChannel::RULE)));
    }

    fn random(n: u64, length: usize) -> Vec<u8> {
        let word = |step: u64| {
            let z = (n * 64 + step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()
        };
        (0..).flat_map(word).take(length).collect()
    }

    fn base64(n: u64, length: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        random(n, length).iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
    }

    fn txt(text: &str) -> Vec<u8> {
        text.as_bytes().chunks(255).flat_map(|part| [&[part.len() as u8], part].concat()).collect()
    }

    /// Highest severity, and look-ups until medium.
    fn found(wait: f64, mut make: impl FnMut(u64) -> (String, u16, Vec<Vec<u8>>)) -> (Option<Severity>, u64) {
        let mut bench = Bench::new(&Config::default());
        let mut count = 0;
        for n in 0..300 {
            bench.wait(wait);
            let (name, qtype, rdata) = make(n);
            let records: Vec<_> = rdata.iter().map(|rdata| (qtype, 60, &rdata[..])).collect();
            bench.look_up("10.0.0.2", &name, qtype, 0, &records);
            let own = |f: &&crate::finding::Finding| {
                f.rule == CommandChannel::RULE && f.severity >= Severity::Medium
            };
            if bench.found.iter().find(own).is_none() {
                count = n + 1;
            }
        }
        bench.finish();
        let own = bench.found.iter().filter(|f| f.rule == CommandChannel::RULE);
        (own.map(|f| f.severity).max(), count + 1)
    }

    #[test]
    fn programs_and_commands_in_answers_are_found() {
        let staged = found(0.2, |n| (format!("{n}.pkg.feed.example"), 16, vec![txt(&base64(n, 240))]));
        assert!(staged.0 >= Some(Severity::Medium));
        assert!(staged.1 <= 10, "{staged:?}");
        let polled = found(30.0, |n| ("cmd.feed.example".to_owned(), 16, vec![txt(&base64(n, 24))]));
        assert!(polled.0 >= Some(Severity::Medium), "{polled:?}");
        let null = found(5.0, |n| (format!("{}.feed.example", n % 3), 10, vec![random(n, 100)]));
        assert!(null.0 >= Some(Severity::Medium) && null.1 <= 12, "{null:?}");
        let a = found(0.5, |n| {
            (format!("p{n}.img.example"), 1, (0..12).map(|i| random(n * 12 + i, 4)).collect())
        });
        assert!(a.0 >= Some(Severity::Medium) && a.1 <= 25, "{a:?}");
        let aaaa = found(0.5, |n| {
            (format!("p{n}.img.example"), 28, (0..8).map(|i| random(n * 8 + i, 16)).collect())
        });
        assert!(aaaa.0 >= Some(Severity::Medium) && aaaa.1 <= 12, "{aaaa:?}");
    }

    #[test]
    fn what_honest_zones_say_is_left_alone() {
        let mail = found(20.0, |n| {
            let text = match n % 3 {
                0 => format!("v=DKIM1; k=rsa; p={}", base64(n / 30, 390)),
                1 => "v=spf1 include:_spf.example.org ip4:192.0.2.0/24 ~all".to_owned(),
                _ => format!("site-verification={}", base64(n / 60, 43)),
            };
            (format!("s{}._domainkey.mail.example", n / 30), 16, vec![txt(&text)])
        });
        assert_eq!(mail.0, None);
        let reasons = found(10.0, |n| {
            let text = format!("https://www.blocklist.example/query/ip/192.0.2.{}", n % 256);
            (format!("{}.2.0.192.zen.blocklist.example", n % 256), 16, vec![txt(&text)])
        });
        assert_eq!(reasons.0, None);
        let routes = found(10.0, |n| {
            let text = format!("{} | 198.51.{n}.0/24 | US | arin | 2014-0{}-1{}", 64_000 + n, n % 9, n % 7);
            (format!("7.{n}.51.198.origin.asn.example"), 16, vec![txt(&text)])
        });
        assert_eq!(routes.0, None);
        let network = found(2.0, |n| {
            let address = |i: u64| vec![151, 101, (n * 4 + i) as u8 % 16 * 4, (n % 40) as u8];
            (format!("img{}.shop.example", n % 60), 1, (0..4).map(address).collect())
        });
        assert_eq!(network.0, None);
        let pool =
            found(64.0, |n| ("2.pool.example".to_owned(), 1, (0..4).map(|i| random(n * 4 + i, 4)).collect()));
        assert!(pool.0 < Some(Severity::Medium), "{pool:?}");
    }
}
