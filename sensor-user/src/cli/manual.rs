//! What a package brings beside the binary, from the same tables: manual pages and completions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;
use crate::config::{Config, KEYS, SECTIONS, shipped};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell that will read it
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManualArgs {
    /// Folder that gets one file a page; it must be there
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}

/// The completion script.
pub(super) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "earthdog", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes earthdog(1), a page for each subcommand and earthdog.toml(5).
pub(super) fn write(folder: &Path) -> anyhow::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    commands(&command, "earthdog", &mut pages)?;
    pages.push(("earthdog.toml.5".to_owned(), configuration()));
    for (name, text) in pages {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn commands(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    let mut page = Vec::new();
    // clap names the source after the subcommand; it is the program's.
    let version = format!("earthdog {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(version).manual("earthdog");
    man.render(&mut page).map_err(|error| anyhow!("page {name}: {error}"))?;
    let mut more = Roff::new();
    if name == "earthdog" {
        files(&mut more);
    }
    exit_codes(&mut more);
    see_also(&mut more, name);
    page.extend(more.render().into_bytes());
    pages.push((format!("{name}.1"), page));
    for below in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        commands(below, &format!("{name}-{}", below.get_name()), pages)?;
    }
    Ok(())
}

fn files(page: &mut Roff) {
    page.control("SH", ["FILES"]);
    for (path, what) in [
        (
            "/etc/earthdog/earthdog.toml, /etc/earthdog/conf.d/*.toml",
            "The configuration; see earthdog.toml(5).",
        ),
        (
            "/run/earthdog/control.sock",
            "Where a running sensor answers root and members of the group earthdog.",
        ),
        ("/run/earthdog/off", "While it is there, the sensor is off its hooks."),
        ("/var/lib/earthdog", "What is remembered of other days, and results of self-tests."),
    ] {
        page.control("TP", []).text([bold(path)]).text([roman(what)]);
    }
}

fn exit_codes(page: &mut Roff) {
    page.control("SH", ["EXIT STATUS"]);
    for (code, what) in [
        ("0", "Done; also for SIGTERM, --duration and a broken pipe."),
        ("1", "Unreadable, foreign or damaged input, full disk, any other failure."),
        ("2", "Usage or configuration."),
        ("3", "Findings at or over --fail-on."),
        ("69", "No usable hook."),
        ("77", "Not permitted."),
    ] {
        page.control("TP", []).text([bold(code)]).text([roman(what)]);
    }
}

fn see_also(page: &mut Roff, name: &str) {
    page.control("SH", ["SEE ALSO"]);
    let first = if name == "earthdog" { "" } else { "earthdog(1), " };
    page.text([roman(format!("{first}earthdog.toml(5)"))]);
}

/// earthdog.toml(5), from the key table.
fn configuration() -> Vec<u8> {
    let mut page = Roff::new();
    let version = format!("earthdog {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["EARTHDOG.TOML", "5", "", version.as_str(), "earthdog"]);
    page.control("SH", ["NAME"]).text([roman("earthdog.toml - configuration of earthdog")]);
    page.control("SH", ["SYNOPSIS"])
        .text([roman("/etc/earthdog/earthdog.toml, /etc/earthdog/conf.d/*.toml")]);
    page.control("SH", ["DESCRIPTION"]).text([roman(
        "Strict TOML over the defaults below; none of it is needed. Files of conf.d are read after earthdog.toml, in the \
         order of their names, and the last word counts. Anything unknown or out of range is refused, with file, line, \
         value and what is allowed. SIGHUP makes a running sensor read it again.",
    )]);
    for (section, doc) in SECTIONS {
        page.control("SH", [format!("[{section}]").as_str()]).text([roman(doc.trim())]);
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let restart = key.restart.map_or_else(String::new, |why| format!(" Needs a restart: {why}."));
            let default = key.value(&Config::default());
            page.control("TP", []).text([bold(key.name)]);
            page.text([roman(format!(
                "{} Allowed: {}. Default: {default}.{restart}",
                key.doc.trim(),
                key.allowed
            ))]);
        }
    }
    for list in shipped::lists() {
        page.control("SH", [format!("[[{}]]", list.section).as_str()]).text([roman(list.doc)]);
        for (name, doc) in list.keys {
            page.control("TP", []).text([bold(name)]).text([roman(doc)]);
        }
    }
    see_also(&mut page, "earthdog.toml");
    page.render().into_bytes()
}
