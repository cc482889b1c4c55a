//! From what there is here and what is asked for to hooks in force: the plan, the options that the kernel side is loaded
//! with, and what makes way for what where something is refused.

use std::io;
use std::path::{Path, PathBuf};

use sensor_ebpf::abi::{ABI_VERSION, KernelOffsets, Options, feature};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::attach::{self, Attached, Failed};
use super::features::{Feature, Features};
use super::link::{Link, default_route_interfaces};
use super::pins::Pins;
use super::plan::{self, Host, Plan, Refusal, Request};
use super::source::Source;
use super::{cgroup, clsact};
use crate::cli::Role;
use crate::config::{Config, OwnerSource};
use crate::exit::{Code, Error};

/// One of so many repeats passes where a self-limit has the filter on, at least.
const SAMPLE: u64 = 64;

/// What there is here to choose from; an error where the sensor cannot run at all.
pub(super) fn host(
    features: &Features,
    links: Vec<Link>,
    cgroup: Option<PathBuf>,
    config: &Config,
) -> Result<Host, Error> {
    let missing = features.missing();
    if !missing.is_empty() {
        let message =
            format!("Linux {} lacks what the sensor needs: {}", features.release, missing.join(", "));
        return Err(Error::new(Code::NoHook, message));
    }
    Ok(Host {
        links,
        default_routes: default_route_interfaces(),
        cgroup: cgroup.map_or_else(|| features.cgroup.clone(), Ok),
        features: features.present(),
        owners: features.owners(config.live.owner_source.into()),
        exec: features.exec(),
    })
}

/// Plans and attaches; an owner source that fails its probe makes way for the next.
pub(super) fn attach_best(
    request: &Request,
    host: &mut Host,
    features: &Features,
    config: &Config,
) -> anyhow::Result<(Plan, Option<clsact::Lock>, Attached)> {
    let mut clsact = None;
    let mut removed = None;
    let mut news = Vec::new();
    let mut pins = Pins::open(config).unwrap_or_else(|why| {
        news.push(why);
        None
    });
    if let Some(pins) = &pins {
        pins.own_xdp(&mut host.links);
    }
    loop {
        let plan = plan::plan(request, host).map_err(refused)?;
        if clsact.is_none() && !features.has(Feature::Tcx) {
            let (lock, left) = clsact::start(plan.needs_clsact(), &host.links, clsact::DIRECTORY.as_ref())?;
            (clsact, removed) = (lock, left.or(removed));
        }
        match attach::attach(&plan, &options(&plan, features, config, request.role)?, config, &mut pins) {
            Ok(mut attached) => {
                attached.warnings.splice(0..0, removed);
                attached.warnings.splice(0..0, plan.warnings.iter().cloned());
                attached.warnings.append(&mut news);
                return Ok((plan, clsact, attached));
            }
            // Once: then there are none.
            Err(Failed::Pins(why)) => {
                news.push(format!("nothing is kept over a restart: {why}"));
                pins = None;
            }
            // Each is refused once, so this ends.
            Err(Failed::Source(source, why)) => host.owners.refuse(source, why),
            Err(Failed::Other(error)) => return Err(error.into()),
        }
    }
}

/// A directory named with `--cgroup`.
pub(super) fn cgroup_directory(path: &Path) -> Result<PathBuf, Error> {
    if cgroup::is_cgroup2(path) {
        return Ok(path.to_owned());
    }
    let what = if path.exists() { "is no cgroup2 directory" } else { "does not exist" };
    let hint = "name a directory of the cgroup2 hierarchy (`findmnt -t cgroup2` shows where it is mounted)";
    Err(Error::new(Code::Usage, format!("--cgroup {} {what}; {hint}", path.display())))
}

pub(super) fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Usage(message) => Error::new(Code::Usage, message),
        Refusal::NoHook(message) => Error::new(Code::NoHook, message),
    }
}

fn options(plan: &Plan, features: &Features, config: &Config, role: Role) -> io::Result<Options> {
    // The filter is always there: it keeps nothing back before `control` says so, which a self-limit may do at any time.
    let mut bits = feature::DEFAULT | feature::NOVELTY;
    bits |= match plan.owner.source {
        None => 0,
        Some(Source::CurrentTask) => feature::CURRENT_TASK,
        Some(Source::Fentry | Source::Kprobe) => feature::BY_SOCKET,
        Some(Source::SockAddr) => feature::BY_COOKIE,
    };
    if plan.all_sockets {
        bits |= feature::ALL_SOCKETS;
    }
    if features.offsets.is_ok() {
        bits |= feature::OFFSETS;
    }
    if features.task_btf {
        bits |= feature::TASK_BTF;
    }
    let filter = config.filters_repeats(role == Role::Gateway);
    Ok(Options {
        abi_version: ABI_VERSION,
        features: bits,
        lookup_ns: config.pipeline.lookup_ms * 1_000_000,
        // Forced on by a limit, the filter samples.
        novelty_sample: if filter { config.novelty.sample } else { config.novelty.sample.max(SAMPLE) },
        hash_key: random()?,
        offsets: features.offsets.as_ref().map_or_else(|_| KernelOffsets::new_zeroed(), |offsets| *offsets),
        // The sizes of maps are `attach`'s to say.
        ..Options::new_zeroed()
    })
}

impl From<OwnerSource> for Option<Source> {
    fn from(asked: OwnerSource) -> Self {
        match asked {
            OwnerSource::Auto => None,
            OwnerSource::CurrentTask => Some(Source::CurrentTask),
            OwnerSource::Fentry => Some(Source::Fentry),
            OwnerSource::Kprobe => Some(Source::Kprobe),
            OwnerSource::SockAddr => Some(Source::SockAddr),
        }
    }
}

/// From the kernel's generator, so that nobody can aim at the hashes.
pub(super) fn random<const WORDS: usize>() -> io::Result<[u64; WORDS]> {
    let mut words = [0; WORDS];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, words.as_mut_bytes())?;
    Ok(words)
}
