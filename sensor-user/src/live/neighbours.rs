//! Hardware addresses of the machines on this host's links, as its neighbour table has them (arp(7), rtnetlink(7)).
//!
//! It is as true as the links are: whoever can answer ARP or neighbour discovery in another's place is taken for it.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;

use super::link::{BUFFER, attributes, dump_request, netlink, read_dump, u16_at};
use crate::inventory::MAX_NEIGHBOURS;

/// Address and hardware address of each neighbour that answered lately or is entered by hand.
pub(super) fn neighbours() -> io::Result<Vec<(IpAddr, [u8; 6])>> {
    let mut socket = netlink(libc::NETLINK_ROUTE)?;
    socket.write_all(&dump_request::<{ NDMSG }>(libc::RTM_GETNEIGH))?;
    let mut list = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = socket.read(&mut buffer)?;
        let more = read_dump(&buffer[..len], libc::RTM_NEWNEIGH, &mut |body| list.extend(neighbour(body)))?;
        if !more || list.len() >= MAX_NEIGHBOURS {
            return Ok(list);
        }
    }
}

/// Size of `struct ndmsg`.
const NDMSG: usize = 12;

fn neighbour(body: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    // Nobody answered, or the address has no owner (multicast).
    const NOBODY: u16 = libc::NUD_INCOMPLETE | libc::NUD_FAILED | libc::NUD_NOARP;
    if u16_at(body, 8)? & NOBODY != 0 {
        return None;
    }
    let (mut ip, mut hardware) = (None, None);
    for (kind, value) in attributes(body.get(NDMSG..)?) {
        match kind {
            libc::NDA_DST => {
                let v4 = || <[u8; 4]>::try_from(value).map(IpAddr::from);
                ip = v4().or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok();
            }
            libc::NDA_LLADDR => hardware = <[u8; 6]>::try_from(value).ok(),
            _ => {}
        }
    }
    Some((ip?, hardware?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ndmsg of a state with these attributes.
    fn message(state: u16, list: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; NDMSG];
        body[8..10].copy_from_slice(&state.to_ne_bytes());
        for (kind, value) in list {
            body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }

    #[test]
    fn who_answers_has_an_address_and_a_hardware_address() {
        let mac = [0, 0x50, 0x56, 0, 0, 7];
        let v4: &[u8] = &[192, 168, 77, 2];
        let full = message(libc::NUD_REACHABLE, &[(libc::NDA_DST, v4), (libc::NDA_LLADDR, &mac)]);
        assert_eq!(neighbour(&full), Some(("192.168.77.2".parse().unwrap(), mac)));
        let stale = message(libc::NUD_STALE, &[(libc::NDA_LLADDR, &mac), (libc::NDA_DST, &[0xfe; 16])]);
        assert!(neighbour(&stale).is_some_and(|(ip, _)| ip.is_ipv6()));
        for none in [
            message(libc::NUD_FAILED, &[(libc::NDA_DST, v4), (libc::NDA_LLADDR, &mac)]),
            message(libc::NUD_NOARP, &[(libc::NDA_DST, v4), (libc::NDA_LLADDR, &mac)]),
            message(libc::NUD_REACHABLE, &[(libc::NDA_DST, v4)]),
            message(libc::NUD_REACHABLE, &[(libc::NDA_DST, &v4[..3]), (libc::NDA_LLADDR, &mac)]),
            message(libc::NUD_REACHABLE, &[(libc::NDA_DST, v4), (libc::NDA_LLADDR, &[0; 20])]),
        ] {
            assert_eq!(neighbour(&none), None);
        }
        // Behind the last six bytes is what fills the attribute up.
        for cut in 0..full.len() - 2 {
            assert_eq!(neighbour(&full[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn this_hosts_table_can_be_read() {
        assert!(neighbours().is_ok());
    }
}
