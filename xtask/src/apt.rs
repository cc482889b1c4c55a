//! Debian packages without root: resolved by apt over package lists of our own, unpacked with `dpkg -x`, never installed.
//!
//! apt does the resolving (names, versions, dependencies minus what the machine has), the resuming and the checking of
//! signatures; `--download-only` keeps it from touching the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Cache};
use crate::process;

/// Lists older than this are fetched again before something is downloaded: mirrors drop superseded packages.
const LISTS_MAX_AGE: Duration = Duration::from_hours(6);

/// The C library must stay the machine's: its loader is the one that runs.
const NEVER_UNPACKED: [&str; 3] = ["libc6", "libc-bin", "libc6-dev"];

#[derive(Debug)]
pub(crate) struct Apt {
    config: PathBuf,
    archives: PathBuf,
    lists: PathBuf,
}

impl Apt {
    /// `None` where the machine has no apt and dpkg.
    pub(crate) fn open(cache: &Cache) -> Result<Option<Self>> {
        Self::with_sources(cache, "apt", "")
    }

    /// Other suites than the machine's, from the mirror that it uses, in a folder of their own; the last is preferred.
    pub(crate) fn of_suites(&self, cache: &Cache, folder: &str, suites: &[&str]) -> Result<Option<Self>> {
        let list = cache.path(folder).join("sources.list");
        let mirror = self.mirror().context("this machine's package sources name no Debian mirror")?;
        let lines =
            suites.iter().fold(String::new(), |lines, suite| lines + &format!("deb {mirror} {suite} main\n"));
        cache::write(&list, &lines, false)?;
        let preferred = suites.last().context("no suite was named")?;
        let more = format!(
            "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\nAPT::Default-Release \"{preferred}\";\n",
            list.display()
        );
        Self::with_sources(cache, folder, &more)
    }

    /// As [`Apt::open`], in a folder of its own and with more configuration (other sources).
    fn with_sources(cache: &Cache, folder: &str, more: &str) -> Result<Option<Self>> {
        if process::find("apt-get").is_none() || process::find("dpkg").is_none() {
            return Ok(None);
        }
        let root = cache.path(folder);
        let apt = Self {
            config: root.join("apt.conf"),
            archives: root.join("cache/archives"),
            lists: root.join("lists"),
        };
        for folder in [apt.lists.join("partial"), apt.archives.join("partial")] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        // Read after the machine's own configuration, whose mirrors, proxies and keys are kept.
        let config = format!(
            "Dir::State::lists \"{}\";\nDir::Cache \"{}\";\nDir::Cache::archives \"archives/\";\n\
             APT::Sandbox::User \"\";\nDebug::NoLocking \"1\";\nAPT::Install-Recommends \"0\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
             #clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n{more}",
            apt.lists.display(),
            root.join("cache").display(),
        );
        cache::write(&apt.config, &config, false)?;
        Ok(Some(apt))
    }

    /// Fetches the package lists unless ours are fresh.
    pub(crate) fn update(&self) -> Result<()> {
        let stamp = self.lists.join("updated");
        let age = fs::metadata(&stamp).and_then(|meta| meta.modified()).map(|time| time.elapsed());
        if matches!(age, Ok(Ok(age)) if age < LISTS_MAX_AGE) {
            return Ok(());
        }
        eprintln!("setup: package lists (apt, into the cache folder)");
        process::output(self.command("apt-get").args(["update", "-qq"]))?;
        cache::write(&stamp, "", false)
    }

    /// Can `name` be had?
    pub(crate) fn knows(&self, name: &str) -> bool {
        process::output(self.command("apt-cache").args(["policy", name]))
            .is_ok_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
    }

    /// Downloads the packages and those of their dependencies that the machine has not, and unpacks all into `root`.
    pub(crate) fn unpack(&self, purpose: &str, packages: &[&str], root: &Path) -> Result<()> {
        let archives = self.plan(packages)?;
        let bytes: u64 = archives.iter().map(|archive| archive.bytes).sum();
        let names = packages.join(" ");
        let others = archives.len().saturating_sub(packages.len());
        eprintln!(
            "setup: {purpose}: {names} and {others} dependencies, {:.0} MB from apt",
            bytes as f64 / 1e6
        );
        process::output(self.install().args(["--download-only", "-qq"]).args(packages))?;
        for archive in &archives {
            let package = archive.file.split('_').next().unwrap_or_default();
            if !NEVER_UNPACKED.contains(&package) {
                process::output(
                    Command::new("dpkg").arg("-x").arg(self.archives.join(&archive.file)).arg(root),
                )?;
            }
        }
        Ok(())
    }

    /// Downloads one package without its dependencies and unpacks it into `root`.
    pub(crate) fn unpack_alone(&self, package: &str, root: &Path) -> Result<()> {
        let folder = self.archives.join("alone");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        process::output(self.command("apt-get").current_dir(&folder).args(["download", "-qq", package]))?;
        let prefix = format!("{package}_");
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                process::output(Command::new("dpkg").arg("-x").arg(entry.path()).arg(root))?;
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Names of packages that start with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = process::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Where this machine has Debian's main archive from.
    pub(crate) fn mirror(&self) -> Option<String> {
        let format = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)";
        let arguments = ["indextargets", "--format", format, "Created-By: Packages"];
        let text = process::output(self.command("apt-get").args(arguments)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Debian|Debian|main|")).map(str::to_owned)
    }

    /// Drops the downloaded archives; before that, an interrupted set-up finds them again.
    pub(crate) fn forget_archives(&self) -> Result<()> {
        for entry in fs::read_dir(&self.archives)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn plan(&self, packages: &[&str]) -> Result<Vec<Archive>> {
        // Asked as if nothing were downloaded: apt leaves out what is, after an interruption.
        let nothing = self.archives.join("none");
        fs::create_dir_all(nothing.join("partial"))
            .with_context(|| format!("cannot create {}", nothing.display()))?;
        let none = format!("Dir::Cache::archives={}/", nothing.display());
        let text = process::output(self.install().args(["-o", &none, "--print-uris", "-qq"]).args(packages))?;
        let archives: Vec<_> = text.lines().filter_map(Archive::parse).collect();
        if archives.is_empty() {
            bail!("apt names no archive for {}", packages.join(" "));
        }
        Ok(archives)
    }

    /// `--reinstall`: what the machine has installed must be in our folder too.
    fn install(&self) -> Command {
        let mut command = self.command("apt-get");
        command.args([
            "install",
            "--reinstall",
            "--no-install-recommends",
            "--yes",
            "--allow-change-held-packages",
        ]);
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// Name of the release that this machine is (os-release(5), VERSION_CODENAME).
pub(crate) fn release() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
}

/// One line of `apt-get --print-uris`: `'uri' file bytes [hash]`.
#[derive(Debug, PartialEq)]
struct Archive {
    file: String,
    bytes: u64,
}

impl Archive {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix('\'')?.split("' ").nth(1)?.split_whitespace();
        let file = fields
            .next()
            .filter(|name| name.strip_suffix(".deb").is_some() && !name.contains('/'))?
            .to_owned();
        Some(Self { file, bytes: fields.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_lines_are_read() {
        let line = "'http://mirror.test/pool/i/iodine_0.7.0-10%2bb1_amd64.deb' iodine_0.7.0-10+b1_amd64.deb 84048 SHA256:00";
        let archive = Archive { file: "iodine_0.7.0-10+b1_amd64.deb".to_owned(), bytes: 84048 };
        assert_eq!(Archive::parse(line), Some(archive));
        assert_eq!(Archive::parse("Reading package lists..."), None);
        assert_eq!(Archive::parse("'http://mirror.test/x' ../x.deb 3"), None);
    }
}
