//! The flow map: counters by (client, server, transport, zone), cheap to find and never keyed by a full name.
//!
//! A flow is in one of the few places of its set; a new one takes a free place, or that of the flow which was quiet for
//! longest.

use sensor_ebpf::abi::{
    CARRY, FLOW_PLACES, FLOW_ZONE, FlowKey, FlowSet, FlowValue, RECENT_BYTES, RECENT_SQUARES, class, counter,
    flag, is_query, view,
};
use sensor_ebpf::describe::{self, Description, WORDS, forget};
use sensor_ebpf::frame::{DNS_PORT, Frame};
use sensor_ebpf::limits::MAX_NAME;
use sensor_ebpf::question::{self, HEADER};

use super::access::Access;
use super::maps::{self, Counters, FLOW_SETS, FLOWS, Slot, option, volatile};

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
    slot: &mut Slot,
    now: u64,
) {
    let to_server = what.flags & flag::TO_SERVER != 0;
    let Some(value) = find::<P>(counters, slot, frame, to_server, what.zone_hash, view, now) else { return };
    // SAFETY: a live map value; it may be given to another flow while we hold it, which can only miscount.
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
    slot: &mut Slot,
    now: u64,
) {
    let to_server = frame.dst_port == DNS_PORT;
    let Some(value) = find::<P>(counters, slot, frame, to_server, 0, view, now) else { return };
    // SAFETY: as in `count`.
    let value = unsafe { &mut *value };
    value.last_ns = now;
    if tgid != 0 {
        value.tgid = tgid;
    }
    add(value, if to_server { class::QUERY } else { class::RESPONSE }, frame.true_len);
}

/// The value of a flow, which is added if there is none.
#[inline(always)]
fn find<P: Access>(
    counters: *mut Counters,
    slot: &mut Slot,
    frame: &Frame,
    to_server: bool,
    zone_hash: u64,
    view: u8,
    now: u64,
) -> Option<*mut FlowValue> {
    let (client, server) = if to_server { (&frame.src, &frame.dst) } else { (&frame.dst, &frame.src) };
    let side = if view == view::WIRE_INGRESS || view == view::WIRE_EGRESS { 1 } else { 2 };
    let side_and_transport = u64::from(side) | u64::from(frame.transport) << 8;
    question::flow_key(client, server, side_and_transport, zone_hash, maps::hash_key, &mut slot.key);
    slot.set = slot.key.set(option!(flow_sets));
    slot.place = FLOW_PLACES as u32;
    forget();
    let set = FLOW_SETS.get_ptr_mut(slot.set)?;
    // SAFETY: a live map value; other CPUs may change it, so it is read by words and volatile.
    let set = unsafe { &mut *set };
    for place in 0..FLOW_PLACES {
        if holds(&set.keys[place], &slot.key) {
            slot.place = place as u32;
            break;
        }
    }
    forget();
    if slot.place < FLOW_PLACES as u32 {
        return FLOWS.get_ptr_mut(value_index(slot));
    }
    // SAFETY: an aligned word of a live map value.
    if !unsafe { maps::claim(&raw mut set.changing) } {
        maps::count_in::<true>(counters, counter::FLOW_FULL);
        return None;
    }
    let value = add_flow(counters, set, slot, |fresh| {
        (fresh.client, fresh.server) = (*client, *server);
        (fresh.side, fresh.transport) = (side, frame.transport);
        fresh.first_ns = now;
    });
    // SAFETY: claimed above.
    unsafe { maps::release(&raw mut set.changing) };
    value
}

/// Number of the slot's value.
#[inline(always)]
fn value_index(slot: &Slot) -> u32 {
    volatile(&slot.set) * FLOW_PLACES as u32 + volatile(&slot.place)
}

#[inline(always)]
fn holds(known: &FlowKey, key: &FlowKey) -> bool {
    volatile(&known.pair) == key.pair && volatile(&known.zone) == key.zone
}

/// Gives the flow a place. The set is claimed.
#[inline(always)]
fn add_flow(
    counters: *mut Counters,
    set: &mut FlowSet,
    slot: &mut Slot,
    fill: impl Fn(&mut FlowValue),
) -> Option<*mut FlowValue> {
    slot.quiet_since = u64::MAX;
    for place in 0..FLOW_PLACES {
        forget();
        let known = &set.keys[place];
        if holds(known, &slot.key) {
            // Another CPU added it before the set was claimed.
            (slot.place, slot.quiet_since) = (place as u32, 0);
            forget();
            break;
        }
        let quiet_since = if volatile(&known.pair) | volatile(&known.zone) == 0 {
            0
        } else {
            let value = FLOWS.get_ptr_mut(volatile(&slot.set) * FLOW_PLACES as u32 + place as u32)?;
            // SAFETY: a live map value.
            unsafe { volatile(&(*value).last_ns) }
        };
        if quiet_since < slot.quiet_since {
            (slot.place, slot.quiet_since) = (place as u32, quiet_since);
        }
    }
    forget();
    let place = describe::hidden(slot.place as usize);
    if place >= FLOW_PLACES {
        return None;
    }
    let known = &mut set.keys[place];
    let value = FLOWS.get_ptr_mut(value_index(slot))?;
    if holds(known, &slot.key) {
        return Some(value);
    }
    if volatile(&known.pair) | volatile(&known.zone) != 0 {
        maps::count_in::<true>(counters, counter::FLOW_EVICTED);
    }
    let (pair, zone) = (&raw mut known.pair, &raw mut known.zone);
    // SAFETY: live map values, and words of them; nobody finds the place by its key until the last line, and who found it
    // before can only miscount. Volatile, so that the order stays, and because bpf-linker would make a call of a loop over
    // bytes out of it.
    unsafe {
        pair.write_volatile(0);
        zone.write_volatile(0);
        for word in 0..size_of::<FlowValue>() / 8 {
            value.cast::<u64>().add(word).write_volatile(0);
        }
        fill(&mut *value);
        forget();
        zone.write_volatile(slot.key.zone);
        pair.write_volatile(slot.key.pair);
    }
    Some(value)
}

/// The zone's last `FLOW_ZONE` bytes, once for each entry.
#[inline(always)]
fn write_zone(value: &mut FlowValue, what: &Description, message: &[u64; WORDS]) {
    let (end, start) = what.question.name_end_and_zone_start();
    let cut = if start + FLOW_ZONE < end { end - FLOW_ZONE } else { start };
    let len = describe::bounded(end.wrapping_sub(cut));
    // Bounded once more behind a veil: verifiers before 6.18 do not follow the subtractions above to a number that is
    // safe to add to a pointer, and the compiler would drop a bound that it can prove.
    let first = describe::hidden(cut);
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
    let class = describe::hidden(class);
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
