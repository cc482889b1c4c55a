//! A message as a row of Zeek's dns.log in JSON, with Zeek's own names (docs.zeek.org, base/protocols/dns).
//!
//! Zeek has one row for a query and its response. Here each message is a row: a query's says what was asked, a response's
//! that and what was answered. Names of the asking process, which Zeek has not, begin with `orig_`.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use serde_json::{Value, json};

use crate::dns::{Section, names, rdata, rtype};
use crate::logged::Logged;

/// Answers listed; a transfer has thousands.
const ANSWERS_MAX: usize = 64;

pub(super) fn row(logged: &Logged) -> Value {
    let message = logged.message();
    let (client, server) = logged.client_server();
    let flow = FixedState::default().hash_one((client, server, logged.transport));
    let flags = message.header.flags;
    let mut row = json!({
        "ts": (logged.time_ns / 1000) as f64 / 1e6,
        "uid": format!("D{flow:016x}"),
        "id.orig_h": client.ip(),
        "id.orig_p": client.port(),
        "id.resp_h": server.ip(),
        "id.resp_p": server.port(),
        "proto": logged.transport,
        "trans_id": message.header.id,
        "AA": flags & 0x0400 != 0,
        "TC": message.header.is_truncated(),
        "RD": flags & 0x0100 != 0,
        "RA": flags & 0x0080 != 0,
        "Z": flags >> 4 & 7,
        "rejected": false,
    });
    if let Some(question) = message.question {
        row["query"] = logged.name.clone().into();
        row["qclass"] = question.qclass.into();
        row["qclass_name"] = if question.qclass == 1 { "C_INTERNET".into() } else { Value::from("other") };
        row["qtype"] = question.qtype.into();
        row["qtype_name"] = names::rtype(question.qtype).into();
    }
    if logged.response {
        let records = || {
            let answers = message.records().filter(|record| record.section == Section::Answer);
            answers.filter(|record| record.rtype != rtype::OPT).take(ANSWERS_MAX)
        };
        row["rcode"] = message.rcode().into();
        row["rcode_name"] = names::rcode(message.rcode()).into();
        row["rejected"] = (message.rcode() != 0 && records().next().is_none()).into();
        if records().next().is_some() {
            row["answers"] = records().map(|record| rdata::text(&record)).collect::<Vec<_>>().into();
            row["TTLs"] = records().map(|record| f64::from(record.ttl)).collect::<Vec<_>>().into();
        }
    }
    if let Some(who) = &logged.client {
        for (name, value) in [("orig_exe", &who.exe), ("orig_user", &who.user)] {
            if let Some(value) = value {
                row[name] = value.clone().into();
            }
        }
        if let Some(pid) = who.pid {
            row["orig_pid"] = pid.into();
        }
    }
    row
}
