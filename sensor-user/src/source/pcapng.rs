//! pcapng (draft-ietf-opsawg-pcapng): several sections and interfaces, any time resolution; blocks that hold no packet
//! are stepped over.

use super::{
    Emit, Error, Stop, Tally,
    input::Input,
    link,
    pcap::{MAX_FRAME, Order, array},
    send,
};
use crate::event::Event;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// The packet block of before 2009, still written by some.
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Longest block, as in libpcap; a longer one is damage.
const MAX_BLOCK: u32 = 16 << 20;
/// Bytes of an interface description that are looked at; the options that matter are short.
const MAX_DESCRIPTION: u32 = 64 * 1024;
/// Interfaces per section.
const MAX_INTERFACES: usize = 65_536;

const OPTION_END: u16 = 0;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_TIME_OFFSET: u16 = 14;

pub(super) fn is_magic(head: &[u8]) -> bool {
    head.starts_with(&SECTION.to_le_bytes()) && order_of(head.get(8..12).unwrap_or_default()).is_some()
}

pub(super) fn read(input: &mut Input, tally: &mut Tally, emit: &mut Emit<'_>) -> Result<(), Stop> {
    let mut order = Order::Little;
    let mut interfaces: Vec<Interface> = Vec::new();
    while !input.at_end()? {
        let at = input.offset();
        let head = input.peek(12);
        if head.starts_with(&SECTION.to_le_bytes()) {
            let magic = head.get(8..12).unwrap_or_default();
            order = order_of(magic).ok_or_else(|| input.damaged(at, "a section without byte order"))?;
            interfaces.clear();
        } else if at == 0 {
            return Err(Error::Foreign("not a pcapng file".into()).into());
        }
        let head: [u8; 8] = array(input.take(8, at)?);
        let kind = order.u32(&head[0..4]);
        let total = order.u32(&head[4..8]);
        if total < 12 || !total.is_multiple_of(4) || total > MAX_BLOCK {
            return Err(input.damaged(at, format!("a block of {total} bytes")).into());
        }
        let mut block = Block { input, order, at, left: total - 12 };
        match kind {
            INTERFACE => {
                if interfaces.len() == MAX_INTERFACES {
                    return Err(block.damaged("more than 65536 interfaces").into());
                }
                interfaces.push(block.interface()?);
            }
            ENHANCED_PACKET => {
                let fields = block.take(20)?;
                let id = order.u32(&fields[0..4]) as usize;
                let ticks = u64::from(order.u32(&fields[4..8])) << 32 | u64::from(order.u32(&fields[8..12]));
                let (held, original) = (order.u32(&fields[12..16]), order.u32(&fields[16..20]));
                block.packet(&interfaces, id, ticks, held, original, tally, emit)?;
            }
            OLD_PACKET => {
                let fields = block.take(20)?;
                let id = usize::from(order.u16(&fields[0..2]));
                let ticks = u64::from(order.u32(&fields[4..8])) << 32 | u64::from(order.u32(&fields[8..12]));
                let (held, original) = (order.u32(&fields[12..16]), order.u32(&fields[16..20]));
                block.packet(&interfaces, id, ticks, held, original, tally, emit)?;
            }
            SIMPLE_PACKET => {
                let original = order.u32(block.take(4)?);
                let snap = interfaces.first().map_or(0, |interface| interface.snap_len);
                let held = original.min(if snap == 0 { u32::MAX } else { snap }).min(block.left);
                block.packet(&interfaces, 0, 0, held, original, tally, emit)?;
            }
            _ => {}
        }
        let left = block.left;
        input.skip(left.into(), at)?;
        if order.u32(input.take(4, at)?) != total {
            return Err(input.damaged(at, "a block whose two lengths differ").into());
        }
    }
    Ok(())
}

/// What an interface description says that matters here.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u16,
    snap_len: u32,
    resolution: Resolution,
    offset_s: i64,
}

/// `if_tsresol`: how long a tick is.
#[derive(Clone, Copy, Debug)]
enum Resolution {
    /// 10^-n seconds.
    Decimal(u8),
    /// 2^-n seconds.
    Binary(u8),
}

impl Interface {
    /// Unix time in nanoseconds; 0 for times before 1970, the last that fits for those after 2554.
    fn time_ns(&self, ticks: u64) -> u64 {
        let scaled = u128::from(ticks) * 1_000_000_000;
        let nanoseconds = match self.resolution {
            // Units beyond 10^38 are finer than anything 64 bits of ticks could add up to.
            Resolution::Decimal(n) => 10_u128.checked_pow(n.into()).map_or(0, |units| scaled / units),
            Resolution::Binary(n) => scaled.checked_shr(n.into()).unwrap_or(0),
        };
        let nanoseconds = i128::try_from(nanoseconds).unwrap_or(i128::MAX);
        let shifted = nanoseconds.saturating_add(i128::from(self.offset_s) * 1_000_000_000);
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

/// The body of a block, read piece by piece.
struct Block<'a> {
    input: &'a mut Input,
    order: Order,
    /// Offset of the block.
    at: u64,
    /// Bytes of the body not read yet.
    left: u32,
}

impl Block<'_> {
    fn damaged(&self, what: &str) -> Error {
        self.input.damaged(self.at, what)
    }

    fn take(&mut self, len: u32) -> Result<&[u8], Error> {
        if len > self.left {
            return Err(self.damaged("a block shorter than its fields"));
        }
        self.left -= len;
        self.input.take(len as usize, self.at)
    }

    fn interface(&mut self) -> Result<Interface, Error> {
        let order = self.order;
        let fields = self.take(8)?;
        let mut interface = Interface {
            link_type: order.u16(&fields[0..2]),
            snap_len: order.u32(&fields[4..8]),
            resolution: Resolution::Decimal(6),
            offset_s: 0,
        };
        let mut options = self.take(self.left.min(MAX_DESCRIPTION))?;
        while let [a, b, c, d, rest @ ..] = options {
            let (code, len) = (order.u16(&[*a, *b]), usize::from(order.u16(&[*c, *d])));
            let Some(value) = rest.get(..len) else { break };
            match (code, value) {
                (OPTION_END, _) => break,
                (OPTION_TIME_RESOLUTION, [tick, ..]) => {
                    let power = tick & 0x7f;
                    interface.resolution =
                        if tick & 0x80 == 0 { Resolution::Decimal(power) } else { Resolution::Binary(power) };
                }
                (OPTION_TIME_OFFSET, [_, _, _, _, _, _, _, _]) => {
                    interface.offset_s = match order {
                        Order::Little => i64::from_le_bytes(array(value)),
                        Order::Big => i64::from_be_bytes(array(value)),
                    };
                }
                _ => {}
            }
            options = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(interface)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a packet block")]
    fn packet(
        &mut self,
        interfaces: &[Interface],
        id: usize,
        ticks: u64,
        held: u32,
        original: u32,
        tally: &mut Tally,
        emit: &mut Emit<'_>,
    ) -> Result<(), Stop> {
        let Some(interface) = interfaces.get(id) else {
            return Err(self.damaged("a packet of an interface that was not described").into());
        };
        if held > MAX_FRAME {
            return Err(self.damaged("a frame longer than 256 KiB").into());
        }
        let number = interface.link_type;
        let link = link::Link::from_number(number).ok_or(Error::LinkType(number))?;
        let time_ns = interface.time_ns(ticks);
        let frame = self.take(held)?;
        tally.records += 1;
        tally.snapped += u64::from(original > held);
        if let Some(packet) = link::packet(link, frame, time_ns, tally) {
            send(emit, Event::Packet(packet))?;
        }
        Ok(())
    }
}

fn order_of(magic: &[u8]) -> Option<Order> {
    let magic: [u8; 4] = magic.try_into().ok()?;
    [Order::Little, Order::Big].into_iter().find(|order| order.u32(&magic) == BYTE_ORDER_MAGIC)
}
