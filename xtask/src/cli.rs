//! The command line: one variant a command, one line each to the file that does it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::cache::Cache;
use crate::setup::{self, Needs};
use crate::{ci, demo, dist, eval, fuzz, model, preflight, process, run, test, tidy, vm};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about = "Set-up, tests and CI of earthdog")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the BPF toolchain and the test peers into the cache folder; nothing is installed, no root needed
    Setup {
        /// Also what the VM runs need: qemu and busybox
        #[arg(long)]
        vm: bool,
        /// Also a browser, for the test that renders the page of a finding
        #[arg(long)]
        browser: bool,
        /// Also the tools that build and judge packages
        #[arg(long)]
        packages: bool,
        /// Also what benches compare with: tshark, dnscap, suricata
        #[arg(long)]
        bench: bool,
    },
    /// Build the sensor and run it on this host, through sudo where that is needed
    Run {
        /// Arguments of `earthdog run`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Show a finding: the sensor against a real tunnel, in namespaces of its own
    Demo {
        #[arg(long, hide = true, default_value = "build")]
        stage: demo::Stage,
        #[arg(long, hide = true)]
        cache: Option<PathBuf>,
    },
    /// Run all tests this machine can run
    Test {
        /// Arguments of `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run every check: what CI runs
    Ci,
    /// Build a release into target/dist: static binary, .deb, .rpm, checksums
    Dist(dist::Options),
    /// Check the house rules
    Tidy {
        /// Record the ABI as it is now
        #[arg(long)]
        bless: bool,
    },
    /// Fuzz the readers, or replay their corpus
    Fuzz {
        /// One target; all of them without it
        target: Option<String>,
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only run each file of the corpus once
        #[arg(long)]
        replay: bool,
    },
    /// Boot kernels in software emulation: a live tunnel, and every way to send under each owner source
    Vm {
        /// Releases such as 6.12; the whole matrix without any
        kernels: Vec<String>,
    },
    /// Replay captures through the release binary: what was found and how soon, findings on honest traffic
    Eval(eval::Options),
    /// Build the character model from public-domain name lists
    Model {
        /// Folder of the lists
        dir: Option<PathBuf>,
    },
    /// The live sensor under all that one core sends, every detector on: what still grows, what is not accounted for
    Soak {
        /// `--minutes N` (30 without it), `--json FILE`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure: `bench kernel` gives nanoseconds a packet, `bench host` what a send takes longer and
    /// what dnsperf gets of a local unbound, `bench process` a process's
    /// life, `bench pipeline` what a message costs from packet to finding, `bench live` packets a second into the stack
    Bench {
        /// `kernel`, `host`, `process`, `pipeline` or `live`, then arguments of the benchmark; each takes `--json FILE`
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub(crate) fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well; an error says that it could not be found out.
fn run(command: &Command) -> Result<bool> {
    let cache = match command {
        Command::Demo { cache: Some(root), .. } => Cache::at(root)?,
        _ => Cache::open()?,
    };
    match command {
        Command::Setup { vm, browser, packages, bench } => {
            preflight::build()?;
            let needs = Needs {
                toolchain: true,
                peers: true,
                vm: *vm,
                browser: *browser,
                packages: *packages,
                bench: *bench,
            };
            setup::run(&cache, needs)?;
        }
        Command::Run { arguments } => run::run(&cache, arguments)?,
        Command::Demo { stage, .. } => demo::run(&cache, *stage)?,
        Command::Test { arguments } => {
            preflight::tests()?;
            setup::run(&cache, Needs { toolchain: true, peers: true, ..Needs::default() })?;
            let outcome = test::run(None, arguments)?;
            outcome.print_skipped();
            println!("{}", outcome.line());
            return Ok(outcome.failed == 0);
        }
        Command::Ci => return ci::run(),
        Command::Dist(options) => dist::run(&cache, options)?,
        Command::Tidy { bless } => return Ok(tidy::run(*bless)? == 0),
        Command::Fuzz { target, seconds, replay } => {
            let mode = if *replay { fuzz::Mode::Replay } else { fuzz::Mode::Fuzz { seconds: *seconds } };
            let (_, failed) = fuzz::run(target.as_deref(), mode)?;
            return Ok(failed == 0);
        }
        Command::Vm { kernels } => vm::run(&cache, kernels)?,
        Command::Eval(options) => return eval::run(&cache, options),
        Command::Model { dir } => model::run(process::workspace(), dir.as_deref())?,
        Command::Soak { arguments } => {
            setup::run(&cache, Needs { toolchain: true, peers: true, ..Needs::default() })?;
            process::run(process::cargo().args(["build", "--locked", "--release", "-p", "sensor-user"]))?;
            generator()?;
            program("soak", arguments)?;
        }
        Command::Bench { arguments } => {
            let (name, rest) =
                arguments.split_first().map_or(("kernel", arguments.as_slice()), |(n, r)| (n, r));
            let (peers, bench) = (name == "host" || name == "live", name == "pipeline");
            setup::run(&cache, Needs { toolchain: true, peers, bench, ..Needs::default() })?;
            // Those that measure the whole sensor start it from beside them.
            if name != "kernel" {
                process::run(process::cargo().args(["build", "--locked", "--release", "-p", "sensor-user"]))?;
            }
            if name == "live" {
                generator()?;
            }
            program(&format!("bench-{name}"), rest)?;
        }
    }
    Ok(true)
}

/// Builds what puts packets on a link.
fn generator() -> Result<()> {
    let words = ["build", "--locked", "--release", "-p", "earthdog-tests", "--bin", "generator"];
    process::run(process::cargo().args(words))
}

/// Builds and runs a program of the test kit.
fn program(name: &str, arguments: &[String]) -> Result<()> {
    let words = ["run", "--locked", "--release", "-p", "earthdog-tests", "--bin", name, "--"];
    process::run(process::cargo().args(words).args(arguments))
}
