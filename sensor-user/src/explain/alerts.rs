//! `earthdog alerts`: one line a finding, what was seen last at the end.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use serde::Serialize;

use super::burn_in;
use super::records::{self, Records};
use crate::cli::AlertsArgs;
use crate::clock;
use crate::config::Config;
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::finding::{self, Client, ClientKind, Finding, Origin, Severity, State, stored};
use crate::report::text::who;
use crate::rules::rules;
use crate::sink;

/// Version of `--json`.
pub const VERSION: u32 = 1;
/// Between two questions of `--follow`.
const PAUSE: Duration = Duration::from_secs(1);
/// Findings whose severity `--follow` remembers; beyond them all are forgotten, so that one may be shown again.
const REMEMBERED: usize = 65_536;

/// Lists findings, and goes on with new ones if asked to.
pub fn run(args: &AlertsArgs, config: &Config) -> anyhow::Result<Code> {
    let filter = Filter::of(args, clock::unix_ns())?;
    let out = io::stdout().lock();
    if args.burn_in {
        return sum_up(args, config, &filter, out);
    }
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut list = List { out, colour, args, heading: false };
    let Records { findings, problem, cursor } =
        if args.follow { records::after(config, None)? } else { records::all(config, args.file.as_deref())? };
    let mut seen = Seen::default();
    for finding in &findings {
        seen.is_news(finding);
    }
    let (latest, others): (Vec<_>, Vec<_>) = latest(findings)
        .into_iter()
        .filter(|finding| filter.takes(finding))
        .partition(|finding| finding.is_suppressed() == args.suppressed);
    list.all(&latest).map_err(|error| Error::stdout(&error))?;
    if !args.suppressed && !others.is_empty() {
        let count = others.len();
        // Beside the list, which other programs may read.
        let _ = writeln!(io::stderr(), "earthdog: {count} more under exceptions: see alerts --suppressed");
    }
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    if args.follow {
        follow(config, cursor, &filter, &mut seen, &mut list)?;
    }
    Ok(Code::Ok)
}

/// What would have alerted, and exceptions for it.
fn sum_up(args: &AlertsArgs, config: &Config, filter: &Filter, mut out: impl Write) -> anyhow::Result<Code> {
    let Records { findings, problem, .. } = records::all(config, args.file.as_deref())?;
    let mut latest = latest(findings);
    latest.retain(|finding| filter.takes(finding));
    burn_in::write(&latest, args.json, &mut out).map_err(|error| Error::stdout(&error))?;
    problem.map_or(Ok(Code::Ok), |problem| Err(problem.into()))
}

fn follow(
    config: &Config,
    mut cursor: Option<String>,
    filter: &Filter,
    seen: &mut Seen,
    list: &mut List<'_, impl Write>,
) -> anyhow::Result<()> {
    // Its time is all that is wanted of it.
    let pause = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    loop {
        pause.block_on(async { tokio::time::sleep(PAUSE).await });
        let records = records::after(config, cursor.as_deref())?;
        for finding in &records.findings {
            let is_wanted = filter.takes(finding) && finding.is_suppressed() == list.args.suppressed;
            if seen.is_news(finding) && is_wanted {
                list.one(finding).map_err(|error| Error::stdout(&error))?;
            }
        }
        cursor = records.cursor;
    }
}

/// The last state of each finding, by when that was.
pub fn latest(findings: Vec<Finding>) -> Vec<Finding> {
    let mut by_id = BTreeMap::new();
    for finding in findings {
        by_id.insert(finding.id.clone(), finding);
    }
    let mut latest: Vec<Finding> = by_id.into_values().collect();
    latest.sort_by(|a, b| (&a.time, &a.id).cmp(&(&b.time, &b.id)));
    latest
}

/// What `--follow` has shown: only a beginning, a higher severity and an end are news.
#[derive(Default)]
struct Seen(BTreeMap<String, (State, Severity, bool)>);

impl Seen {
    fn is_news(&mut self, finding: &Finding) -> bool {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        let now = (finding.state, finding.severity, finding.is_suppressed());
        match self.0.insert(finding.id.clone(), now) {
            None => true,
            Some((State::Close, ..)) => finding.state != State::Close,
            Some((.., was_suppressed)) if was_suppressed != finding.is_suppressed() => true,
            Some((_, severity, _)) => finding.state == State::Close || finding.severity > severity,
        }
    }
}

/// Which findings are wanted.
struct Filter {
    severity: Severity,
    rule: Option<String>,
    /// Lower case, without the dot at the end.
    zone: Option<String>,
    client: Option<String>,
    /// RFC 3339, so that it compares like the records' own.
    since: Option<String>,
    /// Also what a self-test caused.
    selftest: bool,
}

impl Filter {
    fn of(args: &AlertsArgs, now_ns: u64) -> Result<Self, Error> {
        Ok(Self {
            severity: args.severity.map_or(Severity::Low, Severity::from),
            rule: args.rule.as_deref().map(rule).transpose()?,
            zone: args.zone.as_ref().map(|zone| zone.trim_end_matches('.').to_ascii_lowercase()),
            client: args.client.clone(),
            since: args.since.as_deref().map(|since| time(since, now_ns)).transpose()?,
            selftest: args.selftest,
        })
    }

    fn takes(&self, finding: &Finding) -> bool {
        finding.severity >= self.severity
            && (self.selftest || finding.origin != Origin::Selftest)
            && self.rule.as_ref().is_none_or(|rule| finding.rule == rule)
            && self.zone.as_ref().is_none_or(|zone| is_at_or_below(finding.zone.as_deref(), zone))
            && self.client.as_ref().is_none_or(|client| is_client(&finding.client, client))
            && self.since.as_ref().is_none_or(|since| finding.last_seen >= *since)
    }
}

/// A rule's whole name.
fn rule(name: &str) -> Result<String, Error> {
    let known = &rules().rules;
    let whole = [name.to_owned(), format!("dns-{name}")];
    whole.into_iter().find(|name| known.contains_key(name)).ok_or_else(|| {
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        let text = format!("--rule: there is no rule {}; there are: {}", escape(name), names.join(", "));
        Error::new(Code::Usage, text)
    })
}

/// A time, or how long ago it was.
fn time(text: &str, now_ns: u64) -> Result<String, Error> {
    let seconds = |text: &str| {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit)
    };
    if let Some(seconds) = seconds(text) {
        return Ok(finding::time(now_ns.saturating_sub(seconds.saturating_mul(1_000_000_000))));
    }
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let stamp = text.parse::<jiff::Timestamp>().ok().or_else(|| Some(day()?.timestamp()));
    stamp.map(|stamp| format!("{stamp:.9}")).ok_or_else(|| {
        let text = format!(
            "--since {}: no time; give 90m, 24h, 7d, 2026-11-22 or 2026-11-22T11:30:00Z",
            escape(text)
        );
        Error::new(Code::Usage, text)
    })
}

fn is_at_or_below(zone: Option<&str>, wanted: &str) -> bool {
    zone.and_then(|zone| zone.strip_suffix(wanted)).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_client(client: &Client, wanted: &str) -> bool {
    let is = |value: Option<String>| value.is_some_and(|value| value == wanted);
    let has = |value: &Option<String>| value.as_ref().is_some_and(|value| value.contains(wanted));
    is(client.ip.map(|ip| ip.to_string()))
        || is(client.asset.as_ref().map(|asset| asset.name.clone()))
        || client.pid.iter().chain(&client.pids).any(|pid| pid.to_string() == wanted)
        || is(client.user.clone())
        || [&client.exe, &client.comm, &client.cmdline, &client.script, &client.unit, &client.container]
            .into_iter()
            .any(has)
}

struct List<'a, W> {
    out: W,
    colour: bool,
    args: &'a AlertsArgs,
    heading: bool,
}

impl<W: Write> List<'_, W> {
    fn all(&mut self, findings: &[Finding]) -> io::Result<()> {
        #[derive(Serialize)]
        struct All<'a> {
            v: u32,
            findings: &'a [Finding],
        }
        if self.args.json && !self.args.follow {
            self.out.write_all(sink::json(&All { v: VERSION, findings })?.as_bytes())?;
        } else if findings.is_empty() && !self.args.follow {
            self.out.write_all(b"no findings\n")?;
        } else {
            for finding in findings {
                self.one(finding)?;
            }
        }
        self.out.flush()
    }

    fn one(&mut self, finding: &Finding) -> io::Result<()> {
        #[derive(Serialize)]
        struct One<'a> {
            v: u32,
            finding: &'a Finding,
        }
        if self.args.json {
            self.out.write_all(sink::json(&One { v: VERSION, finding })?.as_bytes())?;
            return self.out.flush();
        }
        if !std::mem::replace(&mut self.heading, true) {
            writeln!(self.out, "{HEADING}")?;
        }
        writeln!(self.out, "{}", line(finding, self.args.wide, self.colour))?;
        self.out.flush()
    }
}

const HEADING: &str = "LAST SEEN   SEVERITY S ID           OUT RULE        CLIENT         ZONE";

/// 80 columns, unless it is to be `wide`.
fn line(finding: &Finding, wide: bool, colour: bool) -> String {
    let fit = |text: &str, width: usize| if wide { plain(text) } else { cut(&plain(text), width) };
    let severity = finding.severity.name();
    let (on, off) = match finding.severity {
        Severity::High | Severity::Critical if colour => ("\x1b[31m", "\x1b[0m"),
        Severity::Medium if colour => ("\x1b[33m", "\x1b[0m"),
        _ => ("", ""),
    };
    let line = format!(
        "{} {on}{severity:<8}{off} {} {:<8} {:>7} {:<11} {:<14} {}",
        minute(&finding.last_seen),
        if finding.state == State::Close { 'c' } else { 'o' },
        plain(stored::short(&finding.id)).chars().take(8).collect::<String>(),
        bytes(finding.bytes_up.high),
        fit(finding.rule.trim_start_matches("dns-"), 11),
        fit(&client(finding, wide), 14),
        // What is on the right of a name says more than what is on the left.
        match (&finding.zone, wide) {
            (Some(zone), false) => cut_left(&plain(zone), 13),
            (Some(zone), true) => plain(zone),
            (None, _) => "-".to_owned(),
        },
    );
    line.trim_end().to_owned()
}

/// The program, the asset, or the address.
fn client(finding: &Finding, wide: bool) -> String {
    let client = &finding.client;
    let program = || {
        let exe = client.exe.as_deref().and_then(|exe| exe.rsplit('/').next());
        exe.filter(|name| !name.is_empty()).map(str::to_owned).or_else(|| client.comm.clone())
    };
    match client.kind {
        _ if finding.scope == finding::Scope::Zone => "(several)".to_owned(),
        ClientKind::Process => program().unwrap_or_else(|| who(finding)),
        ClientKind::Address => match (&client.asset, client.ip) {
            (Some(asset), Some(ip)) if wide => format!("{} {ip}", asset.name),
            (Some(asset), _) => asset.name.clone(),
            (None, ip) => ip.map_or_else(|| "?".to_owned(), |ip| ip.to_string()),
        },
    }
}

/// `11-22 11:36` of a time.
fn minute(time: &str) -> String {
    plain(&time.get(5..16).unwrap_or(time).replacen('T', " ", 1))
}

/// Three digits at most.
pub fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut size, mut unit) = (count as f64, 0);
    while size >= 999.5 && unit + 1 < units.len() {
        size /= 1000.0;
        unit += 1;
    }
    let places = usize::from(unit > 0 && size < 9.95);
    format!("{size:.places$} {}", units[unit])
}

/// One column a character: what is not ASCII may take none or two.
pub fn plain(text: &str) -> String {
    escape(text).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// The beginning of ASCII text, with a mark where it was cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.len() <= width { text.to_owned() } else { format!("{}…", &text[..width - 1]) }
}

/// The end of ASCII text, likewise.
pub fn cut_left(text: &str, width: usize) -> String {
    if text.len() <= width { text.to_owned() } else { format!("…{}", &text[text.len() + 1 - width..]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::FailOn;
    use crate::explain::tests::{evil, finding, golden, tunnel};

    const NOW: u64 = 1_800_000_000_000_000_000;

    fn listed(findings: Vec<Finding>, args: &AlertsArgs, colour: bool) -> String {
        let filter = Filter::of(args, NOW).unwrap();
        let mut list = List { out: Vec::new(), colour, args, heading: false };
        let latest: Vec<_> = latest(findings).into_iter().filter(|finding| filter.takes(finding)).collect();
        list.all(&latest).unwrap();
        String::from_utf8(list.out).unwrap()
    }

    #[test]
    fn the_list_is_aligned_in_80_columns_whatever_is_in_it() {
        let findings = || vec![finding(), evil(), tunnel().pop().unwrap()];
        let text = listed(findings(), &AlertsArgs::default(), false);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert!(line.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '…'), "{line}");
        }
        assert_eq!(text.lines().count(), 4, "one line a finding:\n{text}");
        let columns = |line: &str| line.chars().nth(22).zip(line.chars().nth(32));
        assert!(text.lines().skip(1).all(|line| columns(line) == Some((' ', ' '))), "{text}");
        golden("alerts.txt", &text);
        let wide = listed(findings(), &AlertsArgs { wide: true, ..AlertsArgs::default() }, false);
        assert!(wide.contains("\\x1b[2J") && !wide.contains('\x1b'), "{wide}");
        assert!(listed(findings(), &AlertsArgs::default(), true).contains("\x1b[33mmedium  \x1b[0m"));
    }

    #[test]
    fn json_has_a_version_and_the_native_records() {
        let args = AlertsArgs { json: true, ..AlertsArgs::default() };
        golden("alerts.json", &listed(vec![finding(), evil()], &args, true));
        let text = listed(vec![finding()], &args, false);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["findings"][0], serde_json::to_value(finding()).unwrap());
    }

    #[test]
    fn filters_take_what_they_say() {
        let takes = |args: AlertsArgs| Filter::of(&args, NOW).unwrap().takes(&finding());
        let args = AlertsArgs::default;
        let some = |text: &str| Some(text.to_owned());
        for (wanted, args) in [
            (true, args()),
            (true, AlertsArgs { severity: Some(FailOn::Medium), ..args() }),
            (false, AlertsArgs { severity: Some(FailOn::High), ..args() }),
            (true, AlertsArgs { rule: some("leak-ledger"), ..args() }),
            (true, AlertsArgs { rule: some("dns-leak-ledger"), ..args() }),
            (false, AlertsArgs { rule: some("dns-dga"), ..args() }),
            (true, AlertsArgs { zone: some("EXAMPLE."), ..args() }),
            (true, AlertsArgs { zone: some("demo.example"), ..args() }),
            (false, AlertsArgs { zone: some("mo.example"), ..args() }),
            (true, AlertsArgs { client: some("iodine"), ..args() }),
            (true, AlertsArgs { client: some("42"), ..args() }),
            (true, AlertsArgs { client: some("10.0.0.2"), ..args() }),
            (false, AlertsArgs { client: some("10.0.0"), ..args() }),
            (true, AlertsArgs { since: some("2023-11-14"), ..args() }),
            (true, AlertsArgs { since: some("2023-11-14T22:13:20Z"), ..args() }),
            (false, AlertsArgs { since: some("7d"), ..args() }),
        ] {
            assert_eq!(takes(args.clone()), wanted, "{args:?}");
        }
        let canary = Finding { origin: Origin::Selftest, ..finding() };
        assert!(!Filter::of(&args(), NOW).unwrap().takes(&canary));
        assert!(Filter::of(&AlertsArgs { selftest: true, ..args() }, NOW).unwrap().takes(&canary));
        for (args, says) in [
            (AlertsArgs { rule: some("x"), ..args() }, "dns-leak-ledger"),
            (AlertsArgs { since: some("yesterday\u{1b}"), ..args() }, "yesterday\\x1b: no time"),
        ] {
            let error = Filter::of(&args, NOW).err().unwrap();
            assert!(error.code == Code::Usage && error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn following_tells_beginnings_rises_and_ends() {
        let mut seen = Seen::default();
        let change = |state, severity| Finding { state, severity, ..finding() };
        let news: Vec<bool> = [
            change(State::Create, Severity::Low),
            change(State::Update, Severity::Low),
            change(State::Update, Severity::High),
            change(State::Close, Severity::High),
            change(State::Close, Severity::High),
            change(State::Create, Severity::Low),
        ]
        .iter()
        .map(|finding| seen.is_news(finding))
        .collect();
        assert_eq!(news, [true, false, true, true, false, true]);
    }

    #[test]
    fn bytes_take_few_columns() {
        for (count, text) in [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9949, "9.9 kB"), (9950, "10 kB")]
        {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "18 EB");
    }
}
