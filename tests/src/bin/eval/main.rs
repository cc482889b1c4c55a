//! What `cargo xtask eval` runs: captures through the release binary, and how soon what is in them was found.
//!
//! ```text
//! eval SENSOR DIR [--json FILE] [--derive] [--full] [--seed N]
//! ```

mod arguments;
mod derived;
mod files;
mod measure;
mod poisson;
mod report;
mod run;
mod sensor;
mod table;
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
