//! What a process takes, seen from outside (proc(5)): not what it says of itself.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

/// Of a process at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// `VmRSS`, bytes.
    pub resident: u64,
    /// Of these, pages that no other process has; 0 where that is not told to who asks.
    pub private: u64,
    /// `memlock` of every BPF map that it holds open, each map once, bytes.
    pub maps: u64,
    pub descriptors: u64,
    pub threads: u64,
}

impl Size {
    pub fn of(pid: u32) -> Result<Self> {
        Self::of_all(&[pid])
    }

    /// Of processes that belong together: pages that a further one shares are the first one's, and each map counts once.
    pub fn of_all(pids: &[u32]) -> Result<Self> {
        let (mut size, mut maps) = (Self::default(), BTreeMap::new());
        for (index, pid) in pids.iter().enumerate() {
            let path = format!("/proc/{pid}/status");
            let status = fs::read_to_string(&path).with_context(|| path.clone())?;
            let of = |name: &str| number(&status, name).with_context(|| format!("no {name} in {path}"));
            let private = private(*pid);
            size.private += private;
            size.resident += if index == 0 { of("VmRSS:")? << 10 } else { private };
            size.threads += of("Threads:")?;
            for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
                size.descriptors += 1;
                // It may be closed by now.
                let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
                if let (Some(id), Some(bytes)) = (number(&text, "map_id:"), number(&text, "memlock:")) {
                    maps.insert(id, bytes);
                }
            }
        }
        size.maps = maps.values().sum();
        Ok(size)
    }
}

/// Bytes of pages that no other process has; 0 where that is not told to who asks.
fn private(pid: u32) -> u64 {
    let sums = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = sums.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() << 10
}

/// Seconds of processor time that a process has taken, its own and the kernel's for it, in ticks of 10 ms: fields 14 and 15
/// of proc_pid_stat(5).
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    Ok((field(pid, 14)? + field(pid, 15)?) as f64 / 100.0)
}

/// Niceness of a process or thread, -20 to 19: field 19 of proc_pid_stat(5).
pub fn niceness(pid: u32) -> Result<i64> {
    field(pid, 19)
}

/// A numbered field of proc_pid_stat(5) that is a number, from the third on.
fn field(pid: u32, number: usize) -> Result<i64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    let (_, fields) = stat.rsplit_once(") ").with_context(|| format!("no name in {path}"))?;
    let field = fields.split(' ').nth(number - 3).and_then(|field| field.parse().ok());
    field.with_context(|| format!("no number in field {number} of {path}"))
}

fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_size() {
        let size = Size::of(std::process::id()).unwrap();
        assert!(size.resident > 1 << 20 && size.descriptors >= 3 && size.threads >= 1, "{size:?}");
        assert!(cpu_seconds(std::process::id()).unwrap() < 3600.0);
        assert!(cpu_seconds(0).is_err());
    }
}
