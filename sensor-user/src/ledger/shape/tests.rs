use super::*;
use crate::dns::Canonical;
use crate::model::{History, static_cost_of};

/// splitmix64: test data only.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 31
}

fn text(state: &mut u64, alphabet: &[u8], len: usize) -> String {
    (0..len).map(|_| char::from(alphabet[random(state) as usize % alphabet.len()])).collect()
}

const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const ALPHABETS: &[(Encoding, &[u8])] = &[
    (Encoding::Hex, b"0123456789abcdef"),
    (Encoding::Base32, BASE32),
    (Encoding::Base32Hex, b"0123456789abcdefghijklmnopqrstuv"),
    (Encoding::Base36, b"0123456789abcdefghijklmnopqrstuvwxyz"),
    (Encoding::Base58, b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"),
    (Encoding::Base64Url, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
    (Encoding::Custom, b"cdghmnprstwxyz45"),
];

/// What a history-free reader makes of names one after the other.
fn shape(names: &[String]) -> Shape {
    let mut shape = Shape::default();
    for name in names {
        let name = Canonical::from_text(name);
        shape.name(name.wire(), name.wire().len() - name.labels());
        static_cost_of(name.wire(), &mut shape.listen());
    }
    shape
}

/// The same behind a history.
fn learned(names: &[String]) -> Shape {
    let mut shape = Shape::default();
    let mut history = History::default();
    for name in names {
        history.learn(Canonical::from_text(name).wire(), &mut shape.listen());
    }
    shape
}

#[test]
fn encodings_are_told_apart() {
    for (encoding, alphabet) in ALPHABETS {
        for seed in 0..20 {
            let mut state = seed;
            let names: Vec<String> = (0..40).map(|_| text(&mut state, alphabet, 30)).collect();
            for found in [shape(&names).recognised(), learned(&names).recognised()] {
                assert!(found.strength >= 1.0, "{encoding:?} {seed}: {found:?}");
                assert_eq!(found.encoding, *encoding, "{seed}");
            }
        }
    }
}

#[test]
fn ten_characters_are_a_hint_and_eighty_are_clear() {
    for (encoding, alphabet) in &ALPHABETS[..4] {
        let mut sums = [0.0; 2];
        for seed in 0..100 {
            for (sum, len) in sums.iter_mut().zip([10, 80]) {
                let mut state = seed;
                let name = text(&mut state, alphabet, len);
                let (a, b) = name.split_at(name.len() / 2);
                *sum += shape(&[format!("{a}.{b}")]).recognised().strength / 100.0;
            }
        }
        eprintln!("{encoding:?}: strength {:.2} after ten characters, {:.2} after eighty", sums[0], sums[1]);
        assert!(sums[0] < 0.75 && sums[1] >= 1.0, "{encoding:?} {sums:?}");
    }
}

#[test]
fn host_names_are_no_encoding() {
    let rows: Vec<(&str, Vec<String>)> = vec![
        (
            "services",
            [
                "www",
                "mail",
                "api.prod",
                "static",
                "images",
                "login",
                "edge-star-shv-01",
                "safebrowsing",
                "update",
                "fe2cr",
                "settings-win.data",
                "clientservices",
                "kubernetes-dashboard-metrics-scraper",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        ("numbers", (0..200).map(|n| format!("client{}", n * 7919 % 1000)).collect()),
        (
            "addresses",
            (0..200).map(|n| format!("ec2-{}-{}-17-3.compute", n * 31 % 256, n * 77 % 256)).collect(),
        ),
        (
            "locators",
            ["_ldap._tcp.dc._msdcs", "_kerberos._tcp.dc._msdcs", "_gc._tcp", "_kpasswd._udp", "_sip._tls"]
                .map(str::to_owned)
                .to_vec(),
        ),
    ];
    for (row, names) in rows {
        let found = learned(&names).recognised();
        assert!(found.strength < 0.5, "{row}: {found:?}");
    }
}

/// A tunnel's constant characters say nothing; the few that vary do.
#[test]
fn what_stays_the_same_does_not_count() {
    let mut state = 5;
    let names: Vec<String> = (0..60)
        .map(|n| format!("{}01a2f3000{:03x}dd7be1", text(&mut state, b"0123456789abcdef", 4), 0x800 + n))
        .collect();
    let found = learned(&names).recognised();
    assert!(found.strength >= 1.0 && found.encoding == Encoding::Hex, "{found:?}");
}

#[test]
fn lengths_and_counters() {
    let names: Vec<String> = (0..50).map(|n| format!("{n}.{}", "x".repeat(40 + n % 2))).collect();
    let shape = shape(&names);
    let (mean, variance) = shape.length();
    assert!((41.0..43.0).contains(&mean) && variance < 2.0, "{mean} {variance}");
    assert!(shape.fixed_share() > 0.9 && shape.counted_share() > 0.9);
    let varied: Vec<String> = (0..50).map(|n| "x".repeat(1 + n * 17 % 60)).collect();
    let shape = self::shape(&varied);
    assert!(shape.fixed_share() < 0.3 && shape.counted_share() == 0.0 && shape.length().1 > 100.0);
}
