//! Records on the disk until they are delivered: what was taken in is there after a kill.
//!
//! Two lanes, findings and messages, each a folder of numbered segments that are written at the end and removed once all
//! of them is delivered. A record is its length, a checksum and its bytes; a file `delivered` says how far the receiver
//! has come. It is written after the fact, so that after a kill some records go twice, and none is left out.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flate2::Crc;

use super::tally::Mark;
use super::worker::Frame;

/// A segment is closed once it has so many bytes.
const SEGMENT: u64 = 1 << 20;
/// Longer is no record of ours.
const RECORD_MAX: u32 = 1 << 20;
/// Length and checksum.
const HEAD: u64 = 8;
/// Records of canaries kept in mind.
const CANARIES_MAX: usize = 64;

#[derive(Debug)]
pub struct Spool {
    state: Mutex<State>,
    changed: Condvar,
    max_bytes: u64,
    /// Held for as long as the folder is used.
    _lock: File,
}

#[derive(Debug)]
struct State {
    findings: Lane,
    messages: Lane,
    closed: bool,
}

/// What became of records offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// On the disk; findings written through.
    pub kept: u64,
    /// Offered, and without room.
    pub refused: u64,
    /// Messages that made room for findings.
    pub evicted: u64,
}

/// Records to deliver, all of one lane, and where each ends.
#[derive(Debug, Default)]
pub struct Batch {
    pub frames: Vec<Frame>,
    ends: Vec<At>,
}

/// A place in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    segment: u64,
    offset: u64,
}

impl Spool {
    /// Opens or makes it. Also returns how many records were damaged and are gone.
    pub fn open(folder: &Path, max_bytes: u64) -> io::Result<(Self, u64)> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another sensor uses it"),
            TryLockError::Error(error) => error,
        })?;
        let (findings, damaged) = Lane::open(folder.join("findings"), true)?;
        let (messages, also) = Lane::open(folder.join("messages"), false)?;
        let state = Mutex::new(State { findings, messages, closed: false });
        Ok((Self { state, changed: Condvar::new(), max_bytes, _lock: lock }, damaged + also))
    }

    /// Takes records in as far as there is room; an error where the disk takes none.
    pub fn append(&self, frames: &[Frame]) -> (Taken, io::Result<()>) {
        let mut state = self.lock();
        let mut taken = Taken::default();
        let mut result = Ok(());
        for frame in frames {
            let length = HEAD + frame.bytes.len() as u64;
            while frame.finding && state.bytes() + length > self.max_bytes {
                let Some(dropped) = state.messages.drop_oldest() else { break };
                taken.evicted += dropped;
            }
            if state.bytes() + length > self.max_bytes || frame.bytes.len() as u64 > u64::from(RECORD_MAX) {
                taken.refused += 1;
                continue;
            }
            let lane = if frame.finding { &mut state.findings } else { &mut state.messages };
            result = lane.append(frame);
            if result.is_err() {
                break;
            }
            taken.kept += 1;
        }
        if result.is_ok() {
            result = state.findings.sync();
        }
        drop(state);
        self.changed.notify_all();
        (taken, result)
    }

    /// Up to `max` records, findings first; waits for the first as long as `patience`.
    pub fn next(&self, max: usize, patience: Duration) -> io::Result<Batch> {
        let mut state = self.lock();
        if state.is_empty() && !state.closed {
            (state, _) = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
        }
        let lane = if state.findings.records > 0 { &mut state.findings } else { &mut state.messages };
        lane.read(max)
    }

    /// The first `count` records of a batch are delivered, or will never be.
    pub fn done(&self, batch: &Batch, count: usize) -> io::Result<()> {
        let Some(last) = count.checked_sub(1).and_then(|last| batch.ends.get(last)) else { return Ok(()) };
        let is_finding = batch.frames.first().is_some_and(|frame| frame.finding);
        let mut state = self.lock();
        let lane = if is_finding { &mut state.findings } else { &mut state.messages };
        // Some may have made room for findings meanwhile.
        let here = batch.ends[..count].iter().filter(|end| **end > lane.delivered).count();
        lane.done(*last, here as u64)
    }

    /// Ends waits for more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Records and bytes.
    pub fn size(&self) -> (u64, u64) {
        let state = self.lock();
        (state.findings.records + state.messages.records, state.bytes())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.findings.bytes() + self.messages.bytes()
    }

    fn is_empty(&self) -> bool {
        self.findings.records + self.messages.records == 0
    }
}

/// A folder of segments.
#[derive(Debug)]
struct Lane {
    folder: PathBuf,
    of_findings: bool,
    segments: VecDeque<Segment>,
    /// The last one, open for writing.
    out: Option<File>,
    dirty: bool,
    delivered: At,
    /// Records not yet delivered.
    records: u64,
    /// Canaries' records by where they end, the last ones: a canary does not outlive the sensor.
    canaries: VecDeque<(At, Mark)>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    /// Not yet delivered.
    records: u64,
}

impl Lane {
    fn open(folder: PathBuf, of_findings: bool) -> io::Result<(Self, u64)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".spool")?.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let delivered = fs::read_to_string(folder.join("delivered")).unwrap_or_default();
        let delivered = delivered.trim().split_once(' ').and_then(|(segment, offset)| {
            Some(At { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
        });
        let delivered = delivered.unwrap_or_default();
        let mut lane = Self {
            folder,
            of_findings,
            segments: VecDeque::new(),
            out: None,
            dirty: false,
            delivered,
            records: 0,
            canaries: VecDeque::new(),
        };
        let mut damaged = 0;
        for number in numbers {
            let path = lane.path(number);
            if number < delivered.segment {
                fs::remove_file(path)?;
                continue;
            }
            let from = if number == delivered.segment { delivered.offset } else { 0 };
            let (end, records) = check(&path, from)?;
            let file = OpenOptions::new().write(true).open(&path)?;
            if file.metadata()?.len() > end {
                // Begun when the sensor ended, or damaged: nothing behind it can be found.
                damaged += 1;
                file.set_len(end)?;
            }
            lane.records += records;
            lane.segments.push_back(Segment { number, bytes: end, records });
        }
        Ok((lane, damaged))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}.spool"))
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn append(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = &frame.bytes;
        if self.segments.back().is_none_or(|last| last.bytes >= SEGMENT) {
            self.sync()?;
            self.out = None;
        }
        if self.out.is_none() {
            let next = self.segments.back().map_or(self.delivered.segment, |last| last.number) + 1;
            let path = self.path(next);
            let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path)?;
            File::open(&self.folder)?.sync_all()?;
            self.segments.push_back(Segment { number: next, bytes: 0, records: 0 });
            self.out = Some(file);
        }
        let (Some(out), Some(last)) = (&mut self.out, self.segments.back_mut()) else { return Ok(()) };
        let mut record = Vec::with_capacity(bytes.len() + HEAD as usize);
        record.extend((bytes.len() as u32).to_le_bytes());
        record.extend(checksum(bytes).to_le_bytes());
        record.extend(bytes);
        if let Err(error) = out.write_all(&record) {
            // Half a record would hide all behind it.
            let _ = out.set_len(last.bytes);
            return Err(error);
        }
        last.bytes += record.len() as u64;
        last.records += 1;
        if let Some(mark) = &frame.canary {
            if self.canaries.len() == CANARIES_MAX {
                self.canaries.pop_front();
            }
            self.canaries.push_back((At { segment: last.number, offset: last.bytes }, Mark::clone(mark)));
        }
        self.records += 1;
        self.dirty = true;
        Ok(())
    }

    /// Through to the disk; messages are left to the kernel.
    fn sync(&mut self) -> io::Result<()> {
        if let Some(out) = self.out.as_ref().filter(|_| self.of_findings && self.dirty) {
            out.sync_data()?;
        }
        self.dirty = false;
        Ok(())
    }

    fn read(&mut self, max: usize) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let mut left = 4 * SEGMENT;
        for segment in &self.segments {
            let from = if segment.number == self.delivered.segment { self.delivered.offset } else { 0 };
            if from >= segment.bytes {
                continue;
            }
            let mut file = File::open(self.path(segment.number))?;
            file.seek(SeekFrom::Start(from))?;
            let mut file = io::BufReader::new(file.take(segment.bytes - from));
            let mut offset = from;
            while batch.frames.len() < max && left > 0 {
                let Some(bytes) = record(&mut file)? else { break };
                offset += HEAD + bytes.len() as u64;
                left = left.saturating_sub(bytes.len() as u64);
                let end = At { segment: segment.number, offset };
                let canary = self.canaries.iter().find(|(at, _)| *at == end);
                let canary = canary.map(|(_, mark)| Box::new(mark.clone()));
                batch.frames.push(Frame { finding: self.of_findings, canary, bytes });
                batch.ends.push(end);
            }
            if batch.frames.len() >= max || left == 0 {
                break;
            }
        }
        Ok(batch)
    }

    fn done(&mut self, last: At, count: u64) -> io::Result<()> {
        if last <= self.delivered {
            return Ok(());
        }
        self.delivered = last;
        self.forget(count);
        while self.segments.front().is_some_and(|first| {
            first.number < last.segment || (first.number == last.segment && first.bytes <= last.offset)
        }) {
            if self.segments.len() == 1 && self.out.is_some() {
                self.out = None;
            }
            let Some(gone) = self.segments.pop_front() else { break };
            fs::remove_file(self.path(gone.number))?;
        }
        let partial = self.folder.join("delivered.new");
        fs::write(&partial, format!("{} {}\n", last.segment, last.offset))?;
        fs::rename(partial, self.folder.join("delivered"))
    }

    /// Takes delivered records off the counts, oldest segment first.
    fn forget(&mut self, mut count: u64) {
        for segment in &mut self.segments {
            let of_it = segment.records.min(count);
            segment.records -= of_it;
            self.records -= of_it;
            count -= of_it;
        }
    }

    /// Removes the oldest segment; how many records went with it.
    fn drop_oldest(&mut self) -> Option<u64> {
        let gone = self.segments.pop_front()?;
        if self.segments.is_empty() {
            self.out = None;
        }
        self.records -= gone.records;
        self.delivered = At { segment: gone.number, offset: gone.bytes };
        let _ = fs::remove_file(self.path(gone.number));
        Some(gone.records)
    }
}

/// Where the last whole record ends, and how many there are from an offset on.
fn check(path: &Path, from: u64) -> io::Result<(u64, u64)> {
    let mut file = io::BufReader::new(File::open(path)?);
    let (mut end, mut records) = (0, 0);
    while let Some(bytes) = record(&mut file)? {
        end += HEAD + bytes.len() as u64;
        records += u64::from(end > from);
    }
    Ok((end, records))
}

/// The next record; none at the end, or where it is damaged.
fn record(file: &mut impl io::Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD as usize];
    if !filled(file, &mut head)? {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, sum) = (word(0), word(4));
    if length > RECORD_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    let whole = filled(file, &mut bytes)?;
    Ok((whole && checksum(&bytes) == sum).then_some(bytes))
}

fn filled(file: &mut impl io::Read, into: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    // A run of zeros must not pass for a record without bytes.
    !crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(finding: bool, number: u32, length: usize) -> Frame {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(length.max(4), b'x');
        Frame { finding, canary: None, bytes }
    }

    fn number(frame: &Frame) -> u32 {
        u32::from_le_bytes(*frame.bytes.first_chunk().unwrap())
    }

    fn drain(spool: &Spool, max: usize) -> Vec<u32> {
        let mut all = Vec::new();
        loop {
            let batch = spool.next(max, Duration::ZERO).unwrap();
            if batch.frames.is_empty() {
                return all;
            }
            all.extend(batch.frames.iter().map(number));
            spool.done(&batch, batch.frames.len()).unwrap();
        }
    }

    #[test]
    fn what_was_taken_in_is_there_after_a_restart_and_goes_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let (spool, _) = Spool::open(&folder, 64 << 20).unwrap();
        assert!(Spool::open(&folder, 1).unwrap_err().to_string().contains("another sensor"));
        // Over several segments.
        for at in 0..60 {
            assert_eq!(spool.append(&[frame(true, at, 50_000)]).0, Taken { kept: 1, ..Taken::default() });
        }
        let batch = spool.next(7, Duration::ZERO).unwrap();
        spool.done(&batch, 5).unwrap();
        assert_eq!(spool.size().0, 55);
        drop(spool);
        let (spool, damaged) = Spool::open(&folder, 64 << 20).unwrap();
        assert_eq!((spool.size().0, damaged), (55, 0));
        assert_eq!(drain(&spool, 8), (5..60).collect::<Vec<_>>());
        assert_eq!(spool.size(), (0, 0));
        spool.append(&[frame(true, 99, 4)]).1.unwrap();
        assert_eq!(drain(&spool, 8), [99]);
        drop(spool);
        let (spool, _) = Spool::open(&folder, 64 << 20).unwrap();
        assert_eq!(spool.size(), (0, 0));
        spool.append(&[frame(true, 100, 4)]).1.unwrap();
        assert_eq!(drain(&spool, 8), [100], "numbers go on where they were");
    }

    #[test]
    fn findings_go_first_and_take_the_room_of_messages() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(dir.path(), 4 << 20).unwrap();
        let (taken, _) = spool.append(&(0..80).map(|at| frame(false, at, 60_000)).collect::<Vec<_>>());
        assert!(taken.kept > 60 && taken.kept + taken.refused == 80, "{taken:?}");
        let (findings, result) = spool.append(&(0..80).map(|at| frame(true, at, 60_000)).collect::<Vec<_>>());
        result.unwrap();
        assert_eq!(findings.kept, taken.kept, "as many as had room before");
        assert_eq!((findings.evicted, findings.refused), (taken.kept, 80 - findings.kept));
        assert!(spool.size().1 <= 4 << 20);
        let first = spool.next(1000, Duration::ZERO).unwrap();
        assert!(first.frames.iter().all(|frame| frame.finding));
        assert_eq!(drain(&spool, 100).len() as u64, findings.kept);
    }

    #[test]
    fn a_record_cut_short_is_dropped_with_what_is_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(dir.path(), 1 << 20).unwrap();
        spool.append(&[frame(true, 1, 100), frame(true, 2, 100), frame(true, 3, 100)]).1.unwrap();
        drop(spool);
        let segment = dir.path().join("findings/00000000000000000001.spool");
        let mut bytes = fs::read(&segment).unwrap();
        let whole = bytes.len();
        bytes.truncate(whole - 1);
        fs::write(&segment, &bytes).unwrap();
        let (spool, damaged) = Spool::open(dir.path(), 1 << 20).unwrap();
        assert_eq!((damaged, spool.size().0), (1, 2));
        spool.append(&[frame(true, 4, 100)]).1.unwrap();
        assert_eq!(drain(&spool, 10), [1, 2, 4]);
        drop(spool);
        fs::write(dir.path().join("findings/00000000000000000009.spool"), [0; 64]).unwrap();
        let (spool, damaged) = Spool::open(dir.path(), 1 << 20).unwrap();
        assert_eq!((damaged, spool.size().0), (1, 0), "zeros are no records");
    }
}
