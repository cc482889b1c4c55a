//! A machine to install on: a host whose root is a copy of this machine's, written over in memory, with the package
//! tools of the cache in their places. This machine's own files and package database stay as they are.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::host::Host;
use crate::peer;

const ROOT: &str = "/run/machine/root";

/// A root in a host's mount namespace; gone with the host.
#[derive(Debug)]
pub struct Machine<'a> {
    host: &'a Host,
}

impl<'a> Machine<'a> {
    /// `Err` says what this machine lacks or refuses.
    pub fn on(host: &'a Host) -> Result<Self, String> {
        let tools = peer::packages("usr/bin/lintian")?;
        let script = "set -e; mkdir /run/machine && cd /run/machine && mkdir up work root
            mount -t overlay -o lowerdir=/,upperdir=up,workdir=work overlay root
            tar -C \"$0\" -c . | tar -C root -x --keep-directory-symlink
            rm -rf root/var/lib/earthdog root/etc/earthdog
            mount --rbind /proc root/proc && mount --rbind /dev root/dev && mount --rbind /sys root/sys
            mount -t tmpfs tmpfs root/run && mount -t tmpfs tmpfs root/tmp";
        let mut command = host.command("sh");
        command.args(["-c", script]).arg(tools).stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() {
            Ok(Self { host })
        } else {
            Err(format!("a root of its own is refused: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
    }

    /// A command that will run with this root.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.host.command("chroot");
        command
            .arg(ROOT)
            .arg(program.as_ref())
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a shell's words to their end, whatever that is.
    pub fn try_run(&self, words: &str) -> Output {
        let mut command = self.command("sh");
        command.args(["-c", words]).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{words}: {e}"))
    }

    /// As `try_run`; panics with what they said unless they succeed. What they said, both outputs.
    pub fn run(&self, words: &str) -> String {
        let output = self.try_run(words);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{words}: {}\n{}{}", output.status, said[0], said[1]);
        said.concat()
    }

    /// Is there such a file, folder or link?
    pub fn has(&self, path: &str) -> bool {
        self.host.file(&format!("{ROOT}{path}")).symlink_metadata().is_ok()
    }

    /// What a file holds.
    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.host.file(&format!("{ROOT}{path}"))).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Puts a copy of a file of this machine's there.
    pub fn put(&self, from: &Path, to: &str) {
        let place = self.host.file(&format!("{ROOT}{to}"));
        std::fs::copy(from, &place).unwrap_or_else(|e| panic!("{} to {to}: {e}", from.display()));
    }
}
