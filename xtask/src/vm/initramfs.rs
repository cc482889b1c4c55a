//! The guest's file system: a cpio archive in the `newc` form (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

#[derive(Debug, Default)]
pub(super) struct Initramfs {
    archive: Vec<u8>,
    entries: u32,
    known: BTreeSet<String>,
}

impl Initramfs {
    /// Adds a file once, with the folders above it.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) {
        self.folders(name);
        if self.known.insert(name.to_owned()) {
            self.entry(name, PROGRAM, bytes);
        }
    }

    pub(super) fn copy(&mut self, name: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| from.display().to_string())?;
        self.file(name, &bytes);
        Ok(())
    }

    pub(super) fn folder(&mut self, name: &str) {
        self.folders(name);
        if self.known.insert(name.to_owned()) {
            self.entry(name, FOLDER, &[]);
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.archive
    }

    fn folders(&mut self, name: &str) {
        for (at, _) in name.match_indices('/') {
            if self.known.insert(name[..at].to_owned()) {
                self.entry(&name[..at], FOLDER, &[]);
            }
        }
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.entries += 1;
        let links = 1;
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // inode, mode, uid, gid, links, mtime, size, device and rdevice (major, minor), name size, checksum
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.archive.extend_from_slice(b"070701");
        for field in fields {
            self.archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.archive.extend_from_slice(name.as_bytes());
        self.archive.push(0);
        self.pad();
        self.archive.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_aligned_and_closed() {
        let mut initramfs = Initramfs::default();
        initramfs.file("a/b", b"12345");
        initramfs.file("a/c", b"");
        let archive = initramfs.finish();
        let text = String::from_utf8_lossy(&archive);
        assert_eq!(text.matches("070701").count(), 4, "the folder once, two files, the end");
        assert!(text.contains("a/b\0") && text.contains("12345") && text.contains("TRAILER!!!"));
        assert_eq!(archive.len() % 4, 0);
    }
}
