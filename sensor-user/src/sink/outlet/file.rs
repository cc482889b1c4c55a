//! A file that is set aside when it is large, and made again when somebody else moved it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Outlet, Trouble};
use crate::config::sinks::{Sink, Sync};
use crate::sink::worker::Frame;

#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    max_bytes: u64,
    keep: u64,
    sync: Sync,
    /// What a file begins and ends with.
    ends: Option<[Vec<u8>; 2]>,
    out: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: fs::File,
    /// Device and inode.
    is: (u64, u64),
    bytes: u64,
}

impl File {
    pub(super) fn new(sink: &Sink, ends: Option<[Vec<u8>; 2]>) -> Self {
        Self {
            path: sink.to().into(),
            max_bytes: sink.max_mib << 20,
            keep: sink.keep,
            sync: sink.sync,
            ends,
            out: None,
        }
    }

    /// The file at the path, whoever made it.
    fn open(&mut self) -> io::Result<Open> {
        let here = fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if let Some(open) = self.out.take_if(|open| Some(open.is) == here) {
            return Ok(open);
        }
        if let Some(open) = self.out.take() {
            self.end(open);
        }
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        }
        let open = self.at_path()?;
        if open.bytes == 0 || self.ends.is_none() {
            return self.begun(open);
        }
        // A stream that was broken off cannot go on.
        drop(open);
        self.set_aside()?;
        let open = self.at_path()?;
        self.begun(open)
    }

    fn at_path(&self) -> io::Result<Open> {
        // Only the owner may read it: names tell what people do.
        let mut options = OpenOptions::new();
        // A pipe that nobody reads would hold up the opening.
        options.create(true).append(true).mode(0o600).custom_flags(libc::O_NONBLOCK);
        let file = options.open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(Open { is: (metadata.dev(), metadata.ino()), bytes: metadata.len(), file })
    }

    fn begun(&self, mut open: Open) -> io::Result<Open> {
        if let Some([begin, _]) = self.ends.as_ref().filter(|_| open.bytes == 0) {
            open.write(begin)?;
        }
        Ok(open)
    }

    fn end(&self, mut open: Open) {
        if let Some([_, end]) = &self.ends {
            let _ = open.write(end);
        }
        if self.sync != Sync::Never {
            let _ = open.file.sync_data();
        }
    }

    /// FILE to FILE.1, that to FILE.2, and so on; the last goes.
    fn set_aside(&self) -> io::Result<()> {
        let numbered = |number: u64| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keep).rev() {
            moved(&numbered(number), &numbered(number + 1))?;
        }
        moved(&self.path, &numbered(1))
    }

    fn write(&mut self, frames: &[Frame]) -> (usize, io::Result<()>) {
        let mut done = 0;
        let mut open = match self.open() {
            Ok(open) => open,
            Err(error) => return (0, Err(error)),
        };
        for frame in frames {
            let begins = self.ends.as_ref().map_or(0, |[begin, _]| begin.len() as u64);
            if open.bytes > begins && open.bytes + frame.bytes.len() as u64 > self.max_bytes {
                self.end(open);
                open = match self.set_aside().and_then(|()| self.open()) {
                    Ok(open) => open,
                    Err(error) => return (done, Err(error)),
                };
            }
            let mut result = open.write(&frame.bytes);
            if result.is_ok() && self.sync == Sync::Record {
                result = open.file.sync_data();
            }
            if let Err(error) = result {
                return (done, Err(error));
            }
            done += 1;
        }
        let result = if self.sync == Sync::Batch { open.file.sync_data() } else { Ok(()) };
        self.out = Some(open);
        (done, result)
    }
}

impl Open {
    /// All of it, or nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.file.write_all(bytes);
        match result {
            Ok(()) => self.bytes += bytes.len() as u64,
            Err(_) => drop(self.file.set_len(self.bytes)),
        }
        result
    }
}

fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Outlet for File {
    fn send(&mut self, frames: &[Frame]) -> Result<usize, (usize, Trouble)> {
        match self.write(frames) {
            (done, Ok(())) => Ok(done),
            // A record that was written and not synced is written: it must not be there twice.
            (done, Err(error)) => Err((done, Trouble::Down(format!("cannot write: {error}")))),
        }
    }

    fn finish(&mut self) {
        if let Some(open) = self.out.take() {
            self.end(open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Frame { finding: true, canary: None, bytes: format!("{text}\n").into_bytes() }
    }

    fn outlet(path: &Path) -> File {
        let sink = Sink { to: path.to_str().unwrap().to_owned(), keep: 2, ..Sink::default() };
        File { max_bytes: 100, ..File::new(&sink, None) }
    }

    #[test]
    fn a_large_file_is_set_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/log");
        let mut out = outlet(&path);
        let line = "x".repeat(39);
        for at in 0..9 {
            assert_eq!(out.send(&[frame(&format!("{at}{}", &line[1..]))]), Ok(1));
        }
        let first = |name: &str| {
            let text = fs::read_to_string(dir.path().join("deep").join(name)).unwrap();
            (text.chars().next().unwrap(), text.lines().count())
        };
        assert_eq!((first("log"), first("log.1"), first("log.2")), (('8', 1), ('6', 2), ('4', 2)));
        assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 3);
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_moved_is_made_again_and_one_that_is_there_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut out = outlet(&path);
        out.send(&[frame("1")]).unwrap();
        fs::rename(&path, dir.path().join("rotated")).unwrap();
        out.send(&[frame("2")]).unwrap();
        drop(out);
        outlet(&path).send(&[frame("3")]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n3\n");
        assert_eq!(fs::read_to_string(dir.path().join("rotated")).unwrap(), "1\n");
    }

    #[test]
    fn a_stream_has_its_ends_and_does_not_go_on_after_a_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tap");
        let ends = || Some([b"<".to_vec(), b">".to_vec()]);
        let mut out = File { ends: ends(), ..outlet(&path) };
        out.send(&[frame("1")]).unwrap();
        drop(out);
        let mut out = File { ends: ends(), ..outlet(&path) };
        out.send(&[frame("2")]).unwrap();
        out.finish();
        assert_eq!(fs::read_to_string(&path).unwrap(), "<2\n>");
        assert_eq!(fs::read_to_string(dir.path().join("tap.1")).unwrap(), "<1\n");
    }

    #[test]
    fn what_is_no_file_is_not_written_to() {
        let error = outlet(Path::new("/dev/null")).send(&[frame("1")]).unwrap_err();
        assert!(matches!(&error.1, Trouble::Down(why) if why.contains("no file")), "{error:?}");
    }
}
