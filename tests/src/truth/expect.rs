//! What each owner source must name: data. What is not listed must be right.

use std::fmt;

/// `live.owner_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Auto,
    CurrentTask,
    Fentry,
    Kprobe,
    SockAddr,
}

use Source::{Auto, CurrentTask, Fentry, Kprobe, SockAddr};

impl Source {
    pub const ALL: [Self; 5] = [Auto, CurrentTask, Fentry, Kprobe, SockAddr];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Auto => "auto",
            CurrentTask => "current_task",
            Fentry => "fentry",
            Kprobe => "kprobe",
            SockAddr => "sock_addr",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// A kernel's major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u32, pub u32);

impl Kernel {
    /// The running one.
    pub fn running() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
    }

    /// `6.12.107+deb12-cloud-amd64`, or `6.12`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What a source makes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The process that sent, with its start time, at grade exact or cookie.
    Right,
    /// No owner, or one at grade inferred or snapshot; why.
    OutOfReach(&'static str),
    /// No record of the query at all; why.
    Blind(&'static str),
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    pub rows: &'static [&'static str],
    /// None: every source.
    pub source: Option<Source>,
    /// First kernel it holds on.
    pub from: Kernel,
    /// First kernel it no longer holds on.
    pub before: Kernel,
    pub expected: Expected,
}

pub(super) const FIRST: Kernel = Kernel(0, 0);
pub(super) const NEVER: Kernel = Kernel(u32::MAX, 0);

/// On every kernel.
const fn always(rows: &'static [&'static str], source: Option<Source>, expected: Expected) -> Exception {
    Exception { rows, source, from: FIRST, before: NEVER, expected }
}

/// Where a row need not be right.
pub const EXCEPTIONS: &[Exception] = &[
    always(
        &["packet-bypass", "xdp-socket"],
        None,
        Expected::Blind("handed to the driver: no hook is passed"),
    ),
    always(
        &["write-before"],
        Some(SockAddr),
        Expected::OutOfReach("connected before the hooks were there: known from the snapshot at most"),
    ),
    always(
        &["inherited"],
        Some(SockAddr),
        Expected::OutOfReach("nothing is called when a child sends on a connected socket"),
    ),
    always(
        &["raw", "hdrincl"],
        Some(SockAddr),
        Expected::OutOfReach("raw sockets pass no connect or sendmsg hook"),
    ),
];

/// What must come of a row with this source on this kernel.
pub fn expected(row: &str, source: Source, kernel: Kernel) -> Expected {
    EXCEPTIONS
        .iter()
        .find(|exception| {
            exception.rows.contains(&row)
                && exception.source.is_none_or(|only| only == source)
                && (exception.from..exception.before).contains(&kernel)
        })
        .map_or(Expected::Right, |exception| exception.expected)
}

#[cfg(test)]
mod tests {
    use super::super::send::ROWS;
    use super::*;

    #[test]
    fn every_exception_names_a_row() {
        for name in EXCEPTIONS.iter().flat_map(|exception| exception.rows) {
            assert!(ROWS.iter().any(|row| row.name == *name), "{name}");
        }
    }

    #[test]
    fn auto_is_out_of_no_reach_on_new_kernels() {
        for row in ROWS {
            for kernel in [Kernel(6, 12), Kernel(6, 18), Kernel(7, 3)] {
                let expected = expected(row.name, Auto, kernel);
                assert!(!matches!(expected, Expected::OutOfReach(_)), "{} on {kernel}", row.name);
            }
        }
    }

    #[test]
    fn kernels_are_read_and_ordered() {
        assert_eq!(Kernel::parse("6.12.107+deb12-cloud-amd64"), Some(Kernel(6, 12)));
        assert!(Kernel(5, 10) < Kernel(6, 1) && Kernel(6, 1) < Kernel(6, 12));
        assert_eq!(Kernel::parse("x"), None);
    }
}
