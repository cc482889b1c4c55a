//! A tunnel among honest traffic.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use earthdog::event::Packet;

use super::{Random, set_client, set_server, to_server};

/// A client of a capture, with the server it asks most and the times of its queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub client: IpAddr,
    pub server: IpAddr,
    pub queries_ns: Vec<u64>,
}

/// Everyone who asks, by address.
pub fn hosts(packets: &[Packet]) -> Vec<Host> {
    let mut asked: BTreeMap<IpAddr, (BTreeMap<IpAddr, usize>, Vec<u64>)> = BTreeMap::new();
    for packet in packets.iter().filter(|packet| to_server(packet) && !packet.payload.is_empty()) {
        let (servers, times) = asked.entry(packet.src.ip()).or_default();
        *servers.entry(packet.dst.ip()).or_default() += 1;
        times.push(packet.time_ns);
    }
    let host = |(client, (servers, queries_ns)): (IpAddr, (BTreeMap<IpAddr, usize>, Vec<u64>))| {
        let (server, _) = servers.into_iter().max_by_key(|(ip, count)| (*count, std::cmp::Reverse(*ip)))?;
        Some(Host { client, server, queries_ns })
    };
    asked.into_iter().filter_map(host).collect()
}

/// The tunnel's packets as if this host sent them, the first at the time of one of its own queries.
pub fn move_to(host: &Host, tunnel: &[Packet], random: &mut Random) -> Vec<Packet> {
    let Some(start) = tunnel.first().map(|packet| packet.time_ns) else { return Vec::new() };
    let at = host.queries_ns.get(random.below(host.queries_ns.len())).copied().unwrap_or(start);
    let mut moved = tunnel.to_vec();
    for packet in &mut moved {
        set_client(packet, host.client);
        set_server(packet, host.server);
        packet.time_ns = packet.time_ns - start + at;
    }
    moved
}

/// Two captures as one. Where the honest one goes back in time it keeps its order.
pub fn merge(honest: &[Packet], tunnel: &[Packet]) -> Vec<Packet> {
    let mut out = Vec::with_capacity(honest.len() + tunnel.len());
    let mut tunnel = tunnel.iter().peekable();
    for packet in honest {
        while let Some(next) = tunnel.next_if(|next| next.time_ns < packet.time_ns) {
            out.push(next.clone());
        }
        out.push(packet.clone());
    }
    out.extend(tunnel.cloned());
    out
}

/// As seen behind a resolver: one address asks for everybody.
pub fn behind_resolver(packets: &[Packet]) -> Vec<Packet> {
    let mut packets = packets.to_vec();
    for packet in &mut packets {
        let resolver: IpAddr = match packet.src {
            std::net::SocketAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 53).into(),
            std::net::SocketAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x53).into(),
        };
        set_client(packet, resolver);
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::session::Sent;
    use crate::derive::tests::{SERVER, packet, tunnel};
    use crate::message::Message;

    fn honest() -> Vec<Packet> {
        let ask = |n: u64| {
            let client = ["198.51.100.1:5000", "198.51.100.2:5000"][n as usize % 2];
            let server = if n == 3 { "203.0.113.9:53" } else { SERVER };
            packet(n * 3_000 + 60_000, client, server, Message::query("www.example.com", 1))
        };
        (0..10).map(ask).collect()
    }

    #[test]
    fn hosts_are_who_asks_and_whom() {
        let hosts = hosts(&honest());
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[1].client, "198.51.100.2".parse::<IpAddr>().unwrap());
        assert_eq!(hosts[1].server, "192.0.2.53".parse::<IpAddr>().unwrap());
        assert_eq!(hosts[1].queries_ns.len(), 5);
    }

    #[test]
    fn a_moved_tunnel_is_that_hosts_and_nothing_is_lost() {
        let (honest, tunnel) = (honest(), tunnel(20));
        let host = &hosts(&honest)[0];
        let moved = move_to(host, &tunnel, &mut Random::new(5));
        let sent = Sent::by(&moved);
        assert_eq!(sent.clients.into_iter().collect::<Vec<_>>(), [host.client]);
        assert!(host.queries_ns.contains(&moved[0].time_ns));
        assert!(moved.iter().all(|packet| packet.client_server().1.ip() == host.server));
        let merged = merge(&honest, &moved);
        assert_eq!(merged.len(), honest.len() + moved.len());
        assert!(merged.is_sorted_by_key(|packet| packet.time_ns));
    }

    #[test]
    fn order_of_a_capture_that_goes_back_in_time_is_kept() {
        let mut honest = honest();
        honest.swap(2, 8);
        let merged = merge(&honest, &tunnel(3));
        let kept: Vec<_> = merged.iter().filter(|p| p.src.port() == 5000).map(|p| p.time_ns).collect();
        assert_eq!(kept, honest.iter().map(|p| p.time_ns).collect::<Vec<_>>());
    }

    #[test]
    fn behind_a_resolver_there_is_one_client() {
        let merged = merge(&honest(), &tunnel(3));
        let seen = behind_resolver(&merged);
        assert_eq!(hosts(&seen).len(), 1);
        assert_eq!(Sent::by(&seen).clients.len(), 1);
    }
}
