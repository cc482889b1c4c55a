//! What of a command line may leave the host.

use super::Cmdline;

/// Words in an option's name whose value is a secret.
const SECRET_WORDS: [&str; 12] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "credential",
    "auth",
    "private-key",
    "bearer",
    "cookie",
];
/// Options that stand for a password in widely used tools (mysql, sshpass, iodine), alone or with the value glued on.
const SECRET_OPTIONS: [&str; 2] = ["-p", "-P"];
/// What else is written behind those two letters: anything not here is taken for a password.
const NOT_SECRETS: [&str; 12] = [
    "-path", "-perm", "-pid", "-port", "-ppid", "-print", "-print0", "-printf", "-process", "-proxy",
    "-prune", "-Pn",
];
/// Options whose value is `user:password` (curl, wget and their like).
const USER_OPTIONS: [&str; 4] = ["-u", "-U", "--user", "--proxy-user"];
/// From this length on, a word of one alphabet with digits and letters is taken for a key.
const KEY_LEN: usize = 24;
const MASK: &str = "***";

/// argv (NUL between entries) as one line, by the privacy setting; at most `max` bytes. `None` if it may not be shown.
///
/// Control characters stay: sinks escape.
pub fn cmdline(argv: &[u8], privacy: Cmdline, max: usize) -> Option<String> {
    let end = argv.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let words: Vec<String> = argv[..end].split(|b| *b == 0).map(super::clients::text).collect();
    let words = match privacy {
        Cmdline::Off => return None,
        Cmdline::Full => words,
        Cmdline::Masked => masked(words),
    };
    let mut line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.len() > max {
        let mut end = max.saturating_sub(3);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    (!line.is_empty()).then_some(line)
}

/// What the word before says of a word.
#[derive(Clone, Copy, Default, PartialEq)]
enum Next {
    #[default]
    Plain,
    Secret,
    /// `user:password`.
    User,
}

fn masked(words: Vec<String>) -> Vec<String> {
    let mut next = Next::default();
    let mask = |(index, word): (usize, String)| {
        if index == 0 { word } else { masked_word(word, &mut next) }
    };
    words.into_iter().enumerate().map(mask).collect()
}

fn masked_word(word: String, next: &mut Next) -> String {
    let kind = std::mem::take(next);
    // Programs wipe a password from their own argv: it is as many empty words as it had bytes.
    if word.is_empty() {
        return if kind == Next::Secret { MASK.to_owned() } else { word };
    }
    if let Some(text) = named(&word) {
        return text;
    }
    if word.starts_with('-') {
        if USER_OPTIONS.contains(&word.as_str()) {
            *next = Next::User;
            return word;
        }
        if SECRET_OPTIONS.contains(&word.as_str()) || is_secret(&word) {
            *next = Next::Secret;
            return word;
        }
        if let Some(option) = SECRET_OPTIONS.iter().find(|option| word.starts_with(**option)) {
            return if NOT_SECRETS.contains(&word.as_str()) { word } else { format!("{option}{MASK}") };
        }
    }
    match kind {
        Next::Secret => MASK.to_owned(),
        Next::User if !word.contains("://") => user(&word).unwrap_or(word),
        Next::User | Next::Plain if is_key(&word) => MASK.to_owned(),
        // A script for a shell: words of its own.
        Next::User | Next::Plain if word.contains(char::is_whitespace) => {
            let mut next = Next::default();
            let words = word.split_whitespace().map(|word| masked_word(word.to_owned(), &mut next));
            words.collect::<Vec<_>>().join(" ")
        }
        Next::User | Next::Plain => url(word),
    }
}

/// What names its secret itself: `--token=…`, `Authorization: …`, `-uname:…`, `--user=name:…`.
fn named(word: &str) -> Option<String> {
    // A header, or one somewhere in a script: all that follows may belong to it.
    if let Some((at, _)) = word.match_indices(':').find(|(at, _)| {
        let name = word[..*at].rsplit(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).next();
        name.is_some_and(is_secret)
    }) {
        return Some(format!("{}: {MASK}", &word[..at]));
    }
    if let Some((name, value)) = word.split_once('=') {
        if is_secret(name) && !name.contains(char::is_whitespace) && !value.is_empty() {
            return Some(format!("{name}={MASK}"));
        }
        if USER_OPTIONS.contains(&name) {
            return user(value).map(|value| format!("{name}={value}"));
        }
        if is_token(value) {
            return Some(format!("{name}={MASK}"));
        }
    }
    let glued = USER_OPTIONS.iter().filter(|option| option.len() == 2).find_map(|o| word.strip_prefix(o))?;
    user(glued).map(|value| format!("{}{value}", &word[..2]))
}

/// `user:password` without the password.
fn user(value: &str) -> Option<String> {
    let (name, _) = value.split_once(':')?;
    Some(format!("{name}:{MASK}"))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Long, without separators that paths, names and sentences have, and mixed: a key rather than a word.
fn is_key(word: &str) -> bool {
    is_token(word)
        || word.len() >= KEY_LEN
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=_-".contains(&b))
            && word.bytes().any(|b| b.is_ascii_digit())
            && word.bytes().any(|b| b.is_ascii_alphabetic())
}

/// A JSON Web Token: base64url of `{"`, then parts behind dots (RFC 7515 section 3.1).
fn is_token(word: &str) -> bool {
    word.starts_with("eyJ") && word.matches('.').count() >= 2
}

/// `scheme://user:secret@host` without the secret.
fn url(word: String) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:{MASK}@{host}{}", &rest[authority.len()..]),
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_stays() {
        let rows = [
            ("iodine -f -r -P hunter2 10.0.0.1 t.test", "iodine -f -r -P *** 10.0.0.1 t.test"),
            ("tool --password=abc --port=53", "tool --password=*** --port=53"),
            ("tool --api-token abc -x", "tool --api-token *** -x"),
            ("mysql -phunter2! -h db", "mysql -p*** -h db"),
            ("find / -print", "find / -print"),
            ("env AWS_SECRET_ACCESS_KEY=xyz run", "env AWS_SECRET_ACCESS_KEY=*** run"),
            ("curl https://me:pw@host/path?x=1", "curl https://me:***@host/path?x=1"),
            ("run ghp0123456789abcdefABCDEF0123", "run ***"),
            ("mysql -phunter -h db", "mysql -p*** -h db"),
            ("iodine -f -Phunter2 t.test", "iodine -f -P*** t.test"),
            ("nmap -Pn -p 53", "nmap -Pn -p ***"),
            ("curl -u user:hunter2 https://h/", "curl -u user:*** https://h/"),
            ("curl --user u:p -s", "curl --user u:*** -s"),
            ("curl --user=u:p -uu:p", "curl --user=u:*** -uu:***"),
            ("sudo -u nobody -uroot id", "sudo -u nobody -uroot id"),
            ("curl -H Authorization:~Bearer~abc.def h", "curl -H Authorization: *** h"),
            ("curl -HCookie:a=b;~c=d h", "curl -HCookie: *** h"),
            ("curl -H Accept:~text/html", "curl -H Accept: text/html"),
            ("sh -c mysql~-phunter~-h~db", "sh -c mysql -p*** -h db"),
            ("sh -c curl~-H~'X-Api-Key:~abc'~h", "sh -c curl -H 'X-Api-Key: ***"),
            ("run eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgN", "run ***"),
            ("run --jwt=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgN", "run --jwt=***"),
            (
                "dig +short a-rather-long-host-name.example.com",
                "dig +short a-rather-long-host-name.example.com",
            ),
        ];
        for (line, want) in rows {
            let argv = line.replace(' ', "\0").replace('~', " ");
            assert_eq!(cmdline(argv.as_bytes(), Cmdline::Masked, 512).as_deref(), Some(want));
        }
    }

    #[test]
    fn settings_and_length_hold() {
        let argv = b"a\0--password\0b\0";
        assert_eq!(cmdline(argv, Cmdline::Off, 512), None);
        assert_eq!(cmdline(argv, Cmdline::Full, 512).as_deref(), Some("a --password b"));
        assert_eq!(cmdline("ä".repeat(100).as_bytes(), Cmdline::Full, 20).unwrap().len(), 19);
        assert_eq!(cmdline(b"", Cmdline::Full, 20), None);
        let wiped = b"iodine\0-P\0\0\0\0\0\0\0-T\0TXT\0t.test\0";
        assert_eq!(cmdline(wiped, Cmdline::Masked, 99).as_deref(), Some("iodine -P *** -T TXT t.test"));
    }
}
