//! One payload over many zones or many clients, name by name in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use earthdog::event::Packet;

use super::{Random, Session, names, set_client};

/// Over so many zones; each is registered beside the first, with a label as long, so that messages keep their sizes.
/// `None` for a tunnel without a zone, or with a label too short for so many.
pub fn over_zones(session: &Session, count: usize, seed: u64) -> Option<Vec<Packet>> {
    let (&length, _) = session.zone.split_first()?;
    let labels = registered(usize::from(length), count, seed)?;
    let mut turns = Turns::new(count);
    let rename = |packet: &Packet| {
        let turn = turns.of(packet);
        let payload = names::rename(&packet.payload, &session.zone, &labels[turn]);
        Packet { payload, ..packet.clone() }
    };
    Some(session.packets.iter().map(rename).collect())
}

/// From so many clients of one network.
pub fn over_clients(session: &Session, count: usize) -> Vec<Packet> {
    let mut turns = Turns::new(count);
    let mut packets = session.packets.clone();
    for packet in &mut packets {
        let host = turns.of(packet) as u8 + 1;
        let ip: IpAddr = match session.client {
            IpAddr::V4(_) => Ipv4Addr::new(10, 66, 0, host).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, host.into()).into(),
        };
        set_client(packet, ip);
    }
    packets
}

/// Whose turn a name is: the next one's for a new name, the same one's for its answers and retries.
struct Turns {
    count: usize,
    given: BTreeMap<Vec<u8>, usize>,
}

impl Turns {
    fn new(count: usize) -> Self {
        Self { count, given: BTreeMap::new() }
    }

    fn of(&mut self, packet: &Packet) -> usize {
        let Some(name) = names::question(packet) else { return 0 };
        let next = self.given.len() % self.count.max(1);
        *self.given.entry(name.wire().to_vec()).or_insert(next)
    }
}

/// Different labels that can be said aloud, as registered names are.
fn registered(length: usize, count: usize, seed: u64) -> Option<Vec<Vec<u8>>> {
    const LETTERS: [&[u8]; 2] = [b"bcdfghklmnprstvz", b"aeiou"];
    let mut random = Random::of(seed, "registered");
    let mut labels = BTreeSet::new();
    // Of two letters there are 80: enough tries to find 50 of them; of one there are too few.
    for _ in 0..count * 100 {
        if labels.len() == count {
            break;
        }
        let letter = |place: usize| LETTERS[place % 2][random.below(LETTERS[place % 2].len())];
        labels.insert((0..length).map(letter).collect::<Vec<_>>());
    }
    (labels.len() == count).then(|| labels.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::names::tests::oracle;
    use crate::derive::session::Sent;
    use crate::derive::tests::{lookup, tunnel};

    fn session() -> Session {
        Session::of(&tunnel(100)).unwrap()
    }

    #[test]
    fn zones_take_turns_and_answers_follow() {
        let session = session();
        let packets = over_zones(&session, 7, 1).unwrap();
        let sent = Sent::by(&packets);
        assert_eq!(sent.zones.len(), 7, "{:?}", sent.zones);
        assert!(sent.zones.iter().all(|zone| zone.len() == "tunnel.example".len()));
        assert_eq!(sent.until(u64::MAX), Sent::by(&session.packets).until(u64::MAX), "no byte more or less");
        for pair in packets.chunks(2) {
            let (asked, answered) = (oracle(&pair[0].payload), oracle(&pair[1].payload));
            assert_eq!(asked[0], answered[0]);
            assert_eq!(answered[2], format!("r{}", asked[0]), "the target moves with the question");
        }
        let again = over_zones(&session, 7, 1).unwrap();
        assert!(packets.iter().zip(&again).all(|(a, b)| a.payload == b.payload), "the same in every run");
    }

    #[test]
    fn a_retry_goes_to_the_same_zone() {
        let name = "aaaa.t.tunnel.example";
        let packets = [lookup(0, name), lookup(100, "bbbb.t.tunnel.example"), lookup(200, name)].concat();
        let spread = over_zones(&Session::of(&packets).unwrap(), 3, 1).unwrap();
        assert_eq!(oracle(&spread[0].payload)[0], oracle(&spread[4].payload)[0]);
        assert_ne!(oracle(&spread[0].payload)[0][5..], oracle(&spread[2].payload)[0][5..]);
    }

    #[test]
    fn labels_are_different_and_as_long() {
        assert_eq!(registered(2, 50, 3).unwrap().len(), 50);
        assert!(registered(9, 50, 3).unwrap().iter().all(|label| label.len() == 9));
        assert!(registered(1, 50, 3).is_none());
        let mut direct = session();
        direct.zone.clear();
        assert!(over_zones(&direct, 2, 1).is_none());
    }

    #[test]
    fn clients_take_turns_and_answers_follow() {
        let session = session();
        let packets = over_clients(&session, 50);
        assert_eq!(Sent::by(&packets).clients.len(), 50);
        for pair in packets.chunks(2) {
            assert_eq!(pair[0].src, pair[1].dst);
        }
    }
}
