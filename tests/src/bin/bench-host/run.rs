//! What the arguments ask for.

use anyhow::{Context as _, Result, bail};
use earthdog_tests::rows;

use crate::compare::{self, Over};
use crate::sends;

pub(crate) fn bench() -> Result<()> {
    let (json_file, words) = rows::file_of(std::env::args().skip(1))?;
    let (mut alone, mut over, mut rounds, mut nice) = (false, Over::Loopback, compare::ROUNDS, None);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--here" => return sends::measure(json_file.as_deref()),
            "--dnsperf" => alone = true,
            "--over" => over = Over::named(words.next())?,
            "--rounds" => rounds = words.next().context("--rounds takes a number")?.parse()?,
            "--nice" => nice = Some(words.next().context("--nice takes a number")?.parse()?),
            other => bail!(
                "unknown argument {other}; usage: bench host [--json FILE] [--dnsperf] [--over loopback|veth] [--rounds N] \
                 [--nice N]"
            ),
        }
    }
    if !alone {
        sends::bench(json_file.as_deref())?;
    } else if let Some(file) = &json_file {
        rows::write(file, &[])?;
    }
    let rows = compare::bench(over, rounds, nice)?;
    json_file.map_or(Ok(()), |file| rows::append(&file, &rows))
}
