//! `[[suppress]]`: exceptions. What they mean to a finding is [`crate::exception`]'s.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::entries::{self, Entry, entry};
use super::keys::Least;
use super::list::{Network, is_domain};
use super::value::{Allowed, Refusal, Setting};
use crate::rules::rules;

const ALL: &[()] = &[];
const WORDS: &str = "text of at most 200 characters that says something";

entry! {
    /// One exception: whom and what it covers, who answers for it, why, and until when.
    Suppress;
    /// Its name in `earthdog status` and in the findings that it covers.
    name("name", ALL): String = String::new(), Allowed::Text("letters, digits, `-` and `_`, at most 64");
    /// Who answers for it.
    owner("owner", ALL): String = String::new(), Allowed::Text(WORDS);
    /// Why it is there.
    reason("reason", ALL): String = String::new(), Allowed::Text(WORDS);
    /// Until when it holds: the end of a day (UTC), a time, or never.
    expires("expires", ALL): Expiry = Expiry::NEVER, Allowed::Text("an RFC 3339 date or time such as \"2027-03-31\" or \"2027-03-31T12:00:00Z\", or \"never\"");
    /// Only findings about this program: an absolute path, or a name where only packages put files. Not if who asked was inferred.
    exe("exe", ALL): String = String::new(), Allowed::Text("a program's absolute path or name");
    /// Only findings about this systemd unit.
    unit("unit", ALL): String = String::new(), Allowed::Text("a unit's name, such as \"backup.service\"");
    /// Only findings about processes of this user.
    uid("uid", ALL): Option<u32> = None, Allowed::Integer { min: 0, max: (1 << 32) - 1 };
    /// Only findings about clients at these addresses.
    address("address", ALL): String = String::new(), Allowed::Text("an address or a network like \"192.0.2.0/24\"");
    /// Only findings about this zone, or one below it.
    zone("zone", ALL): String = String::new(), Allowed::Text("a domain name");
    /// Only findings that rest on this rule and no other.
    rule("rule", ALL): String = String::new(), Allowed::Text("a rule that `earthdog rules` lists, such as \"dns-beacon\"");
    /// Only findings of this severity or lower.
    at_most("at_most", ALL): Least = Least::Critical, Allowed::OneOf(Least::NAMES);
}

/// When an exception ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// As it was written.
    pub text: String,
    /// Unix time, nanoseconds; none: never.
    pub ns: Option<u64>,
}

impl Expiry {
    const NEVER: Self = Self { text: String::new(), ns: None };

    fn parse(text: &str) -> Option<Self> {
        let end = |day: Date| Some(day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
        let ns = if text == "never" {
            None
        } else {
            // A time without its zone would be taken for its day.
            let day = || text.parse::<Date>().ok().filter(|_| !text.contains(['T', ' ']));
            let stamp = text.parse().ok().or_else(|| end(day()?))?;
            // What the clock cannot count to comes as late as it can.
            let ns = u128::try_from(jiff::Timestamp::as_nanosecond(stamp)).ok()?;
            Some(u64::try_from(ns).unwrap_or(u64::MAX))
        };
        Some(Self { text: text.to_owned(), ns })
    }

    pub fn is_over(&self, now_ns: u64) -> bool {
        self.ns.is_some_and(|ns| now_ns >= ns)
    }
}

impl Setting for Expiry {
    fn read(value: &DeValue<'_>, _: &Allowed) -> Result<Self, Refusal> {
        let text = match value {
            // A date without quotes is one too.
            DeValue::Datetime(date) => date.to_string(),
            other => other.as_str().ok_or(Refusal)?.to_owned(),
        };
        Self::parse(&text).ok_or(Refusal)
    }

    fn show(&self) -> String {
        if self.text.is_empty() { String::new() } else { self.text.show() }
    }
}

impl Suppress {
    /// What it is limited to, in words.
    pub fn scope(&self) -> String {
        let word = |what: &str, value: &str| (!value.is_empty()).then(|| format!("{what} {value}"));
        let uid = self.uid.map(|uid| format!("uid {uid}"));
        let most = (self.at_most != Least::Critical).then(|| format!("{} at most", self.at_most.name()));
        let parts = [
            word("exe", &self.exe),
            word("unit", &self.unit),
            uid,
            word("address", &self.address),
            word("zone", &self.zone),
            word("rule", &self.rule),
            most,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Entry for Suppress {
    const SECTION: &'static str = "suppress";
    const DOC: &'static str = "Exceptions: findings that are measured, counted and kept, and alert nobody, until a day. The list has an entry \
                               `[[suppress]]` for each, which covers what is all that it says; a later file adds to it, or replaces the entry of \
                               the same name. None covers NULL, types that nobody publishes, EDNS data or what is no DNS.";
    const EXAMPLE: &'static [&'static str] = &[
        "name = \"backup-beacon\"",
        "owner = \"storage team\"",
        "reason = \"asks for its licence every five minutes\"",
        "expires = \"2027-03-31\"",
        "exe = \"/usr/bin/backup-agent\"",
        "zone = \"licence.example\"",
    ];
    const MAX: usize = 256;
    const KEYS: &'static [entries::Key<Self>] = KEYS;
    const NEEDED: &'static [&'static str] = &["name", "owner", "reason", "expires"];
    const RESTART: Option<&'static str> = None;
    type Kind = ();

    fn kind(&self) {}

    fn kind_name((): ()) -> &'static str {
        ""
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn summary(&self) -> String {
        format!("{} until {}, {}: {}", self.scope(), self.expires.text, self.owner, self.reason)
    }

    fn check(&self) -> Result<(), String> {
        let refused = |key: &str, allowed: &str| Err(format!("suppress.{key} is not allowed: use {allowed}"));
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(word) || self.name.len() > 64 {
            return refused("name", "letters, digits, `-` and `_`, at most 64");
        }
        for (key, text) in [("owner", &self.owner), ("reason", &self.reason)] {
            if text.trim().is_empty() || text.chars().count() > 200 {
                return refused(key, WORDS);
            }
        }
        if !self.address.is_empty() && Network::parse(&self.address).is_none() {
            return refused("address", "an address or a network like \"192.0.2.0/24\"");
        }
        if !self.zone.is_empty() && !is_domain(&self.zone) {
            return refused("zone", "a domain name");
        }
        if !self.rule.is_empty() && !rules().rules.contains_key(&self.rule) {
            let names: Vec<_> = rules().rules.keys().map(String::as_str).collect();
            return refused("rule", &format!("one of {}", names.join(", ")));
        }
        if self.exe.contains('/') && !self.exe.starts_with('/') {
            return refused("exe", "a program's absolute path or name");
        }
        let texts = [&self.exe, &self.unit, &self.address, &self.zone, &self.rule];
        if texts.iter().all(|text| text.is_empty()) && self.uid.is_none() {
            return Err(
                "a suppress needs something that it is limited to: exe, unit, uid, address, zone or rule"
                    .into(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, changes};

    const WHOLE: &str =
        "[[suppress]]\nname = \"a\"\nowner = \"ann\"\nreason = \"known\"\nexpires = \"2027-03-31\"\n";

    #[test]
    fn an_exception_is_read_and_reads_back() {
        let text = format!(
            "{WHOLE}exe = \"/usr/bin/x\"\nuid = 0\naddress = \"10.0.0.0/8\"\nrule = \"dns-beacon\"\n"
        );
        let config = Config::parse(&text, "x").unwrap();
        let [one] = &config.suppress[..] else { panic!("{:?}", config.suppress) };
        assert_eq!(one.scope(), "exe /usr/bin/x, uid 0, address 10.0.0.0/8, rule dns-beacon");
        let printed = config.to_toml();
        assert_eq!(Config::parse(&printed, "printed").unwrap(), config, "{printed}");
        let bare = Config::parse(&text.replace("\"2027-03-31\"", "2027-03-31"), "x").unwrap();
        assert_eq!(bare.suppress[0].expires, one.expires);
    }

    #[test]
    fn it_ends_with_its_day_or_at_its_time() {
        let ns =
            |text: &str| u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap();
        let day = Expiry::parse("2027-03-31").unwrap();
        assert!(!day.is_over(ns("2027-03-31T23:59:59Z")) && day.is_over(ns("2027-04-01T00:00:00Z")));
        let time = Expiry::parse("2027-03-31T12:00:00+02:00").unwrap();
        assert!(!time.is_over(ns("2027-03-31T09:59:59Z")) && time.is_over(ns("2027-03-31T10:00:00Z")));
        assert!(!Expiry::parse("never").unwrap().is_over(u64::MAX));
        assert!(!Expiry::parse("2999-01-01").unwrap().is_over(ns("2500-01-01T00:00:00Z")));
        for wrong in
            ["", "soon", "31.3.2027", "2027-02-30", "2027-03", "1900-01-01T00:00:00Z", "2027-03-31T12:00:00"]
        {
            assert_eq!(Expiry::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        let zone = format!("{WHOLE}zone = \"x.example\"\n");
        for (text, says) in [
            (zone.replace("owner = \"ann\"\n", ""), "a suppress needs its `owner`"),
            (zone.replace("reason = \"known\"\n", ""), "a suppress needs its `reason`"),
            (zone.replace("expires = \"2027-03-31\"\n", ""), "needs its `expires`: an RFC 3339 date"),
            (
                zone.replace("2027-03-31", "next year"),
                "suppress.expires = \"next year\" is not allowed: use an RFC 3339",
            ),
            (zone.replace("\"ann\"", "\" \""), "suppress.owner is not allowed"),
            (zone.replace("\"a\"", "\"a b\""), "suppress.name is not allowed"),
            (zone.replace("zone =", "zome ="), "did you mean `zone`?"),
            (zone.replace("x.example", "x..example"), "suppress.zone is not allowed: use a domain name"),
            (WHOLE.to_owned(), "needs something that it is limited to"),
            (format!("{WHOLE}at_most = \"low\"\n"), "needs something that it is limited to"),
            (format!("{WHOLE}rule = \"beacon\"\n"), "suppress.rule is not allowed: use one of dns-"),
            (
                format!("{WHOLE}uid = -1\n"),
                "suppress.uid = -1 is not allowed: use an integer from 0 to 4294967295",
            ),
            (format!("{WHOLE}address = \"10.0.0.0/40\"\n"), "suppress.address is not allowed"),
            (format!("{WHOLE}exe = \"bin/x\"\n"), "suppress.exe is not allowed"),
            (format!("{zone}{zone}"), "two of [[suppress]] are called `a`"),
        ] {
            let error = Config::parse(&text, "x.toml").unwrap_err();
            assert!(error.message.contains(says), "{text:?}: {}", error.message);
        }
    }

    #[test]
    fn a_change_is_taken_over_at_once() {
        let of = |text: &str| Config::parse(text, "x").unwrap();
        let zone = format!("{WHOLE}zone = \"x.example\"\n");
        let list = changes(&of(""), &of(&zone));
        assert_eq!((list.len(), list[0].restart, list[0].key.as_str()), (1, None, "suppress.a"));
        assert_eq!(list[0].new, "zone x.example until 2027-03-31, ann: known");
        let list = changes(&of(&zone), &of(&zone.replace("2027", "2028")));
        assert_eq!((list[0].key.as_str(), list[0].new.as_str()), ("suppress.a.expires", "\"2028-03-31\""));
    }
}
