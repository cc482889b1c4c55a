//! The message log: every decoded DNS message as one line of JSON in a file.
//!
//! It is beside the findings, never in their way: what cannot be written is counted and told, and the sensor goes on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize as _;
use serde_json::Serializer;

use super::Visible;
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::logged::Logged;

/// Lines wait here until the next flush, or longer where the file takes none; more are lost and counted.
const ROOM: usize = 1 << 20;
/// Written out on the way once so much waits.
const FULL: usize = 1 << 16;

#[derive(Debug)]
pub struct Messages<W = File> {
    out: W,
    /// Whole lines, the first perhaps begun in the file.
    waiting: Vec<u8>,
    /// Lines taken in.
    pub taken: u64,
    /// Lines that found no room because the file takes no more.
    pub lost: u64,
    failed: Option<io::Error>,
    told: bool,
}

/// What happens to a log that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Live: nothing that was seen goes away.
    GoesOn,
    /// Replay: the log is a function of the input.
    IsReplaced,
}

impl Messages {
    /// Opens `output.messages`; empty is off. Only the owner may read it: names tell what people do.
    pub fn open(path: &str, existing: Existing) -> Result<Option<Self>, Error> {
        if path.is_empty() {
            return Ok(None);
        }
        let goes_on = existing == Existing::GoesOn;
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .append(goes_on)
            .truncate(!goes_on)
            .mode(0o600)
            .open(Path::new(path))
            .map_err(|error| {
                let path = escape(path);
                let hint = "name a file in a directory that exists, or \"\" for no log";
                Error::new(Code::Usage, format!("cannot write output.messages = \"{path}\": {error}; {hint}"))
            })?;
        Ok(Some(Self::new(file)))
    }
}

impl<W: io::Write> Messages<W> {
    fn new(out: W) -> Self {
        Self { out, waiting: Vec::new(), taken: 0, lost: 0, failed: None, told: false }
    }

    pub fn write(&mut self, line: &Logged) {
        let start = self.waiting.len();
        let written = line.serialize(&mut Serializer::with_formatter(&mut self.waiting, Visible));
        self.waiting.push(b'\n');
        if written.is_err() || self.waiting.len() > ROOM {
            self.waiting.truncate(start);
            self.lost += 1;
            return;
        }
        self.taken += 1;
        if self.waiting.len() >= FULL {
            self.flush();
        }
    }

    /// Hands over what waits; what the file does not take waits on.
    pub fn flush(&mut self) {
        let mut done = 0;
        while done < self.waiting.len() {
            match self.out.write(&self.waiting[done..]) {
                Ok(0) => {
                    self.failed.get_or_insert(io::ErrorKind::WriteZero.into());
                    break;
                }
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed.get_or_insert(error);
                    break;
                }
            }
        }
        self.waiting.drain(..done);
    }

    /// The first failure, once.
    pub fn warning(&mut self) -> Option<String> {
        let error = self.failed.as_ref().filter(|_| !self.told)?;
        self.told = true;
        Some(format!(
            "cannot write the message log (output.messages): {error}; messages that find no room are lost and counted"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::logged;

    /// Takes so many bytes, then none.
    struct Small(Vec<u8>, usize);

    impl io::Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.1 - self.0.len()).min(100);
            self.0.extend_from_slice(&bytes[..n]);
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_once_and_what_is_lost_is_counted() {
        let mut log = Messages::new(Small(Vec::new(), 150));
        for _ in 0..10_000 {
            log.write(&logged());
        }
        log.flush();
        assert!(log.warning().unwrap().contains("output.messages"));
        assert_eq!(log.warning(), None);
        assert_eq!(log.taken + log.lost, 10_000);
        assert!(log.lost > 0 && log.waiting.len() <= ROOM);
        // Room again: the line that was begun goes on where it stopped.
        log.out.1 = usize::MAX;
        log.flush();
        let text = String::from_utf8(log.out.0).unwrap();
        assert_eq!(text.lines().count() as u64, log.taken);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }

    #[test]
    fn a_log_that_cannot_be_opened_names_its_key() {
        assert!(Messages::open("", Existing::GoesOn).unwrap().is_none());
        let error = Messages::open("/nonexistent/log", Existing::GoesOn).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.message.contains("output.messages"), "{}", error.message);
    }

    #[test]
    fn a_log_goes_on_live_and_begins_anew_in_replay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let path = path.to_str().unwrap();
        for (existing, lines) in [(Existing::GoesOn, 1), (Existing::GoesOn, 2), (Existing::IsReplaced, 1)] {
            let mut log = Messages::open(path, existing).unwrap().unwrap();
            log.write(&logged());
            log.flush();
            assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), lines);
        }
    }
}
