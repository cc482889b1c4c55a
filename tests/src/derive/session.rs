//! The tunnel in a capture: one client's messages to one zone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use earthdog::dns::canonical;
use earthdog::event::{Kind, Packet};

use super::{names, to_server};

#[derive(Clone, Debug)]
pub struct Session {
    pub client: IpAddr,
    /// Wire form without the root; empty for a tunnel without a zone of its own.
    pub zone: Vec<u8>,
    /// In the order of time, messages and datagrams over UDP only.
    pub packets: Vec<Packet>,
}

/// What one client said in names of one zone.
#[derive(Default)]
struct Said {
    first_ns: Option<u64>,
    names: BTreeSet<Vec<u8>>,
    /// Below the zone, lengths included, each name once.
    bytes: usize,
}

impl Session {
    /// The zone that the most bytes of different names go to, and the first client of those that sent at least half as
    /// many: behind it may be a resolver that sends them once more. `None` where nobody asks for any name.
    ///
    /// What the client sends without a question that can be read (raw modes) belongs to it.
    pub fn of(packets: &[Packet]) -> Option<Self> {
        let mut said: BTreeMap<(Vec<u8>, IpAddr), Said> = BTreeMap::new();
        for packet in packets.iter().filter(|packet| packet.kind == Kind::Message && to_server(packet)) {
            let Some(name) = names::question(packet) else { continue };
            let zone = names::zone(&name).to_vec();
            let below = name.wire().len() - zone.len();
            let said = said.entry((zone, packet.src.ip())).or_default();
            said.first_ns = Some(said.first_ns.map_or(packet.time_ns, |first| first.min(packet.time_ns)));
            if said.names.insert(name.wire().to_vec()) {
                said.bytes += below;
            }
        }
        let most = said.values().map(|said| said.bytes).max()?;
        let zone = said.iter().find(|(_, said)| said.bytes == most)?.0.0.clone();
        let asked = said.iter().filter(|((of, _), said)| *of == zone && said.bytes * 2 >= most);
        let ((_, client), _) = asked.min_by_key(|(_, said)| said.first_ns)?;
        let client = *client;
        let belongs = |packet: &&Packet| {
            let udp = packet.kind == Kind::Message || packet.kind == Kind::Datagram;
            let named = names::question(packet).is_none_or(|name| names::zone(&name) == zone);
            udp && packet.client_server().0.ip() == client && named
        };
        let mut packets: Vec<_> = packets.iter().filter(belongs).cloned().collect();
        super::sort(&mut packets);
        Some(Self { client, zone, packets })
    }

    pub fn start_ns(&self) -> u64 {
        self.packets.first().map_or(0, |packet| packet.time_ns)
    }

    pub fn span_ns(&self) -> u64 {
        self.packets.last().map_or(0, |packet| packet.time_ns - self.start_ns())
    }

    /// The zone as a finding names it.
    pub fn zone_name(&self) -> String {
        canonical::text(&self.zone)
    }
}

/// What a tunnel has sent, query by query: what a finding is measured against.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Zones its names are in, as findings name them; `.` for names without one.
    pub zones: BTreeSet<String>,
    pub clients: BTreeSet<IpAddr>,
    /// (time, name bytes that no query before had): one for each query, in the order of time. Name bytes are the
    /// characters below the zone, dots left out.
    queries: Vec<(u64, u64)>,
}

impl Sent {
    pub fn by(packets: &[Packet]) -> Self {
        let mut sent = Self::default();
        let mut known = BTreeSet::new();
        for packet in packets {
            let name = names::question(packet);
            // A response without its query stands for it: the capture began in between, or holds one direction.
            let asked = name.as_ref().is_some_and(|name| !known.contains(name.wire()));
            if !to_server(packet) && !asked {
                continue;
            }
            sent.clients.insert(packet.client_server().0.ip());
            let new = name.map_or(0, |name| {
                let zone = names::zone(&name);
                sent.zones.insert(canonical::text(zone));
                let below = name.labels() - labels(zone);
                let bytes = (0..below).map(|index| name.label(index).len() as u64).sum();
                if known.insert(name.wire().to_vec()) { bytes } else { 0 }
            });
            sent.queries.push((packet.time_ns, new));
        }
        sent.queries.sort_by_key(|(time_ns, _)| *time_ns);
        sent
    }

    /// Seconds since the first query, queries and name bytes, all up to and including a time.
    pub fn until(&self, time_ns: u64) -> (f64, u64, u64) {
        let start = self.queries.first().map_or(time_ns, |(first, _)| *first);
        let so_far = self.queries.iter().take_while(|(at, _)| *at <= time_ns);
        let (queries, bytes) = so_far.fold((0, 0), |(count, sum), (_, new)| (count + 1, sum + new));
        (time_ns.saturating_sub(start) as f64 / 1e9, queries, bytes)
    }

    /// Name bytes a day, over the whole of it; `None` where it is too short (an hour) to speak of days.
    pub fn bytes_per_day(&self) -> Option<f64> {
        let (seconds, _, bytes) = self.until(self.queries.last()?.0);
        (seconds >= 3600.0).then(|| bytes as f64 / seconds * 86_400.0)
    }
}

fn labels(mut wire: &[u8]) -> usize {
    let mut count = 0;
    while let Some((&length, rest)) = wire.split_first() {
        wire = rest.get(usize::from(length)..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::tests::{CLIENT, SERVER, packet, tunnel};
    use crate::message::Message;

    fn noise() -> Vec<Packet> {
        let ask = |n: u64| packet(n * 700, "192.0.2.8:5353", SERVER, Message::query("www.example.com", 1));
        (0..5).map(ask).collect()
    }

    #[test]
    fn the_session_is_who_said_most_without_the_resolver_behind() {
        let tunnel = tunnel(20);
        let forwarded = tunnel.iter().cloned().map(|mut packet| {
            packet.time_ns += 1_000_000;
            super::super::set_client(&mut packet, "192.0.2.53".parse().unwrap());
            super::super::set_server(&mut packet, "198.51.100.1".parse().unwrap());
            packet
        });
        let raw = packet(10_500, CLIENT, SERVER, *b"\x10\xd1\x9e\x01 raw mode, no question here");
        let mut packets: Vec<_> =
            tunnel.iter().cloned().chain(forwarded).chain(noise()).chain([raw]).collect();
        crate::derive::sort(&mut packets);
        let session = Session::of(&packets).unwrap();
        assert_eq!(session.client, "192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!(session.zone_name(), "tunnel.example");
        assert_eq!(session.packets.len(), 41);
        assert!(Session::of(&[]).is_none());
    }

    #[test]
    fn what_was_sent_is_counted_up_to_a_time() {
        let tunnel = tunnel(4);
        let sent = Sent::by(&tunnel);
        assert_eq!(sent.zones.iter().collect::<Vec<_>>(), ["tunnel.example"]);
        let start = tunnel[0].time_ns;
        // 12 hexadecimal digits and the t.
        assert_eq!(sent.until(start), (0.0, 1, 13));
        assert_eq!(sent.until(start + 1_200_000_000), (1.2, 3, 39));
        assert_eq!(sent.until(u64::MAX).1, 4);
        assert_eq!(sent.bytes_per_day(), None);
        let again = [tunnel.clone(), tunnel].concat();
        assert_eq!(Sent::by(&again).until(u64::MAX).2, 52, "a name counts once");
        let began_late = Sent::by(&again[1..4]);
        assert_eq!(began_late.until(start + 500_000_000), (0.48, 2, 26), "an answer without its query");
    }

    #[test]
    fn names_without_a_zone_are_a_session_too() {
        let name = |n: u64| format!("dnscat.{:08x}{n:08x}", n * 0x9e37_79b9 % (1 << 32));
        let packets: Vec<_> =
            (0..9).map(|n| packet(n, CLIENT, SERVER, Message::query(name(n).as_str(), 16))).collect();
        let session = Session::of(&packets).unwrap();
        assert_eq!((session.zone_name().as_str(), session.packets.len()), (".", 9));
        assert_eq!(Sent::by(&packets).until(u64::MAX).2, 9 * 22);
    }
}
