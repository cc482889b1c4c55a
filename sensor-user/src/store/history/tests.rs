use super::*;
use crate::attribute::Clients;
use crate::dns::Canonical;
use crate::zone::Zone;

const DAY: u64 = DAY_NS;
/// A day like others.
const START: u64 = 20_000 * DAY + 5 * 3_600_000_000_000;

/// A history with a clock and clients, told what a pipeline would tell it.
struct Told {
    history: History,
    clients: Clients,
    now_ns: u64,
}

impl Told {
    fn new(settings: Settings) -> Self {
        Self { history: History::new(settings, 7), clients: Clients::new(1 << 20, 1), now_ns: START }
    }

    fn client(&mut self, ip: [u8; 4]) -> Client {
        let ip = IpAddr::from(ip);
        self.clients
            .note(u64::from(u32::from_be_bytes(ip_bytes(ip))), || Identity::Address(ip), ip, 0)
            .clone()
    }

    fn ask(&mut self, ip: [u8; 4], name: &str, new_bytes: u64) -> u64 {
        let client = self.client(ip);
        let name = Canonical::from_text(name);
        let zone = Zone::of(&name);
        let key = self.history.zone_key(name.suffix(zone.labels), zone.class);
        self.history.asked(&Asked {
            client: &client,
            zone: key,
            wire: name.suffix(zone.labels),
            class: zone.class,
            qtype: rtype::A,
            lookup: true,
            closest: true,
            new_units: new_bytes * 8 * u64::from(UNIT),
            now_ns: self.now_ns,
        });
        key
    }

    /// An answer with one address, or NXDOMAIN.
    fn answer(&mut self, ip: [u8; 4], name: &str, address: Option<[u8; 4]>) {
        let client = self.client(ip).stable_hash;
        let name = Canonical::from_text(name);
        let zone = Zone::of(&name);
        let mut bytes = vec![0, 1, 0x81, if address.is_some() { 0 } else { 3 }, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(name.wire());
        bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
        if let Some(address) = address {
            bytes[7] = 1;
            bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
            bytes.extend_from_slice(&address);
        }
        let message = Message::parse(&bytes, bytes.len());
        let zone = self.history.zone_key(name.suffix(zone.labels), zone.class);
        self.history.answered(&Answered {
            clients: [Some(client), None],
            zone,
            name: (self.history.name_key(name.wire()), name.wire()),
            message: &message,
            now_ns: self.now_ns,
        });
    }
}

fn ip_bytes(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

/// What a file holds that took every delta.
#[derive(Default)]
struct File {
    tables: [std::collections::BTreeMap<Vec<u8>, Vec<u8>>; KINDS.len()],
    meta: Meta,
}

impl File {
    fn take(&mut self, delta: Delta) {
        self.meta = delta.meta;
        for (table, changes) in self.tables.iter_mut().zip(delta.tables) {
            if changes.anew {
                table.clear();
            }
            for key in changes.removed {
                table.remove(&key);
            }
            table.extend(changes.put);
        }
    }

    fn take_all(&mut self, history: &mut History) {
        while let Some(delta) = history.changes() {
            self.take(delta);
        }
    }

    fn loaded(&self) -> Loaded {
        fn rows<T: serde::de::DeserializeOwned>(
            table: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
        ) -> Vec<(T, usize)> {
            let row = |(key, value): (&Vec<u8>, &Vec<u8>)| {
                (postcard::from_bytes(value).unwrap(), key.len() + value.len())
            };
            table.iter().map(row).collect()
        }
        let [zones, names, pairs, clients] = &self.tables;
        Loaded {
            zones: rows(zones),
            names: rows(names),
            pairs: rows(pairs),
            clients: rows(clients),
            meta: self.meta,
        }
    }
}

#[test]
fn the_first_look_up_dates_a_zone_and_later_ones_do_not() {
    let mut told = Told::new(Settings::default());
    let zone = told.ask(A, "www.example.com", 3);
    told.now_ns += 3 * DAY;
    assert_eq!(told.ask(B, "mail.example.com", 3), zone);
    let Told { history, now_ns, .. } = &told;
    assert_eq!(history.zone_first_seen(zone), Some(START));
    assert_eq!(history.prevalence(zone), 2);
    assert!(!history.is_new(zone, *now_ns) && history.is_new(zone, START + DAY - 1));
    let other = history.zone_key(b"\x05other\x03com", Class::Registered);
    assert_eq!((history.zone_first_seen(other), history.prevalence(other)), (None, 0));
    assert!(history.is_new(other, *now_ns));
}

#[test]
fn a_zone_is_new_for_each_client_by_itself() {
    let mut told = Told::new(Settings::default());
    let zone = told.ask(A, "www.example.com", 3);
    told.now_ns += 3 * DAY;
    told.ask(B, "www.example.com", 3);
    let [a, b] = [A, B].map(|ip| told.client(ip).stable_hash);
    assert!(!told.history.is_new_for(a, zone, told.now_ns) && told.history.is_new_for(b, zone, told.now_ns));
    assert!(told.history.baseline(b, 1, told.now_ns).is_none());
}

#[test]
fn a_baseline_has_new_bytes_by_day() {
    let mut told = Told::new(Settings::default());
    let mut zone = 0;
    for bytes in [100, 0, 300] {
        zone = told.ask(A, "x.example.com", bytes);
        told.ask(A, "y.example.com", bytes);
        told.now_ns += DAY;
    }
    let a = told.client(A).stable_hash;
    let baseline = told.history.baseline(a, zone, told.now_ns).unwrap();
    assert_eq!(baseline.new_bytes[..5], [0, 600, 0, 200, 0]);
    assert_eq!((baseline.lookups, baseline.first_seen_ns), (6, START));
    let days = told.history.client_days(a, told.now_ns).unwrap();
    assert_eq!((days[1].lookups, days[1].zones, days[1].types), (2, 1, [2, 0, 0, 0]));
}

#[test]
fn twins_add_information_but_no_look_up() {
    let mut told = Told::new(Settings::default());
    let zone = told.ask(A, "x.example.com", 1);
    let client = told.client(A);
    told.history.asked(&Asked {
        client: &client,
        zone,
        wire: b"",
        class: Class::Registered,
        qtype: rtype::AAAA,
        lookup: false,
        closest: true,
        new_units: 16 * u64::from(UNIT),
        now_ns: told.now_ns,
    });
    let baseline = told.history.baseline(client.stable_hash, zone, told.now_ns).unwrap();
    assert_eq!((baseline.lookups, baseline.new_bytes[0]), (1, 3));
    assert_eq!(told.history.zone(zone).unwrap().lookups, 1);
}

#[test]
fn it_counts_after_so_many_days_of_watching() {
    let mut told = Told::new(Settings::default());
    assert!(!told.history.burn_in_over(START), "nothing was seen");
    for _ in 0..7 {
        told.ask(A, "x.example.com", 1);
        assert!(!told.history.burn_in_over(told.now_ns));
        told.now_ns += DAY;
    }
    assert!(told.history.burn_in_over(told.now_ns));
    // A sensor that was off for a month has not watched.
    let mut told = Told::new(Settings::default());
    told.ask(A, "x.example.com", 1);
    told.now_ns += 30 * DAY;
    told.ask(A, "x.example.com", 1);
    assert!(!told.history.burn_in_over(told.now_ns));
    let none = History::new(Settings { burn_in_days: 0, ..Settings::default() }, 7);
    assert!(none.burn_in_over(START));
}

#[test]
fn a_history_that_forgot_lasting_zones_does_not_reach_back() {
    let mut told = Told::new(Settings { max: [8, 8, 8, 8], burn_in_days: 1, ..Settings::default() });
    for round in 0..3 {
        for zone in 0..4 {
            told.ask(A, &format!("x.zone{zone}.com"), 1);
        }
        told.now_ns += DAY;
        assert!(told.history.burn_in_over(told.now_ns), "round {round}");
    }
    for zone in 10..30 {
        told.ask(A, &format!("x.zone{zone}.com"), 1);
    }
    assert!(told.history.burn_in_over(told.now_ns), "zones that are seen once push out each other");
    for zone in 10..30 {
        told.ask(A, &format!("x.zone{zone}.com"), 1);
        told.now_ns += DAY / 12;
        told.ask(A, &format!("x.zone{zone}.com"), 1);
    }
    assert!(told.history.reaches_back_to(told.now_ns) > START);
    assert!(!told.history.burn_in_over(told.now_ns));
}

#[test]
fn answers_are_remembered_by_zone_and_name() {
    let mut told = Told::new(Settings::default());
    let zone = told.ask(A, "www.example.com", 1);
    told.answer(A, "www.example.com", Some([192, 0, 2, 7]));
    told.answer(A, "gone.example.com", None);
    // A zone that nobody asked for is not made by an answer.
    told.answer(A, "www.example.org", Some([192, 0, 2, 8]));
    let record = told.history.zone(zone).unwrap();
    assert_eq!(record.answers.rcodes, [1, 1, 0, 0]);
    assert_eq!(record.answers.ttl.unwrap().last[0], 300);
    assert_eq!(record.answers.addresses, [IpAddr::from([192, 0, 2, 7])]);
    assert_eq!(told.history.names.len(), 1, "names that do not exist are not remembered");
    let a = told.client(A).stable_hash;
    let today = told.history.client_days(a, told.now_ns).unwrap()[0];
    assert_eq!((today.responses, today.nxdomain), (3, 2 - 1));
}

#[test]
fn a_tunnel_takes_no_more_than_its_share_of_the_names() {
    let mut told = Told::new(Settings::default());
    told.ask(A, "x.example.com", 1);
    for n in 0..1000 {
        told.answer(A, &format!("n{n}.example.com"), Some([192, 0, 2, 7]));
    }
    assert_eq!(told.history.names.len() as u32, NAMES_A_DAY);
    assert_eq!(told.history.names_left_out, 1000 - u64::from(NAMES_A_DAY));
    told.now_ns += DAY;
    told.answer(A, "n2000.example.com", Some([192, 0, 2, 7]));
    assert_eq!(told.history.names.len() as u32, NAMES_A_DAY + 1);
}

#[test]
fn what_was_written_is_known_again_under_another_seed() {
    let mut told = Told::new(Settings::default());
    let mut file = File::default();
    for n in 0..100_u8 {
        told.ask([10, 0, 0, n % 20], &format!("x.zone{}.com", n % 30), u64::from(n));
        told.answer([10, 0, 0, n % 20], &format!("x.zone{}.com", n % 30), Some([192, 0, 2, n]));
        told.now_ns += DAY / 10;
        if n % 7 == 0 {
            file.take_all(&mut told.history);
        }
    }
    file.take_all(&mut told.history);
    assert!(told.history.changes().is_none(), "nothing new");
    let now_ns = told.now_ns;
    let mut again = History::restore(Settings::default(), 99, file.loaded(), now_ns);
    assert!(again.changes().is_none(), "nothing that the file does not have");
    assert_eq!(again.meta(), told.history.meta());
    for n in 0..30 {
        let [old, new] = [&told.history, &again].map(|history| {
            let wire = Canonical::from_text(&format!("zone{n}.com"));
            history.zone_key(wire.wire(), Class::Registered)
        });
        assert_ne!(old, new);
        assert_eq!(told.history.zone(old).unwrap(), again.zone(new).unwrap());
        for ip in 0..20 {
            let client = told.client([10, 0, 0, ip]).stable_hash;
            assert_eq!(
                told.history.baseline(client, old, now_ns),
                again.baseline(client, new, now_ns),
                "zone {n} client {ip}"
            );
        }
    }
    // As does one from which everything was taken at once.
    told.history.write_anew();
    let mut anew = File::default();
    anew.take_all(&mut told.history);
    assert_eq!(anew.tables, file.tables);
}

#[test]
fn times_ahead_of_the_clock_count_as_now() {
    let mut told = Told::new(Settings::default());
    told.now_ns += 4000 * DAY;
    let client = told.client(A).stable_hash;
    told.ask(A, "x.example.com", 5);
    let mut file = File::default();
    file.take_all(&mut told.history);
    let mut told = Told {
        history: History::restore(Settings::default(), 7, file.loaded(), START),
        clients: told.clients,
        now_ns: START,
    };
    told.now_ns += DAY;
    let zone = told.ask(A, "x.example.com", 6);
    assert_eq!(told.history.zone_first_seen(zone), Some(START));
    let baseline = told.history.baseline(client, zone, told.now_ns).unwrap();
    assert_eq!(baseline.new_bytes[..2], [6, 5]);
    assert_eq!(told.history.meta().active_days, 2);
}

#[test]
fn retention_is_by_kind() {
    let retention_days = [100, 20, 10, 5];
    let mut told = Told::new(Settings { retention_days, ..Settings::default() });
    told.ask(A, "x.example.com", 5);
    told.answer(A, "x.example.com", Some(A));
    let kept = |told: &Told| {
        let History { zones, names, pairs, clients, .. } = &told.history;
        [zones.len(), names.len(), pairs.len(), clients.len()]
    };
    for (days, want) in
        [(4, [1, 1, 1, 1]), (6, [1, 1, 1, 0]), (11, [1, 1, 0, 0]), (21, [1, 0, 0, 0]), (101, [0; 4])]
    {
        told.history.expire(START + days * DAY);
        assert_eq!(kept(&told), want, "after {days} days");
    }
}

#[test]
fn a_reset_forgets_habits_and_keeps_the_zones() {
    let mut told = Told::new(Settings::default());
    let zone = told.ask(A, "x.example.com", 5);
    told.ask(B, "x.example.com", 5);
    let [a, b] = [A, B].map(|ip| told.client(ip).stable_hash);
    assert_eq!(told.history.reset(|record| record.client == a), 1);
    assert!(told.history.baseline(a, zone, told.now_ns).is_none());
    assert!(told.history.client_days(a, told.now_ns).is_none());
    assert!(told.history.baseline(b, zone, told.now_ns).is_some());
    assert_eq!(told.history.prevalence(zone), 2);
}

#[test]
fn a_million_random_zones_and_clients_stay_within_bounds() {
    let settings = Settings { max_bytes: [1 << 20, 1 << 20, 1 << 20, 1 << 18], ..Settings::default() };
    let mut told = Told::new(settings.clone());
    // A zone of every day, beside the flood.
    for _ in 0..3 {
        told.ask(A, "www.example.com", 1);
        told.now_ns += DAY;
    }
    told.clients = Clients::new(16, 1);
    let mut state = 1_u64;
    let mut written = 0;
    for n in 0..1_000_000_u32 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        told.now_ns += 10_000;
        told.ask(state.to_be_bytes()[..4].try_into().unwrap(), &format!("a.{:x}.com", state >> 20), 9);
        if n % 50_000 == 0 {
            written += told.history.changes().map_or(0, |delta| delta.tables[0].put.len());
        }
    }
    let History { zones, pairs, clients, .. } = &told.history;
    assert!(written > 10_000);
    for (kind, (len, bytes)) in [
        (0, (zones.len(), zones.bytes())),
        (2, (pairs.len(), pairs.bytes())),
        (3, (clients.len(), clients.bytes())),
    ] {
        assert!(len <= settings.max[kind] && bytes <= settings.max_bytes[kind], "{}", KINDS[kind]);
    }
    assert!(zones.evicted[0] > 900_000);
    let zone = told.history.zone_key(Canonical::from_text("example.com").wire(), Class::Registered);
    assert_eq!(told.history.zone_first_seen(zone), Some(START), "the flood pushed out what lasts");
}

#[test]
fn labels_are_short_and_whole() {
    let program = |name: &str| Identity::Process {
        program: bytes::Bytes::from(name.to_owned()),
        script: None,
        uid: 7,
        place: "cron.service".into(),
        anchor: None,
    };
    assert_eq!(label(&program("/usr/bin/dig")), "/usr/bin/dig (uid 7, cron.service)");
    assert!(label(&program(&"ü".repeat(500))).len() <= LABEL_MAX);
}
