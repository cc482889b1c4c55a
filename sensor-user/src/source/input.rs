//! A byte stream with a position: gunzipped where needed, buffered, bounded.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::Error;

/// Bytes asked of the reader at a time.
const CHUNK: usize = 128 * 1024;
/// Longest piece (frame, dnstap message, log line) that is held; what claims to be longer is damage.
pub(super) const MAX_PIECE: usize = 1 << 20;

pub(super) struct Input {
    reader: Box<dyn Read>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of `buffer[start]` in the stream.
    offset: u64,
    unpacked: bool,
    ended: bool,
    /// Why it ended, if not in peace: told only once the bytes before are used up.
    failure: Option<io::Error>,
}

impl Input {
    /// Opens a stream; gzip is recognised by its first two bytes (RFC 1952 section 2.3.1).
    pub(super) fn open(reader: impl Read + 'static) -> Self {
        let mut input = Self::plain(reader);
        if !input.peek(2).starts_with(&[0x1f, 0x8b]) {
            return input;
        }
        let head = io::Cursor::new(input.buffer[..input.end].to_vec());
        let packed = io::BufReader::with_capacity(CHUNK, head.chain(input.reader));
        let mut unpacked = Self::plain(MultiGzDecoder::new(packed));
        unpacked.unpacked = true;
        unpacked
    }

    pub(super) fn plain(reader: impl Read + 'static) -> Self {
        Self {
            reader: Box::new(reader),
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            offset: 0,
            unpacked: false,
            ended: false,
            failure: None,
        }
    }

    /// Position in the (decompressed) stream.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes without moving on: `len` of them, fewer only where the stream ends.
    pub(super) fn peek(&mut self, len: usize) -> &[u8] {
        self.fill(len);
        let end = self.end.min(self.start + len);
        &self.buffer[self.start..end]
    }

    /// True where no byte is left, and none is missing.
    pub(super) fn at_end(&mut self) -> Result<bool, Error> {
        if !self.peek(1).is_empty() {
            return Ok(false);
        }
        self.failed().map_or(Ok(true), Err)
    }

    /// The next `len` bytes; `record` is the offset of the record they belong to, named if they are not all there.
    pub(super) fn take(&mut self, len: usize, record: u64) -> Result<&[u8], Error> {
        if self.peek(len).len() < len {
            return Err(self
                .failed()
                .unwrap_or_else(|| self.damaged(record, "the file ends inside a record")));
        }
        let start = self.start;
        self.advance(len);
        Ok(&self.buffer[start..start + len])
    }

    /// Moves over `len` bytes without holding them.
    pub(super) fn skip(&mut self, mut len: u64, record: u64) -> Result<(), Error> {
        while len > 0 {
            let piece = len.min(CHUNK as u64) as usize;
            self.take(piece, record)?;
            len -= piece as u64;
        }
        Ok(())
    }

    /// The next line without its end; `None` at the end of the stream. The flag says whether a line end was there.
    pub(super) fn line(&mut self) -> Result<Option<(&[u8], bool)>, Error> {
        let mut seen = 0;
        let found = loop {
            let held = &self.buffer[self.start..self.end];
            if let Some(at) = held[seen..].iter().position(|byte| *byte == b'\n') {
                break Some(seen + at);
            }
            seen = held.len();
            if seen >= MAX_PIECE {
                return Err(self.damaged(self.offset, "a line longer than 1 MiB"));
            }
            self.fill(seen + 1);
            if self.end - self.start == seen {
                if let Some(failure) = self.failed() {
                    return Err(failure);
                }
                break None;
            }
        };
        let (len, ended) = match found {
            Some(len) => (len, true),
            None if seen == 0 => return Ok(None),
            None => (seen, false),
        };
        let start = self.start;
        self.advance(len + usize::from(ended));
        let line = &self.buffer[start..start + len];
        Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), ended)))
    }

    pub(super) fn damaged(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::Damaged { offset, what: what.into(), unpacked: self.unpacked }
    }

    fn advance(&mut self, len: usize) {
        self.start += len;
        self.offset += len as u64;
    }

    /// Reads until `len` bytes are held or the stream ends.
    #[inline]
    fn fill(&mut self, len: usize) {
        if self.end - self.start < len {
            self.read(len);
        }
    }

    #[cold]
    fn read(&mut self, len: usize) {
        while self.end - self.start < len && !self.ended {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.buffer.len() < len.max(self.end + 1) {
                self.buffer.resize(len.max(self.end + CHUNK), 0);
            }
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(error);
                }
            }
        }
    }

    fn failed(&mut self) -> Option<Error> {
        let error = self.failure.take()?;
        let at = self.offset + (self.end - self.start) as u64;
        Some(match error.kind() {
            io::ErrorKind::UnexpectedEof if self.unpacked => self.damaged(at, "the gzip data is cut short"),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if self.unpacked => {
                self.damaged(at, format!("bad gzip data ({error})"))
            }
            _ => Error::Unreadable(error),
        })
    }
}
