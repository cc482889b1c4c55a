//! `cargo xtask test`: all tests this machine can run, and at the end what ran and what was skipped, with the reason.
//!
//! cargo's own test runner everywhere, so that the figures mean the same on each machine. A test that cannot run here
//! prints `skipped: <reason>` and returns; it is counted as skipped, not as passed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::{data, process};

/// What ran.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Test name and reason.
    pub(crate) skipped: Vec<(String, String)>,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }

    pub(crate) fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len())
    }

    pub(crate) fn print_skipped(&self) {
        for (name, reason) in &self.skipped {
            println!("skipped: {name}: {reason}");
        }
    }
}

/// Tests the workspace, with `sensor` (else the one built beside the tests) as the binary under test.
pub(crate) fn run(sensor: Option<&Path>, arguments: &[String]) -> Result<Outcome> {
    process::run(process::cargo().args(["build", "--locked", "--workspace", "--bins"]))?;
    let mut cargo = process::cargo();
    cargo
        .args(["test", "--locked", "--no-fail-fast"])
        .args((!arguments.iter().any(|argument| argument.starts_with("-p"))).then_some("--workspace"))
        .args(arguments)
        .args((!arguments.iter().any(|argument| argument == "--")).then_some("--"))
        .arg("--show-output")
        .stdout(Stdio::piped());
    if let Some(sensor) = sensor {
        cargo.env("SENSOR_BIN", sensor);
    }
    if let Some(data) = data::for_tests(process::workspace(), data::named().as_deref()) {
        cargo.env(data::VARIABLE, data);
    }
    let mut child = cargo.spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no stdout")?;
    let mut reader = Reader::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if reader.read(&line) {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    let mut outcome = reader.outcome;
    if !status.success() && outcome.failed == 0 {
        // It did not build, or a test binary died.
        outcome.failed = 1;
    }
    Ok(outcome)
}

/// Reads the test runner's output, line by line.
#[derive(Debug, Default)]
struct Reader {
    outcome: Outcome,
    section: Section,
    /// Test whose output is being shown.
    test: String,
    /// Tests of this binary that passed by skipping.
    skipped_here: usize,
}

#[derive(Debug, Default, PartialEq)]
enum Section {
    #[default]
    Progress,
    Successes,
    Failures,
}

impl Reader {
    /// Takes a line and says whether it is worth showing: what passing tests print is not.
    fn read(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.close(result);
            return true;
        }
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(&mut self.test);
        } else if line == "successes:" {
            self.section = Section::Successes;
        } else if line == "failures:" {
            self.section = Section::Failures;
        } else if let Some(reason) = line.strip_prefix("skipped: ") {
            if self.section == Section::Successes && !self.test.is_empty() {
                // The first reason of a test is the one that ended it.
                let name = std::mem::take(&mut self.test);
                self.outcome.skipped.push((name, reason.to_owned()));
                self.skipped_here += 1;
            }
        } else if self.section == Section::Progress
            && let Some((name, reason)) = ignored(line)
        {
            self.outcome.skipped.push((name.to_owned(), reason.to_owned()));
        }
        self.section != Section::Successes
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; …`
    fn close(&mut self, result: &str) {
        let count = |word: &str| {
            let part = result.split(['.', ';']).map(str::trim).find(|part| part.ends_with(word));
            part.and_then(|part| part.split(' ').next()?.parse().ok()).unwrap_or(0_usize)
        };
        self.outcome.passed += count("passed").saturating_sub(self.skipped_here);
        self.outcome.failed += count("failed");
        self.section = Section::Progress;
        self.skipped_here = 0;
        self.test.clear();
    }
}

/// `test name ... ignored, reason`
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((name, rest.strip_prefix(", ").unwrap_or("ignored")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Outcome, Vec<&str>) {
        let mut reader = Reader::default();
        let shown = text.lines().filter(|line| reader.read(line)).collect();
        (reader.outcome, shown)
    }

    #[test]
    fn skips_are_not_passes() {
        let (outcome, shown) = read(
            "running 3 tests\ntest a ... ok\ntest b ... ok\ntest c ... ignored, slow\n\nsuccesses:\n\n\
             ---- b stdout ----\nskipped: no bpf()\n\nsuccesses:\n    a\n    b\n\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.failed, 0);
        let expected =
            [("c", "slow"), ("b", "no bpf()")].map(|(name, why)| (name.to_owned(), why.to_owned()));
        assert_eq!(outcome.skipped, expected);
        assert!(!shown.contains(&"skipped: no bpf()"));
        assert_eq!(outcome.line(), "1 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn failures_are_shown_and_counted() {
        let (outcome, shown) = read(
            "successes:\n\n---- a stdout ----\nnoise\n\nfailures:\n\n---- b stdout ----\nskipped: then it broke\n\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!((outcome.passed, outcome.failed, outcome.skipped.len()), (1, 1, 0));
        assert!(shown.contains(&"skipped: then it broke"));
        assert!(!shown.contains(&"noise"));
    }
}
