//! A finding explained: all that text, page and JSON say, once.

use serde::Serialize;

use super::decode::{self, Sample};
use super::guide;
use super::habits::{self, Habits};
use crate::attack;
use crate::finding::trail::{GAP_ENDS_MS, Point};
use crate::finding::{Attack, Bounds, ClientKind, Evidence, Finding, Severity, State};
use crate::report::text::{self, duration, thousands};

/// Version of `explain --json`.
pub const VERSION: u32 = 1;
/// State changes that are told; the first and the last of more.
const CHANGES: usize = 48;

#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    pub v: u32,
    pub id: String,
    pub rule: String,
    pub severity: Severity,
    pub confidence: f64,
    pub state: State,
    /// One sentence.
    pub verdict: String,
    /// What a finding of the rule means.
    pub means: String,
    /// Name and value of what is known, in the order it is shown.
    pub facts: Vec<(&'static str, String)>,
    pub first_seen: String,
    pub last_seen: String,
    pub queries: u64,
    pub responses: u64,
    pub bytes_up: Bounds,
    pub bytes_down: Bounds,
    pub name_bytes: u64,
    pub evidence: Vec<Evidence>,
    /// What this host usually does beside what it did.
    pub habits: Vec<habits::Row>,
    pub samples: Vec<Sample>,
    /// Between look-ups: class and count; without the empty classes at both ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<(String, u32)>,
    /// Sums over time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Point>,
    /// Who started whom, the first first; the last one asked.
    pub processes: Vec<String>,
    pub changes: Vec<Change>,
    /// State changes in the middle that are not told.
    pub changes_left_out: usize,
    pub counterfactual: String,
    pub benign: Vec<String>,
    pub next: Vec<String>,
    pub attack: Attack,
    /// Names of the strategies, as far as the mapping in force knows them.
    pub strategies: Vec<(String, String)>,
    /// What is not known, and why.
    pub missing: Vec<String>,
}

/// A state change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub time: String,
    pub state: State,
    pub severity: Severity,
    pub rule: String,
    pub bytes_up: Bounds,
    /// What was said then for the first time.
    pub news: String,
}

impl Explained {
    /// Of a finding's state changes, oldest first, which must not be empty; `habits` is what other days know.
    pub fn of(changes: &[Finding], habits: &Habits) -> Option<Self> {
        let finding = changes.last()?;
        // A finding that was closed may have been opened again: what is told is the last time.
        let from = changes.iter().rposition(|change| change.state == State::Create).unwrap_or(0);
        let (told, changes_left_out) = told(&changes[from..]);
        let trail = finding.trail.as_deref();
        let mut missing = Vec::new();
        if trail.is_none() {
            missing.push(
                "How it came about (gaps, bytes over time) was not kept: the record is of a replay without \
                 --trail, or of an earlier version."
                    .to_owned(),
            );
        }
        missing.extend(habits.missing.clone());
        let asked = trail.map(|trail| trail.asked.clone()).unwrap_or_default();
        let mut names = finding.samples.clone();
        names.extend(asked.into_iter().filter(|name| !finding.samples.contains(name)));
        let samples = decode::samples(&names, finding.zone.as_deref(), finding.encoding.as_deref());
        let next = guide::next(finding.rule);
        if next.is_empty() {
            missing.push("The rule is of another version: this one has no page for it.".to_owned());
        }
        Some(Self {
            v: VERSION,
            id: finding.id.clone(),
            rule: finding.rule.to_owned(),
            severity: finding.severity,
            confidence: finding.confidence,
            state: finding.state,
            verdict: format!(
                "{}, {:.0} % sure: {}.",
                finding.severity.name().to_uppercase(),
                finding.confidence * 100.0,
                finding.title.trim_end_matches('.')
            ),
            means: guide::means(finding.rule),
            facts: facts(finding),
            first_seen: finding.first_seen.clone(),
            last_seen: finding.last_seen.clone(),
            queries: finding.queries,
            responses: finding.responses,
            bytes_up: finding.bytes_up,
            bytes_down: finding.bytes_down,
            name_bytes: finding.name_bytes,
            evidence: finding.evidence.clone(),
            habits: habits.rows(finding),
            samples,
            gaps: trail.map(|trail| gaps(&trail.gaps)).unwrap_or_default(),
            curve: trail.map(|trail| trail.points.clone()).unwrap_or_default(),
            processes: processes(finding),
            changes: told,
            changes_left_out,
            counterfactual: finding.counterfactual.clone(),
            benign: guide::benign(finding.rule),
            next: next.iter().map(|text| filled(text, finding)).collect(),
            attack: finding.attack.clone(),
            strategies: finding
                .attack
                .strategies
                .iter()
                .map(|id| (id.clone(), attack::strategy_name(id).unwrap_or_default().to_owned()))
                .collect(),
            missing,
        })
    }
}

/// What is known of who, where and how much.
fn facts(finding: &Finding) -> Vec<(&'static str, String)> {
    let client = &finding.client;
    let mut list: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name, value: Option<String>| {
        list.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    };
    let is_process = client.kind == ClientKind::Process;
    if is_process {
        add("program", client.exe.clone().or_else(|| client.comm.clone()));
        add("command", client.cmdline.clone());
        add("script", client.script.clone());
        let pids: Vec<_> = client.pids.iter().take(8).map(u32::to_string).collect();
        let more = client.pids.len().saturating_sub(pids.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        add("process id", Some(format!("{}{more}", pids.join(", "))));
        add("started", client.start_time.as_deref().map(second));
        add(
            "user",
            match (&client.user, client.uid) {
                (Some(user), Some(uid)) => Some(format!("{user} ({uid})")),
                (user, uid) => user.clone().or_else(|| uid.map(|uid| uid.to_string())),
            },
        );
        add("unit", client.unit.clone());
        add("container", client.container.clone());
        add("pod", client.pod.clone());
        if client.stdio_socket == Some(true) {
            add("streams", Some("a socket for standard input, output or error".to_owned()));
        }
        add("match", Some(client.grade.to_owned()));
    }
    add("address", client.ip.map(|ip| ip.to_string()));
    add("machine", client.asset.as_ref().map(ToString::to_string));
    add("zone", Some(finding.zone.clone().unwrap_or_else(|| "none that could be delegated".to_owned())));
    add("resolver", finding.resolver.clone());
    add("via", client.via.clone());
    add(
        "out",
        Some(format!(
            "{} to {} bytes, the least and most that can have left",
            thousands(finding.bytes_up.low),
            thousands(finding.bytes_up.high)
        )),
    );
    add(
        "in",
        Some(format!(
            "{} to {} bytes",
            thousands(finding.bytes_down.low),
            thousands(finding.bytes_down.high)
        )),
    );
    add(
        "look-ups",
        Some(format!(
            "{} queries, {} answered; {} characters of new names",
            thousands(finding.queries),
            thousands(finding.responses),
            thousands(finding.name_bytes)
        )),
    );
    add("seen", Some(format!("{} until {}", second(&finding.first_seen), second(&finding.last_seen))));
    add("encoding", finding.encoding.clone());
    add("looks like", finding.tool.clone());
    add("view", Some(finding.view.to_owned()));
    add("exception", finding.exception.as_ref().map(ToString::to_string));
    list
}

/// Who started whom, the first first.
fn processes(finding: &Finding) -> Vec<String> {
    let client = &finding.client;
    if client.kind == ClientKind::Address {
        let ip = client.ip.map_or_else(|| "several clients".to_owned(), |_| text::client(client));
        return vec![format!("{ip} (its processes are not seen from here; earthdog run there names them)")];
    }
    let own = client.exe.clone().or_else(|| client.comm.clone()).unwrap_or_else(|| "a process".to_owned());
    let own = match (&client.script, client.pid) {
        (Some(script), Some(pid)) => format!("{own} {script} (pid {pid})"),
        (None, Some(pid)) => format!("{own} (pid {pid})"),
        _ => own,
    };
    client.ancestry.iter().rev().cloned().chain([own]).collect()
}

/// Classes of gaps with their counts, from the first to the last that is not empty.
fn gaps(counts: &[u32]) -> Vec<(String, u32)> {
    let used = |(_, count): &(usize, &u32)| **count > 0;
    let all = || counts.iter().enumerate().take(GAP_ENDS_MS.len() + 1);
    let (Some((first, _)), Some((last, _))) = (all().find(used), all().rfind(used)) else {
        return Vec::new();
    };
    (first..=last)
        .map(|class| {
            let end = GAP_ENDS_MS.get(class).map(|ms| short(*ms));
            let start = class.checked_sub(1).map(|before| short(GAP_ENDS_MS[before]));
            let label = match (start, end) {
                (Some(start), Some(end)) => format!("{start} to {end}"),
                (None, Some(end)) => format!("under {end}"),
                (start, None) => format!("{} and over", start.unwrap_or_default()),
            };
            (label, counts[class])
        })
        .collect()
}

/// `30 ms`, `10 s`, `3 h`.
fn short(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    let (unit, name) = units.into_iter().find(|(unit, _)| ms >= *unit).unwrap_or((1, "ms"));
    format!("{} {name}", ms / unit)
}

/// How long after the beginning, to three digits or so: `0`, `0.4 s`, `12 s`, `2:38 min`, `5:07 h`, `3.4 d`.
pub fn after(ms: u64) -> String {
    let (seconds, minutes, hours) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0 => "0".to_owned(),
        1..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{minutes}:{:02} min", seconds % 60),
        3_600_000..86_400_000 => format!("{hours}:{:02} h", minutes % 60),
        _ => format!("{:.1} d", ms as f64 / 86_400_000.0),
    }
}

fn told(changes: &[Finding]) -> (Vec<Change>, usize) {
    let left_out = changes.len().saturating_sub(CHANGES);
    let half = CHANGES / 2;
    let mut known: Vec<&str> = Vec::new();
    let mut list = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let new: Vec<_> = change.evidence.iter().filter(|evidence| !known.contains(&evidence.name)).collect();
        known.extend(new.iter().map(|evidence| evidence.name));
        if left_out > 0 && (half..half + left_out).contains(&index) {
            continue;
        }
        let names: Vec<_> = new.iter().map(|evidence| evidence.name.replace('_', " ")).collect();
        let news = match change.state {
            State::Close => {
                let quiet = seconds_between(&change.last_seen, &change.time);
                // A window of quiet is at least ten minutes long.
                if quiet < 60 {
                    "the input ended".to_owned()
                } else {
                    format!("quiet for {}", duration(quiet))
                }
            }
            _ if names.is_empty() => "more of the same".to_owned(),
            _ => names.join(", "),
        };
        list.push(Change {
            time: change.time.clone(),
            state: change.state,
            severity: change.severity,
            rule: change.rule.to_owned(),
            bytes_up: change.bytes_up,
            news,
        });
    }
    (list, left_out)
}

/// Of two times in RFC 3339; 0 where one is none.
pub fn seconds_between(from: &str, to: &str) -> u64 {
    let parse = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let seconds = parse(from).zip(parse(to)).map(|(from, to)| to.as_second() - from.as_second());
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)
}

/// To the second, as `2026-11-21 22:53:56Z`.
pub fn second(time: &str) -> String {
    time.get(..19).map_or_else(|| time.to_owned(), |text| format!("{}Z", text.replacen('T', " ", 1)))
}

/// A line of the guide with what is known put in. What somebody could have chosen so that a shell takes it for more than a
/// word is not put into a command that is there to be typed: the placeholder stays.
fn filled(text: &str, finding: &Finding) -> String {
    let client = &finding.client;
    let habits = finding.trail.as_ref().and_then(|trail| trail.client.clone());
    let values = [
        ("{id}", Some(crate::finding::stored::short(&finding.id).to_owned())),
        ("{zone}", finding.zone.clone()),
        ("{resolver}", finding.resolver.clone()),
        ("{pid}", client.pid.map(|pid| pid.to_string())),
        ("{ip}", client.ip.map(|ip| ip.to_string())),
        ("{client}", habits.or_else(|| client.ip.map(|ip| ip.to_string()))),
    ];
    let mut out = text.to_owned();
    for (name, value) in values {
        let word = value.filter(|value| is_word(value));
        let word = word.unwrap_or_else(|| name.trim_matches(['{', '}']).to_uppercase());
        out = out.replace(name, &word);
    }
    out
}

/// Whether every shell and program takes it for one plain word.
fn is_word(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::{EVIL, evil, finding, tunnel};

    #[test]
    fn the_trail_becomes_histogram_and_curve() {
        let explained = Explained::of(&tunnel(), &Habits::default()).unwrap();
        let count: u32 = explained.gaps.iter().map(|(_, count)| count).sum();
        assert_eq!(count, 199, "a gap between each two of 200 look-ups: {:?}", explained.gaps);
        let last = explained.curve.last().unwrap();
        assert_eq!((last.2, last.3), (explained.bytes_up.low, explained.bytes_up.high));
        assert_eq!(last.1, explained.queries);
        assert!(explained.missing.iter().all(|text| !text.contains("came about")), "{:?}", explained.missing);
        assert_eq!(explained.changes.last().unwrap().state, State::Close);
        assert!(explained.samples.iter().all(|sample| sample.decoded.is_some()), "{:?}", explained.samples);
    }

    #[test]
    fn commands_hold_only_plain_words() {
        let hostile = Explained::of(&[evil()], &Habits::default()).unwrap();
        assert!(!hostile.next.is_empty());
        for text in &hostile.next {
            assert!(!text.contains('$') && !text.contains('{') && text.is_ascii(), "{text}");
        }
        let mut sly = finding();
        for zone in ["$(reboot).example", "a;b", "-o", "a b", "x`id`", EVIL] {
            sly.zone = Some(zone.into());
            let next = filled("`earthdog pdns {zone}`", &sly);
            assert_eq!(next, "`earthdog pdns ZONE`", "{zone}");
        }
        assert_eq!(filled("{zone} {pid} {resolver}", &finding()), "demo.example 42 10.53.0.1");
    }

    #[test]
    fn many_changes_are_cut_in_the_middle_and_an_earlier_time_is_left_out() {
        let mut changes: Vec<Finding> = vec![finding(); 3];
        for change in &mut changes {
            change.state = State::Update;
        }
        changes[0].state = State::Create;
        changes.push(finding()); // opened again
        changes.extend((0..100).map(|_| Finding { state: State::Update, ..finding() }));
        let explained = Explained::of(&changes, &Habits::default()).unwrap();
        assert_eq!((explained.changes.len(), explained.changes_left_out), (CHANGES, 101 - CHANGES));
        assert_eq!(explained.changes[0].news, "new encoded bytes");
        assert!(Explained::of(&[], &Habits::default()).is_none());
    }

    #[test]
    fn times_and_gaps_are_short() {
        assert_eq!(
            gaps(&[0, 0, 3, 0, 1]),
            [("3 ms to 10 ms".into(), 3), ("10 ms to 30 ms".into(), 0), ("30 ms to 100 ms".into(), 1)]
        );
        assert_eq!(gaps(&[0; 18]), []);
        let mut last = [0; 18];
        last[17] = 1;
        assert_eq!(gaps(&last), [("1 d and over".to_owned(), 1)]);
        assert_eq!(second("x"), "x");
        for (ms, text) in
            [(0, "0"), (400, "0.4 s"), (158_000, "2:38 min"), (18_420_000, "5:07 h"), (293_760_000, "3.4 d")]
        {
            assert_eq!(after(ms), text);
        }
    }
}
