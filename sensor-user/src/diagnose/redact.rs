//! What is this host's own is taken out: names, addresses, paths, interfaces, whatever the configuration says in words.
//!
//! Text is left in only where a table says that this program wrote it, and then without what may have been put into it.
//! Everything else becomes a token: the same text has the same one throughout a bundle, and another in the next bundle.

use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use regex_lite::Regex;
use serde_json::Value;

use crate::config::{Allowed, list::Item};

/// Keys whose text is this program's own, in what `doctor` and `status` print.
const OWN: &[&str] = &[
    "cgroup2",
    "control_socket",
    "costs",
    "fix",
    "falls",
    "for",
    "format",
    "grade",
    "hook",
    "how",
    "id",
    "key",
    "kernel",
    "message",
    "needs",
    "problem",
    "process_fields_error",
    "program",
    "misses",
    "blind_spots",
    "release",
    "restart",
    "rule",
    "since",
    "source",
    "state",
    "step",
    "time",
    "until",
    "version",
    "warnings",
    "why",
    "cgroup2_error",
    "severity",
];
/// As `OWN`, below these keys only.
const OWN_BELOW: &[(&str, &str)] =
    &[("features", "name"), ("programs", "name"), ("cases", "name"), ("cases", "owner")];
/// Where what stands below is this program's: everybody has these paths.
const USUAL: &[&str] = &[
    "/etc/earthdog/earthdog.toml",
    "/etc/earthdog/conf.d",
    "/etc/earthdog",
    "/run/earthdog/control.sock",
    "/run/earthdog",
    "/var/lib/earthdog",
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup",
    "/sys/fs/bpf",
    "/sys/kernel/btf/vmlinux",
    "/etc/nsswitch.conf",
    "/etc/sysctl.d",
    "/run/cgroup2",
    "/proc",
];

/// Takes out of text and JSON what is the host's own.
#[derive(Debug)]
pub(super) struct Redactor {
    seed: RandomState,
    /// Names of this host that text of our own may hold: its own, and those of its interfaces.
    names: Vec<String>,
    shapes: Regex,
}

impl Redactor {
    /// `names`: what is the host's own and has no shape by which it can be told.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<_> = names.into_iter().filter(|name| name.len() > 1 && name != "lo").collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.dedup();
        // URLs, paths, addresses of IPv4, of IPv6 (two colons at least) and hardware addresses.
        let shapes = r#"[a-z][a-z0-9+]*://[^\s"]+|/[^\s"'`,;:()]+|\b\d{1,3}(\.\d{1,3}){3}\b|\b[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*"#;
        let shapes = Regex::new(shapes).expect("a constant");
        Self { seed: RandomState::default(), names, shapes }
    }

    /// What stands for a text.
    pub(super) fn token(&self, text: &str) -> String {
        format!("redacted-{:08x}", self.seed.hash_one(text) >> 32)
    }

    /// A text of this program's own, without what the host put into it.
    pub(super) fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for found in self.shapes.find_iter(text) {
            out.push_str(&self.names(&text[from..found.start()]));
            let is_usual = USUAL.contains(&found.as_str()) || is_time(text, found.start());
            out.push_str(&if is_usual { found.as_str().to_owned() } else { self.token(found.as_str()) });
            from = found.end();
        }
        out.push_str(&self.names(&text[from..]));
        out
    }

    /// Every string that is not this program's becomes its token.
    pub(super) fn json(&self, value: &mut Value) {
        self.below(value, "", "");
    }

    /// A configuration value, as TOML has it: numbers and words that the key names itself stay.
    pub(super) fn setting(&self, allowed: Allowed, shown: &str) -> String {
        match allowed {
            Allowed::Listen | Allowed::Text(_) => self.token(shown),
            Allowed::List(Item::OneOf(_))
            | Allowed::Boolean
            | Allowed::Integer { .. }
            | Allowed::PowerOfTwo { .. }
            | Allowed::Number { .. }
            | Allowed::OneOf(_) => shown.to_owned(),
            Allowed::List(_) => format!("{} (a list)", self.token(shown)),
        }
    }

    fn below(&self, value: &mut Value, parent: &str, key: &str) {
        match value {
            Value::String(text) => {
                let own = OWN.contains(&key) || OWN_BELOW.contains(&(parent, key));
                *text = if own { self.text(text) } else { self.token(text) };
            }
            Value::Array(list) => list.iter_mut().for_each(|item| self.below(item, parent, key)),
            Value::Object(fields) => {
                for (name, field) in fields.iter_mut() {
                    self.below(field, key, name);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Whole words that are names of the host's own.
    fn names(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for name in &self.names {
            let mut from = 0;
            while let Some(at) = out[from..].find(name.as_str()).map(|at| at + from) {
                let end = at + name.len();
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let inside = out[..at].chars().next_back().is_some_and(is_part)
                    || out[end..].chars().next().is_some_and(is_part);
                from = if inside {
                    end
                } else {
                    let token = self.token(name);
                    out.replace_range(at..end, &token);
                    at + token.len()
                };
            }
        }
        out
    }
}

/// Minutes and seconds, behind the hour, have the shape of an address.
fn is_time(text: &str, at: usize) -> bool {
    matches!(text.as_bytes()[..at], [.., b'T', ten, one] if ten.is_ascii_digit() && one.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(["gw-berlin".to_owned(), "eth0".to_owned(), "vm".to_owned(), "lo".to_owned()])
    }

    #[test]
    fn text_of_our_own_loses_what_the_host_put_into_it() {
        let redactor = redactor();
        for (text, secret) in [
            ("tcx ingress eth0: native XDP restarts", "eth0"),
            ("host gw-berlin has no cgroup2", "gw-berlin"),
            ("cannot read /srv/clients/acme.list", "acme"),
            ("cannot connect to https://siem.acme.example/in?t=1", "acme"),
            ("asks 192.0.2.7 first", "192.0.2.7"),
            ("asks 2001:db8::7 first", "2001:db8"),
            ("is fe80::1", "fe80"),
            ("mac 02:00:5e:10:00:01", "5e:10"),
        ] {
            let out = redactor.text(text);
            assert!(!out.contains(secret), "{out}");
            assert!(out.contains("redacted-"), "{out}");
        }
        assert!(redactor.text("tcx ingress eth0: why").starts_with("tcx ingress redacted-"));
        for text in [
            "6.18.44-fc-v657",
            "vmlinux is no vm0",
            "mkdir -p /run/cgroup2 && mount",
            "2026-11-30T05:11:02.123Z",
            "cgroup_skb egress /sys/fs/cgroup/unified",
            "lo",
        ] {
            assert_eq!(redactor.text(text), text);
        }
    }

    #[test]
    fn only_what_the_table_names_stays() {
        let mut value = json!({
            "version": "0.1.0", "lost": 3, "features": [{"name": "XDP", "available": true}],
            "sinks": [{"name": "acme siem", "to": "tcp://siem.acme.example", "delivered": 7}],
            "exceptions": [{"owner": "Jo", "zone": "acme.example", "hits": 2}],
            "warnings": ["eth0 is gone"], "evil\nkey": "acme",
        });
        let redactor = redactor();
        redactor.json(&mut value);
        let text = value.to_string();
        for secret in ["acme", "Jo", "eth0", "siem"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!((&value["version"], &value["features"][0]["name"]), (&json!("0.1.0"), &json!("XDP")));
        assert_eq!((&value["lost"], &value["sinks"][0]["delivered"]), (&json!(3), &json!(7)));
    }

    #[test]
    fn one_text_has_one_token_and_another_in_another_bundle() {
        let (one, other) = (redactor(), redactor());
        assert_eq!(one.token("acme"), one.token("acme"));
        assert_ne!(one.token("acme"), one.token("acmf"));
        assert_ne!(one.token("acme"), other.token("acme"));
    }

    #[test]
    fn words_of_a_key_stay_and_words_of_an_operator_do_not() {
        let redactor = redactor();
        assert_eq!(redactor.setting(Allowed::OneOf(&["a", "b"]), "\"a\""), "\"a\"");
        assert_eq!(redactor.setting(Allowed::Integer { min: 0, max: 9 }, "7"), "7");
        assert!(redactor.setting(Allowed::Text("a path"), "\"/srv/acme\"").starts_with("redacted-"));
    }
}
