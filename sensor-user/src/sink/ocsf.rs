//! OCSF: a finding as Detection Finding (2004), a message as DNS Activity (4003); schema.ocsf.io.
//!
//! Minor versions only add: what 1.1.0 has is written for all of them, and what later ones have that matters, from 1.8.0
//! on. What the classes have no place for is below `unmapped`, under the names of the native record.

pub(super) mod dns;

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::encode::About;
use crate::attack;
use crate::config::OcsfVersion;
use crate::finding::{Client, ClientKind, Finding, Origin, Severity, State, millis};

/// The classes' own `maxLength`, in characters.
const TEXT_MAX: usize = 65_535;

pub(super) fn finding(finding: &Finding, about: &About) -> Value {
    let is_1_8 = about.ocsf >= OcsfVersion::V1_8;
    let (activity, activity_name) = match finding.state {
        State::Create => (1, "Create"),
        State::Update => (2, "Update"),
        State::Close => (3, "Close"),
    };
    // Closed is what has gone quiet; nobody has resolved it.
    // Nobody is to be called for a self-test's.
    let is_selftest = finding.origin == Origin::Selftest;
    let (status, status_name) = match finding.state {
        _ if is_selftest => (3, "Suppressed"),
        State::Create => (1, "New"),
        State::Update => (2, "In Progress"),
        State::Close => (99, "Quiet"),
    };
    let (severity, severity_name) = match finding.severity {
        _ if is_selftest => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    };
    let (confidence, confidence_name) = match finding.confidence {
        low if low < 0.34 => (1, "Low"),
        medium if medium < 0.67 => (2, "Medium"),
        _ => (3, "High"),
    };
    // A sensor that only watches: 1.1.0 has no word for it but that nothing was held up.
    let (action, action_name) = if is_1_8 { (3, "Observed") } else { (1, "Allowed") };
    let mut event = json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200_400 + activity,
        "type_name": format!("Detection Finding: {activity_name}"),
        "time": millis(&finding.time),
        "start_time": millis(&finding.first_seen),
        "end_time": millis(&finding.last_seen),
        "severity_id": severity,
        "severity": severity_name,
        "status_id": status,
        "status": status_name,
        "confidence_id": confidence,
        "confidence": confidence_name,
        "confidence_score": (finding.confidence * 100.0).round() as i64,
        "action_id": action,
        "action": action_name,
        "disposition_id": 15,
        "disposition": "Detected",
        "message": text(&finding.title),
        "count": finding.queries,
        "metadata": metadata(about, "findings", Some(finding)),
        "finding_info": finding_info(finding),
        "evidences": evidences(finding, is_1_8),
        "observables": observables(finding),
        "unmapped": unmapped(finding),
    });
    if is_1_8 {
        event["is_alert"] = true.into();
    }
    add_device(&mut event, about);
    event
}

fn finding_info(finding: &Finding) -> Value {
    let mut info = json!({
        "uid": finding.id,
        "title": text(&finding.title),
        "desc": text(&finding.counterfactual),
        "types": [finding.rule],
        "analytic": { "uid": finding.rule, "name": finding.rule, "type_id": 2, "type": "Behavioral" },
        "created_time": millis(&finding.first_seen),
        "first_seen_time": millis(&finding.first_seen),
        "last_seen_time": millis(&finding.last_seen),
        "modified_time": millis(&finding.time),
        "data_sources": ["dns"],
    });
    let attack = &finding.attack;
    let attacks: Vec<_> = attack.techniques.iter().map(|id| technique(id, &attack.version)).collect();
    if !attacks.is_empty() {
        info["attacks"] = attacks.into();
    }
    let analytics = attack.analytics.iter().map(
        |id| json!({ "uid": id, "type_id": 99, "type": "MITRE ATT&CK analytic", "version": attack.version }),
    );
    let analytics: Vec<_> = analytics.collect();
    if !analytics.is_empty() {
        info["related_analytics"] = analytics.into();
    }
    info
}

/// A technique, or a sub-technique with the one that it is part of.
fn technique(id: &str, version: &str) -> Value {
    let known = attack::technique(id);
    let mut own = json!({ "uid": id });
    if let Some(known) = known {
        own["name"] = known.name.clone().into();
    }
    let mut attack = match id.split_once('.') {
        Some((parent, _)) => json!({ "technique": { "uid": parent }, "sub_technique": own }),
        None => json!({ "technique": own }),
    };
    attack["version"] = version.into();
    if let Some(tactic) = known.and_then(|known| known.tactics.first()) {
        attack["tactic"] = json!({ "name": attack::tactic_name(tactic) });
    }
    attack
}

/// Who and where, then each kind of evidence, then names.
fn evidences(finding: &Finding, is_1_8: bool) -> Vec<Value> {
    let client = &finding.client;
    let mut who = Map::new();
    who.extend(process(client, is_1_8).map(|process| ("process".to_owned(), process)));
    who.extend(client.ip.map(|ip| ("src_endpoint".to_owned(), endpoint(client, json!({ "ip": ip })))));
    who.extend(finding.resolver.as_deref().map(|resolver| {
        let at =
            resolver.parse::<IpAddr>().map_or_else(|_| json!({ "name": resolver }), |ip| json!({ "ip": ip }));
        ("dst_endpoint".to_owned(), at)
    }));
    let who = (!who.is_empty()).then_some(Value::Object(who));
    let said = finding.evidence.iter().map(|evidence| json!({ "data": evidence }));
    let names = finding.samples.iter().filter(|name| is_1_8 || is_hostname(name));
    let names = names.map(|name| json!({ "query": { "hostname": name } }));
    who.into_iter().chain(said).chain(names).collect()
}

/// An end of a connection with the name that the inventory has for it.
fn endpoint(client: &Client, mut end: Value) -> Value {
    if let Some(asset) = &client.asset {
        end["name"] = text(&asset.name).into();
    }
    end
}

/// The asking process, if there is one with a pid.
fn process(client: &Client, is_1_8: bool) -> Option<Value> {
    let pid = client.pid.filter(|_| client.kind == ClientKind::Process)?;
    let mut process = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            process.insert(name.to_owned(), value);
        }
    };
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    set("pid", Some(pid.into()));
    set("name", client.exe.as_deref().map(name).or_else(|| client.comm.clone()).map(Into::into));
    set("cmd_line", client.cmdline.as_deref().map(|line| text(line).into()));
    set("created_time", client.start_time.as_deref().map(|time| millis(time).into()));
    set("file", client.exe.as_deref().map(|path| json!({ "name": name(path), "path": path, "type_id": 1 })));
    set("user", user(client));
    set(
        "container",
        client.container.as_deref().map(|id| {
            let mut container = json!({ "uid": id });
            if let Some(pod) = client.pod.as_deref().filter(|pod| is_uuid(pod)) {
                container["pod_uuid"] = pod.into();
            }
            container
        }),
    );
    set("lineage", (!client.ancestry.is_empty()).then(|| client.ancestry.clone().into()));
    if is_1_8 {
        set("path", client.exe.clone().map(Into::into));
    }
    Some(Value::Object(process))
}

fn user(client: &Client) -> Option<Value> {
    let mut user = Map::new();
    user.extend(client.user.clone().map(|name| ("name".to_owned(), name.into())));
    user.extend(client.uid.map(|uid| ("uid".to_owned(), uid.to_string().into())));
    (!user.is_empty()).then_some(Value::Object(user))
}

/// What a reader may want to look for elsewhere.
fn observables(finding: &Finding) -> Vec<Value> {
    let one = |name: &str, kind: u8, kind_name: &str, value: String| json!({ "name": name, "type_id": kind, "type": kind_name, "value": text(&value) });
    let client = &finding.client;
    let mut list = Vec::new();
    list.extend(finding.zone.iter().map(|zone| one("unmapped.zone", 1, "Hostname", zone.clone())));
    list.extend(client.ip.map(|ip| one("evidences[0].src_endpoint.ip", 2, "IP Address", ip.to_string())));
    if client.kind == ClientKind::Process && client.pid.is_some() {
        list.extend(
            client
                .user
                .iter()
                .map(|user| one("evidences[0].process.user.name", 4, "User Name", user.clone())),
        );
        list.extend(
            client.exe.iter().map(|path| one("evidences[0].process.file.path", 7, "File Name", path.clone())),
        );
    }
    list
}

/// What the class has no place for.
fn unmapped(finding: &Finding) -> Value {
    let client = &finding.client;
    let mut rest = json!({
        "schema": finding.schema,
        "origin": finding.origin,
        "rule": finding.rule,
        "scope": finding.scope,
        "view": finding.view,
        "queries": finding.queries,
        "responses": finding.responses,
        "bytes_up": finding.bytes_up,
        "bytes_down": finding.bytes_down,
        "name_bytes": finding.name_bytes,
        "samples": finding.samples,
        "counterfactual": finding.counterfactual,
        "client": { "kind": client.kind, "grade": client.grade },
    });
    for (name, value) in [("zone", &finding.zone), ("encoding", &finding.encoding), ("tool", &finding.tool)] {
        if let Some(value) = value {
            rest[name] = value.clone().into();
        }
    }
    if let Some(asset) = &client.asset {
        rest["client"]["asset"] = json!(asset);
    }
    if let Some(exception) = &finding.exception {
        rest["exception"] = json!(exception);
    }
    for (name, value) in [
        ("unit", &client.unit),
        ("pod", &client.pod),
        ("script", &client.script),
        ("interpreter", &client.interpreter),
        ("via", &client.via),
    ] {
        if let Some(value) = value {
            rest["client"][name] = value.clone().into();
        }
    }
    if client.pids.len() > 1 {
        rest["client"]["pids"] = client.pids.clone().into();
    }
    if let Some(socket) = client.stdio_socket {
        rest["client"]["stdio_socket"] = socket.into();
    }
    rest
}

fn metadata(about: &About, log_name: &str, finding: Option<&Finding>) -> Value {
    let mut profiles = Vec::new();
    if finding.is_some() {
        profiles.push("security_control");
    }
    if about.hostname.is_some() {
        profiles.push("host");
    }
    let mut metadata = json!({
        "version": about.ocsf.name(),
        "product": { "name": "earthdog", "vendor_name": "earthdog", "version": env!("CARGO_PKG_VERSION") },
        "log_name": log_name,
        "profiles": profiles,
    });
    if let Some(finding) = finding {
        metadata["event_code"] = finding.rule.into();
        metadata["correlation_uid"] = finding.id.clone().into();
        metadata["original_time"] = finding.time.clone().into();
        metadata["uid"] = format!("{}-{}", finding.id, finding.time).into();
    }
    metadata
}

fn add_device(event: &mut Value, about: &About) {
    let Some(name) = about.hostname.as_deref() else { return };
    let mut device = json!({
        "name": name,
        "type_id": 0,
        "type": "Unknown",
        "os": { "name": "Linux", "type_id": 200, "type": "Linux" },
    });
    if is_hostname(name) {
        device["hostname"] = name.into();
    }
    event["device"] = device;
}

/// Whether 1.1.0 takes it for a hostname; later versions take any text.
fn is_hostname(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(inner)
    };
    name.split('.').all(is_label)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// No longer than a field may be.
fn text(text: &str) -> &str {
    text.char_indices().nth(TEXT_MAX).map_or(text, |(end, _)| &text[..end])
}
