//! Metrics of a running sensor: one table, which the endpoint renders, and which the alert rules and the dashboard are
//! checked against.
//!
//! Everything comes from the answer to `status`, so that both say the same.

pub mod endpoint;
pub mod request;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use Kind::{Counter, Gauge};

/// One metric.
#[expect(missing_debug_implementations, reason = "holds a function")]
pub struct Metric {
    /// Without `_total`, which a counter's samples end in.
    name: &'static str,
    kind: Kind,
    help: &'static str,
    labels: &'static [&'static str],
    /// Its samples, from the answer to `status`.
    read: fn(&Value, &mut Samples<'_>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// Takes values of the labels, in the order of the table, and the sample.
type Samples<'a> = dyn FnMut(&[&str], f64) + 'a;

/// Form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Text,
}

impl Form {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Longest value of a label, bytes.
const LABEL_MAX: usize = 128;

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Value, &mut Samples<'_>),
) -> Metric {
    Metric { name, kind: Counter, help, labels, read }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Value, &mut Samples<'_>),
) -> Metric {
    Metric { name, kind: Gauge, help, labels, read }
}

const SINK: &[&str] = &["sink"];

/// All of them.
pub const METRICS: &[Metric] = &[
    gauge("earthdog_build_info", &["version"], "The running version; always 1.", |s, put| {
        put(&[text(&s["version"])], 1.0);
    }),
    gauge("earthdog_start_time_seconds", &[], "When the sensor started, Unix time.", |s, put| {
        let since: Option<jiff::Timestamp> = text(&s["since"]).parse().ok();
        if let Some(since) = since {
            put(&[], since.as_millisecond() as f64 / 1e3);
        }
    }),
    gauge("earthdog_hooks", &["program"], "Hooks in force, by kernel program.", |s, put| {
        let programs: Vec<_> = list(&s["hooks"]).map(|hook| text(&hook["program"])).collect();
        let names: BTreeSet<_> = programs.iter().collect();
        for name in names {
            put(&[name], programs.iter().filter(|program| program == &name).count() as f64);
        }
    }),
    gauge(
        "earthdog_interfaces",
        &["state"],
        "Interfaces that are watched, and that are waited for.",
        |s, put| {
            for state in ["watched", "waiting"] {
                if let Some(names) = s["links"][state].as_array() {
                    put(&[state], names.len() as f64);
                }
            }
        },
    ),
    counter("earthdog_link_changes", &["kind"], "Changes to watched interfaces.", |s, put| {
        for (kind, count) in pairs(&s["links"]["changes"]) {
            put(&[kind], count);
        }
    }),
    counter(
        "earthdog_link_notices",
        &["fate"],
        "Notices of changes to any interface or default route; dropped counts how often there was no room for more.",
        |s, put| {
            sample(&s["links"]["notices"], &["read"], put);
            sample(&s["links"]["notices_dropped"], &["dropped"], put);
        },
    ),
    gauge("earthdog_warnings", &[], "Warnings that `earthdog status` tells.", |s, put| {
        put(&[], list(&s["warnings"]).count() as f64);
    }),
    counter("earthdog_packets_seen", &[], "Packets on port 53 that hooks saw.", |s, put| {
        one(&s["counters"]["seen"], put);
    }),
    counter("earthdog_packets_delivered", &[], "Records of packets that reached user space.", |s, put| {
        one(&s["counters"]["delivered"], put);
    }),
    counter(
        "earthdog_packets_lost",
        &["reason"],
        "Packets that were seen and could not be delivered, whole or in part.",
        |s, put| {
            for name in
                ["lost_alert_ring_full", "lost_bulk_ring_full", "skip_load_failed", "skip_busy", "chunks_cut"]
            {
                let reason = name.trim_start_matches("lost_").trim_start_matches("skip_");
                sample(&s["counters"][name], &[reason], put);
            }
        },
    ),
    counter("earthdog_packets_skipped", &["reason"], "Packets that are not looked into.", |s, put| {
        for (name, count) in pairs(&s["counters"]) {
            let reason =
                name.strip_prefix("skip_").filter(|reason| !["load_failed", "busy"].contains(reason));
            if let Some(reason) = reason {
                put(&[reason], count);
            }
        }
    }),
    counter(
        "earthdog_packets_repeated",
        &["kind"],
        "Exact repeats that the kernel counted and kept.",
        |s, put| {
            for kind in ["query", "response"] {
                let name = format!("repeat_{kind}");
                sample(&s["counters"][name], &[kind], put);
            }
        },
    ),
    counter(
        "earthdog_answers_kept_back",
        &[],
        "Answers to names just answered that a self-limit left in the kernel.",
        |s, put| one(&s["counters"]["known_answer"], put),
    ),
    gauge("earthdog_limit_step", &[], "Steps of the self-limits in force, 0 to 3.", |s, put| {
        one(&s["limits"]["step"], put);
    }),
    counter("earthdog_limit_steps_taken", &["step"], "Times that a step was taken.", |s, put| {
        for step in list(&s["limits"]["steps"]) {
            sample(&step["taken"], &[text(&step["step"])], put);
        }
    }),
    gauge(
        "earthdog_limit_cpu_share",
        &["of"],
        "Share of one core that the sensor takes, and that it may take; 0 is no limit.",
        |s, put| {
            sample(&s["limits"]["cpu_share"], &["taken"], put);
            sample(&s["limits"]["budget"]["cpu_share"], &["budget"], put);
        },
    ),
    counter("earthdog_messages_untold", &[], "Messages not told one by one at the last step.", |s, put| {
        one(&s["limits"]["messages_untold"], put);
    }),
    gauge(
        "earthdog_detached",
        &[],
        "1 once the sensor is off its hooks by its switch or limits.",
        |s, put| {
            if let Some(limits) = s["limits"].as_object() {
                put(&[], f64::from(u8::from(limits.get("detached").is_some_and(Value::is_object))));
            }
        },
    ),
    counter(
        "earthdog_process_events_lost",
        &["event"],
        "Starts and ends of processes that were not told.",
        |s, put| {
            for event in ["exec", "fork", "exit"] {
                let name = format!("{event}_lost");
                sample(&s["counters"][name], &[event], put);
            }
        },
    ),
    counter(
        "earthdog_records_refused",
        &["reason"],
        "Records of the kernel that cannot be read.",
        |s, put| {
            each(&s["rings"]["refused"], put);
        },
    ),
    counter("earthdog_messages", &[], "DNS messages decoded.", |s, put| one(&s["messages"], put)),
    counter("earthdog_lookups", &[], "Look-ups that messages were folded into.", |s, put| {
        one(&s["lookups"], put);
    }),
    counter("earthdog_message_parts", &["part"], "Messages by what they are to those before.", |s, put| {
        each(&s["folded"], put);
    }),
    counter(
        "earthdog_attributions",
        &["grade"],
        "Records of packets by how surely their sender is known.",
        |s, put| {
            each(&s["attributions"], put);
        },
    ),
    counter("earthdog_clients", &[], "Clients seen.", |s, put| one(&s["clients"], put)),
    counter("earthdog_zones", &[], "Zones seen.", |s, put| one(&s["zones"], put)),
    counter("earthdog_table_evictions", &["table"], "What was forgotten to stay within bounds.", |s, put| {
        each(&s["evictions"], put);
    }),
    gauge(
        "earthdog_table_entries",
        &["table"],
        "Entries of tables and kernel maps; of large maps an estimate.",
        |s, put| {
            pairs_of(&s["tables"], "entries", put);
        },
    ),
    gauge("earthdog_table_capacity", &["table"], "Room of tables and kernel maps, entries.", |s, put| {
        pairs_of(&s["tables"], "capacity", put);
    }),
    counter(
        "earthdog_findings",
        &["rule", "severity"],
        "Findings that reached a severity under a rule.",
        |s, put| {
            for finding in list(&s["findings_by_rule"]) {
                let labels = [text(&finding["rule"]), text(&finding["severity"])];
                sample(&finding["count"], &labels, put);
            }
        },
    ),
    gauge(
        "earthdog_findings_suppressed",
        &[],
        "Findings so far that exceptions keep from alerting.",
        |s, put| {
            one(&s["suppressed"], put);
        },
    ),
    counter(
        "earthdog_exception_hits",
        &["exception", "owner"],
        "Findings that an exception kept from alerting.",
        |s, put| {
            exceptions(s, &|one| value(&one["hits"]), put);
        },
    ),
    counter(
        "earthdog_exception_uncovered",
        &["exception", "owner"],
        "Findings in an exception's scope that came through.",
        |s, put| exceptions(s, &|one| value(&one["uncovered"]), put),
    ),
    gauge("earthdog_exception_over", &["exception", "owner"], "1 once an exception has ended.", |s, put| {
        exceptions(s, &|one| one["is_over"].as_bool().map(|is_over| f64::from(u8::from(is_over))), put);
    }),
    counter("earthdog_reloads", &["result"], "Configurations read again on SIGHUP.", |s, put| {
        for result in ["applied", "refused"] {
            sample(&s["configuration"][result], &[result], put);
        }
    }),
    gauge("earthdog_config_waiting", &[], "Keys of the configuration that wait for a restart.", |s, put| {
        put(&[], list(&s["configuration"]["waiting"]).count() as f64);
    }),
    counter("earthdog_sink_taken", SINK, "Records that a sink was handed.", |s, put| sinks(s, "/taken", put)),
    counter("earthdog_sink_delivered", SINK, "Records that a receiver took.", |s, put| {
        sinks(s, "/delivered", put);
    }),
    counter("earthdog_sink_failed_attempts", SINK, "Attempts to deliver that failed.", |s, put| {
        sinks(s, "/failed_attempts", put);
    }),
    counter("earthdog_sink_lost", &["sink", "reason"], "Records that no receiver will get.", |s, put| {
        for sink in all_sinks(s) {
            for (reason, count) in pairs(&sink["lost"]) {
                put(&[text(&sink["name"]), reason], count);
            }
        }
    }),
    gauge("earthdog_sink_waiting", SINK, "Records in a sink's queue.", |s, put| sinks(s, "/waiting", put)),
    gauge("earthdog_sink_spool_records", SINK, "Records in a sink's spool.", |s, put| {
        sinks(s, "/spool/records", put);
    }),
    gauge("earthdog_sink_spool_bytes", SINK, "Size of a sink's spool.", |s, put| {
        sinks(s, "/spool/bytes", put);
    }),
    gauge("earthdog_sink_spool_max_bytes", SINK, "Size that a sink's spool may have.", |s, put| {
        sinks(s, "/spool/max_bytes", put);
    }),
    counter(
        "earthdog_message_log_lost",
        &[],
        "Lines of the message log that could not be written.",
        |s, put| {
            one(&s["message_log"]["lost"], put);
        },
    ),
    gauge("earthdog_store_bytes", &[], "Size of the store.", |s, put| one(&s["store"]["bytes"], put)),
    counter("earthdog_store_writes_failed", &[], "Attempts to write the store that failed.", |s, put| {
        one(&s["store"]["writes_failed"], put);
    }),
    counter("earthdog_store_findings_lost", &[], "Findings that the store has not kept.", |s, put| {
        one(&s["store"]["findings_lost"], put);
    }),
    gauge(
        "earthdog_resident_memory_bytes",
        &[],
        "Resident memory of the processes; pages that they share count once.",
        |s, put| {
            one(&s["memory"]["resident"], put);
        },
    ),
    gauge("earthdog_map_memory_bytes", &["map"], "Memory of the kernel's maps.", |s, put| {
        for map in ["rings", "flow_map", "per_cpu_maps"] {
            sample(&s["memory"][map], &[map], put);
        }
    }),
    counter("earthdog_cpu_seconds", &[], "Processor time of the process.", |s, put| {
        one(&s["cost"]["process"]["cpu_seconds"], put);
    }),
    counter(
        "earthdog_program_sampled_seconds",
        &[],
        "Time during which the kernel programs' run time was counted.",
        |s, put| {
            one(&s["cost"]["kernel"]["sampled_seconds"], put);
        },
    ),
    counter(
        "earthdog_program_run_seconds",
        &["program"],
        "Run time of a kernel program while it was counted.",
        |s, put| {
            programs(s, "run_seconds", put);
        },
    ),
    counter(
        "earthdog_program_runs",
        &["program"],
        "Runs of a kernel program while they were counted.",
        |s, put| {
            programs(s, "runs", put);
        },
    ),
];

/// Of an answer to `status`; what it does not tell has no sample.
pub fn render(status: &Value, form: Form) -> String {
    let mut out = String::new();
    for Metric { name, kind, help, labels, read } in METRICS {
        let mut samples = String::new();
        let total = if *kind == Counter { "_total" } else { "" };
        read(status, &mut |values, sample| {
            let labels =
                labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{}\"", quoted(value)));
            let labels = labels.collect::<Vec<_>>().join(",");
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(samples, "{name}{total}{labels} {sample}");
        });
        if samples.is_empty() {
            continue;
        }
        let family = if form == Form::Text { total } else { "" };
        let kind = if *kind == Counter { "counter" } else { "gauge" };
        let _ = write!(out, "# HELP {name}{family} {help}\n# TYPE {name}{family} {kind}\n{samples}");
    }
    if form == Form::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// Names as their samples have them, with their labels.
pub fn samples() -> impl Iterator<Item = (String, &'static [&'static str])> {
    METRICS.iter().map(|metric| {
        let total = if metric.kind == Counter { "_total" } else { "" };
        (format!("{}{total}", metric.name), metric.labels)
    })
}

/// A label's value: short, and escaped as both forms ask for.
fn quoted(value: &str) -> String {
    let mut end = value.len().min(LABEL_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    crate::escape::escape(&value[..end]).replace('\\', "\\\\").replace('"', "\\\"")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn value(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn pairs(value: &Value) -> impl Iterator<Item = (&str, f64)> {
    value
        .as_object()
        .into_iter()
        .flat_map(Map::iter)
        .filter_map(|(name, count)| Some((name.as_str(), count.as_f64()?)))
}

/// One sample, if there is a number.
fn sample(from: &Value, labels: &[&str], put: &mut Samples<'_>) {
    if let Some(number) = value(from) {
        put(labels, number);
    }
}

fn one(from: &Value, put: &mut Samples<'_>) {
    sample(from, &[], put);
}

fn each(from: &Value, put: &mut Samples<'_>) {
    pairs(from).for_each(|(name, count)| put(&[name], count));
}

fn pairs_of(from: &Value, key: &str, put: &mut Samples<'_>) {
    for (name, table) in from.as_object().into_iter().flatten() {
        sample(&table[key], &[name], put);
    }
}

fn exceptions(status: &Value, of: &dyn Fn(&Value) -> Option<f64>, put: &mut Samples<'_>) {
    for one in list(&status["exceptions"]) {
        if let Some(number) = of(one) {
            put(&[text(&one["name"]), text(&one["owner"])], number);
        }
    }
}

fn all_sinks(status: &Value) -> impl Iterator<Item = &Value> {
    list(&status["sinks"]).chain([&status["stdout"]]).filter(|sink| sink["name"].is_string())
}

fn sinks(status: &Value, pointer: &str, put: &mut Samples<'_>) {
    for sink in all_sinks(status) {
        sample(sink.pointer(pointer).unwrap_or(&Value::Null), &[text(&sink["name"])], put);
    }
}

fn programs(status: &Value, key: &str, put: &mut Samples<'_>) {
    for program in list(&status["cost"]["kernel"]["programs"]) {
        sample(&program[key], &[text(&program["program"])], put);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_told_apart_and_in_form() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for Metric { name, help, .. } in METRICS {
            assert!(name.starts_with("earthdog_") && !name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help}");
        }
    }

    #[test]
    fn both_forms_have_every_sample_and_escape_labels() {
        let status = json!({
            "version": "1\"\\\n\u{1b}",
            "counters": {"seen": 7, "lost_bulk_ring_full": 2, "skip_busy": 1, "skip_truncated": 3},
            "sinks": [{"name": "http", "taken": 5, "lost": {"queue_full": 2}, "spool": {"bytes": 11}}],
            "limits": {
                "step": 2, "cpu_share": 0.75, "budget": {"cpu_share": 0.5}, "messages_untold": 9,
                "steps": [{"step": "repeats", "taken": 4}], "detached": {"why": "x"},
            },
            "exceptions": [{"name": "x", "owner": "é".repeat(100), "hits": 4, "is_over": true}],
        });
        let text = render(&status, Form::Text);
        for says in [
            "# TYPE earthdog_packets_seen_total counter\nearthdog_packets_seen_total 7\n",
            "earthdog_build_info{version=\"1\\\"\\\\\\\\x0a\\\\x1b\"} 1\n",
            "earthdog_packets_lost_total{reason=\"bulk_ring_full\"} 2\nearthdog_packets_lost_total{reason=\"busy\"} 1\n",
            "earthdog_packets_skipped_total{reason=\"truncated\"} 3\n",
            "earthdog_sink_lost_total{sink=\"http\",reason=\"queue_full\"} 2\n",
            "earthdog_sink_spool_bytes{sink=\"http\"} 11\n",
            "\"} 4\n",
            "earthdog_limit_step 2\n",
            "earthdog_limit_steps_taken_total{step=\"repeats\"} 4\n",
            "earthdog_limit_cpu_share{of=\"taken\"} 0.75\nearthdog_limit_cpu_share{of=\"budget\"} 0.5\n",
            "earthdog_messages_untold_total 9\n",
            "earthdog_detached 1\n",
        ] {
            assert!(text.contains(says), "{says:?} not in:\n{text}");
        }
        assert!(
            !text.contains("earthdog_lookups") && !text.contains("# EOF"),
            "what is not told has no sample:\n{text}"
        );
        let open = render(&status, Form::OpenMetrics);
        assert!(
            open.contains("# TYPE earthdog_packets_seen counter\nearthdog_packets_seen_total 7\n"),
            "{open}"
        );
        assert!(open.ends_with("# EOF\n"));
        let samples = |text: &str| {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(samples(&open), samples(&text));
    }
}
