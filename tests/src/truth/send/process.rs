//! What differs is the process: a child, a thread, one that is gone, one that has another's port or pid.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::thread;
use std::time::Duration;

use super::{Target, connected, sys, udp_socket, unsupported};
use crate::deadline::Deadline;

/// Longer than a clock tick of /proc and the sensor's own rounding, so that start times tell two processes apart.
const APART: Duration = Duration::from_millis(100);

pub(super) fn inherited(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    sys::in_child(|| sys::send(&socket, &target.announce()?, 0, None))
}

pub(super) fn netns(target: &Target) -> io::Result<()> {
    unsupported("unshare", sys::new_network())?;
    let to = SocketAddr::from(([127, 0, 0, 1], 53));
    sys::send(&udp_socket(to)?, &target.announce()?, 0, Some(&to.into()))
}

/// As container runtimes name theirs: the id is 64 hexadecimal digits.
pub(super) fn container(target: &Target) -> io::Result<()> {
    let id = format!("{:0>64}", format!("c0ffee{:x}", std::process::id()));
    let folder = format!("/sys/fs/cgroup/system.slice/docker-{id}.scope");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
    std::fs::write(format!("{folder}/cgroup.procs"), "0")?;
    unsupported("unshare", sys::new_pids())?;
    sys::in_child(|| {
        sys::become_user(1000)?;
        sys::send(&connected(target.v4())?, &target.announce()?, 0, None)
    })
}

pub(super) fn thread(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    thread::scope(|scope| {
        let sender = thread::Builder::new()
            .name("asker".into())
            .spawn_scoped(scope, || sys::send(&socket, &target.announce()?, 0, None))?;
        sender.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

pub(super) fn exit(target: &Target) -> io::Result<()> {
    let socket = connected(target.v4())?;
    sys::send(&socket, &target.announce()?, 0, None)?;
    sys::exit_now(0)
}

pub(super) fn reused_port(target: &Target) -> io::Result<()> {
    const PORT: u16 = 40_153;
    let send = |part: &str| {
        sys::in_child(|| {
            let socket = udp_socket(target.v4())?;
            sys::bind(&socket, &SocketAddr::from(([0, 0, 0, 0], PORT)).into())?;
            sys::connect(&socket, &target.v4().into())?;
            sys::send(&socket, &target.announce_as(part)?, 0, None)
        })
    };
    send("a")?;
    send("b")
}

pub(super) fn reused_pid(target: &Target) -> io::Result<()> {
    let send = |part: &str| sys::send(&connected(target.v4())?, &target.announce_as(part)?, 0, None);
    let first = sys::spawn(|| send("a"))?;
    sys::wait(first)?;
    let apart = Deadline::after(APART);
    while !apart.passed() {
        thread::park_timeout(apart.left());
    }
    unsupported("clone3 with a pid of choice", sys::in_child_with_pid(first, || send("b")))
}
