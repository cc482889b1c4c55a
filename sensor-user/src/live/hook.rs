//! A program and the place it goes to.

use std::path::PathBuf;

/// Where a program goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    XdpNative {
        interface: String,
    },
    XdpGeneric {
        interface: String,
    },
    TcxIngress {
        interface: String,
    },
    TcxEgress {
        interface: String,
    },
    ClsactIngress {
        interface: String,
    },
    ClsactEgress {
        interface: String,
    },
    CgroupEgress {
        path: PathBuf,
    },
    CgroupIngress {
        path: PathBuf,
    },
    /// A cgroup hook of connect() or sendmsg(), by its name.
    SockAddr {
        path: PathBuf,
        call: &'static str,
    },
    Kprobe {
        function: &'static str,
    },
    Fentry {
        function: &'static str,
    },
    /// Raw tracepoint, by its name.
    Process {
        tracepoint: &'static str,
    },
}

/// A program, its place and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub program: &'static str,
    pub point: Point,
    pub why: String,
    /// Where to go instead if the kernel refuses; only what `auto` chose may move.
    pub fallback: Option<Box<Hook>>,
}

impl Hook {
    pub(super) fn needs_clsact(&self) -> bool {
        matches!(self.point, Point::ClsactIngress { .. } | Point::ClsactEgress { .. })
            || self.fallback.as_ref().is_some_and(|fallback| fallback.needs_clsact())
    }
}

impl Point {
    /// The interface, if it is on one.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::XdpNative { interface }
            | Self::XdpGeneric { interface }
            | Self::TcxIngress { interface }
            | Self::TcxEgress { interface }
            | Self::ClsactIngress { interface }
            | Self::ClsactEgress { interface } => Some(interface),
            Self::CgroupEgress { .. }
            | Self::CgroupIngress { .. }
            | Self::SockAddr { .. }
            | Self::Kprobe { .. }
            | Self::Fentry { .. }
            | Self::Process { .. } => None,
        }
    }

    /// The interface has another name; nothing happens to what is on none.
    pub(super) fn rename(&mut self, name: &str) {
        match self {
            Self::XdpNative { interface }
            | Self::XdpGeneric { interface }
            | Self::TcxIngress { interface }
            | Self::TcxEgress { interface }
            | Self::ClsactIngress { interface }
            | Self::ClsactEgress { interface } => name.clone_into(interface),
            _ => {}
        }
    }

    /// Whether DNS is seen there; the others tell about processes.
    pub fn sees_packets(&self) -> bool {
        self.interface().is_some() || matches!(self, Self::CgroupEgress { .. } | Self::CgroupIngress { .. })
    }

    /// Whether it notes who sends.
    pub fn notes_senders(&self) -> bool {
        matches!(self, Self::SockAddr { .. } | Self::Kprobe { .. } | Self::Fentry { .. })
    }

    /// Name of the kind of hook.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::XdpNative { .. } => "xdp (native)",
            Self::XdpGeneric { .. } => "xdp (generic)",
            Self::TcxIngress { .. } => "tcx ingress",
            Self::TcxEgress { .. } => "tcx egress",
            Self::ClsactIngress { .. } => "clsact ingress",
            Self::ClsactEgress { .. } => "clsact egress",
            Self::CgroupEgress { .. } => "cgroup_skb egress",
            Self::CgroupIngress { .. } => "cgroup_skb ingress",
            Self::SockAddr { .. } => "cgroup",
            Self::Kprobe { .. } => "kprobe",
            Self::Fentry { .. } => "fentry",
            Self::Process { .. } => "raw tracepoint",
        }
    }
}

/// As it stands in the status line and in `doctor`.
impl std::fmt::Display for Point {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.kind())?;
        match self {
            Self::CgroupEgress { path } | Self::CgroupIngress { path } => {
                write!(out, " {}", path.to_string_lossy().escape_debug())
            }
            Self::SockAddr { path, call } => {
                write!(out, " {call} {}", path.to_string_lossy().escape_debug())
            }
            Self::Kprobe { function } | Self::Fentry { function } => write!(out, " {function}"),
            Self::Process { tracepoint } => write!(out, " {tracepoint}"),
            _ => self.interface().map_or(Ok(()), |name| write!(out, " {}", name.escape_debug())),
        }
    }
}
