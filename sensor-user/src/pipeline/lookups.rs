//! What a message does: a query is charged to who asked and a response to nobody, then the ledger is judged and the
//! detectors look.

use std::hash::BuildHasher as _;

use super::*;

impl Pipeline {
    #[expect(clippy::too_many_arguments, reason = "one packet's parts, all of them needed")]
    pub(super) fn query(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        name: &Canonical,
        leg: &Leg,
        asking: Asking,
        charge: Charge,
        emit: &mut Emit<'_>,
    ) -> u64 {
        let Asking { process, address, via } = asking;
        self.stats.lookups += u64::from(charge == Charge::Full);
        self.stats.repeats += u64::from(packet.repeats());
        let zone = Zone::of(name);
        let zone_wire = name.suffix(zone.labels);
        let zone_key = self.seed.hash_one((zone_wire, zone.class));
        self.stats.zone(zone_key);
        let now_ns = packet.time_ns;
        let ip = leg.client.ip();
        self.clients.note(address, || Identity::Address(ip), ip, now_ns);
        if let Some(key) = process {
            self.note_process(key, &packet.owner, ip, now_ns);
        }
        let said = ledger::Name {
            sub: name.prefix(zone.labels),
            hash: leg.name,
            upper: name.upper,
            letters: name.letters,
            extra_bytes: extra_bytes(message),
            told: None,
        };
        let sighting = Sighting {
            server: leg.server.ip(),
            view: packet.view,
            now_ns,
            address,
            process,
            has_payload: carrier::is_unusual(message, leg.qtype),
        };
        let keys = process.into_iter().chain([address]).map(|client| Key { client, zone: zone_key });
        let claimed = process.is_some_and(|client| self.reports.is_open(Key { client, zone: zone_key }));
        self.reports.absorbed += u64::from(claimed);
        for key in keys.clone() {
            let said = ledger::Name { told: self.ledger.told(key.client, leg.name), ..said };
            let reports = &mut self.reports;
            let entry = self.ledger.open(key, zone.class, zone_wire, now_ns, &mut |old| {
                reports.forget(old, now_ns, emit);
            });
            entry.via = via.unwrap_or(entry.via);
            entry.has_payload |= sighting.has_payload;
            entry.for_others = self.roles.of(key.client).asks_for_others();
            let before = entry.totals.up_low;
            let claimed = claimed && key.client == address;
            if packet.repeats() > 0 {
                entry.repeats(said, packet.repeats(), claimed, now_ns);
            }
            entry.query(said, charge, claimed, now_ns);
            if let Some(history) = &mut self.history
                && charge != Charge::Forwarded
                && let Some(client) = self.clients.find(key.client)
            {
                history.asked(&store::Asked {
                    client,
                    zone: zone_key,
                    wire: zone_wire,
                    class: zone.class,
                    qtype: leg.qtype,
                    lookup: charge == Charge::Full,
                    closest: process.is_none_or(|process| process == key.client),
                    new_units: entry.totals.up_low - before,
                    now_ns,
                });
            }
        }
        let server = self.address(leg.server.ip(), leg.netns);
        let Self { reports, ledger, clients, names, history, .. } = self;
        let mut scene = Scene {
            ledger,
            clients,
            names,
            history: history.as_ref(),
            sighting,
            sub: said.sub,
            asked: message
                .question
                .filter(|_| charge == Charge::Full)
                .map(|question| (question.name, name.upper > 0 && name.upper < name.letters)),
            qtype: leg.qtype,
            emit,
        };
        for key in keys {
            reports.judge(key, &mut scene);
        }
        let mut look = Look {
            packet,
            message,
            part: match charge {
                Charge::Full => Lookup::First,
                Charge::Twin => Lookup::Twin,
                Charge::Forwarded => Lookup::Forwarded,
            },
            name,
            name_hash: leg.name,
            qtype: leg.qtype,
            zone,
            zone_hash: zone_key,
            client: sighting.client(),
            target: None,
            answer: payload::Answer::default(),
            role: Role::Host,
            seed: &self.seed,
        };
        look.role = self.roles.query(&look, server);
        self.detectors.query(&look, &mut Cases { reports, scene });
        zone_key
    }

    /// What holds no question goes to the detectors alone.
    pub(super) fn stray(
        &mut self,
        packet: &Packet,
        message: Option<&Message<'_>>,
        to_server: bool,
        emit: &mut Emit<'_>,
    ) {
        let (client, server) = packet.client_server();
        let (ip, now_ns) = (client.ip(), packet.time_ns);
        let address = self.address(ip, packet.owner.netns);
        self.clients.note(address, || Identity::Address(ip), ip, now_ns);
        let process = self.process(&packet.owner);
        if let Some(key) = process {
            self.note_process(key, &packet.owner, ip, now_ns);
        }
        let sighting =
            Sighting { server: server.ip(), view: packet.view, now_ns, address, process, has_payload: true };
        let stray = Stray { packet, message, to_server, client: sighting.client(), seed: &self.seed };
        let Self { reports, ledger, clients, names, history, .. } = self;
        let scene = Scene {
            ledger,
            clients,
            names,
            history: history.as_ref(),
            sighting,
            sub: &[],
            asked: None,
            qtype: 0,
            emit,
        };
        self.detectors.stray(&stray, &mut Cases { reports, scene });
    }

    pub(super) fn response(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        name: &Canonical,
        leg: &Leg,
        address: u64,
        emit: &mut Emit<'_>,
    ) -> (Lookup, Option<Whose>) {
        let own = Whose { asker: address, owner: address, ..Whose::default() };
        let repeat = (packet.flags & flag::TO_REPEAT != 0).then_some(address);
        let (lookup, whose) = match self.fold.response(leg, repeat, packet.time_ns) {
            Answers::Duplicate(whose) => {
                if let Some(whose) = whose {
                    self.stats.joined(packet, whose);
                }
                // Hooks see one response each; what a capture holds twice was sent twice.
                if packet.view == View::Capture {
                    let client = whose.map_or(address, |whose| whose.owner);
                    self.spurious(packet, message, name, leg, (address, client), Lookup::Duplicate, emit);
                }
                return (Lookup::Duplicate, whose);
            }
            Answers::Query(whose) => {
                self.stats.joined(packet, whose);
                (Lookup::Answer, whose)
            }
            Answers::Unknown(recent) => {
                if packet.view != View::Capture {
                    self.spurious(packet, message, name, leg, (address, address), Lookup::Unsolicited, emit);
                    return (Lookup::Unsolicited, None);
                }
                // A capture may hold one direction only: then the question in a response is what was asked.
                let charge = if recent { Charge::Twin } else { Charge::Full };
                let asking = Asking { process: None, address, via: None };
                self.query(packet, message, name, leg, asking, charge, emit);
                (Lookup::Unsolicited, own)
            }
        };
        if lookup == Lookup::Answer {
            self.learn_from_answer(packet, message, leg, whose);
        }
        let zone = Zone::of(name);
        let zone_key = self.seed.hash_one((name.suffix(zone.labels), zone.class));
        if let Some(history) = &mut self.history
            && whose.asker == whose.owner
        {
            let other = if whose.owner == address { None } else { Some(address) };
            history.answered(&store::Answered {
                clients: [Some(whose.owner), other].map(|key| Some(self.clients.find(key?)?.stable_hash)),
                zone: zone_key,
                name: (leg.name, name.wire()),
                message,
                now_ns: packet.time_ns,
            });
        }
        let mut target = None;
        let answer = payload::of(message, name, &self.seed, &mut target);
        let clients =
            || [Some(whose.asker), (whose.asker != address).then_some(address)].into_iter().flatten();
        if let Some(first) = &target {
            let mut tell = |name: &Canonical| {
                let name = self.seed.hash_one(name.wire());
                clients().for_each(|client| self.ledger.tell(client, name));
            };
            tell(&first.name);
            let others = message.records().take(MAX_TARGETS).filter(|record| !first.is_of(record));
            others.filter_map(|record| record.target()).for_each(|target| tell(&Canonical::new(target)));
        }
        for client in clients() {
            let claimed =
                client != whose.asker && self.reports.is_open(Key { client: whose.asker, zone: zone_key });
            if let Some(entry) = self.ledger.find(Key { client, zone: zone_key }) {
                entry.response(answer, claimed, packet.time_ns);
            }
        }
        let process = (whose.owner != address).then_some(whose.owner);
        let sighting = Sighting {
            server: leg.server.ip(),
            view: packet.view,
            now_ns: packet.time_ns,
            address,
            process,
            has_payload: false,
        };
        let mut look = Look {
            packet,
            message,
            part: lookup,
            name,
            name_hash: leg.name,
            qtype: leg.qtype,
            zone,
            zone_hash: zone_key,
            client: whose.owner,
            target: target.as_ref(),
            answer,
            role: Role::Host,
            seed: &self.seed,
        };
        look.role = self.roles.response(&look);
        let Self { reports, ledger, clients, names, history, .. } = self;
        let scene = Scene {
            ledger,
            clients,
            names,
            history: history.as_ref(),
            sighting,
            sub: look.sub_wire(),
            asked: None,
            qtype: leg.qtype,
            emit,
        };
        self.detectors.response(&look, &mut Cases { reports, scene });
        (lookup, Some(whose))
    }

    /// A response beside the one that was waited for: the detectors' alone.
    #[expect(clippy::too_many_arguments, reason = "one packet's parts, all of them needed")]
    pub(super) fn spurious(
        &mut self,
        packet: &Packet,
        message: &Message<'_>,
        name: &Canonical,
        leg: &Leg,
        (address, client): (u64, u64),
        part: Lookup,
        emit: &mut Emit<'_>,
    ) {
        let zone = Zone::of(name);
        let look = Look {
            packet,
            message,
            part,
            name,
            name_hash: leg.name,
            qtype: leg.qtype,
            zone,
            zone_hash: self.seed.hash_one((name.suffix(zone.labels), zone.class)),
            client,
            target: None,
            answer: payload::Answer::default(),
            role: self.roles.of(client),
            seed: &self.seed,
        };
        let sighting = Sighting {
            server: leg.server.ip(),
            view: packet.view,
            now_ns: packet.time_ns,
            address,
            process: (client != address).then_some(client),
            has_payload: false,
        };
        let Self { reports, ledger, clients, names, history, .. } = self;
        let scene = Scene {
            ledger,
            clients,
            names,
            history: history.as_ref(),
            sighting,
            sub: look.sub_wire(),
            asked: None,
            qtype: leg.qtype,
            emit,
        };
        self.detectors.spurious(&look, &mut Cases { reports, scene });
    }

    /// Who answers where, and which names the answer sends its receiver to.
    fn learn_from_answer(&mut self, packet: &Packet, message: &Message<'_>, leg: &Leg, whose: Whose) {
        if packet.view == View::HostEgress
            && let Some(key) = self.process(&packet.owner)
        {
            let process = self.process_hash(packet.owner.tgid, packet.owner.start_boot_ns);
            let asker = Asker { key, process: Some(process) };
            self.fold.answers_at(leg.server.ip(), leg.netns, asker, packet.time_ns);
        }
        if whose.asker != whose.owner {
            let seed = &self.seed;
            let targets = message
                .records()
                .filter(|record| matches!(record.rtype, rtype::CNAME | rtype::DNAME | rtype::NS))
                .filter_map(|record| record.target())
                .take(MAX_TARGETS)
                .map(|target| seed.hash_one(Canonical::new(target).wire()));
            self.fold.led_to(whose, targets, packet.time_ns);
        }
    }
}

/// Bytes in a query beside its name and header.
fn extra_bytes(message: &Message<'_>) -> usize {
    let options = message.edns.map_or(0, |edns| edns.options().map(|(_, data)| data.len()).sum());
    message.trailing.len() + options
}
