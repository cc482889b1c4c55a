//! One direction of a connection: sequence space, and the length prefixes in it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use sensor_ebpf::abi::Owner;

use super::{HEADER, Settings, Stats, sender};

/// Segments kept beyond a missing one.
const MAX_AHEAD: usize = 64;
/// Memory of an early segment beside its bytes: map entry, `Bytes`, owner and allocation.
const AHEAD_COST: usize = 96 + size_of::<Owner>();
/// How far a segment may lie from what is expected: the largest window without scaling is 64 KiB, and scaled ones of
/// DNS servers stay under a few MiB. Beyond, the stream is taken up anew.
const MAX_DISTANCE: i64 = 4 << 20;

/// A message as far as it came.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// By its prefix.
    pub(super) true_len: u32,
    /// Sequence number of its first byte.
    pub(super) sequence: u32,
    /// Of its bytes.
    pub(super) owner: Owner,
}

/// A segment's payload.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) payload: Bytes,
    /// Bytes on the wire.
    pub(super) true_len: u32,
    pub(super) owner: Owner,
}

pub(super) type Out<'a> = dyn FnMut(Piece, &mut Stats) + 'a;

#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Position of the next byte expected. Positions are sequence numbers unwrapped to 64 bits.
    next: Option<u64>,
    /// Where the stream began, if a SYN or a first segment said so.
    first: Option<u32>,
    /// It is known where messages begin: `partial` and `skip` end at `next`.
    framed: bool,
    /// The incomplete message, prefix included.
    partial: BytesMut,
    /// Who sent what is in it, where it is not empty.
    partial_owner: Option<Owner>,
    /// Bytes still to come of a message that was given up.
    skip: u64,
    /// Segments beyond a missing one, by position.
    ahead: BTreeMap<u64, Segment>,
    ahead_bytes: usize,
    /// When the missing one was first missed.
    ahead_since_ns: u64,
}

impl Stream {
    /// Memory held, roughly: bytes, and what it takes to keep each early segment.
    pub(super) fn held(&self) -> usize {
        self.partial.len() + self.ahead_bytes + self.ahead.len() * AHEAD_COST
    }

    /// True where a SYN with this number would open another stream than this one.
    pub(super) fn starts_elsewhere(&self, sequence: u32) -> bool {
        self.first.is_some_and(|first| first != sequence.wrapping_add(1))
    }

    /// A SYN: the first message begins behind it.
    pub(super) fn open(&mut self, sequence: u32) {
        if self.next.is_none() {
            self.begin(sequence.wrapping_add(1));
            self.framed = true;
        }
    }

    fn begin(&mut self, sequence: u32) {
        self.first = Some(sequence);
        // Room below, for segments from before the beginning.
        self.next = Some((1 << 33) + u64::from(sequence));
    }

    /// Takes a segment.
    pub(super) fn push(
        &mut self,
        sequence: u32,
        segment: Segment,
        now_ns: u64,
        settings: &Settings,
        stats: &mut Stats,
        out: &mut Out<'_>,
    ) {
        if self.next.is_none() {
            self.begin(sequence);
        }
        let mut next = self.next.unwrap_or_default();
        let mut distance = i64::from(sequence.wrapping_sub(next as u32).cast_signed());
        if distance.abs() > MAX_DISTANCE {
            self.flush(settings, stats, out);
            stats.gaps += 1;
            self.framed = false;
            self.skip = 0;
            self.begin(sequence);
            next = self.next.unwrap_or_default();
            distance = 0;
        }
        let at = next.saturating_add_signed(distance);
        if distance > 0 {
            self.keep(at, &segment, now_ns, stats);
            while self.ahead.len() > MAX_AHEAD || self.ahead_bytes > settings.bytes_per_direction {
                self.give_up(settings, stats, out);
            }
            return;
        }
        self.take(at, segment, settings, stats, out);
        self.drain(settings, stats, out);
    }

    /// Stops waiting for a missing segment once `gap_ns` have gone.
    pub(super) fn give_up_after(
        &mut self,
        now_ns: u64,
        settings: &Settings,
        stats: &mut Stats,
        out: &mut Out<'_>,
    ) {
        if !self.ahead.is_empty() && now_ns.saturating_sub(self.ahead_since_ns) > settings.gap_ns {
            self.give_up(settings, stats, out);
            self.ahead_since_ns = now_ns;
        }
    }

    /// Gives out what is there; the place in sequence space stays, so that repeats are still known as such.
    pub(super) fn flush(&mut self, settings: &Settings, stats: &mut Stats, out: &mut Out<'_>) {
        while !self.ahead.is_empty() {
            self.give_up(settings, stats, out);
        }
        let left = self.left();
        // Should the rest come after all, it is known where it ends; not so if half a prefix goes.
        self.framed &= self.partial.len() != 1;
        if self.cut(self.next.unwrap_or_default(), stats, out) {
            self.skip = left;
        }
    }

    /// Keeps a segment that came early; of two at one position the longer.
    fn keep(&mut self, at: u64, segment: &Segment, now_ns: u64, stats: &mut Stats) {
        if self.ahead.is_empty() {
            self.ahead_since_ns = now_ns;
        }
        let size = |segment: &Segment| (segment.payload.len(), segment.true_len);
        let len = segment.payload.len();
        if self.ahead.get(&at).is_some_and(|held| size(held) >= size(segment)) {
            stats.repeated_bytes += len as u64;
            return;
        }
        self.ahead_bytes += len;
        // Copied: it may be a small slice of a buffer that many packets share, and would keep all of that.
        let payload = Bytes::copy_from_slice(&segment.payload);
        if let Some(old) = self.ahead.insert(at, Segment { payload, ..*segment }) {
            self.ahead_bytes -= old.payload.len();
            stats.repeated_bytes += old.payload.len() as u64;
        }
    }

    /// Takes what came early and is now in order.
    fn drain(&mut self, settings: &Settings, stats: &mut Stats, out: &mut Out<'_>) {
        while let Some((&at, _)) = self.ahead.first_key_value() {
            if at > self.next.unwrap_or_default() {
                return;
            }
            if let Some((_, segment)) = self.ahead.pop_first() {
                self.ahead_bytes -= segment.payload.len();
                self.take(at, segment, settings, stats, out);
            }
        }
    }

    /// Takes the first missing bytes for lost.
    fn give_up(&mut self, settings: &Settings, stats: &mut Stats, out: &mut Out<'_>) {
        if let Some((&at, _)) = self.ahead.first_key_value() {
            let missing = at.saturating_sub(self.next.unwrap_or_default());
            stats.gaps += 1;
            self.next = Some(at);
            self.hole(missing, stats, out);
            self.drain(settings, stats, out);
        }
    }

    /// A segment that begins at or before the next position.
    fn take(
        &mut self,
        at: u64,
        mut segment: Segment,
        settings: &Settings,
        stats: &mut Stats,
        out: &mut Out<'_>,
    ) {
        let next = self.next.unwrap_or_default();
        let payload = &mut segment.payload;
        let end = at + u64::from(segment.true_len);
        let repeated = next.saturating_sub(at).min(payload.len() as u64);
        stats.repeated_bytes += repeated;
        if end <= next {
            return;
        }
        *payload = payload.split_off(repeated as usize);
        let missing = end - next.max(at) - payload.len() as u64;
        self.next = Some(end);
        self.bytes(segment, repeated == 0, end - missing, settings, stats, out);
        if missing > 0 {
            stats.gaps += 1;
            self.hole(missing, stats, out);
        }
    }

    /// In-order bytes that end at position `end`.
    fn bytes(
        &mut self,
        segment: Segment,
        mut at_start: bool,
        end: u64,
        settings: &Settings,
        stats: &mut Stats,
        out: &mut Out<'_>,
    ) {
        let Segment { payload: mut bytes, owner, .. } = segment;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len() as u64);
                self.skip -= skipped;
                stats.dropped_bytes += skipped;
                bytes = bytes.split_off(skipped as usize);
                at_start = false;
                continue;
            }
            if !self.framed {
                if !at_start || !begins_message(&bytes) {
                    stats.unframed_bytes += bytes.len() as u64;
                    return;
                }
                self.framed = true;
            }
            at_start = false;
            self.message(&mut bytes, &owner, end, settings, stats, out);
        }
    }

    /// Moves bytes of one message out of `bytes`; gives it out once it is whole or fills the bound.
    fn message(
        &mut self,
        bytes: &mut Bytes,
        owner: &Owner,
        end: u64,
        settings: &Settings,
        stats: &mut Stats,
        out: &mut Out<'_>,
    ) {
        let before = self.partial_owner.take().filter(|_| !self.partial.is_empty());
        let owner = before.map_or(*owner, |before| sender::join(before, owner));
        self.partial_owner = Some(owner);
        if self.partial.len() < 2 {
            let more = bytes.split_to(bytes.len().min(2 - self.partial.len()));
            self.partial.extend_from_slice(&more);
            if self.partial.len() < 2 {
                return;
            }
        }
        let len = self.len();
        if len == 0 {
            self.partial.clear();
            stats.short_messages += 1;
            stats.dropped_bytes += 2;
            return;
        }
        let have = self.partial.len() - 2;
        let room = settings.bytes_per_direction.max(HEADER) - have.min(settings.bytes_per_direction);
        let more = bytes.split_to(bytes.len().min(len - have).min(room));
        let sequence = (end - bytes.len() as u64 - more.len() as u64 - have as u64) as u32;
        let complete = have + more.len() == len;
        if complete && have == 0 {
            // The usual case, whole in one segment: no copy.
            self.partial.clear();
            out(Piece { bytes: more, true_len: len as u32, sequence, owner }, stats);
            return;
        }
        self.partial.extend_from_slice(&more);
        if complete || self.partial.len() - 2 >= settings.bytes_per_direction.max(HEADER) {
            self.skip = self.left();
            let message = std::mem::take(&mut self.partial).freeze().split_off(2);
            out(Piece { bytes: message, true_len: len as u32, sequence, owner }, stats);
        }
    }

    /// `missing` bytes before the next position will not come.
    fn hole(&mut self, mut missing: u64, stats: &mut Stats, out: &mut Out<'_>) {
        while missing > 0 {
            if self.skip > 0 {
                let skipped = self.skip.min(missing);
                self.skip -= skipped;
                missing -= skipped;
                continue;
            }
            if !self.framed {
                return;
            }
            let left = self.left();
            if !self.cut(self.next.unwrap_or_default() - missing, stats, out) {
                // The next prefix is inside the hole.
                self.framed = false;
                return;
            }
            self.skip = left;
        }
    }

    /// Gives the incomplete message, which ends at position `end`, out as it is. False if its length is not known.
    fn cut(&mut self, end: u64, stats: &mut Stats, out: &mut Out<'_>) -> bool {
        let Some(owner) = self.partial_owner.take().filter(|_| self.partial.len() >= 2) else {
            stats.dropped_bytes += self.partial.len() as u64;
            self.partial.clear();
            return false;
        };
        let true_len = self.len() as u32;
        let message = std::mem::take(&mut self.partial).freeze().split_off(2);
        let sequence = (end - message.len() as u64) as u32;
        out(Piece { bytes: message, true_len, sequence, owner }, stats);
        true
    }

    /// Length of the message that `partial` begins, by its prefix.
    fn len(&self) -> usize {
        self.partial.first_chunk().map_or(0, |prefix| usize::from(u16::from_be_bytes(*prefix)))
    }

    /// Bytes that `partial` still lacks; 0 where its length is not known.
    fn left(&self) -> u64 {
        (self.len() + 2).saturating_sub(self.partial.len()) as u64 * u64::from(self.partial.len() >= 2)
    }
}

/// Whether a segment in the middle of a connection begins with a message: a length that holds a header, an opcode that
/// is assigned, the reserved bit clear, and counts that fit into the length (a question takes 5 bytes, a record 11).
fn begins_message(bytes: &[u8]) -> bool {
    let Some(prefix) = bytes.first_chunk() else { return false };
    let len = usize::from(u16::from_be_bytes(*prefix));
    if len < HEADER {
        return false;
    }
    let Some(header) = bytes.get(2..2 + HEADER) else { return true };
    let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let opcode = header[2] >> 3 & 0x0f;
    let least = HEADER + 5 * count(4) + 11 * (count(6) + count(8) + count(10));
    matches!(opcode, 0 | 1 | 2 | 4 | 5 | 6) && header[3] & 0x40 == 0 && least <= len
}
