//! What stays in the kernel from one run to the next, where that is asked for (`live.pin`): the maps with all that is
//! counted and not yet read, and the links with the programs that go on meanwhile.
//!
//! Everything lies in one folder of a bpffs, named by the layout that programs and reader have to agree on. The next run
//! takes the maps over, and puts its programs into the links at once and in place, so that no packet goes by unseen. Of
//! another layout nothing can be taken over: it is removed, and said so.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya::EbpfLoader;
use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use sensor_ebpf::abi::ABI_VERSION;
use sensor_ebpf::question::KEY_WORDS;
use zerocopy::IntoBytes as _;

use super::features::{pinned_link, update_link};
use super::hook::{Hook, Point};
use super::link::{Link, named};
use crate::attribute::clients::{FNV_START, fnv};
use crate::config::Config;
use crate::escape::escape;
use crate::exit::{Code, Error};

/// Maps that the next run goes on with; the others hold nothing between two packets.
const MAPS: [&str; 10] = [
    "RING_ALERT",
    "RING_BULK",
    "COUNTERS",
    "FLOWS",
    "FLOW_SETS",
    "NOVELTY_NAMES",
    "NOVELTY_REPEATS",
    "OWNERS",
    "CONTROL",
    HASH_KEY,
];
/// The key of the hashes: flows of the run before are found by it.
const HASH_KEY: &str = "HASH_KEY";
/// Names of the folders begin with it, and of the links in them with `LINK`.
const LAYOUT: &str = "layout-";
const LINK: &str = "link-";

/// Bytes of a key, as aya takes them.
type Key = [u8; 8 * KEY_WORDS];

#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    /// Held to the end: two sensors must not take each other's links.
    _lock: File,
    /// Whether a run before this one left its maps here.
    pub found: bool,
    /// Links in use, by name.
    used: BTreeSet<String>,
    pub notes: Vec<String>,
}

impl Pins {
    /// Where the configuration asks for it; an error says why it cannot be. Of other layouts nothing is left behind it.
    pub fn open(config: &Config) -> Result<Option<Self>, String> {
        if !config.live.pin {
            return Ok(None);
        }
        let root = Path::new(&config.live.pin_path);
        let failed = |error: io::Error| format!("nothing is kept over a restart: {}: {error}", shown(root));
        fs::create_dir_all(root).map_err(failed)?;
        let lock = File::open(root).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("nothing is kept over a restart: another sensor uses {}", shown(root)));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let name = format!("{LAYOUT}{:016x}", layout(config));
        let folder = root.join(&name);
        let mut notes = Vec::new();
        for other in layouts(root).map_err(failed)?.into_iter().filter(|other| *other != folder) {
            remove(&other).map_err(failed)?;
            notes.push(format!(
                "counters and flows start anew: {} was of another layout and is removed",
                shown(&other)
            ));
        }
        let found = folder.join("COUNTERS").exists();
        fs::create_dir_all(&folder).map_err(failed)?;
        Ok(Some(Self { folder, _lock: lock, found, used: BTreeSet::new(), notes }))
    }

    /// Where a running or an ended sensor has left something; nothing else is ever touched.
    pub fn clean(config: &Config) -> Result<Vec<String>, Error> {
        let root = Path::new(&config.live.pin_path);
        let failed =
            |error: io::Error| Error::new(Code::Failure, format!("cannot clean {}: {error}", shown(root)));
        let Ok(lock) = File::open(root) else { return Ok(Vec::new()) };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("a sensor is running with its pins in {}: stop it first", shown(root));
                return Err(Error::new(Code::Failure, message));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let found = layouts(root).map_err(failed)?;
        for folder in &found {
            remove(folder).map_err(failed)?;
        }
        Ok(found.iter().map(|folder| format!("pins {}", shown(folder))).collect())
    }

    /// Has the loader take over the maps that are there, and leave those that it makes.
    pub fn maps(&self, loader: &mut EbpfLoader<'_>) {
        for name in MAPS {
            loader.map_pin_path(name, self.folder.join(name));
        }
    }

    /// The key that the flows of the run before were counted under.
    pub fn hash_key(&self) -> Option<[u64; KEY_WORDS]> {
        let map = Map::Array(MapData::from_pin(self.folder.join(HASH_KEY)).ok()?);
        let bytes = Array::<_, Key>::try_from(map).ok()?.get(&0, 0).ok()?;
        let mut key = [0; KEY_WORDS];
        key.as_mut_bytes().copy_from_slice(&bytes);
        (key != [0; KEY_WORDS]).then_some(key)
    }

    /// Leaves the key to the next run.
    pub fn keep_hash_key(map: &mut Map, key: &[u64; KEY_WORDS]) -> io::Result<()> {
        let mut bytes: Key = [0; 8 * KEY_WORDS];
        bytes.copy_from_slice(key.as_bytes());
        let mut map = Array::<_, Key>::try_from(map).map_err(io::Error::other)?;
        map.set(0, bytes, 0).map_err(io::Error::other)
    }

    /// An XDP program that the run before left is our own, which nothing has to make way for.
    pub fn own_xdp(&self, links: &mut [Link]) {
        let own: Vec<u32> = self
            .links()
            .filter(|name| name.starts_with(&format!("{LINK}xdp")))
            .filter_map(|name| {
                let link = FdLink::from(PinnedLink::from_pin(self.folder.join(name)).ok()?);
                Some(link.info().ok()?.program_id())
            })
            .collect();
        for link in links {
            link.xdp = link.xdp.filter(|id| !own.contains(id));
        }
    }

    /// Whether a hook can stay over a restart: the kernel can put another program into its link.
    pub fn takes(hook: &Hook) -> bool {
        matches!(
            hook.point,
            Point::XdpNative { .. }
                | Point::XdpGeneric { .. }
                | Point::TcxIngress { .. }
                | Point::TcxEgress { .. }
                | Point::CgroupEgress { .. }
                | Point::CgroupIngress { .. }
                | Point::SockAddr { .. }
        )
    }

    /// Puts a program into the link that the run before left at this place, and returns its
    /// name; `None` if there is none that still holds.
    pub fn renew(&mut self, hook: &Hook, program: BorrowedFd<'_>) -> Option<String> {
        let name = name(hook);
        let path = self.folder.join(&name);
        if !path.exists() {
            return None;
        }
        let renewed = pinned_link(&path).and_then(|link| update_link(&link, program));
        match renewed {
            Ok(()) => {
                self.used.insert(name.clone());
                Some(name)
            }
            Err(error) => {
                self.notes.push(format!("{} is attached anew: its link was lost ({error})", hook.point));
                // Its interface or cgroup is gone.
                let _ = fs::remove_file(path);
                None
            }
        }
    }

    /// Leaves a link to the next run, by a name that is returned.
    pub fn keep(&mut self, hook: &Hook, link: FdLink) -> io::Result<String> {
        let name = name(hook);
        link.pin(self.folder.join(&name)).map_err(io::Error::other)?;
        self.used.insert(name.clone());
        Ok(name)
    }

    /// Takes one link off.
    pub fn release(&mut self, name: &str) {
        self.used.remove(name);
        let _ = fs::remove_file(self.folder.join(name));
    }

    /// Takes off what the run before left and this one has no use for.
    pub fn sweep(&mut self) {
        let unused: Vec<String> = self.links().filter(|name| !self.used.contains(name)).collect();
        for name in unused {
            let _ = fs::remove_file(self.folder.join(&name));
        }
    }

    /// Takes every link off.
    pub fn detach(&mut self) {
        self.used.clear();
        self.sweep();
    }

    fn links(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(LINK))
    }
}

/// All that programs and maps of one run have to have in common with those of the next: what is in the maps, which
/// `ABI_VERSION` stands for, and their sizes. Programs may be others: that is an upgrade.
fn layout(config: &Config) -> u64 {
    let live = &config.live;
    let sizes = [
        u64::from(ABI_VERSION),
        live.alert_ring_kib,
        live.bulk_ring_kib,
        live.flow_entries,
        live.owner_entries,
        config.novelty.entries,
    ];
    let mut hash = FNV_START;
    for size in sizes {
        hash = fnv(hash, &size.to_le_bytes());
    }
    hash
}

/// Of a link: the place it is at. An interface goes by its index: one made anew under its name is another, and under
/// another name it is the same.
fn name(hook: &Hook) -> String {
    let kind = hook.point.kind().split(' ').next().unwrap_or_default();
    let place = match hook.point.interface() {
        Some(interface) => {
            let index = named(interface).ok().flatten().map_or(0, |link| link.index);
            fnv(fnv(FNV_START, hook.point.kind().as_bytes()), &index.to_le_bytes())
        }
        None => fnv(FNV_START, hook.point.to_string().as_bytes()),
    };
    format!("{LINK}{kind}-{}-{place:016x}", hook.program)
}

fn layouts(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(LAYOUT) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Links go first: programs off, then their maps.
fn remove(folder: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    names.sort_by_key(|entry| !entry.file_name().to_string_lossy().starts_with(LINK));
    for entry in names {
        fs::remove_file(entry.path())?;
    }
    fs::remove_dir(folder)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes()).into_owned()
}
