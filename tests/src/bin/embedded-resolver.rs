//! A resolver in Docker's manner: it answers from a socket in another process's network namespace and asks upstream from
//! its own. Says "ready PORT"; ends after a while whatever happens.
//!
//! ```text
//! embedded-resolver PID ADDRESS UPSTREAM
//! ```

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use earthdog_tests::deadline::Deadline;
use earthdog_tests::words;

const LIMIT_SECS: u64 = 120;

fn main() -> ExitCode {
    words::main(run)
}

fn run(words: &[&str]) -> Result<()> {
    let [pid, address, upstream] = words else { bail!("usage: see the head of {}", file!()) };
    let stub = bind_inside(pid.parse()?, address.parse()?)?;
    let upstream: SocketAddr = upstream.parse()?;
    println!("ready {}", stub.local_addr()?.port());
    let limit = Deadline::secs(LIMIT_SECS);
    stub.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 4096];
    while !limit.passed() {
        let Ok((len, client)) = stub.recv_from(&mut buffer) else { continue };
        // A socket for each query, with a port of its own, as resolvers have it.
        let asking = UdpSocket::bind("0.0.0.0:0")?;
        asking.set_read_timeout(Some(Duration::from_secs(2)))?;
        asking.connect(upstream)?;
        asking.send(&buffer[..len])?;
        if let Ok(len) = asking.recv(&mut buffer) {
            stub.send_to(&buffer[..len], client)?;
        }
    }
    Ok(())
}

/// A socket stays in the namespace it was made in; the thread that made it ends.
#[allow(unsafe_code, reason = "std has no setns")]
fn bind_inside(pid: u32, address: SocketAddr) -> Result<UdpSocket> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).with_context(|| path)?;
    let bind = move || {
        // SAFETY: an open namespace's descriptor; moves this thread only.
        let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
        ensure!(moved == 0, "setns: {}", std::io::Error::last_os_error());
        UdpSocket::bind(address).with_context(|| format!("bind {address}"))
    };
    std::thread::spawn(bind).join().unwrap_or_else(|_| bail!("the thread that binds panicked"))
}
