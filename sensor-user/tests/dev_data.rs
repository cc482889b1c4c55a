//! The ledger on the development captures: how many tunnels it finds, how soon, and what it says of honest traffic.
//!
//! About 27 active host-days of benign traffic in all: no finding here proves little more than fewer than 0.11 a
//! host-day.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic like the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use earthdog::finding::{Finding, Origin, Severity};
use earthdog::pipeline::{Pipeline, Settings};
use earthdog::source::{self, Tally};

/// `$EARTHDOG_DATA`, which must then be there, else `../shared/data` beside the workspace.
fn data() -> Option<PathBuf> {
    let named = std::env::var_os("EARTHDOG_DATA").map(PathBuf::from);
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = named.clone().unwrap_or_else(beside).join("dev");
    if data.is_dir() {
        return Some(data);
    }
    assert!(named.is_none(), "EARTHDOG_DATA is set, but there is no {}", data.display());
    eprintln!("skipped: no captures at {} (set EARTHDOG_DATA)", data.display());
    None
}

fn replay(path: &Path) -> (Pipeline, Vec<Finding>) {
    let mut pipeline = Pipeline::new(Settings::default(), Origin::Replay);
    let mut findings = Vec::new();
    let mut tally = Tally::default();
    let read = source::read(path, &mut tally, &mut |event| {
        pipeline.push(event, &mut |finding| findings.push(finding.clone()));
        std::ops::ControlFlow::Continue(())
    });
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    pipeline.finish(&mut |finding| findings.push(finding.clone()));
    (pipeline, findings)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut list: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    list.sort();
    list
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The first record of medium or more of each finding.
fn alerts(findings: &[Finding]) -> Vec<&Finding> {
    let mut seen = BTreeSet::new();
    findings.iter().filter(|f| f.severity >= Severity::Medium && seen.insert(&f.id)).collect()
}

/// The tool that made a capture, by the name of its file.
fn tool(path: &Path) -> &'static str {
    let tools = ["iodine", "dnscat2", "dns2tcp"];
    tools.into_iter().find(|tool| name(path).contains(tool)).unwrap()
}

#[test]
fn tunnels_are_found_early() {
    let Some(data) = data() else { return };
    let files = files(&data.join("tunnel"));
    let mut leaked = Vec::new();
    let mut labelled = 0;
    for path in &files {
        let (_, findings) = replay(path);
        let alerts = alerts(&findings);
        let Some(first) = alerts.first() else {
            eprintln!("  not found                                  {}", name(path));
            continue;
        };
        eprintln!(
            "  {:4} queries {:5} name bytes {:2} findings  {:28} {}",
            first.queries,
            first.name_bytes,
            alerts.len(),
            first.zone.as_deref().unwrap_or("-"),
            name(path)
        );
        leaked.push(first.name_bytes);
        let labels: Vec<_> = findings.iter().filter_map(|finding| finding.tool.as_deref()).collect();
        assert!(labels.iter().all(|label| *label == tool(path)), "{}: {labels:?}", name(path));
        labelled += usize::from(!labels.is_empty());
        for finding in &findings {
            assert!(finding.bytes_up.low <= finding.bytes_up.high, "{finding:#?}");
            assert!(finding.bytes_down.low <= finding.bytes_down.high, "{finding:#?}");
        }
    }
    leaked.sort_unstable();
    let (median, worst) = (leaked[leaked.len() / 2], leaked[leaked.len() - 1]);
    eprintln!(
        "{} of {}: name bytes at the first finding: median {median}, worst {worst}",
        leaked.len(),
        files.len()
    );
    assert_eq!(leaked.len(), files.len());
    assert!(median <= 300 && worst <= 1000, "{median} {worst}");
    eprintln!("{labelled} labelled with their tool, none with another");
    assert!(labelled >= 25, "{labelled}");
}

/// Honest traffic, and how many findings each capture may have.
#[test]
fn honest_traffic_is_left_alone() {
    let Some(data) = data() else { return };
    for path in files(&data.join("benign")) {
        let (pipeline, findings) = replay(&path);
        let alerts = alerts(&findings);
        let stats = pipeline.stats();
        eprintln!(
            "  {} findings, {} clients, {} zones, {} messages  {}",
            alerts.len(),
            stats.clients,
            stats.zones,
            stats.messages,
            name(&path)
        );
        assert!(findings.iter().all(|finding| finding.tool.is_none()), "{findings:#?}");
        for finding in &alerts {
            eprintln!("    {} {}", finding.title, finding.samples.join(" "));
        }
        let most = match name(&path).as_str() {
            crawl if crawl.contains("crawl") => 12,
            crawl if crawl.contains("graphtunnel_normal") => 1,
            _ => 0,
        };
        assert!(alerts.len() <= most, "{}: {}", name(&path), alerts.len());
    }
}
