//! `earthdog status`: what the running sensor answers, for people.

use std::fmt::Write as _;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::escape::escape;
use crate::exception;
use crate::report::text::{duration, thousands};

/// Of the answer to `status`; what an older sensor does not tell is left out.
pub fn text(status: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "{name:<10} {}", escape(text));
        }
    };
    let since = status["since"].as_str().unwrap_or("?");
    let seconds = number(&status["cost"]["seconds"]);
    line(
        "version",
        &format!("{}, since {since} ({})", status["version"].as_str().unwrap_or("?"), duration(seconds)),
    );
    if status["observe"] == true {
        line("OBSERVING", "findings alert nobody (output.observe); `earthdog alerts --burn-in` sums them up");
    }
    line("rollout", &rollout(&status["rollout"]));
    for hook in status["hooks"].as_array().into_iter().flatten() {
        line("hook", &format!("{}: {}", word(&hook["hook"]), word(&hook["program"])));
    }
    line("links", &links(&status["links"]));
    let owner = &status["owner_source"];
    line(
        "who asked",
        &format!("{}: {}", owner["source"].as_str().unwrap_or("nobody can tell"), word(&owner["why"])),
    );
    line("rights", &rights(&status["privilege"]));
    line("seen", &counts(status, &["messages", "lookups", "processes", "clients", "zones"]));
    let excepted = number(&status["suppressed"]);
    let excepted =
        if excepted == 0 { String::new() } else { format!("; {} of them excepted", thousands(excepted)) };
    let findings = counts(&status["findings"], &["low", "medium", "high", "critical"]);
    line("findings", &(findings + &excepted));
    let lost = number(&status["lost"]) + number(&status["execs_lost"]);
    line(
        "lost",
        &if lost == 0 {
            "nothing".to_owned()
        } else {
            format!("{} records: {}", thousands(lost), losses(status))
        },
    );
    line("skipped", &of_prefix(&status["counters"], "skip_"));
    line("forgotten", &some(&status["evictions"]));
    line("memory", &memory(&status["memory"]));
    line("cost", &cost(&status["cost"]));
    line("limits", &limits(&status["limits"]));
    line("store", &store(&status["store"]));
    for one in status["exceptions"].as_array().into_iter().flatten() {
        let text = exception::Status::deserialize(one).map(|one| one.to_string()).unwrap_or_default();
        line("exception", &text);
    }
    line("config", &configuration(&status["configuration"]));
    for one in status["sinks"].as_array().into_iter().flatten().chain([&status["stdout"]]) {
        line("sink", &sink(one));
    }
    for warning in status["warnings"].as_array().into_iter().flatten() {
        line("warning", word(warning));
    }
    out
}

/// What became of the reloads, and what waits for a restart; nothing before the first.
fn configuration(configuration: &Value) -> String {
    let (applied, refused) = (number(&configuration["applied"]), number(&configuration["refused"]));
    if applied + refused == 0 {
        return String::new();
    }
    let last = &configuration["last"];
    let mut text = format!("read again {applied} times, refused {refused} times");
    let problems: Vec<_> = last["problems"].as_array().into_iter().flatten().map(word).collect();
    if !problems.is_empty() {
        let _ = write!(text, "; the last one, at {}: {}", word(&last["time"]), problems.join("; "));
    }
    let waiting = configuration["waiting"].as_array().into_iter().flatten();
    let waiting: Vec<_> = waiting.map(|change| word(&change["key"])).collect();
    if !waiting.is_empty() {
        let _ = write!(text, "; a restart is needed for {}", waiting.join(", "));
    }
    text
}

/// What is waited for and what changed; nothing where neither is.
fn rollout(rollout: &Value) -> String {
    let percent = rollout["percent"].as_f64().unwrap_or(100.0);
    if percent >= 100.0 {
        return String::new();
    }
    let place =
        rollout["place"].as_f64().map_or_else(|| "nowhere".to_owned(), |place| format!("at {place:.2}"));
    let part = if rollout["takes_part"] == true { "takes part" } else { "takes no part" };
    format!("this host {part}: it is {place} of 100 and rollout.percent is {percent}")
}

fn links(links: &Value) -> String {
    let waiting: Vec<_> = links["waiting"].as_array().into_iter().flatten().map(word).collect();
    let waiting =
        if waiting.is_empty() { String::new() } else { format!("waiting for {}", waiting.join(", ")) };
    let changes = some(&links["changes"]);
    [waiting, changes].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Where they are, and what keeps the rest in.
fn rights(privilege: &Value) -> String {
    if let Some(why) = privilege["why_not"].as_str() {
        return format!("in one process: {why}");
    }
    let Some(pid) = privilege["helper"]["pid"].as_u64() else { return String::new() };
    let kept: Vec<_> = privilege["capabilities"].as_array().into_iter().flatten().map(word).collect();
    let kept = if kept.is_empty() { "none here".to_owned() } else { format!("{} here", kept.join(", ")) };
    let files =
        privilege["landlock_abi"].as_u64().map_or_else(String::new, |abi| format!(", Landlock ABI {abi}"));
    let calls = if privilege["seccomp"] == true { ", seccomp" } else { "" };
    let missing: Vec<_> = privilege["missing"].as_array().into_iter().flatten().map(word).collect();
    let missing = if missing.is_empty() { String::new() } else { format!("; {}", missing.join("; ")) };
    format!("{kept}{files}{calls}; process {pid} attaches{missing}")
}

/// Its name, where to, and what became of its records.
fn sink(sink: &Value) -> String {
    if sink["name"].is_null() {
        return String::new();
    }
    let mut text = word(&sink["name"]).to_owned();
    let to = [word(&sink["to"]), word(&sink["format"])];
    let to: Vec<_> = to.into_iter().filter(|part| !part.is_empty()).collect();
    let _ = write!(text, " ({}): ", to.join(", "));
    text.push_str(&counts(sink, &["delivered", "waiting"]));
    let spooled = number(&sink["spool"]["records"]);
    if spooled > 0 {
        let _ = write!(text, ", {} in its spool", thousands(spooled));
    }
    let lost = some(&sink["lost"]);
    if !lost.is_empty() {
        let _ = write!(text, "; lost {lost}");
    }
    if let Some(error) = sink["error"].as_str() {
        let _ = write!(text, "; {error}");
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn pairs<'v>(list: impl Iterator<Item = (&'v str, u64)>) -> String {
    list.map(|(name, count)| format!("{} {}", thousands(count), name.replace('_', " ")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn counts(status: &Value, names: &[&'static str]) -> String {
    pairs(names.iter().map(|name| (*name, number(&status[*name]))))
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, u64)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), number(value)))
}

/// Those that are not nought.
fn some(value: &Value) -> String {
    pairs(entries(value).filter(|(_, count)| *count > 0))
}

fn of_prefix(value: &Value, prefix: &str) -> String {
    pairs(
        entries(value)
            .filter_map(|(name, count)| Some((name.strip_prefix(prefix)?, count)))
            .filter(|(_, count)| *count > 0),
    )
}

fn losses(status: &Value) -> String {
    pairs(entries(&status["counters"]).filter(|(name, count)| name.contains("lost") && *count > 0))
}

fn memory(memory: &Value) -> String {
    let mb = |name: &str| number(&memory[name]) as f64 / 1e6;
    let maps = mb("rings") + mb("flow_map") + mb("per_cpu_maps");
    format!("{:.1} MB resident, {maps:.1} MB in the kernel's maps", mb("resident"))
}

fn cost(cost: &Value) -> String {
    let percent = |share: &Value| share.as_f64().map(|share| format!("{:.3} %", share * 100.0));
    let mut parts = Vec::new();
    if let Some(share) = percent(&cost["process"]["share"]) {
        let cpu = cost["process"]["cpu_seconds"].as_f64().unwrap_or(0.0);
        parts.push(format!("{share} of one CPU in the process ({cpu:.2} s)"));
    }
    let kernel = &cost["kernel"];
    if let Some(share) = percent(&kernel["share"]) {
        let sampled = kernel["sampled_seconds"].as_f64().unwrap_or(0.0);
        let mut programs: Vec<&Value> = kernel["programs"].as_array().into_iter().flatten().collect();
        programs.retain(|program| number(&program["runs"]) > 0);
        let part = |program: &Value| program["share"].as_f64().unwrap_or(0.0);
        programs.sort_by(|a, b| part(b).total_cmp(&part(a)));
        let each: Vec<_> = programs
            .iter()
            .map(|program| {
                format!(
                    "{} {} ns × {}",
                    word(&program["program"]),
                    number(&program["ns_a_run"]),
                    thousands(number(&program["runs"]))
                )
            })
            .collect();
        let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
        parts.push(format!("{share} in the kernel, sampled over {sampled:.0} s{each}"));
    } else if let Some(why) = kernel["refused"].as_str() {
        parts.push(format!("the kernel counts no run time: {why}"));
    }
    parts.join("; ")
}

/// What is used of what may be, and which steps are in force.
fn limits(limits: &Value) -> String {
    if limits.is_null() {
        return String::new();
    }
    let share = |value: &Value| value.as_f64().unwrap_or(0.0);
    let budget = &limits["budget"];
    let mut parts = Vec::new();
    if share(&budget["cpu_share"]) > 0.0 {
        parts.push(format!(
            "{:.3} of {} cores ({:.3} process, {:.3} kernel)",
            share(&limits["cpu_share"]),
            share(&budget["cpu_share"]),
            share(&limits["process_share"]),
            share(&limits["kernel_share"]),
        ));
    }
    if number(&budget["memory_bytes"]) > 0 {
        let mb = |value: &Value| number(value) as f64 / 1e6;
        parts.push(format!("{:.1} of {:.1} MB", mb(&limits["memory_bytes"]), mb(&budget["memory_bytes"])));
    }
    if parts.is_empty() {
        parts.push("none".to_owned());
    }
    let steps: Vec<_> = limits["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|step| step["since"].is_string())
        .map(|step| format!("{} since {}", word(&step["step"]).replace('_', " "), word(&step["since"])))
        .collect();
    if !steps.is_empty() {
        parts.push(format!("in force: {}", steps.join(", ")));
    }
    let kept = [("repeats", "repeats_kept_back"), ("known answers", "known_answers_kept_back")];
    let kept = kept.map(|(what, name)| (what, number(&limits[name])));
    let kept = pairs(kept.into_iter().filter(|(_, count)| *count > 0));
    if !kept.is_empty() {
        parts.push(format!("kept back: {kept}"));
    }
    if let Some(why) = limits["detached"]["why"].as_str() {
        parts.push(format!("DETACHED: {why}"));
    }
    parts.join("; ")
}

fn store(store: &Value) -> String {
    match (store["path"].as_str(), store["error"].as_str()) {
        (None, _) => "none".to_owned(),
        (Some(path), Some(error)) => format!("{path}: {error}"),
        (Some(path), None) => {
            let counts = match store["burn_in_over"].as_bool() {
                Some(true) => "the history counts",
                _ => "the history does not count yet",
            };
            format!("{path}; {counts}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_lost_and_what_it_costs_is_told() {
        let status = json!({
            "version": "1", "since": "2026-01-01T00:00:00Z",
            "hooks": [{"hook": "xdp on eth0\u{1b}[2J", "program": "xdp_dns", "why": "x"}],
            "owner_source": {"source": "current_task", "why": "sees all"},
            "messages": 12345, "lookups": 6000, "processes": 3, "clients": 4, "zones": 5,
            "findings": {"low": 1, "medium": 0, "high": 2, "critical": 0},
            "counters": {"seen": 9, "lost_bulk": 7, "skip_busy": 2, "skip_fragment": 0},
            "lost": 7, "execs_lost": 0,
            "evictions": {"ledger": 3, "clients": 0},
            "memory": {"resident": 21_000_000, "rings": 4_000_000, "flow_map": 3_000_000, "per_cpu_maps": 0},
            "cost": {"seconds": 7200, "process": {"cpu_seconds": 7.2, "share": 0.001}, "kernel": {
                "sampled_seconds": 120.0, "share": 0.0001, "refused": null,
                "programs": [{"program": "xdp_dns", "runs": 1000, "ns_a_run": 300, "share": 0.0001}, {"program": "idle", "runs": 0}]}},
            "limits": {"cpu_share": 0.61, "process_share": 0.5, "kernel_share": 0.11, "memory_bytes": 50_000_000,
                "budget": {"cpu_share": 0.5, "memory_bytes": 268_435_456}, "known_answers_kept_back": 0, "repeats_kept_back": 4321,
                "steps": [{"step": "repeats", "since": "2026-01-01T01:00:00Z"}, {"step": "known_answers", "since": null}],
                "detached": {"why": "/run/\u{1b}off is there"}},
            "store": {"path": "/s", "burn_in_over": true},
            "sinks": [{"name": "http", "to": "https://c.example/\u{1b}", "format": "json", "delivered": 1200, "waiting": 3,
                "spool": {"records": 40}, "lost": {"queue_full": 2}, "error": "no answer: timed out"}],
            "configuration": {"applied": 2, "refused": 1, "last": {"time": "T", "problems": ["x:1: bad\u{1b}"]},
                "waiting": [{"key": "live.flow_entries"}]},
            "warnings": ["no cgroup2"],
        });
        let text = text(&status);
        for says in [
            "since 2026-01-01T00:00:00Z (2 hours)",
            "xdp on eth0\\x1b[2J: xdp_dns",
            "12,345 messages, 6,000 lookups",
            "1 low, 0 medium, 2 high, 0 critical",
            "7 records: 7 lost bulk",
            "skipped    2 busy\n",
            "forgotten  3 ledger\n",
            "21.0 MB resident, 7.0 MB",
            "0.100 % of one CPU in the process (7.20 s); 0.010 % in the kernel, sampled over 120 s: xdp_dns 300 ns × 1,000\n",
            "limits     0.610 of 0.5 cores (0.500 process, 0.110 kernel); 50.0 of 268.4 MB; in force: repeats since \
             2026-01-01T01:00:00Z; kept back: 4,321 repeats; DETACHED: /run/\\x1boff is there\n",
            "/s; the history counts",
            "sink       http (https://c.example/\\x1b, json): 1,200 delivered, 3 waiting, 40 in its spool; lost 2 queue full; no answer: timed out\n",
            "config     read again 2 times, refused 1 times; the last one, at T: x:1: bad\\x1b; a restart is needed for live.flow_entries\n",
            "warning    no cgroup2",
        ] {
            assert!(text.contains(says), "{says:?} not in:\n{text}");
        }
    }

    #[test]
    fn an_answer_that_says_little_is_no_error() {
        assert!(text(&json!({})).starts_with("version    ?"));
    }
}
