//! A message over loopback passes its sender's socket and, at once, its receiver's. What was told where it left is counted
//! where it arrives, and told no second time (sensor-user/docs/adr/0019-loopback-once.md).
//!
//! Of a packet on its way both hooks know the same: ends, length and how the message begins. The hook that it leaves by
//! has all of that in a place which these choose; the one that takes it in looks there, and takes it out. So one packet is
//! left out for one that was told, and what only arrives (an AF_PACKET socket can make that) is told as ever.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use sensor_ebpf::abi::Owner;
use sensor_ebpf::describe::forget;
use sensor_ebpf::frame::{Frame, TCP};
use sensor_ebpf::question::address;

use super::access::Access;
use super::maps::{LEFT, Scratch, volatile};

/// Packets on their way that can be told apart; one that meets another's place is told twice.
pub(crate) const PLACES: u32 = 1024;

/// Ticks of the kernel's clock (1 to 10 ms each) that a packet may be on its way: what was dropped there is not waited for.
const MOST_TICKS: u64 = 100;

/// Linux gives this index to the loopback device of every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// A packet on its way.
#[repr(C)]
pub(crate) struct Left {
    is: [u64; WORDS],
    /// When it left; 0 where there is none.
    ticks: u64,
}

/// Both addresses, of which the rest is the same for all; ports and length; the message's first 16 bytes.
const WORDS: usize = 5;
/// Bytes of the message among them.
const BEGIN: u32 = 16;

/// Whether it may be known where it arrives: a datagram from a loopback address to one.
#[inline(always)]
fn is_between_sockets<P: Access>(packet: &P, frame: &Frame) -> bool {
    let ([src, src_end], [dst, dst_end]) = (address(&frame.src), address(&frame.dst));
    src | dst == 0
        && is_loopback(src_end)
        && is_loopback(dst_end)
        && frame.cap_len >= BEGIN
        && frame.transport != TCP
        && packet.ifindex() == LOOPBACK
}

/// 127.0.0.0/8 as it is mapped, or ::1, by the last eight bytes.
#[inline(always)]
const fn is_loopback(end: u64) -> bool {
    const V4: u64 = 0x7f_ffff_0000;
    const V6: u64 = 1 << 56;
    end & 0xff_ffff_ffff == V4 || end == V6
}

#[inline(always)]
const fn ports_and_len(frame: &Frame) -> u64 {
    (frame.src_port as u64) << 48 | (frame.dst_port as u64) << 32 | frame.true_len as u64
}

#[inline(always)]
fn place(frame: &Frame, begin: u64) -> Option<&'static mut Left> {
    // Ports and id are what differs from one packet to the next.
    let mixed = (ports_and_len(frame) ^ begin).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let left = LEFT.get_ptr_mut(mixed as u32 % PLACES)?;
    // SAFETY: a live map value of words; where CPUs mix two packets up, neither is known again, and both are told twice.
    Some(unsafe { &mut *left })
}

/// Notes a packet that was told where it left. All of it is in memory: what a path to here knows is of no use to the
/// verifier.
#[inline(always)]
pub(crate) fn left<P: Access>(packet: &P, held: &Scratch<Owner>) {
    forget();
    let Scratch { frame, message, .. } = held;
    if !is_between_sockets(packet, frame) {
        return;
    }
    let Some(left) = place(frame, message[0]) else { return };
    left.is = [address(&frame.src)[1], address(&frame.dst)[1], ports_and_len(frame), message[0], message[1]];
    // SAFETY: a helper without arguments.
    left.ticks = unsafe { bpf_jiffies64() };
}

/// Whether a packet that arrives was told where it left, for which it is taken out.
#[inline(always)]
pub(crate) fn arrives<P: Access>(packet: &P, frame: &Frame) -> bool {
    forget();
    if !is_between_sockets(packet, frame) {
        return false;
    }
    let Some([begin, next]) = packet.linear().begin(frame.payload) else { return false };
    let Some(left) = place(frame, begin) else { return false };
    let other = left.is[0] ^ address(&frame.src)[1]
        | left.is[1] ^ address(&frame.dst)[1]
        | left.is[2] ^ ports_and_len(frame)
        | left.is[3] ^ begin
        | left.is[4] ^ next;
    let since = volatile(&left.ticks);
    // SAFETY: a helper without arguments.
    let ticks = unsafe { bpf_jiffies64() };
    if other != 0 || since == 0 || ticks.wrapping_sub(since) > MOST_TICKS {
        return false;
    }
    left.ticks = 0;
    true
}
