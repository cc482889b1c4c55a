//! One test at a time for what measures, or shares the machine's two cores with a tunnel.

use std::fs::File;

/// Held while a test runs; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
#[must_use]
pub struct Serial(#[allow(dead_code, reason = "held for its lock")] File);

/// Waits for the other tests, of this and other processes.
pub fn lock() -> Serial {
    let path = std::env::temp_dir().join("earthdog-tests.lock");
    // Another user's file may be read and locked, not written.
    let file = File::open(&path)
        .or_else(|_| File::create(&path))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.lock().unwrap_or_else(|e| panic!("lock {}: {e}", path.display()));
    Serial(file)
}
