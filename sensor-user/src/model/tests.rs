//! What names cost. Bounds are loose: they say which side of the ledger's bound a volume of such names falls.

use super::*;
use crate::dns::Canonical;

fn bits(cost: u32) -> f64 {
    f64::from(cost) / f64::from(UNIT)
}

fn first(name: &str) -> f64 {
    bits(static_cost(Canonical::from_text(name).wire()))
}

/// Mean cost of the last half of a list of names, once the first half is history.
fn settled(names: &[String]) -> f64 {
    let mut history = History::default();
    let costs: Vec<u32> =
        names.iter().map(|n| history.learn(Canonical::from_text(n).wire(), &mut Unheard).cost).collect();
    let half = &costs[costs.len() / 2..];
    bits(half.iter().sum::<u32>()) / half.len() as f64
}

/// xorshift64*: test data only.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

fn random_text(state: &mut u64, alphabet: &[u8], len: usize) -> String {
    (0..len).map(|_| char::from(alphabet[random(state) as usize % alphabet.len()])).collect()
}

const HEX: &[u8] = b"0123456789abcdef";
const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";

#[test]
fn usual_names_are_cheap_and_random_ones_are_not() {
    let mut state = 1;
    let rows = [
        ("www", 4.0, 12.0),
        ("mail", 8.0, 20.0),
        ("api.prod", 0.0, 34.0),
        ("kubernetes-dashboard-metrics-scraper", 60.0, 150.0),
    ];
    for (name, low, high) in rows {
        let cost = first(name);
        eprintln!("{cost:6.1} bits  {name}");
        assert!((low..high).contains(&cost), "{name}: {cost}");
    }
    for (alphabet, per_character) in [(HEX, 4.0), (BASE32, 5.0)] {
        let name = random_text(&mut state, alphabet, 40);
        let cost = first(&name) / 40.0;
        let least = bits(alphabet_cost(Canonical::from_text(&name).wire())) / 40.0;
        eprintln!("{cost:6.2} bits/character, {least:.2} by its alphabet  {name}");
        assert!((per_character..per_character + 5.0).contains(&cost), "{name}: {cost}");
        assert!((per_character..per_character + 0.3).contains(&least), "{name}: {least}");
    }
}

/// A code cannot say random names in fewer bits than they hold: the history must not claim so.
#[test]
fn history_never_undercuts_entropy() {
    for (alphabet, bits_each) in [(HEX, 4.0), (BASE32, 5.0)] {
        let mut state = 7;
        let names: Vec<String> = (0..400).map(|_| random_text(&mut state, alphabet, 32)).collect();
        let cost = settled(&names) / 32.0;
        eprintln!("{cost:6.2} bits/character of {bits_each} in random names");
        assert!(cost >= bits_each, "{cost} < {bits_each}");
    }
}

#[test]
fn numbered_and_patterned_names_cost_their_delta() {
    let mut state = 3;
    let rows: Vec<(&str, Vec<String>, f64)> = vec![
        ("client17", (0..100).map(|i| format!("client{}", i + 11)).collect(), 20.0),
        ("steam", (0..60).map(|i| format!("cache{}-lax1.steamcontent", i % 60)).collect(), 20.0),
        (
            "gvt1",
            (0..40)
                .map(|i| format!("r{}---sn-{}ne7", i % 6 + 1, random_text(&mut state, b"4abcdghnqxz567e", 5)))
                .collect(),
            70.0,
        ),
        (
            "locator",
            ["dc", "gc", "pdc", "domains"]
                .iter()
                .flat_map(|kind| {
                    ["_ldap", "_kerberos", "_gc", "_kpasswd"]
                        .map(|service| format!("{service}._tcp.site-a._sites.{kind}._msdcs"))
                })
                .collect(),
            40.0,
        ),
    ];
    for (name, names, most) in rows {
        let cost = settled(&names);
        eprintln!("{cost:6.1} bits each  {name}: {}", names[names.len() - 1]);
        assert!(cost < most, "{name}: {cost}");
    }
}

/// Whole numbers of bits are exact, and nothing is ever less than the logarithm or a tenth of a bit more.
#[test]
fn logarithms_are_rounded_up() {
    for count in (0..5000).chain((13..60).flat_map(|n| [(1usize << n) - 1, 1 << n, (1 << n) + 1])) {
        let exact = (count.max(1) as f64).log2() * f64::from(UNIT);
        let units = f64::from(log2_units(count));
        assert!(units >= exact - 1e-6 && units < exact + 1.6, "{count}: {units} {exact}");
    }
}
