//! Staged rollout: one configuration on a whole fleet, in force on a share of its hosts that grows.
//!
//! A host's place in the order is a hash of its machine id, so that every host knows its own and nobody keeps a list.

use std::path::Path;
use std::{fmt, fs};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::pins::Pins;
use super::service::Service;
use super::stop::{Hangup, Hung, Stop};
use crate::cli::RunArgs;
use crate::config::{Config, Loaded, Others, files};
use crate::escape::escape;

/// machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

/// Where this host stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// From 0 to below 100, or why it is not known.
    place: Result<f64, String>,
    percent: f64,
    others: Others,
}

impl Rollout {
    pub fn new(config: &Config) -> Self {
        let rollout = &config.rollout;
        Self {
            place: place(MACHINE_ID.as_ref(), &rollout.salt),
            percent: rollout.percent,
            others: rollout.others,
        }
    }

    /// Whether the sensor works here as on any host. A host without a place is the last.
    pub fn takes_part(&self) -> bool {
        self.percent >= 100.0 || self.place.as_ref().is_ok_and(|place| *place < self.percent)
    }

    /// Whether it attaches nothing.
    pub fn is_idle(&self) -> bool {
        !self.takes_part() && self.others == Others::Idle
    }

    /// Has findings alert nobody where that is what is wanted of this host.
    pub fn settle(&self, config: &mut Config) {
        if !self.takes_part() && self.others == Others::Observe {
            config.output.observe = true;
        }
    }

    /// For `status` and `doctor`. The place is as private as a host name: it does not give the machine id away.
    pub fn json(&self) -> Value {
        json!({
            "place": self.place.as_ref().ok(),
            "percent": self.percent,
            "takes_part": self.takes_part(),
            "others": self.others.name(),
        })
    }
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Ok(place) => write!(f, "this host is at {place:.2} of 100")?,
            Err(why) => write!(f, "this host has no place in the order ({why})")?,
        }
        write!(f, " and rollout.percent is {}: ", self.percent)?;
        f.write_str(match (self.takes_part(), self.others) {
            (true, _) => "it takes part",
            (false, Others::Observe) => "its findings alert nobody",
            (false, Others::Idle) => "nothing is attached",
        })
    }
}

/// A host's place in the order that `salt` gives, from 0 to below 100: SHA-256 of both, since a machine id is not to be
/// told to anybody (machine-id(5)).
fn place(machine_id: &Path, salt: &str) -> Result<f64, String> {
    let text =
        fs::read_to_string(machine_id).map_err(|error| format!("{}: {error}", machine_id.display()))?;
    let id = text.trim();
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("{} holds no machine id", machine_id.display()));
    }
    let digest = Sha256::new()
        .chain_update(b"earthdog rollout\0")
        .chain_update(salt)
        .chain_update([0])
        .chain_update(id);
    let digest = digest.finalize();
    let first = digest.iter().take(6).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    // 48 bits are exact in a float.
    Ok(first as f64 / (1u64 << 48) as f64 * 100.0)
}

/// A wait that is over: what has heard signals goes on to, or one that comes meanwhile would be lost.
#[derive(Debug)]
pub(super) struct Waited {
    pub(super) runtime: Runtime,
    /// With the end of `--duration`, which began with the wait.
    pub(super) stop: Stop,
    pub(super) hangup: Hangup,
}

/// Waits until this host takes part, which a reload can bring about; the configuration of then, and what waited, if
/// anything had to. None: it was told to stop.
pub(super) fn wait(args: &RunArgs, config: &Config) -> anyhow::Result<Option<(Config, Option<Waited>)>> {
    let mut config = config.clone();
    let rollout = Rollout::new(&config);
    if args.selftest || !rollout.is_idle() {
        rollout.settle(&mut config);
        return Ok(Some((config, None)));
    }
    if config.live.pin {
        // A sensor before this one left its hooks for the next to take over.
        match Pins::clean(&config) {
            Ok(removed) => removed.iter().for_each(|what| eprintln!("rollout: removed {what}")),
            Err(error) => eprintln!("warning: what live.pin kept stays: {error}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async { anyhow::Ok((Stop::new()?, Hangup::new()?)) })?;
    let mut waited = Waited { runtime, stop: signals.0, hangup: signals.1 };
    let let_in = waited.runtime.block_on(idle(args, &rollout, &mut waited.stop, &mut waited.hangup))?;
    Ok(let_in.map(|config| (config, Some(waited))))
}

async fn idle(
    args: &RunArgs,
    rollout: &Rollout,
    stop: &mut Stop,
    hangup: &mut Hangup,
) -> anyhow::Result<Option<Config>> {
    stop.after(args.duration);
    let mut service = Service::new();
    let mut words = rollout.to_string();
    loop {
        eprintln!("rollout: {words}; SIGHUP has the configuration read again");
        service.ready(&words);
        let beat = async {
            loop {
                service.drained(0, false);
                service.beat();
                tokio::time::sleep(super::sensor::TICK).await;
            }
        };
        tokio::select! {
            () = stop.wait() => return Ok(None),
            hung = hangup.wait() => if hung == Hung::TerminalGone { return Ok(None) },
            () = beat => {}
        }
        service.reloading();
        match Loaded::read(args.config.as_deref(), Path::new(files::DIRECTORY)) {
            Err(error) => words = format!("configuration refused: {}", escape(&error.message)),
            Ok(loaded) => {
                let mut config = loaded.config;
                let rollout = Rollout::new(&config);
                if !rollout.is_idle() {
                    eprintln!("rollout: {rollout}");
                    rollout.settle(&mut config);
                    return Ok(Some(config));
                }
                words = rollout.to_string();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, salt: &str) -> Result<f64, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), id).unwrap();
        place(file.path(), salt)
    }

    fn at(place: Result<f64, String>, percent: f64, others: Others) -> Rollout {
        Rollout { place, percent, others }
    }

    #[test]
    fn a_share_of_hosts_is_below_a_percentage_and_stays_below_a_greater_one() {
        let places: Vec<_> = (0..4000u32).map(|host| of(&format!("{host:032x}\n"), "").unwrap()).collect();
        for (percent, low, high) in [(1.0, 20, 62), (10.0, 340, 460), (50.0, 1900, 2100)] {
            let below = places.iter().filter(|place| **place < percent).count();
            assert!((low..=high).contains(&below), "{below} of 4000 below {percent} %");
        }
        let other: Vec<_> = (0..4000u32).map(|host| of(&format!("{host:032x}"), "2").unwrap()).collect();
        let both = places.iter().zip(&other).filter(|(a, b)| **a < 10.0 && **b < 10.0).count();
        assert!(both < 80, "another salt gives another order: {both} of about 400 are first in both");
    }

    #[test]
    fn a_host_without_a_machine_id_is_the_last() {
        for text in ["", "uninitialized\n", "zz23456789abcdef0123456789abcdef"] {
            assert!(of(text, "").unwrap_err().contains("holds no machine id"), "{text}");
        }
        assert!(place("/nonexistent/machine-id".as_ref(), "").is_err());
        let nowhere = || Err("no machine id".to_owned());
        assert!(!at(nowhere(), 99.9, Others::Idle).takes_part());
        assert!(at(nowhere(), 100.0, Others::Idle).takes_part());
    }

    #[test]
    fn others_are_idle_or_only_observe() {
        let mut config = Config::default();
        for (place, others, idle, observe) in [
            (9.9, Others::Idle, false, false),
            (10.0, Others::Idle, true, false),
            (9.9, Others::Observe, false, false),
            (10.0, Others::Observe, false, true),
        ] {
            let rollout = at(Ok(place), 10.0, others);
            rollout.settle(&mut config);
            assert_eq!((rollout.is_idle(), config.output.observe), (idle, observe), "{rollout}");
        }
    }
}
