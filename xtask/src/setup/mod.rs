//! `cargo xtask setup`: puts what building and testing need into the cache folder. Nothing is installed.
//!
//! A step that is done costs reading one stamp; stamps are written last, so an interrupted step starts again from what
//! apt and cargo have kept.

mod linker;
mod peers;
mod rustup;
mod toolchain;

use anyhow::Result;

use crate::apt::Apt;
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
}

pub(crate) fn run(cache: &Cache, needs: Needs) -> Result<()> {
    let toolchain = needs.toolchain && !toolchain::is_done(cache);
    let peers = needs.peers && !peers::TESTS.is_done(cache);
    let metrics = needs.peers && !peers::METRICS.is_done(cache);
    let vm = needs.vm && !peers::VM.is_done(cache);
    let browser = needs.browser && !peers::BROWSER.is_done(cache);
    let packages = needs.packages && !peers::PACKAGES.is_done(cache);
    if !(toolchain || peers || metrics || vm || browser || packages) {
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
    if let Some(apt) = &apt {
        apt.forget_archives()?;
    }
    eprintln!("setup: done ({})", cache.root().display());
    Ok(())
}
