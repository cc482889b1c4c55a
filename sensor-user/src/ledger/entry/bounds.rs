//! Bounds hold whatever is sent: payload made by chance, of which it is known how much it says.

use proptest::prelude::*;

use super::*;
use crate::dns::Canonical;

/// splitmix64: test data only.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn ask(entry: &mut Entry, name: &str, now_ns: u64) {
    let name = Canonical::from_text(name);
    let hash = name.wire().iter().fold(7u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let said =
        Name { sub: name.wire(), hash, upper: name.upper, letters: name.letters, extra_bytes: 0, told: None };
    entry.query(said, Charge::Full, false, now_ns);
}

const ALPHABETS: [&[u8]; 7] = [
    b"0123456789",
    b"0123456789abcdef",
    b"abcdefghijklmnopqrstuvwxyz234567",
    b"0123456789abcdefghijklmnopqrstuvwxyz",
    b"etaoinshrdlucmfw",
    b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
];

/// Case patterns say about 0.8 of a bit of each letter, which counts on the upper side only.
fn is_mixed(alphabet: &[u8]) -> bool {
    alphabet.iter().any(u8::is_ascii_uppercase)
}

fn entry() -> Entry {
    Entry::new(Key { client: 1, zone: 1 }, Class::Registered, b"", 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Entropy is exact here: each character is one of an alphabet by free choice. The upper bound holds without any
    /// slack; the lower bound is of what a name says apart from its case, and no more than alphabets and lengths cost.
    #[test]
    fn random_payload_is_between_the_bounds(seed: u64, which in 0..ALPHABETS.len(), len in 4usize..60, labels in 1usize..4) {
        let alphabet = ALPHABETS[which];
        let mut entry = entry();
        let mut state = seed;
        let mut bits = 0.0;
        let names = 60;
        for n in 0..names {
            let name: Vec<String> = (0..labels)
                .map(|_| (0..len).map(|_| char::from(alphabet[random(&mut state) as usize % alphabet.len()])).collect())
                .collect();
            bits += (len * labels) as f64 * (alphabet.len() as f64).log2();
            ask(&mut entry, &name.join("."), n * 1_000_000_000);
        }
        let high = entry.totals.up_high as f64 / f64::from(UNIT);
        let low = entry.totals.up_low as f64 / f64::from(UNIT);
        prop_assert!(high >= bits, "{high} < {bits}");
        let lengths = (names as usize * labels * 9) as f64;
        prop_assert!(low <= bits * 1.35 + lengths, "{low} > {bits}");
        // Three standard deviations of so many names' spelling costs, and what short names have of their history.
        if !is_mixed(alphabet) && len * labels >= 12 {
            prop_assert!(low >= bits * 0.9 - 3.0 * bits.sqrt(), "{low} < {bits}");
        }
    }

    /// A code book: which of so many known names is asked for.
    #[test]
    fn code_books_are_below_the_upper_bound(seed: u64, words in 2u64..600, asked in 50u64..600) {
        let mut entry = entry();
        let mut state = seed;
        for n in 0..asked {
            ask(&mut entry, &format!("word{}", random(&mut state) % words), n * 1_000_000_000);
        }
        let bits = asked as f64 * (words as f64).log2();
        prop_assert!(entry.totals.up_high as f64 / f64::from(UNIT) >= bits);
    }

    /// Sub-names of any bytes, at any time: nothing overflows, and the bounds stay in order.
    #[test]
    fn any_names_keep_the_bounds_in_order(names in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..63), any::<u64>()), 0..60)) {
        let mut entry = entry();
        for (label, now_ns) in names {
            let name = Canonical::from_labels([label.as_slice()].into_iter());
            let said = Name { sub: name.wire(), hash: now_ns, upper: 0, letters: 0, extra_bytes: 0, told: None };
            entry.query(said, Charge::Full, false, now_ns);
            prop_assert!(entry.totals.up_low <= entry.totals.up_high);
            let standing = entry.standing(&crate::ledger::Settings::default().bounds());
            prop_assert!(standing.weight() >= 0.0);
            let shape = entry.shape();
            prop_assert!((0.0..=1.0).contains(&shape.fixed_share()) && (0.0..=1.0).contains(&entry.once_share()));
        }
    }
}

/// What names alone may have said, ids and types beside them left out, in bits.
fn high_of_names(entry: &Entry) -> f64 {
    let beside = entry.queries * (ID_BITS + QTYPE_BITS);
    entry.totals.up_high as f64 / f64::from(UNIT) - beside as f64
}

/// Over seeds, the mean of what is `bounded` less what was said is not below 0 but by chance: three standard errors.
fn holds(what: &str, seeds: u64, bounded: impl Fn(&mut u64) -> (f64, f64)) {
    let over: Vec<f64> = (0..seeds)
        .map(|seed| {
            let (bounded, said) = bounded(&mut random(&mut (seed * 977)));
            bounded - said
        })
        .collect();
    let mean = over.iter().sum::<f64>() / seeds as f64;
    let variance = over.iter().map(|over| (over - mean).powi(2)).sum::<f64>() / (seeds - 1) as f64;
    let error = (variance / seeds as f64).sqrt();
    assert!(mean >= -3.0 * error, "{what}: {mean:.1} bits on average, standard error {error:.1}");
}

/// Random text in any alphabet: more names than are remembered, so that what the set of known names forgets or takes for
/// another is part of it.
#[test]
fn the_upper_bound_of_names_holds_on_average() {
    for alphabet in ALPHABETS {
        let bits = (alphabet.len() as f64).log2();
        for (names, len) in [(5, 40), (40, 12), (600, 4)] {
            holds(&format!("{} characters, {names} x {len}", alphabet.len()), 40, |state| {
                let mut entry = entry();
                for n in 0..names {
                    let of = |_| char::from(alphabet[random(state) as usize % alphabet.len()]);
                    ask(&mut entry, &(0..len).map(of).collect::<String>(), n * 1_000_000_000);
                }
                // Case is charged beside the name, one bit for each letter.
                (high_of_names(&entry), (names * len) as f64 * bits)
            });
        }
    }
}

/// The lower bound is what names are reported to say at least: on average it leaves out no more than a tenth of what was
/// said, nor says more than spelling it in host names' characters costs.
#[test]
fn the_lower_bound_is_near_what_was_said() {
    for alphabet in ALPHABETS.into_iter().filter(|alphabet| !is_mixed(alphabet)) {
        let bits = 40.0 * 24.0 * (alphabet.len() as f64).log2();
        let low = |state: &mut u64| {
            let mut entry = entry();
            for n in 0..40 {
                let of = |_| char::from(alphabet[random(state) as usize % alphabet.len()]);
                ask(&mut entry, &(0..24).map(of).collect::<String>(), n * 1_000_000_000);
            }
            entry.totals.up_low as f64 / f64::from(UNIT)
        };
        let what = format!("{} characters", alphabet.len());
        holds(&what, 40, |state| (low(state), bits * 0.9));
        holds(&what, 40, |state| (bits * 1.35 + 40.0 * 9.0, low(state)));
    }
}

/// Which of a book's names is asked for, also of one larger than what is remembered; ids and types beside it are left in,
/// since a bound of 240 names says nothing of the 600.
#[test]
fn the_upper_bound_of_code_books_holds_on_average() {
    for words in [2_u64, 16, 200, 600, 5000] {
        holds(&format!("{words} words"), 20, |state| {
            let mut entry = entry();
            for n in 0..1500 {
                ask(&mut entry, &format!("word{}", random(state) % words), n * 1_000_000_000);
            }
            (entry.totals.up_high as f64 / f64::from(UNIT), 1500.0 * (words as f64).log2())
        });
    }
}

/// A million keys at 4 KiB, each as full as it gets: `cargo test --release -p sensor-user --lib million_keys -- --ignored
/// --nocapture`. Takes some 4 GB.
#[test]
#[ignore = "takes 4 GB"]
fn a_million_keys_take_at_most_four_kib_each() {
    let settings = crate::ledger::Settings { max_keys: 1 << 20, ..crate::ledger::Settings::default() };
    let mut ledger = crate::ledger::Ledger::new(settings);
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    let mut state = 1;
    for client in 0..1u64 << 20 {
        let key = Key { client, zone: client };
        let entry = ledger.open(key, Class::Registered, b"\x07example\x03com", 0, &mut |_| {});
        for n in 0..120 {
            let text = format!("{:016x}{:016x}.{n}", random(&mut state), random(&mut state));
            let name = Canonical::from_text(&text);
            let said = Name {
                sub: name.wire(),
                hash: random(&mut state),
                upper: 0,
                letters: 0,
                extra_bytes: 0,
                told: None,
            };
            entry.query(said, Charge::Full, false, 0);
            let answer =
                Answer { hash: random(&mut state), low: 8, high: 8, is_verdict: false, ..Answer::default() };
            entry.response(answer, false, 0);
        }
    }
    let each = (resident() - before) / ledger.len();
    eprintln!("{} keys, {each} bytes each", ledger.len());
    assert!(each <= crate::ledger::ENTRY_MAX, "{each}");
}
