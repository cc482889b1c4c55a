//! The committed fuzz corpus: what the generator makes is there, and every file passes its target without a fuzzer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use earthdog_tests::corpus::seeds;
use earthdog_tests::fuzz::TARGETS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn the_generated_seeds_are_committed() {
    for (target, name, bytes) in seeds() {
        let path = root().join(target).join(name);
        let committed = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(committed == bytes, "{}: run `cargo run -p earthdog-tests --bin corpus`", path.display());
    }
}

#[test]
fn every_file_passes_its_target() {
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(root().join(name)).unwrap() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            target(&fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files >= 10, "{name}: {files} files");
    }
}
