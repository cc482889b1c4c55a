//! The novelty filter keeps back what its page says and nothing else, in the kernel as in a replay; and what is found is
//! the same without it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use earthdog_tests::capture::Capture as _;
use earthdog_tests::deadline::Deadline;
use earthdog_tests::derive::Random;
use earthdog_tests::emulate::{self, Pace};
use earthdog_tests::host::{CLIENT_V4, LINK, SERVER_V4};
use earthdog_tests::message::Message;
use earthdog_tests::object::Object;
use earthdog_tests::packet::Frame;
use earthdog_tests::replayed;
use earthdog_tests::sensor::{Sensor, binary};
use earthdog_tests::{hazard, host, kernel, require, serial, traffic};
use sensor_ebpf::abi::{control, counter, feature, flag};

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");

/// One message of the made-up traffic.
#[derive(Clone, Debug)]
struct Said {
    client: u8,
    response: bool,
    id: u16,
    name: &'static str,
    qtype: u16,
    /// 0 is as usual; other numbers change bytes that the filter has to mind.
    variant: u8,
}

impl Said {
    fn message(&self) -> Vec<u8> {
        let made = if self.response {
            let address = [192, 0, 2, self.variant];
            let answered = Message::response(self.name, self.qtype).answer(1, 300, address);
            if self.variant == 9 { Message::response(self.name, self.qtype).rcode(3) } else { answered }
        } else {
            match self.variant {
                1 => Message::query(self.name, self.qtype).edns(1232, &[]),
                2 => Message::query(self.name, self.qtype).flags(0x0020),
                _ => Message::query(self.name, self.qtype),
            }
        };
        made.id(self.id).build()
    }

    fn frame(&self) -> Vec<u8> {
        let (client, server) = ([10, 0, 0, self.client], [10, 0, 0, 1]);
        if self.response {
            Frame::v4(server, client).udp(53, 40_000).payload(self.message()).build()
        } else {
            Frame::v4(client, server).udp(40_000, 53).payload(self.message()).build()
        }
    }
}

/// The filter as its documentation says it, by whole messages instead of fingerprints; all within one look-up.
#[derive(Default)]
struct Model {
    asked: HashMap<(u8, Vec<u8>), u32>,
    kept: HashSet<(u16, String, u16)>,
    answered: HashSet<(u8, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Does {
    Pass,
    Mark,
    Keep,
}

impl Model {
    fn take(&mut self, said: &Said) -> Does {
        let message = said.message();
        let rest = message[2..].to_vec();
        // TXT is never kept back.
        let plain = matches!(said.qtype, 1 | 28 | 12) && !(said.response && said.variant == 9);
        let question = (said.id, said.name.to_lowercase(), said.qtype);
        if !said.response {
            if !plain {
                return Does::Pass;
            }
            let times = self.asked.entry((said.client, rest)).or_default();
            *times += 1;
            if *times <= 3 {
                return Does::Pass;
            }
            self.kept.insert(question);
            return Does::Keep;
        }
        if !self.kept.contains(&question) {
            return Does::Pass;
        }
        if plain && !self.answered.insert((said.client, rest)) { Does::Keep } else { Does::Mark }
    }
}

#[test]
fn the_kernel_keeps_back_what_the_model_does() {
    const NAMES: [&str; 5] = ["www.example.com", "WWW.example.com", "mail.example.com", "a.example.org", "x"];
    require!(kernel::bpf());
    let mut object = Object::load_with_lookups(
        feature::DEFAULT | feature::NOVELTY,
        [256 * 1024, 1024 * 1024],
        3_600_000_000_000,
    )
    .unwrap();
    let mut model = Model::default();
    let mut random = Random::new(7);
    let mut counts = HashMap::new();
    for step in 0..6_000 {
        let name = random.below(NAMES.len());
        // A set holds a look-up and seven queries of it: two writings of a name leave no room for variants.
        let variants = if name < 2 { [0; 7] } else { [0, 0, 0, 0, 1, 2, 9] };
        let response = random.chance(0.5);
        let variants = if response { [0, 0, 0, 0, 1, 2, 9] } else { variants };
        let said = Said {
            client: 2 + random.below(3) as u8,
            response,
            id: random.below(40) as u16,
            name: NAMES[name],
            qtype: [1, 1, 1, 28, 16][random.below(5)],
            variant: variants[random.below(7)],
        };
        object.run("xdp_dns", &said.frame(), 1).unwrap();
        let records = object.drain();
        let is = match &records[..] {
            [] => Does::Keep,
            [record] if record.header.flags & flag::TO_REPEAT != 0 => Does::Mark,
            [_] => Does::Pass,
            more => panic!("{} records of one packet", more.len()),
        };
        let should = model.take(&said);
        assert_eq!(is, should, "step {step}: {said:?}");
        *counts.entry(format!("{should:?} {}", said.response)).or_insert(0u64) += 1;
    }
    eprintln!("{counts:?}");
    let counters = object.counters().unwrap();
    assert_eq!(counters[counter::REPEAT_QUERY as usize], counts["Keep false"]);
    assert_eq!(counters[counter::REPEAT_RESPONSE as usize], counts["Keep true"]);
    assert!(counts["Mark true"] > 20 && counts["Pass true"] > 20 && counts["Pass false"] > 20, "{counts:?}");
    assert_eq!(counters[counter::NOVELTY_EVICTED as usize], 0);
}

/// What was kept back is told by the next query of its kind that passes.
#[test]
fn a_query_that_passes_tells_how_many_did_not() {
    require!(kernel::bpf());
    let said = Said { client: 2, response: false, id: 1, name: "www.example.com", qtype: 1, variant: 0 };
    let rings = [256 * 1024, 1024 * 1024];
    let mut object =
        Object::load_with_lookups(feature::DEFAULT | feature::NOVELTY, rings, 300_000_000).unwrap();
    object.run("xdp_dns", &said.frame(), 40).unwrap();
    assert_eq!(object.drain().len(), 3);
    Deadline::after(Duration::from_millis(400)).poll(|| None::<()>);
    object.run("xdp_dns", &said.frame(), 1).unwrap();
    let records = object.drain();
    assert_eq!(records.iter().map(|record| record.header.tcp_seq).collect::<Vec<_>>(), [37]);
}

/// The second step of the self-limits: of a name that was just answered, only what can carry payload passes.
#[test]
fn answers_to_known_names_stay_when_the_sensor_is_at_its_limits() {
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT | feature::NOVELTY).unwrap();
    let passes = |object: &mut Object, message: Message| {
        let frame = Frame::v4([10, 0, 0, 1], [10, 0, 0, 2]).udp(53, 40_000).payload(message.build()).build();
        object.run("xdp_dns", &frame, 1).unwrap();
        object.drain().len() == 1
    };
    let answer = |name: &str, last: u8| Message::response(name, 1).answer(1, 300, [192, 0, 2, last]);
    let known = || answer("www.example.com", 1);
    assert!(passes(&mut object, known()) && passes(&mut object, known()), "not unless it is told to");
    object.control(control::REPEATS | control::KNOWN_ANSWERS).unwrap();
    assert!(passes(&mut object, known()), "the first one");
    for message in [known(), known().id(9), answer("WWW.example.com", 2)] {
        assert!(!passes(&mut object, message), "known, whatever its address");
    }
    for message in [
        answer("www.example.org", 1),
        known().rcode(3),
        Message::response("www.example.com", 16).answer(16, 300, b"\x04text".to_vec()),
        Message::response("www.example.com", 28).answer(28, 300, [0; 16]),
        answer("www.example.com", 1).tail(&[7; 300]),
        Message::query("www.example.com", 1),
    ] {
        assert!(passes(&mut object, message.clone()), "{message:?}");
    }
    assert_eq!(object.counters().unwrap()[counter::KNOWN_ANSWER as usize], 3);
    object.control(control::REPEATS).unwrap();
    assert!(passes(&mut object, known()), "as before, once the step is undone");
}

/// What the rings had no room for was not said: the next answer passes.
#[test]
fn an_answer_that_was_lost_makes_no_name_known() {
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT | feature::NOVELTY).unwrap();
    object.control(control::REPEATS | control::KNOWN_ANSWERS).unwrap();
    let query = Frame::dns_query_v4(Message::query("fill.example.com", 16).build()).build();
    object.run("xdp_dns", &query, 20_000).unwrap();
    let lost = |object: &Object| object.counters().unwrap()[counter::LOST_BULK as usize];
    let before = lost(&object);
    let message = Message::response("www.example.com", 1).answer(1, 300, [192, 0, 2, 1]).build();
    let answer = Frame::v4([10, 0, 0, 1], [10, 0, 0, 2]).udp(53, 40_000).payload(message).build();
    object.run("xdp_dns", &answer, 1).unwrap();
    assert_eq!(lost(&object), before + 1, "the ring was not full");
    object.discard();
    object.run("xdp_dns", &answer, 1).unwrap();
    assert_eq!(object.drain().len(), 1);
}

/// A flood of names beside a repeat: fingerprints go, and are counted, but nothing new is taken for old.
#[test]
fn a_flood_of_names_all_passes() {
    require!(kernel::bpf());
    let mut object = Object::load(feature::DEFAULT | feature::NOVELTY).unwrap();
    let mut passed = 0;
    for number in 0..60_000u32 {
        let message = Message::query(format!("h{number:x}.example.com"), 1).id(number as u16).build();
        object.run("xdp_dns", &Frame::dns_query_v4(message).build(), 1).unwrap();
        passed += object.drain().len();
    }
    assert_eq!(passed, 60_000);
    let counters = object.counters().unwrap();
    assert_eq!(counters[counter::REPEAT_QUERY as usize], 0);
    assert!(counters[counter::NOVELTY_EVICTED as usize] > 0, "{counters:?}");
}

/// The same few names over and over, answered: nearly all stays in the kernel, each packet is accounted for, and no
/// response looks as if nobody had asked.
#[test]
fn a_gateway_keeps_repeats_back_and_counts_them() {
    const QUERIES: u64 = 4_000;
    let _alone = serial::lock();
    let (client, gateway) = require!(host::pair());
    // The server is the gateway's own: its interface sees what arrives, its sockets what they take in and send.
    let arguments = ["--role", "gateway", "--interface", LINK];
    let sensor = require!(Sensor::start(&gateway, &arguments));
    let _dns = traffic::ready(TRAFFIC, &gateway, &["dns", &format!("{SERVER_V4}:53")]);
    let words = ["repeat", &format!("{SERVER_V4}:53"), &QUERIES.to_string(), "4"];
    traffic::run(TRAFFIC, &client, &words);
    let counters = sensor.settled(Deadline::secs(20));
    let status = sensor.status();
    sensor.stop();
    let of = |name: &str| counters[name];
    eprintln!("{CLIENT_V4}: {counters:?}");
    assert!(of("repeat_query") > QUERIES * 9 / 10, "{counters:#?}");
    assert!(of("repeat_response") > QUERIES / 2, "{counters:#?}");
    assert_eq!(status["folded"]["unsolicited"], 0, "{status:#}");
    let skipped: u64 =
        counters.iter().filter(|(name, _)| name.starts_with("skip_")).map(|(_, count)| count).sum();
    let lost = of("lost_alert_ring_full") + of("lost_bulk_ring_full");
    assert_eq!(
        of("seen") + of("extra_records"),
        of("delivered") + lost + skipped + of("repeat_query") + of("repeat_response"),
        "{counters:#?}"
    );
}

/// Byte for byte, of everything there is to replay.
#[test]
fn what_is_found_is_the_same_without_the_filter() {
    let sensor = replayed::Sensor::new(&binary().unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (on, off) = (dir.path().join("on.toml"), dir.path().join("off.toml"));
    fs::write(&on, "[novelty]\nin_replay = true\n").unwrap();
    fs::write(&off, "").unwrap();
    let same = |name: &str, file: &Path| {
        let [with, without] = [&on, &off].map(|config| sensor.printed(file, config).unwrap());
        assert!(
            with == without,
            "{name}: other findings with the filter\n{}\n{}",
            String::from_utf8_lossy(&with),
            String::from_utf8_lossy(&without)
        );
        usize::from(!with.is_empty())
    };
    let made = dir.path().join("made.pcap");
    let (mut files, mut with_findings) = (0, 0);
    for tool in emulate::ALL {
        fs::write(&made, tool.make(1, Pace::default()).pcap()).unwrap();
        with_findings += same(tool.name, &made);
        files += 1;
    }
    for hazard in hazard::ALL {
        fs::write(&made, hazard.make(1).pcap()).unwrap();
        with_findings += same(hazard.name, &made);
        files += 1;
    }
    for file in captures() {
        with_findings += same(&file.display().to_string(), &file);
        files += 1;
    }
    eprintln!("{files} replays, {with_findings} with findings");
    assert!(with_findings > 60, "{with_findings} of {files}");
}

/// The development captures, where they are.
fn captures() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/dev");
    let folders = [data.join("tunnel"), data.join("benign")];
    if !data.is_dir() {
        eprintln!("skipped: no captures at {}", data.display());
        return Vec::new();
    }
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
