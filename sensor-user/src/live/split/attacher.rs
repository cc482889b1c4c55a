//! What needs rights: programs and their hooks, and what /proc tells of others' processes. It answers requests, in the
//! sensor's own process or in one of its own.
//!
//! Who asks is not trusted with more than the requests say: hooks go on interfaces that were asked for at the start and
//! nowhere else, and are chosen here.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::Context as _;
use aya::sys::{Stats, enable_stats};
use serde::{Deserialize, Serialize};

use crate::attribute::ProcessFacts;
use crate::cli::{Role, RunArgs};
use crate::clock;
use crate::config::{Config, Novelty, NoveltyFilter};
use crate::exit::{Code, Error};
use crate::live::attach::Attached;
use crate::live::cost::Runs;
use crate::live::features::Features;
use crate::live::hook::{Hook, Point};
use crate::live::link::{self, Link};
use crate::live::local::{self, Listener};
use crate::live::log::{self, KernelLog};
use crate::live::memory::{self, Memory};
use crate::live::plan::{self, Host};
use crate::live::process::Processes;
use crate::live::source::Choice;
use crate::live::start::{attach_best, cgroup_directory, host, refused};
use crate::live::{clsact, maps, object, permission};

/// Processes told in one answer; each has a path and a command line of 4 KiB at most.
pub(super) const PROCESSES: usize = 256;

/// What can be asked while the sensor runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// An interface that was asked for is there.
    Come(u32),
    /// It is not to be watched any more.
    Leave(u32),
    Renamed(u32),
    XdpLost(u32),
    /// Off all hooks.
    Detach,
    /// Begin or end the count of the programs' run time.
    Count(bool),
    /// Once a second; true: with its memory.
    Tick(bool),
    /// By number and start.
    Process(u32, u64),
    /// Some of them, with numbers above this one.
    Processes(u32),
    /// Path of a cgroup by its id, and a process in it.
    Cgroup(u64, u32),
    User(u32),
    Listeners,
    ResolvConf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Placement(Placement),
    Runs(Result<BTreeMap<String, Runs>, String>),
    Usage(Usage),
    Process(Option<ProcessFacts>),
    Processes(Vec<ProcessFacts>),
    Path(Option<Vec<u8>>),
    User(Option<String>),
    Listeners(Vec<Listener>),
    Text(Vec<u8>),
}

/// Where hooks are after a change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::live) struct Placement {
    /// All that are in force.
    pub(in crate::live) hooks: Vec<Placed>,
    /// Those of the interface in question, in words; where it left, those that were.
    pub(in crate::live) points: Vec<String>,
    pub(in crate::live) refused: Vec<String>,
}

/// A hook in force, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::live) struct Placed {
    pub(in crate::live) hook: String,
    pub(in crate::live) program: String,
    pub(in crate::live) why: String,
    /// Of its interface; 0 where it is on none.
    pub(in crate::live) index: u32,
    pub(in crate::live) is_xdp: bool,
}

/// What this side costs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Usage {
    pub(super) cpu_ns: u64,
    pub(super) memory: Option<Memory>,
}

/// What is in force after the start.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::live) struct Started {
    pub(in crate::live) hooks: Vec<Placed>,
    pub(in crate::live) warnings: Vec<String>,
    pub(in crate::live) owner: Choice,
    /// Interfaces that hooks were chosen by.
    pub(in crate::live) links: Vec<Link>,
    /// Hooks stay in the kernel when the sensor ends.
    pub(in crate::live) stays: bool,
    /// Capabilities that this side keeps, where it is a process of its own.
    pub(super) capabilities: Vec<String>,
}

/// Looked at, and found that the sensor can run.
#[derive(Debug)]
pub(super) struct Prepared {
    request: plan::Request,
    host: Host,
    features: Features,
    cgroup: Option<PathBuf>,
}

/// Refuses what cannot be; the error has the exit code.
pub(super) fn prepare(args: &RunArgs, config: &Config) -> anyhow::Result<Prepared> {
    if object::is_stub() {
        let message =
            "this binary was built without its kernel side: run `cargo xtask setup` and build again";
        return Err(Error::new(Code::NoHook, message).into());
    }
    let request = plan_request(args, config);
    let links = link::links().context("cannot list the network interfaces")?;
    plan::check(&request, &links).map_err(refused)?;
    let cgroup = args.cgroup.as_ref().map(|path| cgroup_directory(path)).transpose()?;
    permission::permitted()?;
    let features = Features::probe();
    let host = host(&features, links, cgroup.clone(), config)?;
    Ok(Prepared { request, host, features, cgroup })
}

/// What was asked for, by the command line and the configuration.
pub(in crate::live) fn plan_request(args: &RunArgs, config: &Config) -> plan::Request {
    plan::Request {
        role: args.role,
        interfaces: args.interfaces.clone(),
        xdp_mode: args.xdp_mode,
        waits: config.live.wait_for_interfaces,
    }
}

pub(in crate::live) struct Attacher {
    attached: Attached,
    /// Behind `attached`, so that it is dropped after the filters.
    clsact: Option<clsact::Lock>,
    request: plan::Request,
    host: Host,
    /// Names of the interfaces that may be watched; of the last default routes where none was named.
    asked: Vec<String>,
    kernel_log: KernelLog,
    /// The kernel counts run time as long as it is open.
    counting: Option<OwnedFd>,
    processes: Processes,
}

impl std::fmt::Debug for Attacher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Attacher").field("attached", &self.attached).finish_non_exhaustive()
    }
}

impl Attacher {
    /// Attaches; also returns the descriptors of the maps that `maps::open` takes.
    pub(super) fn attach(
        prepared: Prepared,
        config: &Config,
    ) -> anyhow::Result<(Self, Started, Vec<OwnedFd>)> {
        let Prepared { request, mut host, features, cgroup } = prepared;
        let (plan, clsact, mut attached) = attach_best(&request, &mut host, &features, config)?;
        if plan.owner.source.is_some() {
            attached.note_open_sockets();
        }
        let descriptors = maps::descriptors(&attached.bpf)?;
        log::to_stderr();
        let kernel_log = KernelLog::take(&mut attached.bpf).context("the kernel programs' log")?;
        memory::trim();
        let cgroup = cgroup.as_deref().or(features.cgroup.as_deref().ok());
        let links = std::mem::take(&mut host.links);
        let asked = if request.interfaces.is_empty() {
            host.default_routes.clone()
        } else {
            request.interfaces.clone()
        };
        let mut attacher = Self {
            attached,
            clsact,
            request,
            host,
            asked,
            kernel_log,
            counting: None,
            processes: Processes::of_machine(cgroup),
        };
        let started = Started {
            hooks: attacher.placed(),
            warnings: std::mem::take(&mut attacher.attached.warnings),
            owner: plan.owner,
            links: links.into_iter().filter(|link| attacher.asked.contains(&link.name)).collect(),
            stays: attacher.attached.pins.is_some(),
            capabilities: Vec::new(),
        };
        Ok((attacher, started, descriptors))
    }

    pub(super) fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Come(index) => Answer::Placement(self.come(index)),
            Request::Leave(index) => {
                let points = self.attached.release(index, |_| true);
                Answer::Placement(self.placement(points.iter().map(Point::to_string).collect()))
            }
            Request::Renamed(index) => {
                if let Ok(Some(link)) = link::numbered(index) {
                    self.attached.rename(index, &link.name);
                }
                Answer::Placement(self.placement_on(index))
            }
            Request::XdpLost(index) => Answer::Placement(self.xdp_lost(index)),
            Request::Detach => {
                self.attached.detach();
                self.attached.hooks.clear();
                Answer::Placement(Placement::default())
            }
            Request::Count(on) => Answer::Runs(self.count(on)),
            Request::Tick(with_memory) => {
                self.kernel_log.drain();
                let memory = with_memory.then(Memory::private);
                Answer::Usage(Usage { cpu_ns: clock::process_cpu_ns(), memory })
            }
            Request::Process(tgid, start) => Answer::Process(self.processes.read(tgid, start)),
            Request::Processes(after) => Answer::Processes(self.processes.snapshot(after, PROCESSES)),
            Request::Cgroup(id, tgid) => Answer::Path(self.processes.cgroup_path(id, tgid)),
            Request::User(uid) => Answer::User(self.processes.user(uid)),
            Request::Listeners => Answer::Listeners(local::listeners("/proc".as_ref())),
            Request::ResolvConf => Answer::Text(local::resolv_conf()),
        }
    }

    fn come(&mut self, index: u32) -> Placement {
        if self.request.interfaces.is_empty() {
            let routes = link::default_route_interfaces();
            // Until another takes its place, what was asked for stays so.
            if !routes.is_empty() {
                self.asked = routes;
            }
        }
        let link = match link::numbered(index) {
            Ok(Some(link)) if self.asked.contains(&link.name) => link,
            Ok(_) => return self.refused(index, "nobody asked for that interface".to_owned()),
            Err(error) => return self.refused(index, error.to_string()),
        };
        let plan = plan::wire(&self.request, &self.host, &link);
        self.place(index, plan.hooks, plan.warnings)
    }

    fn xdp_lost(&mut self, index: u32) -> Placement {
        if self.attached.release(index, is_xdp).is_empty() {
            return self.refused(index, "no XDP program of ours was there".to_owned());
        }
        match link::numbered(index) {
            Ok(Some(link)) => {
                let mut plan = plan::wire(&self.request, &self.host, &link);
                plan.hooks.truncate(1);
                self.place(index, plan.hooks, plan.warnings)
            }
            Ok(None) => self.placement_on(index),
            Err(error) => self.refused(index, error.to_string()),
        }
    }

    fn place(&mut self, index: u32, mut hooks: Vec<Hook>, mut refused: Vec<String>) -> Placement {
        if self.clsact.is_none() && hooks.iter().any(Hook::needs_clsact) {
            match clsact::Lock::take(clsact::DIRECTORY.as_ref()) {
                Ok(lock) => self.clsact = Some(lock),
                Err(error) => {
                    refused.push(error.message);
                    hooks.retain(|hook| !hook.needs_clsact());
                }
            }
        }
        refused.extend(self.attached.add(&hooks));
        Placement { refused, ..self.placement_on(index) }
    }

    fn refused(&self, index: u32, why: String) -> Placement {
        Placement { refused: vec![why], ..self.placement_on(index) }
    }

    fn placement_on(&self, index: u32) -> Placement {
        self.placement(self.attached.points(index).map(Point::to_string).collect())
    }

    fn placement(&self, points: Vec<String>) -> Placement {
        Placement { hooks: self.placed(), points, refused: Vec::new() }
    }

    fn placed(&self) -> Vec<Placed> {
        let placed = |hook: &Hook| Placed {
            hook: hook.point.to_string(),
            program: hook.program.to_owned(),
            why: hook.why.clone(),
            index: self.attached.index_of(&hook.point),
            is_xdp: is_xdp(&hook.point),
        };
        self.attached.hooks.iter().map(placed).collect()
    }

    fn count(&mut self, on: bool) -> Result<BTreeMap<String, Runs>, String> {
        if on && self.counting.is_none() {
            self.counting = Some(enable_stats(Stats::RunTime).map_err(|error| error.to_string())?);
        }
        // Of every program that is loaded; none where the kernel tells nothing of it.
        let runs = |(name, program): (&str, &aya::programs::Program)| {
            let info = program.info().ok()?;
            Some((name.to_owned(), Runs { count: info.run_count(), time: info.run_time() }))
        };
        let runs = self.attached.bpf.programs().filter_map(runs).collect();
        if !on {
            self.counting = None;
        }
        Ok(runs)
    }
}

impl Drop for Attacher {
    fn drop(&mut self) {
        self.kernel_log.drain();
    }
}

fn is_xdp(point: &Point) -> bool {
    matches!(point, Point::XdpNative { .. } | Point::XdpGeneric { .. })
}

/// The part of a configuration that this side needs, as its file would have it.
pub(super) fn part_of(config: &Config, role: Role) -> String {
    let filters = config.filters_repeats(role == Role::Gateway);
    let filter = if filters { NoveltyFilter::On } else { NoveltyFilter::Off };
    let part = Config {
        live: config.live.clone(),
        pipeline: config.pipeline.clone(),
        novelty: Novelty { filter, ..config.novelty.clone() },
        ..Config::default()
    };
    part.to_toml()
}
