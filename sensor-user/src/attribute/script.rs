//! Which script an interpreter runs: what matters of `python3 tool.py` is `tool.py`.

use bytes::Bytes;

/// Programs that run what their first argument names, by the start of their name; versions follow (`python3.11`).
const INTERPRETERS: [&str; 22] = [
    "ash", "bash", "bun", "dash", "deno", "fish", "gawk", "guile", "ksh", "lua", "luajit", "mksh", "node",
    "nodejs", "perl", "php", "pypy", "python", "ruby", "sh", "tclsh", "zsh",
];
/// Options whose value is the next word and no script.
const WITH_VALUE: [&str; 9] = ["-W", "-X", "-O", "-o", "-I", "-r", "--require", "--rcfile", "--init-file"];
/// Options after which comes code or a module, and no script.
const CODE: [&str; 6] = ["-c", "-e", "-m", "-E", "-s", "--eval"];

/// The script that `exe` runs, by its arguments (NUL between entries).
pub fn script(exe: &[u8], argv: &[u8]) -> Option<Bytes> {
    let name = exe.rsplit(|b| *b == b'/').next().unwrap_or_default();
    if !is_interpreter(name) {
        return None;
    }
    let mut words = argv.split(|b| *b == 0).skip(1);
    while let Some(word) = words.next() {
        if !word.starts_with(b"-") {
            return (!word.is_empty()).then(|| Bytes::copy_from_slice(word));
        }
        let is = |option: &str| word == option.as_bytes();
        if word == b"-" || CODE.iter().any(|option| is(option)) || has_code(name, word) {
            return None;
        }
        if WITH_VALUE.iter().any(|option| is(option)) {
            words.next();
        }
    }
    None
}

fn is_interpreter(name: &[u8]) -> bool {
    let stem = name
        .iter()
        .rposition(|b| !b.is_ascii_digit() && *b != b'.')
        .map_or(&name[..0], |last| &name[..=last]);
    INTERPRETERS.iter().any(|known| known.as_bytes() == stem)
}

/// Shells take `-c` among other letters (`sh -ec 'code'`).
fn has_code(name: &[u8], word: &[u8]) -> bool {
    name.ends_with(b"sh") && !word.starts_with(b"--") && word.contains(&b'c')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/usr/bin/python3.11", "python3 -u tool.py x", Some("tool.py"))]
    #[case("/usr/bin/python3.11", "python3 -W ignore -X dev /opt/t.py", Some("/opt/t.py"))]
    #[case("/usr/bin/python3", "python3 -m http.server", None)]
    #[case("/usr/bin/python3", "python3 -c code", None)]
    #[case("/usr/bin/dash", "sh loop.sh", Some("loop.sh"))]
    #[case("/usr/bin/bash", "bash -ec code words", None)]
    #[case("/usr/bin/bash", "bash -x --norc run.sh", Some("run.sh"))]
    #[case("/usr/bin/bash", "-bash", None)]
    #[case("/usr/bin/perl", "perl -e code", None)]
    #[case("/usr/bin/node", "node --require x app.js", Some("app.js"))]
    #[case("/usr/bin/dig", "dig name", None)]
    #[case("/usr/bin/pythonx", "pythonx a.py", None)]
    #[case("/usr/bin/sh", "", None)]
    #[case("", "", None)]
    fn the_first_word_that_is_no_option(#[case] exe: &str, #[case] line: &str, #[case] want: Option<&str>) {
        let argv = line.replace(' ', "\0");
        assert_eq!(script(exe.as_bytes(), argv.as_bytes()).as_deref(), want.map(str::as_bytes));
    }

    proptest! {
        #[test]
        fn a_script_is_one_of_the_words(argv in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(found) = script(b"/bin/sh", &argv) {
                prop_assert!(argv.split(|b| *b == 0).skip(1).any(|word| word == &found[..]));
            }
        }
    }
}
