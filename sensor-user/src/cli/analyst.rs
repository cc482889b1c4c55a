//! What analysts ask.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::FailOn;
use crate::top::Sort;

#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Columns: OUT and IN the most that can have left and come in; SCORE 1 is at a bound; l m H C mark an open \
    finding's severity.\n\nExamples:\n  earthdog top\n  earthdog top --filter iodine --sort rate\n  earthdog top --once | head"
)]
pub struct TopArgs {
    /// What is first
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Only clients and zones with this in their names
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// One screen as text, also on a terminal
    #[arg(long)]
    pub once: bool,
    /// Configuration file of the running sensor, for its control socket
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Columns: S is o for open, c for closed; OUT the most that can have left.\n\n\
    Examples:\n  earthdog alerts --severity medium --since 24h\n  \
    earthdog alerts --burn-in --since 7d >> /etc/earthdog/conf.d/known.toml\n  \
    earthdog alerts --client iodine --zone example.com --json\n  \
    earthdog replay --output json --trail trace.pcap > findings.json; earthdog alerts findings.json")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct AlertsArgs {
    /// Findings that `replay --output json` wrote [default: those of the running sensor, or of the store where none runs]
    #[arg(value_name = "FILE", conflicts_with = "follow")]
    pub file: Option<PathBuf>,
    /// Only of this severity or higher
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub severity: Option<FailOn>,
    /// Only of this rule; `earthdog rules` lists them
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    /// Only about this zone or one below it
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Only of clients whose address, asset, process id or user is this, or whose program or command line has it in it
    #[arg(long, value_name = "CLIENT")]
    pub client: Option<String>,
    /// Only what was seen since then: 90m, 24h, 7d, 2026-11-22 or 2026-11-22T11:30:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only those that alerted nobody, since an exception (`[[suppress]]`) covers them [default: only the others]
    #[arg(long)]
    pub suppressed: bool,
    /// Sum up what would have alerted, by client, zone and rule, with exceptions for it to fill in: after a time with
    /// `output.observe`
    #[arg(long, conflicts_with_all = ["suppressed", "follow", "wide"])]
    pub burn_in: bool,
    /// Go on with what the running sensor finds: new findings, higher severities and ends
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Also those of a self-test's canary
    #[arg(long)]
    pub selftest: bool,
    /// One JSON object instead of a table; with --follow one for each state change
    #[arg(long)]
    pub json: bool,
    /// Longer lines instead of shortened names
    #[arg(long)]
    pub wide: bool,
    /// Configuration file of the running sensor, for its control socket; and its store, where none runs
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  earthdog explain dbfd1214\n  earthdog explain dbfd findings.json\n  \
    earthdog explain dbfd1214 --json")]
pub struct ExplainArgs {
    /// Beginning of the finding's id, or of the part behind its last hyphen, as `alerts` shows it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Findings that `replay --output json` wrote [default: those of the running sensor, or of the store where none runs]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Configuration file of the running sensor, for its control socket; and its store, where none runs
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  earthdog report dbfd1214 -o dbfd1214.html")]
pub struct ReportArgs {
    /// Beginning of the finding's id, or of the part behind its last hyphen, as `alerts` shows it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Findings that `replay --output json` wrote [default: those of the running sensor, or of the store where none runs]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The page to write; - for standard output. A file that is there is replaced
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: PathBuf,
    /// Configuration file of the running sensor, for its control socket; and its store, where none runs
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:\n  earthdog coverage --markdown > coverage.md\n  \
    earthdog coverage --navigator > layer.json\n  earthdog coverage --attack attack-19.0-dns.json")]
pub struct CoverageArgs {
    /// One JSON object instead of text
    #[arg(long, group = "form", action = ArgAction::SetTrue)]
    pub json: bool,
    /// Markdown instead of text
    #[arg(long, group = "form")]
    pub markdown: bool,
    /// A layer for ATT&CK Navigator, format 4.5
    #[arg(long, group = "form")]
    pub navigator: bool,
    /// ATT&CK strategies and analytics of another release, in the form of data/attack.json
    #[arg(long, value_name = "FILE")]
    pub attack: Option<PathBuf>,
    /// Configuration file of the running sensor, for its control socket; and its store, where none runs
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}
