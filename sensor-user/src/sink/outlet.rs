//! Where records go: files, sockets, servers. All of it may block, on the sink's own thread, for a bounded time.

mod datagram;
mod file;
mod frames;
mod http;
mod stdout;
mod stream;
mod tls;
mod wire;

use std::time::Duration;

use super::dnstap::{control, control_frame};
use super::tally::Loss;
use super::worker::{Frame, Framing};
use crate::config::sinks::{Kind, Sink, Url, host_port};

pub use stdout::{Failure, Stdout};

/// Why a record was not handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The receiver takes nothing now.
    Down(String),
    /// It will never take the next record.
    Never(Loss),
}

/// How long a receiver may take to show that it reads.
const CONFIRM: Duration = Duration::from_secs(5);

/// A receiver.
pub trait Outlet: Send {
    /// Hands over some records from the first on: how many, and what became of the next if not all could be.
    fn send(&mut self, frames: &[Frame]) -> Result<usize, (usize, Trouble)>;

    /// Whether what was handed over last has been read, as far as a receiver of this kind lets that be known. It may block
    /// for `CONFIRM`.
    fn confirm(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Nothing has come for a while.
    fn idle(&mut self) {}

    /// Nothing more comes.
    fn finish(&mut self) {}
}

/// The receiver of an entry, with what is around a record there. Nothing is connected or written yet; `Err` says which of
/// its files cannot be used.
pub fn of(sink: &Sink) -> Result<(Box<dyn Outlet>, Framing), String> {
    let timeout = Duration::from_secs(sink.timeout_s);
    let to = sink.to();
    let inet = || host_port(to).map(|(host, port)| (host.to_owned(), port)).unwrap_or_default();
    Ok(match sink.kind {
        Kind::File => (Box::new(file::File::new(sink, None)), Framing::Line),
        Kind::DnstapFile => {
            let ends = [control_frame(control::START), control_frame(control::STOP)];
            (Box::new(file::File::new(sink, Some(ends))), Framing::FrameStream)
        }
        Kind::DnstapUnix => (Box::new(frames::FrameStream::new(to, timeout)), Framing::FrameStream),
        Kind::Unix => {
            let target = wire::Target::Unix(to.into());
            (Box::new(stream::Stream::new(target, timeout)), Framing::Line)
        }
        Kind::UnixDatagram => (Box::new(datagram::Datagram::unix(to)), Framing::Bare),
        Kind::Journald => (Box::new(datagram::Datagram::unix(to)), Framing::Journal),
        Kind::SyslogUdp => {
            let (host, port) = inet();
            (Box::new(datagram::Datagram::udp(host, port)), Framing::Syslog)
        }
        Kind::SyslogTcp | Kind::SyslogTls => {
            let (host, port) = inet();
            let tls = if sink.kind == Kind::SyslogTls { Some(tls::config(sink)?) } else { None };
            let target = wire::Target::Inet { host, port, tls };
            (Box::new(stream::Stream::new(target, timeout)), Framing::SyslogCounted)
        }
        Kind::Http => {
            let url = Url::parse(to)?;
            let tls = if url.tls { Some(tls::config(sink)?) } else { None };
            let outlet =
                http::Http::new(url, tls, http::token(&sink.token_file)?, sink.batch as usize, timeout);
            (Box::new(outlet), Framing::Line)
        }
    })
}

/// Hands over one by one.
fn each(
    frames: &[Frame],
    mut send: impl FnMut(&[u8]) -> Result<(), Trouble>,
) -> Result<usize, (usize, Trouble)> {
    for (done, frame) in frames.iter().enumerate() {
        send(&frame.bytes).map_err(|trouble| (done, trouble))?;
    }
    Ok(frames.len())
}
