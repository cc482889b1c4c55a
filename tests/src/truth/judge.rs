//! Compares what senders said with what the message log says.

use serde_json::Value;

use super::expect::Expected;
use super::{Sender, TICK_NS};

/// Sensor and harness read the clocks at different moments, and a virtual machine's wander.
const CLOCK_SLACK_NS: u64 = 20_000_000;

/// A line of the message log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub view: String,
    pub response: bool,
    pub name: String,
    pub pid: Option<u32>,
    pub tid: Option<u32>,
    pub uid: Option<u32>,
    /// Nanoseconds since 1970.
    pub start_unix_ns: Option<u64>,
    pub netns: Option<u64>,
    pub cgroup: Option<u64>,
    pub source: String,
    pub grade: String,
    pub reason: Option<String>,
}

impl Seen {
    /// `None` for a line that is not one, which is a failure of its own.
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let owner = &value["owner"];
        let small = |key: &str| owner[key].as_u64().and_then(|number| u32::try_from(number).ok());
        let start = match owner["start_time"].as_str() {
            Some(time) => {
                let time: jiff::Timestamp = time.parse().ok()?;
                Some(u64::try_from(time.as_nanosecond()).ok()?)
            }
            None => None,
        };
        Some(Self {
            view: text(&value["view"])?,
            response: value["response"].as_bool()?,
            name: text(&value["name"]).unwrap_or_default().trim_end_matches('.').to_ascii_lowercase(),
            pid: small("pid"),
            tid: small("tid"),
            uid: small("uid"),
            start_unix_ns: start,
            netns: owner["netns"].as_u64(),
            cgroup: owner["cgroup_id"].as_u64(),
            source: text(&owner["source"])?,
            grade: text(&owner["grade"])?,
            reason: text(&owner["reason"]),
        })
    }

    /// A query on its way out: what has an owner.
    pub fn is_sent_query(&self) -> bool {
        !self.response && (self.view == "host_egress" || self.view == "wire_egress")
    }

    /// Whether grade and reason are as every record's must be.
    pub fn is_graded(&self) -> bool {
        match self.grade.as_str() {
            "exact" | "cookie" | "inferred" | "snapshot" => self.pid.is_some(),
            "none" => self.pid.is_none() && self.reason.is_some(),
            _ => false,
        }
    }
}

/// What the records of one query say of its owner, best first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The sender, at this grade.
    Right(String),
    /// Inferred or snapshot: who is named, right or not.
    Unsure(String),
    /// Nobody, for this reason.
    None(String),
    /// No record.
    Unseen,
    /// Somebody else, at grade exact or cookie; or a field that is not the sender's.
    Wrong(String),
}

/// What a sender's query came to; `seen` are the log's lines with its name. `boot_unix_ns` is the time of day at boot.
pub fn judge<'a>(
    sender: &Sender,
    seen: impl IntoIterator<Item = &'a Seen>,
    check_tid: bool,
    boot_unix_ns: u64,
) -> Verdict {
    let records = seen.into_iter().filter(|seen| seen.is_sent_query() && seen.name == sender.name);
    let verdicts = records.map(|seen| one(sender, seen, check_tid, boot_unix_ns));
    verdicts.max().unwrap_or(Verdict::Unseen)
}

fn one(sender: &Sender, seen: &Seen, check_tid: bool, boot_unix_ns: u64) -> Verdict {
    let source = &seen.source;
    match seen.grade.as_str() {
        "none" => Verdict::None(seen.reason.clone().unwrap_or_else(|| "no reason".into())),
        "exact" | "cookie" => match difference(sender, seen, check_tid, boot_unix_ns) {
            None => Verdict::Right(format!("{source} {}", seen.grade)),
            Some(what) => Verdict::Wrong(format!("{what} ({source} {})", seen.grade)),
        },
        grade => {
            let whom =
                difference(sender, seen, check_tid, boot_unix_ns).unwrap_or_else(|| "the sender".into());
            Verdict::Unsure(format!("{grade}: {whom} ({source})"))
        }
    }
}

/// The first thing in which a record is not of this sender.
fn difference(sender: &Sender, seen: &Seen, check_tid: bool, boot_unix_ns: u64) -> Option<String> {
    let start = boot_unix_ns + sender.start_boot_ns;
    // /proc tells the tick in which a process started.
    let started = |at: u64| at + CLOCK_SLACK_NS >= start && at < start + TICK_NS + CLOCK_SLACK_NS;
    if seen.pid != Some(sender.pid) {
        Some(format!("pid {:?}, not {}", seen.pid, sender.pid))
    } else if !seen.start_unix_ns.is_some_and(started) {
        let off = seen.start_unix_ns.map(|at| (at as f64 - start as f64) / 1e6);
        Some(format!("start time {off:?} ms off"))
    } else if seen.uid != Some(sender.uid) {
        Some(format!("uid {:?}, not {}", seen.uid, sender.uid))
    } else if check_tid && seen.tid != Some(sender.tid) {
        Some(format!("tid {:?}, not {}", seen.tid, sender.tid))
    } else if seen.netns.is_some_and(|netns| netns != sender.netns) {
        Some(format!("netns {:?}, not {}", seen.netns, sender.netns))
    } else if seen.cgroup.is_some_and(|cgroup| cgroup != sender.cgroup) {
        Some(format!("cgroup {:?}, not {}", seen.cgroup, sender.cgroup))
    } else {
        None
    }
}

/// How a row came out against the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Right(String),
    /// As the table says: its reason, and what the sensor said.
    OutOfReach(&'static str, String),
    Blind(&'static str),
    /// This kernel has no such way to send.
    Absent(String),
    Wrong(String),
    /// Not wrong, but not as the table says either.
    Unexpected(String),
}

pub fn outcome(expected: Expected, verdict: Verdict) -> Outcome {
    match (expected, verdict) {
        (_, Verdict::Wrong(what)) => Outcome::Wrong(what),
        (Expected::Right, Verdict::Right(how)) => Outcome::Right(how),
        (Expected::OutOfReach(why), Verdict::None(what) | Verdict::Unsure(what)) => {
            Outcome::OutOfReach(why, what)
        }
        (Expected::Blind(why), Verdict::Unseen) => Outcome::Blind(why),
        (Expected::Right, Verdict::None(reason)) => Outcome::Unexpected(format!("none: {reason}")),
        (Expected::Right, Verdict::Unsure(what)) => Outcome::Unexpected(what),
        (_, Verdict::Unseen) => Outcome::Unexpected("no record of the query".into()),
        (Expected::OutOfReach(_) | Expected::Blind(_), verdict) => {
            Outcome::Unexpected(format!("{verdict:?}, against the table"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender {
            row: "thread".into(),
            pid: 7,
            tid: 8,
            start_boot_ns: 50_000_000,
            uid: 0,
            netns: 5,
            cgroup: 6,
            name: "q.truth.example".into(),
        }
    }

    const LINE: &str = r#"{"time":"2026-11-22T02:00:00Z","view":"host_egress","transport":"udp","src":"10.0.0.1:1",
        "dst":"10.0.0.2:53","id":1,"response":false,"name":"q.truth.example","type":"A","owner":{"pid":7,"tid":8,
        "uid":0,"start_time":"1970-01-01T00:00:01.055Z","netns":5,"cgroup_id":6,"source":"kprobe","grade":"exact"}}"#;

    #[test]
    fn the_sender_and_nobody_else_is_right() {
        let seen = Seen::parse(LINE).unwrap();
        let judged = |seen: &Seen| judge(&sender(), [seen], true, 1_000_000_000);
        assert_eq!(judged(&seen), Verdict::Right("kprobe exact".into()));
        let other = |change: fn(&mut Seen)| {
            let mut seen = seen.clone();
            change(&mut seen);
            judged(&seen)
        };
        let wrong: [fn(&mut Seen); 6] = [
            |seen| seen.pid = Some(9),
            |seen| seen.tid = Some(9),
            |seen| seen.uid = Some(9),
            |seen| seen.start_unix_ns = Some(1_155_000_000),
            |seen| seen.netns = Some(9),
            |seen| seen.cgroup = Some(9),
        ];
        for change in wrong {
            assert!(matches!(other(change), Verdict::Wrong(_)));
        }
        assert!(matches!(other(|seen| seen.start_unix_ns = None), Verdict::Wrong(_)));
        assert!(matches!(other(|seen| seen.grade = "snapshot".into()), Verdict::Unsure(_)));
        assert!(matches!(other(|seen| seen.grade = "none".into()), Verdict::None(_)));
        assert_eq!(other(|seen| seen.response = true), Verdict::Unseen);
        assert_eq!(other(|seen| seen.view = "host_ingress".into()), Verdict::Unseen);
    }

    #[test]
    fn the_worst_record_of_a_query_counts() {
        let right = Seen::parse(LINE).unwrap();
        let mut wrong = right.clone();
        wrong.pid = Some(9);
        let verdict = judge(&sender(), [&right, &wrong], true, 1_000_000_000);
        assert!(matches!(verdict, Verdict::Wrong(_)));
    }

    #[test]
    fn only_what_the_table_says_passes() {
        let right = || Verdict::Right("kprobe exact".into());
        let none = || Verdict::None("tcp".into());
        let (reach, blind) = (Expected::OutOfReach("why"), Expected::Blind("why"));
        assert!(matches!(outcome(Expected::Right, right()), Outcome::Right(_)));
        assert!(matches!(outcome(reach, none()), Outcome::OutOfReach(..)));
        assert!(matches!(outcome(blind, Verdict::Unseen), Outcome::Blind(_)));
        for (expected, verdict) in [
            (Expected::Right, none()),
            (Expected::Right, Verdict::Unsure("inferred".into())),
            (Expected::Right, Verdict::Unseen),
            (reach, right()),
            (reach, Verdict::Unseen),
            (blind, right()),
            (blind, none()),
        ] {
            assert!(matches!(outcome(expected, verdict), Outcome::Unexpected(_)));
        }
        for expected in [Expected::Right, reach, blind] {
            assert!(matches!(outcome(expected, Verdict::Wrong("pid".into())), Outcome::Wrong(_)));
        }
    }

    #[test]
    fn a_record_without_grade_or_reason_is_told() {
        let seen = Seen::parse(LINE).unwrap();
        assert!(seen.is_graded());
        assert!(!Seen { grade: "none".into(), pid: None, ..seen.clone() }.is_graded());
        assert!(!Seen { grade: String::new(), ..seen }.is_graded());
    }
}
