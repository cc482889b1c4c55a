//! Findings and messages as the pipeline hands them to sinks: of a capture, or of a process with strings of our own.

use std::io::Cursor;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use earthdog::config::Config;
use earthdog::config::assets::Asset;
use earthdog::event::{Event, Exec, Fork, Kind, Owner, Packet, Transport, View, no_owner};
use earthdog::finding::{Finding, Origin};
use earthdog::inventory::Inventory;
use earthdog::logged::Logged;
use earthdog::pipeline::{Pipeline, Settings};
use earthdog::source::{Tally, read_from};
use sensor_ebpf::abi::{flag, grade};

use crate::capture::leaking_name;
use crate::message::{Message, Name, rtype, txt};

/// What a pipeline gave.
#[derive(Debug, Default)]
pub struct Made {
    /// Every state change.
    pub findings: Vec<Finding>,
    pub messages: Vec<Logged>,
}

/// Strings that an attacker may choose, by what is bad about them.
pub const HOSTILE: &[(&str, &[u8])] = &[
    ("escape sequence", b"\x1b[2J\x1b]0;pwned\x07"),
    ("line ends", b"a\r\nMEDIUM fake\n<0>1 - - - - - -\n\n"),
    (
        "every control character",
        b"\x01\x02\x03\x04\x05\x06\x07\x08\t\x0b\x0c\x0e\x0f\x10\x11\x12\x1a\x1f\x7f",
    ),
    ("C1 control", "\u{9b}31m\u{85}\u{90}".as_bytes()),
    ("bidirectional", "evil\u{202e}gnp.exe\u{2066}\u{200f}".as_bytes()),
    ("invisible", "a\u{200b}\u{feff}\u{ad}\u{e0041}\u{2028}\u{2029}b".as_bytes()),
    ("quotes", br#"",'":{}[]\"\\"#),
    ("structured data", br#"] [x@1 a="b\]" %s%n%%"#),
    ("journal field", b"x\nPRIORITY=0\n_UID=0"),
    ("equals", b"=a=b="),
    ("percent", b"%d%s%n%0a%00"),
    ("invalid UTF-8", b"\xff\xfe\xc3(\xe2\x82\xf0\x9f"),
    ("NUL", b"a\0b\0\0"),
    ("HTML and shell", b"<script>$(reboot)`id`;|&"),
    ("very long", &[b'A'; 4096]),
    ("nothing", b""),
    ("not ASCII", "ünïcödé \u{1f409}".as_bytes()),
];

/// Where packets of `of_process` begin.
const START_NS: u64 = 1_768_204_800_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// What is found in a capture.
pub fn of_capture(pcap: &[u8]) -> Made {
    let mut made = Made::default();
    let mut pipeline = Pipeline::new(settings(), Origin::Replay);
    let findings = &mut made.findings;
    let messages = &mut made.messages;
    read_from(Cursor::new(pcap.to_vec()), &mut Tally::default(), &mut |event| {
        pipeline.push(event, &mut |finding| findings.push(finding.clone()));
        messages.extend(pipeline.logged());
        ControlFlow::Continue(())
    })
    .unwrap_or_else(|error| panic!("a capture of our own: {error}"));
    pipeline.finish(&mut |finding| findings.push(finding.clone()));
    made
}

/// What is found of a process that leaks, started by a shell, all of whose strings are this one: program, command line,
/// user, the machine's name and role in the inventory, a label of the zone, and what the answers say.
pub fn of_process(text: &[u8]) -> Made {
    let mut made = Made::default();
    let mut settings = settings();
    let said = String::from_utf8_lossy(text).into_owned();
    let asset = Asset {
        name: if said.is_empty() { "-".to_owned() } else { said.clone() },
        role: said,
        addresses: vec!["10.0.0.2".to_owned()],
        ..Asset::default()
    };
    settings.attribute.assets = Arc::new(Inventory::new(vec![asset], Vec::new()).unwrap_or_default());
    let mut pipeline = Pipeline::new(settings, Origin::Live);
    pipeline.learn_user(1000, Some(String::from_utf8_lossy(text).into_owned()));
    let path: Bytes = [b"/tmp/", text].concat().into();
    for (tgid, ppid, path) in [(500, 1, Bytes::from_static(b"/usr/bin/bash")), (501, 500, path)] {
        let start = |tgid: u32| u64::from(tgid) * SECOND;
        let fork = Fork {
            time_ns: START_NS,
            tgid,
            ppid,
            uid: 1000,
            start_boot_ns: start(tgid),
            parent_start_boot_ns: start(ppid),
            ..Fork::default()
        };
        let exec = Exec {
            time_ns: START_NS,
            tgid,
            ppid,
            uid: 1000,
            start_boot_ns: start(tgid),
            parent_start_boot_ns: start(ppid),
            exe: Some(path.clone()),
            args: [&path, &b"\0"[..], text].concat().into(),
            path,
            ..Exec::default()
        };
        pipeline.push(Event::Fork(fork), &mut |_| {});
        pipeline.push(Event::Exec(exec), &mut |_| {});
    }
    let mut owner = Owner { tgid: 501, tid: 501, start_boot_ns: 501 * SECOND, uid: 1000, ..no_owner(0) };
    owner.grade = grade::EXACT;
    let comm = &text[..text.len().min(15)];
    owner.comm[..comm.len()].copy_from_slice(comm);
    let label = if text.is_empty() { b"-" } else { &text[..text.len().min(63)] };
    for number in 0..60 {
        let first = leaking_name(number);
        let name =
            || Name::new().label(first.split('.').next().unwrap_or("x")).label(label).label("example").root();
        let query = Message::query(name(), rtype::TXT).id(number as u16).build();
        let said: Vec<u8> = text.iter().copied().cycle().take(200.min(text.len())).collect();
        let response = Message::response(name(), rtype::TXT).id(number as u16);
        let response = response.answer(rtype::TXT, 60, txt(&said)).build();
        for (bytes, to_server) in [(query, true), (response, false)] {
            let (client, server): (SocketAddr, SocketAddr) =
                (([10, 0, 0, 2], 4000).into(), ([10, 0, 0, 1], 53).into());
            let packet = Packet {
                time_ns: START_NS + u64::from(number) * SECOND + u64::from(!to_server),
                view: if to_server { View::HostEgress } else { View::HostIngress },
                kind: Kind::Message,
                transport: Transport::Udp,
                src: if to_server { client } else { server },
                dst: if to_server { server } else { client },
                ifindex: 2,
                vlan: [None; 2],
                tcp_seq: 0,
                flags: if to_server { flag::TO_SERVER } else { 0 },
                true_len: bytes.len() as u32,
                payload: bytes.into(),
                owner,
            };
            pipeline.push(Event::Packet(packet), &mut |finding| made.findings.push(finding.clone()));
            made.messages.extend(pipeline.logged());
        }
    }
    pipeline.finish(&mut |finding| made.findings.push(finding.clone()));
    made
}

fn settings() -> Settings {
    let mut settings = Config::default().pipeline();
    settings.log_messages = true;
    settings.attribute.boot_unix_ns = Some(START_NS - 1000 * SECOND);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_string_makes_a_finding_that_has_it() {
        for (what, text) in HOSTILE {
            let made = of_process(text);
            let states: Vec<_> = made.findings.iter().map(|finding| finding.state).collect();
            assert!(states.len() >= 2, "{what}: {states:?}");
            assert_eq!(made.messages.len(), 120, "{what}");
            let client = &made.findings[0].client;
            assert!(client.exe.is_some() && client.cmdline.is_some() && client.user.is_some(), "{client:?}");
            assert!(client.asset.is_some(), "{client:?}");
        }
    }
}
