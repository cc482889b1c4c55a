//! Tools and habits that move data or commands over DNS, or attack it: packets as a capture point sees them, answers
//! included, made from public descriptions of their formats. The same seed gives the same bytes.
//!
//! ```
//! use earthdog::emulate::{self, Pace};
//!
//! let tool = emulate::ALL.iter().find(|tool| tool.name == "dnscat2, direct").unwrap();
//! let made = tool.make(1, Pace { slower: 10.0, jitter: Some(0.5) });
//! assert!(made.moved.queries.len() > 100);
//! ```

pub mod background;
pub mod encode;
pub mod hazard;
pub mod message;
pub mod random;
pub mod record;
pub mod tape;
pub mod words;

mod answers;
mod beside;
mod cobalt_strike;
mod code_book;
mod dga;
mod dns2tcp;
mod dns_exfiltrator;
mod dnscat2;
mod dnstt;
mod exfil;
mod framework_pos;
mod hosting;
mod iodine;
pub mod judged;
mod noise;
mod ozyman_dns;
mod registered_label;
mod sliver;
mod slow_beacon;
mod table;
mod txt_commands;

use crate::finding::Severity;

pub use judged::{Falls, First, Judged};
pub use random::Random;
pub use table::{ALL, NOT_YET};
pub use tape::{Answer, Datagram, Extra, Made, Moved, Pace, Tape};

/// One tool, encoding or habit, and what is expected of a detector.
#[derive(Clone, Copy, Debug)]
pub struct Emulation {
    pub name: &'static str,
    /// What counts as found.
    pub least: Severity,
    /// What it must not be taken for more than.
    pub most: Severity,
    pub within: Within,
    pub carrier: Carrier,
    run: fn(&mut Tape),
}

/// How soon it is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Five seconds or 25 queries, whichever is later.
    Soon,
    Queries(u64),
    /// Before the capture ends.
    Capture,
}

/// What its bytes are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The finding's name bytes.
    Names,
    /// Payload bytes that went out or came in.
    Other,
}

impl Emulation {
    /// The tool among what its host asks for on an ordinary day.
    pub fn make(&self, seed: u64, pace: Pace) -> Made {
        let mut tape = Tape::new(seed, self.name, pace);
        (self.run)(&mut tape);
        beside_a_person(&mut tape);
        tape.made()
    }
}

/// Base 32 names that carry so many payload bytes in a day, among what their host asks for: one encoding to compare
/// rates by.
pub fn leak_of(bytes_a_day: u32, seed: u64) -> Made {
    leak_within(bytes_a_day, exfil::DAY, seed)
}

/// As `leak_of`, in so many seconds.
pub fn leak_within(bytes: u32, seconds: f64, seed: u64) -> Made {
    let mut tape = Tape::new(seed, "leak", Pace::default());
    exfil::within(&mut tape, bytes, seconds, encode::base32);
    beside_a_person(&mut tape);
    tape.made()
}

/// A page every ten minutes from the client that the capture is about.
fn beside_a_person(tape: &mut Tape) {
    let (client, server) = tape.home();
    (tape.client, tape.server) = (client, server);
    let end = tape.now;
    let sites = background::Sites::new(&mut tape.random, 40);
    background::person(tape, &sites, (0.0, end), 600.0);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::dns::Message;

    use super::*;

    #[test]
    fn names_are_unique_and_expectations_make_sense() {
        let names: BTreeSet<_> = ALL.iter().map(|tool| tool.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|tool| tool.least <= tool.most));
    }

    #[test]
    fn a_seed_decides_every_byte() {
        for tool in ALL {
            let made = |seed| tool.make(seed, Pace::default()).datagrams;
            let first = made(1);
            assert_eq!(first, made(1), "{}", tool.name);
            assert_ne!(first, made(2), "{}", tool.name);
        }
    }

    #[test]
    fn messages_are_in_order_but_where_that_is_the_trick() {
        let tricks = ["bytes behind the message", "iodine, raw"];
        for tool in ALL.iter().filter(|tool| !tricks.contains(&tool.name)) {
            for Datagram { payload, .. } in tool.make(1, Pace::default()).datagrams {
                let message = Message::parse(&payload, payload.len());
                assert!(
                    message.anomalies.is_empty(),
                    "{}: {:?} {:?}",
                    tool.name,
                    message.anomalies,
                    message.question
                );
                assert!(payload.len() <= tape::PAYLOAD_MAX, "{}: {} bytes", tool.name, payload.len());
            }
        }
    }

    #[test]
    fn queries_are_marked_in_order() {
        for tool in ALL {
            let moved = tool.make(1, Pace::default()).moved;
            assert!(!moved.queries.is_empty() && moved.queries.is_sorted(), "{}", tool.name);
        }
    }

    #[test]
    fn pace_stretches_pauses() {
        let span = |slower| {
            let made = ALL[0].make(1, Pace { slower, jitter: Some(0.0) });
            let (first, last) = (made.moved.queries[0].0, made.moved.queries.last().unwrap().0);
            (last - first) as f64 / 1e9
        };
        assert!(span(10.0) > 5.0 * span(1.0), "{} {}", span(1.0), span(10.0));
    }

    #[test]
    fn a_rate_is_the_rate() {
        for bytes in [256, 4096] {
            let (_, _, moved) = leak_of(bytes, 1).moved.until(u64::MAX);
            assert!((moved as f64 / f64::from(bytes) - 1.0).abs() < 0.1, "{bytes}: {moved}");
        }
    }
}
