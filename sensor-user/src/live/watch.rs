//! Word of changes to interfaces and default routes, from rtnetlink. Somebody may make them by the thousand: what is told
//! is read in batches, and what found no room is one more reason to look.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net;

use tokio::net::UnixDatagram;

use super::link::{Change, changes, subscription};

/// Messages read in one go; the socket's buffer holds about a hundred.
const BATCH: usize = 512;
/// rtnetlink tells of one interface in 1 to 2 KiB, with many virtual functions in more.
const BUFFER: usize = 32 << 10;

#[derive(Debug)]
pub(super) struct Watch {
    /// Of netlink, which is read as any other socket of datagrams.
    socket: UnixDatagram,
    buffer: Vec<u8>,
    /// Messages read.
    pub(super) told: u64,
    /// How often some had been dropped for want of room.
    pub(super) overflows: u64,
}

impl Watch {
    /// Must be called inside the runtime.
    pub(super) fn open(with_routes: bool) -> io::Result<Self> {
        let socket = net::UnixDatagram::from(OwnedFd::from(subscription(with_routes)?));
        let socket = UnixDatagram::from_std(socket)?;
        Ok(Self { socket, buffer: vec![0; BUFFER], told: 0, overflows: 0 })
    }

    /// Until there is something to read.
    pub(super) async fn readable(&self) {
        // The readiness stays until `take` finds nothing more.
        let _ = self.socket.readable().await;
    }

    /// Reads what was told; whether any of it matters.
    pub(super) fn take(&mut self, matters: impl Fn(&Change) -> bool) -> bool {
        let Self { socket, buffer, told, overflows } = self;
        let mut any = false;
        for _ in 0..BATCH {
            match socket.try_recv(buffer) {
                Ok(len) => changes(&buffer[..len], &mut |change| {
                    *told += 1;
                    any |= matters(&change);
                }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // ENOBUFS, once for any number of them.
                Err(_) => {
                    *overflows += 1;
                    any = true;
                }
            }
        }
        any
    }
}
