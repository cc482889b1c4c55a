//! What is sent, and how: each emulated tool and kind of honest traffic is a case; what shows within the time there is
//! goes through sockets, the rest is replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use super::part::{Reply, Shot};
use crate::emulate::hazard::{self, Hazard};
use crate::emulate::message::Name;
use crate::emulate::record::Record;
use crate::emulate::{self, Datagram, Emulation, Made, Moved, Pace, Within, judged};

/// What a case is made by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Tool(&'static Emulation),
    Honest(&'static Hazard),
}

/// How long is sent, in seconds: half of it what honest traffic gets.
pub(super) const WINDOW_S: u64 = 100;
pub(super) const HONEST_S: u64 = 60;
/// Before a tool's first query: what its host asks for by then is not sent.
const LEAD_NS: u64 = 1_000_000_000;
/// Clients of one case that are sent for, each by a process of its own.
const CLIENTS_MAX: usize = 20;
/// Of the networks that cases have instead of the emulated one: 10.64.0.0/16 and following.
const FIRST_NETWORK: u8 = 64;
/// More would leave 10.0.0.0/8.
const CASES_MAX: usize = 190;

/// One case as it is sent.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) source: Source,
    /// Its network is 10.n.0.0/16.
    pub(super) network: u8,
    /// Times from 0, addresses and zones its own.
    pub(super) made: Made,
}

impl Source {
    /// All there are.
    pub(super) fn all() -> Vec<Self> {
        let tools = emulate::ALL.iter().map(Self::Tool);
        tools.chain(hazard::ALL.iter().map(Self::Honest)).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tool(tool) => tool.name,
            Self::Honest(hazard) => hazard.name,
        }
    }

    pub(super) fn make(self, seed: u64) -> Made {
        match self {
            Self::Tool(tool) => tool.make(seed, Pace::default()),
            Self::Honest(hazard) => hazard.make(seed),
        }
    }
}

impl Case {
    /// The `index`-th case, if it shows within the time there is; its zones are `taken` then.
    pub(super) fn of(
        source: Source,
        index: usize,
        made: &Made,
        taken: &mut BTreeSet<String>,
    ) -> Option<Self> {
        if index >= CASES_MAX {
            return None;
        }
        let (from, until) = window(source, made)?;
        let network = FIRST_NETWORK + index as u8;
        let zones = Zones::of(&made.moved.zones, taken);
        let mut addresses = Addresses { network, others: BTreeMap::new() };
        let datagrams: Vec<_> = made
            .datagrams
            .iter()
            .filter(|datagram| (from..until).contains(&datagram.time_ns))
            .map(|datagram| Datagram {
                time_ns: datagram.time_ns - from,
                src: addresses.of(datagram.src),
                dst: addresses.of(datagram.dst),
                payload: zones.message(&datagram.payload),
                ..*datagram
            })
            .collect();
        let clients: BTreeSet<_> = datagrams
            .iter()
            .filter(|datagram| datagram.is_query())
            .map(|datagram| *datagram.src.ip())
            .collect();
        if clients.len() > CLIENTS_MAX {
            return None;
        }
        let moved = Moved {
            zones: made.moved.zones.iter().map(|zone| zones.text(zone)).collect(),
            clients: clients.into_iter().map(IpAddr::V4).collect(),
            queries: made
                .moved
                .queries
                .iter()
                .filter(|(at, _)| (from..until).contains(at))
                .map(|(at, payload)| (at - from, *payload))
                .collect(),
        };
        Some(Self { source, network, made: Made { datagrams, moved } })
    }

    /// What each client sends.
    pub(super) fn shots(&self) -> BTreeMap<Ipv4Addr, Vec<Shot>> {
        let mut shots: BTreeMap<Ipv4Addr, Vec<Shot>> = BTreeMap::new();
        for datagram in self.made.datagrams.iter().filter(|datagram| datagram.is_query()) {
            shots.entry(*datagram.src.ip()).or_default().push(Shot {
                at_ns: datagram.time_ns,
                src: datagram.src,
                dst: datagram.dst,
                payload: datagram.payload.clone(),
            });
        }
        shots
    }

    /// What its servers say, each beside the query that it answers.
    pub(super) fn replies(&self) -> Vec<Reply> {
        let mut asked: BTreeMap<(SocketAddrV4, SocketAddrV4), Vec<&Datagram>> = BTreeMap::new();
        let mut replies = Vec::new();
        for datagram in &self.made.datagrams {
            if datagram.is_query() {
                asked.entry((datagram.src, datagram.dst)).or_default().push(datagram);
                continue;
            }
            let Some(queries) = asked.get_mut(&(datagram.dst, datagram.src)) else { continue };
            // What is no message has no id to find it by: the first that waits.
            let same = |query: &&Datagram| query.payload.get(..2) == datagram.payload.get(..2);
            let at = queries.iter().position(same).unwrap_or(0);
            if at >= queries.len() {
                continue;
            }
            let query = queries.remove(at);
            replies.push(Reply {
                client: *query.src.ip(),
                server: *query.dst.ip(),
                query: query.payload.clone(),
                after_ns: datagram.time_ns - query.time_ns,
                payload: datagram.payload.clone(),
            });
        }
        replies
    }

    /// Whether a finding's client or zone is this case's.
    pub(super) fn owns(&self, record: &Record) -> bool {
        let own = |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[..2] == [10, self.network]);
        match (record.client.ip, &record.zone) {
            (Some(ip), _) if own(ip) => true,
            (_, Some(zone)) => self.made.moved.zones.contains(zone),
            _ => false,
        }
    }

    /// The same traffic as it was sent: from this time on.
    pub(super) fn since(&self, start_ns: u64) -> Made {
        let mut made = self.made.clone();
        made.datagrams.iter_mut().for_each(|datagram| datagram.time_ns += start_ns);
        made.moved.queries.iter_mut().for_each(|(at, _)| *at += start_ns);
        made
    }
}

/// From when until when a case is sent; `None` where it takes longer to show.
fn window(source: Source, made: &Made) -> Option<(u64, u64)> {
    let second = 1_000_000_000;
    let first = made.datagrams.first()?.time_ns;
    match source {
        Source::Honest(_) => Some((first, first + HONEST_S * second)),
        Source::Tool(tool) => {
            let queries = &made.moved.queries;
            let start = queries.first()?.0;
            let last = queries.last()?.0;
            let nth = |count: u64| queries.get(count.saturating_sub(1) as usize).map_or(last, |(at, _)| *at);
            let due = match tool.within {
                Within::Soon => nth(judged::SOON_QUERIES).max(start + 5 * second),
                Within::Queries(count) => nth(count),
                Within::Capture => last,
            };
            let from = start.saturating_sub(LEAD_NS).max(first);
            (due.saturating_sub(from) <= WINDOW_S * second).then_some((from, from + WINDOW_S * second))
        }
    }
}

/// Addresses of one case: those of the emulated network keep their last two bytes, others get one that is free.
struct Addresses {
    network: u8,
    others: BTreeMap<Ipv4Addr, Ipv4Addr>,
}

impl Addresses {
    fn of(&mut self, address: SocketAddrV4) -> SocketAddrV4 {
        let [a, b, c, d] = address.ip().octets();
        let ip = if [a, b] == [10, 20] {
            Ipv4Addr::new(10, self.network, c, d)
        } else {
            let [high, low] = (self.others.len() as u16).to_be_bytes();
            let free = Ipv4Addr::new(10, self.network, 240 + high % 16, low);
            *self.others.entry(*address.ip()).or_insert(free)
        };
        SocketAddrV4::new(ip, address.port())
    }
}

/// Zones that a case has instead of those that another has already: they must not add up.
struct Zones {
    /// (Zone, instead), equally long, as text.
    names: Vec<(String, String)>,
    /// The same as in a message.
    wires: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Zones {
    /// Notes the zones of a case as taken.
    fn of(zones: &BTreeSet<String>, taken: &mut BTreeSet<String>) -> Self {
        let shared = zones.iter().filter(|zone| taken.contains(*zone));
        let names: Vec<_> = shared.filter_map(|zone| Some((zone.clone(), free(zone, taken)?))).collect();
        taken.extend(zones.iter().cloned());
        taken.extend(names.iter().map(|(_, instead)| instead.clone()));
        let wire = |zone: &str| Name::from(zone).as_bytes().to_vec();
        let wires = names.iter().map(|(zone, instead)| (wire(zone), wire(instead))).collect();
        Self { names, wires }
    }

    fn text(&self, zone: &str) -> String {
        let instead = self.names.iter().find(|(name, _)| name == zone);
        instead.map_or(zone, |(_, instead)| instead).to_owned()
    }

    fn message(&self, payload: &[u8]) -> Vec<u8> {
        let mut out = payload.to_vec();
        for (zone, instead) in &self.wires {
            let mut at = 0;
            while let Some(found) = position(&out[at..], zone) {
                at += found;
                out[at..at + zone.len()].copy_from_slice(instead);
                at += zone.len();
            }
        }
        out
    }
}

/// A name as long, that nobody has: the end of its first label is a number.
fn free(zone: &str, taken: &BTreeSet<String>) -> Option<String> {
    let (label, rest) = zone.split_once('.')?;
    let start = label.get(..label.len().checked_sub(2)?)?;
    (10..100).map(|number| format!("{start}{number}.{rest}")).find(|name| !taken.contains(name))
}

fn position(bytes: &[u8], of: &[u8]) -> Option<usize> {
    bytes.windows(of.len()).position(|window| window.eq_ignore_ascii_case(of))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::dns::{Canonical, Message, canonical};

    /// Made once for all tests here.
    fn all() -> &'static [Case] {
        static ALL: LazyLock<Vec<Case>> = LazyLock::new(|| {
            let mut taken = BTreeSet::new();
            let sources = Source::all().into_iter();
            sources
                .enumerate()
                .filter_map(|(index, source)| Case::of(source, index, &source.make(1), &mut taken))
                .collect()
        });
        &ALL
    }

    #[test]
    fn cases_share_neither_addresses_nor_zones() {
        let cases = all();
        let mut zones = BTreeSet::new();
        for case in cases.iter().filter(|case| matches!(case.source, Source::Tool(_))) {
            for zone in &case.made.moved.zones {
                assert!(zones.insert(zone.clone()), "{zone} again in {}", case.source.name());
            }
            assert!(
                case.made.moved.queries.len() > 3 || case.source.name() == "rebinding",
                "{}",
                case.source.name()
            );
        }
        for case in cases {
            for datagram in &case.made.datagrams {
                for ip in [datagram.src.ip(), datagram.dst.ip()] {
                    assert_eq!(ip.octets()[..2], [10, case.network], "{}", case.source.name());
                }
            }
        }
    }

    #[test]
    fn every_query_that_the_tape_answers_has_its_reply() {
        for case in all() {
            let answers = case.made.datagrams.iter().filter(|datagram| !datagram.is_query()).count();
            assert_eq!(case.replies().len(), answers, "{}", case.source.name());
        }
    }

    #[test]
    fn messages_speak_of_the_zones_that_findings_will() {
        for case in all().iter().filter(|case| matches!(case.source, Source::Tool(_))) {
            let named = case.made.datagrams.iter().filter(|datagram| datagram.is_query()).any(|datagram| {
                let message = Message::parse(&datagram.payload, datagram.payload.len());
                let name = message.question.map(|question| Canonical::new(question.name));
                name.is_some_and(|name| {
                    let text = canonical::text(name.suffix(name.labels()));
                    case.made.moved.zones.iter().any(|zone| text.ends_with(zone.as_str()))
                })
            });
            let direct = case.made.moved.zones.iter().all(|zone| zone == ".");
            assert!(named || direct, "{}: {:?}", case.source.name(), case.made.moved.zones);
        }
    }
}
