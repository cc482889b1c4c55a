//! The bytes of the store: a header of our own, then redb's file, never longer than allowed.
//!
//! The header tells our file from any other before anything is written to it. A copy in memory serves readers that must
//! not touch the file: redb repairs what a killed sensor left, and does so in the copy.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;

/// Bytes before redb's: a page, so that redb's pages stay aligned.
pub const HEADER_LEN: u64 = 4096;

/// The file behind its header. Its lock is ours (`file::open`), taken before anything is read.
#[derive(Debug)]
pub struct Disk {
    file: File,
    max_len: u64,
}

impl Disk {
    /// `max_len` is of the whole file; growing beyond it fails as a full disk does.
    pub const fn new(file: File, max_len: u64) -> Self {
        Self { file, max_len }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(HEADER_LEN))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset + HEADER_LEN)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = len + HEADER_LEN;
        if len > self.max_len && len > self.file.metadata()?.len() {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the file has its full size (store.max_mib)",
            ));
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset + HEADER_LEN)
    }
}

/// redb's part of a file, in memory; what is written to it is lost.
#[derive(Debug)]
pub struct Copy(Mutex<Vec<u8>>);

impl Copy {
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StorageBackend for Copy {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|bytes| {
            let from = bytes.get(offset as usize..).and_then(|bytes| bytes.get(..out.len()));
            out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|bytes| bytes.resize(len as usize, 0));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|bytes| {
            let to = bytes.get_mut(offset as usize..).and_then(|bytes| bytes.get_mut(..data.len()));
            to.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
            Ok(())
        })
    }
}
