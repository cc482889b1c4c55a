//! Writes the seed corpus of the fuzz targets: `cargo run -p earthdog-tests --bin corpus`. No captures, only what the
//! builders of the kit make.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, name, bytes) in earthdog_tests::corpus::seeds() {
        let dir = root.join(target);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let path = dir.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
