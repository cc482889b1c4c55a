//! A datagram for each record.

use std::io;
use std::net::{ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::{Outlet, Trouble, each};
use crate::sink::tally::Loss;
use crate::sink::worker::Frame;

/// A receiver whose buffer stays full for so long is down.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Datagram {
    target: Target,
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Target {
    Unix(PathBuf),
    Udp(String, u16),
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Datagram {
    pub(super) fn unix(path: &str) -> Self {
        Self { target: Target::Unix(path.into()), socket: None }
    }

    pub(super) const fn udp(host: String, port: u16) -> Self {
        Self { target: Target::Udp(host, port), socket: None }
    }
}

impl Socket {
    fn open(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Self::Unix(socket)
            }
            Target::Udp(host, port) => {
                let address = (host.as_str(), *port).to_socket_addrs()?.next();
                let address = address.ok_or_else(|| io::Error::other(format!("{host} has no address")))?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Self::Udp(socket)
            }
        })
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.send(bytes),
            Self::Udp(socket) => socket.send(bytes),
        }
    }
}

impl Outlet for Datagram {
    fn send(&mut self, frames: &[Frame]) -> Result<usize, (usize, Trouble)> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(&self.target)
                .map_err(|error| (0, Trouble::Down(format!("cannot reach its socket: {error}"))))?,
        };
        let result = each(frames, |bytes| match socket.send(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Err(Trouble::Never(Loss::TooLong)),
            Err(error) => Err(Trouble::Down(format!("cannot send: {error}"))),
        });
        if !matches!(result, Err((_, Trouble::Down(_)))) {
            self.socket = Some(socket);
        }
        result
    }
}
