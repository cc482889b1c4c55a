//! clsact, before 6.6: its filters stay when a sensor is killed, and a sensor's filters look like any other sensor's.
//! So one process at a time touches them in a network namespace: what the holder of the lock finds there is left over.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::attach;
use super::link::Link;
use crate::exit::{Code, Error};

/// Where the lock files are: the same place for every sensor, whatever its configuration.
pub const DIRECTORY: &str = "/run/earthdog";

/// The right to touch the clsact filters of one network namespace; ends with the process, in whatever way that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it for the calling thread's network namespace. Held by another process, it is an error that says so.
    pub fn take(directory: &Path) -> Result<Self, Error> {
        let failed = |what: &Path, error| {
            Error::new(Code::Failure, format!("cannot lock clsact: {}: {error}", what.display()))
        };
        let namespace = Path::new("/proc/thread-self/ns/net");
        let inode = fs::metadata(namespace).map_err(|error| failed(namespace, error))?.ino();
        fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        // Never removed: whoever opened the old file could lock that beside the new one.
        let path = directory.join(format!("clsact-{inode}.lock"));
        // For our user alone: to open it is enough to lock it.
        let file = File::options().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(|error| failed(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "another sensor watches this network namespace through clsact (it holds {}): stop it first, or \
                     run without the wire view (--xdp-mode off)",
                    path.display()
                );
                Err(Error::new(Code::Failure, message))
            }
            Err(TryLockError::Error(error)) => Err(failed(&path, error)),
        }
    }
}

/// At the start of a sensor on a kernel without tcx: takes away what a killed one left on any of `links` (returned in
/// words), and holds the lock on if the plan needs clsact. A living sensor's filters stay.
pub fn start(
    needed: bool,
    links: &[Link],
    directory: &Path,
) -> Result<(Option<Lock>, Option<String>), Error> {
    match Lock::take(directory) {
        Err(error) if needed => Err(error),
        Err(_) => Ok((None, None)),
        Ok(lock) => {
            let removed = attach::clean(links);
            let words = format!("removed what a killed sensor left: {}", removed.join(", "));
            Ok((needed.then_some(lock), (!removed.is_empty()).then_some(words)))
        }
    }
}
