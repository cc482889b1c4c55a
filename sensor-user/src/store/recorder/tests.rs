use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::attribute::{Clients, Identity};
use crate::dns::{Canonical, rtype};
use crate::store::Asked;
use crate::store::days::DAY_NS;
use crate::zone::Zone;

const START: u64 = 20_000 * DAY_NS;

struct Run {
    recorder: Recorder,
    history: History,
    clients: Clients,
    now_ns: u64,
}

/// In memory where there is such a place: a disk's pace is no part of these tests.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn settings(dir: &tempfile::TempDir, text: &str) -> Settings {
    let mut config = Config::parse(&format!("[store]\n{text}"), "test").unwrap();
    config.store.path = dir.path().join("store.redb").to_str().unwrap().to_owned();
    Settings::of(&config).unwrap()
}

impl Run {
    fn open(settings: &Settings, now_ns: u64) -> (Self, Vec<String>) {
        let (recorder, history, news) = open(settings, 5, now_ns).unwrap();
        (Self { recorder, history, clients: Clients::new(4096, 1), now_ns }, news)
    }

    fn ask(&mut self, name: &str) {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let client = self.clients.note(1, || Identity::Address(ip), ip, self.now_ns);
        let name = Canonical::from_text(name);
        let zone = Zone::of(&name);
        let wire = name.suffix(zone.labels);
        self.history.asked(&Asked {
            client,
            zone: self.history.zone_key(wire, zone.class),
            wire,
            class: zone.class,
            qtype: rtype::A,
            lookup: true,
            closest: true,
            new_units: 1000,
            now_ns: self.now_ns,
        });
    }

    fn first_seen(&self, name: &str) -> Option<u64> {
        let name = Canonical::from_text(name);
        self.history.zone_first_seen(self.history.zone_key(name.wire(), Zone::of(&name).class))
    }

    fn status(&self) -> Status {
        self.recorder.status(&self.history, self.now_ns)
    }

    /// Ticks until all is written; what was told meanwhile.
    fn settle(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        for _ in 0..5000 {
            news.extend(self.recorder.tick(&mut self.history, self.now_ns));
            let Status { waiting, error, .. } = self.status();
            if !waiting || error.is_some() {
                news.extend(std::mem::take(&mut lock(&self.recorder.report).news));
                return news;
            }
            let _ = self.recorder.ended.recv_timeout(POLL);
        }
        panic!("never written: {:?}", self.status());
    }

    fn finish(mut self) -> Vec<String> {
        self.recorder.finish(&mut self.history, self.now_ns)
    }
}

fn finding(n: u64) -> (u64, Vec<u8>) {
    (START + n * DAY_NS, vec![b'x'; 1000])
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = place();
    let settings = settings(&dir, "");
    let (mut run, news) = Run::open(&settings, START);
    assert_eq!(news, Vec::<String>::new());
    run.ask("www.example.com");
    run.settle();
    run.now_ns += DAY_NS;
    run.ask("www.example.org");
    assert_eq!(run.finish(), Vec::<String>::new());
    let (run, news) = Run::open(&settings, START + 2 * DAY_NS);
    assert_eq!(news, Vec::<String>::new());
    assert_eq!(run.first_seen("example.com"), Some(START));
    assert_eq!(run.first_seen("example.org"), Some(START + DAY_NS), "the end of a run writes the rest");
    assert_eq!(run.first_seen("example.net"), None);
    let status = run.status();
    assert_eq!((status.kinds[0].records, status.kinds[2].records, status.kinds[3].records), (2, 2, 1));
    assert_eq!((status.active_days, status.waiting, status.error), (2, false, None));
    assert_eq!(status.kinds[0].oldest, Some(finding::time(START)));
    assert!(status.bytes > 0 && status.bytes <= status.max_bytes);
}

#[test]
fn nothing_new_is_nothing_written() {
    let dir = place();
    let (mut run, _) = Run::open(&settings(&dir, ""), START);
    run.ask("www.example.com");
    run.settle();
    let written = run.status().batches_written;
    for _ in 0..10 {
        run.settle();
    }
    assert_eq!((written, run.status().batches_written), (1, 1));
}

#[test]
fn findings_are_kept_within_their_number_and_time() {
    let dir = place();
    let settings = settings(&dir, "max_findings = 16\nretention_days_findings = 100");
    let (mut run, _) = Run::open(&settings, START);
    run.recorder.findings.extend((0..20).map(finding));
    run.now_ns = START + 30 * DAY_NS;
    run.settle();
    let kind = |run: &Run| run.status().kinds[4].clone();
    assert_eq!((kind(&run).records, kind(&run).evicted), (16, 4));
    assert_eq!(kind(&run).oldest, Some(finding::time(START + 4 * DAY_NS)));
    // Time alone removes them, without anything new.
    run.now_ns = START + 110 * DAY_NS;
    run.settle();
    assert_eq!((kind(&run).records, kind(&run).expired), (10, 6));
    run.finish();
    let (run, _) = Run::open(&settings, START + 110 * DAY_NS);
    assert_eq!((kind(&run).records, kind(&run).bytes), (10, 10 * 1012));
}

#[test]
fn findings_beyond_the_queue_are_counted() {
    let dir = place();
    let (mut run, _) = Run::open(&settings(&dir, ""), START);
    for _ in 0..QUEUE_MAX + 7 {
        run.recorder.keep(START, vec![b'x'; 10]);
    }
    run.recorder.keep(START, vec![b'x'; FINDING_MAX + 1]);
    assert_eq!(run.status().findings_lost, 8);
    run.settle();
    assert_eq!(run.status().kinds[4].records, QUEUE_MAX as u64);
}

#[test]
fn the_file_stays_within_its_size_under_a_million_random_zones() {
    let dir = place();
    let settings = settings(&dir, "max_mib = 8");
    let (mut run, _) = Run::open(&settings, START);
    run.ask("www.example.com");
    run.now_ns += DAY_NS;
    run.ask("www.example.com");
    let mut state = 1_u64;
    let mut longest = 0;
    for n in 1..=1_000_000_u32 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        run.ask(&format!("www.{:x}.com", state >> 16));
        if n % 125_000 == 0 {
            run.recorder.findings.push_back((run.now_ns, vec![b'x'; 20_000]));
            run.settle();
            longest = longest.max(fs::metadata(&settings.path).unwrap().len());
        }
    }
    let status = run.status();
    eprintln!("file at most {} KiB, {:?}", longest >> 10, status.kinds);
    assert!(longest <= 8 << 20, "{longest}");
    assert_eq!((status.writes_failed, status.error), (0, None));
    let zones = &status.kinds[0];
    assert!(zones.bytes > zones.max_bytes * 9 / 10 && zones.bytes <= zones.max_bytes, "{zones:?}");
    assert_eq!(run.first_seen("example.com"), Some(START), "the flood pushed out what lasts");
    run.finish();
    let (run, _) = Run::open(&settings, START + DAY_NS);
    assert_eq!(run.first_seen("example.com"), Some(START));
}

#[test]
fn a_smaller_size_than_before_forgets_what_does_not_fit() {
    let dir = place();
    let (mut run, _) = Run::open(&settings(&dir, "max_mib = 64"), START);
    for n in 0..30_000 {
        run.now_ns += 1;
        run.ask(&format!("www.zone{n}.com"));
    }
    run.settle();
    run.finish();
    let small = settings(&dir, "max_mib = 8");
    let (mut run, _) = Run::open(&small, START);
    run.ask("www.example.com");
    let news = run.settle();
    let status = run.status();
    assert_eq!((news, status.error, status.writes_failed), (Vec::new(), None, 0));
    assert!(status.kinds[0].bytes <= status.kinds[0].max_bytes);
    assert!(run.first_seen("zone29999.com").is_some() && run.first_seen("zone0.com").is_none());
    run.finish();
    assert!(fs::metadata(&small.path).unwrap().len() <= 8 << 20, "the file shrinks too");
}

#[test]
fn a_store_damaged_at_rest_is_told_with_what_to_do() {
    let dir = place();
    let settings = settings(&dir, "");
    let (mut run, _) = Run::open(&settings, START);
    run.ask("www.example.com");
    run.finish();
    fs::OpenOptions::new().write(true).open(&settings.path).unwrap().write_all_at(&[9; 9000], 4096).unwrap();
    let (run, news) = Run::open(&settings, START);
    assert_eq!(news.len(), 1);
    for says in ["was damaged", "set aside", ".damaged-20241004T000000Z", "remove the old one"] {
        assert!(news[0].contains(says), "{says}: {}", news[0]);
    }
    assert_eq!(run.first_seen("example.com"), None);
}

/// After a failure the file is opened anew. If it is damaged by then, another takes its place, with all that is known.
#[test]
fn a_store_that_goes_bad_while_it_is_used_begins_anew_with_all_that_is_known() {
    let dir = place();
    let settings = settings(&dir, "");
    let (mut run, _) = Run::open(&settings, START);
    run.ask("www.example.com");
    run.settle();
    let Run { recorder, mut history, now_ns, .. } = run;
    drop(recorder.orders);
    recorder.ended.recv().unwrap();
    fs::OpenOptions::new().write(true).open(&settings.path).unwrap().set_len(5000).unwrap();
    let mut writer = Writer {
        settings: settings.clone(),
        tables: None,
        report: Arc::clone(&recorder.report),
        begun_ns: START,
    };
    let batch = |delta| Batch { delta, ..Batch::default() };
    assert!(writer.write(&batch(Delta { meta: *history.meta(), ..Delta::default() })));
    let report = lock(&recorder.report).clone();
    assert!(report.begun_anew && report.news[0].contains("was damaged"), "{report:?}");
    history.write_anew();
    assert!(writer.write(&batch(history.changes().unwrap())));
    drop(writer);
    let (run, news) = Run::open(&settings, now_ns);
    assert_eq!((run.first_seen("example.com"), news), (Some(START), Vec::new()));
}

#[test]
fn stamps_are_short() {
    assert_eq!(stamp(1_700_000_000_000_000_001), "20231114T221320Z");
}
