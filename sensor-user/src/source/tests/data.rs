//! The captures of the development data against the counts of their manifest.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use sensor_ebpf::abi::flag;

use crate::event::{Event, Kind, Transport};
use crate::source::{self, Tally};

/// `$EARTHDOG_DATA`, which must then be there, else `../shared/data` beside the repository; `None`, told aloud, where
/// that is not.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("EARTHDOG_DATA").map(PathBuf::from);
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = named.clone().unwrap_or_else(beside);
    if folder.join("MANIFEST.md").is_file() {
        return Some(folder);
    }
    assert!(named.is_none(), "EARTHDOG_DATA is set, but there is no MANIFEST.md in {}", folder.display());
    eprintln!("skipped: no development data in {} (set EARTHDOG_DATA)", folder.display());
    None
}

/// First fragment that ends inside the question.
const CUT_QUESTION: u16 = flag::FRAGMENT | flag::BAD_QUESTION;

/// Queries and responses with a question, over UDP, as the manifest counts them.
fn count(file: &Path) -> (u64, u64) {
    let mut counts = (0, 0);
    source::read(file, &mut Tally::default(), &mut |event| {
        if let Event::Packet(packet) = event
            && packet.kind == Kind::Message
            && packet.transport == Transport::Udp
            && packet.payload[4..6] != [0, 0]
            && packet.flags & CUT_QUESTION != CUT_QUESTION
        {
            if packet.payload[2] & 0x80 == 0 { counts.0 += 1 } else { counts.1 += 1 }
        }
        ControlFlow::Continue(())
    })
    .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    counts
}

#[test]
fn message_counts_are_those_of_the_manifest() {
    let Some(folder) = folder() else { return };
    let manifest = fs::read_to_string(folder.join("MANIFEST.md")).unwrap();
    let mut compared = 0;
    let mut other = Vec::new();
    for line in manifest.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, _, counts, ..] = cells[..] else { continue };
        let Some(file) = ["dev/tunnel", "dev/benign"]
            .map(|part| folder.join(part).join(name))
            .into_iter()
            .find(|file| file.is_file())
        else {
            continue;
        };
        let Some((queries, responses)) = counts.split_once(" / ") else { continue };
        let (read_queries, read_responses) = count(&file);
        // Where the manifest has no number ("–", "(zeek)"), there is none to compare.
        for (what, listed, read) in
            [("queries", queries, read_queries), ("responses", responses, read_responses)]
        {
            if let Ok(listed) = listed.parse::<u64>() {
                compared += 1;
                if listed != read {
                    other.push(format!("{name}: {listed} {what} listed, {read} read"));
                }
            }
        }
    }
    println!("{compared} counts compared");
    assert!(compared >= 60, "only {compared} counts found in the manifest");
    assert!(other.is_empty(), "{other:#?}");
}
