//! What `cargo xtask eval` runs: captures, emulated tools and honest traffic through the release binary; how soon what is
//! in them was found, and what was said where there is nothing to find.
//!
//! ```text
//! eval SENSOR [DIR] [--only files|emulated|hazards] [--json FILE] [--derive] [--full] [--seed N]
//! ```

mod arguments;
mod derived;
mod emulated;
mod files;
mod measure;
mod poisson;
mod report;
mod run;
mod sensor;
mod table;
mod verdict;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    match run::run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("eval: {error:#}");
            ExitCode::FAILURE
        }
    }
}
