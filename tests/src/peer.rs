//! Programs of others that tests talk to: tunnels, resolvers, dig.

use std::env;
use std::path::PathBuf;

/// Path of a peer: from the cache that `cargo xtask setup` fills, else from PATH. `Err` says how to get it.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    cache()
        .map(|cache| cache.join("peers/bin"))
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is missing: `cargo xtask setup` fetches the test peers"))
}

/// The project's cache folder: `EARTHDOG_CACHE`, else `XDG_CACHE_HOME`/earthdog, else ~/.cache/earthdog.
fn cache() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("EARTHDOG_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("earthdog")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/earthdog")))
}
