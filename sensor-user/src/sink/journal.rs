//! A record as fields of journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a line to read, and the record.

use super::encode::Item;
use super::syslog::priority;
use crate::escape::escape;

/// One datagram. `body` is the record as JSON.
pub fn entry(item: &Item, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 512);
    let priority = priority(item).to_string();
    field(&mut out, "PRIORITY", priority.as_bytes());
    field(&mut out, "SYSLOG_IDENTIFIER", b"earthdog");
    let mut text = |name: &str, value: &str| field(&mut out, name, escape(value).as_bytes());
    match item {
        Item::Finding(finding) => {
            text("MESSAGE", &finding.title);
            text("EARTHDOG_ID", &finding.id);
            text("EARTHDOG_RULE", finding.rule);
            text("EARTHDOG_SEVERITY", &word(&finding.severity));
            text("EARTHDOG_STATE", &word(&finding.state));
            let client = &finding.client;
            for (name, value) in [
                ("EARTHDOG_ZONE", &finding.zone),
                ("EARTHDOG_EXE", &client.exe),
                ("EARTHDOG_UNIT", &client.unit),
                ("EARTHDOG_CONTAINER", &client.container),
            ] {
                if let Some(value) = value {
                    text(name, value);
                }
            }
        }
        Item::Message(message) => {
            let name = message.name.as_deref().unwrap_or("no question");
            let kind = if message.response { "response" } else { "query" };
            text("MESSAGE", &format!("DNS {kind}: {name}"));
        }
    }
    field(&mut out, "EARTHDOG_RECORD", body);
    out
}

/// The word that the native record has for it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// `NAME=value`, or with its length where the value has a line end.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend((value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend(value);
    out.push(b'\n');
}
