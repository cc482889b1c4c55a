//! The attaching process, as the sensor has it: started from this same binary, asked over a socket, waited for at the end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::attacher::{self, Answer, Request, Started};
use super::helper::{ATTACH, Reply};
use super::wire::{ANSWER_MAX, Wire};
use crate::cli::RunArgs;
use crate::config::Config;
use crate::exit::{Code, Error};

/// For an answer: the slowest walks all of /proc, for a second at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// For its end, in which it takes its hooks off.
const END: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

#[derive(Debug)]
pub(in crate::live) struct Remote {
    wire: Option<Wire>,
    /// Closed by the end of the process, and nothing else.
    life: Life,
    child: Child,
    /// Why there will be no more answers.
    broken: Option<String>,
}

#[derive(Debug)]
enum Life {
    Before(UnixStream),
    Watched(tokio::net::UnixStream),
}

impl Remote {
    /// Starts the process, which has the rights of this one.
    pub(super) fn start(args: &RunArgs) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let (life, their_life) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("earthdog").arg("attacher").args(arguments(args)).env_clear();
        command.stdin(OwnedFd::from(theirs)).stdout(OwnedFd::from(their_life)).stderr(Stdio::inherit());
        let child = command.spawn()?;
        Ok(Self { wire: Some(Wire::new(ours, ANSWER_MAX)), life: Life::Before(life), child, broken: None })
    }

    /// Has it look whether the sensor can run here.
    pub(super) fn prepare(&mut self, args: &RunArgs, config: &Config) -> anyhow::Result<()> {
        self.say(&attacher::part_of(config, args.role))?;
        match self.reply()?.0 {
            Reply::Ready => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Has it attach. Must be called inside the runtime.
    pub(super) fn attach(&mut self) -> anyhow::Result<(Started, Vec<OwnedFd>)> {
        self.say(&ATTACH.to_owned())?;
        let (started, descriptors) = match self.reply()? {
            (Reply::Started(started), descriptors) => (started, descriptors),
            (other, _) => return Err(unexpected(other)),
        };
        if let Some(wire) = &self.wire {
            wire.wait_for(PATIENCE)?;
        }
        if let Life::Before(life) = &self.life {
            let life = life.try_clone()?;
            life.set_nonblocking(true)?;
            self.life = Life::Watched(tokio::net::UnixStream::from_std(life)?);
        }
        Ok((started, descriptors))
    }

    fn say(&mut self, words: &String) -> anyhow::Result<()> {
        let said =
            self.wire.as_mut().map_or(Err(io::ErrorKind::NotConnected.into()), |wire| wire.send(words));
        said.map_err(|error| self.ended(&error.to_string()).into())
    }

    fn reply(&mut self) -> anyhow::Result<(Reply, Vec<OwnedFd>)> {
        let received =
            self.wire.as_mut().map_or(Err(io::ErrorKind::NotConnected.into()), Wire::receive_with::<Reply>);
        match received {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.ended("it closed its socket").into()),
            Err(error) => Err(self.ended(&error.to_string()).into()),
        }
    }

    /// `None` if it will never answer again.
    pub(super) fn ask(&mut self, request: &Request) -> Option<Answer> {
        if self.broken.is_some() {
            return None;
        }
        let wire = self.wire.as_mut()?;
        let answer = wire.send(request).and_then(|()| wire.receive::<Answer>());
        let why = match answer {
            Ok(Some(answer)) => return Some(answer),
            Ok(None) => "it closed its socket".to_owned(),
            Err(error) => error.to_string(),
        };
        self.broken = Some(why);
        None
    }

    /// An answer to another question than the one asked.
    pub(super) fn confused(&mut self) {
        self.broken.get_or_insert_with(|| "it answered another question".to_owned());
    }

    /// Returns once the process has ended, or does not answer as it should.
    pub(super) async fn gone(&self) {
        let Life::Watched(life) = &self.life else { return std::future::pending().await };
        while self.broken.is_none() {
            if life.readable().await.is_err() {
                return;
            }
            match life.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }

    /// Why the sensor ends with it.
    pub(super) fn obituary(&mut self) -> Error {
        let why = self.broken.clone().unwrap_or_else(|| "it ended".to_owned());
        self.ended(&why)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ended(&mut self, why: &str) -> Error {
        // Its end is a moment after that of its socket.
        self.wire = None;
        let status = if self.has_ended() { self.child.wait().ok() } else { None };
        let how = match status {
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("killed by signal {signal}"),
                (None, code) => format!("with exit code {}", code.unwrap_or_default()),
            },
            None => why.to_owned(),
        };
        self.broken.get_or_insert_with(|| how.clone());
        let message = format!(
            "the attaching process (pid {}) ended: {how}; without it nothing is attached any more",
            self.child.id()
        );
        Error::new(Code::Failure, message)
    }

    fn has_ended(&self) -> bool {
        let life = match &self.life {
            Life::Before(life) => PollFd::new(life, PollFlags::IN),
            Life::Watched(life) => PollFd::new(life, PollFlags::IN),
        };
        matches!(poll(&mut [life], Some(&END)), Ok(1..))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It ends by this, and is waited for: hooks are off when the sensor is gone.
        if let Some(wire) = self.wire.take() {
            wire.close();
        }
        if self.has_ended() {
            let _ = self.child.wait();
        }
    }
}

fn unexpected(reply: Reply) -> anyhow::Error {
    let (code, message) = match reply {
        Reply::Failed(code, message) => (code, message),
        _ => (Code::Failure as u8, "the attaching process is of another version".to_owned()),
    };
    let codes = [Code::Ok, Code::Usage, Code::NoHook, Code::NotPermitted];
    let code = codes.into_iter().find(|known| *known as u8 == code).unwrap_or(Code::Failure);
    Error::new(code, message).into()
}

/// What of the command line it needs.
fn arguments(args: &RunArgs) -> Vec<std::ffi::OsString> {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let mut list = vec![
        format!("--role={}", name(args.role.to_possible_value())).into(),
        format!("--xdp-mode={}", name(args.xdp_mode.to_possible_value())).into(),
    ];
    list.extend(args.interfaces.iter().map(|interface| format!("--interface={interface}").into()));
    if let Some(path) = &args.cgroup {
        list.extend(["--cgroup".into(), path.clone().into_os_string()]);
    }
    list
}
