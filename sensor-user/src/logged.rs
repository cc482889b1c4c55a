//! One decoded DNS message as the message log tells it: where it was seen, whose it is, and which look-up it is part of.
//!
//! Field names and meaning are a contract, as those of the finding are. Unknown values are absent.

use std::net::SocketAddr;

use bytes::Bytes;
use sensor_ebpf::abi::{Owner, grade, no_owner, owner_source};
use serde::Serialize;

use crate::attribute::clients::{comm, text as bytes_text};
use crate::attribute::{self, ProcessTable};
use crate::dns::{Canonical, Message, names};
use crate::event::{Packet, Transport, View};
use crate::finding;

/// What a message is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookup {
    /// The query that a look-up is charged by.
    First,
    /// The same message at another hook.
    Duplicate,
    /// Retry or other type of a name that this client has just asked.
    Twin,
    /// A resolver's upstream query for a look-up of another client.
    Forwarded,
    /// The response to a query that was seen.
    Answer,
    /// A response without one.
    Unsolicited,
}

#[derive(Clone, Debug, Serialize)]
pub struct Logged {
    /// RFC 3339, nanoseconds, UTC.
    pub time: String,
    pub view: &'static str,
    pub transport: &'static str,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    #[serde(skip_serializing_if = "is_zero")]
    pub ifindex: u32,
    pub id: u16,
    pub response: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub qtype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcode: Option<String>,
    /// Absent without a question that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// As the kernel told it with this packet.
    pub owner: LoggedOwner,
    /// Whose look-up it is, by all that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<finding::Client>,
    /// The message itself as far as it was captured, and its length on the wire: for other forms of the record.
    #[serde(skip)]
    pub bytes: Bytes,
    #[serde(skip)]
    pub true_len: u32,
    #[serde(skip)]
    pub time_ns: u64,
}

/// The process that a packet itself was matched to.
#[derive(Clone, Debug, Serialize)]
pub struct LoggedOwner {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub netns: u32,
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub cgroup_id: u64,
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub cookie: u64,
    pub source: &'static str,
    pub grade: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Logged {
    pub fn new(
        packet: &Packet,
        message: &Message<'_>,
        response: bool,
        lookup: Option<Lookup>,
        owner: LoggedOwner,
        client: Option<finding::Client>,
    ) -> Self {
        Self {
            time: finding::time(packet.time_ns),
            view: view_name(packet.view),
            transport: match packet.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            },
            src: packet.src,
            dst: packet.dst,
            ifindex: packet.ifindex,
            id: message.header.id,
            response,
            name: message.question.map(|question| Canonical::new(question.name).to_string()),
            qtype: message.question.map(|question| names::rtype(question.qtype)),
            rcode: response.then(|| names::rcode(message.rcode())),
            lookup,
            owner,
            client,
            // A slice would keep all that was read with it.
            bytes: Bytes::copy_from_slice(&packet.payload),
            true_len: packet.true_len,
            time_ns: packet.time_ns,
        }
    }

    /// Who asks and who answers.
    pub const fn client_server(&self) -> (SocketAddr, SocketAddr) {
        if self.response { (self.dst, self.src) } else { (self.src, self.dst) }
    }

    pub fn message(&self) -> Message<'_> {
        Message::parse(&self.bytes, self.true_len as usize)
    }
}

impl LoggedOwner {
    pub fn new(owner: &Owner, processes: &ProcessTable, settings: &attribute::Settings) -> Self {
        let known = owner.grade != grade::NONE;
        let process = processes.find(owner.tgid, owner.start_boot_ns).filter(|_| known);
        let told = process.map(|process| attribute::describe(&process.image, settings)).unwrap_or_default();
        let name = bytes_text(comm(&owner.comm));
        Self {
            pid: known.then_some(owner.tgid),
            tid: known.then_some(owner.tid),
            uid: known.then_some(owner.uid),
            comm: (known && !name.is_empty()).then_some(name),
            exe: told.exe,
            cmdline: told.cmdline,
            script: told.script,
            start_time: settings
                .boot_unix_ns
                .filter(|_| known)
                .map(|boot| finding::time(boot.saturating_add(owner.start_boot_ns))),
            netns: owner.netns,
            cgroup_id: owner.cgroup_id,
            cookie: owner.cookie,
            source: source_name(owner.source),
            grade: grade_name(owner.grade),
            reason: (!known).then(|| reason_name(owner.reason)),
        }
    }
}

fn view_name(view: View) -> &'static str {
    match view {
        View::WireIngress => "wire_ingress",
        View::WireEgress => "wire_egress",
        View::HostEgress => "host_egress",
        View::HostIngress => "host_ingress",
        View::Capture => "capture",
    }
}

/// How sure a match is, by `sensor_ebpf::abi::grade`.
pub fn grade_name(value: u8) -> &'static str {
    match value {
        grade::EXACT => "exact",
        grade::COOKIE => "cookie",
        grade::INFERRED => "inferred",
        grade::SNAPSHOT => "snapshot",
        _ => "none",
    }
}

fn source_name(value: u8) -> &'static str {
    match value {
        owner_source::CURRENT_TASK => "current_task",
        owner_source::KPROBE => "kprobe",
        owner_source::FENTRY => "fentry",
        owner_source::SOCK_ADDR => "sock_addr",
        owner_source::SNAPSHOT => "snapshot",
        _ => "none",
    }
}

fn reason_name(value: u8) -> &'static str {
    match value {
        no_owner::WIRE_VIEW => "wire_view",
        no_owner::INGRESS => "ingress",
        no_owner::TCP => "tcp",
        no_owner::KERNEL_THREAD => "kernel_thread",
        no_owner::NO_SOURCE => "no_source",
        no_owner::NO_SOCKET => "no_socket",
        no_owner::NOT_SEEN => "not_seen",
        no_owner::SHARED_SOCKET => "shared_socket",
        _ => "unknown",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}
