//! What the control socket asks a running sensor.

use serde_json::{Value, json};

use super::Sensor;
use crate::clock;
use crate::live::canary::{self, Canary};
use crate::live::control::{self, Command, Question};
use crate::live::flows;
use crate::live::rollout::Rollout;
use crate::live::start::random;
use crate::store::History;

impl Sensor {
    pub(super) fn answer(&mut self, question: Question) {
        let line = match question.command {
            Command::Status => {
                let memory = self.privileged.memory();
                let mut status = self.numbers(|numbers| {
                    numbers.json(&self.hooks, &self.warnings, &self.owner, &self.since, &memory)
                });
                status["privilege"] = self.privileged.privilege().json();
                status["tables"] = self.tables();
                status["findings_by_rule"] = json!(self.pipeline.findings_by_rule());
                status["sinks"] = self.sinks.status();
                status["stdout"] = self.out.status().into();
                status["cost"] = self.cost.json(self.privileged.other_cpu());
                status["exceptions"] = json!(self.pipeline.exceptions());
                status["observe"] = self.reloads.config().output.observe.into();
                status["rollout"] = Rollout::new(self.reloads.config()).json();
                status["configuration"] = self.reloads.json();
                status["limits"] = self.limits.json(&self.maps.counters());
                status["limits"]["tables_share"] = self.fit.json();
                status["links"] = self.follow.json();
                status["store"] = self.store.status(self.pipeline.history(), clock::unix_ns());
                control::answer_line(&status)
            }
            Command::Flows => control::answer_line(&flows::rows(&self.maps.flows(), &self.clock)),
            Command::Pdns(name) => self.remembered(|history, _| control::answer_line(&history.pdns(&name))),
            Command::Baseline(which) => self.remembered(|history, now_ns| {
                control::answer_line(&history.baselines(which.as_deref(), now_ns))
            }),
            Command::Top => control::answer_line(&self.pipeline.top()),
            Command::Alerts(cursor) => control::json_line(&self.store.kept().since(cursor.as_deref())),
            Command::Explain(id) => control::json_line(&self.store.kept().about(&id)),
            Command::Selftest(request) => self.selftest(&request),
            Command::BaselineReset(which) => {
                self.remembered(|history, _| control::answer_line(&history.reset_baselines(which.as_deref())))
            }
        };
        // The client may be gone.
        let _ = question.answer.send(line);
    }

    /// How full what is bounded is.
    fn tables(&self) -> Value {
        let mut tables = json!({ "flows": self.maps.flow_fill() });
        for (name, fill) in self.pipeline.fills() {
            tables[name] = json!(fill);
        }
        tables
    }

    fn selftest(&mut self, request: &canary::Request) -> Vec<u8> {
        match request {
            canary::Request::Show => match &self.canary {
                Some(canary) => control::answer_line(&canary.json()),
                None => control::error_line("no self-test is announced, or its time is over"),
            },
            canary::Request::End => {
                self.end_canary();
                control::answer_line(&true)
            }
            canary::Request::Begin { netns, seconds, .. } => {
                self.end_canary();
                let seed = random::<1>().map_or(0, |[seed]| seed);
                let config = self.reloads.config().with_tables(self.fit.share);
                match Canary::begin(request, self.netns, &config, seed, clock::unix_ns()) {
                    Ok(canary) => {
                        self.canary = Some(canary);
                        self.printer
                            .line(&format!("self-test in namespace {netns}, for {seconds} s at most"));
                        control::answer_line(&true)
                    }
                    Err(why) => control::error_line(&why),
                }
            }
        }
    }

    /// Closes what it has open.
    pub(super) fn end_canary(&mut self) {
        let Some(mut canary) = self.canary.take() else { return };
        let Self { out, sinks, store, printer, .. } = self;
        canary.finish(&mut |finding| {
            out.write(finding, printer);
            sinks.finding(finding);
            store.finding(finding, clock::unix_ns());
        });
    }

    fn remembered(&mut self, answer: impl FnOnce(&mut History, u64) -> Vec<u8>) -> Vec<u8> {
        match self.pipeline.history() {
            Some(history) => answer(history, clock::unix_ns()),
            None => control::error_line("this sensor has no store: see `store.path` of its configuration"),
        }
    }
}
