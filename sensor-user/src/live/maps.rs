//! The kernel's counters and flow map, read out.

use aya::Ebpf;
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use sensor_ebpf::abi::{COUNTER_NAMES, FlowKey, FlowValue, counter};
use zerocopy::FromBytes;

use super::ring::Rings;

/// The sum of each counter over all CPUs, by `abi::counter`.
pub type Counters = [u64; COUNTER_NAMES.len()];

/// Maps the sensor reads while it runs. A map of the object that is missing is an error of the build.
pub struct Maps {
    /// One value by `abi::counter`.
    counters: PerCpuArray<MapData, Counters>,
    // Byte arrays: the ABI types live in another crate and cannot be given aya's marker trait here.
    flows: HashMap<MapData, [u8; size_of::<FlowKey>()], [u8; size_of::<FlowValue>()]>,
    flow_entries: usize,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Maps").field("flow_entries", &self.flow_entries).finish_non_exhaustive()
    }
}

impl Maps {
    /// Takes the maps out of the loaded object; the kernel keeps them as long as a program uses them.
    pub fn take(bpf: &mut Ebpf, flow_entries: u64) -> anyhow::Result<(Self, Rings)> {
        let mut map = |name: &str| {
            bpf.take_map(name)
                .ok_or_else(|| anyhow::anyhow!("the kernel side has no map `{name}`: build it again"))
        };
        let alert = RingBuf::try_from(map("RING_ALERT")?)?;
        let bulk = RingBuf::try_from(map("RING_BULK")?)?;
        let counters = PerCpuArray::try_from(map("COUNTERS")?)?;
        let flows = HashMap::try_from(map("FLOWS")?)?;
        let flow_entries = usize::try_from(flow_entries)?;
        Ok((Self { counters, flows, flow_entries }, Rings::new(alert, bulk)))
    }

    pub fn counters(&self) -> Counters {
        let mut sums = [0u64; COUNTER_NAMES.len()];
        let Ok(of_each_cpu) = self.counters.get(&0, 0) else { return sums };
        for counters in of_each_cpu.iter() {
            for (sum, count) in sums.iter_mut().zip(counters) {
                *sum += count;
            }
        }
        sums
    }

    /// Every flow. The map changes while it is read: an entry may be missing or come twice, and the walk is bounded
    /// because a flood of new flows could make it go on for ever.
    pub fn flows(&self) -> Vec<FlowValue> {
        let mut flows: Vec<_> = self
            .flows
            .iter()
            .take(self.flow_entries.saturating_mul(2))
            .filter_map(|entry| {
                let (key, value) = entry.ok()?;
                Some((key, FlowValue::read_from_bytes(&value).ok()?))
            })
            .collect();
        flows.sort_by_cached_key(|(key, value)| {
            let zone = value.zone.get(..value.zone_len as usize).unwrap_or_default().to_vec();
            (value.client, value.server, zone, value.side, value.transport, value.first_ns, *key)
        });
        flows.dedup_by_key(|(key, _)| *key);
        flows.into_iter().map(|(_, value)| value).collect()
    }
}

/// DNS that the kernel side saw and could not deliver, whole or (`CHUNKS_CUT`) in part.
pub fn lost(counters: &Counters) -> u64 {
    [
        counter::LOST_ALERT,
        counter::LOST_BULK,
        counter::SKIP_LOAD_FAILED,
        counter::SKIP_BUSY,
        counter::CHUNKS_CUT,
    ]
    .into_iter()
    .map(|index| counters[index as usize])
    .sum()
}

/// Processes that began without being told: they are looked up in /proc if they ask.
pub fn execs_lost(counters: &Counters) -> u64 {
    counters[counter::EXEC_LOST as usize]
}
