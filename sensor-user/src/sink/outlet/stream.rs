//! Records over a connection that is made again when it breaks. What was written is taken for delivered: such receivers
//! acknowledge nothing. What they do is to hang up once they have read that nothing more comes, and a canary asks for that.

use std::io::Write as _;
use std::time::Duration;

use super::wire::{Target, Wire};
use super::{CONFIRM, Outlet, Trouble, each};
use crate::sink::worker::Frame;

#[derive(Debug)]
pub(super) struct Stream {
    target: Target,
    timeout: Duration,
    wire: Option<Wire>,
}

impl Stream {
    pub(super) const fn new(target: Target, timeout: Duration) -> Self {
        Self { target, timeout, wire: None }
    }
}

impl Outlet for Stream {
    fn send(&mut self, frames: &[Frame]) -> Result<usize, (usize, Trouble)> {
        if self.wire.as_mut().is_some_and(Wire::is_closed) {
            self.wire = None;
        }
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(&self.target, self.timeout)
                .map_err(|error| (0, Trouble::Down(format!("cannot connect: {error}"))))?,
        };
        let down = |error: std::io::Error| Trouble::Down(format!("cannot send: {error}"));
        let mut result = each(frames, |bytes| wire.write_all(bytes).map_err(down));
        if result.is_ok()
            && let Err(error) = wire.flush()
        {
            result = Err((0, down(error)));
        }
        // After a failure a record may be there in part: the next connection begins with it anew.
        self.wire = result.is_ok().then_some(wire);
        result
    }

    fn confirm(&mut self) -> Result<(), String> {
        let Some(mut wire) = self.wire.take() else { return Err("the connection broke".to_owned()) };
        wire.hang_up();
        let patience = self.timeout.min(CONFIRM);
        wire.wait_for_end(patience).map_err(|error| {
            format!(
                "it took a canary and did not close when nothing more came, within {} s ({error}): nothing reads there",
                patience.as_secs()
            )
        })
    }

    fn finish(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.hang_up();
        }
    }
}
