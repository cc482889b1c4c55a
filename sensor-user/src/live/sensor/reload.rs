//! SIGHUP: the configuration is read again and taken over while the sensor runs, as far as that can be; all of it or none.
//!
//! What is known stays: open findings, ledger, history, who asked, spools. The domain lists are read again too.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::Sensor;
use crate::clock;
use crate::config::{Change, Config, Loaded, changes, files};
use crate::escape::escape;
use crate::finding;
use crate::live::rollout::Rollout;
use crate::source::feeds;

/// The configuration in force, and how it came to be.
#[derive(Debug)]
pub(super) struct Reloads {
    /// `-c`.
    file: Option<PathBuf>,
    in_force: Config,
    applied: u64,
    refused: u64,
    last: Option<Last>,
    /// Read, and to be taken over at the next start.
    waiting: Vec<Change>,
}

/// What became of the last SIGHUP.
#[derive(Debug, Serialize)]
struct Last {
    /// RFC 3339.
    time: String,
    /// Why it was refused, a line each; none: it was taken over.
    problems: Vec<String>,
    /// What changed at once.
    changed: Vec<Change>,
}

/// A configuration that was read without a problem.
struct Read {
    config: Config,
    feeds: feeds::Feeds,
    lists: feeds::Loaded,
}

impl Reloads {
    pub(super) fn new(file: Option<PathBuf>, in_force: &Config) -> Self {
        Self { file, in_force: in_force.clone(), applied: 0, refused: 0, last: None, waiting: Vec::new() }
    }

    fn read(&self) -> Result<Read, String> {
        let loaded =
            Loaded::read(self.file.as_deref(), Path::new(files::DIRECTORY)).map_err(|error| error.message)?;
        let mut config = loaded.config;
        // Both wait for a restart, which would be refused then.
        config.threads_need_no_store().map_err(|error| error.message)?;
        Rollout::new(&config).settle(&mut config);
        let mut feeds = config.feeds();
        let lists = feeds.load()?;
        Ok(Read { config, feeds, lists })
    }

    /// In force.
    pub(super) fn config(&self) -> &Config {
        &self.in_force
    }

    /// Keeps what is in force from here on; returns what changed with it.
    fn take(&mut self, config: &Config) -> Vec<Change> {
        let in_force = config.clone().taken_over_by(&self.in_force);
        let changed = changes(&self.in_force, &in_force);
        self.waiting = changes(&in_force, config);
        self.in_force = in_force;
        self.applied += 1;
        self.last = Some(Last {
            time: finding::time(clock::unix_ns()),
            problems: Vec::new(),
            changed: changed.clone(),
        });
        changed
    }

    fn refuse(&mut self, problems: &str) -> &[String] {
        self.refused += 1;
        let problems = problems.lines().map(|line| escape(line).into_owned()).collect();
        let time = finding::time(clock::unix_ns());
        let last = self.last.insert(Last { time, problems, changed: Vec::new() });
        &last.problems
    }

    /// For `status`.
    pub(super) fn json(&self) -> Value {
        json!({
            "applied": self.applied,
            "refused": self.refused,
            "last": self.last,
            "waiting": self.waiting,
        })
    }
}

/// Of a file that lies outside what is granted at the start.
const RESTART: &str = "\nthe running sensor reads only what its configuration named at the start, and files that replaced one of \
                       those in /etc/earthdog or in a folder of their own: restart it to read this (live.split)";

impl Sensor {
    /// Reloads between the two messages by which systemd knows when it is done.
    pub(super) fn reload_told(&mut self) {
        self.service.reloading();
        let refused = self.reloads.refused;
        self.reload();
        let outcome = if self.reloads.refused > refused { "new configuration refused; " } else { "" };
        self.service.ready(&format!("{outcome}{}", self.watching()));
    }

    fn reload(&mut self) {
        match self.reloads.read() {
            Ok(read) => self.take_over(read),
            Err(mut problems) => {
                if self.privileged.privilege().keeps_files() && problems.contains("Permission denied") {
                    problems.push_str(RESTART);
                }
                self.printer.line("warning: configuration refused, the one before stays in force:");
                for problem in self.reloads.refuse(&problems) {
                    self.printer.line(&format!("  {problem}"));
                }
            }
        }
    }

    fn take_over(&mut self, read: Read) {
        let share = self.fit.share;
        let before = self.reloads.in_force.with_tables(share).pipeline().worst_case_bytes();
        let changed = self.reloads.take(&read.config);
        let config = &self.reloads.in_force;
        self.printer.line(&format!(
            "configuration read again: {} taken over, {} for the next start",
            keys(changed.len()),
            keys(self.reloads.waiting.len())
        ));
        for Change { key, old, new, .. } in &changed {
            self.printer.line(&format!("  {key}: {old} → {new}"));
        }
        for Change { key, old, new, restart } in &self.reloads.waiting {
            let why = restart.unwrap_or_default();
            self.printer.line(&format!("  {key}: {old} → {new} needs a restart: {why}"));
        }
        let settings = config.with_tables(share).pipeline();
        let after = settings.worst_case_bytes();
        if after != before {
            self.worst_case = self.worst_case - before + after;
            self.printer.line(&format!("full tables now add at most {:.1} MB", self.worst_case as f64 / 1e6));
        }
        self.out.retune(config.output.least.into());
        self.limits.retune(config, self.as_gateway);
        let Self { pipeline, out, sinks, store, printer, .. } = self;
        let now_ns = clock::unix_ns();
        pipeline.retune(settings, now_ns, &mut |finding| {
            out.write(finding, printer);
            sinks.finding(finding);
            store.finding(finding, now_ns);
        });
        self.settings = self.reloads.in_force.live.clone();
        self.look_at_neighbours();
        self.feeds = read.feeds;
        self.take_feeds(read.lists);
        let rollout = Rollout::new(self.reloads.config());
        if rollout.is_idle() {
            self.switch_off(rollout.to_string(), now_ns);
        }
    }
}

fn keys(count: usize) -> String {
    match count {
        0 => "no key".to_owned(),
        1 => "1 key".to_owned(),
        _ => format!("{count} keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_until_it_is_taken_back() {
        let of = |text: &str| Config::parse(text, "x").unwrap();
        let mut reloads = Reloads::new(None, &Config::default());
        let changed = reloads.take(&of("[ledger]\nbound_1h_bytes = 700\n[live]\nflow_entries = 1024\n"));
        assert_eq!(
            (changed.len(), reloads.waiting.len(), reloads.in_force.live.flow_entries),
            (1, 1, 16_384)
        );
        let changed = reloads.take(&of("[ledger]\nbound_1h_bytes = 800\n[live]\nflow_entries = 1024\n"));
        assert_eq!((&*changed[0].old, &*changed[0].new, reloads.waiting.len()), ("700", "800", 1));
        reloads.refuse("x:1: bad\u{1b}\nx:2: worse");
        assert_eq!(reloads.in_force.ledger.bound_1h_bytes, 800);
        let told = reloads.json();
        assert_eq!(told["last"]["problems"], json!(["x:1: bad\\x1b", "x:2: worse"]), "{told}");
        assert_eq!((&told["applied"], &told["refused"]), (&json!(2), &json!(1)));
        assert!(reloads.take(&of("")).len() == 1 && reloads.waiting.is_empty());
    }
}
