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
        let zone_key = shard::zone_hash(&self.seed, name, zone);
        self.stats.zone(zone_key);
        let now_ns = packet.time_ns;
        let ip = leg.client.ip();
        self.clients.note(address, || Identity::Address(ip), ip, now_ns);
        if let Some(key) = process {
            self.note_process(key, &packet.owner, ip, now_ns);
        }
        let sighting = Sighting {
            server: leg.server.ip(),
            view: packet.view,
            now_ns,
            address,
            process,
            has_payload: carrier::is_unusual(message, leg.qtype),
        };
        let keys = [process, Some(address)];
        let told = keys.map(|key| self.told.cost(key?, leg.name));
        // Of a process's address; who is charged is looked at below.
        let by_address = process.is_some() && self.roles.of(address).asks_for_others();
        let mut about = About {
            part: match charge {
                Charge::Full => Lookup::First,
                Charge::Twin => Lookup::Twin,
                Charge::Forwarded => Lookup::Forwarded,
            },
            name_hash: leg.name,
            qtype: leg.qtype,
            zone,
            zone_hash: zone_key,
            client: sighting.client(),
            role: Role::Host,
            sighting,
        };
        let said = Said { packet, message, name };
        let server = self.address(leg.server.ip(), leg.netns);
        let Self { of_all, over_clients, work, clients, names, seed, history, roles, .. } = self;
        let mut look = about.look(said, seed);
        let [before, role] = roles.query(&look, server);
        (look.role, about.role) = (role, role);
        let is_for_others = before.asks_for_others();
        let for_others = [is_for_others, if process.is_some() { by_address } else { is_for_others }];
        let mut asked = Asked { charge, via, told, for_others, flooded: None };
        match work {
            Work::Here(shard) => {
                shard.charge(&look, &about.sighting, &asked, clients, history.as_mut(), emit);
                let Shard { ledger, detectors, reports } = &mut **shard;
                let scene = about.scene(look.sub_wire(), (clients, names, history.as_ref()), ledger, emit);
                let mut cases = Cases { reports, scene };
                cases.scene.asked = asked.name(&look);
                of_all.query(&look, &mut cases);
                shard::judge(&look, &about, detectors, &mut cases);
                if let Some(of_zone) = shard::of_zone(&about, name) {
                    over_clients
                        .query(&of_zone, &mut cases, |cases| about.keys().any(|key| cases.is_open(key)));
                }
            }
            Work::Shared(shards) => {
                shards.of_all(|reports, ledger, emit| {
                    let scene = about.scene(look.sub_wire(), (clients, names, None), ledger, emit);
                    of_all.query(&look, &mut Cases { reports, scene });
                    asked.flooded = Some(reports.is_flooded(zone_key));
                });
                shards.query(said, &about, asked, clients);
            }
        }
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
        let Self { of_all, work, clients, names, history, .. } = self;
        work.of_all(emit, |reports, ledger, emit| {
            let scene = Scene {
                ledger,
                clients,
                names,
                history: history.as_ref(),
                sighting,
                sub: &[],
                asked: None,
                qtype: 0,
                flooded: None,
                emit,
            };
            of_all.stray(&stray, &mut Cases { reports, scene });
        });
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
        let zone_key = shard::zone_hash(&self.seed, name, zone);
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
        // An address that is no socket's own answers for itself alone: what another one asked through it is that one's.
        let other = (whose.asker != address && whose.at_socket).then_some(address);
        if let Some(first) = &target {
            let mut tell = |name: &Canonical| {
                let name = self.seed.hash_one(name.wire());
                [Some(whose.asker), other]
                    .into_iter()
                    .flatten()
                    .for_each(|client| self.told.tell(client, name));
            };
            tell(&first.name);
            let others = message.records().take(MAX_TARGETS).filter(|record| !first.is_of(record));
            others.filter_map(|record| record.target()).for_each(|target| tell(&Canonical::new(target)));
        }
        let now_ns = packet.time_ns;
        let mut about = About {
            part: lookup,
            name_hash: leg.name,
            qtype: leg.qtype,
            zone,
            zone_hash: zone_key,
            client: whose.owner,
            role: Role::Host,
            sighting: Sighting {
                server: leg.server.ip(),
                view: packet.view,
                now_ns,
                address,
                process: (whose.owner != address).then_some(whose.owner),
                has_payload: false,
            },
        };
        let said = Said { packet, message, name };
        let told = leg.qtype == rtype::TXT && self.told.cost(whose.owner, leg.name).is_some();
        let answered = Answered { answer, told, asker: whose.asker, address: other };
        let Self { of_all, over_clients, work, clients, names, seed, history, roles, .. } = self;
        let mut look = Look { target: target.as_ref(), ..answered.look(&about, said, seed) };
        look.role = roles.response(&look);
        about.role = look.role;
        match work {
            Work::Here(shard) => {
                shard.received(&answered, zone_key, now_ns);
                let Shard { ledger, detectors, reports } = &mut **shard;
                let scene = about.scene(look.sub_wire(), (clients, names, history.as_ref()), ledger, emit);
                let mut cases = Cases { reports, scene };
                of_all.response(&look, &mut cases);
                detectors.response(&look, &mut cases);
                over_clients.response(zone_key, answer, now_ns);
            }
            Work::Shared(shards) => {
                shards.of_all(|reports, ledger, emit| {
                    let scene = about.scene(look.sub_wire(), (clients, names, None), ledger, emit);
                    of_all.response(&look, &mut Cases { reports, scene });
                });
                shards.response(said, &about, answered, clients);
            }
        }
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
        let about = About {
            part,
            name_hash: leg.name,
            qtype: leg.qtype,
            zone,
            zone_hash: shard::zone_hash(&self.seed, name, zone),
            client,
            role: self.roles.of(client),
            sighting: Sighting {
                server: leg.server.ip(),
                view: packet.view,
                now_ns: packet.time_ns,
                address,
                process: (client != address).then_some(client),
                has_payload: false,
            },
        };
        let Self { of_all, work, clients, names, seed, history, .. } = self;
        let look = about.look(Said { packet, message, name }, seed);
        work.of_all(emit, |reports, ledger, emit| {
            let scene = about.scene(look.sub_wire(), (clients, names, history.as_ref()), ledger, emit);
            of_all.spurious(&look, &mut Cases { reports, scene });
        });
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
