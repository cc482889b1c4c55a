//! `cargo xtask ci`: every check in one command, each timed; the last line printed counts them.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cache::Cache;
use crate::setup::{self, Needs};
use crate::test::Outcome;
use crate::{fuzz, preflight, process, test, tidy, vm};

/// Seconds of fuzzing for each target.
const FUZZ_SECONDS: u32 = 20;

/// The kernels that CI boots: the oldest that is still shipped anew, and the one with tcx.
const VM_KERNELS: [&str; 2] = ["6.1", "6.12"];

pub(crate) fn run() -> Result<bool> {
    preflight::ci()?;
    let mut ci = Ci::default();
    let cache = Cache::open()?;
    let all = Needs { toolchain: true, peers: true, vm: true, browser: true, packages: true, bench: false };
    ci.check("setup", || setup::run(&cache, all).map(|()| Verdict::Passed));
    ci.check("fmt", || cargo(&["fmt", "--all", "--check"]));
    ci.check("tidy", || match tidy::run(false)? {
        0 => Ok(Verdict::Passed),
        problems => bail!("{problems} problems"),
    });
    ci.check("clippy", || {
        cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])
    });
    ci.check("deny", deny);
    ci.check("release build", || cargo(&["build", "--locked", "--release", "-p", "sensor-user"]));
    ci.check("symbols of the binary", symbols);
    ci.step("tests", || test::run(Some(&sensor()), &[]));
    ci.step("fuzz", || {
        let (passed, failed) = fuzz::run(None, fuzz::Mode::Fuzz { seconds: FUZZ_SECONDS })?;
        Ok(Outcome { passed, failed, skipped: Vec::new() })
    });
    ci.check("vm", || vm::run(&cache, &VM_KERNELS.map(str::to_owned)).map(|()| Verdict::Passed));
    Ok(ci.finish())
}

/// The release binary.
pub(crate) fn sensor() -> PathBuf {
    process::workspace().join("target/release/earthdog")
}

enum Verdict {
    Passed,
    Skipped(String),
}

#[derive(Default)]
struct Ci {
    total: Outcome,
    lines: Vec<String>,
    spent: Duration,
}

impl Ci {
    /// A check is one pass, failure or skip.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<Verdict>) {
        self.step(name, || {
            let mut outcome = Outcome::default();
            match check()? {
                Verdict::Passed => outcome.passed = 1,
                Verdict::Skipped(reason) => outcome.skipped.push((name.to_owned(), reason)),
            }
            Ok(outcome)
        });
    }

    /// A failed step does not end the run: the others' results are wanted too.
    fn step(&mut self, name: &str, step: impl FnOnce() -> Result<Outcome>) {
        println!("== {name}");
        let start = now();
        let outcome = step().unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Outcome { failed: 1, ..Outcome::default() }
        });
        let took = now().duration_since(start);
        self.spent += took;
        let line = format!("{:7.1} s  {name}: {}", took.as_secs_f64(), outcome.line());
        println!("== {line}");
        self.lines.push(line);
        self.total.add(outcome);
    }

    fn finish(self) -> bool {
        println!("\n{}", self.lines.join("\n"));
        println!("{:7.1} s  in all", self.spent.as_secs_f64());
        self.total.print_skipped();
        println!("{}", self.total.line());
        self.total.failed == 0
    }
}

#[expect(clippy::disallowed_methods, reason = "measures its own steps; nothing here decides on the time")]
fn now() -> Instant {
    Instant::now()
}

fn cargo(arguments: &[&str]) -> Result<Verdict> {
    process::run(process::cargo().args(arguments))?;
    Ok(Verdict::Passed)
}

/// Not built from source here: that costs more than all other checks but the tests.
fn deny() -> Result<Verdict> {
    if process::output(process::cargo().args(["deny", "--version"])).is_err() {
        return Ok(Verdict::Skipped(
            "cargo-deny is not installed (`cargo install cargo-deny --locked`)".to_owned(),
        ));
    }
    cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"])
}

/// aya-ebpf exports C's memory functions; linked into a host binary they would replace libc's.
fn symbols() -> Result<Verdict> {
    const FORBIDDEN: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];
    if process::find("nm").is_none() {
        return Ok(Verdict::Skipped("nm is not installed (binutils)".to_owned()));
    }
    let binary = sensor();
    let text = process::output(Command::new("nm").arg("--defined-only").arg(&binary))?;
    if !text.lines().any(|line| line.ends_with(" main")) {
        bail!("{} has no symbol table, so nothing was checked", binary.display());
    }
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .filter(|name| FORBIDDEN.contains(name))
        .collect();
    if !found.is_empty() {
        bail!("{} defines {}: a host crate depends on aya-ebpf", binary.display(), found.join(", "));
    }
    Ok(Verdict::Passed)
}
