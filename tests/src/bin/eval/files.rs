//! What there is to replay: all files below `tunnel/` and `benign/`, or those that `eval.toml` lists.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Tunnel,
    Benign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// Below the folder.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Holds traffic of other files once more: shown, but not counted in totals nor derived from.
    pub(crate) again: bool,
    /// Findings of medium or higher that honest traffic may have.
    pub(crate) allowed: u64,
}

const MANIFEST: &str = "eval.toml";

/// Of the development data: the log is of the crawl that the captures beside it are parts of.
const AGAIN: [&str; 1] = ["graphtunnel_crawl_zeek_dns.log.gz"];

/// Of the development data: captures and the log of a program that walks a list of a million sites, which somebody
/// watching would want to know of once, or once for each hour of the whole walk.
const CRAWLS: [(&str, u64); 2] = [("graphtunnel_normal_", 1), ("graphtunnel_crawl_", 12)];

/// ```toml
/// [[file]]
/// file = "captures/a.pcap"
/// kind = "tunnel"            # or "benign"
/// again = false              # true: the same traffic as in other files, not counted in totals
/// allowed = 0                # findings of medium or higher that this honest traffic may have
/// ```
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    file: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    file: String,
    kind: Kind,
    #[serde(default)]
    again: bool,
    #[serde(default)]
    allowed: u64,
}

/// In the order of their names.
pub(crate) fn list(dir: &Path) -> Result<Vec<File>> {
    let manifest = dir.join(MANIFEST);
    let mut files = if manifest.is_file() { listed(dir, &manifest)? } else { found(dir)? };
    if files.is_empty() {
        bail!("{} has no file below tunnel/ or benign/, and no {MANIFEST}", dir.display());
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn listed(dir: &Path, manifest: &Path) -> Result<Vec<File>> {
    let name = manifest.display();
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {name}"))?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| {
        format!("{name}: wants [[file]] with file = \"…\" and kind = \"tunnel\" or \"benign\"")
    })?;
    let file = |Listed { file, kind, again, allowed }| File {
        path: dir.join(&file),
        name: file,
        kind,
        again,
        allowed,
    };
    Ok(manifest.file.into_iter().map(file).collect())
}

fn found(dir: &Path) -> Result<Vec<File>> {
    let root = dir.canonicalize().with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let what = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(what)? {
            let path = entry.with_context(what)?.path();
            let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
            // Notes beside captures are none.
            let note = path.extension().is_some_and(|ext| ext == "md")
                || name.starts_with('.')
                || name.contains("/.");
            if path.is_dir() {
                folders.push(path);
            } else if let Some(kind) = kind(&path).filter(|_| !note) {
                let again = AGAIN.iter().any(|file| path.ends_with(file));
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                let crawl = CRAWLS.iter().find(|(start, _)| file.starts_with(start));
                let allowed = crawl.map_or(0, |(_, count)| *count);
                files.push(File { path, name, kind, again, allowed });
            }
        }
    }
    Ok(files)
}

/// By the innermost folder that says so.
fn kind(path: &Path) -> Option<Kind> {
    path.parent()?.components().rev().find_map(|part| match part {
        Component::Normal(name) if name == "tunnel" => Some(Kind::Tunnel),
        Component::Normal(name) if name == "benign" => Some(Kind::Benign),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn folders_say_what_files_are() {
        let dir = folder(&[
            "tunnel/b.pcap",
            "tunnel/a/c.pcap",
            "benign/d.log",
            "benign/README.md",
            "benign/.e",
            "f.pcap",
        ]);
        let files = list(dir.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.kind)).collect();
        assert_eq!(
            names,
            [
                ("benign/d.log", Kind::Benign),
                ("tunnel/a/c.pcap", Kind::Tunnel),
                ("tunnel/b.pcap", Kind::Tunnel)
            ]
        );
        let tunnels = list(&dir.path().join("tunnel")).unwrap();
        assert_eq!(tunnels.len(), 2, "also where the folder itself is one of them");
    }

    #[test]
    fn a_manifest_has_the_last_word() {
        let dir = folder(&["tunnel/b.pcap", "x/c.pcap"]);
        let manifest = dir.path().join(MANIFEST);
        fs::write(&manifest, "[[file]]\nfile = \"x/c.pcap\"\nkind = \"benign\"\nagain = true\n").unwrap();
        let files = list(dir.path()).unwrap();
        assert_eq!(
            (files.len(), files[0].name.as_str(), files[0].kind, files[0].again),
            (1, "x/c.pcap", Kind::Benign, true)
        );
        fs::write(&manifest, "[[file]]\nfile = \"x/c.pcap\"\nkind = \"evil\"\n").unwrap();
        let error = format!("{:#}", list(dir.path()).unwrap_err());
        assert!(error.contains("eval.toml") && error.contains("benign"), "{error}");
    }

    #[test]
    fn nothing_to_do_is_an_error() {
        assert!(list(folder(&["a.pcap"]).path()).is_err());
        assert!(list(Path::new("/nonexistent")).is_err());
    }
}
