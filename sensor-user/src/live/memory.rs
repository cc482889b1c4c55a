//! What the sensor weighs: resident memory and the kernel's maps, and how that grows with the number of CPUs.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Bytes, as the kernel accounts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// VmRSS of this process and, where rights are kept apart, what the other one has for itself. The reader maps each ring
    /// twice in a row (a record never wraps), and each mapping counts here although the pages are those of `rings`.
    pub resident: u64,
    /// Ring buffers.
    pub rings: u64,
    /// Other maps, of which the flow map is the one that counts; per-CPU ones left out.
    pub flow_map: u64,
    /// Per-CPU maps, all CPUs together.
    pub per_cpu_maps: u64,
    /// Possible CPUs: what the kernel allocates for.
    pub cpus: u64,
}

impl Memory {
    /// Reads it from /proc.
    pub fn now() -> Self {
        let status = own_status();
        let possible = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
        let mut memory =
            Self { resident: resident(&status), cpus: cpu_count(&possible).unwrap_or(1), ..Self::default() };
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten() {
            let info = fs::read_to_string(entry.path()).unwrap_or_default();
            // A map may have several descriptors.
            if let Some((kind, bytes, id)) = map_bytes(&info)
                && seen.insert(id)
            {
                let sum = match kind {
                    kind::PERCPU_HASH | kind::PERCPU_ARRAY | kind::LRU_PERCPU_HASH => {
                        &mut memory.per_cpu_maps
                    }
                    kind::RINGBUF => &mut memory.rings,
                    _ => &mut memory.flow_map,
                };
                *sum += bytes;
            }
        }
        memory
    }

    /// The same, without pages that other processes have too: code, above all.
    pub fn private() -> Self {
        let now = Self::now();
        let sums = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        Self { resident: private(&sums).unwrap_or(now.resident), ..now }
    }

    /// As it is of two processes that share their maps, all of which this one has.
    #[must_use]
    pub const fn beside(self, resident: u64) -> Self {
        Self { resident: self.resident + resident, ..self }
    }

    pub const fn total(&self) -> u64 {
        self.resident + self.rings + self.flow_map + self.per_cpu_maps
    }

    /// What N CPUs cost: (fixed part, part for each).
    pub const fn formula(&self) -> (u64, u64) {
        (self.total() - self.per_cpu_maps, self.per_cpu_maps / self.cpus)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fixed, each) = self.formula();
        write!(
            out,
            "{:.1} MB = resident {:.1} + rings {:.1} + flow map {:.1} + {} CPUs x {:.3}; with N CPUs {:.1} + N x {:.3}",
            mb(self.total()),
            mb(self.resident),
            mb(self.rings),
            mb(self.flow_map),
            self.cpus,
            mb(each),
            mb(fixed),
            mb(each)
        )
    }
}

/// VmRSS of this process alone.
pub fn own_resident() -> u64 {
    resident(&own_status())
}

fn own_status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn resident(status: &str) -> u64 {
    kib_field(status, "VmRSS:").unwrap_or(0)
}

/// Gives back to the system what only the start needed: free memory, and pages of code that ran once (loading, kernel
/// types, opening the store). Code that runs again is mapped again, without reading the disk.
#[allow(unsafe_code)] // two libc calls
pub fn trim() {
    // SAFETY: malloc_trim has no preconditions; it only returns free pages.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let exe = std::env::current_exe().unwrap_or_default();
    for (from, to) in maps.lines().filter_map(|line| code_of(line, &exe)) {
        let start = std::ptr::without_provenance_mut(from);
        // SAFETY: `code_of` takes only mappings of a file that are not writable, so no page differs from the file, and
        // one that is dropped is mapped again when it is touched.
        unsafe {
            libc::madvise(start, to - from, libc::MADV_DONTNEED);
        }
    }
}

/// Where a line of /proc/PID/maps has code of the executable: it must not be writable.
fn code_of(line: &str, exe: &Path) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (range, flags, path) = (fields.next()?, fields.next()?, fields.nth(3)?);
    let (from, to) = range.split_once('-')?;
    let range = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    (flags == "r-xp" && Path::new(path) == exe && range.0 < range.1).then_some(range)
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Bytes of smaps_rollup (proc(5)) that no other process has.
fn private(sums: &str) -> Option<u64> {
    Some(kib_field(sums, "Private_Clean:")? + kib_field(sums, "Private_Dirty:")?)
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Type, locked bytes and id of a map, from its descriptor's fdinfo.
fn map_bytes(info: &str) -> Option<(u32, u64, u64)> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    Some((u32::try_from(field("map_type:")?).ok()?, field("memlock:")?, field("map_id:")?))
}

/// `enum bpf_map_type`.
mod kind {
    pub(super) const PERCPU_HASH: u32 = 5;
    pub(super) const PERCPU_ARRAY: u32 = 6;
    pub(super) const LRU_PERCPU_HASH: u32 = 10;
    pub(super) const RINGBUF: u32 = 27;
}

/// `0-3,8` is five.
fn cpu_count(ranges: &str) -> Option<u64> {
    ranges
        .trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)? + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ranges_are_counted() {
        assert_eq!(cpu_count("0-1\n"), Some(2));
        assert_eq!(cpu_count("0-3,8"), Some(5));
        assert_eq!(cpu_count("0"), Some(1));
        assert_eq!(cpu_count(""), None);
        assert_eq!(cpu_count("3-1"), None);
    }

    #[test]
    fn private_pages_are_clean_or_dirty() {
        let sums = "5581-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  2000 kB\nPrivate_Clean:   3 kB\nPrivate_Dirty:  40 kB\n";
        assert_eq!(private(sums), Some(43 * 1024));
        assert_eq!(private(""), None);
        assert!(Memory::private().resident > 0);
    }

    #[test]
    fn a_map_descriptor_tells_its_bytes() {
        let info = "pos:\t0\nflags:\t02000002\nmap_type:\t27\nkey_size:\t0\nmemlock:\t1060984\nmap_id:\t3\n";
        assert_eq!(map_bytes(info), Some((27, 1_060_984, 3)));
        assert_eq!(map_bytes("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn only_code_that_cannot_be_written_is_dropped() {
        let exe = Path::new("/usr/bin/earthdog");
        let line = |flags| format!("7f00a000-7f00c000 {flags} 00002000 fe:00 123   /usr/bin/earthdog");
        assert_eq!(code_of(&line("r-xp"), exe), Some((0x7f00_a000, 0x7f00_c000)));
        for flags in ["rwxp", "rw-p", "r--p", "r-xs"] {
            assert_eq!(code_of(&line(flags), exe), None, "{flags}");
        }
        assert_eq!(code_of(&line("r-xp"), Path::new("/usr/lib/libc.so.6")), None);
        assert_eq!(code_of("7f00a000-7f00c000 r-xp 00000000 00:00 0", exe), None);
        trim();
    }

    #[test]
    fn the_formula_gives_the_total() {
        let memory = Memory {
            resident: 10_000_000,
            rings: 4_000_000,
            flow_map: 1_000_000,
            per_cpu_maps: 200_000,
            cpus: 2,
        };
        let (fixed, each) = memory.formula();
        assert_eq!(fixed + 2 * each, memory.total());
        assert_eq!(
            memory.to_string(),
            "15.2 MB = resident 10.0 + rings 4.0 + flow map 1.0 + 2 CPUs x 0.100; with N CPUs 15.0 + N x 0.100"
        );
        assert!(Memory::now().resident > 0);
    }
}
