//! Exceptions: findings that alert nobody, by whose word, why and until when. They are made, measured, counted and kept
//! like all others, and come through by themselves once the exception no longer covers them.
//!
//! A function of finding and time: a replay under the same configuration excepts the same. What no exception covers is
//! what no name explains: NULL, types that nobody publishes, EDNS data, bytes that are no DNS.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Suppress;
use crate::config::list::Network;
use crate::detect::{carriers::Carriers, non_dns::NonDns};
use crate::escape::escape;
use crate::finding::{self, Client, Exception, Finding, Severity};
use crate::report::process;

/// Those of the configuration, and how often each was used.
#[derive(Debug, Default)]
pub struct Exceptions {
    list: Vec<Standing>,
    /// What no exception covers alerts nobody either.
    observe: bool,
    /// Not told yet.
    news: Vec<String>,
}

#[derive(Debug)]
struct Standing {
    entry: Suppress,
    network: Option<Network>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    hits: u64,
    uncovered: u64,
    /// Unix time, nanoseconds; 0: never.
    last_ns: u64,
    is_over: bool,
}

/// What exceptions did in earlier runs, by their names.
#[derive(Debug, Default)]
pub struct Earlier(BTreeMap<String, Counts>);

/// What a finding has to be for an exception to cover it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub finding: &'a Finding,
    /// All rules that have spoken.
    pub rules: &'a [&'static str],
    /// NULL, types nobody publishes, EDNS data or trailing bytes were seen.
    pub has_payload: bool,
}

/// One exception for `status`, `coverage` and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub owner: String,
    pub reason: String,
    pub expires: String,
    pub is_over: bool,
    /// What it is limited to.
    pub scope: String,
    /// Findings that it kept from alerting; absent where no sensor runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<u64>,
    /// Findings of its scope that came through, since they rest on what no exception covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncovered: Option<u64>,
    /// When it was last used; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hit: Option<String>,
}

const UNCOVERED: &str = "it rests on NULL, a type that nobody publishes, EDNS data or bytes that are no DNS, which no exception covers";

impl Facts<'_> {
    /// It rests on what no exception covers.
    fn is_beyond(&self) -> bool {
        self.has_payload || self.rules.iter().any(|rule| [Carriers::RULE, NonDns::RULE].contains(rule))
    }
}

impl Exceptions {
    pub fn new(list: &[Suppress], observe: bool) -> Self {
        let mut exceptions = Self::default();
        exceptions.retune(list, observe);
        exceptions
    }

    /// Takes other exceptions; those of the same name go on with their counts.
    pub fn retune(&mut self, list: &[Suppress], observe: bool) {
        self.observe = observe;
        let before = std::mem::take(&mut self.list);
        let standing = |entry: &Suppress| Standing {
            entry: entry.clone(),
            network: Network::parse(&entry.address),
            counts: before
                .iter()
                .find(|old| old.entry.name == entry.name)
                // Another end is another announcement.
                .map_or_else(Counts::default, |old| Counts {
                    is_over: old.counts.is_over && old.entry.expires == entry.expires,
                    ..old.counts
                }),
        };
        self.list = list.iter().map(standing).collect();
    }

    /// Adds what earlier runs counted.
    pub fn recall(&mut self, earlier: &Earlier) {
        for Standing { entry, counts, .. } in &mut self.list {
            if let Some(before) = earlier.0.get(&entry.name) {
                counts.hits += before.hits;
                counts.uncovered += before.uncovered;
                counts.last_ns = counts.last_ns.max(before.last_ns);
            }
        }
    }

    /// What keeps a finding from alerting, or does not although it is in its scope; with its number for `count`.
    pub fn find(&self, facts: &Facts<'_>, now_ns: u64) -> Option<(Option<usize>, Exception)> {
        let found = self.first(facts, now_ns);
        if !self.observe || found.as_ref().is_some_and(|(_, exception)| exception.suppressed) {
            return found.map(|(index, exception)| (Some(index), exception));
        }
        let observed = Exception {
            name: Exception::OBSERVED.to_owned(),
            owner: String::new(),
            reason: "alerts nobody while the sensor only observes".to_owned(),
            expires: "never".to_owned(),
            suppressed: true,
            why: facts.is_beyond().then(|| UNCOVERED.to_owned()),
        };
        Some((None, observed))
    }

    /// The first whose scope a finding is in.
    fn first(&self, facts: &Facts<'_>, now_ns: u64) -> Option<(usize, Exception)> {
        let fits = |standing: &&Standing| !standing.entry.expires.is_over(now_ns) && standing.fits(facts);
        let (index, Standing { entry, .. }) = self.list.iter().enumerate().find(|(_, one)| fits(one))?;
        let beyond = facts.is_beyond();
        let exception = Exception {
            name: entry.name.clone(),
            owner: entry.owner.clone(),
            reason: entry.reason.clone(),
            expires: entry.expires.text.clone(),
            suppressed: !beyond,
            why: beyond.then(|| UNCOVERED.to_owned()),
        };
        Some((index, exception))
    }

    /// Notes that the exception of this number was met by one more finding.
    pub fn count(&mut self, index: usize, suppressed: bool, now_ns: u64) {
        if let Some(Standing { counts, .. }) = self.list.get_mut(index) {
            counts.add(suppressed, now_ns);
        }
    }

    /// Whether one has ended since the last call.
    pub fn expire(&mut self, now_ns: u64) -> bool {
        let mut any = false;
        for Standing { entry, counts, .. } in &mut self.list {
            if !counts.is_over && entry.expires.is_over(now_ns) {
                (counts.is_over, any) = (true, true);
                self.news.push(format!(
                    "exception {} of {} ended ({}): what it covered ({}) alerts again",
                    entry.name,
                    escape(&entry.owner),
                    entry.expires.text,
                    escape(&entry.scope())
                ));
            }
        }
        any
    }

    /// What is to be told.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    pub fn status(&self) -> Vec<Status> {
        let of = |Standing { entry, counts, .. }: &Standing| Status {
            is_over: counts.is_over,
            hits: Some(counts.hits),
            uncovered: Some(counts.uncovered),
            last_hit: (counts.last_ns > 0).then(|| finding::time(counts.last_ns)),
            ..Status::of(entry, 0)
        };
        self.list.iter().map(of).collect()
    }
}

impl Counts {
    fn add(&mut self, suppressed: bool, now_ns: u64) {
        *(if suppressed { &mut self.hits } else { &mut self.uncovered }) += 1;
        self.last_ns = now_ns;
    }
}

impl Earlier {
    /// Of findings' records as they are stored, oldest first. What is no record counts nothing.
    pub fn of<'a>(records: impl Iterator<Item = &'a [u8]>) -> Self {
        #[derive(Deserialize)]
        struct Record {
            id: String,
            time: String,
            exception: Option<Met>,
        }
        #[derive(PartialEq, Deserialize)]
        struct Met {
            name: String,
            suppressed: bool,
        }
        let mut earlier = Self::default();
        let mut met = BTreeMap::new();
        for Record { id, time, exception } in records.filter_map(|json| serde_json::from_slice(json).ok()) {
            // Of one finding, only what is another than before was counted.
            let Some(now) = exception else {
                met.remove(&id);
                continue;
            };
            if met.get(&id) != Some(&now) {
                let counts = earlier.0.entry(now.name.clone()).or_default();
                counts.add(now.suppressed, finding::nanos(&time));
                met.insert(id, now);
            }
        }
        earlier
    }
}

impl Status {
    /// Adds what the same exception met elsewhere.
    pub fn add(&mut self, other: Self) {
        self.is_over |= other.is_over;
        self.hits = self.hits.zip(other.hits).map(|(own, other)| own + other);
        self.uncovered = self.uncovered.zip(other.uncovered).map(|(own, other)| own + other);
        // All of one length, so that the later is the greater.
        self.last_hit = self.last_hit.take().max(other.last_hit);
    }

    /// Of one as it stands in the configuration, used by nobody.
    pub fn of(entry: &Suppress, now_ns: u64) -> Self {
        Self {
            name: entry.name.clone(),
            owner: entry.owner.clone(),
            reason: entry.reason.clone(),
            expires: entry.expires.text.clone(),
            is_over: entry.expires.is_over(now_ns),
            scope: entry.scope(),
            hits: None,
            uncovered: None,
            last_hit: None,
        }
    }
}

/// `backup of ann, until 2027-03-31: known; zone x.example; 3 findings, the last 2026-11-30T01:00:00Z`.
impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, owner, reason, expires, scope, .. } = self;
        let until = if self.is_over { "ended" } else { "until" };
        write!(out, "{name} of {owner}, {until} {expires}: {reason}; covers {scope}; ")?;
        match self.hits {
            None => write!(out, "hits not known, since no sensor runs")?,
            Some(0) => write!(out, "no finding so far")?,
            Some(1) => write!(out, "1 finding")?,
            Some(hits) => write!(out, "{hits} findings")?,
        }
        if let Some(uncovered) = self.uncovered.filter(|count| *count > 0) {
            write!(out, ", {uncovered} more came through")?;
        }
        self.last_hit.as_ref().map_or(Ok(()), |last| write!(out, ", the last at {last}"))
    }
}

impl Standing {
    fn fits(&self, facts: &Facts<'_>) -> bool {
        let Self { entry, network, .. } = self;
        let Finding { client, zone, severity, .. } = facts.finding;
        let given = |text: &str, fits: &dyn Fn(&str) -> bool| text.is_empty() || fits(text);
        *severity <= Severity::from(entry.at_most)
            && given(&entry.zone, &|wanted| zone.as_deref().is_some_and(|zone| is_at_or_below(zone, wanted)))
            && given(&entry.rule, &|wanted| facts.rules.iter().all(|rule| *rule == wanted))
            && network.is_none_or(|network| client.ip.is_some_and(|ip| network.contains(ip.to_canonical())))
            && (entry.is_of_any_process() || is_sure(client))
            && given(&entry.exe, &|wanted| {
                client.exe.as_deref().is_some_and(|exe| process::is_program(wanted, exe))
            })
            && given(&entry.unit, &|wanted| client.unit.as_deref() == Some(wanted))
            && entry.uid.is_none_or(|uid| client.uid == Some(uid))
    }
}

impl Suppress {
    fn is_of_any_process(&self) -> bool {
        self.exe.is_empty() && self.unit.is_empty() && self.uid.is_none()
    }
}

/// An exception for one process must not cover another one's.
pub fn is_sure(client: &Client) -> bool {
    !["none", "inferred"].contains(&client.grade)
}

fn is_at_or_below(zone: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('.');
    let Some(at) = zone.trim_end_matches('.').len().checked_sub(wanted.len()) else { return false };
    let (rest, end) = zone.trim_end_matches('.').split_at_checked(at).unwrap_or(("", ""));
    end.eq_ignore_ascii_case(wanted) && (rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::Config;

    const NOW: u64 = 1_800_000_000_000_000_000;

    fn exceptions(scope: &str) -> Exceptions {
        let text = format!(
            "[[suppress]]\nname = \"x\"\nowner = \"ann\"\nreason = \"known\"\nexpires = \"2030-01-01\"\n{scope}"
        );
        Exceptions::new(&Config::parse(&text, "x").unwrap().suppress, false)
    }

    fn finding() -> Finding {
        let mut finding = crate::explain::tests::finding();
        finding.zone = Some("Demo.example".to_owned());
        finding.client.exe = Some("/usr/sbin/iodine".to_owned());
        finding.client.unit = Some("vpn.service".to_owned());
        finding.client.uid = Some(33);
        finding.client.ip = Some("10.0.0.2".parse().unwrap());
        finding.client.grade = "exact";
        finding
    }

    fn covers(scope: &str, finding: &Finding, rules: &[&'static str]) -> bool {
        let facts = Facts { finding, rules, has_payload: false };
        exceptions(scope).find(&facts, NOW).is_some_and(|(_, exception)| exception.suppressed)
    }

    const LEDGER: &[&str] = &["dns-leak-ledger"];

    #[rstest]
    #[case("exe = \"/usr/sbin/iodine\"", true)]
    #[case("exe = \"iodine\"", true)]
    #[case("exe = \"/usr/bin/iodine\"", false)]
    #[case("exe = \"odine\"", false)]
    #[case("unit = \"vpn.service\"", true)]
    #[case("unit = \"vpn\"", false)]
    #[case("uid = 33", true)]
    #[case("uid = 0", false)]
    #[case("address = \"10.0.0.0/24\"", true)]
    #[case("address = \"10.0.1.0/24\"", false)]
    #[case("zone = \"demo.EXAMPLE.\"", true)]
    #[case("zone = \"example\"", true)]
    #[case("zone = \"mo.example\"", false)]
    #[case("zone = \"x.demo.example\"", false)]
    #[case("rule = \"dns-leak-ledger\"", true)]
    #[case("rule = \"dns-beacon\"", false)]
    #[case("zone = \"example\"\nat_most = \"medium\"", true)]
    #[case("zone = \"example\"\nat_most = \"low\"", false)]
    #[case("zone = \"example\"\nuid = 33\nexe = \"iodine\"", true)]
    #[case("zone = \"example\"\nuid = 34\nexe = \"iodine\"", false)]
    fn all_that_is_said_has_to_fit(#[case] scope: &str, #[case] fits: bool) {
        assert_eq!(covers(scope, &finding(), LEDGER), fits, "{scope}");
    }

    #[test]
    fn an_exception_for_one_is_none_for_another() {
        let with = |change: fn(&mut Finding)| {
            let mut finding = finding();
            change(&mut finding);
            finding
        };
        assert!(!covers("exe = \"iodine\"", &with(|f| f.client.grade = "inferred"), LEDGER));
        assert!(!covers("uid = 33", &with(|f| f.client.grade = "none"), LEDGER));
        assert!(!covers("exe = \"iodine\"", &with(|f| f.client.exe = Some("/tmp/iodine".into())), LEDGER));
        assert!(!covers("zone = \"example\"", &with(|f| f.zone = None), LEDGER));
        assert!(!covers("zone = \"example\"", &with(|f| f.zone = Some("é".into())), LEDGER));
        assert!(!covers("rule = \"dns-beacon\"", &finding(), &["dns-beacon", "dns-leak-ledger"]));
        assert!(!covers("address = \"10.0.0.2\"", &with(|f| f.client.ip = None), LEDGER));
    }

    #[test]
    fn what_no_exception_covers_comes_through_and_says_so() {
        let finding = finding();
        let exceptions = exceptions("zone = \"example\"");
        for (rules, has_payload) in
            [(LEDGER, true), (&["dns-carriers", "dns-beacon"][..], false), (&["dns-non-dns"], false)]
        {
            let facts = Facts { finding: &finding, rules, has_payload };
            let (_, exception) = exceptions.find(&facts, NOW).unwrap();
            assert!(!exception.suppressed && exception.why.unwrap().contains("NULL"), "{rules:?}");
        }
    }

    #[test]
    fn what_earlier_runs_stated_is_counted_as_it_was_then() {
        let record = |id: &str, second: u64, met: &str| {
            let exception = if met.is_empty() {
                String::new()
            } else {
                format!(",\"exception\":{{\"name\":\"x\",{met}}}")
            };
            format!("{{\"id\":\"{id}\",\"time\":\"{}\"{exception}}}", finding::time(second * 1_000_000_000))
        };
        let (hidden, through) = ("\"suppressed\":true", "\"suppressed\":false");
        let records = [
            record("a", 1, hidden),
            record("b", 2, ""),
            record("a", 3, hidden),
            "no record".to_owned(),
            record("b", 4, hidden),
            record("a", 5, through),
            record("a", 6, through),
        ];
        let earlier = Earlier::of(records.iter().map(String::as_bytes));
        let mut exceptions = exceptions("zone = \"example\"");
        exceptions.count(0, true, 4_500_000_000);
        exceptions.recall(&earlier);
        let status = &exceptions.status()[0];
        assert_eq!((status.hits, status.uncovered), (Some(3), Some(1)));
        assert_eq!(status.last_hit.as_deref(), Some("1970-01-01T00:00:05.000000000Z"));
    }

    #[test]
    fn an_end_is_told_once_and_counts_go_on() {
        let mut exceptions = exceptions("zone = \"example\"");
        let end = "2030-01-02T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second().unsigned_abs()
            * 1_000_000_000;
        let finding = finding();
        let facts = Facts { finding: &finding, rules: LEDGER, has_payload: false };
        let (index, _) = exceptions.find(&facts, end - 1).unwrap();
        exceptions.count(index.unwrap(), true, end - 1);
        assert!(!exceptions.expire(end - 1) && exceptions.expire(end) && !exceptions.expire(end + 1));
        assert!(exceptions.find(&facts, end).is_none());
        let [news] = &exceptions.news()[..] else { panic!("told once") };
        assert_eq!(
            news,
            "exception x of ann ended (2030-01-01): what it covered (zone example) alerts again"
        );
        let entry = exceptions.list[0].entry.clone();
        exceptions.retune(&[entry], false);
        let status = &exceptions.status()[0];
        assert!(status.is_over && status.hits == Some(1) && status.last_hit.is_some(), "{status:?}");
        assert!(!exceptions.expire(end + 2));
        exceptions.retune(&[], false);
        assert_eq!(exceptions.status(), []);
    }
}
