//! The same tunnel slower: pauses grow, the time an answer takes does not.

use std::collections::BTreeMap;

use earthdog::event::Packet;

use super::{Session, names, to_server};

/// Every pause between queries `factor` times as long.
pub fn stretch(session: &Session, factor: u64) -> Vec<Packet> {
    let start = session.start_ns();
    let stretched = |time_ns: u64| start + (time_ns - start) * factor;
    let mut asked = BTreeMap::new();
    let mut packets = session.packets.clone();
    for packet in &mut packets {
        let time_ns = packet.time_ns;
        let id = packet.payload.first_chunk::<2>().copied();
        let key = (packet.client_server().0, id, names::question(packet).map(|name| name.wire().to_vec()));
        packet.time_ns = if to_server(packet) {
            asked.insert(key, time_ns);
            stretched(time_ns)
        } else {
            let query = asked.get(&key).copied().unwrap_or(time_ns);
            stretched(query) + (time_ns - query)
        };
    }
    super::sort(&mut packets);
    packets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::tests::{SERVER, packet, tunnel};
    use crate::message::Message;

    #[test]
    fn pauses_grow_and_answers_stay_prompt() {
        let session = Session::of(&tunnel(5)).unwrap();
        let slow = stretch(&session, 100);
        let times: Vec<_> = slow.iter().map(|p| (p.time_ns - slow[0].time_ns) / 1_000_000).collect();
        assert_eq!(times[..6], [0, 20, 50_000, 50_020, 100_000, 100_020]);
    }

    #[test]
    fn an_answer_nobody_asked_for_stretches_by_itself() {
        let mut packets = tunnel(2);
        packets.push(packet(
            1000,
            SERVER,
            crate::derive::tests::CLIENT,
            Message::response("x.tunnel.example", 1),
        ));
        let slow = stretch(&Session::of(&packets).unwrap(), 10);
        assert_eq!((slow[4].time_ns - slow[0].time_ns) / 1_000_000, 10_000);
    }
}
