//! The .rpm, by rpmbuild: the machine's, else the one of the cache.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::tree::{Tree, What, deployed, top};
use super::{Libc, Release};
use crate::cache::Cache;
use crate::process;

pub(super) fn build(cache: &Cache, release: &Release, tree: &Tree, work: &Path, into: &Path) -> Result<()> {
    let Some(mut rpmbuild) = rpmbuild(cache) else {
        println!("skipped: the .rpm: there is no rpmbuild here, and no apt to fetch it");
        return Ok(());
    };
    let mut tree = tree.clone();
    tree.file("usr/share/zsh/site-functions/_earthdog", tree.zsh.clone());
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        tree.file(&format!("usr/share/licenses/earthdog/{name}"), top(name)?);
    }
    tree.file("usr/share/doc/earthdog/CHANGELOG.md", top("CHANGELOG.md")?);
    let root = work.join("rpm");
    tree.write(release, &root)?;

    let folder = work.join("rpmbuild");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let libc = match &release.libc {
        Libc::None => String::new(),
        Libc::Glibc(version) => format!("Requires: glibc >= {version}, libgcc_s.so.1()(64bit)\n"),
    };
    let spec = folder.join("earthdog.spec");
    let date = release.date_as("+%a %b %d %Y")?;
    let words = [("LIBC", libc.as_str()), ("FILES", &files(&tree)), ("DATE_RPM", &date)];
    fs::write(&spec, release.fill(&deployed("rpm/earthdog.spec")?, &words)?)?;
    let define =
        |name: &str, value: &dyn std::fmt::Display| ["--define".to_owned(), format!("{name} {value}")];
    process::output(
        rpmbuild
            .args(["-bb", "--quiet", "--target", &format!("{ARCH}-linux"), "--buildroot"])
            .arg(&root)
            .args(define("_topdir", &folder.display()))
            .args(define("_rpmdir", &folder.display()))
            .args(define("_build_name_fmt", &"%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"))
            .args(define("_buildhost", &"reproducible"))
            .args(define("use_source_date_epoch_as_buildtime", &1))
            .args(define("clamp_mtime_to_source_date_epoch", &1))
            .args(define("_binary_payload", &"w9.gzdio"))
            .arg(&spec)
            .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
            .env("LC_ALL", "C"),
    )?;
    let name = format!("earthdog-{}-1.{ARCH}.rpm", release.version);
    let file = into.join(&name);
    fs::rename(folder.join(&name), &file).with_context(|| format!("rpmbuild made no {name}"))?;
    release.date(&file)
}

fn rpmbuild(cache: &Cache) -> Option<Command> {
    if let Some(own) = process::find("rpmbuild") {
        return Some(Command::new(own));
    }
    let wrapper = cache.path("packages/bin/rpmbuild");
    let mut command = Command::new(wrapper.is_file().then_some(wrapper)?);
    command.env("RPM_CONFIGDIR", cache.path("packages/root/usr/lib/rpm"));
    Some(command)
}

/// What the spec lists.
fn files(tree: &Tree) -> String {
    let line = |path: &str, what: &What| {
        let kind = match what {
            What::Folder => "%dir ",
            What::Config(_) => "%config(noreplace) ",
            _ if path.starts_with("usr/share/doc/") => "%doc ",
            _ if path.starts_with("usr/share/licenses/") => "%license ",
            _ => "",
        };
        format!("%attr({:04o},root,root) {kind}/{path}\n", what.mode())
    };
    let lines: Vec<_> = tree.entries().iter().map(|entry| line(&entry.path, &entry.what)).collect();
    lines.concat()
}
