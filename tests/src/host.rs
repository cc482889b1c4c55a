//! Hosts on one machine: each has network, mount and cgroup namespaces, a child cgroup that is its cgroup root, its
//! own /sys, /run and (where asked) /etc/resolv.conf. What is written to /var/lib goes with it too.
//!
//! Inside, a host looks like a small machine of its own, so the sensor's defaults (cgroup2 root, default-route
//! interface, control socket) can be tested without touching the outer ones. The namespaces live as long as a holder
//! process that waits on a pipe from the test: whatever ends the test ends them too.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::deadline::Deadline;
use crate::kernel::bpf;
use crate::peer;

/// Addresses of the two hosts that `pair` makes.
pub const CLIENT_V4: &str = "10.77.0.2";
/// See `CLIENT_V4`.
pub const SERVER_V4: &str = "10.77.0.1";
/// See `CLIENT_V4`.
pub const CLIENT_V6: &str = "fd77::2";
/// See `CLIENT_V4`.
pub const SERVER_V6: &str = "fd77::1";
/// The interface between them, by the same name on both.
pub const LINK: &str = "lan0";

/// Of a cgroup's name; the process's pid and a number follow.
const PREFIX: &str = "earthdog-test-";

/// A host; dropping it ends what runs in it.
#[derive(Debug)]
#[must_use]
pub struct Host {
    // Fields drop in this order: the pipe ends the holder, then the cgroup can go.
    holder_input: Option<ChildStdin>,
    holder: Child,
    cgroup: ChildCgroup,
}

/// Two hosts, client and server, with a veth pair between them; the client's default route is the server.
pub fn pair() -> Result<(Host, Host), String> {
    bpf()?;
    let client = Host::new()?;
    let server = Host::new()?;
    client.link(LINK, &server, LINK);
    for (host, v4, v6) in [(&client, CLIENT_V4, CLIENT_V6), (&server, SERVER_V4, SERVER_V6)] {
        host.ip(&format!("addr add {v4}/24 dev {LINK}"));
        host.ip(&format!("addr add {v6}/64 dev {LINK} nodad"));
        host.ip(&format!("link set {LINK} up"));
    }
    client.ip(&format!("route add default via {SERVER_V4}"));
    client.ip(&format!("-6 route add default via {SERVER_V6}"));
    Ok((client, server))
}

impl Host {
    /// A host with nothing but loopback. `Err` says what this machine refuses.
    pub fn new() -> Result<Self, String> {
        let cgroup = ChildCgroup::new()?;
        let setup = "umount -l -R /sys && mount -t sysfs sysfs /sys \
                     && mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount -t tmpfs tmpfs /run \
                     && mkdir -p /run/.lib/up /run/.lib/work \
                     && mount -t overlay -o lowerdir=/var/lib,upperdir=/run/.lib/up,workdir=/run/.lib/work \
                        overlay /var/lib && rm -rf /var/lib/earthdog \
                     && ip link set lo up && echo ready && exec cat";
        let mut command = cgroup.enter(Path::new("unshare"));
        command.args(["-Cnm", "--propagation", "private", "sh", "-c", setup]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|e| format!("start {command:?}: {e}"))?;
        let holder_input = holder.stdin.take();
        let mut first = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out).read_line(&mut first).map_err(|e| format!("read from {command:?}: {e}"))?;
        }
        let host = Self { holder_input, holder, cgroup };
        if first.trim() == "ready" { Ok(host) } else { Err(host.refused()) }
    }

    /// A command that will run in this host: in its cgroup and namespaces, with the program's own pid being the
    /// child's.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.cgroup.enter(Path::new("nsenter"));
        command.args(["-t", &self.holder.id().to_string(), "-C", "-n", "-m", "--"]).arg(program.as_ref());
        command
    }

    /// As `command`, in a mount namespace of its own with `resolver` as /etc/resolv.conf.
    pub fn command_with_resolver(&self, resolver: &str, program: impl AsRef<Path>) -> Command {
        // The file lies in the host's own /run, which is a tmpfs only its namespaces see.
        let script = "printf 'nameserver %s\\noptions timeout:2 attempts:2\\n' \"$0\" > /run/resolv.conf && \
                      mount --bind /run/resolv.conf /etc/resolv.conf && exec \"$@\"";
        let mut command = self.command("unshare");
        command.args(["-m", "sh", "-c", script, resolver]).arg(program.as_ref());
        command
    }

    /// Runs a command line (split at spaces) to its end; panics with its output unless it succeeds.
    pub fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        assert!(
            output.status.success(),
            "{line}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command line (split at spaces) to its end, whatever that is.
    pub fn try_run(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("empty command line"));
        command.args(words).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// A veth pair from this host to another.
    pub fn link(&self, name: &str, other: &Self, other_name: &str) {
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {}", other.pid()));
    }

    /// Sends packets on that are for others.
    pub fn forward(&self) {
        let done = self.command("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).status();
        assert!(done.is_ok_and(|status| status.success()), "ip_forward");
    }

    /// A process in the host's namespaces, for as long as it lives.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// `ip` with these arguments.
    pub fn ip(&self, arguments: &str) -> String {
        self.run(&format!("ip {arguments}"))
    }

    /// The host's cgroup as seen from outside; from inside it is the root, /sys/fs/cgroup.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup.path
    }

    /// A path inside the host as it is reached from outside.
    pub fn file(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.holder.id()))
    }

    /// Runs this on a thread of its own in the host's network namespace.
    #[allow(unsafe_code, reason = "std has no setns")]
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> io::Result<T> {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.pid()))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: an open namespace descriptor; only this thread moves.
                if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(run())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn refused(mut self) -> String {
        let _ = self.holder.kill();
        let mut text = String::new();
        if let Some(err) = self.holder.stderr.take() {
            let _ = BufReader::new(err).read_line(&mut text);
        }
        format!("namespaces are refused: {}", text.trim())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder_input.take());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A cgroup of our own below the machine's cgroup2 root.
#[derive(Debug)]
#[must_use]
pub struct ChildCgroup {
    path: PathBuf,
}

impl ChildCgroup {
    /// Makes one with a name of this process's own. `Err` says what this machine refuses.
    pub fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mount = cgroup2_mount()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            sweep(&mount);
        }
        let path = mount.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("mkdir {}: {e}", path.display()))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that moves into the cgroup, then becomes `program`.
    pub fn enter(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]);
        command.arg(self.path.join("cgroup.procs")).arg(program);
        // Whatever is entered finds `ip` and `tc`.
        command.env("PATH", peer::search_path());
        command
    }
}

impl Drop for ChildCgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Ends what is in a cgroup of the kit and removes it.
fn remove(cgroup: &Path) {
    // Only processes a test put in here can be in here.
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    let removed = Deadline::secs(5).poll(|| {
        // What a test made inside its host goes first.
        for child in fs::read_dir(cgroup).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(child.path());
        }
        match fs::remove_dir(cgroup) {
            // Two runs may sweep at once.
            Err(error) if error.kind() != io::ErrorKind::NotFound => None,
            _ => Some(()),
        }
    });
    if removed.is_none() {
        eprintln!("left behind: {}", cgroup.display());
    }
}

/// Removes what a killed run left: cgroups of the kit whose process is no more.
fn sweep(mount: &Path) {
    for entry in fs::read_dir(mount).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&entry.path());
        }
    }
}

/// The pid in the name of a cgroup of the kit.
fn owner(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// The cgroup2 mount of this machine, wherever it is.
fn cgroup2_mount() -> Result<PathBuf, String> {
    let text =
        fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    text.lines()
        .find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup2 ").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or("/")))
        })
        .ok_or_else(|| "no cgroup2 is mounted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require;

    #[test]
    fn two_hosts_are_linked_and_leave_nothing() {
        let (client, server) = require!(pair());
        for host in [&client, &server] {
            let link = host.ip(&format!("-o link show {LINK}"));
            assert!(link.contains("LOWER_UP"), "{link}");
        }
        assert!(client.ip("-o route get 198.51.100.1").contains(LINK));
        assert_eq!(client.run("cat /sys/fs/cgroup/cgroup.procs").lines().count(), 2, "holder and cat");
        let cgroup = client.cgroup().to_owned();
        let mut resolv = client.command_with_resolver("192.0.2.53", "cat");
        let output = resolv.arg("/etc/resolv.conf").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("192.0.2.53"));
        drop((client, server));
        assert!(!cgroup.exists());
    }

    #[test]
    fn what_a_killed_run_left_is_swept() {
        let kept = require!(ChildCgroup::new());
        let mount = kept.path().parent().unwrap();
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let left = mount.join(format!("{PREFIX}{}-0", ended.id()));
        let other = mount.join(format!("{PREFIX}{}-other", ended.id()));
        for path in [&left, &left.join("inner"), &other] {
            fs::create_dir(path).unwrap();
        }
        sweep(mount);
        let (left, other_stays) = (left.exists(), other.exists());
        let _ = fs::remove_dir(other);
        assert!(!left && other_stays && kept.path().exists());
        assert_eq!(owner("earthdog-test-12-3"), Some(12));
        assert_eq!(owner("earthdog-demo-12"), None);
    }
}
