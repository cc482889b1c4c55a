//! The flow map: its counters exactly, also when their words are carried over, and what is one flow.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use earthdog_tests::message::{Message, rtype};
use earthdog_tests::object::{FLOW_SETS, Object};
use earthdog_tests::packet::Frame;
use earthdog_tests::{kernel, require};
use sensor_ebpf::abi::{CARRY, FLOW_PLACES, class, counter, feature};

const NAME: &str = "www.carried.example";
/// As in the wire format, with the root label.
const NAME_LEN: u64 = NAME.len() as u64 + 2;

/// More than three times as many as one word counts before it is carried.
const RUNS: u32 = 7 * CARRY as u32 + 11;

#[test]
fn a_flow_counts_every_message_however_many() {
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT & !feature::RECORD).unwrap();
    let query = Message::query(NAME, rtype::TXT).build();
    let answer = Message::response(NAME, rtype::TXT).build();
    let (client, server) = ([10, 0, 0, 2], [10, 0, 0, 1]);
    let asked = Frame::v4(client, server).udp(40_000, 53).payload(query.clone()).build();
    let answered = Frame::v4(server, client).udp(53, 40_000).payload(answer.clone()).build();
    for packet in [&asked, &answered] {
        object.run("tc_ingress", packet, RUNS).unwrap();
    }
    let flows = object.flows().unwrap();
    let [flow] = &flows[..] else { panic!("one flow was expected: {flows:?}") };
    let counted = flow.counters();
    let runs = u64::from(RUNS);
    assert!(flow.carried[class::QTYPE + 2] >= 6, "nothing was carried: {flow:?}");
    assert_eq!((counted.queries(), counted.responses()), (runs, runs));
    assert_eq!((counted.packets[class::QTYPE + 2], counted.packets[class::RCODE]), (runs, runs));
    assert_eq!(counted.query_bytes, runs * query.len() as u64);
    assert_eq!(counted.response_bytes, runs * answer.len() as u64);
    assert_eq!(
        (counted.name_len_sum, counted.name_len_sq_sum),
        (runs * NAME_LEN, runs * NAME_LEN * NAME_LEN)
    );
    assert_eq!(u64::from(flow.name_len_max), NAME_LEN);
    assert_eq!((flow.client[12..].to_vec(), flow.server[12..].to_vec()), (client.to_vec(), server.to_vec()));
    assert_eq!((flow.side, flow.transport, flow.carrying), (1, 17, 0));
}

#[test]
fn flows_are_told_apart_by_client_server_zone_and_transport() {
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT & !feature::RECORD).unwrap();
    let query = |name: &str| Message::query(name, rtype::A).build();
    let udp = |client: u8, server: u8, name: &str| {
        Frame::v4([10, 0, 0, client], [10, 0, 1, server]).udp(40_000, 53).payload(query(name)).build()
    };
    let tcp = Frame::v4([10, 0, 0, 1], [10, 0, 1, 1])
        .tcp(40_000, 53, 1)
        .payload(Message::query("a.one.example", rtype::A).prefixed())
        .build();
    let packets = [
        udp(1, 1, "a.one.example"),
        udp(1, 1, "B.ONE.example"),
        udp(2, 1, "a.one.example"),
        udp(1, 2, "a.one.example"),
        udp(1, 1, "a.two.example"),
        // The other way round: host 1 asks 2 as 2 asks 1 elsewhere.
        Frame::v4([10, 0, 1, 1], [10, 0, 0, 1]).udp(40_000, 53).payload(query("a.one.example")).build(),
        tcp,
    ];
    for packet in &packets {
        object.run("tc_ingress", packet, 1).unwrap();
    }
    let mut queries: Vec<_> = object.flows().unwrap().iter().map(|flow| flow.counters().queries()).collect();
    queries.sort_unstable();
    assert_eq!(queries, [1, 1, 1, 1, 1, 2], "only the letter case does not matter");
}

#[test]
fn where_a_set_is_full_the_quietest_flow_makes_way_and_is_counted() {
    const FLOWS: u16 = 600;
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT & !feature::RECORD).unwrap();
    let query = Message::query("a.one.example", rtype::A).build();
    let from = |client: u16| {
        let [high, low] = client.to_be_bytes();
        Frame::v4([10, 1, high, low], [10, 0, 0, 1]).udp(40_000, 53).payload(query.clone()).build()
    };
    let busy = from(FLOWS);
    for client in 0..FLOWS {
        object.run("tc_ingress", &from(client), 1).unwrap();
        object.run("tc_ingress", &busy, 1).unwrap();
    }
    let flows = object.flows().unwrap();
    let of = |client: u16| {
        let last = client.to_be_bytes();
        flows.iter().find(|flow| flow.client[14..] == last).map(|flow| flow.counters().queries())
    };
    assert_eq!(of(FLOWS), Some(u64::from(FLOWS)), "a flow that goes on is never the quietest");
    assert_eq!(of(FLOWS - 1), Some(1), "nor is the newest");
    // Addresses that follow each other spread over the sets.
    assert_eq!(flows.len(), FLOW_SETS as usize * FLOW_PLACES, "places that stayed free");
    let counters = object.counters().unwrap();
    let gone = usize::from(FLOWS) + 1 - flows.len();
    assert_eq!(counters[counter::FLOW_EVICTED as usize], gone as u64);
    assert_eq!(counters[counter::FLOW_FULL as usize], 0);
}
