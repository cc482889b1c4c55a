//! Who asked: a bounded table of processes, fed by exec events and by what the rim reads from /proc.

pub mod place;
pub mod programs;
pub mod script;
pub mod table;

pub mod clients;
pub mod describe;
pub mod mask;
pub mod names;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::inventory::Inventory;

pub use clients::{Client, Clients, Identity};
pub use describe::{Description, describe};
pub use names::{Names, Wanted};
pub use place::Place;
pub use table::{CMDLINE_MAX, EXE_MAX, Image, Process, ProcessTable};

/// What may be said about command lines; they can hold secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cmdline {
    Off,
    /// Values of password-like arguments and long secrets are replaced by `***`.
    #[default]
    Masked,
    Full,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub cmdline: Cmdline,
    /// Longest command line in a finding, bytes.
    pub cmdline_max: usize,
    /// Processes remembered, and clients; ended ones and then the one not seen for longest go first.
    pub max_processes: usize,
    /// Age, in seconds, from which on a program stands for what it starts.
    pub long_lived_s: u64,
    /// Pids listed in a finding.
    pub max_pids: usize,
    /// Unix time of CLOCK_BOOTTIME zero, nanoseconds; without it start times are not given.
    pub boot_unix_ns: Option<u64>,
    /// What is known of the machines behind addresses.
    pub assets: Arc<Inventory>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cmdline: Cmdline::Masked,
            cmdline_max: 512,
            max_processes: 8192,
            long_lived_s: 60,
            max_pids: 16,
            boot_unix_ns: None,
            assets: Arc::default(),
        }
    }
}

/// What the rim found in /proc about a process that the exec events did not show.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProcessFacts {
    pub tgid: u32,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
    pub exe: Option<Bytes>,
    /// argv, NUL between entries.
    pub cmdline: Option<Bytes>,
    pub uid: Option<u32>,
    pub cgroup_id: Option<u64>,
    /// Parent's process id and start, which may be rounded down to a tick.
    pub parent: Option<(u32, u64)>,
    /// See `Image::stdio`.
    pub stdio: Option<u16>,
}
