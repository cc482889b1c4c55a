//! Over loopback a message passes its sender's socket and its receiver's: it is told once, and nothing that only arrives
//! hides behind that.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::PathBuf;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::Host;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Counters, Sensor, conserved};
use earthdog_tests::{require, serial, traffic};
use rstest::rstest;
use serde_json::Value;

const TRAFFIC: &str = env!("CARGO_BIN_EXE_traffic");
const SENDER: &str = env!("CARGO_BIN_EXE_sender");
const LOOKUPS: u64 = 300;
const MESSAGES: &str = "/run/messages.json";

/// A host whose resolver answers at a loopback address, and its sensor.
struct Bed {
    host: Host,
    sensor: Sensor,
    _dns: Process,
    messages: PathBuf,
}

fn bed(address: &str) -> Result<Bed, String> {
    let host = Host::new()?;
    host.run("ip link set lo up");
    std::fs::write(host.file("/run/earthdog.toml"), format!("[output]\nmessages = \"{MESSAGES}\"\n"))
        .unwrap();
    let sensor =
        Sensor::start(&host, &["--interface", "lo", "--xdp-mode", "off", "-c", "/run/earthdog.toml"])?;
    let dns = traffic::ready(TRAFFIC, &host, &["dns", address]);
    Ok(Bed { messages: host.file(MESSAGES), host, sensor, _dns: dns })
}

impl Bed {
    /// Counters that grew while something was done, and the messages told meanwhile.
    fn during(&self, what: impl FnOnce()) -> (Counters, Vec<Value>) {
        let before = self.sensor.settled(Deadline::secs(10));
        let told = self.told().len();
        what();
        let after = self.sensor.settled(Deadline::secs(10));
        conserved(&after);
        let grown: Counters =
            after.iter().map(|(name, count)| (name.clone(), count - before[name])).collect();
        let wanted = told + grown["delivered"] as usize;
        let all = Deadline::secs(5).poll(|| Some(self.told()).filter(|all| all.len() >= wanted));
        (grown, all.unwrap_or_else(|| self.told()).split_off(told))
    }

    fn told(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.messages).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn of_view<'a>(told: &'a [Value], view: &str) -> Vec<&'a Value> {
    told.iter().filter(|message| message["view"] == view).collect()
}

#[rstest]
#[case::v4("127.0.0.53:53")]
#[case::v6("[::1]:53")]
fn a_lookup_over_loopback_is_told_where_it_leaves_and_counted_where_it_arrives(#[case] address: &str) {
    let _alone = serial::lock();
    let bed = require!(bed(address));
    let (grown, told) = bed.during(|| {
        traffic::run(TRAFFIC, &bed.host, &["lookup", address, &LOOKUPS.to_string(), "0"]);
    });
    let counted = ["seen", "delivered", "repeat_loopback"].map(|name| grown[name]);
    assert_eq!(counted, [4 * LOOKUPS, 2 * LOOKUPS, 2 * LOOKUPS], "{grown:#?}");
    assert_eq!(of_view(&told, "host_egress").len() as u64, 2 * LOOKUPS);
    let status = bed.sensor.status();
    assert_eq!(status["lookups"], LOOKUPS, "{status:#}");
    // Query and answer each have their sender.
    assert!(told.iter().all(|message| message["owner"]["pid"].is_u64()), "{:#}", told[0]);
    let answers = told.iter().filter(|message| message["response"] == true).count() as u64;
    assert_eq!(answers, LOOKUPS, "{:#}", told[0]);
    bed.sensor.stop();
}

/// A packet socket on loopback passes no hook where its packet leaves. Linux takes such a packet in only where loopback
/// addresses are routed.
#[test]
fn what_no_hook_saw_leave_is_told_where_it_arrives() {
    let _alone = serial::lock();
    let bed = require!(bed("127.0.0.53:53"));
    bed.host.run("sysctl -q -w net.ipv4.conf.lo.route_localnet=1 net.ipv4.conf.all.rp_filter=0");
    let send = |row: &str, nonce: &str| {
        bed.host.run(&format!("{SENDER} {row} {nonce} 127.0.0.53 ::1 lo"));
    };
    // From a socket first, and then from below; the second time with the bytes of the first.
    for round in 0..2 {
        let (grown, told) = bed.during(|| {
            send("raw", "0123456789abcdef");
            send("packet", "0123456789abcdef");
        });
        let arrived = of_view(&told, "host_ingress");
        assert_eq!(arrived.len(), 1, "{round}: {grown:#?} {told:#?}");
        assert_eq!(grown["repeat_loopback"] + grown["delivered"], grown["seen"], "{grown:#?}");
    }
    bed.sensor.stop();
}
