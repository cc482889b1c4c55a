//! Frames between the two processes: a head with version, length and number of descriptors, then the message (postcard).
//! Descriptors go with the head (SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Of the frames and of what is in them. Both ends are one binary; a process that is not ends here.
const VERSION: u16 = 1;
const HEAD: usize = 8;
/// Descriptors in one frame: the maps.
const DESCRIPTORS: usize = 16;
/// The longest request: the configuration's part, once.
pub(super) const REQUEST_MAX: usize = 1 << 20;
/// The longest answer: `attacher::PROCESSES` processes of 9 KiB at most, or hooks of 1,024 interfaces.
pub(super) const ANSWER_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    /// Of what is taken in.
    max: usize,
}

impl Wire {
    pub(super) fn new(stream: UnixStream, max: usize) -> Self {
        Self { stream, max }
    }

    /// How long to wait for a frame; for ever at first.
    pub(super) fn wait_for(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        self.stream.set_write_timeout(Some(patience))
    }

    /// Ends it, so that the other side sees its end.
    pub(super) fn close(self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, &[])
    }

    pub(super) fn send_with(&mut self, message: &impl Serialize, with: &[OwnedFd]) -> io::Result<()> {
        let mut frame = vec![0; HEAD];
        frame[..2].copy_from_slice(&VERSION.to_ne_bytes());
        frame[2..4].copy_from_slice(&(with.len() as u16).to_ne_bytes());
        let mut frame = postcard::to_extend(message, frame).map_err(io::Error::other)?;
        let len = u32::try_from(frame.len() - HEAD).map_err(io::Error::other)?;
        frame[4..HEAD].copy_from_slice(&len.to_ne_bytes());
        if with.is_empty() {
            return self.stream.write_all(&frame);
        }
        let descriptors: Vec<_> = with.iter().map(|descriptor| descriptor.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(damaged("more descriptors than a frame has"));
        }
        let head = [IoSlice::new(&frame[..HEAD])];
        if rustix::net::sendmsg(&self.stream, &head, &mut control, SendFlags::NOSIGNAL)? != HEAD {
            return Err(damaged("half a head was sent"));
        }
        self.stream.write_all(&frame[HEAD..])
    }

    /// The next message; `None` at the end.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    pub(super) fn receive_with<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut head = [0; HEAD];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = loop {
            let mut into = [IoSliceMut::new(&mut head)];
            match rustix::net::recvmsg(&self.stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?.bytes,
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if read == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut head[read..])?;
        let word = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let len = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if word(0) != VERSION || usize::from(word(2)) != descriptors.len() {
            return Err(damaged("a frame of another version"));
        }
        if len > self.max {
            return Err(damaged("a frame that is too long"));
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        let message = match postcard::take_from_bytes(&body) {
            Ok((message, [])) => message,
            Ok(_) => return Err(damaged("a frame with more in it than its message")),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        Ok(Some((message, descriptors)))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(max: usize) -> (Wire, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Wire::new(ours, max), theirs)
    }

    #[test]
    fn messages_come_whole_and_with_their_descriptors() {
        let (mut ours, theirs) = pair(1 << 20);
        let mut theirs = Wire::new(theirs, 1 << 20);
        let long = vec![7u8; 100_000];
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                theirs.send(&"first").unwrap();
                theirs.send_with(&long, &[file(), file()]).unwrap();
                drop(theirs);
            });
            assert_eq!(ours.receive::<String>().unwrap().as_deref(), Some("first"));
            let (body, descriptors) = ours.receive_with::<Vec<u8>>().unwrap().unwrap();
            assert_eq!((body.len(), descriptors.len()), (long.len(), 2));
            assert!(ours.receive::<String>().unwrap().is_none(), "the other end is gone");
        });
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let frame = |version: u16, count: u16, body: &[u8], len: u32| {
            let mut frame = version.to_ne_bytes().to_vec();
            frame.extend(count.to_ne_bytes());
            frame.extend(len.to_ne_bytes());
            frame.extend(body);
            frame
        };
        for (bytes, says) in [
            (frame(VERSION + 1, 0, b"\0", 1), "another version"),
            (frame(VERSION, 1, b"\0", 1), "another version"),
            (frame(VERSION, 0, b"", 65), "too long"),
            (frame(VERSION, 0, b"\x01a\x00", 3), "more in it"),
            (frame(VERSION, 0, b"\x05a", 2), "end of"),
            (frame(VERSION, 0, b"\x05a", 7), "fill whole buffer"),
            (vec![1], "fill whole buffer"),
        ] {
            let (mut ours, mut theirs) = pair(64);
            theirs.write_all(&bytes).unwrap();
            drop(theirs);
            let error = ours.receive::<String>().unwrap_err().to_string();
            assert!(error.to_lowercase().contains(says), "{says}: {error}");
        }
    }
}
