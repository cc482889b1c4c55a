//! Look-ups of registered names that look like one's own: misspelt, with look-alike letters, with a word beside it, or
//! under another suffix.
//!
//! Each zone is compared once, when it is first asked for. Off until `brand.names` has names. Low alone: much of it is
//! registered and harmless, and `brand.domains` says which.

use super::table::{Remembered, Table};
use super::{Cases, Detector, Look};
use crate::config::Config;
use crate::dns::Canonical;
use crate::logged::Lookup;
use crate::report::{Case, Figures, Said, Signal};
use crate::verdict::family;
use crate::zone::Class;

#[derive(Debug)]
pub struct Brand {
    names: Vec<String>,
    /// Wire forms.
    own: Vec<Box<[u8]>>,
    zones: Table<u64, Compared>,
}

/// What a comparison came to, and when the zone was last asked for.
#[derive(Debug)]
struct Compared {
    found: Option<(u16, Likeness)>,
    last_ns: u64,
}

impl Remembered for Compared {
    fn worth(&self) -> (u64, u64) {
        (u64::from(self.found.is_some()), self.last_ns)
    }
}

/// In what way a label looks like a name, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    /// Its letters look the same.
    Homoglyph,
    /// One letter, or two of a long name, is another, missing or in another place.
    Typo,
    /// The name and something beside it.
    Combination,
    /// The name itself under a suffix that is not one's own.
    Suffix,
}

/// Names shorter than this are found in too many words.
const MIN_NAME: usize = 4;
/// From this length on two letters may differ.
const LONG_NAME: usize = 10;
const QUIET_S: u64 = 3600;

impl Brand {
    pub const RULE: &str = "dns-brand";

    pub fn new(config: &Config) -> Self {
        let settings = &config.brand;
        let name = |text: &String| text.trim().to_lowercase();
        Self {
            names: settings.names.iter().map(name).filter(|name| name.len() >= MIN_NAME).collect(),
            own: settings.domains.iter().map(|text| Canonical::from_text(text).wire().into()).collect(),
            zones: Table::new(settings.max_keys as usize),
        }
    }

    fn compare(&self, zone: &[u8], label: &[u8]) -> Option<(u16, Likeness)> {
        if self.own.iter().any(|own| **own == *zone) {
            return None;
        }
        let label = std::str::from_utf8(label).ok()?;
        let shown = label.strip_prefix("xn--").and_then(decode).unwrap_or_else(|| label.to_owned());
        let mut names = (0..).zip(&self.names);
        names.find_map(|(at, name)| Some((at, likeness(&shown, name)?)))
    }
}

impl Detector for Brand {
    fn worst_case_bytes(config: &Config) -> usize {
        let is_on = !config.brand.names.is_empty();
        Table::<u64, Compared>::bytes(config.brand.max_keys as usize) * usize::from(is_on)
    }

    fn retune(&mut self, config: &Config) {
        let Self { names, own, zones } = std::mem::replace(self, Self::new(config));
        if names == self.names && own == self.own {
            self.zones = zones;
        } else {
            // What was compared was compared with others.
            self.zones.evicted = zones.evicted;
        }
    }

    fn evicted(&self) -> u64 {
        self.zones.evicted
    }

    fn query(&mut self, look: &Look<'_>, cases: &mut Cases<'_, '_>) {
        if self.names.is_empty() || look.part != Lookup::First || look.zone.class != Class::Registered {
            return;
        }
        let now_ns = look.now_ns();
        let found = if let Some(known) = self.zones.find(look.zone_hash) {
            known.last_ns = now_ns;
            known.found
        } else {
            let label = look.name.label(look.name.labels() - look.zone.labels);
            let found = self.compare(look.zone_wire(), label);
            self.zones.open(look.zone_hash, || Compared { found, last_ns: now_ns });
            found
        };
        let Some((at, likeness)) = found else { return };
        let Some(name) = self.names.get(usize::from(at)) else { return };
        let zone = Canonical::from_labels(crate::dns::labels(look.zone_wire()));
        cases.raise(&Signal {
            rule: Self::RULE,
            case: Case::client_zone(look.key()),
            zone: look.zone_wire(),
            class: look.zone.class,
            family: family::POLICY,
            name: "brand_look_alike",
            weight: 1.0,
            figures: Figures { first_ns: now_ns, queries: 1, ..Figures::default() },
            quiet_s: QUIET_S,
            say: &|| Said {
                does: format!("looks up {zone}, which looks like {name}"),
                observed: format!("{zone}: {}", likeness.says(name)),
                baseline: "registered names unlike those in brand.names, or listed in brand.domains"
                    .to_owned(),
                counterfactual: format!("Were {zone} in brand.domains, there would be no finding."),
                samples: vec![look.name.to_string()],
                tool: None,
            },
        });
    }
}

impl Likeness {
    fn says(self, name: &str) -> String {
        match self {
            Self::Homoglyph => format!("its letters look like {name}"),
            Self::Typo => format!("{name} misspelt"),
            Self::Combination => format!("{name} with something beside it"),
            Self::Suffix => format!("{name} under a suffix that is not listed"),
        }
    }
}

/// How a registered label (decoded) looks like a name in lower case.
fn likeness(label: &str, name: &str) -> Option<Likeness> {
    if label == name {
        return Some(Likeness::Suffix);
    }
    let (bare, bare_name) = (skeleton(label), skeleton(name));
    if bare == bare_name {
        return Some(Likeness::Homoglyph);
    }
    let most = if name.len() >= LONG_NAME { 2 } else { 1 };
    // A short word has too many neighbours that are words too.
    if name.len() > MIN_NAME && strsim::damerau_levenshtein(label, name) <= most {
        return Some(Likeness::Typo);
    }
    // Inside another word it is that word.
    let part = |part: &str| part == name || (part != label && skeleton(part) == bare_name);
    let beside = label.starts_with(name) || label.ends_with(name);
    (label.split('-').any(part) || (beside && name.len() > MIN_NAME)).then_some(Likeness::Combination)
}

/// What a label looks like: letters of other scripts and digits as the Latin letters they resemble, hyphens left out.
fn skeleton(label: &str) -> String {
    let mut out = String::with_capacity(label.len());
    for c in label.chars().filter(|c| *c != '-') {
        let same = LOOK_ALIKES.iter().find(|(others, _)| others.contains(c));
        out.push(same.map_or(c, |(_, latin)| *latin));
    }
    out.replace("rn", "m").replace("vv", "w").replace("cl", "d")
}

/// Letters and digits that most fonts draw alike (of Unicode's confusables.txt those that registries take in names).
const LOOK_ALIKES: [(&str, char); 24] = [
    ("аạàáâãäåāăąα", 'a'),
    ("ьƀḅв", 'b'),
    ("сçćčϲ", 'c'),
    ("ԁďđḍ", 'd'),
    ("еèéêëēėęěẹ3", 'e'),
    ("ƒ", 'f'),
    ("ɡğģġ9", 'g'),
    ("һħḥ", 'h'),
    // A dot more or less, and l and 1 beside it.
    ("іıìíîïīįιl1!|ӏ", 'i'),
    ("јĵ", 'j'),
    ("кķκ", 'k'),
    ("мṃ", 'm'),
    ("ńñņňոп", 'n'),
    ("оòóôõöōőøο0", 'o'),
    ("рρ", 'p'),
    ("ԛ", 'q'),
    ("гŕř", 'r'),
    ("ѕśşšș5", 's'),
    ("тţťț7", 't'),
    ("ùúûüūůűųυս", 'u'),
    ("ѵν", 'v'),
    ("ԝŵω", 'w'),
    ("х", 'x'),
    ("уýÿγ", 'y'),
];

/// Punycode behind `xn--` (RFC 3492 section 6.2); `None` for what is none.
fn decode(text: &str) -> Option<String> {
    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    let (basic, rest) = text.rsplit_once('-').unwrap_or(("", text));
    let mut out: Vec<char> = basic.chars().collect();
    let (mut n, mut i, mut bias) = (128_u32, 0_u32, 72_u32);
    let mut digits = rest.bytes();
    while digits.len() > 0 {
        let (before, mut weight) = (i, 1_u32);
        for k in (BASE..).step_by(BASE as usize) {
            let digit = match digits.next()? {
                byte @ b'a'..=b'z' => u32::from(byte - b'a'),
                byte @ b'0'..=b'9' => u32::from(byte - b'0') + 26,
                _ => return None,
            };
            i = i.checked_add(digit.checked_mul(weight)?)?;
            let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
            if digit < t {
                break;
            }
            weight = weight.checked_mul(BASE - t)?;
        }
        let count = out.len() as u32 + 1;
        let mut delta = if before == 0 { (i - before) / 700 } else { (i - before) / 2 };
        delta += delta / count;
        let mut k = 0;
        while delta > (BASE - T_MIN) * T_MAX / 2 {
            delta /= BASE - T_MIN;
            k += BASE;
        }
        bias = k + 36 * delta / (delta + 38);
        n = n.checked_add(i / count)?;
        i %= count;
        out.insert(i as usize, char::from_u32(n)?);
        i += 1;
    }
    Some(out.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::finding::Severity;
    use crate::pipeline::bench::Bench;

    #[test]
    fn labels_look_alike_or_do_not() {
        use Likeness::{Combination, Homoglyph, Suffix, Typo};
        for (label, want) in [
            ("examplebank", Some(Suffix)),
            ("examp1ebank", Some(Homoglyph)),
            ("exarnplebank", Some(Homoglyph)),
            ("example-bank", Some(Homoglyph)),
            ("ехamplebank", Some(Homoglyph)),
            ("exampelbank", Some(Typo)),
            ("exmplebnk", Some(Typo)),
            ("examplebanks", Some(Typo)),
            ("examplebank-login", Some(Combination)),
            ("secure-examplebank", Some(Combination)),
            ("myexamplebank24", None),
            ("examplehouse", None),
            ("bank", None),
            ("riverbank", None),
        ] {
            assert_eq!(likeness(label, "examplebank"), want, "{label}");
        }
        assert_eq!(likeness("acmes", "acme"), None, "short names have neighbours");
        assert_eq!(likeness("acme-pay", "acme"), Some(Combination));
    }

    #[test]
    fn punycode_is_read() {
        for (text, want) in [
            ("bcher-kva", "bücher"),
            ("mnchen-3ya", "münchen"),
            ("80ak6aa92e", "аррӏе"),
            ("ihqwcrb4cv8a8dqg056pqjye", "他们为什么不说中文"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(want), "{text}");
        }
        assert_eq!(likeness(&decode("80ak6aa92e").unwrap(), "apple"), Some(Likeness::Homoglyph));
        assert_eq!((decode("a b"), decode("99999999")), (None, None));
    }

    proptest! {
        #[test]
        fn any_label_can_be_decoded_or_not(text in "[a-z0-9-]{0,59}") {
            decode(&text);
        }
    }

    #[test]
    fn a_look_alike_is_one_low_finding_and_ones_own_is_none() {
        let mut config = Config::default();
        config.brand.names = vec!["ExampleBank".to_owned()];
        config.brand.domains = vec!["examplebank.example".to_owned(), "examplebank.test".to_owned()];
        let mut bench = Bench::new(&config);
        for name in
            ["www.examplebank.example", "examplebank.test", "www.river.example", "login.examp1ebank.com"]
        {
            bench.wait(5.0);
            (0..3).for_each(|_| bench.look_up("10.0.0.2", name, 1, 0, &[]));
        }
        bench.finish();
        let created = bench.created_by(Brand::RULE);
        assert_eq!(created.len(), 1, "{created:#?}");
        assert_eq!(
            (created[0].severity, created[0].zone.as_deref()),
            (Severity::Low, Some("examp1ebank.com"))
        );
    }
}
