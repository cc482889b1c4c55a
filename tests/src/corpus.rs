//! Seeds of the fuzz corpus, one per shape that a parser has to tell apart.

use crate::capture::{self, ETHERNET, Pcap, RAW};
use crate::message::{Message, Name, QR, RD, rtype, txt};
use crate::packet::{ACK, FIN, Frame, SYN};

/// (target, file name, bytes)
pub type Seed = (&'static str, &'static str, Vec<u8>);

/// All of them; `tests/tests/corpus.rs` compares them with what is committed.
pub fn seeds() -> Vec<Seed> {
    let mut out = Vec::new();
    out.extend(frames().into_iter().map(|(name, frame)| ("frame", name, frame.build())));
    out.push(("frame", "v4-raw", Frame::dns_query_v4(query()).packet()));
    out.push(("frame", "v6-raw", v6().udp(40_000, 53).payload(query()).packet()));
    out.extend(messages().into_iter().map(|(name, bytes)| ("message", name, bytes)));
    out.extend(names().into_iter().map(|(name, bytes)| ("name", name, bytes)));
    out.extend(captures().into_iter().map(|(name, bytes)| ("pcap", name, bytes)));
    out.extend(logs().into_iter().map(|(name, text)| ("zeek", name, text.into_bytes())));
    out.extend(taps().into_iter().map(|(name, bytes)| ("dnstap", name, bytes)));
    out.extend(segments().into_iter().map(|(name, segments)| ("reassemble", name, segments.concat())));
    out.extend(captures().into_iter().map(|(name, bytes)| ("pipeline", name, bytes)));
    out.push(("pipeline", "leak", capture::leak(40)));
    out.push(("pipeline", "hostile-names", hostile_names()));
    out.extend(questions().into_iter().map(|(name, text)| ("control", name, text.into_bytes())));
    out.extend(requests().into_iter().map(|(name, text)| ("request", name, text.into_bytes())));
    out
}

fn questions() -> Vec<(&'static str, String)> {
    let ask = |rest: &str| format!("{{\"v\":1,\"command\":{rest}}}\n");
    vec![
        ("status", ask("\"status\"")),
        ("about", ask("\"pdns\",\"about\":\"example.com\"")),
        ("about-nothing", ask("\"explain\"")),
        ("selftest", ask("\"selftest\",\"about\":\"{\\\"show\\\":null}\"")),
        ("unknown", ask("\"\\u001b[2J\\u202e\"")),
        ("other-version", "{\"v\":2,\"command\":\"status\"}\n".to_owned()),
        ("empty", "\n".to_owned()),
        ("deep", "[".repeat(300)),
        ("cut", "{\"v\":1,\"comm".to_owned()),
        ("http", "GET /metrics HTTP/1.1\r\n".to_owned()),
    ]
}

fn requests() -> Vec<(&'static str, String)> {
    let get = |fields: &str| format!("GET /metrics HTTP/1.1\r\n{fields}\r\n");
    vec![
        ("plain", get("Host: localhost:9353\r\n")),
        ("open-metrics", get("Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n")),
        ("head", "HEAD /readyz HTTP/1.0\r\n\r\n".to_owned()),
        ("health", "GET /healthz?x=1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("unknown", "GET /../etc HTTP/1.1\r\n\r\n".to_owned()),
        ("body", get("Content-Length: 5\r\n") + "hello"),
        ("chunked", get("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n"),
        ("post", "POST /metrics HTTP/1.1\r\n\r\n".to_owned()),
        ("cut", "GET /metrics HTTP/1.1\r\nHost: x".to_owned()),
        ("many-fields", get(&"X: y\r\n".repeat(65))),
        ("tls", "\u{16}\u{3}\u{1}\u{2}".to_owned()),
        ("no-field", get("no field\r\n")),
    ]
}

fn query() -> Message {
    Message::query("www.example.com", rtype::A).edns(1232, &[])
}

fn v4() -> Frame {
    Frame::v4([10, 0, 0, 2], [10, 0, 0, 1])
}

fn v6() -> Frame {
    Frame::v6([0xfd00, 0, 0, 0, 0, 0, 0, 2], [0xfd00, 0, 0, 0, 0, 0, 0, 1])
}

fn frames() -> Vec<(&'static str, Frame)> {
    let udp = |frame: Frame| frame.udp(40_000, 53).payload(query());
    let two = [query().prefixed(), query().prefixed()].concat();
    vec![
        ("v4-query", udp(v4())),
        ("v4-response", v4().udp(53, 40_000).payload(response())),
        ("v4-both-53", v4().udp(53, 53).payload(response())),
        ("v4-options", udp(v4().ip_options(&[7, 7, 4, 0, 0, 0, 0]))),
        ("v4-first-fragment", udp(v4().fragment(0, true))),
        ("v4-later-fragment", v4().fragment(185, false).protocol(17).payload(vec![0; 32])),
        ("v4-short-udp-length", udp(v4()).udp_len(7)),
        ("v4-long-udp-length", udp(v4()).udp_len(512)),
        ("v4-bad-header-length", udp(v4()).ihl(4)),
        ("v4-long-total-length", udp(v4()).ip_len(1500)),
        ("v4-cut", udp(v4()).cut(40)),
        ("v4-padded", v4().udp(40_000, 53).payload([1, 2, 3]).pad_to(60)),
        ("v4-empty", v4().udp(40_000, 53)),
        ("v4-vxlan", v4().udp(40_000, 4789).payload(Frame::dns_query_v4(query()).build())),
        ("vlan", udp(v4().vlan(0x8100, 42))),
        ("vlan-double", udp(v4().vlan(0x88a8, 7).vlan(0x8100, 42))),
        ("vlan-triple", udp(v4().vlan(0x88a8, 7).vlan(0x8100, 42).vlan(0x8100, 43))),
        ("v6-query", udp(v6())),
        ("v6-hop-by-hop", udp(v6().hop_by_hop(&[5, 2, 0, 0]))),
        ("v6-destination", udp(v6().destination_options(&[1, 4, 0, 0, 0, 0]))),
        ("v6-routing", udp(v6().routing(&[0, 0, 0, 0, 0, 0]))),
        ("v6-first-fragment", udp(v6().fragment(0, true))),
        ("v6-later-fragment", v6().fragment(185, false).protocol(17).payload(vec![0; 32])),
        ("v6-chain", udp((0..9).fold(v6(), |frame, _| frame.destination_options(&[1, 4, 0, 0, 0, 0])))),
        ("tcp-syn", v4().tcp(40_000, 53, 99).flags(SYN).tcp_options(&[2, 4, 5, 180])),
        ("tcp-two-messages", v4().tcp(40_000, 53, 100).payload(two)),
        ("tcp-half-prefix", v4().tcp(40_000, 53, 100).payload([0])),
        ("tcp-fin", v4().tcp(40_000, 53, 100).flags(FIN | ACK)),
        ("tcp-bad-offset", v4().tcp(40_000, 53, 100).data_offset(4).payload(query().prefixed())),
    ]
}

fn response() -> Message {
    Message::response("www.example.com", rtype::A).answer(rtype::A, 60, [192, 0, 2, 1]).edns(1232, &[])
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let compressed = Name::new().label("mail").pointer(12);
    let message = |name: Name| Message::query(name, rtype::TXT).build();
    vec![
        ("query", query().build()),
        ("response", response().build()),
        ("txt", Message::response("t.example", rtype::TXT).answer(rtype::TXT, 0, txt(&[b'x'; 600])).build()),
        ("null", Message::response("t.example", rtype::NULL).answer(rtype::NULL, 0, [0xaa; 300]).build()),
        (
            "cname",
            Message::response("a.example", rtype::A).answer(rtype::CNAME, 9, compressed.as_bytes()).build(),
        ),
        ("srv", Message::response("a.example", rtype::SRV).answer(rtype::SRV, 9, srv()).build()),
        (
            "soa",
            Message::response("a.example", rtype::A)
                .rcode(3)
                .record(1, "example", rtype::SOA, 1, 9, soa())
                .build(),
        ),
        (
            "cookie",
            Message::query("a.example", rtype::A).edns(1232, &[(10, &[7; 8]), (12, &[0; 20])]).build(),
        ),
        ("trailing", Message::query("a.example", rtype::A).tail(b"after the end").build()),
        ("update", Message::empty().flags(0x2800).question("example", rtype::SOA, 1).build()),
        ("no-question", Message::empty().flags(QR).build()),
        ("two-questions", query().question("b.example", rtype::AAAA, 1).build()),
        ("lying-counts", query().count(1, 9).count(2, 0xffff).build()),
        ("lying-rdlength", response().rdlength(0, 900).build()),
        ("cut-header", query().cut(11).build()),
        ("cut-name", query().cut(20).build()),
        ("cut-class", Message::query("a.example", rtype::A).cut(26).build()),
        ("name-255", message(Name::of_len(255, "example"))),
        ("name-256", message(Name::new().labels([b'a'; 63], 3).label([b'b'; 62]).root())),
        ("labels-127", message(Name::new().labels("a", 127).root())),
        ("labels-128", message(Name::new().labels("a", 128).root())),
        ("label-63", message(Name::new().label([b'a'; 63]).root())),
        ("label-64", message(Name::new().label([b'a'; 64]).root())),
        ("pointer-in-question", message(Name::new().label("a").pointer(12))),
        ("pointer-forward", message(Name::new().pointer(200))),
        ("upper-case", message(Name::from("WwW.eXaMpLe.COM"))),
        (
            "binary-label",
            message(Name::new().label([0, 0x1b, b'[', 0xff, b'.', b'\\']).label("example").root()),
        ),
        ("root", message(Name::from("."))),
        ("qtype-high", Message::empty().flags(RD).question("a.example", 65_399, 255).build()),
        ("two-part-suffix", message(Name::from("www.example.co.uk"))),
    ]
}

fn srv() -> Vec<u8> {
    [&[0, 1, 0, 2, 0, 53], Name::from("target.example").as_bytes()].concat()
}

fn soa() -> Vec<u8> {
    let name = Name::new().pointer(12);
    [name.as_bytes(), name.as_bytes(), &[0; 20]].concat()
}

/// First byte: where in the rest the name begins.
fn names() -> Vec<(&'static str, Vec<u8>)> {
    let at = |start: u8, name: Name| [&[start], name.as_bytes()].concat();
    vec![
        ("plain", at(0, Name::from("www.example.com"))),
        ("pointer", at(9, Name::from("example").label("www").pointer(0))),
        ("pointer-chain", at(13, Name::from("com").label("example").pointer(0).label("www").pointer(5))),
        ("pointer-loop", at(0, Name::new().label("a").pointer(0))),
        ("pointer-to-self", at(0, Name::new().pointer(0))),
        ("pointer-past-end", at(0, Name::new().pointer(0x3fff))),
        ("pointer-cut", at(0, Name::new().label("a").raw(&[0xc0]))),
        ("longest", at(0, Name::of_len(255, ""))),
        ("labels-127", at(0, Name::new().labels("a", 127).root())),
        ("reserved-type", at(0, Name::new().label("a").raw(&[0x40, 1, 2, 0]))),
        ("binary", at(0, Name::new().label([0x1b, b'[', b'2', b'J', 0x7f, 0xe2, 0x80, 0xae]).root())),
        ("unended", at(0, Name::new().label("example"))),
    ]
}

/// Some time in 2023, ns.
const TIME: u64 = 1_700_000_000_123_456_789;

fn captures() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |frame: Frame| (TIME, frame.build());
    let plain = [frame(Frame::dns_query_v4(query())), frame(v4().udp(53, 40_000).payload(response()))];
    let raw = [(TIME, Frame::dns_query_v4(query()).packet())];
    let file = |big_endian, nanos| Pcap { big_endian, nanos }.file(ETHERNET, &plain);
    let cut = |mut bytes: Vec<u8>, by: usize| {
        bytes.truncate(bytes.len() - by);
        bytes
    };
    let with = |mut bytes: Vec<u8>, at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    // Frames behind the link headers that other capture devices write.
    let linked = |link, head: &[u8]| {
        Pcap::default().file(link, &[(TIME, [head, &Frame::dns_query_v4(query()).packet()].concat())])
    };
    let sll = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0];
    let sll2 = [8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    vec![
        ("pcap-little-micro", file(false, false)),
        ("pcap-little-nano", file(false, true)),
        ("pcap-big-micro", file(true, false)),
        ("pcap-big-nano", file(true, true)),
        ("pcap-raw", Pcap::default().file(RAW, &raw)),
        ("pcap-null", linked(0, &[2, 0, 0, 0])),
        ("pcap-loop", linked(108, &[0, 0, 0, 2])),
        ("pcap-sll", linked(113, &sll)),
        ("pcap-sll2", linked(276, &sll2)),
        ("pcap-ipv4", linked(228, &[])),
        ("pcap-wifi", linked(105, &[0; 24])),
        ("pcap-no-records", Pcap::default().file(ETHERNET, &[])),
        ("pcap-cut-record", cut(file(false, false), 9)),
        ("pcap-cut-head", cut(file(false, false), 150)),
        ("pcap-lying-length", with(file(false, false), 32, &[0xff, 0xff, 0xff, 0x7f])),
        ("pcapng", capture::pcapng(ETHERNET, &plain)),
        ("pcapng-raw", capture::pcapng(RAW, &raw)),
        ("pcapng-cut", cut(capture::pcapng(ETHERNET, &plain), 7)),
        (
            "pcapng-unknown-block",
            [capture::pcapng(ETHERNET, &plain), capture::block(0xbad, &[0; 8])].concat(),
        ),
        ("pcapng-lying-length", with(capture::pcapng(ETHERNET, &plain), 4, &[4, 0, 0, 0])),
    ]
}

fn logs() -> Vec<(&'static str, String)> {
    let rows = [
        (1_700_000_000, "www.example.com", "A", Some(0)),
        (1_700_000_001, "x.example", "TXT", None),
        (1_700_000_002, "a\\x00b.example", "NULL", Some(3)),
    ];
    let tsv = capture::zeek_tsv(&rows);
    let json = capture::zeek_json(&rows);
    vec![
        ("tsv", tsv.clone()),
        ("tsv-no-rows", capture::zeek_tsv(&[])),
        ("tsv-cut", tsv[..tsv.len() - 20].to_owned()),
        ("tsv-other-columns", tsv.replace("qtype_name", "qtype")),
        ("tsv-reordered", tsv.replace("#fields\tts\tuid", "#fields\tuid\tts")),
        ("tsv-no-address", tsv.replace("10.0.0.2", "-")),
        ("tsv-bad-time", tsv.replace("1700000000.000000", "yesterday")),
        ("tsv-v6", tsv.replace("10.0.0.2", "fd00::2").replace("10.0.0.1", "fd00::1")),
        ("json", json.clone()),
        ("json-cut", json[..json.len() - 20].to_owned()),
        ("json-missing-query", json.replace("\"query\"", "\"q\"")),
        ("json-nested", "{\"ts\":1,\"answers\":[[[{}]]],\"query\":\"a.example\"}\n".repeat(2)),
        ("json-bad-number", json.replace("40000", "4e9")),
    ]
}

fn taps() -> Vec<(&'static str, Vec<u8>)> {
    let whole = capture::dnstap(&[(1_700_000_000, query().build()), (1_700_000_001, response().build())]);
    let changed = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        bytes
    };
    vec![
        ("whole", whole.clone()),
        ("empty-stream", capture::dnstap(&[])),
        ("no-stop", whole[..whole.len() - 12].to_vec()),
        ("cut-frame", whole[..whole.len() - 30].to_vec()),
        ("cut-start", whole[..20].to_vec()),
        ("other-content", changed(20, b'P')),
        ("lying-frame-length", changed(42, 0xff)),
        ("lying-field-length", changed(47, 0xff)),
        ("other-field", changed(46, 0x7a)),
        ("short-message", capture::dnstap(&[(0, vec![1, 2, 3])])),
    ]
}

/// A segment as `earthdog::reassemble::fuzz` reads it. `control`: 1 from the server, 2 SYN, 4 FIN, 8 RST, upper bits time.
/// The payload is padded to a multiple of four.
fn segment(control: u8, port: u8, seq: u32, payload: &[u8], missing: u8) -> Vec<u8> {
    let words = payload.len().div_ceil(4);
    let mut out = vec![control, port];
    out.extend(seq.to_be_bytes());
    out.extend([words as u8, missing]);
    out.extend(payload);
    out.resize(8 + words * 4, 0);
    out
}

fn segments() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    // 16 bytes of name and type follow the header: 32 with the prefix, so that nothing is padded.
    let one = Message::query("abcd.eee", rtype::TXT).tail(&[0; 4]).prefixed();
    assert_eq!(one.len() % 4, 0, "a padded message would not be followed directly");
    let len = one.len() as u32;
    let two = [&one[..], &one].concat();
    let syn = || segment(2, 0, 99, &[], 0);
    vec![
        ("one", vec![syn(), segment(0, 0, 100, &one, 0)]),
        ("two-in-one", vec![syn(), segment(0, 0, 100, &two, 0), segment(4, 0, 100 + 2 * len, &[], 0)]),
        ("one-in-two", vec![syn(), segment(0, 0, 100, &one[..8], 0), segment(0, 0, 108, &one[8..], 0)]),
        (
            "one-in-many",
            std::iter::once(syn())
                .chain(one.chunks(4).enumerate().map(|(i, part)| segment(0, 0, 100 + 4 * i as u32, part, 0)))
                .collect(),
        ),
        ("out-of-order", vec![syn(), segment(0, 0, 108, &one[8..], 0), segment(0, 0, 100, &one[..8], 0)]),
        ("retransmitted", vec![syn(), segment(0, 0, 100, &one, 0), segment(0, 0, 100, &one, 0)]),
        ("overlapping", vec![syn(), segment(0, 0, 100, &one[..16], 0), segment(0, 0, 108, &one[8..], 0)]),
        ("hole", vec![syn(), segment(0, 0, 100, &one, 0), segment(0xe0, 0, 100 + 3 * len, &two, 0)]),
        (
            "cut-in-capture",
            vec![syn(), segment(0, 0, 100, &one, 200), segment(0, 0, 100 + len + 200, &one, 0)],
        ),
        ("no-syn", vec![segment(0, 0, 5000, &two, 0), segment(1, 0, 9000, &two, 0)]),
        (
            "lying-prefix",
            vec![syn(), segment(0, 0, 100, &[0xff, 0xff, 1, 2], 0), segment(0, 0, 104, &one, 0)],
        ),
        ("prefix-zero", vec![syn(), segment(0, 0, 100, &[0; 64], 0)]),
        ("wrapped-sequence", vec![segment(2, 0, u32::MAX - 8, &[], 0), segment(0, 0, u32::MAX - 7, &two, 0)]),
        ("reset", vec![syn(), segment(0, 0, 100, &one[..8], 0), segment(8, 0, 108, &[], 0), syn()]),
        (
            "two-connections",
            vec![syn(), segment(2, 1, 7, &[], 0), segment(0, 1, 8, &one, 0), segment(0, 0, 100, &one, 0)],
        ),
    ]
}

/// Enough new bytes for a finding, in labels that would repaint a terminal if they reached it.
fn hostile_names() -> Vec<u8> {
    let frame = |number: u32| {
        let mut label = b"\x1b[2J\x9b31m\r\n\"\\".to_vec();
        label.extend(&capture::leaking_name(number).as_bytes()[..40]);
        let name = Name::new().label(label).label(b"\xe2\x80\xae\x07evil").label("example").root();
        let frame = Frame::dns_query_v4(Message::query(name, rtype::A).id(number as u16)).build();
        (TIME + u64::from(number) * 1_000_000, frame)
    };
    Pcap::default().file(ETHERNET, &(0..40).map(frame).collect::<Vec<_>>())
}
