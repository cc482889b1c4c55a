//! How far long work is: one line on a terminal that changes in place, nothing anywhere else.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::clock;

/// Between two changes of the line.
const PAUSE: Duration = Duration::from_millis(200);

/// Dropping it takes the line away.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), shown: None }
    }

    /// Shows a line, unless one was shown a moment ago. It must hold in one line of the terminal and be escaped.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        if !self.terminal {
            return;
        }
        let now = clock::monotonic();
        if self.shown.is_some_and(|shown| now < shown + PAUSE) {
            return;
        }
        self.shown = Some(now);
        // Without a terminal to write to there is nobody to tell.
        let _ = write!(io::stderr(), "\r\x1b[K{}", text());
    }

    /// Takes the line away, before something else is written; whether there was one.
    pub fn clear(&mut self) -> bool {
        let shown = self.shown.take().is_some();
        if shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        shown
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
