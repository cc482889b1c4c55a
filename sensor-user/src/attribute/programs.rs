//! What kind of program a name stands for: `data/programs.json`, by the executable's name without its version.
//!
//! A name is the caller's choice: a class may add suspicion, and takes none away where the file lies in a place that anybody
//! can write to.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

static DATA: &str = include_str!("../../data/programs.json");

/// All of `data/programs.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// Raised when a class or weight changes its meaning.
    pub version: u32,
    classes: BTreeMap<Class, Vec<String>>,
    /// Of the facts of process evidence; 1 counts as a family of its own.
    pub weights: Weights,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Interpreter,
    Shell,
    /// Asks for one name given on its command line.
    LookupTool,
    /// Starts jobs at set times.
    Timer,
    /// Runs another program and is not what matters.
    Wrapper,
    /// Answers from the network: no shell belongs below it.
    Server,
    RemoteLogin,
    Browser,
    Resolver,
    /// One executable of many names; the process's own name tells which.
    MultiCall,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    pub interpreter: f64,
    pub shell: f64,
    pub lookup_tool: f64,
    pub shell_above: f64,
    pub timer_above: f64,
    pub server_above: f64,
    pub reverse_shell: f64,
    /// As `reverse_shell`, where a remote login explains the socket.
    pub remote_login: f64,
    pub filtered_image: f64,
    /// Deleted where a package manager puts files: most often an update.
    pub replaced_image: f64,
    pub unreachable_image: f64,
    /// For each fact beside the heaviest.
    pub further: f64,
    /// Added to every evidence of a finding: negative.
    pub allow_listed: f64,
}

/// The table in force.
pub fn programs() -> &'static Programs {
    static TABLE: LazyLock<Programs> =
        LazyLock::new(|| serde_json::from_str(DATA).expect("compiled in, read by a test"));
    &TABLE
}

/// File behind a path, without the mark of the kernel that it is gone.
pub fn file_name(exe: &str) -> &str {
    let exe = exe.strip_suffix(DELETED).unwrap_or(exe);
    exe.rsplit('/').next().unwrap_or(exe)
}

/// What the kernel puts behind the path of a file that has no name any more.
pub const DELETED: &str = " (deleted)";

/// Class of an executable (or of a process's name, where only that is known).
pub fn class(exe: &str) -> Option<Class> {
    let name = file_name(exe);
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let is = |known: &String| known == name || known == stem;
    programs().classes.iter().find(|(_, names)| names.iter().any(is)).map(|(class, _)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_classes_whatever_their_version() {
        for (exe, want) in [
            ("/usr/bin/python3.11", Some(Class::Interpreter)),
            ("/usr/bin/perl5.36.0", Some(Class::Interpreter)),
            ("/usr/local/bin/php-fpm8.2", Some(Class::Server)),
            ("/usr/bin/bash (deleted)", Some(Class::Shell)),
            ("/usr/sbin/exim4", Some(Class::Server)),
            ("dig", Some(Class::LookupTool)),
            ("/usr/lib/systemd/systemd-resolved", Some(Class::Resolver)),
            ("/usr/bin/python3-tool", None),
            ("/usr/sbin/iodine", None),
            ("", None),
        ] {
            assert_eq!(class(exe), want, "{exe}");
        }
    }

    #[test]
    fn no_program_is_in_two_classes() {
        let mut names: Vec<_> = programs().classes.values().flatten().collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(programs().weights.allow_listed < 0.0);
    }
}
