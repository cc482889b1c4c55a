//! The tables in the file: read whole at the start, then kept equal to the history, one batch of changes at a time.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{
    Builder, CommitError, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, StorageBackend, StorageError, TableDefinition, TableError, TransactionError,
};
use serde::de::DeserializeOwned;

use super::history::{Delta, KINDS, Loaded, Meta};
use super::table::Changes;

/// Of redb's pages, reads and writes together: what is read is read once, at the start.
pub const CACHE_BYTES: usize = 4 << 20;
/// Bytes of one finding at most.
pub const FINDING_MAX: usize = 32 << 10;

/// One type for all: redb's code is made once more for every other.
type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
const TABLES: [Rows; KINDS.len()] = [
    TableDefinition::new(KINDS[0]),
    TableDefinition::new(KINDS[1]),
    TableDefinition::new(KINDS[2]),
    TableDefinition::new(KINDS[3]),
];
/// See `finding_key`.
const FINDINGS: Rows = TableDefinition::new("findings");
const META: Rows = TableDefinition::new("meta");
const HISTORY: &[u8] = b"history";

/// Why the tables cannot be used.
#[derive(Debug)]
pub enum Trouble {
    /// What is in the file is not what was written.
    Damaged(String),
    Io(io::Error),
}

/// How many findings the file keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingLimits {
    pub max: u64,
    pub max_bytes: u64,
}

/// A second's worth of changes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub delta: Delta,
    /// Time (Unix, nanoseconds) and JSON of each state change.
    pub findings: Vec<(u64, Vec<u8>)>,
    /// Findings older than this go.
    pub findings_since_ns: u64,
}

/// The open database.
#[derive(Debug)]
pub struct Tables {
    database: Database,
    /// Changes in one transaction.
    chunk: usize,
    limits: FindingLimits,
    /// Number of the next finding.
    number: u32,
    pub findings: u64,
    pub finding_bytes: u64,
    /// Findings that made room for later ones.
    pub findings_evicted: u64,
    pub findings_expired: u64,
}

impl Tables {
    /// Opens what is behind a backend, checking all of it, and reads what the history is made of. redb may panic on
    /// pages that it did not write; that is damage too.
    pub fn open(
        backend: impl StorageBackend,
        chunk: usize,
        limits: FindingLimits,
    ) -> Result<(Self, Loaded), Trouble> {
        catch_unwind(AssertUnwindSafe(|| {
            let database = Builder::new()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(backend)?;
            let mut tables = Self {
                database,
                chunk: chunk.max(1),
                limits,
                number: 0,
                findings: 0,
                finding_bytes: 0,
                findings_evicted: 0,
                findings_expired: 0,
            };
            tables.make()?;
            let loaded = tables.load()?;
            Ok((tables, loaded))
        }))
        .unwrap_or_else(|panic| Err(Trouble::Damaged(panicked(&*panic))))
    }

    /// Writes a batch; it is on the disk when this returns. Doing so again does no harm.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), Trouble> {
        catch_unwind(AssertUnwindSafe(|| self.write(batch)))
            .unwrap_or_else(|panic| Err(Trouble::Damaged(panicked(&*panic))))
    }

    /// State changes of findings since a time, oldest first, at most `max` of the newest; those of a finding are told
    /// together by its `id`.
    pub fn findings_since(&self, since_ns: u64, max: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let table = self.database.begin_read()?.open_table(FINDINGS)?;
        let mut rows = Vec::new();
        for row in table.range(&finding_key(since_ns, 0)[..]..)?.rev().take(max) {
            rows.push(row?.1.value().to_vec());
        }
        rows.reverse();
        Ok(rows)
    }

    /// When the oldest finding was; Unix time, nanoseconds.
    pub fn oldest_finding_ns(&self) -> Result<Option<u64>, Trouble> {
        let table = self.database.begin_read()?.open_table(FINDINGS)?;
        Ok(table.first()?.map(|(key, _)| finding_time(key.value())))
    }

    /// Gives back what the file has in reserve.
    pub fn compact(&mut self) -> Result<(), Trouble> {
        catch_unwind(AssertUnwindSafe(|| match self.database.compact() {
            Ok(_) => Ok(()),
            Err(redb::CompactionError::Storage(error)) => Err(error.into()),
            Err(error) => Err(Trouble::Io(io::Error::other(error))),
        }))
        .unwrap_or_else(|panic| Err(Trouble::Damaged(panicked(&*panic))))
    }

    fn make(&self) -> Result<(), Trouble> {
        let transaction = self.database.begin_write()?;
        for table in TABLES {
            transaction.open_table(table)?;
        }
        transaction.open_table(FINDINGS)?;
        transaction.open_table(META)?;
        Ok(transaction.commit()?)
    }

    fn load(&mut self) -> Result<Loaded, Trouble> {
        let transaction = self.database.begin_read()?;
        let findings = transaction.open_table(FINDINGS)?;
        self.findings = findings.len()?;
        for row in findings.range::<&[u8]>(..)? {
            self.finding_bytes += finding_bytes(row?.1.value());
        }
        let meta = transaction.open_table(META)?;
        let meta = match meta.get(HISTORY)? {
            Some(bytes) => decode::<Meta>(bytes.value())?,
            None => Meta::default(),
        };
        Ok(Loaded {
            zones: rows(&transaction, TABLES[0])?,
            names: rows(&transaction, TABLES[1])?,
            pairs: rows(&transaction, TABLES[2])?,
            clients: rows(&transaction, TABLES[3])?,
            meta,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Trouble> {
        for (table, changes) in TABLES.iter().zip(&batch.delta.tables) {
            self.write_table(*table, changes)?;
        }
        let transaction = self.database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let bytes = postcard::to_allocvec(&batch.delta.meta).unwrap_or_default();
            meta.insert(HISTORY, &bytes[..])?;
            let mut findings = transaction.open_table(FINDINGS)?;
            for (time_ns, json) in &batch.findings {
                findings.insert(&finding_key(*time_ns, self.number)[..], &json[..])?;
                self.number = self.number.wrapping_add(1);
                self.findings += 1;
                self.finding_bytes += finding_bytes(json);
            }
            loop {
                let oldest = findings
                    .first()?
                    .map(|(key, json)| (finding_time(key.value()), finding_bytes(json.value())));
                let Some((time_ns, bytes)) = oldest else { break };
                let expired = time_ns < batch.findings_since_ns;
                let over = self.findings > self.limits.max || self.finding_bytes > self.limits.max_bytes;
                if !expired && !over {
                    break;
                }
                findings.pop_first()?;
                self.findings -= 1;
                self.finding_bytes -= bytes;
                *(if expired { &mut self.findings_expired } else { &mut self.findings_evicted }) += 1;
            }
        }
        Ok(transaction.commit()?)
    }

    /// In transactions of a bounded size: each needs as many new pages as it changes, beside the old ones.
    fn write_table(&self, definition: Rows, changes: &Changes) -> Result<(), Trouble> {
        if changes.anew {
            let transaction = self.database.begin_write()?;
            transaction.delete_table(definition)?;
            transaction.open_table(definition)?;
            transaction.commit()?;
        }
        for keys in changes.removed.chunks(self.chunk) {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(definition)?;
                for key in keys {
                    table.remove(&key[..])?;
                }
            }
            transaction.commit()?;
        }
        for rows in changes.put.chunks(self.chunk) {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(definition)?;
                for (key, value) in rows {
                    table.insert(&key[..], &value[..])?;
                }
            }
            transaction.commit()?;
        }
        Ok(())
    }
}

/// Time (Unix, nanoseconds) and a number that tells findings of one time apart; so that they sort.
fn finding_key(time_ns: u64, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&time_ns.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn finding_time(key: &[u8]) -> u64 {
    key.first_chunk().map_or(0, |time| u64::from_be_bytes(*time))
}

fn finding_bytes(json: &[u8]) -> u64 {
    (json.len() + finding_key(0, 0).len()) as u64
}

fn rows<T: DeserializeOwned>(
    transaction: &redb::ReadTransaction,
    definition: Rows,
) -> Result<Vec<(T, usize)>, Trouble> {
    let mut rows = Vec::new();
    for row in transaction.open_table(definition)?.range::<&[u8]>(..)? {
        let (key, value) = row?;
        rows.push((decode(value.value())?, key.value().len() + value.value().len()));
    }
    Ok(rows)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Trouble> {
    postcard::from_bytes(bytes).map_err(|error| Trouble::Damaged(format!("a record cannot be read: {error}")))
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a page cannot be read").to_owned()
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match error {
            // Bytes are missing: nothing else reads beyond the end.
            StorageError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Damaged("it ends too early".to_owned())
            }
            StorageError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Damaged(error.to_string())
            }
            StorageError::Io(error) => Self::Io(error),
            StorageError::Corrupted(what) => Self::Damaged(what),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TableError> for Trouble {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for Trouble {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

impl From<CommitError> for Trouble {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Io(io::Error::other(other)),
        }
    }
}
