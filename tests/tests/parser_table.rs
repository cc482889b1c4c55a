//! Packets in, records out: the kernel (`BPF_PROG_TEST_RUN`), the host parser and an independent oracle must agree.
//!
//! Each row says what has to come out. Where bpf() is refused, host parser and oracle are compared and the kernel is
//! skipped aloud. The oracle is etherparse for the frame and domain for the question; rows it has no notion of (cut
//! frames, lying lengths) say so by `Oracle::Silent`.

#![allow(clippy::unwrap_used)] // what the tests share is not marked as a test

use domain::base::Message as Oracular;
use domain::base::name::ToLabelIter as _;
use earthdog_tests::kernel;
use earthdog_tests::message::{Message, Name};
use earthdog_tests::object::{HASH_KEY, Object, Record};
use earthdog_tests::packet::{ACK, ETH_LEN, FIN, Frame, SYN};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use sensor_ebpf::abi::{CAP_QUERY, CAP_RESPONSE, RecordHeader, counter, feature, flag, kind, view};
use sensor_ebpf::frame::{self, Link};
use sensor_ebpf::record;

use Expect::{BadQuestion, Datagram, Nothing, Question, Segment, Skip};
use Oracle::{Agrees, Silent};

/// Programs that see whole frames, and the view each writes.
const PROGRAMS: [(&str, u8); 3] = [
    ("xdp_dns", view::WIRE_INGRESS),
    ("xdp_dns_legacy", view::WIRE_INGRESS),
    ("tc_ingress", view::WIRE_INGRESS),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// A UDP message whose question is (wire length, labels, QTYPE).
    Question(u16, u8, u16),
    /// A UDP message without a question that can be walked.
    BadQuestion,
    /// UDP payload too short for a header.
    Datagram,
    /// A TCP segment.
    Segment,
    /// Counted under a reason.
    Skip(u32),
    /// Not ours: not counted.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oracle {
    Agrees,
    Silent,
}

struct Row {
    name: String,
    frame: Vec<u8>,
    expect: Expect,
    oracle: Oracle,
}

const CLIENT: [u8; 4] = [10, 0, 0, 2];
const SERVER: [u8; 4] = [10, 0, 0, 1];
const CLIENT6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2];
const SERVER6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];

fn v4() -> Frame {
    Frame::v4(CLIENT, SERVER).udp(40_000, 53)
}

fn v6() -> Frame {
    Frame::v6(CLIENT6, SERVER6).udp(40_000, 53)
}

fn ordinary() -> Vec<u8> {
    Message::query("www.example.com", 1).build()
}

/// `www.example.com` of type A.
const ORDINARY: Expect = Question(17, 3, 1);

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: &str, frame: Frame, expect: Expect, oracle: Oracle| {
        rows.push(Row { name: name.to_owned(), frame: frame.build(), expect, oracle });
    };
    row("query", v4().payload(ordinary()), ORDINARY, Agrees);
    row("query over IPv6", v6().payload(ordinary()), ORDINARY, Agrees);
    let answer = Message::response("www.example.com", 1).answer(1, 60, [192, 0, 2, 1]).build();
    row("answer", Frame::v4(SERVER, CLIENT).udp(53, 40_000).payload(answer.clone()), ORDINARY, Agrees);
    row("answer, both ports 53", Frame::v4(SERVER, CLIENT).udp(53, 53).payload(answer), ORDINARY, Agrees);
    row("query, both ports 53", Frame::v4(CLIENT, SERVER).udp(53, 53).payload(ordinary()), ORDINARY, Agrees);
    row("root", v4().payload(Message::query(".", 2).build()), Question(1, 0, 2), Agrees);
    row("one label", v4().payload(Message::query("localhost", 28).build()), Question(11, 1, 28), Agrees);
    row("0x20", v4().payload(Message::query("wWw.ExAmPlE.cOm", 1).build()), ORDINARY, Agrees);
    row(
        "two-part suffix",
        v4().payload(Message::query("www.example.co.uk", 1).build()),
        Question(19, 4, 1),
        Agrees,
    );

    // Lengths at which byte-sized arithmetic wraps.
    for udp_len in (256..=263).chain(512..=519).chain([8 + 1536, 8 + 1537]) {
        let short = ordinary();
        let padded =
            Message::query("www.example.com", 1).tail(&vec![0x5a; udp_len - 8 - short.len()]).build();
        row(&format!("UDP length {udp_len}"), v4().payload(padded), ORDINARY, Silent);
    }
    for frame_len in 82..=106 {
        let name = Name::of_len(frame_len - ETH_LEN - 20 - 8 - 16, "example.com");
        let expect = Question(name.as_bytes().len() as u16, labels(&name), 16);
        row(
            &format!("frame of {frame_len} bytes"),
            v4().payload(Message::query(name, 16).build()),
            expect,
            Agrees,
        );
    }
    for name_len in [63, 64, 65, 127, 128, 191, 192, 235, 247, 248, 249, 254, 255] {
        let name = Name::of_len(name_len, "example.com");
        let expect = Question(name_len as u16, labels(&name), 0x1234);
        row(
            &format!("name of {name_len} bytes"),
            v4().payload(Message::query(name, 0x1234).build()),
            expect,
            Agrees,
        );
    }
    let name = Name::new().label([b'x'; 63]).label("example").label("com").root();
    row("label of 63 bytes", v4().payload(Message::query(name, 1).build()), Question(77, 3, 1), Agrees);
    let name = Name::new().labels("y", 127).root();
    row("127 labels", v4().payload(Message::query(name, 1).build()), Question(255, 127, 1), Agrees);
    let name = Name::new().label([0; 5]).label([0xff; 7]).label("test").root();
    row("bytes that are no text", v4().payload(Message::query(name, 1).build()), Question(20, 3, 1), Agrees);

    // Questions that cannot be walked.
    let name = Name::new().labels("y", 128).root();
    row("name of 257 bytes", v4().payload(Message::query(name, 1).build()), BadQuestion, Silent);
    let name = Name::new().label([b'x'; 63]).label([b'x'; 63]).label([b'x'; 63]).label([b'x'; 63]).root();
    row(
        "name of 257 bytes in four labels",
        v4().payload(Message::query(name, 1).build()),
        BadQuestion,
        Silent,
    );
    let name = Name::new().raw(&[64]).raw(&[b'x'; 64]).root();
    row("label of 64 bytes", v4().payload(Message::query(name, 1).build()), BadQuestion, Silent);
    let name = Name::new().label("www").pointer(12);
    row(
        "compression pointer in the question",
        v4().payload(Message::query(name, 1).build()),
        BadQuestion,
        Silent,
    );
    row("no question", v4().payload(Message::empty().build()), BadQuestion, Silent);
    row("header alone", v4().payload(Message::query("a.b", 1).cut(12).build()), BadQuestion, Silent);
    row(
        "cut before QCLASS ends",
        v4().payload(Message::query("a.b", 1).cut(20).build()),
        BadQuestion,
        Silent,
    );
    row("eleven bytes", v4().payload(vec![7; 11]), Datagram, Silent);
    row("one byte", v4().payload(vec![7]), Datagram, Silent);
    row("no payload", v4(), Skip(counter::SKIP_EMPTY), Silent);

    // Below DNS.
    row("one tag", v4().vlan(0x8100, 42).payload(ordinary()), ORDINARY, Agrees);
    row("two tags", v4().vlan(0x88a8, 7).vlan(0x8100, 42).payload(ordinary()), ORDINARY, Agrees);
    row("two tags, IPv6", v6().vlan(0x88a8, 7).vlan(0x8100, 42).payload(ordinary()), ORDINARY, Agrees);
    let three = v4().vlan(0x88a8, 7).vlan(0x8100, 42).vlan(0x8100, 43);
    row("three tags", three.payload(ordinary()), Skip(counter::SKIP_VLAN_DEPTH), Silent);
    row("IPv4 options", v4().ip_options(&[1; 40]).payload(ordinary()), ORDINARY, Agrees);
    row("hop-by-hop", v6().hop_by_hop(&[1, 4, 0, 0, 0, 0]).payload(ordinary()), ORDINARY, Agrees);
    row("destination options", v6().destination_options(&[1, 12]).payload(ordinary()), ORDINARY, Agrees);
    let both = v6().hop_by_hop(&[1, 4]).destination_options(&[1, 250, 0]).routing(&[4, 0, 0, 0, 0, 0]);
    row("three extension headers", both.payload(ordinary()), ORDINARY, Agrees);
    let many = (0..7).fold(v6(), |frame, _| frame.destination_options(&[1, 4]));
    row("seven extension headers", many.payload(ordinary()), Skip(counter::SKIP_EXT_HEADERS), Silent);
    let six = (0..6).fold(v6(), |frame, _| frame.destination_options(&[1, 4]));
    row("six extension headers", six.payload(ordinary()), ORDINARY, Silent);
    row("first fragment", v4().fragment(0, true).payload(ordinary()), ORDINARY, Silent);
    row("first fragment, IPv6", v6().fragment(0, true).payload(ordinary()), ORDINARY, Silent);
    let later = Frame::v4(CLIENT, SERVER).protocol(17).fragment(185, false).payload(ordinary());
    row("later fragment", later, Skip(counter::SKIP_LATER_FRAGMENT), Silent);
    let later = Frame::v6(CLIENT6, SERVER6).fragment(185, false).protocol(17).payload(ordinary());
    row("later fragment, IPv6", later, Skip(counter::SKIP_LATER_FRAGMENT), Silent);
    let later = Frame::v4(CLIENT, SERVER).protocol(1).fragment(185, false).payload(ordinary());
    row("later fragment of ICMP", later, Nothing, Silent);
    row("header length of 16", v4().ihl(4).payload(ordinary()), Skip(counter::SKIP_BAD_IP), Silent);
    row(
        "total length below the header's",
        v4().ip_len(19).payload(ordinary()),
        Skip(counter::SKIP_BAD_IP),
        Silent,
    );
    row("version 5", v4().ip_version(5).payload(ordinary()), Skip(counter::SKIP_BAD_IP), Silent);
    row("UDP length 7", v4().udp_len(7).payload(ordinary()), Skip(counter::SKIP_BAD_TRANSPORT), Silent);
    row(
        "UDP length beyond IP's",
        v4().udp_len(400).payload(ordinary()),
        Skip(counter::SKIP_BAD_TRANSPORT),
        Silent,
    );
    row(
        "UDP length short of IP's",
        v4().udp_len(8 + 33).payload([ordinary(), vec![9; 50]].concat()),
        ORDINARY,
        Silent,
    );
    row(
        "Ethernet padding",
        v4().payload(Message::query(".", 2).build()).pad_to(64),
        Question(1, 0, 2),
        Agrees,
    );
    row("another port", Frame::v4(CLIENT, SERVER).udp(40_000, 443).payload(ordinary()), Nothing, Silent);
    row("ARP", Frame::ethernet(0x0806).payload(vec![0; 28]), Nothing, Silent);
    row(
        "VXLAN",
        Frame::v4(CLIENT, SERVER).udp(40_000, 4789).payload(ordinary()),
        Skip(counter::SKIP_ENCAPSULATED),
        Silent,
    );
    row(
        "Geneve",
        Frame::v4(CLIENT, SERVER).udp(40_000, 6081).payload(ordinary()),
        Skip(counter::SKIP_ENCAPSULATED),
        Silent,
    );

    // TCP: the kernel hands on segments; user space reassembles them.
    let tcp = || Frame::v4(CLIENT, SERVER).tcp(40_000, 53, 7_000).flags(ACK);
    let message = Message::query("www.example.com", 1).prefixed();
    row("segment", tcp().payload(message.clone()), Segment, Agrees);
    row(
        "two messages in one segment",
        tcp().payload([message.clone(), message.clone()].concat()),
        Segment,
        Agrees,
    );
    row("half a message", tcp().payload(message[..9].to_vec()), Segment, Agrees);
    row("a prefix that lies", tcp().payload([0xff, 0xff, 0, 1]), Segment, Agrees);
    row("segment with options", tcp().tcp_options(&[1; 12]).payload(message.clone()), Segment, Agrees);
    row("SYN", Frame::v4(CLIENT, SERVER).tcp(40_000, 53, 7_000).flags(SYN), Segment, Agrees);
    row("FIN", tcp().flags(ACK | FIN), Segment, Agrees);
    row("bare ACK", tcp(), Skip(counter::SKIP_TCP_ACK), Silent);
    row(
        "data offset of 4 words",
        tcp().data_offset(4).payload(message.clone()),
        Skip(counter::SKIP_BAD_TRANSPORT),
        Silent,
    );
    row("data offset beyond the packet", tcp().data_offset(15), Skip(counter::SKIP_BAD_TRANSPORT), Silent);
    rows
}

#[test]
fn host_kernel_and_oracle_agree() {
    let mut object = match kernel::bpf() {
        Ok(()) => Some(Object::load(feature::DEFAULT).unwrap()),
        Err(reason) => {
            kernel::skip(&format!("kernel side of the table: {reason}"));
            None
        }
    };
    let mut failures = Vec::new();
    let rows = rows();
    for row in &rows {
        let host = host(&row.frame);
        if let Err(problem) = check(row, &host) {
            failures.push(format!("{}: {problem}", row.name));
        }
        if row.oracle == Agrees
            && let Err(problem) = oracle(&row.frame, host.records.first())
        {
            failures.push(format!("{}: oracle: {problem}", row.name));
        }
        let Some(object) = &mut object else { continue };
        for (program, view) in PROGRAMS {
            let kernel = kernel_run(object, program, &row.frame);
            if kernel != host.seen_as(view) {
                failures.push(format!("{}: {program}: {kernel:#?}\nhost: {host:#?}", row.name));
            }
        }
    }
    println!("{} rows", rows.len());
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

/// Cut at every offset, host and kernel still say the same. Before an Ethernet header the kernel takes no packet.
#[test]
fn host_and_kernel_agree_on_truncation() {
    earthdog_tests::require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT).unwrap();
    let frames = [
        v4().vlan(0x88a8, 7).vlan(0x8100, 42).ip_options(&[1; 8]).payload(ordinary()),
        v6().hop_by_hop(&[1, 4]).destination_options(&[1, 4]).payload(ordinary()),
        Frame::v4(CLIENT, SERVER)
            .tcp(40_000, 53, 1)
            .flags(ACK)
            .payload(Message::query("a.example", 1).prefixed()),
    ];
    let mut runs = 0;
    for frame in frames {
        let whole = frame.build();
        for len in ETH_LEN..whole.len() {
            let cut = &whole[..len];
            let host = host(cut);
            for (program, view) in PROGRAMS {
                // bpf_prog_test_run_skb refuses an IP packet without its whole IP header.
                if program == "tc_ingress" && len < ETH_LEN + 40 {
                    continue;
                }
                let kernel = kernel_run(&mut object, program, cut);
                assert_eq!(kernel, host.seen_as(view), "{program}, cut at {len} of {}", whole.len());
                runs += 1;
            }
        }
    }
    println!("{runs} cut packets");
}

/// cgroup hooks see the packet from its network header; what they say is the same.
#[test]
fn host_hooks_agree() {
    earthdog_tests::require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT).unwrap();
    let mut compared = 0;
    for row in rows() {
        let ethertype = u16::from_be_bytes([row.frame[12], row.frame[13]]);
        if !matches!(ethertype, 0x0800 | 0x86dd) {
            continue;
        }
        let expected = host(&row.frame);
        for (program, view) in [("host_egress", view::HOST_EGRESS), ("host_ingress", view::HOST_INGRESS)] {
            let kernel = kernel_run(&mut object, program, &row.frame);
            assert_eq!(kernel, expected.seen_as(view), "{}: {program}", row.name);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

/// Docker's resolver listens at another port than 53; only what sockets send and get is taken for its.
#[test]
fn dockers_resolver_stands_for_port_53_at_sockets() {
    let (app, stub, other) = ([127, 0, 0, 1], [127, 0, 0, 11], [127, 0, 0, 12]);
    let ports = |src: [u8; 4], dst: [u8; 4], tcp: bool, link| {
        let frame = Frame::v4(src, dst);
        let frame = if tcp { frame.tcp(4000, 38_765, 1) } else { frame.udp(4000, 38_765) };
        let packet = frame.payload(Message::query("a.test", 1).build()).packet();
        frame::parse(&packet[..], link).map(|frame| (frame.src_port, frame.dst_port)).ok()
    };
    for tcp in [false, true] {
        assert_eq!(ports(app, stub, tcp, Link::Socket), Some((4000, 53)));
        assert_eq!(ports(stub, app, tcp, Link::Socket), Some((53, 38_765)));
        assert_eq!(ports(app, other, tcp, Link::Socket), None);
        assert_eq!(ports(app, stub, tcp, Link::Ip), None);
    }
}

/// What one packet led to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    records: Vec<Record>,
    skip: Option<u32>,
}

impl Outcome {
    fn seen_as(&self, view: u8) -> Self {
        let mut outcome = self.clone();
        for record in &mut outcome.records {
            record.header.view = view;
        }
        outcome
    }
}

fn host(frame: &[u8]) -> Outcome {
    match record::of_packet(frame, Link::Ethernet, view::WIRE_INGRESS, &HASH_KEY) {
        Ok((header, payload)) => host_records(header, payload, frame),
        Err(skip) => Outcome { records: Vec::new(), skip: skip.counter() },
    }
}

/// The reasons not to make a record of a frame, and the second record of a long segment, as in the kernel.
fn host_records(header: RecordHeader, payload: &[u8], packet: &[u8]) -> Outcome {
    let nothing = |reason| Outcome { records: Vec::new(), skip: Some(reason) };
    let frame = frame::parse(packet, Link::Ethernet).unwrap();
    let opens_or_ends = header.flags & (flag::TCP_SYN | flag::TCP_FIN | flag::TCP_RST) != 0;
    match (header.kind, payload.len()) {
        (kind::SEGMENT, 0) if !opens_or_ends => nothing(counter::SKIP_TCP_ACK),
        (kind::SEGMENT, _) => {
            Outcome { records: vec![Record { header, payload: payload.to_vec() }], skip: None }
        }
        (_, 0) if frame.true_len == 0 => nothing(counter::SKIP_EMPTY),
        (_, 0) => nothing(counter::SKIP_TRUNCATED),
        _ => Outcome { records: vec![Record { header, payload: payload.to_vec() }], skip: None },
    }
}

/// Runs the program once and takes what it put out; every packet passes, and every one seen is accounted for.
fn kernel_run(object: &mut Object, program: &str, packet: &[u8]) -> Outcome {
    let before = object.counters().unwrap();
    let verdict = object.run(program, packet, 1).unwrap().verdict;
    let pass = match program {
        "xdp_dns" | "xdp_dns_legacy" => 2,
        "tc_ingress" => u32::MAX,
        _ => 1,
    };
    assert_eq!(verdict, pass, "{program} has to let every packet pass");
    let after = object.counters().unwrap();
    let moved: Vec<u32> = (0..counter::COUNT).filter(|&i| after[i as usize] != before[i as usize]).collect();
    let mut records = object.drain();
    for out in &mut records {
        out.header.time_ns = 0;
        out.header.ifindex = 0;
    }
    let skip = moved.iter().copied().find(|&i| COUNTED_APART.contains(&i));
    match (records.len(), skip) {
        (1, None) => assert_eq!(moved, [counter::SEEN, counter::DELIVERED], "{program}"),
        (0, Some(reason)) => assert_eq!(moved, [counter::SEEN, reason], "{program}"),
        (0, None) => assert!(moved.is_empty(), "{program}: {moved:?}"),
        other => panic!("{program}: {other:?} from one packet, counters {moved:?}"),
    }
    Outcome { records, skip }
}

const COUNTED_APART: std::ops::RangeInclusive<u32> = counter::SKIP_TRUNCATED..=counter::SKIP_RECORD_OFF;

fn check(row: &Row, outcome: &Outcome) -> Result<(), String> {
    let record = outcome.records.first().map(|record| &record.header);
    let said = match record {
        None => match outcome.skip {
            Some(reason) => Skip(reason),
            None => Nothing,
        },
        Some(h) if h.kind == kind::SEGMENT => Segment,
        Some(h) if h.kind == kind::DATAGRAM => Datagram,
        Some(h) if h.flags & flag::BAD_QUESTION != 0 => BadQuestion,
        Some(h) => Question(h.qname_len, h.labels, h.qtype),
    };
    if said != row.expect {
        return Err(format!("gave {said:?}, expected {:?}", row.expect));
    }
    let Some(header) = record else { return Ok(()) };
    let cap = if header.flags & flag::TO_SERVER != 0 && header.transport == frame::UDP {
        CAP_QUERY
    } else {
        CAP_RESPONSE
    };
    let expected = (header.true_len as usize).min(cap);
    if header.cap_len as usize != expected && header.flags & flag::FRAGMENT == 0 {
        return Err(format!("captured {} of {} bytes, expected {expected}", header.cap_len, header.true_len));
    }
    Ok(())
}

/// The same facts out of etherparse and domain.
fn oracle(packet: &[u8], record: Option<&Record>) -> Result<(), String> {
    let record = record.ok_or("no record")?;
    let header = &record.header;
    let sliced = LaxSlicedPacket::from_ethernet(packet).map_err(|error| error.to_string())?;
    let (src, dst) = match sliced.net.as_ref().ok_or("no network layer")? {
        LaxNetSlice::Ipv4(ip) => {
            (ip.header().source_addr().to_ipv6_mapped(), ip.header().destination_addr().to_ipv6_mapped())
        }
        LaxNetSlice::Ipv6(ip) => (ip.header().source_addr(), ip.header().destination_addr()),
        LaxNetSlice::Arp(_) => return Err("ARP".to_owned()),
    };
    same("source", header.src, src.octets())?;
    same("destination", header.dst, dst.octets())?;
    let mut tags = [0xffff; 2];
    for (tag, id) in tags.iter_mut().zip(sliced.vlan_ids()) {
        *tag = id.value();
    }
    same("VLAN", header.vlan, tags)?;
    let payload = match sliced.transport.as_ref().ok_or("no transport layer")? {
        TransportSlice::Udp(udp) => {
            same("ports", (header.src_port, header.dst_port), (udp.source_port(), udp.destination_port()))?;
            same("transport", header.transport, 17)?;
            udp.payload()
        }
        TransportSlice::Tcp(tcp) => {
            same("ports", (header.src_port, header.dst_port), (tcp.source_port(), tcp.destination_port()))?;
            same("transport", header.transport, 6)?;
            same("sequence number", header.tcp_seq, tcp.sequence_number())?;
            same("SYN", header.flags & flag::TCP_SYN != 0, tcp.syn())?;
            same("FIN", header.flags & flag::TCP_FIN != 0, tcp.fin())?;
            tcp.payload()
        }
        _ => return Err("neither UDP nor TCP".to_owned()),
    };
    same("true length", header.true_len as usize, payload.len())?;
    same("payload", &record.payload[..], &payload[..record.payload.len()])?;
    if header.kind != kind::MESSAGE {
        return Ok(());
    }
    let message = Oracular::from_octets(payload).map_err(|error| error.to_string())?;
    same("QR", header.flags & flag::RESPONSE != 0, message.header().qr())?;
    same("direction", header.flags & flag::TO_SERVER != 0, !message.header().qr())?;
    let question = message.first_question().ok_or("domain finds no question")?;
    same("name length", header.qname_len, question.qname().compose_len())?;
    same("labels", usize::from(header.labels), question.qname().label_count() - 1)?;
    same("QTYPE", header.qtype, question.qtype().to_int())?;
    same("QCLASS", header.qclass, question.qclass().to_int())
}

fn same<T: Copy + PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what}: ours {ours:?}, theirs {theirs:?}")) }
}

fn labels(name: &Name) -> u8 {
    let bytes = name.as_bytes();
    let (mut at, mut count) = (0, 0);
    while bytes[at] != 0 {
        at += usize::from(bytes[at]) + 1;
        count += 1;
    }
    count
}
