//! The ABI guard: the types that kernel and user space share may not change without a new ABI_VERSION.

use anyhow::{Context, Result};

pub(super) const SOURCE: &str = "sensor-ebpf/src/abi.rs";

/// `<version> <hash>` of the ABI as it was last blessed.
pub(super) const RECORD: &str = "xtask/abi.lock";

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

/// The source without comments, blanks and tests: what is left is layout, constants and their checks.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
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
    fn a_type_may_not() {
        let recorded = record(ABI).unwrap();
        let wider = ABI.replace("pub x: u32", "pub x: u64");
        assert!(check(&wider, &recorded).unwrap().unwrap().contains("raise it"));
        let raised = wider.replace("= 3", "= 4");
        assert!(check(&raised, &recorded).unwrap().unwrap().contains("--bless"));
    }
}
