//! Exit codes, and the error that carries one through `anyhow` from any layer to `main`.

use std::{fmt, io, process::ExitCode};

/// What a run ends with; other programs rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done; also for SIGTERM, `--duration` and a reader of stdout that went away.
    Ok = 0,
    /// Unreadable, foreign or damaged input, full disk, any failure without a code of its own.
    Failure = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Findings at or over `--fail-on`.
    Findings = 3,
    /// No usable hook, or a binary without the kernel side (EX_UNAVAILABLE of sysexits.h).
    NoHook = 69,
    /// Not permitted (EX_NOPERM of sysexits.h).
    NotPermitted = 77,
}

/// A message for the operator with the exit code it leads to. An empty message ends the run without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A failed write to stdout: silence and 0 where the reader went away (`earthdog … | head`), else 1 with the cause.
    pub fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Code::Ok, "");
        }
        Self::new(Code::Failure, format!("cannot write to standard output: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Code {
    /// The code an error leads to: that of the `Error` anywhere in its chain, else `Failure`.
    pub fn of(error: &anyhow::Error) -> Self {
        error.downcast_ref::<Error>().map_or(Self::Failure, |error| error.code)
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Ends `main`: the error, if there is one and it has something to say, goes to stderr on one line.
pub fn report(result: anyhow::Result<Code>) -> ExitCode {
    let error = match result {
        Ok(code) => return code.into(),
        Err(error) => error,
    };
    let message = format!("{error:#}");
    if !message.is_empty() {
        // Nothing is left to tell anyone if stderr is gone too.
        let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("earthdog: {message}\n"));
    }
    Code::of(&error).into()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_code_survives_added_context() {
        let error =
            anyhow::Error::new(Error::new(Code::NotPermitted, "needs CAP_BPF")).context("cannot load");
        assert_eq!(Code::of(&error), Code::NotPermitted);
        assert_eq!(format!("{error:#}"), "cannot load: needs CAP_BPF");
        let plain = Err::<(), _>(io::Error::other("disk")).context("store").unwrap_err();
        assert_eq!(Code::of(&plain), Code::Failure);
    }

    #[test]
    fn a_reader_that_left_is_not_a_failure() {
        let gone = Error::stdout(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((gone.code, gone.message.as_str()), (Code::Ok, ""));
        assert_eq!(Error::stdout(&io::ErrorKind::StorageFull.into()).code, Code::Failure);
    }
}
