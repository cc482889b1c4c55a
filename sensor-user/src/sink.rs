//! Findings and messages out, each from the one struct that it is: for people, for machines in several forms, and to
//! wherever the configuration says. What takes none costs its own queue, and nothing else.

pub mod encode;
mod human;

pub mod cof;
pub mod dnstap;
pub mod ecs;
pub mod journal;
pub mod ocsf;
pub mod syslog;
pub mod zeek;

pub mod messages;

pub mod queue;
pub mod spool;
pub mod tally;

pub mod outlet;
pub mod worker;

pub mod set;

use std::io;

use serde::Serialize as _;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::cli::FindingsForm;
use crate::escape;
use crate::finding::Finding;

pub use encode::{About, Item};
pub use set::Sinks;

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A few aligned lines; `colour` only where the reader is a terminal.
    #[default]
    Human,
    /// As `Human`, with colours.
    HumanColour,
    /// One JSON object per line.
    Json,
    /// The same in OCSF or ECS.
    Ocsf,
    Ecs,
    /// Not at all.
    None,
}

impl Format {
    /// The form asked for.
    pub const fn of(form: FindingsForm, colour: bool) -> Self {
        match form {
            FindingsForm::Json => Self::Json,
            FindingsForm::Human if colour => Self::HumanColour,
            FindingsForm::Human => Self::Human,
            FindingsForm::Ocsf => Self::Ocsf,
            FindingsForm::Ecs => Self::Ecs,
            FindingsForm::None => Self::None,
        }
    }
}

/// Writes one state change of a finding, newline included.
pub fn write(finding: &Finding, format: Format, about: &About, out: &mut dyn io::Write) -> io::Result<()> {
    let mut line = |value: &serde_json::Value| {
        value.serialize(&mut Serializer::with_formatter(&mut *out, Visible))?;
        out.write_all(b"\n")
    };
    match format {
        Format::None => Ok(()),
        Format::Ocsf => line(&ocsf::finding(finding, about)),
        Format::Ecs => line(&ecs::finding(finding, about)),
        Format::Json => {
            finding.serialize(&mut Serializer::with_formatter(&mut *out, Visible))?;
            out.write_all(b"\n")
        }
        Format::Human => human::write(finding, false, out),
        Format::HumanColour => human::write(finding, true, out),
    }
}

/// A line of JSON that a terminal may show.
pub fn json(value: &impl serde::Serialize) -> io::Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, Visible))?;
    out.push(b'\n');
    String::from_utf8(out).map_err(io::Error::other)
}

/// Compact JSON that a terminal may show: what [`escape::escape`] would hide is written as `\uXXXX`. JSON itself asks
/// that only of characters below space (RFC 8259 section 7); parsed, the value is the same.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(out, fragment, escape::hides)
    }
}

/// As [`Visible`], in ASCII alone.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(out, fragment, |c| !c.is_ascii() || escape::hides(c))
    }
}

fn write_escaped<W: io::Write + ?Sized>(
    out: &mut W,
    mut rest: &str,
    hides: impl Fn(char) -> bool,
) -> io::Result<()> {
    while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| hides(*c)) {
        out.write_all(&rest.as_bytes()[..at])?;
        for unit in hidden.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        rest = &rest[at + hidden.len_utf8()..];
    }
    out.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests;
