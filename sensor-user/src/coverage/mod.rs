//! `earthdog coverage`: what of ATT&CK is covered here, how far, and what shows it.
//!
//! Claims are data (`claims`); what is in force, lost and kept is asked of the configuration and the running sensor. Four
//! forms of one value: text, JSON, Markdown and a layer for ATT&CK Navigator.

pub mod claims;
mod navigator;
mod show;

use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use self::claims::{Component, Status, claims};
use crate::attack::{self, Table};
use crate::cli::CoverageArgs;
use crate::clock;
use crate::config::{Config, KEYS};
use crate::escape::escape;
use crate::exception;
use crate::exit::{Code, Error};
use crate::rules::list;
use crate::selftest::canary::Canary;
use crate::selftest::outcome::{How, Kind, Outcome, Summary};
use crate::selftest::{floor::Floor, state};
use crate::sink;
use crate::store::ask;

/// Version of `--json`.
pub const VERSION: u32 = 1;
/// Bytes of a file with another release.
const ATTACK_MAX: u64 = 16 << 20;

#[derive(Debug, Serialize)]
pub struct Coverage {
    pub v: u32,
    pub attack_version: String,
    pub analytics: Vec<Row>,
    /// By id: those that the analytics name.
    pub components: Vec<(String, Component)>,
    /// Since when the sensor runs; absent where none answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// The last that ran here, whether or not a sensor runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    pub retention: Vec<Retention>,
    /// What alerts nobody: by whose word, why, until when, and how often that was.
    pub exceptions: Vec<exception::Status>,
    /// What is not known, and why.
    pub missing: Vec<String>,
}

/// One analytic.
#[derive(Debug, Serialize)]
pub struct Row {
    pub analytic: String,
    pub platforms: Vec<String>,
    pub strategy: String,
    pub strategy_name: String,
    pub techniques: Vec<String>,
    pub tactics: Vec<String>,
    pub status: Status,
    pub why: String,
    pub rules: Vec<String>,
    pub components: Vec<String>,
    pub tunables: Vec<Tunable>,
    pub tests: Vec<String>,
    /// Emulated tools that the last self-test found by these rules, past this host's hooks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub self_test: Vec<String>,
}

/// What a self-test came to.
#[derive(Debug, Serialize)]
pub struct SelfTest {
    pub time: String,
    /// Of the program that ran it.
    pub version: String,
    pub ok: bool,
    pub summary: Summary,
    /// Cases that fell short, and how.
    pub falls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
}

/// What self-tests left in the state folder.
#[derive(Debug, Default)]
pub struct Kept {
    pub outcome: Option<Outcome>,
    pub canary: Option<Canary>,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl Kept {
    fn read(config: &Config) -> Self {
        let mut problems = Vec::new();
        let outcome = state::read(config).unwrap_or_else(|why| {
            problems.push(why);
            None
        });
        let canary = state::read(config).unwrap_or_else(|why| {
            problems.push(why);
            None
        });
        Self { outcome, canary, problems }
    }
}

impl From<&Outcome> for SelfTest {
    fn from(outcome: &Outcome) -> Self {
        let falls = outcome.cases.iter().filter(|row| !row.ok);
        let falls =
            falls.map(|row| format!("{} ({})", row.name, row.falls.as_deref().unwrap_or("falls short")));
        Self {
            time: outcome.time.clone(),
            version: outcome.version.clone(),
            ok: outcome.ok,
            summary: outcome.summary,
            falls: falls.collect(),
            floor: outcome.floor.clone(),
        }
    }
}

/// One of MITRE's tunables, and the keys that stand for it as they are; none if nothing does.
#[derive(Debug, Serialize)]
pub struct Tunable {
    pub name: String,
    pub in_force: Vec<(String, String)>,
}

/// Since the sensor started.
#[derive(Debug, Serialize)]
pub struct Loss {
    pub seen: u64,
    pub lost: u64,
    pub processes_lost: u64,
}

#[derive(Debug, Serialize)]
pub struct Retention {
    pub kind: String,
    pub days: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// When the oldest was seen first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
}

/// Prints it.
pub fn run(args: &CoverageArgs, config: &Config) -> anyhow::Result<Code> {
    let read = args.attack.as_deref().map(read).transpose()?;
    let table = read.as_ref().unwrap_or_else(|| attack::table());
    let (status, problem) = match ask::online::<Value>(config, "status", None) {
        Ok(status) => (status, None),
        Err(error) => (None, Some(error.message)),
    };
    let coverage =
        Coverage::of(table, config, status.as_ref(), problem, Kept::read(config), clock::unix_ns());
    let text = match (args.json, args.markdown, args.navigator) {
        (true, ..) => sink::json(&coverage).map_err(|error| Error::stdout(&error))?,
        (_, true, _) => show::markdown(&coverage),
        (.., true) => format!("{:#}\n", navigator::layer(&coverage, table)),
        _ => show::text(&coverage),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::stdout(&error))?;
    Ok(Code::Ok)
}

/// Another release's strategies.
fn read(path: &Path) -> Result<Table, Error> {
    let name = escape(path.as_os_str().as_encoded_bytes()).into_owned();
    let failed = |what: String| Error::new(Code::Failure, format!("{name}: {what}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    io::Read::read_to_string(&mut io::Read::take(file, ATTACK_MAX), &mut text)
        .map_err(|error| failed(error.to_string()))?;
    let table: Table = serde_json::from_str(&text).map_err(|error| {
        failed(format!(
            "no ATT&CK excerpt: {error}; it needs `attack_version` and `strategies`, as sensor-user/data/attack.json has \
             them"
        ))
    })?;
    if table.strategies.is_empty() {
        return Err(failed("has no strategies".to_owned()));
    }
    Ok(table)
}

impl Coverage {
    /// `status` is the running sensor's answer; `now_ns`, Unix time, says which exceptions are over where there is none.
    pub fn of(
        table: &Table,
        config: &Config,
        status: Option<&Value>,
        problem: Option<String>,
        kept: Kept,
        now_ns: u64,
    ) -> Self {
        let rules = list::rows();
        let mut analytics = Vec::new();
        for strategy in &table.strategies {
            let raised: Vec<_> = rules.iter().filter(|row| row.strategies.contains(&strategy.id)).collect();
            if raised.is_empty() {
                continue;
            }
            for analytic in &strategy.analytics {
                let claim = claims().analytics.get(&analytic.id);
                let status = claim.map_or(Status::Absent, |claim| claim.status);
                let mut tests: Vec<String> = Vec::new();
                if status != Status::Absent {
                    let shown = raised.iter().flat_map(|row| claims::of_rule(row.rule));
                    tests.extend(claim.iter().flat_map(|claim| &claim.tests).chain(shown).cloned());
                    tests.sort();
                    tests.dedup();
                }
                analytics.push(Row {
                    analytic: analytic.id.clone(),
                    platforms: analytic.platforms.clone(),
                    strategy: strategy.id.clone(),
                    strategy_name: strategy.name.clone(),
                    techniques: strategy.detects.iter().map(|technique| technique.id.clone()).collect(),
                    tactics: strategy
                        .detects
                        .iter()
                        .flat_map(|technique| technique.tactics.clone())
                        .collect(),
                    status,
                    why: claim.map_or_else(
                        || "This release of earthdog claims nothing of it.".to_owned(),
                        |claim| claim.why.clone(),
                    ),
                    rules: match status {
                        Status::Absent => Vec::new(),
                        _ => raised.iter().map(|row| row.rule.to_owned()).collect(),
                    },
                    components: analytic.data_components.clone(),
                    tunables: analytic.mutable_elements.iter().map(|name| tunable(name, config)).collect(),
                    tests,
                    self_test: match status {
                        Status::Absent => Vec::new(),
                        _ => found_live(kept.outcome.as_ref(), &raised),
                    },
                });
            }
        }
        analytics.sort_by(|a, b| {
            (a.strategy != "DET0400", &a.analytic).cmp(&(b.strategy != "DET0400", &b.analytic))
        });
        let mut named: Vec<_> = analytics.iter().flat_map(|row| row.components.clone()).collect();
        named.sort();
        named.dedup();
        let unknown = |id: &str| Component {
            name: id.to_owned(),
            collected: "no".to_owned(),
            how: "This release of earthdog does not know it.".to_owned(),
        };
        let components = named
            .into_iter()
            .map(|id| {
                let known = claims().components.get(&id).cloned();
                let component = known.unwrap_or_else(|| unknown(&id));
                (id, component)
            })
            .collect();
        let has_problem = problem.is_some();
        let mut missing: Vec<String> = problem.into_iter().chain(kept.problems).collect();
        if kept.outcome.is_none() && missing.len() == usize::from(has_problem) {
            missing.push("No self-test has been run here: `earthdog selftest`.".to_owned());
        }
        if status.is_none() && !has_problem {
            missing.push("No sensor runs here: what it would lose is not known.".to_owned());
        }
        Self {
            v: VERSION,
            attack_version: table.attack_version.clone(),
            analytics,
            components,
            running_since: status.and_then(|status| status["since"].as_str()).map(str::to_owned),
            loss: status.map(loss),
            self_test: kept.outcome.as_ref().map(SelfTest::from),
            canary: kept.canary,
            retention: retention(config, status),
            exceptions: exceptions(config, status, now_ns),
            missing,
        }
    }

    /// How many analytics have a status.
    pub fn count(&self, status: Status) -> usize {
        self.analytics.iter().filter(|row| row.status == status).count()
    }
}

/// Tools that were sent here and found by one of these rules.
fn found_live(outcome: Option<&Outcome>, raised: &[&list::Row]) -> Vec<String> {
    let rows = outcome.into_iter().flat_map(|outcome| &outcome.cases);
    let found = rows.filter(|row| row.kind == Kind::Tool && row.how == How::Live && row.ok);
    let by = |rule: &str| raised.iter().any(|row| row.rule == rule);
    found.filter(|row| row.rule.as_deref().is_some_and(by)).map(|row| row.name.clone()).collect()
}

fn loss(status: &Value) -> Loss {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    Loss {
        seen: number(&status["counters"]["seen"]),
        lost: number(&status["lost"]),
        processes_lost: number(&status["execs_lost"]),
    }
}

/// Those of the running sensor, else of the configuration.
fn exceptions(config: &Config, status: Option<&Value>, now_ns: u64) -> Vec<exception::Status> {
    let running = status.and_then(|status| Vec::deserialize(&status["exceptions"]).ok());
    running
        .unwrap_or_else(|| config.suppress.iter().map(|entry| exception::Status::of(entry, now_ns)).collect())
}

fn retention(config: &Config, status: Option<&Value>) -> Vec<Retention> {
    let kinds = status.and_then(|status| status["store"]["kinds"].as_array());
    if let Some(kinds) = kinds {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        return kinds
            .iter()
            .map(|kind| Retention {
                kind: text(&kind["kind"]).unwrap_or_default(),
                days: kind["retention_days"].as_u64().unwrap_or(0),
                records: kind["records"].as_u64(),
                oldest: text(&kind["oldest"]),
            })
            .collect();
    }
    if config.store.path.is_empty() {
        return Vec::new();
    }
    let store = &config.store;
    [
        ("zones", store.retention_days_zones),
        ("names", store.retention_days_names),
        ("pairs", store.retention_days_clients),
        ("clients", store.retention_days_clients),
        ("findings", store.retention_days_findings),
    ]
    .into_iter()
    .map(|(kind, days)| Retention { kind: kind.to_owned(), days, records: None, oldest: None })
    .collect()
}

/// Keys whose name or meaning has MITRE's name in it, or that stand for it by the table.
fn tunable(name: &str, config: &Config) -> Tunable {
    let snake: String = name
        .char_indices()
        .flat_map(|(at, c)| {
            (at > 0 && c.is_ascii_uppercase()).then_some('_').into_iter().chain([c.to_ascii_lowercase()])
        })
        .collect();
    let stand: &[String] = claims().tunables.get(name).map_or(&[], Vec::as_slice);
    let is_word = |doc: &str| doc.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == name);
    let in_force = KEYS
        .iter()
        .filter(|key| {
            key.name == snake || is_word(key.doc) || stand.contains(&format!("{}.{}", key.section, key.name))
        })
        .map(|key| (format!("{}.{}", key.section, key.name), key.value(config)))
        .collect();
    Tunable { name: name.to_owned(), in_force }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage() -> Coverage {
        Coverage::of(attack::table(), &Config::default(), None, None, Kept::default(), 0)
    }

    #[test]
    fn the_five_of_the_strategy_come_first_and_only_with_what_shows_them() {
        let coverage = coverage();
        let first: Vec<_> = coverage.analytics.iter().take(5).map(|row| &*row.analytic).collect();
        assert_eq!(first, ["AN1121", "AN1122", "AN1123", "AN1124", "AN1125"]);
        assert!(coverage.analytics.iter().all(|row| row.tests.is_empty() == (row.status == Status::Absent)));
        assert_eq!((coverage.count(Status::Native), coverage.attack_version.as_str()), (2, "18.1"));
    }

    #[test]
    fn tunables_are_those_in_force() {
        let config = Config::parse("[process]\ndaemon_allow_list = [\"unbound\"]\n", "").unwrap();
        let key = |name: &str| tunable(name, &config).in_force;
        assert_eq!(key("DaemonAllowList"), [("process.daemon_allow_list".into(), "[\"unbound\"]".into())]);
        assert!(key("TimeWindow").len() >= 5 && key("SubdomainEntropyScore").len() == 4);
        let set = [("asset_policy.known_good_vibs".to_owned(), "\"\"".to_owned())];
        assert_eq!(key("KnownGoodVIBs"), set, "there is a key, and nothing in it");
        let ceilings = key("OutboundDNSVolume");
        assert!(
            ceilings.contains(&("asset_policy.outbound_dns_volume_bytes".into(), "65536".into())),
            "{ceilings:?}"
        );
        assert!(key("SensitiveDirectoryWatchlist").is_empty());
    }

    #[test]
    fn another_release_claims_nothing_that_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("attack.json");
        std::fs::write(
            &path,
            r#"{"attack_version":"19.0","strategies":[{"id":"DET0400","name":"x","detects":[{"id":"T1071.004","name":"DNS",
            "tactics":["command-and-control"]}],"analytics":[{"id":"AN9999","platforms":["Linux"],"data_components":["DC9"],
            "mutable_elements":[]},{"id":"AN1122","platforms":["Linux"]}]}]}"#,
        )
        .unwrap();
        let coverage =
            Coverage::of(&read(&path).unwrap(), &Config::default(), None, None, Kept::default(), 0);
        let row = |id: &str| coverage.analytics.iter().find(|row| row.analytic == id).unwrap();
        assert_eq!((row("AN9999").status, row("AN1122").status), (Status::Absent, Status::Native));
        assert!(coverage.attack_version == "19.0" && show::text(&coverage).contains("ATT&CK 19.0"));
        std::fs::write(&path, "{}").unwrap();
        let error = read(&path).err().unwrap();
        assert!(error.code == Code::Failure && error.message.contains("no ATT&CK excerpt"), "{error}");
    }

    #[test]
    fn what_is_lost_and_kept_comes_from_the_sensor() {
        let status = serde_json::json!({
            "since": "2026-01-01T00:00:00Z", "counters": {"seen": 100}, "lost": 3, "execs_lost": 1,
            "store": {"kinds": [{"kind": "findings", "retention_days": 365, "records": 7, "oldest": "2026-01-02T00:00:00Z"}]},
        });
        let coverage =
            Coverage::of(attack::table(), &Config::default(), Some(&status), None, Kept::default(), 0);
        let text = show::text(&coverage);
        assert!(text.contains("3 of 100 packets lost") && text.contains("findings"), "{text}");
        assert_eq!(coverage.missing, ["No self-test has been run here: `earthdog selftest`."]);
    }

    #[test]
    fn a_self_test_claims_what_it_found_here_and_tells_what_it_missed() {
        let row = |name: &str, how: &str, ok: bool, rule: &str| {
            let falls = (!ok).then_some("missed");
            serde_json::json!({"name": name, "kind": "tool", "how": how, "ok": ok, "rule": rule, "falls": falls})
        };
        let count = serde_json::json!({"tools_found": 1, "tools": 2, "honest_quiet": 0, "honest": 0});
        let outcome: Outcome = serde_json::from_value(serde_json::json!({
            "v": 1, "version": "0.1.0", "time": "2026-01-01T00:00:00Z", "seconds": 80.0, "ok": false, "hooks": [], "lost": 0,
            "summary": {"live": count, "replayed": count, "owners_right": 1, "owners": 1, "known_gaps": 0},
            "cases": [row("iodine", "live", true, "dns-leak-ledger"), row("slow", "replay", true, "dns-leak-ledger"),
                      row("hex", "live", false, "dns-leak-ledger")],
            "strays": [], "notes": [],
            "floor": {"hour": {"found": 288}, "day": {"found": 224}, "history": false,
                      "load": {"known": false, "lookups_per_s": 0.0, "loss": 0.0, "share": 1.0}},
        }))
        .unwrap();
        let kept = Kept { outcome: Some(outcome), ..Kept::default() };
        let coverage = Coverage::of(attack::table(), &Config::default(), None, None, kept, 0);
        let linux = coverage.analytics.iter().find(|row| row.analytic == "AN1122").unwrap();
        assert_eq!(linux.self_test, ["iodine"], "what was replayed was not shown on this host");
        let text = show::text(&coverage).replace('\n', " ");
        for says in [
            "2026-01-01T00:00:00Z FAILED",
            "1 of 2 tools found",
            "hex (missed)",
            "288 bytes in an hour",
            "224 bytes in a day",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }

    #[test]
    fn all_forms_are_as_they_were() {
        use crate::explain::tests::golden;
        let coverage = coverage();
        golden("coverage.md", &show::markdown(&coverage));
        golden("coverage.json", &sink::json(&coverage).unwrap());
        let text = show::text(&coverage);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        golden("coverage.txt", &text);
    }
}
