//! What a capture point between stubs and their resolver sees, look-up by look-up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use crate::dns::{Canonical, canonical};
use crate::zone::Zone;

use crate::emulate::Random;
use crate::emulate::message::{Message, Name, RA, RD, rtype};

/// How fast and how regular, compared with what is natural for the tool.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Pauses are so many times as long.
    pub slower: f64,
    /// Share of a pause by which it may be shorter or longer; the tool's own where `None`.
    pub jitter: Option<f64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { slower: 1.0, jitter: None }
    }
}

/// Packets of one capture in the making, and what the emulated tool moves in them.
#[derive(Debug)]
pub struct Tape {
    pub random: Random,
    /// Seconds since the start of the capture.
    pub now: f64,
    /// Who asks, whom, until somebody else is set.
    pub client: Ipv4Addr,
    pub server: Ipv4Addr,
    pace: Pace,
    datagrams: Vec<Datagram>,
    machines: BTreeMap<Ipv4Addr, Machine>,
    /// What the resolver has asked already: since and until when, in seconds.
    cached: BTreeMap<(Vec<u8>, u16), (f64, f64)>,
    moved: Moved,
}

/// What an address does in each of its packets.
#[derive(Clone, Copy, Debug)]
struct Machine {
    ip_id: u16,
    ttl: u8,
    edns: bool,
    /// Windows takes ports from 49152 on, Linux from 32768.
    first_port: u16,
}

/// What the emulated tool has moved, query by query.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Zones of its names, as findings name them.
    pub zones: BTreeSet<String>,
    pub clients: BTreeSet<IpAddr>,
    /// (Unix time in nanoseconds, payload bytes in the query and its answer), in the order of time.
    pub queries: Vec<(u64, u64)>,
}

/// A UDP datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Unix time, nanoseconds.
    pub time_ns: u64,
    pub src: SocketAddrV4,
    pub dst: SocketAddrV4,
    /// IPv4 identification and time to live, as the sender's system sets them.
    pub ip_id: u16,
    pub ttl: u8,
    pub payload: Vec<u8>,
}

/// Most that a datagram holds on Ethernet, bytes.
pub const PAYLOAD_MAX: usize = 1472;
/// Where servers listen.
pub const PORT: u16 = 53;

/// A capture as it is written, and the truth about it.
#[derive(Clone, Debug)]
pub struct Made {
    /// In the order of time.
    pub datagrams: Vec<Datagram>,
    pub moved: Moved,
}

/// 2026-01-12 08:00 UTC, a Monday.
const START_NS: u64 = 1_768_204_800_000_000_000;
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 53);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 20, 1, 17);

impl Tape {
    /// Seed and name decide every byte.
    pub fn new(seed: u64, name: &str, pace: Pace) -> Self {
        Self {
            random: Random::of(seed, name),
            now: 0.0,
            client: CLIENT,
            server: RESOLVER,
            pace,
            datagrams: Vec::new(),
            machines: BTreeMap::new(),
            cached: BTreeMap::new(),
            moved: Moved::default(),
        }
    }

    pub fn made(mut self) -> Made {
        self.datagrams.sort_by_key(|datagram| datagram.time_ns);
        self.moved.queries.sort_unstable();
        Made { datagrams: self.datagrams, moved: self.moved }
    }

    /// Lets time pass at the tool's pace: about so many seconds, more or less by this share of them.
    pub fn pause(&mut self, seconds: f64, jitter: f64) {
        let jitter = self.pace.jitter.unwrap_or(jitter);
        let factor = self.random.between(1.0 - jitter, 1.0 + jitter);
        self.now += seconds * factor * self.pace.slower;
    }

    /// The `index`-th client of the network.
    pub fn be(&mut self, index: usize) {
        let [high, low] = (index as u16 + 20).to_be_bytes();
        self.client = Ipv4Addr::new(10, 20, 2 + high, low);
    }

    /// Look-ups so far.
    pub fn lookups(&self) -> usize {
        self.datagrams.iter().filter(|datagram| datagram.is_query()).count()
    }

    /// The client and resolver that a capture begins with.
    pub fn home(&self) -> (Ipv4Addr, Ipv4Addr) {
        (CLIENT, RESOLVER)
    }

    /// A look-up now, with its answer as the resolver gives it.
    pub fn lookup(&mut self, name: impl Into<Name>, qtype: u16, answer: &Answer) {
        self.ask(name.into(), qtype, answer, &Extra::default());
    }

    /// As `lookup`, with something beside the question.
    pub fn lookup_beside(&mut self, name: impl Into<Name>, qtype: u16, answer: &Answer, extra: &Extra) {
        self.ask(name.into(), qtype, answer, extra);
    }

    /// As `lookup`, by the emulated tool: so many payload bytes go out in the query or come in with the answer.
    pub fn moves(&mut self, name: impl Into<Name>, qtype: u16, answer: &Answer, payload: usize) {
        self.moves_beside(name, qtype, answer, &Extra::default(), payload);
    }

    /// As `moves`, with something beside the question.
    pub fn moves_beside(
        &mut self,
        name: impl Into<Name>,
        qtype: u16,
        answer: &Answer,
        extra: &Extra,
        payload: usize,
    ) {
        let name = name.into();
        let canonical = canonical(&name);
        let zone = canonical::text(canonical.suffix(Zone::of(&canonical).labels));
        self.moved.zones.insert(zone);
        self.mark(payload);
        self.ask(name, qtype, answer, extra);
    }

    /// A datagram to port 53 now that is no DNS message, and what comes back.
    pub fn moves_raw(&mut self, query: &[u8], answer: Option<&[u8]>, port: u16, payload: usize) {
        self.mark(payload);
        let (client, server, now) = (self.client, self.server, self.now);
        self.send(now, (client, port), (server, PORT), query.to_vec());
        if let Some(answer) = answer {
            let then = now + self.random.between(0.018, 0.035);
            self.send(then, (server, PORT), (client, port), answer.to_vec());
        }
    }

    fn mark(&mut self, payload: usize) {
        self.moved.clients.insert(self.client.into());
        self.moved.queries.push((nanoseconds(self.now), payload as u64));
    }

    fn ask(&mut self, name: Name, qtype: u16, answer: &Answer, extra: &Extra) {
        let (client, server, now) = (self.client, self.server, self.now);
        let machine = self.machine(client);
        let id = self.random.next() as u16;
        let port = machine.first_port + self.random.below(usize::from(60_999 - machine.first_port)) as u16;
        let edns = machine.edns || !extra.options.is_empty();
        let options: Vec<_> = extra.options.iter().map(|(code, data)| (*code, &data[..])).collect();
        let mut query = Message::query(name.clone(), qtype).id(id).tail(&extra.tail);
        if extra.iterative {
            query = query.flags(0);
        }
        if edns {
            query = query.edns(1232, &options);
        }
        self.send(now, (client, port), (server, PORT), query.build());
        if answer.silent {
            return;
        }
        let (rtt, age) = self.round_trip(&name, qtype, answer);
        let response = answer.message(name, qtype, age).id(id);
        let response = if edns { response.edns(1232, &[]) } else { response };
        self.send(now + rtt, (server, PORT), (client, port), response.build());
    }

    /// Seconds until the answer comes, and how long the resolver has known it.
    fn round_trip(&mut self, name: &Name, qtype: u16, answer: &Answer) -> (f64, u32) {
        let key = (name.as_bytes().to_ascii_lowercase(), qtype);
        if let Some((since, until)) = self.cached.get(&key)
            && (*since..*until).contains(&self.now)
        {
            #[expect(clippy::cast_sign_loss, reason = "it is in the range that begins there")]
            let age = (self.now - since) as u32;
            return (self.random.between(0.0003, 0.002), age);
        }
        if let Some(ttl) = answer.ttl() {
            self.cached.insert(key, (self.now, self.now + f64::from(ttl)));
        }
        (self.random.between(0.012, 0.070), 0)
    }

    fn machine(&mut self, ip: Ipv4Addr) -> Machine {
        let random = &mut self.random;
        let new = || {
            let windows = random.chance(0.5);
            Machine {
                ip_id: random.next() as u16,
                ttl: if windows { 128 } else { 64 },
                edns: !windows,
                first_port: if windows { 49_152 } else { 32_768 },
            }
        };
        *self.machines.entry(ip).or_insert_with(new)
    }

    fn send(&mut self, at: f64, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), payload: Vec<u8>) {
        let machine = self.machine(src.0);
        if let Some(machine) = self.machines.get_mut(&src.0) {
            machine.ip_id = machine.ip_id.wrapping_add(1);
        }
        self.datagrams.push(Datagram {
            time_ns: nanoseconds(at),
            src: SocketAddrV4::new(src.0, src.1),
            dst: SocketAddrV4::new(dst.0, dst.1),
            ip_id: machine.ip_id,
            ttl: machine.ttl,
            payload,
        });
    }
}

impl Made {
    /// Queries, and active host-hours: hours of the clock in which an address asks.
    pub fn asked(&self) -> (u64, u64) {
        let queries = || self.datagrams.iter().filter(|datagram| datagram.is_query());
        let hours: BTreeSet<_> =
            queries().map(|datagram| (*datagram.src.ip(), datagram.time_ns / 3_600_000_000_000)).collect();
        (queries().count() as u64, hours.len() as u64)
    }
}

impl Datagram {
    /// Whether it goes to a server.
    pub fn is_query(&self) -> bool {
        self.dst.port() == PORT
    }
}

impl Moved {
    /// Seconds since the first query, queries and payload bytes, all up to and including a time.
    pub fn until(&self, time_ns: u64) -> (f64, u64, u64) {
        let start = self.queries.first().map_or(time_ns, |(first, _)| *first);
        let so_far = self.queries.iter().take_while(|(at, _)| *at <= time_ns);
        let (queries, bytes) = so_far.fold((0, 0), |(count, sum), (_, payload)| (count + 1, sum + payload));
        (time_ns.saturating_sub(start) as f64 / 1e9, queries, bytes)
    }
}

/// What a query carries beside its question.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// EDNS options by code.
    pub options: Vec<(u16, Vec<u8>)>,
    /// Behind the message.
    pub tail: Vec<u8>,
    /// From a resolver to a server of the zone, which answers for itself: no recursion.
    pub iterative: bool,
}

/// What a resolver says.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    rcode: u8,
    /// Owner (the question's where `None`), type, TTL in seconds, data.
    records: Vec<(Option<Name>, u16, u32, Vec<u8>)>,
    proofs: Vec<(Name, u16, Vec<u8>)>,
    silent: bool,
}

impl Answer {
    /// One record of the question's name.
    pub fn of(rtype: u16, ttl: u32, rdata: impl Into<Vec<u8>>) -> Self {
        Self::default().and(rtype, ttl, rdata)
    }

    pub fn a(address: impl Into<Ipv4Addr>, ttl: u32) -> Self {
        Self::of(rtype::A, ttl, address.into().octets())
    }

    /// No address is better known than this name's.
    pub fn alias(target: impl Into<Name>, address: impl Into<Ipv4Addr>, ttl: u32) -> Self {
        let target = target.into();
        let mut answer = Self::of(rtype::CNAME, ttl.max(300), target.as_bytes());
        answer.records.push((Some(target), rtype::A, ttl, address.into().octets().to_vec()));
        answer
    }

    pub fn txt(text: impl AsRef<[u8]>, ttl: u32) -> Self {
        Self::of(rtype::TXT, ttl, crate::emulate::message::txt(text.as_ref()))
    }

    pub fn nxdomain() -> Self {
        Self::failed(3)
    }

    /// There is such a name, without a record of this type.
    pub fn no_data() -> Self {
        Self::default()
    }

    pub fn failed(rcode: u8) -> Self {
        Self { rcode, ..Self::default() }
    }

    pub fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    #[must_use]
    pub fn and(mut self, rtype: u16, ttl: u32, rdata: impl Into<Vec<u8>>) -> Self {
        self.records.push((None, rtype, ttl, rdata.into()));
        self
    }

    /// A record of another name that proves something, beside the start of authority.
    #[must_use]
    pub fn proof(mut self, owner: Name, rtype: u16, rdata: Vec<u8>) -> Self {
        self.proofs.push((owner, rtype, rdata));
        self
    }

    /// How long it may be kept; a name that is not there for five minutes, an error not at all.
    fn ttl(&self) -> Option<u32> {
        match self.records.iter().map(|(_, _, ttl, _)| *ttl).min() {
            None => (self.rcode == 0 || self.rcode == 3).then_some(300),
            ttl => ttl,
        }
    }

    fn message(&self, name: Name, qtype: u16, age: u32) -> Message {
        let zone = canonical(&name);
        let zone = zone.suffix(Zone::of(&zone).labels).to_vec();
        let mut message = Message::response(name, qtype).flags(0x8000 | RD | RA).rcode(self.rcode);
        for (owner, rtype, ttl, rdata) in &self.records {
            let ttl = ttl.saturating_sub(age);
            message = match owner {
                None => message.answer(*rtype, ttl, rdata.clone()),
                Some(owner) => message.record(0, owner.clone(), *rtype, 1, ttl, rdata.clone()),
            };
        }
        if self.records.is_empty() && (self.rcode == 0 || self.rcode == 3) {
            let name = Name::new().raw(&zone).root();
            message = message.record(1, name, rtype::SOA, 1, 300_u32.saturating_sub(age), soa(&zone));
        }
        for (owner, rtype, rdata) in &self.proofs {
            message = message.record(1, owner.clone(), *rtype, 1, 300, rdata.clone());
        }
        message
    }
}

/// Start of authority: name server and mailbox below the zone, then serial and times (RFC 1035 section 3.3.13).
fn soa(zone: &[u8]) -> Vec<u8> {
    let below = |label: &str| Name::new().label(label).raw(zone).root();
    let mut rdata = [below("ns1").as_bytes(), below("hostmaster").as_bytes()].concat();
    for value in [2_026_011_201_u32, 7200, 3600, 1_209_600, 300] {
        rdata.extend(value.to_be_bytes());
    }
    rdata
}

fn canonical(name: &Name) -> Canonical {
    Canonical::from_labels(canonical::labels(name.as_bytes()).filter(|label| !label.is_empty()))
}

#[expect(clippy::cast_sign_loss, reason = "nobody sends before the start of the capture")]
fn nanoseconds(at: f64) -> u64 {
    START_NS + (at.max(0.0) * 1e9) as u64
}
