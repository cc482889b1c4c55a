//! `cargo xtask setup`: puts what building and testing need into the cache folder. Nothing is installed.
//!
//! A step that is done costs reading one stamp; stamps are written last, so an interrupted step starts again from what
//! apt and cargo have kept.

mod linker;
mod peers;
mod rustup;
mod toolchain;

use anyhow::{Context as _, Result};

use crate::apt::{self, Apt};
use crate::cache::Cache;
use crate::preflight;

/// What a command needs of the cache folder.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub(crate) struct Needs {
    pub(crate) toolchain: bool,
    pub(crate) peers: bool,
    pub(crate) vm: bool,
    pub(crate) browser: bool,
    pub(crate) packages: bool,
    /// What benches compare with. Without it they say so: not worth an error.
    pub(crate) bench: bool,
}

pub(crate) fn run(cache: &Cache, needs: Needs) -> Result<()> {
    let toolchain = needs.toolchain && !toolchain::is_done(cache);
    let peers = needs.peers && !peers::TESTS.is_done(cache);
    let metrics = needs.peers && !peers::METRICS.is_done(cache);
    let vm = needs.vm && !peers::VM.is_done(cache);
    let browser = needs.browser && !peers::BROWSER.is_done(cache);
    let packages = needs.packages && !peers::PACKAGES.is_done(cache);
    let readers = needs.bench && !peers::READERS.is_done(cache);
    let suricata = needs.bench && !peers::SURICATA.is_done(cache);
    if !(toolchain || peers || metrics || vm || browser || packages || readers || suricata) {
        return Ok(());
    }
    preflight::build()?;
    let _lock = cache.lock()?;
    let apt = Apt::open(cache)?;
    if let Some(apt) = &apt {
        apt.update()?;
    }
    // Asked again: another set-up may have done it while we waited for the lock.
    if toolchain && !toolchain::is_done(cache) {
        toolchain::fetch(cache, apt.as_ref())?;
    }
    for (group, wanted) in [
        (&peers::TESTS, peers),
        (&peers::METRICS, metrics),
        (&peers::VM, vm),
        (&peers::BROWSER, browser),
        (&peers::PACKAGES, packages),
    ] {
        if wanted && !group.is_done(cache) {
            group.fetch(cache, apt.as_ref())?;
        }
    }
    if readers && !peers::READERS.is_done(cache) {
        optional(peers::READERS.fetch(cache, apt.as_ref()));
    }
    if suricata && !peers::SURICATA.is_done(cache) {
        optional(backport(cache, apt.as_ref(), &peers::SURICATA));
    }
    if let Some(apt) = &apt {
        apt.forget_archives()?;
    }
    eprintln!("setup: done ({})", cache.root().display());
    Ok(())
}

/// A group out of the backports of this machine's release, with all else from that release.
fn backport(cache: &Cache, apt: Option<&Apt>, group: &peers::Group) -> Result<()> {
    let Some(own) = apt else { return group.fetch(cache, None) };
    let release = apt::release().context("/etc/os-release names no release")?;
    let backports = format!("{release}-backports");
    let apt = own.of_suites(cache, "apt-backports", &[&release, &backports])?.context("no apt")?;
    apt.update()?;
    group.fetch(cache, Some(&apt))?;
    apt.forget_archives()
}

fn optional(fetched: Result<()>) {
    if let Err(error) = fetched {
        eprintln!("setup: goes on without: {error:#}");
    }
}
