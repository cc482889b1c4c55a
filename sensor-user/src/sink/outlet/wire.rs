//! A connection to a receiver: over a unix socket, TCP or TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::clock;

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

#[derive(Clone, Debug)]
pub(super) enum Target {
    Unix(PathBuf),
    Inet { host: String, port: u16, tls: Option<Arc<ClientConfig>> },
}

#[derive(Debug)]
pub(super) enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub(super) fn connect(target: &Target, timeout: Duration) -> io::Result<Self> {
        let (host, port, tls) = match target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(Self::Unix(stream));
            }
            Target::Inet { host, port, tls } => (host, *port, tls),
        };
        let stream = tcp(host, port, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        let Some(config) = tls else { return Ok(Self::Tcp(stream)) };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Whether the receiver has hung up since; what it says meanwhile, if anything, is of no interest.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut byte = [0; 64];
        let (set, read): (_, io::Result<usize>) = match self {
            Self::Unix(stream) => (stream.set_nonblocking(true), stream.read(&mut byte)),
            Self::Tcp(stream) => (stream.set_nonblocking(true), stream.read(&mut byte)),
            Self::Tls(stream) => (stream.sock.set_nonblocking(true), stream.read(&mut byte)),
        };
        let back = match self {
            Self::Unix(stream) => stream.set_nonblocking(false),
            Self::Tcp(stream) => stream.set_nonblocking(false),
            Self::Tls(stream) => stream.sock.set_nonblocking(false),
        };
        let is_open = match read {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        set.is_err() || back.is_err() || !is_open
    }

    /// Says that nothing more comes.
    pub(super) fn hang_up(&mut self) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().and_then(|()| stream.sock.shutdown(Shutdown::Write))
            }
        };
    }

    /// Waits until the receiver hangs up too, which it does once it has read everything.
    pub(super) fn wait_for_end(&mut self, patience: Duration) -> io::Result<()> {
        let end = clock::monotonic() + patience;
        let mut ignored = [0; 256];
        loop {
            let left = end.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self {
                Self::Unix(stream) => stream.set_read_timeout(Some(left))?,
                Self::Tcp(stream) => stream.set_read_timeout(Some(left))?,
                Self::Tls(stream) => stream.sock.set_read_timeout(Some(left))?,
            }
            match self.read(&mut ignored) {
                Ok(0) => return Ok(()),
                // TLS that ends without a word ends all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
}

fn tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()?.take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.flush(),
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
