//! `earthdog attacher`: the process that has the rights. It answers requests on its standard input, a socket from `run`,
//! until that is closed, and then takes everything off.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use super::attacher::{self, Attacher, Request, Started};
use super::wire::{REQUEST_MAX, Wire};
use super::{calls, capabilities};
use crate::cli::RunArgs;
use crate::config::Config;
use crate::exit::{Code, Error};
use crate::live::memory;

/// What it says before it answers requests, once to each of the two first frames.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Ready,
    Started(Started),
    /// Exit code and message.
    Failed(u8, String),
}

/// The second frame: everything that the sensor needs for itself is there.
pub(super) const ATTACH: &str = "attach";

/// Runs until its socket is closed.
pub fn run(args: &RunArgs) -> anyhow::Result<Code> {
    let mut wire = Wire::new(socket()?, REQUEST_MAX);
    // A terminal and a service manager signal both processes; when to end is for the sensor to say, by its end.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals.thread_block()?;
    rustix::thread::set_name(c"earthdog-attach")?;
    let Some(config) = wire.receive::<String>()? else { return Ok(Code::Ok) };
    let config = Config::parse(&config, "its part of the configuration")?;
    let prepared = match attacher::prepare(args, &config) {
        Ok(prepared) => prepared,
        Err(error) => return failed(&mut wire, &error),
    };
    wire.send(&Reply::Ready)?;
    match wire.receive::<String>()? {
        None => return Ok(Code::Ok),
        Some(word) if word == ATTACH => {}
        Some(_) => return Err(unknown()),
    }
    let (mut attacher, mut started, descriptors) = match Attacher::attach(prepared, &config) {
        Ok(attached) => attached,
        Err(error) => return failed(&mut wire, &error),
    };
    started.capabilities = capabilities::keep(&capabilities::OF_ATTACHER)?;
    if let Err(error) = calls::refuse_worst(calls::Who::Attacher) {
        started.warnings.push(format!("the attaching process runs without a seccomp filter: {error}"));
    }
    wire.send_with(&Reply::Started(started), &descriptors)?;
    drop(descriptors);
    // From here on it waits, and needs little of what the start needed.
    memory::trim();
    loop {
        match wire.receive::<Request>() {
            Ok(Some(request)) => wire.send(&attacher.answer(request))?,
            Ok(None) => return Ok(Code::Ok),
            // The sensor is killed in the middle of a word, or is no longer what it was.
            Err(error) => {
                let _ = writeln!(io::stderr(), "earthdog: attaching process: {error}");
                return Ok(Code::Failure);
            }
        }
    }
}

fn failed(wire: &mut Wire, error: &anyhow::Error) -> anyhow::Result<Code> {
    let code = Code::of(error);
    wire.send(&Reply::Failed(code as u8, format!("{error:#}")))?;
    Ok(code)
}

fn unknown() -> anyhow::Error {
    Error::new(Code::Usage, "`attacher` is a part of `earthdog run`, which starts it").into()
}

fn socket() -> anyhow::Result<UnixStream> {
    let input: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let file = std::fs::File::from(input);
    if !file.metadata()?.file_type().is_socket() {
        return Err(unknown());
    }
    Ok(UnixStream::from(OwnedFd::from(file)))
}
