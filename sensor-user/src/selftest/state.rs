//! The last self-test and the last canary, kept beside the store.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::canary::Canary;
use super::outcome::{Outcome, VERSION};
use crate::config::Config;
use crate::escape::escape;

/// What is kept, each in a file of its own.
pub trait Kept: Serialize + DeserializeOwned {
    const NAME: &'static str;
}

impl Kept for Outcome {
    const NAME: &'static str = "selftest.json";
}

impl Kept for Canary {
    const NAME: &'static str = "canary.json";
}

/// Bytes of it that are read.
const MAX: u64 = 4 << 20;

/// Where it is; `None` without a store.
fn place<T: Kept>(config: &Config) -> Option<PathBuf> {
    let folder = Path::new(&config.store.path).parent().filter(|_| !config.store.path.is_empty())?;
    Some(folder.join(T::NAME))
}

/// Keeps it, in place of the one before. The error names the file.
pub fn keep<T: Kept>(config: &Config, outcome: &T) -> Result<(), String> {
    let Some(path) = place::<T>(config) else { return Ok(()) };
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = path.with_extension(format!("json.{}", std::process::id()));
        let _ = fs::remove_file(&new);
        let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(&new).and_then(
            |mut file| {
                serde_json::to_writer(&file, outcome)?;
                file.write_all(b"\n")?;
                file.sync_all()?;
                fs::rename(&new, &path)
            },
        );
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written
    };
    write().map_err(|error| format!("{}: {error}", escape(path.as_os_str().as_encoded_bytes())))
}

/// The last one; `None` if there was none. The error names the file.
pub fn read<T: Kept>(config: &Config) -> Result<Option<T>, String> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Some(path) = place::<T>(config) else { return Ok(None) };
    let named = |what: &str| format!("{}: {what}", escape(path.as_os_str().as_encoded_bytes()));
    let mut text = Vec::new();
    match fs::File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(&error.to_string())),
        Ok(file) => {
            file.take(MAX).read_to_end(&mut text).map_err(|error| named(&error.to_string()))?;
        }
    }
    match serde_json::from_slice::<Version>(&text) {
        Ok(Version { v: VERSION }) => {}
        Ok(Version { v }) => return Err(named(&format!("a self-test of version {v}, this is {VERSION}"))),
        Err(error) => return Err(named(&format!("no self-test: {error}"))),
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| named(&format!("no self-test: {error}")))
}
