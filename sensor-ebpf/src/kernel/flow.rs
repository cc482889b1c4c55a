//! The flow map: counters by (client, server, transport, zone), cheap to find and never keyed by a full name.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_map_update_elem;
use sensor_ebpf::abi::{
    CARRY, FLOW_ZONE, FlowKey, FlowValue, RECENT_BYTES, RECENT_SQUARES, class, counter, flag, is_query, view,
};
use sensor_ebpf::describe::{self, Description, WORDS};
use sensor_ebpf::frame::{DNS_PORT, Frame};
use sensor_ebpf::limits::MAX_NAME;
use sensor_ebpf::question::{self, HEADER};

use super::access::Access;
use super::maps::{self, Counters, FLOWS, volatile};

/// Packets in a word of `FlowValue::recent` at which it is carried over. There is room for a hundred times as many, if
/// another run holds that up.
const FULL: u64 = 2 * CARRY;

/// Counts a UDP message.
#[inline(always)]
pub(crate) fn count<P: Access>(
    counters: *mut Counters,
    frame: &Frame,
    what: &Description,
    view: u8,
    tgid: u32,
    message: &[u64; WORDS],
    key: &mut FlowKey,
    now: u64,
) {
    let to_server = what.flags & flag::TO_SERVER != 0;
    let Some(value) = find::<P>(counters, key, frame, to_server, what.zone_hash, view, now) else { return };
    // SAFETY: a live map value; an LRU map may give it to another key while we hold it, which can only miscount.
    let value = unsafe { &mut *value };
    value.last_ns = now;
    let name_len = u64::from(what.question.name_len);
    if to_server {
        if name_len != 0 {
            let names = name_len << RECENT_SQUARES | name_len * name_len;
            // SAFETY: an aligned u64 in a live map value.
            unsafe { maps::atomic_add(&raw mut value.recent_names, names) };
            if value.name_len_max < name_len as u32 {
                value.name_len_max = name_len as u32;
            }
            add(value, class::QTYPE + describe::qtype_class(what.question.qtype), frame.true_len);
        } else {
            add(value, class::QUERY, frame.true_len);
        }
        if tgid != 0 {
            value.tgid = tgid;
        }
    } else {
        add(value, class::RCODE + describe::rcode_class(what.rcode), frame.true_len);
    }
    if value.zone_len == 0 && name_len > 1 {
        write_zone(value, what, message);
    }
}

/// Counts a TCP segment or a GSO burst, whose zones user space knows.
#[inline(always)]
pub(crate) fn count_segment<P: Access>(
    counters: *mut Counters,
    frame: &Frame,
    view: u8,
    tgid: u32,
    key: &mut FlowKey,
    now: u64,
) {
    let to_server = frame.dst_port == DNS_PORT;
    let Some(value) = find::<P>(counters, key, frame, to_server, 0, view, now) else { return };
    // SAFETY: as in `count`.
    let value = unsafe { &mut *value };
    value.last_ns = now;
    if tgid != 0 {
        value.tgid = tgid;
    }
    add(value, if to_server { class::QUERY } else { class::RESPONSE }, frame.true_len);
}

/// The entry of a flow, made if there is none. Its first value comes from read-only memory: it would not fit the stack.
#[inline(always)]
fn find<P: Access>(
    counters: *mut Counters,
    key: &mut FlowKey,
    frame: &Frame,
    to_server: bool,
    zone_hash: u64,
    view: u8,
    now: u64,
) -> Option<*mut FlowValue> {
    let (client, server) = if to_server { (&frame.src, &frame.dst) } else { (&frame.dst, &frame.src) };
    let side = if view == view::WIRE_INGRESS || view == view::WIRE_EGRESS { 1 } else { 2 };
    let side_and_transport = u64::from(side) | u64::from(frame.transport) << 8;
    question::flow_key(client, server, side_and_transport, zone_hash, maps::hash_key, key);
    let key = &*key;
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
    let Some(value) = FLOWS.get_ptr_mut(key) else {
        maps::count_in::<true>(counters, counter::FLOW_FULL);
        return None;
    };
    // SAFETY: a live map value. Two CPUs that find it fresh write the same.
    let fresh = unsafe { &mut *value };
    if fresh.first_ns == 0 {
        (fresh.client, fresh.server) = (*client, *server);
        (fresh.side, fresh.transport) = (side, frame.transport);
        fresh.first_ns = now;
    }
    Some(value)
}

static EMPTY: FlowValue = FlowValue {
    first_ns: 0,
    last_ns: 0,
    recent: [0; class::COUNT],
    recent_names: 0,
    query_bytes: 0,
    response_bytes: 0,
    name_len_sum: 0,
    name_len_sq_sum: 0,
    carrying: 0,
    carried: [0; class::COUNT],
    client: [0; 16],
    server: [0; 16],
    name_len_max: 0,
    tgid: 0,
    zone_len: 0,
    side: 0,
    transport: 0,
    pad: [0; 2],
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

/// One packet more of a class. Other CPUs may add to the same flow.
#[inline(always)]
fn add(value: &mut FlowValue, class: usize, bytes: u32) {
    // Hidden, so that the bound stays in the code where the verifier sees it.
    let class = core::hint::black_box(class);
    if class >= class::COUNT {
        return;
    }
    // SAFETY: an aligned u64 in a live map value, index checked above.
    unsafe { maps::atomic_add(&raw mut value.recent[class], 1 << RECENT_BYTES | u64::from(bytes)) };
    if volatile(&value.recent[class]) >= FULL << RECENT_BYTES {
        carry(value, class);
    }
}

/// Moves what a word has counted to the sums. One run at a time (`maps::claim`), or two would take the same away; one
/// that finds another at it leaves it to the next packet.
#[inline(always)]
fn carry(value: &mut FlowValue, class: usize) {
    const BYTES: u64 = (1 << RECENT_BYTES) - 1;
    const SQUARES: u64 = (1 << RECENT_SQUARES) - 1;
    // SAFETY: aligned fields of a live map value.
    unsafe {
        if !maps::claim(&raw mut value.carrying) {
            return;
        }
        let recent = volatile(&value.recent[class]);
        let units = (recent >> RECENT_BYTES) / CARRY;
        let bytes = recent & BYTES;
        maps::atomic_add(&raw mut value.carried[class], units as u32);
        let sum = if is_query(class) { &raw mut value.query_bytes } else { &raw mut value.response_bytes };
        maps::atomic_add(sum, bytes);
        let moved = units * CARRY << RECENT_BYTES | bytes;
        maps::atomic_add(&raw mut value.recent[class], moved.wrapping_neg());
        let names = volatile(&value.recent_names);
        maps::atomic_add(&raw mut value.name_len_sum, names >> RECENT_SQUARES);
        maps::atomic_add(&raw mut value.name_len_sq_sum, names & SQUARES);
        maps::atomic_add(&raw mut value.recent_names, names.wrapping_neg());
        maps::release(&raw mut value.carrying);
    }
}
