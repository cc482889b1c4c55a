//! Raw IP sockets: the process writes the UDP header, or the IP header too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use libc::{AF_INET, IP_HDRINCL, IPPROTO_IP, IPPROTO_RAW, IPPROTO_UDP, SOCK_RAW};

use super::{Target, sys};

pub(super) fn udp(target: &Target) -> io::Result<()> {
    let socket = sys::socket(AF_INET, SOCK_RAW, IPPROTO_UDP)?;
    let datagram = datagram(&target.announce()?);
    sys::send(&socket, &datagram, 0, Some(&target.v4().into()))
}

pub(super) fn hdrincl(target: &Target) -> io::Result<()> {
    let socket = sys::socket(AF_INET, SOCK_RAW, IPPROTO_RAW)?;
    sys::set(&socket, IPPROTO_IP, IP_HDRINCL, 1)?;
    sys::send(&socket, &ip_packet(target)?, 0, Some(&target.v4().into()))
}

/// A query with the headers above Ethernet.
pub(super) fn ip_packet(target: &Target) -> io::Result<Vec<u8>> {
    let datagram = datagram(&target.announce()?);
    let IpAddr::V4(to) = target.v4 else { return Err(io::Error::other("the target's v4 address is v6")) };
    let mut packet = sys::ipv4_header(source_towards(to)?, to, datagram.len()).to_vec();
    packet.extend(datagram);
    Ok(packet)
}

/// A UDP header without checksum (RFC 768) before the query. The source port is bound by nobody.
fn datagram(query: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + query.len());
    datagram.extend(40_053_u16.to_be_bytes());
    datagram.extend(53_u16.to_be_bytes());
    datagram.extend((8 + query.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(query);
    datagram
}

/// The address that this host would send from.
fn source_towards(to: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((to, 9))?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(_) => Err(io::Error::other("a v4 socket has a v6 address")),
    }
}
