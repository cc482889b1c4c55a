//! The store's file: told from any other by its header, opened for one sensor at a time, set aside where it is damaged.
//!
//! The header names the format. A file of a later one is left alone. A release that changes the format reads the old one
//! with the old decoder into the history, writes a new file beside it and puts that in its place: a store is read whole
//! at the start anyway, so there is nothing to convert in place. Format 1 is the first.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::backend::{Copy, Disk, HEADER_LEN};
use super::history::Loaded;
use super::tables::{FindingLimits, Tables, Trouble};
use crate::escape::escape;

/// Raised whenever records are encoded in another way.
pub const FORMAT: u32 = 1;
const NAME: &str = "earthdog store, format ";
/// Begins every redb file: behind a header that cannot be read it says that the file was ours.
const REDB: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Damaged files that may lie beside the store; none is ever removed.
const SET_ASIDE_MAX: usize = 8;

/// How large a store may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub max_len: u64,
    pub findings: FindingLimits,
}

impl Limits {
    /// Records changed in one transaction: it holds the old and the new pages of all of them, a 16th of the file.
    const fn chunk(&self) -> usize {
        (self.max_len / 16 / 4096) as usize
    }
}

/// Why there is no store.
#[derive(Debug)]
pub enum Refused {
    /// Another sensor has it open.
    Busy,
    /// The file is something else.
    Foreign,
    /// A later version wrote it.
    Newer(u32),
    /// What is in it is not what was written; it was not set aside.
    Damaged(String),
    Io(io::Error),
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    pub tables: Tables,
    pub loaded: Loaded,
    /// Where a damaged one was put, and what was wrong with it.
    pub set_aside: Option<(PathBuf, String)>,
}

/// Opens the store of a sensor, made if it is not there. `time` names a damaged one that has to make way.
pub fn open(path: &Path, limits: Limits, time: &str) -> Result<Opened, Refused> {
    match existing(path, limits) {
        Ok(Some((tables, loaded))) => Ok(Opened { tables, loaded, set_aside: None }),
        Ok(None) => {
            let (tables, loaded) = create(path, limits)?;
            Ok(Opened { tables, loaded, set_aside: None })
        }
        Err(Refused::Damaged(what)) => {
            let aside = set_aside(path, time).map_err(|error| match error.kind() {
                io::ErrorKind::QuotaExceeded => Refused::Damaged(format!("{what}; {error}")),
                _ => Refused::Io(error),
            })?;
            let (tables, loaded) = create(path, limits)?;
            Ok(Opened { tables, loaded, set_aside: Some((aside, what)) })
        }
        Err(refused) => Err(refused),
    }
}

/// Reads a store and leaves it as it is, even one that a killed sensor left; `Io` with `NotFound` where there is none.
pub fn read(path: &Path, limits: Limits) -> Result<(Tables, Loaded), Refused> {
    let mut file = File::open(regular(path)?)?;
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(Refused::Busy),
        Err(fs::TryLockError::Error(error)) => return Err(error.into()),
    }
    ours(&mut file)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Tables::open(
        Copy::new(bytes.split_off(bytes.len().min(HEADER_LEN as usize))),
        limits.chunk(),
        limits.findings,
    )?)
}

/// What to tell the operator about a store that cannot be used.
pub fn advice(path: &Path, refused: &Refused) -> String {
    let path = escape(path.as_os_str().as_encoded_bytes()).into_owned();
    match refused {
        Refused::Busy => format!(
            "the store {path} is in use by another sensor; give this one its own store.path, or ask that one through its \
             control socket"
        ),
        Refused::Foreign => format!(
            "{path} is no store of earthdog's and was not touched; move it away or name another file in store.path"
        ),
        Refused::Newer(format) => format!(
            "the store {path} has format {format}, this version reads up to {FORMAT}; it was not touched: use the later \
             version, or name another file in store.path"
        ),
        Refused::Damaged(what) => format!("the store {path} is damaged ({what}); move it away to begin anew"),
        Refused::Io(error) => format!(
            "the store {path} cannot be used: {error}; name a file in a directory that can be written in store.path, or \
             \"\" for no store"
        ),
    }
}

/// The store that is there; `None` where there is none, or an empty file.
fn existing(path: &Path, limits: Limits) -> Result<Option<(Tables, Loaded)>, Refused> {
    match regular(path) {
        Ok(_) => {}
        Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(refused) => return Err(refused),
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    lock(&file)?;
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    ours(&mut file)?;
    Ok(Some(Tables::open(Disk::new(file, limits.max_len), limits.chunk(), limits.findings)?))
}

/// Made under another name and put in place when it is whole, so that a kill leaves no half a store.
fn create(path: &Path, limits: Limits) -> Result<(Tables, Loaded), Refused> {
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        DirBuilder::new().mode(0o700).create(dir)?;
    }
    let new = beside(path, ".new");
    // What a killed sensor left half made.
    if let Ok(mut file) = File::open(&new) {
        if matches!(ours(&mut file), Err(Refused::Foreign)) {
            let text = format!("{} is in the way", new.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text).into());
        }
        fs::remove_file(&new)?;
    }
    let made = (|| {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
        lock(&file)?;
        file.write_all(&header())?;
        let opened = Tables::open(Disk::new(file, limits.max_len), limits.chunk(), limits.findings)?;
        fs::rename(&new, path)?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(opened)
    })();
    if made.is_err() {
        let _ = fs::remove_file(&new);
    }
    made
}

/// Puts a damaged file under another name beside it.
fn set_aside(path: &Path, time: &str) -> io::Result<PathBuf> {
    let names = (0..SET_ASIDE_MAX).map(|number| match number {
        0 => beside(path, &format!(".damaged-{time}")),
        _ => beside(path, &format!(".damaged-{time}-{number}")),
    });
    let stem = beside(path, ".damaged-");
    let stem = stem.file_name().unwrap_or_default().as_encoded_bytes();
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    let there = fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(stem))
        .count();
    let free = names.into_iter().find(|name| !name.exists());
    let Some(free) = free.filter(|_| there < SET_ASIDE_MAX) else {
        let text = format!("{there} damaged ones lie beside it already");
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
    };
    fs::rename(path, &free)?;
    Ok(free)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// A path that is a file, by whatever links.
fn regular(path: &Path) -> Result<&Path, Refused> {
    if fs::metadata(path)?.is_file() { Ok(path) } else { Err(Refused::Foreign) }
}

fn lock(file: &File) -> Result<(), Refused> {
    file.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => Refused::Busy,
        fs::TryLockError::Error(error) => error.into(),
    })
}

fn header() -> Vec<u8> {
    let text = format!(
        "{NAME}{FORMAT}\nWhat the sensor remembers; `earthdog pdns NAME` and `earthdog baseline show` read it.\n"
    );
    let mut bytes = text.into_bytes();
    bytes.resize(HEADER_LEN as usize, 0);
    bytes
}

/// Whether a file is a store that this version can open; reads from its start to the end of the header.
fn ours(file: &mut File) -> Result<(), Refused> {
    let mut start = Vec::new();
    file.take(HEADER_LEN + REDB.len() as u64).read_to_end(&mut start)?;
    io::Seek::rewind(file)?;
    let (header, rest) = start.split_at(start.len().min(HEADER_LEN as usize));
    let named = header.strip_prefix(NAME.as_bytes()).map(|rest| {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        std::str::from_utf8(line).ok()?.parse::<u32>().ok()
    });
    match named {
        Some(Some(FORMAT)) if rest.is_empty() => Err(Refused::Damaged("it ends in its header".to_owned())),
        Some(Some(FORMAT)) => Ok(()),
        Some(Some(format)) if format > FORMAT => Err(Refused::Newer(format)),
        Some(_) => Err(Refused::Damaged("its header cannot be read".to_owned())),
        None if rest == REDB => Err(Refused::Damaged("its header cannot be read".to_owned())),
        None => Err(Refused::Foreign),
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged(what) => Self::Damaged(what),
            Trouble::Io(error) => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests;
