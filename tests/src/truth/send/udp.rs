//! UDP sockets, by every call that sends.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use libc::{MSG_MORE, MSG_ZEROCOPY, SO_ZEROCOPY, SOL_SOCKET, SOL_UDP, UDP_CORK, UDP_SEGMENT};

use super::{Target, connected, sys, udp_socket, unsupported, wait_for_word};
use crate::truth::uring::{Ring, Way};

pub(super) fn sendto(target: &Target) -> io::Result<()> {
    unconnected(target, target.v4())
}

pub(super) fn ipv6(target: &Target) -> io::Result<()> {
    unconnected(target, target.v6())
}

pub(super) fn mapped_sendto(target: &Target) -> io::Result<()> {
    unconnected(target, target.mapped())
}

pub(super) fn stub(target: &Target) -> io::Result<()> {
    unconnected(target, SocketAddr::from(([127, 0, 0, 53], 53)))
}

fn unconnected(target: &Target, to: SocketAddr) -> io::Result<()> {
    let socket = udp_socket(to)?;
    sys::send(&socket, &target.announce()?, 0, Some(&to.into()))
}

pub(super) fn connect_send(target: &Target) -> io::Result<()> {
    sys::send(&connected(target.v4())?, &target.announce()?, 0, None)
}

pub(super) fn mapped_connect(target: &Target) -> io::Result<()> {
    sys::send(&connected(target.mapped())?, &target.announce()?, 0, None)
}

pub(super) fn write_before(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    wait_for_word()?;
    File::from(socket).write_all(&target.announce()?)
}

pub(super) fn sendmmsg(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    let (one, two) = (target.announce_as("a")?, target.announce_as("b")?);
    sys::send_two(&socket, [&one, &two])
}

pub(super) fn uring_send(target: &Target) -> io::Result<()> {
    uring(target, Way::Send)
}

pub(super) fn uring_sendmsg(target: &Target) -> io::Result<()> {
    uring(target, Way::SendMsg)
}

pub(super) fn uring_sqpoll(target: &Target) -> io::Result<()> {
    uring(target, Way::SqPoll)
}

fn uring(target: &Target, way: Way) -> io::Result<()> {
    let socket = connected(target.v4())?;
    let mut ring = unsupported("io_uring", Ring::new(way, &socket))?;
    ring.send(&target.announce()?)
}

pub(super) fn cork_option(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    let query = target.announce()?;
    let (head, tail) = query.split_at(20);
    sys::set(&socket, SOL_UDP, UDP_CORK, 1)?;
    sys::send(&socket, head, 0, None)?;
    sys::send(&socket, tail, 0, None)?;
    sys::set(&socket, SOL_UDP, UDP_CORK, 0)
}

pub(super) fn cork_more(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    let query = target.announce()?;
    let (head, tail) = query.split_at(20);
    sys::send(&socket, head, MSG_MORE, None)?;
    sys::send(&socket, tail, 0, None)
}

pub(super) fn segment(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    let queries = [target.announce_as("a")?, target.announce_as("b")?];
    let size = libc::c_int::try_from(queries[0].len()).map_err(io::Error::other)?;
    unsupported("UDP_SEGMENT", sys::set(&socket, SOL_UDP, UDP_SEGMENT, size))?;
    sys::send(&socket, &queries.concat(), 0, None)
}

pub(super) fn zerocopy(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    unsupported("MSG_ZEROCOPY", sys::set(&socket, SOL_SOCKET, SO_ZEROCOPY, 1))?;
    sys::send(&socket, &target.announce()?, MSG_ZEROCOPY, None)
}

pub(super) fn splice(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    let query = target.announce()?;
    let (reader, writer) = sys::pipe()?;
    File::from(writer).write_all(&query)?;
    sys::splice(&reader, &socket, query.len())
}

pub(super) fn sendfile(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    let query = target.announce()?;
    let mut file = sys::memory_file()?;
    file.write_all(&query)?;
    sys::sendfile(&file, &socket, query.len())
}
