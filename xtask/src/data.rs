//! The development data: captures and name lists that are not part of the repository.

use std::env;
use std::path::{Path, PathBuf};

/// Tests read it; where it is set, data that is not there is a failure.
pub(crate) const VARIABLE: &str = "EARTHDOG_DATA";

/// What the caller chose.
pub(crate) fn named() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where it lies unless the caller says otherwise.
pub(crate) fn beside(root: &Path) -> PathBuf {
    root.join("../shared/data")
}

/// The folder for every test of a run, `chosen` if it is; absolute, since each test binary runs in its own package's
/// folder. Where there is none, says what is not tested then.
pub(crate) fn for_tests(root: &Path, chosen: Option<&Path>) -> Option<PathBuf> {
    let folder = chosen.map_or_else(|| beside(root), Path::to_path_buf);
    let absolute =
        std::path::absolute(root.join(&folder)).ok().map(|path| path.canonicalize().unwrap_or(path));
    // One that was named is passed on as it is: the tests fail if it is not there.
    if let Some(path) = absolute.filter(|path| chosen.is_some() || path.is_dir()) {
        println!("development data: {}", path.display());
        return Some(path);
    }
    println!(
        "==\n== NO DEVELOPMENT DATA at {}: detection on real captures, message counts and the model are NOT TESTED\n\
         == (set {VARIABLE} to the folder that holds MANIFEST.md)\n==",
        folder.display()
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_beside_the_repository_is_found_and_absolute() {
        let dir = env::temp_dir().join(format!("earthdog-data-{}", std::process::id()));
        let root = dir.join("repository");
        std::fs::create_dir_all(&root).unwrap();
        assert_eq!(for_tests(&root, None), None);
        let gone = dir.join("gone");
        assert_eq!(for_tests(&root, Some(&gone)), Some(gone), "so that tests fail");
        std::fs::create_dir_all(dir.join("shared/data")).unwrap();
        assert_eq!(for_tests(&root, None), Some(dir.canonicalize().unwrap().join("shared/data")));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
