//! From a cgroup's id to its path and back, without a process in it: by file handle on the cgroup2 mount.
#![allow(unsafe_code)] // open_by_handle_at has no safe binding

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::cgroup::is_cgroup2;

/// `FILEID_KERNFS` of linux/exportfs.h: the handle is the node's 64-bit id (since 5.5, linux 33c5ac9175195).
const FILEID_KERNFS: libc::c_int = 0xfe;

/// `struct file_handle` with eight bytes of handle.
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    id: u64,
}

/// The cgroup2 hierarchy as this process sees it.
#[derive(Debug)]
pub struct Cgroups {
    root: Option<(PathBuf, File)>,
}

impl Cgroups {
    /// By any directory of the hierarchy.
    pub fn new(directory: Option<&Path>) -> Self {
        let root = directory.map(|directory| {
            let above = directory.ancestors().take_while(|above| is_cgroup2(above));
            above.last().unwrap_or(directory).to_owned()
        });
        Self { root: root.and_then(|root| File::open(&root).ok().map(|file| (root, file))) }
    }

    /// Path below the root, with a slash in front, of a cgroup that exists. `None` also where the id is of a cgroup
    /// outside what this process sees, or the right to open by handle (CAP_DAC_READ_SEARCH) is missing.
    pub fn path(&self, id: u64) -> Option<Vec<u8>> {
        let (root, mount) = self.root.as_ref()?;
        let directory = open_by_id(mount, id).ok()?;
        let full = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
        let full = full.into_os_string().into_vec();
        let below = full.strip_prefix(root.as_os_str().as_bytes())?;
        match below.strip_suffix(b" (deleted)").unwrap_or(below) {
            [] => Some(b"/".to_vec()),
            below => below.starts_with(b"/").then(|| below.to_vec()),
        }
    }

    /// Id of the cgroup at a path below the root.
    pub fn id(&self, path: &[u8]) -> Option<u64> {
        let (root, _) = self.root.as_ref()?;
        let below = std::ffi::OsStr::from_bytes(path.strip_prefix(b"/")?);
        fs::metadata(root.join(below)).ok().map(|metadata| metadata.ino())
    }
}

fn open_by_id(mount: &File, id: u64) -> io::Result<OwnedFd> {
    let mut handle = Handle { bytes: size_of::<u64>() as libc::c_uint, kind: FILEID_KERNFS, id };
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the handle has the layout and the length it says, and lives until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), &raw mut handle, flags) };
    match libc::c_int::try_from(fd) {
        // SAFETY: the kernel just returned this descriptor; nothing else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{cgroup, features, permission};
    use super::*;

    #[test]
    fn the_id_of_a_directory_leads_back_to_it() {
        let (Ok(root), Ok(())) = (cgroup::root(), permission::permitted()) else {
            return features::skip_or_fail("no cgroup2 hierarchy whose root is visible, or no permission");
        };
        let cgroups = Cgroups::new(Some(&root));
        let root_id = cgroups.id(b"/").unwrap();
        assert_eq!(cgroups.path(root_id).as_deref(), Some(&b"/"[..]));
        let mut children = 0;
        for child in fs::read_dir(&root).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            let path = [b"/", child.file_name().as_bytes()].concat();
            // Others make and remove cgroups meanwhile.
            if let Some(id) = cgroups.id(&path)
                && let Some(back) = cgroups.path(id)
            {
                assert_eq!(back, path);
                children += 1;
            }
        }
        eprintln!("{children} cgroups");
        assert!(cgroups.path(u64::MAX).is_none());
        let from_below = fs::read_dir(&root).unwrap().flatten().map(|e| e.path()).find(|p| is_cgroup2(p));
        if let Some(below) = from_below {
            assert_eq!(Cgroups::new(Some(&below)).id(b"/"), Some(root_id));
        }
        assert!(Cgroups::new(None).path(root_id).is_none());
    }
}
