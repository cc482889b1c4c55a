//! Host side: the record that the kernel would have written for a frame.

use crate::abi::{CAP_RESPONSE, Owner, RecordHeader, TAG_PACKET, feature, grade, owner_source};
use crate::describe::{self, Description};
use crate::frame::{self, Frame, Link, Skip, TCP, min};
use crate::question::KEY_WORDS;

/// The record of `packet`, without time and interface, and its captured bytes.
///
/// UDP GSO bursts do not occur in a captured frame. Of a TCP payload this is the first record; the kernel goes on with
/// further ones where it is longer than a record holds.
pub fn of_packet<'a>(
    packet: &'a [u8],
    link: Link,
    view: u8,
    key: &[u64; KEY_WORDS],
) -> Result<(RecordHeader, &'a [u8]), Skip> {
    let frame = frame::parse(packet, link)?;
    let len = describe::cap(&frame) as usize;
    let start = frame.payload as usize;
    let payload = packet.get(start..start + len).unwrap_or_default();
    let description = describe::of_payload(&frame, payload, feature::DEFAULT, key);
    let mut header = EMPTY;
    fill(&mut header, &frame, &description, view);
    header.cap_len = payload.len() as u32;
    if frame.transport == TCP {
        header.true_len = min(frame.true_len, CAP_RESPONSE as u32);
    }
    Ok((header, payload))
}

/// Writes all but time, interface and captured length, in place: on the kernel's 512-byte stack a second header
/// does not fit.
#[inline(always)]
pub fn fill(header: &mut RecordHeader, frame: &Frame, description: &Description, view: u8) {
    header.tag = TAG_PACKET;
    header.name_hash = description.name_hash;
    header.zone_hash = description.zone_hash;
    header.src = frame.src;
    header.dst = frame.dst;
    header.true_len = frame.true_len;
    header.tcp_seq = frame.tcp_seq;
    header.src_port = frame.src_port;
    header.dst_port = frame.dst_port;
    header.vlan = frame.vlan;
    header.flags = description.flags;
    header.qname_len = description.question.name_len;
    header.qtype = description.question.qtype;
    header.qclass = description.question.qclass;
    header.labels = description.question.labels;
    header.transport = frame.transport;
    header.view = view;
    header.kind = description.kind;
}

const EMPTY: RecordHeader = RecordHeader {
    tag: 0,
    cap_len: 0,
    time_ns: 0,
    name_hash: 0,
    zone_hash: 0,
    src: [0; 16],
    dst: [0; 16],
    ifindex: 0,
    true_len: 0,
    tcp_seq: 0,
    src_port: 0,
    dst_port: 0,
    vlan: [0; 2],
    flags: 0,
    qname_len: 0,
    qtype: 0,
    qclass: 0,
    labels: 0,
    transport: 0,
    view: 0,
    kind: 0,
};

/// Writes an owner of grade `NONE` in place.
///
/// By words and volatile: bpf-linker turns every other way of zeroing memory into a call of a loop over bytes, which
/// took 60 ns of a packet.
#[inline(always)]
pub fn clear_owner(owner: &mut Owner, reason: u8) {
    const WORDS: usize = size_of::<Owner>() / 8;
    const _: () = assert!(core::mem::offset_of!(Owner, reason) == WORDS * 8 - 6 && grade::NONE == 0);
    let words = core::ptr::from_mut(owner).cast::<u64>();
    for index in 0..WORDS {
        let word = if index == WORDS - 1 { u64::from(reason) << 16 } else { 0 };
        // SAFETY: Owner is repr(C) with 8-byte alignment, WORDS words long, and any bytes are a value of it.
        #[allow(unsafe_code)]
        unsafe {
            words.add(index).write_volatile(word);
        }
    }
}

/// An owner of grade `NONE` with its reason.
#[inline(always)]
pub const fn no_owner(reason: u8) -> Owner {
    Owner {
        start_boot_ns: 0,
        cgroup_id: 0,
        cookie: 0,
        tgid: 0,
        tid: 0,
        uid: 0,
        netns: 0,
        comm: [0; 16],
        source: owner_source::NONE,
        grade: grade::NONE,
        reason,
        pad: [0; 5],
    }
}
