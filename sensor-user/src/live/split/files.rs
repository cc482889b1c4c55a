//! Files and TCP ports that the parsing process may use, for Landlock: what its configuration names, and nothing else.
//!
//! What is granted is what lies there when the sensor starts. A folder stands for all that comes to lie in it; a file
//! that is replaced by another of its name is another, unless its folder is granted.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use crate::config::Config;
use crate::config::files::DIRECTORY;
use crate::config::sinks::{Kind, Sink};

/// Reading, and looking into folders.
fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Keeping files of its own in a folder.
fn keeping() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::MakeDir
        | AccessFs::RemoveDir
}

/// What any configuration needs.
const ALWAYS: [&str; 6] = [
    DIRECTORY,
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/proc/sys/kernel",
    // Names of sinks' hosts: libraries of name services, and what they read. Of all users to read.
    "/usr/lib",
    "/lib",
];
/// Of /etc, what the resolver and TLS read, and a rollout's order. The superuser owns secrets there; others are kept out of them by their modes,
/// and get the whole folder, in which files are replaced.
const OF_ETC: [&str; 11] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/machine-id",
];

/// Paths with what may be done below them, and TCP ports.
#[derive(Debug, Default)]
pub(super) struct Grants {
    paths: Vec<(PathBuf, BitFlags<AccessFs>)>,
    connect: BTreeSet<u16>,
    bind: BTreeSet<u16>,
}

impl Grants {
    /// Makes folders that are to be written to, as their users would.
    pub(super) fn of(file: Option<&Path>, config: &Config, is_superuser: bool) -> Self {
        let mut grants = Self::default();
        for path in ALWAYS {
            grants.add(path, reading());
        }
        let etc: &[&str] = if is_superuser { &OF_ETC } else { &["/etc"] };
        for path in etc {
            grants.read(Path::new(path));
        }
        if let Some(file) = file {
            grants.read(file);
        }
        let lists = [&config.inventory.file, &config.asset_policy.known_good_vibs];
        for list in lists.into_iter().chain(&config.reputation.domain_reputation_feed) {
            grants.read(Path::new(list));
        }
        if !config.store.path.is_empty() {
            // One level, as the store itself would.
            grants.keep_in(Path::new(&config.store.path).parent(), DirBuilder::new().mode(0o700));
        }
        grants.socket(&config.live.control_socket);
        let listen = &config.metrics.listen;
        if listen.starts_with('/') {
            grants.socket(listen);
        } else if let Ok(address) = listen.parse::<std::net::SocketAddr>() {
            grants.bind.insert(address.port());
        }
        for sink in &config.sinks {
            grants.sink(sink);
        }
        grants
    }

    /// Folders to be written to that the calling thread may not write to.
    pub(super) fn closed(&self) -> impl Iterator<Item = &Path> {
        let kept = self.paths.iter().filter(|(_, access)| access.contains(AccessFs::WriteFile));
        kept.map(|(path, _)| path.as_path()).filter(|path| {
            rustix::fs::access(*path, rustix::fs::Access::WRITE_OK) == Err(rustix::io::Errno::ACCESS)
        })
    }

    fn sink(&mut self, sink: &Sink) {
        match sink.kind {
            Kind::File | Kind::DnstapFile => {
                self.keep_in(Path::new(sink.to()).parent(), DirBuilder::new().recursive(true).mode(0o750));
            }
            Kind::SyslogTcp | Kind::SyslogTls | Kind::Http => {
                self.connect.extend(sink.port());
                // A resolver's answer that was cut is asked for again over TCP.
                self.connect.insert(53);
                if !sink.spool.is_empty() {
                    self.keep_in(Some(Path::new(&sink.spool)), DirBuilder::new().recursive(true).mode(0o700));
                }
            }
            Kind::Unix | Kind::UnixDatagram | Kind::Journald | Kind::SyslogUdp | Kind::DnstapUnix => {}
        }
        for path in [&sink.ca, &sink.cert, &sink.key, &sink.token_file] {
            if !path.is_empty() {
                self.read(Path::new(path));
            }
        }
    }

    /// A file; with its folder where nothing but the file's kind is likely to be there, so that it may be replaced.
    fn read(&mut self, file: &Path) {
        if let Some(folder) = file.parent().filter(|folder| !is_shared(folder)) {
            self.add(folder, reading());
        }
        let Ok(real) = fs::canonicalize(file) else { return };
        if let Some(folder) = real.parent().filter(|folder| !is_shared(folder)) {
            self.add(folder, reading());
        }
        self.add(real, reading());
    }

    fn keep_in(&mut self, folder: Option<&Path>, builder: &DirBuilder) {
        let Some(folder) = folder else { return };
        // What cannot be is told by who wants to write there.
        let _ = builder.create(folder);
        self.add(folder, keeping());
    }

    fn socket(&mut self, path: &str) {
        let Some(folder) = Path::new(path).parent() else { return };
        let _ = fs::create_dir(folder);
        self.add(folder, AccessFs::MakeSock | AccessFs::RemoveFile);
    }

    fn add(&mut self, path: impl Into<PathBuf>, access: BitFlags<AccessFs>) {
        self.paths.push((path.into(), access));
    }
}

/// Whether a folder is for files of many kinds, or is somebody's home.
fn is_shared(folder: &Path) -> bool {
    let mut names = folder.components().skip(1).filter_map(|name| name.as_os_str().to_str());
    match (names.next(), names.next()) {
        (None | Some("root" | "home"), _) | (_, None) => true,
        (Some("var"), Some("lib" | "log" | "cache" | "spool" | "run" | "tmp" | "opt")) => {
            names.next().is_none()
        }
        (Some("usr"), Some(_)) | (Some("run"), Some("secrets" | "user")) => names.next().is_none(),
        _ => false,
    }
}

/// What is in force of Landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InForce {
    pub(super) abi: u32,
    /// TCP ports are kept to those of the configuration.
    pub(super) ports: bool,
}

/// Restricts the calling thread, and those it will start.
pub(super) fn restrict(grants: &Grants) -> Result<InForce, String> {
    let failed = |error: RulesetError| format!("Landlock refuses its rules: {error}");
    let all = AccessFs::from_all(ABI::V5);
    // As much of it as this kernel knows.
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(|rules| rules.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp))
        .and_then(|rules| rules.scope(Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    // Held open, /proc/self stays the folder that the rule is of.
    let own = PathFd::new("/proc/self").map_err(|error| error.to_string())?;
    ruleset = ruleset.add_rule(PathBeneath::new(&own, reading())).map_err(failed)?;
    std::mem::forget(own);
    for (path, access) in &grants.paths {
        // What is not there cannot be granted.
        let Ok(descriptor) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { *access } else { *access & AccessFs::from_file(ABI::V5) };
        ruleset = ruleset.add_rule(PathBeneath::new(descriptor, access)).map_err(failed)?;
    }
    for port in &grants.connect {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(failed)?;
    }
    for port in &grants.bind {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp)).map_err(failed)?;
    }
    let status = ruleset.restrict_self().map_err(failed)?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            let abi = effective_abi as u32;
            Ok(InForce { abi, ports: abi >= ABI::V4 as u32 })
        }
        LandlockStatus::NotEnabled => Err("Landlock is off in this kernel (boot with lsm=landlock,…)".into()),
        LandlockStatus::NotImplemented => {
            Err("this kernel has no Landlock (5.13, CONFIG_SECURITY_LANDLOCK)".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_many_are_not_granted_for_one_file() {
        for shared in [
            "/",
            "/etc",
            "/run",
            "/tmp",
            "/root",
            "/root/x",
            "/home/ann",
            "/home/ann/feeds",
            "/var/lib",
            "/usr/share",
        ] {
            assert!(is_shared(Path::new(shared)), "{shared}");
        }
        for own in
            ["/etc/earthdog", "/var/lib/feeds", "/srv/feeds", "/usr/share/feeds", "/run/systemd/resolve"]
        {
            assert!(!is_shared(Path::new(own)), "{own}");
        }
    }
}
