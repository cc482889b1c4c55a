//! A real tunnel between two hosts of the kit.

use std::path::PathBuf;

use crate::deadline::Deadline;
use crate::host::{Host, SERVER_V4};
use crate::peer;
use crate::process::Process;

/// What a finding names; the tunnel is in `t.` of it.
pub const ZONE: &str = "tunnel.example";

/// Both programs of it.
#[derive(Debug)]
pub struct Iodine {
    /// Of the client.
    pub program: PathBuf,
    daemon: PathBuf,
}

impl Iodine {
    /// `Err` says how to get it.
    pub fn find() -> Result<Self, String> {
        Ok(Self { program: peer::find("iodine")?, daemon: peer::find("iodined")? })
    }

    /// The far end, which listens when this returns.
    pub fn listen(&self, server: &Host) -> Process {
        let mut command = server.command(&self.daemon);
        command.args(["-f", "-c", "-P", "secret", "-l", SERVER_V4, "10.88.0.1/24", &tunnel()]);
        let process = Process::spawn(command);
        process.wait_for_text("Listening to dns", Deadline::secs(10));
        process
    }

    /// The client, by way of this resolver; `-r` among the options keeps to DNS.
    pub fn connect(&self, client: &Host, options: &[&str], resolver: &str) -> Process {
        let mut command = client.command(&self.program);
        command.args(client_arguments(options, resolver));
        Process::spawn(command)
    }
}

/// Of the client, for who starts it elsewhere.
pub fn client_arguments(options: &[&str], resolver: &str) -> Vec<String> {
    let fixed = ["-f", "-P", "secret"].iter().chain(options).map(|word| (*word).to_owned());
    fixed.chain([resolver.to_owned(), tunnel()]).collect()
}

fn tunnel() -> String {
    format!("t.{ZONE}")
}
