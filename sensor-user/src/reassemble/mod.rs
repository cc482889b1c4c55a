//! DNS over TCP (RFC 7766): segments in, messages out, per connection and in bounded memory.
//!
//! The same segment may be seen at several hooks; its bytes count once, as a retransmission's do. Bytes that never
//! came (a lost record, a snap length) leave a hole: a message whose length prefix is known comes out cut, with
//! `true_len` over its payload, and what follows is found again by its place in sequence space. Where the prefix
//! itself is lost, framing is found again at the first segment that begins like a message.

mod sender;
mod stream;

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use sensor_ebpf::abi::{flag, grade};

use crate::event::{Kind, Packet};

use stream::{Piece, Segment, Stream};

/// Bounds; the defaults are those of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections followed at once; the one idle longest is given up first.
    pub connections: usize,
    /// Bytes kept per connection and direction while a message is incomplete or a segment is missing.
    pub bytes_per_direction: usize,
    /// Bytes kept over all connections.
    pub bytes: usize,
    /// Time without a segment after which a connection is forgotten, nanoseconds.
    pub idle_ns: u64,
    /// Time that a missing segment is waited for once later ones are there, nanoseconds.
    pub gap_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 4096,
            bytes_per_direction: 128 * 1024,
            bytes: 8 << 20,
            idle_ns: 120_000_000_000,
            gap_ns: 1_000_000_000,
        }
    }
}

/// What happened; every byte of every segment is in one of the byte counters once the connection is forgotten:
/// `bytes = message_bytes + repeated_bytes + unframed_bytes + dropped_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub segments: u64,
    /// Payload bytes of the segments.
    pub bytes: u64,
    pub messages: u64,
    /// Of those, with bytes missing.
    pub cut_messages: u64,
    /// Messages of which not even the header came.
    pub lost_messages: u64,
    /// Bytes of messages, length prefixes included.
    pub message_bytes: u64,
    /// Seen before: retransmissions, overlaps, the same segment at another hook.
    pub repeated_bytes: u64,
    /// Before a message's beginning was found.
    pub unframed_bytes: u64,
    /// Beyond a bound, or of a message too broken to show.
    pub dropped_bytes: u64,
    /// Holes given up on.
    pub gaps: u64,
    /// Length prefixes of 0, and messages shorter than a DNS header.
    pub short_messages: u64,
    /// Connections given up for a new one or for memory.
    pub evicted: u64,
    /// Connections forgotten after `idle_ns`.
    pub idle: u64,
}

impl Stats {
    /// The counters with their names, for the summary and for metrics.
    pub fn named(&self) -> [(&'static str, u64); 13] {
        [
            ("tcp_segments", self.segments),
            ("tcp_bytes", self.bytes),
            ("tcp_messages", self.messages),
            ("tcp_cut_messages", self.cut_messages),
            ("tcp_lost_messages", self.lost_messages),
            ("tcp_message_bytes", self.message_bytes),
            ("tcp_repeated_bytes", self.repeated_bytes),
            ("tcp_unframed_bytes", self.unframed_bytes),
            ("tcp_dropped_bytes", self.dropped_bytes),
            ("tcp_gaps", self.gaps),
            ("tcp_short_messages", self.short_messages),
            ("tcp_evicted", self.evicted),
            ("tcp_idle", self.idle),
        ]
    }
}

/// All TCP connections on port 53 that are followed.
#[derive(Debug, Default)]
pub struct Reassembler {
    settings: Settings,
    connections: BTreeMap<Key, Connection>,
    /// Connections by their last segment, oldest first: `Connection::touched` to its key.
    order: BTreeMap<u64, Key>,
    touches: u64,
    /// Bytes held by all connections.
    held: usize,
    stats: Stats,
}

/// Both ends, the lower one first, so that both directions meet.
type Key = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Connection {
    /// Place in `Reassembler::order`.
    touched: u64,
    last_ns: u64,
    /// From the lower end, and from the higher one.
    directions: [Direction; 2],
}

#[derive(Debug, Default)]
struct Direction {
    stream: Stream,
    /// The first segment, without payload, as the pattern of the messages; owner of the first that had one.
    pattern: Option<Packet>,
    finished: bool,
}

impl Reassembler {
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes other bounds; what exceeds them goes as segments come.
    pub fn retune(&mut self, settings: Settings) {
        self.settings = settings;
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections followed now, and bytes held for them.
    pub fn held(&self) -> (usize, usize) {
        (self.connections.len(), self.held)
    }

    /// Takes a segment; `emit` gets the messages it completes: kind `Message` (`Datagram` where shorter than a DNS
    /// header), transport TCP, `true_len` the length by the prefix, `tcp_seq` that of the first message byte. Time,
    /// view and interface are those of the completing segment; the owner is that of the segments it came in (`sender`).
    pub fn push(&mut self, segment: Packet, emit: &mut dyn FnMut(Packet)) {
        self.stats.segments += 1;
        self.stats.bytes += segment.payload.len() as u64;
        self.tick(segment.time_ns, emit);
        let Ends { key, upper } = Ends::of(&segment);
        if !self.connections.contains_key(&key) {
            while self.connections.len() >= self.settings.connections.max(1) {
                self.stats.evicted += 1;
                self.forget_oldest(emit);
            }
        }
        self.touches += 1;
        let touched = self.touches;
        let connection = self.connections.entry(key).or_insert_with(|| Connection {
            touched,
            last_ns: segment.time_ns,
            directions: <[Direction; 2]>::default(),
        });
        self.order.remove(&connection.touched);
        self.order.insert(touched, key);
        connection.touched = touched;
        connection.last_ns = connection.last_ns.max(segment.time_ns);
        let before = connection.held();
        connection.segment(segment, upper, &self.settings, &mut self.stats, emit);
        self.held = self.held - before + connection.held();
        while self.held > self.settings.bytes {
            self.stats.evicted += 1;
            self.forget_oldest(emit);
        }
    }

    /// Forgets connections that have been idle; `now_ns` is Unix time.
    pub fn tick(&mut self, now_ns: u64, emit: &mut dyn FnMut(Packet)) {
        while let Some(connection) = self.order.values().next().and_then(|key| self.connections.get(key)) {
            if now_ns.saturating_sub(connection.last_ns) < self.settings.idle_ns {
                return;
            }
            self.stats.idle += 1;
            self.forget_oldest(emit);
        }
    }

    /// End of input: what is incomplete comes out as it is.
    pub fn finish(&mut self, emit: &mut dyn FnMut(Packet)) {
        while !self.order.is_empty() {
            self.forget_oldest(emit);
        }
    }

    fn forget_oldest(&mut self, emit: &mut dyn FnMut(Packet)) {
        let Some((_, key)) = self.order.pop_first() else { return };
        let Some(mut connection) = self.connections.remove(&key) else { return };
        self.held -= connection.held();
        for direction in &mut connection.directions {
            direction.flush(&self.settings, &mut self.stats, emit);
        }
    }
}

/// A segment's connection, and whether it comes from the upper end.
struct Ends {
    key: Key,
    upper: bool,
}

impl Ends {
    fn of(segment: &Packet) -> Self {
        let upper = segment.src > segment.dst;
        let key = if upper { (segment.dst, segment.src) } else { (segment.src, segment.dst) };
        Self { key, upper }
    }
}

impl Connection {
    fn held(&self) -> usize {
        self.directions.iter().map(|direction| direction.stream.held()).sum()
    }

    fn segment(
        &mut self,
        segment: Packet,
        upper: bool,
        settings: &Settings,
        stats: &mut Stats,
        emit: &mut dyn FnMut(Packet),
    ) {
        let has = |bit: u16| segment.flags & bit != 0;
        let (syn, fin, rst) = (has(flag::TCP_SYN), has(flag::TCP_FIN), has(flag::TCP_RST));
        let from = usize::from(upper);
        if syn && self.directions[from].stream.starts_elsewhere(segment.tcp_seq) {
            // The ports are used again: what was before is another connection.
            for direction in &mut self.directions {
                direction.flush(settings, stats, emit);
                *direction = Direction::default();
            }
        }
        if rst {
            stats.dropped_bytes += segment.payload.len() as u64;
            for direction in &mut self.directions {
                direction.flush(settings, stats, emit);
            }
            return;
        }
        // A record holds at most this much, so a full one is not the end of its segment, whose flags all parts bear.
        let part = segment.payload.len() == sensor_ebpf::abi::CAP_RESPONSE;
        self.directions[from].segment(segment, settings, stats, emit);
        if fin && !part {
            self.directions[from].finished = true;
            if self.directions.iter().all(|direction| direction.finished) {
                for direction in &mut self.directions {
                    direction.flush(settings, stats, emit);
                }
            }
        }
    }
}

impl Direction {
    fn segment(
        &mut self,
        mut segment: Packet,
        settings: &Settings,
        stats: &mut Stats,
        emit: &mut dyn FnMut(Packet),
    ) {
        let payload = std::mem::take(&mut segment.payload);
        let sequence = segment.tcp_seq;
        let syn = segment.flags & flag::TCP_SYN != 0;
        let now_ns = segment.time_ns;
        let true_len = segment.true_len.max(payload.len() as u32);
        let opener =
            self.pattern.as_ref().map(|pattern| pattern.owner).filter(|owner| owner.grade != grade::NONE);
        let owner = sender::of_segment(segment.owner, opener.as_ref());
        segment.owner = opener.unwrap_or(segment.owner);
        let pattern = self.pattern.insert(segment);
        if syn {
            self.stream.open(sequence);
        }
        // The SYN itself takes one place in sequence space (RFC 9293 section 3.4).
        let first = sequence.wrapping_add(syn.into());
        let pattern = &*pattern;
        let out = &mut |piece: Piece, stats: &mut Stats| piece.send(pattern, stats, emit);
        if true_len > 0 {
            let segment = Segment { payload, true_len, owner };
            self.stream.push(first, segment, now_ns, settings, stats, out);
        }
        self.stream.give_up_after(now_ns, settings, stats, out);
    }

    fn flush(&mut self, settings: &Settings, stats: &mut Stats, emit: &mut dyn FnMut(Packet)) {
        let Some(pattern) = &self.pattern else { return };
        let out = &mut |piece: Piece, stats: &mut Stats| piece.send(pattern, stats, emit);
        self.stream.flush(settings, stats, out);
    }
}

/// Length of a DNS header (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

impl Piece {
    /// Emits the message in the form of the segment that completed it.
    fn send(self, pattern: &Packet, stats: &mut Stats, emit: &mut dyn FnMut(Packet)) {
        let Self { bytes, true_len, sequence, owner } = self;
        let prefixed = bytes.len() as u64 + 2;
        if (bytes.len() as u32) < true_len {
            if bytes.len() < HEADER {
                stats.lost_messages += 1;
                stats.dropped_bytes += prefixed;
                return;
            }
            stats.cut_messages += 1;
        }
        stats.messages += 1;
        stats.message_bytes += prefixed;
        let whole = bytes.len() >= HEADER;
        stats.short_messages += u64::from(!whole);
        let response = bytes.get(2).is_some_and(|byte| byte & 0x80 != 0);
        let to_server = match (pattern.src.port(), pattern.dst.port()) {
            (53, 53) => !response,
            (_, port) => port == 53,
        };
        emit(Packet {
            kind: if whole { Kind::Message } else { Kind::Datagram },
            tcp_seq: sequence,
            flags: if response { flag::RESPONSE } else { 0 } | if to_server { flag::TO_SERVER } else { 0 },
            true_len,
            payload: bytes,
            owner,
            ..pattern.clone()
        });
    }
}

/// Any bytes as segments of two connections, in bounded memory; for fuzzing.
///
/// Ten bytes make a segment: direction and flags, sequence number, length, missing bytes; its payload follows.
pub fn fuzz(mut data: &[u8]) -> Stats {
    let settings = Settings { connections: 1, bytes_per_direction: 4096, bytes: 8192, ..Settings::default() };
    let mut reassembler = Reassembler::new(settings.clone());
    let mut time_ns = 0;
    while let Some((head, rest)) = data.split_first_chunk::<8>() {
        let [control, port, a, b, c, d, len, missing] = *head;
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(len) * 4));
        data = rest;
        time_ns += u64::from(control & 0xe0) << 24;
        let client = SocketAddr::from(([192, 0, 2, 1], 1024 + u16::from(port & 1)));
        let server = SocketAddr::from(([192, 0, 2, 53], 53));
        let (src, dst) = if control & 1 == 0 { (client, server) } else { (server, client) };
        reassembler.push(
            Packet {
                time_ns,
                view: crate::event::View::Capture,
                kind: Kind::Segment,
                transport: crate::event::Transport::Tcp,
                src,
                dst,
                ifindex: 0,
                vlan: [None; 2],
                tcp_seq: u32::from_be_bytes([a, b, c, d]),
                flags: u16::from(control & 0x0e) << 2,
                true_len: payload.len() as u32 + u32::from(missing),
                payload: Bytes::copy_from_slice(payload),
                owner: crate::event::no_owner(sensor_ebpf::abi::no_owner::TCP),
            },
            &mut |message| assert!(message.payload.len() as u32 <= message.true_len),
        );
        let (connections, bytes) = reassembler.held();
        assert!(connections <= settings.connections && bytes <= settings.bytes);
    }
    reassembler.finish(&mut |_| {});
    let stats = *reassembler.stats();
    assert_eq!(reassembler.held(), (0, 0));
    assert_eq!(
        stats.bytes,
        stats.message_bytes + stats.repeated_bytes + stats.unframed_bytes + stats.dropped_bytes
    );
    stats
}

#[cfg(test)]
mod tests;
