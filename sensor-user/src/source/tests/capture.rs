//! pcap and pcapng: byte orders, resolutions, link types.

use rstest::rstest;

use super::{
    build::{CLIENT, Pcap, Pcapng, QUERY, SERVER, ethernet, gzip, ipv4, ipv6, record},
    packets, read, refusal,
};
use crate::event::{Kind, Packet, Transport, View};
use crate::source::Format;

#[track_caller]
fn assert_is_the_query(packet: &Packet) {
    assert_eq!(packet.payload, QUERY);
    assert_eq!(packet.true_len as usize, QUERY.len());
    assert_eq!((packet.kind, packet.transport, packet.view), (Kind::Message, Transport::Udp, View::Capture));
    assert_eq!(packet.flags, sensor_ebpf::abi::flag::TO_SERVER);
}

#[rstest]
fn byte_orders_and_resolutions(#[values(false, true)] big: bool, #[values(false, true)] nanoseconds: bool) {
    let layout = Pcap { big, nanoseconds, link: 1 };
    let file = layout.file(&[record(ethernet(&ipv4(QUERY)))]);
    for file in [&file, &gzip(&file)] {
        let [packet] = &packets(file)[..] else { panic!("one packet") };
        assert_is_the_query(packet);
        assert_eq!((packet.src, packet.dst), (CLIENT.parse().unwrap(), SERVER.parse().unwrap()));
        let unit = if nanoseconds { 1 } else { 1000 };
        assert_eq!(packet.time_ns, 1_700_000_000_000_000_000 + 123_456 * unit);
    }
}

#[rstest]
#[case::ethernet(1, &[&[2; 12][..], &[8, 0]].concat())]
#[case::ethernet_with_fcs_length(0x1400_0001, &[&[2; 12][..], &[8, 0]].concat())]
#[case::ethernet_tagged(1, &[&[2; 12][..], &[0x81, 0, 0, 7, 8, 0]].concat())]
#[case::raw(101, &[])]
#[case::raw_12(12, &[])]
#[case::raw_14(14, &[])]
#[case::ipv4(228, &[])]
#[case::null_little(0, &[2, 0, 0, 0])]
#[case::null_big(0, &[0, 0, 0, 2])]
#[case::loopback(108, &[0, 0, 0, 2])]
#[case::sll(113, &[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 8, 0])]
#[case::sll_tagged(113, &[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 0x81, 0, 0, 7, 8, 0])]
#[case::sll2(276, &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0])]
fn link_types(#[case] link: u32, #[case] header: &[u8]) {
    let frame = [header, &ipv4(QUERY)].concat();
    let [packet] = &packets(&Pcap { link, ..Pcap::USUAL }.file(&[record(frame)]))[..] else {
        panic!("one packet")
    };
    assert_is_the_query(packet);
    let tagged = header.windows(2).any(|pair| pair == [0x81, 0]);
    assert_eq!(packet.vlan, [tagged.then_some(7), None]);
}

#[rstest]
#[case::ipv6(229, &[])]
#[case::null_linux(0, &[10, 0, 0, 0])]
#[case::null_darwin(0, &[30, 0, 0, 0])]
#[case::sll2(276, &[0x86, 0xdd, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0])]
fn link_types_over_ipv6(#[case] link: u32, #[case] header: &[u8]) {
    let frame = [header, &ipv6(QUERY)].concat();
    let [packet] = &packets(&Pcap { link, ..Pcap::USUAL }.file(&[record(frame)]))[..] else {
        panic!("one packet")
    };
    assert_is_the_query(packet);
    assert_eq!(packet.src, "[2001:db8::1]:40000".parse().unwrap());
}

#[rstest]
#[case(105, "link type 105 (IEEE 802.11)")]
#[case(189, "link type 189 (Linux USB)")]
#[case(9999, "link type 9999 (unknown)")]
fn other_link_types_are_named_and_refused(#[case] link: u32, #[case] says: &str) {
    let pcap = Pcap { link, ..Pcap::USUAL }.file(&[record(ethernet(&ipv4(QUERY)))]);
    let mut pcapng = Pcapng::new(false);
    pcapng.interface(link as u16, 0, &[]);
    pcapng.packet(0, 1, &ethernet(&ipv4(QUERY)), 100);
    for file in [pcap, pcapng.file] {
        let message = refusal(&file);
        assert!(message.contains(says) && message.contains("Ethernet (1)"), "{message}");
    }
}

#[test]
fn frames_without_dns_are_counted_by_reason() {
    let mut web = ethernet(&ipv4(QUERY));
    web[36..38].copy_from_slice(&[0, 80]);
    let mut later_fragment = ethernet(&ipv4(QUERY));
    later_fragment[20..22].copy_from_slice(&[0, 100]);
    let snapped = ethernet(&ipv4(QUERY))[..60].to_vec();
    let file = Pcap::USUAL.file(&[
        record(web),
        record(later_fragment),
        record(ethernet(&ipv4(b""))),
        record(ethernet(&ipv4(QUERY))[..30].to_vec()),
        record(vec![]),
        (1, 0, snapped, 71),
        record(ethernet(&ipv4(b"short"))),
    ]);
    let read = read(&file);
    assert_eq!(read.result.unwrap(), Format::Pcap);
    let skipped: Vec<_> = read.tally.skipped.into_iter().collect();
    assert_eq!(
        skipped,
        [("other_traffic", 1), ("skip_empty", 1), ("skip_later_fragment", 1), ("skip_truncated", 2)]
    );
    assert_eq!((read.tally.records, read.tally.snapped), (7, 1));
    let [cut, short] = &read.packets[..] else { panic!("two packets") };
    assert_eq!((cut.payload.len(), cut.true_len as usize, cut.kind), (18, QUERY.len(), Kind::Message));
    assert_eq!(short.kind, Kind::Datagram);
}

#[rstest]
fn pcapng_interfaces_have_their_own_link_and_clock(#[values(false, true)] big: bool) {
    let frame = ethernet(&ipv4(QUERY));
    let mut file = Pcapng::new(big);
    let offset = if big { 1000_i64.to_be_bytes() } else { 1000_i64.to_le_bytes() };
    file.interface(1, 0, &[]);
    file.interface(101, 0, &[(2, b"eth1".to_vec()), (9, vec![9]), (0, vec![])]);
    file.interface(1, 0, &[(9, vec![3])]);
    file.interface(1, 0, &[(9, vec![0x94]), (14, offset.to_vec())]);
    file.interface(1, 0, &[(9, vec![120])]);
    // Name resolution, statistics and a block nobody has defined.
    file.block(4, &[1; 20]);
    file.block(5, &[0; 12]);
    file.block(0x0bad_cafe, &[7; 100]);
    file.packet(0, 1_700_000_000_000_001, &frame, frame.len() as u32);
    file.packet(1, 1_700_000_000_000_000_001, &ipv4(QUERY), 57);
    file.packet(2, 1_700_000_000_001, &frame, frame.len() as u32);
    file.packet(3, (5 << 20) + (1 << 19), &frame, frame.len() as u32);
    file.packet(4, 1, &frame, 2000);
    let read = read(&file.file);
    assert_eq!(read.result.unwrap(), Format::Pcapng);
    read.packets.iter().for_each(assert_is_the_query);
    let times: Vec<_> = read.packets.iter().map(|packet| packet.time_ns).collect();
    assert_eq!(
        times,
        [
            1_700_000_000_000_001_000,
            1_700_000_000_000_000_001,
            1_700_000_000_001_000_000,
            1_005_500_000_000,
            0
        ]
    );
    assert_eq!(read.tally.snapped, 1);
}

#[test]
fn pcapng_sections_may_change_the_byte_order_and_forget_interfaces() {
    let frame = ethernet(&ipv4(QUERY));
    let mut first = Pcapng::new(false);
    first.interface(1, 0, &[]);
    first.packet(0, 1, &frame, 71);
    let mut second = Pcapng::new(true);
    second.interface(101, 0, &[]);
    second.packet(0, 2, &ipv4(QUERY), 57);
    assert_eq!(packets(&[first.file.clone(), second.file].concat()).len(), 2);
    let mut bare = Pcapng::new(true);
    bare.packet(0, 2, &frame, 71);
    let read = read(&[first.file.clone(), bare.file].concat());
    let at = first.file.len() as u64 + 28;
    assert_eq!((super::damage(&read), read.packets.len()), ((at, false), 1));
}

#[test]
fn pcapng_simple_and_old_packet_blocks() {
    let frame = ethernet(&ipv4(QUERY));
    let len = frame.len() as u32;
    let mut file = Pcapng::new(false);
    file.interface(1, 60, &[]);
    // Simple: the snap length of the first interface cuts it.
    file.block(3, &[&file.u32(len)[..], &frame[..60]].concat());
    // Old: interface and drops in 16 bits.
    let fields = [[0; 4], [0; 4], 9_u32.to_le_bytes(), len.to_le_bytes(), len.to_le_bytes()].concat();
    file.block(2, &[fields, frame].concat());
    let read = read(&file.file);
    assert!(read.result.is_ok(), "{:?}", read.result);
    let [simple, old] = &read.packets[..] else { panic!("two packets: {:?}", read.tally) };
    assert_eq!((simple.payload.len(), simple.true_len as usize), (18, QUERY.len()));
    assert_is_the_query(old);
    assert_eq!(old.time_ns, 9000);
}
