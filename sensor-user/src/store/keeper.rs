//! The store as the running sensor has it: open, not wanted, or refused, each of which it can tell.

use serde_json::{Value, json};

use super::history::History;
use super::kept::Kept;
use super::recorder::{self, Recorder, Settings};
use crate::config::Config;
use crate::finding::Finding;

#[derive(Debug)]
pub struct Keeper {
    settings: Option<Settings>,
    recorder: Option<Recorder>,
    /// Why there is none although one is wanted.
    refused: Option<String>,
    /// Told when the sensor starts.
    news: Vec<String>,
    /// Findings that were not kept for want of a store.
    findings_lost: u64,
    kept: Kept,
}

impl Keeper {
    /// Opens what the configuration names. Nothing that can be wrong with it keeps the sensor from running.
    pub fn open(config: &Config, seed: u64, now_ns: u64) -> (Self, Option<History>) {
        let mut keeper = Self {
            settings: Settings::of(config),
            recorder: None,
            refused: None,
            news: Vec::new(),
            findings_lost: 0,
            kept: Kept::new(now_ns, Vec::new()),
        };
        let Some(settings) = &keeper.settings else { return (keeper, None) };
        match recorder::open(settings, seed, now_ns) {
            Ok((mut recorder, history, news)) => {
                keeper.kept = Kept::new(now_ns, recorder.loaded());
                keeper.recorder = Some(recorder);
                keeper.news = news;
                (keeper, Some(history))
            }
            Err(why) => {
                keeper.news.push(format!("{why}; until then nothing is remembered beyond this run"));
                keeper.refused = Some(why);
                (keeper, None)
            }
        }
    }

    pub fn worst_case_bytes(&self) -> usize {
        let settings = self.settings.as_ref().filter(|_| self.recorder.is_some());
        settings.map_or(0, Settings::worst_case_bytes) + Kept::WORST_CASE_BYTES
    }

    /// One line on what is remembered.
    pub fn announcement(&self, history: Option<&mut History>) -> String {
        match (&self.settings, history) {
            (Some(settings), Some(history)) => {
                let [zones, _, _, clients] = history.kinds().map(|kind| kind.records);
                format!(
                    "store: {} with {zones} zones and {clients} clients of {} days",
                    settings.place(),
                    history.meta().active_days
                )
            }
            (Some(settings), None) => format!("store: none, {} cannot be used", settings.place()),
            (None, _) => "store: none (store.path is empty)".to_owned(),
        }
    }

    /// Keeps a state change of a finding.
    pub fn finding(&mut self, finding: &Finding, now_ns: u64) {
        self.kept.push(finding);
        match &mut self.recorder {
            Some(recorder) => recorder.finding(finding, now_ns),
            None if self.refused.is_some() => self.findings_lost += 1,
            None => {}
        }
    }

    /// What was found, here and in earlier runs as far as there is a store.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// To be called once a second; returns what to tell.
    pub fn tick(&mut self, history: Option<&mut History>, now_ns: u64) -> Vec<String> {
        let mut news = std::mem::take(&mut self.news);
        if let (Some(recorder), Some(history)) = (&mut self.recorder, history) {
            news.extend(recorder.tick(history, now_ns));
        }
        news
    }

    /// Writes what is left; returns what to tell.
    pub fn finish(&mut self, history: Option<&mut History>, now_ns: u64) -> Vec<String> {
        let mut news = std::mem::take(&mut self.news);
        if let (Some(recorder), Some(history)) = (&mut self.recorder, history) {
            news.extend(recorder.finish(history, now_ns));
        }
        news
    }

    pub fn status(&self, history: Option<&mut History>, now_ns: u64) -> Value {
        match (&self.recorder, history) {
            (Some(recorder), Some(history)) => json!(recorder.status(history, now_ns)),
            _ => match &self.settings {
                Some(settings) => json!({
                    "path": settings.place(),
                    "error": self.refused,
                    "findings_lost": self.findings_lost,
                }),
                None => Value::Null,
            },
        }
    }
}
