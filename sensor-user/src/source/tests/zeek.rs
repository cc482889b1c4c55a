//! Zeek rows, read back with another parser.

use domain::base::{Message, ParsedName, Rtype};
use domain::rdata::AllRecordData;

use super::{build::gzip, damage, packets, read};
use crate::event::{Packet, Transport};
use crate::source::Format;

pub(super) const LOG: &str = "#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tdns
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\trtt\tquery\tqclass\tqclass_name\tqtype\tqtype_name\trcode\trcode_name\tAA\tTC\tRD\tRA\tZ\tanswers\tTTLs\trejected
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tcount\tinterval\tstring\tcount\tstring\tcount\tstring\tcount\tstring\tbool\tbool\tbool\tbool\tcount\tvector[string]\tvector[interval]\tbool
1700000000.000001\tC1\t192.0.2.1\t40000\t192.0.2.53\t53\tudp\t4660\t0.250000\twww.example\t1\tC_INTERNET\t1\tA\t0\tNOERROR\tF\tF\tT\tT\t0\talias.example,198.51.100.7,2001:db8::7\t60.000000,61.000000,62.000000\tF
1700000001.000000\tC2\t2001:db8::1\t40001\t2001:db8::53\t53\ttcp\t1\t-\ta\\x2cb\\x09c.example\t1\tC_INTERNET\t16\tTXT\t0\tNOERROR\tT\tF\tT\tF\t0\tTXT 5 hel\\x2co TXT 3 you\t1.500000\tF
1700000002.000000\tC3\t192.0.2.1\t40002\t192.0.2.53\t53\tudp\t2\t-\tlost.example\t1\tC_INTERNET\t28\tAAAA\t-\t-\tF\tF\tT\tF\t0\t-\t-\tF
1700000003.000000\tC4\t192.0.2.1\t5353\t224.0.0.251\t5353\tudp\t0\t-\t_ipp._tcp.local\t1\tC_INTERNET\t12\tPTR\t-\t-\tF\tF\tF\tF\t0\t-\t-\tF
1700000004.000000\tC5\t192.0.2.1\t40004\t192.0.2.53\t53\tudp\t4\t0.1\tmail.example\t1\tC_INTERNET\t15\tMX\t0\tNOERROR\tF\tF\tT\tT\t0\tmx.example\t5.0\tF
1700000005.000000\tC6\t192.0.2.1\t40005\t192.0.2.53\t53\tudp\t5\t0.1\t(empty)\t1\tC_INTERNET\t2\tNS\t3\tNXDOMAIN\tF\tF\tT\tT\t0\t(empty)\t-\tF
#close\t2023-11-14-22-13-21
";

pub(super) const JSON: &str = r#"{"ts":1700000000.000001,"uid":"C1","id.orig_h":"192.0.2.1","id.orig_p":40000,"id.resp_h":"192.0.2.53","id.resp_p":53,"proto":"udp","trans_id":4660,"rtt":0.25,"query":"www.example","qclass":1,"qtype":1,"rcode":0,"AA":false,"TC":false,"RD":true,"RA":true,"Z":0,"answers":["alias.example","198.51.100.7","2001:db8::7"],"TTLs":[60.0,61.0,62.0],"rejected":false}
{"ts":"2023-11-14T22:13:21.000000Z","id.orig_h":"2001:db8::1","id.orig_p":40001,"id.resp_h":"2001:db8::53","id.resp_p":53,"proto":"tcp","trans_id":1,"query":"a,b\\x09c.example","qclass":1,"qtype":16,"rcode":0,"AA":true,"TC":false,"RD":true,"RA":false,"Z":0,"answers":["TXT 5 hel,o TXT 3 you"],"TTLs":[1.5]}
{"ts":1700000002.0,"id.orig_h":"192.0.2.1","id.orig_p":40002,"id.resp_h":"192.0.2.53","id.resp_p":53,"proto":"udp","trans_id":2,"query":"lost.example","qclass":1,"qtype":28,"RD":true}
"#;

fn answers(packet: &Packet) -> Vec<String> {
    let message = Message::from_octets(packet.payload.clone()).unwrap();
    let mut out = Vec::new();
    for record in message.answer().unwrap() {
        let record = record.unwrap();
        let record = record.to_record::<AllRecordData<_, ParsedName<_>>>().unwrap().unwrap();
        out.push(format!(
            "{} {} {} {}",
            record.owner(),
            record.ttl().as_secs(),
            record.rtype(),
            record.data()
        ));
    }
    out
}

fn question(packet: &Packet) -> (String, Rtype) {
    let message = Message::from_octets(packet.payload.clone()).unwrap();
    let question = message.sole_question().unwrap();
    (question.qname().to_string(), question.qtype())
}

#[test]
fn rows_become_the_messages_they_were() {
    let read = read(LOG.as_bytes());
    assert_eq!(read.result.as_ref().unwrap(), &Format::ZeekTsv);
    let [query, response, txt_query, txt, lost, mx_query, mx, _, root] = &read.packets[..] else {
        panic!("{} packets", read.packets.len())
    };
    assert_eq!(read.tally.records, 6);
    assert_eq!(read.tally.skipped.get("other_traffic"), Some(&1));

    assert_eq!((query.time_ns, response.time_ns), (1_700_000_000_000_001_000, 1_700_000_000_250_001_000));
    assert_eq!((query.src, query.dst), (response.dst, response.src));
    assert_eq!(&query.payload[..4], [0x12, 0x34, 0x01, 0x00]);
    assert_eq!(&response.payload[..4], [0x12, 0x34, 0x81, 0x80]);
    assert_eq!(question(query), ("www.example".into(), Rtype::A));
    assert_eq!(question(response), question(query));
    assert_eq!(
        answers(response),
        [
            "www.example 60 CNAME alias.example.",
            "alias.example 61 A 198.51.100.7",
            "alias.example 62 AAAA 2001:db8::7"
        ]
    );

    assert_eq!((txt_query.transport, txt.transport), (Transport::Tcp, Transport::Tcp));
    assert_eq!(question(txt_query), ("a,b\\009c.example".into(), Rtype::TXT));
    assert_eq!(answers(txt), ["a,b\\009c.example 1 TXT \"hel,o\" \"you\""]);
    assert_eq!(&txt.payload[2..4], [0x85, 0x00]);

    assert_eq!(question(lost), ("lost.example".into(), Rtype::AAAA));
    assert_eq!(question(mx_query).1, Rtype::MX);
    assert_eq!(answers(mx), ["mail.example 5 MX 0 mx.example."]);
    assert_eq!((question(root), answers(root).len()), ((String::new(), Rtype::NS), 0));
    assert_eq!(root.payload[3] & 0x0f, 3);
}

#[test]
fn json_rows_give_the_same_messages() {
    let tsv = packets(LOG.as_bytes());
    for file in [JSON.as_bytes().to_vec(), gzip(JSON.as_bytes())] {
        let json = packets(&file);
        assert_eq!(json.len(), 5);
        for (json, tsv) in json.iter().zip(&tsv) {
            assert_eq!((json.time_ns, json.src, json.dst), (tsv.time_ns, tsv.src, tsv.dst));
            assert_eq!(json.payload, tsv.payload);
        }
    }
}

#[test]
fn names_that_cannot_be_are_counted() {
    let row = LOG.lines().find(|line| line.contains("lost.example")).unwrap();
    let header = LOG.lines().take(7).collect::<Vec<_>>().join("\n");
    let names = ["a".repeat(64), vec!["a".repeat(63); 4].join(".") + ".example", "a..b".into()];
    let mut log = header + "\n";
    for name in &names {
        log += &(row.replace("lost.example", name) + "\n");
    }
    log += &(row.replace("192.0.2.1", "not an address") + "\n");
    let read = read(log.as_bytes());
    assert!(read.result.is_ok() && read.packets.is_empty());
    let skipped: Vec<_> = read.tally.skipped.into_iter().collect();
    assert_eq!(skipped, [("zeek_bad_name", 3), ("zeek_bad_value", 1)]);
}

#[test]
fn a_row_that_is_no_row_is_damage() {
    let at = LOG.find("1700000002").unwrap();
    // Cut inside the third row.
    let cut = read(&LOG.as_bytes()[..at + 60]);
    assert_eq!((damage(&cut), cut.packets.len()), ((at as u64, false), 4));
    let garbled = LOG.replacen("\tlost.example", "", 1);
    let garbled = read(garbled.as_bytes());
    assert_eq!((damage(&garbled), garbled.packets.len()), ((at as u64, false), 4));
    let at = JSON.find("{\"ts\":1700000002").unwrap();
    let cut = read(&JSON.as_bytes()[..at + 60]);
    assert_eq!((damage(&cut), cut.packets.len()), ((at as u64, false), 4));
}
