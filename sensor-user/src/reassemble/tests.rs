use bytes::Bytes;
use proptest::prelude::*;
use rstest::rstest;
use sensor_ebpf::abi::{flag, grade, no_owner};

use super::*;
use crate::event::{Transport, View, no_owner};

const SYN: u16 = flag::TCP_SYN;
const FIN: u16 = flag::TCP_FIN;
const RST: u16 = flag::TCP_RST;
/// Where the client's stream begins; wraps within the first message.
const ISN: u32 = u32::MAX - 5;

/// A segment from the client: offset in the stream, payload, bytes on the wire.
fn at(offset: u32, payload: &[u8], true_len: usize) -> Packet {
    Packet {
        time_ns: 1_000_000_000,
        view: View::Capture,
        kind: Kind::Segment,
        transport: Transport::Tcp,
        src: "192.0.2.1:40000".parse().unwrap(),
        dst: "192.0.2.53:53".parse().unwrap(),
        ifindex: 0,
        vlan: [None; 2],
        tcp_seq: ISN.wrapping_add(1).wrapping_add(offset),
        flags: flag::TO_SERVER,
        true_len: true_len as u32,
        payload: Bytes::copy_from_slice(payload),
        owner: no_owner(no_owner::TCP),
    }
}

fn syn() -> Packet {
    let mut packet = at(0, b"", 0);
    packet.tcp_seq = ISN;
    packet.flags |= SYN;
    packet
}

fn flagged(mut packet: Packet, bits: u16) -> Packet {
    packet.flags |= bits;
    packet
}

fn later(mut packet: Packet, seconds: u64) -> Packet {
    packet.time_ns += seconds * 1_000_000_000;
    packet
}

fn from_server(mut packet: Packet) -> Packet {
    std::mem::swap(&mut packet.src, &mut packet.dst);
    packet.flags &= !flag::TO_SERVER;
    packet
}

/// A query-like message of `len` bytes that says which one it is.
fn message(mark: u8, len: usize) -> Vec<u8> {
    let mut message = vec![mark; len];
    message[..12].copy_from_slice(&[0, mark, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        stream.extend_from_slice(&(message.len() as u16).to_be_bytes());
        stream.extend_from_slice(message);
    }
    stream
}

struct Run {
    out: Vec<Packet>,
    stats: Stats,
}

impl Run {
    fn messages(&self) -> Vec<&[u8]> {
        self.out.iter().map(|packet| packet.payload.as_ref()).collect()
    }
}

fn run(settings: Settings, segments: impl IntoIterator<Item = Packet>) -> Run {
    let mut reassembler = Reassembler::new(settings);
    let mut out = Vec::new();
    for segment in segments {
        reassembler.push(segment, &mut |message| out.push(message));
    }
    reassembler.finish(&mut |message| out.push(message));
    let stats = *reassembler.stats();
    assert_eq!(reassembler.held(), (0, 0));
    assert_eq!(
        stats.bytes,
        stats.message_bytes + stats.repeated_bytes + stats.unframed_bytes + stats.dropped_bytes,
        "{stats:?}"
    );
    assert_eq!(stats.messages, out.len() as u64);
    Run { out, stats }
}

fn play(segments: impl IntoIterator<Item = Packet>) -> Run {
    run(Settings::default(), segments)
}

#[rstest]
#[case::two_in_one(&[100])]
#[case::each_in_one(&[32, 68])]
#[case::one_in_two(&[10, 90])]
#[case::prefix_alone(&[2, 30, 2, 66])]
#[case::prefix_split(&[1, 1, 31, 1, 66])]
#[case::boundary_inside(&[40, 60])]
#[case::one_in_many(&[1; 100])]
fn whole_messages_come_out_whatever_the_segments(#[case] lengths: &[usize]) {
    let messages = [message(1, 30), message(2, 66)];
    let stream = framed(&messages);
    let mut segments = vec![syn()];
    let mut offset = 0;
    for len in lengths {
        segments.push(at(offset as u32, &stream[offset..offset + len], *len));
        offset += len;
    }
    let run = play(segments);
    assert_eq!(run.messages(), messages);
    let first = &run.out[0];
    assert_eq!((first.kind, first.transport, first.flags), (Kind::Message, Transport::Tcp, flag::TO_SERVER));
    assert_eq!((first.true_len, first.tcp_seq), (30, ISN.wrapping_add(3)));
    assert_eq!(run.out[1].tcp_seq, ISN.wrapping_add(35));
}

#[test]
fn data_in_the_syn_counts() {
    let stream = framed(&[message(1, 30)]);
    let mut first = flagged(at(0, &stream[..20], 20), SYN);
    first.tcp_seq = ISN;
    let run = play([first, at(20, &stream[20..], 12)]);
    assert_eq!(run.messages(), [message(1, 30)]);
}

#[test]
fn repeats_and_overlaps_count_once() {
    let stream = framed(&[message(1, 30), message(2, 66)]);
    let run = play([
        syn(),
        syn(),
        at(0, &stream[..40], 40),
        at(0, &stream[..40], 40),
        at(20, &stream[20..60], 40),
        at(10, &stream[10..], 90),
        flagged(at(100, b"", 0), FIN),
        at(0, &stream, 100),
    ]);
    assert_eq!(run.messages(), [message(1, 30), message(2, 66)]);
    assert_eq!(run.stats.repeated_bytes, 40 + 20 + 50 + 100);
}

#[test]
fn segments_out_of_order_are_put_right() {
    let messages = [message(1, 30), message(2, 66)];
    let stream = framed(&messages);
    let run = play([
        syn(),
        at(70, &stream[70..], 30),
        at(30, &stream[30..80], 50),
        at(70, &stream[70..75], 5),
        at(0, &stream[..30], 30),
    ]);
    assert_eq!(run.messages(), messages);
}

#[test]
fn a_stream_seen_from_its_middle_starts_at_a_message() {
    let stream = framed(&[message(1, 30), message(2, 66), message(3, 20)]);
    // Half of the first message, then a segment that begins with the second.
    let run = play([at(16, &stream[16..32], 16), at(32, &stream[32..], 90)]);
    assert_eq!(run.messages(), [message(2, 66), message(3, 20)]);
    assert_eq!(run.stats.unframed_bytes, 16);
}

#[test]
fn both_directions_are_told_apart() {
    let query = message(1, 30);
    let mut response = message(1, 50);
    response[2] |= 0x80;
    let (up, down) = (framed(std::slice::from_ref(&query)), framed(std::slice::from_ref(&response)));
    let run = play([
        syn(),
        from_server(syn()),
        at(0, &up, up.len()),
        from_server(at(0, &down[..20], 20)),
        from_server(at(20, &down[20..], 32)),
    ]);
    assert_eq!(run.messages(), [query, response]);
    assert_eq!(run.out[0].flags, flag::TO_SERVER);
    assert_eq!(run.out[1].flags, flag::RESPONSE);
    assert_eq!(run.out[1].src.port(), 53);
}

#[test]
fn with_53_on_both_sides_the_qr_bit_decides() {
    let mut query = at(0, &framed(&[message(1, 30)]), 32);
    query.src.set_port(53);
    let mut response = message(1, 50);
    response[2] |= 0x80;
    let response = framed(&[response]);
    let mut answer = from_server(at(0, &response, response.len()));
    answer.dst.set_port(53);
    answer.flags |= flag::TO_SERVER;
    let run = play([query, answer]);
    assert_eq!(run.out[0].flags, flag::TO_SERVER);
    assert_eq!(run.out[1].flags, flag::RESPONSE);
}

#[test]
fn a_segment_cut_at_the_snap_length_cuts_only_its_message() {
    let messages = [message(1, 30), message(2, 66), message(3, 20)];
    let stream = framed(&messages);
    // The second message is cut in the middle; the rest of its segment is gone.
    let run = play([syn(), at(0, &stream[..60], 100), at(100, &stream[100..], 22)]);
    assert_eq!(run.messages(), [&messages[0][..], &messages[1][..26], &messages[2][..]]);
    assert_eq!(run.out[1].true_len, 66);
    assert_eq!(run.stats.cut_messages, 1);
    // The hole swallows a prefix too: framing is found again at the next segment that begins a message.
    let run = play([syn(), at(0, &stream[..20], 110), at(110, &stream[110..], 12), at(122, &stream, 122)]);
    assert_eq!(
        run.messages(),
        [&messages[0][..18], &messages[0][..], &messages[1][..], &messages[2][..]],
        "{:?}",
        run.stats
    );
    assert_eq!(run.stats.unframed_bytes, 12);
}

#[test]
fn a_lost_segment_is_given_up_after_a_while() {
    let messages = [message(1, 30), message(2, 66), message(3, 20)];
    let stream = framed(&messages);
    let mut reassembler = Reassembler::new(Settings::default());
    let mut out = Vec::new();
    // Bytes 60 to 70, inside the second message, never come.
    for segment in [syn(), at(0, &stream[..60], 60), at(70, &stream[70..100], 30)] {
        reassembler.push(segment, &mut |message| out.push(message));
    }
    assert_eq!(out.len(), 1, "the second message is waited for");
    reassembler.push(later(at(100, &stream[100..], 22), 2), &mut |message| out.push(message));
    let payloads: Vec<_> = out.iter().map(|packet| packet.payload.as_ref()).collect();
    assert_eq!(payloads, [&messages[0][..], &messages[1][..26], &messages[2][..]]);
    assert_eq!((reassembler.stats().gaps, reassembler.stats().cut_messages), (1, 1));
    // Where not even the header came, the message is counted.
    let run = play([syn(), at(0, &stream[..40], 40), at(60, &stream[60..], 62)]);
    assert_eq!(run.messages(), [&messages[0][..], &messages[2][..]]);
    assert_eq!(run.stats.lost_messages, 1);
}

#[test]
fn lengths_that_lie() {
    // 0: nothing. 5: too short for a header, passed on as such. 65535 with 20 bytes: cut.
    let mut stream = vec![0, 0];
    stream.extend_from_slice(&[0, 5, 1, 2, 3, 4, 5]);
    stream.extend_from_slice(&framed(&[message(7, 40)]));
    stream.extend_from_slice(&[0xff, 0xff]);
    stream.extend_from_slice(&message(9, 20));
    let run = play([syn(), at(0, &stream, stream.len()), flagged(at(stream.len() as u32, b"", 0), FIN)]);
    assert_eq!(run.messages(), [&[1, 2, 3, 4, 5][..], &message(7, 40)[..], &message(9, 20)[..]]);
    assert_eq!(run.out[0].kind, Kind::Datagram);
    assert_eq!(run.out[2].true_len, 65535);
    assert_eq!((run.stats.short_messages, run.stats.cut_messages), (2, 1));
}

#[test]
fn a_message_over_the_bound_comes_out_cut_and_the_next_whole() {
    let messages = [message(1, 9000), message(2, 50)];
    let stream = framed(&messages);
    let settings = Settings { bytes_per_direction: 4096, ..Settings::default() };
    let segments = stream.chunks(1000).scan(0, |offset, chunk| {
        let segment = at(*offset, chunk, chunk.len());
        *offset += chunk.len() as u32;
        Some(segment)
    });
    let run = run(settings, std::iter::once(syn()).chain(segments));
    assert_eq!(run.messages(), [&messages[0][..4096], &messages[1][..]]);
    assert_eq!(run.out[0].true_len, 9000);
}

#[test]
fn the_same_ports_again_are_another_connection() {
    let first = framed(&[message(1, 30)]);
    let mut again = syn();
    again.tcp_seq = 5000;
    let mut data = at(0, &framed(&[message(2, 30)]), 32);
    data.tcp_seq = 5001;
    let run = play([syn(), at(0, &first[..20], 20), again, data]);
    assert_eq!(run.messages(), [&message(1, 30)[..18], &message(2, 30)[..]]);
}

#[test]
fn a_reset_gives_out_what_is_there() {
    let stream = framed(&[message(1, 30)]);
    let run =
        play([syn(), at(0, &stream[..20], 20), flagged(at(20, b"", 0), RST), at(20, &stream[20..], 12)]);
    assert_eq!(run.messages(), [&message(1, 30)[..18]]);
    assert_eq!(run.stats.dropped_bytes, 12);
}

#[test]
fn connections_and_memory_are_bounded() {
    let half = framed(&[message(1, 3000)])[..2000].to_vec();
    let flood = (0..1000_u16).flat_map(|port| {
        [syn(), at(0, &half, 2000)].map(|mut segment| {
            segment.src.set_port(1024 + port);
            segment
        })
    });
    let settings = Settings { connections: 100, bytes: 50_000, ..Settings::default() };
    let mut reassembler = Reassembler::new(settings);
    let mut cut = 0;
    for segment in flood {
        reassembler.push(segment, &mut |message| cut += u64::from(message.true_len == 3000));
        let (connections, bytes) = reassembler.held();
        assert!(connections <= 100 && bytes <= 50_000);
    }
    assert_eq!((cut, reassembler.stats().evicted), (1000 - 25, 1000 - 25), "25 × 2,000 bytes fit");
}

#[test]
fn small_segments_that_came_early_are_bounded_too() {
    let settings = Settings { bytes: 50_000, ..Settings::default() };
    let mut reassembler = Reassembler::new(settings);
    for port in 0..1000_u16 {
        for offset in 0..20 {
            // Every second byte: each waits for the one before it.
            let mut segment = at(1 + 2 * offset, b"x", 1);
            segment.src.set_port(1024 + port);
            reassembler.push(segment, &mut |_| {});
        }
        assert!(reassembler.held().1 <= 50_000);
    }
    let (connections, _) = reassembler.held();
    assert!(connections < 30, "{connections} connections of 19 early segments and about 100 bytes for each");
}

#[test]
fn idle_connections_are_forgotten() {
    let stream = framed(&[message(1, 30)]);
    let mut reassembler = Reassembler::new(Settings::default());
    let mut out = Vec::new();
    reassembler.push(syn(), &mut |message| out.push(message));
    reassembler.push(at(0, &stream[..20], 20), &mut |message| out.push(message));
    reassembler.tick(100_000_000_000, &mut |message| out.push(message));
    assert!(out.is_empty());
    reassembler.tick(121_000_000_000, &mut |message| out.push(message));
    assert_eq!((out.len(), reassembler.stats().idle, reassembler.held()), (1, 1, (0, 0)));
}

#[test]
fn a_message_is_its_segments_senders() {
    let stream = framed(&[message(1, 30), message(2, 30), message(3, 30), message(4, 30)]);
    let by = |tgid: u32, mut segment: Packet| {
        (segment.owner.tgid, segment.owner.grade) = (tgid, grade::EXACT);
        segment
    };
    let part = |from: usize, to: usize| at(from as u32, &stream[from..to], to - from);
    // The process that connects gives the connection away: once whole, once in the middle of a message, and the last
    // segment leaves from softirq.
    let run = play([
        by(42, syn()),
        by(7, part(0, 32)),
        by(42, part(32, 64)),
        by(42, part(64, 80)),
        by(7, part(80, 96)),
        part(96, 128),
        from_server(at(0, &stream, 128)),
    ]);
    let owners: Vec<_> = run.out.iter().map(|packet| (packet.owner.tgid, packet.owner.grade)).collect();
    assert_eq!(
        owners[..4],
        [(7, grade::EXACT), (42, grade::EXACT), (42, grade::INFERRED), (42, grade::INFERRED)]
    );
    assert!(owners[4..].iter().all(|owner| *owner == (0, grade::NONE)), "{owners:?}");
}

#[test]
fn a_segment_that_waits_keeps_its_sender() {
    let stream = framed(&[message(1, 30), message(2, 30)]);
    let mut early = at(32, &stream[32..], 32);
    (early.owner.tgid, early.owner.grade) = (7, grade::EXACT);
    let mut first = at(0, &stream[..32], 32);
    (first.owner.tgid, first.owner.grade) = (42, grade::EXACT);
    let run = play([syn(), early, first]);
    let owners: Vec<_> = run.out.iter().map(|packet| packet.owner.tgid).collect();
    assert_eq!(owners, [42, 7]);
}

#[test]
fn a_record_full_of_a_longer_segment_does_not_end_the_stream() {
    // The kernel splits a segment into records, each with the segment's FIN.
    let stream = framed(&[message(1, 4000)]);
    let parts = stream.chunks(sensor_ebpf::abi::CAP_RESPONSE).scan(0, |offset, chunk| {
        let segment = flagged(at(*offset, chunk, chunk.len()), FIN);
        *offset += chunk.len() as u32;
        Some(from_server(segment))
    });
    let closed = flagged(at(0, b"", 0), FIN);
    let run = play([closed].into_iter().chain(parts));
    assert_eq!(run.messages(), [message(1, 4000)]);
}

prop_compose! {
    fn messages()(lengths in prop::collection::vec(12_usize..600, 1..12)) -> Vec<Vec<u8>> {
        lengths.iter().enumerate().map(|(mark, len)| message(mark as u8 + 1, *len)).collect()
    }
}

proptest! {
    /// Any cutting, repeating, overlapping and reordering (within the bound) of a stream gives the same messages.
    #[test]
    fn any_segmentation_gives_the_same_messages(
        messages in messages(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        repeats in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..10),
        order in prop::collection::vec(any::<u16>(), 64),
        shuffle in any::<bool>(),
    ) {
        let stream = framed(&messages);
        let mut edges: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).chain([0, stream.len()]).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut segments: Vec<_> = edges
            .windows(2)
            .map(|edge| at(edge[0] as u32, &stream[edge[0]..edge[1]], edge[1] - edge[0]))
            .collect();
        for (from, to) in repeats {
            let (from, to) = (from.index(stream.len()), to.index(stream.len()));
            let (from, to) = (from.min(to), from.max(to));
            segments.push(at(from as u32, &stream[from..to], to - from));
        }
        if shuffle {
            let mut keys = order.iter().cycle();
            segments.sort_by_cached_key(|_| *keys.next().unwrap());
        }
        let run = play(std::iter::once(syn()).chain(segments));
        prop_assert_eq!(run.messages(), messages);
    }

    /// Whatever is lost, what comes out is a beginning of a message that was sent, and the byte counts add up.
    #[test]
    fn losses_never_invent_bytes(
        messages in messages(),
        size in 1_usize..300,
        lost in prop::collection::vec(any::<bool>(), 64),
        snap in 1_usize..300,
    ) {
        let stream = framed(&messages);
        let segments = stream.chunks(size).enumerate().filter(|(index, _)| !lost[index % 64]).map(|(index, chunk)| {
            at((index * size) as u32, &chunk[..chunk.len().min(snap)], chunk.len())
        });
        let run = play(std::iter::once(syn()).chain(segments));
        for packet in &run.out {
            let known = messages.iter().any(|message| {
                message.starts_with(&packet.payload) && message.len() == packet.true_len as usize
            });
            prop_assert!(known || run.stats.gaps > 0);
        }
    }

    #[test]
    fn arbitrary_segments_stay_within_bounds(data in prop::collection::vec(any::<u8>(), 0..4000)) {
        fuzz(&data);
    }
}

#[test]
fn a_segment_that_waits_keeps_only_itself() {
    let stream = framed(&[message(1, 30)]);
    let shared = Bytes::from(stream);
    let mut early = at(20, b"", 12);
    early.payload = shared.slice(20..);
    let mut reassembler = Reassembler::new(Settings::default());
    reassembler.push(syn(), &mut |_| panic!("nothing is complete"));
    reassembler.push(early, &mut |_| panic!("nothing is complete"));
    assert_eq!(reassembler.held().0, 1);
    assert!(shared.is_unique(), "the buffer that others share is let go");
}
