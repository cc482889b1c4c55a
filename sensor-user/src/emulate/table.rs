//! Every emulated tool and habit in one place.

use crate::finding::Severity::{self, Critical, Low, Medium};

use super::Carrier::{Names, Other};
use super::Within::{Capture, Queries, Soon};
use super::{
    Carrier, Emulation, Falls, Tape, Within, answers, beside, cobalt_strike, code_book, dga, dns_exfiltrator,
    dns2tcp, dnscat2, dnstt, exfil, framework_pos, hosting, iodine, noise, ozyman_dns, registered_label,
    sliver, slow_beacon, txt_commands,
};

const fn leak(name: &'static str, within: Within, carrier: Carrier, run: fn(&mut Tape)) -> Emulation {
    Emulation { name, least: Medium, most: Critical, within, carrier, run }
}

/// Of interest, but nothing that leaves.
const fn sign(name: &'static str, most: Severity, within: Within, run: fn(&mut Tape)) -> Emulation {
    Emulation { name, least: Low, most, within, carrier: Other, run }
}

/// Not yet found as it should be, and what falls short. A line goes as soon as the detectors are that far: `--test emulated`
/// fails where it is not true any more.
pub const NOT_YET: &[(&str, Falls)] = &[];

/// Tools, encodings, rates, carriers, then what is no leak.
pub const ALL: &[Emulation] = &[
    leak("cobalt strike, addresses", Capture, Names, cobalt_strike::addresses),
    leak("cobalt strike, texts", Capture, Names, cobalt_strike::texts),
    leak("sliver, base 58", Soon, Names, sliver::in_base58),
    leak("sliver, base 32", Soon, Names, sliver::in_base32),
    leak("dnstt", Soon, Names, dnstt::session),
    leak("dnscat2, encrypted", Soon, Names, dnscat2::encrypted),
    leak("dnscat2, plain", Queries(40), Names, dnscat2::plain),
    leak("dnscat2, direct", Soon, Names, dnscat2::direct),
    leak("framework pos", Soon, Names, framework_pos::session),
    leak("dns exfiltrator", Soon, Names, dns_exfiltrator::session),
    leak("ozyman dns", Soon, Names, ozyman_dns::session),
    leak("iodine, null", Soon, Names, iodine::null),
    leak("iodine, txt", Soon, Names, iodine::texts),
    leak("iodine, raw", Soon, Other, iodine::raw),
    leak("dns2tcp", Soon, Names, dns2tcp::session),
    leak("txt commands, fixed names", Capture, Other, txt_commands::polling),
    leak("txt download, numbered names", Soon, Other, txt_commands::staging),
    leak("data in the registered label", Soon, Names, registered_label::session),
    leak("code book, hosts of a tenant", Queries(100), Names, code_book::hosts),
    leak("code book, tenants", Queries(100), Names, code_book::tenants),
    leak("edns padding", Soon, Other, beside::padding),
    leak("edns cookie", Soon, Other, beside::cookies),
    leak("edns unknown option", Soon, Other, beside::unknown_option),
    leak("bytes behind the message", Soon, Other, beside::tail),
    leak("hex, fast", Soon, Names, exfil::in_hex),
    leak("base 32, fast", Soon, Names, exfil::in_base32),
    leak("base 58, fast", Soon, Names, exfil::in_base58),
    leak("base 64 url, fast", Soon, Names, exfil::in_base64url),
    leak("base 36, fast", Soon, Names, exfil::in_base36),
    leak("sixteen letters, fast", Soon, Names, exfil::in_letters),
    leak("syllables, fast", Soon, Names, exfil::in_syllables),
    leak("six words a name, fast", Queries(100), Names, exfil::in_words),
    leak("pieces of at most nine characters", Queries(100), Names, exfil::short_pieces),
    leak("hex, 4 kB a day", Capture, Names, exfil::hex_a_day::<4096>),
    leak("hex, 1 kB a day", Capture, Names, exfil::hex_a_day::<1024>),
    leak("hex, 256 B a day", Capture, Names, exfil::hex_a_day::<256>),
    leak("base 32, 4 kB a day", Capture, Names, exfil::base32_a_day::<4096>),
    leak("base 32, 1 kB a day", Capture, Names, exfil::base32_a_day::<1024>),
    leak("base 32, 256 B a day", Capture, Names, exfil::base32_a_day::<256>),
    leak("base 58, 4 kB a day", Capture, Names, exfil::base58_a_day::<4096>),
    leak("base 58, 1 kB a day", Capture, Names, exfil::base58_a_day::<1024>),
    leak("base 58, 256 B a day", Capture, Names, exfil::base58_a_day::<256>),
    leak("base 64 url, 4 kB a day", Capture, Names, exfil::base64url_a_day::<4096>),
    leak("base 64 url, 1 kB a day", Capture, Names, exfil::base64url_a_day::<1024>),
    leak("base 64 url, 256 B a day", Capture, Names, exfil::base64url_a_day::<256>),
    leak("base 36, 4 kB a day", Capture, Names, exfil::base36_a_day::<4096>),
    leak("base 36, 1 kB a day", Capture, Names, exfil::base36_a_day::<1024>),
    leak("base 36, 256 B a day", Capture, Names, exfil::base36_a_day::<256>),
    leak("syllables, 4 kB a day", Capture, Names, exfil::syllables_a_day::<4096>),
    leak("syllables, 1 kB a day", Capture, Names, exfil::syllables_a_day::<1024>),
    leak("syllables, 256 B a day", Capture, Names, exfil::syllables_a_day::<256>),
    leak("over 20 zones", Queries(100), Names, exfil::over_zones),
    leak("over 20 clients", Queries(100), Names, exfil::over_clients),
    leak("download in AAAA", Soon, Other, answers::aaaa),
    leak("download in A", Soon, Other, answers::a),
    leak("download in TTLs", Capture, Other, answers::ttl),
    leak("beacon, 1 min", Capture, Names, slow_beacon::each_minute),
    leak("beacon, 1 min, 20 %", Capture, Names, slow_beacon::each_minute_20),
    leak("beacon, 1 min, 50 %", Capture, Names, slow_beacon::each_minute_50),
    leak("beacon, 10 min", Capture, Names, slow_beacon::each_ten_minutes),
    leak("beacon, 10 min, 20 %", Capture, Names, slow_beacon::each_ten_minutes_20),
    leak("beacon, 10 min, 50 %", Capture, Names, slow_beacon::each_ten_minutes_50),
    sign("beacon, 60 min", Critical, Capture, slow_beacon::each_hour),
    sign("beacon, 60 min, 20 %", Critical, Capture, slow_beacon::each_hour_20),
    sign("beacon, 60 min, 50 %", Critical, Capture, slow_beacon::each_hour_50),
    leak("dga, letters", Queries(20), Other, dga::letters),
    leak("dga, hashes", Queries(20), Other, dga::hashes),
    leak("dga, letters and digits", Queries(20), Other, dga::letters_and_digits),
    leak("dga, six letters", Queries(20), Other, dga::short),
    leak("dga, syllables", Queries(20), Other, dga::syllables),
    leak("dga, dictionary", Capture, Other, dga::dictionary),
    sign("reverse sweep", Low, Capture, noise::reverse_sweep),
    sign("subdomain enumeration", Low, Capture, noise::enumeration),
    sign("random-subdomain flood", Low, Capture, noise::random_names),
    sign("amplification", Low, Capture, noise::amplification),
    sign("fast flux", Critical, Capture, hosting::fast_flux),
    sign("rebinding", Critical, Capture, hosting::rebinding),
    sign("dns calculation", Critical, Capture, hosting::calculation),
];
