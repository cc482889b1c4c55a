//! `earthdog selftest --canary`: one small leak past the running sensor, from the hooks to the sinks. What does not come
//! through is the alarm.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bed::Bed;
use super::case::{Case, Source};
use super::live::Traffic;
use super::outcome::VERSION;
use super::stop::Stop;
use crate::clock;
use crate::config::Config;
use crate::emulate;
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::finding::{self, ClientKind, Finding, Severity};
use crate::live::canary::{Mode, Request};
use crate::live::control;

/// What is sent: 30 bytes a query, two queries a second.
const TOOL: &str = "base 32, fast";
/// From the first query to the finding, and from there to the last sink.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(250);
/// How long the sensor keeps the namespace in mind, whatever becomes of the canary.
const SECONDS: u64 = 90;

/// Printed with `--json`, and kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Canary {
    pub v: u32,
    /// RFC 3339.
    pub time: String,
    pub seconds: f64,
    pub ok: bool,
    /// Where it ended: reader, decode, detectors, owner or sink. Absent if it came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// Sinks that have delivered it.
    pub sinks: Vec<String>,
}

/// Where it stops, and what is known of that.
struct Alarm(&'static str, String);

impl Canary {
    pub fn text(&self) -> String {
        match (&self.stopped_at, &self.why) {
            (Some(stage), Some(why)) => format!("ALARM      {}: {}\n", escape(stage), escape(why)),
            _ => format!(
                "canary     came through in {:.1} s: {}; delivered by {}\n",
                self.seconds,
                escape(self.finding.as_deref().unwrap_or_default()),
                if self.sinks.is_empty() {
                    "no sink, since none takes findings".to_owned()
                } else {
                    escape(&self.sinks.join(", ")).into_owned()
                }
            ),
        }
    }
}

/// Sends it. An error is what kept it from being sent; what kept it from coming through is in the result.
pub(super) fn run(config: &Config, seed: u64) -> Result<Canary, Error> {
    let (began, time) = (clock::monotonic(), finding::time(clock::unix_ns()));
    let mut canary = Canary {
        v: VERSION,
        time,
        seconds: 0.0,
        ok: false,
        stopped_at: None,
        why: None,
        finding: None,
        sinks: Vec::new(),
    };
    let stop = Stop::new().map_err(|error| Error::new(Code::Failure, error.to_string()))?;
    // Whether it may is asked before anything is said of the sensor.
    let bed = Bed::make()?;
    match fly(config, &bed, &stop, seed, &mut canary) {
        Ok(()) => canary.ok = true,
        Err(Alarm(stage, why)) => (canary.stopped_at, canary.why) = (Some(stage.to_owned()), Some(why)),
    }
    stop.check()?;
    canary.seconds = began.elapsed().as_secs_f64();
    Ok(canary)
}

fn fly(config: &Config, bed: &Bed, stop: &Stop, seed: u64, canary: &mut Canary) -> Result<(), Alarm> {
    let socket = Path::new(&config.live.control_socket);
    let silent = |error: Error| Alarm("reader", error.message);
    control::request(socket, "status").map_err(silent)?;
    let netns = own_netns().map_err(|why| Alarm("reader", why))?;
    let begin = Request::Begin { netns, seconds: SECONDS, mode: Mode::Canary };
    ask(socket, &begin).map_err(silent)?;
    let _end = End(socket);
    let cases = case(seed).map(|case| vec![case]).unwrap_or_default();
    let traffic = Traffic::start(bed, &cases).map_err(|error| Alarm("reader", error.message))?;
    let pids = traffic.pids(0);
    let mut shown = Value::Null;
    let found = wait(stop, || {
        shown = ask(socket, &Request::Show).map_err(silent)?;
        let findings: Vec<Finding> = serde_json::from_value(shown["findings"].clone()).unwrap_or_default();
        Ok(findings.into_iter().find(|finding| finding.severity >= Severity::Medium))
    })?;
    traffic.finish();
    let count = |name: &str| shown[name].as_u64().unwrap_or(0);
    let Some(found) = found else {
        return Err(match (count("packets"), count("messages")) {
            (0, _) => {
                Alarm("reader", "queries were sent, and the sensor's hooks saw none of them".to_owned())
            }
            (seen, 0) => Alarm("decode", format!("{seen} packets were read, and none became a message")),
            (_, messages) => {
                Alarm("detectors", format!("{messages} messages were decoded, and nothing was found"))
            }
        });
    };
    canary.finding = Some(found.title.clone());
    if !is_named(&found, &pids) {
        return Err(Alarm(
            "owner",
            format!("another sender is named than processes {pids:?}: {}", found.title),
        ));
    }
    let mut waits = Vec::new();
    let delivered = wait(stop, || {
        let now = control::request(socket, "status").map_err(silent)?;
        waits = undelivered(&now, &found);
        if !waits.is_empty() && waits.iter().all(|wait| wait.is_final) {
            return Err(Alarm("sink", told(&waits)));
        }
        Ok(waits.is_empty().then(|| names(&now)))
    })?;
    match delivered {
        Some(sinks) => canary.sinks = sinks,
        None => return Err(Alarm("sink", told(&waits))),
    }
    Ok(())
}

/// Ends the announcement, however the canary ended.
pub(super) struct End<'a>(&'a Path);

impl Drop for End<'_> {
    fn drop(&mut self) {
        // A sensor that does not answer forgets it by itself.
        let _ = ask(self.0, &Request::End);
    }
}

/// Tells the running sensor that a whole self-test is about to send, and to look away until what this returns is dropped.
pub(super) fn announce(config: &Config, seconds: u64) -> Result<End<'_>, String> {
    let socket = Path::new(&config.live.control_socket);
    let begin = Request::Begin { netns: own_netns()?, seconds, mode: Mode::Quiet };
    ask(socket, &begin).map(|_| End(socket)).map_err(|error| error.message)
}

fn ask(socket: &Path, request: &Request) -> Result<Value, Error> {
    let about = serde_json::to_string(request).unwrap_or_default();
    control::request_about(socket, "selftest", Some(&about))
}

/// Asks until there is something or patience ends.
fn wait<T>(stop: &Stop, mut ask: impl FnMut() -> Result<Option<T>, Alarm>) -> Result<Option<T>, Alarm> {
    let end = clock::monotonic() + PATIENCE;
    loop {
        if let Some(found) = ask()? {
            return Ok(Some(found));
        }
        if clock::monotonic() >= end || stop.is_asked() {
            return Ok(None);
        }
        std::thread::park_timeout(POLL);
    }
}

fn case(seed: u64) -> Option<Case> {
    let tool = emulate::ALL.iter().find(|tool| tool.name == TOOL)?;
    let source = Source::Tool(tool);
    Case::of(source, 0, &source.make(seed), &mut BTreeSet::new())
}

fn own_netns() -> Result<u32, String> {
    let inode = std::fs::metadata("/proc/self/ns/net").map(|metadata| metadata.ino());
    inode.map(|inode| inode as u32).map_err(|error| format!("/proc/self/ns/net: {error}"))
}

fn is_named(finding: &Finding, pids: &BTreeSet<u32>) -> bool {
    finding.client.kind == ClientKind::Process && finding.client.pid.is_some_and(|pid| pids.contains(&pid))
}

/// Sinks that take findings.
fn takers(status: &Value) -> impl Iterator<Item = &Value> {
    let sinks = status["sinks"].as_array().into_iter().flatten();
    sinks.filter(|sink| {
        sink["takes"].as_array().is_some_and(|takes| takes.iter().any(|kind| kind == "findings"))
    })
}

fn names(status: &Value) -> Vec<String> {
    takers(status).filter_map(|sink| sink["name"].as_str().map(str::to_owned)).collect()
}

/// What a sink says that has not delivered the finding.
struct Wait {
    text: String,
    /// It will not.
    is_final: bool,
}

fn told(waits: &[Wait]) -> String {
    waits.iter().map(|wait| &*wait.text).collect::<Vec<_>>().join("; ")
}

/// Those that have not delivered this very finding.
fn undelivered(status: &Value, found: &Finding) -> Vec<Wait> {
    let mut waits = Vec::new();
    for sink in takers(status) {
        let name = sink["name"].as_str().unwrap_or_default();
        let mut canaries = sink["canaries"].as_array().into_iter().flatten();
        let own = canaries.find(|one| one["id"] == *found.id && one["first_seen"] == *found.first_seen);
        match own.map(|own| own["unread"].as_str()) {
            Some(None) => {}
            Some(Some(why)) => waits.push(Wait { text: format!("sink {name}: {why}"), is_final: true }),
            None => {
                let error = sink["error"].as_str().unwrap_or("no error is known");
                let waiting = sink["waiting"].as_u64().unwrap_or(0);
                let text = format!("sink {name} has not delivered it ({waiting} wait): {error}");
                waits.push(Wait { text, is_final: false });
            }
        }
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::finding;
    use serde_json::json;

    #[test]
    fn a_sink_has_to_deliver_this_very_finding() {
        let found =
            Finding { id: "a".to_owned(), first_seen: "2026-01-01T00:00:01Z".to_owned(), ..finding() };
        let status = |canaries: Value| {
            json!({"sinks": [
                {"name": "siem", "takes": ["findings"], "delivered": 9, "waiting": 0, "error": "refused",
                    "canaries": canaries},
                {"name": "log", "takes": ["messages"], "delivered": 0, "waiting": 9},
            ]})
        };
        let waits = |canaries: Value| undelivered(&status(canaries), &found);
        let own = |unread: Value| json!({"id": "a", "first_seen": "2026-01-01T00:00:01Z", "unread": unread});
        let earlier = json!({"id": "a", "first_seen": "2026-01-01T00:00:00Z", "unread": null});
        let other = json!({"id": "b", "first_seen": "2026-01-01T00:00:01Z", "unread": null});
        assert!(waits(json!([earlier, own(Value::Null)])).is_empty());
        let none = waits(Value::Null).remove(0);
        assert!(none.text.contains("siem") && none.text.contains("refused") && !none.is_final);
        assert_eq!(waits(json!([earlier, other])).len(), 1, "what was delivered was not it");
        let unread = waits(json!([own("nothing reads".into())])).remove(0);
        assert!(unread.text == "sink siem: nothing reads" && unread.is_final);
        assert!(undelivered(&json!({}), &found).is_empty());
        assert_eq!(names(&status(Value::Null)), ["siem"]);
    }

    #[test]
    fn the_tool_is_there_and_short() {
        let case = case(1).unwrap();
        assert!(case.made.moved.queries.len() > 50);
    }
}
