//! Batches of lines by HTTP POST (RFC 9112). A batch is delivered when the server answers 2xx, and not before.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::wire::{Target, Wire};
use super::{Outlet, Trouble};
use crate::clock;
use crate::config::sinks::Url;
use crate::escape::escape;
use crate::sink::tally::Loss;
use crate::sink::worker::Frame;

/// Of an answer: its head, and how much of its body is read for the connection to be used again.
const HEAD_MAX: u64 = 16 << 10;
const BODY_MAX: u64 = 64 << 10;
/// Bytes of a request, but for a single record.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Http {
    url: Url,
    target: Target,
    token: Option<String>,
    most: usize,
    timeout: Duration,
    /// Fewer than `most` after the server would not take so many.
    now: usize,
    wire: Option<BufReader<Wire>>,
}

/// The first line of a file, for the Authorization field.
pub(super) fn token(path: &str) -> Result<Option<String>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let refused = |why: &str| format!("sink.token_file = \"{}\": {why}", escape(path));
    let text = fs::read_to_string(path)
        .map_err(|error| refused(&format!("{error}; name a file that can be read")))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || !line.chars().all(|c| c.is_ascii_graphic()) {
        return Err(refused("its first line is no token: use letters, digits and signs"));
    }
    Ok(Some(line.to_owned()))
}

impl Http {
    pub(super) fn new(
        url: Url,
        tls: Option<Arc<ClientConfig>>,
        token: Option<String>,
        most: usize,
        timeout: Duration,
    ) -> Self {
        let target = Target::Inet { host: url.host.clone(), port: url.port, tls };
        Self { url, target, token, most, timeout, now: most, wire: None }
    }

    /// The status of the answer.
    fn post(&mut self, body: &[u8]) -> io::Result<u16> {
        // A server may close what it has not used for a while: once more then, on a new connection.
        if let Some(wire) = self.wire.take_if(|wire| !wire.get_mut().is_closed())
            && let Ok(status) = self.exchange(wire, body)
        {
            return Ok(status);
        }
        let wire = BufReader::new(Wire::connect(&self.target, self.timeout)?);
        self.exchange(wire, body)
    }

    fn exchange(&mut self, mut wire: BufReader<Wire>, body: &[u8]) -> io::Result<u16> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: earthdog/{}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n",
            self.url.path,
            self.url.authority,
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        if let Some(token) = &self.token {
            let _ = write!(head, "Authorization: Bearer {token}\r\n");
        }
        head.push_str("\r\n");
        wire.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        wire.get_mut().flush()?;
        let (status, body) = answer(&mut wire, self.timeout)?;
        let reusable = match body {
            Some(length) if length <= BODY_MAX => {
                io::copy(&mut wire.by_ref().take(length), &mut io::sink())? == length
            }
            _ => false,
        };
        self.wire = reusable.then_some(wire);
        Ok(status)
    }
}

/// Status and length of the body, where the connection can be used again.
fn answer(wire: &mut BufReader<Wire>, timeout: Duration) -> io::Result<(u16, Option<u64>)> {
    let until = clock::monotonic() + timeout;
    let bad = |what: &str| io::Error::other(format!("its answer is no HTTP: {what}"));
    loop {
        let mut left = HEAD_MAX;
        let mut line = || -> io::Result<String> {
            if clock::monotonic() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut line = Vec::new();
            let got = wire.by_ref().take(left).read_until(b'\n', &mut line)?;
            left -= got as u64;
            if line.pop() != Some(b'\n') {
                return Err(if got == 0 { io::ErrorKind::UnexpectedEof.into() } else { bad("no line end") });
            }
            String::from_utf8(line).map(|line| line.trim_end().to_owned()).map_err(|_| bad("no text"))
        };
        let first = line()?;
        let status =
            first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
        let status = status.filter(|status| (100..600).contains(status)).ok_or_else(|| bad("no status"))?;
        let (mut length, mut goes_on) = (None, first.starts_with("HTTP/1.1"));
        loop {
            let field = line()?;
            if field.is_empty() {
                break;
            }
            let (name, value) = field.split_once(':').ok_or_else(|| bad("no field"))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close") {
                goes_on = false;
            }
        }
        match status {
            // To be continued.
            100..200 => {}
            204 => return Ok((status, goes_on.then_some(0))),
            _ => return Ok((status, length.filter(|_| goes_on))),
        }
    }
}

impl Outlet for Http {
    fn send(&mut self, frames: &[Frame]) -> Result<usize, (usize, Trouble)> {
        let mut count = 0;
        let mut body = Vec::new();
        for frame in frames.iter().take(self.now.max(1)) {
            if count > 0 && body.len() + frame.bytes.len() > BATCH_BYTES {
                break;
            }
            body.extend(&frame.bytes);
            count += 1;
        }
        match self.post(&body) {
            Ok(200..300) => {
                self.now = (self.now * 2).min(self.most);
                Ok(count)
            }
            // The request itself is what it does not like: fewer at once, and then not that one.
            Ok(400 | 413 | 422) if count > 1 => {
                self.now = count / 2;
                Ok(0)
            }
            Ok(400 | 413 | 422) => Err((0, Trouble::Never(Loss::Refused))),
            Ok(status) => Err((0, Trouble::Down(format!("the server answers {status}")))),
            Err(error) => Err((0, Trouble::Down(format!("no answer: {error}")))),
        }
    }
}
