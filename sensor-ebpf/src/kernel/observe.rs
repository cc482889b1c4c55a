//! What every hook does with a packet: find the DNS payload, copy it once, describe it, count it, send the record.

use core::mem::offset_of;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use aya_ebpf::maps::RingBuf;
use sensor_ebpf::abi::{CAP_QUERY, CAP_RESPONSE, Owner, RecordHeader, counter, feature, flag, kind, view};
use sensor_ebpf::describe::{self, WORDS, forget, zero};
use sensor_ebpf::frame::{Frame, Link, Located, TCP, min};
use sensor_ebpf::limits::MAX_DIRECT;
use sensor_ebpf::novelty::{Speaker, hook};
use sensor_ebpf::plain::{Outlook, Plain};
use sensor_ebpf::record;

use super::access::{Access, HOST_LINK, WIRE_LINK};
use super::maps::{
    self, Counters, HOST_SCRATCH, HOST_SLOTS, RING_ALERT, RING_BULK, Scratch, WIRE_SCRATCH, option, volatile,
};
use super::{flow, loopback, novelty, owner};

/// XDP, tc and tcx.
#[inline(always)]
pub(crate) fn wire<P: Access>(packet: &P, view: u8) {
    let slot = u32::from(view == view::WIRE_EGRESS);
    // SAFETY: a live map value of this CPU; bottom halves are off in these hooks, so nobody else has it.
    let scratch = || unsafe { WIRE_SCRATCH.get_ptr_mut(slot).map(|scratch| &mut *scratch) };
    let (counters, scratch) = match packet.plain(WIRE_LINK) {
        Outlook::NotDns => return,
        Outlook::Dns(plain) => {
            let Some(counters) = seen::<P>() else { return };
            let Some(scratch) = scratch() else { return };
            write_plain(packet, &plain, &mut scratch.frame);
            (counters, scratch)
        }
        Outlook::Unclear => {
            let Some((located, counters)) = locate(packet, WIRE_LINK) else { return };
            let Some(scratch) = scratch() else { return };
            if !complete(packet, counters, &located, &mut scratch.frame) {
                return;
            }
            (counters, scratch)
        }
    };
    forget();
    capture(packet, counters, view, scratch);
}

/// cgroup_skb.
#[inline(always)]
pub(crate) fn host<P: Access>(packet: &P, view: u8) {
    at_socket(packet, HOST_LINK, view, Sender::Cgroup);
}

/// tc and tcx egress of a host: what no cgroup hook sees, which is packets of AF_PACKET sockets and of no socket at all.
/// Without cgroup2, all that leaves.
#[inline(always)]
pub(crate) fn device<P: Access>(packet: &P) {
    let Some(ip) = packet.sender() else { return };
    if ip && option!(features) & feature::ALL_SOCKETS == 0 {
        return;
    }
    at_socket(packet, WIRE_LINK, view::HOST_EGRESS, Sender::Device { ip });
}

/// Where a packet's owner is asked for. A value, since a closure would become a function of its own, called for 10 ns and
/// more.
#[derive(Clone, Copy)]
enum Sender {
    Cgroup,
    Device { ip: bool },
}

#[inline(always)]
fn at_socket<P: Access>(packet: &P, link: Link, view: u8, sender: Sender) {
    // At devices only what no cgroup hook sees is ours, which is rare, and two ways are a longer walk for the verifier.
    let outlook = match sender {
        Sender::Cgroup => packet.plain(link),
        Sender::Device { .. } => Outlook::Unclear,
    };
    let (located, counters) = match outlook {
        Outlook::NotDns => return,
        Outlook::Dns(_) => (None, seen::<P>()),
        Outlook::Unclear => match locate(packet, link) {
            Some((located, counters)) => (Some(located), Some(counters)),
            None => return,
        },
    };
    let Some(counters) = counters else { return };
    let Some(scratch) = free_scratch() else { return count::<P>(counters, counter::SKIP_BUSY) };
    // SAFETY: a live map value; claimed, nobody else uses this slot until it is released.
    let held = unsafe { &mut *scratch };
    let complete = match (outlook, located) {
        (Outlook::Dns(plain), _) => {
            write_plain(packet, &plain, &mut held.frame);
            true
        }
        (_, Some(located)) => complete(packet, counters, &located, &mut held.frame),
        _ => false,
    };
    forget();
    if complete && view == view::HOST_INGRESS && loopback::arrives(packet, &held.frame) {
        count::<P>(counters, counter::REPEAT_LOOPBACK);
    } else if complete {
        match sender {
            Sender::Cgroup => owner::of_packet(packet, view, held),
            Sender::Device { ip } => owner::of_frame(packet, ip, held),
        }
        zero(&mut held.told);
        capture(packet, counters, view, held);
        if view == view::HOST_EGRESS && volatile(&held.told) != 0 {
            loopback::left(packet, held);
        }
    }
    // SAFETY: as above.
    unsafe { maps::release(&raw mut (*scratch).busy) };
}

/// Counts a packet as seen.
#[inline(always)]
fn seen<P: Access>() -> Option<*mut Counters> {
    let counters = maps::counters()?;
    count::<P>(counters, counter::SEEN);
    Some(counters)
}

/// A packet that is ours to look at is counted as seen, and so is one that hides whether it is. The rest leaves here.
#[inline(always)]
fn locate<P: Access>(packet: &P, link: Link) -> Option<(Located, *mut Counters)> {
    // What is known of the packet by now is asked for again, so that all ways here are one to the verifier.
    forget();
    match packet.locate(link) {
        Ok(located) => Some((located, seen::<P>()?)),
        Err(skip) => {
            if let Some(reason) = skip.counter() {
                count::<P>(seen::<P>()?, reason);
            }
            None
        }
    }
}

/// What a scratch holds between header and message.
trait Between {
    /// The owner's tgid, 0 where there is none.
    fn tgid(&self) -> u32;
    /// `novelty::Speaker::process`.
    fn process(&self) -> [u64; 4];
    /// `Owner::netns`.
    fn netns(&self) -> u32;
}

impl Between for () {
    #[inline(always)]
    fn tgid(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn process(&self) -> [u64; 4] {
        [0; 4]
    }

    #[inline(always)]
    fn netns(&self) -> u32 {
        0
    }
}

impl Between for Owner {
    #[inline(always)]
    fn tgid(&self) -> u32 {
        self.tgid
    }

    /// With its name, which changes when it runs another program.
    #[inline(always)]
    fn process(&self) -> [u64; 4] {
        const { assert!(offset_of!(Owner, comm).is_multiple_of(8)) };
        let comm = self.comm.as_ptr().cast::<u64>();
        // SAFETY: both words of `comm`, which lies at a multiple of eight.
        let [name, rest] = unsafe { [comm.read(), comm.add(1).read()] };
        [u64::from(self.tgid), self.start_boot_ns, name, rest]
    }

    #[inline(always)]
    fn netns(&self) -> u32 {
        self.netns
    }
}

/// Writes the frame; a packet that ends too early after all is counted.
#[inline(always)]
fn complete<P: Access>(packet: &P, counters: *mut Counters, located: &Located, frame: &mut Frame) -> bool {
    if packet.complete(located, frame).is_err() {
        count::<P>(counters, counter::SKIP_TRUNCATED);
        return false;
    }
    tagged(packet, frame);
    true
}

/// See `complete`.
#[inline(always)]
fn write_plain<P: Access>(packet: &P, plain: &Plain, frame: &mut Frame) {
    plain.write(frame);
    tagged(packet, frame);
}

#[inline(always)]
fn tagged<P: Access>(packet: &P, frame: &mut Frame) {
    if let Some(stripped) = packet.stripped_vlan() {
        frame.vlan = [stripped, frame.vlan[0]];
    }
}

/// A slot of this CPU that no run below this one has.
#[inline(always)]
fn free_scratch() -> Option<*mut Scratch<Owner>> {
    for slot in 0..HOST_SLOTS {
        let scratch = HOST_SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: a live map value; only the claim is shared, and it is atomic.
        if unsafe { maps::claim(&raw mut (*scratch).busy) } {
            return Some(scratch);
        }
    }
    None
}

/// From a frame to counters and records. The owner is in the scratch already.
#[inline(always)]
fn capture<P: Access, O: Between>(packet: &P, counters: *mut Counters, view: u8, scratch: &mut Scratch<O>) {
    let Scratch { frame, description, slot, noted, told, header, owner, message, .. } = scratch;
    let features = option!(features);
    let now = now();
    if frame.transport == TCP || packet.gso_size() != 0 {
        return burst(packet, counters, view, now, scratch);
    }
    let len = describe::cap(frame);
    if len == 0 {
        // UDP without payload is no message; there is nothing more to see.
        return count::<P>(
            counters,
            if frame.cap_len == frame.true_len { counter::SKIP_EMPTY } else { counter::SKIP_TRUNCATED },
        );
    }
    header.cap_len = len;
    if !load::<P, true>(packet, frame.payload, &header.cap_len, message) {
        return count::<P>(counters, counter::SKIP_LOAD_FAILED);
    }
    let len = volatile(&header.cap_len);
    describe::describe(frame, message, len as usize, features, maps::hash_key, description);
    if features & feature::FLOW != 0 {
        flow::count::<P>(counters, frame, description, view, owner.tgid(), message, slot, now);
    }
    if features & feature::RECORD == 0 {
        return count::<P>(counters, counter::SKIP_RECORD_OFF);
    }
    let ifindex = packet.ifindex();
    if features & feature::NOVELTY != 0 && maps::control() != 0 {
        let hook = hook(view, ifindex, owner.netns());
        let speaker = Speaker { hook, process: owner.process() };
        let kept = novelty::keeps_back(counters, frame, description, &speaker, message, noted, now);
        forget();
        if let Some(kept) = kept {
            if view == view::HOST_EGRESS {
                *told = 1;
            }
            return count::<P>(counters, kept);
        }
    }
    let len = volatile(&header.cap_len);
    let fill = |to: &mut RecordHeader| {
        record::fill(to, frame, description, view);
        to.cap_len = len;
        to.time_ns = now;
        to.ifindex = ifindex;
    };
    let alert = description.flags & flag::ALERT != 0;
    let sent = if len <= SHORT {
        put(alert, |ring| reserved::<O, SHORT>(ring, fill, owner, message, len))
    } else if len <= LONG {
        put(alert, |ring| reserved::<O, LONG>(ring, fill, owner, message, len))
    } else {
        fill(header);
        put(alert, |ring| output::<O>(ring, header, len))
    };
    if features & feature::NOVELTY != 0 && !sent && maps::control() != 0 {
        novelty::unsaid(noted);
    }
    if view == view::HOST_EGRESS && sent {
        *told = 1;
    }
    count_sent::<P>(counters, sent, alert);
}

/// TCP segments, and GSO bursts of UDP: one record for each datagram, or for each `CAP_RESPONSE` bytes of a stream.
/// User space reassembles and parses.
#[inline(always)]
fn burst<P: Access, O: Between>(
    packet: &P,
    counters: *mut Counters,
    view: u8,
    now: u64,
    scratch: &mut Scratch<O>,
) {
    let Scratch { frame, description, slot, step, header, owner, message, .. } = scratch;
    let tcp = frame.transport == TCP;
    let features = option!(features);
    if features & feature::FLOW != 0 {
        flow::count_segment::<P>(counters, frame, view, owner.tgid(), slot, now);
    }
    if features & feature::RECORD == 0 {
        return count::<P>(counters, counter::SKIP_RECORD_OFF);
    }
    let opens_or_ends = frame.flags & (flag::TCP_SYN | flag::TCP_FIN | flag::TCP_RST) != 0;
    if frame.cap_len == 0 && !opens_or_ends {
        return count::<P>(counters, if tcp { counter::SKIP_TCP_ACK } else { counter::SKIP_EMPTY });
    }
    let (kind, flags) = if tcp { (kind::SEGMENT, 0) } else { (kind::MESSAGE, flag::GSO | flag::ALERT) };
    describe::unparsed(frame, kind, flags, description);
    forget();
    record::fill(header, frame, description, view);
    header.time_ns = now;
    header.ifindex = packet.ifindex();
    *step = if tcp { CAP_RESPONSE as u32 } else { packet.gso_size() };
    for round in 0..P::CHUNKS {
        // What is left is kept in `frame`, in memory: rounds look alike to the verifier then.
        forget();
        if round != 0 {
            count::<P>(counters, counter::EXTRA);
        }
        header.true_len = min(frame.true_len, *step);
        forget();
        header.cap_len = min(min(frame.cap_len, header.true_len), CAP_RESPONSE as u32);
        forget();
        if header.cap_len != 0 && !load::<P, false>(packet, frame.payload, &header.cap_len, message) {
            return count::<P>(counters, counter::SKIP_LOAD_FAILED);
        }
        forget();
        // Read again, so that the verifier does not walk the rounds once for each transport.
        let alert = volatile(&frame.transport) != TCP;
        let sent = put(alert, |ring| output::<O>(ring, header, header.cap_len));
        count_sent::<P>(counters, sent, alert);
        forget();
        let done = header.true_len;
        if done == 0 || frame.cap_len <= done {
            return;
        }
        frame.payload += done;
        frame.true_len -= done;
        frame.cap_len -= done;
        if volatile(&frame.transport) == TCP {
            header.tcp_seq = header.tcp_seq.wrapping_add(done);
        }
    }
    count::<P>(counters, counter::CHUNKS_CUT);
}

/// Copies payload into the scratch message (see `Access::copy`). `DIRECT`: tries linear memory first.
#[inline(always)]
fn load<P: Access, const DIRECT: bool>(
    packet: &P,
    offset: u32,
    len: &u32,
    message: &mut [u64; WORDS],
) -> bool {
    let to = message.as_mut_ptr();
    // SAFETY: `message` has CAP_RESPONSE bytes.
    if DIRECT && unsafe { packet.linear().copy::<MAX_DIRECT>(offset, to, len) } {
        return true;
    }
    // SAFETY: as above.
    unsafe { packet.copy(offset, to, len) }
}

#[inline(always)]
fn count_sent<P: Access>(counters: *mut Counters, sent: bool, alert: bool) {
    count::<P>(
        counters,
        match (sent, alert) {
            (true, _) => counter::DELIVERED,
            (false, true) => counter::LOST_ALERT,
            (false, false) => counter::LOST_BULK,
        },
    );
}

/// Room for the message in the entries of `reserved`: an ordinary query with EDNS, and the longest name with its.
const SHORT: u32 = 64;
/// See `SHORT`.
const LONG: u32 = 320;

/// A record for the small ring that finds it full may still find room in the large one.
#[inline(always)]
fn put(alert: bool, into: impl Fn(&RingBuf) -> bool) -> bool {
    alert && into(&RING_ALERT) || into(&RING_BULK)
}

/// Writes a record into an entry that has room for `ROOM` bytes of message: the header straight, the rest by words.
/// `bpf_ringbuf_output` takes any length, but twice the time: its copy begins slowly.
#[inline(always)]
fn reserved<O, const ROOM: u32>(
    ring: &RingBuf,
    fill: impl Fn(&mut RecordHeader),
    owner: &O,
    message: &[u64; WORDS],
    len: u32,
) -> bool {
    /// Words copied between two looks at whether that was all.
    const BLOCK: usize = 8;
    const { assert!(ROOM <= SHORT || (ROOM as usize).is_multiple_of(BLOCK * 8)) };
    let before = const { head::<O>() };
    // SAFETY: a live map. The size is a constant, as the helper wants it.
    let entry = unsafe {
        bpf_ringbuf_reserve(
            core::ptr::from_ref(ring).cast_mut().cast(),
            const { (head::<O>() + ROOM as usize) as u64 },
            0,
        )
    };
    if entry.is_null() {
        return false;
    }
    // SAFETY: the entry begins with room for a header, aligned to eight; any bytes are a value of it.
    fill(unsafe { &mut *entry.cast::<RecordHeader>() });
    let copy = |from: *const u64, to: usize, words: usize| {
        for word in 0..words {
            // SAFETY: the entry has room for header, owner and message, which are each as long as what is copied of
            // them. Volatile, or the loop becomes a call of one over bytes.
            unsafe {
                entry.cast::<u64>().byte_add(to).add(word).write(from.add(word).read_volatile());
            }
        }
    };
    copy(core::ptr::from_ref(owner).cast(), size_of::<RecordHeader>(), size_of::<O>() / 8);
    let words = ROOM as usize / 8;
    let block = if ROOM > SHORT { BLOCK } else { words };
    for first in 0..words / block {
        let first = first * block;
        if first * 8 >= len as usize {
            break;
        }
        // SAFETY: `first` is below the words of the message.
        copy(unsafe { message.as_ptr().add(first) }, before + first * 8, block);
    }
    // SAFETY: `entry` was reserved above and is not used from here on.
    unsafe { bpf_ringbuf_submit(entry, u64::from(BPF_RB_NO_WAKEUP)) };
    true
}

/// The record from scratch memory, of any length.
#[inline(always)]
fn output<O>(ring: &RingBuf, header: &RecordHeader, len: u32) -> bool {
    // Hidden, so that what is checked is what is passed on: the compiler would check `len` and the verifier would not
    // know then what that says about the sum.
    let size = describe::hidden(const { head::<O>() } + len as usize) as u64;
    if size > const { (head::<O>() + CAP_RESPONSE) as u64 } {
        return false;
    }
    // SAFETY: header and message are contiguous (asserted below), and `size` is at most theirs.
    unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(ring).cast_mut().cast(),
            core::ptr::from_ref(header).cast_mut().cast(),
            size,
            u64::from(BPF_RB_NO_WAKEUP),
        ) == 0
    }
}

/// Bytes before the message, in scratch memory as in the ring.
const fn head<O>() -> usize {
    let head = size_of::<RecordHeader>() + size_of::<O>();
    assert!(offset_of!(Scratch<O>, message) == offset_of!(Scratch<O>, header) + head);
    head
}

const _: () = assert!(WORDS * 8 == CAP_RESPONSE && CAP_QUERY <= CAP_RESPONSE);

/// Counts for the hook of `P`.
#[inline(always)]
fn count<P: Access>(counters: *mut Counters, index: u32) {
    if P::ATOMIC { maps::count_in::<true>(counters, index) } else { maps::count_in::<false>(counters, index) }
}

/// CLOCK_MONOTONIC: user space adds how long the machine slept (`clock::KernelClock`).
#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}
