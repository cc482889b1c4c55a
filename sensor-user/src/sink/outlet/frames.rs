//! A frame stream over a unix socket, with the handshake in both directions (fstrm's control protocol).

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use super::wire::{Target, Wire};
use super::{Outlet, Trouble, each};
use crate::sink::dnstap::{control, control_frame};
use crate::sink::worker::Frame;

/// Longest control frame, as in fstrm.
const CONTROL_MAX: u32 = 512;

#[derive(Debug)]
pub(super) struct FrameStream {
    path: PathBuf,
    timeout: Duration,
    wire: Option<Wire>,
}

impl FrameStream {
    pub(super) fn new(path: &str, timeout: Duration) -> Self {
        Self { path: path.into(), timeout, wire: None }
    }

    fn connect(&self) -> io::Result<Wire> {
        let mut wire = Wire::connect(&Target::Unix(self.path.clone()), self.timeout)?;
        wire.write_all(&control_frame(control::READY))?;
        expect(&mut wire, control::ACCEPT)?;
        wire.write_all(&control_frame(control::START))?;
        Ok(wire)
    }
}

/// Waits for a control frame.
fn expect(wire: &mut Wire, kind: u32) -> io::Result<()> {
    let mut word = || -> io::Result<u32> {
        let mut bytes = [0; 4];
        wire.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    };
    let (escape, length) = (word()?, word()?);
    if escape != 0 || !(4..=CONTROL_MAX).contains(&length) {
        return Err(io::Error::other("the receiver speaks no frame streams"));
    }
    let got = word()?;
    let mut rest = vec![0; length as usize - 4];
    wire.read_exact(&mut rest)?;
    if got == kind { Ok(()) } else { Err(io::Error::other(format!("the receiver answers {got} for {kind}"))) }
}

impl Outlet for FrameStream {
    fn send(&mut self, frames: &[Frame]) -> Result<usize, (usize, Trouble)> {
        if self.wire.as_mut().is_some_and(Wire::is_closed) {
            self.wire = None;
        }
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => self.connect().map_err(|error| (0, Trouble::Down(format!("cannot connect: {error}"))))?,
        };
        let result = each(frames, |bytes| {
            wire.write_all(bytes).map_err(|error| Trouble::Down(format!("cannot send: {error}")))
        });
        self.wire = result.is_ok().then_some(wire);
        result
    }

    fn finish(&mut self) {
        if let Some(mut wire) = self.wire.take()
            && wire.write_all(&control_frame(control::STOP)).is_ok()
        {
            let _ = expect(&mut wire, control::FINISH);
        }
    }
}
