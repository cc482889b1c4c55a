//! `cargo xtask tidy`: house rules that no other tool checks, over the files git tracks.

mod abi;
mod rules;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Prints each problem and returns how many there are; `bless` records the ABI as it is.
pub(crate) fn run(bless: bool) -> Result<usize> {
    let root = process::workspace();
    let list = process::output(Command::new("git").current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    for name in list.lines() {
        // Captures and corpora are no text, and a file may be deleted but still tracked.
        let Ok(text) = fs::read_to_string(root.join(name)) else { continue };
        rules::check(name, &text, &mut problems, &mut notes);
    }

    let source = abi::sources(root)?;
    let record = root.join(abi::RECORD);
    if bless {
        fs::write(&record, abi::record(&source)?).with_context(|| abi::RECORD.to_owned())?;
    } else {
        let recorded = fs::read_to_string(&record).unwrap_or_default();
        problems.extend(abi::check(&source, &recorded)?);
    }

    if let Err(error) = fuzz_lock_follows() {
        problems.push(format!("{error:#}"));
    }

    for note in notes {
        println!("tidy: note: {note}");
    }
    for problem in &problems {
        println!("tidy: {problem}");
    }
    Ok(problems.len())
}

/// The fuzz targets are a workspace of their own, whose lock file nothing else looks at before they are built.
fn fuzz_lock_follows() -> Result<()> {
    const MANIFEST: &str = "tests/fuzz/Cargo.toml";
    let mut cargo = process::cargo();
    cargo.args(["update", "--workspace", "--locked", "--quiet", "--manifest-path"]);
    process::output(cargo.arg(process::workspace().join(MANIFEST)))
        .map(drop)
        .context(format!("run `cargo metadata --format-version 1 --manifest-path {MANIFEST}`"))
}
