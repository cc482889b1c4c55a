//! What a record says about a message: shared by the kernel programs and the host, so that both say the same.

use crate::abi::{CAP_QUERY, CAP_RESPONSE, feature, flag, kind};
use crate::frame::{DNS_PORT, Frame, TCP, min};
use crate::limits::{ALERT_NAME, MAX_NAME};
use crate::question::{self, HEADER, KEY_WORDS, Question};

/// Words of the longest message in a record.
pub const WORDS: usize = CAP_RESPONSE / 8;

/// The message part of a `RecordHeader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// `abi::kind`.
    pub kind: u8,
    /// All of `abi::flag`, the frame's included.
    pub flags: u16,
    /// All fields 0 where the question could not be walked.
    pub question: Question,
    pub name_hash: u64,
    pub zone_hash: u64,
    /// RCODE of a response.
    pub rcode: u8,
}

/// How many bytes of the payload go into a record: by direction, since answers may be longer.
#[inline(always)]
pub fn cap(frame: &Frame) -> u32 {
    let most = if frame.transport == TCP || !to_server_by_port(frame) { CAP_RESPONSE } else { CAP_QUERY };
    min(frame.cap_len, most as u32)
}

/// Describes the first `len` payload bytes of `frame`, which lie in `message`.
///
/// The result is written in place and in steps with a `forget` between, so that the verifier does not carry what one
/// step knows through all paths of the next.
#[inline(always)]
pub fn describe<const W: usize>(
    frame: &Frame,
    message: &[u64; W],
    len: usize,
    features: u32,
    key: impl Fn(usize) -> [u32; 2] + Copy,
    out: &mut Description,
) {
    if frame.transport == TCP {
        return unparsed(frame, kind::SEGMENT, 0, out);
    }
    if len < HEADER {
        return unparsed(frame, kind::DATAGRAM, flag::ALERT, out);
    }
    unparsed(frame, kind::MESSAGE, 0, out);
    let response = question::byte(message, 2) & 0x80 != 0;
    if response {
        out.flags |= flag::RESPONSE;
    }
    if frame.src_port == DNS_PORT && frame.dst_port == DNS_PORT && response {
        out.flags &= !flag::TO_SERVER;
    }
    out.rcode = question::byte(message, 3) & 0x0f;
    if features & feature::WALK == 0 {
        return;
    }
    question::walk(message, len, &mut out.question);
    forget();
    if out.question.name_len == 0 {
        out.flags |= flag::BAD_QUESTION | flag::ALERT;
        return;
    }
    if out.question.name_len >= ALERT_NAME || carries_payload(out.question.qtype) {
        out.flags |= flag::ALERT;
    }
    if features & feature::HASH != 0 {
        let (end, _) = out.question.name_end_and_zone_start();
        out.name_hash = question::hash_name(message, bounded(end.wrapping_sub(HEADER)), key);
        forget();
        let (end, start) = out.question.name_end_and_zone_start();
        out.zone_hash = question::hash(message, start, bounded(end.wrapping_sub(start)), key);
        forget();
    }
}

/// Makes the compiler forget what it knows about memory, so that values are loaded again and the verifier sees them as
/// any value. Costs nothing at run time.
#[inline(always)]
pub fn forget() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

/// `value`, of which the compiler does not know any more what it is: bounds behind this stay in the code, where the
/// verifier sees them. `black_box` does the same by way of the stack, six cycles each time.
#[inline(always)]
pub fn hidden(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a register's value to itself. Without an instruction the line numbers of two statements would begin at the
        // same one, which the kernel refuses.
        #[allow(unsafe_code)]
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(value)
}

/// A length that may be below zero. The library's `saturating_sub` becomes a flag that is made and then tested.
#[inline(always)]
pub const fn bounded(len: usize) -> usize {
    if len > MAX_NAME { 0 } else { len }
}

/// What can be said without looking into the payload.
#[inline(always)]
pub fn unparsed(frame: &Frame, kind: u8, flags: u16, out: &mut Description) {
    let direction = if to_server_by_port(frame) { flag::TO_SERVER } else { 0 };
    out.kind = kind;
    out.flags = frame.flags | flags | direction;
    out.rcode = 0;
    let question = &mut out.question;
    for field in [&mut question.name_len, &mut question.qtype, &mut question.qclass, &mut question.zone_start]
    {
        zero(field);
    }
    question.labels = 0;
    zero(&mut out.name_hash);
    zero(&mut out.zone_hash);
}

/// Zeroes a field. Volatile, or bpf-linker would turn neighbours into a call of a loop over bytes (see `record::clear_owner`).
#[inline(always)]
pub fn zero<T: Default>(field: &mut T) {
    // SAFETY: a reference is valid for writes.
    #[allow(unsafe_code)]
    unsafe {
        core::ptr::from_mut(field).write_volatile(T::default());
    }
}

/// Before the QR bit is known: port 53 is the server; where both are 53, the destination.
#[inline(always)]
const fn to_server_by_port(frame: &Frame) -> bool {
    frame.dst_port == DNS_PORT
}

/// Types whose answers can carry what the sender likes: NULL, TXT, KEY and what IANA has not assigned (from 261, and
/// the range for private use).
#[inline(always)]
pub const fn carries_payload(qtype: u16) -> bool {
    matches!(qtype, 10 | 16 | 25) || (qtype > 264 && qtype < 32768) || qtype > 32769
}

/// Class of a query's type, as in `abi::FlowValue::qtype`.
#[inline(always)]
pub const fn qtype_class(qtype: u16) -> usize {
    match qtype {
        1 | 28 | 65 => 0,
        12 => 1,
        other if carries_payload(other) => 2,
        _ => 3,
    }
}

/// Class of a response's RCODE, as in `abi::FlowValue::rcode`.
#[inline(always)]
pub const fn rcode_class(rcode: u8) -> usize {
    match rcode {
        0 => 0,
        3 => 1,
        2 => 2,
        _ => 3,
    }
}

const EMPTY: Description =
    Description { kind: 0, flags: 0, question: Question::NONE, name_hash: 0, zone_hash: 0, rcode: 0 };

/// Host entry: describes a frame whose payload lies in plain memory, as the kernel would.
pub fn of_payload(frame: &Frame, payload: &[u8], features: u32, key: &[u64; KEY_WORDS]) -> Description {
    within::<WORDS>(frame, payload, features, |word| question::halves(key[word]))
}

/// Host entry: `of_payload` without hashes.
pub fn walked(frame: &Frame, payload: &[u8]) -> Description {
    within::<QUESTION_WORDS>(frame, payload, feature::WALK, |_| [0; 2])
}

/// Host entry: the first question of a message in plain memory, if the kernel would walk it.
pub fn question_of(message: &[u8]) -> Option<Question> {
    let mut question = Question::NONE;
    question::walk(&words::<QUESTION_WORDS>(message), message.len().min(QUESTION_WORDS * 8), &mut question);
    (question.name_len != 0).then_some(question)
}

/// Words that a walk may look at: no question ends behind them.
const QUESTION_WORDS: usize = question::MIN_WORDS;

fn within<const W: usize>(
    frame: &Frame,
    payload: &[u8],
    features: u32,
    key: impl Fn(usize) -> [u32; 2] + Copy,
) -> Description {
    let mut description = EMPTY;
    let len = payload.len().min(W * 8);
    describe(frame, &words::<W>(payload), len, features, key, &mut description);
    description
}

/// The first bytes of `payload` in words, as the kernel has them.
pub fn words<const W: usize>(payload: &[u8]) -> [u64; W] {
    let mut words = [0; W];
    let (whole, rest) = payload.as_chunks::<8>();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u64::from_le_bytes(*bytes);
    }
    if let Some(word) = words.get_mut(whole.len()) {
        let mut eight = [0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        *word = u64::from_le_bytes(eight);
    }
    words
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::frame::{Link, parse};

    /// A question of so many labels of twenty bytes and a root, behind it zeroes; cut to `len` bytes of payload.
    fn packet(labels: usize, len: usize) -> Vec<u8> {
        let mut message = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0].to_vec();
        for _ in 0..labels {
            message.push(20);
            message.extend([b'a'; 20]);
        }
        message.extend([0, 0, 1, 0, 1]);
        message.resize(len, 0);
        let mut packet = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2].to_vec();
        packet[2..4].copy_from_slice(&(28 + len as u16).to_be_bytes());
        packet.extend([0x9c, 0x40, 0, 53]);
        packet.extend((8 + len as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(message);
        packet
    }

    #[test]
    fn what_is_only_walked_is_described_alike_out_of_fewer_words() {
        let mut with_question = 0;
        for labels in 0..=13 {
            for len in 0..=WORDS * 8 + 9 {
                let packet = packet(labels, len);
                let Ok(frame) = parse(packet.as_slice(), Link::Ip) else { continue };
                let payload = &packet[28..];
                let whole = of_payload(&frame, payload, feature::WALK, &[0; KEY_WORDS]);
                assert_eq!(walked(&frame, payload), whole, "{labels} labels, {len} bytes");
                assert_eq!(question_of(payload).is_some(), whole.question.name_len != 0 && len >= HEADER);
                with_question += usize::from(whole.question.name_len != 0);
            }
        }
        assert!(with_question > 10_000, "{with_question}");
    }
}
