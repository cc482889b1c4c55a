//! Below IP: packet sockets and AF_XDP.

use std::io;

use libc::{AF_PACKET, PACKET_QDISC_BYPASS, SOCK_RAW, SOL_PACKET};

use super::raw::ip_packet;
use super::{Target, sys, unsupported};
use crate::truth::xdp;

const BROADCAST: [u8; 6] = [0xff; 6];

pub(super) fn packet(target: &Target) -> io::Result<()> {
    send(target, false)
}

pub(super) fn packet_bypass(target: &Target) -> io::Result<()> {
    send(target, true)
}

fn send(target: &Target, bypass: bool) -> io::Result<()> {
    // Protocol 0: it sends and hears nothing.
    let socket = sys::socket(AF_PACKET, SOCK_RAW, 0)?;
    if bypass {
        sys::set(&socket, SOL_PACKET, PACKET_QDISC_BYPASS, 1)?;
    }
    let to = sys::Address::link(sys::interface_index(&target.device)?, BROADCAST);
    sys::send(&socket, &frame(target)?, 0, Some(&to))
}

pub(super) fn xdp_socket(target: &Target) -> io::Result<()> {
    let mut socket = unsupported("AF_XDP", xdp::Socket::open(sys::interface_index(&target.device)?))?;
    socket.send(&frame(target)?)
}

/// An Ethernet frame to everybody, so that no neighbour needs to be known.
fn frame(target: &Target) -> io::Result<Vec<u8>> {
    let mut frame = BROADCAST.to_vec();
    frame.extend([2, 0, 0, 0, 0, 53]);
    frame.extend((libc::ETH_P_IP as u16).to_be_bytes());
    frame.extend(ip_packet(target)?);
    Ok(frame)
}
