//! What the fuzz targets check, as functions: the targets under `tests/fuzz` feed them mutated bytes, and
//! `tests/tests/corpus.rs` the committed seeds, without a fuzzer.

use std::io::Cursor;
use std::ops::ControlFlow;

use earthdog::config::OcsfVersion;
use earthdog::dns::{Canonical, Message, Name};
use earthdog::escape::escape;
use earthdog::finding::{Finding, Origin};
use earthdog::live::metrics::request::{HEAD_MAX, Refusal, parse};
use earthdog::pipeline::{self, Pipeline};
use earthdog::sink;
use earthdog::source::{self, Format};
use sensor_ebpf::abi::{CAP_RESPONSE, flag, kind, view};
use sensor_ebpf::describe;
use sensor_ebpf::frame::Link;
use sensor_ebpf::{question, record};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target by the name of its binary and of its corpus folder.
pub const TARGETS: [(&str, Target); 10] = [
    ("frame", frame),
    ("message", message),
    ("name", name),
    ("pcap", pcap),
    ("zeek", zeek),
    ("dnstap", dnstap),
    ("reassemble", reassemble),
    ("pipeline", pipeline),
    ("request", request),
    ("control", control),
];

/// Any frame, as Ethernet and as bare IP, through the parser the kernel runs.
pub fn frame(data: &[u8]) {
    for link in [Link::Ethernet, Link::Ip, Link::Socket] {
        let Ok((header, payload)) = record::of_packet(data, link, view::WIRE_INGRESS, &KEY) else {
            continue;
        };
        assert_eq!(header.cap_len as usize, payload.len());
        assert!(payload.len() <= CAP_RESPONSE && payload.len() <= data.len());
        assert!(header.src_port == 53 || header.dst_port == 53);
        assert!(header.qname_len <= 255 && header.labels <= 127);
        if header.flags & flag::BAD_QUESTION != 0 || header.kind != kind::MESSAGE {
            assert_eq!((header.qname_len, header.name_hash, header.zone_hash), (0, 0, 0));
        }
        if header.kind == kind::MESSAGE {
            message(payload);
        }
    }
}

/// Any bytes as a line to the control socket, whose clients send 4,096 at most.
pub fn control(data: &[u8]) {
    earthdog::live::control::fuzz(&data[..data.len().min(4096)]);
}

/// Any bytes as a request to the metrics' endpoint, whole and as they come: what is refused early stays refused, and no
/// head goes on for ever.
pub fn request(data: &[u8]) {
    let whole = parse(data);
    assert!(whole.is_some() || data.len() < HEAD_MAX);
    for end in 0..data.len().min(256) {
        if let Some(first) = parse(&data[..end]) {
            // More bytes can only make a head that is complete or wrong one that is too long.
            assert!(
                whole == Some(first) || whole == Some(Err(Refusal::TooLarge)),
                "{first:?}, then {whole:?}"
            );
            break;
        }
    }
}

/// The name hash key of every target.
const KEY: [u64; question::KEY_WORDS] = question::key_of_seed(5);

/// Any bytes as a DNS message; what the kernel's walk takes, the full view must take and read the same.
pub fn message(data: &[u8]) {
    earthdog::dns::fuzz(data);
    let Some(kernel) = describe::question_of(data) else { return };
    let view = Message::parse(data, data.len());
    let Some(question) = view.question else {
        panic!("the kernel walked {kernel:?}, the view has no question")
    };
    assert_eq!((question.qtype, question.qclass), (kernel.qtype, kernel.qclass));
    let canonical = Canonical::new(question.name);
    assert_eq!(canonical.wire().len() + 1, usize::from(kernel.name_len));
    assert_eq!(canonical.labels(), usize::from(kernel.labels));
    let start = question::HEADER;
    let wire = &data[start..start + canonical.wire().len()];
    assert!(wire.eq_ignore_ascii_case(canonical.wire()));
    // The hash of the name must not depend on letter case or on where in the buffer it lies.
    let mut shifted = vec![0; 3];
    shifted.extend(wire.to_ascii_uppercase());
    let key = |word| question::halves(KEY[word]);
    let hash = |bytes: &[u8], at| {
        question::hash(&describe::words::<{ describe::WORDS }>(bytes), at, wire.len(), key)
    };
    assert_eq!(hash(&shifted, 3), hash(data, start));
}

/// A name anywhere in a message (the first byte says where), through pointers: bounded, and safe on a terminal.
pub fn name(data: &[u8]) {
    let Some((&start, bytes)) = data.split_first() else { return };
    let name = Name::new(bytes, usize::from(start));
    let labels: Vec<&[u8]> = name.labels().collect();
    assert!(labels.len() <= 127 && labels.iter().all(|label| (1..=63).contains(&label.len())));
    assert!(labels.iter().map(|label| label.len() + 1).sum::<usize>() <= 254);
    let walked = name.walk();
    assert!(walked.end.is_none_or(|end| end <= bytes.len()));
    let canonical = Canonical::new(name);
    assert_eq!(canonical.labels(), labels.len());
    let text = canonical.to_string();
    assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{text:?}");
    let raw = labels.concat();
    let escaped = escape(&raw);
    assert!(!escaped.chars().any(char::is_control), "{escaped:?}");
}

/// Any bytes as pcap, as pcapng, and as whatever they look like (gzip included).
pub fn pcap(data: &[u8]) {
    file(data, &[Format::Pcap, Format::Pcapng]);
}

/// Any bytes as a Zeek dns.log in both forms.
pub fn zeek(data: &[u8]) {
    file(data, &[Format::ZeekTsv, Format::ZeekJson]);
}

/// Any bytes as dnstap in Frame Streams.
pub fn dnstap(data: &[u8]) {
    file(data, &[Format::Dnstap]);
}

/// Any bytes as TCP segments: see `earthdog::reassemble::fuzz` for their form.
pub fn reassemble(data: &[u8]) {
    earthdog::reassemble::fuzz(data);
}

/// Any capture through the whole pipeline, twice: the same bytes come out, each line is JSON, and what a terminal would
/// get moves no cursor.
pub fn pipeline(data: &[u8]) {
    let json = replay(data, sink::Format::Json);
    assert_eq!(json, replay(data, sink::Format::Json));
    for line in json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let finding: serde_json::Value = serde_json::from_slice(line).expect("a finding is JSON");
        assert!(finding["zone"].is_string() || finding["scope"] != "client_zone", "{finding}");
    }
    let human = String::from_utf8(replay(data, sink::Format::Human)).expect("text is UTF-8");
    assert!(!human.chars().any(|c| c.is_control() && c != '\n'), "{human:?}");
}

fn replay(data: &[u8], format: sink::Format) -> Vec<u8> {
    let mut out = Vec::new();
    let mut pipeline = Pipeline::new(pipeline::Settings::default(), Origin::Replay);
    let about = sink::About { hostname: None, ocsf: OcsfVersion::V1_1 };
    let mut write =
        |finding: &Finding| sink::write(finding, format, &about, &mut out).expect("a vector takes all");
    // A damaged file is read up to the damage.
    let _ = source::read_from(Cursor::new(data.to_vec()), &mut source::Tally::default(), &mut |event| {
        pipeline.push(event, &mut write);
        ControlFlow::Continue(())
    });
    pipeline.finish(&mut write);
    out
}

fn file(data: &[u8], formats: &[Format]) {
    source::fuzz::any(data);
    for format in formats {
        let tally = source::fuzz::one(*format, data);
        // A Zeek row gives at most a query and a response, everything else one event a record.
        assert!(tally.events <= 2 * tally.records, "{format:?}: {tally:?}");
        assert!(tally.records <= data.len() as u64, "{format:?}: {tally:?}");
    }
}
