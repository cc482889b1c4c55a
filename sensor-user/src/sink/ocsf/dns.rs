//! One DNS message as OCSF DNS Activity (4003).

use serde_json::{Value, json};

use super::{add_device, endpoint, is_hostname, metadata, process, user};
use crate::config::OcsfVersion;
use crate::dns::{Section, names, rdata, rtype};
use crate::logged::Logged;
use crate::sink::encode::About;

/// Answers listed; a transfer has thousands.
const ANSWERS_MAX: usize = 64;

pub(in crate::sink) fn message(logged: &Logged, about: &About) -> Value {
    let is_1_8 = about.ocsf >= OcsfVersion::V1_8;
    let message = logged.message();
    let (activity, activity_name) = if logged.response { (2, "Response") } else { (1, "Query") };
    let (client, server) = logged.client_server();
    let time = logged.time_ns / 1_000_000;
    let (protocol, number) = if logged.transport == "tcp" { ("tcp", 6) } else { ("udp", 17) };
    let (direction, direction_name) = match logged.view {
        "host_egress" | "wire_egress" => (2, "Outbound"),
        "host_ingress" | "wire_ingress" => (1, "Inbound"),
        _ => (0, "Unknown"),
    };
    let mut event = json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": 4,
        "category_name": "Network Activity",
        "class_uid": 4003,
        "class_name": "DNS Activity",
        "type_uid": 400_300 + activity,
        "type_name": format!("DNS Activity: {activity_name}"),
        "time": time,
        "severity_id": 1,
        "severity": "Informational",
        "metadata": metadata(about, "messages", None),
        "src_endpoint": { "ip": client.ip(), "port": client.port() },
        "dst_endpoint": { "ip": server.ip(), "port": server.port() },
        "connection_info": {
            "direction_id": direction,
            "direction": direction_name,
            "protocol_name": protocol,
            "protocol_num": number,
        },
        "unmapped": {
            "view": logged.view,
            "owner": { "grade": logged.owner.grade, "source": logged.owner.source },
        },
    });
    event[if logged.response { "response_time" } else { "query_time" }] = time.into();
    if let Some(lookup) = logged.lookup {
        event["unmapped"]["lookup"] = json!(lookup);
    }
    if let Some(question) = message.question {
        let name = logged.name.clone().unwrap_or_default();
        let opcode = message.header.opcode();
        if is_1_8 || is_hostname(&name) {
            event["query"] = json!({
                "hostname": name,
                "type": names::rtype(question.qtype),
                "class": class(question.qclass),
                // 3 is the one that was never given out.
                "opcode_id": if opcode < 6 { opcode } else { 0 },
                "packet_uid": message.header.id,
            });
        } else {
            // 1.1.0 takes host names alone.
            event["unmapped"]["query"] = json!({ "name": name, "type": names::rtype(question.qtype) });
        }
    }
    if logged.response {
        let rcode = message.rcode();
        event["rcode_id"] = if matches!(rcode, 0..=11 | 16..=25) { rcode } else { 99 }.into();
        event["rcode"] = names::rcode(rcode).into();
        let answers = message.records().filter(|record| record.section == Section::Answer);
        let answers = answers.filter(|record| record.rtype != rtype::OPT).take(ANSWERS_MAX).map(|record| {
            json!({
                "rdata": rdata::text(&record),
                "type": names::rtype(record.rtype),
                "class": class(record.class),
                "ttl": record.ttl,
                "packet_uid": message.header.id,
            })
        });
        let answers: Vec<_> = answers.collect();
        if !answers.is_empty() {
            event["answers"] = answers.into();
        }
    }
    if let Some(who) = &logged.client {
        event["src_endpoint"] = endpoint(who, event["src_endpoint"].take());
        let actor = match (process(who, is_1_8), user(who)) {
            (Some(process), _) => Some(json!({ "process": process })),
            (None, Some(user)) => Some(json!({ "user": user })),
            (None, None) => None,
        };
        // The class has an actor for records of a host only.
        if let Some(actor) = actor {
            event["actor"] = actor;
        }
    }
    add_device(&mut event, about);
    event
}

fn class(class: u16) -> String {
    match class {
        1 => "IN".to_owned(),
        3 => "CH".to_owned(),
        4 => "HS".to_owned(),
        255 => "ANY".to_owned(),
        other => format!("CLASS{other}"),
    }
}
