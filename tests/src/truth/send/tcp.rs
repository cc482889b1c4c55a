//! TCP: the owner is known from connect or the first send, by cookie.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use libc::{IPPROTO_TCP, MSG_FASTOPEN, SOCK_STREAM};

use super::{Target, sys, unsupported};

pub(super) fn plain(target: &Target) -> io::Result<()> {
    let socket = stream(target.v4(), IPPROTO_TCP)?;
    sys::connect(&socket, &target.v4().into())?;
    sys::send(&socket, &target.announce_prefixed()?, 0, None)?;
    answered(socket)
}

pub(super) fn mptcp(target: &Target) -> io::Result<()> {
    // The server's v6 address listens for it.
    let socket = unsupported("MPTCP", stream(target.v6(), sys::IPPROTO_MPTCP))?;
    sys::connect(&socket, &target.v6().into())?;
    sys::send(&socket, &target.announce_prefixed()?, 0, None)?;
    answered(socket)
}

pub(super) fn fastopen_sendto(target: &Target) -> io::Result<()> {
    without_cookie()?;
    let socket = stream(target.v4(), IPPROTO_TCP)?;
    sys::send(&socket, &target.announce_prefixed()?, MSG_FASTOPEN, Some(&target.v4().into()))?;
    in_syn(socket)
}

pub(super) fn fastopen_connect(target: &Target) -> io::Result<()> {
    without_cookie()?;
    let socket = stream(target.v4(), IPPROTO_TCP)?;
    unsupported("TCP_FASTOPEN_CONNECT", sys::fastopen_connect(&socket))?;
    sys::connect(&socket, &target.v4().into())?;
    sys::send(&socket, &target.announce_prefixed()?, 0, None)?;
    in_syn(socket)
}

/// Lets this network namespace send data in the first SYN to a server it never met: client, no cookie needed
/// (kernel: Documentation/networking/ip-sysctl.rst, tcp_fastopen).
fn without_cookie() -> io::Result<()> {
    std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "5")
}

/// Fails unless the query went in the SYN, so that the row is what it says.
fn in_syn(socket: OwnedFd) -> io::Result<()> {
    let socket = File::from(socket);
    read_answer(&socket)?;
    if sys::syn_data_was_taken(&socket)? {
        Ok(())
    } else {
        Err(io::Error::other("the query went behind the SYN"))
    }
}

fn stream(to: SocketAddr, protocol: i32) -> io::Result<OwnedFd> {
    let domain = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    sys::socket(domain, SOCK_STREAM, protocol)
}

fn answered(socket: OwnedFd) -> io::Result<()> {
    read_answer(&File::from(socket))
}

/// Waits for the answer: a connection closed at once might be reset before the query has left.
fn read_answer(mut socket: &File) -> io::Result<()> {
    socket.read_exact(&mut [0; 14])
}
