//! What an ordinary host asks for beside everything else.

use std::net::Ipv4Addr;

use super::tape::{Answer, Tape};
use super::words;
use crate::emulate::Random;
use crate::emulate::message::{Name, rtype};

/// Sites of a person's everyday, and the hosts that their pages need.
#[derive(Clone, Debug)]
pub struct Sites(Vec<Vec<Site>>);

#[derive(Clone, Debug)]
pub struct Site {
    pub name: String,
    pub answer: Answer,
    pub ttl: f64,
}

impl Sites {
    /// So many pages, each with a handful of hosts, some of which it shares with the others.
    pub fn new(random: &mut Random, pages: usize) -> Self {
        let shared: Vec<_> = (0..pages / 3 + 3).map(|_| Site::third_party(random)).collect();
        let page = |random: &mut Random| {
            let zone = format!("{}.example", words::registered(random));
            let mut hosts = vec![Site::of(format!("www.{zone}"), random)];
            for _ in 0..random.below(4) {
                hosts.push(Site::of(format!("{}.{zone}", words::host(random)), random));
            }
            for _ in 0..random.below(5) {
                hosts.push(shared[random.below(shared.len())].clone());
            }
            hosts
        };
        Self((0..pages).map(|_| page(random)).collect())
    }

    /// One that people like better than the others is visited more often.
    pub fn page(&self, random: &mut Random) -> &[Site] {
        let liked = random.unit().powi(3) * self.0.len() as f64;
        #[expect(clippy::cast_sign_loss, reason = "a share of a length")]
        let index = (liked as usize).min(self.0.len() - 1);
        &self.0[index]
    }
}

impl Site {
    pub fn of(name: String, random: &mut Random) -> Self {
        let ttl = [30, 60, 60, 300, 300, 600, 3600][random.below(7)];
        let address = public(random);
        let answer = if random.chance(0.4) {
            let edge =
                format!("{}{}.{}-edge.test", words::word(random), random.below(400), words::word(random));
            Answer::alias(edge, address, ttl)
        } else {
            Answer::a(address, ttl)
        };
        Self { name, answer, ttl: f64::from(ttl) }
    }

    /// Content networks and trackers: long names, some of them hashed.
    fn third_party(random: &mut Random) -> Self {
        let zone = format!("{}.test", words::registered(random));
        let host = match random.below(4) {
            0 => format!("{}.{}", random.text("0123456789abcdef", 8), words::host(random)),
            1 => format!("{}-{}.cdn", words::word(random), random.below(99)),
            _ => words::host(random),
        };
        Self::of(format!("{host}.{zone}"), random)
    }
}

/// An address that anybody may have.
pub fn public(random: &mut Random) -> Ipv4Addr {
    let first = [23, 34, 52, 93, 104, 142, 151, 185][random.below(8)];
    Ipv4Addr::new(first, random.byte(), random.byte(), random.byte() | 1)
}

/// A person at this client between two times: a page every so many seconds, IPv4 and IPv6, what is known kept for its
/// time to live.
pub fn person(tape: &mut Tape, sites: &Sites, (from, to): (f64, f64), every: f64) {
    let mut kept = std::collections::BTreeMap::new();
    tape.now = from + tape.random.pause(every);
    while tape.now < to {
        let start = tape.now;
        let mut random = tape.random.clone();
        for site in sites.page(&mut random) {
            tape.now += tape.random.between(0.002, 0.4);
            if kept.get(&site.name).is_some_and(|until| *until > tape.now) {
                continue;
            }
            kept.insert(site.name.clone(), tape.now + site.ttl);
            tape.lookup(site.name.clone(), rtype::A, &site.answer);
            tape.lookup(site.name.clone(), rtype::AAAA, &Answer::no_data());
        }
        tape.random = random;
        tape.now = start + tape.random.pause(every).max(1.0);
    }
}

/// A name with so many labels in front of a zone.
pub fn below(labels: &[&str], zone: &str) -> Name {
    Name::from(format!("{}.{zone}", labels.join(".")))
}
