//! A finding as a few lines that an analyst decides on.

use std::io;

use crate::escape::escape;
use crate::finding::Finding;

pub(super) fn write(finding: &Finding, _colour: bool, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "{} {:?} {}", finding.time, finding.severity, escape(&finding.title))
}
