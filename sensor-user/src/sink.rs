//! Findings out: the same struct as NDJSON for machines, or as a few lines for a person.

mod human;

use std::io;

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
            serde_json::to_writer(&mut *out, finding)?;
            out.write_all(b"\n")
        }
        Format::Human => human::write(finding, false, out),
        Format::HumanColour => human::write(finding, true, out),
    }
}

#[cfg(test)]
mod tests;
