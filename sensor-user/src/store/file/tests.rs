use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use super::*;
use crate::store::history::{Delta, Meta};
use crate::store::tables::Batch;

const LIMITS: Limits = Limits { max_len: 4 << 20, findings: FindingLimits { max: 100, max_bytes: 100_000 } };

fn store() -> (tempfile::TempDir, PathBuf) {
    // In memory where there is such a place: a disk's pace is no part of these tests.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = dir.path().join("sub/store.redb");
    (dir, path)
}

/// Rows of every table, so many, some megabyte.
fn batch(rows: u32) -> Batch {
    let mut delta = Delta { meta: Meta { since_ns: 7, ..Meta::default() }, ..Delta::default() };
    for n in 0..rows {
        let record = crate::store::record::NameRecord {
            name: format!("{n:08x}").into_bytes().into(),
            first_ns: u64::from(n),
            last_ns: u64::from(n),
            answers: crate::store::record::Answers::default(),
        };
        delta.tables[1].put.push((record.name.to_vec(), postcard::to_allocvec(&record).unwrap()));
    }
    let findings = (0..u64::from(rows.min(50))).map(|n| (n, format!("{{\"n\":{n}}}").into_bytes())).collect();
    Batch { delta, findings, findings_since_ns: 0 }
}

fn filled(path: &Path, rows: u32) {
    let mut opened = open(path, LIMITS, "T").unwrap();
    opened.tables.apply(&batch(rows)).unwrap();
}

fn refused(path: &Path) -> Refused {
    open(path, LIMITS, "T").map(|opened| opened.set_aside).unwrap_err()
}

#[test]
fn a_store_is_private_and_reads_back() {
    let (_dir, path) = store();
    filled(&path, 1000);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    let Opened { tables, loaded, set_aside } = open(&path, LIMITS, "T").unwrap();
    assert_eq!((loaded.names.len(), loaded.meta.since_ns, tables.findings), (1000, 7, 50));
    assert!(set_aside.is_none());
    let bytes: usize = loaded.names.iter().map(|(_, bytes)| bytes).sum();
    let put: usize = batch(1000).delta.tables[1].put.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(bytes, put);
    assert_eq!(tables.findings_since(48, 10).unwrap(), [&b"{\"n\":48}"[..], b"{\"n\":49}"]);
    assert_eq!(tables.findings_since(0, 1).unwrap(), [&b"{\"n\":49}"[..]], "the newest of them");
    assert_eq!(tables.oldest_finding_ns().unwrap(), Some(0));
}

#[test]
fn one_sensor_at_a_time() {
    let (_dir, path) = store();
    filled(&path, 10);
    let opened = open(&path, LIMITS, "T").unwrap();
    assert!(matches!(refused(&path), Refused::Busy));
    assert!(matches!(read(&path, LIMITS), Err(Refused::Busy)));
    assert!(advice(&path, &Refused::Busy).contains("another sensor"));
    drop(opened);
    let first = read(&path, LIMITS).unwrap();
    assert_eq!(
        read(&path, LIMITS).unwrap().1.names.len(),
        first.1.names.len(),
        "readers do not mind readers"
    );
}

#[test]
fn foreign_files_are_refused_and_not_touched() {
    let (_dir, path) = store();
    fs::create_dir(path.parent().unwrap()).unwrap();
    let other = redb::Database::create(&path).unwrap();
    drop(other);
    let theirs = fs::read(&path).unwrap();
    for content in [&b"precious"[..], &[0; 10_000], &theirs, b"earthdog store", &b"#!/bin/sh\n".repeat(1000)]
    {
        fs::write(&path, content).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        assert!(matches!(refused(&path), Refused::Foreign), "{content:?}");
        assert!(matches!(read(&path, LIMITS), Err(Refused::Foreign)));
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
    }
    assert!(advice(&path, &Refused::Foreign).contains("was not touched"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(refused(&path), Refused::Foreign));
    assert!(matches!(refused(Path::new("/dev/null")), Refused::Foreign));
    assert!(matches!(refused(Path::new("/dev/full")), Refused::Foreign));
}

#[test]
fn a_later_format_is_refused_and_not_touched() {
    let (_dir, path) = store();
    filled(&path, 10);
    let mut bytes = fs::read(&path).unwrap();
    let at = NAME.len();
    bytes[at..at + 2].copy_from_slice(b"2\n");
    fs::write(&path, &bytes).unwrap();
    let refused = refused(&path);
    assert!(matches!(refused, Refused::Newer(2)));
    assert!(advice(&path, &refused).contains("format 2, this version reads up to 1"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn an_empty_file_is_no_store_yet() {
    let (_dir, path) = store();
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, b"").unwrap();
    filled(&path, 10);
    assert_eq!(open(&path, LIMITS, "T").unwrap().loaded.names.len(), 10);
}

#[test]
fn damaged_stores_are_set_aside_whole_wherever_they_are_damaged() {
    let (_dir, path) = store();
    filled(&path, 5000);
    let whole = fs::read(&path).unwrap();
    let len = whole.len();
    let noise = |at: usize, count: usize| {
        let mut bytes = whole.clone();
        let mut state = at as u64 | 1;
        for byte in &mut bytes[at..at + count] {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte ^= (state >> 56) as u8 | 1;
        }
        bytes
    };
    let cases = [
        ("truncated", whole[..len / 2].to_vec()),
        ("truncated in its header", whole[..1000].to_vec()),
        ("truncated behind its header", whole[..5000].to_vec()),
        ("first bytes", noise(0, 30)),
        ("format", noise(NAME.len(), 1)),
        ("redb's header", noise(4096, 400)),
        ("all of redb's part", noise(4096, len - 4096)),
    ];
    let dir = path.parent().unwrap();
    for (what, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        let opened = open(&path, LIMITS, "20261122T053000Z").unwrap();
        let (aside, why) = opened.set_aside.unwrap_or_else(|| panic!("{what}: opened as if whole"));
        assert_eq!(aside, dir.join("store.redb.damaged-20261122T053000Z"), "{what}: {why}");
        assert_eq!(fs::read(&aside).unwrap(), bytes, "{what}: the damaged file is kept as it is");
        assert_eq!(opened.loaded.names.len(), 0);
        drop(opened.tables);
        fs::remove_file(aside).unwrap();
    }
}

/// A page that is not in use may change without anybody noticing; one that is may not.
#[test]
fn no_change_anywhere_goes_by_with_other_records() {
    let (_dir, path) = store();
    filled(&path, 2000);
    let whole = fs::read(&path).unwrap();
    let known = open(&path, LIMITS, "T").unwrap().loaded.names;
    let mut damaged = 0;
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut bytes = whole.clone();
        for byte in &mut bytes[at..(at + 16).min(whole.len())] {
            *byte = !*byte;
        }
        fs::write(&path, &bytes).unwrap();
        match read(&path, LIMITS) {
            Ok((_, loaded)) => assert_eq!(loaded.names, known, "at {at}"),
            Err(Refused::Damaged(_)) => damaged += 1,
            Err(other) => panic!("at {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "reading does not change it");
    }
    assert!(damaged > 10, "{damaged}");
}

#[test]
fn only_so_many_damaged_ones_are_kept_and_none_is_removed() {
    let (_dir, path) = store();
    filled(&path, 10);
    for n in 0..SET_ASIDE_MAX + 2 {
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0xff; 8192], 4096).unwrap();
        match open(&path, LIMITS, "T") {
            Ok(opened) => assert!(opened.set_aside.is_some() && n < SET_ASIDE_MAX),
            Err(Refused::Damaged(what)) => {
                assert!(n >= SET_ASIDE_MAX && what.contains("8 damaged ones"), "{n}: {what}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), SET_ASIDE_MAX + 1);
}

#[test]
fn a_place_that_cannot_be_written_says_so() {
    for path in ["/proc/earthdog/store.redb", "/nonexistent/deeper/store.redb"] {
        let path = Path::new(path);
        let refused = refused(path);
        assert!(matches!(refused, Refused::Io(_)));
        let text = advice(path, &refused);
        assert!(text.contains("store.path") && text.contains(path.to_str().unwrap()), "{text}");
    }
    assert!(matches!(read(Path::new("/nonexistent"), LIMITS), Err(Refused::Io(_))));
}

#[test]
fn what_a_kill_left_half_made_is_no_obstacle_but_a_strangers_file_is() {
    let (_dir, path) = store();
    fs::create_dir(path.parent().unwrap()).unwrap();
    let new = path.with_file_name("store.redb.new");
    fs::write(&new, &header()[..]).unwrap();
    filled(&path, 10);
    assert!(!new.exists());
    fs::remove_file(&path).unwrap();
    fs::write(&new, "precious").unwrap();
    assert!(matches!(refused(&path), Refused::Io(_)));
    assert_eq!(fs::read_to_string(&new).unwrap(), "precious");
}
