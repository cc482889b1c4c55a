//! Rules over one file's text.

/// Lines without tests: above the first a note, above the second a failure.
const LONG: usize = 500;
const TOO_LONG: usize = 800;
const MAIN_MAX: usize = 40;

/// In two pieces each, so that this table does not name what it forbids.
const STUBS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Hosts of package registries: what is fetched comes from where the machine is configured to fetch it.
const REGISTRIES: [&str; 8] = [
    concat!("deb.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("snapshot.", "debian.org"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("static.", "rust-lang.org"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
];

/// Adds what is wrong in `text` to `problems` and what is worth a look to `notes`.
pub(super) fn check(name: &str, text: &str, problems: &mut Vec<String>, notes: &mut Vec<String>) {
    if name.strip_suffix(".rs").is_some() {
        length(name, text, problems, notes);
    }
    if name.ends_with("Cargo.lock") {
        return;
    }
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(stub) = STUBS.iter().find(|stub| line.contains(**stub)) {
            problems.push(format!("{name}:{number}: `{stub}`: finish it or say in a comment why it is so"));
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(**host)) {
            problems.push(format!(
                "{name}:{number}: names the host {host}: take it from the machine's configuration"
            ));
        }
        let trailing = line.ends_with([' ', '\t']) && name.strip_suffix(".md").is_none();
        if trailing && name.strip_suffix(".rs").is_none() && !name.contains("/data/") {
            problems.push(format!("{name}:{number}: blanks at the end"));
        }
    }
}

fn length(name: &str, text: &str, problems: &mut Vec<String>, notes: &mut Vec<String>) {
    let lines = lines_without_tests(text);
    if name.ends_with("/main.rs") && lines >= MAIN_MAX && !name.starts_with("sensor-ebpf/") {
        problems.push(format!("{name}: {lines} lines; a main.rs has less than {MAIN_MAX}"));
    } else if lines > TOO_LONG {
        problems.push(format!("{name}: {lines} lines without tests; {TOO_LONG} is the limit, split it"));
    } else if lines > LONG {
        notes.push(format!("{name}: {lines} lines without tests"));
    }
}

/// Lines before the test module, which is last in a file.
fn lines_without_tests(text: &str) -> usize {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line == "#[cfg(test)]"
            && lines.peek().is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'))
        {
            return number;
        }
    }
    text.lines().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check(name, text, &mut problems, &mut Vec::new());
        problems
    }

    #[test]
    fn length_counts_without_tests() {
        let code = "x\n".repeat(TOO_LONG);
        assert!(problems("a/src/x.rs", &code).is_empty());
        assert_eq!(problems("a/src/x.rs", &format!("{code}x\n")).len(), 1);
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"y\n".repeat(900) + "}\n";
        assert!(problems("a/src/x.rs", &(code + &tests)).is_empty());
        assert_eq!(problems("a/src/main.rs", &"x\n".repeat(MAIN_MAX)).len(), 1);
        assert!(problems("README.md", &"x\n".repeat(2000)).is_empty());
    }

    #[test]
    fn long_files_are_noted() {
        let mut notes = Vec::new();
        check("a/src/x.rs", &"x\n".repeat(LONG + 1), &mut Vec::new(), &mut notes);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn stubs_and_hosts_are_found_with_their_line() {
        let found = problems("a/src/x.rs", &format!("fn f() {{\n    {})\n}}\n", STUBS[3]));
        assert!(found[0].starts_with("a/src/x.rs:2:"), "{found:?}");
        assert_eq!(problems("x.sh", &format!("get {}\n", REGISTRIES[0])).len(), 1);
        assert!(problems("Cargo.lock", &format!("source = {}\n", REGISTRIES[3])).is_empty());
        assert_eq!(problems("x.toml", "a = 1 \n").len(), 1);
    }
}
