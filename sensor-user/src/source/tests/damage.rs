//! Files that are cut, garbled, empty or something else.

use proptest::prelude::*;
use rstest::rstest;

use super::{
    build::{Pcap, Pcapng, QUERY, ethernet, gzip, ipv4, record},
    damage, dnstap, packets, read, refusal, zeek,
};
use crate::source::{Error, Format, fuzz};

const RECORDS: usize = 5;

fn pcap() -> Vec<u8> {
    Pcap::USUAL.file(&vec![record(ethernet(&ipv4(QUERY))); RECORDS])
}

fn pcapng() -> Vec<u8> {
    let mut file = Pcapng::new(false);
    file.interface(1, 0, &[]);
    for _ in 0..RECORDS {
        file.packet(0, 1, &ethernet(&ipv4(QUERY)), 71);
    }
    file.file
}

/// Cut at every offset: whole at the end of a record, else damaged at the record that is cut, with every message before
/// it read. A pcapng block goes on behind its frame.
#[rstest]
#[case(pcap(), 24, 16 + 71, 0)]
#[case(pcapng(), 28 + 20, 8 + 20 + 72 + 12 + 4, 1 + 12 + 4)]
#[case(dnstap::file(&vec![dnstap::client_query(); RECORDS]), 42, dnstap::client_query().len() + 4, 0)]
fn a_cut_file_is_read_up_to_the_damage(
    #[case] file: Vec<u8>,
    #[case] head: usize,
    #[case] each: usize,
    #[case] behind: usize,
) {
    assert_eq!(packets(&file).len(), RECORDS);
    for len in head + 1..head + RECORDS * each {
        let read = read(&file[..len]);
        let whole = (len - head) / each;
        assert_eq!(read.packets.len(), (len - head + behind) / each, "cut at {len}");
        if (len - head).is_multiple_of(each) {
            assert!(read.result.is_ok(), "cut at {len}: {:?}", read.result);
        } else {
            assert_eq!(damage(&read), ((head + whole * each) as u64, false), "cut at {len}");
        }
    }
}

#[rstest]
#[case(&pcap())]
#[case(&pcapng())]
#[case(zeek::LOG.as_bytes())]
fn a_cut_gzip_is_read_up_to_the_damage(#[case] file: &[u8]) {
    let packed = gzip(file);
    let all = packets(&packed).len();
    assert_eq!(all, packets(file).len());
    for len in 1..packed.len() {
        let read = read(&packed[..len]);
        assert!(read.result.is_err(), "cut at {len} of {}", packed.len());
        assert!(read.packets.len() <= all);
    }
    // Only the checksum is missing: every record is there, and the damage still told.
    let cut = read(&packed[..packed.len() - 4]);
    assert_eq!((cut.packets.len(), damage(&cut)), (all, (file.len() as u64, true)));
    let mut garbled = packed.clone();
    let at = garbled.len() - 6;
    garbled[at] ^= 0xff;
    assert_eq!(damage(&read(&garbled)), (file.len() as u64, true));
}

#[test]
fn gzip_members_are_one_stream() {
    let file = pcap();
    let (head, tail) = file.split_at(100);
    assert_eq!(packets(&[gzip(head), gzip(tail)].concat()).len(), RECORDS);
}

#[test]
fn lengths_beyond_reason_are_damage() {
    let mut file = pcap();
    file[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(damage(&read(&file)), (24, false));
    let mut file = pcapng();
    let at = 48 + 116;
    for len in [0_u32, 8, 13, u32::MAX] {
        file[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
        let read = read(&file);
        assert_eq!((damage(&read), read.packets.len()), ((at as u64, false), 1));
    }
    let mut file = pcapng();
    file[at + 112] ^= 1;
    assert_eq!(damage(&read(&file)), (at as u64, false), "two lengths that differ");
}

#[rstest]
#[case(b"", "empty file")]
#[case(b"\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47")]
#[case(b"\x28\xb5\x2f\xfd rest", "zstd compressed file: decompress it first")]
#[case(b"#separator \\x09\n#path\tconn\n", "a Zeek log, but \"conn\" and not dns")]
#[case(b"#separator \\x09\n1.0\tx\n", "without a #fields line")]
#[case(b"#fields\tts\tuid\n", "without the columns id.orig_h, id.resp_h, query")]
#[case(b"{\"ts\":1.0,\"host\":\"x\"}\n", "not of a Zeek dns.log")]
#[case(b"{not json}\n", "begins like JSON")]
#[case(b"a\n", "pcap, pcapng, Zeek dns.log")]
fn foreign_and_empty_files_are_refused(#[case] file: &[u8], #[case] says: &str) {
    for file in [file.to_vec(), gzip(file)] {
        let message = refusal(&file);
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn twice_gzipped_is_told() {
    assert!(refusal(&gzip(&gzip(&pcap()))).contains("twice gzip"));
}

#[test]
fn a_directory_is_unreadable() {
    let mut tally = crate::source::Tally::default();
    let result =
        crate::source::read(&std::env::temp_dir(), &mut tally, &mut |_| std::ops::ControlFlow::Continue(()));
    assert!(matches!(result, Err(Error::Unreadable(_))), "{result:?}");
}

#[test]
fn reading_stops_where_the_receiver_has_enough() {
    let mut tally = crate::source::Tally::default();
    let result = crate::source::read_from(std::io::Cursor::new(pcap()), &mut tally, &mut |_| {
        std::ops::ControlFlow::Break(())
    });
    assert!(matches!(result, Ok(Format::Pcap)));
    assert_eq!(tally.events, 1);
}

const FORMATS: [Format; 5] =
    [Format::Pcap, Format::Pcapng, Format::ZeekTsv, Format::ZeekJson, Format::Dnstap];

proptest! {
    #[test]
    fn any_bytes_end_in_a_result(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz::any(&data);
        for format in FORMATS {
            fuzz::one(format, &data);
        }
    }

    #[test]
    fn garbled_files_end_in_a_result(
        which in 0_usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = match which {
            0 => pcap(),
            1 => pcapng(),
            2 => zeek::LOG.into(),
            3 => zeek::JSON.into(),
            _ => dnstap::file(&vec![dnstap::client_query(); RECORDS]),
        };
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        fuzz::any(&file);
        fuzz::any(&gzip(&file));
    }
}
