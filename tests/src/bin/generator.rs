//! `generator INTERFACE MAC KIND SECONDS RATE [CPU]`: packets from an interface to a MAC address behind it; see
//! `earthdog_tests::generator`. RATE 0 is as many as go. Says "sent N seconds S".

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use earthdog_tests::generator::{Kind, mac, pin, run};
use earthdog_tests::words;

fn main() -> ExitCode {
    words::main(generate)
}

fn generate(words: &[&str]) -> Result<()> {
    let (words, cpu) = match words {
        [words @ .., cpu] if words.len() == 5 => (words, Some(cpu.parse()?)),
        words => (words, None),
    };
    let [interface, to, kind, seconds, rate] = words else { bail!("usage: see the head of {}", file!()) };
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    let kind = Kind::named(kind).with_context(|| format!("no kind {kind}"))?;
    let to = mac(to).with_context(|| format!("no MAC address {to}"))?;
    let sent = run(interface, to, kind, Duration::try_from_secs_f64(seconds.parse()?)?, rate.parse()?)?;
    println!("sent {} seconds {:.6}", sent.count, sent.seconds);
    Ok(())
}
