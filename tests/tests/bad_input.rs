//! Bad files, bad configurations and outputs that cannot be written: a clear error, the documented exit code.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use earthdog_tests::capture::{ETHERNET, Pcap};
use earthdog_tests::corpus::seeds;
use earthdog_tests::message::{Message, rtype};
use earthdog_tests::packet::Frame;
use earthdog_tests::process::Process;
use earthdog_tests::require;
use earthdog_tests::sensor::{Finished, binary, run};
use tempfile::TempDir;

/// Unix time of the captures, ns.
const TIME: u64 = 1_700_000_000_000_000_000;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Three ordinary queries.
fn capture() -> Vec<u8> {
    let frame = |i: u64| Frame::dns_query_v4(Message::query(format!("h{i}.example.com"), rtype::A)).build();
    Pcap::default().file(ETHERNET, &(0..3).map(|i| (TIME + i, frame(i))).collect::<Vec<_>>())
}

fn replay(path: &Path) -> Finished {
    run(&["replay", "--output", "json", path.to_str().unwrap()]).unwrap()
}

#[track_caller]
fn assert_refused(done: &Finished, code: i32, says: &[&str]) {
    assert_eq!(done.code(), Some(code), "stderr: {}", done.stderr);
    for text in says {
        assert!(done.stderr.contains(text), "{text:?} is not in: {}", done.stderr);
    }
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
}

#[test]
fn a_whole_capture_is_read() {
    require!(binary());
    let files = Files::new();
    let done = replay(&files.write("whole.pcap", capture()));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("messages    3"), "{}", done.stderr);
}

#[test]
fn files_that_cannot_be_read_are_1() {
    require!(binary());
    let files = Files::new();
    let missing = files.0.path().join("missing.pcap");
    assert_refused(&replay(&missing), 1, &["missing.pcap", "No such file"]);
    assert_refused(&replay(files.0.path()), 1, &[files.0.path().to_str().unwrap()]);
    assert_refused(&replay(&files.write("empty.pcap", "")), 1, &["empty.pcap", "empty file"]);
    assert_refused(
        &replay(&files.write("foreign", "GIF89a...........")),
        1,
        &["foreign", "pcapng", "Zeek", "dnstap"],
    );
    let wifi = Pcap::default().file(105, &[(TIME, vec![0; 40])]);
    assert_refused(&replay(&files.write("wifi.pcap", wifi)), 1, &["wifi.pcap", "link type 105"]);
}

/// Read up to the damage, file and offset named; what came before it counts, and the next file is still read.
#[test]
fn damage_is_named_with_its_offset() {
    require!(binary());
    let files = Files::new();
    let whole = capture();
    let record = (whole.len() - 24) / 3;
    let third = 24 + 2 * record;
    let cut = files.write("cut.pcap", &whole[..whole.len() - 5]);
    let done = replay(&cut);
    assert_refused(&done, 1, &["cut.pcap", &format!("damaged at byte {third}"), "messages    2"]);

    let mut lying = whole.clone();
    lying[24 + record + 8..][..4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let done = replay(&files.write("lying.pcap", &lying));
    assert_refused(&done, 1, &["lying.pcap", &format!("damaged at byte {}", 24 + record), "messages    1"]);

    let good = files.write("good.pcap", &whole);
    let done = run(&["replay", cut.to_str().unwrap(), good.to_str().unwrap()]).unwrap();
    assert_refused(&done, 1, &["cut.pcap", "messages    5"]);
}

#[test]
fn a_cut_gzip_is_damage_too() {
    require!(binary());
    let files = Files::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&capture()).unwrap();
    let packed = gzip.finish().unwrap();
    let done = replay(&files.write("whole.pcap.gz", &packed));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let done = replay(&files.write("cut.pcap.gz", &packed[..packed.len() - 30]));
    assert_refused(&done, 1, &["cut.pcap.gz", "damaged at byte"]);
}

/// Packets cut at the snap length are counted, not damage.
#[test]
fn a_short_snap_length_is_not_damage() {
    require!(binary());
    let files = Files::new();
    let mut bytes = capture();
    let record = (bytes.len() - 24) / 3;
    let original = bytes[24 + 12];
    bytes[24 + 12] = original + 100;
    assert_eq!(record, 16 + usize::from(original));
    let done = replay(&files.write("snapped.pcap", bytes));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("1 cut at the snap length"), "{}", done.stderr);
}

/// No seed of the fuzz corpus, as a file, ends in anything but 0 or 1.
#[test]
fn every_seed_as_a_file_ends_with_0_or_1() {
    require!(binary());
    let files = Files::new();
    for (target, name, bytes) in seeds() {
        if !["pcap", "zeek", "dnstap"].contains(&target) {
            continue;
        }
        let done = replay(&files.write(name, bytes));
        assert!(matches!(done.code(), Some(0 | 1)), "{target}/{name}: {:?} {}", done.status, done.stderr);
        assert!(!done.stderr.contains("panicked"), "{target}/{name}: {}", done.stderr);
        assert!(done.code() == Some(0) || done.stderr.contains(name), "{target}/{name}: {}", done.stderr);
    }
}

#[test]
fn bad_configurations_are_2_and_name_file_key_and_what_is_allowed() {
    require!(binary());
    let files = Files::new();
    let good = files.write("good.pcap", capture());
    for (text, says) in [
        ("[ledger]\nmax_key = 600\n", &["max_key", "max_keys"][..]),
        ("[leger]\nmax_keys = 600\n", &["leger", "ledger"]),
        ("[ledger]\nmax_keys = \"long\"\n", &["max_keys", "long"]),
        ("[ledger]\nmax_keys = 1\n", &["max_keys", "16", "16777216"]),
        ("[ledger]\nwindow_s = 600\n", &["window_s", "bound_10min_bytes"]),
        ("[live]\nbulk_ring_kib = 1000\n", &["bulk_ring_kib", "1000", "power of two"]),
        ("[output]\nformat = \"xml\"\n", &["format", "xml", "json", "human"]),
        ("[ledger\n", &["bad.toml:1:"]),
        ("[ledger]\nmax_keys = 600\nmax_keys = 700\n", &["bad.toml:3:", "duplicate"]),
    ] {
        let path = files.write("bad.toml", text);
        let config = path.to_str().unwrap();
        for arguments in [
            &["config", "check", "-c", config][..],
            &["config", "print", "-c", config],
            &["replay", "-c", config, good.to_str().unwrap()],
            &["run", "-c", config, "--duration", "0"],
        ] {
            let done = run(arguments).unwrap();
            assert_refused(&done, 2, says);
            assert_refused(&done, 2, &["bad.toml"]);
            assert_eq!(done.stdout, "", "{arguments:?}");
        }
    }
}

#[test]
fn usage_errors_are_2() {
    require!(binary());
    for (arguments, says) in [
        (&["replay"][..], "FILE"),
        (&["sniff"], "sniff"),
        (&["replay", "--fail-on", "tiny", "x"], "tiny"),
        (&["run", "--xdp-mode", "fast"], "fast"),
        (&["run", "--interface"], "--interface"),
        (&["config", "check", "-c", "/nonexistent.toml"], "/nonexistent.toml"),
    ] {
        assert_refused(&run(arguments).unwrap(), 2, &[says]);
    }
}

/// What `config print` writes is a configuration, so it is also what cannot be written here.
#[test]
fn a_full_disk_is_1_and_a_broken_pipe_0() {
    let binary = require!(binary());
    let mut full = Command::new(&binary);
    full.args(["config", "print"]).stdout(File::create("/dev/full").unwrap());
    let output = full.stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("No space left"), "{stderr}");

    let mut shell = Command::new("bash");
    shell.args(["-c", "\"$0\" config print | true; echo ${PIPESTATUS[0]}"]).arg(&binary);
    let done = Finished::of(Process::spawn(shell));
    assert_eq!(done.stdout, "0", "{}", done.stderr);
}
