//! Standard output, where it is no terminal. The first failure is the end of the run, for the caller to see.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Outlet, Trouble};
use crate::sink::worker::Frame;

/// Why nothing more could be written.
#[derive(Clone, Debug, Default)]
pub struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug, Default)]
pub struct Stdout {
    failure: Failure,
}

impl Stdout {
    pub fn failure(&self) -> Failure {
        self.failure.clone()
    }
}

impl Outlet for Stdout {
    fn send(&mut self, frames: &[Frame]) -> Result<usize, (usize, Trouble)> {
        let mut out = io::stdout().lock();
        let mut write = || -> io::Result<()> {
            frames.iter().try_for_each(|frame| out.write_all(&frame.bytes))?;
            out.flush()
        };
        write().map(|()| frames.len()).map_err(|error| {
            let why = format!("cannot write: {error}");
            *self.failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            (0, Trouble::Down(why))
        })
    }
}
