//! The flow map: counters by (client, server, transport, zone), cheap to find and never keyed by a full name.

use core::mem::offset_of;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_map_update_elem;
use sensor_ebpf::abi::{FLOW_ZONE, FlowKey, FlowValue, counter, flag, view};
use sensor_ebpf::describe::{self, Description, WORDS};
use sensor_ebpf::frame::{DNS_PORT, Frame};
use sensor_ebpf::limits::MAX_NAME;
use sensor_ebpf::question::{self, HEADER};

use super::access::Access;
use super::maps::{self, FLOWS};

/// Counts a UDP message.
#[inline(always)]
pub(crate) fn count<P: Access>(
    frame: &Frame,
    what: &Description,
    view: u8,
    tgid: u32,
    message: &[u64; WORDS],
    key: &mut FlowKey,
    now: u64,
) {
    let to_server = what.flags & flag::TO_SERVER != 0;
    write_key(key, frame, to_server, what.zone_hash, view);
    let Some(value) = find(key, now) else { return full::<P>() };
    // SAFETY: a live map value; an LRU map may give it to another key while we hold it, which can only miscount.
    let value = unsafe { &mut *value };
    value.last_ns = now;
    let name_len = u64::from(what.question.name_len);
    if to_server {
        add(&mut value.queries, 1);
        add(&mut value.query_bytes, u64::from(frame.true_len));
        if name_len != 0 {
            add(&mut value.name_len_sum, name_len);
            add(&mut value.name_len_sq_sum, name_len * name_len);
            add32(&mut value.qtype, describe::qtype_class(what.question.qtype));
            if value.name_len_max < name_len as u32 {
                value.name_len_max = name_len as u32;
            }
        }
        if tgid != 0 {
            value.tgid = tgid;
        }
    } else {
        add(&mut value.responses, 1);
        add(&mut value.response_bytes, u64::from(frame.true_len));
        add32(&mut value.rcode, describe::rcode_class(what.rcode));
    }
    if value.zone_len == 0 && name_len > 1 {
        write_zone(value, what, message);
    }
}

/// Counts a TCP segment or a GSO burst, whose zones user space knows.
#[inline(always)]
pub(crate) fn count_segment<P: Access>(frame: &Frame, view: u8, tgid: u32, key: &mut FlowKey, now: u64) {
    let to_server = frame.dst_port == DNS_PORT;
    write_key(key, frame, to_server, 0, view);
    let Some(value) = find(key, now) else { return full::<P>() };
    // SAFETY: as in `count`.
    let value = unsafe { &mut *value };
    value.last_ns = now;
    if tgid != 0 {
        value.tgid = tgid;
    }
    let bytes = u64::from(frame.true_len);
    if to_server {
        add(&mut value.queries, 1);
        add(&mut value.query_bytes, bytes);
    } else {
        add(&mut value.responses, 1);
        add(&mut value.response_bytes, bytes);
    }
}

#[inline(always)]
fn full<P: Access>() {
    if P::ATOMIC { maps::count::<true>(counter::FLOW_FULL) } else { maps::count::<false>(counter::FLOW_FULL) }
}

#[inline(always)]
fn write_key(key: &mut FlowKey, frame: &Frame, to_server: bool, zone_hash: u64, view: u8) {
    (key.client, key.server) = if to_server { (frame.src, frame.dst) } else { (frame.dst, frame.src) };
    key.zone_hash = zone_hash;
    let side = if view == view::WIRE_INGRESS || view == view::WIRE_EGRESS { 1 } else { 2 };
    // One word for side, transport and padding (see `record::clear_owner`).
    const _: () = assert!(offset_of!(FlowKey, side) == 40 && offset_of!(FlowKey, transport) == 41);
    // SAFETY: the last word of a FlowKey, which is repr(C) with 8-byte alignment.
    unsafe {
        core::ptr::from_mut(key).cast::<u64>().add(5).write_volatile(side | u64::from(frame.transport) << 8);
    }
}

/// The entry of `key`, made if there is none. Its first value comes from read-only memory: it would not fit the stack.
#[inline(always)]
fn find(key: &FlowKey, now: u64) -> Option<*mut FlowValue> {
    if let Some(value) = FLOWS.get_ptr_mut(key) {
        return Some(value);
    }
    // SAFETY: key and value have the map's sizes. If another CPU was first, its entry stays (BPF_NOEXIST).
    unsafe {
        bpf_map_update_elem(
            core::ptr::from_ref(&FLOWS).cast_mut().cast(),
            core::ptr::from_ref(key).cast(),
            (&raw const EMPTY).cast(),
            u64::from(BPF_NOEXIST),
        )
    };
    let value = FLOWS.get_ptr_mut(key)?;
    // SAFETY: a live map value.
    unsafe {
        if (*value).first_ns == 0 {
            (*value).first_ns = now;
        }
    }
    Some(value)
}

static EMPTY: FlowValue = FlowValue {
    first_ns: 0,
    last_ns: 0,
    queries: 0,
    responses: 0,
    query_bytes: 0,
    response_bytes: 0,
    name_len_sum: 0,
    name_len_sq_sum: 0,
    rcode: [0; 4],
    qtype: [0; 4],
    name_len_max: 0,
    tgid: 0,
    zone_len: 0,
    pad: 0,
    zone: [0; FLOW_ZONE],
};

/// The zone's last `FLOW_ZONE` bytes, once for each entry.
#[inline(always)]
fn write_zone(value: &mut FlowValue, what: &Description, message: &[u64; WORDS]) {
    let (end, start) = what.question.name_end_and_zone_start();
    let cut = if start + FLOW_ZONE < end { end - FLOW_ZONE } else { start };
    let len = end.saturating_sub(cut);
    // Bounded once more behind a veil: verifiers before 6.18 do not follow the subtractions above to a number that is
    // safe to add to a pointer, and the compiler would drop a bound that it can prove.
    let first = core::hint::black_box(cut);
    if first > HEADER + MAX_NAME {
        return;
    }
    for at in 0..FLOW_ZONE {
        if at >= len {
            break;
        }
        value.zone[at] = question::byte(message, first + at);
    }
    value.zone_len = len as u32;
}

/// Other CPUs may add to the same flow.
#[inline(always)]
fn add(field: &mut u64, amount: u64) {
    // SAFETY: an aligned u64 in a live map value.
    unsafe { maps::atomic_add(field, amount) };
}

/// See `add`.
#[inline(always)]
fn add32(fields: &mut [u32; 4], index: usize) {
    if index < 4 {
        // SAFETY: an aligned u32 in a live map value, index checked above.
        unsafe { maps::atomic_add(&raw mut fields[index], 1) };
    }
}
