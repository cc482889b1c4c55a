//! The kernel's novelty filter before a replay's pipeline: the same function over the same fingerprints, so that what it
//! would cost on recorded traffic can be seen.

use std::net::IpAddr;

use sensor_ebpf::abi::{NOVELTY_PLACES, NoveltySet, feature, flag};
use sensor_ebpf::describe::{self, Description};
use sensor_ebpf::frame::{Frame, NO_VLAN, TCP, UDP};
use sensor_ebpf::novelty::{self, Asked, Part, RESPONSE_NS, Room, Speaker};
use sensor_ebpf::question::{self, KEY_WORDS};
use zerocopy::FromZeros as _;

use crate::config::Config;
use crate::event::{Event, Kind, Packet, Transport};

/// Of its hashes: a replay gives the same each time.
const KEY: [u64; KEY_WORDS] = question::key_of_seed(9);

#[derive(Debug)]
pub(super) struct Filter {
    names: Vec<NoveltySet>,
    repeats: Vec<NoveltySet>,
    lookup_ns: u64,
    sample: u64,
    room: Room,
    pub(super) stats: Stats,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub(super) queries: u64,
    pub(super) responses: u64,
    /// Fingerprints that went before their time.
    pub(super) evicted: u64,
}

impl Filter {
    /// None where it is off.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let filter = &config.novelty;
        if !filter.in_replay || config.logs_messages() {
            return None;
        }
        let sets = (filter.entries as usize).div_ceil(NOVELTY_PLACES);
        Some(Self {
            names: vec![NoveltySet::new_zeroed(); sets],
            repeats: vec![NoveltySet::new_zeroed(); sets],
            lookup_ns: config.pipeline.lookup_ms * 1_000_000,
            sample: filter.sample,
            room: Room::default(),
            stats: Stats::default(),
        })
    }

    /// Whether an event goes on; a response to a repeat is marked.
    pub(super) fn passes(&mut self, event: &mut Event) -> bool {
        let Event::Packet(packet) = event else { return true };
        if packet.kind != Kind::Message || packet.transport == Transport::Tcp {
            return true;
        }
        let frame = frame(packet);
        let what = describe::of_payload(&frame, &packet.payload, feature::DEFAULT, &KEY);
        let message = describe::words::<{ describe::WORDS }>(&packet.payload);
        match novelty::part(&frame, &what) {
            (Part::Query, true) => {
                let kept = self.keeps_query(&frame, &what, &message, packet.time_ns);
                packet.tcp_seq = if kept { 0 } else { self.room.kept as u32 };
                !kept
            }
            (Part::Response, exact) => {
                let key = novelty::repeat_key(&what, &message, key);
                let now_ns = packet.time_ns;
                if !novelty::is_known(set(&mut self.repeats, key), key, now_ns, RESPONSE_NS) {
                    return true;
                }
                packet.flags |= flag::TO_REPEAT;
                if !exact {
                    return true;
                }
                let said = novelty::response_key(&frame, 0, what.name_hash, &message, self::key);
                let known =
                    novelty::met(set(&mut self.repeats, said), said, now_ns, self.lookup_ns, &mut self.room);
                self.stats.evicted += self.room.evicted;
                self.stats.responses += u64::from(known);
                !known
            }
            _ => true,
        }
    }

    fn keeps_query(
        &mut self,
        frame: &Frame,
        what: &Description,
        message: &[u64; describe::WORDS],
        now_ns: u64,
    ) -> bool {
        let lookup = novelty::lookup_key(frame, &Speaker::default(), what.name_hash, key);
        let asked = Asked {
            lookup,
            query: novelty::query_key(frame, lookup, message, key),
            now_ns,
            lookup_ns: self.lookup_ns,
            sample: self.sample,
        };
        let repeat = novelty::query(set(&mut self.names, lookup), &asked, &mut self.room);
        self.stats.evicted += self.room.evicted;
        if !repeat {
            return false;
        }
        let repeat = novelty::repeat_key(what, message, key);
        novelty::note(set(&mut self.repeats, repeat), repeat, now_ns, RESPONSE_NS, &mut self.room);
        self.stats.evicted += self.room.evicted;
        self.stats.queries += 1;
        true
    }
}

fn set(sets: &mut [NoveltySet], key: u64) -> &mut NoveltySet {
    let at = novelty::set_of(key, sets.len() as u32) as usize;
    &mut sets[at]
}

fn key(word: usize) -> [u32; 2] {
    question::halves(KEY[word])
}

/// The packet as the kernel has it.
fn frame(packet: &Packet) -> Frame {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    Frame {
        src: address(packet.src.ip()),
        dst: address(packet.dst.ip()),
        src_port: packet.src.port(),
        dst_port: packet.dst.port(),
        transport: if packet.transport == Transport::Tcp { TCP } else { UDP },
        vlan: [NO_VLAN; 2],
        flags: packet.flags & flag::FRAGMENT,
        tcp_seq: 0,
        payload: 0,
        cap_len: packet.payload.len() as u32,
        true_len: packet.true_len,
    }
}
