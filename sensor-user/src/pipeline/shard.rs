//! Some clients' accounts, what detectors know of them and what is found: all that depends on nobody else.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;

use super::{Settings, extra_bytes};
use crate::attribute::{Clients, Names};
use crate::detect::OverClients;
use crate::detect::over_clients::OfZone;
use crate::detect::{Cases, Emit, Look, OfClients, Role};
use crate::dns::{Canonical, Message, Name};
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

/// How a query is charged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) charge: Charge,
    pub(super) via: Option<u64>,
    /// Of the process and of the address: what the name costs where an answer led to it; whether it asks for others.
    pub(super) told: [Option<u32>; 2],
    pub(super) for_others: [bool; 2],
    /// As [`Scene::flooded`].
    pub(super) flooded: Option<bool>,
}

/// A response: its answer, and the accounts of who sent the query, its own and its address's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// As [`Look::told`].
    pub(super) told: bool,
    pub(super) asker: u64,
    pub(super) address: Option<u64>,
}

impl Asked {
    /// See [`Scene::asked`].
    pub(super) fn name<'a>(&self, look: &Look<'a>) -> Option<(Name<'a>, bool)> {
        let question = look.message.question.filter(|_| self.charge == Charge::Full)?;
        Some((question.name, look.name.upper > 0 && look.name.upper < look.name.letters))
    }
}

impl About {
    /// What detectors see beside a message of a look-up.
    pub(super) fn scene<'a>(
        &self,
        sub: &'a [u8],
        (clients, names, history): (&'a Clients, &'a Names, Option<&'a History>),
        ledger: &'a mut Ledger,
        emit: &'a mut Emit<'_>,
    ) -> Scene<'a> {
        Scene {
            ledger,
            clients,
            names,
            history,
            sighting: self.sighting,
            sub,
            asked: None,
            qtype: self.qtype,
            flooded: None,
            emit,
        }
    }

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
    pub(super) fn look<'a>(&self, about: &About, said: Said<'a>, seed: &'a FixedState) -> Look<'a> {
        Look { answer: self.answer, told: self.told, ..about.look(said, seed) }
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

    /// Puts a query on its accounts.
    pub(super) fn charge(
        &mut self,
        look: &Look<'_>,
        sighting: &Sighting,
        asked: &Asked,
        clients: &Clients,
        mut history: Option<&mut History>,
        emit: &mut Emit<'_>,
    ) {
        let Asked { charge, via, told, for_others, .. } = *asked;
        let Look { packet, message, name, name_hash, qtype, zone, zone_hash, .. } = *look;
        let Self { ledger, reports, .. } = self;
        let Sighting { now_ns, address, process, .. } = *sighting;
        let zone_wire = name.suffix(zone.labels);
        let plain = ledger::Name {
            sub: name.prefix(zone.labels),
            hash: name_hash,
            upper: name.upper,
            letters: name.letters,
            extra_bytes: extra_bytes(message),
            told: None,
        };
        let claimed = process.is_some_and(|client| reports.is_open(Key { client, zone: zone_hash }));
        reports.absorbed += u64::from(claimed);
        let keys = [process.unwrap_or(address), address].map(|client| Key { client, zone: zone_hash });
        for at in usize::from(process.is_none())..2 {
            let key = keys[at];
            let said = ledger::Name { told: told[at], ..plain };
            let entry = ledger.open(key, zone.class, zone_wire, now_ns, &mut |old| {
                reports.forget(old, now_ns, emit);
            });
            entry.via = via.unwrap_or(entry.via);
            entry.has_payload |= sighting.has_payload;
            entry.for_others = for_others[at];
            let before = entry.totals.up_low;
            let claimed = claimed && at == 1;
            if packet.repeats() > 0 {
                entry.repeats(said, packet.repeats(), claimed, now_ns);
            }
            entry.query(said, charge, claimed, now_ns);
            if let Some(history) = &mut history
                && charge != Charge::Forwarded
                && let Some(client) = clients.find(key.client)
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
    pub(super) fn received(&mut self, answered: &Answered, zone: u64, now_ns: u64) {
        let Answered { asker, address, ref answer, .. } = *answered;
        if let Some(entry) = self.ledger.find(Key { client: asker, zone }) {
            entry.response(*answer, false, now_ns);
        }
        if let Some(address) = address {
            let claimed = address != asker && self.reports.is_open(Key { client: asker, zone });
            if let Some(entry) = self.ledger.find(Key { client: address, zone }) {
                entry.response(*answer, claimed, now_ns);
            }
        }
    }
}

/// Judges the accounts that a query is on and shows it to detectors.
pub(super) fn judge(look: &Look<'_>, about: &About, detectors: &mut OfClients, cases: &mut Cases<'_, '_>) {
    let Sighting { process, address, .. } = about.sighting;
    if let Some(client) = process {
        cases.reports.judge(Key { client, zone: about.zone_hash }, &mut cases.scene);
    }
    cases.reports.judge(Key { client: address, zone: about.zone_hash }, &mut cases.scene);
    detectors.query(look, cases);
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
