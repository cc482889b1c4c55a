//! The sensor's memory: what it saw on other days, in a file that outlives it.
//!
//! `History` is the memory itself, pure and bounded; the pipeline tells it and asks it. The file only keeps it from one
//! run to the next: `recorder` writes what changed once a second, `file` finds out whether a file is one of ours, and
//! `tell` says what is remembered to whoever asks. What the history may hold is what the file may hold, so nothing is
//! ever looked up on the disk.

pub mod days;
pub mod distinct;
pub mod record;
pub mod table;

pub mod history;

pub mod backend;
pub mod file;
pub mod tables;

pub mod keeper;
pub mod kept;
pub mod recorder;

pub mod ask;
pub mod passive;
pub mod tell;

pub use history::{Answered, Asked, Baseline, History, Settings};
