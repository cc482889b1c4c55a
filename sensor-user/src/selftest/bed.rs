//! Where the self-test runs: a network namespace with nothing but loopback, a mount namespace with a resolv.conf and a
//! temporary folder of its own, and a child cgroup for whoever sends. Nothing leaves the host.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::exit::{Code, Error};
use crate::live::{cgroup, link, permission};

/// Of the names of its cgroup and its folder; the process's pid follows.
const PREFIX: &str = "earthdog-selftest-";
/// The resolver that the namespace's resolv.conf names.
const RESOLVER: &str = "10.0.0.1";

/// Dropping it ends what is in the cgroup and removes what was made; the namespaces end with the process.
#[derive(Debug)]
pub(super) struct Bed {
    cgroup: PathBuf,
    folder: PathBuf,
}

impl Bed {
    /// Moves this process into the namespaces. To be called before any thread is started.
    pub(super) fn make() -> Result<Self, Error> {
        permission::permitted_with(&[permission::NAMESPACES])?;
        let root = cgroup::root()
            .map_err(|why| Error::new(Code::NoHook, format!("the self-test needs cgroup2: {why}")))?;
        let temporary = std::env::temp_dir();
        sweep(&root);
        sweep(&temporary);
        let own = format!("{PREFIX}{}", std::process::id());
        let bed = Self { cgroup: root.join(&own), folder: temporary.join(&own) };
        for path in [&bed.cgroup, &bed.cgroup.join("senders"), &bed.folder] {
            fs::create_dir(path)
                .map_err(|error| failed(&format!("cannot make {}", path.display()), &error))?;
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .map_err(|error| failed("no namespace of its own", &error.into()))?;
        bed.mounts().map_err(|error| failed("cannot mount in its namespace", &error))?;
        loopback().map_err(|error| failed("cannot bring up loopback in its namespace", &error))?;
        Ok(bed)
    }

    /// Nothing mounted here is seen outside, and nothing written to the folder reaches a disk.
    fn mounts(&self) -> io::Result<()> {
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), &self.folder, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, none)?;
        let resolver = self.folder.join("resolv.conf");
        fs::write(&resolver, format!("nameserver {RESOLVER}\n"))?;
        if Path::new("/etc/resolv.conf").exists() {
            mount(Some(&resolver), "/etc/resolv.conf", none, MsFlags::MS_BIND, none)?;
        }
        Ok(())
    }

    /// The cgroup that the sensor watches: all senders are below it.
    pub(super) fn watched(&self) -> PathBuf {
        self.cgroup.join("senders")
    }

    /// A cgroup for one sender, which tells it from the others.
    pub(super) fn sender(&self, number: usize) -> io::Result<PathBuf> {
        let path = self.watched().join(number.to_string());
        fs::create_dir(&path)?;
        Ok(path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.folder);
        remove(&self.cgroup);
    }
}

/// This binary, to be run again as a part of the self-test.
pub(super) fn own_binary() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// A command that enters a cgroup, then becomes the part: its program starts there.
pub(super) fn part(cgroup: &Path, role: &str, label: &str) -> io::Result<Command> {
    let mut command = Command::new(own_binary()?);
    command.args(["selftest-part", "enter", label, "--role", role, "--cgroup"]).arg(cgroup);
    Ok(command)
}

/// Only what a self-test started can be in its cgroup.
fn remove(cgroup: &Path) {
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    let inner = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect()
    };
    // What was killed takes a moment to be gone.
    for _ in 0..100 {
        for child in inner(cgroup) {
            for grandchild in inner(&child) {
                let _ = fs::remove_dir(grandchild);
            }
            let _ = fs::remove_dir(child);
        }
        if fs::remove_dir(cgroup).is_ok() || !cgroup.exists() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// Removes what a killed self-test left: its process is no more.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // A folder that was mounted over is empty again; anything else stays.
            if fs::remove_dir(entry.path()).is_err() && entry.path().join("cgroup.procs").exists() {
                remove(&entry.path());
            }
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Error {
    let code = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Code::NotPermitted,
        _ => Code::Failure,
    };
    Error::new(code, format!("self-test: {what}: {error}"))
}

/// Loopback up, with all of 10.0.0.0/8 as addresses of its own: of a loopback device the kernel makes the whole prefix
/// local (`fib_add_ifaddr`).
fn loopback() -> io::Result<()> {
    const LOOPBACK: u32 = 1;
    let address = [10, 0, 0, 1];
    let mut add = vec![libc::AF_INET as u8, 8, 0, 0];
    add.extend(LOOPBACK.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        add.extend(8_u16.to_ne_bytes());
        add.extend(kind.to_ne_bytes());
        add.extend(address);
    }
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    // ifinfomsg: family and device type stay 0; flags, and which of them are meant.
    let link = [&[0; 4][..], &LOOPBACK.to_ne_bytes(), &up, &up].concat();
    let mut socket = link::netlink(libc::NETLINK_ROUTE)?;
    request(&mut socket, libc::RTM_NEWLINK, &link)?;
    request(&mut socket, libc::RTM_NEWADDR, &add)
}

/// One request, and what the kernel says to it (rtnetlink(7)).
fn request(socket: &mut fs::File, kind: u16, body: &[u8]) -> io::Result<()> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE) as u16;
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    socket.write_all(&message)?;
    let mut answer = [0; 1024];
    let len = socket.read(&mut answer)?;
    match answer.get(16..20).filter(|_| len >= 20) {
        Some(code) => match i32::from_ne_bytes([code[0], code[1], code[2], code[3]]) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        },
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}
