//! `cargo xtask demo`: the sensor against a real tunnel, in namespaces of its own; the host's network is not touched.
//!
//! Three stages, each a process of this binary: the caller builds; root makes a child cgroup and unshares; inside, a
//! veth pair joins the "host" (sensor, tunnel client) to the "internet" (tunnel server). All of it goes when the last
//! process ends.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::ci::sensor;
use crate::process;
use crate::run;
use crate::setup::Needs;

const ZONE: &str = "t.demo.example";
const SERVER: &str = "10.53.0.1";
const CLIENT: &str = "10.53.0.2";
/// Inside the tunnel; the discard port.
const THROUGH_TUNNEL: &str = "10.54.0.1:9";
/// Between two packets into the tunnel.
const PACE: Duration = Duration::from_millis(50);
/// In paces: a newcomer sees a finding within a minute.
const PATIENCE: usize = 1200;
/// In paces: how long the sensor may stay silent before its finding is taken as whole.
const SILENCE: usize = 30;

/// Which of the three processes this is.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Stage {
    Build,
    Host,
    Inside,
}

pub(crate) fn run(cache: &Cache, stage: Stage) -> Result<()> {
    match stage {
        Stage::Build => {
            run::build(cache, Needs { toolchain: true, peers: true, ..Needs::default() })?;
            let mut next = run::privileged(&env::current_exe()?)?;
            // By argument: sudo drops the environment.
            next.args(["demo", "--stage", "host", "--cache"]).arg(cache.root());
            process::run(&mut next)
        }
        Stage::Host => host(cache),
        Stage::Inside => inside(cache),
    }
}

/// A cgroup of its own becomes the root of the cgroup namespace inside.
fn host(cache: &Cache) -> Result<()> {
    let program = env::current_exe()?;
    let mount = cgroup2_mounts()?.into_iter().find(|(root, _)| root == "/").map(|(_, mount)| mount);
    let cgroup = mount.map(|mount| mount.join(format!("earthdog-demo-{}", std::process::id())));
    if let Some(cgroup) = &cgroup {
        fs::create_dir(cgroup).with_context(|| format!("cannot create {}", cgroup.display()))?;
    }
    let enter = "if [ -n \"$1\" ]; then echo $$ > \"$1/cgroup.procs\" || exit 1; fi; shift; exec \"$@\"";
    let result = process::run(
        Command::new("sh")
            .args(["-c", enter, "sh"])
            .arg(cgroup.as_deref().unwrap_or(Path::new("")))
            .args(["unshare", "--cgroup", "--net", "--mount", "--propagation", "private"])
            .arg(program)
            .args(["demo", "--stage", "inside", "--cache"])
            .arg(cache.root()),
    );
    if let Some(cgroup) = &cgroup {
        remove(cgroup)?;
    }
    result
}

/// Ends what is left in the cgroup, then removes it; the kernel takes a moment to forget ended processes.
fn remove(cgroup: &Path) -> Result<()> {
    // Before 5.14 there is no such file, and nothing should be left anyway.
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    for _ in 0..40 {
        if fs::remove_dir(cgroup).is_ok() {
            return Ok(());
        }
        pause();
    }
    fs::remove_dir(cgroup).with_context(|| format!("cannot remove {}", cgroup.display()))
}

fn pause() {
    let (_keep, never) = sync_channel::<()>(0);
    let _ = never.recv_timeout(PACE);
}

fn inside(cache: &Cache) -> Result<()> {
    let peer = |name: &str| cache.path("peers/bin").join(name);
    private_view()?;

    let holder = Guard::spawn(Command::new("unshare").args(["--net", "sleep", "300"]))?;
    let internet = holder.0.id().to_string();
    other_namespace(&internet)?;
    let ip = |arguments: &str| process::run(Command::new(peer("ip")).args(arguments.split(' ')));
    let there = |program: &Path, arguments: &str| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{internet}/ns/net")).arg(program).args(arguments.split(' '));
        command
    };
    ip("link set lo up")?;
    ip(&format!("link add eth0 type veth peer name eth0 netns {internet}"))?;
    ip(&format!("addr add {CLIENT}/24 dev eth0"))?;
    ip("link set eth0 up")?;
    ip(&format!("route add default via {SERVER}"))?;
    process::run(&mut there(&peer("ip"), &format!("addr add {SERVER}/24 dev eth0")))?;
    process::run(&mut there(&peer("ip"), "link set eth0 up"))?;

    println!("demo: the sensor starts on a host of its own: earthdog run");
    let (mut watcher, lines) = watch()?;
    if let Ok(Line::Status(text) | Line::Finding(text)) = lines.recv_timeout(Duration::from_secs(5)) {
        println!("{text}");
    }

    println!("demo: iodine opens a tunnel through DNS to {ZONE} and a file goes out through it");
    let quiet = |command: &mut Command| Guard::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let _server = quiet(&mut there(&peer("iodined"), &format!("-f -c -P demo 10.54.0.1/27 {ZONE}")))?;
    let _client = quiet(Command::new(peer("iodine")).args(["-f", "-r", "-P", "demo", SERVER, ZONE]))?;

    let found = leak(&lines)?;
    watcher.end();
    if !found {
        bail!("no finding within a minute: `earthdog doctor` says what the sensor can see here");
    }
    println!(
        "demo: that was a real tunnel. Its namespaces are gone now; `cargo xtask run` watches this host"
    );
    Ok(())
}

/// Sends until the sensor has said its finding whole. Whether it did.
fn leak(lines: &Receiver<Line>) -> Result<bool> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut secret = [0_u8; 700];
    let (mut found, mut silent) = (false, 0);
    for number in 0..PATIENCE {
        match lines.recv_timeout(PACE) {
            Ok(Line::Finding(text)) => {
                println!("{text}");
                (found, silent) = (true, 0);
            }
            Ok(Line::Status(text)) => println!("{text}"),
            Err(RecvTimeoutError::Timeout) => silent += 1,
            Err(RecvTimeoutError::Disconnected) => bail!("the sensor ended; its last words are above"),
        }
        if found && silent > SILENCE {
            break;
        }
        // Not compressible, as an encrypted file would be: iodine packs what it carries.
        for (at, byte) in secret.iter_mut().enumerate() {
            *byte = byte.wrapping_mul(167).wrapping_add((number ^ at) as u8).rotate_left(3);
        }
        // Fails until the tunnel is up.
        let _ = socket.send_to(&secret, THROUGH_TUNNEL);
    }
    Ok(found)
}

enum Line {
    Finding(String),
    Status(String),
}

fn watch() -> Result<(Guard, Receiver<Line>)> {
    // Nothing of the demo is remembered: /run is one of our own.
    let config = "/run/demo.toml";
    fs::write(config, "[store]\npath = \"/run/store.redb\"\n").context(config)?;
    let mut command = Command::new(sensor());
    let mut guard = Guard::spawn(
        command
            .args(["run", "--output", "human", "-c", config])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let (sender, receiver) = sync_channel(1024);
    let stdout = guard.0.stdout.take().context("the sensor has no stdout")?;
    let stderr = guard.0.stderr.take().context("the sensor has no stderr")?;
    pass_on(stdout, Line::Finding, sender.clone());
    pass_on(stderr, Line::Status, sender);
    Ok((guard, receiver))
}

fn pass_on(stream: impl std::io::Read + Send + 'static, line: fn(String) -> Line, to: SyncSender<Line>) {
    thread::spawn(move || {
        for text in BufReader::new(stream).lines().map_while(Result::ok) {
            if to.send(line(text)).is_err() {
                return;
            }
        }
    });
}

/// Mounts of our own: /sys of the new network, a cgroup2 tree that begins at our cgroup, an empty /run.
fn private_view() -> Result<()> {
    let mount = |kind: &str, at: &str| process::run(Command::new("mount").args(["-t", kind, kind, at]));
    let outer = cgroup2_mounts()?;
    for (_, at) in &outer {
        process::run(Command::new("umount").arg("--lazy").arg(at))?;
    }
    mount("tmpfs", "/run")?;
    mount("sysfs", "/sys")?;
    if !outer.is_empty() {
        mount("cgroup2", "/sys/fs/cgroup")?;
    }
    Ok(())
}

/// Root inside the hierarchy, and where it is mounted.
fn cgroup2_mounts() -> Result<Vec<(String, PathBuf)>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(cgroup2_mount).collect())
}

/// proc(5): `id parent dev root mountpoint options … - type source options`.
fn cgroup2_mount(line: &str) -> Option<(String, PathBuf)> {
    let (mount, kind) = line.split_once(" - ")?;
    kind.strip_prefix("cgroup2 ")?;
    let mut fields = mount.split(' ').skip(3);
    Some((fields.next()?.to_owned(), PathBuf::from(fields.next()?)))
}

/// Waits until the process has a network namespace that is not ours.
fn other_namespace(pid: &str) -> Result<()> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    for _ in 0..100 {
        if fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != ours) {
            return Ok(());
        }
        pause();
    }
    bail!("no network namespace: is this root, and is CONFIG_NET_NS set?")
}

/// A process that ends with us.
struct Guard(Child);

impl Guard {
    fn spawn(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).env_remove("LD_LIBRARY_PATH");
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self(child))
    }

    fn end(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_mounts_are_told_from_others() {
        let line = "31 24 0:26 /.. /sys/fs/cgroup/unified rw,nosuid shared:8 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(line), Some(("/..".to_owned(), PathBuf::from("/sys/fs/cgroup/unified"))));
        assert_eq!(cgroup2_mount(&line.replace("cgroup2 ", "tmpfs ")), None);
    }
}
