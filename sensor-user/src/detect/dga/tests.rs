use super::*;
use crate::dns::Canonical;
use crate::finding::{Scope, Severity};
use crate::pipeline::bench::Bench;

/// xorshift64*: test data only.
fn random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize
}

fn letters(state: &mut u64, len: usize) -> String {
    (0..len).map(|_| char::from(b'a' + (random(state) % 26) as u8)).collect()
}

const WORDS: [&str; 24] = [
    "window", "thousand", "simple", "garden", "possible", "mountain", "teacher", "history", "winter",
    "machine", "station", "various", "glass", "journey", "northern", "silver", "captain", "market", "purple",
    "forest", "harbor", "candle", "bridge", "planet",
];

fn words(state: &mut u64) -> String {
    format!("{}{}", WORDS[random(state) % 24], WORDS[random(state) % 24])
}

const NXDOMAIN: u16 = 3;
const EXISTS: &[(u16, u32, &[u8])] = &[(1, 300, &[192, 0, 2, 1])];

#[test]
fn random_names_that_do_not_exist_are_a_generator_after_eight() {
    let mut bench = Bench::new(&Config::default());
    let mut state = 5;
    for _ in 0..60 {
        bench.wait(0.5);
        let length = 8 + random(&mut state) % 8;
        let name = format!("{}.com", letters(&mut state, length));
        bench.look_up("10.0.0.2", &name, 1, NXDOMAIN, &[]);
        bench.look_up("10.0.0.2", &name, 28, NXDOMAIN, &[]);
    }
    let created = bench.created_by(Dga::RULE);
    assert_eq!(created.len(), 1, "{:#?}", bench.found);
    let finding = created[0];
    assert_eq!((finding.severity, finding.scope), (Severity::Medium, Scope::Client));
    assert_eq!((finding.queries, finding.samples.len()), (8, 3));
    assert_eq!(finding.attack.techniques, ["T1568.002"]);
}

#[test]
fn dictionaries_are_found_by_the_burst_and_slow_ones_within_hours() {
    for (every, seconds) in [(1.0, 40.0), (600.0, 5.0 * 3600.0)] {
        let mut bench = Bench::new(&Config::default());
        let mut state = 9;
        for n in 0..60 {
            bench.wait(every);
            bench.look_up("10.0.0.2", &format!("{}.net", words(&mut state)), 1, NXDOMAIN, &[]);
            if n % 10 == 0 {
                bench.look_up("10.0.0.2", &format!("www.site{n}.com"), 1, 0, EXISTS);
            }
        }
        let created = bench.created_by(Dga::RULE);
        assert_eq!(created.len(), 1, "every {every} s: {:#?}", bench.found);
        assert!(created[0].queries as f64 * every <= seconds, "{:#?}", created[0]);
    }
}

#[test]
fn honest_hosts_that_miss_much_are_left_alone() {
    let mut bench = Bench::new(&Config::default());
    let mut state = 3;
    for n in 0..200 {
        bench.wait(30.0);
        // Where nothing exists, as on a network without a way out.
        bench.look_up("10.0.0.3", &format!("www.{}.org", words(&mut state)), 1, NXDOMAIN, &[]);
        // Chromium's random labels, alone and with an internal suffix.
        let label = letters(&mut state, 10);
        bench.look_up("10.0.0.4", &label, 1, NXDOMAIN, &[]);
        bench.look_up("10.0.0.4", &format!("{label}.lan"), 1, NXDOMAIN, &[]);
        bench.look_up("10.0.0.4", &format!("{label}.corp.example.com"), 1, NXDOMAIN, &[]);
        // A crawler or mail server: one in four is gone.
        let rcode = if n % 4 == 0 { NXDOMAIN } else { 0 };
        bench.look_up("10.0.0.5", &format!("{}.com", letters(&mut state, 9)), 1, rcode, &[]);
        // A failing device.
        bench.look_up("10.0.0.6", "gone-maker.com", 1, NXDOMAIN, &[]);
        // A watch over spellings of a brand.
        let letter = char::from(b'a' + (n % 26) as u8);
        let spelt = format!("silver{letter}bridge.{}", ["com", "net", "org"][n / 26 % 3]);
        bench.look_up("10.0.0.9", &spelt, 1, NXDOMAIN, &[]);
        // A typo every few hours.
        if n % 50 == 0 {
            bench.look_up("10.0.0.7", &format!("{}.com", letters(&mut state, 9)), 1, NXDOMAIN, &[]);
        }
    }
    bench.finish();
    assert!(bench.created_by(Dga::RULE).is_empty(), "{:#?}", bench.created_by(Dga::RULE));
}

#[test]
fn resolvers_with_an_infected_client_are_told_by_what_they_miss() {
    let mut bench = Bench::new(&Config::default());
    let mut state = 11;
    for n in 0..300 {
        bench.wait(0.2);
        let name = words(&mut state);
        bench.look_up("10.0.0.8", &format!("www.{name}{n}.com"), 1, 0, EXISTS);
        bench.look_up("10.0.0.8", &format!("{}.com", letters(&mut state, 12)), 1, NXDOMAIN, &[]);
    }
    let created = bench.created_by(Dga::RULE);
    assert_eq!(created.len(), 1);
    assert!(created[0].queries <= 20, "{:#?}", created[0]);
}

/// Names of families that put words together.
const DICTIONARIES: [&str; 5] = ["matsnu", "rovnix", "gozi", "suppobox", "nymaim"];

/// `cargo test --release -p sensor-user --lib dga::tests::recall -- --ignored --nocapture`
#[test]
#[ignore = "measures by the published lists of names, where those are at hand"]
fn recall_by_family() {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Read as _;

    let folder = std::env::var("EARTHDOG_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data").into());
    let read = |file: &str| {
        let file = std::fs::File::open(format!("{folder}/names/{file}.csv.gz")).ok()?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in ["dga_andrewaeva_5k-per-family", "dga_chrmor_sample"] {
        let Some(text) = read(file) else {
            eprintln!("skipped: no {file} below {folder}");
            return;
        };
        for line in text.lines() {
            let mut parts = line.rsplit(',');
            if let (Some(name), Some(family)) = (parts.next(), parts.next())
                && family != "alexa"
                && Zone::is_registrable(&Canonical::from_text(name))
            {
                families.entry(format!("{family}, {file}")).or_default().insert(name.to_owned());
            }
        }
    }
    eprintln!(
        "NXDOMAINs until found, of 100 hosts each: median, 95th; found within 20; the same while browsing"
    );
    let mut state = 17;
    let mut hosts = [0; 2];
    for (family, names) in families.iter().filter(|(_, names)| names.len() >= 100) {
        let mut names: Vec<_> = names.iter().collect();
        let mut row = String::new();
        for existing in [0, 3] {
            let mut counts: Vec<usize> = (0..100)
                .map(|_| {
                    let mut bench = Bench::new(&Config::default());
                    for index in 0..150.min(names.len()) {
                        let other = index + random(&mut state) % (names.len() - index);
                        names.swap(index, other);
                    }
                    let mut missed = 0;
                    while bench.created_by(Dga::RULE).is_empty() && missed < 100 {
                        bench.wait(1.0);
                        if random(&mut state) % 10 < existing {
                            let name = format!("www.{}{missed}.com", words(&mut state));
                            bench.look_up("10.0.0.2", &name, 1, 0, EXISTS);
                        }
                        bench.look_up("10.0.0.2", names[missed], 1, NXDOMAIN, &[]);
                        missed += 1;
                    }
                    missed
                })
                .collect();
            counts.sort_unstable();
            let soon = counts.iter().filter(|count| **count <= 20).count();
            let _ = write!(row, "{:4} {:4} {soon:4} % ", counts[50], counts[95]);
            if DICTIONARIES.iter().all(|name| !family.starts_with(name)) {
                hosts = [hosts[0] + soon, hosts[1] + 100];
            }
            assert!(counts[95] < 60, "{family}: {counts:?}");
        }
        eprintln!("{row}  {family}");
    }
    eprintln!("random families: {} of {} hosts within 20 NXDOMAINs", hosts[0], hosts[1]);
    assert!(hosts[0] * 100 >= hosts[1] * 95);
}
