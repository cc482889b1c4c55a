//! Exceptions and new settings while records come in.

use super::*;
use crate::config::Config;

const SCOPE: &str = "zone = \"evil.example\"";
/// Half a day after the start.
const SOON: &str = "2023-11-15T10:13:20Z";

fn config(scope: &str, expires: &str) -> Config {
    let text = format!(
        "[[suppress]]\nname = \"known\"\nowner = \"ann\"\nreason = \"a test\"\nexpires = \"{expires}\"\n{scope}\n"
    );
    Config::parse(&text, "x").unwrap()
}

fn leak(bench: &mut Bench, numbers: std::ops::Range<u64>) {
    for n in numbers {
        bench.pass(1.0);
        let name = format!("{}.evil.example", payload(n));
        bench.look_up("10.0.0.2", &name, 1, 0, &[(1, 60, &[192, 0, 2, 1])]);
    }
}

fn unmarked(found: &[Finding]) -> Vec<String> {
    let json =
        |finding: &Finding| serde_json::to_string(&Finding { exception: None, ..finding.clone() }).unwrap();
    found.iter().map(json).collect()
}

fn told(bench: &Bench) -> Vec<(State, Option<String>)> {
    let told = bench.found.iter().filter(|finding| !finding.is_suppressed());
    told.map(|finding| (finding.state, finding.exception.as_ref().and_then(|e| e.why.clone()))).collect()
}

#[test]
fn what_is_excepted_is_measured_all_the_same() {
    let run = |config: &Config| {
        let mut bench = Bench::new(config);
        leak(&mut bench, 0..60);
        bench.finish();
        bench
    };
    let (plain, excepted) = (run(&Config::default()), run(&config(SCOPE, "never")));
    assert!(plain.found.len() > 2, "{:#?}", plain.found);
    assert_eq!(unmarked(&excepted.found), unmarked(&plain.found));
    assert_eq!(told(&excepted), []);
    let marked =
        excepted.found.iter().all(|finding| finding.exception.as_ref().is_some_and(|e| e.owner == "ann"));
    assert!(marked, "{:#?}", excepted.found);
    let (stats, status) = (excepted.pipeline.stats(), excepted.pipeline.exceptions());
    assert_eq!((stats.suppressed, stats.findings), (1, plain.pipeline.stats().findings));
    assert_eq!((status[0].hits, status[0].uncovered), (Some(1), Some(0)), "one finding, however many states");
    let elsewhere = run(&config("zone = \"other.example\"", "never"));
    assert_eq!(told(&elsewhere).len(), plain.found.len());
}

/// Whichever comes first.
#[test]
fn null_comes_through_as_soon_as_it_is_there() {
    let null = |bench: &mut Bench| {
        bench.pass(1.0);
        bench.query("10.0.0.2", "carrier.evil.example", 10);
    };
    let mut late = Bench::new(&config(SCOPE, "never"));
    leak(&mut late, 0..60);
    assert_eq!(told(&late), []);
    null(&mut late);
    let now = told(&late);
    assert!(
        now[0].0 == State::Create && now[0].1.as_ref().is_some_and(|why| why.contains("NULL")),
        "{now:?}"
    );
    late.finish();
    assert_eq!(told(&late).last().unwrap().0, State::Close);
    let status = late.pipeline.exceptions();
    assert_eq!((status[0].hits, status[0].uncovered), (Some(1), Some(1)));
    assert_eq!(late.pipeline.stats().suppressed, 0);
    let mut early = Bench::new(&config(SCOPE, "never"));
    null(&mut early);
    leak(&mut early, 0..60);
    assert_eq!(early.found.iter().filter(|finding| finding.is_suppressed()).count(), 0);
    assert_eq!(told(&early)[0].0, State::Create);
}

#[test]
fn what_outlasts_its_exception_alerts() {
    let mut bench = Bench::new(&config(SCOPE, SOON));
    leak(&mut bench, 0..60);
    assert_eq!(told(&bench), []);
    // Kept open until then.
    for n in 60..200 {
        bench.wait(400.0);
        leak(&mut bench, n..n + 1);
    }
    let first = bench.found.iter().find(|finding| !finding.is_suppressed()).unwrap();
    assert_eq!((first.state, &first.exception), (State::Create, &None));
    assert!(&*first.time >= "2023-11-15T10:13:20" && &*first.time < "2023-11-15T10:22", "{}", first.time);
    let news = bench.pipeline.exceptions_news();
    assert!(news.len() == 1 && news[0].contains("known of ann ended"), "{news:?}");
}

#[test]
fn new_exceptions_hide_nothing_that_was_told_and_none_leaves_anything_hidden() {
    let (with, without) = (config(SCOPE, "never"), Config::default());
    let retune = |bench: &mut Bench, config: &Config| {
        let found = &mut bench.found;
        bench.pipeline.retune(config.pipeline(), bench.now_ns, &mut |f| found.push(f.clone()));
    };
    let mut bench = Bench::new(&without);
    leak(&mut bench, 0..60);
    retune(&mut bench, &with);
    leak(&mut bench, 60..400);
    bench.finish();
    assert_eq!(told(&bench).len(), bench.found.len());
    assert_eq!(told(&bench).last().unwrap().0, State::Close, "its end is told too");
    let mut bench = Bench::new(&with);
    leak(&mut bench, 0..60);
    assert_eq!(told(&bench), []);
    retune(&mut bench, &without);
    assert_eq!(told(&bench), [(State::Create, None)]);
}

/// The same settings again, after every single look-up, are as if nothing had been.
#[test]
fn new_settings_keep_what_every_stage_knows() {
    let run = |retunes: bool| {
        let config = Config::parse("[resolver_policy]\napproved = [\"192.0.2.53\"]\n", "x").unwrap();
        let mut bench = Bench::new(&config);
        for n in 0..120 {
            leak(&mut bench, n..n + 1);
            bench.wait(2.0);
            bench.look_up("10.0.0.3", &format!("{}.com", &payload(n)[..12]), 1, 3, &[]);
            bench.look_up("10.0.0.4", &format!("{n}.2.0.192.in-addr.arpa"), 12, 3, &[]);
            let text = payload(n + 1000);
            let said = [&[text.len() as u8], text.as_bytes()].concat();
            bench.look_up("10.0.0.5", &format!("poll{n}.c2.example"), 16, 0, &[(16, 1, &said)]);
            if retunes {
                let found = &mut bench.found;
                bench.pipeline.retune(config.pipeline(), bench.now_ns, &mut |f| found.push(f.clone()));
            }
        }
        bench.finish();
        bench.found
    };
    let plain = run(false);
    let rules: std::collections::BTreeSet<_> = plain.iter().map(|finding| finding.rule).collect();
    assert!(rules.len() >= 5, "of many stages: {rules:?}");
    assert_eq!(unmarked(&run(true)), unmarked(&plain));
}
