//! pcap (draft-ietf-opsawg-pcap): both byte orders, microseconds and nanoseconds.

use super::{Emit, Error, Stop, Tally, input::Input, link, send};
use crate::event::Event;

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// libpcap's MAXIMUM_SNAPLEN for the link types that are read; a longer record is damage.
pub(super) const MAX_FRAME: u32 = 262_144;

pub(super) fn is_magic(head: &[u8]) -> bool {
    head.first_chunk().and_then(|magic| layout(*magic)).is_some()
}

pub(super) fn read(input: &mut Input, tally: &mut Tally, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let header: [u8; 24] = array(input.take(24, 0)?);

    let Some((order, nanoseconds)) = layout(array(&header)) else {
        return Err(Error::Foreign("not a pcap file".into()).into());
    };
    // The upper half of the field holds the length of the frame check sequence.
    let number = (order.u32(&header[20..24]) & 0xffff) as u16;
    let link = link::Link::from_number(number).ok_or(Error::LinkType(number))?;
    while !input.at_end()? {
        let at = input.offset();
        let head: [u8; 16] = array(input.take(16, at)?);
        let seconds = order.u32(&head[0..4]);
        let fraction = order.u32(&head[4..8]);
        let held = order.u32(&head[8..12]);
        let original = order.u32(&head[12..16]);
        if held > MAX_FRAME {
            return Err(input.damaged(at, format!("a frame of {held} bytes")).into());
        }
        let time_ns =
            u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * if nanoseconds { 1 } else { 1000 };
        let frame = input.take(held as usize, at)?;
        tally.records += 1;
        tally.snapped += u64::from(original > held);
        if let Some(packet) = link::packet(link, frame, time_ns, tally) {
            send(emit, Event::Packet(packet))?;
        }
    }
    Ok(())
}

/// Byte order of a capture's integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The integer in the first two bytes.
    pub(super) fn u16(self, bytes: &[u8]) -> u16 {
        let bytes = array(bytes);
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The integer in the first four bytes.
    pub(super) fn u32(self, bytes: &[u8]) -> u32 {
        let bytes = array(bytes);
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// The first `N` bytes of a slice that is known to hold them; zeros where it does not.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn layout(magic: [u8; 4]) -> Option<(Order, bool)> {
    [Order::Little, Order::Big].into_iter().find_map(|order| match order.u32(&magic) {
        MICROSECONDS => Some((order, false)),
        NANOSECONDS => Some((order, true)),
        _ => None,
    })
}
