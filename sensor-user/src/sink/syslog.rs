//! A record as a syslog message (RFC 5424), and as a frame of a stream (RFC 6587 section 3.4.1).

use std::fmt::Write as _;

use super::encode::{About, Item};
use crate::finding::{Origin, Severity};

/// Daemons' facility.
const FACILITY: u8 = 3;
/// The format's own bounds (RFC 5424 section 6).
const HOSTNAME_MAX: usize = 255;
const MSGID_MAX: usize = 32;

/// How bad it is, as syslog and journald count.
pub fn priority(item: &Item) -> u8 {
    match item {
        // Nobody is to be called for it.
        Item::Finding(finding) if finding.origin == Origin::Selftest => 6,
        Item::Finding(finding) => match finding.severity {
            Severity::Critical => 2,
            Severity::High => 3,
            Severity::Medium => 4,
            Severity::Low => 5,
        },
        Item::Message(_) => 6,
    }
}

/// `body` is ASCII: receivers differ in what they make of a byte order mark, which UTF-8 would need.
pub fn message(item: &Item, body: &[u8], about: &About) -> Vec<u8> {
    let (time, id) = match item {
        Item::Finding(finding) => (finding.time.as_str(), finding.rule),
        Item::Message(message) => (message.time.as_str(), "dns-message"),
    };
    // Microseconds at most.
    let time = time.get(..26).map_or_else(|| "-".to_owned(), |time| format!("{time}Z"));
    let host = printable(about.hostname.as_deref().unwrap_or_default(), HOSTNAME_MAX);
    let mut out = String::new();
    let _ = write!(
        out,
        "<{}>1 {time} {host} earthdog {} {} - ",
        FACILITY * 8 + priority(item),
        std::process::id(),
        printable(id, MSGID_MAX)
    );
    [out.as_bytes(), body].concat()
}

/// With its length before it, so that it may hold anything.
pub fn counted(message: &[u8]) -> Vec<u8> {
    [format!("{} ", message.len()).as_bytes(), message].concat()
}

/// PRINTUSASCII, `-` for nothing.
fn printable(text: &str, max: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sink::tests::{about, finding, logged};

    #[test]
    fn the_header_is_of_rfc_5424() {
        let mut about = about();
        about.hostname = Some("a host\n".into());
        let item = Item::Finding(Arc::new(finding()));
        let text = String::from_utf8(message(&item, b"{}", &about)).unwrap();
        let pid = std::process::id();
        let want = format!("<28>1 2023-11-14T22:13:20.000000Z ahost earthdog {pid} dns-leak-ledger - {{}}");
        assert_eq!(text, want);
        about.hostname = None;
        let item = Item::Message(Arc::new(logged()));
        let text = String::from_utf8(message(&item, b"x", &about)).unwrap();
        assert!(text.starts_with("<30>1 2023-") && text.contains("Z - earthdog "), "{text}");
        assert_eq!(counted(b"<1>1 x"), b"6 <1>1 x");
    }
}
