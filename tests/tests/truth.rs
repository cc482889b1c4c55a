//! Who asked, proven: every way to send DNS, under every owner source that this kernel has; and many sends that race.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use earthdog_tests::truth::document;
use earthdog_tests::truth::expect::Source;
use earthdog_tests::truth::place::{Place, Programs};
use earthdog_tests::truth::races;
use earthdog_tests::truth::run::{NotHere, table};
use earthdog_tests::{require, sensor, serial};
use rstest::rstest;

/// Some thousand, over the sources.
const RACES: u32 = 1500;

fn place() -> Result<Place, String> {
    Place::in_kit(Programs { sensor: sensor::binary()?, sender: env!("CARGO_BIN_EXE_sender").into() })
}

fn asked<T>(result: Result<T, NotHere>) -> Result<T, String> {
    result.map_err(|why| match why {
        NotHere::Lacking(why) => why,
        NotHere::Failed(error) => panic!("{error:#}"),
    })
}

/// kprobe and fentry: `cargo xtask vm`, for the kernels that tests run on may lack them.
#[rstest]
#[case::auto(Source::Auto)]
#[case::current_task(Source::CurrentTask)]
#[case::sock_addr(Source::SockAddr)]
fn every_way_to_send_has_its_owner(#[case] source: Source) {
    let _alone = serial::lock();
    let place = require!(place());
    let table = require!(asked(table(&place, source, &[])));
    println!("{table}");
    assert!(table.is_as_expected(), "{table}");
}

#[rstest]
#[case::auto(Source::Auto)]
#[case::sock_addr(Source::SockAddr)]
fn no_race_gives_a_wrong_owner(#[case] source: Source) {
    let _alone = serial::lock();
    let place = require!(place());
    let races = require!(asked(races::run(&place, source, RACES)));
    println!("{races}");
    assert!(races.is_good(), "{races}");
    // Half are sent without load, and of these the least source names at least half; under load most may be lost, which
    // is counted.
    assert!(4 * races.right() >= races.sends(), "{races}");
}

#[test]
fn the_readme_has_the_table() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, text) = text.split_once("<!-- truth -->\n").unwrap();
    let (there, _) = text.split_once("<!-- /truth -->").unwrap();
    let table = document::markdown();
    let command = "cargo run -p earthdog-tests --bin truth -- --markdown";
    assert_eq!(there, table, "README.md must say between its marks what `{command}` prints");
}
