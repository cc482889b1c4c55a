//! Elastic Common Schema 9: a finding as an alert, a message as an event (elastic.co/guide/en/ecs).
//!
//! Fields of the schema's own have its names and types; everything else is below `earthdog`, as the native record has it.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::encode::About;
use crate::attack;
use crate::dns::{Section, names, rdata, rtype};
use crate::finding::{Client, ClientKind, Finding, Origin, Severity};
use crate::logged::Logged;

const VERSION: &str = "9.0.0";
/// Answers listed; a transfer has thousands.
const ANSWERS_MAX: usize = 64;

pub(super) fn finding(finding: &Finding, about: &About) -> Value {
    // The scale of Elastic's own detection rules.
    // Nobody is to be called for a self-test's.
    let is_selftest = finding.origin == Origin::Selftest;
    let severity = match finding.severity {
        _ if is_selftest => 0,
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
        Severity::Critical => 99,
    };
    let mut event = base(&finding.time, "finding", about);
    event["message"] = finding.title.clone().into();
    event["event"] = json!({
        "kind": if is_selftest { "event" } else { "alert" },
        "category": ["network", "intrusion_detection"],
        "type": ["info"],
        "action": json!(finding.state),
        "module": "earthdog",
        "dataset": "earthdog.finding",
        "provider": "earthdog",
        "id": finding.id,
        "severity": severity,
        "risk_score": (finding.confidence * 100.0).round(),
        "start": finding.first_seen,
        "end": finding.last_seen,
        "reason": finding.counterfactual,
    });
    event["rule"] = json!({ "id": finding.rule, "name": finding.rule, "ruleset": "earthdog" });
    let techniques = &finding.attack.techniques;
    if !techniques.is_empty() {
        event["threat"] = threat(techniques, &finding.attack.tactics);
    }
    add_client(&mut event, &finding.client);
    if let Some(resolver) = &finding.resolver {
        event["destination"] = json!({ "address": resolver });
        if resolver.parse::<IpAddr>().is_ok() {
            event["destination"]["ip"] = resolver.clone().into();
        }
    }
    if let Some(zone) = &finding.zone {
        event["dns"] = json!({ "question": { "registered_domain": zone } });
    }
    let mut own = json!(finding);
    if let Some(fields) = own.as_object_mut() {
        for elsewhere in ["time", "title", "id", "rule", "first_seen", "last_seen", "counterfactual"] {
            fields.remove(elsewhere);
        }
    }
    event["earthdog"] = own;
    event
}

pub(super) fn message(logged: &Logged, about: &About) -> Value {
    let message = logged.message();
    let (client, server) = logged.client_server();
    let mut event = base(&logged.time, "message", about);
    event["event"] = json!({
        "kind": "event",
        "category": ["network"],
        "type": ["protocol"],
        "module": "earthdog",
        "dataset": "earthdog.message",
        "provider": "earthdog",
    });
    event["network"] = json!({
        "transport": logged.transport,
        "protocol": "dns",
        "type": if client.is_ipv4() { "ipv4" } else { "ipv6" },
    });
    event["dns"] =
        json!({ "id": logged.id.to_string(), "type": if logged.response { "answer" } else { "query" } });
    if let Some(question) = message.question {
        event["dns"]["question"] = json!({
            "name": logged.name,
            "type": names::rtype(question.qtype),
            "class": if question.qclass == 1 { "IN".to_owned() } else { format!("CLASS{}", question.qclass) },
        });
    }
    if logged.response {
        event["dns"]["response_code"] = names::rcode(message.rcode()).into();
        let answers = message.records().filter(|record| record.section == Section::Answer);
        let answers = answers.filter(|record| record.rtype != rtype::OPT).take(ANSWERS_MAX).map(|record| {
            let data = rdata::text(&record);
            json!({ "type": names::rtype(record.rtype), "ttl": record.ttl, "data": data })
        });
        let answers: Vec<_> = answers.collect();
        if !answers.is_empty() {
            event["dns"]["answers"] = answers.into();
        }
    }
    if let Some(who) = &logged.client {
        add_client(&mut event, who);
    }
    let name = event["source"]["domain"].take();
    event["source"] = json!({ "address": client.ip().to_string(), "ip": client.ip(), "port": client.port() });
    if !name.is_null() {
        event["source"]["domain"] = name;
    }
    event["destination"] =
        json!({ "address": server.ip().to_string(), "ip": server.ip(), "port": server.port() });
    event["earthdog"] = json!({
        "view": logged.view,
        "lookup": logged.lookup,
        "owner": { "grade": logged.owner.grade, "source": logged.owner.source },
    });
    event
}

fn base(time: &str, what: &str, about: &About) -> Value {
    let mut event = json!({
        "@timestamp": time,
        "ecs": { "version": VERSION },
        "observer": {
            "type": "sensor",
            "vendor": "earthdog",
            "product": "earthdog",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "tags": [format!("earthdog-{what}")],
    });
    if let Some(name) = &about.hostname {
        event["host"] = json!({ "hostname": name, "name": name, "os": { "type": "linux" } });
    }
    event
}

fn threat(techniques: &[String], tactics: &[String]) -> Value {
    let mut parents: Vec<_> = techniques.iter().map(|id| id.split('.').next().unwrap_or(id)).collect();
    parents.dedup();
    let subs: Vec<_> = techniques.iter().filter(|id| id.contains('.')).collect();
    let mut threat = json!({
        "framework": "MITRE ATT&CK",
        "tactic": { "name": tactics.iter().map(|short| attack::tactic_name(short)).collect::<Vec<_>>() },
        "technique": { "id": parents },
    });
    if !subs.is_empty() {
        threat["technique"]["subtechnique"] = json!({ "id": subs });
    }
    threat
}

fn add_client(event: &mut Value, client: &Client) {
    if let Some(ip) = client.ip {
        event["source"] = json!({ "address": ip.to_string(), "ip": ip });
    }
    if let Some(asset) = &client.asset {
        event["source"]["domain"] = asset.name.clone().into();
    }
    if client.kind != ClientKind::Process {
        return;
    }
    let mut process = Map::new();
    let name = client.exe.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path));
    for (field, value) in [
        ("executable", client.exe.as_deref()),
        ("name", name.or(client.comm.as_deref())),
        ("command_line", client.cmdline.as_deref()),
        ("start", client.start_time.as_deref()),
    ] {
        process.extend(value.map(|value| (field.to_owned(), value.into())));
    }
    process.extend(client.pid.map(|pid| ("pid".to_owned(), pid.into())));
    if !process.is_empty() {
        event["process"] = process.into();
    }
    let mut user = Map::new();
    user.extend(client.user.clone().map(|name| ("name".to_owned(), name.into())));
    user.extend(client.uid.map(|uid| ("id".to_owned(), uid.to_string().into())));
    if !user.is_empty() {
        event["user"] = user.into();
    }
    if let Some(id) = &client.container {
        event["container"] = json!({ "id": id });
    }
    if let Some(pod) = &client.pod {
        event["orchestrator"] = json!({ "type": "kubernetes", "resource": { "type": "pod", "id": pod } });
    }
}
