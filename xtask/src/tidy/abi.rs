//! The ABI guard: the types that kernel and user space share may not change without a new ABI_VERSION.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Where the ABI is, with the files of the folder beside it.
pub(super) const SOURCE: &str = "sensor-ebpf/src/abi.rs";

/// `<version> <hash>` of the ABI as it was last blessed.
pub(super) const RECORD: &str = "xtask/abi.lock";

/// The ABI's files, one behind the other: the first, then those of its folder by name, without tests.
pub(super) fn sources(root: &Path) -> Result<String> {
    let first = root.join(SOURCE);
    let folder = first.with_extension("");
    let mut files = vec![first];
    if folder.is_dir() {
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.with_context(|| folder.display().to_string())?;
        files.extend(entries.into_iter().map(|entry| entry.path()));
        files[1..].sort();
    }
    let mut all = String::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        all += text.split("#[cfg(test)]").next().unwrap_or_default();
    }
    Ok(all)
}

pub(super) fn check(source: &str, recorded: &str) -> Result<Option<String>> {
    let now = record(source)?;
    if now == recorded {
        return Ok(None);
    }
    let same_version = now.split(' ').next() == recorded.split(' ').next();
    let what = if same_version {
        "changed, ABI_VERSION did not: raise it, then"
    } else {
        "is new: if that is meant,"
    };
    Ok(Some(format!("{SOURCE} {what} run `cargo xtask tidy --bless`")))
}

pub(super) fn record(source: &str) -> Result<String> {
    let code = code(source);
    let version = code
        .split_once("ABI_VERSION:")
        .and_then(|(_, rest)| rest.split_once('=')?.1.split(';').next())
        .context("no ABI_VERSION in the ABI")?;
    Ok(format!("{} {:016x}\n", version.trim(), fnv1a(&code)))
}

/// The source without comments and blanks: what is left is layout, constants and their checks.
fn code(source: &str) -> String {
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// Finds changes, not adversaries.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABI: &str = "/// v\npub const ABI_VERSION: u32 = 3;\npub struct A { pub x: u32 } // four bytes\n";

    #[test]
    fn comments_may_change() {
        let recorded = record(ABI).unwrap();
        assert!(recorded.starts_with("3 "), "{recorded}");
        let reworded = ABI.replace("four bytes", "a word").replace("{ pub", "{\n    pub");
        assert_eq!(check(&reworded, &recorded).unwrap(), None);
    }

    #[test]
    fn every_file_of_the_abi_is_read_and_no_test() {
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join(SOURCE);
        let folder = first.with_extension("");
        fs::create_dir_all(&folder).unwrap();
        fs::write(&first, format!("{ABI}#[cfg(test)]\nmod tests;\n")).unwrap();
        fs::write(folder.join("b.rs"), "pub struct B { pub y: u8 }\n").unwrap();
        let recorded = record(&sources(dir.path()).unwrap()).unwrap();
        assert_eq!(recorded, record(&format!("{ABI}pub struct B {{ pub y: u8 }}")).unwrap());
        fs::write(folder.join("b.rs"), "pub struct B { pub y: u16 }\n").unwrap();
        assert!(check(&sources(dir.path()).unwrap(), &recorded).unwrap().unwrap().contains("raise it"));
    }

    #[test]
    fn a_type_may_not() {
        let recorded = record(ABI).unwrap();
        let wider = ABI.replace("pub x: u32", "pub x: u64");
        assert!(check(&wider, &recorded).unwrap().unwrap().contains("raise it"));
        let raised = wider.replace("= 3", "= 4");
        assert!(check(&raised, &recorded).unwrap().unwrap().contains("--bless"));
    }
}
