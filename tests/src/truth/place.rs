//! Where the truth is asked: in two hosts of the kit, or on a machine of one's own (a VM).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::serve::SERVED;
use crate::deadline::Deadline;
use crate::host::{self, Host, LINK, SERVER_V4, SERVER_V6};
use crate::peer::search_path;
use crate::process::{Process, Stream};

#[derive(Debug)]
#[must_use]
pub struct Place {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// The interface towards the server.
    pub device: String,
    programs: Programs,
    server: Process,
    _stub: Process,
    /// Client and server; ends after the processes in them.
    hosts: Option<(Host, Host)>,
    files: tempfile::TempDir,
}

/// The binaries.
#[derive(Clone, Debug)]
pub struct Programs {
    pub sensor: PathBuf,
    pub sender: PathBuf,
}

const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

impl Place {
    /// Two hosts of the kit. `Err` says what this machine refuses.
    pub fn in_kit(programs: Programs) -> Result<Self, String> {
        let (client, server) = host::pair()?;
        let v4 = SERVER_V4.parse().map_err(|e| format!("{SERVER_V4}: {e}"))?;
        let v6 = SERVER_V6.parse().map_err(|e| format!("{SERVER_V6}: {e}"))?;
        let server_process = serve(server.command(&programs.sender), &[IpAddr::V4(v4), IpAddr::V6(v6)])?;
        let stub = serve(client.command(&programs.sender), &[STUB])?;
        Ok(Self {
            v4,
            v6,
            device: LINK.to_owned(),
            programs,
            server: server_process,
            _stub: stub,
            hosts: Some((client, server)),
            files: tempfile::tempdir().map_err(|e| format!("temporary folder: {e}"))?,
        })
    }

    /// This machine, as it is: for a VM. The server is in the network namespace `netns`, behind `device`.
    pub fn here(
        programs: Programs,
        v4: Ipv4Addr,
        v6: Ipv6Addr,
        device: &str,
        netns: &str,
    ) -> Result<Self, String> {
        let mut server = Command::new("ip");
        server.args(["netns", "exec", netns]).arg(&programs.sender).env("PATH", search_path());
        let server = serve(server, &[IpAddr::V4(v4), IpAddr::V6(v6)])?;
        let stub = serve(Command::new(&programs.sender), &[STUB])?;
        Ok(Self {
            v4,
            v6,
            device: device.to_owned(),
            programs,
            server,
            _stub: stub,
            hosts: None,
            files: tempfile::tempdir().map_err(|e| format!("temporary folder: {e}"))?,
        })
    }

    /// A sender's command line, without its words.
    pub fn sender(&self) -> Command {
        self.command(&self.programs.sender)
    }

    pub fn sensor(&self) -> Command {
        self.command(&self.programs.sensor)
    }

    /// A file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn command(&self, program: &Path) -> Command {
        match &self.hosts {
            Some((client, _)) => client.command(program),
            None => Command::new(program),
        }
    }

    /// Whether a query has arrived at the server.
    pub fn was_served(&self, name: &str) -> bool {
        let told = format!("{SERVED}{name}");
        self.server.lines(Stream::Out).contains(&told)
    }

    /// Queries as fast as they go, beside what is asked; ends when it is dropped, or after so many.
    pub fn load(&self, count: u64) -> Process {
        let mut command = self.sender();
        command.args(["flood", &count.to_string(), &self.v4.to_string()]);
        Process::spawn(command)
    }

    /// Removes the cgroups that senders made.
    pub fn tidy(&self) {
        let root = match &self.hosts {
            Some((client, _)) => client.cgroup().to_owned(),
            None => PathBuf::from("/sys/fs/cgroup"),
        };
        let slice = root.join("system.slice");
        for scope in fs::read_dir(&slice).into_iter().flatten().flatten() {
            let is_ours = scope.file_name().to_string_lossy().contains("c0ffee");
            if is_ours {
                let _ = fs::remove_dir(scope.path());
            }
        }
        // Where others have scopes in it, it stays.
        let _ = fs::remove_dir(slice);
    }
}

fn serve(mut command: Command, addresses: &[IpAddr]) -> Result<Process, String> {
    command.arg("serve").args(addresses.iter().map(IpAddr::to_string));
    let process = Process::spawn(command);
    let ready = process.try_wait_for(Deadline::secs(30), |lines| {
        lines.iter().any(|(_, line)| line == "ready").then_some(())
    });
    ready.map(|()| process).ok_or_else(|| "the server did not start".to_owned())
}
