//! Rights kept apart: one process attaches and reads /proc, another reads what is on the wire. The second is the sensor,
//! with everything that packets, files and clients reach; it gives up its capabilities before it opens anything, and
//! keeps within what its configuration names (Landlock) and what it needs to call (seccomp).

mod attacher;
mod calls;
pub(in crate::live) mod capabilities;
mod files;
mod helper;
mod remote;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

pub use helper::run;

pub(in crate::live) use attacher::{Placed, Placement, Started, plan_request};

use super::cost::Runs;
use super::local::Listener;
use super::maps::Maps;
use super::memory::{self, Memory};
use super::ring::Rings;
use crate::attribute::ProcessFacts;
use crate::cli::RunArgs;
use crate::clock;
use crate::config::{Config, Split as Wanted};
use crate::escape::escape;
use crate::exit::{Code, Error};
use attacher::{Answer, Attacher, Prepared, Request, Usage};
use files::{Grants, InForce};
use remote::Remote;

/// How rights are kept here.
#[derive(Clone, Debug, Default)]
pub(in crate::live) struct Privilege {
    /// The attaching process, if there is one.
    helper: Option<u32>,
    /// What it keeps.
    helper_capabilities: Vec<String>,
    /// Why there is none.
    why_not: String,
    /// What this process keeps, where it could give up any.
    capabilities: Vec<String>,
    bounding: u64,
    landlock: Option<InForce>,
    seccomp: bool,
    /// What is not in force although it was wanted, a line each.
    missing: Vec<String>,
    /// CPU time and private memory of the attaching process, when last asked.
    cpu: Duration,
    resident: u64,
}

/// Everything but the hooks is there.
#[derive(Debug)]
pub(in crate::live) struct Begun {
    side: Side,
    privilege: Privilege,
}

#[derive(Debug)]
enum Side {
    Here(Box<Prepared>),
    Apart(Box<Remote>),
}

/// Looks whether the sensor can run here, with rights kept apart where `live.split` asks for it: from then on this process
/// has none. Must be called before there are threads.
pub(in crate::live) fn begin(args: &RunArgs, config: &Config) -> anyhow::Result<Begun> {
    let why_not = match config.live.split {
        Wanted::Off => "live.split = \"off\"".to_owned(),
        wanted => match apart(args, config) {
            Ok((mut remote, privilege)) => {
                remote.prepare(args, config)?;
                return Ok(Begun { side: Side::Apart(Box::new(remote)), privilege });
            }
            Err(why) if wanted == Wanted::On => {
                let message = format!("live.split = \"on\": {why}");
                return Err(Error::new(Code::Failure, message).into());
            }
            Err(why) => why,
        },
    };
    let prepared = attacher::prepare(args, config)?;
    let missing = if config.live.split == Wanted::Off { Vec::new() } else { vec![why_not.clone()] };
    let privilege = Privilege { why_not, missing, ..Privilege::default() };
    Ok(Begun { side: Side::Here(Box::new(prepared)), privilege })
}

/// Starts the other process and gives up what it keeps. An error leaves everything as it was.
fn apart(args: &RunArgs, config: &Config) -> Result<(Remote, Privilege), String> {
    let is_superuser = rustix::process::geteuid().is_root();
    let grants = Grants::of(args.config.as_deref(), config, is_superuser);
    let remote =
        Remote::start(args).map_err(|error| format!("cannot start the attaching process: {error}"))?;
    let failed = |error: std::io::Error| format!("cannot give up capabilities: {error}");
    if is_superuser {
        join_group();
    }
    let mut privilege = Privilege { helper: Some(remote.pid()), ..Privilege::default() };
    let keep: &[capabilities::Row] =
        if capabilities::maps_are_usable_without().map_err(failed)? { &[] } else { &capabilities::OF_PARSER };
    privilege.capabilities = capabilities::keep(keep).map_err(failed)?;
    privilege.missing.extend(privilege.capabilities.iter().map(|name| kept_for_maps(name)));
    privilege.missing.extend(grants.closed().map(|folder| {
        let folder = escape(folder.as_os_str().as_encoded_bytes()).into_owned();
        format!("{folder} is another user's, and without capabilities nothing can be written there: chown it, or live.split = \"off\"")
    }));
    privilege.bounding = capabilities::bounding();
    match files::restrict(&grants) {
        Ok(landlock) => privilege.landlock = Some(landlock),
        Err(why) => privilege.missing.push(without_landlock(&why)),
    }
    match calls::refuse_worst(calls::Who::Parser).and_then(|()| calls::allow_listed()) {
        Ok(()) => privilege.seccomp = true,
        Err(error) => privilege.missing.push(format!("system calls are not restricted: seccomp: {error}")),
    }
    Ok((remote, privilege))
}

/// What of it this kernel has not, a line each; nothing of the calling thread changes.
pub(in crate::live) fn lacking() -> Vec<String> {
    let look = || {
        let mut lacking = Vec::new();
        if let Ok(false) = capabilities::maps_are_usable_without() {
            lacking.push(kept_for_maps(capabilities::OF_PARSER[0].1));
        }
        lacking.extend(files::restrict(&Grants::default()).err().map(|why| without_landlock(&why)));
        lacking
    };
    // Both are a thread's own.
    std::thread::spawn(look).join().unwrap_or_default()
}

fn kept_for_maps(name: &str) -> String {
    let why = "this kernel lets nobody use maps without it (Linux 5.19 and later do)";
    format!("the parsing process keeps {name}: {why}")
}

fn without_landlock(why: &str) -> String {
    format!("files and ports are not restricted: {why}")
}

/// The control socket is for a group, which a file can be given to by its owner if he is of it, without CAP_CHOWN.
fn join_group() {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let (Some(gid), Ok(mut joined)) =
        (super::control::gid(&groups, super::control::GROUP), rustix::process::getgroups())
    else {
        return;
    };
    joined.push(rustix::process::Gid::from_raw(gid));
    // Without the right, the socket says what it lacks.
    let _ = rustix::thread::set_thread_groups(&joined);
}

impl Begun {
    /// Attaches. Must be called inside the runtime.
    pub(in crate::live) fn attach(
        self,
        config: &Config,
    ) -> anyhow::Result<(Privileged, Started, Maps, Rings)> {
        let Self { side, mut privilege } = self;
        let (side, mut started, descriptors) = match side {
            Side::Here(prepared) => {
                let (attacher, started, descriptors) = Attacher::attach(*prepared, config)?;
                (Does::Here(Box::new(attacher)), started, descriptors)
            }
            Side::Apart(mut remote) => {
                let (started, descriptors) = remote.attach()?;
                (Does::Apart(remote), started, descriptors)
            }
        };
        privilege.helper_capabilities = std::mem::take(&mut started.capabilities);
        let (maps, rings) = Maps::open(descriptors)?;
        Ok((Privileged { does: side, privilege }, started, maps, rings))
    }
}

/// What needs rights, wherever it is done.
#[derive(Debug)]
pub(in crate::live) struct Privileged {
    does: Does,
    privilege: Privilege,
}

#[derive(Debug)]
enum Does {
    Here(Box<Attacher>),
    Apart(Box<Remote>),
}

/// Takes the answer that belongs to a request; what the other process says beside it ends the sensor.
macro_rules! ask {
    ($self:ident, $request:expr, $answer:ident) => {
        match $self.ask($request) {
            Some(Answer::$answer(answer)) => Some(answer),
            Some(_) => {
                $self.confused();
                None
            }
            None => None,
        }
    };
}

impl Privileged {
    pub(in crate::live) fn come(&mut self, index: u32) -> Placement {
        ask!(self, Request::Come(index), Placement).unwrap_or_default()
    }

    pub(in crate::live) fn leave(&mut self, index: u32) -> Placement {
        ask!(self, Request::Leave(index), Placement).unwrap_or_default()
    }

    pub(in crate::live) fn renamed(&mut self, index: u32) -> Placement {
        ask!(self, Request::Renamed(index), Placement).unwrap_or_default()
    }

    pub(in crate::live) fn xdp_lost(&mut self, index: u32) -> Placement {
        ask!(self, Request::XdpLost(index), Placement).unwrap_or_default()
    }

    /// Takes every program off its hook; the maps keep what is in them.
    pub(in crate::live) fn detach(&mut self) {
        let _ = ask!(self, Request::Detach, Placement);
    }

    pub(in crate::live) fn count(&mut self, on: bool) -> Result<BTreeMap<String, Runs>, String> {
        ask!(self, Request::Count(on), Runs).unwrap_or_else(|| Err("no answer".to_owned()))
    }

    /// Once a second: passes on what the programs have to say, and looks what the other process costs.
    pub(in crate::live) fn tick(&mut self) {
        self.usage(false);
    }

    /// CPU time of this process and, where there is another, of that.
    pub(in crate::live) fn cpu_ns(&self) -> u64 {
        clock::process_cpu_ns() + self.privilege.cpu.as_nanos() as u64
    }

    /// Of the other process alone.
    pub(in crate::live) fn other_cpu(&self) -> Duration {
        self.privilege.cpu
    }

    /// Of both processes and all maps.
    pub(in crate::live) fn memory(&mut self) -> Memory {
        if let Does::Here(_) = self.does {
            return Memory::now();
        }
        let theirs = self.usage(true).and_then(|usage| usage.memory);
        theirs.map_or_else(Memory::now, |theirs| {
            self.privilege.resident = theirs.resident;
            theirs.beside(memory::own_resident())
        })
    }

    fn usage(&mut self, with_memory: bool) -> Option<Usage> {
        let usage = ask!(self, Request::Tick(with_memory), Usage)?;
        if let Does::Apart(_) = self.does {
            self.privilege.cpu = Duration::from_nanos(usage.cpu_ns);
        }
        Some(usage)
    }

    pub(in crate::live) fn process(&mut self, tgid: u32, start_boot_ns: u64) -> Option<ProcessFacts> {
        ask!(self, Request::Process(tgid, start_boot_ns), Process).flatten()
    }

    /// Processes that run, at most `max`.
    pub(in crate::live) fn processes(&mut self, max: usize, mut take: impl FnMut(ProcessFacts)) {
        let (mut after, mut left) = (0, max);
        while left > 0 {
            let some = ask!(self, Request::Processes(after), Processes).unwrap_or_default();
            let Some(last) = some.last() else { return };
            after = last.tgid;
            for facts in some.into_iter().take(left) {
                left -= 1;
                take(facts);
            }
        }
    }

    pub(in crate::live) fn cgroup_path(&mut self, id: u64, tgid: u32) -> Option<Vec<u8>> {
        ask!(self, Request::Cgroup(id, tgid), Path).flatten()
    }

    pub(in crate::live) fn user(&mut self, uid: u32) -> Option<String> {
        ask!(self, Request::User(uid), User).flatten()
    }

    pub(in crate::live) fn listeners(&mut self) -> Vec<Listener> {
        ask!(self, Request::Listeners, Listeners).unwrap_or_default()
    }

    pub(in crate::live) fn resolv_conf(&mut self) -> Vec<u8> {
        ask!(self, Request::ResolvConf, Text).unwrap_or_default()
    }

    /// Returns once the other process is no more; never where there is none.
    pub(in crate::live) async fn gone(&self) {
        match &self.does {
            Does::Here(_) => std::future::pending().await,
            Does::Apart(remote) => remote.gone().await,
        }
    }

    /// Why the sensor cannot go on without it.
    pub(in crate::live) fn obituary(&mut self) -> Error {
        match &mut self.does {
            Does::Here(_) => Error::new(Code::Failure, "nothing is attached any more"),
            Does::Apart(remote) => remote.obituary(),
        }
    }

    pub(in crate::live) fn privilege(&self) -> &Privilege {
        &self.privilege
    }

    fn ask(&mut self, request: Request) -> Option<Answer> {
        match &mut self.does {
            Does::Here(attacher) => Some(attacher.answer(request)),
            Does::Apart(remote) => remote.ask(&request),
        }
    }

    fn confused(&mut self) {
        if let Does::Apart(remote) = &mut self.does {
            remote.confused();
        }
    }
}

impl Privilege {
    /// For `status`.
    pub(in crate::live) fn json(&self) -> Value {
        json!({
            "split": self.helper.is_some(),
            "why_not": self.helper.is_none().then_some(&self.why_not),
            "capabilities": self.helper.is_some().then_some(&self.capabilities),
            "bounding_is_empty": self.helper.is_some().then_some(self.bounding == 0),
            "landlock_abi": self.landlock.map(|landlock| landlock.abi),
            "tcp_ports": self.landlock.is_some_and(|landlock| landlock.ports),
            "seccomp": self.seccomp,
            "missing": self.missing,
            "helper": self.helper.map(|pid| json!({
                "pid": pid,
                "capabilities": self.helper_capabilities,
                "cpu_seconds": self.cpu.as_secs_f64(),
                "resident": self.resident,
            })),
        })
    }

    /// One line at the start.
    pub(in crate::live) fn line(&self) -> String {
        let Some(pid) = self.helper else {
            return format!("privileges: one process has all of them: {}", self.why_not);
        };
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let files = self.landlock.map_or_else(
            || "no Landlock".to_owned(),
            |InForce { abi, ports }| {
                format!("Landlock ABI {abi}{}", if ports { "" } else { " (files alone)" })
            },
        );
        let calls = if self.seccomp { "seccomp" } else { "no seccomp" };
        format!(
            "privileges: here {}, {files}, {calls}; process {pid} attaches and keeps {}",
            list(&self.capabilities),
            list(&self.helper_capabilities)
        )
    }

    pub(in crate::live) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Whether a file that cannot be read may be one that was not granted at the start.
    pub(in crate::live) fn keeps_files(&self) -> bool {
        self.landlock.is_some()
    }
}

/// What a test has the running sensor try, to see that it cannot: in builds for tests alone.
pub(in crate::live) fn attempt() -> Option<String> {
    use std::os::unix::process::CommandExt as _;
    let what = std::env::var("EARTHDOG_ATTEMPT").ok().filter(|_| cfg!(debug_assertions))?;
    let outcome = match what.as_str() {
        "exec" => Err(std::process::Command::new("/bin/true").exec()),
        "fork" => std::process::Command::new("/bin/true").spawn().map(drop),
        "load" => aya::sys::is_map_supported(aya::maps::MapType::Array).map(drop).map_err(|e| e.io_error),
        "setns" => fs::File::open("/proc/self/ns/net")
            .and_then(|net| nix::sched::setns(net, nix::sched::CloneFlags::CLONE_NEWNET).map_err(Into::into)),
        "packets" => {
            rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::RAW, None)
                .map(drop)
                .map_err(Into::into)
        }
        address if address.starts_with("tcp:") => std::net::TcpStream::connect(&address[4..]).map(drop),
        path => match path.strip_prefix("write:") {
            Some(path) => fs::write(path, "x"),
            None => fs::File::open(path).map(drop),
        },
    };
    Some(format!(
        "attempt {what}: {}",
        outcome.map_or_else(|error| error.to_string(), |()| "done".to_owned())
    ))
}
