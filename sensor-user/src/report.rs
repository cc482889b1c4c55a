//! The life of a finding: created when its ledger passes the bound, updated when the bytes have doubled, closed when a
//! window has passed without a query.

pub mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;

use sensor_ebpf::abi::grade;

use crate::attack::{self, Platform};
use crate::attribute::clients::comm;
use crate::attribute::clients::{FNV_START, fnv, text as bytes_text};
use crate::attribute::{self, Client, Clients, Description, Identity, Names};
use crate::dns::canonical;
use crate::event::View;
use crate::finding::{self, Bounds, ClientKind, Evidence, Finding, Origin, SCHEMA, Scope, State};
use crate::ledger::entry::{self, Window};
use crate::ledger::{self, Entry, Key, Ledger};
use crate::logged::grade_name;
use crate::model::UNIT;
use crate::verdict::{family, verdict};
use crate::zone::Class;

/// The rule that speaks for the ledger.
pub const RULE: &str = "dns-leak-ledger";

#[derive(Clone, Debug)]
pub struct Settings {
    /// Findings open at once; the one quiet for longest is closed first.
    pub max_open: usize,
    /// Sample names in a finding.
    pub max_samples: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_open: 1024, max_samples: entry::SAMPLES }
    }
}

/// The query that made the ledger look.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub server: IpAddr,
    pub view: View,
    pub now_ns: u64,
    /// The asking address's key, and the process's where it is known.
    pub address: u64,
    pub process: Option<u64>,
}

#[derive(Debug)]
pub struct Reports {
    settings: Settings,
    bound_units: u64,
    address_bound_units: u64,
    window_s: u64,
    attribute: attribute::Settings,
    origin: Origin,
    open: BTreeMap<Key, Open>,
    swept_ns: u64,
    /// By severity.
    pub created: [u64; 4],
    /// Queries that a process's open finding speaks for in its address's place.
    pub absorbed: u64,
    pub evicted: u64,
}

#[derive(Debug)]
struct Open {
    finding: Finding,
    last_ns: u64,
    /// Upper bound of bytes out from which the next update is due.
    update_at: u64,
    /// Of the heaviest evidence stated.
    weight: f64,
}

/// Names of the ledger's evidence: what new names say, and what the reversed addresses in them do.
const NAMES: &str = "new_name_bytes";
const ADDRESSES: &str = "new_address_bytes";

/// Quiet findings are looked for this often.
const SWEEP_NS: u64 = 1_000_000_000;

impl Reports {
    pub fn new(
        settings: Settings,
        ledger: &ledger::Settings,
        attribute: attribute::Settings,
        origin: Origin,
    ) -> Self {
        let units = |bytes: u64| bytes.saturating_mul(8 * u64::from(UNIT));
        Self {
            settings,
            bound_units: units(ledger.bound_bytes),
            address_bound_units: units(ledger.address_bound_bytes),
            window_s: ledger.window_s,
            attribute,
            origin,
            open: BTreeMap::new(),
            swept_ns: 0,
            created: [0; 4],
            absorbed: 0,
            evicted: 0,
        }
    }

    pub fn is_open(&self, key: Key) -> bool {
        self.open.contains_key(&key)
    }

    /// Looks at an entry that just took a query.
    pub fn judge(
        &mut self,
        key: Key,
        sighting: Sighting,
        ledger: &mut Ledger,
        clients: &Clients,
        names: &Names,
        emit: &mut dyn FnMut(&Finding),
    ) {
        let Some(entry) = ledger.find(key) else { return };
        let now_ns = sighting.now_ns;
        if entry.reported {
            let Some(open) = self.open.get_mut(&key) else { return };
            open.last_ns = open.last_ns.max(now_ns);
            if entry.totals.up_low / u64::from(UNIT) / 8 < open.update_at {
                return;
            }
            let window = entry.window(now_ns);
            self.update(key, entry, window, now_ns, clients, names);
            if let Some(open) = self.open.get(&key) {
                emit(&open.finding);
            }
            return;
        }
        let window = entry.window(now_ns);
        if window.new_units < self.bound_units && window.address_units < self.address_bound_units {
            return;
        }
        if key.client == sighting.address
            && let Some(client) = sighting.process
        {
            let process = Key { client, zone: key.zone };
            // Some of its packets may have come without an owner: most of the bytes make it the process's finding.
            let most = !self.is_open(process)
                && ledger.find(process).is_some_and(|entry| {
                    let own = entry.window(now_ns);
                    (own.new_units + own.address_units) * 2 >= window.new_units + window.address_units
                });
            if most {
                claim(key, key, ledger, now_ns);
                self.create(process, window, sighting, ledger, clients, names, emit);
                return;
            }
        }
        if sighting.process == Some(key.client) {
            let address = Key { client: sighting.address, zone: key.zone };
            self.close(address, now_ns, ledger, emit);
            claim(key, address, ledger, now_ns);
        }
        self.create(key, window, sighting, ledger, clients, names, emit);
    }

    #[expect(clippy::too_many_arguments, reason = "everything a finding is made of")]
    fn create(
        &mut self,
        key: Key,
        window: Window,
        sighting: Sighting,
        ledger: &mut Ledger,
        clients: &Clients,
        names: &Names,
        emit: &mut dyn FnMut(&Finding),
    ) {
        let now_ns = sighting.now_ns;
        if self.open.len() >= self.settings.max_open.max(1)
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.last_ns).map(|(key, _)| *key)
        {
            self.evicted += 1;
            self.close(oldest, now_ns, ledger, emit);
        }
        let Some(entry) = ledger.find(key) else { return };
        entry.reported = true;
        let client = clients.find(key.client);
        let platform = match sighting.view {
            View::HostEgress | View::HostIngress => Platform::Linux,
            View::WireIngress | View::WireEgress | View::Capture => Platform::NetworkDevices,
        };
        let zone = (!entry.zone.is_empty()).then(|| canonical::text(&entry.zone));
        let finding = Finding {
            schema: SCHEMA,
            id: id(client.map(|c| &c.identity), &entry.zone),
            origin: self.origin,
            state: State::Create,
            time: finding::time(now_ns),
            rule: RULE,
            title: String::new(),
            severity: finding::Severity::Low,
            confidence: 0.0,
            scope: if entry.class == Class::None { Scope::NoZone } else { Scope::ClientZone },
            zone,
            client: self.client(client, names),
            resolver: Some(sighting.server.to_string()),
            view: match sighting.view {
                View::HostEgress | View::HostIngress => "host",
                View::WireIngress | View::WireEgress => "wire",
                View::Capture => "capture",
            },
            first_seen: finding::time(entry.first_ns),
            last_seen: finding::time(entry.last_ns),
            queries: 0,
            responses: 0,
            bytes_up: Bounds { low: 0, high: 0 },
            bytes_down: Bounds { low: 0, high: 0 },
            name_bytes: 0,
            encoding: None,
            tool: None,
            samples: Vec::new(),
            evidence: Vec::new(),
            counterfactual: String::new(),
            attack: attack::of(RULE, platform),
        };
        self.open.insert(key, Open { finding, last_ns: now_ns, update_at: 0, weight: 0.0 });
        self.update(key, entry, window, now_ns, clients, names);
        if let Some(open) = self.open.get_mut(&key) {
            open.finding.state = State::Create;
            self.created[open.finding.severity as usize] += 1;
            emit(&open.finding);
        }
    }

    /// Brings a finding's figures up to date.
    fn update(
        &mut self,
        key: Key,
        entry: &Entry,
        window: Window,
        now_ns: u64,
        clients: &Clients,
        names: &Names,
    ) {
        let client = clients.find(key.client).map(|client| self.client(Some(client), names));
        let via = self.program(entry.via, clients, names);
        let evidence = self.evidence(entry, window, now_ns);
        let Some(open) = self.open.get_mut(&key) else { return };
        let finding = &mut open.finding;
        figures(finding, entry);
        finding.state = State::Update;
        finding.time = finding::time(now_ns);
        if let Some(client) = client {
            let before = finding.client.via.take();
            finding.client = client;
            finding.client.via = via.or(before);
        }
        // Severity and confidence never fall while a finding is open: what has left stays gone.
        let (severity, confidence) = verdict(&evidence);
        finding.severity = finding.severity.max(severity);
        finding.confidence = finding.confidence.max(confidence);
        finding.samples = samples(entry, self.settings.max_samples);
        finding.title = text::title(finding);
        // They stand for the severity, so they are those of the heaviest window, not of one that has emptied since.
        if let Some(heaviest) = evidence.iter().max_by(|a, b| a.weight.total_cmp(&b.weight))
            && heaviest.weight >= open.weight
        {
            let addresses = heaviest.name == ADDRESSES;
            let bound_units = if addresses { self.address_bound_units } else { self.bound_units };
            finding.counterfactual =
                text::counterfactual(finding, addresses, bound_units / u64::from(UNIT) / 8, self.window_s);
            open.weight = heaviest.weight;
            finding.evidence = evidence;
        }
        open.update_at = (finding.bytes_up.low * 2).max(1);
    }

    fn evidence(&self, entry: &Entry, window: Window, now_ns: u64) -> Vec<Evidence> {
        let bytes = |units: u64| units / u64::from(UNIT) / 8;
        let seconds = (now_ns.saturating_sub(entry.first_ns) / 1_000_000_000).min(self.window_s);
        let mut list = Vec::new();
        let mut over = |name, units, bound_units| {
            let (names, queries, bytes_said) = (window.new_names, window.queries, bytes(units));
            let what = if name == ADDRESSES {
                format!("with addresses that hold as much as {bytes_said} random bytes")
            } else {
                format!("together as improbable for host names as {bytes_said} random bytes")
            };
            list.push(Evidence {
                family: family::INFORMATION,
                name,
                observed: format!("{names} new names of {queries} look-ups within {seconds} s, {what}"),
                baseline: format!("{} such bytes in {} s", bytes(bound_units), self.window_s),
                weight: (units as f64 / bound_units.max(1) as f64 * 100.0).floor() / 100.0,
            });
        };
        if window.address_units == 0 || window.new_units >= self.bound_units {
            over(NAMES, window.new_units, self.bound_units);
        }
        if window.address_units > 0 {
            over(ADDRESSES, window.address_units, self.address_bound_units);
        }
        list
    }

    /// What a finding says of a client.
    pub fn client(&self, client: Option<&Client>, names: &Names) -> finding::Client {
        let mut out = finding::Client {
            kind: ClientKind::Address,
            ip: client.map(|c| c.ip),
            pid: None,
            pids: Vec::new(),
            start_time: None,
            exe: None,
            comm: None,
            cmdline: None,
            uid: None,
            user: None,
            unit: None,
            container: None,
            pod: None,
            script: None,
            interpreter: None,
            stdio_socket: None,
            ancestry: Vec::new(),
            via: None,
            grade: grade_name(client.map_or(grade::NONE, |c| c.grade)),
        };
        let Some(Client { identity: Identity::Process { uid, .. }, pids, comm: name, image, .. }) = client
        else {
            return out;
        };
        out.kind = ClientKind::Process;
        out.uid = Some(*uid);
        out.comm = Some(bytes_text(comm(name))).filter(|name| !name.is_empty());
        out.pids = pids.iter().map(|(pid, _)| *pid).collect();
        out.user = names.user(*uid).map(str::to_owned);
        let Description { exe, cmdline, script, interpreter, stdio_socket } =
            attribute::describe(image, &self.attribute);
        (out.exe, out.cmdline, out.script) = (exe, cmdline, script);
        (out.interpreter, out.stdio_socket) = (interpreter, stdio_socket);
        out.ancestry = client.iter().flat_map(|c| &c.ancestry).map(|exe| bytes_text(exe)).collect();
        if let Some(place) = client.and_then(|c| c.place.as_deref()) {
            out.unit.clone_from(&place.unit);
            out.container.clone_from(&place.container);
            out.pod.clone_from(&place.pod);
        }
        let Some(&(pid, start)) = pids.first() else { return out };
        out.pid = Some(pid);
        out.start_time = self.attribute.boot_unix_ns.map(|boot| finding::time(boot.saturating_add(start)));
        out
    }

    /// Executable of a client, or its name where that is unknown.
    pub fn program(&self, key: u64, clients: &Clients, names: &Names) -> Option<String> {
        let client = self.client(Some(clients.find(key)?), names);
        client.exe.or(client.comm)
    }

    /// Whether it is time to look for quiet findings.
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns.abs_diff(self.swept_ns) >= SWEEP_NS && !self.open.is_empty()
    }

    /// Closes findings whose client has not asked for a window.
    pub fn close_quiet(&mut self, now_ns: u64, ledger: &mut Ledger, emit: &mut dyn FnMut(&Finding)) {
        self.swept_ns = now_ns;
        let window_ns = self.window_s.saturating_mul(1_000_000_000);
        let quiet: Vec<Key> = self
            .open
            .iter()
            .filter(|(_, open)| now_ns.saturating_sub(open.last_ns) > window_ns)
            .map(|(key, _)| *key)
            .collect();
        for key in quiet {
            self.close(key, now_ns, ledger, emit);
        }
    }

    /// Closes all, in the order of their creation in the ledger's keys.
    pub fn close_all(&mut self, now_ns: u64, ledger: &mut Ledger, emit: &mut dyn FnMut(&Finding)) {
        while let Some(key) = self.open.first_key_value().map(|(key, _)| *key) {
            self.close(key, now_ns, ledger, emit);
        }
    }

    /// The ledger forgets an entry: its finding closes with what it last said.
    pub fn forget(&mut self, entry: &Entry, now_ns: u64, emit: &mut dyn FnMut(&Finding)) {
        if entry.reported
            && let Some(mut open) = self.open.remove(&entry.key)
        {
            figures(&mut open.finding, entry);
            finish(open.finding, now_ns, emit);
        }
    }

    fn close(&mut self, key: Key, now_ns: u64, ledger: &mut Ledger, emit: &mut dyn FnMut(&Finding)) {
        let Some(mut open) = self.open.remove(&key) else { return };
        if let Some(entry) = ledger.find(key) {
            entry.reported = false;
            figures(&mut open.finding, entry);
        }
        finish(open.finding, now_ns.max(open.last_ns), emit);
    }
}

/// Takes what one key's window holds out of another's: it is reported already.
fn claim(of: Key, from: Key, ledger: &mut Ledger, now_ns: u64) {
    if let Some(parts) = ledger.find(of).map(|entry| entry.parts(now_ns))
        && let Some(entry) = ledger.find(from)
    {
        entry.claim(&parts, now_ns);
    }
}

fn finish(mut finding: Finding, now_ns: u64, emit: &mut dyn FnMut(&Finding)) {
    finding.state = State::Close;
    finding.time = finding::time(now_ns);
    finding.title = text::title(&finding);
    emit(&finding);
}

/// The ledger's figures; they stand alone, so that a close states the final ones.
fn figures(finding: &mut Finding, entry: &Entry) {
    let bounds = |low: u64, high: u64| Bounds {
        low: low / u64::from(UNIT) / 8,
        high: (high.max(low)).div_ceil(u64::from(UNIT) * 8),
    };
    finding.last_seen = finding::time(entry.last_ns);
    finding.queries = entry.queries;
    finding.responses = entry.responses;
    finding.name_bytes = entry.name_bytes;
    finding.bytes_up = bounds(entry.totals.up_low, entry.totals.up_high);
    finding.bytes_down = bounds(entry.totals.down_low, entry.totals.down_high);
}

/// First names, whole.
fn samples(entry: &Entry, max: usize) -> Vec<String> {
    let whole = |sub: &[u8]| canonical::text(&[sub, &entry.zone[..]].concat());
    entry.samples.iter().take(max).map(|sub| whole(sub)).collect()
}

/// Deterministic: rule, client and zone give the id, in every run.
fn id(client: Option<&Identity>, zone: &[u8]) -> String {
    let hash = fnv(fnv(FNV_START, RULE.as_bytes()), &[0xff]);
    let hash = fnv(hash, &client.map_or(0, Identity::stable_hash).to_le_bytes());
    format!("{RULE}-{:016x}", fnv(hash, zone))
}
