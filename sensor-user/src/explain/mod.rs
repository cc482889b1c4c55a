//! What an analyst reads: the list of findings, one of them explained, and the same as a page.
//!
//! `records` is the rim: findings come from the running sensor, from the store where none runs, or from a file that a
//! replay wrote. `view` makes of a finding, what other days know of it and its rule's page one value; `text`, `page` and
//! `--json` are that value in three forms, so they cannot tell different stories.

pub mod alerts;
mod burn_in;
pub mod records;

pub mod decode;
pub mod guide;
pub mod habits;
pub mod view;

mod page;
mod picture;
pub mod text;
pub mod wrap;

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use crate::cli::{ExplainArgs, ReportArgs};
use crate::config::Config;
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::sink;
use habits::Habits;
use view::Explained;

/// Prints one finding, explained.
pub fn explain(args: &ExplainArgs, config: &Config) -> anyhow::Result<Code> {
    let explained = look_up(config, args.file.as_deref(), &args.id)?;
    let out = io::stdout().lock();
    let text = if args.json {
        sink::json(&explained).map_err(|error| Error::stdout(&error))?
    } else {
        text::text(&explained, out.is_terminal() && std::env::var_os("NO_COLOR").is_none())
    };
    write(out, &text)
}

/// Writes one finding as a page.
pub fn report(args: &ReportArgs, config: &Config) -> anyhow::Result<Code> {
    let explained = look_up(config, args.file.as_deref(), &args.id)?;
    let page = page::page(&explained);
    if args.output == Path::new("-") {
        return write(io::stdout().lock(), &page);
    }
    // Whole or not at all: a page that is there stays as it is until the new one is.
    let mut new = args.output.clone().into_os_string();
    new.push(format!(".{}", std::process::id()));
    let written = fs::write(&new, page).and_then(|()| fs::rename(&new, &args.output));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        let place = escape(args.output.as_os_str().as_encoded_bytes()).into_owned();
        let text = format!("{place}: {error}; name a file in a directory that can be written");
        return Err(Error::new(Code::Failure, text).into());
    }
    Ok(Code::Ok)
}

/// The text of one finding of the running sensor.
pub fn explained(config: &Config, id: &str) -> Result<String, Error> {
    look_up(config, None, id).map(|explained| text::text(&explained, false))
}

fn look_up(config: &Config, file: Option<&Path>, id: &str) -> Result<Explained, Error> {
    let changes = records::one(config, file, id)?;
    let habits = match (file, changes.last()) {
        (None, Some(finding)) => Habits::look_up(config, finding),
        _ => Habits::of_another_network(),
    };
    Explained::of(&changes, &habits).ok_or_else(|| {
        Error::new(Code::Failure, format!("there is no finding {}; `earthdog alerts` lists them", escape(id)))
    })
}

fn write(mut out: impl io::Write, text: &str) -> anyhow::Result<Code> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::stdout(&error))?;
    Ok(Code::Ok)
}

#[cfg(test)]
pub(crate) mod tests;
