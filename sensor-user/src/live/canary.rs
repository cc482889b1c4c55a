//! Traffic of a self-test in a running sensor. It announces its network namespace first: what comes from there goes to a
//! pipeline of its own, with the configuration in force, whose findings are marked; or, while a whole self-test brings a
//! sensor of its own, nowhere. So nothing of it is remembered of this host, and nobody is called for it.
//!
//! Who may hide traffic like that must be root, as the sensor is; it can never be the sensor's own namespace, it is one at
//! a time, and it ends by itself.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Config;
use crate::event::{Event, View};
use crate::finding::{Finding, Origin};
use crate::pipeline::{Pipeline, Settings};

/// The longest that an announcement holds, in seconds.
pub const SECONDS_MAX: u64 = 600;
/// State changes kept to be asked for; further ones are counted.
const FINDINGS_MAX: usize = 64;
/// One client and a zone or two: of every table that grows with traffic.
const KEYS_MAX: usize = 256;

/// What is asked, as JSON in `about`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Traffic of this namespace (its inode) is a self-test's, for so many seconds.
    Begin {
        netns: u32,
        seconds: u64,
        mode: Mode,
    },
    /// What has come of it.
    Show,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Goes through everything, marked.
    Canary,
    /// Goes nowhere: the self-test brings its own sensor.
    Quiet,
}

/// One announcement.
#[derive(Debug)]
pub struct Canary {
    netns: u32,
    /// Unix time, nanoseconds.
    until_ns: u64,
    pipeline: Option<Pipeline>,
    /// Of its namespace.
    packets: u64,
    findings: Vec<Finding>,
    findings_left_out: u64,
}

/// Whose an event is.
#[derive(Debug)]
pub enum Route<'a> {
    Host,
    Canary(&'a mut Pipeline),
    Nowhere,
}

impl Canary {
    /// `own` is the sensor's namespace. The error says what is allowed.
    pub fn begin(
        request: &Request,
        own: u32,
        config: &Config,
        seed: u64,
        now_ns: u64,
    ) -> Result<Self, String> {
        let Request::Begin { netns, seconds, mode } = *request else {
            return Err("no self-test is announced".to_owned());
        };
        if netns == 0 || netns == own {
            return Err(format!(
                "namespace {netns} is the sensor's own or none: a self-test has one of its own"
            ));
        }
        if !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(format!("{seconds} seconds: 1 to {SECONDS_MAX} are allowed"));
        }
        let pipeline = (mode == Mode::Canary).then(|| {
            let mut settings: Settings = config.pipeline();
            settings.seed = seed;
            settings.log_messages = false;
            settings.threads = 1;
            settings.ledger.max_keys = settings.ledger.max_keys.min(KEYS_MAX);
            settings.attribute.max_processes = settings.attribute.max_processes.min(KEYS_MAX);
            Pipeline::new(settings, Origin::Selftest)
        });
        Ok(Self {
            netns,
            until_ns: now_ns.saturating_add(seconds.saturating_mul(1_000_000_000)),
            pipeline,
            packets: 0,
            findings: Vec::new(),
            findings_left_out: 0,
        })
    }

    /// Where an event goes. Processes are everybody's: theirs go to both.
    pub fn route(&mut self, event: &Event) -> Route<'_> {
        match event {
            // On the wire the sensor's interfaces are in its own namespace.
            Event::Packet(packet)
                if packet.owner.netns == self.netns
                    && matches!(packet.view, View::HostEgress | View::HostIngress) =>
            {
                self.packets += 1;
                match &mut self.pipeline {
                    Some(_) if fault("decode") => Route::Nowhere,
                    Some(pipeline) => Route::Canary(pipeline),
                    None => Route::Nowhere,
                }
            }
            Event::Packet(_) => Route::Host,
            process => {
                if let Some(pipeline) = &mut self.pipeline {
                    pipeline.push(process.clone(), &mut |_| {});
                }
                Route::Host
            }
        }
    }

    /// Keeps a state change of its own.
    pub fn note(&mut self, finding: &Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding.clone());
        } else {
            self.findings_left_out += 1;
        }
    }

    /// Whether its time is over.
    pub fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns
    }

    /// Closes what is open.
    pub fn finish(&mut self, emit: &mut dyn FnMut(&Finding)) {
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.finish(&mut |finding| emit(finding));
        }
    }

    /// The answer to `Show`.
    pub fn json(&self) -> Value {
        let stats = self.pipeline.as_ref().map(Pipeline::stats).unwrap_or_default();
        json!({
            "packets": self.packets,
            "messages": stats.messages,
            "findings": self.findings,
            "findings_left_out": self.findings_left_out,
        })
    }
}

/// A stage that a test stops: in builds for tests alone.
pub fn fault(stage: &str) -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("EARTHDOG_STOPPED_STAGE").is_some_and(|stopped| stopped == stage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Kind, Packet, Transport, no_owner};

    const OWN: u32 = 7;

    fn begin(netns: u32, seconds: u64, mode: Mode) -> Result<Canary, String> {
        Canary::begin(&Request::Begin { netns, seconds, mode }, OWN, &Config::default(), 0, 0)
    }

    fn packet(netns: u32, view: View) -> Event {
        let mut owner = no_owner(sensor_ebpf::abi::no_owner::TCP);
        owner.netns = netns;
        Event::Packet(Packet {
            time_ns: 1,
            view,
            kind: Kind::Message,
            transport: Transport::Udp,
            src: "10.0.0.2:4000".parse().unwrap(),
            dst: "10.0.0.1:53".parse().unwrap(),
            ifindex: 0,
            vlan: [None; 2],
            tcp_seq: 0,
            flags: 0,
            true_len: 12,
            payload: bytes::Bytes::from_static(&[0; 12]),
            owner,
        })
    }

    #[test]
    fn only_another_namespace_can_be_announced_and_not_for_long() {
        for (netns, seconds, says) in
            [(OWN, 60, "sensor's own"), (0, 60, "sensor's own"), (8, 0, "1 to 600"), (8, 601, "1 to 600")]
        {
            let error = begin(netns, seconds, Mode::Quiet).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let canary = begin(8, 60, Mode::Canary).unwrap();
        assert!(!canary.is_over(59_999_999_999) && canary.is_over(60_000_000_000));
    }

    #[test]
    fn what_comes_from_there_goes_its_own_way_and_nothing_else() {
        let mut canary = begin(8, 60, Mode::Canary).unwrap();
        assert!(matches!(canary.route(&packet(8, View::HostEgress)), Route::Canary(_)));
        assert!(matches!(canary.route(&packet(8, View::WireIngress)), Route::Host));
        assert!(matches!(canary.route(&packet(9, View::HostEgress)), Route::Host));
        assert_eq!(canary.json()["packets"], 1);
        let mut quiet = begin(8, 60, Mode::Quiet).unwrap();
        assert!(matches!(quiet.route(&packet(8, View::HostIngress)), Route::Nowhere));
        assert!(matches!(quiet.route(&packet(OWN, View::HostIngress)), Route::Host));
    }

    #[test]
    fn requests_read_back() {
        for request in
            [Request::Begin { netns: 8, seconds: 60, mode: Mode::Canary }, Request::Show, Request::End]
        {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
        }
        assert!(serde_json::from_str::<Request>("\"stop\"").is_err());
    }
}
