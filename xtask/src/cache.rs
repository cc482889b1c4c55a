//! The cache folder: everything that set-up fetches lives here and nowhere else.
//!
//! ```text
//! toolchain.env            what sensor-user/build.rs reads; written last
//! toolchain/{prefix,linker,bin}
//! peers/{root,bin}         test peers; bin holds one wrapper a tool
//! readers, suricata        what benches compare with, likewise
//! vm/{root,bin,kernels}    qemu, busybox, kernels
//! apt/                     package lists and archives of our own
//! lock                     held while something is fetched
//! ```

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$EARTHDOG_CACHE`, `$XDG_CACHE_HOME/earthdog` or `~/.cache/earthdog`, as in sensor-user/build.rs.
    pub(crate) fn open() -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("EARTHDOG_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("earthdog")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/earthdog")))
            .context("no cache folder: set EARTHDOG_CACHE, XDG_CACHE_HOME or HOME")?;
        Self::at(&root)
    }

    pub(crate) fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)
            .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
        // Wrappers and run paths hold this path: it must not depend on where we are called.
        let root = root.canonicalize().with_context(|| format!("{}", root.display()))?;
        Ok(Self { root })
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Waits for another set-up that fills the same folder; released when dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            eprintln!("setup: waiting for another set-up of {}", self.root.display());
            file.lock()?;
        }
        Ok(file)
    }

    /// Is the step `name` done, for exactly this recipe?
    pub(crate) fn is_done(&self, name: &str, recipe: &str) -> bool {
        fs::read_to_string(self.path(name)).is_ok_and(|text| text == recipe)
    }

    /// Says that the step is done; call it last.
    pub(crate) fn done(&self, name: &str, recipe: &str) -> Result<()> {
        write(&self.path(name), recipe, false)
    }
}

/// Writes through a temporary name, so that an interruption leaves the old file or the new one.
pub(crate) fn write(path: &Path, text: &str, executable: bool) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let temporary = path.with_added_extension("partial");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    fs::write(&temporary, text).with_context(context)?;
    if executable {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).with_context(context)?;
    }
    fs::rename(&temporary, path).with_context(context)
}

/// An empty folder under a temporary name; [`commit`] gives it its own.
pub(crate) fn partial(path: &Path) -> Result<PathBuf> {
    let temporary = path.with_added_extension("partial");
    if temporary.exists() {
        fs::remove_dir_all(&temporary).with_context(|| format!("cannot empty {}", temporary.display()))?;
    }
    fs::create_dir_all(&temporary).with_context(|| format!("cannot create {}", temporary.display()))?;
    Ok(temporary)
}

/// Puts the folder from [`partial`] in the place of what was there.
pub(crate) fn commit(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    fs::rename(path.with_added_extension("partial"), path)
        .with_context(|| format!("cannot put {} in place", path.display()))
}
