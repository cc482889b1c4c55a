//! The ways to send, a row each.

mod link;
mod process;
mod raw;
mod tcp;
mod udp;

use std::io::{self, BufRead as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Sender, ZONE, sys};
use crate::message::{Message, rtype};

/// A way to send.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    /// First kernel that has what it takes (major, minor): from there on `unsupported` is a failure.
    pub since: (u32, u32),
    /// Its socket is made before the sensor starts.
    pub starts_before: bool,
    send: fn(&Target) -> io::Result<()>,
}

const fn row(name: &'static str, what: &'static str, send: fn(&Target) -> io::Result<()>) -> Row {
    Row { name, what, since: (0, 0), starts_before: false, send }
}

/// Every row there is, in the order of the printed table.
pub const ROWS: &[Row] = &[
    row("sendto", "sendto", udp::sendto),
    row("connect-send", "connect and send", udp::connect_send),
    Row {
        starts_before: true,
        ..row("write-before", "write on a socket from before the sensor", udp::write_before)
    },
    row("sendmmsg", "sendmmsg of two messages", udp::sendmmsg),
    Row { since: (5, 6), ..row("uring-send", "io_uring SEND", udp::uring_send) },
    Row { since: (5, 6), ..row("uring-sendmsg", "io_uring SENDMSG", udp::uring_sendmsg) },
    Row { since: (5, 6), ..row("uring-sqpoll", "io_uring SEND by SQPOLL", udp::uring_sqpoll) },
    row("ipv6", "sendto over IPv6", udp::ipv6),
    row("mapped-sendto", "sendto to a v4-mapped address", udp::mapped_sendto),
    row("mapped-connect", "connect and send to a v4-mapped address", udp::mapped_connect),
    row("inherited", "connected socket inherited by a child that sends", process::inherited),
    row("cork-option", "UDP_CORK, released by setsockopt", udp::cork_option),
    row("cork-more", "MSG_MORE, released by a send", udp::cork_more),
    row("udp-segment", "UDP_SEGMENT, two messages in one send", udp::segment),
    row("zerocopy", "MSG_ZEROCOPY", udp::zerocopy),
    row("splice", "splice from a pipe", udp::splice),
    row("sendfile", "sendfile from a file", udp::sendfile),
    row("raw", "SOCK_RAW with IPPROTO_UDP", raw::udp),
    row("hdrincl", "SOCK_RAW with IP_HDRINCL", raw::hdrincl),
    row("packet", "AF_PACKET", link::packet),
    row("packet-bypass", "AF_PACKET with PACKET_QDISC_BYPASS", link::packet_bypass),
    row("xdp-socket", "AF_XDP", link::xdp_socket),
    row("tcp", "TCP, connect and send", tcp::plain),
    row("fastopen-sendto", "TCP fast open by MSG_FASTOPEN", tcp::fastopen_sendto),
    row("fastopen-connect", "TCP fast open by TCP_FASTOPEN_CONNECT", tcp::fastopen_connect),
    Row { since: (5, 16), ..row("mptcp", "MPTCP", tcp::mptcp) },
    row("stub", "to the loopback stub 127.0.0.53", udp::stub),
    row("netns", "from another network namespace", process::netns),
    row("container", "another user in a container's cgroup and pid namespace", process::container),
    row("thread", "a thread of a process with several", process::thread),
    row("exit", "a process that ends at once", process::exit),
    row("reused-port", "two processes, one after the other, on one source port", process::reused_port),
    row("reused-pid", "two processes, one after the other, with one pid", process::reused_pid),
];

/// Where a sender sends.
#[derive(Clone, Debug)]
pub struct Target {
    row: &'static str,
    nonce: String,
    v4: IpAddr,
    v6: IpAddr,
    /// The interface towards them, for what is sent below IP.
    device: String,
}

/// Sends as the row says; `unsupported <why>` on standard output where this kernel lacks what it takes.
pub fn run(row: &str, nonce: &str, v4: Ipv4Addr, v6: Ipv6Addr, device: &str) -> io::Result<()> {
    let row = ROWS
        .iter()
        .find(|known| known.name == row)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no row {row}")))?;
    let target = Target {
        row: row.name,
        nonce: nonce.to_owned(),
        v4: v4.into(),
        v6: v6.into(),
        device: device.to_owned(),
    };
    match (row.send)(&target) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            println!("unsupported {error}");
            Ok(())
        }
        other => other,
    }
}

impl Target {
    fn v4(&self) -> SocketAddr {
        SocketAddr::new(self.v4, 53)
    }

    fn v6(&self) -> SocketAddr {
        SocketAddr::new(self.v6, 53)
    }

    /// The v4 address as an IPv6 socket takes it.
    fn mapped(&self) -> SocketAddr {
        match self.v4 {
            IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), 53),
            IpAddr::V6(_) => self.v4(),
        }
    }

    /// Says who is about to send; the query to send.
    fn announce(&self) -> io::Result<Vec<u8>> {
        self.announce_as("q")
    }

    /// As `announce`, for the rows with several: `part` makes the name another one.
    fn announce_as(&self, part: &str) -> io::Result<Vec<u8>> {
        Ok(self.message(part)?.build())
    }

    /// As `announce`, behind the two bytes of length that TCP wants.
    fn announce_prefixed(&self) -> io::Result<Vec<u8>> {
        Ok(self.message("q")?.prefixed())
    }

    fn message(&self, part: &str) -> io::Result<Message> {
        let name = format!("{part}-{}-{}.{ZONE}", self.row, self.nonce);
        let sender = Sender::own(self.row, name.clone())?;
        let mut out = io::stdout().lock();
        writeln!(out, "{sender}")?;
        out.flush()?;
        Ok(Message::query(name, rtype::A))
    }
}

/// Turns the refusal of a facility into `Unsupported`.
fn unsupported<T>(what: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| {
        let lacking = [
            libc::ENOSYS,
            libc::EINVAL,
            libc::ENOPROTOOPT,
            libc::EOPNOTSUPP,
            libc::EPROTONOSUPPORT,
            libc::ESOCKTNOSUPPORT,
            libc::EAFNOSUPPORT,
            libc::EPERM,
        ];
        if error.raw_os_error().is_some_and(|code| lacking.contains(&code)) {
            io::Error::new(io::ErrorKind::Unsupported, format!("{what}: {error}"))
        } else {
            error
        }
    })
}

/// Says that the socket is there, and waits for a line on standard input.
fn wait_for_word() -> io::Result<()> {
    println!("ready");
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

/// A UDP socket of the family of `to`, connected to it.
fn connected(to: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let socket = udp_socket(to)?;
    sys::connect(&socket, &to.into())?;
    Ok(socket)
}

fn udp_socket(to: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let domain = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    sys::socket(domain, libc::SOCK_DGRAM, 0)
}
