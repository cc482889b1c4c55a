//! Loads what the plan asks for and attaches it. Everything belongs to this process: dropping `Attached`, or dying in
//! any way, detaches it. Exceptions are clsact filters (before 6.6), which `clean` removes, and what `pins` keeps.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{Array, HashMap};
use aya::programs::links::{FdLink, LinkError, LinkOrder};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, FEntry, KProbe, Program, ProgramError,
    RawTracePoint, SchedClassifier, TcAttachType, Xdp, XdpMode,
};
use aya::{Btf, Ebpf, EbpfLoader};
use sensor_ebpf::abi::{ABI_VERSION, FLOW_PLACES, Options, OwnerEntry};
use zerocopy::IntoBytes;

use super::features::{chain, os_error};
use super::held::{Grip, Held};
use super::hook::{Hook, Point};
use super::link::Link;
use super::pins::Pins;
use super::plan::{Plan, SEND_PATH};
use super::source::Source;
use super::{maps, object, self_probe, snapshot};
use crate::config::Config;
use crate::exit::{Code, Error};

/// Loaded maps and programs with their links. Dropped, everything is detached.
#[derive(Debug)]
pub struct Attached {
    pub bpf: Ebpf,
    /// What is in force; a fallback stands in the place of what was refused.
    pub hooks: Vec<Hook>,
    pub warnings: Vec<String>,
    /// What stays for the next run, where that is asked for.
    pub pins: Option<Pins>,
    /// What holds the hooks on interfaces.
    pub(super) held: Vec<Held>,
    /// The kernel's types as fentry needs them, while programs are attached.
    btf: Option<Btf>,
}

/// Priority and handle of our clsact filters: together they are ours alone, and a small priority runs before filters
/// that end the walk. 53 for the port; `tc filter show` prints them as `pref 53 … handle 0xed09`.
const PRIORITY: u16 = 53;
const HANDLE: TcHandle = TcHandle::new(0, 0xed09);

/// Why nothing is attached.
#[derive(Debug)]
pub enum Failed {
    /// The owner source does not work here, or not truly; another one may.
    Source(Source, String),
    /// The maps cannot be kept, or what was kept cannot be taken over.
    Pins(String),
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Loads the object with its options and carries the plan out. The owner source comes first and proves itself before
/// any packet is looked at.
pub fn attach(
    plan: &Plan,
    options: &Options,
    config: &Config,
    pins: &mut Option<Pins>,
) -> Result<Attached, Failed> {
    let live = &config.live;
    let kib = |value: u64| u32::try_from(value.saturating_mul(1024)).unwrap_or(1 << 31);
    let flow_sets = maps::flow_sets(live.flow_entries);
    let novelty_sets = maps::novelty_sets(options.features, config.novelty.entries);
    let mut options = Options { flow_sets, novelty_sets, ..*options };
    options.hash_key = pins.as_ref().and_then(Pins::hash_key).unwrap_or(options.hash_key);
    let mut loader = EbpfLoader::new();
    if let Some(pins) = pins {
        pins.maps(&mut loader);
    }
    let mut bpf = loader
        .override_global("OPTIONS", options.as_bytes(), true)
        .map_max_entries("RING_ALERT", kib(live.alert_ring_kib))
        .map_max_entries("RING_BULK", kib(live.bulk_ring_kib))
        .map_max_entries("OWNERS", u32::try_from(live.owner_entries).unwrap_or(u32::MAX))
        .map_max_entries("FLOW_SETS", flow_sets)
        .map_max_entries("FLOWS", flow_sets * FLOW_PLACES as u32)
        .map_max_entries("NOVELTY_NAMES", novelty_sets)
        .map_max_entries("NOVELTY_REPEATS", novelty_sets)
        .load(object::BYTES)
        .map_err(|error| {
            let why = format!("cannot load the kernel side: {}", chain(&error));
            if pins.is_some() { Failed::Pins(why) } else { Error::new(code_of(&error), why).into() }
        })?;
    check_abi(&bpf)?;
    if pins.is_some() {
        let map = bpf.map_mut("HASH_KEY");
        let kept = map.map(|map| Pins::keep_hash_key(map, &options.hash_key));
        if !matches!(kept, Some(Ok(()))) {
            return Err(Failed::Pins(format!("the key of the hashes: {kept:?}")));
        }
    }
    let mut attached = Attached {
        bpf,
        hooks: Vec::new(),
        warnings: Vec::new(),
        pins: pins.take(),
        held: Vec::new(),
        btf: None,
    };
    if let Err(error) = attached.carry_out(plan) {
        *pins = attached.pins.take();
        return Err(error);
    }
    Ok(attached)
}

/// Refuses an object whose records this binary would read wrong.
fn check_abi(bpf: &Ebpf) -> Result<(), Error> {
    let version =
        bpf.map("ABI").and_then(|map| Array::<_, u32>::try_from(map).ok()).map_or(0, |abi| abi.len());
    if version == ABI_VERSION {
        return Ok(());
    }
    let message = format!(
        "the kernel programs speak ABI {version}, this binary {ABI_VERSION}: build both from one tree"
    );
    Err(Error::new(Code::NoHook, message))
}

/// Removes clsact filters of a sensor that was killed before 6.6; returns where there were any.
pub fn clean(links: &[Link]) -> Vec<String> {
    let mut removed = Vec::new();
    for link in links {
        for (direction, name) in [(TcAttachType::Ingress, "ingress"), (TcAttachType::Egress, "egress")] {
            if remove_filter(&link.name, direction) {
                removed.push(format!("clsact {name} {}", link.name));
            }
        }
    }
    removed
}

impl Attached {
    fn carry_out(&mut self, plan: &Plan) -> Result<(), Failed> {
        for hook in &plan.hooks {
            // The verifier takes 0.1 s and more for each program: all are loaded before the first is attached, or one
            // direction would be seen for a while without the other. What is refused here is told when it is to be attached.
            let _ = self.load(hook);
        }
        let (senders, others): (Vec<_>, Vec<_>) =
            plan.hooks.iter().partition(|hook| hook.point.notes_senders());
        if let Some(source) = plan.owner.source {
            for hook in senders {
                self.sender_hook(hook, source)?;
            }
            self.btf = None;
            self_probe::check(&mut self.bpf, source).map_err(|why| Failed::Source(source, why))?;
        }
        for hook in others {
            self.hook(hook)?;
        }
        if !plan.waits && !self.hooks.iter().any(|hook| hook.point.sees_packets()) {
            let reasons = self.warnings.join("; ");
            return Err(Error::new(Code::NoHook, format!("no usable hook: {reasons}")).into());
        }
        if let Some(pins) = &mut self.pins {
            pins.sweep();
            self.warnings.append(&mut pins.notes);
        }
        Ok(())
    }

    /// Takes every program off its hook; maps that were taken out keep what is in them.
    pub fn detach(&mut self) {
        if let Some(pins) = &mut self.pins {
            pins.detach();
        }
        self.held.clear();
        for (_, program) in self.bpf.programs_mut() {
            // An error says that it was never loaded, or that its interface is gone.
            let _ = match program {
                Program::Xdp(program) => program.unload(),
                Program::SchedClassifier(program) => program.unload(),
                Program::CgroupSkb(program) => program.unload(),
                Program::RawTracePoint(program) => program.unload(),
                Program::KProbe(program) => program.unload(),
                Program::FEntry(program) => program.unload(),
                Program::CgroupSockAddr(program) => program.unload(),
                _ => Ok(()),
            };
        }
    }

    /// Fills in who holds the sockets that talked to port 53 before the hooks were there. What a hook saw since stays.
    pub fn note_open_sockets(&mut self) {
        const BPF_NOEXIST: u64 = 1;
        let snapshot = snapshot::take();
        self.warnings.extend(snapshot.warnings);
        let Some(Ok(mut owners)) =
            self.bpf.map_mut("OWNERS").map(HashMap::<_, u64, [u8; size_of::<OwnerEntry>()]>::try_from)
        else {
            return self.warnings.push("the kernel side has no map `OWNERS`: build it again".into());
        };
        for (cookie, entry) in snapshot.owners {
            // Refused where a hook was first.
            let entry: [u8; size_of::<OwnerEntry>()] = zerocopy::transmute!(entry);
            let _ = owners.insert(cookie, entry, BPF_NOEXIST);
        }
        if snapshot.shared > 0 {
            self.warnings.push(format!(
                "{} sockets to port 53 were open before the start and are held by several processes: no owner until one \
                 sends",
                snapshot.shared
            ));
        }
    }

    /// Loads a hook's program, once: it may go to several places.
    fn load(&mut self, hook: &Hook) -> Result<(), ProgramError> {
        let program = self.bpf.program_mut(hook.program).ok_or(ProgramError::NotLoaded)?;
        let loaded = match (program, &hook.point) {
            (Program::Xdp(program), _) => program.load(),
            (Program::SchedClassifier(program), _) => program.load(),
            (Program::CgroupSkb(program), _) => program.load(),
            (Program::CgroupSockAddr(program), _) => program.load(),
            (Program::RawTracePoint(program), _) => program.load(),
            (Program::KProbe(program), _) => program.load(),
            (Program::FEntry(program), Point::Fentry { function }) => {
                program.load(function, vmlinux(&mut self.btf)?)
            }
            _ => Err(ProgramError::NotLoaded),
        };
        match loaded {
            Err(ProgramError::AlreadyLoaded) => Ok(()),
            other => other,
        }
    }

    /// A hook of the owner source: without the first function there is none, without another less is known.
    fn sender_hook(&mut self, hook: &Hook, source: Source) -> Result<(), Failed> {
        match self.place(hook) {
            Ok(()) => self.hooks.push(hook.clone()),
            Err(error) => {
                let refused = format!("{} was refused: {}", hook.point, reason(&error));
                let optional = match hook.point {
                    Point::Kprobe { function } | Point::Fentry { function } => function != SEND_PATH[0].0,
                    _ => false,
                };
                if !optional {
                    return Err(Failed::Source(source, refused));
                }
                self.warnings.push(refused);
            }
        }
        Ok(())
    }

    pub(super) fn hook(&mut self, hook: &Hook) -> Result<(), Error> {
        let error = match self.place(hook) {
            Ok(()) => {
                self.hooks.push(hook.clone());
                return Ok(());
            }
            Err(error) => error,
        };
        let refused = format!("{} was refused: {}", hook.point, reason(&error));
        if let Some(fallback) = &hook.fallback {
            self.warnings.push(format!("{refused}; using {}", fallback.point));
            return self.hook(fallback);
        }
        match hook.point {
            // Chosen by hand: doing something else would be no answer.
            Point::XdpNative { .. } | Point::XdpGeneric { .. } => {
                let message = format!("{refused}; use --xdp-mode auto or tcx");
                Err(Error::new(code_of(&error), message))
            }
            _ => {
                self.warnings.push(refused);
                Ok(())
            }
        }
    }

    fn place(&mut self, hook: &Hook) -> Result<(), ProgramError> {
        self.load(hook)?;
        if let Some(pin) = self.renewed(hook)? {
            return self.hold(hook, Grip::Pin(pin));
        }
        match &hook.point {
            Point::XdpNative { interface } => self.xdp(hook, interface, XdpMode::Driver),
            Point::XdpGeneric { interface } => self.xdp(hook, interface, XdpMode::Skb),
            Point::TcxIngress { interface } => self.tcx(hook, interface, TcAttachType::Ingress),
            Point::TcxEgress { interface } => self.tcx(hook, interface, TcAttachType::Egress),
            Point::ClsactIngress { interface } => self.clsact(hook, interface, TcAttachType::Ingress),
            Point::ClsactEgress { interface } => self.clsact(hook, interface, TcAttachType::Egress),
            Point::CgroupEgress { path } => self.cgroup(hook, path, CgroupSkbAttachType::Egress),
            Point::CgroupIngress { path } => self.cgroup(hook, path, CgroupSkbAttachType::Ingress),
            Point::SockAddr { path, .. } => {
                let cgroup = File::open(path).map_err(ProgramError::IOError)?;
                let program: &mut CgroupSockAddr = self.program(hook.program)?;
                let id = program.attach(cgroup, CgroupAttachMode::Single)?;
                self.keep(hook, |program: &mut CgroupSockAddr| program.take_link(id))
            }
            Point::Kprobe { function } => {
                let program: &mut KProbe = self.program(hook.program)?;
                program.attach(function, 0).map(drop)
            }
            Point::Fentry { .. } => {
                let program: &mut FEntry = self.program(hook.program)?;
                program.attach().map(drop)
            }
            Point::Process { tracepoint } => {
                let program: &mut RawTracePoint = self.program(hook.program)?;
                program.attach(tracepoint).map(drop)
            }
        }
    }

    /// Puts the program into the link that the run before left there, if it did.
    fn renewed(&mut self, hook: &Hook) -> Result<Option<String>, ProgramError> {
        let Self { pins: Some(pins), bpf, .. } = self else { return Ok(None) };
        if !Pins::takes(hook) {
            return Ok(None);
        }
        let program = bpf.program(hook.program).ok_or(ProgramError::NotLoaded)?;
        Ok(pins.renew(hook, program.fd()?.as_fd()))
    }

    /// Leaves the link that a program has just been given to the next run, where there are pins.
    fn keep<'a, P: 'a, L>(
        &'a mut self,
        hook: &Hook,
        take: impl FnOnce(&'a mut P) -> Result<L, ProgramError>,
    ) -> Result<(), ProgramError>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
        FdLink: TryFrom<L, Error = LinkError>,
    {
        let Self { pins: Some(pins), bpf, .. } = self else { return Ok(()) };
        let program = bpf.program_mut(hook.program).ok_or(ProgramError::NotLoaded)?;
        let link = take(program.try_into()?)?;
        let link = FdLink::try_from(link).map_err(|error| ProgramError::IOError(io::Error::other(error)))?;
        pins.keep(hook, link).map(drop).map_err(ProgramError::IOError)
    }

    fn xdp(&mut self, hook: &Hook, interface: &str, mode: XdpMode) -> Result<(), ProgramError> {
        let program: &mut Xdp = self.program(hook.program)?;
        let id = program.attach(interface, mode)?;
        let link = program.take_link(id)?;
        self.hold_link(hook, link, Grip::Xdp)
    }

    /// First in line: our return value lets every program behind run, but one before us may end the walk.
    fn tcx(&mut self, hook: &Hook, interface: &str, direction: TcAttachType) -> Result<(), ProgramError> {
        let program: &mut SchedClassifier = self.program(hook.program)?;
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(interface, direction, first)?;
        let link = program.take_link(id)?;
        self.hold_link(hook, link, Grip::Tc)
    }

    /// A qdisc that is there stays there, and one that we add too: others may have put filters on it by the time we go.
    fn clsact(&mut self, hook: &Hook, interface: &str, direction: TcAttachType) -> Result<(), ProgramError> {
        match qdisc_add_clsact(interface) {
            Ok(()) => {}
            Err(error) if os_error(&error) == Some(libc::EEXIST) => {
                remove_filter(interface, direction);
            }
            Err(error) => return Err(error.into()),
        }
        let program: &mut SchedClassifier = self.program(hook.program)?;
        let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
        let id = program.attach_with_options(interface, direction, TcAttachOptions::Netlink(options))?;
        let link = program.take_link(id)?;
        self.hold(hook, Grip::Tc(link))
    }

    fn cgroup(
        &mut self,
        hook: &Hook,
        path: &Path,
        direction: CgroupSkbAttachType,
    ) -> Result<(), ProgramError> {
        let cgroup = File::open(path).map_err(ProgramError::IOError)?;
        let program: &mut CgroupSkb = self.program(hook.program)?;
        // aya attaches by link from 5.7 on, and a link always allows others beside it: the kernel sets
        // BPF_F_ALLOW_MULTI itself and refuses to be given it (kernel/bpf/cgroup.c, cgroup_bpf_link_attach).
        let id = program.attach(cgroup, direction, CgroupAttachMode::Single)?;
        self.keep(hook, |program: &mut CgroupSkb| program.take_link(id))
    }

    fn program<'a, P>(&'a mut self, name: &str) -> Result<&'a mut P, ProgramError>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        self.bpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()
    }
}

/// Parsed once: it takes tens of milliseconds.
fn vmlinux(btf: &mut Option<Btf>) -> Result<&Btf, ProgramError> {
    match btf {
        Some(btf) => Ok(btf),
        None => Ok(btf.insert(Btf::from_sys_fs()?)),
    }
}

fn remove_filter(interface: &str, direction: TcAttachType) -> bool {
    SchedClassifierLink::attached(interface, direction, PRIORITY, HANDLE, None)
        .is_ok_and(|link| aya::programs::Link::detach(link).is_ok())
}

fn code_of(error: &(dyn std::error::Error + 'static)) -> Code {
    match os_error(error) {
        // EACCES is the verifier's word for a program that it rejects.
        Some(libc::EPERM) => Code::NotPermitted,
        _ => Code::NoHook,
    }
}

/// In a line: a verifier log has thousands, of which the last but one says what is wrong.
fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return chain(error) };
    let log = verifier_log.to_string();
    let last = log.lines().rev().find(|line| {
        let line = line.trim();
        !line.is_empty()
            && !["processed ", "max_states", "peak_states", "verification time", "stack depth"]
                .iter()
                .any(|p| line.starts_with(p))
    });
    last.map_or_else(|| io_error.to_string(), |line| format!("{io_error} ({})", line.trim()))
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::{KernelOffsets, feature};
    use zerocopy::FromZeros as _;

    use super::super::source::{Choice, Offer};
    use super::super::{btf, clsact, features, link, permission, plan};
    use super::*;

    /// Runs in a network namespace of its own; false, aloud, where that or bpf() is not permitted.
    #[allow(unsafe_code)] // unshare() has no safe binding
    fn in_namespace(test: impl FnOnce() + Send + 'static) -> bool {
        let run = move || {
            // SAFETY: no pointers; only this thread moves into the new namespace.
            let alone = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
            if object::is_stub() || !alone || permission::permitted().is_err() {
                let why = "no permission for bpf() and namespaces, or no kernel side in this build";
                features::skip_or_fail(why);
                return false;
            }
            test();
            true
        };
        std::thread::spawn(run).join().expect("the test passes")
    }

    fn hook(program: &'static str, point: Point) -> Hook {
        Hook { program, point, why: "test".into(), fallback: None }
    }

    fn options() -> Options {
        let mut options = Options::new_zeroed();
        options.features = feature::DEFAULT;
        options
    }

    fn attach_all(hooks: Vec<Hook>) -> Result<Attached, Error> {
        let plan = Plan { hooks, ..Plan::default() };
        attach(&plan, &options(), &Config::default(), &mut None).map_err(|failed| match failed {
            Failed::Other(error) => error,
            Failed::Pins(why) => panic!("{why}"),
            Failed::Source(source, why) => panic!("{source:?}: {why}"),
        })
    }

    #[test]
    fn a_clsact_filter_that_was_left_behind_is_replaced_and_cleaned() {
        in_namespace(|| {
            let lo = || "lo".to_owned();
            let both = || {
                vec![
                    hook("tc_ingress", Point::ClsactIngress { interface: lo() }),
                    hook("tc_egress", Point::ClsactEgress { interface: lo() }),
                ]
            };
            let links = link::links().unwrap();
            assert!(clean(&links).is_empty());
            let killed = attach_all(both()).unwrap();
            assert_eq!(killed.hooks.len(), 2, "{:?}", killed.warnings);
            std::mem::forget(killed); // as kill -9: nobody takes the filters away
            let second = attach_all(both()).unwrap();
            assert_eq!((second.hooks.len(), second.warnings.len()), (2, 0), "{:?}", second.warnings);
            std::mem::forget(second);
            assert_eq!(clean(&links), ["clsact ingress lo", "clsact egress lo"]);
            assert!(clean(&links).is_empty());
            drop(attach_all(both()).unwrap());
            assert!(clean(&links).is_empty(), "an ordered end takes them away");
        });
    }

    #[test]
    fn detached_hooks_are_gone_and_the_maps_stay() {
        in_namespace(|| {
            let clsact = hook("tc_ingress", Point::ClsactIngress { interface: "lo".into() });
            let xdp = hook("xdp_dns", Point::XdpGeneric { interface: "lo".into() });
            let mut attached = attach_all(vec![clsact, xdp]).unwrap();
            assert_eq!(attached.hooks.len(), 2, "{:?}", attached.warnings);
            let (maps, mut rings) = maps::Maps::open(maps::descriptors(&attached.bpf).unwrap()).unwrap();
            attached.detach();
            let links = link::links().unwrap();
            assert!(links[0].xdp.is_none() && clean(&links).is_empty());
            let clock = crate::clock::BootClock::new();
            assert!(!rings.drain(&clock, crate::clock::boot_ns(), &mut |event| panic!("{event:?}")));
            assert_eq!(maps::lost(&maps.counters()), 0);
            attached.detach();
        });
    }

    #[test]
    fn a_living_sensor_keeps_its_clsact_filters_and_a_killed_one_does_not() {
        in_namespace(|| {
            let directory = tempfile::tempdir().unwrap();
            let directory = directory.path().join("run");
            let links = link::links().unwrap();
            let start = |needed| clsact::start(needed, &links, &directory);
            let (lock, removed) = start(true).unwrap();
            assert!(lock.is_some() && removed.is_none());
            let filter = hook("tc_ingress", Point::ClsactIngress { interface: "lo".into() });
            std::mem::forget(attach_all(vec![filter]).unwrap()); // as kill -9, but for the lock

            let other = start(true).unwrap_err();
            assert_eq!(other.code, Code::Failure);
            assert!(other.message.contains("another sensor"), "{}", other.message);
            assert!(matches!(start(false), Ok((None, None))), "who needs no clsact runs beside it");
            let elsewhere = directory.clone();
            in_namespace(move || drop(clsact::Lock::take(&elsewhere).unwrap()));

            drop(lock);
            let (lock, removed) = start(false).unwrap();
            assert!(lock.is_none());
            assert_eq!(removed.as_deref(), Some("removed what a killed sensor left: clsact ingress lo"));
        });
    }

    #[test]
    fn a_source_that_reads_the_wrong_field_is_refused() {
        in_namespace(|| {
            let Ok((offsets, Ok(()))) = btf::kernel_offsets() else {
                return features::skip_or_fail("this kernel shows no types");
            };
            let clsact = hook("tc_ingress", Point::ClsactIngress { interface: "lo".into() });
            let owner = Choice { source: Some(Source::CurrentTask), ..Choice::default() };
            let plan = Plan { hooks: vec![clsact], owner, ..Plan::default() };
            let attach_with = |offsets| {
                let mut options = options();
                options.features |= feature::OFFSETS | feature::CURRENT_TASK;
                options.offsets = offsets;
                attach(&plan, &options, &Config::default(), &mut None)
            };
            let attached = attach_with(offsets).unwrap();
            let (maps, _) = maps::Maps::open(maps::descriptors(&attached.bpf).unwrap()).unwrap();
            assert!(maps.counters().iter().all(|&count| count == 0), "the probe leaves no trace");
            drop(attached);
            let refused = |what: &str, change: fn(&mut KernelOffsets)| {
                let mut changed = offsets;
                change(&mut changed);
                match attach_with(changed) {
                    Err(Failed::Source(Source::CurrentTask, why)) => {
                        assert!(why.contains(what), "{what}: {why}");
                    }
                    Err(other) => panic!("{what}: {other:?}"),
                    Ok(_) => panic!("a wrong {what} passed"),
                }
            };
            refused("start time", |offsets| offsets.task_start_boottime += 8);
            refused("start time", |offsets| offsets.task_group_leader = offsets.task_real_parent);
            refused("process id", |offsets| offsets.task_tgid = offsets.task_flags);
            refused("user id", |offsets| offsets.cred_uid = 0);
            refused("name", |offsets| offsets.task_comm += 1);
            refused("network namespace", |offsets| offsets.sock_net += 8);
        });
    }

    #[test]
    fn only_eperm_is_a_matter_of_permission() {
        let code = |errno| code_of(&ProgramError::IOError(io::Error::from_raw_os_error(errno)));
        assert_eq!(code(libc::EPERM), Code::NotPermitted);
        assert_eq!(code(libc::EACCES), Code::NoHook, "the verifier rejects a program");
        assert_eq!(code(libc::EINVAL), Code::NoHook);
    }

    #[test]
    fn what_auto_chose_falls_back_and_what_was_asked_for_does_not() {
        in_namespace(|| {
            // The loopback device has no native XDP.
            let native = Point::XdpNative { interface: "lo".into() };
            let tcx = hook("tc_ingress", Point::TcxIngress { interface: "lo".into() });
            let auto = Hook { fallback: Some(Box::new(tcx.clone())), ..hook("xdp_dns", native.clone()) };
            let attached = attach_all(vec![auto]).unwrap();
            if features::Features::probe().has(features::Feature::Tcx) {
                assert_eq!(attached.hooks, [tcx]);
                assert!(attached.warnings[0].contains("using tcx ingress lo"), "{:?}", attached.warnings);
            }
            let asked = attach_all(vec![hook("xdp_dns", native)]).unwrap_err();
            assert_eq!(asked.code, Code::NoHook);
            assert!(asked.message.contains("--xdp-mode"), "{}", asked.message);
            let nothing =
                attach_all(vec![hook("host_egress", Point::CgroupEgress { path: "/".into() })]).unwrap_err();
            assert_eq!(nothing.code, Code::NoHook);
        });
    }

    #[test]
    fn a_foreign_xdp_program_is_seen_by_the_plan() {
        in_namespace(|| {
            let _first =
                attach_all(vec![hook("xdp_dns", Point::XdpGeneric { interface: "lo".into() })]).unwrap();
            let links = link::links().unwrap();
            assert!(links[0].xdp.is_some());
            let host = plan::Host {
                links,
                default_routes: Vec::new(),
                cgroup: Err("none".into()),
                features: features::Feature::ALL.to_vec(),
                owners: Offer { forced: None, nfqueue: false, usable: [const { Ok(()) }; 4] },
                exec: Ok(()),
            };
            let request = plan::Request { interfaces: vec!["lo".into()], ..plan::Request::default() };
            let plan = plan::plan(&request, &host).unwrap();
            let ingress = plan.hooks.iter().find(|hook| hook.program == "tc_ingress").unwrap();
            assert!(ingress.why.contains("is left alone"), "{:?}", plan.hooks);
        });
    }
}
