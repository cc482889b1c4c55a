//! `generator INTERFACE MAC KIND SECONDS RATE [CPU [FROM]]`: packets from an interface to a MAC address behind it; see
//! `earthdog_tests::generator`. RATE 0 is as many as go, FROM the number of the first new name. Says "sent N seconds S".

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use earthdog_tests::generator::{Kind, mac, pin, run};
use earthdog_tests::words;

fn main() -> ExitCode {
    words::main(generate)
}

fn generate(words: &[&str]) -> Result<()> {
    let (words, more) = words.split_at(words.len().min(5));
    let [interface, to, kind, seconds, rate] = words else { bail!("usage: see the head of {}", file!()) };
    let (cpu, from) = match more {
        [] => (None, "0"),
        [cpu] => (Some(cpu), "0"),
        [cpu, from] => (Some(cpu), *from),
        _ => bail!("usage: see the head of {}", file!()),
    };
    if let Some(cpu) = cpu {
        pin(cpu.parse()?)?;
    }
    let kind = Kind::named(kind).with_context(|| format!("no kind {kind}"))?;
    let to = mac(to).with_context(|| format!("no MAC address {to}"))?;
    let time = Duration::try_from_secs_f64(seconds.parse()?)?;
    let sent = run(interface, to, kind, time, rate.parse()?, from.parse()?)?;
    println!("sent {} seconds {:.6}", sent.count, sent.seconds);
    Ok(())
}
