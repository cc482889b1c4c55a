//! One process that sends DNS in one way, and says who it is.
//!
//! ```text
//! sender rows                              the ways there are
//! sender serve ADDRESS…                    the server they ask: UDP and TCP, port 53; says "ready"
//! sender ROW NONCE V4 V6 DEVICE            sends as the row says to the server's addresses
//! sender races KIND COUNT NONCE V4         many sends, racing
//! sender flood COUNT V4                    as many queries of another zone
//! ```

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use earthdog_tests::truth::{self, races, serve};
use earthdog_tests::words;

fn main() -> ExitCode {
    words::main(run)
}

/// What failed is on stdout too, for whoever reads the results there.
fn run(words: &[&str]) -> Result<()> {
    send(words).inspect_err(|error| println!("failed {error:#}"))
}

fn send(words: &[&str]) -> Result<()> {
    match words {
        ["rows"] => {
            for row in truth::send::ROWS {
                println!("{}: {}", row.name, row.what);
            }
            Ok(())
        }
        ["serve", addresses @ ..] => {
            let addresses = addresses.iter().map(|address| address.parse()).collect::<Result<Vec<_>, _>>()?;
            Ok(serve::serve(&addresses)?)
        }
        ["races", kind, count, nonce, v4] => Ok(races::send(kind, count.parse()?, nonce, v4.parse()?)?),
        ["flood", count, v4] => Ok(races::flood(count.parse()?, v4.parse()?)?),
        [row, nonce, v4, v6, device] => truth::send::run(row, nonce, v4.parse()?, v6.parse()?, device)
            .with_context(|| format!("row {row}")),
        _ => bail!("usage: see the head of {}", file!()),
    }
}
