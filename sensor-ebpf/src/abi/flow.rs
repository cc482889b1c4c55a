//! The flow map and the novelty filter's tables: keys, sets, values.

abi! {
/// Key of the flow map: keyed hashes, so that it is two words whatever the addresses. Never the full name: random names
/// would churn the map.
pub struct FlowKey {
    /// Of client, server, side and transport.
    pub pair: u64,
    /// Of the same under other secrets, plus the zone's.
    pub zone: u64,
}
}

/// Places in a set of the flow map.
pub const FLOW_PLACES: usize = 16;

abi! {
/// A set of the flow map (`FLOW_SETS`): the flows whose keys choose it are in any of its places, and nowhere else. The
/// value of the one in place p of set s is number s * `FLOW_PLACES` + p of `FLOWS`.
pub struct FlowSet {
    /// Runs that add a flow at this moment.
    pub changing: u64,
    /// Zero, so that a set begins at a multiple of 16.
    pub pad: u64,
    /// Zeroes where a place is free.
    pub keys: [FlowKey; FLOW_PLACES],
}
}

impl FlowKey {
    /// The set of this flow among `sets`: the upper half of the keys' product with the golden ratio (Knuth, TAOCP volume
    /// 3, section 6.4), since neighbouring addresses differ in the lower bits of their sums.
    #[inline(always)]
    pub const fn set(&self, sets: u32) -> u32 {
        let spread = self.pair.wrapping_add(self.zone).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((spread * sets as u64) >> 32) as u32
    }
}

/// Bytes kept of a flow's zone, wire form.
pub const FLOW_ZONE: usize = 64;

/// Index into `FlowValue::recent` and `carried`.
pub mod class {
    /// Responses by RCODE: NOERROR, NXDOMAIN, SERVFAIL, other.
    pub const RCODE: usize = 0;
    /// Queries by QTYPE: A/AAAA/HTTPS, PTR, TXT/NULL/KEY/private/unknown, other.
    pub const QTYPE: usize = 4;
    /// Queries whose question could not be walked; TCP segments and GSO bursts to the server.
    pub const QUERY: usize = 8;
    /// TCP segments and GSO bursts from the server.
    pub const RESPONSE: usize = 9;
    /// How many there are.
    pub const COUNT: usize = 10;
}

/// `FlowValue::recent`: bits of the bytes, below those of the packets.
pub const RECENT_BYTES: u32 = 40;
/// `FlowValue::recent_names`: bits of the squares' sum, below those of the lengths' sum.
pub const RECENT_SQUARES: u32 = 36;
/// Packets to a unit of `FlowValue::carried`.
pub const CARRY: u64 = 1 << 16;

abi! {
/// Counters of a flow. Bytes are DNS payload bytes (TCP: segment payload).
///
/// What belongs together is counted in one word, since an atomic addition takes longer than all else that counting
/// does. Before a word is full it is carried over to the fields that hold sums: the flow's counters are these and
/// the recent ones together.
pub struct FlowValue {
    /// First packet, CLOCK_MONOTONIC ns.
    pub first_ns: u64,
    /// Last packet, CLOCK_MONOTONIC ns.
    pub last_ns: u64,
    /// By `class`: packets and their bytes.
    pub recent: [u64; class::COUNT],
    /// Question names of queries: sum of their lengths and of the squares of these.
    pub recent_names: u64,
    /// Carried bytes to the server.
    pub query_bytes: u64,
    /// Carried bytes from the server.
    pub response_bytes: u64,
    /// Carried sum of question name lengths.
    pub name_len_sum: u64,
    /// Carried sum of their squares.
    pub name_len_sq_sum: u64,
    /// Runs that carry at this moment.
    pub carrying: u64,
    /// By `class`: carried packets, in units of `CARRY`.
    pub carried: [u32; class::COUNT],
    /// Client address (the side that is not port 53).
    pub client: [u8; 16],
    /// Server address.
    pub server: [u8; 16],
    /// Longest question name.
    pub name_len_max: u32,
    /// Owner's tgid of the last query (host view), else 0.
    pub tgid: u32,
    /// Valid bytes of `zone`.
    pub zone_len: u32,
    /// 1 for the wire view, 2 for the host view.
    pub side: u8,
    /// IP protocol.
    pub transport: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// The zone's name as first seen, wire form without the root, cut at the front if longer.
    pub zone: [u8; FLOW_ZONE],
}
}

/// Places in a set of the novelty filter.
pub const NOVELTY_PLACES: usize = 8;

abi! {
/// A set of the novelty filter (`NOVELTY_NAMES`, `NOVELTY_REPEATS`): keyed fingerprints and what is known of each. See
/// `novelty`.
pub struct NoveltySet {
    /// 0 where a place is free.
    pub keys: [u64; NOVELTY_PLACES],
    /// When it was met, by the record's clock, nanoseconds.
    pub times_ns: [u64; NOVELTY_PLACES],
    /// Of a query: repeats in this look-up, or since one of a sample passed.
    pub repeats: [u32; NOVELTY_PLACES],
}
}

/// A flow's counters, recent and carried ones together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCounters {
    /// Packets by `class`.
    pub packets: [u64; class::COUNT],
    pub query_bytes: u64,
    pub response_bytes: u64,
    /// Sums over question names of queries.
    pub name_len_sum: u64,
    pub name_len_sq_sum: u64,
}

impl FlowCounters {
    /// Queries (TCP: segments to the server).
    pub fn queries(&self) -> u64 {
        self.packets[class::QTYPE..class::RESPONSE].iter().sum()
    }

    /// Responses (TCP: segments from the server).
    pub fn responses(&self) -> u64 {
        self.packets[..class::QTYPE].iter().sum::<u64>() + self.packets[class::RESPONSE]
    }
}

impl FlowValue {
    pub fn counters(&self) -> FlowCounters {
        let mut counters = FlowCounters {
            packets: [0; class::COUNT],
            query_bytes: self.query_bytes,
            response_bytes: self.response_bytes,
            name_len_sum: self.name_len_sum + (self.recent_names >> RECENT_SQUARES),
            name_len_sq_sum: self.name_len_sq_sum + (self.recent_names & ((1 << RECENT_SQUARES) - 1)),
        };
        for (index, &recent) in self.recent.iter().enumerate() {
            counters.packets[index] = u64::from(self.carried[index]) * CARRY + (recent >> RECENT_BYTES);
            let bytes =
                if is_query(index) { &mut counters.query_bytes } else { &mut counters.response_bytes };
            *bytes += recent & ((1 << RECENT_BYTES) - 1);
        }
        counters
    }
}

/// Whether a `class` is one of queries.
#[inline(always)]
pub const fn is_query(class: usize) -> bool {
    class >= class::QTYPE && class <= class::QUERY
}
