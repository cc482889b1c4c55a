//! Programs of this package that do what a few words say.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

/// Runs what the arguments say; an error is a line on stderr that begins with the program's name.
pub fn main(run: fn(&[&str]) -> Result<()>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (program, words) = words.split_first().map_or(("", &[][..]), |(program, words)| (*program, words));
    match run(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let name = Path::new(program).file_name().unwrap_or_default();
            eprintln!("{}: {error:#}", name.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}
