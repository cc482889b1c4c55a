//! The leak ledger: how many bytes can have left, per client and zone.
//!
//! A name can only move what is new about it, so what is summed is not length but the cost of saying each new name
//! (`model`), over a minute, ten minutes, an hour and a day at once.

mod back;
pub mod entry;
mod firsts;
mod forms;
pub mod known;
pub mod payload;
pub mod shape;
pub mod standing;
pub mod target;
pub mod windows;

use known::Known;

pub use entry::{Charge, Entry, Name};
pub use firsts::SHOWN;
pub use shape::{Encoding, Recognised};
pub use standing::{Bounds, Kind, Standing};
pub use target::Target;
pub use windows::{Span, Windows};

use crate::detect::table::{Worths, room};
use crate::index::Index;
use crate::model::log2_units;
use crate::zone::Class;
use windows::SPANS;

#[derive(Clone, Debug)]
pub struct Settings {
    /// By window, shortest first: a (client, zone) is reported once the new names in one window are together as
    /// improbable for host names as this many random bytes.
    pub bound_bytes: [u64; SPANS],
    /// The same for what its form bounds: reversed addresses (DNSBL, PTR), counted names, look-ups of hashes.
    pub form_bound_bytes: [u64; SPANS],
    /// The same for payload in answers that was not seen before.
    pub answer_bound_bytes: [u64; SPANS],
    /// Keys remembered; the one with least information goes first. At most 4 KiB each.
    pub max_keys: usize,
}

impl Settings {
    pub fn bounds(&self) -> Bounds {
        Bounds::new(self.bound_bytes, self.form_bound_bytes, self.answer_bound_bytes)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bound_bytes: [256, 256, 512, 1024],
            form_bound_bytes: [4096, 4096, 16_384, 65_536],
            answer_bound_bytes: [4096, 4096, 8192, 16_384],
            max_keys: 8192,
        }
    }
}

const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// Bytes of one entry at most, its place in the index included; asserted in `entry`.
pub const ENTRY_MAX: usize = 4096;

/// Who and where: a client's key and a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub client: u64,
    pub zone: u64,
}

/// All entries, bounded by `Settings::max_keys`.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    index: Index,
    entries: Vec<Entry>,
    worths: Worths<Worth>,
    pub evicted: u64,
}

/// What decides on which entry goes.
#[derive(Clone, Copy, Debug, Default)]
struct Worth {
    reported: bool,
    /// In the longest window, units.
    said: u64,
    last_ns: u64,
}

/// Names that answers led to, of all clients: who asks for one says which, and no more.
#[derive(Debug, Default)]
pub struct Told(Known<TOLD>);

const TOLD: usize = 4096;

impl Ledger {
    /// Of one entry, what is kept apart from it.
    const WORTH_BYTES: usize = Worths::<Worth>::bytes(1);

    pub fn new(settings: Settings) -> Self {
        let entries = room(settings.max_keys);
        Self { settings, index: Index::default(), entries, worths: Worths::default(), evicted: 0 }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn find(&mut self, key: Key) -> Option<&mut Entry> {
        let slot = self.index.find_again(&key, |slot| &self.entries[slot].key)?;
        self.worths.touch(slot);
        self.entries.get_mut(slot)
    }

    /// The entry of a key, made if it is new; `zone` is the zone's wire form. An entry that had to go for it is handed to
    /// `forget` first.
    pub fn open(
        &mut self,
        key: Key,
        class: Class,
        zone: &[u8],
        now_ns: u64,
        forget: &mut dyn FnMut(&Entry),
    ) -> &mut Entry {
        let slot = if let Some(slot) = self.index.find_again(&key, |slot| &self.entries[slot].key) {
            slot
        } else {
            let entry = Entry::new(key, class, zone, now_ns);
            let slot = if self.entries.len() < self.settings.max_keys.max(1) {
                self.entries.push(entry);
                self.worths.push();
                self.entries.len() - 1
            } else {
                let slot = self.least(now_ns);
                forget(&self.entries[slot]);
                self.index.remove(&self.entries[slot].key, slot);
                self.evicted += 1;
                self.entries[slot] = entry;
                slot
            };
            self.index.insert(&key, slot, |slot| &self.entries[slot].key);
            slot
        };
        self.worths.touch(slot);
        &mut self.entries[slot]
    }

    /// Of the next few entries the one with least information, then the one quiet for longest; reported ones only if
    /// there are no others.
    fn least(&mut self, now_ns: u64) -> usize {
        let Self { entries, worths, .. } = self;
        let worth = |slot: usize| {
            let Entry { reported, last_ns, .. } = entries[slot];
            Worth { reported, said: entries[slot].window(Span::Day).units(), last_ns }
        };
        worths.least(worth, |Worth { reported, said, last_ns }| {
            // What was said before the longest window is over and done.
            let quiet = now_ns.saturating_sub(last_ns) > DAY_NS;
            let said = if quiet { 0 } else { said };
            (if reported { said | 1 << 63 } else { said }, last_ns)
        })
    }
}

impl Told {
    /// Bytes beyond `size_of::<Self>()` at most.
    pub const HEAP: usize = Known::<TOLD>::HEAP;

    /// An answer to `client` led to a name, by its keyed hash: as an alias, a server or a service's host.
    pub fn tell(&mut self, client: u64, name: u64) {
        self.0.insert(mixed(client, name));
    }

    /// What it costs to say which of the names that answers led to this one is, in units; `None` if it is none of them.
    pub fn cost(&mut self, client: u64, name: u64) -> Option<u32> {
        self.0.has(mixed(client, name)).then(|| log2_units(self.0.len()))
    }
}

/// Hashes of a client and a name together.
fn mixed(client: u64, name: u64) -> u64 {
    (name ^ client.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
