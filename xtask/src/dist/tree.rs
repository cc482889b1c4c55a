//! The files of a package, from the binary's own tables and from sensor-user/deploy.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use super::{Release, third_party};
use crate::process;

/// Shells with the folder and name of their completions.
const SHELLS: [(&str, &str); 2] = [
    ("bash", "usr/share/bash-completion/completions/earthdog"),
    ("fish", "usr/share/fish/vendor_completions.d/earthdog.fish"),
];

const OWN_FOLDERS: [&str; 6] = [
    "etc/earthdog",
    "etc/earthdog/conf.d",
    "usr/share/doc/earthdog",
    "usr/share/earthdog",
    "usr/share/earthdog/grafana",
    "usr/share/earthdog/prometheus",
];

#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// By path, without folders of others.
    entries: Vec<Entry>,
    /// For zsh, whose folder is each distribution's own.
    pub(super) zsh: String,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Below the root, without a slash before it.
    pub(super) path: String,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Program(Vec<u8>),
    File(Vec<u8>),
    /// What an admin changes there stays.
    Config(Vec<u8>),
    Folder,
}

impl Tree {
    /// What all packages have. `built` is asked for its pages, since `binary`, stripped of it, is what is shipped.
    pub(super) fn of(built: &Path, binary: &Path, work: &Path) -> Result<Self> {
        let ask = |arguments: &[&str]| process::output(Command::new(built).args(arguments));
        let mut tree = Self { entries: Vec::new(), zsh: ask(&["completions", "zsh"])? };
        tree.put("usr/bin/earthdog", What::Program(read(binary)?));
        for (name, path) in [
            ("systemd/earthdog.service", "usr/lib/systemd/system/earthdog.service"),
            ("systemd/sysusers.conf", "usr/lib/sysusers.d/earthdog.conf"),
            ("prometheus/alerts.yml", "usr/share/earthdog/prometheus/alerts.yml"),
            ("grafana/earthdog.json", "usr/share/earthdog/grafana/earthdog.json"),
        ] {
            tree.file(path, deployed(name)?);
        }
        tree.put("etc/earthdog/earthdog.toml", What::Config(ask(&["config", "print", "--defaults"])?.into()));
        for path in OWN_FOLDERS {
            tree.put(path, What::Folder);
        }
        for (shell, path) in SHELLS {
            tree.file(path, ask(&["completions", shell])?);
        }
        let pages = work.join("pages");
        fs::create_dir_all(&pages).with_context(|| pages.display().to_string())?;
        process::output(Command::new(built).arg("manual").arg(&pages))?;
        for (name, _) in super::listed(&pages)? {
            let section = name.rsplit('.').next().unwrap_or_default();
            tree.zipped(&format!("usr/share/man/man{section}/{name}.gz"), &read(&pages.join(&name))?)?;
        }
        tree.zipped("usr/share/doc/earthdog/third-party.gz", third_party::list()?.as_bytes())?;
        Ok(tree)
    }

    pub(super) fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.put(path, What::File(content.into()));
    }

    /// As `gzip -9n` does it.
    pub(super) fn zipped(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        gzip.write_all(content)?;
        self.file(path, gzip.finish()?);
        Ok(())
    }

    fn put(&mut self, path: &str, what: What) {
        self.entries.push(Entry { path: path.to_owned(), what });
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// In KiB, as `du` would have it.
    pub(super) fn kib(&self) -> usize {
        self.entries.iter().map(|entry| entry.what.content().len().div_ceil(4096) * 4).sum()
    }

    /// Writes it below `root`, every file and folder with the time of the release.
    pub(super) fn write(&self, release: &Release, root: &Path) -> Result<()> {
        for entry in &self.entries {
            let path = root.join(&entry.path);
            let context = || format!("cannot write {}", path.display());
            if let What::Folder = entry.what {
                fs::create_dir_all(&path).with_context(context)?;
                continue;
            }
            fs::create_dir_all(path.parent().unwrap_or(root)).with_context(context)?;
            fs::write(&path, entry.what.content()).with_context(context)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.what.mode()))
                .with_context(context)?;
            release.date(&path)?;
        }
        dated(release, root)
    }
}

impl What {
    fn content(&self) -> &[u8] {
        match self {
            Self::Program(bytes) | Self::File(bytes) | Self::Config(bytes) => bytes,
            Self::Folder => &[],
        }
    }

    pub(super) fn mode(&self) -> u32 {
        match self {
            Self::Program(_) | Self::Folder => 0o755,
            Self::File(_) | Self::Config(_) => 0o644,
        }
    }
}

/// Folders: their modes, whatever the caller's umask, and, from the inside out, their times.
fn dated(release: &Release, folder: &Path) -> Result<()> {
    for (name, _) in super::listed(folder)? {
        let path = folder.join(name);
        if path.is_dir() {
            dated(release, &path)?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| folder.display().to_string())?;
    release.date(folder)
}

/// A file of sensor-user/deploy.
pub(super) fn deployed(name: &str) -> Result<String> {
    let path = process::workspace().join("sensor-user/deploy").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// A file of the workspace's root.
pub(super) fn top(name: &str) -> Result<String> {
    let path = process::workspace().join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
