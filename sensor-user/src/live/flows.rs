//! The kernel's flow map as rows: over the control socket as JSON, on the terminal as a table.

use std::fmt::Write as _;
use std::net::IpAddr;

use sensor_ebpf::abi::{FlowCounters, FlowValue, class};
use serde::{Deserialize, Serialize};

use crate::clock::BootClock;
use crate::escape::escape;
use crate::event::ip_from_abi;

/// One flow: a client, a server, a transport, a zone, on one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    pub client: IpAddr,
    pub server: IpAddr,
    /// `wire` or `host`.
    pub view: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Presentation form; the last labels of the names asked, not a registered domain. Absent for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Process of the last query, host view only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    pub queries: u64,
    pub responses: u64,
    pub query_bytes: u64,
    pub response_bytes: u64,
    pub name_len_max: u32,
    /// Sum of name lengths and of their squares, queries only.
    pub name_len_sum: u64,
    pub name_len_sq_sum: u64,
    /// NOERROR, NXDOMAIN, SERVFAIL, other.
    pub rcode: [u64; 4],
    /// A/AAAA/HTTPS, PTR, TXT/NULL/KEY/private/unknown, other.
    pub qtype: [u64; 4],
    /// RFC 3339, UTC.
    pub first: String,
    pub last: String,
}

/// Rows in one answer: what the map holds by default (`live.flow_entries`). Some 450 bytes each as JSON.
pub const MAX_ROWS: usize = 16_384;

/// The answer to `flows`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// Busiest first, at most `MAX_ROWS`.
    pub flows: Vec<Flow>,
    /// How many there were.
    pub total: u64,
}

/// Rows for people to read.
pub fn rows(flows: &[FlowValue], clock: &BootClock) -> Flows {
    let total = flows.len() as u64;
    let mut flows: Vec<_> = flows.iter().map(|value| (value, value.counters())).collect();
    // Stable: the map's rows come sorted.
    flows.sort_by_key(|(_, counted)| {
        std::cmp::Reverse(counted.query_bytes.saturating_add(counted.response_bytes))
    });
    flows.truncate(MAX_ROWS);
    Flows { flows: flows.iter().map(|(value, counted)| row(value, counted, clock)).collect(), total }
}

fn row(value: &FlowValue, counted: &FlowCounters, clock: &BootClock) -> Flow {
    let zone_len = (value.zone_len as usize).min(value.zone.len());
    let of_class = |first: usize| [0, 1, 2, 3].map(|index| counted.packets[first + index]);
    let date = |awake_ns| time(clock.unix_ns(clock.boot_of_awake_ns(awake_ns)));
    Flow {
        client: ip_from_abi(value.client),
        server: ip_from_abi(value.server),
        view: if value.side == 2 { "host" } else { "wire" }.into(),
        transport: if value.transport == 6 { "tcp" } else { "udp" }.into(),
        zone: (zone_len != 0).then(|| presentation(&value.zone[..zone_len])),
        pid: (value.tgid != 0).then_some(value.tgid),
        queries: counted.queries(),
        responses: counted.responses(),
        query_bytes: counted.query_bytes,
        response_bytes: counted.response_bytes,
        name_len_max: value.name_len_max,
        name_len_sum: counted.name_len_sum,
        name_len_sq_sum: counted.name_len_sq_sum,
        rcode: of_class(class::RCODE),
        qtype: of_class(class::QTYPE),
        first: date(value.first_ns),
        last: date(value.last_ns),
    }
}

fn time(unix_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(unix_ns))
        .map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

/// Wire-form labels as RFC 1035 text: dots and backslashes inside a label escaped, other bytes as `\DDD`. A name that
/// was cut at the front may begin inside a label; then the rest is shown as one label.
fn presentation(wire: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = wire;
    while let Some((&len, tail)) = rest.split_first() {
        if len == 0 {
            break;
        }
        let (label, after) = match tail.split_at_checked(usize::from(len)) {
            Some(split) if len <= 63 => split,
            _ => (rest, &[][..]),
        };
        if !out.is_empty() {
            out.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' => {
                    out.push('\\');
                    out.push(byte as char);
                }
                0x21..=0x7e => out.push(byte as char),
                _ => {
                    let _ = write!(out, "\\{byte:03}");
                }
            }
        }
        rest = after;
    }
    out
}

/// A table, widest column by content; says so if there were more flows than it has rows.
pub fn table(Flows { flows, total }: &Flows) -> String {
    const HEAD: [&str; 11] =
        ["CLIENT", "SERVER", "VIEW", "PROTO", "ZONE", "PID", "QUERIES", "ANSWERS", "UP", "DOWN", "LONGEST"];
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(flows.iter().map(|flow| {
        [
            flow.client.to_string(),
            flow.server.to_string(),
            escape(&flow.view).into_owned(),
            escape(&flow.transport).into_owned(),
            flow.zone.as_ref().map_or_else(|| "-".into(), |zone| escape(zone).into_owned()),
            flow.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
            flow.queries.to_string(),
            flow.responses.to_string(),
            flow.query_bytes.to_string(),
            flow.response_bytes.to_string(),
            flow.name_len_max.to_string(),
        ]
    }));
    let mut widths = [0; HEAD.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in &lines {
        for (index, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            // Text to the left, numbers to the right.
            let _ = if index < 5 { write!(out, "{cell:<width$}  ") } else { write!(out, "{cell:>width$}  ") };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    if *total > flows.len() as u64 {
        let _ = writeln!(out, "{} of {total} flows: those with the most bytes", flows.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::{CARRY, RECENT_BYTES, RECENT_SQUARES};
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn labels_become_text_that_reads_back() {
        assert_eq!(presentation(b"\x07example\x03com"), "example.com");
        assert_eq!(presentation(b"\x07example\x03com\x00trailing"), "example.com");
        assert_eq!(presentation(b"\x04a.b\\\x01\x1b"), "a\\.b\\\\.\\027");
        assert_eq!(presentation(b"\x09cut"), "\\009cut");
        assert_eq!(presentation(b"\xc0\x0c"), "\\192\\012");
        assert_eq!(presentation(b""), "");
    }

    #[test]
    fn the_busiest_flow_comes_first_and_zones_are_safe_to_print() {
        let mut quiet = FlowValue::new_zeroed();
        quiet.client = "::ffff:10.0.0.2".parse::<std::net::Ipv6Addr>().unwrap().octets();
        (quiet.side, quiet.transport, quiet.query_bytes, quiet.tgid, quiet.zone_len) = (2, 17, 10, 77, 4);
        quiet.zone[..4].copy_from_slice(b"\x03\x1b[m");
        let mut busy = quiet;
        (busy.side, busy.query_bytes, busy.tgid) = (1, 1000, 0);
        let rows = rows(&[quiet, busy], &BootClock::with_distance(0));
        let table = table(&rows);
        assert_eq!((rows.total, table.lines().count()), (2, 3));
        let rows = rows.flows;
        assert_eq!((rows[0].view.as_str(), rows[0].pid), ("wire", None));
        assert_eq!((rows[1].view.as_str(), rows[1].pid), ("host", Some(77)));
        assert!(table.contains("\\027[m") && !table.contains('\x1b'), "{table}");
        assert!(table.lines().all(|line| !line.ends_with(' ')));
        let json = serde_json::to_string(&rows[1]).unwrap();
        assert_eq!(serde_json::from_str::<Flow>(&json).unwrap(), rows[1]);
        assert_eq!(rows[0].first, "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn an_answer_is_bounded_and_says_how_much_it_leaves_out() {
        let flow = |index: u64| {
            let mut value = FlowValue::new_zeroed();
            value.query_bytes = index;
            value
        };
        let count = MAX_ROWS as u64 + 10;
        let flows: Vec<_> = (0..count).map(flow).collect();
        let rows = rows(&flows, &BootClock::with_distance(0));
        assert_eq!((rows.flows.len(), rows.total), (MAX_ROWS, count));
        assert_eq!((rows.flows[0].query_bytes, rows.flows[MAX_ROWS - 1].query_bytes), (count - 1, 10));
        assert!(table(&rows).ends_with("\n16384 of 16394 flows: those with the most bytes\n"));
    }

    #[test]
    fn recent_and_carried_counters_are_one_sum() {
        let recent = |packets: u64, bytes: u64| (packets << RECENT_BYTES) + bytes;
        let mut value = FlowValue::new_zeroed();
        value.recent[class::RCODE + 1] = recent(3, 300);
        value.recent[class::RESPONSE] = recent(1, 50);
        value.recent[class::QTYPE + 2] = recent(5, 500);
        value.recent[class::QUERY] = recent(2, 70);
        value.carried[class::QTYPE + 2] = 2;
        (value.query_bytes, value.response_bytes) = (7_000_000, 1_000_000);
        value.recent_names = (100 << RECENT_SQUARES) + 2_000;
        (value.name_len_sum, value.name_len_sq_sum) = (10, 20);
        let flow = &rows(&[value], &BootClock::with_distance(0)).flows[0];
        assert_eq!((flow.queries, flow.responses), (2 * CARRY + 7, 4));
        assert_eq!((flow.query_bytes, flow.response_bytes), (7_000_570, 1_000_350));
        assert_eq!((flow.name_len_sum, flow.name_len_sq_sum), (110, 2_020));
        assert_eq!((flow.rcode, flow.qtype), ([0, 3, 0, 0], [0, 0, 2 * CARRY + 5, 0]));
    }
}
