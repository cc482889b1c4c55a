//! The .deb, by dpkg-deb.

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::tree::{Tree, What, deployed, top};
use super::{Libc, Release};
use crate::process;

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

pub(super) fn build(release: &Release, tree: &Tree, work: &Path, into: &Path) -> Result<()> {
    if process::find("dpkg-deb").is_none() {
        println!("skipped: the .deb: there is no dpkg-deb here");
        return Ok(());
    }
    let mut tree = tree.clone();
    tree.file("usr/share/zsh/vendor-completions/_earthdog", tree.zsh.clone());
    tree.file("usr/share/lintian/overrides/earthdog", deployed("deb/lintian-overrides")?);
    tree.file("usr/share/doc/earthdog/copyright", copyright(release)?);
    tree.zipped("usr/share/doc/earthdog/changelog.gz", top("CHANGELOG.md")?.as_bytes())?;
    let date = release.date_as("+%a, %d %b %Y %T +0000")?;
    let changelog = release.fill(&deployed("deb/changelog")?, &[("DATE_RFC2822", &date)])?;
    tree.zipped("usr/share/doc/earthdog/changelog.Debian.gz", changelog.as_bytes())?;

    let root = work.join("deb");
    let control = root.join("DEBIAN");
    fs::create_dir_all(&control).with_context(|| control.display().to_string())?;
    let arch = deb_arch();
    let libc = match &release.libc {
        Libc::None => String::new(),
        Libc::Glibc(version) => format!("libc6 (>= {version}), libgcc-s1, "),
    };
    let size = tree.kib().to_string();
    let words = [("DEB_ARCH", arch), ("SIZE_KIB", size.as_str()), ("LIBC", &libc)];
    fs::write(control.join("control"), release.fill(&deployed("deb/control")?, &words)?)?;
    let config = tree.entries().iter().filter(|entry| matches!(entry.what, What::Config(_)));
    let conffiles: Vec<_> = config.map(|entry| format!("/{}\n", entry.path)).collect();
    fs::write(control.join("conffiles"), conffiles.concat())?;
    for name in SCRIPTS {
        let path = control.join(name);
        fs::write(&path, deployed(&format!("deb/{name}"))?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    tree.write(release, &root)?;
    fs::write(control.join("md5sums"), sums(&root, &tree)?)?;
    for (name, _) in super::listed(&control)? {
        release.date(&control.join(name))?;
    }
    release.date(&control)?;
    release.date(&root)?;

    let file = into.join(format!("earthdog_{}-1_{arch}.deb", release.version));
    process::output(
        Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(&root)
            .arg(&file)
            .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
            // xz cuts into other blocks by the number of threads.
            .env("DPKG_DEB_THREADS_MAX", "1"),
    )?;
    release.date(&file)
}

fn deb_arch() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn copyright(release: &Release) -> Result<String> {
    let licence = top("LICENSE-MIT")?;
    // One blank before each line of a field, a dot for an empty one.
    let lines =
        licence.trim().lines().map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") });
    let text: Vec<_> = lines.collect();
    release.fill(&deployed("deb/copyright")?, &[("MIT", &text.join("\n"))])
}

fn sums(root: &Path, tree: &Tree) -> Result<String> {
    let files = tree.entries().iter().filter(|entry| !matches!(entry.what, What::Folder | What::Config(_)));
    process::output(
        Command::new("md5sum").arg("--").args(files.map(|entry| entry.path.as_str())).current_dir(root),
    )
}
