//! Seeds of the fuzz corpus, one per shape that a parser has to tell apart.

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
    out
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
