//! The key table: every setting with its type, default, allowed values and meaning, once.
//!
//! The typed `Config`, the strict reader, `config print` and its documentation all come from this table. A new setting
//! is one line here and one place that uses it.

use super::list::Item;
use super::value::{Allowed, Refusal, Setting};
use crate::finding::Severity;
use crate::report::process::CONTEXTS;

/// One row of the table.
#[derive(Debug)]
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub doc: &'static str,
    pub allowed: Allowed,
    /// Why a running sensor cannot take another value over; none: it can.
    pub restart: Option<&'static str>,
    /// Of a table's size (`sized`): makes it so many thousandths of what it is; not below what is allowed.
    pub(super) size: Option<fn(&mut Config, u64)>,
    pub(super) copy: fn(&mut Config, &Config),
    pub(super) read: fn(&mut Config, &toml::de::DeValue<'_>) -> Result<(), Refusal>,
    pub(super) show: fn(&Config) -> String,
}

macro_rules! keys {
    ($( $(#[doc = $section_doc:literal])+ $section:ident: $Section:ident {
        $( #[doc = $doc:literal] $key:ident $(($shown:literal))?: $type:ty = $default:expr, $allowed:expr
            $(, restart: $restart:expr $(=> $sized:ident)?)?; )*
    } )*) => {
        /// The settings in force.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config {
            $( $(#[doc = $section_doc])+ pub $section: $Section, )*
            /// Where findings and messages go beside standard output; see `sinks`.
            pub sinks: Vec<super::sinks::Sink>,
            /// Exceptions; see `suppress`.
            pub suppress: Vec<super::suppress::Suppress>,
            /// What is known of machines; see `assets`.
            pub assets: Vec<super::assets::Asset>,
            /// Those, and what the files say that are named beside them.
            pub known: std::sync::Arc<crate::inventory::Inventory>,
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $( #[doc = $doc] pub $key: $type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )* }
                }
            }
        )*

        /// Section names with their documentation, in the order they are printed.
        pub const SECTIONS: &[(&str, &str)] = &[ $( (stringify!($section), concat!($($section_doc),+)), )* ];

        /// Every key there is, section by section.
        pub const KEYS: &[Key] = &[ $( $( Key {
            section: stringify!($section),
            name: keys!(@name $key $($shown)?),
            doc: $doc,
            allowed: $allowed,
            restart: keys!(@restart $($restart)?),
            size: keys!(@size $section $key $allowed $($(, $sized)?)?),
            copy: |to, from| to.$section.$key = from.$section.$key.clone(),
            read: |config, value| {
                config.$section.$key = Setting::read(value, &$allowed)?;
                Ok(())
            },
            show: |config| config.$section.$key.show(),
        }, )* )* ];
    };
    // A dot in a key's name is a table of its own below the section.
    (@name $key:ident $shown:literal) => { $shown };
    (@name $key:ident) => { stringify!($key) };
    (@restart $why:expr) => { Some($why) };
    (@restart) => { None };
    (@size $section:ident $key:ident $allowed:expr, sized) => {
        Some(|config, share| config.$section.$key = smaller(config.$section.$key, share, &$allowed))
    };
    (@size $section:ident $key:ident $allowed:expr) => { None };
}

fn smaller(size: u64, share: u64, allowed: &Allowed) -> u64 {
    let Allowed::Integer { min, .. } = allowed else { return size };
    (size.saturating_mul(share.min(1000)) / 1000).max(*min)
}

const fn integer(min: u64, max: u64) -> Allowed {
    Allowed::Integer { min, max }
}

// Why a key needs a restart.
const TABLE: &str = "the table is made at the start";
const MAP: &str = "the kernel's map is made at the start";
const PROGRAMS: &str = "the kernel programs are told at the start";
const OPENED: &str = "what is written to is opened at the start";
const STORE: &str = "the store is opened at the start";

keys! {
    /// The leak ledger: new information per client and zone.
    ledger: Ledger {
        /// New names from one client to one zone within a minute, together as improbable for host names as this many random bytes, make a finding; a third of them in a clear encoding, each answered with a payload of its own.
        bound_1min_bytes: u64 = 256, integer(16, 1 << 30);
        /// The same within ten minutes.
        bound_10min_bytes: u64 = 256, integer(16, 1 << 30);
        /// The same within an hour.
        bound_1h_bytes: u64 = 512, integer(16, 1 << 30);
        /// The same within a day.
        bound_24h_bytes: u64 = 1024, integer(16, 1 << 30);
        /// The same for what the form of a name bounds: reversed addresses (DNSBL, PTR), counted names, hashes that are answered by a verdict; within a minute.
        form_bound_1min_bytes: u64 = 4096, integer(16, 1 << 30);
        /// The same within ten minutes.
        form_bound_10min_bytes: u64 = 4096, integer(16, 1 << 30);
        /// The same within an hour.
        form_bound_1h_bytes: u64 = 16_384, integer(16, 1 << 30);
        /// The same within a day.
        form_bound_24h_bytes: u64 = 65_536, integer(16, 1 << 30);
        /// Payload in answers to one client from one zone that was not seen before, within a minute; texts of known grammar count an eighth.
        answer_bound_1min_bytes: u64 = 4096, integer(16, 1 << 30);
        /// The same within ten minutes.
        answer_bound_10min_bytes: u64 = 4096, integer(16, 1 << 30);
        /// The same within an hour.
        answer_bound_1h_bytes: u64 = 8192, integer(16, 1 << 30);
        /// The same within a day.
        answer_bound_24h_bytes: u64 = 16_384, integer(16, 1 << 30);
        /// Client and zone pairs remembered; the one with least information goes first.
        max_keys: u64 = 8192, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-beacon: look-ups at a steady pace that bring something new each time.
    beacon: Beats {
        /// Beats of one client under one zone from which on their pace is looked at (MITRE: RepeatFrequencyThreshold).
        repeat_frequency_threshold: u64 = 16, integer(8, 1 << 20);
        /// Median deviation from the median gap that is still a steady pace, as a share of it; jitter of half a gap has a quarter (MITRE: BeaconTimingThreshold).
        beacon_timing_threshold: f64 = 0.35, Allowed::Number { min: 0.0, max: 0.6 };
        /// Client and zone pairs remembered; the one with least that was new goes first.
        max_keys: u64 = 8192, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-carriers: bytes beside the question.
    carriers: Carriers {
        /// Bytes between one client and one server that were never there before, within the window, that make a finding (MITRE: OutboundDNSVolume).
        outbound_dns_volume_bytes: u64 = 128, integer(1, 1 << 30);
        /// Length of the window, seconds (MITRE: TimeWindow).
        time_window_s: u64 = 600, integer(1, 86_400);
        /// Client and server pairs remembered; the one with fewest bytes goes first.
        max_keys: u64 = 2048, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-code-book: plausible names whose order is the message.
    code_book: CodeBook {
        /// Look-ups of one client under one zone from which on their order is looked at.
        min_lookups: u64 = 48, integer(32, 120);
        /// Bytes that such an order can have carried which make the finding medium (MITRE: OutboundDNSVolume).
        outbound_dns_volume_bytes: u64 = 64, integer(1, 1 << 30);
        /// Client and zone pairs remembered; the one with fewest look-ups goes first.
        max_keys: u64 = 4096, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-command-channel: payload that comes down in answers.
    command_channel: CommandChannel {
        /// Bytes that answers of one zone to one client say for the first time within the window which make a finding.
        bound_bytes: u64 = 192, integer(1, 1 << 30);
        /// The same within six windows, which makes the finding medium.
        download_bytes: u64 = 768, integer(1, 1 << 30);
        /// Length of the window, seconds (MITRE: TimeWindow).
        time_window_s: u64 = 600, integer(1, 86_400);
        /// Client and zone pairs remembered; the one with fewest bytes goes first.
        max_keys: u64 = 4096, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-direct-mode: encoded names without a valid zone.
    direct_mode: DirectMode {
        /// Bytes in encoded labels of such names from one client within the window that make a finding (MITRE: OutboundDNSVolume).
        outbound_dns_volume_bytes: u64 = 48, integer(1, 1 << 30);
        /// Length of the window, seconds (MITRE: TimeWindow).
        time_window_s: u64 = 600, integer(1, 86_400);
        /// Clients remembered; the one with fewest bytes goes first.
        max_keys: u64 = 1024, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-non-dns: bytes on port 53 that are not DNS.
    non_dns: NonDns {
        /// Bytes between one client and one server, both ways, within the window that make a finding.
        bound_bytes: u64 = 256, integer(1, 1 << 30);
        /// Length of the window, seconds.
        window_s: u64 = 600, integer(1, 86_400);
        /// Client and server pairs remembered; the one with fewest bytes goes first.
        max_keys: u64 = 1024, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Evidence from who asked; it joins findings and opens none. The keys are named after MITRE's DaemonAllowList, ProcessImageFilter and UncommonProcessContext.
    process: Process {
        /// Daemons that are expected to ask much: their findings weigh less and say so. Not where NULL, unknown types, EDNS data or trailing bytes are seen.
        daemon_allow_list: Vec<String> = Vec::new(), Allowed::List(Item::Word("programs, each a name or an absolute path"));
        /// Executables and scripts below these paths count as out of place.
        process_image_filter: Vec<String> = ["/tmp", "/var/tmp", "/dev/shm"].map(String::from).into(), Allowed::List(Item::Path);
        /// Contexts that count.
        uncommon_process_context: Vec<String> = CONTEXTS.iter().map(|name| (*name).to_owned()).collect(), Allowed::List(Item::OneOf(CONTEXTS));
    }

    /// What part a client plays (resolver, mail server, NAT, crawler); detectors that judge a whole client ask for it.
    roles: Roles {
        /// Length of the window in which it is learned, and for which it is kept after it last held, seconds.
        window_s: u64 = 3600, integer(60, 86_400);
        /// Zones that answered which make a client that is asked by others, or asks many servers itself, a resolver.
        resolver_zones: u64 = 32, integer(1, 1024);
        /// Zones that answered, with few look-ups in each, which make a client a crawler.
        crawler_zones: u64 = 256, integer(1, 1024);
        /// Look-ups of each of three kinds (MX, reversed addresses, DNSBL forms, TXT) which make a client a mail server.
        mail_lookups: u64 = 16, integer(1, 1 << 20);
        /// Manners of asking (flags, EDNS), each often, which make a client a NAT.
        nat_manners: u64 = 4, integer(2, 8);
        /// Clients remembered; the one with fewest look-ups and no role goes first.
        max_keys: u64 = 4096, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-dga: registered names that a program generates.
    dga: Dga {
        /// Registered names new for a client that do not exist, from which on there may be a finding; MITRE's NXDOMAINThreshold.
        nxdomain_threshold: u64 = 8, integer(2, 10_000);
        /// Bits of evidence that make a finding: four for each such name, more or less by its letters, five off for each new name that exists.
        bound_bits: u64 = 60, integer(8, 10_000);
        /// Seconds in which so many bits fade.
        window_s: u64 = 86_400, integer(60, 2_592_000);
        /// Clients remembered; the one with least evidence goes first.
        max_keys: u64 = 2048, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-recon: sweeps, guessed names, transfers, versions.
    recon: Recon {
        /// Of 256 neighbouring addresses, PTR look-ups for so many within the window make a finding, a quarter if one after the other; MITRE's TargetIPRange.
        sweep_addresses: u64 = 128, integer(8, 256);
        /// Plausible names of one zone that do not exist, for one client within the window, that make a finding.
        enumeration_names: u64 = 60, integer(4, 200);
        /// Plausible names new to one client within a minute that make a finding.
        cold_names: u64 = 300, integer(16, 100_000);
        /// Length of the window, seconds.
        window_s: u64 = 600, integer(10, 86_400);
        /// Client and network, and client and zone pairs remembered, and a quarter as many clients.
        max_keys: u64 = 2048, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-leak-spread: a leak shared out over clients or zones.
    spread: Spread {
        /// Bytes that all clients together say in new names of one zone within ten minutes that make a finding; a quarter within a minute, four times within an hour, sixteen within a day; twice as much from 64 clients, and so on.
        zone_bound_bytes: u64 = 2048, integer(16, 1 << 30);
        /// The least that makes a finding in a clear encoding, each name asked once and answered with a payload of its own.
        zone_encoded_bound_bytes: u64 = 512, integer(16, 1 << 30);
        /// Bytes that one client says in random-looking names of at least five zones within ten minutes that make a finding; twice within an hour, eight times within a day.
        client_bound_bytes: u64 = 512, integer(16, 1 << 30);
        /// Zones with more than one client, and clients, remembered; the one with least information goes first.
        max_keys: u64 = 1024, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-subdomain-flood: random names of one zone that nobody answers.
    subdomain_flood: SubdomainFlood {
        /// New names of one zone within the window that make a finding.
        names: u64 = 500, integer(16, 1 << 20);
        /// Length of the window, seconds; MITRE's TimeWindow.
        window_s: u64 = 60, integer(1, 3600);
        /// Zones remembered; the one with fewest new names goes first.
        max_keys: u64 = 512, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-fast-flux: names whose addresses are others each time.
    fast_flux: FastFlux {
        /// Addresses of one name, hardly any given twice, that make a finding.
        addresses: u64 = 200, integer(8, 400);
        /// The same where each answer has one address, and none is given twice.
        single_addresses: u64 = 24, integer(4, 400);
        /// Longest TTL of such answers, seconds; MITRE's TTLThreshold.
        ttl_threshold: u64 = 300, integer(0, 86_400);
        /// Length of the window, seconds.
        window_s: u64 = 86_400, integer(60, 2_592_000);
        /// Names remembered of those that have moved to another network; the one with fewest addresses goes first.
        max_keys: u64 = 512, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-short-lived-zone: zones that bloom and die within days; needs the store.
    short_lived_zone: ShortLivedZone {
        /// Days since a zone was first asked for here, at most.
        max_age_days: u64 = 7, integer(1, 90);
        /// Answered look-ups from which on it was in use.
        min_lookups: u64 = 50, integer(1, 1 << 20);
    }

    /// Detector dns-rebinding: names that lead outside, then inside the network.
    rebinding: Rebinding {
        /// Longest TTL of the answer that led outside, seconds.
        ttl_threshold: u64 = 60, integer(0, 86_400);
        /// Seconds within which the name leads inside.
        window_s: u64 = 600, integer(1, 86_400);
        /// Client and zone pairs remembered.
        max_keys: u64 = 256, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-resolver-policy: look-ups at servers that are not approved.
    resolver_policy: ResolverPolicy {
        /// Resolvers that may be asked; they may ask anybody. None: the detector is off.
        approved: Vec<String> = Vec::new(), Allowed::List(Item::Network);
        /// Look-ups of one client at other servers within the window that make a finding.
        min_lookups: u64 = 4, integer(1, 1 << 20);
        /// Length of the window, seconds.
        window_s: u64 = 600, integer(1, 86_400);
        /// Clients remembered; the one with fewest such look-ups goes first.
        max_keys: u64 = 1024, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// The inventory beside `[[asset]]`.
    inventory: InventoryFile {
        /// File of assets, as comma-separated values: the first line names the columns, which are the keys of `[[asset]]`; what is a list there has spaces or `;` between its parts. At most 65536 rows; read again on SIGHUP, and refused whole if any of it is wrong.
        file: String = String::new(), Allowed::Text("an absolute path, or \"\" for none");
    }

    /// Detector dns-asset-policy: assets that ask outside their approved resolvers and zones, or too much. The lists are those of the inventory.
    asset_policy: AssetPolicy {
        /// Look-ups of one client outside its lists within the window that make a finding.
        min_lookups: u64 = 4, integer(1, 1 << 20);
        /// Length of the window, seconds.
        window_s: u64 = 600, integer(1, 86_400);
        /// MITRE's OutboundDNSVolume: bytes of DNS from one client within an hour that make a finding, of ESXi hosts with the role `management` and of assets with a ceiling of their own; 0: none.
        outbound_dns_volume_bytes: u64 = 65_536, integer(0, 1 << 32);
        /// The same within a day; MITRE's OutboundDNSVolume.
        outbound_dns_volume_day_bytes: u64 = 1_048_576, integer(0, 1 << 32);
        /// MITRE's KnownGoodVIBs: file of VIBs that may be on ESXi hosts, as `esxcli --formatter=csv software vib list` prints them, with a column `zones` of what they ask for: approved for ESXi hosts that have a list of zones. Read again on SIGHUP.
        known_good_vibs: String = String::new(), Allowed::Text("an absolute path, or \"\" for none");
        /// Clients remembered, and as many again with a ceiling; the one with fewest look-ups outside its lists goes first.
        max_keys: u64 = 1024, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-reputation: look-ups of listed domains. Files are read again when they change.
    reputation: Reputation {
        /// MITRE's DomainReputationFeed: files with a domain on each line; everything below a listed domain matches. At most 256 files.
        domain_reputation_feed: Vec<String> = Vec::new(), Allowed::List(Item::Path);
        /// Domains of all files together; the rest is left out and counted.
        max_domains: u64 = 500_000, integer(1, 1 << 24);
        /// Seconds without a look-up after which a finding closes.
        window_s: u64 = 600, integer(1, 86_400);
    }

    /// Detector dns-own-zone: who answers for zones of one's own, and how.
    own_zones: OwnZones {
        /// Zones to watch. None: the detector is off.
        zones: Vec<String> = Vec::new(), Allowed::List(Item::Domain);
        /// Their name servers; what is seen first is learned if there are none.
        name_servers: Vec<String> = Vec::new(), Allowed::List(Item::Domain);
        /// Networks that addresses below these zones lie in; any if there are none.
        addresses: Vec<String> = Vec::new(), Allowed::List(Item::Network);
        /// Seconds from the first answer for which name servers, their TTL and servers with authority are learned.
        learn_s: u64 = 86_400, integer(0, 31_536_000);
        /// Times by which the TTL of the name servers has to fall or rise.
        ttl_factor: u64 = 4, integer(2, 1000);
    }

    /// Detector dns-brand: look-ups of registered names that look like one's own.
    brand: Brand {
        /// Names to protect, as the label that is registered. None: the detector is off.
        names: Vec<String> = Vec::new(), Allowed::List(Item::Word("names of at least four letters or digits, without dots"));
        /// Registered domains that are one's own, or known to be harmless.
        domains: Vec<String> = Vec::new(), Allowed::List(Item::Domain);
        /// Zones remembered as compared; the one compared longest ago goes first.
        max_keys: u64 = 4096, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-amplification: large answers to a spoofed address, and open resolvers.
    amplification: Amplification {
        /// Equal questions of one client within the window that make a finding, if the answers are large.
        queries: u64 = 100, integer(4, 1 << 20);
        /// How many times the bytes of the questions the answers have.
        ratio: u64 = 10, integer(2, 1000);
        /// Outside networks (/16) whose clients a server of the inside resolves for, that make it an open resolver.
        outside_networks: u64 = 4, integer(1, 48);
        /// Length of the window, seconds; MITRE's TimeWindow.
        window_s: u64 = 60, integer(1, 3600);
        /// Clients remembered; the one that repeats itself least goes first.
        max_keys: u64 = 2048, integer(16, 1 << 24), restart: TABLE => sized;
    }

    /// Detector dns-poisoning: answers forged in the server's place.
    poisoning: Poisoning {
        /// Answers to an open question that match no query, that make a finding.
        wrong_answers: u64 = 16, integer(2, 65_536);
        /// Seconds after the query in which they count.
        window_s: u64 = 10, integer(1, 60);
    }

    /// Folding into look-ups, who asked, and what a finding keeps.
    pipeline: Stages {
        /// Two records of one message within this many milliseconds are one, seen at two hooks.
        duplicate_ms: u64 = 2000, integer(0, 60_000);
        /// A name asked again within this many milliseconds is the same look-up.
        lookup_ms: u64 = 2000, integer(0, 60_000), restart: PROGRAMS;
        /// Recent queries remembered; the oldest goes first.
        max_recent: u64 = 16_384, integer(16, 1 << 24), restart: TABLE => sized;
        /// Processes remembered; ended ones go first, then the one not seen for longest.
        max_processes: u64 = 8192, integer(16, 1 << 22), restart: TABLE => sized;
        /// Seconds from which on a program counts as the origin of what it starts: a client is told apart by it.
        long_lived_s: u64 = 60, integer(1, 86_400), restart: "clients are told apart by it";
        /// Process ids listed in a finding.
        max_pids: u64 = 16, integer(1, 1024), restart: TABLE;
        /// Findings open at once; the one quiet for longest is closed first.
        max_open: u64 = 1024, integer(1, 1 << 20), restart: TABLE => sized;
        /// Threads that clients are shared out over, beside the one that reads; 1: that one does all. Their tables hold what one's would together, and what is found is the same; not with a store.
        threads: u64 = 1, integer(1, crate::pipeline::MAX_THREADS as u64), restart: "threads are started at the start";
        /// Sample names in a finding: of the first that were new.
        max_samples: u64 = 3, integer(0, crate::ledger::SHOWN as u64);
    }

    /// DNS over TCP, put together from segments.
    reassembly: Reassembly {
        /// Connections followed at once; beyond that the one idle longest is given up.
        connections: u64 = 4096, integer(1, 1 << 20);
        /// Bytes kept per connection and direction while a message is incomplete.
        bytes_per_direction: u64 = 131_072, integer(4096, 1 << 20);
        /// Bytes kept over all connections.
        bytes: u64 = 8_388_608, integer(65_536, 1 << 32);
        /// Seconds without a segment after which a connection is forgotten.
        idle_s: u64 = 120, integer(1, 86_400);
        /// Milliseconds that a missing segment is waited for once later ones are there.
        gap_ms: u64 = 1000, integer(1, 60_000);
    }

    /// The running sensor: rings, maps, control socket.
    live: Live {
        /// Ring for records that matter most to detection, KiB; a power of two.
        alert_ring_kib: u64 = 1024, Allowed::PowerOfTwo { min: 64, max: 1 << 20 }, restart: MAP;
        /// Ring for all other records, KiB; a power of two.
        bulk_ring_kib: u64 = 4096, Allowed::PowerOfTwo { min: 64, max: 1 << 20 }, restart: MAP;
        /// Entries of the kernel's flow map, in sets of 16; where a set is full the least recently used of it goes first.
        flow_entries: u64 = 16_384, integer(64, 1 << 22), restart: MAP;
        /// How to learn who asked; `auto` takes what sees most, then what costs least (`earthdog doctor` tells).
        owner_source: OwnerSource = OwnerSource::Auto, Allowed::OneOf(OwnerSource::NAMES), restart: "hooks are attached at the start";
        /// Entries of the kernel's map of senders; the least recently used goes first.
        owner_entries: u64 = 8192, integer(64, 1 << 22), restart: MAP;
        /// Milliseconds between two drains of the rings, at most: the more comes, the sooner the next.
        drain_interval_ms: u64 = 20, integer(1, 1000);
        /// Niceness (setpriority(2)) of the sensor: the higher, the less it gets of a processor that others want as well, and the sooner it loses records there; 0: as it was started. It is never made less nice than that. Cgroups with a CPU controller share by their own weights instead.
        nice: u64 = 0, integer(0, 19), restart: "threads inherit it from the start on";
        /// Whether hooks and counters stay in the kernel when the sensor ends, however it ends: the next start takes them over without a packet unseen (Linux 5.9 and later; tcx 6.6). Until then they go on, and `earthdog doctor --clean` takes them off.
        pin: bool = false, Allowed::Boolean, restart: MAP;
        /// Folder of a bpffs for that.
        pin_path: String = "/sys/fs/bpf/earthdog".into(), Allowed::Text("an absolute path"), restart: MAP;
        /// Whether an interface may be named that is not there yet: it is watched as soon as it comes. Otherwise the start is refused.
        wait_for_interfaces: bool = false, Allowed::Boolean, restart: "interfaces are chosen at the start";
        /// Whether a process of its own keeps the rights to attach and to read /proc of others, and the one that reads packets gives up all of them, with Landlock and seccomp as far as the kernel has them; `auto`: where that is possible, `on`: or the start is refused.
        split: Split = Split::Auto, Allowed::OneOf(Split::NAMES), restart: "rights are given up at the start";
        /// Where a running sensor answers.
        control_socket: String = "/run/earthdog/control.sock".into(), Allowed::Text("an absolute path"), restart: "the socket is made at the start";
    }

    /// Metrics for Prometheus, and whether the sensor is well: `/metrics`, `/healthz`, `/readyz` over HTTP.
    metrics: Metrics {
        /// Where they are told; to this host alone, since names of owners, programs and sinks are among them.
        listen: String = String::new(), Allowed::Listen, restart: "the endpoint is opened at the start";
    }

    /// The novelty filter: exact repeats of a query within one look-up, and equal responses to them, are counted in the kernel and not copied out. Off where `output.messages` or a sink takes every message.
    novelty: Novelty {
        /// Whether a running sensor has it; `auto`: as a gateway, where repeats of many clients pass. On a host it would cost each query more than the few repeats save.
        filter: NoveltyFilter = NoveltyFilter::Auto, Allowed::OneOf(NoveltyFilter::NAMES), restart: PROGRAMS;
        /// Whether a replay has it, to try it on recorded traffic.
        in_replay: bool = false, Allowed::Boolean;
        /// Fingerprints remembered in each of its two tables, 20 bytes each; the oldest of a set of eight goes first.
        entries: u64 = 32_768, integer(64, 1 << 24), restart: MAP;
        /// Of so many repeats of a query within a look-up one passes all the same and tells how many did not; 0 for none.
        sample: u64 = 64, integer(0, 1 << 30), restart: PROGRAMS;
    }

    /// What the sensor may cost. Over it for long enough, it does less, a step at a time, and says so in findings: it samples repeats in the kernel, then skips answers without payload to names that were just answered, then keeps to counters and findings and reads no faster than the budget allows. No step hides a new name, and each is undone when the load falls.
    limits: Limits {
        /// Share of one core that process and kernel programs may take together; 0 for no limit.
        cpu_share: f64 = 0.5, Allowed::Number { min: 0.0, max: 64.0 };
        /// The same in the role of a gateway, whose work it is.
        gateway_cpu_share: f64 = 1.0, Allowed::Number { min: 0.0, max: 64.0 };
        /// Resident memory and kernel maps together, MiB; 0 for no limit. Every table full, the defaults come to about 400. With less, all tables are made smaller at the start, so that they keep to it.
        memory_mib: u64 = 512, integer(0, 1 << 20);
        /// Seconds over a limit, less those below it, after which the next step is taken.
        after_s: u64 = 10, integer(1, 3600);
        /// Seconds below four fifths of each limit, with what the last step spares, after which that step is undone. One that comes back soon stays for twice as long, up to sixteen times.
        calm_s: u64 = 30, integer(1, 86_400);
        /// Whether the sensor takes itself off its hooks when the last step is not enough. Then it sees nothing until it is started again.
        detach: bool = false, Allowed::Boolean;
        /// Once there is a file of this name, the sensor takes itself off its hooks within a second; it goes on when it is started again without the file.
        kill_switch: String = "/run/earthdog/off".into(), Allowed::Text("an absolute path, or \"\" for none");
    }

    /// Staged rollout: one configuration on a whole fleet, in force on a share of its hosts that grows.
    rollout: Rollout {
        /// Percentage of hosts that the sensor works on. Each has its place from 0 to 100, made of /etc/machine-id; those below this take part. `earthdog doctor` tells the place.
        percent: f64 = 100.0, Allowed::Number { min: 0.0, max: 100.0 };
        /// What the other hosts do: attach nothing and wait for a reload that lets them in, or have findings alert nobody.
        others: Others = Others::Idle, Allowed::OneOf(Others::NAMES);
        /// Another text gives another order, so that it is not always the same hosts that go first.
        salt: String = String::new(), Allowed::Text("any text");
    }

    /// What is printed.
    output: Output {
        /// Form of the findings on standard output; other places are `[[sink]]`s.
        format: OutputFormat = OutputFormat::Human, Allowed::OneOf(OutputFormat::NAMES), restart: OPENED;
        /// Least severity of the findings on standard output.
        least: Least = Least::Low, Allowed::OneOf(Least::NAMES);
        /// Whether findings alert nobody, here or at a sink, and are made, counted and kept all the same: for the first days on a host. `earthdog alerts --burn-in` sums them up.
        observe: bool = false, Allowed::Boolean;
        /// File that gets every decoded DNS message as a line of JSON: who sent it, and which look-up it is part of. A running sensor appends to it, a replay begins it anew.
        messages: String = String::new(), Allowed::Text("a path, or \"\" for no such file"), restart: OPENED;
        /// Version of the OCSF schema that records in that form keep to.
        ocsf_version("ocsf.version"): OcsfVersion = OcsfVersion::V1_1, Allowed::OneOf(OcsfVersion::NAMES), restart: OPENED;
    }

    /// What is remembered from one day to the next, and for how long.
    store: Store {
        /// The file. A replay reads it if this names another than the default, and never writes it.
        path: String = "/var/lib/earthdog/store.redb".into(), Allowed::Text("an absolute path, or \"\" for no store"), restart: STORE;
        /// Size of the file at most, MiB. It grows by doubling, so that it may have to stay at half of that.
        max_mib: u64 = 64, integer(8, 65_536), restart: STORE;
        /// Zones remembered: when they were seen first, by how many clients, how they were answered. The one not seen for longest goes first; so below.
        max_zones: u64 = 32_768, integer(16, 1 << 24), restart: STORE => sized;
        /// Names remembered, of those that were answered with data.
        max_names: u64 = 16_384, integer(16, 1 << 24), restart: STORE => sized;
        /// Client and zone pairs remembered: since when, and how much new information a day.
        max_pairs: u64 = 32_768, integer(16, 1 << 24), restart: STORE => sized;
        /// Clients whose habits are remembered.
        max_clients: u64 = 2048, integer(16, 1 << 22), restart: STORE => sized;
        /// State changes of findings kept; the oldest goes first.
        max_findings: u64 = 4096, integer(16, 1 << 24), restart: STORE;
        /// Days of watching after which the history counts as evidence.
        burn_in_days: u64 = 7, integer(0, 365), restart: STORE;
        /// Days after which a zone that was not seen again is forgotten.
        retention_days_zones: u64 = 365, integer(1, 36_500), restart: STORE;
        /// The same for a name.
        retention_days_names: u64 = 90, integer(1, 36_500), restart: STORE;
        /// The same for a client, and for what it asked.
        retention_days_clients: u64 = 30, integer(1, 36_500), restart: STORE;
        /// Days after which a finding is removed.
        retention_days_findings: u64 = 365, integer(1, 36_500), restart: STORE;
    }

    /// What of a process may be told.
    privacy: Privacy {
        /// Command lines in findings: not at all, with what looks like a secret masked, or as they are.
        cmdline: Cmdline = Cmdline::Masked, Allowed::OneOf(Cmdline::NAMES);
        /// Bytes of a command line kept in a finding.
        cmdline_max: u64 = 512, integer(16, 4096);
    }
}

/// Keys that went, by section, and what is used now.
pub const RENAMED: &[(&str, &str, &str)] = &[
    ("ledger", "window_s", "its windows are fixed; each has a bound of its own, such as `bound_10min_bytes`"),
    ("ledger", "bound_bytes", "it is now `bound_10min_bytes`, beside bounds for a minute, an hour and a day"),
    (
        "ledger",
        "address_bound_bytes",
        "it is now `form_bound_10min_bytes`, beside bounds for a minute, an hour and a day",
    ),
];

super::value::choice! {
    /// Where the process behind a query comes from.
    OwnerSource {
        Auto = "auto",
        CurrentTask = "current_task",
        Fentry = "fentry",
        Kprobe = "kprobe",
        SockAddr = "sock_addr",
    }
}

super::value::choice! {
    /// Whether rights are kept apart.
    Split { Auto = "auto", On = "on", Off = "off" }
}

super::value::choice! {
    /// Where the novelty filter works.
    NoveltyFilter { Auto = "auto", On = "on", Off = "off" }
}

super::value::choice! {
    /// What hosts do that do not take part in a rollout.
    Others { Idle = "idle", Observe = "observe" }
}

super::value::choice! {
    /// Form of a finding.
    OutputFormat { Json = "json", Human = "human", Ocsf = "ocsf", Ecs = "ecs", None = "none" }
}

super::value::choice! {
    /// The least severity that is passed on.
    Least { Low = "low", Medium = "medium", High = "high", Critical = "critical" }
}

impl From<Least> for Severity {
    fn from(least: Least) -> Self {
        match least {
            Least::Low => Self::Low,
            Least::Medium => Self::Medium,
            Least::High => Self::High,
            Least::Critical => Self::Critical,
        }
    }
}

super::value::choice! {
    /// A version of the OCSF schema.
    OcsfVersion {
        V1_1 = "1.1.0",
        V1_2 = "1.2.0",
        V1_3 = "1.3.0",
        V1_4 = "1.4.0",
        V1_5 = "1.5.0",
        V1_6 = "1.6.0",
        V1_7 = "1.7.0",
        V1_8 = "1.8.0",
    }
}

super::value::choice! {
    /// How much of a command line a finding shows.
    Cmdline { Off = "off", Masked = "masked", Full = "full" }
}
