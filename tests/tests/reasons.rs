//! Every packet is accounted for, by reason, while nobody reads: the kernel programs under `BPF_PROG_TEST_RUN`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::message::{Message, rtype};
use earthdog_tests::object::Object;
use earthdog_tests::packet::{ACK, Frame, SYN};
use earthdog_tests::{kernel, require};
use rstest::rstest;
use sensor_ebpf::abi::{COUNTER_NAMES, counter, feature};

/// Small enough that a few dozen records fill it.
const RING_BYTES: u32 = 16 * 1024;
const REPEAT: u32 = 500;

#[rstest]
#[case::xdp("xdp_dns", true)]
#[case::xdp_without_frags("xdp_dns_legacy", true)]
#[case::tc("tc_ingress", true)]
#[case::cgroup("host_egress", false)]
fn with_full_rings_every_packet_is_counted_once_by_its_reason(#[case] program: &str, #[case] has_link: bool) {
    require!(kernel::bpf());
    let mut object = Object::load_with_rings(feature::DEFAULT, RING_BYTES, RING_BYTES).unwrap();
    let mut last = object.counters().unwrap();
    for (name, frame, reason) in packets() {
        // A socket's packets begin with IP: nothing else comes that way.
        if !has_link && ["three tags", "ARP"].contains(&name) {
            continue;
        }
        object.run(program, &frame.build(), REPEAT).unwrap();
        let now = object.counters().unwrap();
        let grown = |index: u32| now[index as usize] - last[index as usize];
        let repeat = u64::from(REPEAT);
        let shown = || {
            let those = (0..counter::COUNT).filter(|i| grown(*i) > 0);
            those.map(|i| format!("{} {}", COUNTER_NAMES[i as usize], grown(i))).collect::<Vec<_>>()
        };
        match reason {
            None => assert_eq!(now, last, "{name}: {:?}", shown()),
            Some(counter::DELIVERED) => {
                let lost = grown(counter::LOST_ALERT) + grown(counter::LOST_BULK);
                assert_eq!(grown(counter::SEEN), repeat, "{name}: {:?}", shown());
                assert_eq!(
                    grown(counter::DELIVERED) + lost,
                    repeat + grown(counter::EXTRA),
                    "{name}: {:?}",
                    shown()
                );
                assert!(lost > 0, "{name} did not fill its ring: {:?}", shown());
            }
            Some(reason) => {
                assert_eq!((grown(counter::SEEN), grown(reason)), (repeat, repeat), "{name}: {:?}", shown());
                assert_eq!(shown().len(), 2, "{name}: {:?}", shown());
            }
        }
        last = now;
    }
    // Read out what was delivered: neither more nor less, and the rings take records again.
    assert_eq!(object.drain().len() as u64, last[counter::DELIVERED as usize]);
    object.run(program, &query(rtype::A).build(), 10).unwrap();
    assert_eq!(object.drain().len(), 10);
}

#[test]
fn with_records_off_each_is_counted_as_not_asked_for() {
    require!(kernel::bpf());
    let features = feature::DEFAULT & !feature::RECORD;
    let mut object = Object::load_with_rings(features, RING_BYTES, RING_BYTES).unwrap();
    object.run("xdp_dns", &query(rtype::A).build(), REPEAT).unwrap();
    let counters = object.counters().unwrap();
    assert_eq!(counters[counter::SEEN as usize], u64::from(REPEAT));
    assert_eq!(counters[counter::SKIP_RECORD_OFF as usize], u64::from(REPEAT));
    assert_eq!(object.drain().len(), 0);
}

fn query(qtype: u16) -> Frame {
    Frame::dns_query_v4(Message::query("www.example.com", qtype))
}

fn v4() -> Frame {
    Frame::v4([10, 0, 0, 2], [10, 0, 0, 1])
}

/// Name, packet, and what it counts as: `DELIVERED` stands for delivered or lost, `None` for not at all.
fn packets() -> Vec<(&'static str, Frame, Option<u32>)> {
    let v6 = || Frame::v6([0xfd00, 0, 0, 0, 0, 0, 0, 2], [0xfd00, 0, 0, 0, 0, 0, 0, 1]);
    let later = |frame: Frame| frame.fragment(185, false).protocol(17).payload(vec![0; 64]);
    let long = vec![0x55; 3000];
    vec![
        ("query", query(rtype::A), Some(counter::DELIVERED)),
        ("query for TXT, small ring first", query(rtype::TXT), Some(counter::DELIVERED)),
        ("bad question", v4().udp(40_000, 53).payload(vec![0xff; 40]), Some(counter::DELIVERED)),
        ("not DNS", v4().udp(40_000, 53).payload([1, 2, 3]), Some(counter::DELIVERED)),
        ("SYN", v4().tcp(40_000, 53, 7).flags(SYN), Some(counter::DELIVERED)),
        ("TCP payload of several records", v4().tcp(40_000, 53, 8).payload(long), Some(counter::DELIVERED)),
        ("UDP header cut", query(rtype::A).cut(38), Some(counter::SKIP_TRUNCATED)),
        ("IPv4 header length 16", query(rtype::A).ihl(4), Some(counter::SKIP_BAD_IP)),
        ("IPv4 total length 10", query(rtype::A).ip_len(10), Some(counter::SKIP_BAD_IP)),
        ("UDP length 7", query(rtype::A).udp_len(7), Some(counter::SKIP_BAD_TRANSPORT)),
        ("TCP data offset 16", v4().tcp(40_000, 53, 9).data_offset(4), Some(counter::SKIP_BAD_TRANSPORT)),
        ("later fragment", later(v4()), Some(counter::SKIP_LATER_FRAGMENT)),
        ("later fragment, IPv6", later(v6()), Some(counter::SKIP_LATER_FRAGMENT)),
        (
            "extension headers without end",
            (0..20).fold(v6(), |frame, _| frame.destination_options(&[1, 4, 0, 0, 0, 0])).udp(40_000, 53),
            Some(counter::SKIP_EXT_HEADERS),
        ),
        (
            "three tags",
            query(rtype::A).vlan(0x88a8, 1).vlan(0x8100, 2).vlan(0x8100, 3),
            Some(counter::SKIP_VLAN_DEPTH),
        ),
        (
            "VXLAN",
            v4().udp(40_000, 4789)
                .payload([&[8, 0, 0, 0, 0, 0, 1, 0], &query(rtype::A).build()[..]].concat()),
            Some(counter::SKIP_ENCAPSULATED),
        ),
        ("no payload", v4().udp(40_000, 53), Some(counter::SKIP_EMPTY)),
        ("bare ACK", v4().tcp(40_000, 53, 10).flags(ACK), Some(counter::SKIP_TCP_ACK)),
        ("HTTP", v4().tcp(40_000, 80, 1).payload(*b"GET / HTTP/1.0\r\n\r\n"), None),
        ("QUIC", v4().udp(40_000, 443).payload(vec![0xc0; 1200]), None),
        ("ARP", Frame::ethernet(0x0806).payload(vec![0; 46]), None),
        ("ICMP", v4().protocol(1).payload(vec![8; 56]), None),
    ]
}
