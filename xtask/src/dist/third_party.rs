//! The crates that are compiled in, with their licences and the texts that these ask to go with copies.

use std::collections::{BTreeMap, BTreeSet};
use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// Name, version and licence of every crate, then each text once with the crates that it is of.
pub(super) fn list() -> Result<String> {
    let platform = format!("{ARCH}-unknown-linux-gnu");
    let text = process::output(process::cargo().args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let mut list = String::from(
        "Compiled into earthdog, beside the GNU C library (LGPL-2.1-or-later) where that is linked in:\n\n",
    );
    let mut texts = BTreeMap::<String, BTreeSet<String>>::new();
    let compiled = compiled(&metadata, "sensor-user");
    for package in metadata["packages"].as_array().into_iter().flatten() {
        // Our own have no source.
        if package["source"].is_null() || !package["id"].as_str().is_some_and(|id| compiled.contains(id)) {
            continue;
        }
        let word = |key: &str| package[key].as_str().unwrap_or("?");
        let name = format!("{} {}", word("name"), word("version"));
        let _ = writeln!(list, "{name}: {}", word("license"));
        for text in licences(Path::new(word("manifest_path")))? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    for (text, crates) in texts {
        let crates: Vec<_> = crates.into_iter().collect();
        let _ = write!(list, "\n{}\n{}:\n\n{text}\n", "=".repeat(80), crates.join(", "));
    }
    Ok(list)
}

/// Ids of what `name` is made of.
fn compiled<'a>(metadata: &'a Value, name: &str) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<_, _> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut open: Vec<_> = packages
        .filter(|package| package["name"] == name)
        .filter_map(|package| package["id"].as_str())
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let needs = nodes.get(id).and_then(|node| node["deps"].as_array()).into_iter().flatten();
        // Neither what only builds need nor what only tests do.
        let normal = needs.filter(|dep| {
            dep["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
        });
        open.extend(normal.filter_map(|dep| dep["pkg"].as_str()));
    }
    seen
}

/// The licence texts beside a crate's manifest.
fn licences(manifest: &Path) -> Result<Vec<String>> {
    let folder = manifest.parent().unwrap_or(manifest);
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let telling = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if telling.iter().any(|start| name.starts_with(start)) && entry.file_type()?.is_file() {
            texts.push(String::from_utf8_lossy(&fs::read(entry.path())?).trim().replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_builds_or_tests_need_is_not_shipped() {
        let metadata = serde_json::json!({
            "packages": [{ "name": "a", "id": "a#1" }, { "name": "b", "id": "b#1" }],
            "resolve": { "nodes": [
                { "id": "a#1", "deps": [
                    { "pkg": "b#1", "dep_kinds": [{ "kind": null }, { "kind": "dev" }] },
                    { "pkg": "c#1", "dep_kinds": [{ "kind": "build" }] },
                    { "pkg": "d#1", "dep_kinds": [{ "kind": "dev" }] },
                ] },
                { "id": "b#1", "deps": [{ "pkg": "e#1", "dep_kinds": [{ "kind": null }] }] },
            ] },
        });
        assert_eq!(compiled(&metadata, "a"), BTreeSet::from(["a#1", "b#1", "e#1"]));
    }
}
