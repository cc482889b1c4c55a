//! Findings out: the same struct as NDJSON for machines, or as a few lines for a person.

mod human;
pub mod messages;

use std::io;

use serde::Serialize as _;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::escape;
use crate::finding::Finding;

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
}

/// Writes one state change of a finding, newline included.
pub fn write(finding: &Finding, format: Format, out: &mut dyn io::Write) -> io::Result<()> {
    match format {
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
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| escape::hides(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests;
