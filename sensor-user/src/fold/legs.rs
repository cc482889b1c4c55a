//! Messages by their ends, id and name: one seen at several hooks is one, also where address
//! translation rewrote one end on its way.

use std::hash::BuildHasher;
use std::net::SocketAddr;

use super::recent::{Recent, Slot};
use super::{Leg, Whose};
use crate::event::View;

/// How long a response may take to be matched to its query.
pub(super) const RESPONSE_NS: u64 = 30_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LegSeen {
    pub(super) client: u64,
    pub(super) server: u64,
    pub(super) client_ip: u32,
    pub(super) client_port: u16,
    /// Of the socket or interface it was seen at first; 0 if unknown.
    pub(super) netns: u32,
    pub(super) whose: Whose,
    /// The place of the server, as `Names` has it.
    pub(super) place: u64,
    /// Its query was seen, not only a response.
    pub(super) asked: bool,
    /// The hook that it was charged at, and all that have seen it since.
    pub(super) first_hook: u32,
    pub(super) hooks: u32,
    pub(super) answered_ns: u64,
    pub(super) answered_hooks: u32,
}

/// How well a message matches one seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Ends, id, name and namespace.
    Exact,
    /// All but the namespace, or all but the one end that was rewritten.
    Inferred,
}

impl Match {
    /// Whose the message is then.
    pub(super) fn of(self, whose: Whose) -> Whose {
        let loosely = self == Self::Inferred;
        Whose { inferred: whose.inferred || loosely, loosely, ..whose }
    }
}

#[derive(Debug)]
pub(super) struct Legs<S> {
    seed: S,
    table: Recent<LegSeen>,
}

impl<S> Legs<S> {
    pub(super) fn bytes(size: usize) -> usize {
        Recent::<LegSeen>::bytes(size)
    }
}

impl<S: BuildHasher> Legs<S> {
    pub(super) fn new(size: usize, seed: S) -> Self {
        Self { seed, table: Recent::new(size, RESPONSE_NS) }
    }

    /// The best match, seen within so many nanoseconds.
    pub(super) fn find(
        &self,
        leg: &Leg,
        response: bool,
        within_ns: u64,
        now_ns: u64,
    ) -> Option<(usize, Match)> {
        let recent = |slot: &Slot<'_, LegSeen>| now_ns.abs_diff(slot.time_ns) <= within_ns;
        let mut slots = self.table.all(self.hash(leg)).filter(|(_, slot)| recent(slot)).peekable();
        // Most queries are like none before: their ends need no hash.
        slots.peek()?;
        let (client, server) = (self.end(leg.client), self.end(leg.server));
        let client_ip = self.client_ip(leg.client);
        let loopback = leg.client.ip().is_loopback() || leg.server.ip().is_loopback();
        let leaves_socket = leg.view == View::HostEgress && !response;
        let rank = |seen: &LegSeen| {
            let ends = (seen.client == client, seen.server == server);
            if ends == (true, true) {
                // Loopback addresses mean something else in each namespace; and where the same message seems to leave
                // from sockets in two, it is two.
                let apart = seen.netns != 0 && leg.netns != 0 && (loopback || leaves_socket);
                return if seen.netns == leg.netns { Some(0) } else { (!apart).then_some(1) };
            }
            // What leaves a socket is as it was sent, and nothing is rewritten on the way to loopback.
            if !seen.asked || loopback || leaves_socket {
                return None;
            }
            // A capture does not tell which way a packet went, so the port has to be kept there as well.
            let capture = leg.view == View::Capture;
            let port_kept = !capture || seen.client_port == leg.client.port();
            match ends {
                (false, true) if seen.client_ip != client_ip && port_kept => Some(2),
                (true, false) if !capture => Some(3),
                _ => None,
            }
        };
        slots
            .filter_map(|(at, slot)| Some((rank(slot.value)?, u64::MAX - slot.time_ns, at)))
            .min()
            .map(|(rank, _, at)| (at, if rank == 0 { Match::Exact } else { Match::Inferred }))
    }

    pub(super) fn at(&mut self, place: usize) -> &mut LegSeen {
        self.table.at(place)
    }

    pub(super) fn put(&mut self, leg: &Leg, now_ns: u64, mut seen: LegSeen) {
        let (client, server) = (self.end(leg.client), self.end(leg.server));
        (seen.client, seen.server, seen.client_ip) = (client, server, self.client_ip(leg.client));
        (seen.client_port, seen.netns) = (leg.client.port(), leg.netns);
        self.table.put(self.hash(leg), now_ns, seen, |other| {
            (other.client, other.server) == (client, server)
                && (other.netns == leg.netns || other.netns == 0 || leg.netns == 0)
        });
    }

    pub(super) fn evicted(&self) -> u64 {
        self.table.evicted
    }

    /// Without the ends: address translation may rewrite one of them on the way.
    fn hash(&self, leg: &Leg) -> u64 {
        self.seed.hash_one((leg.name, leg.transport, leg.id, leg.qtype))
    }

    fn end(&self, end: SocketAddr) -> u64 {
        match end {
            // In one piece: as the library has it, it is four.
            SocketAddr::V4(v4) => {
                self.seed.hash_one(u64::from(u32::from(*v4.ip())) << 16 | u64::from(v4.port()))
            }
            SocketAddr::V6(v6) => self.seed.hash_one(v6),
        }
    }

    fn client_ip(&self, client: SocketAddr) -> u32 {
        self.seed.hash_one(client.ip()) as u32
    }
}
