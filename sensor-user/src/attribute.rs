//! Who asked: a bounded table of processes, fed by exec events and by what the rim reads from /proc.

use bytes::Bytes;

use crate::event::{Exec, Owner};

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
    /// Processes remembered; the one not seen for longest goes first.
    pub max_processes: usize,
    /// Pids listed in a finding.
    pub max_pids: usize,
    /// Unix time of CLOCK_BOOTTIME zero, nanoseconds; without it start times are not given.
    pub boot_unix_ns: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cmdline: Cmdline::Masked,
            cmdline_max: 512,
            max_processes: 8192,
            max_pids: 16,
            boot_unix_ns: None,
        }
    }
}

/// What the rim found in /proc about a process that the exec events did not show.
#[derive(Clone, Debug, Default)]
pub struct ProcessFacts {
    pub tgid: u32,
    /// See `Owner::start_boot_ns`.
    pub start_boot_ns: u64,
    pub exe: Option<Bytes>,
    /// argv, NUL between entries.
    pub cmdline: Option<Bytes>,
    pub uid: Option<u32>,
    pub user: Option<String>,
}

#[derive(Debug)]
pub struct ProcessTable {
    settings: Settings,
}

impl ProcessTable {
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    pub fn exec(&mut self, _exec: &Exec) {}

    pub fn learn(&mut self, _facts: ProcessFacts) {}

    pub fn seen(&mut self, _owner: &Owner) {}

    /// Processes seen sending whose executable is not known yet, oldest first; each is named once.
    pub fn unknown(&mut self) -> Vec<(u32, u64)> {
        let _ = &self.settings;
        Vec::new()
    }
}
