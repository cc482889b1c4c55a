//! The BPF object loaded for a test or a bench: programs by name, counters, records.
#![allow(unsafe_code)] // aya::Pod for the load-time options

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{
    CgroupSkb, Program, RawTracePoint, SchedClassifier, TcAttachType, TestRun, TestRunOptions, Xdp, XdpMode,
};
use aya::{Btf, Ebpf, EbpfLoader};
use earthdog::live::maps::FlowMap;
use earthdog::live::ring::Rings;
use earthdog::live::{btf, programs};
use sensor_ebpf::abi::{
    self, FLOW_PLACES, FlowValue, KernelOffsets, Options, Owner, RecordHeader, control, counter, view,
};
use sensor_ebpf::question::{self, KEY_WORDS};
use zerocopy::{FromBytes as _, FromZeros as _};

/// Feature bits of each way to know who asked: programs that name the owner differ by them.
pub const SOURCES: [(&str, u32); 5] = [
    ("no source", 0),
    (
        "current_task, direct loads",
        abi::feature::OFFSETS | abi::feature::CURRENT_TASK | abi::feature::TASK_BTF,
    ),
    ("current_task", abi::feature::OFFSETS | abi::feature::CURRENT_TASK),
    ("fentry or kprobe", abi::feature::OFFSETS | abi::feature::BY_SOCKET | abi::feature::ALL_SOCKETS),
    ("sock_addr", abi::feature::OFFSETS | abi::feature::BY_COOKIE),
];

/// The programs that do.
pub const NAME_OWNERS: [&str; 2] = ["host_egress", "packet_egress"];

/// The programs that see packets: those that the novelty filter is in.
pub const SEE_PACKETS: [&str; 7] =
    ["xdp_dns", "xdp_dns_legacy", "tc_ingress", "tc_egress", "packet_egress", "host_egress", "host_ingress"];

/// Sets of the flow map.
pub const FLOW_SETS: u32 = 4;

/// Sets of each table of the novelty filter: 32,768 entries, as by default.
pub const NOVELTY_SETS: u32 = 4096;

/// A look-up by default.
pub const LOOKUP_NS: u64 = 2_000_000_000;

/// The name hash key of tests.
pub const HASH_KEY: [u64; KEY_WORDS] = question::key_of_seed(53);

/// The object as it is inside `earthdog`, loaded with fixed options.
pub struct Object {
    ebpf: Ebpf,
    rings: Vec<RingBuf<MapData>>,
    counters: PerCpuArray<MapData, [u64; counter::COUNT as usize]>,
}

/// A packet record out of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub header: RecordHeader,
    pub payload: Vec<u8>,
}

/// What one `BPF_PROG_TEST_RUN` returned.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The program's return value.
    pub verdict: u32,
    /// Mean over the repeats, nanoseconds, whole numbers as the kernel gives them.
    pub nanoseconds: u32,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").finish_non_exhaustive()
    }
}

/// `abi::Options` as plain bytes for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct OptionBytes(Options);

// SAFETY: repr(C), no padding (zerocopy's IntoBytes is derived in abi.rs), Copy and 'static.
unsafe impl aya::Pod for OptionBytes {}

impl Object {
    /// Loads the maps; programs are loaded when first run. `features` are `abi::feature` bits.
    pub fn load(features: u32) -> Result<Self> {
        Self::load_with_rings(features, 256 * 1024, 1024 * 1024)
    }

    /// The same with ring sizes in bytes (powers of two, at least a page).
    pub fn load_with_rings(features: u32, alert_bytes: u32, bulk_bytes: u32) -> Result<Self> {
        Self::load_with_lookups(features, [alert_bytes, bulk_bytes], LOOKUP_NS)
    }

    /// The same with look-ups of so many nanoseconds, for the novelty filter; no repeat passes as a sample.
    pub fn load_with_lookups(
        features: u32,
        [alert_bytes, bulk_bytes]: [u32; 2],
        lookup_ns: u64,
    ) -> Result<Self> {
        let options = OptionBytes(Options {
            abi_version: abi::ABI_VERSION,
            features,
            hash_key: HASH_KEY,
            offsets: btf::kernel_offsets()
                .map_or_else(|_| KernelOffsets::new_zeroed(), |(offsets, _)| offsets),
            flow_sets: FLOW_SETS,
            novelty_sets: NOVELTY_SETS,
            lookup_ns,
            novelty_sample: 0,
        });
        let bytes = earthdog::live::object::BYTES;
        if bytes.is_empty() {
            bail!("built without the BPF toolchain; run `cargo xtask setup` and build again");
        }
        let mut ebpf = EbpfLoader::new()
            .override_global("OPTIONS", &options, true)
            .map_max_entries("RING_ALERT", alert_bytes)
            .map_max_entries("RING_BULK", bulk_bytes)
            .map_max_entries("FLOW_SETS", FLOW_SETS)
            .map_max_entries("FLOWS", FLOW_SETS * FLOW_PLACES as u32)
            .map_max_entries("NOVELTY_NAMES", NOVELTY_SETS)
            .map_max_entries("NOVELTY_REPEATS", NOVELTY_SETS)
            .load(bytes)
            .context("loading the maps")?;
        let mut rings = Vec::new();
        for name in ["RING_ALERT", "RING_BULK"] {
            rings.push(RingBuf::try_from(take(&mut ebpf, name)?)?);
        }
        let counters = PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)?;
        let mut object = Self { ebpf, rings, counters };
        object.control(control::REPEATS)?;
        Ok(object)
    }

    /// Sets the `abi::control` bits; without `feature::NOVELTY` they say nothing.
    pub fn control(&mut self, bits: u32) -> Result<()> {
        let map = self.ebpf.map_mut("CONTROL").context("no map CONTROL in the object")?;
        Ok(Array::<_, u32>::try_from(map)?.set(0, bits, 0)?)
    }

    /// Names of all programs in the object, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.ebpf.programs().map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    }

    /// Loads a program into the kernel. `Err` holds the verifier's log.
    pub fn program(&mut self, name: &str) -> Result<&mut Program> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let loaded = match program {
            Program::Xdp(p) => p.fd().is_ok() || p.load().map(|()| true)?,
            Program::SchedClassifier(p) => p.fd().is_ok() || p.load().map(|()| true)?,
            Program::CgroupSkb(p) => p.fd().is_ok() || p.load().map(|()| true)?,
            Program::RawTracePoint(p) => p.fd().is_ok() || p.load().map(|()| true)?,
            Program::CgroupSockAddr(p) => p.fd().is_ok() || p.load().map(|()| true)?,
            Program::KProbe(p) => p.fd().is_ok() || p.load().map(|()| true)?,
            Program::FEntry(p) => {
                let function = programs::Program::find(name).and_then(programs::Program::function);
                let function = function.with_context(|| format!("no function for {name}"))?;
                p.fd().is_ok() || p.load(function, &Btf::from_sys_fs()?).map(|()| true)?
            }
            _ => bail!("{name} is of a type that tests do not load"),
        };
        assert!(loaded);
        Ok(program)
    }

    /// Runs a program `repeat` times on `packet` (from the Ethernet header on, for every type).
    pub fn run(&mut self, name: &str, packet: &[u8], repeat: u32) -> Result<Run> {
        let program = self.program(name)?;
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
        let result = match program {
            Program::Xdp(p) => Xdp::test_run(p, options),
            Program::SchedClassifier(p) => SchedClassifier::test_run(p, options),
            Program::CgroupSkb(p) => CgroupSkb::test_run(p, options),
            _ => bail!("{name} takes no packet"),
        }
        .with_context(|| format!("running {name}"))?;
        Ok(Run { verdict: result.return_value, nanoseconds: result.duration.as_nanos() as u32 })
    }

    /// Attaches an XDP program to an interface of the calling thread's network namespace, in the driver.
    pub fn attach_xdp(&mut self, name: &str, interface: &str) -> Result<()> {
        let Program::Xdp(program) = self.program(name)? else { bail!("{name} is no XDP program") };
        program.attach(interface, XdpMode::Driver).with_context(|| format!("{name} on {interface}"))?;
        Ok(())
    }

    /// The same of a tcx ingress program.
    pub fn attach_tcx(&mut self, name: &str, interface: &str) -> Result<()> {
        let Program::SchedClassifier(program) = self.program(name)? else { bail!("{name} is no tc program") };
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        program
            .attach_with_options(interface, TcAttachType::Ingress, first)
            .with_context(|| format!("{name} on {interface}"))?;
        Ok(())
    }

    /// Its rings as the sensor reads them; nothing else here finds records then.
    pub fn take_rings(&mut self) -> Result<Rings> {
        let [alert, bulk]: [RingBuf<MapData>; 2] = std::mem::take(&mut self.rings)
            .try_into()
            .map_err(|_| anyhow::anyhow!("the rings were taken before"))?;
        Ok(Rings::new(alert, bulk))
    }

    /// Everything in both rings, small one first.
    pub fn drain(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        for ring in &mut self.rings {
            while let Some(item) = ring.next() {
                if let Ok((header, rest)) = RecordHeader::read_from_prefix(&item)
                    && header.tag == abi::TAG_PACKET
                {
                    let host = matches!(header.view, view::HOST_EGRESS | view::HOST_INGRESS);
                    let message = &rest[if host { size_of::<Owner>() } else { 0 }..];
                    records.push(Record { header, payload: message[..header.cap_len as usize].to_vec() });
                }
            }
        }
        records
    }

    /// Empties both rings without looking.
    pub fn discard(&mut self) {
        for ring in &mut self.rings {
            while ring.next().is_some() {}
        }
    }

    /// All counters, summed over the CPUs.
    pub fn counters(&self) -> Result<[u64; counter::COUNT as usize]> {
        let mut sums = [0; counter::COUNT as usize];
        for counters in self.counters.get(&0, 0)?.iter() {
            for (sum, count) in sums.iter_mut().zip(counters) {
                *sum += count;
            }
        }
        Ok(sums)
    }

    /// Values of the flow map.
    pub fn flows(&self) -> Result<Vec<FlowValue>> {
        let map = |name: &str| self.ebpf.map(name).with_context(|| format!("no map {name} in the object"));
        let flows =
            FlowMap { sets: Array::try_from(map("FLOW_SETS")?)?, values: Array::try_from(map("FLOWS")?)? };
        Ok(flows.read().into_iter().map(|(_, value)| value).collect())
    }

    /// Instructions the verifier walked for a loaded program (5.16 and later), and whether they are known.
    pub fn verified_instructions(&mut self, name: &str) -> Result<Option<u32>> {
        let info = match self.program(name)? {
            Program::Xdp(p) => Xdp::info(p),
            Program::SchedClassifier(p) => SchedClassifier::info(p),
            Program::CgroupSkb(p) => CgroupSkb::info(p),
            Program::RawTracePoint(p) => RawTracePoint::info(p),
            Program::CgroupSockAddr(p) => p.info(),
            Program::KProbe(p) => p.info(),
            Program::FEntry(p) => p.info(),
            _ => bail!("{name} is of a type that tests do not load"),
        }?;
        Ok(info.verified_instruction_count())
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name).with_context(|| format!("no map {name} in the object"))
}
