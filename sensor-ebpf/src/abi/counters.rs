//! The counters of every CPU: each packet ends in one of them.

/// Index into the one value of the per-CPU counter map. The names are the metric labels, in `COUNTER_NAMES`.
///
/// Conservation, per CPU and in sum: `SEEN = DELIVERED + LOST_ALERT + LOST_BULK + SKIP_* + REPEAT_* +
/// KNOWN_ANSWER` for packets on port 53 plus
/// `EXTRA` records (a GSO burst or a long TCP segment gives several records from one packet; each beyond the first
/// counts there), and `EXEC_SEEN = EXEC_DELIVERED + EXEC_LOST`, the same for `FORK_*` and `EXIT_*`.
pub mod counter {
    /// Packets for or from port 53 that reached a program (of whatever outcome below), plus frames that hid whether they were.
    pub const SEEN: u32 = 0;
    /// Records put into a ring.
    pub const DELIVERED: u32 = 1;
    /// Records lost because both rings were full and the record was for the small one.
    pub const LOST_ALERT: u32 = 2;
    /// Records lost because the bulk ring was full.
    pub const LOST_BULK: u32 = 3;
    /// Records beyond the first from one packet.
    pub const EXTRA: u32 = 4;
    /// Cut before the end of the transport header.
    pub const SKIP_TRUNCATED: u32 = 5;
    /// Bad IP version, header length or total length.
    pub const SKIP_BAD_IP: u32 = 6;
    /// Bad UDP length or TCP data offset.
    pub const SKIP_BAD_TRANSPORT: u32 = 7;
    /// Later fragment: its ports are in the first (UDP and TCP fragments of any port; the port cannot be known).
    pub const SKIP_LATER_FRAGMENT: u32 = 8;
    /// More IPv6 extension headers than `limits::MAX_EXT_HEADERS`.
    pub const SKIP_EXT_HEADERS: u32 = 9;
    /// More VLAN tags than `limits::MAX_VLAN`.
    pub const SKIP_VLAN_DEPTH: u32 = 10;
    /// VXLAN or Geneve: what is inside is not parsed.
    pub const SKIP_ENCAPSULATED: u32 = 11;
    /// UDP datagram on port 53 without payload.
    pub const SKIP_EMPTY: u32 = 12;
    /// TCP segment without payload that neither opens nor ends a connection (a bare ACK).
    pub const SKIP_TCP_ACK: u32 = 13;
    /// Payload could not be loaded (a helper refused).
    pub const SKIP_LOAD_FAILED: u32 = 14;
    /// Records not asked for: the record feature is off.
    pub const SKIP_RECORD_OFF: u32 = 15;
    /// Exec events seen.
    pub const EXEC_SEEN: u32 = 16;
    /// Exec events put into a ring.
    pub const EXEC_DELIVERED: u32 = 17;
    /// Exec events lost because the small ring was full.
    pub const EXEC_LOST: u32 = 18;
    /// Packets that no flow counts, since another run was adding one to the same set.
    pub const FLOW_FULL: u32 = 19;
    /// GSO datagrams or TCP payload beyond what one packet may give (`limits::MAX_CHUNKS`); bytes are not delivered.
    pub const CHUNKS_CUT: u32 = 20;
    /// No free scratch: more nested or preempted runs of one hook on one CPU than there are slots.
    pub const SKIP_BUSY: u32 = 21;
    /// New processes seen.
    pub const FORK_SEEN: u32 = 22;
    /// New processes put into a ring.
    pub const FORK_DELIVERED: u32 = 23;
    /// New processes lost because the small ring was full.
    pub const FORK_LOST: u32 = 24;
    /// Ends of processes seen.
    pub const EXIT_SEEN: u32 = 25;
    /// Ends of processes put into a ring.
    pub const EXIT_DELIVERED: u32 = 26;
    /// Ends of processes lost because the small ring was full.
    pub const EXIT_LOST: u32 = 27;
    /// Flows that made way for another of their set: the one that was quiet for longest.
    pub const FLOW_EVICTED: u32 = 28;
    /// Queries that the novelty filter kept back: exact repeats within one look-up.
    pub const REPEAT_QUERY: u32 = 29;
    /// Responses to those that say what the last one said.
    pub const REPEAT_RESPONSE: u32 = 30;
    /// Fingerprints of the novelty filter that made way for another before their time: a repeat of theirs passes.
    pub const NOVELTY_EVICTED: u32 = 31;
    /// Answers without payload that a self-limit kept back: their name was answered just before (`control::KNOWN_ANSWERS`).
    pub const KNOWN_ANSWER: u32 = 32;
    /// Messages that arrived over loopback and were told, or kept back, where they left.
    pub const REPEAT_LOOPBACK: u32 = 33;
    /// How many there are.
    pub const COUNT: u32 = 34;
}

/// Metric label of each counter, by index.
pub const COUNTER_NAMES: [&str; counter::COUNT as usize] = [
    "seen",
    "delivered",
    "lost_alert_ring_full",
    "lost_bulk_ring_full",
    "extra_records",
    "skip_truncated",
    "skip_bad_ip",
    "skip_bad_transport",
    "skip_later_fragment",
    "skip_ext_headers",
    "skip_vlan_depth",
    "skip_encapsulated",
    "skip_empty",
    "skip_tcp_ack",
    "skip_load_failed",
    "skip_record_off",
    "exec_seen",
    "exec_delivered",
    "exec_lost",
    "flow_full",
    "chunks_cut",
    "skip_busy",
    "fork_seen",
    "fork_delivered",
    "fork_lost",
    "exit_seen",
    "exit_delivered",
    "exit_lost",
    "flow_evicted",
    "repeat_query",
    "repeat_response",
    "novelty_evicted",
    "known_answer",
    "repeat_loopback",
];
