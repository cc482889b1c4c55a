//! Keeps the file equal to the history: one batch a second, written by a thread of its own.
//!
//! The disk never holds up the sensor. While a batch is being written, or cannot be, changes add up in the history, which
//! is bounded; findings wait in a queue with a bound and a count of what found no room. What cannot be written is tried
//! again and again, and told once.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::days::DAY_NS;
use super::file::{self, Limits, Refused};
use super::history::{self, Delta, History, KINDS};
use super::tables::{self, Batch, FINDING_MAX, FindingLimits, Tables, Trouble};
use crate::config::Config;
use crate::escape::escape;
use crate::finding::{self, Finding, stored};

/// Findings that wait to be written.
const QUEUE_MAX: usize = 256;
/// Between two tries to write what could not be written.
const RETRY: Duration = Duration::from_secs(5);
/// How long the end of a run waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether it has written.
const POLL: Duration = Duration::from_millis(2);
/// Shares of the bytes that records may take: zones, names, pairs, clients, findings; together `SHARES`.
const SHARE: [u64; KINDS.len() + 1] = [6, 2, 4, 1, 3];
/// The file has room for twice as much again: it grows by doubling, so it may have to stay at half of what is allowed;
/// its pages are half full at worst; and changed pages are written beside the old ones.
const SHARES: u64 = 16 * 16 / 3;

/// What `store` of the configuration comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub path: PathBuf,
    pub history: history::Settings,
    pub limits: Limits,
    /// Days after which a finding is removed.
    pub findings_days: u64,
}

/// The rim's side.
#[derive(Debug)]
pub struct Recorder {
    settings: Settings,
    /// None once the thread is gone.
    orders: Option<SyncSender<Batch>>,
    ended: Receiver<()>,
    report: Arc<Mutex<Report>>,
    /// Batches given to the thread.
    given: u64,
    findings: VecDeque<(u64, Vec<u8>)>,
    /// State changes that were in the file; for whoever takes them.
    loaded: Vec<Vec<u8>>,
    /// Findings that found no room, or were too long.
    findings_lost: u64,
}

/// What the thread tells.
#[derive(Clone, Debug, Default)]
struct Report {
    /// Batches written.
    written: u64,
    /// Attempts to write that failed.
    failed: u64,
    /// Why the last one did, while it is so.
    error: Option<String>,
    file_bytes: u64,
    findings: u64,
    finding_bytes: u64,
    oldest_finding_ns: Option<u64>,
    findings_evicted: u64,
    findings_expired: u64,
    /// The file was damaged and began anew: all has to be written again.
    begun_anew: bool,
    /// Not told yet.
    news: Vec<String>,
}

/// The store, as `status` tells of it.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub path: String,
    pub bytes: u64,
    pub max_bytes: u64,
    pub batches_written: u64,
    pub writes_failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub kinds: Vec<KindStatus>,
    /// Names that were not recorded, since their zone had its share for the day.
    pub names_left_out: u64,
    pub findings_lost: u64,
    /// Changes that wait to be written.
    pub waiting: bool,
    /// When the history began, and since when it has forgotten nothing that lasted; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaches_back_to: Option<String>,
    pub active_days: u32,
    pub burn_in_days: u64,
    pub burn_in_over: bool,
}

/// One kind of records.
#[derive(Clone, Debug, Serialize)]
pub struct KindStatus {
    pub kind: &'static str,
    pub records: u64,
    pub max: u64,
    /// Bytes of keys and values in the file.
    pub bytes: u64,
    pub max_bytes: u64,
    /// When the oldest was seen first; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    pub retention_days: u64,
    /// What made room for others, and what was past its time, since the sensor started.
    pub evicted: u64,
    pub expired: u64,
}

impl Settings {
    /// None where no store is wanted.
    pub fn of(config: &Config) -> Option<Self> {
        let store = &config.store;
        if store.path.is_empty() {
            return None;
        }
        let max_len = store.max_mib << 20;
        let [zones, names, pairs, clients, findings] = SHARE.map(|share| max_len * share / SHARES);
        let settings = history::Settings {
            max: [store.max_zones, store.max_names, store.max_pairs, store.max_clients]
                .map(|max| max as usize),
            max_bytes: [zones, names, pairs, clients],
            retention_days: [
                store.retention_days_zones,
                store.retention_days_names,
                store.retention_days_clients,
                store.retention_days_clients,
            ],
            burn_in_days: store.burn_in_days,
        };
        Some(Self {
            path: PathBuf::from(&store.path),
            history: settings,
            limits: Limits {
                max_len,
                findings: FindingLimits { max: store.max_findings, max_bytes: findings },
            },
            findings_days: store.retention_days_findings,
        })
    }

    /// The file's path, to be shown.
    pub fn place(&self) -> String {
        escape(self.path.as_os_str().as_encoded_bytes()).into_owned()
    }

    /// Bytes that a store adds to the sensor's memory at most.
    pub fn worst_case_bytes(&self) -> usize {
        self.history.worst_case_bytes()
            + history::CHANGES_MAX * history::CHANGE_BYTES_MAX
            + QUEUE_MAX * FINDING_MAX
            + tables::CACHE_BYTES
    }
}

/// Opens the store and its history. Where that fails the sensor runs without; `Err` says why and what to do.
pub fn open(settings: &Settings, seed: u64, now_ns: u64) -> Result<(Recorder, History, Vec<String>), String> {
    let opened = file::open(&settings.path, settings.limits, &stamp(now_ns))
        .map_err(|refused| file::advice(&settings.path, &refused))?;
    let news = set_aside(settings, opened.set_aside.as_ref()).into_iter().collect();
    let history = History::restore(settings.history.clone(), seed, opened.loaded, now_ns);
    let loaded = opened.tables.findings_since(0, settings.limits.findings.max).unwrap_or_default();
    let report = Arc::new(Mutex::new(Report::default()));
    tell(&report, settings, &opened.tables);
    let (orders, taken) = sync_channel(1);
    let (end, ended) = sync_channel(1);
    let writer = Writer {
        settings: settings.clone(),
        tables: Some(opened.tables),
        report: Arc::clone(&report),
        begun_ns: now_ns,
    };
    thread::Builder::new()
        .name("store".into())
        .spawn(move || {
            writer.run(&taken);
            let _ = end.send(());
        })
        .map_err(|error| format!("no store: cannot start its thread: {error}"))?;
    let recorder = Recorder {
        settings: settings.clone(),
        orders: Some(orders),
        ended,
        report,
        given: 0,
        findings: VecDeque::new(),
        loaded,
        findings_lost: 0,
    };
    Ok((recorder, history, news))
}

impl Recorder {
    /// Keeps a state change of a finding.
    pub fn finding(&mut self, finding: &Finding, now_ns: u64) {
        let mut json = stored::write(finding);
        if json.len() > FINDING_MAX {
            // Rather without its trail than not at all.
            json = stored::write(&Finding { trail: None, ..finding.clone() });
        }
        self.keep(now_ns, json);
    }

    /// State changes that were in the file when it was opened, oldest first; once.
    pub fn loaded(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.loaded)
    }

    fn keep(&mut self, now_ns: u64, json: Vec<u8>) {
        if json.len() <= FINDING_MAX && self.findings.len() < QUEUE_MAX {
            self.findings.push_back((now_ns, json));
        } else {
            self.findings_lost += 1;
        }
    }

    /// Hands over what changed, if the last batch is written; to be called once a second. Returns what to tell.
    pub fn tick(&mut self, history: &mut History, now_ns: u64) -> Vec<String> {
        history.expire(now_ns);
        let (idle, begun_anew, news) = {
            let mut report = lock(&self.report);
            let idle = report.written == self.given;
            (idle, std::mem::take(&mut report.begun_anew), std::mem::take(&mut report.news))
        };
        if begun_anew {
            history.write_anew();
        }
        if idle {
            self.give(history, now_ns);
        }
        news
    }

    /// Writes what is left and closes the file; returns what to tell.
    pub fn finish(&mut self, history: &mut History, now_ns: u64) -> Vec<String> {
        let mut news = Vec::new();
        // Each batch waits for the one before it: at most the whole history, in a few.
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            let (idle, stuck) = {
                let report = lock(&self.report);
                (report.written == self.given, report.error.is_some())
            };
            if stuck || (idle && !self.give(history, now_ns)) {
                break;
            }
            if self.ended.recv_timeout(POLL) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        drop(self.orders.take());
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(PATIENCE) {
            news.push(format!(
                "the store takes too long to write: what was seen last is not in it ({})",
                self.settings.place()
            ));
        }
        let report = lock(&self.report);
        if let Some(error) = &report.error {
            news.push(format!("what was seen last is not in the store {}: {error}", self.settings.place()));
        }
        news
    }

    pub fn status(&self, history: &History, now_ns: u64) -> Status {
        let report = lock(&self.report).clone();
        let settings = &self.settings.history;
        let mut kinds: Vec<KindStatus> = history
            .kinds()
            .into_iter()
            .enumerate()
            .map(|(at, kind)| KindStatus {
                kind: KINDS[at],
                records: kind.records,
                max: settings.max[at] as u64,
                bytes: kind.bytes,
                max_bytes: settings.max_bytes[at],
                oldest: kind.oldest_ns.map(finding::time),
                retention_days: settings.retention_days[at],
                evicted: kind.evicted,
                expired: kind.expired,
            })
            .collect();
        kinds.push(KindStatus {
            kind: "findings",
            records: report.findings,
            max: self.settings.limits.findings.max,
            bytes: report.finding_bytes,
            max_bytes: self.settings.limits.findings.max_bytes,
            oldest: report.oldest_finding_ns.map(finding::time),
            retention_days: self.settings.findings_days,
            evicted: report.findings_evicted,
            expired: report.findings_expired,
        });
        let since_ns = history.meta().since_ns;
        Status {
            path: self.settings.place(),
            bytes: report.file_bytes,
            max_bytes: self.settings.limits.max_len,
            batches_written: report.written,
            writes_failed: report.failed,
            error: report.error,
            kinds,
            names_left_out: history.names_left_out,
            findings_lost: self.findings_lost,
            waiting: report.written != self.given || !self.findings.is_empty(),
            since: (since_ns > 0).then(|| finding::time(since_ns)),
            reaches_back_to: (since_ns > 0).then(|| finding::time(history.reaches_back_to(now_ns))),
            active_days: history.meta().active_days,
            burn_in_days: settings.burn_in_days,
            burn_in_over: history.burn_in_over(now_ns),
        }
    }

    /// Whether there was anything to give.
    fn give(&mut self, history: &mut History, now_ns: u64) -> bool {
        let delta = history.changes();
        let findings_since_ns = now_ns.saturating_sub(self.settings.findings_days.saturating_mul(DAY_NS));
        let expired = lock(&self.report).oldest_finding_ns.is_some_and(|oldest| oldest < findings_since_ns);
        if delta.is_none() && self.findings.is_empty() && !expired {
            return false;
        }
        let meta = *history.meta();
        let batch = Batch {
            delta: delta.unwrap_or_else(|| Delta { meta, ..Delta::default() }),
            findings: self.findings.drain(..).collect(),
            findings_since_ns,
        };
        // Never blocks: the thread waits for it. Only fails where the thread is gone, which its own guard prevents.
        if self.orders.as_ref().is_some_and(|orders| orders.send(batch).is_err()) {
            self.orders = None;
            lock(&self.report).error = Some("its thread has ended; start the sensor again".to_owned());
        }
        self.given += 1;
        true
    }
}

/// The thread's side.
#[derive(Debug)]
struct Writer {
    settings: Settings,
    /// None while the file cannot be used.
    tables: Option<Tables>,
    report: Arc<Mutex<Report>>,
    /// Names damaged files: a clock must not be read here.
    begun_ns: u64,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Batch>) {
        while let Ok(batch) = orders.recv() {
            while !self.write(&batch) {
                // The rim gives nothing while this batch is not written, so what comes is the end.
                if orders.recv_timeout(RETRY).err() != Some(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        }
    }

    /// Whether the batch is on the disk.
    fn write(&mut self, batch: &Batch) -> bool {
        let trouble = match self.try_write(batch) {
            Ok(()) => {
                let mut report = lock(&self.report);
                if report.error.take().is_some() {
                    let text = format!("the store {} is written again", self.settings.place());
                    report.news.push(text);
                }
                report.written += 1;
                drop(report);
                if let Some(tables) = &self.tables {
                    tell(&self.report, &self.settings, tables);
                }
                return true;
            }
            Err(trouble) => trouble,
        };
        // redb takes nothing more after a failure: the file is opened again, as after a kill.
        self.tables = None;
        let text = file::advice(&self.settings.path, &trouble);
        let mut report = lock(&self.report);
        report.failed += 1;
        if report.error.is_none() {
            report.news.push(format!("{text}; what cannot be written waits, and is tried again"));
        }
        report.error = Some(text);
        false
    }

    fn try_write(&mut self, batch: &Batch) -> Result<(), Refused> {
        if self.tables.is_none() {
            let opened = file::open(&self.settings.path, self.settings.limits, &stamp(self.begun_ns))?;
            if let Some(text) = set_aside(&self.settings, opened.set_aside.as_ref()) {
                let mut report = lock(&self.report);
                report.begun_anew = true;
                report.news.push(text);
            }
            let mut tables = opened.tables;
            // What was full may have room again.
            tables.compact()?;
            self.tables = Some(tables);
        }
        match &mut self.tables {
            Some(tables) => Ok(tables.apply(batch)?),
            None => Err(Trouble::Damaged(String::new()).into()),
        }
    }
}

fn tell(report: &Mutex<Report>, settings: &Settings, tables: &Tables) {
    let oldest = tables.oldest_finding_ns().unwrap_or_default();
    let file_bytes = std::fs::metadata(&settings.path).map_or(0, |metadata| metadata.len());
    let mut report = lock(report);
    report.file_bytes = file_bytes;
    report.oldest_finding_ns = oldest;
    (report.findings, report.finding_bytes) = (tables.findings, tables.finding_bytes);
    (report.findings_evicted, report.findings_expired) = (tables.findings_evicted, tables.findings_expired);
}

fn set_aside(settings: &Settings, set_aside: Option<&(PathBuf, String)>) -> Option<String> {
    let (aside, what) = set_aside?;
    Some(format!(
        "the store {} was damaged ({}): it was set aside as {} and a new one begun, which has to learn anew; remove the \
         old one, or stop the sensor and put a backup in its place",
        settings.place(),
        escape(what),
        escape(aside.as_os_str().as_encoded_bytes())
    ))
}

/// A time in a file's name.
fn stamp(unix_ns: u64) -> String {
    finding::time(unix_ns).chars().take(19).filter(char::is_ascii_alphanumeric).chain(['Z']).collect()
}

fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
