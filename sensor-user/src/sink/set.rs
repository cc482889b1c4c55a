//! All sinks of a running sensor: each record goes to the queue of every one that takes it, and that is all the pipeline
//! waits for.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::encode::{About, Item};
use super::outlet::{self, Outlet};
use super::queue::{BYTES_MAX, Queue};
use super::spool::Spool;
use super::tally::{Loss, Tally};
use super::worker::{Common, Framing, Recipe, deliver_queue, deliver_spool, fill_spool};
use crate::clock;
use crate::config::Config;
use crate::config::sinks::{Kind, Sink, SinkFormat, Takes};
use crate::escape::escape;
use crate::finding::{Finding, Origin, Severity};
use crate::logged::Logged;

/// How long the end of a run waits for receivers.
const PATIENCE: Duration = Duration::from_secs(5);
/// What they may take longer, of an attempt that was begun.
const GRACE: Duration = Duration::from_secs(1);
/// Records handed over at once, but for http.
const BATCH: usize = 256;

#[derive(Debug, Default)]
pub struct Sinks(Vec<Running>);

/// A sink with its threads.
#[derive(Debug)]
pub struct Running {
    name: String,
    kind: &'static str,
    to: String,
    format: &'static str,
    takes: Takes,
    least: Severity,
    common: Common,
    spool: Option<(Arc<Spool>, u64)>,
    /// Hung up by each thread that ends.
    ended: Vec<Receiver<()>>,
}

impl Sinks {
    /// Starts those of the configuration; also returns what to tell. `Err`: one of them names a file that cannot be used.
    pub fn start(config: &Config, about: &About) -> Result<(Self, Vec<String>), String> {
        let mut news = Vec::new();
        let mut list = Vec::new();
        for sink in &config.sinks {
            let (outlet, framing) = outlet::of(sink).map_err(|why| format!("sink {}: {why}", sink.name()))?;
            list.push(Running::of(sink, outlet, framing, about, &mut news)?);
        }
        Ok((Self(list), news))
    }

    /// What an exception covers goes nowhere.
    pub fn finding(&self, finding: &Finding) {
        let mut shared = None;
        for sink in &self.0 {
            if sink.takes.findings && sink.wants(finding) {
                let shared = shared.get_or_insert_with(|| Arc::new(finding.clone()));
                sink.put(Item::Finding(Arc::clone(shared)));
            }
        }
    }

    pub fn message(&self, message: Logged) {
        let mut takers = self.0.iter().filter(|sink| sink.takes.messages).peekable();
        if takers.peek().is_none() {
            return;
        }
        let shared = Arc::new(message);
        takers.for_each(|sink| sink.put(Item::Message(Arc::clone(&shared))));
    }

    /// What has changed for the worse or the better since the last call.
    pub fn news(&self) -> Vec<String> {
        self.0.iter().flat_map(|sink| std::mem::take(&mut sink.common.tally.numbers().news)).collect()
    }

    /// For `status`.
    pub fn status(&self) -> Value {
        self.0.iter().map(Running::status).collect()
    }

    /// Bytes that they hold at most.
    pub fn worst_case_bytes(&self) -> usize {
        self.0.len() * Running::WORST_CASE_BYTES
    }

    /// Lets what waits go, for a bounded time; returns what did not.
    pub fn finish(&mut self) -> Vec<String> {
        let until = clock::monotonic() + PATIENCE;
        self.0.iter().for_each(|sink| sink.common.queue.close(until));
        self.0.iter_mut().filter_map(|sink| sink.finish(until + GRACE)).collect()
    }
}

impl Running {
    /// What waits, and as much again of what is being written.
    pub const WORST_CASE_BYTES: usize = 2 * BYTES_MAX;

    fn of(
        sink: &Sink,
        outlet: Box<dyn Outlet>,
        framing: Framing,
        about: &About,
        news: &mut Vec<String>,
    ) -> Result<Self, String> {
        // A query may hold a password.
        let to = sink.to().split('?').next().unwrap_or_default();
        let common = Common {
            place: format!("{} ({})", sink.name(), escape(to)),
            queue: Arc::new(Queue::new(sink.queue as usize)),
            tally: Arc::new(Tally::default()),
            recipe: Recipe { format: sink.format(), framing, about: about.clone() },
        };
        let spool = match sink.kind {
            Kind::SyslogTcp | Kind::SyslogTls | Kind::Http if !sink.spool.is_empty() => {
                open_spool(sink, &common, news)
            }
            _ => None,
        };
        let mut running = Self {
            name: sink.name().to_owned(),
            kind: sink.kind.name(),
            to: to.to_owned(),
            format: sink.format().name(),
            takes: sink.takes(),
            least: sink.least.into(),
            common,
            spool: spool.map(|spool| (spool, sink.spool_max_mib << 20)),
            ended: Vec::new(),
        };
        let most = if sink.kind == Kind::Http { sink.batch as usize } else { BATCH };
        running.run(outlet, most)?;
        Ok(running)
    }

    /// Standard output that is no terminal.
    pub fn stdout(
        format: SinkFormat,
        least: Severity,
        queue: usize,
        about: &About,
        outlet: Box<dyn Outlet>,
    ) -> Result<Self, String> {
        let common = Common {
            place: "standard output".to_owned(),
            queue: Arc::new(Queue::new(queue)),
            tally: Arc::new(Tally::default()),
            recipe: Recipe { format, framing: Framing::Line, about: about.clone() },
        };
        let takes = Takes { findings: true, messages: false };
        let mut running = Self {
            name: "stdout".to_owned(),
            kind: "stdout",
            to: String::new(),
            format: format.name(),
            takes,
            least,
            common,
            spool: None,
            ended: Vec::new(),
        };
        running.run(outlet, BATCH)?;
        Ok(running)
    }

    fn run(&mut self, mut outlet: Box<dyn Outlet>, most: usize) -> Result<(), String> {
        let common = self.common.clone();
        match &self.spool {
            None => self.start("sink", move || deliver_queue(&common, &mut *outlet)),
            Some((spool, _)) => {
                let (filling, sending) = (Arc::clone(spool), Arc::clone(spool));
                let also = common.clone();
                self.start("spool", move || fill_spool(&common, &filling))?;
                self.start("sink", move || deliver_spool(&also, &sending, &mut *outlet, most))
            }
        }
    }

    fn start(&mut self, what: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let (end, ended) = sync_channel::<()>(1);
        thread::Builder::new()
            .name(what.to_owned())
            .spawn(move || {
                let _end = end;
                work();
            })
            .map_err(|error| format!("sink {}: cannot start its thread: {error}", self.name))?;
        self.ended.push(ended);
        Ok(())
    }

    pub fn put(&self, item: Item) {
        let lost = self.common.queue.push(item);
        self.common.tally.numbers().taken += 1;
        self.common.tally.lose(Loss::QueueFull, lost);
    }

    /// Takes another least severity.
    pub fn retune(&mut self, least: Severity) {
        self.least = least;
    }

    /// Whether a finding is one that it takes.
    pub fn wants(&self, finding: &Finding) -> bool {
        // A canary is to show that they deliver.
        finding.severity >= self.least && !finding.is_suppressed() || finding.origin == Origin::Selftest
    }

    pub fn status(&self) -> Value {
        let numbers = self.common.tally.numbers().clone();
        let lost: Map<_, _> =
            numbers.lost.iter().map(|(why, count)| (why.name().to_owned(), (*count).into())).collect();
        let mut takes = Vec::new();
        takes.extend(self.takes.findings.then_some("findings"));
        takes.extend(self.takes.messages.then_some("messages"));
        let mut status = json!({
            "name": self.name,
            "type": self.kind,
            "to": self.to,
            "format": self.format,
            "takes": takes,
            "least": self.least,
            "taken": numbers.taken,
            "delivered": numbers.delivered,
            "left_out": numbers.left_out,
            "waiting": self.common.queue.waiting() + numbers.in_hand,
            "lost": lost,
            "failed_attempts": numbers.failed,
        });
        if !numbers.canaries.is_empty() {
            let canaries = numbers.canaries.iter();
            status["canaries"] = canaries
                .map(|(mark, unread)| json!({"id": mark.id, "first_seen": mark.first_seen, "unread": unread}))
                .collect();
        }
        if let Some(error) = numbers.error {
            status["error"] = error.into();
        }
        if let Some((spool, max_bytes)) = &self.spool {
            let (records, bytes) = spool.size();
            status["spool"] = json!({
                "taken_in": numbers.spooled,
                "records": records,
                "bytes": bytes,
                "max_bytes": max_bytes,
            });
        }
        status
    }

    pub fn close(&self, patience: Duration) -> Instant {
        let until = clock::monotonic() + patience;
        self.common.queue.close(until);
        until
    }

    /// Waits for a moment whether its threads have ended.
    pub fn has_ended(&self, patience: Duration) -> bool {
        self.ended.iter().all(|ended| ended.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected))
    }

    /// Waits for its threads; what to tell of records that stay behind.
    pub fn finish(&mut self, until: Instant) -> Option<String> {
        for ended in self.ended.drain(..) {
            let left = until.saturating_duration_since(clock::monotonic());
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                // It hangs in a call of the system: what it has is lost with it.
                self.common.tally.abandon(self.common.queue.abandon());
            }
        }
        let numbers = self.common.tally.numbers();
        let lost = numbers.lost.get(&Loss::Shutdown).copied().unwrap_or(0);
        let place = &self.common.place;
        let waits = self.spool.as_ref().map_or(0, |(spool, _)| spool.size().0);
        match (lost, waits) {
            (0, 0) => None,
            (0, waits) => Some(format!("sink {place}: {waits} records wait in its spool")),
            (lost, _) => {
                Some(format!("sink {place}: {lost} records are lost, since it took none at the end"))
            }
        }
    }
}

/// A spool that cannot be used is told, and the sink has its queue alone.
fn open_spool(sink: &Sink, common: &Common, news: &mut Vec<String>) -> Option<Arc<Spool>> {
    let folder = Path::new(&sink.spool).join(sink.name());
    let shown = escape(folder.as_os_str().as_encoded_bytes()).into_owned();
    match Spool::open(&folder, sink.spool_max_mib << 20) {
        Ok((spool, damaged)) => {
            if damaged > 0 {
                common.tally.lose(Loss::SpoolDamaged, damaged);
                news.push(format!(
                    "sink {}: {damaged} records at the end of {shown} were not whole",
                    sink.name()
                ));
            }
            Some(Arc::new(spool))
        }
        Err(error) => {
            news.push(format!(
                "sink {}: no spool at {shown}: {error}; records wait in memory alone (sink.spool names another place)",
                sink.name()
            ));
            None
        }
    }
}
