//! Readers against files built here byte for byte.

mod build;
mod capture;
mod damage;
mod data;
mod dnstap;
mod zeek;

use std::{io::Cursor, ops::ControlFlow};

use super::{Error, Format, Tally, read_from};
use crate::event::{Event, Packet};

/// What a file gave.
#[derive(Debug)]
struct Read {
    result: Result<Format, Error>,
    tally: Tally,
    packets: Vec<Packet>,
}

fn read(file: &[u8]) -> Read {
    let mut tally = Tally::default();
    let mut packets = Vec::new();
    let result = read_from(Cursor::new(file.to_vec()), &mut tally, &mut |event| {
        if let Event::Packet(packet) = event {
            packets.push(packet);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(tally.events, packets.len() as u64);
    if matches!(result, Ok(Format::Pcap | Format::Pcapng | Format::Dnstap)) {
        assert_eq!(tally.records, tally.events + tally.skipped.values().sum::<u64>(), "in = out + left out");
    }
    Read { result, tally, packets }
}

/// The packets of a file that is in order.
fn packets(file: &[u8]) -> Vec<Packet> {
    let read = read(file);
    assert!(read.result.is_ok(), "{:?}", read.result);
    read.packets
}

/// The offset at which a file is damaged, and whether it counts decompressed bytes.
fn damage(read: &Read) -> (u64, bool) {
    match &read.result {
        Err(Error::Damaged { offset, unpacked, .. }) => (*offset, *unpacked),
        other => panic!("not damaged: {other:?}"),
    }
}

fn refusal(file: &[u8]) -> String {
    let read = read(file);
    assert!(read.packets.is_empty());
    read.result.unwrap_err().to_string()
}
