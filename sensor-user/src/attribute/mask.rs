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
/// Options that stand for a password in widely used tools (mysql, sshpass, curl, iodine), alone or with the value glued on.
const SECRET_OPTIONS: [&str; 2] = ["-p", "-P"];
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

fn masked(words: Vec<String>) -> Vec<String> {
    let mut hide_next = false;
    words
        .into_iter()
        .enumerate()
        .map(|(index, word)| {
            let hide = std::mem::take(&mut hide_next);
            if index == 0 {
                return word;
            }
            // Programs wipe a password from their own argv: it is as many empty words as it had bytes.
            if word.is_empty() {
                return if hide { MASK.to_owned() } else { word };
            }
            if let Some((name, value)) = word.split_once('=').filter(|(name, _)| is_secret(name)) {
                return if value.is_empty() { word } else { format!("{name}={MASK}") };
            }
            if word.starts_with('-') {
                if is_secret(&word) || SECRET_OPTIONS.contains(&word.as_str()) {
                    hide_next = true;
                    return word;
                }
                // mysql's -pSECRET; but -print, -port and their like are words.
                if word.starts_with("-p") && word.bytes().skip(2).any(|b| !b.is_ascii_lowercase()) {
                    return format!("-p{MASK}");
                }
            }
            if hide || is_key(&word) { MASK.to_owned() } else { url(word) }
        })
        .collect()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Long, without separators that paths, names and sentences have, and mixed: a key rather than a word.
fn is_key(word: &str) -> bool {
    word.len() >= KEY_LEN
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=_-".contains(&b))
        && word.bytes().any(|b| b.is_ascii_digit())
        && word.bytes().any(|b| b.is_ascii_alphabetic())
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
            (
                "dig +short a-rather-long-host-name.example.com",
                "dig +short a-rather-long-host-name.example.com",
            ),
        ];
        for (line, want) in rows {
            let argv = line.replace(' ', "\0");
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
