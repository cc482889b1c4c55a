//! The kernel's counters and flow map, read out.

use std::borrow::Borrow;
use std::os::fd::{AsFd as _, OwnedFd};

use crate::pipeline::Fill;
use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, RingBuf};
use sensor_ebpf::abi::{
    COUNTER_NAMES, FLOW_PLACES, FlowKey, FlowSet, FlowValue, NOVELTY_PLACES, counter, feature,
};
use zerocopy::FromBytes;

use super::ring::Rings;

/// The sum of each counter over all CPUs, by `abi::counter`.
pub type Counters = [u64; COUNTER_NAMES.len()];

/// Maps that are read and, of `CONTROL`, written while the sensor runs, in the order of their descriptors.
pub const NAMES: [&str; 6] = ["RING_ALERT", "RING_BULK", "COUNTERS", "FLOW_SETS", "FLOWS", "CONTROL"];

/// Descriptors of the maps of `NAMES`; the kernel keeps a map as long as a program or a descriptor uses it.
pub fn descriptors(bpf: &Ebpf) -> anyhow::Result<Vec<OwnedFd>> {
    let descriptor = |name: &str| {
        let (Map::RingBuf(map) | Map::PerCpuArray(map) | Map::Array(map)) = bpf.map(name)? else {
            return None;
        };
        Some(map.fd().as_fd().try_clone_to_owned())
    };
    NAMES
        .into_iter()
        .map(|name| {
            let found = descriptor(name);
            let found = found
                .ok_or_else(|| anyhow::anyhow!("the kernel side has no map `{name}`: build it again"))?;
            Ok(found?)
        })
        .collect()
}

/// Maps the sensor reads while it runs. A map of the object that is missing is an error of the build.
pub struct Maps {
    /// One value by `abi::counter`.
    counters: PerCpuArray<MapData, Counters>,
    flows: FlowMap<MapData>,
    /// `abi::control` bits.
    control: Array<MapData, u32>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Maps").field("flows", &self.flows).finish_non_exhaustive()
    }
}

impl Maps {
    /// By the descriptors that `descriptors` gave, of this process or another.
    pub fn open(descriptors: Vec<OwnedFd>) -> anyhow::Result<(Self, Rings)> {
        let mut descriptors = NAMES.into_iter().zip(descriptors);
        let mut map = |wanted: &str| {
            let next = descriptors.next().filter(|(name, _)| *name == wanted);
            let (_, descriptor) = next.ok_or_else(|| anyhow::anyhow!("map `{wanted}` did not come"))?;
            Ok::<_, anyhow::Error>(Map::from_map_data(MapData::from_fd(descriptor)?)?)
        };
        let alert = RingBuf::try_from(map("RING_ALERT")?)?;
        let bulk = RingBuf::try_from(map("RING_BULK")?)?;
        let counters = PerCpuArray::try_from(map("COUNTERS")?)?;
        let (sets, values) = (Array::try_from(map("FLOW_SETS")?)?, Array::try_from(map("FLOWS")?)?);
        let control = Array::try_from(map("CONTROL")?)?;
        Ok((Self { counters, flows: FlowMap { sets, values }, control }, Rings::new(alert, bulk)))
    }

    /// What the loaded programs are to do from here on: `abi::control` bits.
    pub fn set_control(&mut self, bits: u32) -> Result<(), MapError> {
        self.control.set(0, bits, 0)
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

    /// How full the flow map is.
    pub fn flow_fill(&self) -> Fill {
        self.flows.fill()
    }

    /// Every flow, in a fixed order.
    pub fn flows(&self) -> Vec<FlowValue> {
        let mut flows = self.flows.read();
        flows.sort_by_cached_key(|(key, value)| {
            let zone = value.zone.get(..value.zone_len as usize).unwrap_or_default().to_vec();
            (value.client, value.server, zone, value.side, value.transport, value.first_ns, *key)
        });
        flows.into_iter().map(|(_, value)| value).collect()
    }
}

/// Sets of a flow map that has room for so many flows.
pub fn flow_sets(entries: u64) -> u32 {
    u32::try_from(entries.div_ceil(FLOW_PLACES as u64)).unwrap_or(u32::MAX / FLOW_PLACES as u32).max(1)
}

/// Sets of each table of the novelty filter: one where it is off.
pub fn novelty_sets(features: u32, entries: u64) -> u32 {
    let entries = if features & feature::NOVELTY == 0 { 1 } else { entries };
    u32::try_from(entries.div_ceil(NOVELTY_PLACES as u64)).unwrap_or(u32::MAX)
}

/// The flow map: which flow is where, and the values by place.
pub struct FlowMap<M> {
    // Byte arrays: the ABI types live in another crate and cannot be given aya's marker trait here.
    pub sets: Array<M, [u8; size_of::<FlowSet>()]>,
    pub values: Array<M, [u8; size_of::<FlowValue>()]>,
}

impl<M> std::fmt::Debug for FlowMap<M> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FlowMap").finish_non_exhaustive()
    }
}

impl<M: Borrow<MapData>> FlowMap<M> {
    /// Every flow with its key. The map changes while it is read: a flow that makes way meanwhile is left out.
    pub fn read(&self) -> Vec<([u64; 2], FlowValue)> {
        let mut flows = Vec::new();
        for set in 0..self.sets.len() {
            let Some(before) = self.keys(set).filter(|keys| keys.iter().any(used)) else { continue };
            let values: Vec<_> = before
                .into_iter()
                .enumerate()
                .filter(|(_, key)| used(key))
                .filter_map(|(place, key)| {
                    let value = self.values.get(&(set * FLOW_PLACES as u32 + place as u32), 0).ok()?;
                    Some((place, key, FlowValue::read_from_bytes(&value).ok()?))
                })
                .collect();
            let Some(after) = self.keys(set) else { continue };
            let stayed = values.into_iter().filter(|(place, key, _)| after[*place] == *key);
            flows.extend(stayed.map(|(_, key, value)| ([key.pair, key.zone], value)));
        }
        flows
    }

    /// How full it is, from some of its sets.
    pub fn fill(&self) -> Fill {
        let sets = self.sets.len();
        let step = sets.div_ceil(SETS_SAMPLED).max(1);
        let sampled = (0..sets).step_by(step as usize).filter_map(|set| self.keys(set));
        let (used, places) = sampled.fold((0, 0), |(used, places), keys| {
            (used + keys.iter().filter(|key| self::used(key)).count(), places + keys.len())
        });
        let capacity = sets as usize * FLOW_PLACES;
        Fill { entries: (used * capacity).checked_div(places).unwrap_or(0), capacity }
    }

    fn keys(&self, set: u32) -> Option<[FlowKey; FLOW_PLACES]> {
        Some(FlowSet::read_from_bytes(&self.sets.get(&set, 0).ok()?).ok()?.keys)
    }
}

/// A system call each; as many as the default has, so that only of larger maps it is an estimate.
const SETS_SAMPLED: u32 = 1024;

fn used(key: &FlowKey) -> bool {
    (key.pair, key.zone) != (0, 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_room_for_what_was_asked() {
        assert_eq!([1, 16, 17, 8192].map(flow_sets), [1, 1, 2, 512]);
    }
}
