//! Some clients' accounts, what detectors know of them and what is found: all that depends on nobody else.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;

use super::{Settings, extra_bytes};
use crate::attribute::{Clients, Names};
use crate::detect::OverClients;
use crate::detect::over_clients::OfZone;
use crate::detect::{Cases, Emit, Look, OfClients, Role};
use crate::dns::{Canonical, Message};
use crate::event::Packet;
use crate::finding::Origin;
use crate::ledger::payload::Answer;
use crate::ledger::{self, Charge, Key, Ledger};
use crate::logged::Lookup;
use crate::report::{Case, Reports, Scene, Sighting};
use crate::store::{self, History};
use crate::zone::Zone;

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) ledger: Ledger,
    pub(super) detectors: OfClients,
    pub(super) reports: Reports,
}

/// What is known beside a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) clients: &'a Clients,
    pub(super) names: &'a Names,
}

/// A message with its question read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) packet: &'a Packet,
    pub(super) message: &'a Message<'a>,
    pub(super) name: &'a Canonical,
}

/// What was made of its question once.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) part: Lookup,
    pub(super) name_hash: u64,
    pub(super) qtype: u16,
    pub(super) zone: Zone,
    pub(super) zone_hash: u64,
    /// Who is charged, or who asked.
    pub(super) client: u64,
    pub(super) role: Role,
    pub(super) sighting: Sighting,
}

/// A query to be charged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) about: About,
    pub(super) charge: Charge,
    pub(super) via: Option<u64>,
    /// Of the process and of the address: what the name costs where an answer led to it; whether it asks for others.
    pub(super) told: [Option<u32>; 2],
    pub(super) for_others: [bool; 2],
    /// As [`Scene::flooded`].
    pub(super) flooded: Option<bool>,
}

/// A response to who asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) about: About,
    pub(super) answer: Answer,
    /// As [`Look::told`].
    pub(super) told: bool,
}

/// A response on the accounts of who sent the query: its own, and its address's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) asker: u64,
    pub(super) address: Option<u64>,
    pub(super) zone: u64,
    pub(super) answer: Answer,
    pub(super) now_ns: u64,
}

impl About {
    /// Of a query: its client's account of the zone and its address's, one and the same where no process is known.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        [self.client, self.sighting.address].into_iter().map(|client| Key { client, zone: self.zone_hash })
    }

    pub(super) fn look<'a>(&self, said: Said<'a>, seed: &'a FixedState) -> Look<'a> {
        Look {
            packet: said.packet,
            message: said.message,
            part: self.part,
            name: said.name,
            name_hash: self.name_hash,
            qtype: self.qtype,
            zone: self.zone,
            zone_hash: self.zone_hash,
            client: self.client,
            target: None,
            answer: Answer::default(),
            role: self.role,
            told: false,
            seed,
        }
    }
}

impl Answered {
    /// `target` is left out: who needs it makes it anew.
    pub(super) fn look<'a>(&self, said: Said<'a>, seed: &'a FixedState) -> Look<'a> {
        Look { answer: self.answer, told: self.told, ..self.about.look(said, seed) }
    }
}

impl Shard {
    pub(super) fn new(settings: &Settings, origin: Origin) -> Self {
        Self {
            reports: Reports::new(
                settings.report.clone(),
                &settings.ledger,
                settings.attribute.clone(),
                origin,
            ),
            ledger: Ledger::new(settings.ledger.clone()),
            detectors: OfClients::new(&settings.config),
        }
    }

    /// Charges a query, judges its accounts and shows it to the detectors.
    pub(super) fn query(
        &mut self,
        look: &Look<'_>,
        asked: &Asked,
        around: Around<'_>,
        mut history: Option<&mut History>,
        emit: &mut Emit<'_>,
    ) {
        let Asked { ref about, charge, via, told, for_others, flooded } = *asked;
        let About { name_hash, qtype, zone, zone_hash, sighting, .. } = *about;
        let Look { packet, message, name, .. } = *look;
        let Self { ledger, detectors, reports } = self;
        let Sighting { now_ns, address, process, .. } = sighting;
        let zone_wire = name.suffix(zone.labels);
        let plain = ledger::Name {
            sub: name.prefix(zone.labels),
            hash: name_hash,
            upper: name.upper,
            letters: name.letters,
            extra_bytes: extra_bytes(message),
            told: None,
        };
        let keys = process.into_iter().chain([address]).map(|client| Key { client, zone: zone_hash });
        let claimed = process.is_some_and(|client| reports.is_open(Key { client, zone: zone_hash }));
        reports.absorbed += u64::from(claimed);
        for key in keys.clone() {
            let at = usize::from(Some(key.client) != process);
            let said = ledger::Name { told: told[at], ..plain };
            let entry = ledger.open(key, zone.class, zone_wire, now_ns, &mut |old| {
                reports.forget(old, now_ns, emit);
            });
            entry.via = via.unwrap_or(entry.via);
            entry.has_payload |= sighting.has_payload;
            entry.for_others = for_others[at];
            let before = entry.totals.up_low;
            let claimed = claimed && key.client == address;
            if packet.repeats() > 0 {
                entry.repeats(said, packet.repeats(), claimed, now_ns);
            }
            entry.query(said, charge, claimed, now_ns);
            if let Some(history) = &mut history
                && charge != Charge::Forwarded
                && let Some(client) = around.clients.find(key.client)
            {
                history.asked(&store::Asked {
                    client,
                    zone: zone_hash,
                    wire: zone_wire,
                    class: zone.class,
                    qtype,
                    lookup: charge == Charge::Full,
                    closest: process.is_none_or(|process| process == key.client),
                    new_units: entry.totals.up_low - before,
                    now_ns,
                });
            }
        }
        let mut scene = Scene {
            ledger,
            clients: around.clients,
            names: around.names,
            history: history.as_deref(),
            sighting,
            sub: plain.sub,
            asked: message
                .question
                .filter(|_| charge == Charge::Full)
                .map(|question| (question.name, name.upper > 0 && name.upper < name.letters)),
            qtype,
            flooded,
            emit,
        };
        for key in keys {
            reports.judge(key, &mut scene);
        }
        detectors.query(look, &mut Cases { reports, scene });
    }

    /// Whether a finding about a query's client, or its address, and the zone is open.
    pub(super) fn has_open(&self, about: &About) -> bool {
        about.keys().any(|key| self.reports.has(Case::client_zone(key)))
    }

    /// Notes who passes a client's look-ups of a zone on.
    pub(super) fn via(&mut self, key: Key, by: u64) {
        if let Some(entry) = self.ledger.find(key) {
            entry.via = by;
        }
    }

    /// Puts a response on the accounts of who sent the query.
    pub(super) fn received(&mut self, received: &Received) {
        let Received { asker, address, zone, answer, now_ns } = *received;
        for client in [Some(asker), address].into_iter().flatten() {
            let claimed = client != asker && self.reports.is_open(Key { client: asker, zone });
            if let Some(entry) = self.ledger.find(Key { client, zone }) {
                entry.response(answer, claimed, now_ns);
            }
        }
    }

    /// Shows a response to the detectors of who asked.
    pub(super) fn response(
        &mut self,
        look: &Look<'_>,
        sighting: Sighting,
        around: Around<'_>,
        history: Option<&History>,
        emit: &mut Emit<'_>,
    ) {
        let Self { ledger, detectors, reports } = self;
        let scene = Scene {
            ledger,
            clients: around.clients,
            names: around.names,
            history,
            sighting,
            sub: look.sub_wire(),
            asked: None,
            qtype: look.qtype,
            flooded: None,
            emit,
        };
        detectors.response(look, &mut Cases { reports, scene });
    }
}

/// A query as the account of its zone over all clients takes it.
pub(super) fn of_zone<'a>(about: &About, name: &'a Canonical) -> Option<OfZone<'a>> {
    OverClients::counts(about.part, name, about.zone).then_some(OfZone {
        name,
        name_hash: about.name_hash,
        zone: about.zone,
        zone_hash: about.zone_hash,
    })
}

/// Keyed hash of a zone: a name has one for each class that it is looked at as.
pub(super) fn zone_hash(seed: &FixedState, name: &Canonical, zone: Zone) -> u64 {
    seed.hash_one((name.suffix(zone.labels), zone.class))
}
