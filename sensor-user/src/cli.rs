//! The command line: what can be asked, and which part answers.

mod analyst;
mod manual;
mod selftest;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use analyst::{AlertsArgs, CoverageArgs, ExplainArgs, ReportArgs, TopArgs};
pub use selftest::{PartArgs, SelftestArgs};

use crate::{
    config::{Config, Loaded, files, shipped},
    coverage, diagnose,
    exit::{self, Code},
    explain, live, replay,
    rules::list,
    store::ask,
    top,
};

/// Finds data leaving through DNS and names the process that sends it.
#[derive(Debug, Parser)]
#[command(name = "earthdog", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch this machine until it is told to stop
    #[command(
        after_help = "Examples:\n  earthdog run\n  earthdog run --output json | jq .title\n  earthdog run --role gateway --interface eth1"
    )]
    Run(RunArgs),
    /// The part of `run` that has the rights
    #[command(hide = true)]
    Attacher(RunArgs),
    /// Read captures or logs and report what is in them
    #[command(
        after_help = "Examples:\n  earthdog replay trace.pcap.gz\n  earthdog replay --output json --trail trace.pcap > findings.json\n  earthdog replay --output none --fail-on medium dns.log"
    )]
    Replay(ReplayArgs),
    /// Show what the running sensor sees, loses, holds and costs
    #[command(after_help = "Examples:\n  earthdog status\n  earthdog status --json | jq .counters")]
    Status(AskArgs),
    /// Show the flow counters of the running sensor
    #[command(after_help = "Examples:\n  earthdog flows | head\n  earthdog flows --json | jq .flows[0]")]
    Flows(AskArgs),
    /// Watch clients and zones, nearest to a bound first; once, as text, in a pipe
    Top(TopArgs),
    /// List findings, what was seen last at the end
    Alerts(AlertsArgs),
    /// Explain one finding: verdict, evidence, samples, what else it may be, what to do
    Explain(ExplainArgs),
    /// Write one finding as a page for a browser, a phone or a printer
    Report(ReportArgs),
    /// Show on this host what would be found, how soon and whose, and the slowest leak that would be
    Selftest(SelftestArgs),
    /// One process of a self-test
    #[command(hide = true)]
    SelftestPart(PartArgs),
    /// Say what of ATT&CK is covered here, how far, and which test shows it
    Coverage(CoverageArgs),
    /// Say what is remembered of a name: first and last seen, by how many clients, answers
    Pdns(PdnsArgs),
    /// Show or reset what is remembered of clients' habits
    #[command(subcommand)]
    #[command(
        after_help = "Examples:\n  earthdog baseline show\n  earthdog baseline show /usr/bin/curl --output json\n  earthdog baseline reset 1f0c2d3e4b5a6978"
    )]
    Baseline(BaselineCommand),
    /// Say what this kernel offers, which hooks would be used and what they cannot see
    #[command(
        after_help = "Examples:\n  earthdog doctor\n  earthdog doctor --json | jq .hints\n  earthdog doctor --role gateway --interface eth1\n  earthdog doctor --clean"
    )]
    Doctor(DoctorArgs),
    /// Pack what somebody else needs to help, without names, addresses or anything else of this host's own
    Diagnose(DiagnoseArgs),
    /// List the rules: evidence, severity, ATT&CK ids and configuration keys
    #[command(after_help = "Examples:\n  earthdog rules\n  earthdog rules --json | jq .rules[].rule")]
    Rules(RulesArgs),
    /// Print or check the configuration
    #[command(subcommand)]
    #[command(
        after_help = "Examples:\n  earthdog config print\n  earthdog config check -c new.toml\n  earthdog config explain ledger.max_keys"
    )]
    Config(ConfigCommand),
    /// Print what makes a shell complete earthdog's commands and options
    #[command(after_help = "Example:\n  earthdog completions bash > /etc/bash_completion.d/earthdog")]
    Completions(manual::CompletionsArgs),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Manual(manual::ManualArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Configuration file [default: /etc/earthdog/earthdog.toml and conf.d/*.toml there, as far as there are any]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Interface to watch; may be repeated [default: those of the default routes; a gateway must name them]
    #[arg(long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// What this machine is
    #[arg(long, value_enum, default_value_t)]
    pub role: Role,
    /// How packets that arrive are seen
    #[arg(long, value_enum, default_value_t)]
    pub xdp_mode: XdpMode,
    /// cgroup2 directory to watch [default: the root of the cgroup2 hierarchy]
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Form of the findings [default: output.format of the configuration]
    #[arg(long, value_enum)]
    pub output: Option<FindingsForm>,
    /// Stop after this many seconds
    #[arg(long, value_name = "S")]
    pub duration: Option<u64>,
    /// Mark findings as those of a self-test
    #[arg(long, hide = true)]
    pub selftest: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// pcap, pcapng, Zeek dns.log (TSV or JSON) or dnstap, plain or gzipped
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Configuration file [default: /etc/earthdog/earthdog.toml and conf.d/*.toml there, as far as there are any]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Form of the findings [default: output.format of the configuration]
    #[arg(long, value_enum)]
    pub output: Option<FindingsForm>,
    /// With --output json: add to each finding how it came about (gaps, bytes over time), for `explain` and `report`
    #[arg(long)]
    pub trail: bool,
    /// Also write findings that an exception (`[[suppress]]`) covers, marked as such
    #[arg(long)]
    pub suppressed: bool,
    /// Exit with 3 if there is a finding of this severity or higher
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub fail_on: Option<FailOn>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct AskArgs {
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Configuration file of the running sensor, for its control socket
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  earthdog pdns www.example.com\n  earthdog pdns 192.0.2.7\n  \
    earthdog pdns example.com --who\n  earthdog pdns example.com --cof > example.ndjson")]
pub struct PdnsArgs {
    /// A name, a zone or an address
    #[arg(value_name = "NAME|IP")]
    pub name: String,
    /// Who asked for names of its zone
    #[arg(long, group = "part")]
    pub who: bool,
    /// The zone's days: new information, clients, new names
    #[arg(long, group = "part")]
    pub timeline: bool,
    /// Names and addresses in the Passive DNS Common Output Format, one JSON object a line
    #[arg(long, group = "part", conflicts_with = "output")]
    pub cof: bool,
    #[command(flatten)]
    pub memory: MemoryArgs,
}

#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Look-ups and zones a day, share of NXDOMAIN; of one client also each zone's new information by day
    Show(BaselineArgs),
    /// Forget them, to be learnt anew
    Reset(BaselineArgs),
}

#[derive(Clone, Debug, Args)]
pub struct BaselineArgs {
    /// Client id, program or address; to show, a part of its description will do [default: all]
    #[arg(value_name = "CLIENT")]
    pub client: Option<String>,
    #[command(flatten)]
    pub memory: MemoryArgs,
}

#[derive(Clone, Debug, Args)]
pub struct MemoryArgs {
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    pub output: Output,
    /// Configuration file of the running sensor, for its control socket; and its store, where none runs
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct DoctorArgs {
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Remove what a killed sensor left behind, and what live.pin keeps
    #[arg(long)]
    pub clean: bool,
    /// With --clean: leave what live.pin keeps for the next start, where the configuration asks for it
    #[arg(long, requires = "clean")]
    pub keep_pins: bool,
    /// As for `run`
    #[arg(long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// As for `run`
    #[arg(long, value_enum, default_value_t)]
    pub role: Role,
    /// As for `run`
    #[arg(long, value_enum, default_value_t)]
    pub xdp_mode: XdpMode,
    /// As for `run`
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Configuration file [default: /etc/earthdog/earthdog.toml and conf.d/*.toml there, as far as there are any]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  earthdog diagnose\n  earthdog diagnose -o - | tar tzv\n  earthdog diagnose --show | less"
)]
pub struct DiagnoseArgs {
    /// Where to; - for standard output [default: earthdog-diagnose-TIME.tar.gz here]
    #[arg(short = 'o', long = "output", value_name = "FILE", conflicts_with = "show")]
    pub output: Option<PathBuf>,
    /// Print all that would be in it, and write no file
    #[arg(long)]
    pub show: bool,
    /// Configuration file of the running sensor
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RulesArgs {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every key with its meaning, default and value in force, as a file that can be used
    Print(PrintArgs),
    /// Say whether the configuration is valid
    Check(ConfigArgs),
    /// Say what a key means, what it may be, what it is and which file says so
    Explain(KeyArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Configuration file [default: /etc/earthdog/earthdog.toml and conf.d/*.toml there, as far as there are any]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PrintArgs {
    /// Every key at its default and commented out, as packages ship it
    #[arg(long, conflicts_with = "config")]
    defaults: bool,
    #[command(flatten)]
    file: ConfigArgs,
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// A key with its section, such as ledger.max_keys, or a section
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    file: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// A machine whose own processes are watched
    #[default]
    Host,
    /// A machine that forwards for others
    Gateway,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// Native XDP where attaching is known to be harmless, else tcx
    #[default]
    Auto,
    /// XDP in the driver; some drivers restart their rings when it is attached
    Native,
    /// XDP after the driver; copies every packet
    Generic,
    /// tcx (clsact before 6.6) ingress instead of XDP
    Tcx,
    /// No wire view
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One JSON object per line
    Json,
    /// Text for people
    Human,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FindingsForm {
    /// One JSON object per line
    Json,
    /// Text for people
    Human,
    /// OCSF Detection Finding (2004), in the version that output.ocsf.version says
    Ocsf,
    /// Elastic Common Schema 9
    Ecs,
    /// None on standard output: `[[sink]]`s have them
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum FailOn {
    Low,
    Medium,
    High,
    Critical,
}

/// Parses the command line (program name first) and does what it says.
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Code> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            error.print().map_err(|error| exit::Error::stdout(&error))?;
            return Ok(if error.use_stderr() { Code::Usage } else { Code::Ok });
        }
    };
    let load = |file: &Option<PathBuf>| Config::load(file.as_deref());
    match cli.command {
        Command::Run(args) => live::run(&args, &load(&args.config)?),
        Command::Attacher(args) => live::attacher(&args),
        Command::Replay(args) => replay::run(&args, &load(&args.config)?),
        Command::Status(args) => live::status(&args, &load(&args.config)?),
        Command::Flows(args) => live::flows(&args, &load(&args.config)?),
        Command::Top(args) => top::run(&args, &load(&args.config)?),
        Command::Alerts(args) => explain::alerts::run(&args, &load(&args.config)?),
        Command::Explain(args) => explain::explain(&args, &load(&args.config)?),
        Command::Report(args) => explain::report(&args, &load(&args.config)?),
        Command::Selftest(args) => crate::selftest::run(&args, &load(&args.config)?),
        Command::SelftestPart(args) => crate::selftest::part::run(&args),
        Command::Coverage(args) => coverage::run(&args, &load(&args.config)?),
        Command::Pdns(args) => print(&ask::pdns(&args, &load(&args.memory.config)?)?),
        Command::Baseline(BaselineCommand::Show(args)) => {
            print(&ask::baseline(&args, &load(&args.memory.config)?)?)
        }
        Command::Baseline(BaselineCommand::Reset(args)) => {
            print(&ask::reset(&args, &load(&args.memory.config)?)?)
        }
        Command::Doctor(args) => live::doctor(&args, &load(&args.config)?),
        Command::Diagnose(args) => diagnose::run(&args, &load(&args.config)?),
        Command::Rules(args) => print(&if args.json { list::json() } else { list::text() }),
        Command::Config(ConfigCommand::Print(args)) => {
            print(&if args.defaults { shipped::commented() } else { load(&args.file.config)?.to_toml() })
        }
        Command::Config(ConfigCommand::Check(args)) => {
            print(&Loaded::read(args.config.as_deref(), Path::new(files::DIRECTORY))?.check()?)
        }
        Command::Config(ConfigCommand::Explain(args)) => print(
            &Loaded::read(args.file.config.as_deref(), Path::new(files::DIRECTORY))?.explain(&args.key)?,
        ),
        Command::Completions(args) => print(&manual::completions(args.shell)),
        Command::Manual(args) => manual::write(&args.folder).map(|()| Code::Ok),
    }
}

fn print(text: &str) -> anyhow::Result<Code> {
    let mut out = io::stdout().lock();
    io::Write::write_all(&mut out, text.as_bytes())
        .and_then(|()| io::Write::flush(&mut out))
        .map_err(|error| exit::Error::stdout(&error))?;
    Ok(Code::Ok)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn code(args: &[&str]) -> Code {
        let args = ["earthdog"].iter().chain(args).map(Into::into);
        run(args).unwrap_or_else(|error| Code::of(&error))
    }

    #[test]
    fn the_command_table_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_2() {
        for args in [
            &[][..],
            &["sniff"],
            &["replay"],
            &["run", "--role", "router"],
            &["run", "--duration", "soon"],
            &["replay", "x", "--fail-on", "tiny"],
            &["run", "-c", "/nonexistent/earthdog.toml"],
            &["config", "check", "-c", "/nonexistent/earthdog.toml"],
        ] {
            assert_eq!(code(args), Code::Usage, "{args:?}");
        }
    }

    #[test]
    fn asking_for_help_is_no_error() {
        assert_eq!(code(&["--help"]), Code::Ok);
        assert_eq!(code(&["--version"]), Code::Ok);
    }
}
