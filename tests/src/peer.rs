//! Programs of others that tests talk to: tunnels, resolvers, dig.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Of the cache.
const FOLDERS: [&str; 5] = ["peers/bin", "metrics/bin", "browser/bin", "readers/bin", "suricata/bin"];

/// Path of a peer: from the cache that `cargo xtask setup` fills, else from PATH. `Err` says how to get it.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    cache()
        .map(|cache| FOLDERS.map(|folder| cache.join(folder)))
        .into_iter()
        .flatten()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is missing: `cargo xtask setup` fetches the test peers"))
}

/// PATH for commands of the kit: the fetched peers first, so that a machine without iproute2 has `ip` and `tc`; then the
/// machine's own, system folders included, which a user's PATH often lacks.
pub fn search_path() -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let dirs = cache()
        .map(|cache| cache.join("peers/bin"))
        .into_iter()
        .chain(env::split_paths(&own))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    // Only a cache folder with a colon in its name cannot be joined.
    env::join_paths(dirs).unwrap_or(own)
}

/// Packages unpacked as they would be installed, below which `name` is; for a root of its own.
pub fn packages(name: &str) -> Result<PathBuf, String> {
    let root = cache().map(|cache| cache.join("packages/root")).filter(|root| root.join(name).is_file());
    root.ok_or_else(|| format!("{name} is missing: `cargo xtask setup --packages` fetches the package tools"))
}

/// The project's cache folder: `EARTHDOG_CACHE`, else `XDG_CACHE_HOME`/earthdog, else ~/.cache/earthdog.
fn cache() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("EARTHDOG_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("earthdog")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/earthdog")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require;

    #[test]
    fn fetched_peers_come_before_the_machines_own() {
        let ip = require!(find("ip"));
        let first = env::split_paths(&search_path()).map(|dir| dir.join("ip")).find(|path| path.is_file());
        assert_eq!(first, Some(ip));
    }
}
