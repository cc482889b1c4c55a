//! What is asked of a self-test.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Columns: HOW live through sockets and hooks, or replayed through the same pipeline; OWNER whether the \
    finding names the process that sent; known: this release is known to fall short there.\n\nExit codes: 0 all as \
    expected, 1 not, 69 no usable hook, 77 not permitted.\n\nExamples:\n  earthdog selftest\n  earthdog selftest --canary\n  earthdog selftest --json | \
    jq .floor"
)]
pub struct SelftestArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Send one small leak past the running sensor, from the hooks to the sinks, and fail if it does not come through: for a
    /// timer
    #[arg(long)]
    pub canary: bool,
    /// Of what is chosen at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Configuration file, as for `run`; the control socket and the store that it names give load, loss and memory
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// One process of a self-test, started by it.
#[derive(Clone, Debug, Default, Args)]
pub struct PartArgs {
    pub what: String,
    pub label: String,
    #[arg(long)]
    pub role: Option<String>,
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
}
